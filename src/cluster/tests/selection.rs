//! Tests of the selection of upstreams for requests.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use super::fixture::{
    INTERVAL, SLOW_START, World, change, config, name, refused, status_500, with_reads,
};
use crate::cluster::{
    HealthState, NoUpstream, Outcome, Selection, SelectionRequest, Snapshot, Tried,
};
use crate::config::{MainReads, MaxInFlight, ServedBy, UpstreamGroup, Weight};
use crate::ogc::RequestClass::{self, Admin, Map, Process, Tile};

fn counts<const N: usize>(expected: [(&str, usize); N]) -> BTreeMap<String, usize> {
    expected
        .into_iter()
        .map(|(name, count)| (name.to_owned(), count))
        .collect()
}

#[test]
fn requests_spread_evenly_over_replicas() {
    assert_eq!(
        World::up(3).spread(Map, 30),
        counts([("a", 10), ("b", 10), ("c", 10)])
    );
}

#[test]
fn requests_spread_by_weight() {
    let mut config = config(2);
    change(&mut config, "b").weight = Weight::new(50).unwrap();
    assert_eq!(
        World::configured_up(config).spread(Map, 30),
        counts([("a", 20), ("b", 10)])
    );
}

#[test]
fn one_after_the_other_they_take_turns() {
    let world = World::up(3);
    let snapshot = world.snapshot();
    let select = |_| {
        snapshot
            .select(Map, &Tried::default(), world.now)
            .unwrap()
            .upstream
            .name
            .to_string()
    };
    let turns: Vec<_> = (0..6).map(select).collect();
    assert_eq!(turns[..3], turns[3..]);
    assert_eq!(
        turns[..3]
            .iter()
            .collect::<std::collections::BTreeSet<_>>()
            .len(),
        3
    );
}

#[test]
fn main_only_classes_go_to_the_main_and_never_to_a_replica() {
    let mut world = World::up(2);
    assert_eq!(world.served_by(Admin), ["main"]);
    world.bring("main", HealthState::Down, &status_500());
    assert_eq!(
        world.served_by(Admin),
        ["main"],
        "what it answers does not matter to administration"
    );
    world.bring("main", HealthState::Down, &refused());
    world.live(INTERVAL * 4, |name| {
        if name == "main" {
            refused()
        } else {
            Outcome::Success
        }
    });
    assert_eq!(world.select(Admin).unwrap_err(), NoUpstream::NoneEligible);
}

#[test]
fn a_class_pinned_to_an_upstream_goes_there_or_nowhere() {
    let mut config = config(2);
    config.classes[Process].served_by = ServedBy::Upstream(name("b"));
    let mut world = World::configured_up(config);
    assert_eq!(world.served_by(Process), ["b"]);
    world.bring("b", HealthState::Down, &refused());
    assert_eq!(world.select(Process).unwrap_err(), NoUpstream::NoneEligible);
}

#[test]
fn before_the_first_verdict_requests_wait_for_it_and_not_for_ever() {
    let mut world = World::unknown(2);
    assert_eq!(world.select(Map).unwrap_err(), NoUpstream::NoVerdict);
    assert_eq!(world.select(Admin).unwrap_err(), NoUpstream::NoVerdict);
    let probes = world.begin_probes();
    for (_, upstream) in probes.iter().filter(|(name, _)| name != "main") {
        world.report_probe(*upstream, status_500());
    }
    assert_eq!(
        world.select(Map).unwrap_err(),
        NoUpstream::NoVerdict,
        "the main may still come up"
    );
    world.wait(std::time::Duration::from_secs(5));
    assert_eq!(world.select(Admin).unwrap_err(), NoUpstream::NoneEligible);
}

#[test]
fn a_request_that_no_pending_verdict_can_help_is_refused_at_once() {
    let mut world = World::configured(with_reads(2, MainReads::Never));
    let probes = world.begin_probes();
    for (_, upstream) in probes.iter().filter(|(name, _)| name != "main") {
        world.report_probe(*upstream, refused());
    }
    assert_eq!(
        world.select(Map).unwrap_err(),
        NoUpstream::NoneEligible,
        "the main's verdict does not matter"
    );
    assert_eq!(world.select(Admin).unwrap_err(), NoUpstream::NoVerdict);
}

