//! An upstream as Pingora's peer.
//!
//! Probes, catalog requests and clients' requests connect with the peer that is made here, so they
//! trust the same certificates and fail for the same reasons.

use std::net::SocketAddr;
use std::sync::Arc;

use pingora::Error;
use pingora::upstreams::peer::HttpPeer;
use pingora::utils::tls::{CertKey, WrappedX509, parse_x509};

use crate::cluster::Upstream;
use crate::config::UpstreamTls;
use crate::hash::{FNV_START, fnv1a_from};

/// Set in the group of connections with files of their own. Groups without it are free for
/// connections that are used once.
const WITH_FILES: u64 = 1 << 63;

/// Maximum number of characters of a fault that has no sentence of its own.
const MAX_FAULT: usize = 200;

/// A part of the text of rustls, and the sentence for an operator. Pingora passes only the text on.
const FAULTS: [(&str, &str); 8] = [
    ("certificate: UnknownIssuer", NOT_TRUSTED),
    // A trusted authority has the same name and another key, as after its renewal.
    ("certificate: BadSignature", NOT_TRUSTED),
    (
        "CaUsedAsEndEntity",
        "its certificate is that of an authority, not of a server",
    ),
    ("certificate expired", "its certificate has expired"),
    (
        "certificate not valid yet",
        "its certificate is not valid yet",
    ),
    ("corrupt message", "it does not speak TLS"),
    (
        "handshake eof",
        "it closed the connection during the TLS handshake",
    ),
    (
        "Connection reset",
        "it reset the connection during the TLS handshake",
    ),
];

const NOT_TRUSTED: &str = "its certificate is signed by an authority that is not trusted (`ca`)";

/// The text of rustls for a certificate with other names.
const OTHER_NAME: &str = "certificate not valid for name";

/// The alerts of a server that does not accept a client's certificate.
const REFUSED: [&str; 7] = [
    "AccessDenied",
    "BadCertificate",
    "CertificateExpired",
    "CertificateRevoked",
    "CertificateUnknown",
    "UnknownCA",
    "UnsupportedCertificate",
];

const ALERT: &str = "received fatal alert: ";

/// Returns the peer for connections to `upstream`, which is at `address`.
pub fn http_peer(upstream: &Upstream, address: SocketAddr) -> HttpPeer {
    let Some(tls) = &upstream.tls else {
        return HttpPeer::new(address, false, upstream.host.clone());
    };
    let mut peer = HttpPeer::new(address, true, tls.server_name.clone());
    if let Some(authorities) = &tls.authorities {
        let certificates = authorities.certificates().iter();
        let wrapped = certificates.map(|one| WrappedX509::new(one.to_vec(), parse_x509));
        peer.options.ca = Some(wrapped.collect());
    }
    if let Some(own) = &tls.certificate {
        let chain = own.chain().iter().map(|one| one.to_vec()).collect();
        peer.client_cert_key = Some(Arc::new(CertKey::new(chain, own.key().to_vec())));
    }
    peer.group_key = group(tls);
    peer
}

/// The group of connections that were opened with the same files. Pingora's pool distinguishes
/// neither authorities nor client certificates of the same serial number.
fn group(tls: &UpstreamTls) -> u64 {
    let authorities = tls.authorities.iter().flat_map(|some| some.certificates());
    let own = tls.certificate.iter().flat_map(|own| own.chain());
    let mut hash = FNV_START;
    let mut is_plain = true;
    for (kind, certificate) in authorities
        .map(|one| (b'a', one))
        .chain(own.map(|one| (b'o', one)))
    {
        is_plain = false;
        hash = fnv1a_from(hash, [kind].into_iter().chain(certificate.iter().copied()));
    }
    if is_plain { 0 } else { hash | WITH_FILES }
}

/// Returns the reason in words why TLS with `upstream` failed, if `error` is about TLS.
pub fn tls_fault(error: &Error, upstream: &Upstream) -> Option<String> {
    let tls = upstream.tls.as_ref()?;
    sentence(&error.to_string(), &tls.server_name)
}

