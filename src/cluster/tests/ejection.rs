//! Tests of the evidence of requests, and of its limits.

use std::time::Duration;

use super::fixture::{
    DOWN_INTERVAL, EJECTION, INTERVAL, World, config, name, out_of_memory, refused, status_500,
    with_reads,
};
use crate::cluster::{
    Cause, Condition, Event, HealthState, LocalFault, Mode, NoUpstream, Outcome, Subject, Tried,
};
use crate::config::{MainReads, ServedBy};
use crate::ogc::RequestClass::{Admin, Feature, Map, Process, Tile};

fn ejected(world: &World, names: &[&str]) -> Vec<String> {
    let is_aside = |name: &&&str| {
        let status = world.status(name);
        status.ejected_for.is_some() || status.half_open
    };
    names
        .iter()
        .filter(is_aside)
        .map(ToString::to_string)
        .collect()
}

/// Builds a cluster of two replicas in which `a` is ejected for running out of memory.
fn world_with_a_ejected() -> World {
    let mut world = World::up(2);
    (0..2).for_each(|_| drop(world.observe("a", out_of_memory())));
    assert_eq!(ejected(&world, &["a", "b"]), ["a"]);
    world
}

#[test]
fn two_node_faults_eject_an_upstream_and_the_log_line_has_the_cause() {
    let mut world = World::up(3);
    assert!(world.observe("a", out_of_memory()).is_empty());
    let lines = world.observe("a", out_of_memory());
    assert_eq!(
        lines,
        [r#"upstream=a ejected=10s cause="node fault: java.lang.OutOfMemoryError""#]
    );
    assert_eq!(world.served_by(Map), ["b", "c"]);
}

#[test]
fn a_busy_answer_is_neither_success_nor_failure() {
    let mut world = World::up(3);
    for _ in 0..4 {
        world.observe("a", status_500());
        assert!((0..100).all(|_| world.observe("a", Outcome::Busy).is_empty()));
    }
    assert_eq!(world.observe("a", status_500()).len(), 1);
}

#[test]
fn a_layer_broken_everywhere_ejects_at_most_half() {
    for replicas in 1..8 {
        let mut world = World::configured_up(with_reads(replicas, MainReads::Never));
        let names: Vec<_> = world
            .config
            .upstreams
            .iter()
            .map(|upstream| upstream.name.to_string())
            .collect();
        for _ in 0..50 {
            names
                .iter()
                .for_each(|name| drop(world.observe(name, status_500())));
        }
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        assert_eq!(
            ejected(&world, &names).len(),
            replicas / 2,
            "{replicas} replicas"
        );
        assert!(world.select(Map).is_ok());
    }
}

#[test]
fn with_a_main_as_backup_even_the_only_replica_can_be_ejected() {
    let mut world = World::up(1);
    (0..2).for_each(|_| drop(world.observe("a", out_of_memory())));
    assert_eq!(world.served_by(Map), ["main"]);
}

#[test]
fn the_backup_is_never_ejected() {
    let mut world = World::up(3);
    assert!((0..100).all(|_| world.observe("main", out_of_memory()).is_empty()));
}

#[test]
fn a_main_that_always_reads_is_ejected_from_reads_and_goes_on_with_the_rest() {
    let mut world = World::configured_up(with_reads(2, MainReads::Always));
    (0..2).for_each(|_| drop(world.observe("main", out_of_memory())));
    assert_eq!(world.served_by(Map), ["a", "b"]);
    assert_eq!(world.served_by(Admin), ["main"]);
}

#[test]
fn a_class_of_one_place_stays_there_through_an_ejection() {
    let mut config = config(2);
    config.classes[Process].served_by = ServedBy::Upstream(name("a"));
    let mut world = World::configured_up(config);
    (0..2).for_each(|_| drop(world.observe("a", out_of_memory())));
    assert_eq!(
        (world.served_by(Map), world.served_by(Process)),
        (vec!["b".to_owned()], vec!["a".to_owned()])
    );
}

#[test]
fn when_the_others_are_gone_the_ejection_is_lifted() {
    let mut world = world_with_a_ejected();
    world.set_mode("main", Mode::Drain);
    assert_eq!(
        world.set_mode("b", Mode::Drain),
        ["upstream=b mode=drain was=ready", "upstream=a ejected=no"]
    );
    assert_eq!(world.served_by(Map), ["a"]);
}

#[test]
fn half_open_means_one_request_at_a_time_until_one_succeeds() {
    let mut world = world_with_a_ejected();
    assert_eq!(world.wait(EJECTION), ["upstream=a ejected=half-open"]);
    assert_eq!(world.spread(Tile, 20)["a"], 1);
    assert_eq!(
        world.observe("a", Outcome::Success),
        ["upstream=a ejected=no"]
    );
    assert_eq!(world.served_by(Map), ["a", "b"]);
}

#[test]
fn the_next_request_is_the_trial_whatever_the_weights() {
    let mut world = world_with_a_ejected();
    world.reload(|config| {
        super::fixture::change(config, "a").weight = crate::config::Weight::new(1).unwrap()
    });
    world.wait(EJECTION);
    assert_eq!(world.select(Tile).unwrap().upstream.name.as_str(), "a");
}

#[test]
fn an_inconclusive_recovery_trial_is_followed_by_the_next() {
    let mut world = world_with_a_ejected();
    world.wait(EJECTION);
    for _ in 0..5 {
        let aborted = world.select(Tile).unwrap();
        assert!(aborted.lease.is_trial() && aborted.upstream.name.as_str() == "a");
    }
}

#[test]
fn a_request_that_failed_once_is_no_recovery_trial_unless_no_other_upstream_is_left() {
    let mut world = world_with_a_ejected();
    world.wait(EJECTION);
    let (snapshot, mut tried, mut names) = (world.snapshot(), Tried::default(), Vec::new());
    tried.add(crate::cluster::UpstreamId(999));
    while let Ok(selection) = snapshot.select(Tile, &tried, world.now) {
        assert!(names.len() < Tried::MAX, "it ends: {names:?}");
        tried.add(selection.upstream.id);
        names.push(selection.upstream.name.to_string());
    }
    assert_eq!(names, ["b", "main", "a"]);
    assert_eq!(
        snapshot.select(Tile, &tried, world.now).unwrap_err(),
        NoUpstream::AllTried
    );
}

#[test]
fn a_failed_trial_ejects_for_longer() {
    let mut world = world_with_a_ejected();
    world.wait(EJECTION);
    assert_eq!(
        world.observe("a", status_500()),
        [r#"upstream=a ejected=20s cause="status 500""#]
    );
    assert!(world.wait(EJECTION).is_empty());
    assert_eq!(world.wait(EJECTION), ["upstream=a ejected=half-open"]);
}

#[test]
fn an_upstream_that_returns_from_ejection_ramps_up() {
    let mut world = world_with_a_ejected();
    world.wait(EJECTION);
    world.observe("a", Outcome::Success);
    assert!(world.status("a").effective_weight < 10);
}

#[test]
fn going_down_ends_the_ejection_because_probes_decide_from_there() {
    let mut world = world_with_a_ejected();
    world.bring("a", HealthState::Down, &refused());
    assert_eq!(world.status("a").ejected_for, None);
    world.bring("a", HealthState::Up, &Outcome::Success);
    assert_eq!(world.served_by(Map), ["a", "b"]);
}

#[test]
fn an_upstream_that_is_not_up_and_ready_is_not_ejected_and_collects_no_evidence() {
    let mut world = World::up(2);
    world.set_mode("a", Mode::Drain);
    assert!((0..100).all(|_| world.observe("a", out_of_memory()).is_empty()));
    world.set_mode("a", Mode::Ready);
    assert!(world.observe("a", out_of_memory()).is_empty());
}

#[test]
fn evidence_hastens_the_next_probe() {
    let mut world = World::up(2);
    world.live(INTERVAL * 4, |_| Outcome::Success);
    world.wait(DOWN_INTERVAL);
    world.begin_probes();
    world.wait(Duration::from_millis(1));
    (0..3).for_each(|_| drop(world.observe("a", refused())));
    let due = world.cluster.upstreams[1].probes.deadline().unwrap();
    assert!(due <= world.now + DOWN_INTERVAL, "{:?}", due - world.now);
}

/// The arithmetic behind "under 0.5 %": the broken replica is always the least loaded, so it gets
/// requests until it is ejected.
#[test]
fn a_replica_that_answers_out_of_memory_costs_a_handful_of_requests() {
    let mut world = World::up(3);
    let (mut snapshot, mut cost, requests) = (world.snapshot(), 0, 20_000);
    for request in 0..requests {
        let selection = snapshot.select(Map, &Tried::default(), world.now).unwrap();
        let name = selection.upstream.name.to_string();
        // Every fourth request succeeds even there, because not every request needs much memory.
        let breaks = name == "a" && request % 4 != 0;
        cost += u32::from(breaks);
        drop(selection);
        world.observe(
            &name,
            if breaks {
                out_of_memory()
            } else {
                Outcome::Success
            },
        );
        world.live(Duration::from_millis(5), |_| Outcome::Success);
        if let Some(changed) = world.cluster.take_snapshot() {
            snapshot = changed;
        }
    }
    assert!(cost * 1000 < requests * 5, "{cost} of {requests}");
}

#[test]
fn a_fault_of_our_own_counts_against_no_upstream_and_is_shown_with_its_remedy() {
    let local = |_: &str| Outcome::Failure(Cause::Local(LocalFault::Descriptors));
    let mut world = World::up(2);
    for _ in 0..20 {
        world.observe("a", local("a"));
    }
    let lines = world.live(INTERVAL * 10, local);
    assert!(
        !lines
            .iter()
            .any(|line| line.contains("health=") || line.contains("ejected=")),
        "{lines:?}"
    );
    assert_eq!(
        (world.status("a").health, ejected(&world, &["a", "b"])),
        (HealthState::Up, vec![])
    );
    let conditions = world.cluster.status(world.now).conditions;
    assert_eq!(conditions.len(), 1, "{conditions:?}");
    assert_eq!(
        conditions[0].condition,
        Condition::LocalFault {
            fault: LocalFault::Descriptors
        }
    );
    world.live(INTERVAL * 2, |_| Outcome::Success);
    assert_eq!(world.cluster.status(world.now).conditions, []);
}

/// Fails a request for a layer at `name` with an exception.
fn fail_on(world: &mut World, name: &str, layer: &str, outcome: Outcome) -> Vec<String> {
    let subject = Some(Subject::new(Some(layer.as_bytes()), ""));
    let (upstream, sent) = (world.id(name), world.now);
    world.handle(Event::Observed {
        upstream,
        sent,
        outcome,
        subject,
    })
}

fn database_down() -> Outcome {
    Outcome::Failure(Cause::NodeFault("Unable to obtain connection".to_owned()))
}

#[test]
fn a_database_that_is_down_ejects_no_upstream_and_is_shown_as_the_cause() {
    let mut world = World::up(3);
    for _ in 0..20 {
        for name in ["a", "b", "c"] {
            fail_on(&mut world, name, "geor:y", database_down());
        }
        assert_eq!(ejected(&world, &["a", "b", "c"]), [""; 0]);
        world.live(INTERVAL, |_| Outcome::Success);
    }
    let conditions = world.cluster.status(world.now).conditions;
    let said: Vec<_> = conditions
        .iter()
        .map(|status| status.condition.to_string())
        .collect();
    assert_eq!(
        said,
        ["layer geor:y fails everywhere: node fault: Unable to obtain connection"]
    );
    assert!(conditions[0].held_for >= INTERVAL * 15, "since it began");
    let lines = world.live(Duration::from_secs(61), |_| Outcome::Success);
    assert!(
        world.cluster.status(world.now).conditions.is_empty(),
        "it ends by itself: {lines:?}"
    );
}

#[test]
fn an_ejection_for_a_fault_that_proves_shared_is_lifted_and_does_not_lengthen_the_next() {
    let mut world = World::up(3);
    for _ in 0..2 {
        (0..2).for_each(|_| drop(fail_on(&mut world, "a", "geor:y", database_down())));
        assert_eq!(
            ejected(&world, &["a", "b", "c"]),
            ["a"],
            "alone it is blamed"
        );
        assert_eq!(world.status("a").ejected_for, Some(EJECTION));
        let lines = fail_on(&mut world, "b", "geor:y", database_down());
        assert!(lines[0].contains("upstream=a ejected=no"), "{lines:?}");
        assert_eq!(ejected(&world, &["a", "b", "c"]), [""; 0]);
        world.live(Duration::from_secs(61), |_| Outcome::Success);
    }
}

/// "One replica was out of memory, one had crashed, the third drew the layer, and the page said
/// that the layer fails everywhere."
#[test]
fn a_layer_that_another_replica_serves_does_not_fail_everywhere() {
    let mut world = World::up(4);
    for _ in 0..6 {
        for name in ["a", "b"] {
            fail_on(&mut world, name, "geor:y", status_500());
            fail_on(&mut world, "c", "geor:y", Outcome::Success);
        }
    }
    assert_eq!(world.cluster.status(world.now).conditions, []);
    assert_eq!(
        ejected(&world, &["a", "b", "c"]),
        ["a", "b"],
        "each is blamed for its own failures"
    );
}

#[test]
fn a_node_that_alone_fails_is_ejected_quickly_whatever_its_layers() {
    let mut world = World::up(3);
    fail_on(&mut world, "b", "geor:x", status_500());
    let layers = ["geor:x", "geor:y", "geor:z", "geor:v", "geor:w", "geor:u"];
    let failures = layers
        .iter()
        .take_while(|layer| fail_on(&mut world, "a", layer, status_500()).is_empty())
        .count();
    assert_eq!(
        (failures, ejected(&world, &["a", "b", "c"])),
        (5, vec!["a".to_owned()]),
        "what it shares does not count"
    );
}

#[test]
fn when_every_upstream_runs_out_of_memory_none_is_ejected() {
    let mut world = World::up(3);
    for round in 0..10 {
        for name in ["a", "b", "c"] {
            fail_on(&mut world, name, &format!("geor:{round}"), out_of_memory());
        }
    }
    assert_eq!(ejected(&world, &["a", "b", "c"]), [""; 0]);
}

#[test]
fn a_trial_is_left_to_light_requests_as_long_as_others_serve() {
    let mut world = world_with_a_ejected();
    world.live(EJECTION, |_| Outcome::Success);
    assert!(world.status("a").half_open);
    let is_trial = |world: &World, class| world.select(class).unwrap().lease.is_trial();
    assert!(is_trial(&world, Tile) && !is_trial(&world, Map) && !is_trial(&world, Feature));
    world.live(Duration::from_secs(1), |_| Outcome::Success);
    assert!(is_trial(&world, Map) && !is_trial(&world, Feature));
    world.live(Duration::from_secs(29), |_| Outcome::Success);
    assert!(is_trial(&world, Feature), "nothing lighter has come");
}
