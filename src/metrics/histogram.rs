//! Histograms of durations, kept in a range of cells that the caller owns.
//!
//! The count is the sum of the buckets and not a cell of its own. So even a scrape during a write
//! shows a `+Inf` bucket that equals the count.

use std::time::Duration;

use super::sharded::Sharded;

/// Upper bounds in milliseconds. They cover a tile from a cache, a map, a capabilities document of
/// thousands of layers, and a download that starts after minutes.
const BOUNDS_MS: [u64; 19] = [
    1, 3, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 60_000, 120_000,
    300_000, 600_000, 1_200_000,
];

/// Number of cells of one histogram: a bucket for each bound, one for longer durations, and the sum
/// in nanoseconds (enough for 584 years).
pub(super) const CELLS: usize = BOUNDS_MS.len() + 2;
const SUM: usize = CELLS - 1;

/// Adds one duration to the histogram that starts at cell `first`.
pub(super) fn observe(cells: &Sharded, first: usize, took: Duration) {
    let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
    let bucket = BOUNDS_MS.partition_point(|bound| bound * 1_000_000 < nanos);
    cells.add(first + bucket, 1);
    cells.add(first + SUM, nanos);
}

/// The values of one histogram.
#[derive(Debug, PartialEq)]
pub(super) struct HistogramValues {
    /// Upper bound in seconds, and the number of durations up to it.
    pub buckets: Vec<(f64, u64)>,
    pub count: u64,
    pub sum_seconds: f64,
}

/// Reads the histogram that starts at cell `first`; `None` if it is empty.
pub(super) fn read(cells: &Sharded, first: usize) -> Option<HistogramValues> {
    let mut count = 0;
    let mut buckets = Vec::with_capacity(BOUNDS_MS.len());
    for (bucket, bound) in BOUNDS_MS.iter().enumerate() {
        count += cells.sum(first + bucket);
        buckets.push((Duration::from_millis(*bound).as_secs_f64(), count));
    }
    count += cells.sum(first + BOUNDS_MS.len());
    let sum_seconds = Duration::from_nanos(cells.sum(first + SUM)).as_secs_f64();
    (count > 0).then_some(HistogramValues {
        buckets,
        count,
        sum_seconds,
    })
}

/// The buckets of one histogram at one moment, or the difference of two moments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Buckets([u64; BOUNDS_MS.len() + 1]);

impl Buckets {
    /// Reads the histogram that starts at cell `first`.
    pub(super) fn read(cells: &Sharded, first: usize) -> Self {
        Self(std::array::from_fn(|bucket| cells.sum(first + bucket)))
    }

    /// The durations that were added since `earlier`.
    pub fn since(&self, earlier: &Self) -> Self {
        Self(std::array::from_fn(|bucket| {
            self.0[bucket].saturating_sub(earlier.0[bucket])
        }))
    }

    /// The sum of both.
    pub fn plus(&self, other: &Self) -> Self {
        Self(std::array::from_fn(|bucket| {
            self.0[bucket] + other.0[bucket]
        }))
    }

    /// The number of durations.
    pub fn count(&self) -> u64 {
        self.0.iter().sum()
    }

    /// Returns the duration in milliseconds that a share of all durations (for example 0.95) did
    /// not exceed; `None` if there are none. Durations count as evenly spread within a bucket, as
    /// in Prometheus. Durations beyond every bound count as the last bound.
    pub fn quantile_ms(&self, share: f64) -> Option<f64> {
        let rank = share * self.count() as f64;
        let mut below = 0.0;
        let mut lower = 0.0;
        for (count, bound) in self.0.iter().zip(BOUNDS_MS) {
            let (count, bound) = (*count as f64, bound as f64);
            if count > 0.0 && below + count >= rank {
                return Some(lower + (bound - lower) * ((rank - below) / count).clamp(0.0, 1.0));
            }
            (below, lower) = (below + count, bound);
        }
        (self.count() > 0).then_some(lower)
    }
}

#[cfg(test)]
mod tests {
    use super::super::sharded::Shards;
    use super::*;

    fn reading_of(durations: &[Duration]) -> Option<HistogramValues> {
        let cells = Sharded::new(CELLS, Shards::for_this_machine());
        durations.iter().for_each(|took| observe(&cells, 0, *took));
        read(&cells, 0)
    }

    #[test]
    fn a_bound_belongs_to_its_own_bucket() {
        let reading =
            reading_of(&[Duration::from_millis(25), Duration::from_micros(25_001)]).unwrap();
        assert_eq!(reading.buckets[4], (0.025, 1));
        assert_eq!(reading.buckets[5], (0.05, 2));
    }

    #[test]
    fn durations_beyond_every_bound_still_count() {
        let reading = reading_of(&[Duration::from_secs(3600), Duration::ZERO]).unwrap();
        assert_eq!(
            (reading.buckets[18].1, reading.count, reading.sum_seconds),
            (1, 2, 3600.0)
        );
    }

    fn buckets_of(millis: impl IntoIterator<Item = u64>) -> Buckets {
        let cells = Sharded::new(CELLS, Shards::for_this_machine());
        millis
            .into_iter()
            .for_each(|took| observe(&cells, 0, Duration::from_millis(took)));
        Buckets::read(&cells, 0)
    }

    #[test]
    fn a_quantile_lies_within_the_bucket_of_its_rank() {
        let buckets = buckets_of((0..90).map(|_| 40).chain((0..10).map(|_| 800)));
        assert_eq!(buckets.quantile_ms(0.45), Some(37.5));
        assert_eq!(buckets.quantile_ms(0.95), Some(750.0));
        assert_eq!(buckets_of([3_000_000]).quantile_ms(0.5), Some(1_200_000.0));
        assert_eq!(Buckets::default().quantile_ms(0.5), None);
    }

    #[test]
    fn buckets_of_an_interval_hold_only_samples_of_that_interval() {
        let (earlier, later) = (buckets_of([1, 40]), buckets_of([1, 40, 40, 7000]));
        assert_eq!(later.since(&earlier), buckets_of([40, 7000]));
        assert_eq!(earlier.plus(&buckets_of([40, 7000])), later);
        assert_eq!(
            earlier.since(&later).count(),
            0,
            "counters of an upstream that came back under its name start anew"
        );
    }

    #[test]
    fn a_histogram_without_observations_is_not_shown() {
        assert_eq!(reading_of(&[]), None);
    }
}
