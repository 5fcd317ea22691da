//! The cluster as an operator sees it.

use std::time::Duration;

use super::{
    CatalogStatus, Cause, ConditionStatus, HealthState, Mode, ModeOrigin, UpstreamCatalog,
};
use crate::config::{Address, Role, UpstreamName};

#[derive(Clone, Debug)]
pub struct ClusterStatus {
    pub revision: u64,
    pub catalog: CatalogStatus,
    /// The layer that probes and canaries draw, where geofront chose one.
    pub chosen_layer: Option<String>,
    /// What an operator should act on.
    pub conditions: Vec<ConditionStatus>,
    pub upstreams: Vec<UpstreamStatus>,
}

#[derive(Clone, Debug)]
pub struct UpstreamStatus {
    pub name: UpstreamName,
    pub url: String,
    pub address: Address,
    pub role: Role,
    pub health: HealthState,
    /// Something that speaks HTTP answers there. An upstream that is down nevertheless answers its
    /// probes wrongly, and gets only what no other can do.
    pub is_reachable: bool,
    pub mode: Mode,
    /// The origin of the order for `mode`; `None` if no operator ordered it.
    pub mode_origin: Option<ModeOrigin>,
    /// How much longer it is set aside.
    pub ejected_for: Option<Duration>,
    /// The ejection is over; one request at a time until one succeeds.
    pub half_open: bool,
    /// It gets requests now: up, ready, not ejected and not reloading its catalog.
    pub eligible: bool,
    pub in_flight: u32,
    /// Of them, those that are not of the quickest.
    pub slower_in_flight: u32,
    pub heavy_in_flight: u32,
    /// How many it gets at a time now, as far as it has ramped up; `None` for no cap.
    pub cap: Option<Cap>,
    /// How long requests lately waited inside it, where control-flow tells.
    pub waited_inside: Option<Duration>,
    /// As configured.
    pub weight: u16,
    /// With slow start applied.
    pub effective_weight: u16,
    /// Since health, mode or ejection last changed.
    pub since: Duration,
    /// Why it last changed for the worse, or the last failed probe's cause.
    pub last_cause: Option<Cause>,
    /// Time the last probe took.
    pub last_probe: Option<Duration>,
    pub catalog: UpstreamCatalog,
}

/// How many requests an upstream gets at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cap {
    pub all: u32,
    /// Of them, those that are not of the quickest.
    pub slower: u32,
    pub heavy: u32,
    pub is_learned: bool,
}
