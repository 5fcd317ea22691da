//! The catalog reload of one replica, step by step.
//!
//! ```text
//!   Serving --behind the settled epoch--> Draining --none in flight--> Reloading --answered--> Testing --passed--> Serving
//!      ^                                     |                             ^                      |
//!      +------------ called off -------------+                             +---- failed, retry ---+
//! ```
//!
//! Its door is closed from Draining on. A request that no other upstream can answer may call the
//! drain off (`postponed.rs`). A failed reload may have left the catalog empty, and one that was
//! given up on may still run. In both cases, the replica gets no requests before its canary passed
//! or is in doubt (`canary_doubt.rs`).
//!
//! A reload that never reached GeoServer (no connection, refused credentials, a fault of our own)
//! changed nothing. The replica serves on at once and is reloaded later.
//!
//! A reload that was given up on runs on inside GeoServer. A second one would wait for it and
//! double the outage. The first one therefore counts as under way until the replica draws its
//! canary or the same time has passed again, and no other is begun before that.
//!
//! Each reload is verified. A replica that afterwards reports an update sequence below the main's
//! earlier one has read older files (NFS clients keep attributes for up to a minute). It serves its
//! old catalog as stale and is reloaded again.

use std::time::{Duration, Instant};

use super::{Basis, Ended, ReplicaCatalog};
use crate::cluster::catalog::credential_check::CredentialCheck;
use crate::cluster::catalog::own_update_sequence::SequenceReading;
use crate::cluster::catalog::postponed::Postponed;
use crate::cluster::{Cause, Outcome};
use crate::health::PollTimer;

/// Interval in which a draining replica is checked for requests in flight.
const LOOK: Duration = Duration::from_millis(20);
/// Pause between a failed canary and the next one.
const CANARY_PAUSE: Duration = Duration::from_millis(250);
/// A replica that draws no canary for this long after its reload needs another reload.
const CANARY_LIMIT: Duration = Duration::from_secs(120);
/// Pause after the first failed reload. It doubles with each failure up to the last value.
const FIRST_RETRY: Duration = Duration::from_secs(10);
/// Pause after a refusal of our credentials. GeoServer delays all logins after failed ones.
const REFUSED_RETRY: Duration = Duration::from_secs(60);
const MAX_BACKOFF: Duration = Duration::from_secs(600);
/// NFS clients may show files as they were this long ago (`acregmax` and `acdirmax` are 60 s). A
/// later read is current, whatever the update sequences are.
const ATTRIBUTE_CACHE: Duration = Duration::from_secs(75);
/// Pause between a reload that read old files and the next one.
const OUTDATED_RETRY: Duration = Duration::from_secs(30);
/// A reload that broke off is assumed to run on for as long as it had taken, and for this long at
/// least.
pub(in crate::cluster::catalog) const GIVEN_UP_AT_LEAST: Duration = Duration::from_secs(60);

#[derive(Clone, Debug, PartialEq)]
pub(in crate::cluster::catalog) enum Phase {
    Serving,
    Draining {
        since: Instant,
        look: Instant,
        /// True if it served until now, so that it may serve again if the reload is called off.
        may_return: bool,
        /// True if a request that needs it now may have the reload postponed.
        may_be_postponed: bool,
    },
    Reloading {
        began: Instant,
        call: PollTimer,
        target: ReloadTarget,
        /// True if it served until its door was closed for this reload.
        may_return: bool,
    },
    Testing(Testing),
}

/// The state of a replica after a successful reload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cluster) struct ReloadTarget {
    pub(in crate::cluster) epoch: u64,
    /// The main's update sequence; `None` if the main has not reported one yet.
    pub(in crate::cluster) main_update_sequence: Option<u64>,
    /// Least update sequence of the replica itself, if its files are to be as new as the main's
    /// update sequence.
    pub(in crate::cluster) expected: Option<u64>,
    /// Time when the main's update sequence was first read.
    pub(in crate::cluster) update_sequence_since: Option<Instant>,
}

