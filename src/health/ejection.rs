//! Passive ejection: takes an upstream out of service because of failed requests, even if it passes
//! its probes.
//!
//! ```text
//!   serving --evidence convicts--> ejected --its time is over--> half-open --a success--> serving
//!                                     ^                              |
//!                                     +-- longer <-- a failure ------+
//! ```
//!
//! Two kinds of evidence convict, and a success weakens them differently:
//!
//! * **A run**: `ejection_failures` failures in a row. One success ends it, because the usual
//!   failures (a reset, a timeout, a status 500) are often the fault of one layer or one request. A
//!   failed connection counts [`UNREACHABLE`] times, because no layer causes it.
//!
//! * **Node faults**: answers that report a broken instance (out of memory, no threads, stale file
//!   handle). Such an instance may answer other requests well, so one success does not clear it.
//!   Each fault adds [`FAULT`], each success subtracts one, and [`FAULT_LIMIT`] convicts. Two
//!   faults in a row are enough; at one fault in ten requests, three. Below one in thirty-three the
//!   successes win, so that a single client's enormous requests do not eject one instance after the
//!   other.
//!
//! Ejection must be quick, because least-in-flight balancing favours a broken instance: it answers
//! fastest, so it is always the least loaded.
//!
//! Requests that were sent before the present state began are not evidence. They neither decide the
//! trial nor count after the return, however late they end.
//!
//! An ejection lasts `ejection`, doubled with each further ejection up to `ejection_max`. One
//! doubling is forgotten for every `ejection_max` of service without a new ejection. `cluster`
//! decides whether an upstream may be ejected at all, because only it knows how many others remain.

use std::time::{Duration, Instant};

use crate::config::Health;

/// Weight of a failed connection in a run of failures.
const UNREACHABLE: u32 = 2;

/// Weight of one node fault, in successes that outweigh it.
const FAULT: u32 = 32;

/// Sum of node faults that convicts.
const FAULT_LIMIT: u32 = 2 * FAULT;

/// 2^20 times the first ejection is longer than any `ejection_max`.
const MAX_DOUBLINGS: u32 = 20;

/// The seriousness of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The layer or the request may be the cause.
    Ordinary,
    /// No connection could be established.
    Unreachable,
    /// The answer reports a broken instance.
    NodeFault,
}

/// The evidence from requests against one upstream.
#[derive(Clone, Debug)]
pub struct Ejection {
    state: State,
    evidence: Evidence,
    /// Number of times that the next ejection's length is doubled.
    doublings: u32,
    /// Start of the present state.
    since: Instant,
    /// The trial began early: if it fails, the ejection goes on until then.
    resumes: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Serving,
    Ejected { until: Instant },
    HalfOpen,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Evidence {
    run: u32,
    faults: u32,
}

impl Ejection {
    /// Returns the state of an upstream without evidence against it.
    pub fn new(now: Instant) -> Self {
        Self {
            state: State::Serving,
            evidence: Evidence::default(),
            doublings: 0,
            since: now,
            resumes: None,
        }
    }

    /// True if the upstream is ejected or half-open, and so not in normal service.
    pub fn is_set_aside(&self) -> bool {
        match self.state {
            State::Serving => false,
            State::Ejected { .. } | State::HalfOpen => true,
        }
    }

    /// True if the ejection is over and the upstream is on trial.
    pub fn is_half_open(&self) -> bool {
        self.state == State::HalfOpen
    }

    /// Returns the end of the ejection, if there is one.
    pub fn ejected_until(&self) -> Option<Instant> {
        match self.state {
            State::Ejected { until } => Some(until),
            State::Serving | State::HalfOpen => None,
        }
    }

    /// True if a success would change something: there is evidence to weaken, or a trial to pass.
    pub fn is_in_doubt(&self) -> bool {
        match self.state {
            State::Serving => self.evidence != Evidence::default(),
            State::HalfOpen => true,
            State::Ejected { .. } => false,
        }
    }

    /// Records the success of a request that was sent at `sent`. True if it ends the trial.
    pub fn succeeded(&mut self, sent: Instant, now: Instant) -> bool {
        match self.state {
            State::Serving => {
                self.evidence.weaken();
                false
            }
            State::Ejected { .. } => false,
            State::HalfOpen => sent >= self.since && self.clear(now),
        }
    }

    /// Records the failure of a request that was sent at `sent`. Returns the length of the ejection
    /// if the failure convicts and `may_eject`; a half-open upstream is ejected in any case.
    pub fn failed(
        &mut self,
        severity: Severity,
        sent: Instant,
        now: Instant,
        config: &Health,
        may_eject: bool,
    ) -> Option<Duration> {
        if sent < self.since {
            return None;
        }
        let convicted = match self.state {
            State::Serving => {
                self.evidence.add(severity);
                may_eject && self.evidence.convicts(config.ejection_failures)
            }
            State::Ejected { .. } => false,
            State::HalfOpen => true,
        };
        convicted.then(|| self.eject(now, config))
    }

