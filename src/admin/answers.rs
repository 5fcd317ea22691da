//! The JSON of the admin API, on which scripts, the status page and the command line rely.
//!
//! Fields may be added. None is renamed, removed or left out; an unknown value is `null`. Words are
//! those of the configuration and the metrics. Durations have the unit in the field's name.

use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use super::explain::{ExplainOrder, Explained, ExplainedFact};
pub use super::history::answer::{
    ClassHistory, History, Lately, LatencyHistory, Probe, UpstreamHistory, UpstreamLately,
};
pub use super::words::{Health, Mode, Phase, Role};
use crate::admission::{self, QueueStatus};
use crate::cluster::{self, CatalogStatus, Cause, ConditionStatus, UpstreamStatus};
use crate::config_reload::{self as reload, ReloadOutcome};
use crate::unix_time::rfc3339;

/// `GET /api/status`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The name of the cluster; left out where there is only one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    pub version: String,
    /// Revision of the configuration in force.
    pub revision: u64,
    /// A request would be served; the result of `/readyz`.
    pub ready: bool,
    /// Shutting down: running requests finish, new ones should go elsewhere.
    pub stopping: bool,
    pub uptime_seconds: u64,
    /// `null` until the first config reload.
    pub last_reload: Option<LastReload>,
    /// The last reload of the front file, where there are several clusters; left out where there is
    /// only one, and until the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub front_reload: Option<LastReload>,
    pub catalog: Catalog,
    /// Conditions that an operator should act on, while they hold.
    pub conditions: Vec<Condition>,
    pub queue: Queue,
    /// The layer that probes and canaries draw, if geofront chose it; `null` if one is configured,
    /// or none could be chosen.
    pub chosen_layer: Option<String>,
    pub upstreams: Vec<Upstream>,
}

/// `GET /api/clusters`, where a front file has several clusters.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Overview {
    pub version: String,
    /// Every cluster is ready; the result of `/readyz`.
    pub ready: bool,
    pub stopping: bool,
    pub uptime_seconds: u64,
    /// The last reload of the front file; `null` until the first.
    pub last_reload: Option<LastReload>,
    /// Conditions of the process, such as those of its certificates.
    pub conditions: Vec<Condition>,
    /// In the order of their names.
    pub clusters: Vec<ClusterOverview>,
}

/// One cluster of [`Overview`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClusterOverview {
    pub name: String,
    /// The hosts under which clients reach it.
    pub hosts: Vec<String>,
    /// The path below which clients reach it; empty for every path.
    pub path: String,
    /// Revision of its configuration in force.
    pub revision: u64,
    pub ready: bool,
    /// The reason why it is not ready.
    pub not_ready: Option<String>,
    /// The last reload of its configuration; `null` until the first.
    pub last_reload: Option<LastReload>,
    /// Number of its upstreams.
    pub upstreams: usize,
    /// Number of those that get requests.
    pub eligible: usize,
    pub in_flight: u32,
    pub waiting: usize,
    pub conditions: Vec<Condition>,
}

/// The outcome of the last config reload.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LastReload {
    pub ago_seconds: u64,
    #[serde(flatten)]
    pub outcome: Reload,
}

impl From<&reload::LastConfigReload> for LastReload {
    fn from(last: &reload::LastConfigReload) -> Self {
        Self {
            ago_seconds: last.at.elapsed().as_secs(),
            outcome: last.outcome.clone().into(),
        }
    }
}

/// A fact that an operator should act on.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Condition {
    /// One of a fixed set, such as `credentials-refused`.
    pub kind: String,
    /// The affected upstream; `null` if the condition concerns the whole cluster.
    pub upstream: Option<String>,
    /// The cause in one sentence.
    pub text: String,
    /// The remedy in one sentence.
    pub remedy: String,
    pub since_seconds: u64,
    /// The condition lasts until an operator acts.
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

/// Freshness of the catalog in the whole cluster.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Catalog {
    /// Number of changes noticed since geofront started; changes that came together count once.
    pub epoch: u64,
    /// The last change that has settled. Replicas are brought to it.
    pub settled: u64,
    /// The main's last known `updateSequence`.
    pub number: Option<u64>,
    /// Time since the main stopped reporting its update sequence; `null` while it reports.
    /// Meanwhile changes go unnoticed.
    pub silent_seconds: Option<u64>,
    /// Time since the last change was noticed; `null` before the first.
    pub changed_seconds: Option<u64>,
    /// Credentials for reloading replicas are configured. Without them stale replicas are reported
    /// but not reloaded.
    pub can_reload: bool,
    /// Every replica that is up has the last change, and serves.
    pub done: bool,
    /// This geofront reloads replicas: `catalog.roll`.
    pub rolls: bool,
    /// An operator paused rolls.
    pub paused: bool,
    /// Time until the next roll may begin; `null` unless rolls pause after the last one.
    pub rests_seconds: Option<u64>,
}