fn sentence(text: &str, server_name: &str) -> Option<String> {
    // After a handshake of TLS 1.3, the refusal of our certificate comes with the first read.
    if let Some((_, alert)) = text.split_once(ALERT) {
        if alert.starts_with("CertificateRequired") {
            return Some("it requires a client certificate (`client_cert`)".to_owned());
        }
        if REFUSED.iter().any(|refused| alert.starts_with(refused)) {
            return Some("it does not accept the client certificate (`client_cert`)".to_owned());
        }
    }
    let (_, why) = text.split_once("TLSHandshakeFailure")?;
    if why.contains(OTHER_NAME) {
        return Some(format!(
            "its certificate is not valid for {server_name} (`server_name`)"
        ));
    }
    let known = FAULTS.iter().find(|(part, _)| why.contains(part));
    Some(known.map_or_else(
        || {
            let why: String = why.chars().take(MAX_FAULT).collect();
            format!("TLS handshake failed:{why}")
        },
        |(_, sentence)| (*sentence).to_owned(),
    ))
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Instant;

    use pingora::upstreams::peer::Peer;

    use super::*;
    use crate::config::{Config, MapEnvironment};
    use crate::control::Control;

    /// The peer of an upstream whose table has these lines.
    fn peer(lines: &str) -> HttpPeer {
        let pair = |name: &str| {
            let pair = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
            (pair.cert.pem(), pair.signing_key.serialize_pem())
        };
        let ((one, key), (two, _)) = (pair("one"), pair("two"));
        let text = format!(
            "[upstreams.main]\nurl = 'http://10.0.0.1'\nrole = 'main'\n[upstreams.a]\nurl = 'https://10.0.0.2'\n{lines}"
        );
        let world = MapEnvironment::new().file("f", text);
        let world = world.file("one", one).file("two", two).file("key", key);
        let config = Config::load(Path::new("f"), &world).unwrap_or_else(|wrong| panic!("{wrong}"));
        let control = Control::new(Arc::new(config.config), Instant::now());
        let snapshot = control.snapshot();
        let name = &snapshot.config.upstreams[1].name;
        let upstream = control.upstream(name).unwrap();
        http_peer(&upstream, upstream.address.known().unwrap())
    }

    #[test]
    fn connections_that_were_opened_with_other_files_are_not_reused() {
        let lines = [
            "",
            "server_name = 'gs.internal'",
            "ca = 'one'",
            "ca = 'two'",
            "client_cert = 'one'\nclient_key = 'key'",
            "ca = 'one'\nclient_cert = 'one'\nclient_key = 'key'",
        ];
        let mut pools: Vec<u64> = lines.iter().map(|lines| peer(lines).reuse_hash()).collect();
        pools.sort_unstable();
        pools.dedup();
        assert_eq!(pools.len(), lines.len());
    }

    #[test]
    fn every_peer_by_https_checks_the_name_and_the_certificate() {
        let peer = peer("ca = 'one'");
        assert!(peer.is_tls() && peer.verify_cert() && peer.verify_hostname());
        assert_eq!(
            (peer.sni.as_str(), peer.options.ca.unwrap().len()),
            ("10.0.0.2", 1)
        );
    }

    #[test]
    fn a_fault_of_tls_is_one_sentence_and_another_is_none() {
        let of = |text: &str| sentence(text, "gs.example.org");
        let handshake = |why: &str| {
            of(&format!(
                " TLSHandshakeFailure context: TLS connect() failed: {why}, SNI: gs.example.org"
            ))
        };
        assert_eq!(
            handshake("invalid peer certificate: UnknownIssuer").unwrap(),
            "its certificate is signed by an authority that is not trusted (`ca`)"
        );
        assert_eq!(
            handshake("invalid peer certificate: certificate not valid for name \"x\"").unwrap(),
            "its certificate is not valid for gs.example.org (`server_name`)"
        );
        assert_eq!(
            of(" ReadError context: x cause: received fatal alert: CertificateRequired").unwrap(),
            "it requires a client certificate (`client_cert`)"
        );
        assert_eq!(
            handshake("received fatal alert: UnknownCA").unwrap(),
            "it does not accept the client certificate (`client_cert`)"
        );
        let unknown = handshake(&"x".repeat(1000)).unwrap();
        assert!(unknown.len() < 300 && unknown.starts_with("TLS handshake failed:"));
        assert_eq!(of(" ConnectRefused context: Fail to connect"), None);
        assert_eq!(of(" ReadError context: Connection reset by peer"), None);
    }
}
