//! The counters (Prometheus).
//!
//! Counting costs a request a few nanoseconds: the counters of an upstream are found once and kept
//! ([`Metrics::upstream`]); what happens per request ([`Metrics::finished`]) neither allocates,
//! locks, formats nor looks anything up by a label, and no two cores write to the same cache line.
//! A scrape pays instead: it adds up, and asks the cluster for what is a state and not a count.
//!
//! Labels are bounded: classes and codes are fixed, reasons are names in our code, upstreams are
//! those configured.

mod clients;
mod counts;
mod histogram;
mod labelled;
mod render;
mod sharded;
mod upstream;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::config::UpstreamName;
use crate::ogc::RequestClass;

pub use clients::ClientConnections;
pub use counts::{ClassCounts, Counts, UpstreamCounts};
pub use histogram::Buckets;
use labelled::Labelled;
use sharded::{Sharded, Shards};
pub use upstream::{Probe, UpstreamMetrics};

/// All that an upstream answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    pub requests: u64,
    /// Those that ended with a status of 500 or more, or without an answer.
    pub errors: u64,
}

/// The outcome that [`Metrics::config_reloaded`] takes for a failure.
pub const RELOAD_REFUSED: &str = "refused";

/// Cells of one class in `Metrics::by_class`: the histogram of whole requests, then client aborts.
const ABORTS: usize = histogram::CELLS;
const STRIDE: usize = 32;
const _: () = assert!(ABORTS < STRIDE);

/// See the module's documentation.
#[derive(Debug)]
pub struct Metrics {
    shards: Shards,
    by_class: Sharded,
    /// Requests that got the answer to another, by class.
    coalesced: Sharded,
    /// The histograms of time in the queue, by class; of those who waited.
    queued: Sharded,
    /// Who waits now, by class; written by whoever keeps the queue.
    waiting: [AtomicUsize; RequestClass::ALL.len()],
    /// Requests that no upstream answered.
    no_upstream: UpstreamMetrics,
    upstreams: Mutex<BTreeMap<UpstreamName, Arc<UpstreamMetrics>>>,
    refusals: Labelled,
    retries: Labelled,
    config_reloads: Labelled,
    /// One histogram.
    catalog_reload_times: Sharded,
    last_reload_refused: AtomicBool,
    pub client_connections: ClientConnections,
}

impl Metrics {
    pub fn new() -> Arc<Self> {
        let shards = Shards::for_this_machine();
        let classes = RequestClass::ALL.len();
        Arc::new(Self {
            shards,
            by_class: Sharded::new(STRIDE * classes, shards),
            coalesced: Sharded::new(classes, shards),
            queued: Sharded::new(STRIDE * classes, shards),
            waiting: Default::default(),
            no_upstream: UpstreamMetrics::new(shards),
            upstreams: Mutex::default(),
            refusals: Labelled::new(classes, shards),
            retries: Labelled::new(classes, shards),
            config_reloads: Labelled::new(1, shards),
            catalog_reload_times: Sharded::new(histogram::CELLS, shards),
            last_reload_refused: AtomicBool::new(false),
            client_connections: ClientConnections::default(),
        })
    }

    /// The counters of an upstream: ask once, keep the answer.
    pub fn upstream(&self, name: &UpstreamName) -> Arc<UpstreamMetrics> {
        let mut upstreams = self.upstreams.lock();
        let metrics = upstreams
            .entry(name.clone())
            .or_insert_with(|| Arc::new(UpstreamMetrics::new(self.shards)));
        Arc::clone(metrics)
    }

    /// What the upstream answered so far, of every class.
    pub fn totals(&self, name: &UpstreamName) -> Totals {
        self.upstreams
            .lock()
            .get(name)
            .map(|metrics| metrics.totals())
            .unwrap_or_default()
    }

    /// Forgets upstreams that are not among `names`, except those that somebody still counts for: a
    /// request may outlive the upstream's place in the configuration. Every scrape does this too.
    pub fn keep_upstreams<'a>(&self, names: impl IntoIterator<Item = &'a UpstreamName>) {
        let names: Vec<&UpstreamName> = names.into_iter().collect();
        self.upstreams
            .lock()
            .retain(|name, metrics| names.contains(&name) || Arc::strong_count(metrics) > 1);
    }

    /// A request is over. `upstream` is the one whose answer the client got, none if the answer was
    /// ours; `status` is 0 when there was no answer; `first_byte` is the time from sending the
    /// request upstream to the answer's head.
    pub fn finished(
        &self,
        class: RequestClass,
        upstream: Option<&UpstreamMetrics>,
        status: u16,
        total: Duration,
        first_byte: Option<Duration>,
    ) {
        upstream
            .unwrap_or(&self.no_upstream)
            .finished(class, status, first_byte);
        histogram::observe(&self.by_class, first_cell(class), total);
    }

    /// We answered instead of an upstream.
    pub fn refused(&self, class: RequestClass, reason: &'static str) {
        self.refusals.count(reason, class.index());
    }

    /// A request gets another attempt.
    pub fn retried(&self, class: RequestClass, reason: &'static str) {
        self.retries.count(reason, class.index());
    }

    /// The client left before its answer was complete.
    pub fn client_aborted(&self, class: RequestClass) {
        self.by_class.add(first_cell(class) + ABORTS, 1);
    }

    /// A request got the answer to another, identical one.
    pub fn coalesced(&self, class: RequestClass) {
        self.coalesced.add(class.index(), 1);
    }

    /// A request waited for a place, whether it got one or not.
    pub fn queued(&self, class: RequestClass, waited: Duration) {
        histogram::observe(&self.queued, first_cell(class), waited);
    }

    /// So many requests of the class wait now.
    pub fn queue_length(&self, class: RequestClass, waiting: usize) {
        self.waiting[class.index()].store(waiting, Ordering::Relaxed);
    }

    /// An upstream answered with an OGC exception.
    pub fn service_exception(&self, class: RequestClass, upstream: &UpstreamMetrics) {
        upstream.service_exception(class);
    }

    /// A health probe ended.
    pub fn probed(
        &self,
        upstream: &UpstreamName,
        outcome: &'static str,
        took: Duration,
        now: Instant,
    ) {
        self.upstream(upstream).probed(Probe {
            ended: now,
            outcome,
            took,
        });
    }

    /// The last probes of an upstream, oldest first.
    pub fn recent_probes(&self, upstream: &UpstreamName) -> Vec<Probe> {
        self.upstreams
            .lock()
            .get(upstream)
            .map(|metrics| metrics.recent_probes())
            .unwrap_or_default()
    }

    pub fn ejected(&self, upstream: &UpstreamName, cause: &'static str) {
        self.upstream(upstream).ejections.count(cause, 0);
    }

    /// A catalog reload of a replica ended; `took` if it was a success.
    pub fn catalog_reloaded(
        &self,
        upstream: &UpstreamName,
        outcome: &'static str,
        took: Option<Duration>,
    ) {
        self.upstream(upstream).catalog_reloads.count(outcome, 0);
        if let Some(took) = took {
            histogram::observe(&self.catalog_reload_times, 0, took);
        }
    }

    /// A config reload ended, well unless its outcome is [`RELOAD_REFUSED`].
    pub fn config_reloaded(&self, outcome: &'static str) {
        self.config_reloads.count(outcome, 0);
        self.last_reload_refused
            .store(outcome == RELOAD_REFUSED, Ordering::Relaxed);
    }
}

const fn first_cell(class: RequestClass) -> usize {
    class.index() * STRIDE
}

#[cfg(test)]
mod tests;
