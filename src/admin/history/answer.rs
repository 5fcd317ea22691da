//! `GET /api/history`: the shape of the answer. Rates are per second, times in milliseconds; `null`
//! where nothing was measured.
//!
//! Every list named in plural or holding one value a sample has as many entries as `times`, oldest
//! first.

use serde::{Deserialize, Serialize};

/// `GET /api/history?minutes=5&after=0`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct History {
    /// When geofront started, in milliseconds since 1970: samples of another start are not
    /// continued.
    pub started: u64,
    /// Time from one sample to the next.
    pub step_seconds: u64,
    /// Number of the newest sample, to be given as `after` the next time; 0 before the first.
    pub sequence: u64,
    /// The end of each sample, in milliseconds since 1970.
    pub times: Vec<u64>,
    /// Classes with requests in these samples.
    pub classes: Vec<ClassHistory>,
    /// All classes together.
    pub all: LatencyHistory,
    /// Answers of upstreams with a status of 500 or more, or without an end.
    pub errors: Vec<f64>,
    /// Requests that geofront answered itself.
    pub refused: Vec<f64>,
    /// Further attempts on another upstream.
    pub retried: Vec<f64>,
    /// Clients that left before their answer was complete.
    pub aborted: Vec<f64>,
    /// The most requests seen waiting.
    pub waiting: Vec<u32>,
    /// Wait of the requests that waited.
    pub waited_p50_ms: Vec<Option<f64>>,
    pub waited_p95_ms: Vec<Option<f64>>,
    /// In the order of the configuration.
    pub upstreams: Vec<UpstreamHistory>,
    /// What happened lately, over the last half minute.
    pub lately: Lately,
}

/// Times from arrival to end.
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
    /// Requests it answered.
    pub rate: Vec<Option<f64>>,
    pub errors: Vec<Option<f64>>,
    /// The most requests seen in flight.
    pub in_flight: Vec<Option<u32>>,
    /// How many it gets at a time; `null` for no cap, too.
    pub max_in_flight: Vec<Option<u32>>,
    /// It is given requests.
    pub eligible: Vec<Option<bool>>,
    /// The last probes, oldest first: not one for each sample.
    pub probes: Vec<Probe>,
}

/// A health probe.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Probe {
    pub ago_seconds: u64,
    /// As in `geofront_probes_total`.
    pub outcome: String,
    pub took_ms: u64,
}

/// What happened over the last `seconds`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Lately {
    pub seconds: f64,
    pub rate: f64,
    pub p50_ms: Option<f64>,
    pub p95_ms: Option<f64>,
    pub p99_ms: Option<f64>,
    pub errors: u64,
    pub refused: u64,
    /// In the order of the configuration.
    pub upstreams: Vec<UpstreamLately>,
}

/// What one upstream answered over the last `seconds`; times to the first byte.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UpstreamLately {
    pub upstream: String,
    pub rate: f64,
    pub errors: u64,
    pub p50_ms: Option<f64>,
    pub p95_ms: Option<f64>,
}
