//! `[acme]` and `listeners.NAME.acme`: certificates that geofront orders by itself.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::check::Check;
use super::url::{host_and_port, is_host};
use crate::certificates::{CertificateFault, ServerCertificate};
use crate::config::diagnostics::Problem;
use crate::config::environment::read_bounded;
use crate::config::raw::{Named, Raw, RawAcme, RawListener};
use crate::config::source::At;
use crate::config::value::Written;
use crate::config::{Acme, AcmeCertificate, AcmeChallenge, Config, Listener, defaults};

/// The port to which authorities connect for HTTP-01.
const HTTP: u16 = 80;

/// The port of an https url without one.
const HTTPS: u16 = 443;

/// The folder beside the state file.
const FOLDER: &str = "acme";

impl Check<'_> {
    /// Returns the folder of `[acme]`; `None` without one, and after a problem was reported.
    pub(super) fn acme_folder(&mut self, raw: &Raw) -> Option<PathBuf> {
        let slot = &raw.acme.table.folder;
        if let Some(written) = slot.given() {
            let folder = PathBuf::from(&written.value);
            if !folder.is_absolute() {
                let title = format!(
                    "`acme.folder` is \"{}\": must be the whole path of a folder",
                    folder.display()
                );
                self.refuse(Problem::new(title).at(written.at));
            }
            return Some(folder);
        }
        let state_file = self.state_file_unnoted(&raw.catalog.table.state_file)?;
        Some(state_file.parent()?.join(FOLDER))
    }

    /// Reads `[acme]`, which has an effect if one of the `listeners` has a certificate by ACME.
    pub(super) fn acme(
        &mut self,
        raw: &Raw,
        listen: &[SocketAddr],
        listeners: &[Listener],
        folder: Option<PathBuf>,
        running: Option<&Config>,
    ) -> Option<Arc<Acme>> {
        let table = &raw.acme.table;
        let contact = self.contact(table);
        let directory = self.directory(table);
        self.optional("acme.ca", &table.ca);
        let authorities = table.ca.given().map(|written| {
            let before = running.and_then(|config| config.acme.as_ref()?.authorities.as_ref());
            let read = self.authorities(written);
            // What is kept shows in the warning only: the certificates themselves are not affected.
            self.or_kept("[acme]", read, before, &mut Vec::new())
        });
        // A unix socket has no port: the web server in front passes the authority's requests on.
        let plain: Vec<Option<SocketAddr>> = listeners
            .iter()
            .filter(|listener| listener.tls.is_none())
            .map(|listener| listener.address.inet())
            .chain(listen.iter().copied().map(Some))
            .collect();
        let is_http = |address: &SocketAddr| address.port() == HTTP;
        let default = if plain.iter().flatten().any(is_http) {
            AcmeChallenge::Http01
        } else {
            AcmeChallenge::TlsAlpn01
        };
        let challenge = self.value("acme.challenge", &table.challenge, default);
        if let Some(at) = table.challenge.at()
            && challenge == AcmeChallenge::Http01
            && plain.is_empty()
        {
            let problem =
                Problem::new("`acme.challenge` is \"http-01\", and no address is plain http");
            self.refuse(problem.at(at).help(
                "the authority requests a file from port 80: add a listener without `cert` and `acme`, for example with \
                 `https_redirect`",
            ));
        }
        let shown = folder.as_ref().map(|folder| folder.display().to_string());
        match table.folder.at() {
            Some(at) => self.note("acme.folder", shown.unwrap_or_default(), Some(at)),
            None => self.note_derived(
                "acme.folder",
                shown.unwrap_or_default(),
                "beside catalog.state_file",
            ),
        }
        let is_used = raw
            .listeners
            .iter()
            .any(|named| !named.table.acme.is_absent());
        if let (Some(at), false) = (raw.acme.at, is_used) {
            self.warn(
                "[acme] has no effect: no listener has `acme` with its host names",
                at,
            );
        }
        Some(Arc::new(Acme {
            contact,
            directory,
            authorities: authorities.flatten(),
            challenge,
            folder: folder.filter(|_| is_used)?,
        }))
    }

    fn contact(&mut self, raw: &RawAcme) -> Option<String> {
        let contact = self.optional("acme.contact", &raw.contact)?;
        let address = contact.strip_prefix("mailto:").unwrap_or(&contact);
        let parts = address.split_once('@');
        let is_address = parts.is_some_and(|(user, host)| !user.is_empty() && is_host(host))
            && address
                .bytes()
                .all(|byte| byte.is_ascii_graphic() && byte != b',');
        if let (Some(at), false) = (raw.contact.at(), is_address) {
            let title = format!(
                "`acme.contact` is \"{}\": must be one mail address",
                contact.escape_debug()
            );
            self.refuse(Problem::new(title).at(at));
        }
        Some(address.to_owned())
    }

    fn directory(&mut self, raw: &RawAcme) -> String {
        let default = defaults::ACME_DIRECTORY.to_owned();
        let directory = self.value("acme.directory", &raw.directory, default);
        let rest = directory.strip_prefix("https://").unwrap_or_default();
        let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let is_url = host_and_port(host, HTTPS).is_some_and(|(host, _)| is_host(host))
            && directory.bytes().all(|byte| byte.is_ascii_graphic());
        if let (Some(at), false) = (raw.directory.at(), is_url) {
            let title = format!(
                "`acme.directory` is \"{}\": must be the https:// url of an authority's directory",
                directory.escape_debug()
            );
            self.refuse(Problem::new(title).at(at));
        }
        directory
    }

    /// Reads `acme` of a listener, and the certificate that was ordered for it. `None` without the
    /// key, and after a problem was reported.
    pub(super) fn acme_certificate(
        &mut self,
        named: &Named<RawListener>,
        folder: Option<&Path>,
    ) -> Option<(AcmeCertificate, Option<ServerCertificate>)> {
        let key = format!("listeners.{}.acme", named.name.value);
        self.list(&key, &named.table.acme, Vec::new());
        let written = named.table.acme.given()?;
        if let Some(cert) = named.table.cert.at() {
            let problem = Problem::new(format!("`{key}` on a listener with `cert`")).at(written.at);
            self.refuse(problem.label(format!("`cert` is at {}", self.sources.origin(cert))));
            return None;
        }
        let domains = self.domains(&key, written)?;
        let Some(folder) = folder else {
            let problem = Problem::new(format!("`{key}`: there is no folder for the certificate"));
            self.refuse(problem.at(written.at).help(
                "name one with `folder` under [acme]; with `state_file` under [catalog] it is beside that file",
            ));
            return None;
        };
        let file = folder.join(format!("{}.pem", named.name.value));
        let (certificate, unusable) = match self.issued(&file) {
            Ok(certificate) => (certificate, None),
            Err(why) => {
                self.warn(
                    &format!(
                        "listener `{}`: {why}; another certificate is ordered",
                        named.name.value
                    ),
                    written.at,
                );
                (None, Some(why))
            }
        };
        let acme = AcmeCertificate {
            domains,
            file,
            unusable,
        };
        Some((acme, certificate))
    }

    /// Returns the certificate in `file`; `None` before there is one.
    fn issued(&mut self, file: &Path) -> Result<Option<ServerCertificate>, String> {
        self.note_file(file);
        let text = match self.environment.read(file) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Ok(_) | Err(_) => read_bounded(self.environment, file)
                .map_err(|why| format!("cannot read {}: {why}", file.display()))?,
        };
        let read = ServerCertificate::from_pem(&text, &text);
        let named = |fault: CertificateFault| format!("{}: {fault}", file.display());
        read.map(Some).map_err(named)
    }

    fn domains(
        &mut self,
        key: &str,
        written: &Written<Vec<Written<String>>>,
    ) -> Option<Vec<String>> {
        let problems = self.problem_count();
        let mut domains: Vec<String> = Vec::new();
        for domain in &written.value {
            let lower = domain.value.to_ascii_lowercase();
            if let Some((rule, help)) = why_not(&lower) {
                self.refuse_domain(key, &domain.value, domain.at, rule, help);
            } else if domains.contains(&lower) {
                self.refuse(Problem::new(format!("`{key}` has {lower} twice")).at(domain.at));
            } else {
                domains.push(lower);
            }
        }
        if written.value.is_empty() || written.value.len() > defaults::MAX_ACME_DOMAINS {
            let title = format!(
                "`{key}` has {} host names: must be 1 to {}",
                written.value.len(),
                defaults::MAX_ACME_DOMAINS
            );
            self.refuse(Problem::new(title).at(written.at));
        }
        (self.problem_count() == problems).then_some(domains)
    }

    fn refuse_domain(&mut self, key: &str, domain: &str, at: At, rule: &str, help: &str) {
        let title = format!("`{key}` has \"{}\": {rule}", domain.escape_debug());
        self.refuse(Problem::new(title).at(at).help(help));
    }
}

/// The reason why no certificate can be ordered for `domain`, and the remedy.
fn why_not(domain: &str) -> Option<(&'static str, &'static str)> {
    if domain.starts_with("*.") {
        return Some((
            "no certificate with a wildcard can be ordered",
            "authorities issue them after a challenge in DNS only, which a tool for ACME can answer: name its files with `cert` and `key`",
        ));
    }
    let is_label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    let is_name =
        domain.len() <= 253 && domain.split('.').all(is_label) && domain.parse::<IpAddr>().is_err();
    (!is_name).then_some((
        "must be a host name",
        "the name that clients use, such as \"maps.example.org\", without scheme, port and path",
    ))
}
