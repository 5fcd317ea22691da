//! Tests of the clients that a front door must withstand: slow, old, odd and malicious ones.

use std::time::{Duration, Instant};

use geofront::geosim::Fault;
use geofront::ogc::RequestClass;

use super::client::{Client, get};
use super::requests::{FEATURES, MAP};
use super::rig::Plan;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_drips_its_head_is_cut_off_after_the_heads_limit() {
    let rig = Plan::replicas(1)
        .with("[timeouts]\nclient_header = \"400ms\"")
        .start()
        .await;
    let mut client = rig.client().await;
    let started = Instant::now();
    client
        .send(b"GET /geoserver/wms HTTP/1.1\r\nHost: a\r\nX: ")
        .await
        .unwrap();
    while client.send(b"a").await.is_ok() && started.elapsed() < Duration::from_secs(10) {
        if tokio::time::timeout(Duration::from_millis(50), client.is_closed()).await == Ok(true) {
            break;
        }
    }
    assert!(
        started.elapsed() < Duration::from_secs(3),
        "{:?}",
        started.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_heads_limit_holds_for_later_requests_on_a_connection_too() {
    let rig = Plan::replicas(1)
        .with("[timeouts]\nclient_header = \"300ms\"\nkeep_alive = \"60s\"")
        .start()
        .await;
    let mut client = rig.client().await;
    client.get(MAP).await.unwrap();
    let started = Instant::now();
    client
        .send(b"GET /geoserver/wms HTTP/1.1\r\nHos")
        .await
        .unwrap();
    assert!(client.is_closed().await);
    assert!(
        started.elapsed() < Duration::from_secs(4),
        "{:?}",
        started.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_connection_is_closed_after_keep_alive() {
    let rig = Plan::replicas(1)
        .with("[timeouts]\nkeep_alive = \"1s\"")
        .start()
        .await;
    let mut client = rig.client().await;
    assert_eq!(client.get(MAP).await.unwrap().status, 200);
    assert_eq!(
        client.get(MAP).await.unwrap().status,
        200,
        "the connection is kept"
    );
    let idle = Instant::now();
    assert!(client.is_closed().await);
    assert!(
        idle.elapsed() >= Duration::from_millis(800) && idle.elapsed() < Duration::from_secs(4),
        "{:?}",
        idle.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_http_1_0_client_gets_no_chunks() {
    let rig = Plan::replicas(1).start().await;
    let mut client = rig.client().await;
    let answer = client
        .request(format!("GET {FEATURES} HTTP/1.0\r\n\r\n").as_bytes())
        .await
        .unwrap();
    assert_eq!(
        (answer.status, answer.header("transfer-encoding")),
        (200, None)
    );
    let features: serde_json::Value =
        serde_json::from_slice(&answer.body).expect("the whole answer, and nothing else");
    assert_eq!(features["type"], "FeatureCollection");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_without_host_gets_one() {
    let rig = Plan::replicas(1).start().await;
    let answer = rig
        .request(format!("GET {MAP} HTTP/1.0\r\n\r\n").as_bytes())
        .await;
    assert_eq!(answer.status, 200);
    let host = rig.address().to_string();
    assert!(
        rig.replicas[0]
            .requests()
            .iter()
            .any(|request| request.header("host") == Some(host.as_str()))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_http_1_0_check_of_another_load_balancer_is_answered() {
    let rig = Plan::replicas(1).start().await;
    let answer = rig.request(b"OPTIONS / HTTP/1.0\r\n\r\n").await;
    assert!(answer.status < 500, "{}", answer.status);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_two_servers_could_read_differently_do_not_pass() {
    let rig = Plan::replicas(1).start().await;
    for smuggled in [
        "POST /geoserver/wfs HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nabcd",
        "POST /geoserver/wfs HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        "POST /geoserver/wfs HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "GET /geoserver/wms HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        "CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n",
    ] {
        let before = rig.replicas[0].received(RequestClass::Feature)
            + rig.main.received(RequestClass::Transaction);
        if let Ok(answer) = rig.client().await.request(smuggled.as_bytes()).await {
            assert!(
                (400..600).contains(&answer.status),
                "{smuggled:?}: {}",
                answer.status
            );
        }
        let after = rig.replicas[0].received(RequestClass::Feature)
            + rig.main.received(RequestClass::Transaction);
        assert_eq!(before, after, "{smuggled:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_with_length_and_chunks_is_one_request_not_two() {
    let rig = Plan::replicas(1).start().await;
    let smuggled = "POST /geoserver/wfs?service=WFS&request=GetCapabilities HTTP/1.1\r\nHost: a\r\n\
                    Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n\
                    0\r\n\r\nGET /geoserver/rest/reload HTTP/1.1\r\nHost: a\r\n\r\n";
    drop(rig.client().await.request(smuggled.as_bytes()).await);
    assert_eq!(rig.main.received(RequestClass::Admin), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_thousand_slow_clients_do_not_slow_a_good_one() {
    let rig = Plan::replicas(1).start().await;
    let mut slow = Vec::new();
    for _ in 0..2_000 {
        let mut client = Client::connect(rig.address()).await.unwrap();
        client
            .send(b"GET /geoserver/wms HTTP/1.1\r\nHost: a\r\nX: ")
            .await
            .unwrap();
        slow.push(client);
    }
    let asked = Instant::now();
    for _ in 0..20 {
        assert_eq!(rig.get(MAP).await.status, 200);
    }
    assert!(
        asked.elapsed() < Duration::from_secs(5),
        "{:?}",
        asked.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_reads_nothing_loses_its_connection_and_its_place() {
    // Larger than what the sockets in between can hold.
    let behaviour = geofront::geosim::Behaviour {
        image_bytes: Some(40 << 20),
        ..Default::default()
    };
    let plan = Plan::replicas(1).without("probe_layer").behaving(behaviour);
    let rig = plan
        .with("[timeouts]\nclient_write = \"500ms\"")
        .start()
        .await;
    let mut client = rig.client().await;
    client.send(get(MAP).as_bytes()).await.unwrap();
    rig.until("the answer is under way", |rig| rig.in_flight() == 1)
        .await;
    rig.until("its place is free", |rig| rig.in_flight() == 0)
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_goes_round_in_circles_is_stopped() {
    let rig = Plan::replicas(1).start().await;
    let via = "Via: 1.1 geofront, 1.1 geofront, 1.1 geofront, 1.1 geofront\r\n";
    let answer = rig
        .request(format!("GET {MAP} HTTP/1.1\r\nHost: a\r\n{via}\r\n").as_bytes())
        .await;
    assert_eq!(answer.status, 508);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pipelined_requests_are_not_answered_out_of_order() {
    let rig = Plan::replicas(2).start().await;
    rig.replicas[0].suffers(Fault::Slow(Duration::from_millis(100)).only(RequestClass::Map));
    let mut client = rig.client().await;
    client
        .send([get(MAP), get(FEATURES)].concat().as_bytes())
        .await
        .unwrap();
    let first = client.answer().await.unwrap();
    assert_eq!(first.header("content-type"), Some("image/png"));
    if let Ok(second) = client.answer().await {
        assert!(second.header("content-type").unwrap().contains("json"));
    }
}
