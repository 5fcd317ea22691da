//! TLS-ALPN-01 (RFC 8737): a certificate authority verifies a host name by a handshake.

use std::io;
use std::sync::Arc;

use pingora::protocols::Stream;
use rustls::ServerConfig;
use rustls::crypto::ring::default_provider;
use rustls::server::{Acceptor, ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::io::AsyncWriteExt;
use tokio_rustls::LazyConfigAcceptor;

use super::Handshake;
use crate::acme::challenges;
use crate::config::Acme;

/// Does the handshake of a client with `config`, or that of an authority with the certificate for
/// its challenge.
pub(super) async fn accept(
    stream: Stream,
    config: Arc<ServerConfig>,
    acme: &Acme,
) -> io::Result<Handshake> {
    let hello = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
    let host = challenged_host(&hello.client_hello());
    let Some(host) = host else {
        return hello.into_stream(config).await.map(Handshake::done);
    };
    let folder = acme.folder.clone();
    let found = tokio::task::spawn_blocking(move || challenges::certificate_for(&folder, &host));
    let certificate = found.await.ok().flatten();
    let settings = settings(certificate).map_err(io::Error::other)?;
    let mut stream = hello.into_stream(settings).await?;
    // The authority has seen the certificate, and may be gone. Requests have no place here.
    stream.shutdown().await.ok();
    Ok(Handshake::Challenge)
}

/// The host of a handshake that offers nothing but the protocol of challenges.
fn challenged_host(hello: &ClientHello<'_>) -> Option<String> {
    let mut protocols = hello.alpn()?;
    let is_challenge = protocols.next() == Some(challenges::TLS_ALPN) && protocols.next().is_none();
    is_challenge.then(|| hello.server_name().unwrap_or_default().to_owned())
}

/// Without a certificate, the handshake fails.
fn settings(certificate: Option<Arc<CertifiedKey>>) -> Result<Arc<ServerConfig>, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(OneCertificate(certificate)));
    config.alpn_protocols.push(challenges::TLS_ALPN.to_vec());
    Ok(Arc::new(config))
}

#[derive(Debug)]
struct OneCertificate(Option<Arc<CertifiedKey>>);

impl ResolvesServerCert for OneCertificate {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.clone()
    }
}
