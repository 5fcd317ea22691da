//! The results of probes of one upstream, as two independent facts.
//!
//! *Reachability*: an HTTP server answered. *Content*: the answer was right. A connection that is
//! refused, lost or times out concerns the first. A status, an exception or an unexpected type
//! concerns the second, and so proves that the upstream is reachable. Administration needs only
//! reachability, so a misconfigured probe never closes it.
//!
//! An upstream that became unreachable is usually another process afterwards, so its content is
//! then unknown.

use std::time::{Duration, Instant};

use super::{HealthState, RiseFall};
use crate::config::Health;

/// The result of one probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The answer was right.
    Passed,
    /// The answer was wrong.
    Failed,
    /// The upstream required other credentials, which is no evidence against it.
    Refused,
    /// The upstream answered that it is busy.
    Busy,
    /// No HTTP server answered.
    Unreachable,
    /// A local fault prevented the probe, or the reading of its answer.
    Prevented,
}

/// The facts about one upstream; see the module's documentation.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    reach: RiseFall,
    content: RiseFall,
    /// Time of the first report of wrong content that no pass has followed.
    failing_since: Option<Instant>,
    /// Time at which the last probe with wrong content was sent.
    failed_at: Option<Instant>,
    /// Time of the first report that another upstream passed a probe sent after `failing_since`.
    contradicted_since: Option<Instant>,
    /// Time at which the last probe with right content was sent.
    passed_at: Option<Instant>,
    /// Time of the first report of right content that no failure has followed.
    passing_since: Option<Instant>,
}

impl Facts {
    /// Returns whether it answers at all.
    pub fn reach(&self) -> HealthState {
        self.reach.state()
    }

    /// Returns whether its answers are right.
    pub fn content(&self) -> HealthState {
        self.content.state()
    }

    /// True if the upstream answers and its content is right.
    pub fn is_passing(&self) -> bool {
        self.reach.is_up() && self.content.is_up()
    }

    /// True if it answers.
    pub fn is_reachable(&self) -> bool {
        self.reach.is_up()
    }

    /// True if the upstream answers and its content is wrong.
    pub fn is_failing(&self) -> bool {
        self.reach.is_up() && self.content.state() == HealthState::Down
    }

    /// True if the last probe contradicts one of the facts, so that the next one should come soon.
    pub fn is_wavering(&self) -> bool {
        self.reach.is_wavering() || self.content.is_wavering()
    }

    /// True if this upstream proves that the failure of `other` is its own. This upstream passed
    /// the probe that `other` had failed before, and `other` failed again later. A single earlier
    /// failure may have a cause that both shared.
    pub fn convicts(&self, other: &Self) -> bool {
        let (Some(failing), Some(contradicted)) = (other.failing_since, other.contradicted_since)
        else {
            return false;
        };
        let Some(passing) = self.passing_since else {
            return false;
        };
        let has_failed_again = other.failed_at >= Some(contradicted.max(passing));
        self.is_passing() && self.passed_at >= Some(failing) && has_failed_again
    }

    /// Records that another upstream passed a probe that was sent at `sent`. True if this one is
    /// failing and must be probed again, because its last answer is older.
    pub fn other_passed(&mut self, sent: Instant, now: Instant) -> bool {
        if self.failing_since.is_none_or(|since| sent < since) {
            return false;
        }
        let contradicted = *self.contradicted_since.get_or_insert(now);
        self.failed_at < Some(contradicted)
    }

    /// Records the verdict of a probe that was sent at `sent`. True if it is the first to report
    /// wrong content.
    pub fn learn(
        &mut self,
        verdict: Verdict,
        sent: Instant,
        now: Instant,
        config: &Health,
    ) -> bool {
        if verdict == Verdict::Prevented {
            return false;
        }
        if verdict == Verdict::Unreachable {
            if self.reach.failed(config.fall) == Some(HealthState::Down) {
                *self = Self {
                    reach: self.reach.clone(),
                    ..Self::default()
                };
            }
            return false;
        }
        self.reach.passed(config.rise);
        match verdict {
            Verdict::Passed => {
                self.content.passed(config.rise);
                self.clear_failures();
                self.passed_at = Some(sent);
                self.passing_since.get_or_insert(now);
                false
            }
            Verdict::Refused => {
                self.content.passed(config.rise);
                self.clear_failures();
                false
            }
            Verdict::Failed => {
                self.content.failed(config.fall);
                (self.failed_at, self.passing_since) = (Some(sent), None);
                self.failing_since
                    .replace(self.failing_since.unwrap_or(now))
                    .is_none()
            }
            Verdict::Busy | Verdict::Unreachable | Verdict::Prevented => false,
        }
    }

    fn clear_failures(&mut self) {
        (self.failing_since, self.failed_at, self.contradicted_since) = (None, None, None);
    }

