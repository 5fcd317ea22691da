//! The choice among several certificates by the host name that a client requests.

use std::sync::Arc;

use rustls::SignatureScheme;
use rustls::sign::CertifiedKey;

use super::ServerCertificate;

/// Returns the certificate for a client that requests `host` and can check signatures of
/// `schemes`.
///
/// A certificate for exactly this host is preferred to one with a wildcard. Without either, the
/// first in the list is used, as for clients that name no host. Among equals, the first one with a
/// key that the client can use is chosen, so an RSA and an ECDSA certificate may share names.
pub fn choose<'c>(
    certificates: &'c [ServerCertificate],
    host: Option<&str>,
    schemes: &[SignatureScheme],
) -> Option<&'c Arc<CertifiedKey>> {
    let host = host.map(str::to_ascii_lowercase);
    let rank = |certificate: &ServerCertificate| {
        host.as_deref()
            .map_or(Match::None, |host| certificate.matches(host))
    };
    let usable = certificates
        .iter()
        .filter(|certificate| certificate.certified.key.choose_scheme(schemes).is_some());
    // The first of several with the same rank.
    let best = usable.min_by_key(|certificate| rank(certificate));
    best.map(|certificate| &certificate.certified)
}

/// How well a certificate fits a host; the best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Match {
    Exact,
    Wildcard,
    None,
}

impl ServerCertificate {
    /// A wildcard stands for exactly one label, the leftmost (RFC 9525 section 6.3).
    fn matches(&self, host: &str) -> Match {
        if self.names.iter().any(|name| name == host) {
            return Match::Exact;
        }
        let parent = host.split_once('.').map(|(_, parent)| parent);
        let covers = |name: &String| parent.is_some() && name.strip_prefix("*.") == parent;
        if self.names.iter().any(covers) {
            Match::Wildcard
        } else {
            Match::None
        }
    }
}
