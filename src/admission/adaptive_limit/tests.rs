//! The learned cap on simulated servers: against the best fixed cap, and when speed or load change.

mod server;

use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;
use server::{Change, Kind, Run, World};

fn answered(concurrency: u32, millis: u64, waited: Option<Duration>) -> Answered {
    let took = Duration::from_millis(millis);
    Answered {
        class: RequestClass::Map,
        is_quick: false,
        concurrency,
        heavy: 0,
        took,
        waited,
    }
}

fn tile(concurrency: u32, millis: u64) -> Answered {
    Answered {
        class: RequestClass::Tile,
        is_quick: true,
        ..answered(concurrency, millis, None)
    }
}

/// Returns the geometric mean of the classes' mean latencies, queue included, so that each class
/// counts alike.
fn times(run: &Run) -> f64 {
    [RequestClass::Tile, RequestClass::Map, RequestClass::Feature]
        .map(|class| run.mean(class))
        .into_iter()
        .product::<f64>()
        .cbrt()
}

/// The comparison is with caps of up to two requests per core, the number that GeoServer's
/// documentation advises. On cores that are shared without any loss, as here, no cap at all would
/// be a third better for tiles; on real machines, with their caches, it is not.
#[test]
fn at_high_load_it_is_within_a_tenth_of_the_best_fixed_cap_up_to_two_a_core() {
    for kind in [Kind::Slots, Kind::Shared] {
        let at = |fixed| {
            times(&server::run(&World {
                kind,
                fixed,
                ..World::default()
            }))
        };
        let best = [3, 4, 6, 8]
            .into_iter()
            .map(|cap| at(Some(cap)))
            .fold(f64::INFINITY, f64::min);
        let learned = at(None);
        assert!(learned <= best * 1.1, "{kind:?}: {learned} against {best}");
    }
}

#[test]
fn in_overload_it_works_as_much_as_the_best_fixed_cap() {
    for kind in [Kind::Slots, Kind::Shared] {
        let run = server::run(&World {
            kind,
            load: 1.5,
            ..World::default()
        });
        assert!(run.utilisation() > 0.95, "{kind:?}: {:?}", run.thirds);
    }
}

#[test]
fn it_settles_at_the_slots_and_at_twice_the_shared_cores() {
    for (kind, cores, expected) in [
        (Kind::Slots, 4, 3.5..=5.0),
        (Kind::Slots, 8, 7.0..=10.0),
        (Kind::Shared, 4, 6.0..=10.0),
        (Kind::Shared, 8, 13.0..=19.0),
    ] {
        let run = server::run(&World {
            kind,
            cores,
            ..World::default()
        });
        assert!(
            expected.contains(&run.cap()),
            "{kind:?} {cores}: {:?}",
            run.thirds
        );
    }
}

/// Learns from tiles and maps at each concurrency in turn, in so many rounds. `tile_millis` is the
/// latency of tiles.
fn serve(auto: &mut AdaptiveLimit, rounds: u32, most: u32, tile_millis: impl Fn(u32) -> u64) {
    let now = Instant::now();
    for _ in 0..rounds {
        for concurrency in 1..=most {
            auto.learn(&answered(concurrency, 300, None), now);
            auto.learn(&tile(concurrency, tile_millis(concurrency)), now);
        }
    }
}

#[test]
fn a_start_above_the_slots_is_given_up_after_some_dozens_of_tiles_and_for_the_slots() {
    for slots in [2, 3, 5] {
        let mut auto = AdaptiveLimit::new(8);
        serve(&mut auto, 2, 8, |_| 8);
        assert_eq!((auto.cap(), auto.has_extra()), (8, true));
        let waits = |concurrency| if concurrency > slots { 100 } else { 8 };
        let mut auto = AdaptiveLimit::new(8);
        serve(&mut auto, 10, 8, waits);
        assert_eq!((auto.cap(), auto.has_extra()), (slots, false));
    }
}

#[test]
fn an_upstream_that_got_more_slots_has_them_after_a_while() {
    let mut auto = AdaptiveLimit::new(8);
    serve(
        &mut auto,
        40,
        8,
        |concurrency| if concurrency > 3 { 100 } else { 8 },
    );
    assert_eq!(auto.cap(), 3);
    for _ in 0..4000 {
        let cap = auto.cap();
        serve(
            &mut auto,
            1,
            cap,
            |concurrency| if concurrency > 6 { 100 } else { 8 },
        );
    }
    assert!((6..=7).contains(&auto.cap()), "{}", auto.cap());
}

#[test]
fn the_quickest_have_more_where_cores_are_shared_and_not_where_they_would_wait_inside() {
    let extra = |kind, cores| {
        server::run(&World {
            kind,
            cores,
            ..World::default()
        })
        .extra()
    };
    let [slots, shared] =
        [Kind::Slots, Kind::Shared].map(|kind| [4, 8].map(|cores| extra(kind, cores)));
    assert!(
        slots.iter().all(|part| *part < 0.2) && shared.iter().all(|part| *part > 0.8),
        "{slots:?} and {shared:?}"
    );
}

#[test]
fn where_all_requests_slow_down_alike_the_quickest_keep_their_extra_slots() {
    let (mut auto, now) = (AdaptiveLimit::new(8), Instant::now());
    for _ in 0..100 {
        for concurrency in 1..=8_u32 {
            let times = u64::from(concurrency.div_ceil(2));
            auto.learn(&answered(concurrency, 300 * times, None), now);
            auto.learn(&tile(concurrency, 8 * times), now);
        }
    }
    assert!(auto.has_extra() && auto.cap() < 8, "{}", auto.cap());
}

