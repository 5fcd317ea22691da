//! Selection for a second opinion about the answer of an upstream that may lack a change.

use std::time::Instant;

use super::choice::Found;
use super::{Candidate, Need, NoUpstream, Selection, Snapshot, Tried};
use crate::cluster::Upstream;

/// Second opinions that the main gives above its concurrency limit.
const MAX_OPINIONS: u32 = 8;

impl Snapshot {
    /// Selects the main for a second opinion about another upstream's answer, if need be up to
    /// [`MAX_OPINIONS`] slots above the main's limit. The answer at hand may be wrong, and second
    /// opinions have a budget of their own.
    pub(in crate::cluster) fn select_main_for_opinion(
        &self,
        need: Need,
        tried: &Tried,
        now: Instant,
    ) -> Result<Selection, NoUpstream> {
        let demand = self.demand_of(need);
        let found = match self.main.iter().find(|candidate| !candidate.is_out(tried)) {
            Some(main) => {
                let limits = main.slot_limits(demand, now).and(MAX_OPINIONS);
                main.lease_in(limits, demand)
                    .map_or(Found::Full, Found::Taken)
            }
            None => Found::NoneEligible,
        };
        self.concluded(found, need.class, tried)
    }

    /// True if the main or a fresh upstream can give a second opinion about the answer of
    /// `upstream`.
    pub fn others_know_better(&self, upstream: &Upstream, tried: &Tried) -> bool {
        let knows = |candidate: &Candidate| {
            candidate.upstream.id != upstream.id && !candidate.is_tried(tried)
        };
        self.main.iter().any(knows) || self.is_stale(upstream) && self.fresh.iter().any(knows)
    }

    /// Selects a fresh upstream or the main, and takes a slot on it.
    pub(in crate::cluster) fn select_fresh(
        &self,
        need: Need,
        tried: &Tried,
        now: Instant,
    ) -> Result<Selection, NoUpstream> {
        let main = self.select_main_for_opinion(need, tried, now);
        if main.is_ok() {
            return main;
        }
        let fresh = self.choose(
            &self.fresh,
            self.demand_of(need),
            None,
            tried,
            &|_| true,
            now,
        );
        match (fresh, main) {
            (Found::Taken(selection), _) => Ok(selection),
            (Found::Full, _) | (_, Err(NoUpstream::Full)) => Err(NoUpstream::Full),
            (Found::NoneEligible, main) => main,
        }
    }
}
