//! One upstream may die with everything it had in flight.

use std::time::{Duration, Instant};

use geofront::cluster::{HealthState, Mode};
use geofront::geosim::Fault;
use geofront::ogc::RequestClass;
use tokio::task::JoinHandle;

use super::client::{Answer, Client, post};
use super::requests::{FEATURES, MAP, TILE, TRANSACTION, WFS, XML};
use super::rig::{Plan, Rig};

/// Probes as they are by default: they notice nothing of what these tests do within a second.
fn default_health(plan: Plan) -> Plan {
    plan.health("interval = \"5s\"")
        .health("timeout = \"3s\"")
        .health("down_interval = \"2s\"")
}

/// Sends a request on a connection of its own.
fn ask(rig: &Rig, target: String) -> JoinHandle<Answer> {
    let address = rig.address();
    tokio::spawn(async move {
        Client::connect(address)
            .await
            .unwrap()
            .get(&target)
            .await
            .unwrap()
    })
}

/// Sends `count` concurrent map requests, no two of them the same.
fn send_maps(rig: &Rig, count: usize) -> Vec<JoinHandle<Answer>> {
    (0..count)
        .map(|number| {
            ask(
                rig,
                MAP.replace("width=64", &format!("width={}", 64 + number)),
            )
        })
        .collect()
}

async fn statuses(asked: Vec<JoinHandle<Answer>>) -> Vec<u16> {
    let mut statuses = Vec::new();
    for answer in asked {
        statuses.push(answer.await.unwrap().status);
    }
    statuses
}

/// One of two replicas is killed with `in_flight` reads on it.
async fn kill_one_with(in_flight: usize, limits: &str) {
    let rig = default_health(Plan::replicas(2).with(limits)).start().await;
    rig.replicas[0].suffers(Fault::Hang.only(RequestClass::Map));
    rig.app
        .control
        .set_mode("slave2", Mode::Drain, false, Instant::now())
        .unwrap();
    let asked = send_maps(&rig, in_flight);
    rig.until("the reads are on it", |rig| {
        rig.upstream("slave1").in_flight as usize == in_flight
    })
    .await;
    rig.app
        .control
        .set_mode("slave2", Mode::Ready, false, Instant::now())
        .unwrap();
    rig.replicas[0].kill();
    let statuses = statuses(asked).await;
    assert!(
        statuses.iter().all(|status| *status == 200),
        "of {in_flight} in flight: {statuses:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_killed_with_all_its_reads_in_flight_costs_none_of_them_at_the_defaults() {
    // The initial value of the learned limit.
    kill_one_with(8, "").await;
    kill_one_with(16, "[limits]\nmax_in_flight = 16").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_killed_with_a_hundred_reads_in_flight_costs_none_of_them() {
    kill_one_with(100, "[limits]\nmax_in_flight = 100").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_on_a_replica_that_freezes_are_answered_by_others_as_soon_as_it_is_down() {
    let rig = Plan::replicas(2)
        .with("[limits]\nmax_in_flight = 16")
        .health("fall = 2")
        .start()
        .await;
    // Until it freezes, probes pass.
    rig.replicas[0].suffers(Fault::Hang.only(RequestClass::Feature));
    rig.app
        .control
        .set_mode("slave2", Mode::Drain, false, Instant::now())
        .unwrap();
    let asked: Vec<_> = (0..4)
        .map(|number| {
            ask(
                &rig,
                FEATURES.replace("count=200", &format!("count={}", 1 + number)),
            )
        })
        .collect();
    rig.until("the reads are on it", |rig| {
        rig.upstream("slave1").in_flight == 4
    })
    .await;
    rig.app
        .control
        .set_mode("slave2", Mode::Ready, false, Instant::now())
        .unwrap();
    let frozen = Instant::now();
    rig.replicas[0].suffers(Fault::Hang);
    assert_eq!(statuses(asked).await, [200; 4]);
    assert!(
        frozen.elapsed() < Duration::from_secs(10),
        "first_byte is 20 minutes: {:?}",
        frozen.elapsed()
    );
    assert_eq!(rig.replicas[1].received(RequestClass::Feature), 4);
    let metrics = rig.metrics().await;
    assert!(
        metrics.contains(
            "geofront_retries_total{class=\"feature\",upstream=\"slave1\",reason=\"moved\"} 4"
        ),
        "{metrics}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_on_a_main_that_freezes_is_not_sent_again() {
    let rig = Plan::replicas(1)
        .health("fall = 2")
        .with("[classes.transaction]\nfirst_byte = \"2s\"")
        .start()
        .await;
    rig.main.suffers(Fault::Hang);
    let address = rig.address();
    let write = tokio::spawn(async move {
        let mut client = Client::connect(address).await.unwrap();
        client
            .request(&post(WFS, XML, TRANSACTION))
            .await
            .unwrap()
            .status
    });
    rig.until("the main is down", |rig| {
        rig.upstream("main").health == HealthState::Down
    })
    .await;
    assert_eq!(write.await.unwrap(), 504);
    assert_eq!(
        (
            rig.data.writes().len(),
            rig.main.received(RequestClass::Transaction)
        ),
        (0, 1)
    );
}

/// A tile of a metatile of its own.
fn tile(number: usize) -> String {
    let place = format!(
        "EPSG:900913:12&tilerow={}&tilecol={}&",
        8 * (number / 100),
        8 * (number % 100)
    );
    TILE.replace("EPSG:900913:2&tilerow=1&tilecol=1&", &place)
}

/// "The disk of one of three replicas was being rebuilt. It was up, its probes passed, and every
/// third tile took a minute."
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tile_that_a_slow_replica_keeps_waiting_is_answered_by_another() {
    let rig = Plan::replicas(3).start().await;
    for number in 0..150 {
        assert_eq!(ask(&rig, tile(number)).await.unwrap().status, 200);
    }
    let slow = &rig.replicas[0];
    assert!(
        slow.received(RequestClass::Tile) > 20,
        "its times are known"
    );
    slow.suffers(Fault::Hang.only(RequestClass::Tile));
    let waiting: Vec<_> = (200..218).map(|number| ask(&rig, tile(number))).collect();
    // Others are answered meanwhile, so that the slow one can be compared.
    let mut answered = std::pin::pin!(statuses(waiting));
    let all = async {
        for number in 300.. {
            tokio::select! {
                statuses = &mut answered => return statuses,
                other = ask(&rig, tile(number)) => assert_eq!(other.unwrap().status, 200),
            }
        }
        unreachable!("it counts for ever")
    };
    let all = tokio::time::timeout(Duration::from_secs(30), all).await;
    assert_eq!(all.expect("first_byte is 90 s"), [200; 18]);
    let metrics = rig.metrics().await;
    assert!(
        metrics.contains(
            "geofront_retries_total{class=\"tile\",upstream=\"slave1\",reason=\"moved\"}"
        ),
        "{metrics}"
    );
    assert_eq!(rig.upstream("slave1").health, HealthState::Up);
}
