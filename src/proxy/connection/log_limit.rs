//! A bound on the log lines about clients: none of them can fill the log.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Minimum interval between two lines of one kind.
const LOG_EVERY: Duration = Duration::from_secs(10);

/// The time of the last line of one kind.
#[derive(Debug, Default)]
pub(super) struct LogLimit(Mutex<Option<Instant>>);

impl LogLimit {
    /// Returns whether a line may be written now, which is noted.
    pub(super) fn allows(&self, now: Instant) -> bool {
        let mut last = self.0.lock();
        let is_time = last.is_none_or(|at| now.saturating_duration_since(at) >= LOG_EVERY);
        if is_time {
            *last = Some(now);
        }
        is_time
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_in_ten_seconds_is_written() {
        let (limit, start) = (LogLimit::default(), Instant::now());
        let written = (0..100).filter(|second| limit.allows(start + Duration::from_secs(*second)));
        assert_eq!(written.count(), 10);
    }
}
