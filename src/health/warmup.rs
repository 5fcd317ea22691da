//! Slow start: an upstream that came back ramps up to its full share.
//!
//! A GeoServer that just started is cold: classes not compiled, stores not connected, caches empty.
//! Least in-flight makes it worse, because whoever has nothing in flight gets everything next. So
//! its weight begins at a small part and grows in a straight line. It begins after recovery and
//! after an ejection (where the risk is not cold caches but being wrong about it), never at process
//! start: our restart says nothing about theirs.

use std::time::{Duration, Instant};

/// A ramp that began at an instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Warmup {
    since: Instant,
    length: Duration,
}

impl Warmup {
    /// The whole, of which [`Self::share`] is a part.
    pub const WHOLE: u32 = 1024;
    /// The part it begins with: some requests are needed to get warm at all.
    pub const MIN: u32 = Self::WHOLE / 20;

    /// `None` when there is nothing to ramp.
    pub fn new(since: Instant, length: Duration) -> Option<Self> {
        (!length.is_zero()).then_some(Self { since, length })
    }

    /// When it has its full share.
    pub fn ends(&self) -> Instant {
        self.since + self.length
    }

    /// Its part of a full share at `now`, out of [`Self::WHOLE`].
    pub fn share(&self, now: Instant) -> u32 {
        let elapsed = now.saturating_duration_since(self.since);
        if elapsed >= self.length {
            return Self::WHOLE;
        }
        let part = elapsed.as_secs_f64() / self.length.as_secs_f64() * f64::from(Self::WHOLE);
        (part as u32).max(Self::MIN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LENGTH: Duration = Duration::from_secs(30);

    fn share_after(elapsed: Duration) -> u32 {
        let start = Instant::now();
        Warmup::new(start, LENGTH).unwrap().share(start + elapsed)
    }

    #[test]
    fn it_begins_with_a_small_part_and_ends_with_the_whole() {
        assert_eq!(share_after(Duration::ZERO), Warmup::MIN);
        assert_eq!(share_after(LENGTH / 2), Warmup::WHOLE / 2);
        assert_eq!(share_after(LENGTH), Warmup::WHOLE);
        assert_eq!(share_after(LENGTH * 1000), Warmup::WHOLE);
    }

    #[test]
    fn it_never_shrinks_and_never_exceeds_the_whole() {
        let shares: Vec<_> = (0..400)
            .map(|tenth| share_after(Duration::from_millis(100) * tenth))
            .collect();
        assert!(shares.is_sorted());
        assert!(
            shares
                .iter()
                .all(|share| (Warmup::MIN..=Warmup::WHOLE).contains(share))
        );
    }

    #[test]
    fn no_length_is_no_ramp() {
        assert_eq!(Warmup::new(Instant::now(), Duration::ZERO), None);
    }
}
