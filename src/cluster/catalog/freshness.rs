//! One replica's catalog: which epoch it holds, and where in its reload it is.
//!
//! ```text
//!   Serving --behind the settled epoch--> Draining --nobody in flight--> Reloading --answered--> Testing --passed--> Serving
//!      ^                                     |                               ^                      |
//!      +---------- went down, or an order ---+                               +---- failed, retry ---+
//! ```
//!
//! From Draining on its door is closed. A reload that failed may have left the catalog empty, so nobody comes in before the
//! canary passed either way.

use std::cmp::Ordering;
use std::time::{Duration, Instant};

use super::due::Due;
use super::evidence::Evidence;
use super::memory::Remembered;
use super::status::{Freshening, LastReload, UpstreamCatalog};
use crate::cluster::{Cause, Outcome};

/// How soon it is seen that nobody is in flight any more.
const LOOK: Duration = Duration::from_millis(20);
/// Between a failed canary and the next.
const CANARY_PAUSE: Duration = Duration::from_millis(250);
/// A replica that draws no canary for this long after its reload needs another one.
const CANARY_LIMIT: Duration = Duration::from_secs(120);
/// After the first failed reload; doubles up to the last.
const FIRST_RETRY: Duration = Duration::from_secs(10);
const LAST_RETRY: Duration = Duration::from_secs(600);

#[derive(Debug)]
pub(in crate::cluster) struct Freshness {
    /// The epoch whose catalog it holds, at least. `None`: an older one than all we know of.
    held: Option<u64>,
    /// Nothing is known of it yet: `held` is what a healthy cluster has.
    is_assumed: bool,
    remembered: Option<Remembered>,
    own: Option<Own>,
    /// It came up, and its number was not read since.
    is_unread: bool,
    pub(super) reads: Due,
    pub(super) phase: Phase,
    failures: u32,
    retry_at: Option<Instant>,
    last: Option<Ended>,
    evidence: Evidence,
    /// An answer showed it behind, and the main was not asked since whether that is a change it told of.
    doubted_at: Option<Instant>,
}

/// Its own number, and the settled epoch when it said it: a number that moved since was loaded after that.
#[derive(Clone, Copy, Debug)]
struct Own {
    number: u64,
    epoch: u64,
}

