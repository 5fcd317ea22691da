//! Who waits in vain: a queue that stays.
//!
//! The queue after a burst drains, and everybody in it is served. A queue that stays (RFC 8289
//! calls it a standing queue) says that more comes than can be served. Then its length decides only
//! how long everybody waits, not how many are served: a short one keeps the upstreams as busy,
//! serves as many in a tenth of the time, tells the others at once, and is gone as soon as the
//! overload is. So where tiles or maps (priority 0 or 1) have had a queue for [`STANDS`], and none
//! of them came in without waiting meanwhile, no more of them may wait than are served in
//! [`SHORT`], nor of any lower priority, until for as long none of them was one too many. (That the
//! short queue is gone for a moment says nothing.) Nobody is sent away for it who waits already.
//!
//! A queue of heavy ones alone is no overload: they stay in their share of the places, and who
//! waits for a process has time. Nor is a standstill, in which nobody is served at all: it ends,
//! and then the queue is that of a burst.

use std::time::{Duration, Instant};

use super::Pace;
use crate::config::Priority;

/// Half of the default of `queue_timeout`: a burst that is served at all is served by then, for the
/// most part.
pub const STANDS: Duration = Duration::from_secs(10);
/// Enough for no place to lie idle.
const SHORT: Duration = Duration::from_millis(500);
/// Where a request takes seconds, too, somebody should be at hand when a place comes free.
const LEAST: usize = 3;

/// See the module's documentation.
#[derive(Debug)]
pub struct StandingQueue {
    /// By priority.
    lines: [Line; 4],
}

#[derive(Debug)]
struct Line {
    /// From here on all have waited who came in.
    since: Option<Instant>,
    /// No burst is expected until then.
    short_until: Option<Instant>,
    pace: Pace,
}

impl StandingQueue {
    pub fn new(now: Instant) -> Self {
        Self {
            lines: [(); 4].map(|()| Line {
                since: None,
                short_until: None,
                pace: Pace::new(now),
            }),
        }
    }

    /// One of them has to wait.
    pub fn waits(&mut self, priority: Priority, now: Instant) {
        self.line(priority).since.get_or_insert(now);
    }

    /// One of them came in without waiting, or none of them waits any more.
    pub fn is_gone(&mut self, priority: Priority) {
        self.line(priority).since = None;
    }

    /// One that waited was served.
    pub fn served(&mut self, priority: Priority, now: Instant) {
        let line = self.line(priority);
        if line.pace.per_second(now) == 0.0 {
            line.since = line.since.map(|_| now);
        }
        line.pace.note(now);
    }

    /// One of them comes, and [`most`](Self::most) wait.
    pub fn is_too_long(&mut self, priority: Priority, now: Instant) {
        if !priority.is_heavy() {
            self.line(priority).short_until = Some(now + STANDS);
        }
    }

    /// How many of them may wait.
    pub fn most(&self, priority: Priority, now: Instant) -> usize {
        let at = usize::from(priority.get());
        let lights = Priority::ALL
            .iter()
            .zip(&self.lines)
            .filter(|(priority, _)| !priority.is_heavy());
        let is_overload = lights.take(at + 1).any(|(_, line)| line.is_overloaded(now));
        if !is_overload {
            return usize::MAX;
        }
        ((self.lines[at].pace.per_second(now) * SHORT.as_secs_f64()) as usize).max(LEAST)
    }

    fn line(&mut self, priority: Priority) -> &mut Line {
        &mut self.lines[usize::from(priority.get())]
    }
}

impl Line {
    fn is_overloaded(&self, now: Instant) -> bool {
        let stands = self
            .since
            .is_some_and(|since| now.saturating_duration_since(since) >= STANDS);
        let stays_short = self.short_until.is_some_and(|until| now < until);
        (stands || stays_short) && self.pace.per_second(now) > 0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAP: Priority = Priority::new(1).unwrap();

    /// Forty maps a second are served, and some wait all the time; a second after the end of that.
    fn overloaded_for(seconds: u64) -> (StandingQueue, Instant) {
        let start = Instant::now();
        let mut standing = StandingQueue::new(start);
        for second in 0..seconds {
            let now = start + Duration::from_secs(second);
            (0..40).for_each(|_| standing.served(MAP, now));
            standing.waits(MAP, now);
        }
        (standing, start + Duration::from_secs(seconds))
    }

    #[test]
    fn a_queue_that_stays_is_as_long_as_what_is_served_in_half_a_second() {
        let (standing, now) = overloaded_for(9);
        assert_eq!(standing.most(MAP, now), usize::MAX);
        let (standing, now) = overloaded_for(10);
        assert_eq!(
            standing.most(MAP, now),
            18,
            "of the last ten seconds the current one has served none"
        );
    }

    #[test]
    fn a_standstill_is_no_overload_and_what_has_waited_then_is_a_burst() {
        let (mut standing, now) = overloaded_for(10);
        let end = now + STANDS;
        assert_eq!(standing.most(MAP, end), usize::MAX);
        (0..40).for_each(|_| standing.served(MAP, end));
        assert_eq!(standing.most(MAP, end), usize::MAX);
        standing.served(MAP, end + STANDS - Duration::from_secs(1));
        assert_eq!(standing.most(MAP, end + STANDS), LEAST);
    }

    #[test]
    fn in_an_overload_of_maps_heavy_ones_wait_in_a_short_queue_too_and_tiles_as_ever() {
        let (standing, now) = overloaded_for(20);
        assert_eq!(
            [Priority::FIRST, Priority::LAST].map(|priority| standing.most(priority, now)),
            [usize::MAX, LEAST]
        );
    }

    #[test]
    fn a_queue_that_was_gone_is_a_new_one() {
        let (mut standing, now) = overloaded_for(60);
        standing.is_gone(MAP);
        standing.waits(MAP, now);
        standing.served(MAP, now + STANDS / 2);
        assert_eq!(standing.most(MAP, now + STANDS / 2), usize::MAX);
        assert!(standing.most(MAP, now + STANDS) < 100);
    }

    #[test]
    fn a_queue_that_is_gone_for_a_moment_stays_short_until_none_was_too_many_for_as_long() {
        let (mut standing, now) = overloaded_for(60);
        standing.is_too_long(MAP, now);
        standing.is_gone(MAP);
        let second = Duration::from_secs(1);
        standing.served(MAP, now + second);
        assert!(standing.most(MAP, now + STANDS - second) < 100);
        assert_eq!(standing.most(MAP, now + STANDS), usize::MAX);
        standing.is_too_long(Priority::LAST, now);
        assert_eq!(
            standing.most(Priority::LAST, now + STANDS),
            usize::MAX,
            "too many heavy ones are no overload"
        );
    }

    #[test]
    fn a_queue_of_heavy_ones_alone_is_no_overload() {
        let now = Instant::now();
        let mut standing = StandingQueue::new(now);
        standing.waits(Priority::LAST, now);
        assert_eq!(standing.most(Priority::LAST, now + STANDS * 9), usize::MAX);
    }
}
