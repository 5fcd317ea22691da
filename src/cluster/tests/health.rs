//! Tests of decisions by probes.

use std::time::Duration;

use super::fixture::{
    DOWN_INTERVAL, FALL, INTERVAL, SLOW_START, TIMEOUT, World, refused, status_500,
};
use crate::cluster::{Cause, HealthState, Outcome};
use crate::ogc::RequestClass::{Admin, Map};

#[test]
fn nothing_is_served_before_the_first_passed_probe() {
    let mut world = World::unknown(2);
    assert!(world.served_by(Map).is_empty() && world.served_by(Admin).is_empty());
    assert!(!world.snapshot().would_serve());
    world.probe_due(|_| refused());
    assert!(world.served_by(Map).is_empty() && world.served_by(Admin).is_empty());
}

#[test]
fn one_round_of_probes_brings_a_cluster_up_at_full_weight() {
    let mut world = World::unknown(2);
    let lines = world.probe_due(|_| Outcome::Success);
    assert_eq!(
        lines,
        ["main", "a", "b"].map(|name| format!("upstream={name} health=up was=unknown"))
    );
    assert!(world.snapshot().would_serve());
    assert_eq!(world.status("a").effective_weight, 100);
}

#[test]
fn a_failed_first_probe_sets_an_upstream_down_at_once_with_its_cause() {
    let mut world = World::unknown(1);
    let lines = world.probe_due(|name| {
        if name == "a" {
            status_500()
        } else {
            Outcome::Success
        }
    });
    assert_eq!(
        lines[1],
        r#"upstream=a health=down was=unknown cause="status 500""#
    );
    assert_eq!(world.status("a").last_cause, Some(Cause::Status(500)));
}

#[test]
fn all_first_probes_are_due_at_once_and_later_ones_are_spread() {
    let mut world = World::unknown(4);
    assert_eq!(world.begin_probes().len(), 5);
    let mut world = World::up(4);
    world.live(INTERVAL * 3, |_| Outcome::Success);
    let mut last = world.now;
    for _ in 0..20 {
        world.now = world.cluster.next_deadline().unwrap();
        assert!(
            world.now - last >= INTERVAL / 20,
            "two probes within {:?}",
            world.now - last
        );
        assert_eq!(world.begin_probes().len(), 1);
        last = world.now;
        let id = world
            .cluster
            .upstreams
            .iter()
            .find(|t| t.probes.is_running())
            .unwrap()
            .upstream
            .id;
        world.report_probe(id, Outcome::Success);
    }
}

#[test]
fn it_takes_fall_failures_in_a_row_to_go_down() {
    let mut world = World::up(2);
    let (mut probes, fails) = (0, |name: &str| {
        if name == "a" {
            status_500()
        } else {
            Outcome::Success
        }
    });
    while world.status("a").health == HealthState::Up {
        world.now = world.cluster.next_deadline().unwrap();
        let begun = world.begin_probes();
        probes += begun.iter().filter(|(name, _)| name == "a").count() as u32;
        assert!(probes < 1000, "it never goes down");
        begun
            .into_iter()
            .for_each(|(name, id)| drop(world.report_probe(id, fails(&name))));
    }
    assert!(
        (FALL..=FALL + 1).contains(&probes),
        "one more where the others had not passed in between: {probes}"
    );
    assert_eq!(world.served_by(Map), ["b"]);
}

#[test]
fn a_doubtful_upstream_is_probed_at_the_down_interval() {
    let mut world = World::up(1);
    world.live(INTERVAL * 2, |_| Outcome::Success);
    world.live(INTERVAL * 3 / 2 + DOWN_INTERVAL * 3, |name| {
        if name == "a" {
            status_500()
        } else {
            Outcome::Success
        }
    });
    assert_eq!(world.status("a").health, HealthState::Down);
}

#[test]
fn a_busy_answer_keeps_the_state_it_finds() {
    let mut world = World::up(1);
    world.live(INTERVAL * 10, |_| Outcome::Busy);
    assert_eq!(world.status("a").health, HealthState::Up);
    world.bring("a", HealthState::Down, &status_500());
    world.live(INTERVAL * 10, |_| Outcome::Busy);
    assert_eq!(world.status("a").health, HealthState::Down);
}

#[test]
fn recovery_takes_rise_passes_and_ramps_up() {
    let mut world = World::up(2);
    world.bring("a", HealthState::Down, &status_500());
    world.bring("a", HealthState::Up, &Outcome::Success);
    assert!(world.status("a").effective_weight < 10);
    world.wait(SLOW_START / 2);
    let half = world.status("a").effective_weight;
    assert!((45..=60).contains(&half), "{half}");
    world.wait(SLOW_START / 2);
    assert_eq!(world.status("a").effective_weight, 100);
}

#[test]
fn an_upstream_in_slow_start_gets_a_small_share() {
    let mut world = World::up(2);
    world.bring("a", HealthState::Down, &status_500());
    world.bring("a", HealthState::Up, &Outcome::Success);
    let share = world.spread(Map, 100)["a"];
    assert!((1..=10).contains(&share), "{share} of 100");
}

#[test]
fn a_probe_without_a_report_proves_nothing_and_is_followed_by_the_next() {
    let mut world = World::unknown(1);
    assert_eq!(world.begin_probes().len(), 2);
    world.wait(TIMEOUT);
    assert_eq!(world.status("a").health, HealthState::Unknown);
    let lines = world.wait(Duration::from_secs(2));
    assert_eq!(
        (lines.len(), world.status("a").health),
        (1, HealthState::Unknown),
        "{lines:?}"
    );
    world.wait(DOWN_INTERVAL * 2);
    assert_eq!(world.begin_probes().len(), 2);
}

#[test]
fn a_report_that_comes_after_the_process_stood_still_counts_and_nothing_is_wrong_until_then() {
    let mut world = World::up(1);
    world.wait(INTERVAL * 2);
    let running = world.begin_probes();
    assert_eq!(running.len(), 2);
    assert_eq!(world.stand_still(TIMEOUT * 9), Vec::<String>::new());
    for (_, upstream) in running {
        world.report_probe(upstream, refused());
    }
    world.wait(DOWN_INTERVAL * 2);
    assert_eq!(
        world.begin_probes().len(),
        2,
        "both reports were waited for"
    );
}

#[test]
fn at_most_one_probe_of_an_upstream_is_under_way() {
    let mut world = World::unknown(3);
    assert_eq!(world.begin_probes().len(), 4);
    world.wait(TIMEOUT);
    assert_eq!(world.begin_probes().len(), 0);
}

#[test]
fn an_unexpected_probe_report_changes_nothing() {
    let mut world = World::up(1);
    let id = world.id("a");
    for _ in 0..10 {
        assert!(world.report_probe(id, status_500()).is_empty());
    }
    assert_eq!(world.status("a").health, HealthState::Up);
}
