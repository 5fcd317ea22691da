//! Turns text into a validated [`Config`], and compares configurations.
//!
//! A [`Config`] needs no further checks: every name is unique, every duration and size is in range,
//! exactly one upstream is the main. A name that does not resolve is not a mistake of the file: its
//! upstream has no address yet. `raw.rs` holds the file as written; `validate.rs` turns it into a
//! `Config` or reports all of its problems at once.

mod acme;
mod catalog;
mod change;
mod clients;
mod clusters;
mod coalesce;
mod compression;
pub(crate) mod control_flow;
mod cors;
mod count;
mod defaults;
mod diagnostics;
mod difference;
mod document;
mod effective;
mod environment;
mod geoserver;
mod include;
mod limits;
mod listen_address;
mod listener;
mod load;
mod loaded;
mod parts;
mod public_path;
mod raw;
mod routes;
mod short_processes;
mod side_by_side;
mod source;
mod syntax;
mod traces;
mod trust;
mod units;
mod upstream;
mod upstream_tls;
mod validate;
mod value;

use std::io;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::ogc::{PerClass, ProcessName};

pub use acme::{Acme, AcmeCertificate, AcmeChallenge};
pub use catalog::{Catalog, StalePolicy, TileCaches};
pub use change::{Change, RestartKey};
pub use clients::ClientLimits;
pub use clusters::{ClusterChoice, ClusterEntry, Clusters, HostPattern};
pub use coalesce::Coalesce;
pub use compression::{Coding, Compression};
pub use control_flow::{
    Addressed, ControlFlow, CountedBy, Limit, Operations, PriorityHeader, Rate, Rule,
};
pub use cors::{Cors, CorsHeader, CorsMethod, OriginPattern};
pub use defaults::MAX_FILE_BYTES;
pub use diagnostics::{Diagnostics, Finding};
pub use effective::Effective;
pub use environment::{Environment, MapEnvironment};
pub use geoserver::{Credentials, GeoServer, Secret};
pub use limits::{Effort, Limits, MaxInFlight, PerUser, Priority};
pub use listen_address::{ListenAddress, SocketMode, UNIX_PEER};
pub use listener::{CertificateTrouble, ClientCertificate, Listener, ListenerTls};
pub use loaded::Loaded;
pub use public_path::PublicPath;
pub use raw::known_keys;
pub use routes::{HeaderCondition, RouteAction, RouteConditions, RouteRule, Sender, UpstreamGroup};
pub use side_by_side::shared_upstreams;
pub use source::SourceLocation;
pub use traces::{Share, Traces};
pub use trust::{HeaderField, PeerTrust, PublicUrl, Trust};
pub use units::size_text;
pub use upstream::{Address, MainReads, Role, UpstreamConfig, UpstreamName, Weight};
pub use upstream_tls::UpstreamTls;

/// A complete, valid configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The name of the cluster, if the front file has `[clusters.NAME]`.
    pub cluster: Option<UpstreamName>,
    /// The clusters of a front file, which has no upstreams of its own. Empty in every other
    /// configuration.
    pub clusters: Clusters,
    /// Client addresses to listen on. A change needs a restart.
    pub listen: Vec<SocketAddr>,
    /// Listening addresses with TLS or other properties, in the order of the file.
    pub listeners: Vec<Listener>,
    /// The settings for orders of certificates; `None` if no listener has one by ACME.
    pub acme: Option<Arc<Acme>>,
    /// Address of status page, API and metrics. A change needs a restart.
    pub admin: SocketAddr,
    /// Required from every admin client when `admin` is not a loopback address.
    pub admin_token: Option<Secret>,
    /// The peers that may state a request's client address and user.
    pub trust: Trust,
    /// Worker threads; by default the number of cores. A change needs a restart.
    pub threads: NonZeroUsize,
    /// The upstreams in the order of the file.
    pub upstreams: Vec<UpstreamConfig>,
    pub geoserver: GeoServer,
    pub health: Health,
    pub catalog: Catalog,
    pub timeouts: Timeouts,
    pub retry: Retry,
    pub limits: Limits,
    pub clients: ClientLimits,
    pub cors: Cors,
    pub compression: Compression,
    pub classes: PerClass<ClassConfig>,
    /// The first that applies to a request decides.
    pub routes: Vec<RouteRule>,
    pub log: Log,
    /// `None` if nothing is traced.
    pub traces: Option<Arc<Traces>>,
    pub shutdown: Shutdown,
}

impl Config {
    /// The address of `upstream` after a look-up of its name. The address of another upstream is
    /// not used: requests in flight are counted by upstream, and one GeoServer under two names
    /// would get twice its share.
    pub fn address_of(&self, upstream: &UpstreamConfig, answer: io::Result<SocketAddr>) -> Address {
        let address = match answer {
            Ok(address) => Address::Known(address),
            Err(why) => {
                return Address::Unresolved(validate::cannot_resolve(&upstream.host, &why).into());
            }
        };
        match self
            .upstreams
            .iter()
            .find(|other| other.name != upstream.name && other.address == address)
        {
            Some(other) => Address::Unresolved(
                validate::same_address(&upstream.host, &address, &other.name).into(),
            ),
            None => address,
        }
    }

