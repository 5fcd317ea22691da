//! The parts of HTTP/1 that are a proxy's task: dates, trailers, clients that half close, answers
//! without a length that break off, and bodies that are announced and not sent.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use geofront::geosim::{Fault, Request, When};
use geofront::ogc::RequestClass;
use tokio::io::AsyncWriteExt;

use super::client::{Client, get};
use super::requests::{FEATURES, MAP, WFS, XML, get_feature_of_size};
use super::rig::{Plan, Rig};

const FILE: &str = "/geoserver/www/x.txt";

/// The requests for this target that an upstream received from us.
fn received(rig: &Rig, target: &str) -> Vec<Arc<Request>> {
    let all = rig.replicas.iter().chain([&rig.main]);
    all.flat_map(|upstream| upstream.requests())
        .filter(|request| request.header("via").is_some() && request.target() == target.as_bytes())
        .collect()
}

/// "Our cache in front computes ages from `Date`, and geofront overwrites it."
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_date_of_the_upstream_reaches_the_client() {
    let rig = Plan::replicas(1).start().await;
    let answer =
        "HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Length: 2\r\n\r\nok";
    rig.replicas[0].suffers(Fault::Raw(answer).under(FILE).times(3));
    let mut client = rig.client().await;
    for _ in 0..3 {
        let answer = client.get(FILE).await.unwrap();
        assert_eq!(answer.header("date"), Some("Sun, 06 Nov 1994 08:49:37 GMT"));
        let count = |name: &str| {
            answer
                .headers
                .iter()
                .filter(|(key, _)| key.eq_ignore_ascii_case(name))
                .count()
        };
        assert_eq!((count("date"), answer.text()), (1, "ok".to_owned()));
    }
    // An upstream without a clock gets one, and so does an answer of ours.
    let without = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    rig.replicas[0].suffers(Fault::Raw(without).under(FILE).times(1));
    let answer = client.get(FILE).await.unwrap();
    assert!(
        answer
            .header("date")
            .is_some_and(|date| !date.contains("1994"))
    );
}

/// "wget 1.10 stores half a shapefile and says that it is done."
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_without_a_length_that_breaks_off_ends_with_a_reset() {
    let rig = Plan::replicas(1).start().await;
    let request = format!("GET {FEATURES} HTTP/1.0\r\n\r\n");
    for fault in [Fault::Truncate, Fault::Reset(When::InAnswer)] {
        rig.replicas[0].suffers(fault.clone().only(RequestClass::Feature).times(1));
        let mut client = rig.client().await;
        let error = client.request(request.as_bytes()).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "{fault:?}");
    }
    let whole = rig.request(request.as_bytes()).await;
    assert_eq!((whole.status, whole.is_complete), (200, true));
}

async fn close_our_side(client: &mut Client) {
    client.stream.shutdown().await.unwrap();
}

/// "`printf ... | nc -N` got a map from nginx, and nothing from geofront."
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_closes_its_side_after_its_request_gets_its_answer() {
    let rig = Plan::replicas(1).start().await;
    let slow = || Fault::Slow(Duration::from_millis(200));
    rig.replicas[0].suffers(slow().only(RequestClass::Map));
    let mut client = rig.client().await;
    client.send(get(MAP).as_bytes()).await.unwrap();
    close_our_side(&mut client).await;
    // The probe comes before the answer, which every client skips.
    assert_eq!(client.interim().await.unwrap(), 100);
    let answer = client.answer().await.unwrap();
    assert_eq!((answer.status, answer.is_complete), (200, true));
    assert!(client.is_closed().await);

    // Two requests at once, and an end.
    rig.replicas[0].suffers(slow().only(RequestClass::Feature));
    let mut client = rig.client().await;
    let both = format!("{}{}", get(FEATURES), get(MAP));
    client.send(both.as_bytes()).await.unwrap();
    close_our_side(&mut client).await;
    for _ in 0..2 {
        assert_eq!(client.answer().await.unwrap().status, 200);
    }
    assert!(client.is_closed().await);
}

