//! Who waits in vain: a queue that stays.
//!
//! The queue after a burst drains, and everybody in it is served. A queue that stays (RFC 8289 calls it a standing queue) says that
//! more comes than can be served. Then its length decides only how long everybody waits, not how many are served: a short one keeps
//! the upstreams as busy, serves the same number in a tenth of the time, tells the others at once, and is gone as soon as the
//! overload is. So a priority that has had a queue for [`STANDS`], and of which nobody came in without waiting meanwhile, gets
//! none that is longer than what is served in [`SHORT`], until the queue has been gone. Nobody is sent away for it who waits already.
//!
//! The heavy ones are left alone: they stay in their share of the places, and who waits for a process has time.

use std::time::{Duration, Instant};

use super::Pace;
use crate::config::Priority;

/// As long as the default of `queue_timeout`: who waits longer is gone.
pub const STANDS: Duration = Duration::from_secs(20);
/// Enough for no place to lie idle, whatever the times of single requests are.
pub const SHORT: Duration = Duration::from_secs(2);
/// Where one request takes a second, too, somebody should be at hand when a place comes free.
const LEAST: usize = 8;

/// See the module's documentation.
#[derive(Debug)]
pub struct Standing {
    /// By priority; the heavy ones have none.
    lines: [Line; 2],
}

#[derive(Debug)]
struct Line {
    /// From here on all have waited who came in.
    since: Option<Instant>,
    pace: Pace,
}

impl Standing {
    pub fn new(now: Instant) -> Self {
        Self { lines: [(); 2].map(|()| Line { since: None, pace: Pace::new(now) }) }
    }

    /// One of them has to wait.
    pub fn waits(&mut self, priority: Priority, now: Instant) {
        if let Some(line) = self.line(priority) {
            line.since.get_or_insert(now);
        }
    }

    /// One of them came in without waiting, or none of them waits any more.
    pub fn is_gone(&mut self, priority: Priority) {
        if let Some(line) = self.line(priority) {
            line.since = None;
        }
    }

    /// One that waited was served.
    pub fn served(&mut self, priority: Priority, now: Instant) {
        if let Some(line) = self.line(priority) {
            line.pace.note(now);
        }
    }

    /// How many of them may wait.
    pub fn most(&self, priority: Priority, now: Instant) -> usize {
        let stands = |line: &&Line| line.since.is_some_and(|since| now.saturating_duration_since(since) >= STANDS);
        let Some(line) = self.lines.get(usize::from(priority.get())).filter(stands) else { return usize::MAX };
        ((line.pace.per_second(now) * SHORT.as_secs_f64()) as usize).max(LEAST)
    }

    fn line(&mut self, priority: Priority) -> Option<&mut Line> {
        self.lines.get_mut(usize::from(priority.get()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAP: Priority = Priority::new(1).unwrap();

    /// Twenty a second are served, and somebody waits all the time; a second after the end of that.
    fn overloaded_for(seconds: u64) -> (Standing, Instant) {
        let start = Instant::now();
        let mut standing = Standing::new(start);
        for second in 0..seconds {
            let now = start + Duration::from_secs(second);
            (0..20).for_each(|_| standing.served(MAP, now));
            standing.waits(MAP, now);
        }
        (standing, start + Duration::from_secs(seconds))
    }

    #[test]
    fn a_queue_that_stays_is_as_long_as_what_is_served_in_two_seconds() {
        let (standing, now) = overloaded_for(19);
        assert_eq!(standing.most(MAP, now), usize::MAX);
        let (standing, now) = overloaded_for(20);
        assert_eq!(standing.most(MAP, now), 36, "of the last ten seconds the current one has served none");
        assert_eq!(standing.most(MAP, now + Duration::from_secs(60)), LEAST, "nobody is served");
        assert_eq!(standing.most(Priority::FIRST, now), usize::MAX, "each priority by itself");
    }

    #[test]
    fn a_queue_that_was_gone_is_a_new_one() {
        let (mut standing, now) = overloaded_for(60);
        standing.is_gone(MAP);
        standing.waits(MAP, now);
        assert_eq!(standing.most(MAP, now + STANDS / 2), usize::MAX);
        assert!(standing.most(MAP, now + STANDS) < 100);
    }

    #[test]
    fn heavy_ones_may_wait_as_ever() {
        let (mut standing, now) = (Standing::new(Instant::now()), Instant::now());
        standing.waits(Priority::LAST, now);
        assert_eq!(standing.most(Priority::LAST, now + STANDS * 9), usize::MAX);
    }
}
