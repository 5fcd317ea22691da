//! The authority's own requests to the host names in an order.

use std::net::SocketAddr;

use ring::digest::{SHA256, digest};
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::acme::challenger::{self, AnyCertificate};
use crate::client::Client;

/// HTTP-01, RFC 8555 section 8.3.
pub(super) async fn verify_http(
    address: SocketAddr,
    domain: &str,
    token: &str,
    expected: &str,
) -> Result<(), String> {
    let mut client = Client::connect(address)
        .await
        .map_err(|error| error.to_string())?;
    let request = format!(
        "GET /.well-known/acme-challenge/{token} HTTP/1.1\r\nHost: {domain}\r\nConnection: close\r\n\r\n"
    );
    let answer = client
        .request(request.as_bytes())
        .await
        .map_err(|error| error.to_string())?;
    if answer.status == 200 && answer.text() == expected {
        Ok(())
    } else {
        Err(format!("the answer of {domain} was {}", answer.status))
    }
}

/// TLS-ALPN-01, RFC 8737 section 3.
pub(super) async fn verify_tls(
    address: SocketAddr,
    domain: &str,
    expected: &str,
) -> Result<(), String> {
    let connector = TlsConnector::from(AnyCertificate::client(&[b"acme-tls/1"]));
    let stream = TcpStream::connect(address)
        .await
        .map_err(|error| error.to_string())?;
    let name = ServerName::try_from(domain.to_owned()).unwrap();
    let stream = connector
        .connect(name, stream)
        .await
        .map_err(|error| error.to_string())?;
    let (_, session) = stream.get_ref();
    if session.alpn_protocol() != Some(b"acme-tls/1") {
        return Err(format!("{domain} does not speak acme-tls/1"));
    }
    let certificate = &session.peer_certificates().unwrap()[0];
    challenger::check(
        certificate,
        domain,
        digest(&SHA256, expected.as_bytes()).as_ref(),
    )
}