#[derive(Clone, Debug, PartialEq)]
pub(in crate::cluster::catalog) struct Testing {
    began: Instant,
    /// Its state if it passes; `None` when the reload failed.
    target: Option<ReloadTarget>,
    passed: u32,
    next: PollTimer,
    /// Deadline at which it is given up on.
    until: Instant,
    /// True if the reload failed or was given up on.
    has_failed: bool,
    /// True while it waits for old tiles to be dropped.
    is_delayed: bool,
    last_failure: Option<Cause>,
}

/// The result of a step.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::cluster::catalog) enum Step {
    Nothing,
    Failed {
        cause: Cause,
        retry_in: Duration,
    },
    /// The door may open; with the epoch if the reload was a success.
    Passed {
        reloaded: Option<(u64, Duration)>,
    },
    /// GeoServer was not reached. The door may open, because nothing happened.
    Unreached {
        cause: Cause,
        retry_in: Duration,
    },
    /// The door may open, and the catalog that was read is old.
    Outdated {
        cause: Cause,
        retry_in: Duration,
    },
}

impl Testing {
    fn new(began: Instant, target: Option<ReloadTarget>, now: Instant) -> Self {
        let (next, until) = (PollTimer::At(now), now + CANARY_LIMIT);
        Self {
            began,
            target,
            passed: 0,
            next,
            until,
            has_failed: false,
            is_delayed: false,
            last_failure: None,
        }
    }

    /// Returns the state after a reload that failed, or whose result is unknown.
    pub(in crate::cluster::catalog) fn after_a_failure(now: Instant) -> Self {
        Self {
            has_failed: true,
            ..Self::new(now, None, now)
        }
    }

    pub(in crate::cluster::catalog) fn has_failed(&self) -> bool {
        self.has_failed
    }
}

impl ReloadTarget {
    /// Returns the reason why the files read by a reload that began at `began` are old, if they
    /// are.
    fn outdated(&self, own: Option<u64>, began: Instant) -> Option<Cause> {
        let (own, main) = (own?, self.main_update_sequence?);
        let may_be_old = self
            .update_sequence_since
            .is_some_and(|since| began < since + ATTRIBUTE_CACHE);
        let is_old = may_be_old && self.expected.is_some_and(|expected| own < expected);
        is_old.then(|| {
            Cause::Unexpected(format!(
                "it read old files: its updateSequence is {own}, and the main's was {main}"
            ))
        })
    }
}

/// True if GeoServer goes on with a reload that ended for us with this cause.
fn runs_on(cause: &Cause) -> bool {
    matches!(
        cause,
        Cause::Timeout(_) | Cause::Reset(_) | Cause::Truncated
    )
}

/// True if GeoServer has not even begun a reload with this failure.
fn never_began(cause: &Cause) -> bool {
    matches!(
        cause,
        Cause::Connect(_) | Cause::Credentials(_) | Cause::Local(_)
    )
}

impl ReplicaCatalog {
    pub(in crate::cluster) fn is_serving(&self) -> bool {
        self.phase == Phase::Serving
    }

    pub(in crate::cluster) fn is_reloading(&self) -> bool {
        matches!(self.phase, Phase::Reloading { .. })
    }

    /// True if it waits for its canary after a reload that GeoServer answered as done.
    pub(in crate::cluster::catalog) fn has_ended_well(&self) -> bool {
        matches!(&self.phase, Phase::Testing(testing) if testing.target.is_some())
    }

    pub(in crate::cluster) fn is_testing(&self) -> bool {
        matches!(self.phase, Phase::Testing(_))
    }

    /// True if a reload has begun, and no canary has passed since.
    pub(in crate::cluster) fn may_be_empty(&self) -> bool {
        match &self.phase {
            Phase::Serving => false,
            // A drain for another reload, after a failed one, must not return before its canary
            // passed.
            Phase::Draining { may_return, .. } => !may_return,
            Phase::Reloading { .. } | Phase::Testing(_) => true,
        }
    }

