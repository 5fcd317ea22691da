//! TLS towards clients.
//!
//! geofront does the handshake itself: Pingora's listeners read their certificates once and have no
//! choice by host name. What comes out is a [`TlsSocket`], which the rest treats as any connection.
//!
//! ```text
//! accepted -- ClientHello --> certificate by host name, handshake --> TlsSocket --> heads, requests
//!     |                                                                  ^
//!     +-- one deadline for all of it and the first head -----------------+
//! ```

mod challenge;
mod server_config;
mod socket;

use std::io;
use std::sync::Arc;

use parking_lot::Mutex;
use pingora::protocols::Stream;
use rustls::{CertificateError, ServerConfig};
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::config::{Acme, ListenerTls};
pub(in crate::proxy) use socket::TlsSocket;

/// The TLS settings of one listener as the handshake needs them.
#[derive(Debug, Default)]
pub(in crate::proxy) struct TlsSettings {
    /// The settings in use, and the configuration that they were made of.
    made: Mutex<Option<(Arc<ListenerTls>, Arc<ServerConfig>)>>,
}

/// A handshake that was completed.
pub(in crate::proxy) enum Handshake {
    /// A client's handshake.
    Client(Box<TlsSocket>),
    /// An authority's handshake, which is complete with the certificate (TLS-ALPN-01).
    Challenge,
}

impl Handshake {
    fn done(stream: TlsStream<Stream>) -> Self {
        Self::Client(Box::new(TlsSocket::new(stream)))
    }
}

/// The reason why a handshake failed. The variants are the labels of the metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::proxy) enum HandshakeFault {
    /// The client did not complete it in time.
    Timeout,
    /// The client closed the connection.
    Closed,
    /// The client sent something else than TLS, such as plain HTTP.
    NotTls,
    /// The client did not accept our certificate, or something else of ours.
    RefusedByClient,
    /// The client has no certificate, or none that is accepted, for this reason.
    ClientCertificate(&'static str),
    /// The client supports no version, cipher or protocol that we support.
    Incompatible,
    /// Another violation of the protocol.
    Protocol,
    /// The listener has no certificate yet.
    NoCertificate,
    /// The settings of the listener cannot be used.
    Internal,
}

impl HandshakeFault {
    /// The name in metrics and logs.
    pub(in crate::proxy) const fn reason(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Closed => "closed",
            Self::NotTls => "not-tls",
            Self::RefusedByClient => "refused-by-client",
            Self::ClientCertificate(_) => "client-certificate",
            Self::Incompatible => "incompatible",
            Self::Protocol => "protocol",
            Self::NoCertificate => "no-certificate",
            Self::Internal => "internal",
        }
    }
}

impl TlsSettings {
    /// Does the handshake on a new connection. `acme` is set if the certificate of the listener is
    /// ordered by ACME; handshakes of the authority end with it.
    pub(in crate::proxy) async fn accept(
        &self,
        stream: Stream,
        tls: &Arc<ListenerTls>,
        acme: Option<&Acme>,
        deadline: Instant,
    ) -> Result<Handshake, HandshakeFault> {
        let config = self.of(tls)?;
        let handshake = async {
            match acme {
                None => TlsAcceptor::from(config)
                    .accept(stream)
                    .await
                    .map(Handshake::done),
                Some(acme) => challenge::accept(stream, config, acme).await,
            }
        };
        match timeout_at(deadline, handshake).await {
            Ok(Ok(handshake)) => Ok(handshake),
            Ok(Err(_)) if tls.certificates.is_empty() => Err(HandshakeFault::NoCertificate),
            Ok(Err(error)) => Err(fault_of(&error)),
            Err(_) => Err(HandshakeFault::Timeout),
        }
    }

    /// Returns the settings made of `tls`. They stay the same while `tls` does, so that clients can
    /// resume their sessions.
    fn of(&self, tls: &Arc<ListenerTls>) -> Result<Arc<ServerConfig>, HandshakeFault> {
        let mut made = self.made.lock();
        if let Some((from, config)) = &mut *made {
            if Arc::ptr_eq(from, tls) {
                return Ok(Arc::clone(config));
            }
            if from == tls {
                *from = Arc::clone(tls);
                return Ok(Arc::clone(config));
            }
        }
        let config = server_config::make(tls).map_err(|error| {
            tracing::error!(%error, "the TLS settings of a listener cannot be used");
            HandshakeFault::Internal
        })?;
        *made = Some((Arc::clone(tls), Arc::clone(&config)));
        Ok(config)
    }
}

fn fault_of(error: &io::Error) -> HandshakeFault {
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref());
    match cause {
        Some(rustls::Error::NoCertificatesPresented) => {
            HandshakeFault::ClientCertificate("it has none")
        }
        Some(rustls::Error::InvalidCertificate(error)) => {
            HandshakeFault::ClientCertificate(fault_of_certificate(error))
        }
        Some(rustls::Error::AlertReceived(_)) => HandshakeFault::RefusedByClient,
        Some(rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType)) => {
            HandshakeFault::NotTls
        }
        Some(rustls::Error::PeerIncompatible(_) | rustls::Error::NoApplicationProtocol) => {
            HandshakeFault::Incompatible
        }
        Some(_) => HandshakeFault::Protocol,
        None => HandshakeFault::Closed,
    }
}

/// Returns the reason in words why a client's certificate is not accepted.
fn fault_of_certificate(error: &CertificateError) -> &'static str {
    match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "it has expired",
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "it is not valid yet"
        }
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "no authority in `client_ca` has signed it"
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "it is not for clients"
        }
        _ => "it is malformed",
    }
}
