//! Whether the canary itself is in doubt.
//!
//! A canary that fails after a reload is no proof against the replica if the layer is withdrawn, or
//! its database is down: then it fails everywhere. So an upstream that serves is asked for the same
//! canary, the main if it is there. As long as that one fails in the same way, a replica whose
//! reload GeoServer answered as done returns to service without its canary, and that is a
//! condition. One whose reload failed may be empty, and stays out until another reload is done.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Due;
use crate::cluster::tracked::Tracked;
use crate::cluster::{Action, Cause, Cluster, Condition, Outcome};
use crate::health::Verdict;

/// From one question to the next, while the canary is in doubt or a replica fails it.
const PAUSE: Duration = Duration::from_secs(5);

#[derive(Debug, Default)]
pub(in crate::cluster) struct CanaryDoubt {
    /// When an upstream that serves is asked next; `None` while no replica has failed a canary.
    question: Option<Due>,
    /// How the one that was asked last failed.
    failing: Option<Cause>,
}

impl CanaryDoubt {
    /// Another layer may be configured, or another main: what is known is of the former.
    pub(in crate::cluster) fn forget(&mut self) {
        *self = Self::default();
    }
}

impl Cluster {
    /// What the canary of a reloaded replica is worth: passed, if it fails in the same way where
    /// nothing was reloaded.
    pub(super) fn weighed_canary(&mut self, at: usize, outcome: &Outcome, now: Instant) -> Outcome {
        let Outcome::Failure(cause) = outcome else {
            return outcome.clone();
        };
        if self.canary_doubt.question.is_none() && is_answer(cause) {
            self.canary_doubt.question = Some(Due::At(now));
        }
        let is_shared = self
            .canary_doubt
            .failing
            .as_ref()
            .is_some_and(|failing| failing.is_like(cause));
        if is_shared && self.tracked[at].catalog.has_ended_well() {
            Outcome::Success
        } else {
            outcome.clone()
        }
    }

    /// One that serves was asked for the canary at `asked`.
    pub(in crate::cluster) fn canary_tried(
        &mut self,
        asked: Instant,
        outcome: Outcome,
        now: Instant,
    ) {
        if !self
            .canary_doubt
            .question
            .is_some_and(|question| question.is_answered(asked))
        {
            return;
        }
        self.canary_doubt.failing = match outcome {
            Outcome::Failure(cause) if is_answer(&cause) => Some(cause),
            Outcome::Success | Outcome::Busy | Outcome::Failure(_) => None,
        };
        self.ask_for_the_canary_later(now);
    }

    pub(super) fn pass_canary_time(&mut self, now: Instant) {
        if self
            .canary_doubt
            .question
            .is_some_and(|question| question.lost(now).is_some())
        {
            self.ask_for_the_canary_later(now);
        }
    }

    pub(super) fn canary_action(&mut self, now: Instant) -> Option<Action> {
        if !self
            .canary_doubt
            .question
            .is_some_and(|question| question.is_due(now))
        {
            return None;
        }
        let Some(juror) = self.juror() else {
            self.canary_doubt.failing = None;
            self.ask_for_the_canary_later(now);
            return None;
        };
        let mut question = Due::At(now);
        question.begin(now, self.config.health.timeout * 2);
        self.canary_doubt.question = Some(question);
        Some(Action::TryCanary(Arc::clone(&self.tracked[juror].upstream)))
    }

    pub(super) fn canary_deadline(&self) -> Option<Instant> {
        self.canary_doubt.question.map(Due::deadline)
    }

    pub(in crate::cluster) fn canary_condition(&self) -> Option<Condition> {
        let cause = self.canary_doubt.failing.clone()?;
        let layer = self
            .config
            .catalog
            .canary_layer
            .clone()
            .or_else(|| self.config.health.probe_layer.clone());
        Some(Condition::CanaryInDoubt { layer, cause })
    }

    fn ask_for_the_canary_later(&mut self, now: Instant) {
        let is_wanted = self.canary_doubt.failing.is_some()
            || self
                .tracked
                .iter()
                .any(|tracked| tracked.catalog.is_testing());
        self.canary_doubt.question = is_wanted.then(|| Due::At(now + PAUSE));
    }

    /// The main, or else a replica that serves.
    fn juror(&self) -> Option<usize> {
        let serves =
            |tracked: &Tracked| tracked.is_there() && !tracked.catalog.main_reload.is_running();
        let main = self
            .tracked
            .iter()
            .position(|tracked| tracked.upstream.is_main() && serves(tracked));
        main.or_else(|| self.tracked.iter().position(serves))
    }
}

/// It was asked, and answered, if not in time.
fn is_answer(cause: &Cause) -> bool {
    matches!(cause, Cause::Timeout(_))
        || matches!(cause.verdict(), Verdict::Failed | Verdict::Refused)
}
