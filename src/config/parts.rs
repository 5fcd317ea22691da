//! The parts of a configuration of several clusters: the front file has what the process and all
//! clusters share, and the file of each cluster has the rest.
//!
//! A cluster's configuration is an ordinary one: its own file, and the keys of the front file that
//! requests depend on. So everything that validates, compares and reloads a configuration works
//! for a cluster as it does for a file without `[clusters.NAME]`.

use std::net::SocketAddr;

use super::defaults;
use super::diagnostics::Problem;
use super::raw::{
    Listed, Named, Raw, RawLimits, RawTimeouts, RawTop, Section, Slot, Table, is_list,
};
use super::source::At;
use super::value::Written;

/// The part of a configuration that is validated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part<'n> {
    /// A file without clusters.
    Whole,
    /// A front file without the files of its clusters.
    Front,
    /// The cluster of this name.
    Cluster(&'n str),
}

/// The file in which a key stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holder {
    /// The front file; it is about the process only.
    Process,
    /// The front file; clusters use it too.
    Shared,
    /// The file of a cluster.
    Cluster,
    /// Every file has its own.
    Each,
}

/// The file of `section.key`; `section` is empty for the keys above the first header.
fn holder(section: &str, key: &str) -> Holder {
    match (section, key) {
        ("", "include") => Holder::Each,
        ("", "listen" | "admin" | "threads") => Holder::Process,
        ("", "public_url") => Holder::Cluster,
        ("", _) => Holder::Shared,
        ("clusters" | "listeners" | "acme" | "log" | "shutdown", _) => Holder::Process,
        ("clients" | "traces", _) => Holder::Shared,
        ("timeouts", "client_header" | "client_body" | "client_write" | "keep_alive") => {
            Holder::Shared
        }
        ("limits", "head_size" | "head_fields") => Holder::Shared,
        _ => Holder::Cluster,
    }
}

impl Part<'_> {
    /// True if `key`, with its section, has an effect in this part.
    pub(super) fn has(self, key: &str) -> bool {
        let section = key.split_once('.').map_or("", |(section, _)| section);
        let last = key.rsplit('.').next().unwrap_or(key);
        match (self, holder(section, last)) {
            (Self::Whole, _) | (_, Holder::Shared | Holder::Each) => true,
            (Self::Front, holder) => holder == Holder::Process,
            (Self::Cluster(_), holder) => holder == Holder::Cluster,
        }
    }
}

/// A problem for everything in a front file that belongs into the file of a cluster.
pub(super) fn misplaced_in_front(front: &Raw) -> Vec<Problem> {
    written(front)
        .into_iter()
        .filter(|entry| entry.holder() == Holder::Cluster)
        .map(|entry| {
            Problem::new(format!("`{}` stands beside [clusters.NAME]", entry.name()))
                .at(entry.at)
                .label("belongs into the file of a cluster")
                .help(
                    "a file with [clusters.NAME] has what all clusters share; upstreams, catalog, limits, health and rules \
                     of a cluster stand in the file that its `file` names",
                )
        })
        .collect()
}

/// A problem for everything in the file of cluster `name` that belongs into the front file.
pub(super) fn misplaced_in_cluster(own: &Raw, name: &str) -> Vec<Problem> {
    let belongs = |holder| matches!(holder, Holder::Process | Holder::Shared);
    written(own)
        .into_iter()
        .filter(|entry| belongs(entry.holder()))
        .map(|entry| {
            Problem::new(format!(
                "`{}` stands in the file of cluster `{name}`",
                entry.name()
            ))
            .at(entry.at)
            .label("belongs into the file with [clusters.NAME]")
            .help(
                "addresses, certificates, clients, trusted proxies, the log and traces are of the whole process: \
                 remove it here, and write it there if it is needed",
            )
        })
        .collect()
}

