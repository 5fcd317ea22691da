//! Tests that a client's fault, or an inability of ours, never counts against an upstream.

use std::time::{Duration, Instant};

use geofront::cluster::HealthState;
use geofront::geosim::{Fault, When};
use geofront::ogc::RequestClass;

use super::client::{Client, get};
use super::requests::{FEATURES, MAP};
use super::rig::{Plan, Rig};

/// The head of a request that never sends its body.
const OPTIONS: &[u8] =
    b"OPTIONS /geoserver/wms HTTP/1.1\r\nHost: maps.example.org\r\nContent-Length: 100\r\n\r\n";

fn assert_unharmed(rig: &Rig) {
    let status = rig.app.control.status(Instant::now());
    let is_unharmed =
        |u: &geofront::cluster::UpstreamStatus| u.health == HealthState::Up && u.eligible;
    assert!(status.upstreams.iter().all(is_unharmed), "{status:#?}");
}

async fn send_options(rig: &Rig, count: usize) -> Vec<Client> {
    let mut clients = Vec::new();
    for _ in 0..count {
        let mut client = rig.client().await;
        client.send(OPTIONS).await.unwrap();
        clients.push(client);
    }
    clients
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twelve_options_without_their_body_eject_no_replica_and_end_with_the_clients_timeout() {
    let timeouts = "[timeouts]\nclient_body = \"1s\"\n[classes.static]\nfirst_byte = \"300ms\"";
    let rig = Plan::replicas(2).with(timeouts).start().await;
    let started = Instant::now();
    for client in &mut send_options(&rig, 12).await {
        assert_eq!(client.answer().await.unwrap().status, 408);
    }
    assert!(
        started.elapsed() >= Duration::from_secs(1),
        "the upstream's clock ran: {:?}",
        started.elapsed()
    );
    assert_unharmed(&rig);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upstream_that_hangs_up_on_an_incomplete_request_is_right() {
    // Otherwise no incomplete request of this size reaches an upstream.
    let streaming = "[clients]\nbody_memory = \"0B\"";
    let rig = Plan::replicas(2).with(streaming).start().await;
    for fault in [Fault::Reset(When::BeforeReading), Fault::AnswerEarly(503)] {
        for upstream in rig.replicas.iter().chain([&rig.main]) {
            upstream.suffers(fault.clone().only(RequestClass::Static));
        }
        for client in &mut send_options(&rig, 12).await {
            assert!(client.answer().await.unwrap().status >= 500, "{fault:?}");
        }
        assert_unharmed(&rig);
        rig.replicas
            .iter()
            .chain([&rig.main])
            .for_each(geofront::geosim::Instance::heals);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_complete_request_that_is_not_answered_in_time_still_counts() {
    let rig = Plan::replicas(2)
        .with("[classes.map]\nfirst_byte = \"100ms\"")
        .start()
        .await;
    rig.replicas[0].suffers(Fault::Hang.only(RequestClass::Map));
    let deadline = Instant::now() + Duration::from_secs(20);
    while rig.upstream("slave1").eligible {
        assert!(Instant::now() < deadline, "{:#?}", rig.upstream("slave1"));
        let mut client = rig.client().await;
        assert_eq!(
            client.request(get(MAP).as_bytes()).await.unwrap().status,
            200
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_with_too_many_fields_is_refused_as_that_and_counts_against_no_upstream() {
    let rig = Plan::replicas(2).start().await;
    let all = || rig.replicas.iter().chain([&rig.main]);
    all().for_each(|upstream| upstream.suffers(Fault::Fields(300).only(RequestClass::Feature)));
    for number in 0..12 {
        let answer = rig
            .get(&FEATURES.replace("count=200", &format!("count={}", 1 + number)))
            .await;
        assert_eq!(answer.status, 502);
    }
    let asked: u64 = all()
        .map(|upstream| upstream.received(RequestClass::Feature))
        .sum();
    assert_eq!(asked, 12, "no other upstream was asked");
    assert_unharmed(&rig);
    let metrics = rig.metrics().await;
    assert!(
        metrics.contains("reason=\"answer-head-too-large\"} 12"),
        "{metrics}"
    );
}