/// "Of a hundred tiles that browsers cancel, GeoServer goes on to draw a hundred."
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_closes_its_whole_connection_is_noticed_by_the_probe() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("access.log");
    let rig = Plan::replicas(1).access_log(&log).start().await;
    rig.replicas[0].suffers(Fault::Hang.only(RequestClass::Map));
    let mut client = rig.client().await;
    client.send(get(MAP).as_bytes()).await.unwrap();
    rig.until("it runs", |rig| rig.in_flight() == 1).await;
    close_our_side(&mut client).await;
    assert_eq!(client.interim().await.unwrap(), 100);
    assert_eq!(rig.in_flight(), 1, "it may be waiting for its answer");
    drop(client);
    let mut client = rig.client().await;
    client.send(get(MAP).as_bytes()).await.unwrap();
    drop(client);
    // The first had its probe before it left, so only the second is known to be gone.
    rig.until("the second is gone", |_| {
        let lines = std::fs::read_to_string(&log).unwrap_or_default();
        lines.contains("client-abort")
    })
    .await;
}

/// HTTP/1.0 has no interim answers, so nothing can show whether the client is still there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_of_http_1_0_that_closes_its_side_has_left() {
    let rig = Plan::replicas(1).start().await;
    rig.replicas[0].suffers(Fault::Hang.only(RequestClass::Map));
    let mut client = rig.client().await;
    let request = format!("GET {MAP} HTTP/1.0\r\n\r\n");
    client.send(request.as_bytes()).await.unwrap();
    rig.until("it runs", |rig| rig.in_flight() == 1).await;
    close_our_side(&mut client).await;
    rig.until("its slot is free", |rig| rig.in_flight() == 0)
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trailers_are_dropped_in_both_directions_and_nothing_announces_them() {
    let rig = Plan::replicas(1).start().await;
    let raw = "HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n";
    rig.replicas[0].suffers(Fault::Raw(raw).under(FILE).times(1));
    let mut client = rig.client().await;
    client.send(get(FILE).as_bytes()).await.unwrap();
    assert_eq!(client.head().await.unwrap().header("trailer"), None);
    let mut body = [0; 12];
    client.read_exact(&mut body).await.unwrap();
    assert_eq!(&body, b"2\r\nok\r\n0\r\n\r\n");

    let body = get_feature_of_size(300);
    let target = format!("{WFS}?trailers");
    let head = format!(
        "POST {target} HTTP/1.1\r\nHost: a\r\nContent-Type: {XML}\r\nTE: trailers\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n",
        body.len()
    );
    let request = [head.as_bytes(), &body, b"\r\n0\r\nX-Sum: 1\r\n\r\n"].concat();
    assert_eq!(client.request(&request).await.unwrap().status, 200);
    let seen = received(&rig, &target);
    let names = ["trailer", "te", "x-sum"];
    assert_eq!(names.map(|name| seen[0].header(name)), [None; 3]);
    assert_eq!(seen[0].body().length, 300);
    // Nothing of them is taken for the next request.
    assert_eq!(client.get(MAP).await.unwrap().status, 200);
}

fn expecting(length: usize) -> String {
    format!(
        "POST {WFS} HTTP/1.1\r\nHost: a\r\nContent-Type: {XML}\r\nExpect: 100-continue\r\nContent-Length: {length}\r\n\r\n"
    )
}

