//! Help for a request that would be refused although an upstream may answer it.
//!
//! Two conclusions keep a request from an upstream that could answer it: that its catalog should be
//! reloaded now, and that failed requests have shown it to be broken. If no other upstream is left
//! for the request, neither justifies a refusal:
//!
//! * A replica that drains for its reload, and served until then, goes on serving. The reload is
//!   postponed in short steps, and not for ever (`catalog/postponed.rs`).
//! * An ejected upstream gets its trial early. If the trial fails, the ejection continues
//!   unchanged.
//!
//! A replica that is reloading, or has drawn no canary since, stays out: its answers may be wrong.

use std::time::Instant;

use super::upstream_state::UpstreamState;
use super::upstreams::Upstreams;
use super::{TransitionKind, Tried};
use crate::config::{Config, ServedBy, StalePolicy};
use crate::ogc::RequestClass;

impl Upstreams {
    /// Makes an upstream available to a request of `class` that finds none beside those in `tried`,
    /// if one could answer it. `epoch`: the main's last change.
    pub(super) fn rescue(&mut self, class: RequestClass, tried: &Tried, epoch: u64, now: Instant) {
        let Some(at) = self.rescuer(class, tried, epoch) else {
            return;
        };
        let state = &mut self.states[at];
        let postponed = state.postpone_reload(now);
        let on_trial = state.is_ejected_for(served_by(&self.config, class, tried));
        let trial = on_trial.then(|| state.begin_trial(now)).flatten();
        let postponed = postponed.then_some(TransitionKind::ReloadPostponed { class });
        self.report(at, postponed.into_iter().chain(trial));
    }

    /// Returns the upstream to make available: preferably one that only drains, else the one with
    /// the ejection that ends first.
    pub(super) fn rescuer(&self, class: RequestClass, tried: &Tried, epoch: u64) -> Option<usize> {
        (0..self.len())
            .filter(|at| !tried.excludes(&self[*at].upstream))
            .filter(|at| self.would_answer(&self[*at], class, tried, epoch))
            .min_by_key(|at| self[*at].ejected_until())
    }

    fn would_answer(
        &self,
        state: &UpstreamState,
        class: RequestClass,
        tried: &Tried,
        epoch: u64,
    ) -> bool {
        let served_by = served_by(&self.config, class, tried);
        let serves = match served_by {
            ServedBy::Replicas => {
                state.may_read()
                    && (state.is_up() || self.fails_open)
                    && self.may_list(state, class, epoch)
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
    fn may_list(&self, state: &UpstreamState, class: RequestClass, epoch: u64) -> bool {
        class != RequestClass::Capabilities
            || state.catalog.is_fresh(epoch)
            || self.config.catalog.stale == StalePolicy::Serve
    }
}

/// The upstreams of a group share its requests, whichever serve the class otherwise.
fn served_by<'c>(config: &'c Config, class: RequestClass, tried: &Tried) -> &'c ServedBy {
    if tried.has_group() {
        &ServedBy::Replicas
    } else if tried.is_for_main() {
        &ServedBy::Main
    } else {
        &config.classes[class].served_by
    }
}