    /// The listener of this name.
    pub fn listener(&self, name: &str) -> Option<&Listener> {
        self.listeners.iter().find(|listener| listener.name == name)
    }
}

/// Active checks and passive ejection.
#[derive(Clone, Debug, PartialEq)]
pub struct Health {
    /// Interval between probes of an upstream that is up.
    pub interval: Duration,
    /// A probe that takes longer has failed.
    pub timeout: Duration,
    /// Number of successive passed probes that bring an upstream up.
    pub rise: u32,
    /// Number of successive failed probes that take an upstream down.
    pub fall: u32,
    /// Interval between probes of an upstream that is down or unknown.
    pub down_interval: Duration,
    /// Time over which a recovered upstream ramps up to its full share; zero for none.
    pub slow_start: Duration,
    /// A layer whose tiny GetMap must return an image. Without one, geofront chooses a layer; while
    /// there is none, probes request capabilities.
    pub probe_layer: Option<String>,
    /// Probes and canaries carry the credentials of `[geoserver]`; otherwise they are anonymous.
    pub authenticate: bool,
    /// Duration of the first passive ejection; doubles up to `ejection_max`.
    pub ejection: Duration,
    pub ejection_max: Duration,
    /// Number of consecutive failed requests that eject an upstream; 0 turns passive ejection off.
    pub ejection_failures: u32,
}

/// Timeouts that do not depend on the class of a request. The others are in [`ClassConfig`].
#[derive(Clone, Debug, PartialEq)]
pub struct Timeouts {
    /// Time to connect to an upstream, including TLS.
    pub connect: Duration,
    /// Time from the first byte of a connection or request to the end of the request head.
    pub client_header: Duration,
    /// Time between two parts of a request body.
    pub client_body: Duration,
    /// Time after which a client that accepts no data is disconnected.
    pub client_write: Duration,
    /// Time for which an idle client connection is kept.
    pub keep_alive: Duration,
    /// Time for which an idle upstream connection is kept: below Tomcat's 20 s in geOrchestra.
    pub upstream_idle: Duration,
}

/// The rules for repeating a request at another upstream.
#[derive(Clone, Debug, PartialEq)]
pub struct Retry {
    /// Number of attempts including the first; 1 turns retries off.
    pub attempts: u32,
    /// Time since the arrival of the request after which no new attempt begins.
    pub window: Duration,
    /// Maximum share of retries among the requests of the last ten seconds, in percent. A few are
    /// always allowed.
    pub budget_percent: u32,
}

/// The upstreams that serve a class.
#[derive(Clone, Debug, PartialEq)]
pub enum ServedBy {
    Replicas,
    Main,
    Upstream(UpstreamName),
}

/// The limits of one class.
#[derive(Clone, Debug, PartialEq)]
pub struct ClassConfig {
    /// Time until the answer begins, and between any two parts of it. The whole answer has no
    /// limit: a download that progresses continues.
    pub first_byte: Duration,
    /// Maximum size of a request body in bytes.
    pub max_body: u64,
    pub served_by: ServedBy,
    /// The priority of the class while slots are scarce.
    pub priority: Priority,
    /// Sends requests of one metatile to one upstream. `None` if affinity is off or the class has
    /// none.
    pub affinity: Option<Affinity>,
    /// Whether identical concurrent requests share one answer.
    pub coalesce: Coalesce,
    /// The processes that the operator has declared short, of the class of processes.
    pub short: Vec<ProcessName>,
}

/// The imbalance that affinity may cause between upstreams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Affinity {
    /// Maximum load of an upstream for affinity, in percent of the mean load.
    pub load_percent: u32,
}

/// The format of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    Logfmt,
    Json,
}

/// The destination of access log lines.
#[derive(Clone, Debug, PartialEq)]
pub enum AccessLogDestination {
    Off,
    Stdout,
    File(PathBuf),
}

/// The settings of the log.
#[derive(Clone, Debug, PartialEq)]
pub struct Log {
    pub format: LogFormat,
    pub access: AccessLogDestination,
    /// `error`, `warn`, `info`, `debug` or `trace`.
    pub level: LogLevel,
}

/// The verbosity of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

/// The settings of the shutdown.
#[derive(Clone, Debug, PartialEq)]
pub struct Shutdown {
    /// Time for which `/readyz` returns 503 before the listeners close, so that load balancers
    /// notice.
    pub delay: Duration,
    /// Requests that still run after this time are cut off.
    pub timeout: Duration,
}
