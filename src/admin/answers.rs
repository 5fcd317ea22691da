//! What the admin API answers: shapes that scripts, the status page and our own command line rely
//! on.
//!
//! Fields may be added; none is renamed or removed, and none is ever left out (what is not known is
//! `null`). Words are those of the configuration and the metrics, durations are in the unit of the
//! field's name.

use std::time::{Duration, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

pub use super::history::answer::{
    ClassHistory, History, Lately, LatencyHistory, Probe, UpstreamHistory, UpstreamLately,
};
pub use super::words::{Health, Mode, Phase, Role};
use crate::admission::{self, QueueStatus};
use crate::cluster::{self, CatalogStatus, Cause, ConditionStatus, UpstreamStatus};
use crate::config_reload::{self as reload, ReloadOutcome};

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
    pub catalog: Catalog,
    /// What an operator should act on, each while it holds.
    pub conditions: Vec<Condition>,
    pub queue: Queue,
    /// In the order of the configuration. The layer that probes and canaries draw, where geofront
    /// chose one; `null` where one is configured, or none could be chosen.
    pub chosen_layer: Option<String>,
    pub upstreams: Vec<Upstream>,
}

/// How the last config reload ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LastReload {
    pub ago_seconds: u64,
    #[serde(flatten)]
    pub outcome: Reload,
}

impl From<&reload::LastReload> for LastReload {
    fn from(last: &reload::LastReload) -> Self {
        Self {
            ago_seconds: last.at.elapsed().as_secs(),
            outcome: last.outcome.clone().into(),
        }
    }
}

/// Something that an operator should act on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Condition {
    /// One of a few, such as `credentials-refused`.
    pub kind: String,
    /// The upstream it is about; `null` if it concerns the whole cluster.
    pub upstream: Option<String>,
    /// One sentence with the cause.
    pub text: String,
    /// One sentence with what to do.
    pub remedy: String,
    pub since_seconds: u64,
    /// It stays until an operator does something.
    pub needs_operator: bool,
}

impl From<&ConditionStatus> for Condition {
    fn from(status: &ConditionStatus) -> Self {
        let condition = &status.condition;
        Self {
            kind: condition.kind().to_owned(),
            upstream: condition.upstream().map(ToString::to_string),
            text: condition.to_string(),
            remedy: condition.remedy().to_owned(),
            since_seconds: status.held_for.as_secs(),
            needs_operator: condition.needs_operator(),
        }
    }
}

/// Whether the main's last change is everywhere.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Catalog {
    /// Changes noticed since geofront started; those that came together are one.
    pub epoch: u64,
    /// The last one that came to rest: what the replicas are brought to.
    pub settled: u64,
    /// The main's `updateSequence` when last read.
    pub number: Option<u64>,
    /// How long the main has not reported it although it was asked; `null` while it does. Whether
    /// its catalog changed meanwhile is not known.
    pub silent_seconds: Option<u64>,
    /// Since the last change was noticed; `null` before the first.
    pub changed_seconds: Option<u64>,
    /// There are credentials to reload replicas with. Without them freshness is reported, not
    /// repaired.
    pub can_reload: bool,
    /// Every replica that is up has the last change, and serves.
    pub done: bool,
    /// This geofront reloads replicas: `catalog.roll`.
    pub rolls: bool,
    /// An operator paused rolls.
    pub paused: bool,
    /// Until the next roll may begin; `null` outside of the pause after the last one.
    pub rests_seconds: Option<u64>,
}

/// Who waits for a place.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Queue {
    pub waiting: usize,
    /// How many may wait.
    pub most: usize,
    /// How many got a place after a wait, over the last ten seconds.
    pub served_per_second: f64,
    /// Those of which somebody waits.
    pub classes: Vec<ClassWaiting>,
}

/// Those of one class who wait.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClassWaiting {
    pub class: String,
    pub waiting: usize,
    /// Different users among them.
    pub users: usize,
    /// How long the first of them has waited.
    pub longest_ms: u64,
}

