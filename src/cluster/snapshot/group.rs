//! Selection for requests that follow a rule of the operator, which names their upstreams.
//!
//! [`Tried`] keeps all other upstreams out, so the choice among those of the group is the usual
//! one.

use std::time::Instant;

use super::choice::Found;
use super::near::Near;
use super::{Candidate, Need, Snapshot, Tried};

impl Snapshot {
    /// Selects among the upstreams of a group, whichever serve the class otherwise. The main serves
    /// in a group that names it.
    pub(super) fn select_of_group(
        &self,
        need: Need,
        near: Option<Near>,
        tried: &Tried,
        now: Instant,
    ) -> Found {
        match self.select_shared(need, near, tried, now) {
            Found::NoneEligible => {
                let demand = self.demand_of(need);
                self.choose(&self.main, demand, None, tried, &|_| true, now)
            }
            found => found,
        }
    }

    /// Returns every upstream that may serve a request of a group.
    pub(super) fn of_any_group(&self) -> impl Iterator<Item = &Candidate> {
        self.first.iter().chain(&self.main).chain(&self.on_trial)
    }
}