    /// True if it is out of service for a reload that has not failed yet, or that was given up on
    /// and may run on.
    pub(in crate::cluster) fn is_on_its_way(&self) -> bool {
        !self.is_serving() && !self.is_stuck() || self.given_up.is_some()
    }

    /// True if it is out of service after a failed reload, until a canary passes or another reload
    /// helps.
    pub(in crate::cluster) fn is_stuck(&self) -> bool {
        matches!(&self.phase, Phase::Testing(testing) if testing.has_failed)
    }

    /// True if it waits for its requests to end and is still able to serve.
    pub(in crate::cluster::catalog) fn may_return(&self) -> bool {
        matches!(
            self.phase,
            Phase::Draining {
                may_return: true,
                ..
            }
        )
    }

    /// True if it is draining and may go on serving for a request that needs it.
    pub(in crate::cluster) fn may_be_postponed(&self) -> bool {
        matches!(
            self.phase,
            Phase::Draining {
                may_be_postponed: true,
                ..
            }
        )
    }

    /// True if its reload was postponed and the next attempt is not due yet.
    pub(in crate::cluster) fn is_postponed(&self) -> bool {
        self.postponed.deadline().is_some()
    }

    /// True if it is out of service for a reload that has not failed and will not be postponed.
    pub(in crate::cluster) fn returns_soon(&self) -> bool {
        !self.is_serving() && !self.is_stuck() && !self.may_be_postponed()
    }

    /// True if it is time to reload: no request is in flight, or the drain has reached its limit.
    pub(in crate::cluster::catalog) fn is_drained(
        &self,
        in_flight: u32,
        limit: Duration,
        now: Instant,
    ) -> bool {
        match self.phase {
            Phase::Draining { since, .. } => in_flight == 0 || now >= since + limit,
            Phase::Serving | Phase::Reloading { .. } | Phase::Testing(_) => false,
        }
    }

    /// Returns the time of its next step. A replica in maintenance (`is_paused`) waits only for the
    /// call that is under way.
    pub(in crate::cluster::catalog) fn deadline(&self, is_paused: bool) -> Option<Instant> {
        let phase = match &self.phase {
            Phase::Serving => None,
            Phase::Draining { look, .. } => Some(*look),
            Phase::Reloading { call, .. } => Some(call.deadline()),
            Phase::Testing(_) if is_paused => None,
            Phase::Testing(testing) if testing.has_failed => Some(testing.next.deadline()),
            Phase::Testing(testing) => Some(testing.next.deadline().min(testing.until)),
        };
        let waits = self
            .retry_at
            .into_iter()
            .chain(self.given_up)
            .chain(self.postponed.deadline())
            .chain(self.credential_check.deadline());
        phase.into_iter().chain(waits).min()
    }

    /// Begins the drain. `bound`: the longest time for which its reload may be postponed.
    pub(in crate::cluster) fn begin(&mut self, bound: Duration, now: Instant) {
        let may_return = self.is_serving();
        let may_be_postponed =
            may_return && self.postponed.may_begin_or_go_on(self.held, bound, now);
        self.phase = Phase::Draining {
            since: now,
            look: now + LOOK,
            may_return,
            may_be_postponed,
        };
        self.retry_at = None;
    }

    /// Lets it serve for a while yet. Returns `None` if it may not, else whether this is the first
    /// time.
    pub(in crate::cluster) fn postpone(&mut self, now: Instant) -> Option<bool> {
        if !self.may_be_postponed() {
            return None;
        }
        self.phase = Phase::Serving;
        Some(self.postponed.put_off(self.held, now))
    }

    /// Calls the reload off. Returns true if it serves as before; a replica that may be empty must
    /// pass its canary.
    pub(in crate::cluster) fn call_off(&mut self, now: Instant) -> bool {
        if let Phase::Draining { may_return, .. } = self.phase {
            self.phase = if may_return {
                Phase::Serving
            } else {
                Phase::Testing(Testing::after_a_failure(now))
            };
        }
        self.is_serving()
    }

