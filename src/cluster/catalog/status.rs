//! Catalog freshness as shown to an operator.

use std::time::Duration;

use super::tile_cache::TileCacheStatus;
use crate::cluster::Cause;

/// The catalog state of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CatalogStatus {
    /// Changes noticed since the start. Changes that came together count as one.
    pub epoch: u64,
    /// The last change that came to rest.
    pub settled: u64,
    /// The main's `updateSequence` when last read.
    pub update_sequence: Option<u64>,
    /// Time for which the main has not reported its `updateSequence` although it was queried;
    /// `None` while it does. Changes since then are not known.
    pub silent_for: Option<Duration>,
    /// Time since the last change was noticed.
    pub changed_ago: Option<Duration>,
    /// True if there are credentials to reload replicas with.
    pub can_reload: bool,
    /// True if every replica that could serve does so and is fresh.
    pub is_done: bool,
    /// True if this geofront runs the rolls (`catalog.roll`).
    pub rolls: bool,
    /// True if an operator paused rolls.
    pub is_paused: bool,
    /// Time until the pause after the last roll ends and the next may begin.
    pub rests_for: Option<Duration>,
}

/// The catalog state of one upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamCatalog {
    /// True if it has the main's last change, as far as is known. The main always has.
    pub is_fresh: bool,
    /// Epoch of its catalog; `None` if that is older than every known epoch.
    pub epoch: Option<u64>,
    /// Its own `updateSequence` when last read.
    pub update_sequence: Option<u64>,
    pub phase: ReloadPhase,
    /// True if it gets no requests because of its reload.
    pub is_out: bool,
    /// The last reload; `None` until one ended.
    pub last_reload: Option<LastCatalogReload>,
    /// Time until the next attempt after a failed one.
    pub retry_in: Option<Duration>,
    /// Its tile cache, if it has one of its own.
    pub tiles: TileCacheStatus,
}

/// The phase of a replica's reload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReloadPhase {
    /// No reload is wanted.
    No,
    /// It is stale and waits for its turn.
    Waiting,
    /// It is its turn, but no other upstream could serve meanwhile.
    HeldBack,
    /// It waits for its requests to end.
    Draining,
    /// GeoServer reads the data directory.
    Reloading,
    /// It must draw the canary.
    Testing,
    /// Its last reload failed, and the next has not begun. Its eligibility shows whether it serves
    /// meanwhile.
    Failed,
}

impl ReloadPhase {
    /// Returns the word for it in answers and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::No => "no",
            Self::Waiting => "waiting",
            Self::HeldBack => "held-back",
            Self::Draining => "draining",
            Self::Reloading => "reloading",
            Self::Testing => "testing",
            Self::Failed => "failed",
        }
    }
}

/// The last catalog reload of a replica that ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastCatalogReload {
    pub ago: Duration,
    /// Time from the request to the canary, or to the failure.
    pub took: Duration,
    pub failure: Option<Cause>,
}
