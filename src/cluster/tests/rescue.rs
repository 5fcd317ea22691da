//! Tests that no request is refused because of a conclusion of ours while some upstream would
//! answer.

use super::super::{Cause, Event, NoUpstream, Outcome, ReloadPhase, Tried};
use super::catalogs::{Catalogs, SECOND, with_credentials};
use super::fixture::{EJECTION, World, config, name, out_of_memory, refused, status_500};
use crate::cluster::HealthState;
use crate::config::{Config, MainReads, ServedBy, StalePolicy};
use crate::ogc::RequestClass::{self, Capabilities, Map, Process};

const DRAIN: std::time::Duration = std::time::Duration::from_secs(30);

/// Builds replicas `a` and `b`; `b` alone runs processes.
fn pinned() -> Catalogs {
    let mut config = with_credentials(config(2));
    config.classes[Process].served_by = ServedBy::Upstream(name("b"));
    config.catalog.drain_timeout = DRAIN;
    Catalogs::configured(config)
}

fn rescue(world: &mut World, class: RequestClass, tried: &Tried) -> bool {
    let could = world.cluster.could_rescue(class, tried);
    let (is_found, transitions) = world.cluster.rescue(class, tried, world.now);
    assert!(is_found || !could, "what could be done is done");
    world.log.extend(transitions);
    is_found
}

fn tried<const N: usize>(world: &World, names: [&str; N]) -> Tried {
    let mut tried = Tried::default();
    names.into_iter().for_each(|name| tried.add(world.id(name)));
    tried
}

fn phase(catalogs: &Catalogs, name: &str) -> ReloadPhase {
    catalogs.world.status(name).catalog.phase
}

/// Lives until `b` drains, kept from its reload by a process that runs there.
fn drains_beside_a_process(catalogs: &mut Catalogs) -> crate::cluster::Selection {
    let running = catalogs.world.select(Process).unwrap();
    catalogs.publish();
    for _ in 0..200 {
        if phase(catalogs, "b") == ReloadPhase::Draining {
            return running;
        }
        catalogs.live(SECOND / 10);
    }
    panic!("b never drains: {:#?}", catalogs.log);
}

#[test]
fn a_draining_replica_continues_to_serve_a_class_that_it_alone_serves() {
    let mut catalogs = pinned();
    let running = drains_beside_a_process(&mut catalogs);
    let world = &mut catalogs.world;
    assert_eq!(world.select(Process).unwrap_err(), NoUpstream::NoneEligible);
    assert!(rescue(world, Process, &Tried::default()));
    assert_eq!(world.select(Process).unwrap().upstream.name, name("b"));
    let lines: Vec<_> = world.log.iter().map(ToString::to_string).collect();
    assert!(
        lines.iter().any(|line| line.contains("catalog=postponed")
            && line.contains("it alone can answer a request of class process")),
        "{lines:?}"
    );
    assert!(
        !lines.iter().any(|line| line.contains("catalog=roll-ended")),
        "what is postponed is a part of the roll: {lines:?}"
    );
    drop(running);
    catalogs.live(SECOND * 20);
    assert!(catalogs.all_fresh(), "{:#?}", catalogs.log);
    let ended = |line: &&String| line.contains("catalog=roll-ended");
    assert_eq!(
        catalogs.log.iter().filter(ended).count(),
        1,
        "what is postponed is a part of the roll"
    );
}

#[test]
fn a_reload_is_not_postponed_for_ever() {
    let mut catalogs = pinned();
    let running = drains_beside_a_process(&mut catalogs);
    let (start, mut rescues) = (catalogs.world.now, 0);
    while phase(&catalogs, "b") != ReloadPhase::Reloading {
        assert!(
            catalogs.world.now < start + DRAIN * 5 / 2,
            "b is not reloaded: {:#?}",
            catalogs.log
        );
        let world = &mut catalogs.world;
        if world
            .select(Process)
            .is_err_and(|why| why == NoUpstream::NoneEligible)
        {
            assert!(rescue(world, Process, &Tried::default()));
            rescues += 1;
        }
        catalogs.live(SECOND / 10);
    }
    assert!((20..40).contains(&rescues), "{rescues} times");
    let postponed = |line: &&String| line.contains("catalog=postponed");
    assert!(
        catalogs.log.iter().filter(postponed).count() <= 1,
        "it is reported once"
    );
    drop(running);
    catalogs.live(SECOND * 20);
    assert!(catalogs.all_fresh(), "{:#?}", catalogs.log);
}

