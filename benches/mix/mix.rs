//! The requests for a cluster and its replicas: the portal of the fixed scenarios, or drawn from a
//! seed.
//!
//! A limit that is learned must do no harm where nothing was tuned for it, so mixes are drawn:
//! shares of classes, service times and their tails, load, cores, and how fast each replica is.
//! Constants of the front door are tuned on one block of seeds and judged on another; the person
//! who runs the bench chooses the block.

use std::time::Duration;

use geofront::geosim::{Dice, ServiceTime};

/// Replicas of every cluster here.
pub(crate) const REPLICAS: usize = 3;

/// What comes: the share of each class in all requests, and how much work one of it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Mix {
    /// Share of tiles in all requests.
    pub(crate) tiles: f64,
    /// Share of heavy requests in all requests. The rest are maps.
    pub(crate) heavy: f64,
    /// Share of tiles that are not in the cache: each of them is the work of a map.
    pub(crate) misses: f64,
    pub(crate) tile_time: ServiceTime,
    pub(crate) map_time: ServiceTime,
    pub(crate) heavy_time: ServiceTime,
}

/// A map portal: tiles from the cache, maps, and now and then a download or a process that takes
/// seconds.
pub(crate) const PORTAL: Mix = Mix {
    tiles: 0.8,
    heavy: 0.005,
    misses: 0.0,
    tile_time: ServiceTime::Exponential {
        mean: Duration::from_millis(8),
    },
    // The mean is 300 ms: that of a log-normal is its median times exp(sigma squared / 2).
    map_time: ServiceTime::LogNormal {
        median: Duration::from_micros(181_959),
        sigma: 1.0,
    },
    // The mean would be 6 s, were there no longest.
    heavy_time: ServiceTime::Pareto {
        least: Duration::from_micros(2_666_667),
        alpha: 1.8,
        most: Duration::from_secs(60),
    },
};

/// A mix and a cluster for it, drawn from a seed.
#[derive(Clone, Debug)]
pub(crate) struct Drawn {
    pub(crate) mix: Mix,
    /// Work offered in a second, as a share of what the replicas can do.
    pub(crate) load: f64,
    pub(crate) cores: usize,
    /// Of each replica, 1 for the fastest.
    pub(crate) speeds: [f64; REPLICAS],
}

impl Drawn {
    /// The ranges are those of real sites: tiles of a few to some tens of milliseconds, maps of a
    /// twentieth to almost a whole second with short or long tails, heavy requests from one in a
    /// thousand to one in fifty.
    pub(crate) fn from(seed: u64) -> Self {
        let dice = Dice::new(seed ^ 0x6d69_785f_6472_6177);
        let between = |least: f64, most: f64| least + (most - least) * dice.unit();
        let evenly_in_logarithm = |least: f64, most: f64| (between(least.ln(), most.ln())).exp();
        let (tiles, heavy) = (between(0.3, 0.95), evenly_in_logarithm(0.001, 0.02));
        let misses = if dice.unit() < 0.5 {
            0.0
        } else {
            between(0.01, 0.1)
        };
        let tile_time = ServiceTime::Exponential {
            mean: seconds(evenly_in_logarithm(0.003, 0.03)),
        };
        let (map_mean, sigma) = (evenly_in_logarithm(0.05, 0.8), between(0.5, 1.4));
        let map_time = ServiceTime::LogNormal {
            median: seconds(map_mean / (sigma * sigma / 2.0).exp()),
            sigma,
        };
        let heavy_time = ServiceTime::Pareto {
            least: seconds(evenly_in_logarithm(0.8, 4.0)),
            alpha: between(1.5, 2.5),
            most: Duration::from_secs(60),
        };
        let load = between(0.65, 0.9);
        let cores = [2, 4, 4, 8][(dice.unit() * 4.0) as usize];
        let speeds = match dice.unit() {
            chance if chance < 0.4 => [1.0; REPLICAS],
            chance if chance < 0.7 => [0.5, 1.0, 1.0],
            _ => [between(0.4, 1.0), between(0.6, 1.0), 1.0],
        };
        Self {
            mix: Mix {
                tiles,
                heavy,
                misses,
                tile_time,
                map_time,
                heavy_time,
            },
            load,
            cores,
            speeds,
        }
    }
}

fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}
