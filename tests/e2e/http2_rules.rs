//! Rules of requests that look different over HTTP/2: tunnels, trailers, fields of a connection.

use std::path::Path;

use bytes::Bytes;
use http::{HeaderMap, Method};
use tokio::io::AsyncReadExt;

use super::http2::{HOST, Served, get, request, served};
use super::requests::{MAP, TRANSACTION, WFS, XML};
use super::rig::{PATIENCE, Plan};

/// The beginning of a connection: the preface, and settings without one.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// The types of the frames that answer a request.
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const GOAWAY: u8 = 7;

/// A request without a body on the first stream, with these fields as they are.
fn headers(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        // A literal without indexing, with a new name (RFC 7541 section 6.2.2).
        block.push(0);
        for text in [name, value] {
            block.push(u8::try_from(text.len()).unwrap());
            block.extend_from_slice(text.as_bytes());
        }
    }
    let length = u8::try_from(block.len()).unwrap();
    [&[0, 0, length, HEADERS, 5, 0, 0, 0, 1][..], &block].concat()
}

/// Sends a request; returns whether its stream ended without a 200.
async fn is_refused(served: &Served, fields: &[(&str, &str)]) -> bool {
    let address = served.rig.listener("public");
    let mut connection = served.client.connect(address, HOST).await.unwrap();
    connection.send(PREFACE).await.unwrap();
    connection.send(&headers(fields)).await.unwrap();
    let answered = async {
        let mut header = [0; 9];
        loop {
            if connection.stream.read_exact(&mut header).await.is_err() {
                return true;
            }
            let length = u32::from_be_bytes([0, header[0], header[1], header[2]]);
            let mut frame = vec![0; length as usize];
            connection.stream.read_exact(&mut frame).await.unwrap();
            match header[3] {
                // The entry of `:status: 200` in the static table.
                HEADERS => return frame[0] != 0x88,
                RST_STREAM | GOAWAY => return true,
                _ => {}
            }
        }
    };
    let answered = tokio::time::timeout(PATIENCE, answered).await;
    answered.expect("an answer in time")
}

/// The lines of refusals in an access log.
fn refusals(log: &Path) -> usize {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    text.matches(" end=refused:").count()
}

/// Requests of clients that reached an upstream.
fn passed(served: &Served) -> usize {
    let all = served.rig.replicas.iter().chain([&served.rig.main]);
    all.flat_map(|upstream| upstream.requests())
        .filter(|request| request.header("via").is_some())
        .count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_tunnel_and_no_malformed_request_over_http2_reaches_an_upstream() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("access.log");
    let served = served(Plan::replicas(1).access_log(&log)).await;
    let others = served.connect().await;
    let good = [
        (":method", "GET"),
        (":scheme", "https"),
        (":path", "/geoserver/ows"),
        (":authority", HOST),
    ];
    let with = |field| [&good[..], &[field]].concat();
    let mut refused = vec![
        vec![(":method", "CONNECT"), (":authority", HOST)],
        [
            &[(":method", "CONNECT")][..],
            &good[1..],
            &[(":protocol", "websocket")],
        ]
        .concat(),
        [&[(":method", "CONNECT")][..], &good[1..]].concat(),
        // The scheme is part of the target.
        [&good[..1], &[(":scheme", "http://a/x?")], &good[2..]].concat(),
        [&good[..1], &[(":scheme", "ftp")], &good[2..]].concat(),
        [&good[..], &[("host", HOST), ("host", HOST)]].concat(),
        [&good[..2], &[(":path", "geoserver/ows")], &good[3..]].concat(),
    ];
    refused.extend(
        [
            ("upgrade", "websocket"),
            ("connection", "close"),
            ("transfer-encoding", "chunked"),
            ("x-a", "b\r\nx-c: d"),
            ("x a", "b"),
            ("X-A", "b"),
            (":path", "/geoserver/rest"),
            ("host", "other.example"),
            ("content-length", "5"),
        ]
        .map(with),
    );
    for (number, fields) in refused.iter().enumerate() {
        assert!(is_refused(&served, fields).await, "{fields:?}");
        // Each has a line of its own, and none has two.
        served
            .rig
            .until("the line is written", |_| refusals(&log) > number)
            .await;
        assert_eq!(refusals(&log), number + 1, "{fields:?}");
    }
    assert_eq!(passed(&served), 0);
    let metrics = served.rig.metrics().await;
    assert!(metrics.contains("reason=\"http2-message\"}"), "{metrics}");
    assert_eq!(get(&others, MAP).await.0, 200);
    assert_eq!(passed(&served), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trailers_of_a_request_over_http2_are_dropped() {
    let served = served(Plan::replicas(1)).await;
    let requests = served.connect().await;
    let request = request(Method::POST, WFS)
        .header("content-type", XML)
        .header("trailer", "sec-username")
        .body(())
        .unwrap();
    let mut ready = requests.ready().await.unwrap();
    let (answer, mut sending) = ready.send_request(request, false).unwrap();
    let body = Bytes::from_static(TRANSACTION);
    sending.send_data(body, false).unwrap();
    let mut trailers = HeaderMap::new();
    trailers.insert("sec-username", "admin".parse().unwrap());
    sending.send_trailers(trailers).unwrap();
    assert_eq!(answer.await.unwrap().status(), 200);
    let seen = served.rig.main.requests();
    let seen = seen.iter().rfind(|request| request.method() == "POST");
    let seen = seen.expect("it reached the main");
    assert_eq!(seen.body().length, TRANSACTION.len() as u64);
    assert_eq!(
        (seen.header("sec-username"), seen.header("trailer")),
        (None, None)
    );
}
