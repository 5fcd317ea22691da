//! The limits of a connection, and the one timer that serves them all.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

/// The maximum wait of a connection.
#[derive(Clone, Copy)]
pub(super) enum ConnectionLimit {
    Until(Instant),
    /// Counted from the moment when the connection has to wait, which is rare within a head.
    For(Duration),
}

/// A limit, and a timer that goes off at its end or earlier.
pub(super) struct ConnectionDeadline<'t> {
    pub(super) timer: Pin<&'t mut Sleep>,
    pub(super) limit: ConnectionLimit,
}

impl ConnectionDeadline<'_> {
    pub(super) fn poll_over(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let end = match self.limit {
            ConnectionLimit::Until(end) => end,
            ConnectionLimit::For(limit) => Instant::now() + limit,
        };
        self.limit = ConnectionLimit::Until(end);
        if end < self.timer.deadline() {
            self.timer.as_mut().reset(end);
        }
        // Set for an earlier limit, it is set again for this one: once in a while, and not for each
        // request.
        while self.timer.as_mut().poll(cx).is_ready() {
            if self.timer.deadline() >= end {
                return Poll::Ready(());
            }
            self.timer.as_mut().reset(end);
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::pin::pin;

    use tokio::time::{sleep_until, timeout};

    use super::*;

    /// The limit as soon as it is over, of a timer that was set for `timer`.
    async fn over(timer: Duration, limit: ConnectionLimit) -> Duration {
        let started = Instant::now();
        let mut deadline = ConnectionDeadline {
            timer: pin!(sleep_until(started + timer)),
            limit,
        };
        poll_fn(|cx| deadline.poll_over(cx)).await;
        started.elapsed()
    }

    const SHORT: Duration = Duration::from_millis(30);
    const LONG: Duration = Duration::from_millis(90);

    #[tokio::test]
    async fn a_timer_that_goes_off_too_early_is_set_again() {
        assert!(over(SHORT, ConnectionLimit::For(LONG)).await >= LONG);
    }

    #[tokio::test]
    async fn a_timer_that_would_go_off_too_late_is_set_anew() {
        assert!(over(Duration::from_secs(3600), ConnectionLimit::For(SHORT)).await >= SHORT);
    }

    #[tokio::test]
    async fn a_limit_that_is_over_already_ends_at_once() {
        let limit = ConnectionLimit::Until(Instant::now());
        let ended = timeout(LONG, over(SHORT, limit)).await;
        assert!(ended.is_ok());
    }
}
