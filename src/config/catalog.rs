//! How replicas are kept at the main's catalog.

use std::path::PathBuf;
use std::time::Duration;

/// Noticing changes of the main's catalog, and bringing them to the replicas.
#[derive(Clone, Debug, PartialEq)]
pub struct Catalog {
    /// Between readings of an upstream's `updateSequence`.
    pub poll: Duration,
    /// The data directory, if its `global.xml` is to be watched too.
    pub watch: Option<PathBuf>,
    /// A change is settled when nothing else changed for this long ...
    pub settle: Duration,
    /// ... or when it is this old.
    pub settle_max: Duration,
    /// A layer whose tiny GetMap must come back as an image before a replica serves again after its
    /// reload.
    pub canary_layer: Option<String>,
    /// This geofront reloads replicas. Where another one does, it only follows what it sees.
    pub roll: bool,
    /// At most this part of the time is spent in rolls, in percent: the next one begins so much
    /// after the last one's end.
    pub roll_share: u32,
    /// While replicas are out for their reload, a main that serves as backup takes reads like them.
    pub main_helps: bool,
    /// Replicas that are reloaded at the same time.
    pub parallel: u32,
    /// A replica is reloaded although requests still run on it after this long.
    pub drain_timeout: Duration,
    /// A reload that has not answered after this long has failed.
    pub reload_timeout: Duration,
    /// Also reload users, roles and filter chains, which a catalog reload leaves alone.
    pub reload_security: bool,
    /// When the data directory changed and not by the main, the main reloads it as well, before the
    /// replicas do.
    pub reload_main: bool,
    /// Also tell GeoWebCache to read its configuration again.
    pub reload_gwc: bool,
    pub stale: StalePolicy,
    /// Who changed the catalog reads from the main until the replicas have the change, at most this
    /// long; zero for never.
    pub read_your_writes: Duration,
    /// Where it is remembered across restarts which replica has which catalog.
    pub state_file: Option<PathBuf>,
}

/// What stale replicas are good for when no fresh one can take a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StalePolicy {
    /// They serve, except capabilities where the main can.
    Serve,
    /// The main serves; they do only where it cannot, and never capabilities.
    Avoid,
}
