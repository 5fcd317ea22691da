//! How many heavy requests at a time an upstream needs to have, so that they do not queue up for
//! ever.
//!
//! A burst of long jobs stays in its small share and the rest of the upstream is for maps and
//! tiles. But where heavy requests are a large part of all the work, all the time, that share is
//! less than what comes: their queue would grow without end while renderers lie idle. So the number
//! in flight is watched: while it stays near its limit for longer than a burst lasts, there is room
//! for more.

use std::time::{Duration, Instant};

/// The mean forgets within this time. A burst that a cluster is done with in a third of it does not
/// move the limit.
const MEMORY: Duration = Duration::from_secs(30);
/// Room above the mean: those in flight vary, and with twice the mean they still queue up where
/// they are most of the work.
const MARGIN: f64 = 3.0;

/// See the module's documentation.
#[derive(Clone, Debug, Default)]
pub(super) struct Heavy {
    /// Mean number in flight.
    mean: f64,
    in_flight: u32,
    seen: Option<Instant>,
}

impl Heavy {
    /// So many are in flight, and were since the last look.
    pub(super) fn see(&mut self, in_flight: u32, now: Instant) {
        let passed = self
            .seen
            .map_or(Duration::ZERO, |seen| now.saturating_duration_since(seen));
        (self.seen, self.in_flight) = (Some(now), in_flight);
        let kept = (-passed.as_secs_f64() / MEMORY.as_secs_f64()).exp();
        self.mean = self.mean * kept + f64::from(in_flight) * (1.0 - kept);
    }

    /// So many at the last look.
    pub(super) fn in_flight(&self) -> u32 {
        self.in_flight
    }

    /// Places that keep up with what comes.
    pub(super) fn needed(&self) -> u32 {
        (self.mean * MARGIN).round() as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// So many in flight for so many seconds, looked at every tenth of one.
    fn after(phases: &[(u32, u64)]) -> u32 {
        let (mut heavy, mut now) = (Heavy::default(), Instant::now());
        for (in_flight, seconds) in phases {
            for _ in 0..seconds * 10 {
                now += Duration::from_millis(100);
                heavy.see(*in_flight, now);
            }
        }
        heavy.needed()
    }

    #[test]
    fn three_times_the_mean_in_flight_is_needed_after_a_while() {
        assert_eq!([2, 5].map(|in_flight| after(&[(in_flight, 300)])), [6, 15]);
    }

    #[test]
    fn a_burst_of_ten_seconds_moves_nothing_above_two() {
        assert!(after(&[(0, 60), (2, 10)]) <= 2);
    }

    #[test]
    fn what_was_needed_is_forgotten_when_no_more_comes() {
        assert_eq!(after(&[(5, 300), (0, 120)]), 0);
    }

    #[test]
    fn one_look_tells_nothing_and_a_clock_that_stands_still_changes_nothing() {
        let (mut heavy, now) = (Heavy::default(), Instant::now());
        (0..100).for_each(|_| heavy.see(9, now));
        assert_eq!(heavy.needed(), 0);
    }
}
