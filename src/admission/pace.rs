//! The throughput of the queue: how many waiters were served lately.

use std::time::{Duration, Instant};

/// Seconds that count, the current one included.
const WINDOW: usize = 10;

/// Seconds after which a refused request should try again: the least and the most.
const MIN_RETRY_AFTER: u32 = 1;
const MAX_RETRY_AFTER: u32 = 60;

/// See the module's documentation.
#[derive(Debug)]
pub struct Pace {
    start: Instant,
    /// A second since the start, and the number of waiters served in it.
    served: [(u64, u32); WINDOW],
}

impl Pace {
    /// Returns a pace at which nothing has been served.
    pub fn new(now: Instant) -> Self {
        Self {
            start: now,
            served: [(0, 0); WINDOW],
        }
    }

    /// Records that a waiter was served.
    pub fn note(&mut self, now: Instant) {
        let second = self.second(now);
        let slot = &mut self.served[second as usize % WINDOW];
        if slot.0 != second {
            *slot = (second, 0);
        }
        slot.1 += 1;
    }

    /// Returns the requests served per second, averaged over the recent past.
    pub fn per_second(&self, now: Instant) -> f64 {
        let second = self.second(now);
        let is_recent = |at: u64| at <= second && second - at < WINDOW as u64;
        let served: u32 = self
            .served
            .iter()
            .filter(|(at, _)| is_recent(*at))
            .map(|(_, count)| count)
            .sum();
        // A process that is younger than the window has had less time.
        f64::from(served) / (second + 1).min(WINDOW as u64) as f64
    }

    /// Returns the seconds after which `waiting` requests will have been served at this pace.
    /// `otherwise` is used if none was served.
    pub fn seconds_for(&self, waiting: usize, otherwise: Duration, now: Instant) -> u32 {
        let pace = self.per_second(now);
        let seconds = if pace > 0.0 {
            waiting as f64 / pace
        } else {
            otherwise.as_secs_f64()
        };
        (seconds.ceil() as u32).clamp(MIN_RETRY_AFTER, MAX_RETRY_AFTER)
    }

    fn second(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.start).as_secs()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OTHERWISE: Duration = Duration::from_secs(20);

    #[test]
    fn retry_after_is_the_length_of_the_queue_at_its_pace() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        let after = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(pace.seconds_for(100, OTHERWISE, start), 20);
        (0..10).for_each(|second| (0..8).for_each(|_| pace.note(after(second))));
        assert_eq!(pace.per_second(after(9)), 8.0);
        assert_eq!(pace.seconds_for(100, OTHERWISE, after(9)), 13);
        assert_eq!(pace.seconds_for(0, OTHERWISE, after(9)), MIN_RETRY_AFTER);
        assert_eq!(
            pace.seconds_for(1_000_000, OTHERWISE, after(9)),
            MAX_RETRY_AFTER
        );
    }

    #[test]
    fn requests_served_long_ago_do_not_count_and_a_young_process_is_not_slow() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        (0..6).for_each(|_| pace.note(start));
        assert_eq!(pace.per_second(start), 6.0);
        assert_eq!(
            pace.per_second(start + Duration::from_secs(WINDOW as u64)),
            0.0
        );
    }
}
