//! Selection for requests that belong together, such as the tiles of one metatile, which a
//! GeoServer renders at once.
//!
//! A key is any number that such requests share. Each key has an order of its own among the
//! upstreams, and the request takes the first one in that order that is within the bound of its
//! class (`balance/affinity`). Requests of one key that are in flight stay together. A retry takes
//! the next upstream in the order. Backups, trials and classes with a single serving upstream are
//! chosen as for any other request.
//!
//! While no request is waiting, requests of a key may join their companions above the cap of an
//! upstream, at most [`AFFINITY_OVERFLOW`] of them. No replica has forty slots for a map of forty
//! tiles. Each tile sent elsewhere would have a whole metatile rendered again, although it could
//! have waited for the one that is being made. While requests are waiting, none may bypass the
//! queue in this way.

use std::time::Instant;

use super::candidate::Choice;
use super::{Candidate, Snapshot, Tried};
use crate::balance::{AFFINITY_OVERFLOW, AffinityCandidate, AffinityRequest, Demand, pick_near};
use crate::ogc::RequestClass;

/// The preference of a request for the upstream of its companions.
#[derive(Clone, Copy, Debug)]
pub(super) struct Near {
    wish: AffinityRequest,
    /// True if it may join its companions even without a free slot.
    may_join: bool,
}

impl Snapshot {
    /// Returns the preference of a request; `None` without a key, and in a class that has no use
    /// for keys.
    pub(super) fn wish_of(
        &self,
        class: RequestClass,
        key: Option<u64>,
        may_join: bool,
    ) -> Option<Near> {
        let affinity = self.config.classes[class].affinity?;
        Some(Near {
            wish: AffinityRequest {
                key: key?,
                load_percent: affinity.load_percent,
            },
            may_join,
        })
    }

    /// Takes a slot near the companions.
    pub(super) fn nearest(
        &self,
        candidates: &[Candidate],
        demand: Demand,
        near: Near,
        tried: &Tried,
        allowed: &impl Fn(&Candidate) -> bool,
        now: Instant,
    ) -> Choice {
        let Near { wish, may_join } = near;
        let limits = |candidate: &Candidate, is_companion| {
            let limits = candidate.slot_limits(demand, now);
            if is_companion && may_join {
                limits.and(AFFINITY_OVERFLOW)
            } else {
                limits
            }
        };
        let candidate = |at: usize| {
            let candidate = &candidates[at];
            // The load is read before the note of the key and written after it, so a request that
            // sees a companion in the load also sees it in the note. In the reverse order, the load
            // of the first of two simultaneous requests would turn the second away.
            let load = candidate.load_sample(now);
            let is_companion = self.keys.whereabouts(wish.key).is(candidate.seed);
            let has_room =
                candidate.has_room(limits(candidate, is_companion), tried) && allowed(candidate);
            has_room.then_some(AffinityCandidate {
                load,
                seed: candidate.seed,
                is_companion,
                is_slow: candidate.is_slow(),
            })
        };
        let Some(chosen) = pick_near(candidates.len(), candidate, wish, self.rotation.next())
        else {
            return Choice::NoSlot;
        };
        let chosen = &candidates[chosen];
        let limits = limits(chosen, self.keys.whereabouts(wish.key).is(chosen.seed));
        let key = self.keys.note(wish.key, chosen.seed);
        let mut selection = chosen.lease_in(limits, demand);
        if let Some(selection) = &mut selection {
            selection.lease.keep(key);
        }
        Choice::of(selection)
    }
}
