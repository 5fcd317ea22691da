//! The choice among the upstreams that serve a shared class.

use std::time::Instant;

use super::candidate::Choice;
use super::near::Near;
use super::{Candidate, Need, Route, Selection, Snapshot, Tried};
use crate::balance::{Demand, Mean, pick_by};
use crate::config::StalePolicy;
use crate::ogc::RequestClass;

/// Highest load of a preferred fresh upstream while others are stale, in percent of the mean load.
const FRESH_LOAD_PERCENT: u32 = 125;

/// Lost races for a slot within one selection, after which the selection reports all upstreams as
/// full. The request then waits and selects again.
const MAX_RACES: usize = 8;

/// The result of examining some upstreams.
pub(super) enum Found {
    Taken(Selection),
    /// Eligible upstreams exist, but none has a free slot.
    Full,
    /// No upstream is eligible.
    NoneEligible,
}

/// Upstreams of equal rank in serving a class.
struct Tier<'s> {
    candidates: &'s [Candidate],
    /// True if this tier also serves when the tier before it is full, and not only when that tier
    /// is empty.
    relieves: bool,
}

impl Snapshot {
    pub(super) fn select_shared(
        &self,
        need: Need,
        near: Option<Near>,
        tried: &Tried,
        now: Instant,
    ) -> Found {
        let (class, demand) = (need.class, self.demand_of(need));
        let trial = |is_last_resort: bool| {
            let may_have =
                |candidate: &&Candidate| is_last_resort || candidate.standing.tries(demand, now);
            let is_free =
                |candidate: &&Candidate| !candidate.is_out(tried) && !candidate.load.is_on_trial();
            let trials = || {
                self.trials(class, is_last_resort)
                    .filter(is_free)
                    .filter(may_have)
            };
            let taken = trials().find_map(|candidate| candidate.lease_trial(demand, now));
            let otherwise = if trials().next().is_some() {
                Found::Full
            } else {
                Found::NoneEligible
            };
            taken.map_or(otherwise, Found::Taken)
        };
        let serving = || self.serve(need, near, tried, now);
        let found = if tried.is_empty() {
            trial(false).or_else(serving)
        } else {
            serving().or_else(|| trial(false))
        };
        if matches!(found, Found::NoneEligible) {
            trial(true).or_else(|| {
                // Another request's trial is worth waiting for when there is no other upstream.
                let is_tried_by_another = self
                    .trials(class, true)
                    .any(|candidate| !candidate.is_out(tried));
                if is_tried_by_another {
                    Found::Full
                } else {
                    Found::NoneEligible
                }
            })
        } else {
            found
        }
    }

    fn serve(&self, need: Need, near: Option<Near>, tried: &Tried, now: Instant) -> Found {
        let is_mixed = !self.fresh.is_empty() && !self.stale.is_empty();
        if is_mixed
            && need.class != RequestClass::Capabilities
            && self.config.catalog.stale == StalePolicy::Serve
        {
            self.serve_mixed(need, near, tried, now)
        } else {
            self.serve_by_tiers(need, near, tried, now)
        }
    }

    /// Selects among the fresh within the bound, then among all, and uses the backup if there are
    /// none.
    fn serve_mixed(&self, need: Need, near: Option<Near>, tried: &Tried, now: Instant) -> Found {
        let demand = self.demand_of(need);
        if self.concern.touches(need.about) {
            let mean = Mean::of(
                self.first
                    .iter()
                    .filter(|candidate| !candidate.is_out(tried))
                    .map(|candidate| candidate.load_sample(now)),
            );
            let is_within =
                |candidate: &Candidate| mean.allows(candidate.load_sample(now), FRESH_LOAD_PERCENT);
            let fresh = self.choose(&self.fresh, demand, near, tried, &is_within, now);
            if matches!(fresh, Found::Taken(_)) {
                return fresh;
            }
        }
        match self.choose(&self.first, demand, near, tried, &|_| true, now) {
            Found::NoneEligible => self.choose(&self.backup, demand, near, tried, &|_| true, now),
            found => found,
        }
    }

    fn serve_by_tiers(&self, need: Need, near: Option<Near>, tried: &Tried, now: Instant) -> Found {
        let demand = self.demand_of(need);
        let mut found = Found::NoneEligible;
        for Tier {
            candidates,
            relieves,
        } in self.tiers(need.class)
        {
            if matches!(found, Found::Full) && !relieves {
                break;
            }
            found = found.or_else(|| self.choose(candidates, demand, near, tried, &|_| true, now));
            if matches!(found, Found::Taken(_)) {
                break;
            }
        }
        found
    }

