//! The queue: its order, its bound, its timeout, and requests that leave it.

use std::time::{Duration, Instant};

use geofront::geosim::{Behaviour, Capacity, Fault, When};
use tokio::task::JoinSet;

use super::{
    HELD, features, hold, limits, map, metric, received, seconds_to_wait, send, until_idle,
    until_waiting, wait_in_line,
};
use crate::client::{Client, get};
use crate::requests::TILE;
use crate::rig::Plan;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_burst_of_heavy_jobs_does_not_delay_a_tile() {
    let behaviour = Behaviour {
        capacity: Capacity::Slots(4),
        ..Behaviour::default()
    };
    let rig = Plan::replicas(2)
        .behaving(behaviour)
        .with(&limits("max_in_flight = 4"))
        .start()
        .await;
    let mut jobs = Vec::new();
    for number in 0..20 {
        jobs.push(send(&rig, &get(&features(number, HELD))).await);
    }
    until_waiting(&rig, 18).await;
    let mut tiles = JoinSet::new();
    for column in 0..4 {
        let (tile, address) = (
            TILE.replace("tilecol=1", &format!("tilecol={column}")),
            rig.address(),
        );
        tiles.spawn(async move {
            Client::connect(address)
                .await
                .unwrap()
                .get(&tile)
                .await
                .unwrap()
        });
    }
    assert!(
        tiles
            .join_all()
            .await
            .iter()
            .all(|answer| answer.status == 200)
    );
    assert_eq!(
        (received(&rig, "GetFeature"), rig.app.queue().waiting()),
        (2, 18),
        "no job had to end for them"
    );
    drop(jobs);
    until_idle(&rig).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_to_print_do_not_delay_a_map() {
    let rig = Plan::replicas(1)
        .with(&limits("max_in_flight = 4"))
        .start()
        .await;
    let mut pages = Vec::new();
    for number in 0..10 {
        let page = map(number, HELD).replace("&width=64&height=32", "&width=4000&height=2500");
        assert!(page.contains("4000"), "{page}");
        pages.push(send(&rig, &get(&page)).await);
    }
    until_waiting(&rig, 9).await;
    let answer = Client::connect(rig.address())
        .await
        .unwrap()
        .get(&map(10, "1ms"))
        .await
        .unwrap();
    assert_eq!(answer.status, 200);
    assert_eq!(rig.app.queue().waiting(), 9, "no page had to end for it");
    drop(pages);
    until_idle(&rig).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_leaves_frees_its_place_in_the_queue_at_once() {
    let rig = Plan::replicas(1)
        .with(&limits("max_in_flight = 1"))
        .start()
        .await;
    let held = hold(&rig, &get(&map(0, HELD))).await;
    let gone = wait_in_line(&rig, &get(&map(1, HELD))).await;
    let mut stays = wait_in_line(&rig, &get(&map(2, "1ms"))).await;
    drop(gone);
    until_waiting(&rig, 1).await;
    drop(held);
    assert_eq!(stays.answer().await.unwrap().status, 200);
    assert_eq!(received(&rig, "GetMap"), 2, "who left was never sent");
    until_idle(&rig).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_queue_refuses_with_a_time_in_the_shape_of_the_service() {
    let rig = Plan::replicas(1)
        .with(&limits("max_in_flight = 1\nqueue = 1"))
        .start()
        .await;
    let _held = hold(&rig, &get(&map(0, HELD))).await;
    let _waits = wait_in_line(&rig, &get(&map(1, HELD))).await;
    let refused = rig.get(&map(2, "1ms")).await;
    assert_eq!(
        (refused.status, refused.header("content-type")),
        (503, Some("application/vnd.ogc.se_xml;charset=UTF-8"))
    );
    assert!(
        refused.text().contains("<ServiceExceptionReport") && refused.text().contains("busy"),
        "{}",
        refused.text()
    );
    assert!((1..=60).contains(&seconds_to_wait(&refused)), "{refused:?}");
    let refused = rig.get(&features(3, "1ms")).await;
    assert!(
        refused.status == 503 && refused.text().contains("<ows:ExceptionReport"),
        "{}",
        refused.text()
    );
    assert_eq!(
        metric(
            &rig,
            "geofront_refused_total{class=\"map\",reason=\"queue-full\"}"
        )
        .await,
        Some(1.0)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_queue_makes_room_for_a_better_class() {
    let rig = Plan::replicas(1)
        .with(&limits("max_in_flight = 1\nqueue = 2"))
        .start()
        .await;
    let held = hold(&rig, &get(&map(0, HELD))).await;
    let mut first = wait_in_line(&rig, &get(&map(1, "1ms"))).await;
    let mut newest = wait_in_line(&rig, &get(&map(2, "1ms"))).await;
    let mut tile = send(&rig, &get(TILE)).await;
    let shed = newest.answer().await.unwrap();
    assert!(shed.status == 503 && seconds_to_wait(&shed) > 0, "{shed:?}");
    drop(held);
    assert_eq!(
        (
            tile.answer().await.unwrap().status,
            first.answer().await.unwrap().status
        ),
        (200, 200)
    );
    assert_eq!(
        metric(
            &rig,
            "geofront_refused_total{class=\"map\",reason=\"shed\"}"
        )
        .await,
        Some(1.0)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_waited_too_long_is_refused_with_retry_after() {
    let rig = Plan::replicas(1)
        .with(&limits("max_in_flight = 1\nqueue_timeout = \"300ms\""))
        .start()
        .await;
    let _held = hold(&rig, &get(&map(0, HELD))).await;
    let asked = Instant::now();
    let refused = rig.get(&map(1, "1ms")).await;
    assert!(asked.elapsed() >= Duration::from_millis(300));
    assert!(
        refused.status == 503 && refused.text().contains("<ServiceExceptionReport"),
        "{}",
        refused.text()
    );
    assert!(seconds_to_wait(&refused) > 0);
    until_waiting(&rig, 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn however_many_come_none_is_lost_and_no_upstream_has_more_than_its_cap() {
    let behaviour = Behaviour {
        capacity: Capacity::Slots(2),
        ..Behaviour::default()
    };
    let plan = Plan::replicas(3)
        .behaving(behaviour)
        .health("interval = \"1h\"")
        .with(&limits("max_in_flight = 2"));
    let rig = plan.start().await;
    let (address, mut clients) = (rig.address(), JoinSet::new());
    for client in 0..40 {
        clients.spawn(async move {
            let mut connection = Client::connect(address).await.unwrap();
            for turn in 0..25 {
                let target = match client % 4 {
                    0 => features(client * 100 + turn, "2ms"),
                    _ => map(client * 100 + turn, "2ms"),
                };
                assert_eq!(connection.get(&target).await.unwrap().status, 200);
            }
        });
    }
    clients.join_all().await;
    until_idle(&rig).await;
    assert_eq!(
        received(&rig, "GetMap") + received(&rig, "GetFeature"),
        1000
    );
    // One more while the answer before it is on its last bytes.
    let most = rig
        .replicas
        .iter()
        .map(|replica| replica.control().most_in_flight())
        .max();
    assert!(most <= Some(3), "{most:?} at a time");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiters_are_served_at_once_when_more_slots_are_configured() {
    let rig = Plan::replicas(1)
        .with(&limits("max_in_flight = 1"))
        .start()
        .await;
    let _held = hold(&rig, &get(&map(0, HELD))).await;
    let mut waits = wait_in_line(&rig, &get(&map(1, "1ms"))).await;
    rig.write_config(
        &rig.config()
            .replace("max_in_flight = 1", "max_in_flight = 2"),
    );
    assert!(!rig.app.reload.reload(Instant::now()).is_refused());
    assert_eq!(waits.answer().await.unwrap().status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_waiter_for_an_upstream_that_goes_down_is_served_by_another() {
    let rig = Plan::replicas(1)
        .with(&limits("max_in_flight = 1"))
        .start()
        .await;
    let held = hold(&rig, &get(&map(0, HELD))).await;
    let mut waits = wait_in_line(&rig, &get(&map(1, "1ms"))).await;
    rig.replicas[0].suffers(Fault::ResetConnections);
    let answer = waits.answer().await.unwrap();
    assert_eq!(
        (answer.status, answer.served_by()),
        (200, "main"),
        "the backup serves when there is nobody else"
    );
    drop(held);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retry_goes_before_first_attempts() {
    let rig = Plan::replicas(2)
        .health("ejection_failures = 0")
        .with(&limits("max_in_flight = 1"))
        .start()
        .await;
    let held = hold(&rig, &get(&map(0, HELD))).await;
    let free = rig
        .replicas
        .iter()
        .find(|replica| rig.upstream(replica.name()).in_flight == 0)
        .unwrap();
    free.suffers(
        Fault::Reset(When::BeforeAnswer)
            .under("/geoserver/geor/wms")
            .times(1),
    );
    let mut fails = hold(&rig, &get(&map(1, "400ms"))).await;
    let _takes_its_place = wait_in_line(&rig, &get(&map(2, HELD))).await;
    let _earlier = wait_in_line(&rig, &get(&map(3, HELD))).await;
    rig.until("the one that failed waits for the other", |rig| {
        received(rig, "GetMap") == 3
    })
    .await;
    until_waiting(&rig, 2).await;
    drop(held);
    assert_eq!(fails.answer().await.unwrap().status, 200);
    until_waiting(&rig, 0).await;
}
