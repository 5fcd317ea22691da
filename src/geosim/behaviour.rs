//! The fixed properties of an instance: its flavour, its capacity and its service times.
//!
//! The properties that may change while it runs (faults, speed) are in [`super::Controls`].

use std::sync::Arc;
use std::time::Duration;

use super::chance::ServiceTime;
use crate::ogc::PerClass;

/// Everything is instant and unlimited by default: tests state the one property they are about.
///
/// ```
/// # use geofront::geosim::{Behaviour, Capacity};
/// # use std::time::Duration;
/// let slow_to_reload = Behaviour { reload_time: Duration::from_millis(200), ..Behaviour::default() };
/// let four_at_a_time = Behaviour { capacity: Capacity::Slots(4), ..Behaviour::default() };
/// ```
#[derive(Clone, Debug)]
pub struct Behaviour {
    pub flavour: Flavour,
    pub capacity: Capacity,
    /// The work of one request, by class. A request may state its own: `&geosim_work=350ms`.
    pub service_time: PerClass<ServiceTime>,
    /// The work of rendering one metatile of 4 x 4 tiles; a tile that is in the cache costs its
    /// class's service time.
    pub metatile_time: ServiceTime,
    pub tile_store: TileStore,
    /// Work is done this many times as fast; 0.5 is a machine of half the speed.
    pub speed: f64,
    /// After a start, reload or reset the first requests find nothing cached.
    pub cold: Cold,
    /// Time for which a catalog reload reads the data directory. Meanwhile answers come from an
    /// empty catalog.
    pub reload_time: Duration,
    /// The duration of a start: the kernel accepts connections and the instance does not answer.
    pub startup_time: Duration,
    /// Time for which the web interface waits for a reload before it shows its busy page.
    pub ui_lock_wait: Duration,
    /// An idle connection is closed after this time, without notice.
    pub keep_alive: Duration,
    /// The answer with this number closes its connection, and announces it.
    pub keep_alive_requests: Option<u32>,
    /// Each connection is closed after its first answer, without notice, and so late that the close
    /// crosses the next request: that one is reset unread.
    pub closes_under_the_next: bool,
    /// The servlet container's threads: a request beyond them waits unread, whatever its class.
    pub threads: Option<usize>,
    /// The control-flow extension.
    pub control_flow: Option<ControlFlow>,
    /// GeoServer's version, as REST reports it.
    pub version: &'static str,
    /// Extensions beside the core modules, as REST reports them.
    pub extensions: &'static [&'static str],
    /// Java's version and its renderer, as REST reports them.
    pub java: (&'static str, &'static str),
    /// The clock is ahead by so many seconds, or behind if negative.
    pub clock_skew: i64,
    /// Maps and tiles are padded to this size, so that a bench can choose it. The PNG stays valid.
    pub image_bytes: Option<usize>,
    /// Tiles show the coastlines of the world, and layers other than the public one as lines over
    /// its land (for the demo).
    pub draws_world: bool,
    /// The red, green and blue of its maps and tiles; by default they depend on its name.
    pub tint: Option<[u8; 3]>,
    /// Scripts of other sites may read answers, as with the CORS filter of GeoServer's `web.xml`.
    pub allows_cross_origin: bool,
    /// Text is compressed for clients that accept gzip, as with the filter in GeoServer's
    /// `web.xml`.
    pub compresses_text: bool,
    /// Number of requests that the instance remembers for tests; 0 spares a bench the copying.
    pub remembered_requests: usize,
    /// The seed of all chance: service times and occasional faults.
    pub seed: u64,
    /// The instance is reached by https with these settings, as a servlet container with a
    /// certificate is.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// Answer `/geosim/**`, by which a person can break and heal the instance (for the demo).
    pub control_url: bool,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            flavour: Flavour::GeOrchestra,
            capacity: Capacity::Unlimited,
            service_time: PerClass::default(),
            metatile_time: ServiceTime::None,
            tile_store: TileStore::Shared,
            speed: 1.0,
            cold: Cold::default(),
            reload_time: Duration::ZERO,
            startup_time: Duration::ZERO,
            ui_lock_wait: DEFAULT_UI_LOCK_WAIT,
            keep_alive: DEFAULT_KEEP_ALIVE,
            keep_alive_requests: Some(DEFAULT_KEEP_ALIVE_REQUESTS),
            closes_under_the_next: false,
            threads: None,
            control_flow: None,
            version: "2.27.1",
            extensions: &["gs-csw", "gs-importer-rest", "gs-wps"],
            java: ("17.0.9", "PLATFORM DEFAULT"),
            clock_skew: 0,
            image_bytes: None,
            draws_world: false,
            tint: None,
            allows_cross_origin: false,
            compresses_text: true,
            remembered_requests: DEFAULT_REMEMBERED_REQUESTS,
            seed: 1,
            tls: None,
            control_url: false,
        }
    }
}

/// GeoServer's `CONFIGURATION_TRYLOCK_TIMEOUT`.
pub const DEFAULT_UI_LOCK_WAIT: Duration = Duration::from_secs(30);
/// Tomcat's `keepAliveTimeout` in geOrchestra's `server.xml`.
pub const DEFAULT_KEEP_ALIVE: Duration = Duration::from_secs(20);
/// Tomcat's `maxKeepAliveRequests`.
pub const DEFAULT_KEEP_ALIVE_REQUESTS: u32 = 100;
/// Requests remembered by an instance unless its behaviour sets another number.
pub const DEFAULT_REMEMBERED_REQUESTS: usize = 1000;

/// The effect of a catalog reload on `updateSequence`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavour {
    /// Stock GeoServer: the loader's own events inflate the number in memory, the file keeps its
    /// number.
    Vanilla,
    /// Stock GeoServer of the versions that also write the inflated update sequence back into
    /// `global.xml`. A watcher that reloads because the file changed reloads forever.
    VanillaRewriting,
    /// geOrchestra's patch: after a reload by REST the number in memory is the file's.
    GeOrchestra,
}

/// The treatment of concurrent requests. Only OWS and tile requests take capacity: GeoServer does
/// not control its REST and web interface either.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Capacity {
    /// Each takes its service time, whatever else goes on.
    #[default]
    Unlimited,
    /// So many are worked on at full speed, the others wait in order of arrival: a pool, or
    /// control-flow.
    Slots(usize),
    /// All share this many cores: Tomcat threads without control-flow.
    Shared { cores: f64 },
}

/// Where rendered tiles are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TileStore {
    /// The cache is on the shared disk: a tile rendered by one instance is a hit on all. Locks are
    /// not shared: two instances with the same request at the same time both render.
    Shared,
    /// Each instance has its own.
    PerInstance,
}

/// A cold start: the first `requests` of them take `factor` times their service time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cold {
    pub requests: u32,
    pub factor: f64,
}

impl Default for Cold {
    fn default() -> Self {
        Self {
            requests: 0,
            factor: 1.0,
        }
    }
}

/// The part of the control-flow extension that shows outside: the delay header, and giving up with
/// 503.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ControlFlow {
    /// Longest wait for capacity; geOrchestra's default has none.
    pub timeout: Option<Duration>,
}