    /// The interval to the next probe: shorter while the upstream does not serve or is in doubt.
    pub fn probe_interval(&self, config: &Health, is_in_doubt: bool) -> Duration {
        match (self.is_passing(), self.is_wavering() || is_in_doubt) {
            (true, false) => config.interval,
            (true, true) => config.interval.min(config.down_interval),
            (false, _) => config.down_interval,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use HealthState::{Down, Unknown, Up};

    fn config() -> Health {
        Health {
            rise: 2,
            fall: 3,
            ..crate::health::ejection::tests::config()
        }
    }

    /// The facts after these probes: `+` passed, `-` failed, `r` refused, `b` busy, `x`
    /// unreachable, `o` local fault.
    fn after(probes: &str) -> (HealthState, HealthState) {
        let (mut facts, now) = (Facts::default(), Instant::now());
        for probe in probes.chars() {
            let verdict = match probe {
                '+' => Verdict::Passed,
                '-' => Verdict::Failed,
                'r' => Verdict::Refused,
                'b' => Verdict::Busy,
                'o' => Verdict::Prevented,
                _ => Verdict::Unreachable,
            };
            facts.learn(verdict, now, now, &config());
        }
        (facts.reach(), facts.content())
    }

    #[test]
    fn a_wrong_answer_shows_that_it_is_reachable() {
        assert_eq!(after("-"), (Up, Down));
        assert_eq!(after("+---"), (Up, Down));
        assert_eq!(after("x-"), (Down, Down));
        assert_eq!(after("x--"), (Up, Down));
    }

    #[test]
    fn a_missing_answer_does_not_change_content_until_it_is_down() {
        assert_eq!(after("+xx"), (Up, Up));
        assert_eq!(after("+xxx"), (Down, Unknown));
        assert_eq!(after("+xxx++"), (Up, Up));
        assert_eq!(after("+---xxx--"), (Up, Down));
    }

    #[test]
    fn a_refusal_never_takes_it_down() {
        assert_eq!(after("r"), (Up, Up));
        assert_eq!(after("+rrrrrr"), (Up, Up));
        assert_eq!(after("+---rr"), (Up, Up));
    }

    #[test]
    fn a_busy_answer_is_reachable_and_does_not_change_content() {
        assert_eq!(after("b"), (Up, Unknown));
        assert_eq!(after("+--b-"), (Up, Down));
        assert_eq!(after("xbb"), (Up, Unknown));
        assert_eq!(
            (after("ooo"), after("+ooooo"), after("xooo")),
            ((Unknown, Unknown), (Up, Up), (Down, Unknown))
        );
    }

    #[test]
    fn a_failure_from_before_the_others_pass_does_not_convict() {
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        let (mut fails, mut passes) = (Facts::default(), Facts::default());
        fails.learn(Verdict::Failed, start, start, &config());
        passes.learn(Verdict::Failed, start, start, &config());
        fails.learn(
            Verdict::Failed,
            start + second * 9,
            start + second * 9,
            &config(),
        );
        passes.learn(
            Verdict::Passed,
            start + second * 10,
            start + second * 10,
            &config(),
        );
        passes.learn(
            Verdict::Passed,
            start + second * 11,
            start + second * 11,
            &config(),
        );
        assert!(
            fails.other_passed(start + second * 10, start + second * 10),
            "it is to be probed again"
        );
        assert!(passes.is_passing() && !passes.convicts(&fails));
        fails.learn(
            Verdict::Failed,
            start + second * 11,
            start + second * 12,
            &config(),
        );
        assert!(passes.convicts(&fails), "it failed again");
        assert!(
            !fails.other_passed(start + second * 12, start + second * 12),
            "that is known"
        );
    }

    #[test]
    fn a_witness_that_has_failed_meanwhile_has_to_pass_before_the_next_failure_counts() {
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        let (mut fails, mut passes) = (Facts::default(), Facts::default());
        let at = |facts: &mut Facts, seconds: u32, verdict| {
            facts.learn(
                verdict,
                start + second * seconds,
                start + second * seconds,
                &config(),
            )
        };
        at(&mut fails, 0, Verdict::Failed);
        at(&mut passes, 1, Verdict::Passed);
        fails.other_passed(start + second, start + second);
        at(&mut passes, 2, Verdict::Failed);
        at(&mut fails, 3, Verdict::Failed);
        at(&mut passes, 4, Verdict::Passed);
        assert!(
            !passes.convicts(&fails),
            "both may have had the same fault until then"
        );
        at(&mut fails, 5, Verdict::Failed);
        assert!(passes.convicts(&fails));
    }

    #[test]
    fn a_witness_without_a_probe_since_the_failure_proves_nothing() {
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        let (mut fails, mut passed_before) = (Facts::default(), Facts::default());
        passed_before.learn(Verdict::Passed, start, start, &config());
        fails.learn(Verdict::Failed, start + second, start + second, &config());
        fails.other_passed(start + second * 2, start + second * 2);
        fails.learn(
            Verdict::Failed,
            start + second * 3,
            start + second * 3,
            &config(),
        );
        assert!(
            !passed_before.convicts(&fails),
            "the one that passed since may be gone"
        );
        passed_before.learn(
            Verdict::Passed,
            start + second * 3,
            start + second * 3,
            &config(),
        );
        assert!(passed_before.convicts(&fails));
    }

    #[test]
    fn only_a_pass_of_a_probe_sent_after_the_failure_convicts() {
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        let (mut fails, mut passes) = (Facts::default(), Facts::default());
        passes.learn(Verdict::Passed, start, start, &config());
        assert!(
            fails.learn(Verdict::Failed, start, start + second, &config()),
            "it begins to fail"
        );
        assert!(
            !fails.learn(Verdict::Failed, start, start + second, &config()),
            "it goes on failing"
        );
        assert!(!fails.other_passed(start, start + second) && !passes.convicts(&fails));
        passes.learn(Verdict::Passed, start + second, start + second, &config());
        assert!(fails.other_passed(start + second, start + second));
        fails.learn(Verdict::Failed, start + second, start + second, &config());
        assert!(passes.convicts(&fails) && !fails.convicts(&passes));
        passes.learn(
            Verdict::Refused,
            start + second * 2,
            start + second * 2,
            &config(),
        );
        fails.learn(
            Verdict::Passed,
            start + second * 2,
            start + second * 2,
            &config(),
        );
        fails.learn(
            Verdict::Failed,
            start + second * 3,
            start + second * 3,
            &config(),
        );
        fails.learn(
            Verdict::Failed,
            start + second * 4,
            start + second * 4,
            &config(),
        );
        assert!(
            !passes.convicts(&fails),
            "a refusal shows nothing about what others answer"
        );
    }
}
