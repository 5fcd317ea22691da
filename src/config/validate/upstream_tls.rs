//! `ca`, `client_cert`, `client_key` and `server_name`: how upstreams are reached by https.
//!
//! `[geoserver]` sets them for all upstreams, and `[upstreams.NAME]` for one.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::pki_types::ServerName;

use super::check::Check;
use super::url::Url;
use crate::certificates::{Authorities, OwnCertificate};
use crate::config::diagnostics::Problem;
use crate::config::raw::{Named, RawGeoServer, RawUpstream, Slot};
use crate::config::source::At;
use crate::config::{Config, UpstreamConfig, UpstreamTls};

/// The keys of one table.
struct Slots<'r> {
    ca: &'r Slot<String>,
    client_cert: &'r Slot<String>,
    client_key: &'r Slot<String>,
    server_name: &'r Slot<String>,
}

/// The contents of the files that one table names, and its `server_name`.
#[derive(Clone, Debug, Default)]
pub(super) struct TlsFiles {
    authorities: Option<(PathBuf, Authorities)>,
    certificate: Option<((PathBuf, PathBuf), OwnCertificate)>,
    server_name: Option<String>,
    kept: Vec<String>,
}

impl<'r> From<&'r RawGeoServer> for Slots<'r> {
    fn from(raw: &'r RawGeoServer) -> Self {
        Self {
            ca: &raw.ca,
            client_cert: &raw.client_cert,
            client_key: &raw.client_key,
            server_name: &raw.server_name,
        }
    }
}

impl<'r> From<&'r RawUpstream> for Slots<'r> {
    fn from(raw: &'r RawUpstream) -> Self {
        Self {
            ca: &raw.ca,
            client_cert: &raw.client_cert,
            client_key: &raw.client_key,
            server_name: &raw.server_name,
        }
    }
}

impl Slots<'_> {
    /// The keys that are written, with their places.
    fn written(&self) -> impl Iterator<Item = (&'static str, At)> {
        let all = [
            ("ca", self.ca.at()),
            ("client_cert", self.client_cert.at()),
            ("client_key", self.client_key.at()),
            ("server_name", self.server_name.at()),
        ];
        all.into_iter().filter_map(|(key, at)| Some((key, at?)))
    }
}

impl Check<'_> {
    /// Reads the files of `[geoserver]`, which may be in use by `running`.
    pub(super) fn tls_of_geoserver(
        &mut self,
        raw: &RawGeoServer,
        running: Option<&Config>,
    ) -> TlsFiles {
        self.tls_files("geoserver", &raw.into(), running)
    }

    /// Reads the TLS settings of one upstream; `shared` are those of `[geoserver]`.
    pub(super) fn upstream_tls(
        &mut self,
        named: &Named<RawUpstream>,
        url: &Url<'_>,
        at: At,
        shared: &TlsFiles,
        running: Option<&Config>,
    ) -> Option<Arc<UpstreamTls>> {
        let table = format!("upstreams.{}", named.name.value);
        let slots = Slots::from(&named.table);
        if !url.tls {
            for (key, at) in slots.written() {
                let problem = Problem::new(format!("`{table}.{key}` with an http:// url")).at(at);
                self.refuse(problem.help("it has an effect on upstreams with an https:// url"));
            }
            return None;
        }
        let own = self.tls_files(&table, &slots, running);
        let is_named = own.server_name.is_some() || shared.server_name.is_some();
        if !is_named && ServerName::try_from(url.host).is_err() {
            let title = format!("host `{}` cannot be the name in a certificate", url.host);
            let problem = Problem::new(title).at(at);
            self.refuse(problem.help("`server_name` sets the name that the certificate has"));
        }
        let shared = shared.clone();
        let (ca, authorities) = own.authorities.or(shared.authorities).unzip();
        let (files, certificate) = own.certificate.or(shared.certificate).unzip();
        let name = own.server_name.or(shared.server_name);
        Some(Arc::new(UpstreamTls {
            server_name: name.unwrap_or_else(|| url.host.to_owned()),
            ca,
            authorities,
            files,
            certificate,
            kept: [own.kept, shared.kept].concat(),
        }))
    }

    /// Refuses keys of `[geoserver]` that have no effect on any upstream.
    pub(super) fn needs_https(&mut self, raw: &RawGeoServer, upstreams: &[UpstreamConfig]) {
        if upstreams.iter().any(|upstream| upstream.tls.is_some()) {
            return;
        }
        for (key, at) in Slots::from(raw).written() {
            let title = format!("`geoserver.{key}`, and no upstream has an https:// url");
            self.refuse(Problem::new(title).at(at));
        }
    }

    fn tls_files(&mut self, table: &str, slots: &Slots<'_>, running: Option<&Config>) -> TlsFiles {
        let mut kept = Vec::new();
        let authorities = self.upstream_authorities(table, slots, running, &mut kept);
        let certificate = self.own_certificate(table, slots, running, &mut kept);
        if let Some(written) = slots.server_name.given()
            && ServerName::try_from(written.value.as_str()).is_err()
        {
            let title = format!(
                "`{table}.server_name` is \"{}\": must be a host name or an address",
                written.value.escape_debug()
            );
            self.refuse(Problem::new(title).at(written.at));
        }
        TlsFiles {
            authorities,
            certificate,
            server_name: slots.server_name.given().map(|name| name.value.clone()),
            kept,
        }
    }

    fn upstream_authorities(
        &mut self,
        table: &str,
        slots: &Slots<'_>,
        running: Option<&Config>,
        kept: &mut Vec<String>,
    ) -> Option<(PathBuf, Authorities)> {
        let written = slots.ca.given()?;
        let path = self.beside(written);
        let read = self.authorities(written);
        let mut used = settings_of(running);
        let before = used.find_map(|tls| {
            let is_same = tls.ca.as_ref() == Some(&path);
            is_same.then_some(tls.authorities.as_ref()).flatten()
        });
        let authorities = self.or_kept(&format!("[{table}]"), read, before, kept)?;
        Some((path, authorities))
    }

    fn own_certificate(
        &mut self,
        table: &str,
        slots: &Slots<'_>,
        running: Option<&Config>,
        kept: &mut Vec<String>,
    ) -> Option<((PathBuf, PathBuf), OwnCertificate)> {
        let Some(cert) = slots.client_cert.given() else {
            if let (Some(at), true) = (slots.client_key.at(), slots.client_cert.is_absent()) {
                let title = format!("`{table}.client_key` without `client_cert`");
                self.refuse(Problem::new(title).at(at));
            }
            return None;
        };
        // Without `client_key`, certificate and key are in one file.
        let key = match slots.client_key {
            Slot::Given(key) => key,
            Slot::Absent => cert,
            Slot::Broken => return None,
        };
        let files = (self.beside(cert), self.beside(key));
        let read = self.pair(cert, key, OwnCertificate::from_pem);
        let mut used = settings_of(running);
        let before = used.find_map(|tls| {
            let is_same = tls.files.as_ref() == Some(&files);
            is_same.then_some(tls.certificate.as_ref()).flatten()
        });
        let certificate = self.or_kept(&format!("[{table}]"), read, before, kept)?;
        Some((files, certificate))
    }
}

/// The TLS settings of the upstreams of a running configuration.
fn settings_of(running: Option<&Config>) -> impl Iterator<Item = &UpstreamTls> {
    let upstreams = running.into_iter().flat_map(|config| &config.upstreams);
    upstreams.filter_map(|upstream| upstream.tls.as_deref())
}
