//! A truncated answer is passed on as truncated.

use geofront::geosim::{Fault, When};
use geofront::ogc::RequestClass;

use super::requests::{FEATURES, MAP};
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
