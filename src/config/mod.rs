//! Text -> validated [`Config`] -> what changed.
//!
//! Nothing in a [`Config`] is left to check: every name is unique, every duration and size is in
//! range, exactly one upstream is the main one. A name that does not resolve is no mistake of the
//! file: its upstream has no address yet. The file as written lives in `raw.rs`; `validate.rs`
//! turns it into a `Config` or into all of its problems at once.

mod catalog;
mod change;
mod coalesce;
pub(crate) mod control_flow;
mod count;
mod defaults;
mod diagnostics;
mod document;
mod effective;
mod environment;
mod geoserver;
mod include;
mod limits;
mod load;
mod raw;
mod source;
mod syntax;
mod units;
mod upstream;
mod validate;
mod value;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use crate::ogc::PerClass;

pub use catalog::{Catalog, StalePolicy};
pub use change::Change;
pub use coalesce::Coalesce;
pub use control_flow::{
    Addressed, ControlFlow, Limit, Operations, PriorityHeader, Rate, Rule, Whose,
};
pub use diagnostics::{Diagnostics, Finding};
pub use effective::Effective;
pub use environment::{Environment, MapEnvironment};
pub use geoserver::{Credentials, GeoServer, Secret};
pub use limits::{Limits, MaxInFlight, PerUser, Priority};
pub use load::Loaded;
pub use raw::known_keys;
pub use source::Place;
pub use upstream::{Address, MainReads, Role, UpstreamConfig, UpstreamName, Weight};

/// The whole configuration, valid.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Where clients come in. Needs a restart to change.
    pub listen: Vec<SocketAddr>,
    /// Status page, API, metrics. Needs a restart to change.
    pub admin: SocketAddr,
    /// Required from every admin client when `admin` is not a loopback address.
    pub admin_token: Option<Secret>,
    /// Only these peers may send `sec-*`, `imp-*` and `X-Forwarded-*`.
    pub trusted_proxies: Vec<IpNet>,
    /// Worker threads; the cores by default. Needs a restart to change.
    pub threads: NonZeroUsize,
    /// In the order of the file.
    pub upstreams: Vec<UpstreamConfig>,
    pub geoserver: GeoServer,
    pub health: Health,
    pub catalog: Catalog,
    pub timeouts: Timeouts,
    pub retry: Retry,
    pub limits: Limits,
    pub classes: PerClass<ClassConfig>,
    pub log: Log,
    pub shutdown: Shutdown,
}

impl Config {
    /// The address of `upstream` after its name was looked up. That of another upstream is none:
    /// requests in flight are counted by upstream, and one GeoServer under two names would get
    /// twice its share.
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

    /// Whether `peer` may vouch for a client's identity and address.
    pub fn trusts(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        self.trusted_proxies.iter().any(|net| net.contains(&peer))
    }
}

/// Active checks and passive ejection.
#[derive(Clone, Debug, PartialEq)]
pub struct Health {
    /// Between probes of an upstream that is up.
    pub interval: Duration,
    /// A probe that takes longer has failed.
    pub timeout: Duration,
    /// Passed probes in a row that bring an upstream up.
    pub rise: u32,
    /// Failed probes in a row that take it down.
    pub fall: u32,
    /// Between probes of an upstream that is down or unknown.
    pub down_interval: Duration,
    /// How long an upstream that came back ramps up to its full share; zero for none.
    pub slow_start: Duration,
    /// A layer whose tiny GetMap must come back as an image; capabilities are probed without it.
    pub probe_layer: Option<String>,
    /// Probes and canaries carry the credentials of `[geoserver]`; anonymous without it.
    pub authenticate: bool,
    /// How long the first passive ejection lasts; doubles up to `ejection_max`.
    pub ejection: Duration,
    pub ejection_max: Duration,
    /// Failures in a row seen on requests that eject; 0 turns passive ejection off.
    pub ejection_failures: u32,
}

/// Limits that do not depend on a request's class. A class's own limit is in [`ClassConfig`].
#[derive(Clone, Debug, PartialEq)]
pub struct Timeouts {
    /// TCP (and TLS) to an upstream.
    pub connect: Duration,
    /// From the first byte of a connection, or of a request on it, to the whole request head.
    pub client_header: Duration,
    /// Between two parts of a request body.
    pub client_body: Duration,
    /// A client that takes nothing for this long is gone.
    pub client_write: Duration,
    /// An idle client connection is kept this long.
    pub keep_alive: Duration,
    /// An idle upstream connection is kept this long: below Tomcat's 20 s in geOrchestra.
    pub upstream_idle: Duration,
}

/// Another try on another upstream.
#[derive(Clone, Debug, PartialEq)]
pub struct Retry {
    /// Tries in all, the first included; 1 turns retries off.
    pub attempts: u32,
    /// No new try after this long since the request arrived.
    pub window: Duration,
    /// Retries may be this share of requests, in percent, over the last ten seconds (and always a
    /// few).
    pub budget_percent: u32,
}

/// Who serves a class.
#[derive(Clone, Debug, PartialEq)]
pub enum ServedBy {
    Replicas,
    Main,
    Upstream(UpstreamName),
}

/// One class's limits.
#[derive(Clone, Debug, PartialEq)]
pub struct ClassConfig {
    /// Until the answer begins, and then between any two parts of it. There is no limit on the
    /// whole: downloads that progress go on.
    pub first_byte: Duration,
    /// Bytes.
    pub max_body: u64,
    pub served_by: ServedBy,
    /// How much it matters when places are scarce.
    pub priority: Priority,
    /// Requests that belong together go to one upstream; `None` if they do not, or if the class has
    /// none such.
    pub affinity: Option<Affinity>,
    /// Whether identical requests at the same time get one answer.
    pub coalesce: Coalesce,
}

/// How far upstreams may differ for the sake of requests that belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Affinity {
    /// The most that one of them may have, in percent of the mean.
    pub load_percent: u32,
}

/// How lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    Logfmt,
    Json,
}

/// Where access lines go.
#[derive(Clone, Debug, PartialEq)]
pub enum AccessLog {
    Off,
    Stdout,
    File(PathBuf),
}

#[derive(Clone, Debug, PartialEq)]
pub struct Log {
    pub format: LogFormat,
    pub access: AccessLog,
    /// `error`, `warn`, `info`, `debug` or `trace`.
    pub level: LogLevel,
}

/// How much the log says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Shutdown {
    /// How long `/readyz` says 503 before the listeners close, for load balancers to notice.
    pub delay: Duration,
    /// Requests still running after this are cut off.
    pub timeout: Duration,
}