/// "Eight clients that announced large uploads and sent nothing held all slots for a minute."
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_announces_a_large_body_and_sends_nothing_holds_no_slot() {
    let rig = Plan::replicas(1)
        .with("[timeouts]\nclient_body = \"400ms\"")
        .start()
        .await;
    for head in [
        expecting(5_000_000),
        "OPTIONS /geoserver/wms HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5000000\r\n\r\n".to_owned(),
    ] {
        let mut client = rig.client().await;
        client.send(head.as_bytes()).await.unwrap();
        assert_eq!(client.interim().await.unwrap(), 100);
        assert_eq!(rig.in_flight(), 0);
        assert_eq!(client.answer().await.unwrap().status, 408);
    }
    let classes = [RequestClass::Feature, RequestClass::Static];
    assert_eq!(classes.map(|class| rig.replicas[0].received(class)), [0; 2]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_body_that_is_awaited_reaches_its_upstream_whole() {
    let rig = Plan::replicas(1).start().await;
    let body = get_feature_of_size(3_000_000);
    let mut client = rig.client().await;
    client.send(expecting(body.len()).as_bytes()).await.unwrap();
    assert_eq!(client.interim().await.unwrap(), 100);
    client.send(&body).await.unwrap();
    assert_eq!(client.answer().await.unwrap().status, 200);
    let seen = received(&rig, WFS);
    assert_eq!((seen.len(), seen[0].body().length), (1, 3_000_000));
    assert_eq!(seen[0].header("expect"), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_ends_when_the_client_wants_it_in_whatever_line_it_says_so() {
    let rig = Plan::replicas(1).start().await;
    for lines in [
        "Connection: close\r\nConnection: X-Own\r\n",
        "Connection: X-Own\r\nConnection: close\r\n",
        "Connection: keep-alive\r\nX-A: b\r\nconnection: X-Own, Close\r\n",
    ] {
        let mut client = rig.client().await;
        let request = format!("GET {MAP} HTTP/1.1\r\nHost: a\r\n{lines}\r\n");
        let answer = client.request(request.as_bytes()).await.unwrap();
        assert_eq!(answer.status, 200, "{lines}");
        assert_eq!(answer.header("connection"), Some("close"), "{lines}");
        assert!(client.is_closed().await, "{lines}");
    }
}

/// RFC 9110 section 7.6.2.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn options_pass_no_more_servers_than_the_client_allows() {
    let rig = Plan::replicas(1).start().await;
    let mut client = rig.client().await;
    let options = |target: &str, fields: &str| {
        format!("OPTIONS {target} HTTP/1.1\r\nHost: a\r\n{fields}\r\n").into_bytes()
    };
    for target in [FILE, "*"] {
        let last = client
            .request(&options(target, "Max-Forwards: 0\r\n"))
            .await
            .unwrap();
        assert_eq!(
            (last.status, last.header("content-length")),
            (200, Some("0"))
        );
        assert!(last.header("date").is_some());
        assert!(received(&rig, target).is_empty(), "{target}");
    }
    client
        .request(&options(FILE, "Max-Forwards: 2\r\n"))
        .await
        .unwrap();
    assert_eq!(received(&rig, FILE)[0].header("max-forwards"), Some("1"));
}

/// RFC 9112 section 3.2.4.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn options_of_a_url_without_a_path_are_about_the_whole_server() {
    let rig = Plan::replicas(1).start().await;
    let options = "OPTIONS http://a HTTP/1.1\r\nHost: a\r\n\r\n";
    rig.request(options.as_bytes()).await;
    assert_eq!(
        (received(&rig, "*").len(), received(&rig, "/").len()),
        (1, 0)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_has_no_field_that_its_status_rules_out() {
    let rig = Plan::replicas(1).start().await;
    let raw = "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n";
    rig.replicas[0].suffers(Fault::Raw(raw).under(FILE).times(1));
    let mut client = rig.client().await;
    let empty = client.get(FILE).await.unwrap();
    assert_eq!((empty.status, empty.header("content-length")), (204, None));
    // An offer of the upstream's connection is none of this one.
    let raw =
        "HTTP/1.1 200 OK\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 2\r\n\r\nok";
    rig.replicas[0].suffers(Fault::Raw(raw).under(FILE).times(1));
    let offer = client.get(FILE).await.unwrap();
    assert_eq!(
        (offer.text().as_str(), offer.header("upgrade")),
        ("ok", None)
    );
    let raw = "HTTP/1.1 426 Upgrade Required\r\nUpgrade: websocket\r\nContent-Length: 0\r\n\r\n";
    rig.replicas[0].suffers(Fault::Raw(raw).under(FILE).times(1));
    let demand = client.get(FILE).await.unwrap();
    assert_eq!(demand.header("upgrade"), Some("websocket"));
}
