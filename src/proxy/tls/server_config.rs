//! Converts the TLS settings of a listener into rustls' configuration.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::ring::{Ticketer, default_provider};
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};

use crate::certificates::{ServerCertificate, choose};
use crate::config::{ClientCertificate, ListenerTls};
use crate::proxy::http2;

/// The protocol that is always offered inside TLS.
const HTTP11: &[u8] = b"http/1.1";

/// Makes the settings; the error is for the log.
pub(super) fn make(tls: &ListenerTls) -> Result<Arc<ServerConfig>, String> {
    let provider = Arc::new(default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(|error| error.to_string())?;
    let builder = match &tls.client_authorities {
        None => builder.with_no_client_auth(),
        Some(authorities) => {
            let roots = Arc::clone(authorities.roots());
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
            let verifier = match tls.client_certificate {
                ClientCertificate::Required => verifier,
                ClientCertificate::Optional => verifier.allow_unauthenticated(),
            };
            builder.with_client_cert_verifier(verifier.build().map_err(|error| error.to_string())?)
        }
    };
    let certificates = tls.certificates.clone();
    let mut config = builder.with_cert_resolver(Arc::new(ByHostName { certificates }));
    if tls.http2 {
        config.alpn_protocols.push(http2::ALPN.to_vec());
    }
    config.alpn_protocols.push(HTTP11.to_vec());
    // Sessions are resumed from tickets that clients keep, so no client fills our memory.
    config.ticketer = Ticketer::new().map_err(|error| error.to_string())?;
    Ok(Arc::new(config))
}

/// Chooses the certificate for the host that a client requests.
#[derive(Debug)]
struct ByHostName {
    certificates: Vec<ServerCertificate>,
}

impl ResolvesServerCert for ByHostName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        choose(
            &self.certificates,
            hello.server_name(),
            hello.signature_schemes(),
        )
        .cloned()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn no_request_is_accepted_before_the_handshake_is_complete() {
        let tls = ListenerTls {
            certificates: Vec::new(),
            acme: None,
            files: Vec::new(),
            client_authorities: None,
            client_ca: None,
            client_certificate: ClientCertificate::Optional,
            http2: true,
            hsts: Duration::ZERO,
            kept: Vec::new(),
        };
        // Early data (0-RTT) can be sent again by anyone who has seen it.
        assert_eq!(make(&tls).unwrap().max_early_data_size, 0);
    }
}
