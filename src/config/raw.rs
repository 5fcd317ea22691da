//! The file as written: its tables, their keys and their types.
//!
//! Each table is declared once. Its struct, its list of keys and its reader come from that
//! declaration, so they cannot disagree. The TOML tree is read here instead of with serde, which
//! stops at the first mistake.

use std::net::SocketAddr;
use std::time::Duration;

use ipnet::IpNet;
use toml::Spanned;
use toml::de::DeValue;

use super::count::Count;
use super::source::At;
use super::units::Size;
use super::value::{FromToml, RawAttributes, RawHeaders, Reading, Written};
use super::{
    AccessLogDestination, AcmeChallenge, ClientCertificate, Coalesce, Coding, CorsHeader,
    CorsMethod, HeaderField, ListenAddress, LogFormat, LogLevel, MainReads, OriginPattern, Role,
    Share, SocketMode, StalePolicy, TileCaches,
};
use crate::ogc::RequestClass;

/// The value of one key, if there is one.
#[derive(Clone, Debug, Default)]
pub(super) enum Slot<T> {
    #[default]
    Absent,
    /// There was a wrong value, and the problem is reported.
    Broken,
    Given(Written<T>),
}

impl<T> Slot<T> {
    pub(super) fn given(&self) -> Option<&Written<T>> {
        match self {
            Self::Given(written) => Some(written),
            Self::Absent | Self::Broken => None,
        }
    }

    pub(super) fn is_absent(&self) -> bool {
        matches!(self, Self::Absent)
    }

    pub(super) fn at(&self) -> Option<At> {
        self.given().map(|written| written.at)
    }

    fn read(value: &Spanned<DeValue<'_>>, name: &str, reading: &mut Reading<'_>) -> Self
    where
        T: FromToml,
    {
        match T::from_toml(value, name, reading) {
            Some(read) => Self::Given(Written {
                value: read,
                at: reading.at(value),
            }),
            None => Self::Broken,
        }
    }
}

/// A table with a known set of keys.
pub(super) trait Table: Default {
    const KEYS: &'static [&'static str];

    /// Reads the value of `key`, whose full name is `name`. Returns `false` if the table has no
    /// such key.
    fn read(
        &mut self,
        key: &str,
        name: &str,
        value: &Spanned<DeValue<'_>>,
        reading: &mut Reading<'_>,
    ) -> bool;

    /// The keys that are written, with their places.
    fn places(&self) -> Vec<(&'static str, At)>;
}

macro_rules! table {
    ($name:ident { $($key:ident: $type:ty),+ $(,)? }) => {
        #[derive(Debug, Default)]
        pub(super) struct $name {
            $(pub(super) $key: Slot<$type>,)+
        }

        impl Table for $name {
            const KEYS: &'static [&'static str] = &[$(stringify!($key)),+];

            fn read(
                &mut self,
                key: &str,
                name: &str,
                value: &Spanned<DeValue<'_>>,
                reading: &mut Reading<'_>,
            ) -> bool {
                match key {
                    $(stringify!($key) => self.$key = Slot::read(value, name, reading),)+
                    _ => return false,
                }
                true
            }

            fn places(&self) -> Vec<(&'static str, At)> {
                let places = [$((stringify!($key), self.$key.at())),+];
                places
                    .into_iter()
                    .filter_map(|(key, at)| Some((key, at?)))
                    .collect()
            }
        }
    };
}

table!(RawTop {
    listen: Vec<Written<SocketAddr>>,
    admin: SocketAddr,
    admin_token_file: String,
    admin_token_env: String,
    include: Vec<Written<String>>,
    trusted_proxies: Vec<Written<IpNet>>,
    trusted_identity: Vec<Written<IpNet>>,
    identity_headers: Vec<Written<HeaderField>>,
    public_url: String,
    threads: i64,
});

table!(RawCluster {
    file: String,
    hosts: Vec<Written<String>>,
    path: String,
});

table!(RawListener {
    address: ListenAddress,
    socket_mode: SocketMode,
    cert: Vec<Written<String>>,
    key: Vec<Written<String>>,
    acme: Vec<Written<String>>,
    client_ca: String,
    client_certificate: ClientCertificate,
    http2: bool,
    hsts: Duration,
    https_redirect: i64,
    proxy_protocol_from: Vec<Written<IpNet>>,
});

