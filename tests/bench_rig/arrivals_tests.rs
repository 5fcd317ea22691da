//! Arrivals have the rate, the mix and the order that the bench promises.

use std::time::Duration;

use crate::arrivals::{Burst, Kind, Phase, Plan};
use crate::mix::PORTAL;

const CAPACITY: f64 = 12.0;

fn steady(load: f64, minutes: u64) -> Plan {
    Plan {
        phases: vec![Phase {
            lasts: Duration::from_secs(60 * minutes),
            load,
        }],
        bursts: Vec::new(),
    }
}

#[test]
fn the_same_seed_brings_the_same_arrivals() {
    let plan = steady(0.5, 1);
    assert_eq!(
        plan.arrivals(&PORTAL, CAPACITY, 3),
        plan.arrivals(&PORTAL, CAPACITY, 3)
    );
    assert_ne!(
        plan.arrivals(&PORTAL, CAPACITY, 3),
        plan.arrivals(&PORTAL, CAPACITY, 4)
    );
}

#[test]
fn the_offered_work_is_the_ordered_load() {
    for seed in 0..5 {
        let arrivals = steady(0.85, 10).arrivals(&PORTAL, CAPACITY, seed);
        let work: Duration = arrivals.iter().map(|arrival| arrival.work).sum();
        let load = work.as_secs_f64() / 600.0 / CAPACITY;
        // The last may be a heavy one of a minute.
        assert!((0.85..0.86).contains(&load), "{load}");
    }
}

#[test]
fn a_minute_of_work_is_about_six_hundred_requests() {
    let arrivals = steady(0.85, 120).arrivals(&PORTAL, CAPACITY, 1);
    let work: f64 = arrivals
        .iter()
        .map(|arrival| arrival.work.as_secs_f64())
        .sum();
    let mean = work / arrivals.len() as f64;
    // 0.8 x 8 ms + 0.195 x 300 ms + 0.005 x 5.72 s: the cut takes 0.28 s off the heavy ones' 6 s.
    assert!((mean - 0.0935).abs() < 0.002, "{mean}");
}

#[test]
fn the_mix_has_its_shares_and_times() {
    let arrivals = steady(0.85, 60).arrivals(&PORTAL, CAPACITY, 2);
    let share = |kind| {
        arrivals
            .iter()
            .filter(|arrival| arrival.kind == kind)
            .count() as f64
            / arrivals.len() as f64
    };
    assert!((share(Kind::Tile) - 0.8).abs() < 0.003 && (share(Kind::Heavy) - 0.005).abs() < 0.0006);
    let work = |kind| {
        arrivals
            .iter()
            .filter(move |arrival| arrival.kind == kind)
            .map(|arrival| arrival.work)
    };
    let mean = |kind| work(kind).sum::<Duration>().as_secs_f64() / work(kind).count() as f64;
    assert!((mean(Kind::Tile) - 0.008).abs() < 0.0001 && (mean(Kind::Map) - 0.3).abs() < 0.005);
    assert!(work(Kind::Heavy).all(|work| work <= Duration::from_secs(60)));
}

#[test]
fn gaps_are_those_of_a_poisson_process() {
    let arrivals = steady(0.85, 60).arrivals(&PORTAL, CAPACITY, 5);
    let gaps: Vec<f64> = arrivals
        .windows(2)
        .map(|two| (two[1].at - two[0].at).as_secs_f64())
        .collect();
    let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
    let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
    assert!(
        (variance.sqrt() / mean - 1.0).abs() < 0.02,
        "an exponential's deviation is its mean"
    );
}

#[test]
fn loads_follow_their_phases_and_a_burst_comes_at_once() {
    let phase = |load| Phase {
        lasts: Duration::from_secs(1200),
        load,
    };
    let burst = Burst {
        are_prints: false,
        at: Duration::from_secs(30),
        jobs: 20,
        work: Duration::from_secs(5),
    };
    let plan = Plan {
        phases: vec![phase(0.5), phase(2.0)],
        bursts: vec![burst],
    };
    let arrivals = plan.arrivals(&PORTAL, CAPACITY, 1);
    assert_eq!(plan.lasts(), Duration::from_secs(2400));
    let late = arrivals
        .iter()
        .filter(|arrival| arrival.at >= Duration::from_secs(1200))
        .count() as f64;
    let early = arrivals.len() as f64 - late - 20.0;
    assert!((late / early - 4.0).abs() < 0.3, "{late} {early}");
    assert_eq!(
        arrivals
            .iter()
            .filter(|arrival| arrival.at == burst.at)
            .count(),
        20
    );
    assert!(arrivals.is_sorted_by_key(|arrival| arrival.at));
}
