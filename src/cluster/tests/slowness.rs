//! Tests that an upstream slower than its peers gets less, and is tried now and then.

use std::time::Duration;

use super::fixture::World;
use crate::balance::WHOLE;
use crate::cluster::{Selection, Tried};
use crate::ogc::RequestClass::{self, Feature, Map, Tile};

const STEP: Duration = Duration::from_millis(50);

/// Answers requests at each upstream for this many seconds, each after these milliseconds.
fn answer(world: &mut World, seconds: u32, millis: &[(&str, u64)]) {
    for _ in 0..seconds * 20 {
        for (name, millis) in millis {
            let load = &upstream(world, name).load;
            load.slowness()
                .learn(Tile, 1, Duration::from_millis(*millis));
        }
        world.now += STEP;
        world.snapshot().review_slowness(world.now);
    }
}

fn upstream(world: &World, name: &str) -> std::sync::Arc<crate::cluster::Upstream> {
    let snapshot = world.snapshot();
    snapshot
        .serving(Map)
        .find(|upstream| upstream.name.as_str() == name)
        .cloned()
        .expect("it serves maps")
}

/// Builds a cluster in which `a` is ten times slower than the others, and has had its trial.
fn with_a_slow_one() -> World {
    let mut world = World::up(3);
    answer(&mut world, 5, &[("a", 80), ("b", 8), ("c", 8)]);
    drop(world.select(Tile));
    world
}

fn names(taken: &[Selection], name: &str) -> usize {
    taken
        .iter()
        .filter(|selection| selection.upstream.name.as_str() == name)
        .count()
}

fn take(world: &World, class: RequestClass, count: usize) -> Vec<Selection> {
    (0..count)
        .map(|_| world.select(class).expect("there is no cap"))
        .collect()
}

#[test]
fn a_replica_ten_times_slower_than_its_peers_gets_a_sixteenth_and_never_nothing() {
    let world = with_a_slow_one();
    let taken = take(&world, Map, 33);
    assert_eq!(
        [names(&taken, "a"), names(&taken, "b"), names(&taken, "c")],
        [1, 16, 16]
    );
    let status = world.status("a");
    assert_eq!((status.weight, status.effective_weight), (100, 6));
}

#[test]
fn a_second_after_its_last_trial_the_slow_one_is_next_for_a_tile_but_not_for_an_export() {
    let mut world = with_a_slow_one();
    assert_eq!(names(&take(&world, Tile, 4), "a"), 0);
    world.now += Duration::from_millis(1100);
    assert_eq!(names(&take(&world, Feature, 4), "a"), 0);
    assert_eq!(names(&take(&world, Tile, 4), "a"), 1, "once");
}

#[test]
fn where_only_maps_come_the_slow_one_is_tried_every_other_second() {
    let mut world = with_a_slow_one();
    world.now += Duration::from_millis(1100);
    assert_eq!(names(&take(&world, Map, 4), "a"), 0);
    world.now += Duration::from_millis(1000);
    assert_eq!(names(&take(&world, Map, 4), "a"), 1);
}

#[test]
fn a_replica_that_recovered_has_its_whole_weight_again_within_seconds() {
    let mut world = with_a_slow_one();
    answer(&mut world, 2, &[("a", 8), ("b", 8), ("c", 8)]);
    assert_eq!(upstream(&world, "a").load.slowness().share(), WHOLE);
}

#[test]
fn the_slow_one_serves_whatever_the_others_have_no_place_for() {
    let mut config = super::fixture::config(2);
    config
        .upstreams
        .iter_mut()
        .for_each(|upstream| upstream.max_in_flight = crate::config::MaxInFlight::Fixed(3));
    let mut world = World::configured_up(config);
    answer(&mut world, 5, &[("a", 80), ("b", 8)]);
    let taken = take(&world, Map, 6);
    assert_eq!((names(&taken, "a"), names(&taken, "b")), (3, 3));
}

#[test]
fn tiles_whose_metatile_prefers_the_slow_one_go_to_the_others() {
    let world = with_a_slow_one();
    let snapshot = world.snapshot();
    let upstream_of = |key: u64| {
        let selection = snapshot.select_for(Tile, Some(key << 32), &Tried::default(), world.now);
        selection.expect("there is no limit").upstream.name.clone()
    };
    let to_the_slow_one = (0..300).filter(|key| upstream_of(*key).as_str() == "a");
    assert_eq!(to_the_slow_one.count(), 0);
}
