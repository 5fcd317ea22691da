//! The number of concurrent heavy requests that keeps up with their arrivals.
//!
//! A burst of long jobs stays in its small share, and the rest of the upstream is for maps and
//! tiles. If heavy requests are a large part of all work for long, that share is less than their
//! arrivals: their queue would grow without bound while renderers are idle. The number in flight is
//! therefore averaged. While it stays near its limit for longer than a burst lasts, the limit may
//! rise.

use std::time::{Duration, Instant};

/// Time constant of the mean. A burst that ends within a third of it does not move the limit.
const MEMORY: Duration = Duration::from_secs(30);
/// Ratio of the limit to the mean. The number in flight varies, and with twice the mean, heavy
/// requests still queue where they are most of the work.
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
    /// Records the number in flight, which has not changed since the last record.
    pub(super) fn see(&mut self, in_flight: u32, now: Instant) {
        let passed = self
            .seen
            .map_or(Duration::ZERO, |seen| now.saturating_duration_since(seen));
        (self.seen, self.in_flight) = (Some(now), in_flight);
        let kept = (-passed.as_secs_f64() / MEMORY.as_secs_f64()).exp();
        self.mean = self.mean * kept + f64::from(in_flight) * (1.0 - kept);
    }

    /// Returns the number in flight at the last record.
    pub(super) fn in_flight(&self) -> u32 {
        self.in_flight
    }

    /// Returns the number of slots that keeps up with the arrivals.
    pub(super) fn needed(&self) -> u32 {
        (self.mean * MARGIN).round() as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Records a number in flight every tenth of a second, for some seconds.
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
    fn the_slots_needed_by_heavy_requests_are_forgotten_when_no_more_come() {
        assert_eq!(after(&[(5, 300), (0, 120)]), 0);
    }

    #[test]
    fn one_observation_proves_nothing_and_a_clock_that_stands_still_changes_nothing() {
        let (mut heavy, now) = (Heavy::default(), Instant::now());
        (0..100).for_each(|_| heavy.see(9, now));
        assert_eq!(heavy.needed(), 0);
    }
}