    pub(in crate::cluster) fn reload(
        &mut self,
        target: ReloadTarget,
        limit: Duration,
        now: Instant,
    ) {
        let (mut call, may_return) = (PollTimer::At(now), self.may_return());
        call.begin(now, limit);
        self.postponed = Postponed::default();
        self.phase = Phase::Reloading {
            began: now,
            call,
            target,
            may_return,
        };
    }

    pub(in crate::cluster::catalog) fn reloaded(
        &mut self,
        sent_at: Instant,
        outcome: Result<(), Cause>,
        now: Instant,
    ) -> Step {
        let Phase::Reloading {
            began,
            call,
            target,
            may_return,
        } = self.phase
        else {
            return Step::Nothing;
        };
        if !call.is_answered(sent_at) {
            return Step::Nothing;
        }
        if let Some(cause) = outcome
            .as_ref()
            .err()
            .filter(|cause| may_return && never_began(cause))
        {
            self.phase = Phase::Serving;
            let (cause, retry_in) = (cause.clone(), self.try_later(cause, now));
            return Step::Unreached { cause, retry_in };
        }
        if outcome.as_ref().is_err_and(runs_on) {
            self.given_up = Some(now + now.saturating_duration_since(began).max(GIVEN_UP_AT_LEAST));
        }
        self.phase = Phase::Testing(Testing::new(began, outcome.is_ok().then_some(target), now));
        outcome.map_or_else(|cause| self.fail(cause, now), |()| Step::Nothing)
    }

    /// Returns true if the canary request must be sent now.
    pub(in crate::cluster::catalog) fn test(&mut self, limit: Duration, now: Instant) -> bool {
        let Phase::Testing(testing) = &mut self.phase else {
            return false;
        };
        let is_due = testing.next.is_due(now);
        if is_due {
            testing.next.begin(now, limit);
        }
        is_due
    }

    /// Lets the canary wait for something else, at most `limit`.
    pub(in crate::cluster::catalog) fn delay_test(&mut self, limit: Duration, now: Instant) {
        if let Phase::Testing(testing) = &mut self.phase {
            testing.next = PollTimer::At(now + limit);
            testing.until += limit;
            testing.is_delayed = true;
        }
    }

    /// Ends a delay of the canary.
    pub(in crate::cluster::catalog) fn hasten_test(&mut self, now: Instant) {
        if let Phase::Testing(testing) = &mut self.phase
            && std::mem::take(&mut testing.is_delayed)
        {
            testing.next.hasten(now);
        }
    }

    pub(in crate::cluster::catalog) fn tested(
        &mut self,
        outcome: &Outcome,
        reading: SequenceReading,
        needed: u32,
        now: Instant,
    ) -> Step {
        let Phase::Testing(testing) = &mut self.phase else {
            return Step::Nothing;
        };
        if !testing.next.is_answered(reading.sent_at) {
            return Step::Nothing;
        }
        testing.next = PollTimer::At(now);
        match outcome {
            Outcome::Success => testing.passed += 1,
            Outcome::Busy => testing.next = PollTimer::At(now + CANARY_PAUSE),
            Outcome::Failure(cause) => {
                (testing.passed, testing.next) = (0, PollTimer::At(now + CANARY_PAUSE));
                testing.last_failure = Some(cause.clone());
            }
        }
        if testing.passed < needed {
            return Step::Nothing;
        }
        let (target, began) = (testing.target, testing.began);
        let took = now.saturating_duration_since(began);
        (self.phase, self.given_up) = (Phase::Serving, None);
        let Some(target) = target else {
            // The replica may have crashed during the reload and have been started again since.
            self.read(reading, false);
            return Step::Passed { reloaded: None };
        };
        self.own.reloaded(reading);
        if let Some(cause) = target.outdated(reading.update_sequence, began) {
            self.retry_at = Some(now + OUTDATED_RETRY);
            self.last = Some(Ended {
                at: now,
                took,
                failure: Some(cause.clone()),
            });
            return Step::Outdated {
                cause,
                retry_in: OUTDATED_RETRY,
            };
        }
        // It accepted our credentials for this reload, and would for another.
        self.credential_check = CredentialCheck::Passed(now);
        self.held = Some(target.epoch);
        self.basis = if target.main_update_sequence.is_none() {
            Basis::Early
        } else {
            Basis::Knowledge
        };
        (self.failures, self.retry_at) = (0, None);
        self.last = Some(Ended {
            at: now,
            took,
            failure: None,
        });
        Step::Passed {
            reloaded: Some((target.epoch, took)),
        }
    }