/// The requests that wait for a slot.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Queue {
    pub waiting: usize,
    /// Maximum number of waiting requests.
    pub most: usize,
    /// Waiting requests that got a slot, per second, over the last ten seconds.
    pub served_per_second: f64,
    /// The classes with waiting requests.
    pub classes: Vec<ClassWaiting>,
    /// The ten users with the most waiting requests.
    pub users: Vec<UserWaiting>,
}

/// The waiting requests of one class.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ClassWaiting {
    pub class: String,
    pub waiting: usize,
    /// Number of distinct users among them.
    pub users: usize,
    /// Waiting time of the first of them.
    pub longest_ms: u64,
}

/// The waiting requests of one user.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct UserWaiting {
    /// The name that a trusted proxy gave, or the address.
    pub user: String,
    pub waiting: usize,
    /// Waiting time of the first of them.
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
        let user = |waiting: &admission::UserWaiting| UserWaiting {
            user: waiting.user.clone(),
            waiting: waiting.waiting,
            longest_ms: whole_ms(waiting.longest),
        };
        Self {
            waiting: status.waiting(),
            most: status.max_waiting,
            served_per_second: (status.per_second * 10.0).round() / 10.0,
            classes: status.classes.iter().map(class).collect(),
            users: status.users.iter().map(user).collect(),
        }
    }
}

/// One upstream of [`Status`].
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Upstream {
    pub name: String,
    pub url: String,
    /// The resolved address; `null` while the host name does not resolve.
    pub address: Option<String>,
    pub role: Role,
    pub health: Health,
    /// An HTTP server answers there. If the upstream is `down` all the same, its answers to probes
    /// are wrong.
    pub reachable: bool,
    pub mode: Mode,
    /// The operator who ordered the mode; `null` if unknown or if the mode was never ordered.
    pub mode_by: Option<String>,
    /// Time of the order, RFC 3339, UTC.
    pub mode_at: Option<String>,
    /// New requests are sent to it.
    pub eligible: bool,
    /// Time for which it remains ejected because of failed requests.
    pub ejected_seconds: Option<u64>,
    /// After an ejection: one request at a time until one succeeds.
    pub half_open: bool,
    pub in_flight: u32,
    /// Current limit on requests in flight, with slow start applied; `null` if unlimited.
    pub max_in_flight: Option<u32>,
    /// The limit is learned, not configured.
    pub max_in_flight_learned: bool,
    /// Requests in flight that are neither of priority 0 nor administration, and their limit.
    pub slower_in_flight: u32,
    pub max_slower_in_flight: Option<u32>,
    /// Heavy requests in flight, and their limit.
    pub heavy_in_flight: u32,
    pub max_heavy_in_flight: Option<u32>,
    /// Recent waiting time inside the upstream, if its control-flow extension reports it.
    pub control_flow_delay_ms: Option<u64>,
    /// The configured weight.
    pub weight: u16,
    /// The weight in force: reduced during slow start, and while the upstream is slower than its
    /// peers.
    pub effective_weight: u16,
    /// Time since health, mode or ejection last changed.
    pub since_seconds: u64,
    /// Cause of the last change for the worse, or of the last failed probe.
    pub last_cause: Option<String>,
    pub last_probe_ms: Option<u64>,
    /// Requests that it answered since geofront started.
    pub requests_total: u64,
    /// Requests among them that ended with a status of 500 or more, or without an answer.
    pub errors_total: u64,
    pub catalog: UpstreamCatalog,
}

/// The catalog of one upstream.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct UpstreamCatalog {
    /// It has the main's last change, as far as is known. Always true for the main.
    pub fresh: bool,
    /// The epoch of its catalog; `null` if the catalog is older than every known epoch.
    pub epoch: Option<u64>,
    /// Its own last known `updateSequence`. The numbers of different GeoServers are not comparable.
    pub number: Option<u64>,
    /// The phase of its catalog reload.
    #[serde(rename = "doing")]
    pub phase: Phase,
    /// `null` until a reload ended.
    pub last_reload: Option<CatalogReload>,
    /// Time until the next attempt after a failed reload.
    pub retry_seconds: Option<u64>,
    /// Truncations that its own tile cache still needs (`catalog.tile_caches`).
    #[serde(default)]
    pub truncations_owed: usize,
    /// Cause of the last failed truncation, until one succeeds.
    #[serde(default)]
    pub truncation_failure: Option<String>,
}

