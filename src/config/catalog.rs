//! The configuration of catalog freshness: how replicas follow the main's catalog.

use std::path::PathBuf;
use std::time::Duration;

/// The settings for noticing changes of the main's catalog and bringing them to the replicas.
#[derive(Clone, Debug, PartialEq)]
pub struct Catalog {
    /// Interval between two readings of an upstream's `updateSequence`.
    pub poll: Duration,
    /// The data directory, if its `global.xml` is watched too.
    pub watch: Option<PathBuf>,
    /// A change has settled when nothing else changed for this long.
    pub settle: Duration,
    /// A change has settled at this age, even if more changes follow.
    pub settle_max: Duration,
    /// A layer whose tiny GetMap must come back as an image before a replica serves again after its
    /// reload.
    pub canary_layer: Option<String>,
    /// Whether this geofront reloads replicas. If another geofront does, this one only follows.
    pub roll: bool,
    /// Maximum share of the time that is spent in rolls, in percent. It determines the pause after
    /// each roll.
    pub roll_share: u32,
    /// A main with `reads = "backup"` takes reads like a replica while replicas are being reloaded.
    pub main_helps: bool,
    /// Number of replicas that are reloaded at the same time.
    pub parallel: u32,
    /// A replica is reloaded after this long even if requests still run on it.
    pub drain_timeout: Duration,
    /// A reload without an answer after this long has failed.
    pub reload_timeout: Duration,
    /// Also reload users, roles and filter chains, which a catalog reload does not touch.
    pub reload_security: bool,
    /// If the data directory changed but not through the main, reload the main before the replicas.
    pub reload_main: bool,
    /// Also reload GeoWebCache's configuration.
    pub reload_gwc: bool,
    pub tile_caches: TileCaches,
    pub stale: StalePolicy,
    /// A user who changed the catalog reads from the main until the replicas have the change, at
    /// most this long; zero for never.
    pub read_your_writes: Duration,
    /// The file that keeps modes and catalogs of the upstreams across restarts.
    pub state_file: Option<PathBuf>,
}

/// Where GeoServers keep the tiles of GeoWebCache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TileCaches {
    /// All of them in one place. A tile that one GeoServer drops is gone for all.
    Shared,
    /// Each in a place of its own. Truncations are repeated on each.
    Own,
}

/// The use of stale replicas when no fresh replica can take a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StalePolicy {
    /// Stale replicas serve, except for capabilities if the main can serve them.
    Serve,
    /// The main serves. Stale replicas serve only if the main cannot, and never capabilities.
    Avoid,
}
