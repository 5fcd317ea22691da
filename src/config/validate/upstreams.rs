//! `[upstreams.NAME]`: every upstream has a name and an address of its own, and exactly one is the
//! main.

use std::io;
use std::net::{IpAddr, SocketAddr};

use super::check::Check;
use super::listeners::reaches;
use super::upstream_tls::TlsFiles;
use super::url::{self, Url};
use crate::config::diagnostics::Problem;
use crate::config::raw::{Named, RawGeoServer, RawUpstream, Slot};
use crate::config::source::At;
use crate::config::value::Written;
use crate::config::{
    Address, Config, MainReads, MaxInFlight, Role, UpstreamConfig, UpstreamName, Weight, defaults,
};

/// The word for all replicas in `served_by`.
pub(super) const REPLICAS: &str = "replicas";
/// The word for the main in `served_by`.
pub(super) const MAIN: &str = "main";

impl Check<'_> {
    /// Reads the upstreams. `cap` is the limit of those that do not set one, with its place.
    /// `[geoserver]` has TLS settings for all of them, and `running` uses some of their files.
    pub(super) fn upstreams(
        &mut self,
        raw: &[Named<RawUpstream>],
        cap: (MaxInFlight, Option<At>),
        geoserver: &RawGeoServer,
        running: Option<&Config>,
    ) -> Vec<UpstreamConfig> {
        self.roles(raw);
        let shared = self.tls_of_geoserver(geoserver, running);
        let mut upstreams: Vec<(UpstreamConfig, At)> = raw
            .iter()
            .filter_map(|named| self.upstream(named, cap, &shared, running))
            .collect();
        self.distinct_addresses(&mut upstreams);
        let upstreams: Vec<_> = upstreams
            .into_iter()
            .map(|(upstream, _)| upstream)
            .collect();
        self.needs_https(geoserver, &upstreams);
        upstreams
    }

    /// Reads one upstream, and the place of its url.
    fn upstream(
        &mut self,
        named: &Named<RawUpstream>,
        cap: (MaxInFlight, Option<At>),
        shared_tls: &TlsFiles,
        running: Option<&Config>,
    ) -> Option<(UpstreamConfig, At)> {
        let key = |key: &str| format!("upstreams.{}.{key}", named.name.value);
        let raw = &named.table;
        let name = self.upstream_name(&named.name);
        let url = self.optional(&key("url"), &raw.url);
        let role = self.value(&key("role"), &raw.role, Role::Replica);
        let weight = self.count(
            &key("weight"),
            &raw.weight,
            Weight::DEFAULT.get().into(),
            1..=Weight::MAX.into(),
        );
        let reads = self.reads(&key("reads"), role, raw);
        let max_in_flight = self.max_in_flight(&key("max_in_flight"), &raw.max_in_flight, cap);
        for (own, slot) in [
            ("ca", &raw.ca),
            ("client_cert", &raw.client_cert),
            ("client_key", &raw.client_key),
            ("server_name", &raw.server_name),
        ] {
            self.optional(&key(own), slot);
        }
        if raw.url.is_absent() {
            self.refuse(
                Problem::new(format!("upstream `{}` has no `url`", named.name.value))
                    .at(named.name.at),
            );
        }
        let (url, at) = (url?, raw.url.at()?);
        let parsed = self.url(&named.name.value, &url, at)?;
        let address = self.address(&key("address"), &parsed, at);
        let tls = self.upstream_tls(named, &parsed, at, shared_tls, running);
        let upstream = UpstreamConfig {
            name: name?,
            url: url.trim_end_matches('/').to_owned(),
            tls,
            host: parsed.host.to_owned(),
            port: parsed.port,
            address,
            role,
            reads,
            weight: u16::try_from(weight)
                .ok()
                .and_then(Weight::new)
                .unwrap_or(Weight::DEFAULT),
            max_in_flight,
        };
        Some((upstream, at))
    }

    fn upstream_name(&mut self, name: &Written<String>) -> Option<UpstreamName> {
        let valid = UpstreamName::new(&name.value);
        if valid.is_none() {
            let title = format!(
                "upstream name `{}`: must be 1 to {} letters, digits, `-`, `_` or `.`",
                name.value,
                UpstreamName::MAX_BYTES
            );
            self.refuse(Problem::new(title).at(name.at));
        }
        if name.value == REPLICAS {
            let problem =
                Problem::new(format!("upstream name `{REPLICAS}`: must be another")).at(name.at);
            self.refuse(
                problem.help("`replicas` stands for all of them, for example in `served_by`"),
            );
        }
        valid
    }

    fn url<'t>(&mut self, name: &str, text: &'t str, at: At) -> Option<Url<'t>> {
        let wrong = match url::parse(text) {
            Ok(url) => return Some(url),
            Err(wrong) => wrong,
        };
        let shown = if wrong.is_secret {
            self.sources.hide(at);
            "***".to_owned()
        } else {
            text.escape_debug().to_string()
        };
        let verb = if wrong.is_secret { "must" } else { "it must" };
        let problem = Problem::new(format!(
            "url \"{shown}\" of upstream `{name}`: {verb} {}",
            wrong.rule
        ))
        .at(at);
        self.refuse(match wrong.help {
            Some(help) => problem.help(help),
            None => problem,
        });
        None
    }

    fn address(&mut self, key: &str, url: &Url<'_>, at: At) -> Address {
        if let Ok(ip) = url.host.parse::<IpAddr>() {
            return Address::Known(SocketAddr::new(ip, url.port));
        }
        let address = match self.environment.resolve(url.host, url.port) {
            Ok(address) => Address::Known(address),
            Err(why) => self.unresolved(cannot_resolve(url.host, &why), at),
        };
        self.note_derived(
            key,
            address.to_string(),
            &format!("what {} resolves to", url.host),
        );
        address
    }

    fn unresolved(&mut self, reason: String, at: At) -> Address {
        self.warn(
            &format!("{reason}; its upstream is down until that changes"),
            at,
        );
        Address::Unresolved(reason.into())
    }

    fn reads(&mut self, key: &str, role: Role, raw: &RawUpstream) -> MainReads {
        match role {
            Role::Main => self.value(key, &raw.reads, defaults::READS),
            Role::Replica => {
                if let (Some(at), false) = (raw.reads.at(), matches!(raw.role, Slot::Broken)) {
                    let problem =
                        Problem::new(format!("`{key}`: a replica always serves reads")).at(at);
                    self.refuse(problem.help("`reads` defines when the main serves reads, too; it belongs to the upstream with role = \"main\""));
                }
                defaults::READS
            }
        }
    }

    fn roles(&mut self, raw: &[Named<RawUpstream>]) {
        if raw
            .iter()
            .any(|named| matches!(named.table.role, Slot::Broken))
        {
            return;
        }
        let role = |named: &Named<RawUpstream>| {
            named
                .table
                .role
                .given()
                .map_or(Role::Replica, |role| role.value)
        };
        let (mains, replicas): (Vec<_>, Vec<_>) =
            raw.iter().partition(|named| role(named) == Role::Main);
        match &mains[..] {
            [] => self.no_main(raw),
            [first, others @ ..] => {
                others
                    .iter()
                    .for_each(|other| self.second_main(first, other));
                self.replica_called_main(&replicas);
            }
        }
        if replicas.is_empty() && !raw.is_empty() {
            let problem = Problem::new("there is no replica").at(raw[0].name.at);
            self.refuse(problem.help("at least one [upstreams.NAME] with a url and without role = \"main\" serves the requests"));
        }
    }

    fn no_main(&mut self, raw: &[Named<RawUpstream>]) {
        let called_main = raw.iter().find(|named| named.name.value == MAIN);
        let at = called_main
            .or_else(|| raw.first())
            .map_or_else(|| self.sources.start(), |named| named.name.at);
        let title = if called_main.is_some() {
            "upstream `main` lacks role = \"main\""
        } else {
            "no upstream is the main"
        };
        let help = "exactly one [upstreams.NAME] has role = \"main\": it does the administration and takes all changes";
        self.refuse(Problem::new(title).at(at).help(help));
    }

    fn second_main(&mut self, first: &Named<RawUpstream>, other: &Named<RawUpstream>) {
        let origin = self.sources.origin(first.name.at);
        let problem =
            Problem::new(format!("`{}` is a second main", other.name.value)).at(other.name.at);
        let problem = problem.label(format!("the first is `{}` at {origin}", first.name.value));
        self.refuse(
            problem.help("exactly one upstream does the administration and takes all changes"),
        );
    }

    /// Refuses a replica called `main`, so that `served_by = "main"` is unambiguous.
    fn replica_called_main(&mut self, replicas: &[&Named<RawUpstream>]) {
        if let Some(named) = replicas.iter().find(|named| named.name.value == MAIN) {
            let problem = Problem::new("a replica is called `main`").at(named.name.at);
            self.refuse(problem.help("give it another name, so that `main` always means the main"));
        }
    }

    /// Refuses an upstream at one of our own addresses, each with the words for it.
    pub(super) fn not_ourselves(
        &mut self,
        raw: &[Named<RawUpstream>],
        upstreams: &[UpstreamConfig],
        ours: &[(String, SocketAddr)],
    ) {
        for upstream in upstreams {
            let Some(address) = upstream.address.known() else {
                continue;
            };
            let own = ours.iter().find(|(_, own)| reaches(address, *own));
            let written = raw
                .iter()
                .find(|named| named.name.value == upstream.name.as_str());
            let at = written.and_then(|named| named.table.url.at());
            let (Some((key, own)), Some(at)) = (own, at) else {
                continue;
            };
            let title = format!(
                "upstream `{}` is {address}, and {key} is {own}: requests would come back",
                upstream.name
            );
            let help = "`url` is the address of a GeoServer; geofront needs another address, or another port";
            self.refuse(Problem::new(title).at(at).help(help));
        }
    }

    /// Refuses two upstreams that are written alike. Two names that currently have one address are
    /// no mistake: only the first upstream uses it.
    fn distinct_addresses(&mut self, upstreams: &mut [(UpstreamConfig, At)]) {
        for i in 0..upstreams.len() {
            let (before, rest) = upstreams.split_at_mut(i);
            let (upstream, at) = &mut rest[0];
            let is_known = upstream.address.known().is_some();
            let is_alike = |other: &UpstreamConfig| {
                (&other.host, other.port) == (&upstream.host, upstream.port)
            };
            let twin = before.iter_mut().find(|(other, _)| {
                is_alike(other) || is_known && other.address.known() == upstream.address.known()
            });
            let Some((first, first_at)) = twin else {
                continue;
            };
            if !is_alike(first) && (upstream.lookup().is_some() || first.lookup().is_some()) {
                let ((named, at), other) = if upstream.lookup().is_some() {
                    ((upstream, *at), first.name.clone())
                } else {
                    ((first, *first_at), upstream.name.clone())
                };
                let reason = same_address(&named.host, &named.address, &other);
                named.address = self.unresolved(reason, at);
                self.note_again(
                    &format!("upstreams.{}.address", named.name),
                    Address::UNRESOLVED,
                );
                continue;
            }
            let title = format!(
                "upstreams `{}` and `{}` are both {}",
                first.name,
                upstream.name,
                place_of(upstream)
            );
            let problem = Problem::new(title)
                .at(*at)
                .label(format!("first at {}", self.sources.origin(*first_at)));
            self.refuse(
                problem
                    .help("requests in flight are counted by upstream: one GeoServer under two names would get twice its share"),
            );
        }
    }
}

/// The reason why a name that resolves to another upstream's address is not used.
pub(in crate::config) fn same_address(
    host: &str,
    address: &Address,
    other: &UpstreamName,
) -> String {
    format!("host `{host}` resolves to {address}, which is `{other}`")
}

/// The address, or host and port if the address is not known.
fn place_of(upstream: &UpstreamConfig) -> String {
    upstream.address.known().map_or_else(
        || format!("{}:{}", upstream.host, upstream.port),
        |address| address.to_string(),
    )
}

/// The reason why an upstream with this host has no address.
pub(in crate::config) fn cannot_resolve(host: &str, error: &io::Error) -> String {
    format!("cannot resolve host `{host}`: {}", no_address(error))
}

fn no_address(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "it has no address".to_owned(),
        _ => error.to_string(),
    }
}
