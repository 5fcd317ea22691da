//! Whether a failed attempt may be followed by another on another upstream.
//!
//! The rule of the request's class limits how far an attempt may have come; time, number and budget
//! bound the rest. Writes are never tried again once anything was sent: a write is executed at most
//! once.

use std::time::Duration;

use crate::config::Retry;
use crate::ogc::Retryable;

/// How far an attempt had come when it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::proxy) enum AttemptProgress {
    /// No connection: nothing was sent.
    Connecting,
    /// The request, or a part of it, was sent; the client has seen nothing of the answer.
    Sent,
    /// The client has seen the first byte.
    Answering,
}

/// The facts that decide beside the class's rule.
#[derive(Clone, Copy, Debug)]
pub(in crate::proxy) struct Situation {
    pub(in crate::proxy) progress: AttemptProgress,
    /// Attempts made, the failed one included, without one that met a stale connection.
    pub(in crate::proxy) tries: u32,
    /// Time since the request arrived.
    pub(in crate::proxy) elapsed: Duration,
    /// The request body is still at hand in full.
    pub(in crate::proxy) is_body_replayable: bool,
    /// The attempt was lost with its upstream, rather than answered badly.
    pub(in crate::proxy) is_lost: bool,
    /// The connection was kept alive, and its other end closed it without an answer.
    pub(in crate::proxy) is_stale: bool,
}

/// Whether another attempt is allowed; `budget` is called last and only if all else allows it,
/// because the call spends.
pub(in crate::proxy) fn decide(
    rule: Retryable,
    limits: &Retry,
    situation: Situation,
    budget: impl FnOnce() -> bool,
) -> bool {
    let class_allows = match (rule, situation.progress) {
        (_, AttemptProgress::Answering)
        | (Retryable::Never, _)
        | (Retryable::ConnectOnly, AttemptProgress::Sent) => false,
        (Retryable::Unanswered, AttemptProgress::Sent) => situation.is_stale,
        (
            Retryable::Yes | Retryable::Unanswered | Retryable::ConnectOnly,
            AttemptProgress::Connecting,
        )
        | (Retryable::Yes, AttemptProgress::Sent) => true,
    };
    // However long a request has waited for an upstream that then dies, it has not been tried
    // elsewhere yet.
    let is_in_time = situation.elapsed < limits.window || situation.is_lost && situation.tries <= 1;
    class_allows
        && situation.is_body_replayable
        && situation.tries < limits.attempts
        && is_in_time
        && budget()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Retry = Retry {
        attempts: 3,
        window: Duration::from_secs(30),
        budget_percent: 20,
    };

    fn situation(progress: AttemptProgress) -> Situation {
        Situation {
            progress,
            tries: 1,
            elapsed: Duration::from_secs(1),
            is_body_replayable: true,
            is_lost: false,
            is_stale: false,
        }
    }

    #[test]
    fn a_write_is_never_tried_again_once_sent() {
        for rule in [Retryable::Never, Retryable::ConnectOnly] {
            for progress in [AttemptProgress::Sent, AttemptProgress::Answering] {
                assert!(!decide(rule, &LIMITS, situation(progress), || true));
            }
        }
    }

    #[test]
    fn a_request_that_met_a_closing_connection_is_tried_again_if_it_changes_nothing() {
        let stale = Situation {
            is_stale: true,
            ..situation(AttemptProgress::Sent)
        };
        let allows = |rule, situation| decide(rule, &LIMITS, situation, || true);
        assert!(allows(Retryable::Unanswered, stale));
        let sent = situation(AttemptProgress::Sent);
        assert!(!allows(Retryable::Unanswered, sent));
        assert!(!allows(Retryable::ConnectOnly, stale));
        assert!(!allows(Retryable::Never, stale));
    }

    #[test]
    fn a_read_is_tried_again_until_its_first_byte() {
        assert!(decide(
            Retryable::Yes,
            &LIMITS,
            situation(AttemptProgress::Connecting),
            || true
        ));
        assert!(decide(
            Retryable::Yes,
            &LIMITS,
            situation(AttemptProgress::Sent),
            || true
        ));
        assert!(!decide(
            Retryable::Yes,
            &LIMITS,
            situation(AttemptProgress::Answering),
            || true
        ));
    }

    #[test]
    fn a_failed_connect_sent_nothing_and_may_be_repeated() {
        assert!(decide(
            Retryable::ConnectOnly,
            &LIMITS,
            situation(AttemptProgress::Connecting),
            || true
        ));
        assert!(!decide(
            Retryable::Never,
            &LIMITS,
            situation(AttemptProgress::Connecting),
            || true
        ));
    }

    #[test]
    fn count_time_and_budget_bound_retries() {
        let base = situation(AttemptProgress::Sent);
        assert!(!decide(
            Retryable::Yes,
            &LIMITS,
            Situation { tries: 3, ..base },
            || true
        ));
        assert!(!decide(
            Retryable::Yes,
            &LIMITS,
            Situation {
                elapsed: LIMITS.window,
                ..base
            },
            || true
        ));
        assert!(!decide(Retryable::Yes, &LIMITS, base, || false));
    }

    #[test]
    fn a_request_that_waited_long_for_an_upstream_that_died_is_tried_once_more() {
        let late = Situation {
            elapsed: LIMITS.window * 10,
            is_lost: true,
            ..situation(AttemptProgress::Sent)
        };
        assert!(decide(Retryable::Yes, &LIMITS, late, || true));
        assert!(!decide(
            Retryable::Yes,
            &LIMITS,
            Situation { tries: 2, ..late },
            || true
        ));
        assert!(!decide(
            Retryable::Yes,
            &LIMITS,
            Situation {
                is_lost: false,
                ..late
            },
            || true
        ));
        assert!(!decide(Retryable::ConnectOnly, &LIMITS, late, || true));
    }

    #[test]
    fn a_body_that_is_gone_cannot_be_sent_again() {
        let gone = Situation {
            is_body_replayable: false,
            ..situation(AttemptProgress::Sent)
        };
        assert!(!decide(Retryable::Yes, &LIMITS, gone, || true));
    }

    #[test]
    fn a_forbidden_retry_spends_no_budget() {
        let spent = std::cell::Cell::new(false);
        decide(
            Retryable::Never,
            &LIMITS,
            situation(AttemptProgress::Sent),
            || {
                spent.set(true);
                true
            },
        );
        assert!(!spent.get());
    }
}