#[test]
fn without_anything_to_compare_with_it_rises_and_dips_every_half_minute_at_most() {
    let (mut auto, mut now) = (AdaptiveLimit::new(16), Instant::now());
    auto.follow(8);
    let (mut dips, mut was) = (0, 8);
    for _ in 0..1200 {
        now += Duration::from_millis(100);
        auto.learn(&answered(auto.cap(), 300, None), now);
        dips += u32::from(auto.cap() * 2 <= was);
        was = auto.cap();
    }
    assert!(
        dips <= 4 && was > 10,
        "{dips} dips in two minutes, then {was}"
    );
}

#[test]
fn where_the_slots_are_known_there_are_no_dips() {
    let (mut auto, mut now) = (AdaptiveLimit::new(8), Instant::now());
    for _ in 0..30 {
        for concurrency in 5..=8 {
            auto.learn(&answered(concurrency, 300, None), now);
            auto.learn(
                &tile(concurrency, if concurrency > 6 { 100 } else { 8 }),
                now,
            );
        }
    }
    // There may have been a dip while these latencies were not known.
    now += LONGEST_DIP;
    for _ in 0..400 {
        now += Duration::from_millis(100);
        auto.learn(&answered(auto.cap(), 300, None), now);
        assert_eq!(auto.cap(), 6);
    }
}

#[test]
fn while_heavy_requests_could_hold_all_places_of_a_dip_there_is_none() {
    let dips = |heavy| {
        let (mut auto, mut now) = (AdaptiveLimit::new(8), Instant::now());
        (0..600).any(|_| {
            now += Duration::from_millis(100);
            auto.learn(
                &Answered {
                    heavy,
                    ..answered(8, 300, None)
                },
                now,
            );
            auto.cap() == quiet(8)
        })
    };
    assert_eq!([0, 2, 3, 9].map(dips), [true, true, false, false]);
}

#[test]
fn a_limit_goes_down_by_an_eighth_at_once_at_most() {
    let (mut auto, now) = (AdaptiveLimit::new(40), Instant::now());
    (0..400).for_each(|_| auto.learn(&answered(5, 100, None), now));
    let mut caps = vec![auto.cap()];
    for _ in 0..1000 {
        auto.learn(&answered(auto.cap(), 600, None), now);
        if caps.last() != Some(&auto.cap()) {
            caps.push(auto.cap());
        }
    }
    assert_eq!(caps[..4], [40, 35, 31, 28]);
}

#[test]
fn it_goes_on_from_a_cap_that_something_else_has_set() {
    let mut auto = AdaptiveLimit::new(16);
    auto.follow(7);
    assert_eq!(auto.cap(), 7);
    auto.follow(1);
    assert_eq!(auto.cap(), MIN);
}

#[test]
fn heavy_requests_that_keep_coming_are_more_at_a_time() {
    let (mut auto, mut now) = (AdaptiveLimit::new(16), Instant::now());
    assert_eq!(auto.heavy(), 0);
    for _ in 0..1200 {
        now += Duration::from_millis(100);
        auto.learn(
            &Answered {
                heavy: 3,
                ..answered(6, 300, None)
            },
            now,
        );
    }
    assert_eq!(auto.heavy(), 9);
}

#[test]
fn waiting_reported_by_control_flow_lowers_the_limit_at_once() {
    let (mut auto, now) = (AdaptiveLimit::new(16), Instant::now());
    let quiet = answered(2, 300, None);
    (0..200).for_each(|_| auto.learn(&quiet, now));
    // It was no slower although it waited, so its own work was less.
    let waited = Answered {
        concurrency: 16,
        waited: Some(Duration::from_millis(100)),
        ..quiet
    };
    (0..400).for_each(|_| auto.learn(&waited, now));
    assert!(auto.cap() < 16, "{}", auto.cap());
}

#[test]
fn when_half_of_the_cores_go_it_follows_and_when_they_come_back_it_does_too() {
    for kind in [Kind::Slots, Kind::Shared] {
        let run = server::run(&World {
            kind,
            cores: 8,
            change: Change::HalfTheCores,
            ..World::default()
        });
        let [before, within, after] = run.thirds.map(|third| third.cap);
        assert!(
            within < before * 0.75 && after > before * 0.8,
            "{kind:?}: {:?}",
            run.thirds
        );
    }
}

#[test]
fn when_all_tiles_have_to_be_drawn_anew_it_does_not_collapse() {
    for kind in [Kind::Slots, Kind::Shared] {
        let run = server::run(&World {
            kind,
            cores: 8,
            change: Change::SlowTiles,
            ..World::default()
        });
        let [before, within, after] = run.thirds;
        assert!(
            within.utilisation > 0.85 && after.cap > before.cap * 0.7,
            "{kind:?}: {:?}",
            run.thirds
        );
    }
}

proptest! {
    #[test]
    fn the_limit_stays_within_its_bounds_for_any_samples(
        start in 0..1000_u32,
        told in proptest::collection::vec(
            (0..400_u32, 0..100_000_u64, proptest::option::of(0..200_000_u64), 0..5000_u64),
            0..600,
        ),
    ) {
        let (mut auto, mut now) = (AdaptiveLimit::new(start), Instant::now());
        for (concurrency, took, waited, pause) in told {
            now += Duration::from_millis(pause);
            let (took, waited) = (Duration::from_millis(took), waited.map(Duration::from_millis));
            auto.learn(&Answered { took, waited, ..answered(concurrency, 0, None) }, now);
            prop_assert!((quiet(MIN)..=MAX).contains(&auto.cap()));
        }
    }
}
