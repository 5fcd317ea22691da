//! The minimum rate of a client.
//!
//! A client has a credit of time. It is used up while geofront waits for the client, and is earned
//! by every byte at the rate that is required. So a healthy client may pause for as long as its
//! timeout allows, and one that was never fast enough is given up after a grace.

use std::time::Duration;

/// The credit of a client that has shown nothing yet.
const GRACE: Duration = Duration::from_secs(10);

/// The rate and the silence that a client must keep to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::proxy) struct PaceRule {
    /// Bytes a second; 0 if any byte will do.
    pub(in crate::proxy) rate: u64,
    /// The longest silence.
    pub(in crate::proxy) patience: Duration,
}

/// The credit of one client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::proxy) struct ClientPace {
    credit: Duration,
}

impl PaceRule {
    /// The credit at the start.
    fn grace(&self) -> Duration {
        if self.rate == 0 {
            self.patience
        } else {
            self.patience.min(GRACE)
        }
    }
}

impl ClientPace {
    pub(in crate::proxy) fn new(rule: &PaceRule) -> Self {
        Self {
            credit: rule.grace(),
        }
    }

    /// Applies a stricter rule from now on. Credit that was earned under the old rule counts up to
    /// the grace.
    pub(in crate::proxy) fn tighten(&mut self, rule: &PaceRule) {
        self.credit = self.credit.min(rule.grace());
    }

    /// Notes that the client moved `bytes` in the last `time`. Returns false if it is too slow.
    #[must_use = "a client that is too slow must be given up"]
    pub(in crate::proxy) fn note(&mut self, bytes: u64, time: Duration, rule: &PaceRule) -> bool {
        let earned = match (bytes, rule.rate) {
            (0, _) => Duration::ZERO,
            (_, 0) => rule.patience.saturating_add(time),
            (bytes, rate) => Duration::from_millis(bytes.saturating_mul(1000) / rate),
        };
        let left = self.credit.saturating_add(earned).checked_sub(time);
        self.credit = left.unwrap_or_default().min(rule.patience);
        left.is_some_and(|left| !left.is_zero())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: PaceRule = PaceRule {
        rate: 1024,
        patience: Duration::from_secs(60),
    };

    /// Seconds until a client that moves so many bytes every `step` seconds is given up.
    fn given_up_after(
        pace: &mut ClientPace,
        rule: &PaceRule,
        bytes: u64,
        step: u64,
    ) -> Option<u64> {
        (1..=1000_u64)
            .map(|number| number * step)
            .find(|_| !pace.note(bytes, Duration::from_secs(step), rule))
    }

    #[test]
    fn a_client_that_is_never_fast_enough_is_given_up_after_the_grace() {
        let after = |bytes, step| given_up_after(&mut ClientPace::new(&RULE), &RULE, bytes, step);
        assert_eq!(after(1, 1), Some(10));
        assert_eq!(after(1, 59), Some(59));
        assert_eq!(after(512, 1), Some(20));
        assert_eq!(after(1024, 1), None);
        assert_eq!(after(1024 * 9, 9), None);
    }

    #[test]
    fn a_client_that_was_fast_may_pause_for_the_whole_patience_and_no_longer() {
        let mut pace = ClientPace::new(&RULE);
        assert!(pace.note(1 << 30, Duration::from_secs(1), &RULE));
        assert_eq!(given_up_after(&mut pace, &RULE, 0, 1), Some(60));
    }

    #[test]
    fn without_a_rate_any_byte_will_do() {
        let rule = PaceRule { rate: 0, ..RULE };
        assert_eq!(
            given_up_after(&mut ClientPace::new(&rule), &rule, 1, 59),
            None
        );
        assert_eq!(
            given_up_after(&mut ClientPace::new(&rule), &rule, 0, 1),
            Some(60)
        );
    }

    #[test]
    fn a_short_timeout_is_the_grace_too() {
        let rule = PaceRule {
            patience: Duration::from_secs(2),
            ..RULE
        };
        assert_eq!(
            given_up_after(&mut ClientPace::new(&rule), &rule, 1, 1),
            Some(2)
        );
    }

    #[test]
    fn a_stricter_rule_leaves_the_grace() {
        let lax = PaceRule { rate: 0, ..RULE };
        let mut pace = ClientPace::new(&lax);
        pace.tighten(&RULE);
        assert_eq!(given_up_after(&mut pace, &RULE, 1, 1), Some(10));
    }
}