table!(RawAcme {
    contact: String,
    directory: String,
    ca: String,
    challenge: AcmeChallenge,
    folder: String,
});

table!(RawUpstream {
    url: String,
    role: Role,
    weight: i64,
    reads: MainReads,
    max_in_flight: Count,
    ca: String,
    client_cert: String,
    client_key: String,
    server_name: String,
});

table!(RawGeoServer {
    context: String,
    public_path: String,
    username: String,
    password_file: String,
    password_env: String,
    headers: RawHeaders,
    max_post_size: Size,
    ca: String,
    client_cert: String,
    client_key: String,
    server_name: String,
});

table!(RawHealth {
    interval: Duration,
    timeout: Duration,
    rise: i64,
    fall: i64,
    down_interval: Duration,
    slow_start: Duration,
    probe_layer: String,
    authenticate: bool,
    ejection: Duration,
    ejection_max: Duration,
    ejection_failures: i64,
});

table!(RawCatalog {
    poll: Duration,
    watch: String,
    settle: Duration,
    settle_max: Duration,
    canary_layer: String,
    roll: bool,
    roll_share: i64,
    main_helps: bool,
    parallel: i64,
    drain_timeout: Duration,
    reload_timeout: Duration,
    reload_security: bool,
    reload_main: bool,
    reload_gwc: bool,
    tile_caches: TileCaches,
    stale: StalePolicy,
    read_your_writes: Duration,
    state_file: String,
});

table!(RawTimeouts {
    connect: Duration,
    client_header: Duration,
    client_body: Duration,
    client_write: Duration,
    keep_alive: Duration,
    upstream_idle: Duration,
});

table!(RawRetry {
    attempts: i64,
    window: Duration,
    budget_percent: i64
});

table!(RawLimits {
    max_in_flight: Count,
    queue: i64,
    queue_timeout: Duration,
    per_user: Count,
    quick_reserve: i64,
    heavy_share: i64,
    heavy_map_pixels: i64,
    head_size: Size,
    head_fields: i64,
    control_flow: Vec<Written<String>>,
});

table!(RawClients {
    body_memory: Size,
    all_body_memory: Size,
    min_upload_rate: Size,
    answer_memory: Size,
    all_answer_memory: Size,
    min_download_rate: Size,
    max_per_address: i64,
    new_per_second: i64,
    heads_per_address: i64,
});

table!(RawCors {
    origins: Vec<Written<OriginPattern>>,
    methods: Vec<Written<CorsMethod>>,
    headers: Vec<Written<CorsHeader>>,
    credentials: bool,
    max_age: Duration,
});

table!(RawCompression {
    codings: Vec<Written<Coding>>,
    min_size: Size,
    classes: Vec<Written<RequestClass>>,
});

table!(RawClass {
    first_byte: Duration,
    max_body: Size,
    priority: i64,
    served_by: String,
    affinity: bool,
    affinity_load_percent: i64,
    coalesce: Coalesce,
    short: Vec<Written<String>>,
});

table!(RawRoute {
    name: String,
    method: Vec<Written<String>>,
    path: Vec<Written<String>>,
    service: Vec<Written<String>>,
    operation: Vec<Written<String>>,
    workspace: Vec<Written<String>>,
    layer: Vec<Written<String>>,
    header: Vec<Written<String>>,
    from: Vec<Written<IpNet>>,
    not_from: Vec<Written<IpNet>>,
    refuse: bool,
    allow: bool,
    class: String,
    upstreams: Vec<Written<String>>,
    only: bool,
});

table!(RawLog {
    format: LogFormat,
    access: AccessLogDestination,
    level: LogLevel
});

table!(RawTraces {
    endpoint: String,
    sample: Share,
    service_name: String,
    attributes: RawAttributes,
    headers: RawHeaders,
    authorization_file: String,
    authorization_env: String,
    ca: String,
});