    /// Advances time. True if that ends the ejection and begins the trial.
    pub fn passed_time(&mut self, now: Instant) -> bool {
        let is_over = matches!(self.state, State::Ejected { until } if until <= now);
        if is_over {
            self.enter(State::HalfOpen, now);
        }
        is_over
    }

    /// Returns the upstream to service without evidence. The length of the next ejection is
    /// remembered. True if it was ejected or half-open.
    pub fn clear(&mut self, now: Instant) -> bool {
        let was_set_aside = self.is_set_aside();
        self.enter(State::Serving, now);
        was_set_aside
    }

    /// Returns the upstream to service because the evidence was not its fault. The ejection that
    /// rested on it does not lengthen the next one. True if it was ejected or half-open.
    pub fn acquit(&mut self, now: Instant) -> bool {
        let was_set_aside = self.clear(now);
        self.doublings = self.doublings.saturating_sub(u32::from(was_set_aside));
        was_set_aside
    }

    /// Begins the trial early, because a request has no other upstream left. True if the upstream
    /// was ejected. If the trial fails, the ejection ends when it would have ended without it.
    pub fn try_early(&mut self, now: Instant) -> bool {
        let resumes = self.ejected_until();
        if resumes.is_some() {
            self.enter(State::HalfOpen, now);
            self.resumes = resumes;
        }
        resumes.is_some()
    }

    fn enter(&mut self, state: State, now: Instant) {
        (self.state, self.since, self.evidence) = (state, now, Evidence::default());
        self.resumes = None;
    }

    fn eject(&mut self, now: Instant, config: &Health) -> Duration {
        // What an early trial shows was known already: it makes the ejection no longer.
        if let Some(until) = self.resumes.filter(|until| *until > now) {
            self.enter(State::Ejected { until }, now);
            return until - now;
        }
        if self.state == State::Serving {
            self.forget(now, config);
        }
        let length = config
            .ejection
            .saturating_mul(1 << self.doublings)
            .min(config.ejection_max);
        self.doublings = (self.doublings + 1).min(MAX_DOUBLINGS);
        self.enter(
            State::Ejected {
                until: now + length,
            },
            now,
        );
        length
    }

    fn forget(&mut self, now: Instant, config: &Health) {
        let served = now.saturating_duration_since(self.since);
        let forgotten = served.as_nanos() / config.ejection_max.as_nanos().max(1);
        self.doublings = self
            .doublings
            .saturating_sub(u32::try_from(forgotten).unwrap_or(u32::MAX));
    }
}

impl Evidence {
    fn add(&mut self, severity: Severity) {
        let (run, faults) = match severity {
            Severity::Ordinary => (1, 0),
            Severity::Unreachable => (UNREACHABLE, 0),
            Severity::NodeFault => (1, FAULT),
        };
        self.run = self.run.saturating_add(run);
        self.faults = (self.faults + faults).min(FAULT_LIMIT);
    }

    fn weaken(&mut self) {
        self.run = 0;
        self.faults = self.faults.saturating_sub(1);
    }

