//! Metrics for Prometheus.
//!
//! Counting costs a request a few nanoseconds. The counters of an upstream are found once and kept
//! ([`Metrics::upstream`]). The code that runs per request ([`Metrics::finished`]) does not
//! allocate, lock, format or look up a label, and no two cores write to the same cache line. The
//! scrape does the remaining work: it sums the counters and reads the cluster's state.
//!
//! Labels are bounded: classes and codes are fixed, reasons are constants in the code, and
//! upstreams are those of the configuration.

mod clients;
mod clusters;
mod compression;
mod counts;
mod histogram;
mod labelled;
mod limits;
mod memory;
mod process;
mod render;
mod sample;
mod sharded;
mod upstream;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::config::UpstreamName;
use crate::ogc::RequestClass;

pub use clients::{ClientConnections, ClientExcess, SlowClients};
pub use clusters::ClusterReading;
pub use compression::{CompressedAnswer, CompressionMetrics, MAX_COMPRESSED_AT_ONCE};
pub use counts::{ClassCounts, Counts, UpstreamCounts};
pub use histogram::Buckets;
use labelled::Labelled;
pub use memory::{ClientMemory, HeldBytes, MemoryShare, NetworkMemory};
use sharded::{Sharded, Shards};
pub use upstream::{Probe, UpstreamMetrics};

/// The answer that a client got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAnswer {
    Nothing,
    /// An answer with this status, as far as the client wanted it.
    Whole(u16),
    /// The beginning of an answer that its upstream broke off.
    Truncated,
}

/// The totals of an upstream's answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    pub requests: u64,
    /// Answers with a status of 500 or more, answers that broke off, and requests without an
    /// answer.
    pub errors: u64,
}

/// A certificate in use, and the end of its validity in seconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateExpiry {
    pub listener: String,
    pub name: String,
    pub not_after: i64,
}

/// Why spans did not reach the receiver of traces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LostSpans {
    /// More requests were traced than could be sent.
    QueueFull,
    /// The receiver did not answer, or traces were turned off meanwhile.
    Undelivered,
    /// The receiver refused them.
    Rejected,
}

impl LostSpans {
    /// All reasons, in the order of their counters.
    pub const ALL: [Self; 3] = [Self::QueueFull, Self::Undelivered, Self::Rejected];

    /// Returns the label.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::QueueFull => "queue-full",
            Self::Undelivered => "undelivered",
            Self::Rejected => "rejected",
        }
    }
}

/// The outcome that [`Metrics::config_reloaded`] counts as a failure.
pub const RELOAD_REFUSED: &str = "refused";

/// Offset of client aborts in the cells of one class in `Metrics::by_class`, after the histogram of
/// whole requests.
const ABORTS: usize = histogram::CELLS;
const STRIDE: usize = 32;
const _: () = assert!(ABORTS < STRIDE);

/// All counters of the process; see the module's documentation.
#[derive(Debug)]
pub struct Metrics {
    shards: Shards,
    by_class: Sharded,
    /// Requests that got the answer of another request, by class.
    coalesced: Sharded,
    /// Histograms of the time in the queue by class, of requests that waited.
    queued: Sharded,
    /// Number of waiting requests by class; written by the queue.
    waiting: [AtomicUsize; RequestClass::ALL.len()],
    /// Requests that no upstream answered.
    no_upstream: UpstreamMetrics,
    upstreams: Mutex<BTreeMap<UpstreamName, Arc<UpstreamMetrics>>>,
    refusals: Labelled,
    /// Further attempts of all upstreams, those that were removed included.
    retries: Sharded,
    /// Further attempts that the retry budget did not allow, by class.
    retries_denied: Sharded,
    config_reloads: Labelled,
    /// TLS handshakes of clients by outcome.
    handshakes: Labelled,
    /// Connections without a valid header of the PROXY protocol by reason.
    proxy_protocol_refused: Labelled,
    /// HTTP/2 connections that were ended for a flood of frames.
    http2_floods: AtomicU64,
    /// Orders of certificates by ACME by outcome.
    acme_orders: Labelled,
    /// Spans that the receiver of traces accepted.
    spans_sent: AtomicU64,
    /// Spans that did not reach the receiver, by [`LostSpans`].
    spans_lost: [AtomicU64; LostSpans::ALL.len()],
    certificates: Mutex<Vec<CertificateExpiry>>,
    /// A histogram of reload times.
    catalog_reload_times: Sharded,
    last_reload_refused: AtomicBool,
    pub client_connections: ClientConnections,
    pub slow_clients: Arc<SlowClients>,
    pub compression: Arc<CompressionMetrics>,
}

impl Metrics {
    /// Returns metrics in which nothing is counted.
    pub fn new() -> Arc<Self> {
        Self::with(Arc::default(), Arc::default())
    }

    /// Returns the metrics of one of several clusters. What the process bounds as a whole, it
    /// shares with `self`.
    pub fn of_cluster(&self) -> Arc<Self> {
        Self::with(
            Arc::clone(&self.slow_clients),
            Arc::clone(&self.compression),
        )
    }

