//! The counters of one upstream, which callers look up once and keep.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::histogram::{self, Buckets};
use super::labelled::Labelled;
use super::sharded::{Sharded, Shards};
use super::{ClientAnswer, Totals};
use crate::ogc::RequestClass;

/// The values of the `code` label: hundreds of the status, none, and an answer that broke off.
pub(super) const CODES: [&str; 7] = ["0", "1xx", "2xx", "3xx", "4xx", "5xx", "truncated"];

const NO_ANSWER: usize = 0;
const SERVER_ERROR: usize = 5;
const TRUNCATED: usize = 6;

/// Cells of one class: codes, service exceptions, then the histogram of first bytes. They fill
/// whole cache lines, so that one request touches neighbouring cells.
const EXCEPTIONS: usize = CODES.len();
const FIRST_BYTE: usize = EXCEPTIONS + 1;
const STRIDE: usize = 32;
const _: () = assert!(FIRST_BYTE + histogram::CELLS <= STRIDE);

/// Number of probes of one upstream that are kept.
const RECENT_PROBES: usize = 30;

/// A finished health probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    pub ended: Instant,
    /// The label of `geofront_probes_total`.
    pub outcome: &'static str,
    pub took: Duration,
}

/// The counters of one upstream; see the module's documentation.
#[derive(Debug)]
pub struct UpstreamMetrics {
    by_class: Sharded,
    /// The last [`RECENT_PROBES`], oldest first. Probes write them, not requests.
    recent_probes: Mutex<VecDeque<Probe>>,
    pub(super) probes: Labelled,
    pub(super) catalog_reloads: Labelled,
    /// Truncations of its tile cache.
    pub(super) truncations: Labelled,
    /// Postponed catalog reloads, by the class of the request for which the reload waited.
    pub(super) postponed_reloads: Labelled,
    pub(super) ejections: Labelled,
    /// Attempts at this upstream that another attempt followed, by reason and class.
    pub(super) retries: Labelled,
}

impl UpstreamMetrics {
    pub(super) fn new(shards: Shards) -> Self {
        Self {
            by_class: Sharded::new(STRIDE * RequestClass::ALL.len(), shards),
            recent_probes: Mutex::default(),
            probes: Labelled::new(1, shards),
            catalog_reloads: Labelled::new(1, shards),
            truncations: Labelled::new(1, shards),
            postponed_reloads: Labelled::new(1, shards),
            ejections: Labelled::new(1, shards),
            retries: Labelled::new(RequestClass::ALL.len(), shards),
        }
    }

    pub(super) fn finished(
        &self,
        class: RequestClass,
        answer: ClientAnswer,
        first_byte: Option<Duration>,
    ) {
        let code = match answer {
            ClientAnswer::Nothing => NO_ANSWER,
            ClientAnswer::Whole(status) => code_of(status),
            ClientAnswer::Truncated => TRUNCATED,
        };
        self.by_class.add(first_cell(class) + code, 1);
        if let Some(took) = first_byte {
            histogram::observe(&self.by_class, first_cell(class) + FIRST_BYTE, took);
        }
    }

    pub(super) fn probed(&self, probe: Probe) {
        self.probes.count(probe.outcome, 0);
        let mut recent = self.recent_probes.lock();
        if recent.len() == RECENT_PROBES {
            recent.pop_front();
        }
        recent.push_back(probe);
    }

    /// The last probes, oldest first.
    pub(super) fn recent_probes(&self) -> Vec<Probe> {
        self.recent_probes.lock().iter().copied().collect()
    }

    /// Times to the first byte, of all classes.
    pub(super) fn first_bytes(&self) -> Buckets {
        let of_class = |class| Buckets::read(&self.by_class, first_cell(class) + FIRST_BYTE);
        RequestClass::ALL
            .into_iter()
            .map(of_class)
            .fold(Buckets::default(), |all, class| all.plus(&class))
    }

    pub(super) fn service_exception(&self, class: RequestClass) {
        self.by_class.add(first_cell(class) + EXCEPTIONS, 1);
    }

    /// Requests by code; `None` if there were none of this class.
    pub(super) fn requests(&self, class: RequestClass) -> Option<[u64; CODES.len()]> {
        let counts = std::array::from_fn(|code| self.by_class.sum(first_cell(class) + code));
        counts.iter().any(|count| *count > 0).then_some(counts)
    }

    pub(super) fn totals(&self) -> Totals {
        let counts = RequestClass::ALL
            .into_iter()
            .filter_map(|class| self.requests(class));
        counts.fold(Totals::default(), |totals, codes| Totals {
            requests: totals.requests + codes.iter().sum::<u64>(),
            errors: totals.errors + codes[NO_ANSWER] + codes[SERVER_ERROR] + codes[TRUNCATED],
        })
    }

    pub(super) fn service_exceptions(&self, class: RequestClass) -> u64 {
        self.by_class.sum(first_cell(class) + EXCEPTIONS)
    }

    pub(super) fn first_byte(&self, class: RequestClass) -> Option<histogram::HistogramValues> {
        histogram::read(&self.by_class, first_cell(class) + FIRST_BYTE)
    }
}

const fn first_cell(class: RequestClass) -> usize {
    class.index() * STRIDE
}

/// The index in [`CODES`]. An invalid status counts as no answer.
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
    fn the_last_probes_are_remembered_and_no_more() {
        let metrics = UpstreamMetrics::new(Shards::for_this_machine());
        let probe = |n: u64| Probe {
            ended: Instant::now(),
            outcome: "success",
            took: Duration::from_millis(n),
        };
        (0..RECENT_PROBES as u64 + 5).for_each(|n| metrics.probed(probe(n)));
        let kept: Vec<u128> = metrics
            .recent_probes()
            .iter()
            .map(|probe| probe.took.as_millis())
            .collect();
        assert_eq!(
            (kept.len(), kept[0], kept.last()),
            (RECENT_PROBES, 5, Some(&(RECENT_PROBES as u128 + 4)))
        );
    }

    #[test]
    fn classes_do_not_share_counters() {
        let metrics = UpstreamMetrics::new(Shards::for_this_machine());
        for class in RequestClass::ALL {
            (0..=class.index()).for_each(|_| {
                metrics.finished(
                    class,
                    ClientAnswer::Whole(503),
                    Some(Duration::from_secs(7200)),
                )
            });
            metrics.service_exception(class);
        }
        for class in RequestClass::ALL {
            let expected = class.index() as u64 + 1;
            assert_eq!(metrics.requests(class), Some([0, 0, 0, 0, 0, expected, 0]));
            assert_eq!(metrics.service_exceptions(class), 1);
            assert_eq!(metrics.first_byte(class).unwrap().count, expected);
        }
    }
}
