//! The challenges of the running orders: what the authority will request to verify that a host name
//! is ours.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use rcgen::{CertificateParams, CustomExtension, KeyPair, SanType};
use rustls::crypto::ring::default_provider;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;
use serde::{Deserialize, Serialize};

use super::files;

/// The beginning of the paths that authorities request (RFC 8555 section 8.3).
pub const HTTP01_PATH: &[u8] = b"/.well-known/acme-challenge/";

/// The protocol of the handshakes that authorities do (RFC 8737 section 4).
pub const TLS_ALPN: &[u8] = b"acme-tls/1";

const FILE: &str = "challenges.json";

/// The challenge for one host name, and the response that the authority expects.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingChallenge {
    /// The host name in lower case.
    pub domain: String,
    /// The last part of the path for HTTP-01.
    pub token: String,
    /// The answer to HTTP-01.
    pub key_authorization: String,
    /// The SHA-256 of the answer in Base64, for the certificate of TLS-ALPN-01.
    pub digest: String,
}

/// Writes the challenges of a running order, for all processes that serve.
pub fn publish(folder: &Path, challenges: &[PendingChallenge]) -> io::Result<()> {
    let text = serde_json::to_string_pretty(challenges)?;
    files::replace(&path(folder), &text)
}

/// Removes the challenges at the end of an order.
pub fn withdraw(folder: &Path) -> io::Result<()> {
    files::remove(&path(folder))
}

/// Returns the answer to HTTP-01 for `token`; `None` if no order of ours waits for it. Reads the
/// file anew, because another process may have ordered.
pub fn answer_to(folder: &Path, token: &[u8]) -> Option<String> {
    let found = pending(folder)
        .into_iter()
        .find(|challenge| challenge.token.as_bytes() == token)?;
    Some(found.key_authorization)
}

/// Returns the certificate for a handshake of TLS-ALPN-01 with `host`; `None` if no order of ours
/// waits for it.
pub fn certificate_for(folder: &Path, host: &str) -> Option<Arc<CertifiedKey>> {
    let found = pending(folder)
        .into_iter()
        .find(|challenge| challenge.domain.eq_ignore_ascii_case(host))?;
    let made = certificate(&found);
    if made.is_none() {
        tracing::warn!(
            host = found.domain,
            "cannot make the certificate for a challenge of TLS-ALPN-01"
        );
    }
    made
}

fn path(folder: &Path) -> PathBuf {
    folder.join(FILE)
}

/// Returns no challenges for a file that cannot be used: the order then ends without a certificate,
/// and reports the failure.
fn pending(folder: &Path) -> Vec<PendingChallenge> {
    let text = files::read(&path(folder)).ok().flatten();
    text.and_then(|text| serde_json::from_str(&text).ok())
        .unwrap_or_default()
}

/// Makes a self-signed certificate with the host name alone and the digest (RFC 8737 section 3).
fn certificate(challenge: &PendingChallenge) -> Option<Arc<CertifiedKey>> {
    let digest = BASE64_STANDARD.decode(&challenge.digest).ok()?;
    if digest.len() != 32 {
        return None;
    }
    let mut params = CertificateParams::default();
    let name = challenge.domain.as_str().try_into().ok()?;
    params.subject_alt_names = vec![SanType::DnsName(name)];
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(&digest)];
    let key = KeyPair::generate().ok()?;
    let certificate = params.self_signed(&key).ok()?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let chain = vec![certificate.der().clone()];
    // The constructor that compares the two refuses the extension, which is critical.
    let key = default_provider().key_provider.load_private_key(key).ok()?;
    Some(Arc::new(CertifiedKey::new(chain, key)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn challenge(domain: &str, token: &str) -> PendingChallenge {
        PendingChallenge {
            domain: domain.to_owned(),
            token: token.to_owned(),
            key_authorization: format!("{token}.thumbprint"),
            digest: BASE64_STANDARD.encode([7; 32]),
        }
    }

    #[test]
    fn only_challenges_of_a_running_order_are_answered() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        assert_eq!(answer_to(folder, b"one"), None);
        publish(folder, &[challenge("a.example", "one")]).unwrap();
        assert_eq!(answer_to(folder, b"one").as_deref(), Some("one.thumbprint"));
        assert_eq!(answer_to(folder, b"on"), None);
        assert_eq!(answer_to(folder, b""), None);
        assert!(certificate_for(folder, "A.example").is_some());
        assert!(certificate_for(folder, "b.example").is_none());
        withdraw(folder).unwrap();
        assert_eq!(answer_to(folder, b"one"), None);
        assert!(certificate_for(folder, "a.example").is_none());
    }

    #[test]
    fn a_torn_file_answers_nothing_wherever_it_is_torn() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        publish(folder, &[challenge("a.example", "one")]).unwrap();
        let whole = std::fs::read(path(folder)).unwrap();
        for length in 0..whole.len() {
            std::fs::write(path(folder), &whole[..length]).unwrap();
            assert_eq!(answer_to(folder, b"one"), None, "{length}");
        }
    }
}
