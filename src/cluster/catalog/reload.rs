//! The catalog reload of one replica, step by step.
//!
//! ```text
//!   Serving --behind the settled epoch--> Draining --nobody in flight--> Reloading --answered--> Testing --passed--> Serving
//!      ^                                     |                               ^                      |
//!      +------------ called off -------------+                               +---- failed, retry ---+
//! ```
//!
//! From Draining on its door is closed, unless a request calls the drain off that no other upstream
//! can answer (`postponed.rs`). A reload that failed may have left the catalog empty, and
//! one that was given up may still run, so nobody comes in before the canary passed either way (or
//! is in doubt: `canary_doubt.rs`). A reload that never reached GeoServer (no connection, refused
//! credentials, a fault of our own) changed nothing: the replica serves on at once and is reloaded
//! later.
//!
//! One that was given up on runs on inside GeoServer, and a second would wait for it and double the
//! outage: it counts as under way, and no other is begun, until the replica draws its canary or as
//! much time has passed again.
//!
//! A reload is verified: where the replica then reports a number below what the main had before, it
//! read files that were older than that (NFS clients keep attributes for up to a minute). It serves
//! what it has, as stale, and is reloaded again.

use std::time::{Duration, Instant};

use super::access::Access;
use super::due::Due;
use super::freshness::{Basis, Ended, Freshness};
use super::own::Reading;
use super::postponed::Postponed;
use crate::cluster::{Cause, Outcome};

/// How soon it is seen that nobody is in flight any more.
const LOOK: Duration = Duration::from_millis(20);
/// Between a failed canary and the next.
const CANARY_PAUSE: Duration = Duration::from_millis(250);
/// A replica that draws no canary for this long after its reload needs another one.
const CANARY_LIMIT: Duration = Duration::from_secs(120);
/// After the first failed reload; doubles up to the last.
const FIRST_RETRY: Duration = Duration::from_secs(10);
/// After a refusal of our credentials: GeoServer delays all logins after failed ones.
const REFUSED_RETRY: Duration = Duration::from_secs(60);
const LAST_RETRY: Duration = Duration::from_secs(600);
/// NFS clients may show files as they were this long ago (`acregmax` and `acdirmax` are 60 s). What
/// is read later is current, whatever numbers say.
const ATTRIBUTE_CACHE: Duration = Duration::from_secs(75);
/// From a reload that read old files to the next.
const OUTDATED_RETRY: Duration = Duration::from_secs(30);
/// A reload that broke off is taken to run on for as long as it had taken, and for this long at
/// least.
pub(super) const GIVEN_UP_AT_LEAST: Duration = Duration::from_secs(60);

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Phase {
    Serving,
    Draining {
        since: Instant,
        look: Instant,
        /// It served until now, so it may serve again if the reload is called off.
        may_return: bool,
        /// A request that needs it now may have the reload put off.
        may_be_postponed: bool,
    },
    Reloading {
        began: Instant,
        call: Due,
        target: Target,
        /// It served until its door was closed for this reload.
        may_return: bool,
    },
    Testing(Testing),
}

/// What it has when the reload is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cluster) struct Target {
    pub(in crate::cluster) epoch: u64,
    /// The main's number; `None` if it has not reported one yet.
    pub(in crate::cluster) main_number: Option<u64>,
    /// What the replica's own number must be at least, if what it reads is to be as new as the
    /// main's number.
    pub(in crate::cluster) expected: Option<u64>,
    /// When the main's number was first read.
    pub(in crate::cluster) number_since: Option<Instant>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Testing {
    began: Instant,
    /// What it holds if it passes; `None` when the reload failed.
    target: Option<Target>,
    passed: u32,
    next: Due,
    /// When it is given up on.
    until: Instant,
    /// The reload failed, or was given up on.
    has_failed: bool,
    last_failure: Option<Cause>,
}

/// What became of a step.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Step {
    Nothing,
    Failed {
        cause: Cause,
        retry_in: Duration,
    },
    /// The door may open; with the epoch if the reload was a success.
    Passed {
        reloaded: Option<(u64, Duration)>,
    },
    /// GeoServer was not reached: the door may open, as nothing happened.
    Unreached {
        cause: Cause,
        retry_in: Duration,
    },
    /// The door may open, and what it read was old.
    Outdated {
        cause: Cause,
        retry_in: Duration,
    },
}

impl Testing {
    fn new(began: Instant, target: Option<Target>, now: Instant) -> Self {
        let (next, until) = (Due::At(now), now + CANARY_LIMIT);
        Self {
            began,
            target,
            passed: 0,
            next,
            until,
            has_failed: false,
            last_failure: None,
        }
    }

    /// Of a reload that came to nothing, or of which nothing is known.
    pub(super) fn after_a_failure(now: Instant) -> Self {
        Self {
            has_failed: true,
            ..Self::new(now, None, now)
        }
    }

