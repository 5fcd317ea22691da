//! Detects an overload: a queue that stays.
//!
//! The queue after a burst drains, and every request in it is served. A queue that stays (RFC 8289
//! calls it a standing queue) shows that more requests arrive than can be served. Its length then
//! decides only how long each of them waits, not how many are served. A short queue keeps the
//! upstreams as busy, serves as many requests in a tenth of the time, refuses the others at once,
//! and is gone as soon as the overload is.
//!
//! An overload begins when tiles or maps (priority 0 or 1) have had a queue for
//! [`STANDING_AFTER`] and none of them was admitted without waiting for [`BEARABLE_WAIT`]. From
//! then on, no more of them may wait than are served in [`SHORT_WAIT`]. The same bound holds for
//! every lower priority. The overload ends when for [`STANDING_AFTER`] no request was one too many.
//! A short queue that is empty for a moment does not end it. A request that already waits is not
//! shed for it.
//!
//! Near full load, or while a burst of exports has its share of the slots, some maps always wait,
//! but not for long. To refuse some of them would be worse than the wait.
//!
//! A queue of heavy requests alone is no overload: they stay in their share of the slots, and the
//! client of a process can wait. A standstill, in which no request is served, is no overload
//! either: it ends, and then the queue is that of a burst.

use std::time::{Duration, Instant};

use super::Pace;
use crate::config::Priority;

/// Half of the default of `queue_timeout`. Most requests of a burst that can be served at all are
/// served by then.
pub const STANDING_AFTER: Duration = Duration::from_secs(10);
/// A shorter wait is no sign of an overload. In a real one, waits become longer than this within
/// seconds.
const BEARABLE_WAIT: Duration = Duration::from_secs(2);
/// The time that a short queue covers: long enough that no slot lies idle.
const SHORT_WAIT: Duration = Duration::from_millis(500);
/// The shortest bound, so that a waiter is at hand when a slot comes free although requests take
/// seconds.
const MIN_LEN: usize = 3;

/// See the module's documentation.
#[derive(Debug)]
pub struct OverloadDetector {
    /// One for each priority.
    lines: [Line; 4],
}

#[derive(Debug)]
struct Line {
    /// The time since which every admitted request had to wait for [`BEARABLE_WAIT`].
    since: Option<Instant>,
    /// The queue stays short until then.
    short_until: Option<Instant>,
    pace: Pace,
}

impl OverloadDetector {
    /// Returns a detector that has seen no overload.
    pub fn new(now: Instant) -> Self {
        Self {
            lines: [(); 4].map(|()| Line {
                since: None,
                short_until: None,
                pace: Pace::new(now),
            }),
        }
    }

    /// Records that a request of this priority has to wait.
    pub fn waits(&mut self, priority: Priority, now: Instant) {
        self.line(priority).since.get_or_insert(now);
    }

    /// Records that a request of this priority was admitted without waiting, or that none waits any
    /// more.
    pub fn on_empty(&mut self, priority: Priority) {
        self.line(priority).since = None;
    }

    /// Records that a waiter of this priority was served after it had `waited`.
    pub fn served(&mut self, priority: Priority, waited: Duration, now: Instant) {
        let line = self.line(priority);
        if waited < BEARABLE_WAIT || line.pace.per_second(now) == 0.0 {
            line.since = line.since.map(|_| now);
        }
        line.pace.note(now);
    }

    /// Records that a request of this priority arrived while [`max_len`](Self::max_len) of them
    /// waited.
    pub fn on_overflow(&mut self, priority: Priority, now: Instant) {
        if !priority.is_heavy() {
            self.line(priority).short_until = Some(now + STANDING_AFTER);
        }
    }

    /// Returns how many requests of this priority may wait.
    pub fn max_len(&self, priority: Priority, now: Instant) -> usize {
        let at = usize::from(priority.get());
        let lights = Priority::ALL
            .iter()
            .zip(&self.lines)
            .filter(|(priority, _)| !priority.is_heavy());
        let is_overload = lights.take(at + 1).any(|(_, line)| line.is_overloaded(now));
        if !is_overload {
            return usize::MAX;
        }
        ((self.lines[at].pace.per_second(now) * SHORT_WAIT.as_secs_f64()) as usize).max(MIN_LEN)
    }

    fn line(&mut self, priority: Priority) -> &mut Line {
        &mut self.lines[usize::from(priority.get())]
    }
}

