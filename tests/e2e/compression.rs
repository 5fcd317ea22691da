//! Text that an upstream did not compress is compressed for clients that accept it.

mod scripted;

use std::io::Read;
use std::time::Duration;

use flate2::read::GzDecoder;
use geofront::geosim::{Behaviour, Fault};
use geofront::ogc::RequestClass;
use http::Method;

use super::client::{Answer, Client};
use super::requests::{CAPABILITIES, FEATURES, MAP};
use super::rig::{Plan, Rig};
use super::{http2, rig};
use scripted::{Exchange, Upstream};

const BOTH: &str = "[compression]\ncodings = [\"zstd\", \"gzip\"]\n";

/// GeoServers without the filter that compresses.
fn plan(replicas: usize) -> Plan {
    Plan::replicas(replicas).behaving(Behaviour {
        compresses_text: false,
        ..Behaviour::default()
    })
}

fn get(target: &str, headers: &str) -> Vec<u8> {
    format!("GET {target} HTTP/1.1\r\nHost: a\r\n{headers}\r\n").into_bytes()
}

/// A document of 20 kB.
fn document() -> String {
    let layers = (0..400).map(|n| format!("<Layer><Name>geor:layer_{n}</Name></Layer>\n"));
    layers.collect()
}

/// The text of a compressed answer; an error if it is not whole.
fn decoded(answer: &Answer) -> std::io::Result<String> {
    let mut text = String::new();
    match answer.header("content-encoding") {
        Some("gzip") => GzDecoder::new(&*answer.body).read_to_string(&mut text)?,
        Some("zstd") => zstd::Decoder::new(&*answer.body)?.read_to_string(&mut text)?,
        other => panic!("the coding is {other:?}"),
    };
    Ok(text)
}

/// A front door before one scripted replica.
async fn scripted(config: &str) -> (Rig, Upstream) {
    let upstream = Upstream::start().await;
    let replica = rig::upstream("slave1", upstream.address, "");
    let rig = plan(0).with(&replica).with(config).start().await;
    (rig, upstream)
}

/// A request, and the answer to it that the upstream gives.
async fn exchange(
    rig: &Rig,
    upstream: &mut Upstream,
    request: &[u8],
    answer: &str,
) -> (Answer, String) {
    let mut client = rig.client().await;
    client.send(request).await.unwrap();
    let mut exchange = upstream.next().await;
    exchange.send(answer.as_bytes()).await;
    let head = exchange.head.clone();
    drop(exchange);
    let is_head = request.starts_with(b"HEAD");
    let answer = if is_head {
        client.head().await
    } else {
        client.answer().await
    };
    (answer.unwrap(), head)
}

fn scripted_get(headers: &str) -> Vec<u8> {
    get(&format!("{CAPABILITIES}&scripted"), headers)
}

