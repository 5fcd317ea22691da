//! Help for a request that would be refused although an upstream may answer it.
//!
//! Two beliefs keep a request from an upstream that could answer it: that its catalog should be
//! reloaded now, and that requests have shown it to be broken. If no other upstream is left for the
//! request, neither belief is worth a refusal:
//!
//! * A replica that drains for its reload, and served until then, goes on serving. The reload is
//!   postponed in short steps, and not for ever (`catalog/postponed.rs`).
//! * An ejected upstream gets its trial early. If that fails, the ejection goes on as if it had not
//!   been.
//!
//! A replica that is reloading, or has drawn no canary since, stays out: its answers may be wrong.

use std::mem;
use std::time::Instant;

use super::upstream_state::UpstreamState;
use super::{Cluster, Transition, TransitionKind, Tried};
use crate::config::{ServedBy, StalePolicy};
use crate::ogc::RequestClass;

impl Cluster {
    /// Attempts to make an upstream available to a request of `class` that finds none beside those
    /// in `tried`. Returns true if another selection may find one.
    pub fn rescue(
        &mut self,
        class: RequestClass,
        tried: &Tried,
        now: Instant,
    ) -> (bool, Vec<Transition>) {
        self.pass_time(now);
        self.settle(now);
        // Time may have helped, or the rescue of another request.
        if !self.snapshot().has_place(class, tried)
            && let Some(at) = self.rescuer(class, tried)
        {
            let state = &mut self.upstreams[at];
            let postponed = state.postpone_reload(now);
            let on_trial = state.is_ejected_for(&self.config.classes[class].served_by);
            let trial = on_trial.then(|| state.begin_trial(now)).flatten();
            let postponed = postponed.then_some(TransitionKind::ReloadPostponed { class });
            self.report(at, postponed.into_iter().chain(trial));
            self.settle(now);
        }
        let is_found = self.snapshot().has_place(class, tried);
        (is_found, mem::take(&mut self.outbox))
    }

    /// True if [`Self::rescue`] would help.
    pub fn could_rescue(&self, class: RequestClass, tried: &Tried) -> bool {
        self.rescuer(class, tried).is_some()
    }

    /// Returns the upstream to make available: preferably one that only drains, else the one with
    /// the ejection that ends first.
    fn rescuer(&self, class: RequestClass, tried: &Tried) -> Option<usize> {
        (0..self.upstreams.len())
            .filter(|at| !tried.contains(self.upstreams[*at].upstream.id))
            .filter(|at| self.would_answer(&self.upstreams[*at], class))
            .min_by_key(|at| self.upstreams[*at].ejected_until())
    }

    fn would_answer(&self, state: &UpstreamState, class: RequestClass) -> bool {
        let served_by = &self.config.classes[class].served_by;
        let serves = match served_by {
            ServedBy::Replicas => {
                state.may_read()
                    && (state.is_up() || self.fails_open)
                    && self.may_list(state, class)
            }
            // The main's catalog is the reference, and only unreachability keeps requests from it.
            ServedBy::Main => false,
            ServedBy::Upstream(name) => state.upstream.name == *name,
        };
        let is_kept_out = state.catalog.may_be_postponed() || state.is_ejected_for(served_by);
        serves
            && is_kept_out
            && state.is_ready()
            && (state.catalog.is_serving() || state.catalog.may_be_postponed())
    }

    /// True if it may serve capabilities. Stale upstreams may not where they are to be avoided.
    fn may_list(&self, state: &UpstreamState, class: RequestClass) -> bool {
        class != RequestClass::Capabilities
            || state.catalog.is_fresh(self.changes.epoch())
            || self.config.catalog.stale == StalePolicy::Serve
    }
}
