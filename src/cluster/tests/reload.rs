//! Tests of the state that survives a config reload, and of the state that does not.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::fixture::{EJECTION, World, change, out_of_memory, refused, status_500, upstream};
use crate::cluster::{HealthState, Mode, Outcome};
use crate::config::{MainReads, Role, Weight};
use crate::ogc::RequestClass::{Admin, Map};

#[test]
fn a_new_upstream_is_logged_and_gets_no_request_before_its_first_passed_probe() {
    let mut world = World::up(1);
    let lines = world.reload(|config| config.upstreams.push(upstream("new")));
    assert_eq!(lines, ["config_revision=2", "upstream=new change=added"]);
    assert_eq!(world.served_by(Map), ["a"]);
    assert_eq!(
        world.probe_due(|_| Outcome::Success),
        ["upstream=new health=up was=unknown"]
    );
    assert_eq!(world.served_by(Map), ["a", "new"]);
}

#[test]
fn a_retired_upstream_gets_nothing_and_its_leases_finish() {
    let mut world = World::up(2);
    let running = [world.select(Map).unwrap(), world.select(Map).unwrap()];
    let gone = Arc::clone(&running[0].upstream);
    let lines = world.reload(|config| {
        config
            .upstreams
            .retain(|upstream| upstream.name != gone.name)
    });
    assert_eq!(
        lines,
        [
            "config_revision=2".to_owned(),
            format!("upstream={} change=retired", gone.name)
        ]
    );
    assert!(!world.served_by(Map).contains(&gone.name.to_string()));
    assert_eq!(gone.load.in_flight(), 1);
    drop(running);
    assert_eq!(gone.load.in_flight(), 0);
}

#[test]
fn load_health_and_mode_survive_a_change_of_weight_reads_role_and_url() {
    let mut world = World::up(3);
    world.set_mode("b", Mode::Drain);
    world.bring("c", HealthState::Down, &status_500());
    let _running = world.select(Map).unwrap();
    let before = ["a", "b", "c"].map(|name| (world.id(name), world.status(name)));
    world.reload(|config| {
        for upstream in &mut config.upstreams {
            upstream.weight = Weight::new(7).unwrap();
            upstream.reads = MainReads::Always;
            upstream.url = upstream.url.replace("http", "https");
            upstream.role = if upstream.name.as_str() == "a" {
                Role::Main
            } else {
                Role::Replica
            };
        }
    });
    for (id, before) in before {
        let (name, after) = (before.name.as_str(), world.status(before.name.as_str()));
        assert_eq!(world.id(name), id);
        assert_eq!(
            (after.health, after.mode, after.in_flight),
            (before.health, before.mode, before.in_flight),
            "{name}"
        );
        assert_eq!((after.weight, &after.url[..5]), (7, "https"));
    }
    assert_eq!(world.served_by(Admin), ["a"], "the role changed");
}

#[test]
fn an_ejection_and_its_evidence_survive() {
    let mut world = World::up(4);
    (0..2).for_each(|_| drop(world.observe("a", out_of_memory())));
    world.observe("b", out_of_memory());
    world.reload(|config| change(config, "a").weight = Weight::new(9).unwrap());
    assert_eq!(world.status("a").ejected_for, Some(EJECTION));
    assert_eq!(
        world.observe("b", out_of_memory()).len(),
        1,
        "one more is enough"
    );
}

#[test]
fn a_new_address_is_a_new_upstream_under_the_old_name() {
    let mut world = World::up(2);
    let (old, running) = (world.id("a"), world.select(Map).unwrap());
    let lines = world
        .reload(|config| change(config, "a").address = SocketAddr::from(([10, 0, 0, 9], 1)).into());
    assert_eq!(
        lines,
        [
            "config_revision=2",
            "upstream=a change=retired",
            "upstream=a change=added"
        ]
    );
    assert_ne!(world.id("a"), old);
    assert_eq!(
        (world.status("a").health, world.status("a").in_flight),
        (HealthState::Unknown, 0)
    );
    drop(running);
}

#[test]
fn an_upstream_that_is_removed_and_added_again_starts_without_state() {
    let mut world = World::up(2);
    let (old, a) = (world.id("a"), world.config.upstreams[1].clone());
    world.reload(|config| config.upstreams.retain(|upstream| upstream.name != a.name));
    world.reload(|config| config.upstreams.push(a));
    assert_ne!(world.id("a"), old);
    assert_eq!(world.status("a").health, HealthState::Unknown);
}

#[test]
fn unchanged_parts_of_a_configuration_are_kept_and_changed_parts_are_prepared_anew() {
    let mut world = World::up(2);
    let find = |world: &World, name: &str| {
        let snapshot = world.snapshot();
        let found = snapshot
            .serving(Map)
            .find(|upstream| upstream.name.as_str() == name)
            .map(Arc::clone);
        found.unwrap()
    };
    let (a, b) = (find(&world, "a"), find(&world, "b"));
    world.reload(|config| {
        change(config, "a").weight = Weight::new(9).unwrap();
        change(config, "b").host = "other".to_owned();
    });
    assert!(Arc::ptr_eq(&a, &find(&world, "a")));
    let b_now = find(&world, "b");
    assert!(!Arc::ptr_eq(&b, &b_now) && Arc::ptr_eq(&b.load, &b_now.load));
}

#[test]
fn turning_ejection_off_ends_ejections() {
    let mut world = World::up(2);
    (0..2).for_each(|_| drop(world.observe("a", out_of_memory())));
    let lines = world.reload(|config| config.health.ejection_failures = 0);
    assert_eq!(lines[1], "upstream=a ejected=no");
    assert!((0..100).all(|_| world.observe("a", out_of_memory()).is_empty()));
}

#[test]
fn a_shorter_interval_counts_from_the_last_probe() {
    let mut world = World::up(1);
    world.reload(|config| config.health.interval = Duration::from_secs(3600));
    world.live(Duration::from_secs(20), |_| Outcome::Success);
    world.reload(|config| {
        (config.health.interval, config.health.down_interval) =
            (Duration::from_secs(1), Duration::from_secs(1))
    });
    assert!(world.cluster.next_deadline().unwrap() <= world.now + Duration::from_secs(1));
}

#[test]
fn only_changes_that_requests_can_see_make_a_new_snapshot() {
    let mut world = World::unknown(2);
    assert!(world.cluster.take_snapshot().is_none());
    world.probe_due(|name| {
        if name == "b" {
            refused()
        } else {
            Outcome::Success
        }
    });
    assert!(world.cluster.take_snapshot().is_some(), "an upstream is up");
    world.set_mode("b", Mode::Drain);
    world.observe("a", status_500());
    world.observe("a", Outcome::Success);
    world.live(Duration::from_secs(60), |name| {
        if name == "b" {
            refused()
        } else {
            Outcome::Success
        }
    });
    assert!(
        world.cluster.take_snapshot().is_none(),
        "an upstream that was down drains, evidence came and went, probes repeated themselves"
    );
    world.set_mode("a", Mode::Drain);
    assert!(
        world.cluster.take_snapshot().is_some(),
        "an upstream that served drains"
    );
    world.reload(|_| ());
    assert!(
        world.cluster.take_snapshot().is_some(),
        "a configuration is in force"
    );
}
