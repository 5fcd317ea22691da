//! Catalog freshness as an operator sees it.

use std::time::Duration;

use crate::cluster::Cause;

/// Of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CatalogStatus {
    /// Changes noticed since the start; those that came together are one.
    pub epoch: u64,
    /// The last one that came to rest.
    pub settled: u64,
    /// The main's `updateSequence` when last read.
    pub number: Option<u64>,
    /// How long the main has not reported it although it was asked: whether its catalog changed
    /// since is not known. `None` while it does.
    pub silent_for: Option<Duration>,
    /// Since the last change was noticed.
    pub changed_ago: Option<Duration>,
    /// There are credentials to reload replicas with.
    pub can_reload: bool,
    /// Every replica that could serve is fresh and does.
    pub is_done: bool,
    /// Rolls are this front door's business: `catalog.roll`.
    pub rolls: bool,
    /// An operator paused rolls.
    pub is_paused: bool,
    /// Until the next roll may begin, after the last one.
    pub rests_for: Option<Duration>,
}

/// Of one upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamCatalog {
    /// It has the main's last change, as far as we know. The main always has.
    pub is_fresh: bool,
    /// The epoch whose catalog it holds; `None` if that is older than all we know of.
    pub epoch: Option<u64>,
    /// Its own `updateSequence` when last read.
    pub number: Option<u64>,
    pub doing: Freshening,
    /// It gets no requests for the sake of its reload.
    pub is_out: bool,
    /// `None` until one ended.
    pub last_reload: Option<LastReload>,
    /// Until the next try after a failed one.
    pub retry_in: Option<Duration>,
}

/// Where in its reload a replica is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshening {
    /// Nowhere.
    No,
    /// It is stale and waits for its turn.
    Waiting,
    /// It would be its turn, but nobody else could serve meanwhile.
    HeldBack,
    /// It waits for its requests to end.
    Draining,
    /// GeoServer reads the data directory.
    Reloading,
    /// It must draw the canary.
    Testing,
    /// Its last reload failed, and the next has not begun. Whether it serves meanwhile, its
    /// eligibility says.
    Failed,
}

impl Freshening {
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
pub struct LastReload {
    pub ago: Duration,
    /// From the request to the canary; of a failed one, to the failure.
    pub took: Duration,
    pub failure: Option<Cause>,
}