impl From<&QueueStatus> for Queue {
    fn from(status: &QueueStatus) -> Self {
        let class = |waiting: &admission::ClassWaiting| ClassWaiting {
            class: waiting.class.to_string(),
            waiting: waiting.waiting,
            users: waiting.users,
            longest_ms: whole_ms(waiting.longest),
        };
        Self {
            waiting: status.waiting(),
            most: status.most,
            served_per_second: (status.per_second * 10.0).round() / 10.0,
            classes: status.classes.iter().map(class).collect(),
        }
    }
}

/// One upstream of [`Status`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Upstream {
    pub name: String,
    pub url: String,
    /// `null` while the name of its host does not resolve.
    pub address: Option<String>,
    pub role: Role,
    pub health: Health,
    /// Something that speaks HTTP answers there. One that is `down` all the same answers its probes
    /// wrongly.
    pub reachable: bool,
    pub mode: Mode,
    /// The operator who ordered the mode, as far as known; `null` if none did.
    pub mode_by: Option<String>,
    /// RFC 3339, UTC.
    pub mode_at: Option<String>,
    /// It is given requests.
    pub eligible: bool,
    /// How much longer it is set aside for failing requests.
    pub ejected_seconds: Option<u64>,
    /// Back from being set aside: one request at a time until one succeeds.
    pub half_open: bool,
    pub in_flight: u32,
    /// How many it gets at a time now, slow start applied; `null` for no cap.
    pub max_in_flight: Option<u32>,
    /// That was learned, not configured.
    pub max_in_flight_learned: bool,
    /// Those in flight that are not of the quickest, and how many of them it gets at a time.
    pub slower_in_flight: u32,
    pub max_slower_in_flight: Option<u32>,
    /// Heavy ones among those, and how many of them it gets at a time.
    pub heavy_in_flight: u32,
    pub max_heavy_in_flight: Option<u32>,
    /// How long requests lately waited inside it, where its control-flow extension tells.
    pub control_flow_delay_ms: Option<u64>,
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
    pub catalog: UpstreamCatalog,
}

/// The catalog of one upstream.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UpstreamCatalog {
    /// It has the main's last change, as far as is known. The main always has.
    pub fresh: bool,
    /// The epoch whose catalog it holds; `null` if that is older than all that is known of.
    pub epoch: Option<u64>,
    /// Its own `updateSequence` when last read. It says nothing about that of another GeoServer.
    pub number: Option<u64>,
    /// The phase of its catalog reload.
    #[serde(rename = "doing")]
    pub phase: Phase,
    /// `null` until one ended.
    pub last_reload: Option<CatalogReload>,
    /// Until the next try after a failed reload.
    pub retry_seconds: Option<u64>,
}

/// How the last catalog reload of an upstream ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CatalogReload {
    pub ago_seconds: u64,
    /// From the request to the canary; of a failed one, to the failure.
    pub took_ms: u64,
    /// Why it failed; `null` if it did not.
    pub failure: Option<String>,
}

impl From<&CatalogStatus> for Catalog {
    fn from(status: &CatalogStatus) -> Self {
        Self {
            epoch: status.epoch,
            settled: status.settled,
            number: status.number,
            silent_seconds: status.silent_for.map(|silent| silent.as_secs()),
            changed_seconds: status.changed_ago.map(|ago| ago.as_secs()),
            can_reload: status.can_reload,
            done: status.is_done,
            rolls: status.rolls,
            paused: status.is_paused,
            rests_seconds: status.rests_for.map(|left| left.as_secs()),
        }
    }
}

