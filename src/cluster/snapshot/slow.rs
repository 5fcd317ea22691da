//! An upstream that is slower than its peers gets less, and a light request now and then shows
//! whether it has recovered.

use std::time::Instant;

use super::{Place, Selection, Snapshot};
use crate::balance::{Demand, WHOLE, review};
use crate::cluster::Tried;

impl Snapshot {
    /// An upstream that gets less because it is slow has one light request now and then, so that
    /// its recovery is seen.
    pub(super) fn take_recovery_trial(
        &self,
        places: &[Place],
        demand: Demand,
        tried: &Tried,
        now: Instant,
    ) -> Option<Selection> {
        let is_light = match demand {
            Demand::Quick => true,
            Demand::Ordinary => false,
            Demand::Heavy | Demand::Administration => return None,
        };
        if !tried.is_empty() || places.len() < 2 {
            return None;
        }
        let is_due = |place: &&Place| {
            !place.load.is_closed() && place.load.slowness().take_trial(is_light, now)
        };
        places.iter().find(is_due)?.lease(demand, now)
    }

    /// Compares those who serve reads with each other, unless that was done a moment ago: who is
    /// slower than the others?
    pub fn review_slowness(&self, now: Instant) {
        review(
            self.fresh
                .iter()
                .chain(&self.stale)
                .map(|place| place.load.slowness()),
            now,
        );
    }
}

impl Place {
    /// As far as it has ramped up, and less if it is slower than its peers.
    #[inline(always)]
    pub(super) fn weight_at(&self, now: Instant) -> u32 {
        let (weight, share) = (self.standing.weight_at(now), self.load.slowness().share());
        if share >= WHOLE {
            weight
        } else {
            (u64::from(weight) * u64::from(share) / u64::from(WHOLE)).max(1) as u32
        }
    }
}
