//! Answers while an administrator's change reaches the replicas are judged as their clients would.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use geofront::geosim::{Behaviour, Cluster, Fault, Instance, eventually};
use tokio::runtime::Runtime;

use crate::arrivals::{Arrival, Kind};
use crate::drive::{self, End, PATIENCE, Sample};
use crate::rig::administrator::{self, Refresh};
use crate::rig::client::Client;
use crate::rolls::{Change, Rolls};

const SECOND: Duration = Duration::from_secs(1);

fn arrival(kind: Kind, chance: u64) -> Arrival {
    Arrival {
        is_print: false,
        at: Duration::ZERO,
        kind,
        work: Duration::ZERO,
        chance,
    }
}

/// A tile, a map and a download of features.
fn one_of_each() -> Vec<Arrival> {
    vec![
        arrival(Kind::Tile, 0),
        arrival(Kind::Map, 0),
        arrival(Kind::Heavy, 0),
    ]
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime starts")
}

/// The samples of one request of each kind.
fn samples_of(instance: &Instance, oldest: u64, runtime: &Runtime) -> Vec<Sample> {
    let clients = [Client::new(instance.address(), PATIENCE)];
    let oldest = Arc::new(AtomicU64::new(oldest));
    drive::run(
        &one_of_each(),
        &clients,
        Instant::now(),
        &oldest,
        runtime.handle(),
    )
}

fn ends_of(instance: &Instance, oldest: u64, runtime: &Runtime) -> Vec<End> {
    let samples = samples_of(instance, oldest, runtime);
    samples.iter().map(|sample| sample.end).collect()
}

#[test]
fn answers_of_a_replica_that_reloads_are_wrong() {
    let behaviour = Behaviour {
        reload_time: SECOND * 60,
        ..Behaviour::default()
    };
    let (runtime, cluster) = (runtime(), Cluster::start_with(1, &behaviour));
    let replica = cluster.replica(1);
    assert_eq!(ends_of(replica, 0, &runtime), [End::Answered; 3]);
    let ends = std::thread::scope(|scope| {
        let reload = || runtime.block_on(administrator::refresh(&cluster, Refresh::AtOnce));
        let reload = scope.spawn(reload);
        eventually("it reloads", || replica.control().is_reloading());
        let ends = ends_of(replica, 0, &runtime);
        replica.kill();
        assert!(reload.join().expect("no panic").is_err());
        ends
    });
    assert!(
        ends.iter().all(|end| matches!(end, End::Wrong(_))),
        "{ends:?}"
    );
}

#[test]
fn an_exception_in_place_of_features_is_wrong_whatever_its_status() {
    let (runtime, cluster) = (runtime(), Cluster::start(1));
    cluster.replica(1).suffers(Fault::OutOfMemory);
    let ends = ends_of(cluster.replica(1), 0, &runtime);
    assert!(
        ends.iter().all(|end| matches!(end, End::Wrong(_))),
        "{ends:?}"
    );
}

#[test]
fn an_answer_from_before_a_change_that_every_replica_had_is_stale() {
    let (runtime, cluster) = (runtime(), Cluster::start(1));
    let client = Client::new(cluster.main().address(), PATIENCE);
    runtime
        .block_on(administrator::publish(&client, "new"))
        .expect("it is published");
    let oldest = cluster.main().epoch().expect("the main runs");
    assert_eq!(
        ends_of(cluster.replica(1), oldest, &runtime),
        [End::Stale; 3]
    );
    let of_main = samples_of(cluster.main(), oldest, &runtime);
    assert!(
        of_main
            .iter()
            .all(|sample| sample.end == End::Answered && sample.is_by_main)
    );
}

#[test]
fn only_requests_due_while_a_change_spreads_count_for_the_roll_and_every_fault_counts() {
    let sample = |at: u32, end: End, latency: Duration| Sample {
        arrival: Arrival {
            at: SECOND * at,
            ..arrival(Kind::Tile, 0)
        },
        late: Duration::ZERO,
        latency,
        end,
        is_by_main: at == 5,
    };
    let samples = [
        sample(1, End::Wrong(400), Duration::ZERO),
        sample(5, End::Answered, Duration::ZERO),
        sample(6, End::Answered, SECOND * 2),
        sample(7, End::Wrong(400), Duration::ZERO),
        sample(10, End::Stale, Duration::ZERO),
    ];
    let change = Change {
        published: SECOND * 5,
        fresh: Some(SECOND * 10),
        looks: 7,
        unseen: 2,
        ..Change::default()
    };
    let rolls = Rolls::new(&samples, vec![change.clone()]);
    assert_eq!((rolls.came, rolls.by_main), (3, 1));
    assert_eq!((rolls.wrong, rolls.stale), ([2, 0, 0], [1, 0, 0]));
    assert_eq!(rolls.faults(), 5);
    assert!((rolls.in_time.of_all() - 1.0 / 3.0).abs() < 1e-9);
    assert!(rolls.are_complete());
    let never = Change {
        fresh: None,
        ..change
    };
    let rolls = Rolls::new(&samples, vec![never]);
    assert!(rolls.came == 4 && !rolls.are_complete());
}
