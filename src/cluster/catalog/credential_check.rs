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
    Unasked,
    Asking(PollTimer),
    /// Nothing prevents a reload, as of this instant.
    Open(Instant),
}

impl CredentialCheck {
    pub(super) fn is_open(self, now: Instant) -> bool {
        matches!(self, Self::Open(since) if now < since + VALID)
    }

    /// Requests a check, unless one is due or under way already.
    pub(super) fn want(&mut self, now: Instant) {
        if !matches!(self, Self::Asking(_)) {
            *self = Self::Asking(PollTimer::At(now));
        }
    }

    /// Begins the check if it is due. Returns true if it is to be sent now.
    pub(super) fn ask(&mut self, limit: Duration, now: Instant) -> bool {
        match self {
            Self::Asking(due) if due.is_due(now) => {
                due.begin(now, limit);
                true
            }
            Self::Asking(_) | Self::Unasked | Self::Open(_) => false,
        }
    }

    /// True if the check that was sent at `sent_at` is the one that is waited for.
    pub(super) fn is_answered(self, sent_at: Instant) -> bool {
        matches!(self, Self::Asking(due) if due.is_answered(sent_at))
    }

    /// Gives up a check without an answer in time.
    pub(super) fn pass_time(&mut self, now: Instant) {
        if matches!(self, Self::Asking(due) if due.lost(now).is_some()) {
            *self = Self::Open(now);
        }
    }

    pub(super) fn deadline(self) -> Option<Instant> {
        match self {
            Self::Asking(due) => Some(due.deadline()),
            Self::Unasked | Self::Open(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn it_is_asked_once_and_an_answer_counts_for_a_while() {
        let (mut access, now) = (CredentialCheck::default(), Instant::now());
        access.want(now);
        assert!(access.ask(SECOND, now) && !access.ask(SECOND, now));
        access.want(now);
        assert!(access.is_answered(now) && !access.is_answered(now - SECOND));
        access = CredentialCheck::Open(now);
        assert!(access.is_open(now) && !access.is_open(now + VALID));
    }

    #[test]
    fn an_answer_that_never_comes_leaves_the_decision_to_the_reload() {
        let (mut access, now) = (CredentialCheck::default(), Instant::now());
        access.want(now);
        access.ask(SECOND, now);
        access.pass_time(now + SECOND);
        assert!(!access.is_open(now + SECOND));
        access.pass_time(access.deadline().unwrap());
        assert!(access.is_open(now + SECOND * 3));
    }
}
