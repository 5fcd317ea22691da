//! The state of the cluster as shown to an operator.

use std::time::Duration;

use super::{
    CatalogStatus, Cause, ConditionStatus, HealthState, Mode, ModeOrigin, UpstreamCatalog,
};
use crate::config::{Address, Role, UpstreamName};

/// The state of the cluster.
#[derive(Clone, Debug)]
pub struct ClusterStatus {
    pub revision: u64,
    pub catalog: CatalogStatus,
    /// The layer that probes and canaries draw, if geofront chose one.
    pub chosen_layer: Option<String>,
    /// The conditions that an operator should act on.
    pub conditions: Vec<ConditionStatus>,
    pub upstreams: Vec<UpstreamStatus>,
}

/// The state of one upstream.
#[derive(Clone, Debug)]
pub struct UpstreamStatus {
    pub name: UpstreamName,
    pub url: String,
    pub address: Address,
    pub role: Role,
    pub health: HealthState,
    /// True if an HTTP server answers there. An upstream that is down nevertheless answers its
    /// probes wrongly, and gets only the requests that no other upstream can answer.
    pub is_reachable: bool,
    pub mode: Mode,
    /// The origin of the order for `mode`; `None` if no operator ordered it.
    pub mode_origin: Option<ModeOrigin>,
    /// Time until its ejection ends.
    pub ejected_for: Option<Duration>,
    /// True if the ejection is over and it gets one request at a time until one succeeds.
    pub half_open: bool,
    /// True if it gets requests now: up, ready, not ejected and not reloading its catalog.
    pub eligible: bool,
    pub in_flight: u32,
    /// Requests in flight that are neither of priority 0 nor administration.
    pub slower_in_flight: u32,
    pub heavy_in_flight: u32,
    /// Its concurrency limit now, reduced while it is ramping up; `None` for no cap.
    pub cap: Option<Cap>,
    /// Time for which requests lately waited inside it, where control-flow reports it.
    pub waited_inside: Option<Duration>,
    /// Weight as configured.
    pub weight: u16,
    /// Weight in force: reduced during slow start, and while the upstream is slower than its peers.
    pub effective_weight: u16,
    /// Time since health, mode or ejection last changed.
    pub since: Duration,
    /// Cause of the last change for the worse, or of the last failed probe.
    pub last_cause: Option<Cause>,
    /// Duration of the last probe.
    pub last_probe: Option<Duration>,
    pub catalog: UpstreamCatalog,
}

/// The concurrency limit of an upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cap {
    pub all: u32,
    /// Slots in it for requests that are not of priority 0.
    pub slower: u32,
    pub heavy: u32,
    pub is_learned: bool,
}