    fn convicts(&self, failures: u32) -> bool {
        self.run >= failures || self.faults >= FAULT_LIMIT
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use Severity::{NodeFault, Ordinary, Unreachable};

    const FIRST: Duration = Duration::from_secs(10);
    const LONGEST: Duration = Duration::from_secs(60);

    pub(in crate::health) fn config() -> Health {
        Health {
            interval: Duration::from_secs(5),
            timeout: Duration::from_secs(3),
            rise: 2,
            fall: 3,
            down_interval: Duration::from_secs(2),
            slow_start: Duration::ZERO,
            probe_layer: None,
            authenticate: false,
            ejection: FIRST,
            ejection_max: LONGEST,
            ejection_failures: 5,
        }
    }

    /// The evidence against one upstream, and a clock that its test moves.
    struct Record {
        ejection: Ejection,
        now: Instant,
    }

    impl Record {
        fn new() -> Self {
            let now = Instant::now();
            Self {
                ejection: Ejection::new(now),
                now,
            }
        }

        fn fail(&mut self, severity: Severity) -> Option<Duration> {
            self.fail_late(severity, self.now)
        }

        fn fail_late(&mut self, severity: Severity, sent: Instant) -> Option<Duration> {
            self.ejection
                .failed(severity, sent, self.now, &config(), true)
        }

        fn succeed(&mut self) -> bool {
            self.ejection.succeeded(self.now, self.now)
        }

        fn wait(&mut self, time: Duration) -> bool {
            self.now += time;
            self.ejection.passed_time(self.now)
        }

        /// The number of failures until ejection, with `successes` after each.
        fn failures_needed(&mut self, severity: Severity, successes: u32) -> Option<u32> {
            (1..1000).find(|_| {
                let ejected = self.fail(severity).is_some();
                (0..successes).for_each(|_| assert!(!self.succeed()));
                ejected
            })
        }

        fn eject(&mut self) -> Duration {
            (0..10).find_map(|_| self.fail(NodeFault)).unwrap()
        }

        /// Ejects the upstream and lets the ejection pass.
        fn serve_a_sentence(&mut self) -> Duration {
            let length = self.eject();
            assert!(self.wait(length) && self.succeed());
            length
        }
    }

    #[test]
    fn failures_in_a_row_eject() {
        assert_eq!(Record::new().failures_needed(Ordinary, 0), Some(5));
    }

    #[test]
    fn a_success_ends_a_run_of_ordinary_failures() {
        assert_eq!(Record::new().failures_needed(Ordinary, 1), None);
    }

    #[test]
    fn being_unreachable_counts_double() {
        assert_eq!(Record::new().failures_needed(Unreachable, 0), Some(3));
    }

    #[test]
    fn two_node_faults_in_a_row_eject() {
        assert_eq!(Record::new().failures_needed(NodeFault, 0), Some(2));
    }

    #[test]
    fn successes_in_between_do_not_acquit_of_node_faults() {
        assert_eq!(Record::new().failures_needed(NodeFault, 1), Some(3));
        assert_eq!(Record::new().failures_needed(NodeFault, 9), Some(3));
        assert_eq!(Record::new().failures_needed(NodeFault, 20), Some(4));
    }

    #[test]
    fn rare_node_faults_are_outweighed_by_successes() {
        assert_eq!(Record::new().failures_needed(NodeFault, FAULT), None);
    }

    #[test]
    fn a_needed_upstream_is_not_ejected_and_the_next_failure_may_eject_it() {
        let mut record = Record::new();
        let (now, config) = (record.now, config());
        assert!((0..100).all(|_| {
            record
                .ejection
                .failed(NodeFault, now, now, &config, false)
                .is_none()
        }));
        assert!(!record.ejection.is_set_aside());
        assert!(record.fail(Ordinary).is_some());
    }

    #[test]
    fn after_its_time_it_is_half_open_and_a_success_returns_it() {
        let mut record = Record::new();
        assert_eq!(record.eject(), FIRST);
        assert!(!record.wait(FIRST - Duration::from_millis(1)));
        assert!(record.wait(Duration::from_millis(1)) && record.ejection.is_half_open());
        assert!(record.succeed() && !record.ejection.is_set_aside());
    }

    #[test]
    fn requests_that_end_during_the_ejection_neither_lengthen_nor_end_it() {
        let mut record = Record::new();
        record.eject();
        assert!(!record.succeed());
        assert_eq!(record.fail(NodeFault), None);
        assert_eq!(record.ejection.ejected_until(), Some(record.now + FIRST));
    }

    #[test]
    fn requests_sent_before_the_trial_do_not_decide_it() {
        let mut record = Record::new();
        let before = record.now;
        let length = record.eject();
        record.wait(length);
        assert_eq!(record.fail_late(NodeFault, before), None);
        assert!(!record.ejection.succeeded(before, record.now) && record.ejection.is_half_open());
        assert!(record.succeed());
    }

    #[test]
    fn requests_sent_before_the_return_do_not_count_after_it() {
        let mut record = Record::new();
        let before = record.now;
        record.serve_a_sentence();
        assert!((0..100).all(|_| record.fail_late(NodeFault, before).is_none()));
    }

    #[test]
    fn one_failure_while_half_open_ejects_for_longer_up_to_the_longest() {
        let mut record = Record::new();
        let mut length = record.eject();
        for expected in [20, 40, 60, 60] {
            record.wait(length);
            length = record.fail(Ordinary).unwrap();
            assert_eq!(length, Duration::from_secs(expected));
        }
    }

    #[test]
    fn a_return_does_not_make_the_next_ejection_short_again() {
        let mut record = Record::new();
        assert_eq!(record.serve_a_sentence(), FIRST);
        assert_eq!(record.serve_a_sentence(), FIRST * 2);
    }

    #[test]
    fn good_behaviour_is_rewarded_one_step_at_a_time() {
        let mut record = Record::new();
        let sentences: Vec<_> = (0..3).map(|_| record.serve_a_sentence()).collect();
        assert_eq!(sentences, [FIRST, FIRST * 2, FIRST * 4]);
        record.wait(LONGEST * 2);
        assert_eq!(record.eject(), FIRST * 2);
    }

    #[test]
    fn clearing_leaves_no_evidence() {
        let mut record = Record::new();
        record.fail(NodeFault);
        assert!(record.ejection.is_in_doubt());
        let now = record.now;
        assert!(!record.ejection.clear(now));
        assert!(!record.ejection.is_in_doubt());
    }

    #[test]
    fn an_acquittal_leaves_neither_evidence_nor_a_longer_sentence() {
        let mut record = Record::new();
        assert_eq!(record.eject(), FIRST);
        let now = record.now;
        assert!(record.ejection.acquit(now) && !record.ejection.is_set_aside());
        assert_eq!(record.eject(), FIRST);
    }

    #[test]
    fn it_is_in_doubt_exactly_while_a_success_would_change_something() {
        let mut record = Record::new();
        assert!(!record.ejection.is_in_doubt());
        record.fail(Ordinary);
        assert!(record.ejection.is_in_doubt());
        record.succeed();
        assert!(!record.ejection.is_in_doubt());
        let length = record.eject();
        assert!(!record.ejection.is_in_doubt());
        record.wait(length);
        assert!(record.ejection.is_in_doubt());
    }
}
