//! `[listeners.NAME]`: addresses that speak TLS, or need more than plain HTTP.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::check::{Check, EMPTY_PATH};
use crate::certificates::{Authorities, CertificateFault, ServerCertificate};
use crate::config::diagnostics::Problem;
use crate::config::environment::read_bounded;
use crate::config::raw::{Named, RawListener, Slot};
use crate::config::source::At;
use crate::config::value::Written;
use crate::config::{
    AcmeCertificate, ClientCertificate, Config, ListenAddress, Listener, ListenerTls, SocketMode,
    UpstreamName, defaults,
};

/// The certificates of a listener, and where they are from.
struct CertificateSource {
    /// `None` after a problem was reported.
    certificates: Option<Vec<ServerCertificate>>,
    acme: Option<AcmeCertificate>,
    files: Vec<(PathBuf, PathBuf)>,
}

impl Check<'_> {
    /// Reads the listeners, which may have files in common with those of `running`.
    pub(super) fn listeners(
        &mut self,
        raw: &[Named<RawListener>],
        acme_folder: Option<&Path>,
        running: Option<&Config>,
    ) -> Vec<Listener> {
        raw.iter()
            .filter_map(|named| self.listener(named, acme_folder, running))
            .collect()
    }

    fn listener(
        &mut self,
        named: &Named<RawListener>,
        acme_folder: Option<&Path>,
        running: Option<&Config>,
    ) -> Option<Listener> {
        let name = &named.name.value;
        let key = |key: &str| format!("listeners.{name}.{key}");
        let raw = &named.table;
        // The same rule as for upstreams: the name goes into metrics and log lines.
        if UpstreamName::new(name).is_none() {
            let title = format!(
                "listener name `{name}`: must be 1 to {} letters, digits, `-`, `_` or `.`",
                UpstreamName::MAX_BYTES
            );
            self.refuse(Problem::new(title).at(named.name.at));
        }
        let address = self.optional(&key("address"), &raw.address);
        if raw.address.is_absent() {
            let problem = Problem::new(format!("listener `{name}` has no `address`"));
            self.refuse(problem.at(named.name.at));
        }
        let socket_mode = self.socket_mode(&key("socket_mode"), raw);
        let running = running.and_then(|config| config.listener(name));
        let used = running.and_then(|listener| listener.tls.as_deref());
        let tls = self.tls(named, acme_folder, used);
        let https_redirect = self.https_redirect(&key("https_redirect"), raw);
        let balancers = raw.proxy_protocol_from.given();
        if let Some(list) = balancers.filter(|list| list.value.is_empty()) {
            let title = format!("`{}` is empty", key("proxy_protocol_from"));
            self.refuse(Problem::new(title).at(list.at).help(
                "name the load balancers, or leave the key out: then connections come without a \
                 PROXY protocol header",
            ));
        }
        let proxy_protocol_from = self.list(
            &key("proxy_protocol_from"),
            &raw.proxy_protocol_from,
            Vec::new(),
        );
        Some(Listener {
            name: name.clone(),
            address: address?,
            socket_mode,
            tls: tls.map(Arc::new),
            http2_without_tls: raw.cert.is_absent()
                && raw.acme.is_absent()
                && self.value(&key("http2"), &raw.http2, defaults::HTTP2_WITHOUT_TLS),
            https_redirect,
            proxy_protocol_from,
        })
    }

    /// The permissions of a unix socket.
    fn socket_mode(&mut self, key: &str, raw: &RawListener) -> SocketMode {
        let address = raw.address.given().map(|written| &written.value);
        let Some(address) = address.and_then(ListenAddress::inet) else {
            return self.value(key, &raw.socket_mode, SocketMode::DEFAULT);
        };
        if let (Some(_), Some(at)) = (self.optional(key, &raw.socket_mode), raw.socket_mode.at()) {
            let problem = Problem::new(format!("`{key}` on a listener with the address {address}"));
            self.refuse(problem.at(at).help(
                "a unix socket has permissions: remove the key, or let `address` begin with `unix:`",
            ));
        }
        SocketMode::DEFAULT
    }

    fn tls(
        &mut self,
        named: &Named<RawListener>,
        acme_folder: Option<&Path>,
        running: Option<&ListenerTls>,
    ) -> Option<ListenerTls> {
        let raw = &named.table;
        let key = |key: &str| format!("listeners.{}.{key}", named.name.value);
        self.list(&key("cert"), &raw.cert, Vec::new());
        self.list(&key("key"), &raw.key, Vec::new());
        self.optional(&key("client_ca"), &raw.client_ca);
        let client_certificate = self.value(
            &key("client_certificate"),
            &raw.client_certificate,
            ClientCertificate::Required,
        );
        let hsts = self.within(
            &key("hsts"),
            &raw.hsts,
            Duration::ZERO,
            defaults::HSTS_TIMES,
        );
        let acme = self.acme_certificate(named, acme_folder);
        if raw.cert.is_absent() && raw.acme.is_absent() {
            self.needs_cert(&named.name.value, raw);
        }
        let mut kept = Vec::new();
        let owner = format!("listener `{}`", named.name.value);
        let source = match (raw.cert.given(), acme) {
            (Some(cert), None) => self.read_pairs(named, cert, running, &mut kept)?,
            (_, Some((acme, issued))) => CertificateSource {
                // What was ordered before stays in use until there is another.
                certificates: Some(
                    issued
                        .or_else(|| running?.certificates.first().cloned())
                        .into_iter()
                        .collect(),
                ),
                acme: Some(acme),
                files: Vec::new(),
            },
            (None, None) => return None,
        };
        let http2 = self.value(&key("http2"), &raw.http2, defaults::HTTP2);
        let client_authorities = raw.client_ca.given().map(|written| {
            let file = self.beside(written);
            let before = running.filter(|running| running.client_ca.as_ref() == Some(&file));
            let read = self.authorities(written);
            let before = before.and_then(|running| running.client_authorities.as_ref());
            self.or_kept(&owner, read, before, &mut kept)
        });
        if let (Some(at), true) = (raw.client_certificate.at(), raw.client_ca.is_absent()) {
            let title = format!("`{}` without `client_ca`", key("client_certificate"));
            self.refuse(Problem::new(title).at(at).help(
                "`client_ca` names the file with the authorities whose certificates are accepted",
            ));
        }
        Some(ListenerTls {
            files: source.files,
            certificates: source.certificates?,
            acme: source.acme,
            client_ca: raw.client_ca.given().map(|written| self.beside(written)),
            client_authorities: client_authorities.flatten(),
            client_certificate,
            http2,
            hsts,
            kept,
        })
    }

    /// Reads the certificates that `cert` and `key` name.
    fn read_pairs(
        &mut self,
        named: &Named<RawListener>,
        cert: &Written<Vec<Written<String>>>,
        running: Option<&ListenerTls>,
        kept: &mut Vec<String>,
    ) -> Option<CertificateSource> {
        let owner = format!("listener `{}`", named.name.value);
        let pairs = self.pairs(&named.name.value, cert, &named.table.key)?;
        let mut certificates = Vec::new();
        let mut all_files = Vec::new();
        for (cert, key) in &pairs {
            let files = (self.beside(cert), self.beside(key));
            let before = running.and_then(|running| running.certificate_in(&files));
            let read = self.pair(cert, key, ServerCertificate::from_pem);
            certificates.push(self.or_kept(&owner, read, before, kept));
            all_files.push(files);
        }
        Some(CertificateSource {
            certificates: certificates.into_iter().collect(),
            acme: None,
            files: all_files,
        })
    }

    /// Returns what a file of `owner` holds, or what it held `before` if it can no longer be used:
    /// that must not block other changes.
    pub(super) fn or_kept<T: Clone>(
        &mut self,
        owner: &str,
        read: Result<T, (String, At)>,
        before: Option<&T>,
        kept: &mut Vec<String>,
    ) -> Option<T> {
        let (why, at) = match read {
            Ok(read) => return Some(read),
            Err(why) => why,
        };
        let why = format!("{owner}: {why}");
        match before {
            Some(before) => {
                self.warn(&format!("{why}; what it held before stays in use"), at);
                kept.push(why);
                Some(before.clone())
            }
            None => {
                self.refuse(Problem::new(why).at(at));
                None
            }
        }
    }

    /// Refuses keys that have no effect without TLS.
    fn needs_cert(&mut self, name: &str, raw: &RawListener) {
        let written = [
            ("key", raw.key.at()),
            ("client_ca", raw.client_ca.at()),
            ("client_certificate", raw.client_certificate.at()),
            ("hsts", raw.hsts.at()),
        ];
        for (key, at) in written {
            let Some(at) = at else { continue };
            let problem = Problem::new(format!("`listeners.{name}.{key}` without `cert`")).at(at);
            self.refuse(problem.help(
                "a listener speaks TLS if `cert` names its certificate, or `acme` the host names of one to order",
            ));
        }
    }

    /// Returns each certificate file with the key file at the same place of the other list.
    fn pairs(
        &mut self,
        name: &str,
        cert: &Written<Vec<Written<String>>>,
        key: &Slot<Vec<Written<String>>>,
    ) -> Option<Vec<(Written<String>, Written<String>)>> {
        if cert.value.is_empty() {
            self.refuse(Problem::new(format!("`listeners.{name}.cert` is empty")).at(cert.at));
            return None;
        }
        // Without `key`, certificate and key are in one file.
        let keys = match key {
            Slot::Given(keys) => &keys.value,
            Slot::Absent => &cert.value,
            Slot::Broken => return None,
        };
        if keys.len() != cert.value.len() {
            let title = format!(
                "listener `{name}`: `cert` names {} files and `key` {}",
                cert.value.len(),
                keys.len()
            );
            let problem = Problem::new(title).at(key.at().unwrap_or(cert.at));
            self.refuse(
                problem.help("each certificate has its key at the same place of the other list"),
            );
            return None;
        }
        Some(
            cert.value
                .iter()
                .cloned()
                .zip(keys.iter().cloned())
                .collect(),
        )
    }

    /// Reads a certificate and its key, which `make` joins.
    pub(super) fn pair<T>(
        &mut self,
        cert: &Written<String>,
        key: &Written<String>,
        make: fn(&str, &str) -> Result<T, CertificateFault>,
    ) -> Result<T, (String, At)> {
        let (cert_path, key_path) = (self.beside(cert), self.beside(key));
        let chain = self.text(cert);
        let secret = self.text(key);
        let (chain, secret) = (chain?, secret?);
        make(&chain, &secret).map_err(|fault| match fault {
            CertificateFault::NoKey | CertificateFault::KeyEncrypted => {
                (format!("{}: {fault}", key_path.display()), key.at)
            }
            CertificateFault::KeyMismatch if cert_path != key_path => {
                let why = format!(
                    "the key in {} does not belong to the certificate in {}",
                    key_path.display(),
                    cert_path.display()
                );
                (why, key.at)
            }
            fault => (format!("{}: {fault}", cert_path.display()), cert.at),
        })
    }

    /// Reads the authorities in a file.
    pub(super) fn authorities(
        &mut self,
        written: &Written<String>,
    ) -> Result<Authorities, (String, At)> {
        let text = self.text(written)?;
        let path = self.beside(written);
        Authorities::from_pem(&text)
            .map_err(|fault| (format!("{}: {fault}", path.display()), written.at))
    }

    fn https_redirect(&mut self, key: &str, raw: &RawListener) -> Option<u16> {
        let port = self.within(key, &raw.https_redirect, 0, defaults::PORTS);
        let at = raw.https_redirect.at()?;
        for (tls, tls_at) in [("cert", raw.cert.at()), ("acme", raw.acme.at())] {
            let Some(tls_at) = tls_at else { continue };
            let problem = Problem::new(format!("`{key}` on a listener with `{tls}`")).at(at);
            self.refuse(problem.label(format!("`{tls}` is at {}", self.sources.origin(tls_at))));
        }
        u16::try_from(port).ok()
    }

    /// Returns a path that is written relative to the file that names it.
    pub(super) fn beside(&self, path: &Written<String>) -> PathBuf {
        let folder = self.sources.path(path.at).parent();
        folder.unwrap_or_else(|| Path::new("")).join(&path.value)
    }

    /// Reads a file that belongs to the configuration.
    fn text(&mut self, written: &Written<String>) -> Result<String, (String, At)> {
        if written.value.is_empty() {
            return Err((EMPTY_PATH.to_owned(), written.at));
        }
        let path = self.beside(written);
        self.note_file(&path);
        read_bounded(self.environment, &path).map_err(|why| {
            let why = format!("cannot read {}: {why}", path.display());
            (why, written.at)
        })
    }

    /// Refuses an address that is used twice.
    pub(super) fn distinct_addresses_of_listeners(
        &mut self,
        raw: &[Named<RawListener>],
        others: &[(&str, SocketAddr)],
    ) {
        let mut taken: Vec<(String, ListenAddress)> = others
            .iter()
            .map(|(key, address)| (format!("`{key}`"), (*address).into()))
            .collect();
        for named in raw {
            let Some(address) = named.table.address.given() else {
                continue;
            };
            let ours = format!("listener `{}`", named.name.value);
            let value = &address.value;
            let inet = value.inet();
            // With port 0 the system chooses, so two of them are two ports.
            let is_chosen = inet.is_some_and(|inet| inet.port() == 0);
            let other = taken.iter().find(|(_, other)| other == value && !is_chosen);
            let overlapping = taken.iter().find(|(_, other)| {
                other
                    .inet()
                    .zip(inet)
                    .is_some_and(|(one, other)| overlap(one, other))
            });
            if let Some((other, _)) = other {
                let title = format!("{other} and {ours} are both {value}");
                self.refuse(Problem::new(title).at(address.at));
            } else if let Some((other, taken)) = overlapping {
                let title = format!("{other} is {taken}, and {ours} is {value}");
                self.refuse(Problem::new(title).at(address.at).help(EVERY_ADDRESS));
            }
            taken.push((ours, value.clone()));
        }
    }
}