impl RawTraces {
    /// True if no key is given.
    pub(super) fn is_empty(&self) -> bool {
        self.sample.is_absent()
            && self.service_name.is_absent()
            && self.attributes.is_absent()
            && self.headers.is_absent()
            && self.authorization_file.is_absent()
            && self.authorization_env.is_absent()
            && self.ca.is_absent()
    }
}

table!(RawShutdown {
    delay: Duration,
    timeout: Duration
});

/// A table that appears once.
#[derive(Debug, Default)]
pub(super) struct Section<T> {
    pub(super) table: T,
    /// The place of its header.
    pub(super) at: Option<At>,
}

/// A table of a family, with its name.
#[derive(Debug)]
pub(super) struct Named<T> {
    pub(super) name: Written<String>,
    pub(super) table: T,
}

/// A table of a list.
#[derive(Debug)]
pub(super) struct Listed<T> {
    pub(super) table: T,
    /// The place of its header.
    pub(super) at: At,
}

/// The tables of all files.
#[derive(Debug, Default)]
pub(super) struct Raw {
    pub(super) top: RawTop,
    pub(super) clusters: Vec<Named<RawCluster>>,
    /// The addresses of the front file, each with the words for it, in a cluster's configuration.
    pub(super) process_addresses: Vec<(String, SocketAddr)>,
    pub(super) listeners: Vec<Named<RawListener>>,
    pub(super) acme: Section<RawAcme>,
    pub(super) upstreams: Vec<Named<RawUpstream>>,
    pub(super) geoserver: Section<RawGeoServer>,
    pub(super) health: Section<RawHealth>,
    pub(super) catalog: Section<RawCatalog>,
    pub(super) timeouts: Section<RawTimeouts>,
    pub(super) retry: Section<RawRetry>,
    pub(super) limits: Section<RawLimits>,
    pub(super) clients: Section<RawClients>,
    pub(super) cors: Section<RawCors>,
    pub(super) compression: Section<RawCompression>,
    pub(super) classes: Vec<Named<RawClass>>,
    /// In the order of the files, and within each in its own.
    pub(super) routes: Vec<Listed<RawRoute>>,
    pub(super) log: Section<RawLog>,
    pub(super) traces: Section<RawTraces>,
    pub(super) shutdown: Section<RawShutdown>,
}

/// Every table below the top level with its keys, in the order of the documentation.
pub(super) const SECTIONS: [(&str, &[&str]); 18] = [
    ("clusters", RawCluster::KEYS),
    ("listeners", RawListener::KEYS),
    ("acme", RawAcme::KEYS),
    ("upstreams", RawUpstream::KEYS),
    ("geoserver", RawGeoServer::KEYS),
    ("health", RawHealth::KEYS),
    ("catalog", RawCatalog::KEYS),
    ("timeouts", RawTimeouts::KEYS),
    ("retry", RawRetry::KEYS),
    ("limits", RawLimits::KEYS),
    ("clients", RawClients::KEYS),
    ("cors", RawCors::KEYS),
    ("compression", RawCompression::KEYS),
    ("classes", RawClass::KEYS),
    ("routes", RawRoute::KEYS),
    ("log", RawLog::KEYS),
    ("traces", RawTraces::KEYS),
    ("shutdown", RawShutdown::KEYS),
];

/// The full names of all keys: `listen`, `health.interval`, `upstreams.NAME.url` where tables have
/// names, and `routes.N.path` where they are listed.
pub fn known_keys() -> Vec<String> {
    let top = RawTop::KEYS.iter().map(|key| (*key).to_owned());
    let below = SECTIONS.iter().flat_map(|(section, keys)| {
        let prefix = if is_named(section) {
            format!("{section}.NAME")
        } else if is_list(section) {
            format!("{section}.N")
        } else {
            (*section).to_owned()
        };
        keys.iter().map(move |key| format!("{prefix}.{key}"))
    });
    top.chain(below).collect()
}

/// True if the section is a family of named tables.
pub(super) fn is_named(section: &str) -> bool {
    matches!(section, "clusters" | "listeners" | "upstreams" | "classes")
}

/// True if the section is a list of tables: `[[routes]]`.
pub(super) fn is_list(section: &str) -> bool {
    section == "routes"
}