#[test]
fn as_backup_the_main_serves_reads_only_when_no_replica_can() {
    let mut world = World::configured_up(with_reads(2, MainReads::Backup));
    assert_eq!(world.served_by(Map), ["a", "b"]);
    world.bring("a", HealthState::Down, &status_500());
    assert_eq!(world.served_by(Map), ["b"]);
    world.set_mode("b", crate::cluster::Mode::Drain);
    assert_eq!(world.served_by(Map), ["main"]);
}

#[test]
fn a_main_that_always_reads_is_one_of_them() {
    assert_eq!(
        World::configured_up(with_reads(1, MainReads::Always)).spread(Map, 10),
        counts([("a", 5), ("main", 5)])
    );
}

#[test]
fn a_main_with_reads_never_serves_no_read_when_no_replica_can() {
    let mut world = World::configured_up(with_reads(1, MainReads::Never));
    world.bring("a", HealthState::Down, &refused());
    assert_eq!(world.select(Map).unwrap_err(), NoUpstream::NoneEligible);
    assert_eq!(world.served_by(Admin), ["main"]);
}

#[test]
fn another_try_is_always_elsewhere_and_ends_when_all_were_tried() {
    let world = World::up(3);
    let (snapshot, mut tried, mut names) = (world.snapshot(), Tried::default(), Vec::new());
    while let Ok(selection) = snapshot.select(Map, &tried, world.now) {
        assert!(names.len() < Tried::MAX, "it ends: {names:?}");
        tried.add(selection.upstream.id);
        names.push(selection.upstream.name.to_string());
    }
    assert_eq!(
        names.pop().as_deref(),
        Some("main"),
        "the backup comes last"
    );
    names.sort();
    assert_eq!(names, ["a", "b", "c"]);
    assert_eq!(
        snapshot.select(Map, &tried, world.now).unwrap_err(),
        NoUpstream::AllTried
    );
}

#[test]
fn a_class_of_one_place_is_not_tried_twice() {
    let world = World::up(1);
    let mut tried = Tried::default();
    tried.add(world.id("main"));
    assert_eq!(
        world
            .snapshot()
            .select(Admin, &tried, world.now)
            .unwrap_err(),
        NoUpstream::AllTried
    );
}

#[test]
fn all_tried_is_not_reported_while_an_upstream_has_no_verdict() {
    let world = World::unknown(1);
    let mut tried = Tried::default();
    tried.add(world.id("a"));
    assert_eq!(
        world.snapshot().select(Map, &tried, world.now).unwrap_err(),
        NoUpstream::NoVerdict
    );
}

#[test]
fn a_query_for_a_free_slot_takes_no_slot() {
    let world = World::up(1);
    let (snapshot, mut tried) = (world.snapshot(), Tried::default());
    for name in ["a", "main"] {
        assert!(snapshot.has_place(Map, &tried));
        assert_eq!(world.status(name).in_flight, 0);
        tried.add(world.id(name));
    }
    assert!(!snapshot.has_place(Map, &tried));
}

#[test]
fn tries_beyond_the_most_are_not_remembered_and_do_no_harm() {
    let world = World::up(1);
    let mut tried = Tried::default();
    (0..20).for_each(|_| tried.add(world.id("a")));
    assert!(tried.contains(world.id("a")) && !tried.contains(world.id("main")));
}

#[test]
fn the_upstreams_listed_for_a_class_are_those_that_serve_it() {
    let world = World::up(2);
    for class in RequestClass::ALL {
        let snapshot = world.snapshot();
        let mut serving: Vec<_> = snapshot
            .serving(class)
            .map(|upstream| upstream.name.to_string())
            .collect();
        serving.sort();
        let expected: &[&str] = if world.served_by(class) == ["main"] {
            &["main"]
        } else {
            &["a", "b", "main"]
        };
        assert_eq!(serving, expected, "{class}");
    }
}

/// Selects the upstream for a tile of this metatile.
fn tile(snapshot: &Snapshot, key: u64, tried: &Tried, now: Instant) -> Selection {
    snapshot.select_for(Tile, Some(key), tried, now).unwrap()
}