#[test]
fn a_request_for_a_class_of_one_replica_waits_for_its_reload() {
    let mut catalogs = pinned();
    catalogs.reload_takes = SECOND * 5;
    catalogs.publish();
    let mut waited = 0;
    for _ in 0..300 {
        catalogs.live(SECOND / 10);
        if matches!(
            phase(&catalogs, "b"),
            ReloadPhase::Reloading | ReloadPhase::Testing
        ) {
            let world = &mut catalogs.world;
            assert_eq!(world.select(Process).unwrap_err(), NoUpstream::Full);
            assert!(world.snapshot().has_place(Process, &Tried::default()));
            let tried = tried(world, ["b"]);
            assert_eq!(
                world
                    .snapshot()
                    .select(Process, &tried, world.now)
                    .unwrap_err(),
                NoUpstream::NoneEligible,
                "it was tried already"
            );
            waited += 1;
        }
    }
    assert!(waited >= 40, "{waited}");
    assert!(catalogs.world.select(Process).is_ok());
}

#[test]
fn a_request_for_a_class_of_one_replica_does_not_wait_after_its_reload_failed() {
    let mut catalogs = pinned();
    catalogs.reload_answers = |name| match name {
        "b" => Err(Cause::Status(500)),
        _ => Ok(()),
    };
    catalogs.canary = |name| match name {
        "b" => status_500(),
        _ => Outcome::Success,
    };
    catalogs.publish();
    for _ in 0..300 {
        catalogs.live(SECOND / 10);
        if phase(&catalogs, "b") == ReloadPhase::Failed && catalogs.world.status("b").catalog.is_out
        {
            let world = &mut catalogs.world;
            assert_eq!(world.select(Process).unwrap_err(), NoUpstream::NoneEligible);
            assert!(
                !rescue(world, Process, &Tried::default()),
                "it may be empty"
            );
            return;
        }
    }
    panic!("no reload of b failed: {:#?}", catalogs.log);
}

#[test]
fn a_replica_that_reloads_or_has_drawn_no_canary_does_not_serve() {
    let mut catalogs = pinned();
    catalogs.reload_takes = SECOND * 5;
    catalogs.publish();
    let mut seen = 0;
    for _ in 0..300 {
        catalogs.live(SECOND / 10);
        for out in ["a", "b"] {
            if matches!(
                phase(&catalogs, out),
                ReloadPhase::Reloading | ReloadPhase::Testing
            ) {
                let other = if out == "a" { "b" } else { "a" };
                let world = &mut catalogs.world;
                let tried = tried(world, [other, "main"]);
                assert!(!rescue(world, Map, &tried));
                seen += 1;
            }
        }
    }
    assert!(seen > 50, "{seen}");
}

#[test]
fn a_retry_goes_to_a_replica_that_drains_where_no_other_is_left() {
    let mut catalogs = pinned();
    let running = drains_beside_a_process(&mut catalogs);
    let world = &mut catalogs.world;
    let tried = tried(world, ["a", "main"]);
    assert_eq!(
        world.snapshot().select(Map, &tried, world.now).unwrap_err(),
        NoUpstream::AllTried
    );
    assert!(rescue(world, Map, &tried));
    let selection = world.snapshot().select(Map, &tried, world.now).unwrap();
    assert_eq!(selection.upstream.name, name("b"));
    drop(running);
}

#[test]
fn no_reload_is_postponed_for_a_request_that_another_upstream_answers() {
    let mut catalogs = pinned();
    let running = drains_beside_a_process(&mut catalogs);
    let world = &mut catalogs.world;
    assert!(rescue(world, Map, &Tried::default()), "a answers it");
    assert_eq!(phase(&catalogs, "b"), ReloadPhase::Draining);
    drop(running);
}

/// Builds replicas `a` and `b`, of which `b` is ejected. The main serves no reads.
fn ejected() -> World {
    let mut config = config(2);
    config.upstreams[0].reads = MainReads::Never;
    let mut world = World::configured_up(config);
    (0..5).for_each(|_| drop(world.observe("b", out_of_memory())));
    assert!(world.status("b").ejected_for.is_some());
    world
}

