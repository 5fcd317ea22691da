//! The configuration of one listening address beyond plain HTTP.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use super::{AcmeCertificate, Config, ListenAddress, SocketMode};
use crate::certificates::{Authorities, ServerCertificate, Validity};

/// A certificate that expires within this time is reported: those of most authorities are renewed
/// a month before their end.
const RENEWAL: i64 = 14 * DAY;
const DAY: i64 = 24 * 60 * 60;

/// One listening address with a name.
#[derive(Clone, Debug, PartialEq)]
pub struct Listener {
    pub name: String,
    /// A change needs a restart.
    pub address: ListenAddress,
    /// The permissions of a unix socket. A change needs a restart.
    pub socket_mode: SocketMode,
    /// `None` for plain HTTP.
    pub tls: Option<Arc<ListenerTls>>,
    /// The load balancers whose connections begin with a header of the PROXY protocol; all others
    /// are closed. Empty if no connection does.
    pub proxy_protocol_from: Vec<IpNet>,
    /// Without TLS: whether clients that know so beforehand may speak HTTP/2 (h2c).
    pub http2_without_tls: bool,
    /// The port of the https listener that requests are redirected to; `None` to serve them here.
    pub https_redirect: Option<u16>,
}

/// The TLS settings of a listener.
#[derive(Clone, Debug, PartialEq)]
pub struct ListenerTls {
    /// The first serves clients that name no host, or an unknown one. Empty only while the first
    /// certificate by ACME is not there.
    pub certificates: Vec<ServerCertificate>,
    /// The certificate that is ordered by ACME.
    pub acme: Option<AcmeCertificate>,
    /// The files of each certificate and of its key.
    pub files: Vec<(PathBuf, PathBuf)>,
    /// The authorities whose client certificates are accepted; `None` to request none.
    pub client_authorities: Option<Authorities>,
    pub client_ca: Option<PathBuf>,
    /// Whether clients without a certificate are refused.
    pub client_certificate: ClientCertificate,
    /// Whether clients may choose HTTP/2.
    pub http2: bool,
    /// Time for which browsers may use https only; zero to leave that open.
    pub hsts: Duration,
    /// The files that can no longer be used, with the reasons. What they held before stays in use.
    pub kept: Vec<String>,
}

impl Listener {
    /// True if connections of `peer` begin with a header of the PROXY protocol.
    pub fn expects_proxy_header(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        self.proxy_protocol_from
            .iter()
            .any(|net| net.contains(&peer))
    }
}

impl ListenerTls {
    /// The certificate that is in use from these files.
    pub(super) fn certificate_in(&self, files: &(PathBuf, PathBuf)) -> Option<&ServerCertificate> {
        let at = self.files.iter().position(|used| used == files)?;
        self.certificates.get(at)
    }
}

/// Whether a client must have a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientCertificate {
    Required,
    Optional,
}

/// A fact about a certificate that an operator should act on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateTrouble {
    /// The certificate and its listener.
    pub subject: String,
    /// The trouble in words. The words may change while the trouble stays the same.
    pub what: String,
    /// The remedy in one sentence.
    pub remedy: &'static str,
}

impl CertificateTrouble {
    /// A trouble that ends with other files.
    const fn of_files(subject: String, what: String) -> Self {
        Self {
            subject,
            what,
            remedy: "put valid certificates and keys into the files that the configuration names; \
                     geofront takes them over at once",
        }
    }
}

impl Config {
    /// Returns the troubles with certificates at `now`, in seconds since 1970.
    pub fn certificate_troubles(&self, now: i64) -> Vec<CertificateTrouble> {
        let mut troubles = self.upstream_certificate_troubles(now);
        for listener in &self.listeners {
            let Some(tls) = listener.tls.as_deref() else {
                continue;
            };
            for certificate in &tls.certificates {
                // A certificate by ACME has a trouble only when its renewal fails.
                let renewal = if tls.acme.is_none() { RENEWAL } else { 0 };
                if let Some(what) = outside_of(certificate.validity(), now, renewal) {
                    let name = certificate.name();
                    let subject = format!("certificate {name} of listener {}", listener.name);
                    troubles.push(CertificateTrouble::of_files(subject, what));
                }
            }
            if !tls.kept.is_empty() {
                let subject = format!("files of listener {}", listener.name);
                let kept = tls.kept.join("; ");
                let what = format!("what they held before stays in use: {kept}");
                troubles.push(CertificateTrouble::of_files(subject, what));
            }
        }
        troubles
    }
}

