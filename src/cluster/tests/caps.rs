//! Tests of the concurrency limit of each upstream, and of the requests that have to wait.

use std::collections::BTreeMap;

use super::fixture::{SLOW_START, World, change, config, name, refused, with_reads};
use crate::balance::{AFFINITY_OVERFLOW, LearnedCap, RESERVE};
use crate::cluster::snapshot::Need;
use crate::cluster::{HealthState, NoUpstream, Outcome, Selection, SelectionRequest, Tried};
use crate::config::{Config, Effort, MainReads, MaxInFlight, Priority, ServedBy};
use crate::ogc::RequestClass::{self, Admin, Capabilities, Feature, Map, Process, Tile, Ui};

fn with_cap(replicas: usize, cap: u32) -> Config {
    let mut config = config(replicas);
    config
        .upstreams
        .iter_mut()
        .for_each(|upstream| upstream.max_in_flight = MaxInFlight::Fixed(cap));
    config
}

/// More slots than any test configures.
const MANY: usize = 1000;

/// Takes every slot there is, and returns the reason why there are no more.
fn fill(world: &World, class: RequestClass) -> (Vec<Selection>, NoUpstream) {
    let snapshot = world.snapshot();
    let mut taken = Vec::new();
    for _ in 0..MANY {
        match snapshot.select(class, &Tried::default(), world.now) {
            Ok(selection) => taken.push(selection),
            Err(why) => return (taken, why),
        }
    }
    panic!("{MANY} requests have a place, and there is no end");
}

fn places(taken: &[Selection]) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    taken.iter().for_each(|selection| {
        *counts
            .entry(selection.upstream.name.to_string())
            .or_default() += 1
    });
    counts
}

#[test]
fn every_upstream_gets_as_many_as_its_cap_and_then_requests_wait() {
    let mut config = with_cap(2, 4);
    change(&mut config, "b").max_in_flight = MaxInFlight::Fixed(2);
    let world = World::configured_up(config);
    let (taken, why) = fill(&world, Map);
    assert_eq!(
        places(&taken),
        BTreeMap::from([("a".to_owned(), 4), ("b".to_owned(), 2)])
    );
    assert_eq!(why, NoUpstream::Full);
    drop(taken);
    assert!(world.select(Map).is_ok());
}

#[test]
fn heavy_requests_leave_three_of_four_places_to_light_ones() {
    let world = World::configured_up(with_cap(2, 8));
    let (heavy, why) = fill(&world, Feature);
    assert_eq!((heavy.len(), why), (4, NoUpstream::Full));
    assert_eq!(fill(&world, Tile).0.len(), 12);
}

#[test]
fn a_class_is_heavy_because_of_its_priority() {
    let mut config = with_cap(1, 8);
    config.classes[Feature].priority = Priority::FIRST;
    config.classes[Map].priority = Priority::LAST;
    let world = World::configured_up(config);
    assert_eq!(fill(&world, Map).0.len(), 2);
    assert_eq!(fill(&world, Feature).0.len(), 8);
}

#[test]
fn a_map_of_many_pixels_counts_as_heavy_whatever_its_class_may_use() {
    let world = World::configured_up(with_cap(1, 8));
    let snapshot = world.snapshot();
    let request = SelectionRequest {
        effort: Effort::Heavy,
        ..SelectionRequest::of(Map)
    };
    let select = || request.select(&snapshot, false, world.now);
    let large: Vec<_> = std::iter::from_fn(|| select().ok()).take(MANY).collect();
    assert_eq!((large.len(), select().unwrap_err()), (2, NoUpstream::Full));
    assert!(large.iter().all(|selection| !selection.teaches_cap));
    assert_eq!(fill(&world, Map).0.len(), 6);
}

#[test]
fn administration_gets_in_when_the_main_is_full() {
    let mut config = with_cap(1, 2);
    config.classes[Map].served_by = ServedBy::Main;
    let world = World::configured_up(config);
    let (_full, why) = fill(&world, Map);
    assert_eq!(why, NoUpstream::Full);
    let (administration, why) = fill(&world, Admin);
    assert_eq!(
        (administration.len() as u32, why),
        (RESERVE, NoUpstream::Full)
    );
    assert_eq!(world.select(Ui).unwrap_err(), NoUpstream::Full);
}

#[test]
fn requests_wait_for_an_only_upstream_that_is_full_but_not_for_one_that_is_down() {
    let mut config = with_cap(2, 4);
    config.classes[Process].served_by = ServedBy::Upstream(name("b"));
    let world = World::configured_up(config);
    let (_full, why) = fill(&world, Process);
    assert_eq!(why, NoUpstream::Full);
    let mut tried = Tried::default();
    tried.add(world.id("b"));
    assert_eq!(
        world
            .snapshot()
            .select(Process, &tried, world.now)
            .unwrap_err(),
        NoUpstream::AllTried
    );
}

#[test]
fn the_backup_does_not_serve_requests_that_full_replicas_cannot_take() {
    let mut config = with_reads(1, MainReads::Backup);
    config
        .upstreams
        .iter_mut()
        .for_each(|upstream| upstream.max_in_flight = MaxInFlight::Fixed(3));
    for class in [Map, Capabilities] {
        let world = World::configured_up(config.clone());
        let (taken, why) = fill(&world, class);
        assert_eq!(
            (places(&taken), why),
            (BTreeMap::from([("a".to_owned(), 3)]), NoUpstream::Full),
            "{class}"
        );
    }
}

