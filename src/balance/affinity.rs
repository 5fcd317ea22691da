//! Affinity: requests that belong together go to one upstream, as long as its load stays within a
//! bound.
//!
//! Every key has its own order of preference among upstreams, by weighted rendezvous hashing
//! (Thaler and Ravishankar, 1998, with the weights of Schindelhauer and Schomaker, 2005: the
//! smallest `-ln(hash) / weight` comes first). A new upstream takes its share of the keys and moves
//! no other key. The loss of an upstream moves only its own keys.
//!
//! An upstream above its bound is passed over for the next in the key's order: consistent hashing
//! with bounded loads (Mirrokni, Thorup and Zadimoghaddam, 2016; HAProxy's `hash-balance-factor`).
//! The bound is the mean load per weight, the new request included, times a factor.
//!
//! The implementation deviates in two points:
//!
//! * The bound is not rounded up. Where three upstreams have three requests each, rounding up would
//!   allow one of them a fifth while another has two: affinity would cost more than it gains.
//!   Instead an upstream may always take a request if it is idle, if no other has less load, or up
//!   to [`ALWAYS_ALLOWED`]. At least one upstream is therefore always within its bound.
//! * A request may exceed the bound somewhat where its key is in flight already
//!   ([`KeysInFlight`](super::KeysInFlight)). Otherwise the bound, which is meant for unrelated
//!   requests, would spread sixteen tiles that arrive within a millisecond over all replicas. Each
//!   replica would render the same metatile, although together the tiles are the work of one.
//!
//! An upstream that is slower than its peers takes part with its reduced weight only. It gets no
//! request for being idle or for having the key in flight: otherwise a sixteenth of the keys would
//! keep waiting for an upstream that is ten times slower.

use super::pick::{LoadSample, pick_by};
use crate::hash::{SplitMix64, fnv1a};

/// The key and the bound of a request that belongs together with others.
#[derive(Clone, Copy, Debug)]
pub struct AffinityRequest {
    /// The key that the requests share.
    pub key: u64,
    /// Bound on the load of an upstream, in percent of the mean; at least 100.
    pub load_percent: u32,
}

/// Requests that may join their key on an upstream beyond the bound: the rest of a metatile.
pub const AFFINITY_OVERFLOW: u32 = 15;

/// Requests in flight, the new one included, that are within the bound of an upstream of mean
/// weight: a server with two cores works on both at full speed.
const ALWAYS_ALLOWED: u32 = 2;

/// The properties of an upstream that [`pick_near`] needs.
#[derive(Clone, Copy, Debug)]
pub struct AffinityCandidate {
    pub load: LoadSample,
    /// Identifies the upstream; the same in every process.
    pub seed: u64,
    /// True if the key is in flight there now.
    pub is_companion: bool,
    /// True if its weight is reduced because it is slower than its peers.
    pub is_slow: bool,
}

/// Returns the index of the upstream for a request: a companion within its bound, else the first in
/// the key's order that is within its own. `candidate` returns the properties of each index, or
/// `None` to leave it out. `start` is passed to [`pick_by`], in case the loads move meanwhile.
#[inline]
pub fn pick_near(
    count: usize,
    candidate: impl Fn(usize) -> Option<AffinityCandidate>,
    wish: AffinityRequest,
    start: usize,
) -> Option<usize> {
    let loads = (0..count).filter_map(|at| Some(candidate(at)?.load));
    let bound = Bound::of(loads, wish.load_percent)?;
    let mut first: Option<(usize, f64)> = None;
    for at in 0..count {
        let Some(this) = candidate(at) else { continue };
        if this.is_companion && bound.allows_companion(this) {
            return Some(at);
        }
        if bound.allows(this) {
            let distance = distance(wish.key, this.seed, this.load.weight);
            if first.is_none_or(|(_, nearest)| distance < nearest) {
                first = Some((at, distance));
            }
        }
    }
    first
        .map(|(at, _)| at)
        .or_else(|| pick_by(count, |at| Some(candidate(at)?.load), start))
}