fn whole(headers: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 200 OK\r\n{headers}Content-Length: {length}\r\n\r\n{body}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn text_is_compressed_as_the_client_prefers() {
    let (rig, mut upstream) = scripted(BOTH).await;
    let document = document();
    let text = whole(
        "Content-Type: text/xml\r\nETag: \"a\"\r\nAccept-Ranges: bytes\r\nVary: Accept\r\n",
        &document,
    );
    for (accepted, coding) in [
        ("gzip", "gzip"),
        ("gzip, deflate, br, zstd", "zstd"),
        ("zstd;q=0.5, gzip", "gzip"),
        ("*", "zstd"),
    ] {
        let request = scripted_get(&format!("Accept-Encoding: {accepted}\r\n"));
        let (answer, _) = exchange(&rig, &mut upstream, &request, &text).await;
        assert_eq!(
            answer.header("content-encoding"),
            Some(coding),
            "{accepted}"
        );
        assert!(decoded(&answer).unwrap() == document);
        assert!(answer.body.len() < document.len() / 5 && answer.is_complete);
        assert_eq!(answer.header("transfer-encoding"), Some("chunked"));
        assert_eq!(answer.header("content-length"), None);
        assert_eq!(answer.header("accept-ranges"), None);
        assert_eq!(answer.header("etag"), Some(&*format!("W/\"a--{coding}\"")));
        let vary = answer
            .headers
            .iter()
            .filter(|(name, _)| name.eq_ignore_ascii_case("vary"));
        let vary: Vec<_> = vary.map(|(_, value)| value.as_str()).collect();
        assert_eq!(vary, ["Accept", "Accept-Encoding"]);
    }
}

/// An answer that passes byte for byte.
struct Untouched {
    why: &'static str,
    request: &'static str,
    status: &'static str,
    headers: &'static str,
    body: String,
    /// Another client would get it compressed.
    is_varying: bool,
}

fn untouched() -> Vec<Untouched> {
    const GZIP: &str = "Accept-Encoding: gzip\r\n";
    let of = |why, request, headers| Untouched {
        why,
        request,
        status: "200 OK",
        headers,
        body: document(),
        is_varying: false,
    };
    let varying = |untouched: Untouched| Untouched {
        is_varying: true,
        ..untouched
    };
    let with_status = |status, untouched: Untouched| Untouched {
        status,
        ..untouched
    };
    let xml = "Content-Type: text/xml\r\n";
    vec![
        varying(of("the client accepts nothing", "", xml)),
        varying(of("another coding", "Accept-Encoding: br\r\n", xml)),
        varying(of("gzip is excluded", "Accept-Encoding: gzip;q=0\r\n", xml)),
        varying(of(
            "identity is preferred",
            "Accept-Encoding: identity, gzip;q=0.5\r\n",
            xml,
        )),
        of("a picture", GZIP, "Content-Type: image/png\r\n"),
        of("no type", GZIP, ""),
        of("events", GZIP, "Content-Type: text/event-stream\r\n"),
        of(
            "compressed already",
            GZIP,
            "Content-Type: text/xml\r\nContent-Encoding: br\r\n",
        ),
        of(
            "the upstream forbids it",
            GZIP,
            "Content-Type: text/xml\r\nCache-Control: no-transform\r\n",
        ),
        of(
            "a part",
            GZIP,
            "Content-Type: text/xml\r\nContent-Range: bytes 0-9/99\r\n",
        ),
        with_status("206 Partial Content", of("206", GZIP, xml)),
        with_status("404 Not Found", of("an error", GZIP, xml)),
        Untouched {
            body: "x".repeat(1023),
            ..of("too short", GZIP, xml)
        },
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_answers_pass_byte_for_byte() {
    let (rig, mut upstream) = scripted(BOTH).await;
    for case in untouched() {
        let why = case.why;
        let answer = whole(&format!("ETag: \"a\"\r\n{}", case.headers), &case.body);
        let answer = answer.replace("200 OK", case.status);
        let request = scripted_get(case.request);
        let (answer, _) = exchange(&rig, &mut upstream, &request, &answer).await;
        assert!(
            answer.body == case.body.as_bytes() && answer.is_complete,
            "{why}"
        );
        assert_eq!(answer.header("etag"), Some("\"a\""), "{why}");
        assert!(answer.header("content-length").is_some(), "{why}");
        let vary = answer.header("vary") == Some("Accept-Encoding");
        assert_eq!(vary, case.is_varying, "{why}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn off_and_in_other_classes_nothing_is_compressed() {
    let without_capabilities = "[compression]\ncodings = \"gzip\"\nclasses = [\"feature\"]\n";
    for config in ["", without_capabilities] {
        let (rig, mut upstream) = scripted(config).await;
        let document = document();
        let text = whole("Content-Type: text/xml\r\nETag: \"a\"\r\n", &document);
        let request = scripted_get("Accept-Encoding: gzip\r\nIf-None-Match: W/\"b--gzip\"\r\n");
        let (answer, head) = exchange(&rig, &mut upstream, &request, &text).await;
        assert!(answer.text() == document, "{config}");
        assert_eq!(answer.header("vary"), None);
        assert_eq!(answer.header("etag"), Some("\"a\""));
        assert!(head.contains("gzip\r\n"), "the upstream may compress");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_short_answer_is_compressed_for_a_client_that_refuses_it_otherwise() {
    let (rig, mut upstream) = scripted(BOTH).await;
    let text = whole("Content-Type: text/xml\r\n", "<a/>");
    let request = scripted_get("Accept-Encoding: gzip, identity;q=0\r\n");
    let (answer, _) = exchange(&rig, &mut upstream, &request, &text).await;
    assert_eq!(decoded(&answer).unwrap(), "<a/>");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_http10_client_gets_the_answer_as_it_is() {
    let (rig, mut upstream) = scripted(BOTH).await;
    let document = document();
    let text = whole("Content-Type: text/xml\r\n", &document);
    let request = format!("GET {CAPABILITIES}&scripted HTTP/1.0\r\nAccept-Encoding: gzip\r\n\r\n");
    let (answer, _) = exchange(&rig, &mut upstream, request.as_bytes(), &text).await;
    assert!(answer.text() == document);
    assert_eq!(answer.header("vary"), Some("Accept-Encoding"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_request_gets_the_head_of_the_compressed_answer() {
    let (rig, mut upstream) = scripted(BOTH).await;
    let target = format!("{CAPABILITIES}&scripted");
    let request =
        format!("HEAD {target} HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\n\r\n").into_bytes();
    let text =
        "HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\nETag: \"a\"\r\nContent-Length: 20000\r\n\r\n";
    let (answer, _) = exchange(&rig, &mut upstream, &request, text).await;
    assert_eq!(answer.header("content-encoding"), Some("gzip"));
    assert_eq!(answer.header("content-length"), None);
    assert_eq!(answer.header("etag"), Some("W/\"a--gzip\""));
    assert_eq!(answer.header("vary"), Some("Accept-Encoding"));

    // Nothing of a body follows: the next answer on the connection is whole.
    let mut client = rig.client().await;
    client.send(&request).await.unwrap();
    upstream.next().await.send(text.as_bytes()).await;
    client.head().await.unwrap();
    assert_eq!(client.get(MAP).await.unwrap().status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_condition_with_our_tag_works_at_the_upstream() {
    let (rig, mut upstream) = scripted(BOTH).await;
    let not_modified = "HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\n\r\n";
    for (known, passed, tag) in [
        ("W/\"a--gzip\"", "\"a\"", "W/\"a--gzip\""),
        ("W/\"a--zstd\"", "\"a\"", "W/\"a--zstd\""),
        ("\"a\"", "\"a\"", "\"a\""),
        ("W/\"a\"", "W/\"a\"", "\"a\""),
    ] {
        let request = scripted_get(&format!(
            "Accept-Encoding: gzip\r\nIf-None-Match: {known}\r\n"
        ));
        let (answer, head) = exchange(&rig, &mut upstream, &request, not_modified).await;
        assert_eq!(answer.status, 304);
        assert_eq!(answer.header("etag"), Some(tag), "{known}");
        assert_eq!(answer.header("content-encoding"), None);
        let passed = format!("If-None-Match: {passed}\r\n");
        assert!(head.contains(&passed), "{known}: {head}");
    }
    let request = scripted_get("If-Match: W/\"a--gzip\"\r\n");
    let failed = "HTTP/1.1 412 Precondition Failed\r\nContent-Length: 0\r\n\r\n";
    let (answer, head) = exchange(&rig, &mut upstream, &request, failed).await;
    assert!(head.contains("If-Match: \"a\"\r\n"), "{head}");
    assert_eq!(answer.status, 412);
}

async fn chunk(exchange: &mut Exchange, text: &str) {
    let chunk = format!("{:x}\r\n{text}\r\n", text.len());
    exchange.send(chunk.as_bytes()).await;
}

/// Reads one chunk of a chunked answer; `None` if the connection ends before.
async fn next_chunk(client: &mut Client) -> Option<Vec<u8>> {
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte).await.ok()?;
        line.extend_from_slice(&byte);
    }
    let size = std::str::from_utf8(&line).unwrap().trim();
    let mut chunk = vec![0; usize::from_str_radix(size, 16).unwrap() + 2];
    client.read_exact(&mut chunk).await.ok()?;
    chunk.truncate(chunk.len() - 2);
    Some(chunk)
}

/// What a browser shows of the beginning of a compressed answer.
fn beginning(coding: &str, bytes: &[u8]) -> String {
    let mut text = Vec::new();
    let read = match coding {
        "gzip" => GzDecoder::new(bytes).read_to_end(&mut text),
        _ => zstd::Decoder::new(bytes).unwrap().read_to_end(&mut text),
    };
    assert!(read.is_err(), "it has not ended");
    String::from_utf8(text).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_upstream_has_sent_can_be_read_before_it_sends_more() {
    let (rig, mut upstream) = scripted(BOTH).await;
    for coding in ["gzip", "zstd"] {
        let mut client = rig.client().await;
        let request = scripted_get(&format!("Accept-Encoding: {coding}\r\n"));
        client.send(&request).await.unwrap();
        let mut exchange = upstream.next().await;
        exchange
            .send(
                b"HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\nTransfer-Encoding: chunked\r\n\r\n",
            )
            .await;
        client.head().await.unwrap();
        let (mut sent, mut got) = (String::new(), Vec::new());
        for piece in ["<a>", "1", "<!-- a longer piece, and no end in sight -->"] {
            chunk(&mut exchange, piece).await;
            sent.push_str(piece);
            // The upstream sends no more until all of this is read.
            got.extend(next_chunk(&mut client).await.unwrap());
            assert_eq!(beginning(coding, &got), sent);
        }
        exchange.send(b"0\r\n\r\n").await;
        got.extend(next_chunk(&mut client).await.unwrap());
        assert_eq!(
            next_chunk(&mut client).await.unwrap(),
            b"",
            "the last chunk"
        );
        let end = Answer {
            status: 200,
            headers: vec![("content-encoding".to_owned(), coding.to_owned())],
            body: got,
            is_complete: true,
        };
        assert_eq!(decoded(&end).unwrap(), sent);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_breaks_off_has_no_end_in_its_coding_either() {
    let (rig, mut upstream) = scripted(BOTH).await;
    let document = document();
    let with_length = whole("Content-Type: text/xml\r\n", &document);
    let with_length = &with_length[..with_length.len() - 5000];
    let in_chunks = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\nTransfer-Encoding: chunked\r\n\r\n\
         {:x}\r\n{document}\r\n",
        document.len()
    );
    for coding in ["gzip", "zstd"] {
        for truncated in [with_length, &in_chunks] {
            let mut client = rig.client().await;
            let request = scripted_get(&format!("Accept-Encoding: {coding}\r\n"));
            client.send(&request).await.unwrap();
            let mut exchange = upstream.next().await;
            exchange.send(truncated.as_bytes()).await;
            client.head().await.unwrap();
            let mut got = next_chunk(&mut client).await.unwrap();
            drop(exchange);
            while let Some(chunk) = next_chunk(&mut client).await {
                assert!(
                    !chunk.is_empty(),
                    "{coding}: the last chunk of a whole answer"
                );
                got.extend(chunk);
            }
            // Fails if the coding has an end.
            assert!(document.starts_with(&beginning(coding, &got)));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_http2_an_answer_is_compressed_and_breaks_off_alike() {
    let served = http2::served(plan(1).with(BOTH)).await;
    let requests = served.connect().await;
    let plain = served.rig.get(FEATURES).await;
    let get = || {
        http2::request(Method::GET, FEATURES)
            .header("accept-encoding", "gzip")
            .body(())
            .unwrap()
    };
    let (head, body) = http2::exchange(&requests, get(), &[]).await.unwrap();
    assert_eq!(head.headers()["content-encoding"], "gzip");
    let mut text = Vec::new();
    GzDecoder::new(&*body).read_to_end(&mut text).unwrap();
    assert_eq!(text, plain.body);

    served.rig.replicas[0].suffers(Fault::Truncate.only(RequestClass::Feature).times(1));
    let broken = http2::exchange(&requests, get(), &[]).await;
    assert!(broken.is_err(), "the stream is reset: {broken:?}");
}

fn received(rig: &Rig) -> usize {
    let requests = rig.replicas.iter().flat_map(|replica| replica.requests());
    requests
        .filter(|request| request.header("via").is_some())
        .count()
}

/// Each client gets what it accepts, and those that accept the same share one answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_share_an_answer_share_its_compressed_form() {
    let rig = plan(1).with(BOTH).start().await;
    let plain = rig.request(&get(CAPABILITIES, "")).await;
    let target = format!("{CAPABILITIES}&geosim_work=1200ms");
    let gzip = || get(&target, "Accept-Encoding: gzip\r\n");
    let old = format!("GET {target} HTTP/1.0\r\nHost: a\r\nAccept-Encoding: gzip\r\n\r\n");
    let requests = [gzip(), gzip(), gzip(), get(&target, ""), old.into_bytes()];
    let before = received(&rig);
    let mut clients = Vec::new();
    for request in &requests {
        let mut client = rig.client().await;
        client.send(request).await.unwrap();
        clients.push(client);
    }
    let mut answers = Vec::new();
    for client in &mut clients {
        answers.push(client.answer().await.unwrap());
    }
    assert_eq!(received(&rig) - before, 3, "one for each kind of client");
    let (compressed, others) = answers.split_at(3);
    for answer in compressed {
        assert!(answer.is_complete && decoded(answer).unwrap() == plain.text());
        assert_eq!(answer.header("vary"), Some("Accept-Encoding"));
    }
    for answer in others {
        assert_eq!(answer.header("content-encoding"), None);
        assert!(answer.body == plain.body);
    }
    rig.metrics_with("geofront_coalesced_total{class=\"capabilities\"} 2\n")
        .await;
    rig.metrics_with("geofront_compressed_answers_total{coding=\"gzip\"} 1\n")
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_access_log_has_the_bytes_that_were_sent_and_the_metrics_both() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("access.log");
    let rig = plan(1).with(BOTH).access_log(&log).start().await;
    let request = get(FEATURES, "Accept-Encoding: zstd\r\n");
    let answer = rig.request(&request).await;
    let plain = decoded(&answer).unwrap();
    let sent = answer.body.len();
    let of = |side, bytes| {
        format!("geofront_compression_{side}_bytes_total{{coding=\"zstd\"}} {bytes}\n")
    };
    rig.metrics_with(&of("input", plain.len())).await;
    rig.metrics_with(&of("output", sent)).await;
    let expected = format!(" bytes={sent} ");
    let deadline = std::time::Instant::now() + rig::PATIENCE;
    loop {
        let lines = std::fs::read_to_string(&log).unwrap_or_default();
        if lines.contains(&expected) {
            break;
        }
        assert!(
            std::time::Instant::now() < deadline,
            "no {expected} in {lines}"
        );
        tokio::time::timeout(Duration::from_millis(5), std::future::pending::<()>())
            .await
            .unwrap_or(());
    }
}