    fn with(slow_clients: Arc<SlowClients>, compression: Arc<CompressionMetrics>) -> Arc<Self> {
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
            retries: Sharded::new(1, shards),
            retries_denied: Sharded::new(classes, shards),
            config_reloads: Labelled::new(1, shards),
            handshakes: Labelled::new(1, shards),
            proxy_protocol_refused: Labelled::new(1, shards),
            http2_floods: AtomicU64::new(0),
            acme_orders: Labelled::new(1, shards),
            spans_sent: AtomicU64::new(0),
            spans_lost: Default::default(),
            certificates: Mutex::default(),
            catalog_reload_times: Sharded::new(histogram::CELLS, shards),
            last_reload_refused: AtomicBool::new(false),
            client_connections: ClientConnections::default(),
            slow_clients,
            compression,
        })
    }

    /// The counters of an upstream. Callers keep the result.
    pub fn upstream(&self, name: &UpstreamName) -> Arc<UpstreamMetrics> {
        let mut upstreams = self.upstreams.lock();
        let metrics = upstreams
            .entry(name.clone())
            .or_insert_with(|| Arc::new(UpstreamMetrics::new(self.shards)));
        Arc::clone(metrics)
    }

    /// The totals of the upstream's answers in all classes.
    pub fn totals(&self, name: &UpstreamName) -> Totals {
        self.upstreams
            .lock()
            .get(name)
            .map(|metrics| metrics.totals())
            .unwrap_or_default()
    }

    /// Forgets upstreams that are not among `names`, except those with counters still in use: a
    /// request may outlive the upstream's place in the configuration. Every scrape does this too.
    pub fn keep_upstreams<'a>(&self, names: impl IntoIterator<Item = &'a UpstreamName>) {
        let names: Vec<&UpstreamName> = names.into_iter().collect();
        self.upstreams
            .lock()
            .retain(|name, metrics| names.contains(&name) || Arc::strong_count(metrics) > 1);
    }

    /// Counts a finished request. `upstream` is the one that answered the client, or whose failure
    /// geofront answered, or `None` if geofront answered for itself. `first_byte` is the time from
    /// sending the request upstream to the head of the answer.
    pub fn finished(
        &self,
        class: RequestClass,
        upstream: Option<&UpstreamMetrics>,
        answer: ClientAnswer,
        total: Duration,
        first_byte: Option<Duration>,
    ) {
        upstream
            .unwrap_or(&self.no_upstream)
            .finished(class, answer, first_byte);
        histogram::observe(&self.by_class, first_cell(class), total);
    }

    /// Counts spans that the receiver of traces accepted.
    pub fn spans_sent(&self, spans: usize) {
        self.spans_sent.fetch_add(spans as u64, Ordering::Relaxed);
    }

    /// Counts spans that the receiver of traces did not get.
    pub fn spans_lost(&self, why: LostSpans, spans: usize) {
        self.spans_lost[why as usize].fetch_add(spans as u64, Ordering::Relaxed);
    }

    /// Counts a request that geofront answered itself.
    pub fn refused(&self, class: RequestClass, reason: &'static str) {
        self.refusals.count(reason, class.index());
    }

    /// Counts a further attempt of a request; `upstream` is the one of the attempt before it.
    pub fn retried(
        &self,
        class: RequestClass,
        upstream: Option<&UpstreamMetrics>,
        reason: &'static str,
    ) {
        self.retries.add(0, 1);
        upstream
            .unwrap_or(&self.no_upstream)
            .retries
            .count(reason, class.index());
    }

    /// Counts a client that left before its answer was complete.
    pub fn client_aborted(&self, class: RequestClass) {
        self.by_class.add(first_cell(class) + ABORTS, 1);
    }

    /// Counts a request that got the answer of an identical one.
    pub fn coalesced(&self, class: RequestClass) {
        self.coalesced.add(class.index(), 1);
    }

    /// Counts a wait in the queue, whether or not the request got a slot.
    pub fn queued(&self, class: RequestClass, waited: Duration) {
        histogram::observe(&self.queued, first_cell(class), waited);
    }

    /// Sets the number of waiting requests of the class.
    pub fn queue_length(&self, class: RequestClass, waiting: usize) {
        self.waiting[class.index()].store(waiting, Ordering::Relaxed);
    }

    /// Counts an OGC exception of an upstream.
    pub fn service_exception(&self, class: RequestClass, upstream: &UpstreamMetrics) {
        upstream.service_exception(class);
    }

    /// Counts a health probe.
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

    /// Counts an ejection.
    pub fn ejected(&self, upstream: &UpstreamName, cause: &'static str) {
        self.upstream(upstream).ejections.count(cause, 0);
    }

    /// Counts a catalog reload of a replica; `took` is its length if it succeeded.
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

    /// Counts a truncation of the tile cache of an upstream.
    pub fn tiles_truncated(&self, upstream: &UpstreamName, outcome: &'static str) {
        self.upstream(upstream).truncations.count(outcome, 0);
    }

    /// Counts a TLS handshake with a client.
    pub fn handshake(&self, outcome: &'static str) {
        self.handshakes.count(outcome, 0);
    }

    /// Counts a connection without a valid header of the PROXY protocol.
    pub fn proxy_protocol_refused(&self, reason: &'static str) {
        self.proxy_protocol_refused.count(reason, 0);
    }

    /// Counts an HTTP/2 connection that was ended for a flood of frames.
    pub fn http2_flood(&self) {
        self.http2_floods.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts an order of a certificate by ACME.
    pub fn acme_order(&self, outcome: &'static str) {
        self.acme_orders.count(outcome, 0);
    }

    /// Replaces the list of certificates in use.
    pub fn keep_certificates(&self, certificates: Vec<CertificateExpiry>) {
        *self.certificates.lock() = certificates;
    }

    /// Counts a catalog reload that waits because a request of `class` has no other upstream.
    pub fn catalog_reload_postponed(&self, upstream: &UpstreamName, class: RequestClass) {
        self.upstream(upstream)
            .postponed_reloads
            .count(class.as_str(), 0);
    }

    /// Counts a config reload. It failed if its outcome is [`RELOAD_REFUSED`].
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