/// The bound on the load of one upstream.
#[derive(Clone, Copy)]
struct Bound {
    mean: Mean,
    least: LoadSample,
    /// A hundred times the requests of all upstreams together when each is at its bound.
    percent: u64,
}

impl Bound {
    /// Returns the bound among upstreams with these loads; `None` if there are none.
    fn of(loads: impl Iterator<Item = LoadSample>, load_percent: u32) -> Option<Self> {
        let mut mean = Mean::EMPTY;
        let mut least: Option<LoadSample> = None;
        let mut count: u64 = 0;
        for load in loads {
            mean = mean.with(load);
            count += 1;
            if least.is_none_or(|least| load.compare_cost(least).is_lt()) {
                least = Some(load);
            }
        }
        let percent = mean.in_flight.saturating_mul(load_percent.into());
        Some(Self {
            mean,
            least: least?,
            percent: percent.max(count * u64::from(ALWAYS_ALLOWED) * 100),
        })
    }

    /// True if the upstream may take one more request of any key.
    fn allows(self, this: AffinityCandidate) -> bool {
        let load = this.load;
        let is_within = || {
            let all = (u128::from(load.in_flight) + 1) * u128::from(self.mean.weight) * 100;
            all <= u128::from(self.percent) * u128::from(load.weight)
        };
        let is_idle = load.in_flight == 0 && !this.is_slow;
        is_idle || load.compare_cost(self.least).is_le() || is_within()
    }

    /// True if the upstream may take one more request of a key that is in flight there.
    fn allows_companion(self, this: AffinityCandidate) -> bool {
        let beyond = if this.is_slow { 0 } else { AFFINITY_OVERFLOW };
        let in_flight = this.load.in_flight.saturating_sub(beyond);
        let load = LoadSample {
            in_flight,
            ..this.load
        };
        self.allows(AffinityCandidate { load, ..this })
    }
}

/// The total load and weight, the new request included.
#[derive(Clone, Copy, Debug)]
pub struct Mean {
    in_flight: u64,
    weight: u64,
}

impl Mean {
    const EMPTY: Self = Self {
        in_flight: 1,
        weight: 0,
    };

    /// Returns the mean of these candidates.
    pub fn of(candidates: impl Iterator<Item = LoadSample>) -> Self {
        candidates.fold(Self::EMPTY, Self::with)
    }

    fn with(self, candidate: LoadSample) -> Self {
        Self {
            in_flight: self.in_flight + u64::from(candidate.in_flight),
            weight: self.weight + u64::from(candidate.weight),
        }
    }

    /// True if one more request stays within `percent` of the mean, rounded up. For whole numbers,
    /// `n + 1 <= ceil(x)` is `n < x`.
    pub fn allows(self, candidate: LoadSample, percent: u32) -> bool {
        let here = u128::from(candidate.in_flight) * u128::from(self.weight) * 100;
        here < u128::from(percent) * u128::from(self.in_flight) * u128::from(candidate.weight)
    }
}

/// Returns the distance of an upstream from a key. It is drawn from the exponential distribution
/// with the weight as rate, so the probability of being nearest equals an upstream's share of the
/// weight.
fn distance(key: u64, seed: u64, weight: u32) -> f64 {
    // The fraction has 53 bits and a half, so it is above 0 and below 1.
    let drawn = ((mixed(key ^ mixed(seed)) >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;
    -drawn.ln() / f64::from(weight)
}

/// Returns a number for a name by FNV-1a (Fowler, Noll, Vo), the same in every process.
pub fn seed_of(name: &str) -> u64 {
    fnv1a(name.bytes())
}

/// Returns the first number of SplitMix64 from the seed `number`.
fn mixed(number: u64) -> u64 {
    SplitMix64::new(number).draw()
}

#[cfg(test)]
mod tests;
