//! What probes measured about one upstream, as two facts that do not depend on each other.
//!
//! *Reachability*: something that speaks HTTP answered. *Content*: it answered what was asked for.
//! A connection that is refused, lost or times out concerns the first; a status, an exception or an
//! unexpected type concerns the second, and so says that the upstream is reachable. Administration
//! needs only the first, so a question of ours that is wrong never closes it.
//!
//! An upstream that became unreachable is usually another process afterwards: its content is then
//! unknown.

use std::time::{Duration, Instant};

use super::{HealthState, RiseFall};
use crate::config::Health;

/// What one probe says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It answered what was asked for.
    Passed,
    /// It answered something else.
    Failed,
    /// It answered that it wants other credentials, or none of ours: it is well as far as can be
    /// seen.
    Refused,
    /// It answered that it is busy.
    Busy,
    /// Nothing that speaks HTTP answered.
    Unreachable,
    /// A fault of our own kept it from being asked, or its answer from being read.
    Unasked,
}

/// See the module's documentation.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    reach: RiseFall,
    content: RiseFall,
    /// When the first failure of content was reported that no pass has followed.
    failing_since: Option<Instant>,
    /// When the last probe was sent whose content failed.
    failed_at: Option<Instant>,
    /// When another upstream's pass was first reported that was asked for after `failing_since`.
    contradicted_since: Option<Instant>,
    /// When the last probe was sent whose content passed.
    passed_at: Option<Instant>,
    /// When the first pass was reported that no failure has followed.
    passing_since: Option<Instant>,
}

impl Facts {
    pub fn reach(&self) -> HealthState {
        self.reach.state()
    }

    pub fn content(&self) -> HealthState {
        self.content.state()
    }

    /// It answers, and what it answers is right.
    pub fn is_passing(&self) -> bool {
        self.reach.is_up() && self.content.is_up()
    }

    pub fn is_reachable(&self) -> bool {
        self.reach.is_up()
    }

    /// It answers, and what it answers is wrong.
    pub fn is_failing(&self) -> bool {
        self.reach.is_up() && self.content.state() == HealthState::Down
    }

    /// Whether the last probe contradicts one of the facts, so that the next one is worth having
    /// soon.
    pub fn is_wavering(&self) -> bool {
        self.reach.is_wavering() || self.content.is_wavering()
    }

    /// Whether this upstream shows that `other` fails by a fault of its own. It passes the question
    /// that `other` failed before, and `other` failed again after that: a failure from before may
    /// be of a fault that both had.
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

    /// Another upstream passed a probe that was sent at `sent`. True if this one is failing and has
    /// to be asked again, since what it answered last is from before.
    pub fn other_passed(&mut self, sent: Instant, now: Instant) -> bool {
        if self.failing_since.is_none_or(|since| sent < since) {
            return false;
        }
        let contradicted = *self.contradicted_since.get_or_insert(now);
        self.failed_at < Some(contradicted)
    }

    /// A probe that was sent at `sent` said this. True if it is the first of its kind that says
    /// content is wrong.
    pub fn learn(
        &mut self,
        verdict: Verdict,
        sent: Instant,
        now: Instant,
        config: &Health,
    ) -> bool {
        if verdict == Verdict::Unasked {
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
                self.has_not_failed();
                self.passed_at = Some(sent);
                self.passing_since.get_or_insert(now);
                false
            }
            Verdict::Refused => {
                self.content.passed(config.rise);
                self.has_not_failed();
                false
            }
            Verdict::Failed => {
                self.content.failed(config.fall);
                (self.failed_at, self.passing_since) = (Some(sent), None);
                self.failing_since
                    .replace(self.failing_since.unwrap_or(now))
                    .is_none()
            }
            Verdict::Busy | Verdict::Unreachable | Verdict::Unasked => false,
        }
    }

    fn has_not_failed(&mut self) {
        (self.failing_since, self.failed_at, self.contradicted_since) = (None, None, None);
    }

    /// How long after a probe the next one is due: sooner while it does not serve or something
    /// speaks against it.
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

    /// After these probes: `+` passed, `-` failed, `r` refused, `b` busy, `x` unreachable, `o` our
    /// own fault.
    fn after(probes: &str) -> (HealthState, HealthState) {
        let (mut facts, now) = (Facts::default(), Instant::now());
        for probe in probes.chars() {
            let verdict = match probe {
                '+' => Verdict::Passed,
                '-' => Verdict::Failed,
                'r' => Verdict::Refused,
                'b' => Verdict::Busy,
                'o' => Verdict::Unasked,
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
    fn no_answer_says_nothing_about_content_until_it_is_down() {
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
    fn busy_is_reachable_and_says_nothing_about_content() {
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
            "it is to be asked again"
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
    fn a_witness_that_was_not_asked_since_the_failure_shows_nothing() {
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
    fn only_a_pass_that_was_asked_for_after_the_failure_convicts() {
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
