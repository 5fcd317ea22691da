//! How traces are delivered, and what happens when they are not.

use std::time::{Duration, Instant};

use super::receiver::{Receiver, Reply};
use super::{Plan, Rig, get};
use crate::requests::MAP;

async fn ask(rig: &Rig, count: usize) {
    let mut client = rig.client().await;
    for number in 0..count {
        let target = format!("{MAP}&n={number}");
        assert_eq!(
            client
                .request(get(&target).as_bytes())
                .await
                .unwrap()
                .status,
            200
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_by_https_is_verified_and_gets_the_configured_headers() {
    let receiver = Receiver::start_with_tls().await;
    let folder = tempfile::tempdir().unwrap();
    let (ca, secret) = (folder.path().join("ca.pem"), folder.path().join("secret"));
    std::fs::write(&ca, receiver.certificate.as_deref().unwrap()).unwrap();
    std::fs::write(&secret, "Bearer abc\n").unwrap();
    let table = format!(
        "[traces]\nendpoint = \"https://localhost:{}/otlp/traces\"\nsample = 1.0\n\
         headers = {{ X-Scope-OrgID = \"maps\" }}\nauthorization_file = \"{}\"\nca = \"{}\"",
        receiver.address.port(),
        secret.display(),
        ca.display()
    );
    let rig = Plan::replicas(1).with(&table).start().await;
    ask(&rig, 2).await;
    receiver.until_requests(&rig, 2).await;
    assert_eq!(receiver.path(), "/otlp/traces");
    assert_eq!(
        receiver.header("authorization").as_deref(),
        Some("Bearer abc")
    );
    assert_eq!(receiver.header("x-scope-orgid").as_deref(), Some("maps"));
    assert_eq!(
        receiver.header("content-type").as_deref(),
        Some("application/x-protobuf")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_whose_certificate_is_unknown_gets_nothing() {
    let receiver = Receiver::start_with_tls().await;
    let table = format!(
        "[traces]\nendpoint = \"https://localhost:{}\"\nsample = 1.0",
        receiver.address.port()
    );
    let rig = Plan::replicas(1).with(&table).start().await;
    ask(&rig, 1).await;
    rig.metrics_with("geofront_spans_lost_total{reason=\"undelivered\"} 3")
        .await;
    assert_eq!(receiver.messages(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_is_sent_again_until_the_receiver_takes_it() {
    let receiver = Receiver::start().await;
    receiver.replies([Reply::Status(503), Reply::Status(429)]);
    let rig = Plan::replicas(1)
        .with(&receiver.table("sample = 1.0"))
        .start()
        .await;
    ask(&rig, 1).await;
    assert_eq!(receiver.until_requests(&rig, 1).await.len(), 1);
    assert_eq!(receiver.messages(), 3);
    rig.metrics_with("geofront_spans_sent_total 3").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn spans_that_the_receiver_refuses_are_counted_and_not_sent_again() {
    let receiver = Receiver::start().await;
    receiver.replies([Reply::Reject(2)]);
    let rig = Plan::replicas(1)
        .with(&receiver.table("sample = 1.0"))
        .start()
        .await;
    ask(&rig, 1).await;
    rig.metrics_with("geofront_spans_lost_total{reason=\"rejected\"} 2")
        .await;
    rig.metrics_with("geofront_spans_sent_total 1").await;
    receiver.replies([Reply::Status(400)]);
    ask(&rig, 1).await;
    rig.metrics_with("geofront_spans_lost_total{reason=\"rejected\"} 5")
        .await;
    assert_eq!(receiver.messages(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_is_gone_delays_neither_requests_nor_the_end_of_the_process() {
    // Accepts connections and never answers.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let table = format!(
        "[traces]\nendpoint = \"http://{}\"\nsample = 1.0\n[limits]\nmax_in_flight = 16",
        silent.local_addr().unwrap()
    );
    let rig = Plan::replicas(1).with(&table).start().await;
    let asked = Instant::now();
    // More than the queue holds.
    let clients = (0..8).map(|_| ask(&rig, 700));
    futures::future::join_all(clients).await;
    assert!(
        asked.elapsed() < Duration::from_secs(60),
        "{:?}",
        asked.elapsed()
    );
    let _connection = silent.accept().await.unwrap();
    rig.until("nothing is in flight", |rig| rig.in_flight() == 0)
        .await;
    let stopped = Instant::now();
    assert_eq!(rig.app.stop().await, 0);
    assert!(
        stopped.elapsed() < Duration::from_secs(8),
        "{:?}",
        stopped.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_left_is_sent_when_the_process_ends() {
    let receiver = Receiver::start().await;
    let rig = Plan::replicas(1)
        .with(&receiver.table("sample = 1.0"))
        .start()
        .await;
    ask(&rig, 3).await;
    rig.until("nothing is in flight", |rig| rig.in_flight() == 0)
        .await;
    assert_eq!(rig.app.stop().await, 0);
    assert_eq!(receiver.requests().len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn traces_are_turned_on_moved_and_turned_off_while_requests_are_served() {
    let (first, second) = (Receiver::start().await, Receiver::start().await);
    let rig = Plan::replicas(1).start().await;
    let plain = rig.config();
    let with = |receiver: &Receiver| format!("{plain}{}", receiver.table("sample = 1.0"));
    let reload = async |config: &str| {
        rig.write_config(config);
        let reload = std::sync::Arc::clone(&rig.app.reload);
        let revision = rig.app.control.snapshot_full().revision;
        tokio::task::spawn_blocking(move || reload.reload(Instant::now()))
            .await
            .unwrap();
        rig.until("the configuration is in force", |rig| {
            rig.app.control.snapshot_full().revision > revision
        })
        .await;
    };
    ask(&rig, 1).await;
    reload(&with(&first)).await;
    ask(&rig, 2).await;
    first.until_requests(&rig, 2).await;
    reload(&with(&second)).await;
    ask(&rig, 3).await;
    second.until_requests(&rig, 3).await;
    reload(&plain).await;
    ask(&rig, 4).await;
    assert_eq!(rig.app.stop().await, 0);
    assert_eq!((first.requests().len(), second.requests().len()), (2, 3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_comes_later_gets_what_the_queue_kept() {
    let address = {
        let receiver = Receiver::start().await;
        receiver.address
    };
    let table = format!("[traces]\nendpoint = \"http://{address}\"\nsample = 1.0");
    let rig = Plan::replicas(1).with(&table).start().await;
    ask(&rig, 2).await;
    let receiver = Receiver::start_at(address).await;
    receiver.until_requests(&rig, 2).await;
}
