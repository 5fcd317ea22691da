//! Tests of the ends of answers and bodies, and of what belongs to one connection only: between
//! geofront and upstreams, and between geofront and clients.

use std::time::{Duration, Instant};

use geofront::cluster::HealthState;
use geofront::geosim::{Fault, Instance};
use geofront::ogc::RequestClass;

use super::client::get;
use super::requests::{MAP, TRANSACTION, WFS, XML, get_feature_of_size};
use super::rig::{Plan, Rig};

fn all(rig: &Rig) -> impl Iterator<Item = &Instance> {
    rig.replicas.iter().chain([&rig.main])
}

fn last_request(rig: &Rig) -> std::sync::Arc<geofront::geosim::Request> {
    let requests = all(rig)
        .flat_map(Instance::requests)
        .filter(|request| request.header("via").is_some());
    requests.last().expect("an upstream received it")
}

fn with_continue(body: &[u8]) -> Vec<u8> {
    format!(
        "POST {WFS} HTTP/1.1\r\nHost: a\r\nContent-Type: {XML}\r\nExpect: 100-continue\r\nContent-Length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_all_upstreams_down_a_client_that_expects_100_continue_gets_503_before_its_body() {
    let rig = Plan::replicas(1).start().await;
    all(&rig).for_each(Instance::kill);
    rig.until("every upstream is down", |rig| {
        rig.upstreams()
            .iter()
            .all(|u| u.health == HealthState::Down)
    })
    .await;
    let mut client = rig.client().await;
    client.send(&with_continue(TRANSACTION)).await.unwrap();
    assert_eq!(client.interim().await.unwrap(), 503);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn our_own_100_continue_is_no_answer_a_read_is_tried_again_and_a_write_gets_its_refusal() {
    let rig = Plan::replicas(2).start().await;
    rig.replicas[0].suffers(Fault::Close.only(RequestClass::Feature));
    let body = get_feature_of_size(300);
    for _ in 0..4 {
        let mut client = rig.client().await;
        client.send(&with_continue(&body)).await.unwrap();
        assert_eq!(client.interim().await.unwrap(), 100);
        client.send(&body).await.unwrap();
        assert_eq!(client.answer().await.unwrap().status, 200);
    }
    rig.main
        .suffers(Fault::Close.only(RequestClass::Transaction));
    let mut client = rig.client().await;
    client.send(&with_continue(TRANSACTION)).await.unwrap();
    assert_eq!(client.interim().await.unwrap(), 100);
    client.send(TRANSACTION).await.unwrap();
    assert_eq!(client.answer().await.unwrap().status, 502);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_two_clients_could_read_differently_is_a_502_and_its_connection_ends() {
    let rig = Plan::replicas(1).start().await;
    for raw in [
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: keep-alive\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
    ] {
        rig.main
            .suffers(Fault::Raw(raw).only(RequestClass::Transaction).times(1));
        let answer = rig.post(WFS, XML, TRANSACTION).await;
        assert_eq!(answer.status, 502, "{raw:?}: {}", answer.text());
        assert_eq!(
            rig.post(WFS, XML, TRANSACTION).await.status,
            200,
            "after {raw:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_length_that_is_only_repeated_reaches_the_client_once() {
    let rig = Plan::replicas(1).start().await;
    let raw = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\nContent-Type: text/xml\r\n\r\nok";
    rig.main
        .suffers(Fault::Raw(raw).only(RequestClass::Transaction));
    let answer = rig.post(WFS, XML, TRANSACTION).await;
    let lengths: Vec<_> = answer
        .headers
        .iter()
        .filter(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .collect();
    assert_eq!(
        (answer.status, answer.text().as_str(), lengths.len()),
        (200, "ok", 1)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fields_of_the_upstreams_connection_end_with_it() {
    let rig = Plan::replicas(1).start().await;
    let raw = "HTTP/1.1 200 OK\r\nConnection: X-Own\r\nX-Own: 1\r\nKeep-Alive: timeout=1\r\nContent-Length: 2\r\n\r\nok";
    rig.main
        .suffers(Fault::Raw(raw).only(RequestClass::Transaction));
    let answer = rig.post(WFS, XML, TRANSACTION).await;
    assert_eq!(
        (
            answer.status,
            answer.header("x-own"),
            answer.header("keep-alive")
        ),
        (200, None, None)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_cannot_remove_fields_that_a_trusted_peer_vouches_for() {
    let rig = Plan::replicas(1)
        .top("trusted_proxies = [\"127.0.0.1/32\"]")
        .start()
        .await;
    for nominated in ["sec-roles", "X-Forwarded-Host", "close, sec-username"] {
        let request = format!(
            "GET {MAP} HTTP/1.1\r\nHost: a\r\nsec-username: b\r\nConnection: {nominated}\r\n\r\n"
        );
        assert_eq!(
            rig.request(request.as_bytes()).await.status,
            400,
            "{nominated}"
        );
    }
    let request = format!(
        "GET {MAP} HTTP/1.1\r\nHost: a\r\nsec-username: b\r\nX-Own: 1\r\nConnection: close, X-Own\r\n\r\n"
    );
    assert_eq!(rig.request(request.as_bytes()).await.status, 200);
    let seen = last_request(&rig);
    assert_eq!(
        (seen.header("sec-username"), seen.header("x-own")),
        (Some("b"), None)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_http_1_0_client_gets_no_interim_answer() {
    let rig = Plan::replicas(1).start().await;
    let raw = "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    rig.main
        .suffers(Fault::Raw(raw).only(RequestClass::Transaction));
    let (head, body) = (
        format!("POST {WFS} HTTP/1.0\r\nHost: a\r\nContent-Type: {XML}\r\n"),
        TRANSACTION,
    );
    let request = [
        format!("{head}Content-Length: {}\r\n\r\n", body.len()).as_bytes(),
        body,
    ]
    .concat();
    let mut client = rig.client().await;
    client.send(&request).await.unwrap();
    assert_eq!(client.head().await.unwrap().status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_websocket_passes_from_every_client() {
    let rig = Plan::replicas(1).start().await;
    let raw = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nhello";
    all(&rig).for_each(|upstream| upstream.suffers(Fault::Raw(raw).under("/geoserver/ws")));
    // The upstream answers at once. Pingora must not take the end of the request, which has no
    // body, for the end of the tunnel.
    for _ in 0..20 {
        exchange_over_websocket(&rig).await.unwrap();
    }
    let seen = last_request(&rig);
    assert_eq!(seen.header("sec-websocket-version"), Some("13"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_websocket_that_the_upstream_refuses_is_an_ordinary_answer() {
    let rig = Plan::replicas(1).start().await;
    let request = format!(
        "GET {MAP} HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    );
    // On one connection, and on several at once.
    let clients = (0..8).map(async |_| {
        let mut client = rig.client().await;
        for _ in 0..5 {
            let answer = client.request(request.as_bytes()).await.unwrap();
            assert!(answer.status == 200 && answer.is_complete, "{answer:?}");
            assert_eq!(client.get(MAP).await.unwrap().status, 200);
        }
    });
    futures::future::join_all(clients).await;
    assert_eq!(rig.in_flight(), 0);
}

/// Opens a tunnel and sends bytes through it in both directions; an error if it ends early.
pub(crate) async fn exchange_over_websocket(rig: &Rig) -> std::io::Result<()> {
    let mut client = rig.client().await;
    let request = "GET /geoserver/ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
    client.send(request.as_bytes()).await?;
    assert_eq!(client.head().await?.status, 101);
    let mut bytes = [0; 5];
    client.read_exact(&mut bytes).await?;
    assert_eq!(&bytes, b"hello");
    // The client now sends bytes that are no HTTP. They reach the upstream, which takes them for a
    // bad request.
    client.send(b"\x81\x85\r\n\r\n").await?;
    client.read_exact(&mut bytes).await?;
    assert_eq!(&bytes, b"HTTP/");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_pipelined_requests_are_answered_in_order() {
    let rig = Plan::replicas(2).start().await;
    let mut client = rig.client().await;
    let tags: Vec<String> = (0..20).map(|number| format!("n{number}")).collect();
    let requests: String = tags
        .iter()
        .map(|tag| get(&format!("{MAP}&geosim_tag={tag}")))
        .collect();
    let asked = Instant::now();
    client.send(requests.as_bytes()).await.unwrap();
    for _ in &tags {
        assert_eq!(client.answer().await.unwrap().status, 200);
    }
    assert!(asked.elapsed() < Duration::from_secs(10));
    let seen: Vec<_> = all(&rig)
        .map(|upstream| upstream.received(RequestClass::Map))
        .collect();
    assert!(seen.iter().sum::<u64>() >= 20, "{seen:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heads_are_held_to_the_configured_size() {
    let rig = Plan::replicas(1)
        .with("[limits]\nhead_size = \"4KiB\"\nhead_fields = 20")
        .start()
        .await;
    let long = "x".repeat(4_000);
    let request = format!("GET {MAP} HTTP/1.1\r\nHost: a\r\nX: {long}\r\n\r\n");
    assert_eq!(rig.request(request.as_bytes()).await.status, 431);
    let many = "X: y\r\n".repeat(20);
    assert_eq!(
        rig.request(format!("GET {MAP} HTTP/1.1\r\nHost: a\r\n{many}\r\n").as_bytes())
            .await
            .status,
        431
    );
    assert_eq!(rig.get(MAP).await.status, 200);
}
