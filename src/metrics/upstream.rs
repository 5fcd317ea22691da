//! The counters of one upstream, found once and then kept by whoever counts.

use std::time::Duration;

use super::Totals;
use super::histogram;
use super::labelled::Labelled;
use super::sharded::{Sharded, Shards};
use crate::ogc::RequestClass;

/// The values of the `code` label, by hundreds of the status.
pub(super) const CODES: [&str; 6] = ["0", "1xx", "2xx", "3xx", "4xx", "5xx"];

const NO_ANSWER: usize = 0;
const SERVER_ERROR: usize = 5;

/// Cells of one class: codes, service exceptions, then the histogram of first bytes; whole cache lines, so that what one request
/// touches lies together.
const EXCEPTIONS: usize = CODES.len();
const FIRST_BYTE: usize = EXCEPTIONS + 1;
const STRIDE: usize = 32;
const _: () = assert!(FIRST_BYTE + histogram::CELLS <= STRIDE);

/// See the module's documentation.
#[derive(Debug)]
pub struct UpstreamMetrics {
    by_class: Sharded,
    pub(super) probes: Labelled,
    pub(super) catalog_reloads: Labelled,
    pub(super) ejections: Labelled,
}

impl UpstreamMetrics {
    pub(super) fn new(shards: Shards) -> Self {
        Self {
            by_class: Sharded::new(STRIDE * RequestClass::ALL.len(), shards),
            probes: Labelled::new(1, shards),
            catalog_reloads: Labelled::new(1, shards),
            ejections: Labelled::new(1, shards),
        }
    }

    pub(super) fn finished(&self, class: RequestClass, status: u16, first_byte: Option<Duration>) {
        self.by_class.add(first_cell(class) + code_of(status), 1);
        if let Some(took) = first_byte {
            histogram::observe(&self.by_class, first_cell(class) + FIRST_BYTE, took);
        }
    }

    pub(super) fn service_exception(&self, class: RequestClass) {
        self.by_class.add(first_cell(class) + EXCEPTIONS, 1);
    }

    /// Requests by code; `None` when there was none of this class.
    pub(super) fn requests(&self, class: RequestClass) -> Option<[u64; CODES.len()]> {
        let counts = std::array::from_fn(|code| self.by_class.sum(first_cell(class) + code));
        counts.iter().any(|count| *count > 0).then_some(counts)
    }

    pub(super) fn totals(&self) -> Totals {
        let counts = RequestClass::ALL.into_iter().filter_map(|class| self.requests(class));
        counts.fold(Totals::default(), |totals, codes| Totals {
            requests: totals.requests + codes.iter().sum::<u64>(),
            errors: totals.errors + codes[NO_ANSWER] + codes[SERVER_ERROR],
        })
    }

    pub(super) fn service_exceptions(&self, class: RequestClass) -> u64 {
        self.by_class.sum(first_cell(class) + EXCEPTIONS)
    }

    pub(super) fn first_byte(&self, class: RequestClass) -> Option<histogram::Reading> {
        histogram::read(&self.by_class, first_cell(class) + FIRST_BYTE)
    }
}

const fn first_cell(class: RequestClass) -> usize {
    class.index() * STRIDE
}

/// The index in [`CODES`]; what no HTTP status is counts as no answer.
fn code_of(status: u16) -> usize {
    match status / 100 {
        hundreds @ 1..=5 => usize::from(hundreds),
        _ => NO_ANSWER,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_counts_under_its_hundreds_and_no_answer_under_zero() {
        let codes = [0, 100, 204, 302, 404, 599, 600, 65_535].map(|status| CODES[code_of(status)]);
        assert_eq!(codes, ["0", "1xx", "2xx", "3xx", "4xx", "5xx", "0", "0"]);
    }

    #[test]
    fn classes_do_not_share_counters() {
        let metrics = UpstreamMetrics::new(Shards::for_this_machine());
        for class in RequestClass::ALL {
            (0..=class.index()).for_each(|_| metrics.finished(class, 503, Some(Duration::from_secs(7200))));
            metrics.service_exception(class);
        }
        for class in RequestClass::ALL {
            let expected = class.index() as u64 + 1;
            assert_eq!(metrics.requests(class), Some([0, 0, 0, 0, 0, expected]));
            assert_eq!(metrics.service_exceptions(class), 1);
            assert_eq!(metrics.first_byte(class).unwrap().count, expected);
        }
    }
}
