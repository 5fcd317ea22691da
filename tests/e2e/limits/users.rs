//! Shares of users, rules of control-flow, rates and the black list.

use std::time::{Duration, Instant};

use super::{
    HELD, TRUSTING, features, hold, limits, map, of_user, received, seconds_to_wait, wait_in_line,
    with,
};
use crate::client::get;
use crate::requests::{MAP, TILE};
use crate::rig::Plan;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_burst_of_one_user_does_not_delay_the_first_request_of_another() {
    let rig = Plan::replicas(1)
        .top(TRUSTING)
        .with(&limits("max_in_flight = 1"))
        .start()
        .await;
    let held = hold(&rig, &of_user("carol", &map(0, HELD))).await;
    let mut burst = Vec::new();
    for number in 1..=12 {
        burst.push(wait_in_line(&rig, &of_user("ada", &map(number, "1ms"))).await);
    }
    let mut bob = wait_in_line(&rig, &of_user("bob", &map(13, "1ms"))).await;
    drop(held);
    assert_eq!(bob.answer().await.unwrap().status, 200);
    for client in &mut burst {
        assert_eq!(client.answer().await.unwrap().status, 200);
    }
    let requests = rig.replicas[0].requests();
    let users: Vec<_> = requests
        .iter()
        .filter(|request| request.header("via").is_some())
        .map(|r| r.header("sec-username"))
        .collect();
    assert_eq!(
        users[..4],
        [Some("carol"), Some("ada"), Some("bob"), Some("ada")]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_of_a_user_beyond_its_share_wait_and_do_not_fail() {
    let rig = Plan::replicas(2)
        .top(TRUSTING)
        .with(&limits("per_user = 2"))
        .start()
        .await;
    let first = hold(&rig, &of_user("ada", &map(1, HELD))).await;
    let _second = hold(&rig, &of_user("ada", &map(2, HELD))).await;
    let mut third = wait_in_line(&rig, &of_user("ada", &map(3, "1ms"))).await;
    let bob = rig.request(of_user("bob", &map(4, "1ms")).as_bytes()).await;
    assert_eq!((bob.status, rig.app.queue().waiting()), (200, 1));
    drop(first);
    assert_eq!(third.answer().await.unwrap().status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rule_limits_the_requests_it_names_over_the_whole_cluster() {
    let rig = Plan::replicas(3)
        .with(&limits("control_flow = [\"ows.wms.getmap=2\"]"))
        .start()
        .await;
    let first = hold(&rig, &get(&map(1, HELD))).await;
    let _second = hold(&rig, &get(&map(2, HELD))).await;
    let mut third = wait_in_line(&rig, &get(&map(3, "1ms"))).await;
    assert_eq!(rig.get(&features(4, "1ms")).await.status, 200);
    assert_eq!(rig.app.queue().waiting(), 1);
    drop(first);
    assert_eq!(third.answer().await.unwrap().status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn above_a_rate_a_user_is_refused_as_by_geoserver() {
    let rules = limits("control_flow = [\"user.ows.wms.getmap=2/d\"]");
    let rig = Plan::replicas(1).top(TRUSTING).with(&rules).start().await;
    let ask = async |user: &str, number| {
        rig.request(of_user(user, &map(number, "1ms")).as_bytes())
            .await
    };
    for left in ["1", "0"] {
        let answer = ask("ada", 1).await;
        assert_eq!(
            (answer.status, answer.header("x-rate-limit-remaining")),
            (200, Some(left))
        );
    }
    let refused = ask("ada", 2).await;
    assert!(
        refused.status == 429 && refused.text().contains("<ServiceExceptionReport"),
        "{}",
        refused.text()
    );
    let told = ["context", "limit", "remaining", "action"]
        .map(|what| refused.header(&format!("x-rate-limit-{what}")));
    assert_eq!(
        told,
        [
            Some("wms.getmap"),
            Some("2"),
            Some("0"),
            Some("Reject excess requests")
        ]
    );
    assert!(
        refused
            .header("x-rate-limit-reset")
            .is_some_and(|date| date.ends_with("00:00:00 GMT")),
        "{refused:?}"
    );
    assert!(seconds_to_wait(&refused) > 0);
    assert_eq!(ask("bob", 3).await.status, 200);
    assert_eq!(
        rig.request(of_user("ada", &features(4, "1ms")).as_bytes())
            .await
            .status,
        200
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn above_a_rate_with_a_delay_requests_are_late_and_not_refused() {
    let rig = Plan::replicas(1)
        .with(&limits("control_flow = [\"ip.ows=1/d;1s\"]"))
        .start()
        .await;
    assert_eq!(rig.get(&map(1, "1ms")).await.status, 200);
    let asked = Instant::now();
    let late = rig.get(&map(2, "1ms")).await;
    assert_eq!(
        (late.status, late.header("x-rate-limit-action")),
        (200, Some("Delay excess requests 1000ms"))
    );
    assert!(asked.elapsed() >= Duration::from_secs(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_on_the_black_list_gets_nothing_at_all() {
    let rules =
        limits("control_flow = [\"ip.blacklist=203.0.113.*\", \"ip.whitelist=203.0.113.7\"]");
    let rig = Plan::replicas(1).top(TRUSTING).with(&rules).start().await;
    let ask = async |client: &str, target: &str| {
        rig.request(with(target, &[("X-Forwarded-For", client)]).as_bytes())
            .await
            .status
    };
    for target in [
        MAP,
        TILE,
        "/geoserver/rest/about/version.json",
        "/geoserver/web/",
    ] {
        assert_eq!(ask("203.0.113.6", target).await, 403, "{target}");
        assert_ne!(ask("203.0.113.7", target).await, 403, "{target}");
    }
    assert_eq!(received(&rig, "GetMap"), 1);
}