impl Line {
    fn is_overloaded(&self, now: Instant) -> bool {
        let stands = self
            .since
            .is_some_and(|since| now.saturating_duration_since(since) >= STANDING_AFTER);
        let stays_short = self.short_until.is_some_and(|until| now < until);
        (stands || stays_short) && self.pace.per_second(now) > 0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAP: Priority = Priority::new(1).unwrap();

    /// Returns a detector after so many seconds in which forty maps a second were served and some
    /// always waited, and the second after the last of them.
    fn overloaded_for(seconds: u64) -> (OverloadDetector, Instant) {
        served_for(seconds, BEARABLE_WAIT)
    }

    /// The same with maps that were served after they had `waited`.
    fn served_for(seconds: u64, waited: Duration) -> (OverloadDetector, Instant) {
        let start = Instant::now();
        let mut detector = OverloadDetector::new(start);
        for second in 0..seconds {
            let now = start + Duration::from_secs(second);
            (0..40).for_each(|_| detector.served(MAP, waited, now));
            detector.waits(MAP, now);
        }
        (detector, start + Duration::from_secs(seconds))
    }

    #[test]
    fn a_queue_that_stays_may_be_as_long_as_half_a_second_of_service() {
        let (detector, now) = overloaded_for(9);
        assert_eq!(detector.max_len(MAP, now), usize::MAX);
        let (detector, now) = overloaded_for(10);
        assert_eq!(
            detector.max_len(MAP, now),
            18,
            "the current one of the last ten seconds has served none"
        );
    }

    #[test]
    fn a_queue_that_stays_is_no_overload_while_some_wait_for_less_than_two_seconds() {
        let bearable = BEARABLE_WAIT - Duration::from_millis(1);
        let (mut detector, now) = served_for(60, bearable);
        assert_eq!(detector.max_len(MAP, now), usize::MAX);
        let later = now + STANDING_AFTER;
        detector.served(MAP, BEARABLE_WAIT, now + STANDING_AFTER / 2);
        assert_eq!(detector.max_len(MAP, later), MIN_LEN);
        detector.served(MAP, bearable, later);
        assert_eq!(detector.max_len(MAP, later), usize::MAX);
    }

    #[test]
    fn a_standstill_is_no_overload_and_the_requests_that_waited_are_a_burst() {
        let (mut detector, now) = overloaded_for(10);
        let end = now + STANDING_AFTER;
        assert_eq!(detector.max_len(MAP, end), usize::MAX);
        (0..40).for_each(|_| detector.served(MAP, BEARABLE_WAIT, end));
        assert_eq!(detector.max_len(MAP, end), usize::MAX);
        let later = end + STANDING_AFTER - Duration::from_secs(1);
        detector.served(MAP, BEARABLE_WAIT, later);
        assert_eq!(detector.max_len(MAP, end + STANDING_AFTER), MIN_LEN);
    }

    #[test]
    fn in_an_overload_of_maps_the_queue_of_heavy_requests_is_short_and_that_of_tiles_is_not() {
        let (detector, now) = overloaded_for(20);
        assert_eq!(
            [Priority::FIRST, Priority::LAST].map(|priority| detector.max_len(priority, now)),
            [usize::MAX, MIN_LEN]
        );
    }

    #[test]
    fn a_queue_that_was_empty_is_a_new_one() {
        let (mut detector, now) = overloaded_for(60);
        detector.on_empty(MAP);
        detector.waits(MAP, now);
        detector.served(MAP, BEARABLE_WAIT, now + STANDING_AFTER / 2);
        assert_eq!(detector.max_len(MAP, now + STANDING_AFTER / 2), usize::MAX);
        assert!(detector.max_len(MAP, now + STANDING_AFTER) < 100);
    }

    #[test]
    fn a_short_queue_that_empties_for_a_moment_stays_short_while_requests_overflow_it() {
        let (mut detector, now) = overloaded_for(60);
        detector.on_overflow(MAP, now);
        detector.on_empty(MAP);
        let second = Duration::from_secs(1);
        detector.served(MAP, BEARABLE_WAIT, now + second);
        assert!(detector.max_len(MAP, now + STANDING_AFTER - second) < 100);
        assert_eq!(detector.max_len(MAP, now + STANDING_AFTER), usize::MAX);
        detector.on_overflow(Priority::LAST, now);
        assert_eq!(
            detector.max_len(Priority::LAST, now + STANDING_AFTER),
            usize::MAX,
            "too many heavy requests are no overload"
        );
    }

    #[test]
    fn a_queue_of_heavy_requests_alone_is_no_overload() {
        let now = Instant::now();
        let mut detector = OverloadDetector::new(now);
        detector.waits(Priority::LAST, now);
        assert_eq!(
            detector.max_len(Priority::LAST, now + STANDING_AFTER * 9),
            usize::MAX
        );
    }
}
