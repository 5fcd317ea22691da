//! The wall clock in seconds since 1970, for comparison with the validity of certificates.

use std::time::SystemTime;

use crate::unix_time::since_1970;

/// The present time in seconds since 1970.
pub fn seconds_since_1970() -> i64 {
    i64::try_from(since_1970(SystemTime::now()).as_secs()).unwrap_or(i64::MAX)
}