/// The outcome of an upstream's last catalog reload.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CatalogReload {
    pub ago_seconds: u64,
    /// Time from the request to the canary, or to the failure.
    pub took_ms: u64,
    /// Cause of the failure; `null` on success.
    pub failure: Option<String>,
}

impl From<&CatalogStatus> for Catalog {
    fn from(status: &CatalogStatus) -> Self {
        Self {
            epoch: status.epoch,
            settled: status.settled,
            number: status.update_sequence,
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
        let last_reload = |last: &cluster::LastCatalogReload| CatalogReload {
            ago_seconds: last.ago.as_secs(),
            took_ms: whole_ms(last.took),
            failure: last.failure.as_ref().map(Cause::to_string),
        };
        Self {
            fresh: status.is_fresh,
            epoch: status.epoch,
            number: status.update_sequence,
            phase: status.phase.into(),
            last_reload: status.last_reload.as_ref().map(last_reload),
            retry_seconds: status.retry_in.map(|left| left.as_secs()),
            truncations_owed: status.tiles.owed,
            truncation_failure: status.tiles.failure.as_ref().map(Cause::to_string),
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

/// Body of `POST /api/upstreams/{name}/mode`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModeOrder {
    pub mode: Mode,
    /// Carry out the order even if no upstream serves requests then.
    #[serde(default)]
    pub force: bool,
    /// Name of the operator for status, log and events. The client's address is added to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
}

/// Answer to `POST /api/upstreams/{name}/mode`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModeOrdered {
    pub upstream: String,
    pub mode: Mode,
    /// Requests still in flight.
    pub in_flight: u32,
}

/// Answer to `POST /api/config/reload`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "lowercase")]
pub enum Reload {
    Applied {
        revision: u64,
        /// One line per change.
        changes: Vec<String>,
    },
    /// The file equals the configuration in force.
    Unchanged {
        revision: u64,
        /// The change before, which the file watch usually made; `null` if there was none since
        /// geofront started.
        #[serde(default)]
        last_change: Option<LastChange>,
    },
    /// The configuration in force stays.
    Refused { error: String },
}

/// The last change of the configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LastChange {
    pub ago_seconds: u64,
    /// One line per change.
    pub changes: Vec<String>,
}

impl From<reload::LastConfigChange> for LastChange {
    fn from(last: reload::LastConfigChange) -> Self {
        Self {
            ago_seconds: last.at.elapsed().as_secs(),
            changes: last.changes,
        }
    }
}

impl Reload {
    /// Adds the last change to the outcome of a reload that changed nothing.
    pub(super) fn after(self, change: Option<reload::LastConfigChange>) -> Self {
        match self {
            Self::Unchanged { revision, .. } => Self::Unchanged {
                revision,
                last_change: change.map(Into::into),
            },
            Self::Applied { .. } | Self::Refused { .. } => self,
        }
    }
}

impl From<ReloadOutcome> for Reload {
    fn from(outcome: ReloadOutcome) -> Self {
        match outcome {
            ReloadOutcome::Applied { revision, changes } => Self::Applied { revision, changes },
            ReloadOutcome::Unchanged { revision } => Self::Unchanged {
                revision,
                last_change: None,
            },
            ReloadOutcome::Refused { reason } => Self::Refused { error: reason },
        }
    }
}

/// Answer to `POST /api/catalog/sync`: every replica will be reloaded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SyncOrdered {
    /// The epoch that every replica will have.
    pub epoch: u64,
}

/// `GET /api/requests`: the last slow and failed requests, oldest first.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Requests {
    /// Number of the newest request, to be passed as `after` the next time; 0 before the first.
    pub sequence: u64,
    /// Slow or failed requests since geofront started that were not kept because there were too
    /// many. The access log has them.
    pub left_out: u64,
    /// The requests, each with the fields of the access log.
    pub requests: Vec<serde_json::Value>,
}

/// `GET /api/catalog/history`, and the answer to `POST /api/catalog/pause` and
/// `/api/catalog/resume`: the last rolls, the oldest first.
pub use crate::control::RollHistory as Rolls;

/// The body of every answer that is not a success.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Failure {
    pub error: String,
}

fn whole_ms(took: Duration) -> u64 {
    u64::try_from(took.as_millis()).unwrap_or(u64::MAX)
}