    /// Returns the tiers that serve a shared class, the preferred ones first.
    fn tiers(&self, class: RequestClass) -> [Tier<'_>; 3] {
        let tier = |candidates| Tier {
            candidates,
            relieves: false,
        };
        let (fresh, backup, main) = (tier(&self.fresh), tier(&self.backup), tier(&self.main));
        let (stale, none) = (tier(&self.stale), tier(&[]));
        match (class, self.config.catalog.stale) {
            (RequestClass::Capabilities, StalePolicy::Serve) => [fresh, main, stale],
            (RequestClass::Capabilities, StalePolicy::Avoid) => [fresh, main, none],
            (_, StalePolicy::Serve) => [
                fresh,
                Tier {
                    relieves: true,
                    ..stale
                },
                backup,
            ],
            (_, StalePolicy::Avoid) => [fresh, backup, stale],
        }
    }

    /// Returns the upstreams that may get a request of a shared class as their trial. Stale ones
    /// serve capabilities only as the last resort.
    pub(super) fn trials(
        &self,
        class: RequestClass,
        is_last_resort: bool,
    ) -> impl Iterator<Item = &Candidate> {
        let stale = is_last_resort && self.config.catalog.stale == StalePolicy::Serve;
        let may_be_stale = stale || class != RequestClass::Capabilities;
        self.on_trial
            .iter()
            .filter(move |candidate| may_be_stale || candidate.standing.is_fresh)
    }

    /// Chooses among the untried candidates that `allowed` accepts.
    pub(super) fn choose(
        &self,
        candidates: &[Candidate],
        demand: Demand,
        near: Option<Near>,
        tried: &Tried,
        allowed: &impl Fn(&Candidate) -> bool,
        now: Instant,
    ) -> Found {
        if let Some(selection) = self.take_recovery_trial(candidates, demand, tried, now) {
            return Found::Taken(selection);
        }
        for _ in 0..MAX_RACES {
            let chosen = match near {
                Some(near) => self.nearest(candidates, demand, near, tried, allowed, now),
                None => self.least_loaded(candidates, demand, tried, allowed, now),
            };
            match chosen {
                Choice::Taken(selection) => return Found::Taken(selection),
                Choice::Lost => {}
                Choice::NoSlot if candidates.iter().any(|candidate| !candidate.is_out(tried)) => {
                    return Found::Full;
                }
                Choice::NoSlot => return Found::NoneEligible,
            }
        }
        Found::Full
    }

    /// Takes a slot on the candidate with the least load.
    fn least_loaded(
        &self,
        candidates: &[Candidate],
        demand: Demand,
        tried: &Tried,
        allowed: &impl Fn(&Candidate) -> bool,
        now: Instant,
    ) -> Choice {
        let start = if candidates.len() > 1 {
            self.rotation.next()
        } else {
            0
        };
        // The cheapest candidate usually has a free slot, and in that case no other cap is
        // examined.
        let offer = |at: usize| {
            candidates[at]
                .offer(tried, now)
                .filter(|_| allowed(&candidates[at]))
        };
        let Some(cheapest) = pick_by(candidates.len(), offer, start) else {
            return Choice::NoSlot;
        };
        if let Some(selection) = candidates[cheapest].lease(demand, now) {
            return Choice::Taken(selection);
        }
        let has_slot =
            |candidate: &Candidate| candidate.has_slot(demand, tried, now) && allowed(candidate);
        let candidate =
            |at: usize| has_slot(&candidates[at]).then(|| candidates[at].load_sample(now));
        match pick_by(candidates.len(), candidate, start) {
            Some(chosen) => Choice::of(candidates[chosen].lease(demand, now)),
            None => Choice::NoSlot,
        }
    }

    pub(super) fn is_shared(&self, class: RequestClass) -> bool {
        matches!(self.routes[class], Route::Shared)
    }

    /// Returns the upstreams that serve `class` other than as their trial.
    pub(super) fn in_full(&self, class: RequestClass) -> impl Iterator<Item = &Candidate> {
        let (one, shared) = match &self.routes[class] {
            Route::One(candidate) => (candidate.as_ref(), None),
            Route::Returning(_) => (None, None),
            Route::Shared => (
                None,
                Some(
                    self.tiers(class)
                        .into_iter()
                        .flat_map(|tier| tier.candidates),
                ),
            ),
        };
        one.into_iter().chain(shared.into_iter().flatten())
    }
}

impl Found {
    fn or_else(self, other: impl FnOnce() -> Self) -> Self {
        match self {
            Self::Taken(selection) => Self::Taken(selection),
            Self::NoneEligible => other(),
            Self::Full => match other() {
                Self::Taken(selection) => Self::Taken(selection),
                Self::Full | Self::NoneEligible => Self::Full,
            },
        }
    }
}
