//! What the admin API answers: shapes that scripts, the status page and our own command line rely on.
//!
//! Fields may be added; none is renamed or removed, and none is ever left out (what is not known is `null`). Words are those of
//! the configuration and the metrics, durations are in the unit of the field's name.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::cluster::{Cause, Mode, UpstreamStatus};
use crate::config::Role;

/// `GET /api/status`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    pub version: String,
    /// Number of the configuration in force.
    pub revision: u64,
    /// A request would be served: what `/readyz` says.
    pub ready: bool,
    /// Shutting down: running requests finish, new ones should go elsewhere.
    pub stopping: bool,
    pub uptime_seconds: u64,
    /// `null` until the first config reload.
    pub last_reload: Option<LastReload>,
    /// In the order of the configuration.
    pub upstreams: Vec<Upstream>,
}

/// How the last config reload ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LastReload {
    pub ago_seconds: u64,
    #[serde(flatten)]
    pub outcome: Reload,
}

/// One upstream of [`Status`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Upstream {
    pub name: String,
    pub url: String,
    pub address: String,
    /// `main` or `replica`.
    pub role: String,
    /// `unknown`, `up` or `down`.
    pub health: String,
    /// `ready`, `drain` or `maintenance`.
    pub mode: String,
    /// It is given requests.
    pub eligible: bool,
    /// How much longer it is set aside for failing requests.
    pub ejected_seconds: Option<u64>,
    /// Back from being set aside: one request at a time until one succeeds.
    pub half_open: bool,
    pub in_flight: u32,
    /// As configured.
    pub weight: u16,
    /// With slow start applied.
    pub effective_weight: u16,
    /// Since health, mode or ejection last changed.
    pub since_seconds: u64,
    /// Why it changed for the worse, or why the last probe failed.
    pub last_cause: Option<String>,
    pub last_probe_ms: Option<u64>,
    /// Requests it answered since geofront started.
    pub requests_total: u64,
    /// Those among them that ended with a status of 500 or more, or without an answer.
    pub errors_total: u64,
}

impl Upstream {
    pub(super) fn new(status: &UpstreamStatus, requests_total: u64, errors_total: u64) -> Self {
        Self {
            name: status.name.to_string(),
            url: status.url.clone(),
            address: status.address.to_string(),
            role: role(status.role).to_owned(),
            health: status.health.to_string(),
            mode: status.mode.to_string(),
            eligible: status.eligible,
            ejected_seconds: status.ejected_for.map(|left| left.as_secs()),
            half_open: status.half_open,
            in_flight: status.in_flight,
            weight: status.weight,
            effective_weight: status.effective_weight,
            since_seconds: status.since.as_secs(),
            last_cause: status.last_cause.as_ref().map(Cause::to_string),
            last_probe_ms: status.last_probe.map(whole_ms),
            requests_total,
            errors_total,
        }
    }
}

/// `POST /api/upstreams/{name}/mode` asks this.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModeOrder {
    pub mode: ModeWord,
    /// Even if nothing serves requests then.
    #[serde(default)]
    pub force: bool,
}

/// `POST /api/upstreams/{name}/mode` answers this.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModeOrdered {
    pub upstream: String,
    pub mode: ModeWord,
    /// What it is still working on.
    pub in_flight: u32,
}

/// A mode as a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ModeWord {
    Ready,
    Drain,
    Maintenance,
}

impl From<ModeWord> for Mode {
    fn from(word: ModeWord) -> Self {
        match word {
            ModeWord::Ready => Self::Ready,
            ModeWord::Drain => Self::Drain,
            ModeWord::Maintenance => Self::Maintenance,
        }
    }
}

/// `POST /api/config/reload`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "lowercase")]
pub enum Reload {
    Applied {
        revision: u64,
        /// One line per change.
        changes: Vec<String>,
    },
    /// The file says what is in force already.
    Unchanged { revision: u64 },
    /// The configuration in force stays.
    Refused { error: String },
}

/// Every answer that is not a success.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Failure {
    pub error: String,
}

const fn role(role: Role) -> &'static str {
    match role {
        Role::Main => "main",
        Role::Replica => "replica",
    }
}

fn whole_ms(took: Duration) -> u64 {
    u64::try_from(took.as_millis()).unwrap_or(u64::MAX)
}
