//! Times of the wall clock as the time since the start of 1970, for every floor. No clock is read
//! here.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Returns the time since the start of 1970, or zero if `time` is before it.
pub fn since_1970(time: SystemTime) -> Duration {
    time.duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Returns a time in seconds since the start of 1970 as text, as RFC 3339 has it, in UTC. A time
/// after the year 9999, where the format ends, is written as its last second.
pub fn rfc3339(seconds: u64) -> String {
    let time = UNIX_EPOCH + Duration::from_secs(seconds.min(LAST_SECOND));
    humantime::format_rfc3339_seconds(time).to_string()
}

/// The last second of the year 9999.
const LAST_SECOND: u64 = 253_402_300_799;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_before_1970_counts_as_its_start() {
        let second = Duration::from_secs(1);
        assert_eq!(since_1970(UNIX_EPOCH - second), Duration::ZERO);
        assert_eq!(since_1970(UNIX_EPOCH + second), second);
    }

    #[test]
    fn times_after_the_year_9999_are_written_as_its_last_second() {
        assert_eq!(rfc3339(1_795_000_000), "2026-11-18T11:06:40Z");
        assert_eq!(rfc3339(u64::MAX), "9999-12-31T23:59:59Z");
    }
}