impl From<&cluster::UpstreamCatalog> for UpstreamCatalog {
    fn from(status: &cluster::UpstreamCatalog) -> Self {
        let last_reload = |last: &cluster::LastReload| CatalogReload {
            ago_seconds: last.ago.as_secs(),
            took_ms: whole_ms(last.took),
            failure: last.failure.as_ref().map(Cause::to_string),
        };
        Self {
            fresh: status.is_fresh,
            epoch: status.epoch,
            number: status.number,
            phase: status.doing.into(),
            last_reload: status.last_reload.as_ref().map(last_reload),
            retry_seconds: status.retry_in.map(|left| left.as_secs()),
        }
    }
}

impl Upstream {
    pub(super) fn new(status: &UpstreamStatus, requests_total: u64, errors_total: u64) -> Self {
        Self {
            name: status.name.to_string(),
            url: status.url.clone(),
            address: status.address.known().map(|address| address.to_string()),
            role: status.role.into(),
            health: status.health.into(),
            reachable: status.is_reachable,
            mode: status.mode.into(),
            mode_by: status.mode_origin.as_ref().map(|origin| origin.by.clone()),
            mode_at: status.mode_origin.as_ref().map(|origin| rfc3339(origin.at)),
            eligible: status.eligible,
            ejected_seconds: status.ejected_for.map(|left| left.as_secs()),
            half_open: status.half_open,
            in_flight: status.in_flight,
            max_in_flight: status.cap.map(|cap| cap.all),
            max_in_flight_learned: status.cap.is_some_and(|cap| cap.is_learned),
            slower_in_flight: status.slower_in_flight,
            max_slower_in_flight: status.cap.map(|cap| cap.slower),
            heavy_in_flight: status.heavy_in_flight,
            max_heavy_in_flight: status.cap.map(|cap| cap.heavy),
            control_flow_delay_ms: status.waited_inside.map(whole_ms),
            weight: status.weight,
            effective_weight: status.effective_weight,
            since_seconds: status.since.as_secs(),
            last_cause: status.last_cause.as_ref().map(Cause::to_string),
            last_probe_ms: status.last_probe.map(whole_ms),
            requests_total,
            errors_total,
            catalog: (&status.catalog).into(),
        }
    }
}

/// `POST /api/upstreams/{name}/mode` asks this.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModeOrder {
    pub mode: Mode,
    /// Even if nothing serves requests then.
    #[serde(default)]
    pub force: bool,
    /// The operator's name, for status, log and events; the client's address is added to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
}

/// `POST /api/upstreams/{name}/mode` answers this.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModeOrdered {
    pub upstream: String,
    pub mode: Mode,
    /// What it is still working on.
    pub in_flight: u32,
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

impl From<ReloadOutcome> for Reload {
    fn from(outcome: ReloadOutcome) -> Self {
        match outcome {
            ReloadOutcome::Applied { revision, changes } => Self::Applied { revision, changes },
            ReloadOutcome::Unchanged { revision } => Self::Unchanged { revision },
            ReloadOutcome::Refused { reason } => Self::Refused { error: reason },
        }
    }
}

/// `POST /api/catalog/sync`: every replica is reloaded from now on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SyncOrdered {
    /// Which every replica will have.
    pub epoch: u64,
}

/// `GET /api/requests`: the last slow and failed requests, oldest first.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Requests {
    /// Number of the newest, to be given as `after` the next time; 0 before the first.
    pub sequence: u64,
    /// Slow or failed requests since geofront started that were too many to be kept: the access log
    /// has them.
    pub left_out: u64,
    /// Each with the fields of the access log.
    pub requests: Vec<serde_json::Value>,
}

/// `GET /api/catalog/history`, and the answer to `POST /api/catalog/pause` and
/// `/api/catalog/resume`: the last rolls, the oldest first.
pub use crate::control::RollHistory as Rolls;

/// Every answer that is not a success.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Failure {
    pub error: String,
}

fn rfc3339(unix_seconds: u64) -> String {
    humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(unix_seconds)).to_string()
}

fn whole_ms(took: Duration) -> u64 {
    u64::try_from(took.as_millis()).unwrap_or(u64::MAX)
}