#[test]
fn a_retry_goes_to_an_ejected_upstream_where_no_other_is_left() {
    let mut world = ejected();
    let tried = tried(&world, ["a"]);
    assert_eq!(
        world.snapshot().select(Map, &tried, world.now).unwrap_err(),
        NoUpstream::AllTried
    );
    assert!(rescue(&mut world, Map, &tried));
    let selection = world.snapshot().select(Map, &tried, world.now).unwrap();
    assert_eq!(selection.upstream.name, name("b"));
    assert!(selection.lease.is_trial());
    // Another request in the same situation waits for the end of that trial.
    assert_eq!(
        world.snapshot().select(Map, &tried, world.now).unwrap_err(),
        NoUpstream::Full
    );
    world.observe("b", Outcome::Success);
    drop(selection);
    assert!(world.snapshot().select(Map, &tried, world.now).is_ok());
    assert!(world.status("b").ejected_for.is_none() && !world.status("b").half_open);
}

#[test]
fn an_early_trial_that_fails_makes_the_ejection_no_longer() {
    let mut world = ejected();
    let tried = tried(&world, ["a"]);
    world.wait(SECOND);
    let left = world.status("b").ejected_for;
    for _ in 0..10 {
        assert!(rescue(&mut world, Map, &tried));
        world.observe("b", status_500());
        assert_eq!(world.status("b").ejected_for, left);
    }
    world.wait(EJECTION);
    assert!(world.status("b").half_open, "its time is over");
    world.observe("b", status_500());
    assert_eq!(world.status("b").ejected_for, Some(EJECTION * 2));
}

#[test]
fn a_stale_replica_serves_capabilities_as_a_last_resort_unless_stale_replicas_are_avoided() {
    let is_listed = |adapt: fn(&mut Config)| {
        let mut config = with_credentials(config(2));
        config.catalog.roll_share = 1;
        adapt(&mut config);
        let mut catalogs = Catalogs::configured(config);
        let (upstream, sent) = (catalogs.world.id("b"), catalogs.world.now);
        catalogs.reload_answers = |_| Err(refused_cause());
        catalogs.handle(Event::StaleSeen {
            upstream,
            layer: "geor:roads".into(),
            sent,
        });
        catalogs.live(SECOND * 5);
        let world = &mut catalogs.world;
        assert!(!world.status("b").catalog.is_fresh);
        (0..5).for_each(|_| drop(world.observe("b", out_of_memory())));
        assert!(world.status("b").ejected_for.is_some(), "{:?}", world.log);
        let tried = tried(world, ["a", "main"]);
        rescue(world, Capabilities, &tried)
    };
    assert!(is_listed(|_| {}));
    assert!(!is_listed(
        |config| config.catalog.stale = StalePolicy::Avoid
    ));
}

fn refused_cause() -> Cause {
    match refused() {
        Outcome::Failure(cause) => cause,
        Outcome::Success | Outcome::Busy => unreachable!("it is a failure"),
    }
}

#[test]
fn an_upstream_that_is_gone_or_ordered_away_helps_no_request() {
    let mut world = ejected();
    let tried = tried(&world, ["a"]);
    world.set_mode("b", crate::cluster::Mode::Drain);
    assert!(!rescue(&mut world, Map, &tried));
    world.set_mode("b", crate::cluster::Mode::Ready);
    world.bring("b", HealthState::Down, &refused());
    assert!(!rescue(&mut world, Map, &tried));
    let main = self::tried(&world, ["main"]);
    assert!(!rescue(&mut world, RequestClass::Admin, &main));
}

#[test]
fn a_replica_that_may_be_empty_serves_nothing_while_it_drains_for_another_reload() {
    let mut catalogs = pinned();
    catalogs.reload_answers = |name| match name {
        "b" => Err(Cause::Status(500)),
        _ => Ok(()),
    };
    catalogs.canary = |name| match name {
        "b" => status_500(),
        _ => Outcome::Success,
    };
    // It is reloaded beside this process, which does not end.
    let running = drains_beside_a_process(&mut catalogs);
    let mut has_failed = false;
    for _ in 0..1000 {
        catalogs.live(SECOND / 10);
        has_failed |= phase(&catalogs, "b") == ReloadPhase::Failed;
        if has_failed && phase(&catalogs, "b") == ReloadPhase::Draining {
            let world = &mut catalogs.world;
            assert!(!world.cluster.could_rescue(Process, &Tried::default()));
            rescue(world, Process, &Tried::default());
            assert!(world.status("b").catalog.is_out);
            assert_eq!(world.select(Process).unwrap_err(), NoUpstream::Full);
            drop(running);
            return;
        }
    }
    panic!("b does not drain again: {:#?}", catalogs.log);
}
