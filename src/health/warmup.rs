//! Slow start: a recovered upstream ramps up to its full share.
//!
//! A GeoServer that just started is cold: classes not compiled, stores not connected, caches empty.
//! Least-in-flight balancing makes this worse, because it sends the next requests to the upstream
//! with the fewest. So the weight begins at a small part and grows linearly. The ramp begins after
//! recovery and after an ejection, where the risk is a wrong verdict instead of cold caches. It
//! never begins at the start of geofront, which is no evidence about the upstreams.

use std::time::{Duration, Instant};

/// A ramp that began at an instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Warmup {
    since: Instant,
    length: Duration,
}

impl Warmup {
    /// The full share, in the units of [`Self::share`].
    pub const WHOLE: u32 = 1024;
    /// The initial share: an upstream needs some requests to become warm at all.
    pub const MIN: u32 = Self::WHOLE / 20;

    /// Creates a ramp; `None` if its length is zero.
    pub fn new(since: Instant, length: Duration) -> Option<Self> {
        (!length.is_zero()).then_some(Self { since, length })
    }

    /// The time at which the full share is reached.
    pub fn ends(&self) -> Instant {
        self.since + self.length
    }

    /// The share at `now`, in parts of [`Self::WHOLE`].
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
