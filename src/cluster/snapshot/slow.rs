//! Reduced shares for slow upstreams. An upstream that is slower than its peers gets less, and an
//! occasional light request shows whether it has recovered.

use std::time::Instant;

use super::{Candidate, Selection, Snapshot};
use crate::balance::{Demand, WHOLE, review};
use crate::cluster::Tried;

impl Snapshot {
    /// Gives an upstream with a reduced share one light request now and then, so that its recovery
    /// is seen.
    pub(super) fn take_recovery_trial(
        &self,
        candidates: &[Candidate],
        demand: Demand,
        tried: &Tried,
        now: Instant,
    ) -> Option<Selection> {
        let is_light = match demand {
            Demand::Quick => true,
            Demand::Ordinary => false,
            Demand::Heavy | Demand::Administration => return None,
        };
        if !tried.is_empty() || candidates.len() < 2 {
            return None;
        }
        let is_due = |candidate: &&Candidate| {
            !candidate.is_out(tried) && candidate.load.slowness().take_trial(is_light, now)
        };
        candidates.iter().find(is_due)?.lease(demand, now)
    }

    /// Compares the latencies of the upstreams that serve reads and marks the slow ones, unless
    /// this was done a moment ago.
    pub fn review_slowness(&self, now: Instant) {
        review(
            self.fresh
                .iter()
                .chain(&self.stale)
                .map(|candidate| candidate.load.slowness()),
            now,
        );
    }
}

impl Candidate {
    /// True if its share is reduced because it is slower than its peers.
    pub(super) fn is_slow(&self) -> bool {
        self.load.slowness().share() < WHOLE
    }

    /// Returns the weight, reduced while the upstream is ramping up or slower than its peers.
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