/// The configuration of a cluster: its own file, with the shared keys of the front file. `path` is
/// the path of its clients, if the front file names one.
pub(super) fn merged(front: Raw, own: Raw, path: Option<Written<String>>) -> Raw {
    let mut geoserver = own.geoserver;
    if let (Some(path), true) = (path, geoserver.table.public_path.is_absent()) {
        geoserver.table.public_path = Slot::Given(path);
    }
    Raw {
        process_addresses: addresses(&front),
        top: RawTop {
            listen: Slot::Absent,
            admin: Slot::Absent,
            threads: Slot::Absent,
            include: own.top.include,
            public_url: own.top.public_url,
            ..front.top
        },
        timeouts: Section {
            at: own.timeouts.at,
            table: RawTimeouts {
                connect: own.timeouts.table.connect,
                upstream_idle: own.timeouts.table.upstream_idle,
                ..front.timeouts.table
            },
        },
        limits: Section {
            at: own.limits.at,
            table: RawLimits {
                head_size: front.limits.table.head_size,
                head_fields: front.limits.table.head_fields,
                ..own.limits.table
            },
        },
        clients: front.clients,
        traces: front.traces,
        upstreams: own.upstreams,
        geoserver,
        health: own.health,
        catalog: own.catalog,
        retry: own.retry,
        cors: own.cors,
        compression: own.compression,
        classes: own.classes,
        routes: own.routes,
        ..Raw::default()
    }
}

/// The addresses of a front file, each with the words for it.
fn addresses(front: &Raw) -> Vec<(String, SocketAddr)> {
    let listen = match front.top.listen.given() {
        Some(written) => written.value.iter().map(|own| own.value).collect(),
        None if front.listeners.is_empty() => vec![defaults::LISTEN],
        None => Vec::new(),
    };
    let plain = listen.into_iter().map(|own| ("`listen`".to_owned(), own));
    let named = front.listeners.iter().filter_map(|listener| {
        let address = listener.table.address.given()?.value.inet()?;
        Some((format!("listener `{}`", listener.name.value), address))
    });
    let admin = front
        .top
        .admin
        .given()
        .map_or(defaults::ADMIN, |own| own.value);
    let admin = ("`admin`".to_owned(), admin);
    plain.chain(named).chain([admin]).collect()
}

/// A key or a table with a name, and its place.
struct Entry<'r> {
    section: &'static str,
    /// A key, or the name of a table.
    key: &'r str,
    at: At,
}

impl Entry<'_> {
    fn holder(&self) -> Holder {
        holder(self.section, self.key)
    }

    fn name(&self) -> String {
        if self.section.is_empty() {
            self.key.to_owned()
        } else if is_list(self.section) {
            format!("[[{}]]", self.section)
        } else {
            format!("{}.{}", self.section, self.key)
        }
    }
}

/// Everything that is written.
fn written(raw: &Raw) -> Vec<Entry<'_>> {
    let Raw {
        top,
        clusters,
        process_addresses: _,
        listeners,
        acme,
        upstreams,
        geoserver,
        health,
        catalog,
        timeouts,
        retry,
        limits,
        clients,
        cors,
        compression,
        classes,
        routes,
        log,
        traces,
        shutdown,
    } = raw;
    [
        keys("", top),
        tables("clusters", clusters),
        tables("listeners", listeners),
        keys("acme", &acme.table),
        tables("upstreams", upstreams),
        keys("geoserver", &geoserver.table),
        keys("health", &health.table),
        keys("catalog", &catalog.table),
        keys("timeouts", &timeouts.table),
        keys("retry", &retry.table),
        keys("limits", &limits.table),
        keys("clients", &clients.table),
        keys("cors", &cors.table),
        keys("compression", &compression.table),
        tables("classes", classes),
        items("routes", routes),
        keys("log", &log.table),
        keys("traces", &traces.table),
        keys("shutdown", &shutdown.table),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn keys<'r, T: Table>(section: &'static str, table: &T) -> Vec<Entry<'r>> {
    let places = table.places().into_iter();
    places.map(|(key, at)| Entry { section, key, at }).collect()
}

fn tables<'r, T>(section: &'static str, tables: &'r [Named<T>]) -> Vec<Entry<'r>> {
    tables
        .iter()
        .map(|named| Entry {
            section,
            key: &named.name.value,
            at: named.name.at,
        })
        .collect()
}

fn items<'r, T>(section: &'static str, tables: &[Listed<T>]) -> Vec<Entry<'r>> {
    tables
        .iter()
        .map(|listed| Entry {
            section,
            key: "N",
            at: listed.at,
        })
        .collect()
}