    pub(super) fn has_failed(&self) -> bool {
        self.has_failed
    }
}

impl Target {
    /// Why what was read by a reload that began at `began` is old, if it is.
    fn outdated(&self, own: Option<u64>, began: Instant) -> Option<Cause> {
        let (own, main) = (own?, self.main_number?);
        let may_be_old = self
            .number_since
            .is_some_and(|since| began < since + ATTRIBUTE_CACHE);
        let is_old = may_be_old && self.expected.is_some_and(|expected| own < expected);
        is_old.then(|| {
            Cause::Unexpected(format!(
                "it read old files: its updateSequence is {own}, and the main's was {main}"
            ))
        })
    }
}

/// Whether GeoServer goes on with a reload that came to this.
fn runs_on(cause: &Cause) -> bool {
    matches!(
        cause,
        Cause::Timeout(_) | Cause::Reset(_) | Cause::Truncated
    )
}

/// Whether GeoServer has not even begun a reload that came to this.
fn never_began(cause: &Cause) -> bool {
    matches!(
        cause,
        Cause::Connect(_) | Cause::Credentials(_) | Cause::Local(_)
    )
}

impl Freshness {
    pub(in crate::cluster) fn is_serving(&self) -> bool {
        self.phase == Phase::Serving
    }

    pub(in crate::cluster) fn is_reloading(&self) -> bool {
        matches!(self.phase, Phase::Reloading { .. })
    }

    /// It waits for its canary after a reload that GeoServer answered as done.
    pub(super) fn has_ended_well(&self) -> bool {
        matches!(&self.phase, Phase::Testing(testing) if testing.target.is_some())
    }

    pub(in crate::cluster) fn is_testing(&self) -> bool {
        matches!(self.phase, Phase::Testing(_))
    }

    /// A reload has begun, and no canary has passed since.
    pub(in crate::cluster) fn may_be_empty(&self) -> bool {
        match &self.phase {
            Phase::Serving => false,
            // For another reload, after one that failed, it may not return before its canary
            // passed.
            Phase::Draining { may_return, .. } => !may_return,
            Phase::Reloading { .. } | Phase::Testing(_) => true,
        }
    }

    /// Out of service for a reload that has not failed yet, or that was given up on and may run on.
    pub(in crate::cluster) fn is_on_its_way(&self) -> bool {
        !self.is_serving() && !self.is_stuck() || self.given_up.is_some()
    }

    /// Out of service after a reload that failed, until a canary passes or another reload helps.
    pub(in crate::cluster) fn is_stuck(&self) -> bool {
        matches!(&self.phase, Phase::Testing(testing) if testing.has_failed)
    }

    /// Waits for its requests to end, and could as well go on serving.
    pub(super) fn may_return(&self) -> bool {
        matches!(
            self.phase,
            Phase::Draining {
                may_return: true,
                ..
            }
        )
    }

    /// It drains, and may go on serving for a request that needs it.
    pub(in crate::cluster) fn may_be_postponed(&self) -> bool {
        matches!(
            self.phase,
            Phase::Draining {
                may_be_postponed: true,
                ..
            }
        )
    }

    /// A reload was put off, and it is not yet time for the next try.
    pub(in crate::cluster) fn is_postponed(&self) -> bool {
        self.postponed.deadline().is_some()
    }

    /// It is out of service for a reload that has not failed, and will not be put off.
    pub(in crate::cluster) fn returns_soon(&self) -> bool {
        !self.is_serving() && !self.is_stuck() && !self.may_be_postponed()
    }

    /// Whether it is time to reload: nobody is in flight, or has been for too long.
    pub(super) fn is_drained(&self, in_flight: u32, limit: Duration, now: Instant) -> bool {
        matches!(self.phase, Phase::Draining { since, .. } if in_flight == 0 || now >= since + limit)
    }

    /// Of a replica in maintenance (`is_paused`) only the call that is under way is waited for.
    pub(super) fn deadline(&self, is_paused: bool) -> Option<Instant> {
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
            .chain(self.access.deadline());
        phase.into_iter().chain(waits).min()
    }

    /// `bound`: how long its reload may be put off.
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

    /// It serves for a while yet. `None` if it may not; else whether this is the first time.
    pub(in crate::cluster) fn postpone(&mut self, now: Instant) -> Option<bool> {
        if !self.may_be_postponed() {
            return None;
        }
        self.phase = Phase::Serving;
        Some(self.postponed.put_off(self.held, now))
    }

    /// There will be no reload. True if it serves as before; one that may be empty must pass its
    /// canary.
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

    pub(in crate::cluster) fn reload(&mut self, target: Target, limit: Duration, now: Instant) {
        let (mut call, may_return) = (Due::At(now), self.may_return());
        call.begin(now, limit);
        self.postponed = Postponed::default();
        self.phase = Phase::Reloading {
            began: now,
            call,
            target,
            may_return,
        };
    }

