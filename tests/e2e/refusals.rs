//! An eligible upstream answers, or the client gets a clear refusal at once, in the format of its
//! service.

use std::time::{Duration, Instant};

use geofront::cluster::{HealthState, Mode};
use geofront::geosim::Fault;
use geofront::ogc::RequestClass;

use super::requests::{FEATURES, MAP, MAP_130, TRANSACTION, WFS, XML};
use super::rig::{Plan, Rig};

async fn none_up() -> Rig {
    let rig = Plan::replicas(2).start().await;
    rig.main.kill();
    rig.replicas
        .iter()
        .for_each(geofront::geosim::Instance::kill);
    rig.until("every upstream is down", |rig| {
        rig.upstreams()
            .iter()
            .all(|u| u.health == HealthState::Down)
    })
    .await;
    rig
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_are_spread_over_the_replicas_and_the_main_stays_free() {
    let rig = Plan::replicas(3).start().await;
    for _ in 0..30 {
        assert_eq!(rig.get(MAP).await.status, 200);
    }
    assert!(
        rig.replicas
            .iter()
            .all(|replica| replica.received(RequestClass::Map) >= 10),
        "rotation among equals"
    );
    assert!(
        rig.main
            .requests()
            .iter()
            .all(|request| request.header("via").is_none()),
        "the main got a client's read"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_main_serves_reads_when_no_replica_can() {
    let rig = Plan::replicas(2).start().await;
    rig.replicas
        .iter()
        .for_each(geofront::geosim::Instance::kill);
    let answer = rig.get(MAP).await;
    assert_eq!((answer.status, answer.served_by()), (200, "main"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_no_upstream_up_a_map_is_refused_at_once_as_a_service_exception_with_retry_after() {
    let rig = none_up().await;
    let asked = Instant::now();
    let answer = rig.get(MAP).await;
    assert!(asked.elapsed() < Duration::from_secs(2));
    assert_eq!(answer.status, 503);
    assert!(
        answer
            .header("retry-after")
            .unwrap()
            .parse::<u32>()
            .unwrap()
            > 0
    );
    assert_eq!(
        answer.header("content-type"),
        Some("application/vnd.ogc.se_xml;charset=UTF-8")
    );
    assert!(
        answer.text().contains("<ServiceExceptionReport")
            && answer.text().contains("version=\"1.1.1\"")
    );
    assert!(rig.get(MAP_130).await.text().contains("version=\"1.3.0\""));
    assert!(rig.get(FEATURES).await.text().contains("ExceptionReport"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_reveals_nothing_about_the_upstreams() {
    let rig = none_up().await;
    let answer = rig.get(MAP).await;
    let whole = format!("{:?} {}", answer.headers, answer.text());
    for secret in ["127.0.0.1", "slave1", "pingora", "Pingora"] {
        assert!(!whole.contains(secret), "{secret} in {whole}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_never_goes_to_a_replica_even_when_the_main_is_gone() {
    let rig = Plan::replicas(2).start().await;
    rig.main.kill();
    rig.until("the main is down", |rig| {
        rig.upstream("main").health == HealthState::Down
    })
    .await;
    let answer = rig.post(WFS, XML, TRANSACTION).await;
    assert_eq!(answer.status, 503);
    assert_eq!(rig.data.writes().len(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drained_replica_gets_nothing_new_and_a_ready_one_gets_its_share_again() {
    let rig = Plan::replicas(2).start().await;
    rig.app
        .control
        .set_mode("slave1", Mode::Drain, false, Instant::now())
        .unwrap();
    for _ in 0..10 {
        assert_eq!(rig.get(MAP).await.served_by(), "slave2");
    }
    rig.app
        .control
        .set_mode("slave1", Mode::Ready, false, Instant::now())
        .unwrap();
    let mut served = std::collections::HashSet::new();
    for _ in 0..10 {
        served.insert(rig.get(MAP).await.served_by().to_owned());
    }
    assert_eq!(served.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upstream_that_is_silent_past_the_classs_limit_costs_504_not_502() {
    let rig = Plan::replicas(1)
        .with("[classes.process]\nfirst_byte = \"300ms\"")
        .start()
        .await;
    rig.main.suffers(Fault::Hang.only(RequestClass::Process));
    let answer = rig
        .get("/geoserver/wps?service=WPS&version=1.0.0&request=Execute&identifier=gs:Slow")
        .await;
    assert_eq!(answer.status, 504);
    assert!(answer.text().contains("ExceptionReport"));
    assert!(answer.header("retry-after").is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_larger_than_its_class_allows_is_refused_with_413() {
    let rig = Plan::replicas(1)
        .with("[classes.feature]\nmax_body = \"10KB\"")
        .start()
        .await;
    let too_large = super::requests::get_feature_of_size(20_000);
    assert_eq!(rig.post(WFS, XML, &too_large).await.status, 413);
    let chunked = [
        b"POST /geoserver/wfs HTTP/1.1\r\nHost: a\r\nContent-Type: text/xml\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec(),
        format!("{:x}\r\n", too_large.len()).into_bytes(),
        too_large,
        b"\r\n0\r\n\r\n".to_vec(),
    ]
    .concat();
    assert_eq!(rig.request(&chunked).await.status, 413);
    rig.until("no place is held", |rig| rig.in_flight() == 0)
        .await;
}