#[test]
fn tiles_of_one_metatile_go_to_one_replica_and_those_of_others_to_others() {
    let world = World::up(3);
    let snapshot = world.snapshot();
    let place = |key: u64| {
        tile(&snapshot, key << 32, &Tried::default(), world.now)
            .upstream
            .name
            .to_string()
    };
    let mut places = BTreeMap::<_, usize>::new();
    for key in 0..300 {
        let first = place(key);
        assert!((0..16).all(|_| place(key) == first));
        *places.entry(first).or_default() += 1;
    }
    assert!(
        ["a", "b", "c"]
            .iter()
            .all(|name| (60..140).contains(&places[*name])),
        "{places:?}"
    );
}

#[test]
fn a_burst_of_one_metatile_stays_together_and_a_burst_of_many_does_not() {
    let world = World::up(3);
    let snapshot = world.snapshot();
    let counts = |keys: u64| {
        let kept: Vec<_> = (0..16)
            .map(|n| tile(&snapshot, (n % keys) << 32, &Tried::default(), world.now))
            .collect();
        let mut counts = BTreeMap::<_, usize>::new();
        kept.iter().for_each(|selection| {
            *counts
                .entry(selection.upstream.name.to_string())
                .or_default() += 1
        });
        counts
    };
    assert_eq!(counts(1).len(), 1);
    // The keys are all different: the bound for the last is 1.25 * 16 / 3, rounded up.
    assert!(
        counts(16).values().all(|count| *count <= 7),
        "{:?}",
        counts(16)
    );
}

#[test]
fn another_try_of_a_tile_goes_to_the_next_in_its_order_and_at_last_to_the_backup() {
    let world = World::up(3);
    let order = |key| {
        let (snapshot, mut tried, mut names) = (world.snapshot(), Tried::default(), Vec::new());
        while let Ok(selection) = snapshot.select_for(Tile, Some(key), &tried, world.now) {
            assert!(names.len() < Tried::MAX, "it ends: {names:?}");
            tried.add(selection.upstream.id);
            names.push(selection.upstream.name.to_string());
        }
        names
    };
    let orders: std::collections::BTreeSet<_> = (0..100).map(|key| order(key << 32)).collect();
    assert_eq!(orders.len(), 6, "every order of three occurs");
    assert!(orders.iter().all(|order| order[3..] == ["main"]));
    assert_eq!(order(5), order(5));
}

#[test]
fn without_affinity_and_in_other_classes_a_key_does_not_matter() {
    let mut config = config(3);
    config.classes[Tile].affinity = None;
    let (off, on) = (World::configured_up(config), World::up(3));
    for (world, class) in [(&off, Tile), (&on, Map)] {
        let snapshot = world.snapshot();
        let kept: Vec<_> = (0..30)
            .map(|_| {
                snapshot
                    .select_for(class, Some(1), &Tried::default(), world.now)
                    .unwrap()
            })
            .collect();
        let of = |name: &str| {
            kept.iter()
                .filter(|selection| selection.upstream.name.as_str() == name)
                .count()
        };
        assert_eq!([of("a"), of("b"), of("c")], [10, 10, 10]);
    }
}

#[test]
fn the_tiles_of_a_replica_that_is_down_go_elsewhere_and_come_back_with_it() {
    let mut world = World::up(3);
    let places = |world: &World| {
        let snapshot = world.snapshot();
        let place = |key: u64| {
            tile(&snapshot, key << 32, &Tried::default(), world.now)
                .upstream
                .name
                .to_string()
        };
        (0..100).map(place).collect::<Vec<_>>()
    };
    let before = places(&world);
    world.bring("b", HealthState::Down, &status_500());
    let meanwhile = places(&world);
    assert!(
        before
            .iter()
            .zip(&meanwhile)
            .all(|(was, is)| was == is || was == "b")
    );
    world.bring("b", HealthState::Up, &Outcome::Success);
    world.live(SLOW_START * 2, |_| Outcome::Success);
    assert_eq!(places(&world), before);
}

