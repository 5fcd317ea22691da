//! The counters of the history, summed at one moment.
//!
//! Reading them costs as much as a scrape and does not affect requests. The difference of two
//! readings is the activity between them.

use std::collections::BTreeMap;

use super::histogram::Buckets;
use super::{ABORTS, Metrics, first_cell};
use crate::config::UpstreamName;
use crate::ogc::RequestClass;

/// The sums of all counters at one moment.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// Indexed by [`RequestClass::index`].
    pub classes: [ClassCounts; RequestClass::ALL.len()],
    /// Requests that geofront answered itself.
    pub refused: u64,
    /// Further attempts on another upstream.
    pub retried: u64,
    pub upstreams: BTreeMap<UpstreamName, UpstreamCounts>,
}

/// The counters of one class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClassCounts {
    /// Time from arrival to end of all requests.
    pub total: Buckets,
    /// Time in the queue of requests that waited.
    pub queued: Buckets,
    /// Clients that left before their answer was complete.
    pub aborted: u64,
}

/// The counters of one upstream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UpstreamCounts {
    pub requests: u64,
    /// Requests that ended with a status of 500 or more, without an answer, or with a part of one.
    pub errors: u64,
    /// Time from sending a request to the head of the answer.
    pub first_byte: Buckets,
}

impl Metrics {
    /// Sums every counter.
    pub fn counts(&self) -> Counts {
        let class = |class| ClassCounts {
            total: Buckets::read(&self.by_class, first_cell(class)),
            queued: Buckets::read(&self.queued, first_cell(class)),
            aborted: self.by_class.sum(first_cell(class) + ABORTS),
        };
        let upstreams: Vec<_> = self
            .upstreams
            .lock()
            .iter()
            .map(|(name, metrics)| (name.clone(), metrics.clone()))
            .collect();
        let upstream = |(name, metrics): (UpstreamName, std::sync::Arc<super::UpstreamMetrics>)| {
            let totals = metrics.totals();
            let first_byte = metrics.first_bytes();
            (
                name,
                UpstreamCounts {
                    requests: totals.requests,
                    errors: totals.errors,
                    first_byte,
                },
            )
        };
        Counts {
            classes: RequestClass::ALL.map(class),
            refused: self.refusals.counts().map(|(_, _, count)| count).sum(),
            retried: self.retries.sum(0),
            upstreams: upstreams.into_iter().map(upstream).collect(),
        }
    }
}