/// The reason why two addresses exclude each other.
pub(super) const EVERY_ADDRESS: &str =
    "0.0.0.0 and [::] are every address of this machine: another address needs another port";

/// True if one of two different addresses is every address of the machine and the other one of
/// them. `[::]` includes the addresses of IPv4, unless it stands beside 0.0.0.0.
pub(super) fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let includes = |wide: SocketAddr, one: SocketAddr| {
        let is_of_its_kind = wide.is_ipv4() == one.is_ipv4();
        let is_one_of_ipv4 = one.is_ipv4() && !one.ip().is_unspecified();
        wide.ip().is_unspecified() && (is_of_its_kind || wide.is_ipv6() && is_one_of_ipv4)
    };
    // With port 0 the system chooses.
    let is_same_port = one.port() == other.port() && one.port() != 0;
    is_same_port && one != other && (includes(one, other) || includes(other, one))
}

/// True if a connection to `upstream` reaches our own address `ours`, as far as the addresses show
/// it.
pub(super) fn reaches(upstream: SocketAddr, ours: SocketAddr) -> bool {
    let is_of_its_kind = ours.is_ipv6() || upstream.is_ipv4();
    let is_this_machine =
        upstream.ip().to_canonical().is_loopback() || upstream.ip().is_unspecified();
    let is_included = ours.ip().is_unspecified() && is_this_machine && is_of_its_kind;
    // With port 0 the system chooses.
    let is_same_port = ours.port() == upstream.port() && ours.port() != 0;
    is_same_port && (ours.ip() == upstream.ip() || is_included)
}