#[test]
fn tiles_of_one_metatile_that_come_at_the_same_instant_stay_together() {
    let world = World::up(3);
    for key in 0..300_u64 {
        let (snapshot, start) = (world.snapshot(), std::sync::Barrier::new(4));
        let select = || {
            start.wait();
            (0..4)
                .map(|_| tile(&snapshot, key << 32, &Tried::default(), world.now))
                .collect::<Vec<_>>()
        };
        let kept: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(select)).collect();
            threads
                .into_iter()
                .flat_map(|thread| thread.join().unwrap())
                .collect()
        });
        let places: std::collections::BTreeSet<_> =
            kept.iter().map(|selection| selection.upstream.id).collect();
        assert_eq!(places.len(), 1, "key {key}");
    }
}

fn group(names: &[&str], only: bool) -> Tried {
    let names = names.iter().map(|called| name(called)).collect();
    Tried::of_group(Arc::new(UpstreamGroup::new(names, only)))
}

/// The upstream that a request of a group goes to.
fn of_group(world: &World, class: RequestClass, tried: &Tried) -> Result<String, NoUpstream> {
    let request = SelectionRequest {
        tried: tried.clone(),
        ..SelectionRequest::of(class)
    };
    let selected = request.select(&world.snapshot(), false, world.now);
    selected.map(|selection| selection.upstream.name.to_string())
}

#[test]
fn a_request_of_a_group_goes_to_its_upstreams_whichever_serve_the_class_otherwise() {
    let world = World::up(3);
    for class in [Map, Tile, Process] {
        for _ in 0..6 {
            assert_eq!(of_group(&world, class, &group(&["b"], false)).unwrap(), "b");
            assert_eq!(
                of_group(&world, class, &group(&["main"], true)).unwrap(),
                "main"
            );
            assert_ne!(
                of_group(&world, class, &group(&["a", "c"], false)).unwrap(),
                "b"
            );
        }
    }
}

#[test]
fn a_group_that_cannot_serve_leaves_its_requests_to_the_others_unless_it_is_the_only_one() {
    let mut world = World::up(2);
    world.bring("b", HealthState::Down, &refused());
    assert_eq!(of_group(&world, Map, &group(&["b"], false)).unwrap(), "a");
    assert_eq!(
        of_group(&world, Map, &group(&["b"], true)).unwrap_err(),
        NoUpstream::NoneEligible
    );
    assert_eq!(
        of_group(&world, Process, &group(&["b"], false)).unwrap(),
        "main",
        "as the class is served without a rule"
    );
    let mut tried = group(&["a"], false);
    tried.add(world.id("a"));
    assert_eq!(of_group(&world, Map, &tried).unwrap(), "main", "the backup");
    let mut tried = group(&["a"], true);
    tried.add(world.id("a"));
    assert_eq!(
        of_group(&world, Map, &tried).unwrap_err(),
        NoUpstream::AllTried
    );
    assert!(!world.snapshot().has_place(Map, &tried));
}

#[test]
fn a_request_waits_for_a_slot_of_its_group_rather_than_taking_one_of_the_others() {
    let mut config = config(2);
    change(&mut config, "b").max_in_flight = MaxInFlight::Fixed(1);
    let world = World::configured_up(config);
    let snapshot = world.snapshot();
    let held = snapshot
        .select(Map, &group(&["b"], false), world.now)
        .unwrap();
    assert_eq!(held.upstream.name.as_str(), "b");
    assert_eq!(
        of_group(&world, Map, &group(&["b"], false)).unwrap_err(),
        NoUpstream::Full
    );
    drop(held);
    assert_eq!(of_group(&world, Map, &group(&["b"], false)).unwrap(), "b");
}

#[test]
fn a_process_for_the_main_goes_to_no_replica_whichever_serve_processes() {
    let mut config = config(2);
    config.classes[Process].served_by = ServedBy::Replicas;
    let mut world = World::configured_up(config);
    let for_main = Tried::of_main();
    let snapshot = world.snapshot();
    let selection = snapshot.select(Process, &for_main, world.now).unwrap();
    assert_eq!(selection.upstream.name.as_str(), "main");
    assert_ne!(
        snapshot
            .select(Process, &Tried::default(), world.now)
            .unwrap()
            .upstream
            .name
            .as_str(),
        "main"
    );
    world.bring("main", HealthState::Down, &refused());
    let snapshot = world.snapshot();
    assert!(!snapshot.has_place(Process, &for_main));
    assert_eq!(
        snapshot.select(Process, &for_main, world.now).unwrap_err(),
        NoUpstream::NoneEligible
    );
}
