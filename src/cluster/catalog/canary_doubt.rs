//! Doubt about the canary itself.
//!
//! A canary that fails after a reload does not prove a fault of the replica. If the layer is
//! withdrawn or its database is down, the canary fails everywhere. An upstream in service,
//! preferably the main, therefore gets the same canary request.
//!
//! As long as that one fails in the same way, the canary is in doubt, which is a condition. A
//! replica then returns to service without its canary, if GeoServer answered its reload as done. A
//! replica with a failed reload may be empty, and stays out until another reload is done.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::CatalogMachine;
use crate::cluster::upstream_state::UpstreamState;
use crate::cluster::upstreams::Upstreams;
use crate::cluster::{Action, Cause, Condition, Outcome};
use crate::health::{PollTimer, Verdict};

/// Pause between two canary requests to upstreams in service, while the canary is in doubt or a
/// replica fails it.
const PAUSE: Duration = Duration::from_secs(5);

#[derive(Debug, Default)]
pub(super) struct CanaryDoubt {
    /// Time of the next canary request to an upstream in service; `None` while no replica has
    /// failed a canary.
    timer: Option<PollTimer>,
    /// The failure of the last canary request to an upstream in service.
    failing: Option<Cause>,
}

impl CanaryDoubt {
    /// Forgets everything, because another layer or another main may be configured.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }
}

impl CatalogMachine {
    /// Weighs the canary of a reloaded replica. It counts as passed if it fails in the same way
    /// where nothing was reloaded.
    pub(super) fn weighed_canary(
        &mut self,
        upstreams: &Upstreams,
        at: usize,
        outcome: &Outcome,
        now: Instant,
    ) -> Outcome {
        let Outcome::Failure(cause) = outcome else {
            return outcome.clone();
        };
        if self.canary_doubt.timer.is_none() && is_answer(cause) {
            self.canary_doubt.timer = Some(PollTimer::At(now));
        }
        let is_shared = self
            .canary_doubt
            .failing
            .as_ref()
            .is_some_and(|failing| failing.is_like(cause));
        if is_shared && upstreams[at].catalog.has_ended_well() {
            Outcome::Success
        } else {
            outcome.clone()
        }
    }

    /// Takes in the result of a canary request to an upstream in service, sent at `sent_at`.
    pub(super) fn canary_tried(
        &mut self,
        upstreams: &Upstreams,
        sent_at: Instant,
        outcome: Outcome,
        now: Instant,
    ) {
        if !self
            .canary_doubt
            .timer
            .is_some_and(|timer| timer.is_answered(sent_at))
        {
            return;
        }
        self.canary_doubt.failing = match outcome {
            Outcome::Failure(cause) if is_answer(&cause) => Some(cause),
            Outcome::Success | Outcome::Busy | Outcome::Failure(_) => None,
        };
        self.plan_canary(upstreams, now);
    }

    pub(super) fn pass_canary_time(&mut self, upstreams: &Upstreams, now: Instant) {
        let timer = self.canary_doubt.timer.as_mut();
        if timer.and_then(|timer| timer.give_up(now)).is_some() {
            self.plan_canary(upstreams, now);
        }
    }

    pub(super) fn canary_action(&mut self, upstreams: &Upstreams, now: Instant) -> Option<Action> {
        if !self
            .canary_doubt
            .timer
            .is_some_and(|timer| timer.is_due(now))
        {
            return None;
        }
        let Some(reference) = self.reference(upstreams) else {
            self.canary_doubt.failing = None;
            self.plan_canary(upstreams, now);
            return None;
        };
        let mut timer = PollTimer::At(now);
        timer.begin(now, upstreams.config.health.timeout * 2);
        self.canary_doubt.timer = Some(timer);
        Some(Action::TryCanary(Arc::clone(
            &upstreams[reference].upstream,
        )))
    }

    pub(super) fn canary_deadline(&self) -> Option<Instant> {
        self.canary_doubt.timer.map(PollTimer::deadline)
    }

    pub(super) fn canary_condition(&self, upstreams: &Upstreams) -> Option<Condition> {
        let cause = self.canary_doubt.failing.clone()?;
        let layer = upstreams
            .config
            .catalog
            .canary_layer
            .clone()
            .or_else(|| upstreams.config.health.probe_layer.clone());
        Some(Condition::CanaryInDoubt { layer, cause })
    }

    fn plan_canary(&mut self, upstreams: &Upstreams, now: Instant) {
        let is_wanted = self.canary_doubt.failing.is_some()
            || upstreams.iter().any(|state| state.catalog.is_testing());
        self.canary_doubt.timer = is_wanted.then(|| PollTimer::At(now + PAUSE));
    }

    /// Returns the main, or else a replica in service.
    fn reference(&self, upstreams: &Upstreams) -> Option<usize> {
        let serves =
            |state: &UpstreamState| state.is_there() && !state.catalog.main_reload.is_running();
        let main = upstreams
            .iter()
            .position(|state| state.upstream.is_main() && serves(state));
        main.or_else(|| upstreams.iter().position(serves))
    }
}

/// True if the upstream received the request and answered it, even if too late.
fn is_answer(cause: &Cause) -> bool {
    matches!(cause, Cause::Timeout(_))
        || matches!(cause.verdict(), Verdict::Failed | Verdict::Refused)
}
