//! Check that a replica accepts our credentials, made before it leaves service for its catalog
//! reload.
//!
//! A replica that refuses them cannot be reloaded, so taking it out of service first would only
//! cost capacity. Only a refusal counts. If the check fails otherwise, the reload itself decides.

use std::time::{Duration, Instant};

use crate::health::PollTimer;

/// Time for which a result counts.
const VALID: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) enum CredentialCheck {
    #[default]
    NotChecked,
    Pending(PollTimer),
    /// Nothing prevents a reload, as of this instant.
    Passed(Instant),
}

impl CredentialCheck {
    pub(super) fn has_passed(self, now: Instant) -> bool {
        matches!(self, Self::Passed(since) if now < since + VALID)
    }

    /// Requests a check, unless one is due or under way already.
    pub(super) fn request(&mut self, now: Instant) {
        if !matches!(self, Self::Pending(_)) {
            *self = Self::Pending(PollTimer::At(now));
        }
    }

    /// Begins the check if it is due. Returns true if it is to be sent now.
    pub(super) fn begin(&mut self, limit: Duration, now: Instant) -> bool {
        match self {
            Self::Pending(due) if due.is_due(now) => {
                due.begin(now, limit);
                true
            }
            Self::Pending(_) | Self::NotChecked | Self::Passed(_) => false,
        }
    }

    /// True if the check that was sent at `sent_at` is the one that is waited for.
    pub(super) fn is_answered(self, sent_at: Instant) -> bool {
        matches!(self, Self::Pending(due) if due.is_answered(sent_at))
    }

    /// Gives up a check without an answer in time.
    pub(super) fn pass_time(&mut self, now: Instant) {
        if let Self::Pending(due) = self
            && due.give_up(now).is_some()
        {
            *self = Self::Passed(now);
        }
    }

    pub(super) fn deadline(self) -> Option<Instant> {
        match self {
            Self::Pending(due) => Some(due.deadline()),
            Self::NotChecked | Self::Passed(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn it_is_sent_once_and_an_answer_counts_for_a_while() {
        let (mut check, now) = (CredentialCheck::default(), Instant::now());
        check.request(now);
        assert!(check.begin(SECOND, now) && !check.begin(SECOND, now));
        check.request(now);
        assert!(check.is_answered(now) && !check.is_answered(now - SECOND));
        check = CredentialCheck::Passed(now);
        assert!(check.has_passed(now) && !check.has_passed(now + VALID));
    }

    #[test]
    fn an_answer_that_never_comes_leaves_the_decision_to_the_reload() {
        let (mut check, now) = (CredentialCheck::default(), Instant::now());
        check.request(now);
        check.begin(SECOND, now);
        check.pass_time(now + SECOND);
        assert!(!check.has_passed(now + SECOND));
        check.pass_time(check.deadline().unwrap());
        assert!(check.has_passed(now + SECOND * 3));
    }
}
