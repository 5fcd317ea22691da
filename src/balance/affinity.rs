//! Requests that belong together go to one upstream, as long as it does not carry too much.
//!
//! Every key has an order of its own in which it prefers upstreams: weighted rendezvous hashing
//! (Thaler and Ravishankar, 1998, with the weights of Schindelhauer and Schomaker, 2005: the
//! smallest `-ln(hash) / weight` comes first). An upstream that comes takes its share of the keys
//! and moves no other; of one that goes only its own keys move.
//!
//! Whoever has more than its bound is passed over for the next in the key's order: consistent
//! hashing with bounded loads (Mirrokni, Thorup and Zadimoghaddam, 2016; HAProxy's
//! `hash-balance-factor`). The bound is the mean load per weight, the new request included, times a
//! factor, rounded up; so somebody is always within it. We deviate in one point: a key that is in
//! flight at an upstream already ([`KeysInFlight`](super::KeysInFlight)) may join itself there
//! somewhat beyond the bound. Sixteen tiles that arrive within a millisecond would otherwise be
//! spread over all replicas by the very bound that is meant for strangers, and all would render the
//! same; together they are the work of one.

use super::pick::{Candidate, pick_by};
use crate::hash::{SplitMix64, fnv1a};

/// One request of many that belong together.
#[derive(Clone, Copy, Debug)]
pub struct Wish {
    /// What they have in common.
    pub key: u64,
    /// How much more than the mean an upstream may have, in percent of the mean; at least 100.
    pub load_percent: u32,
}

/// How many requests of a key that is in flight at an upstream may join it beyond the bound: the
/// rest of a metatile.
pub const COMPANIONS: u32 = 15;

/// What [`pick_near`] needs to know about an upstream.
#[derive(Clone, Copy, Debug)]
pub struct Neighbour {
    pub candidate: Candidate,
    /// Names it: the same in every process.
    pub seed: u64,
    /// Where the key is in flight now.
    pub is_companion: bool,
}

/// The one to take the request: a companion within its bound, else the first in the key's order
/// that is within its own. `neighbour` tells about each index, `None` to leave it out; `start` is
/// for [`pick_by`], should the loads move meanwhile.
#[inline]
pub fn pick_near(
    count: usize,
    neighbour: impl Fn(usize) -> Option<Neighbour>,
    wish: Wish,
    start: usize,
) -> Option<usize> {
    let mean = Mean::of((0..count).filter_map(|at| Some(neighbour(at)?.candidate)));
    let mut first: Option<(usize, f64)> = None;
    for at in 0..count {
        let Some(this) = neighbour(at) else { continue };
        if this.is_companion && mean.allows(this.candidate, wish.load_percent, COMPANIONS) {
            return Some(at);
        }
        if mean.allows(this.candidate, wish.load_percent, 0) {
            let distance = distance(wish.key, this.seed, this.candidate.weight);
            if first.is_none_or(|(_, nearest)| distance < nearest) {
                first = Some((at, distance));
            }
        }
    }
    first
        .map(|(at, _)| at)
        .or_else(|| pick_by(count, |at| Some(neighbour(at)?.candidate), start))
}

/// The load of all together, the new request included.
#[derive(Clone, Copy, Debug)]
pub struct Mean {
    in_flight: u64,
    weight: u64,
}

impl Mean {
    /// Of these.
    pub fn of(candidates: impl Iterator<Item = Candidate>) -> Self {
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

    /// Whether one more stays within `percent` of the mean, rounded up, and `beyond`. For whole
    /// numbers `n + 1 <= ceil(x)` is `n < x`.
    pub fn allows(self, candidate: Candidate, percent: u32, beyond: u32) -> bool {
        let in_flight = u128::from(candidate.in_flight.saturating_sub(beyond));
        let here = in_flight * u128::from(self.weight) * 100;
        here < u128::from(percent) * u128::from(self.in_flight) * u128::from(candidate.weight)
    }
}

/// How far an upstream is from a key. Drawn from the exponential distribution whose rate is the
/// weight, so of several the probability to be nearest is each one's share of the weight.
fn distance(key: u64, seed: u64, weight: u32) -> f64 {
    // 53 bits and a half: above 0 and below 1.
    let drawn = ((mixed(key ^ mixed(seed)) >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;
    -drawn.ln() / f64::from(weight)
}

/// A number for a name: FNV-1a (Fowler, Noll, Vo), the same in every process.
pub fn seed_of(name: &str) -> u64 {
    fnv1a(name.bytes())
}

/// The first number of SplitMix64 from the seed `number`.
fn mixed(number: u64) -> u64 {
    SplitMix64::new(number).draw()
}

#[cfg(test)]
mod tests;
