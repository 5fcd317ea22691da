//! The arrivals of a run, with their times and their work: drawn once from a seed, the same for
//! every contender.
//!
//! The [`Mix`] defines the share of each kind of request. Arrivals are a Poisson process whose rate
//! follows the offered load; bursts are added to it.

use std::time::Duration;

use geofront::geosim::Dice;

use crate::mix::Mix;

/// The kinds of requests, in the order of urgency.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Tile,
    Map,
    /// WFS and WPS, half and half, or maps to print.
    Heavy,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Arrival {
    /// From the start of the run.
    pub(crate) at: Duration,
    pub(crate) kind: Kind,
    /// True for a heavy request that is a map of many pixels.
    pub(crate) is_print: bool,
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
    /// True if the jobs are maps to print.
    pub(crate) are_prints: bool,
    pub(crate) work: Duration,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Plan {
    pub(crate) phases: Vec<Phase>,
    pub(crate) bursts: Vec<Burst>,
}

impl Plan {
    pub(crate) fn lasts(&self) -> Duration {
        self.phases.iter().map(|phase| phase.lasts).sum()
    }

    /// All that comes, in order. `capacity` is the work that the replicas do in a second, in
    /// seconds.
    pub(crate) fn arrivals(&self, mix: &Mix, capacity: f64, seed: u64) -> Vec<Arrival> {
        let dice = Dice::new(seed);
        let mut arrivals = Vec::new();
        let mut start = Duration::ZERO;
        for phase in &self.phases {
            arrivals.extend(arrivals_in(start, phase, mix, capacity, &dice));
            start += phase.lasts;
        }
        for burst in &self.bursts {
            let job = |_| Arrival {
                at: burst.at,
                kind: Kind::Heavy,
                is_print: burst.are_prints,
                work: burst.work,
                chance: dice.draw(),
            };
            arrivals.extend((0..burst.jobs).map(job));
        }
        arrivals.sort_by_key(|arrival| arrival.at);
        arrivals
    }
}

/// As many as bring the work of `phase`, whatever their number: with few heavy ones the load of a
/// run would else be a matter of luck. Given their number, the arrivals of a Poisson process are
/// anywhere in the phase with the same chance.
fn arrivals_in(
    start: Duration,
    phase: &Phase,
    mix: &Mix,
    capacity: f64,
    dice: &Dice,
) -> Vec<Arrival> {
    let mut left = phase.load * capacity * phase.lasts.as_secs_f64();
    let mut arrivals = Vec::new();
    while left > 0.0 {
        let arrival = arrival(start + phase.lasts.mul_f64(dice.unit()), mix, dice);
        left -= arrival.work.as_secs_f64();
        arrivals.push(arrival);
    }
    arrivals
}

fn arrival(at: Duration, mix: &Mix, dice: &Dice) -> Arrival {
    let (kind, time) = match dice.unit() {
        share if share < mix.tiles * (1.0 - mix.misses) => (Kind::Tile, mix.tile_time),
        share if share < mix.tiles => (Kind::Tile, mix.map_time),
        share if share < 1.0 - mix.heavy => (Kind::Map, mix.map_time),
        _ => (Kind::Heavy, mix.heavy_time),
    };
    Arrival {
        at,
        kind,
        is_print: false,
        work: time.draw(dice),
        chance: dice.draw(),
    }
}