#[test]
fn a_retry_waits_for_an_upstream_it_has_not_tried() {
    let mut config = with_cap(2, 1);
    change(&mut config, "main").reads = MainReads::Never;
    let world = World::configured_up(config);
    let (taken, _) = fill(&world, Map);
    let mut tried = Tried::default();
    tried.add(taken[0].upstream.id);
    assert_eq!(
        world.snapshot().select(Map, &tried, world.now).unwrap_err(),
        NoUpstream::Full
    );
    tried.add(taken[1].upstream.id);
    assert_eq!(
        world.snapshot().select(Map, &tried, world.now).unwrap_err(),
        NoUpstream::AllTried
    );
}

#[test]
fn a_replica_that_came_back_gets_one_place_and_then_more() {
    let mut world = World::configured_up(with_cap(2, 16));
    let places = |world: &World| {
        fill(world, Map)
            .0
            .iter()
            .filter(|taken| taken.upstream.name.as_str() == "a")
            .count()
    };
    world.bring("a", HealthState::Down, &refused());
    world.bring("a", HealthState::Up, &Outcome::Success);
    assert_eq!(places(&world), 1);
    world.wait(SLOW_START / 2);
    assert_eq!(places(&world), 8);
    world.wait(SLOW_START);
    assert_eq!(places(&world), 16);
}

#[test]
fn a_learned_cap_is_in_force_as_soon_as_it_is_learned() {
    let mut config = config(1);
    change(&mut config, "a").max_in_flight = MaxInFlight::Auto;
    let world = World::configured_up(config);
    assert_eq!(fill(&world, Map).0.len() as u32, MaxInFlight::AUTO_START);
    let upstream = std::sync::Arc::clone(&world.select(Map).unwrap().upstream);
    upstream.load.set_learned_cap(LearnedCap {
        cap: 5,
        has_extra: true,
        heavy: 0,
    });
    let (taken, _) = fill(&world, Map);
    assert!(taken.len() == 5 && taken.iter().all(|selection| selection.teaches_cap));
    drop(taken);
    assert!(
        !world.select(Feature).unwrap().teaches_cap,
        "heavy requests teach nothing"
    );
}

#[test]
fn on_top_of_a_learned_cap_the_quickest_have_a_quarter_whatever_is_kept_elsewhere() {
    let mut config = config(1);
    config.limits.quick_reserve = 50;
    change(&mut config, "a").max_in_flight = MaxInFlight::Auto;
    let world = World::configured_up(config);
    let (maps, _) = fill(&world, Map);
    assert_eq!(
        (maps.len() as u32, fill(&world, Tile).0.len() as u32),
        (MaxInFlight::AUTO_START, MaxInFlight::AUTO_START / 4)
    );
}

#[test]
fn without_a_concurrency_limit_no_request_waits() {
    let mut config = with_cap(1, 1);
    config
        .upstreams
        .iter_mut()
        .for_each(|upstream| upstream.max_in_flight = MaxInFlight::Off);
    let world = World::configured_up(config);
    let snapshot = world.snapshot();
    let taken: Vec<_> = (0..1000)
        .filter_map(|_| snapshot.select(Feature, &Tried::default(), world.now).ok())
        .collect();
    assert_eq!(taken.len(), 1000);
}

#[test]
fn a_changed_concurrency_limit_applies_to_the_next_request() {
    let mut world = World::configured_up(with_cap(1, 4));
    let (running, _) = fill(&world, Map);
    world.reload(|config| change(config, "a").max_in_flight = MaxInFlight::Fixed(2));
    assert_eq!(world.select(Map).unwrap_err(), NoUpstream::Full);
    drop(running);
    assert_eq!(fill(&world, Map).0.len(), 2);
}

#[test]
fn tiles_join_their_metatile_above_the_limit_if_no_request_waits_and_other_tiles_do_not() {
    let world = World::configured_up(with_cap(3, 2));
    let (snapshot, none) = (world.snapshot(), Tried::default());
    let join = |key: u64| snapshot.select_joining(Tile, key << 32, &none, world.now);
    let metatile: Vec<_> = (0..9).map(|_| join(1).unwrap()).collect();
    assert_eq!(
        places(&metatile).len(),
        1,
        "one replica makes them all, with two places"
    );
    let strict = |key: u64| snapshot.select_for(Tile, Some(key << 32), &none, world.now);
    let elsewhere: Vec<_> = std::iter::from_fn(|| strict(1).ok()).take(MANY).collect();
    assert_eq!(
        elsewhere.len(),
        4,
        "while a request waits, it is a tile like any other"
    );
    assert_eq!(
        join(2).unwrap_err(),
        NoUpstream::Full,
        "there is no request to join"
    );
    drop(metatile);
    assert_eq!(fill(&world, Tile).0.len(), 2);
}

#[test]
fn no_more_than_a_metatile_joins_above_the_cap() {
    let world = World::configured_up(with_cap(1, 2));
    let snapshot = world.snapshot();
    let join = || snapshot.select_joining(Tile, 1, &Tried::default(), world.now);
    let joined: Vec<_> = std::iter::from_fn(|| join().ok()).take(MANY).collect();
    assert_eq!(
        (joined.len(), join().unwrap_err()),
        (2 + AFFINITY_OVERFLOW as usize, NoUpstream::Full)
    );
}

#[test]
fn second_opinions_of_the_main_are_a_few_above_its_limit() {
    let world = World::configured_up(with_cap(1, 2));
    let snapshot = world.snapshot();
    let need = Need::of(Map);
    let opinion = || snapshot.select_main_for_opinion(need, &Tried::default(), world.now);
    let opinions: Vec<_> = std::iter::from_fn(|| opinion().ok()).take(MANY).collect();
    assert_eq!(
        (opinions.len(), opinion().unwrap_err()),
        (2 + 8, NoUpstream::Full)
    );
}
