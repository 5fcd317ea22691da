//! `GET /api/history`: the shape of the answer. Rates are per second, times in milliseconds, and
//! values that were not measured `null`.
//!
//! Every list with a plural name, or with one value per sample, has as many entries as `times`,
//! oldest first.

use serde::{Deserialize, Serialize};

/// `GET /api/history?minutes=5&after=0`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct History {
    /// Start of geofront in milliseconds since 1970. Samples of another start must not be
    /// continued.
    pub started: u64,
    /// Interval between two samples.
    pub step_seconds: u64,
    /// Number of the newest sample, to be passed as `after` the next time; 0 before the first.
    pub sequence: u64,
    /// The end of each sample, in milliseconds since 1970.
    pub times: Vec<u64>,
    /// Classes with requests in these samples.
    pub classes: Vec<ClassHistory>,
    /// All classes together.
    pub all: LatencyHistory,
    /// Upstream answers with a status of 500 or more, or without an end.
    pub errors: Vec<f64>,
    /// Requests that geofront answered itself.
    pub refused: Vec<f64>,
    /// Further attempts on another upstream.
    pub retried: Vec<f64>,
    /// Clients that left before their answer was complete.
    pub aborted: Vec<f64>,
    /// The largest number of waiting requests.
    pub waiting: Vec<u32>,
    /// Waiting time of the requests that waited.
    pub waited_p50_ms: Vec<Option<f64>>,
    pub waited_p95_ms: Vec<Option<f64>>,
    /// The upstreams in the order of the configuration.
    pub upstreams: Vec<UpstreamHistory>,
    /// The last half minute.
    pub lately: Lately,
}

/// Times from arrival to end of requests.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct LatencyHistory {
    pub p50_ms: Vec<Option<f64>>,
    pub p95_ms: Vec<Option<f64>>,
    pub p99_ms: Vec<Option<f64>>,
}

/// One class.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ClassHistory {
    pub class: String,
    /// Requests that ended.
    pub rate: Vec<f64>,
    #[serde(flatten)]
    pub latency: LatencyHistory,
}

/// One upstream; `null` where it was not in the configuration.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct UpstreamHistory {
    pub upstream: String,
    /// Requests that it answered.
    pub rate: Vec<Option<f64>>,
    pub errors: Vec<Option<f64>>,
    /// The largest number of requests in flight.
    pub in_flight: Vec<Option<u32>>,
    /// Its limit on requests in flight; `null` also if unlimited.
    pub max_in_flight: Vec<Option<u32>>,
    /// New requests were sent to it.
    pub eligible: Vec<Option<bool>>,
    /// The last probes, oldest first; their number is independent of the samples.
    pub probes: Vec<Probe>,
}

/// A health probe.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Probe {
    pub ago_seconds: u64,
    /// One of the outcomes of `geofront_probes_total`.
    pub outcome: String,
    pub took_ms: u64,
}

/// Totals over the last `seconds`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Lately {
    pub seconds: f64,
    pub rate: f64,
    pub p50_ms: Option<f64>,
    pub p95_ms: Option<f64>,
    pub p99_ms: Option<f64>,
    pub errors: u64,
    pub refused: u64,
    /// The upstreams in the order of the configuration.
    pub upstreams: Vec<UpstreamLately>,
}

/// Answers of one upstream over the last `seconds`; times to the first byte.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UpstreamLately {
    pub upstream: String,
    pub rate: f64,
    pub errors: u64,
    pub p50_ms: Option<f64>,
    pub p95_ms: Option<f64>,
}
