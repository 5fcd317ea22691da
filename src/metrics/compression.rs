//! Answers that the front door compresses: their number, their bytes, and the limit on those at
//! the same time. Counted once per piece of an answer, beside which atomics cost nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use prometheus::proto::MetricFamily;

use super::Metrics;
use super::sample::{COUNTER, counter_sample, family};
use crate::config::Coding;

/// Maximum number of answers that are compressed at the same time. Each takes up to 350 KiB for
/// the state of its encoder, so they take 90 MiB together.
pub const MAX_COMPRESSED_AT_ONCE: usize = 256;

/// Counters of compressed answers.
#[derive(Debug, Default)]
pub struct CompressionMetrics {
    at_once: AtomicUsize,
    by_coding: [CodingCounts; Coding::ALL.len()],
    /// Answers that were passed on as they were because of the limit.
    skipped: AtomicU64,
}

#[derive(Debug, Default)]
struct CodingCounts {
    answers: AtomicU64,
    input: AtomicU64,
    output: AtomicU64,
}

/// One of the answers that may be compressed at the same time.
#[derive(Debug)]
pub struct CompressedAnswer {
    metrics: Arc<CompressionMetrics>,
    coding: Coding,
}

impl CompressionMetrics {
    /// Counts an answer that is compressed from now on; `None` if there are too many.
    pub fn begin(self: &Arc<Self>, coding: Coding) -> Option<CompressedAnswer> {
        // Constructed first: its drop takes the count back.
        let answer = CompressedAnswer {
            metrics: Arc::clone(self),
            coding,
        };
        if self.at_once.fetch_add(1, Ordering::Relaxed) >= MAX_COMPRESSED_AT_ONCE {
            self.skipped.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        answer.counts().answers.fetch_add(1, Ordering::Relaxed);
        Some(answer)
    }
}

impl CompressedAnswer {
    /// Counts a piece: its bytes before and after.
    pub fn count(&self, input: usize, output: usize) {
        let counts = self.counts();
        counts.input.fetch_add(input as u64, Ordering::Relaxed);
        counts.output.fetch_add(output as u64, Ordering::Relaxed);
    }

    fn counts(&self) -> &CodingCounts {
        &self.metrics.by_coding[self.coding as usize]
    }
}

impl Drop for CompressedAnswer {
    fn drop(&mut self) {
        self.metrics.at_once.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Metrics {
    pub(super) fn compression_families(&self) -> [MetricFamily; 4] {
        let metrics = &self.compression;
        let by_coding = |of: fn(&CodingCounts) -> &AtomicU64| {
            Coding::ALL.map(|coding| {
                let count = of(&metrics.by_coding[coding as usize]).load(Ordering::Relaxed);
                counter_sample(&[("coding", coding.as_str())], count)
            })
        };
        let skipped = metrics.skipped.load(Ordering::Relaxed);
        [
            family(
                "geofront_compressed_answers_total",
                "Answers that were compressed.",
                COUNTER,
                by_coding(|counts| &counts.answers),
            ),
            family(
                "geofront_compression_input_bytes_total",
                "Bytes of these answers as the upstreams sent them.",
                COUNTER,
                by_coding(|counts| &counts.input),
            ),
            family(
                "geofront_compression_output_bytes_total",
                "Bytes of these answers after compression.",
                COUNTER,
                by_coding(|counts| &counts.output),
            ),
            family(
                "geofront_compression_skipped_total",
                "Answers that were not compressed because too many others were.",
                COUNTER,
                [counter_sample(&[], skipped)],
            ),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_beyond_the_limit_are_not_compressed_until_others_end() {
        let metrics = Arc::new(CompressionMetrics::default());
        let begin = || metrics.begin(Coding::Zstd);
        let mut all: Vec<_> = (0..MAX_COMPRESSED_AT_ONCE).map(|_| begin()).collect();
        assert!(all.iter().all(Option::is_some));
        assert!(begin().is_none() && begin().is_none());
        all.pop();
        let last = begin();
        assert!(last.is_some() && begin().is_none());
        assert_eq!(metrics.skipped.load(Ordering::Relaxed), 3);
    }
}