    /// Applies the effects of time alone, such as a call that never reported or a canary that does
    /// not pass.
    pub(in crate::cluster::catalog) fn pass_time(&mut self, is_paused: bool, now: Instant) -> Step {
        // A time that has passed is no deadline any more: the replica waits for its turn.
        self.retry_at.take_if(|at| *at <= now);
        self.given_up.take_if(|until| *until <= now);
        self.postponed.pass_time(now);
        match &mut self.phase {
            Phase::Draining { look, .. } if *look <= now => {
                *look = now + LOOK;
                Step::Nothing
            }
            Phase::Reloading { call, .. } => match call.give_up(now) {
                Some(began) => self.reloaded(
                    began,
                    Err(Cause::Timeout("the catalog reload did not end")),
                    now,
                ),
                None => Step::Nothing,
            },
            Phase::Testing(testing) if is_paused => {
                // The test counts as if it began when the pause ends.
                (testing.passed, testing.next, testing.until) =
                    (0, PollTimer::At(now), now + CANARY_LIMIT);
                Step::Nothing
            }
            Phase::Testing(testing) => {
                if testing.next.give_up(now).is_some() {
                    testing.next = PollTimer::At(now);
                } else if testing.until <= now && !testing.has_failed {
                    let cause = testing
                        .last_failure
                        .take()
                        .unwrap_or(Cause::Timeout("no canary after the catalog reload"));
                    return self.fail(cause, now);
                }
                Step::Nothing
            }
            Phase::Serving | Phase::Draining { .. } => Step::Nothing,
        }
    }

    /// Takes in the result of the credentials check made before it left service. It serves on if a
    /// reload would not reach it.
    pub(in crate::cluster::catalog) fn credentials_tried(
        &mut self,
        outcome: Result<(), Cause>,
        now: Instant,
    ) -> Step {
        match outcome {
            Err(cause) if never_began(&cause) => {
                self.credential_check = CredentialCheck::NotChecked;
                let retry_in = self.try_later(&cause, now);
                Step::Failed { cause, retry_in }
            }
            Ok(()) | Err(_) => {
                self.credential_check = CredentialCheck::Passed(now);
                Step::Nothing
            }
        }
    }

    /// Keeps it in service because a reload does not reach it. Returns the pause until the next
    /// attempt.
    fn try_later(&mut self, cause: &Cause, now: Instant) -> Duration {
        let first = if cause.refused_credentials().is_some() {
            REFUSED_RETRY
        } else {
            FIRST_RETRY
        };
        let retry_in = first
            .saturating_mul(1 << self.failures.min(16))
            .min(MAX_BACKOFF);
        self.failures += 1;
        self.retry_at = Some(now + retry_in);
        self.last = Some(Ended {
            at: now,
            took: Duration::ZERO,
            failure: Some(cause.clone()),
        });
        retry_in
    }

    fn fail(&mut self, cause: Cause, now: Instant) -> Step {
        let retry_in = FIRST_RETRY
            .saturating_mul(1 << self.failures.min(16))
            .min(MAX_BACKOFF);
        self.failures += 1;
        self.retry_at = Some(now + retry_in);
        if let Phase::Testing(testing) = &mut self.phase {
            testing.has_failed = true;
            let took = now.saturating_duration_since(testing.began);
            self.last = Some(Ended {
                at: now,
                took,
                failure: Some(cause.clone()),
            });
        }
        Step::Failed { cause, retry_in }
    }
}
