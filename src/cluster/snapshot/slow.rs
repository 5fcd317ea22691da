//! Reduced shares for slow upstreams. An upstream that is slower than its peers gets less, and an
//! occasional light request shows whether it has recovered.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::{Candidate, Selection, Snapshot};
use crate::balance::{Demand, WHOLE, patience, review};
use crate::cluster::{Tried, Upstream};
use crate::ogc::{PerClass, RequestClass};

/// An upstream with a reduced share, and how long light requests may wait there.
#[derive(Debug)]
pub struct SlowUpstream {
    pub upstream: Arc<Upstream>,
    patience: PerClass<Option<Duration>>,
}

impl SlowUpstream {
    /// True if a request of `class` that has waited for so long without a byte is better off
    /// elsewhere.
    pub fn keeps_too_long(&self, class: RequestClass, waited: Duration) -> bool {
        self.patience[class].is_some_and(|patience| waited > patience)
    }
}

impl Snapshot {
    /// Returns the upstreams that are slower than their peers.
    pub fn slow_upstreams(&self) -> Vec<SlowUpstream> {
        let all = || self.fresh.iter().chain(&self.stale);
        all()
            .filter(|candidate| candidate.is_slow())
            .map(|slow| {
                let peers = || all().map(|candidate| candidate.load.slowness());
                SlowUpstream {
                    upstream: Arc::clone(&slow.upstream),
                    patience: PerClass::from_fn(|class| {
                        (self.demands[class] == Demand::Quick)
                            .then(|| patience(slow.load.slowness(), peers(), class))
                            .flatten()
                    }),
                }
            })
            .collect()
    }

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
        let is_any_slow = self.is_any_slow.load(Ordering::Relaxed);
        if !is_any_slow || !tried.is_empty() || candidates.len() < 2 {
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
        let all = || self.fresh.iter().chain(&self.stale);
        if review(all().map(|candidate| candidate.load.slowness()), now) {
            let is_any_slow = all().any(Candidate::is_slow);
            self.is_any_slow.store(is_any_slow, Ordering::Relaxed);
        }
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
