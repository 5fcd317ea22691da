//! Tests of operators' orders.

use std::sync::Arc;

use super::fixture::{INTERVAL, World, config, name, refused, status_500, with_reads};
use crate::balance::{LearnedCap, Load};
use crate::cluster::{
    HealthState, LastServing, Memory, Mode, ModeError, ModeOrder, ModeOrigin, Outcome,
};
use crate::config::{MainReads, ServedBy};
use crate::ogc::RequestClass::{Map, Process};

fn refused_classes(world: &mut World, name: &str, mode: Mode) -> Vec<&'static str> {
    match world.cluster.set_mode(name, mode, false, world.now) {
        Ok(_) => Vec::new(),
        Err(ModeError::LastServing(LastServing { classes, .. })) => {
            classes.into_iter().map(|class| class.as_str()).collect()
        }
        Err(error @ ModeError::NoSuchUpstream(_)) => panic!("{error}"),
    }
}

#[test]
fn a_draining_upstream_gets_no_new_request_and_finishes_running_ones() {
    let mut world = World::up(2);
    let running = world.select(Map).unwrap();
    let name = running.upstream.name.to_string();
    assert_eq!(
        world.set_mode(&name, Mode::Drain),
        [format!("upstream={name} mode=drain was=ready")]
    );
    assert!(!world.served_by(Map).contains(&name));
    assert_eq!(world.status(&name).in_flight, 1);
}

#[test]
fn a_draining_upstream_is_probed_and_serves_at_once_when_ready() {
    let mut world = World::up(2);
    world.set_mode("a", Mode::Drain);
    world.bring("a", HealthState::Down, &status_500());
    world.bring("a", HealthState::Up, &Outcome::Success);
    world.set_mode("a", Mode::Ready);
    assert_eq!(world.served_by(Map), ["a", "b"]);
}

#[test]
fn in_maintenance_there_are_no_probes_and_nothing_is_known() {
    let mut world = World::up(1);
    let lines = world.set_mode("a", Mode::Maintenance);
    assert_eq!(
        lines,
        [
            "upstream=a mode=maintenance was=ready",
            "upstream=a health=unknown was=up"
        ]
    );
    world.live(INTERVAL * 5, |name| {
        if name == "a" {
            panic!("probed in maintenance")
        } else {
            Outcome::Success
        }
    });
}

#[test]
fn a_probe_under_way_into_maintenance_does_not_count() {
    let mut world = World::up(1);
    world.now = world.cluster.next_deadline().unwrap() + INTERVAL;
    let begun = world.begin_probes();
    world.set_mode("a", Mode::Maintenance);
    begun
        .into_iter()
        .for_each(|(_, id)| drop(world.report_probe(id, Outcome::Success)));
    assert_eq!(world.status("a").health, HealthState::Unknown);
}

#[test]
fn an_upstream_back_from_maintenance_gets_no_request_before_a_passed_probe() {
    let mut world = World::up(2);
    world.set_mode("a", Mode::Maintenance);
    world.set_mode("a", Mode::Ready);
    assert_eq!(world.served_by(Map), ["b"]);
    world.probe_due(|_| Outcome::Success);
    assert_eq!(world.served_by(Map), ["a", "b"]);
}

#[test]
fn the_same_order_twice_is_no_transition() {
    let mut world = World::up(2);
    world.set_mode("a", Mode::Drain);
    assert!(world.set_mode("a", Mode::Drain).is_empty());
}

fn ordered(mode: Mode, by: &str) -> ModeOrder {
    ModeOrder {
        mode,
        force: false,
        origin: Some(ModeOrigin {
            by: by.to_owned(),
            at: 1_700_000_000,
        }),
    }
}

#[test]
fn an_ordered_mode_survives_a_restart_with_its_origin_and_is_no_transition_there() {
    let mut world = World::up(3);
    for (name, mode) in [
        ("a", Mode::Drain),
        ("b", Mode::Maintenance),
        ("c", Mode::Drain),
        ("c", Mode::Ready),
    ] {
        world
            .cluster
            .order_mode(name, ordered(mode, "alice"), world.now)
            .unwrap();
    }
    let mut restarted = World::configured(config(3));
    restarted.cluster.recall(&world.cluster.memory());
    let lines = restarted.live(INTERVAL * 3, |name| {
        if name == "b" {
            panic!("probed in maintenance")
        } else {
            Outcome::Success
        }
    });
    assert!(
        !lines.iter().any(|line| line.contains("mode=")),
        "{lines:?}"
    );
    assert_eq!(restarted.served_by(Map), ["c"]);
    let origin = restarted.status("a").mode_origin.unwrap();
    assert_eq!((origin.by.as_str(), origin.at), ("alice", 1_700_000_000));
}

