//! Quantiles of what was measured: exact, from all values. A run has tens of thousands, a histogram
//! would only blur them.

use std::time::Duration;

/// Durations in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Quantiles(Vec<Duration>);

impl Quantiles {
    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// The smallest value that at least the share `q` of all values does not exceed; `None` of
    /// nothing.
    pub(crate) fn at(&self, q: f64) -> Option<Duration> {
        let rank = (q * self.0.len() as f64).ceil() as usize;
        self.ranked(rank.clamp(1, self.0.len().max(1)))
    }

    /// The value of this rank; that of the smallest is 1.
    pub(crate) fn ranked(&self, rank: usize) -> Option<Duration> {
        self.0.get(rank.checked_sub(1)?).copied()
    }

    pub(crate) fn mean(&self) -> Option<Duration> {
        let count = u32::try_from(self.0.len())
            .ok()
            .filter(|count| *count > 0)?;
        Some(self.0.iter().sum::<Duration>() / count)
    }
}

impl FromIterator<Duration> for Quantiles {
    fn from_iter<I: IntoIterator<Item = Duration>>(values: I) -> Self {
        let mut values: Vec<Duration> = values.into_iter().collect();
        values.sort_unstable();
        Self(values)
    }
}
