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
//! The bound is the mean load per weight, the new request included, times a factor, rounded up. At
//! least one upstream is therefore always within it.
//!
//! The implementation deviates in one point: a request may exceed the bound somewhat where its key
//! is in flight already ([`KeysInFlight`](super::KeysInFlight)). Otherwise the bound, which is
//! meant for unrelated requests, would spread sixteen tiles that arrive within a millisecond over
//! all replicas. Each replica would render the same metatile, although together the tiles are the
//! work of one.
//!
//! For an upstream that is slower than its peers the bound is not rounded up. Rounded up, it would
//! allow one request to the slowest at any time, and a key has its order whatever the load: a
//! sixteenth of the keys would go on to wait for an upstream that is ten times slower.

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
    let mean = Mean::of((0..count).filter_map(|at| Some(candidate(at)?.load)));
    let mut first: Option<(usize, f64)> = None;
    for at in 0..count {
        let Some(this) = candidate(at) else { continue };
        if this.is_slow && !mean.allows_whole(this.load, wish.load_percent) {
            continue;
        }
        if this.is_companion && mean.allows(this.load, wish.load_percent, AFFINITY_OVERFLOW) {
            return Some(at);
        }
        if mean.allows(this.load, wish.load_percent, 0) {
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

/// The total load and weight, the new request included.
#[derive(Clone, Copy, Debug)]
pub struct Mean {
    in_flight: u64,
    weight: u64,
}

impl Mean {
    /// Returns the mean of these candidates.
    pub fn of(candidates: impl Iterator<Item = LoadSample>) -> Self {
        candidates.fold(
            Self {
                in_flight: 1,
                weight: 0,
            },
            |sum, candidate| Self {
                in_flight: sum.in_flight + u64::from(candidate.in_flight),
                weight: sum.weight + u64::from(candidate.weight),
            },
        )
    }

    /// True if one more request stays within `percent` of the mean, rounded up, and `beyond`. For
    /// whole numbers, `n + 1 <= ceil(x)` is `n < x`.
    pub fn allows(self, candidate: LoadSample, percent: u32, beyond: u32) -> bool {
        let in_flight = u128::from(candidate.in_flight.saturating_sub(beyond));
        let here = in_flight * u128::from(self.weight) * 100;
        here < u128::from(percent) * u128::from(self.in_flight) * u128::from(candidate.weight)
    }

    /// True if one more request stays within `percent` of the mean, not rounded up.
    fn allows_whole(self, candidate: LoadSample, percent: u32) -> bool {
        let in_flight = u128::from(candidate.in_flight) + 1;
        let here = in_flight * u128::from(self.weight) * 100;
        here <= u128::from(percent) * u128::from(self.in_flight) * u128::from(candidate.weight)
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