    pub(super) fn reloaded(
        &mut self,
        asked: Instant,
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
        if !call.is_answered(asked) {
            return Step::Nothing;
        }
        if let Some(cause) = outcome
            .as_ref()
            .err()
            .filter(|cause| may_return && never_began(cause))
        {
            self.phase = Phase::Serving;
            let (cause, retry_in) = (cause.clone(), self.is_unreached(cause, now));
            return Step::Unreached { cause, retry_in };
        }
        if outcome.as_ref().is_err_and(runs_on) {
            self.given_up = Some(now + now.saturating_duration_since(began).max(GIVEN_UP_AT_LEAST));
        }
        self.phase = Phase::Testing(Testing::new(began, outcome.is_ok().then_some(target), now));
        outcome.map_or_else(|cause| self.fail(cause, now), |()| Step::Nothing)
    }

    /// True if the canary is to be asked for now.
    pub(super) fn test(&mut self, limit: Duration, now: Instant) -> bool {
        let Phase::Testing(testing) = &mut self.phase else {
            return false;
        };
        let is_due = testing.next.is_due(now);
        if is_due {
            testing.next.begin(now, limit);
        }
        is_due
    }

    pub(super) fn tested(
        &mut self,
        outcome: &Outcome,
        reading: Reading,
        needed: u32,
        now: Instant,
    ) -> Step {
        let Phase::Testing(testing) = &mut self.phase else {
            return Step::Nothing;
        };
        if !testing.next.is_answered(reading.asked) {
            return Step::Nothing;
        }
        testing.next = Due::At(now);
        match outcome {
            Outcome::Success => testing.passed += 1,
            Outcome::Busy => testing.next = Due::At(now + CANARY_PAUSE),
            Outcome::Failure(cause) => {
                (testing.passed, testing.next) = (0, Due::At(now + CANARY_PAUSE));
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
            // It may have died of it, and have been started again since.
            self.read(reading, false);
            return Step::Passed { reloaded: None };
        };
        self.own.reloaded(reading);
        if let Some(cause) = target.outdated(reading.number, began) {
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
        // It took our credentials for this reload, and would for another.
        self.access = Access::Open(now);
        self.held = Some(target.epoch);
        self.basis = if target.main_number.is_none() {
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

    /// A call that never reported, a canary that does not come: what time alone decides.
    pub(super) fn pass_time(&mut self, is_paused: bool, now: Instant) -> Step {
        // Once its time has come it is no deadline any more: it waits for its turn.
        self.retry_at.take_if(|at| *at <= now);
        self.given_up.take_if(|until| *until <= now);
        self.postponed.pass_time(now);
        match &mut self.phase {
            Phase::Draining { look, .. } if *look <= now => {
                *look = now + LOOK;
                Step::Nothing
            }
            Phase::Reloading { call, .. } => match call.lost(now) {
                Some(began) => self.reloaded(
                    began,
                    Err(Cause::Timeout("the catalog reload did not end")),
                    now,
                ),
                None => Step::Nothing,
            },
            Phase::Testing(testing) if is_paused => {
                // As if it began when the pause ends.
                (testing.passed, testing.next, testing.until) =
                    (0, Due::At(now), now + CANARY_LIMIT);
                Step::Nothing
            }
            Phase::Testing(testing) if testing.next.lost(now).is_some() => {
                testing.next = Due::At(now);
                Step::Nothing
            }
            Phase::Testing(testing) if testing.until <= now && !testing.has_failed => {
                let cause = testing
                    .last_failure
                    .take()
                    .unwrap_or(Cause::Timeout("no canary after the catalog reload"));
                self.fail(cause, now)
            }
            Phase::Serving | Phase::Draining { .. } | Phase::Testing(_) => Step::Nothing,
        }
    }

    /// A question about our credentials was answered before it left service. It serves on if a
    /// reload would not reach it.
    pub(super) fn credentials_tried(&mut self, outcome: Result<(), Cause>, now: Instant) -> Step {
        match outcome {
            Err(cause) if never_began(&cause) => {
                self.access = Access::Unasked;
                let retry_in = self.is_unreached(&cause, now);
                Step::Failed { cause, retry_in }
            }
            Ok(()) | Err(_) => {
                self.access = Access::Open(now);
                Step::Nothing
            }
        }
    }

    /// A reload does not reach it, so it serves on as it is. How long until the next try.
    fn is_unreached(&mut self, cause: &Cause, now: Instant) -> Duration {
        let first = if cause.refused_credentials().is_some() {
            REFUSED_RETRY
        } else {
            FIRST_RETRY
        };
        let retry_in = first
            .saturating_mul(1 << self.failures.min(16))
            .min(LAST_RETRY);
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
            .min(LAST_RETRY);
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
