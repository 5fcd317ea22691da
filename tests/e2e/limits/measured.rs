//! Waiting as the status, the metrics and the access log show it; limits and weights that are
//! learned from latencies.

use std::time::Duration;

use geofront::geosim::{Behaviour, Capacity, ControlFlow};
use geofront::ogc::RequestClass;
use serde_json::Value;
use tokio::task::JoinSet;

use super::{HELD, admin, features, hold, limits, map, metric, send, wait_in_line};
use crate::client::{Client, get};
use crate::rig::{Plan, Rig};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn status_metrics_and_access_log_show_the_waiters_and_how_long_they_wait() {
    let log = tempfile::NamedTempFile::new().unwrap();
    let rig = Plan::replicas(1)
        .access_log(log.path())
        .with(&limits("max_in_flight = 4\nqueue = 7"))
        .start()
        .await;
    let held = hold(&rig, &get(&features(0, HELD))).await;
    let mut waits = wait_in_line(&rig, &get(&features(1, "1ms"))).await;
    let status: Value = serde_json::from_str(&admin(&rig, "/api/status").await).unwrap();
    let (queue, replica) = (&status["queue"], &status["upstreams"][1]);
    assert_eq!(
        (
            &queue["waiting"],
            &queue["most"],
            &queue["classes"][0]["class"]
        ),
        (&1.into(), &7.into(), &"feature".into())
    );
    let told = [
        "in_flight",
        "max_in_flight",
        "heavy_in_flight",
        "max_heavy_in_flight",
    ]
    .map(|key| replica[key].as_u64().unwrap());
    assert_eq!(told, [1, 4, 1, 1]);
    assert_eq!(
        metric(&rig, "geofront_queue_length{class=\"feature\"}").await,
        Some(1.0)
    );
    assert_eq!(
        metric(&rig, "geofront_queue_seconds_count{class=\"feature\"}").await,
        None,
        "its wait is not over"
    );
    drop(held);
    assert_eq!(waits.answer().await.unwrap().status, 200);
    assert_eq!(
        metric(&rig, "geofront_queue_length{class=\"feature\"}").await,
        Some(0.0)
    );
    assert_eq!(
        metric(&rig, "geofront_queue_seconds_count{class=\"feature\"}").await,
        Some(1.0)
    );
    let line = || {
        std::fs::read_to_string(log.path())
            .unwrap()
            .lines()
            .find(|line| line.contains("number=1&"))
            .map(str::to_owned)
    };
    rig.until("the access line is there", |_| line().is_some())
        .await;
    let queued = line()
        .unwrap()
        .split(" queue_ms=")
        .nth(1)
        .and_then(|rest| rest.split(' ').next()?.parse::<f64>().ok());
    assert!(queued > Some(0.0), "{:?}", line());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiting_reported_by_control_flow_inside_an_upstream_is_shown() {
    let control_flow = Some(ControlFlow { timeout: None });
    let behaviour = Behaviour {
        capacity: Capacity::Slots(1),
        control_flow,
        ..Behaviour::default()
    };
    let rig = Plan::replicas(1)
        .behaving(behaviour)
        .with(&limits("max_in_flight = \"off\""))
        .start()
        .await;
    let mut clients = Vec::new();
    for number in 0..4 {
        clients.push(send(&rig, &get(&map(number, "60ms"))).await);
    }
    for client in &mut clients {
        assert_eq!(client.answer().await.unwrap().status, 200);
    }
    let waited = rig.upstream("slave1").waited_inside.unwrap();
    assert!(
        waited > Duration::ZERO && waited < Duration::from_secs(2),
        "{waited:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_learned_limit_goes_down_to_the_slots_of_the_upstream() {
    let behaviour = Behaviour {
        capacity: Capacity::Slots(2),
        ..Behaviour::default()
    };
    let rig = Plan::replicas(1)
        .behaving(behaviour)
        .with(&limits("max_in_flight = \"auto\""))
        .start()
        .await;
    let cap = |rig: &Rig| rig.upstream("slave1").cap.unwrap();
    assert!(
        cap(&rig).is_learned && (cap(&rig).all, cap(&rig).slower) == (10, 8),
        "{:?}",
        cap(&rig)
    );
    let (address, mut clients) = (rig.address(), JoinSet::new());
    for client in 0..32 {
        clients.spawn(async move {
            let mut connection = Client::connect(address).await.unwrap();
            for turn in 0.. {
                connection = match connection.get(&map(client * 100_000 + turn, "4ms")).await {
                    Ok(_) => connection,
                    Err(_) => Client::connect(address).await.unwrap(),
                };
            }
        });
    }
    rig.until("the cap is near the two it works on", |rig| {
        cap(rig).slower <= 5
    })
    .await;
}

/// "One replica's disk was dying, and every third map took ten times as long."
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_becomes_ten_times_slower_gets_little_until_it_has_recovered() {
    let rig = Plan::replicas(3)
        .behaving(Behaviour {
            capacity: Capacity::Slots(4),
            ..Behaviour::default()
        })
        .start()
        .await;
    let (address, mut clients) = (rig.address(), JoinSet::new());
    for client in 0..6 {
        clients.spawn(async move {
            let mut connection = Client::connect(address).await.unwrap();
            for turn in 0.. {
                connection = match connection.get(&map(client * 100_000 + turn, "20ms")).await {
                    Ok(_) => connection,
                    Err(_) => Client::connect(address).await.unwrap(),
                };
            }
        });
    }
    let weight = |rig: &Rig| rig.upstream("slave2").effective_weight;
    rig.until("maps are served", |rig| {
        rig.replicas[1].received(RequestClass::Map) > 50
    })
    .await;
    assert_eq!(weight(&rig), 100, "nothing is wrong with it");
    rig.replicas[1].control().set_speed(0.1);
    rig.until("the slow one gets little", |rig| weight(rig) <= 25)
        .await;
    assert_eq!(rig.upstream("slave1").effective_weight, 100);
    rig.replicas[1].control().set_speed(1.0);
    rig.until("the one that recovered gets its share again", |rig| {
        weight(rig) == 100
    })
    .await;
}
