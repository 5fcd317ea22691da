//! Who comes when and asks for how much work: drawn once from a seed, the same for every contender.
//!
//! The mix is that of a map portal: tiles from the cache, maps, and now and then a download or a process that takes seconds.
//! Arrivals are a Poisson process whose rate follows the offered load; bursts are added to it.

use std::time::Duration;

use geofront::geosim::{Dice, ServiceTime};

/// What is asked for. In the order of urgency.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Tile,
    Map,
    /// WFS and WPS, half and half.
    Heavy,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Arrival {
    /// From the start of the run.
    pub(crate) at: Duration,
    pub(crate) kind: Kind,
    /// On an idle replica of full speed.
    pub(crate) work: Duration,
    /// Chance for whatever else the request is made of: its tile, its user.
    pub(crate) chance: u64,
}

/// A time of constant load.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Phase {
    pub(crate) lasts: Duration,
    /// Work offered in a second, as a share of what the replicas can do.
    pub(crate) load: f64,
}

/// Heavy jobs that all come at once.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Burst {
    pub(crate) at: Duration,
    pub(crate) jobs: usize,
    pub(crate) work: Duration,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Plan {
    pub(crate) phases: Vec<Phase>,
    pub(crate) bursts: Vec<Burst>,
}

/// Of all requests. The rest are maps.
const TILES: f64 = 0.8;
const HEAVY: f64 = 0.005;

const TILE_TIME: ServiceTime = ServiceTime::Exponential { mean: Duration::from_millis(8) };
/// The mean is 300 ms: that of a log-normal is its median times exp(sigma squared / 2).
const MAP_TIME: ServiceTime = ServiceTime::LogNormal { median: Duration::from_micros(181_959), sigma: 1.0 };
/// The mean would be 6 s, were there no longest.
const HEAVY_TIME: ServiceTime =
    ServiceTime::Pareto { least: Duration::from_micros(2_666_667), alpha: 1.8, most: Duration::from_secs(60) };

impl Plan {
    pub(crate) fn lasts(&self) -> Duration {
        self.phases.iter().map(|phase| phase.lasts).sum()
    }

    /// All that comes, in order. `capacity` is the work that the replicas do in a second, in seconds.
    pub(crate) fn arrivals(&self, capacity: f64, seed: u64) -> Vec<Arrival> {
        let dice = Dice::new(seed);
        let mut arrivals = Vec::new();
        let mut start = Duration::ZERO;
        for phase in &self.phases {
            arrivals.extend(arrivals_in(start, phase, capacity, &dice));
            start += phase.lasts;
        }
        for burst in &self.bursts {
            let job = |_| Arrival { at: burst.at, kind: Kind::Heavy, work: burst.work, chance: dice.draw() };
            arrivals.extend((0..burst.jobs).map(job));
        }
        arrivals.sort_by_key(|arrival| arrival.at);
        arrivals
    }
}

/// As many as bring the work of `phase`, whatever their number: with few heavy ones the load of a run would else be a matter of luck.
/// Given their number, the arrivals of a Poisson process are anywhere in the phase with the same chance.
fn arrivals_in(start: Duration, phase: &Phase, capacity: f64, dice: &Dice) -> Vec<Arrival> {
    let mut left = phase.load * capacity * phase.lasts.as_secs_f64();
    let mut arrivals = Vec::new();
    while left > 0.0 {
        let arrival = arrival(start + phase.lasts.mul_f64(dice.unit()), dice);
        left -= arrival.work.as_secs_f64();
        arrivals.push(arrival);
    }
    arrivals
}

fn arrival(at: Duration, dice: &Dice) -> Arrival {
    let (kind, time) = match dice.unit() {
        share if share < TILES => (Kind::Tile, TILE_TIME),
        share if share < 1.0 - HEAVY => (Kind::Map, MAP_TIME),
        _ => (Kind::Heavy, HEAVY_TIME),
    };
    Arrival { at, kind, work: time.draw(dice), chance: dice.draw() }
}
