//! A truncated answer is passed on as truncated.

use geofront::geosim::{Fault, When};
use geofront::ogc::RequestClass;

use super::requests::{FEATURES, MAP, TRANSACTION, WFS, XML};
use super::rig::Plan;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_with_a_length_that_breaks_off_is_not_completed() {
    let rig = Plan::replicas(1).start().await;
    for fault in [Fault::Truncate, Fault::Reset(When::InAnswer)] {
        rig.replicas[0].suffers(fault.clone().only(RequestClass::Map).times(1));
        let answer = rig.client().await.get(MAP).await;
        assert!(answer.is_err() || !answer.unwrap().is_complete, "{fault:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chunked_answer_that_breaks_off_gets_no_last_chunk() {
    let rig = Plan::replicas(1).start().await;
    let whole = rig.get(FEATURES).await;
    assert_eq!(
        (whole.header("transfer-encoding"), whole.is_complete),
        (Some("chunked"), true),
        "the double streams features"
    );
    for fault in [Fault::Truncate, Fault::Reset(When::InAnswer)] {
        rig.replicas[0].suffers(fault.clone().only(RequestClass::Feature).times(1));
        let answer = rig.client().await.get(FEATURES).await;
        assert!(answer.is_err() || !answer.unwrap().is_complete, "{fault:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broken_off_answers_count_against_their_upstream() {
    let rig = Plan::replicas(3).health("ejection = \"1m\"").start().await;
    rig.replicas[0].suffers(Fault::Truncate.only(RequestClass::Feature));
    for _ in 0..60 {
        drop(rig.client().await.get(FEATURES).await);
    }
    assert!(
        rig.upstream("slave1").ejected_for.is_some(),
        "{:#?}",
        rig.upstream("slave1")
    );
}

/// "One replica broke off every answer for a day, and the dashboard was green."
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_count_a_broken_off_answer_as_truncated_under_its_upstream() {
    let rig = Plan::replicas(1).start().await;
    rig.replicas[0].suffers(Fault::Truncate.only(RequestClass::Feature).times(1));
    drop(rig.client().await.get(FEATURES).await);
    let series = |code| {
        format!("geofront_requests_total{{class=\"feature\",upstream=\"slave1\",code=\"{code}\"}}")
    };
    let expected = format!("{} 1\n", series("truncated"));
    let metrics = rig.metrics_with(&expected).await;
    assert!(
        metrics.contains(&format!("{} 0\n", series("2xx"))),
        "{metrics}"
    );
}

/// "A replica resets connections; clients see nothing, and the metrics do not show which one it is."
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_name_the_upstream_of_a_retry_and_of_a_502() {
    let rig = Plan::replicas(2).start().await;
    let reset = || Fault::Reset(When::BeforeAnswer).only(RequestClass::Map);
    rig.replicas[0].suffers(reset());
    for _ in 0..4 {
        assert_eq!(rig.get(MAP).await.status, 200);
    }
    let retried = "geofront_retries_total{class=\"map\",upstream=\"slave1\",reason=\"reset\"} ";
    rig.metrics_with(retried).await;

    let main = Fault::Reset(When::BeforeAnswer).only(RequestClass::Transaction);
    rig.main.suffers(main);
    assert_eq!(rig.post(WFS, XML, TRANSACTION).await.status, 502);
    let lost = "geofront_requests_total{class=\"transaction\",upstream=\"main\",code=\"5xx\"} 1\n";
    rig.metrics_with(lost).await;
}

/// "Slow heads fill our connections, and nothing counts them."
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_that_does_not_come_in_time_is_counted() {
    let rig = Plan::replicas(1)
        .with("[timeouts]\nclient_header = \"100ms\"")
        .start()
        .await;
    let mut client = rig.client().await;
    client
        .send(b"GET /geoserver/wms HTTP/1.1\r\nHos")
        .await
        .unwrap();
    assert!(client.is_closed().await);
    rig.metrics_with("geofront_client_head_timeouts_total 1\n")
        .await;
}
