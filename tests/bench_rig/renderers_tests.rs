//! The model of a replica keeps its two ways of sharing cores.

use std::time::Duration;

use crate::arrivals::{Arrival, Kind};
use crate::renderers::{Model, Renderers};

fn job(ms: u64) -> Arrival {
    Arrival {
        is_print: false,
        at: Duration::ZERO,
        kind: Kind::Map,
        work: Duration::from_millis(ms),
        chance: 0,
    }
}

/// When each of the jobs ends that all come at the start, in milliseconds.
fn ends(mut renderers: Renderers, works: &[u64]) -> Vec<(usize, u64)> {
    for (number, ms) in works.iter().enumerate() {
        renderers.take(number, &job(*ms), 0.0);
    }
    let mut ends = Vec::new();
    while let Some(now) = renderers.next_end() {
        ends.push((
            renderers.end(now).expect("it has a next end"),
            (now * 1e3).round() as u64,
        ));
    }
    ends
}

#[test]
fn slots_serve_in_order_and_the_rest_waits() {
    assert_eq!(
        ends(Renderers::new(Model::Slots, 2, 1.0), &[100, 300, 10]),
        [(0, 100), (2, 110), (1, 300)]
    );
}

#[test]
fn shared_cores_serve_all_and_the_shortest_leaves_first() {
    assert_eq!(
        ends(Renderers::new(Model::Shared, 1, 1.0), &[100, 10]),
        [(1, 20), (0, 110)]
    );
    assert_eq!(
        ends(Renderers::new(Model::Shared, 2, 1.0), &[100, 10]),
        [(1, 10), (0, 100)]
    );
}

#[test]
fn half_the_speed_is_twice_the_time() {
    for model in [Model::Slots, Model::Shared] {
        assert_eq!(ends(Renderers::new(model, 4, 0.5), &[100]), [(0, 200)]);
    }
}

#[test]
fn a_change_of_speed_applies_to_running_requests() {
    for model in [Model::Slots, Model::Shared] {
        let mut renderers = Renderers::new(model, 4, 1.0);
        renderers.take(0, &job(100), 0.0);
        renderers.set_speed(0.0, 0.05);
        assert_eq!(renderers.next_end(), None);
        renderers.set_speed(0.1, 1.0);
        assert!(
            (renderers.next_end().unwrap() - 1.5).abs() < 1e-6,
            "{}",
            model.name()
        );
    }
}
