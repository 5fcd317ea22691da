//! The choice of a certificate by the host name that a client requests.

use std::sync::Arc;

use rustls::SignatureScheme;
use rustls::sign::CertifiedKey;

use super::ServerCertificate;

/// Returns the certificate for a client that requests `host` and supports the signature schemes
/// `schemes`; `None` if the client supports the key of no certificate.
///
/// Only certificates with a key that the client supports are considered, so an RSA and an ECDSA
/// certificate may have the same names. A certificate for exactly this host is preferred to one
/// with a wildcard. If neither exists, or the client names no host, the first certificate in the
/// list is used. Among certificates that match equally well, the first one in the list is used.
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
    // `min_by_key` returns the first of several minima.
    let best = usable.min_by_key(|certificate| rank(certificate));
    best.map(|certificate| &certificate.certified)
}

/// How well a certificate matches a host, ordered from best to worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Match {
    Exact,
    Wildcard,
    None,
}

impl ServerCertificate {
    /// Compares the certificate's names with `host`. A wildcard stands for exactly one label, the
    /// leftmost (RFC 9525 section 6.3).
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