#[derive(Clone, Debug)]
struct Ended {
    at: Instant,
    took: Duration,
    failure: Option<Cause>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Phase {
    Serving,
    Draining { since: Instant, look: Instant },
    Reloading { began: Instant, call: Due, target: u64 },
    Testing(Testing),
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Testing {
    began: Instant,
    /// What it holds if it passes; `None` when the reload failed.
    target: Option<u64>,
    passed: u32,
    pub(super) next: Due,
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
}

impl Freshness {
    /// As a healthy cluster's replica is: it read what there was when it started.
    pub(in crate::cluster) fn new(settled: u64, now: Instant) -> Self {
        Self {
            held: Some(settled),
            is_assumed: true,
            remembered: None,
            own: None,
            is_unread: false,
            reads: Due::At(now),
            phase: Phase::Serving,
            failures: 0,
            retry_at: None,
            last: None,
            evidence: Evidence::default(),
            doubted_at: None,
        }
    }

    // What it is.

    pub(in crate::cluster) fn is_serving(&self) -> bool {
        self.phase == Phase::Serving
    }

    pub(in crate::cluster) fn is_reloading(&self) -> bool {
        matches!(self.phase, Phase::Reloading { .. })
    }

    pub(in crate::cluster) fn is_fresh(&self, epoch: u64) -> bool {
        self.held >= Some(epoch)
    }

    /// Whether it wants to be reloaded now.
    pub(super) fn is_waiting(&self, settled: u64) -> bool {
        let is_known = !self.is_unread || self.held.is_none();
        let is_behind = self.is_serving() && is_known && !self.is_fresh(settled);
        (is_behind || self.is_stuck()) && self.retry_at.is_none()
    }

    /// Out of service for a reload that has not failed yet.
    pub(super) fn is_on_its_way(&self) -> bool {
        !self.is_serving() && !self.is_stuck()
    }

    /// Out of service after a reload that failed, until a canary passes or another reload helps.
    pub(super) fn is_stuck(&self) -> bool {
        matches!(&self.phase, Phase::Testing(testing) if testing.has_failed)
    }

    /// Waits for its requests to end, and nothing has gone wrong yet that a reload would mend.
    pub(super) fn may_stop(&self) -> bool {
        matches!(self.phase, Phase::Draining { .. }) && self.failures == 0
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        let phase = match &self.phase {
            Phase::Serving => None,
            Phase::Draining { look, .. } => Some(*look),
            Phase::Reloading { call, .. } => Some(call.deadline()),
            Phase::Testing(testing) if testing.has_failed => Some(testing.next.deadline()),
            Phase::Testing(testing) => Some(testing.next.deadline().min(testing.until)),
        };
        phase.into_iter().chain(self.retry_at).min()
    }

    pub(in crate::cluster) fn status(&self, epoch: u64, settled: u64, now: Instant) -> UpstreamCatalog {
        let is_fresh = self.is_fresh(epoch);
        UpstreamCatalog {
            is_fresh,
            epoch: self.held,
            number: self.own.map(|own| own.number),
            doing: self.doing(settled),
            last_reload: self.last.as_ref().map(|last| LastReload {
                ago: now.saturating_duration_since(last.at),
                took: last.took,
                failure: last.failure.clone(),
            }),
            retry_in: self.retry_at.map(|at| at.saturating_duration_since(now)),
        }
    }

    fn doing(&self, settled: u64) -> Freshening {
        match &self.phase {
            Phase::Serving if self.is_fresh(settled) => Freshening::No,
            Phase::Serving if self.retry_at.is_some() => Freshening::Failed,
            Phase::Serving => Freshening::Waiting,
            Phase::Draining { .. } => Freshening::Draining,
            Phase::Reloading { .. } => Freshening::Reloading,
            Phase::Testing(testing) if testing.has_failed => Freshening::Failed,
            Phase::Testing(_) => Freshening::Testing,
        }
    }

    // What is learned about it.

    pub(super) fn recall(&mut self, remembered: Remembered) {
        if remembered.main_number.is_none() {
            // A reload was owed, and may be under way without us.
            (self.held, self.is_assumed) = (None, false);
        }
        self.remembered = Some(remembered);
    }

    /// It came up: whatever it says next may be another catalog.
    pub(in crate::cluster) fn came_up(&mut self, now: Instant) {
        self.is_unread = true;
        self.reads.hasten(now);
    }

    /// Nobody listened there: what it says next was loaded after now.
    pub(in crate::cluster) fn was_not_there(&mut self, settled: u64) {
        if let Some(own) = &mut self.own {
            own.epoch = settled;
        }
    }

    /// It said its number, or did not.
    pub(super) fn read(&mut self, number: Option<u64>, settled: u64) {
        self.is_unread = false;
        let Some(number) = number else { return };
        if let Some(before) = self.own.filter(|own| own.number != number) {
            // It has read the catalog by itself.
            self.held = self.held.max(Some(before.epoch));
        }
        self.own = Some(Own { number, epoch: settled });
    }

    /// Ends the assumption once both numbers are known. True if it turns out stale.
    pub(super) fn judge(&mut self, main_number: Option<u64>) -> bool {
        let (Some(own), Some(main)) = (self.own, main_number) else { return false };
        if !std::mem::take(&mut self.is_assumed) {
            return false;
        }
        let is_stale = match self.remembered.take().and_then(|remembered| remembered.main_number) {
            Some(then) => then != main,
            None => own.number < main,
        };
        if is_stale {
            self.held = None;
        }
        is_stale
    }

    /// An answer showed it behind the main.
    pub(super) fn doubt(&mut self, now: Instant) {
        self.doubted_at = Some(now);
    }

    /// The main was asked at `asked`, and what it said is known. True if the replica turns out to be behind although the main
    /// told of no change.
    pub(super) fn judge_doubt(&mut self, asked: Instant, epoch: u64, now: Instant) -> bool {
        let is_due = self.doubted_at.take_if(|doubted_at| *doubted_at <= asked).is_some();
        let counts = is_due && self.is_serving() && self.is_fresh(epoch) && self.evidence.seen(now);
        if counts {
            (self.held, self.is_assumed) = (None, false);
        }
        counts
    }

    /// An operator wants it reloaded now, whatever failed before.
    pub(super) fn order(&mut self) {
        self.evidence.forget();
        self.retry_at = None;
    }

    /// It is the main, whose catalog is the one the others must have.
    pub(in crate::cluster) fn is_the_main(&mut self, epoch: u64) {
        (self.held, self.is_assumed, self.phase) = (Some(epoch), false, Phase::Serving);
    }

    // The reload, step by step.

    pub(in crate::cluster) fn begin(&mut self, now: Instant) {
        self.phase = Phase::Draining { since: now, look: now };
        self.retry_at = None;
    }

    pub(in crate::cluster) fn abort(&mut self) {
        self.phase = Phase::Serving;
    }

    /// Whether it is time to reload: nobody is in flight, or has been for too long.
    pub(super) fn is_drained(&mut self, in_flight: u32, limit: Duration, now: Instant) -> bool {
        let Phase::Draining { since, look } = &mut self.phase else { return false };
        if *look <= now {
            *look = now + LOOK;
        }
        in_flight == 0 || now >= *since + limit
    }

    pub(super) fn reload(&mut self, target: u64, now: Instant) {
        self.phase = Phase::Reloading { began: now, call: Due::At(now), target };
    }

    pub(super) fn reloaded(&mut self, outcome: Result<(), Cause>, now: Instant) -> Step {
        let Phase::Reloading { began, call, target } = self.phase else { return Step::Nothing };
        if !call.is_running() {
            return Step::Nothing;
        }
        let target = outcome.is_ok().then_some(target);
        let (next, until) = (Due::At(now), now + CANARY_LIMIT);
        let testing = Testing { began, target, passed: 0, next, until, has_failed: false, last_failure: None };
        self.phase = Phase::Testing(testing);
        outcome.map_or_else(|cause| self.fail(cause, now), |()| Step::Nothing)
    }

    pub(super) fn tested(&mut self, outcome: &Outcome, number: Option<u64>, needed: u32, settled: u64, now: Instant) -> Step {
        let Phase::Testing(testing) = &mut self.phase else { return Step::Nothing };
        if !testing.next.is_running() {
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
        let (target, took) = (testing.target, now.saturating_duration_since(testing.began));
        self.phase = Phase::Serving;
        self.is_unread = false;
        self.own = number.map(|number| Own { number, epoch: settled });
        let Some(target) = target else { return Step::Passed { reloaded: None } };
        (self.held, self.is_assumed) = (Some(target), false);
        (self.failures, self.retry_at) = (0, None);
        self.last = Some(Ended { at: now, took, failure: None });
        Step::Passed { reloaded: Some((target, took)) }
    }

    /// A call that never reported, a canary that does not come: what time alone decides.
    pub(super) fn pass_time(&mut self, now: Instant) -> Step {
        // Once its time has come it is no deadline any more: it waits for its turn.
        self.retry_at.take_if(|at| *at <= now);
        match &mut self.phase {
            Phase::Reloading { call, .. } if call.is_lost(now) => {
                self.reloaded(Err(Cause::Timeout("the catalog reload did not end")), now)
            }
            Phase::Testing(testing) if testing.next.is_lost(now) => {
                testing.next = Due::At(now);
                Step::Nothing
            }
            Phase::Testing(testing) if testing.until <= now && !testing.has_failed => {
                let cause = testing.last_failure.take().unwrap_or(Cause::Timeout("no canary after the catalog reload"));
                self.fail(cause, now)
            }
            Phase::Serving | Phase::Draining { .. } | Phase::Reloading { .. } | Phase::Testing(_) => Step::Nothing,
        }
    }

    fn fail(&mut self, cause: Cause, now: Instant) -> Step {
        let retry_in = FIRST_RETRY.saturating_mul(1 << self.failures.min(16)).min(LAST_RETRY);
        self.failures += 1;
        self.retry_at = Some(now + retry_in);
        if let Phase::Testing(testing) = &mut self.phase {
            testing.has_failed = true;
            let took = now.saturating_duration_since(testing.began);
            self.last = Some(Ended { at: now, took, failure: Some(cause.clone()) });
        }
        Step::Failed { cause, retry_in }
    }

    /// Who is furthest behind comes first.
    pub(super) fn compare_age(&self, other: &Self) -> Ordering {
        self.held.cmp(&other.held)
    }
}