impl Config {
    /// Returns the troubles with the files for https to upstreams. Several upstreams may share
    /// them.
    fn upstream_certificate_troubles(&self, now: i64) -> Vec<CertificateTrouble> {
        let mut troubles: Vec<CertificateTrouble> = Vec::new();
        let upstreams = self.upstreams.iter();
        for tls in upstreams.filter_map(|upstream| upstream.tls.as_deref()) {
            let invalid = tls.certificate.as_ref().and_then(|own| {
                let what = outside_of(own.validity(), now, RENEWAL)?;
                let subject = format!("client certificate {} for upstreams", own.name());
                Some((subject, what))
            });
            let kept = tls.kept.iter().map(|kept| {
                let (table, why) = kept.split_once(": ").unwrap_or(("", kept));
                let what = format!("what it held before stays in use: {why}");
                (format!("a file of {table} for https"), what)
            });
            for (subject, what) in invalid.into_iter().chain(kept) {
                let trouble = CertificateTrouble::of_files(subject, what);
                if !troubles.contains(&trouble) {
                    troubles.push(trouble);
                }
            }
        }
        troubles
    }
}

impl Config {
    /// The listeners with a certificate by ACME.
    pub fn acme_listeners(&self) -> impl Iterator<Item = (&str, &ListenerTls, &AcmeCertificate)> {
        self.listeners.iter().filter_map(|listener| {
            let tls = listener.tls.as_deref()?;
            Some((listener.name.as_str(), tls, tls.acme.as_ref()?))
        })
    }
}

/// Returns the trouble in words if the certificate is not valid at `now`, or ends within `renewal`
/// seconds.
fn outside_of(validity: Validity, now: i64, renewal: i64) -> Option<String> {
    let (missing, left) = (validity.not_before - now, validity.not_after - now);
    if missing > 0 {
        return Some(match missing / DAY {
            0 => "it becomes valid within a day".to_owned(),
            1 => "it becomes valid in a day".to_owned(),
            days => format!("it becomes valid in {days} days"),
        });
    }
    (left < renewal).then(|| remaining(left))
}

/// The time until the end of a certificate in words.
fn remaining(left: i64) -> String {
    match (left < 0, left.abs() / DAY) {
        (true, 0) => "it has expired today".to_owned(),
        (true, 1) => "it expired a day ago".to_owned(),
        (true, days) => format!("it expired {days} days ago"),
        (false, 0) => "it expires within a day".to_owned(),
        (false, 1) => "it expires in a day".to_owned(),
        (false, days) => format!("it expires in {days} days"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_reported_before_its_time_and_from_two_weeks_before_its_end() {
        let validity = Validity {
            not_before: 100 * DAY,
            not_after: 200 * DAY,
        };
        let at = |now| outside_of(validity, now, RENEWAL);
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(at(90 * DAY), text("it becomes valid in 10 days"));
        assert_eq!(at(100 * DAY - 1), text("it becomes valid within a day"));
        assert_eq!((at(100 * DAY), at(186 * DAY)), (None, None));
        assert_eq!(at(186 * DAY + 1), text("it expires in 13 days"));
        assert_eq!(at(200 * DAY + 1), text("it has expired today"));
        assert_eq!(outside_of(validity, 199 * DAY, 0), None);
    }

    #[test]
    fn the_time_until_the_end_is_shown_in_days() {
        for (left, text) in [
            (-2 * DAY, "it expired 2 days ago"),
            (-1, "it has expired today"),
            (0, "it expires within a day"),
            (DAY, "it expires in a day"),
            (13 * DAY + 5, "it expires in 13 days"),
        ] {
            assert_eq!(remaining(left), text);
        }
    }
}
