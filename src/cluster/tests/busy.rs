//! Tests that a busy upstream is not taken for a dead one: the weight of a probe that was not
//! answered in time.

use std::time::Duration;

use super::fixture::{INTERVAL, World, config, refused};
use crate::cluster::{Cause, HealthState, Outcome, UpstreamId};
use crate::config::MaxInFlight;
use crate::ogc::RequestClass::{Admin, Map};

const LONG: Duration = Duration::from_secs(120);

fn timeout() -> Outcome {
    Outcome::Failure(Cause::Timeout("no answer"))
}

fn slow() -> Outcome {
    Outcome::Failure(Cause::Slow("no answer"))
}

/// Lives through `rounds` probes of `a` that are not answered in time. `request_succeeds`: whether
/// a request succeeds meanwhile.
fn probe_late(world: &mut World, rounds: usize, outcome: &Outcome, request_succeeds: bool) {
    for _ in 0..rounds {
        world.now = world.cluster.next_deadline().unwrap();
        let begun: Vec<(String, UpstreamId)> = world.begin_probes();
        for (name, id) in begun {
            if name == "a" && request_succeeds {
                world.observe("a", Outcome::Success);
            }
            world.report_probe(
                id,
                if name == "a" {
                    outcome.clone()
                } else {
                    Outcome::Success
                },
            );
        }
    }
}

#[test]
fn requests_that_succeed_outvote_probes_that_time_out() {
    for late in [timeout(), slow()] {
        let mut world = World::up(2);
        world.live(INTERVAL * 3, |_| Outcome::Success);
        probe_late(&mut world, 60, &late, true);
        assert_eq!(world.status("a").health, HealthState::Up, "{late:?}");
        probe_late(&mut world, 60, &late, false);
        assert_eq!(world.status("a").health, HealthState::Down, "{late:?}");
    }
}

#[test]
fn a_connection_that_is_refused_is_not_outvoted() {
    let mut world = World::up(2);
    world.live(INTERVAL * 3, |_| Outcome::Success);
    probe_late(&mut world, 60, &refused(), true);
    assert_eq!(world.status("a").health, HealthState::Down);
}

#[test]
fn successes_are_of_interest_while_a_probe_runs_and_until_there_is_one() {
    let mut world = World::up(1);
    world.live(INTERVAL * 3, |_| Outcome::Success);
    let load = std::sync::Arc::clone(&world.select(Map).unwrap().upstream.load);
    assert!(!load.is_in_doubt());
    let begins = (0..1000).any(|_| {
        let begins = world.begin_probes().iter().any(|(name, _)| name == "a");
        if !begins {
            world.now = world.cluster.next_deadline().unwrap();
        }
        begins
    });
    assert!(begins);
    assert!(load.is_in_doubt());
    world.observe("a", Outcome::Success);
    assert!(!load.is_in_doubt());
}

#[test]
fn a_slow_probe_of_an_upstream_at_its_limit_is_busy() {
    let mut config = config(2);
    config
        .upstreams
        .iter_mut()
        .for_each(|upstream| upstream.max_in_flight = MaxInFlight::Fixed(1));
    let mut world = World::configured_up(config);
    let snapshot = world.snapshot();
    let taken: Vec<_> = (0..2)
        .map(|_| {
            snapshot
                .select(Map, &crate::cluster::Tried::default(), world.now)
                .unwrap()
        })
        .collect();
    world.live(LONG, |name| {
        if name == "a" {
            slow()
        } else {
            Outcome::Success
        }
    });
    assert_eq!(world.status("a").health, HealthState::Up);
    drop(taken);
    world.live(LONG, |name| {
        if name == "a" {
            slow()
        } else {
            Outcome::Success
        }
    });
    assert_eq!(world.status("a").health, HealthState::Down);
}

#[test]
fn a_database_that_hangs_everywhere_closes_neither_reads_nor_administration() {
    let mut world = World::up(3);
    world.live(LONG, |_| slow());
    assert_eq!(
        (world.served_by(Map), world.served_by(Admin)),
        (
            ["a", "b", "c"].map(str::to_owned).to_vec(),
            vec!["main".to_owned()]
        )
    );
}