fn load(world: &World, name: &str) -> Arc<Load> {
    let found = world
        .cluster
        .upstreams
        .iter()
        .find(|state| state.upstream.name.as_str() == name);
    Arc::clone(&found.unwrap().upstream.load)
}

#[test]
fn a_learned_limit_survives_a_restart_and_stays_with_the_address() {
    let world = World::up(2);
    let learned = LearnedCap {
        cap: 23,
        has_extra: true,
        heavy: 2,
    };
    load(&world, "a").set_learned_cap(learned);
    let memory = world.cluster.memory();
    let mut renamed = config(2);
    renamed
        .upstreams
        .iter_mut()
        .find(|u| u.name.as_str() == "a")
        .unwrap()
        .name = name("x");
    let mut restarted = World::configured(renamed);
    restarted.cluster.recall(&memory);
    assert_eq!(load(&restarted, "x").learned_cap(), Some(learned));
    assert_eq!(load(&restarted, "b").learned_cap(), None);
}

#[test]
fn the_chosen_layer_survives_a_restart() {
    let memory = Memory {
        chosen_layer: Some("a:b".to_owned()),
        ..Memory::default()
    };
    let mut world = World::configured(config(1));
    world.cluster.recall(&memory);
    assert_eq!(world.cluster.memory(), memory);
}

#[test]
fn an_order_for_an_unknown_upstream_is_an_error() {
    let mut world = World::up(1);
    let error = world
        .cluster
        .set_mode("slave9", Mode::Drain, true, world.now)
        .unwrap_err();
    assert_eq!(error.to_string(), "no upstream is called `slave9`");
}

#[test]
fn the_last_that_serves_reads_is_not_taken_without_force() {
    let mut world = World::configured_up(with_reads(2, MainReads::Never));
    assert!(refused_classes(&mut world, "a", Mode::Drain).is_empty());
    assert!(refused_classes(&mut world, "b", Mode::Drain).contains(&"map"));
    assert_eq!(world.status("b").mode, Mode::Ready);
    world.set_mode("b", Mode::Drain);
    assert_eq!(world.status("b").mode, Mode::Drain);
}

#[test]
fn a_backup_is_enough_to_let_the_last_replica_go() {
    let mut world = World::up(1);
    assert!(refused_classes(&mut world, "a", Mode::Maintenance).is_empty());
    assert_eq!(world.served_by(Map), ["main"]);
}

#[test]
fn the_main_is_not_taken_without_force_because_administration_would_stop() {
    let mut world = World::up(2);
    assert_eq!(
        refused_classes(&mut world, "main", Mode::Drain),
        ["process", "transaction", "admin", "ui", "unknown"]
    );
}

#[test]
fn the_one_place_of_a_class_is_not_taken_without_force() {
    let mut config = config(2);
    config.classes[Process].served_by = ServedBy::Upstream(name("a"));
    assert_eq!(
        refused_classes(&mut World::configured_up(config), "a", Mode::Drain),
        ["process"]
    );
}

#[test]
fn an_upstream_that_serves_nothing_now_may_always_be_drained() {
    let mut world = World::up(1);
    world.bring("main", HealthState::Down, &refused());
    assert!(refused_classes(&mut world, "main", Mode::Maintenance).is_empty());
    assert!(refused_classes(&mut world, "main", Mode::Drain).is_empty());
}

#[test]
fn an_ejected_replica_does_not_make_the_other_dispensable() {
    let mut world = World::configured_up(with_reads(2, MainReads::Never));
    (0..2).for_each(|_| drop(world.observe("a", super::fixture::out_of_memory())));
    assert!(world.status("a").ejected_for.is_some());
    assert!(refused_classes(&mut world, "b", Mode::Drain).contains(&"map"));
}
