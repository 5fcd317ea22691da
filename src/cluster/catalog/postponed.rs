//! Reloads that are postponed because a request needs the replica now.
//!
//! A replica that drains for its reload is still able to serve. When no other upstream is left for
//! a request, the drain is called off, and the replica leaves service again [`STEP`] later. Without
//! a bound, a replica that alone serves some class would stay stale for ever. A drain that begins
//! `drain_timeout` after the first one is therefore not called off.

use std::time::{Duration, Instant};

/// Pause between a drain that is called off and the next one.
const STEP: Duration = Duration::from_secs(1);

/// The postponed reload of one replica.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Postponed {
    series: Option<Series>,
    /// No drain begins before this.
    until: Option<Instant>,
}

/// A series of drains that were called off for the same reload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Series {
    /// Time when the first one was called off.
    since: Instant,
    /// The epoch that the replica held.
    held: Option<u64>,
}

impl Postponed {
    /// True if a drain that begins at `now` may be called off. `held`: the epoch that the replica
    /// holds.
    pub(super) fn may_begin_or_go_on(
        &self,
        held: Option<u64>,
        bound: Duration,
        now: Instant,
    ) -> bool {
        self.of(held)
            .is_none_or(|series| now < series.since + bound)
    }

    /// Postpones the reload. Returns true if this is the first drain that is called off for it.
    pub(super) fn put_off(&mut self, held: Option<u64>, now: Instant) -> bool {
        let series = self.of(held);
        self.series = Some(series.unwrap_or(Series { since: now, held }));
        self.until = Some(now + STEP);
        series.is_none()
    }

    pub(super) fn pass_time(&mut self, now: Instant) {
        self.until.take_if(|until| *until <= now);
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.until
    }

    fn of(&self, held: Option<u64>) -> Option<Series> {
        self.series.filter(|series| series.held == held)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUND: Duration = Duration::from_secs(120);

    #[test]
    fn drains_for_one_reload_are_called_off_until_the_bound_and_not_after() {
        let (start, mut postponed) = (Instant::now(), Postponed::default());
        assert!(postponed.put_off(Some(3), start));
        let mut now = start;
        while now < start + BOUND {
            assert!(postponed.may_begin_or_go_on(Some(3), BOUND, now));
            assert!(!postponed.put_off(Some(3), now) || now == start);
            now += STEP;
        }
        assert!(!postponed.may_begin_or_go_on(Some(3), BOUND, now));
        assert!(
            postponed.may_begin_or_go_on(Some(4), BOUND, now),
            "another reload is another matter"
        );
    }

    #[test]
    fn the_next_drain_begins_a_step_later() {
        let (start, mut postponed) = (Instant::now(), Postponed::default());
        postponed.put_off(None, start);
        assert_eq!(postponed.deadline(), Some(start + STEP));
        postponed.pass_time(start + STEP);
        assert_eq!(postponed.deadline(), None);
    }
}
