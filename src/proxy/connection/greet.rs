//! The steps of a connection before its first head, on listeners that are more than plain HTTP: the
//! PROXY header and the TLS handshake.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use http::HeaderValue;
use pingora::protocols::{SocketDigest, Stream};
use tokio::io::AsyncReadExt;
use tokio::time::{Instant, timeout_at};

use super::log_limit::LogLimit;
use super::networks::SharedByNetwork;
use super::preface;
use crate::config::{Config, Listener};
use crate::metrics::Metrics;
use crate::proxy::tls::{Handshake, HandshakeFault, TlsSettings, TlsSocket};
use crate::proxy_header;

/// A listener with a name.
#[derive(Debug)]
pub(super) struct NamedListener {
    name: String,
    tls: TlsSettings,
    /// For lines about client certificates.
    certificate_log: LogLimit,
    /// For lines about headers of the PROXY protocol.
    proxy_header_log: LogLimit,
}

/// The properties that a listener adds to the requests of one connection and to their answers.
#[derive(Debug, Default)]
pub(in crate::proxy) struct Arrival {
    /// The value of `Strict-Transport-Security`.
    pub(in crate::proxy) hsts: Option<HeaderValue>,
    /// The subject of the client's certificate.
    pub(in crate::proxy) client_subject: Option<HeaderValue>,
    /// The connection is one of HTTP/2.
    pub(in crate::proxy) is_http2: bool,
}

impl NamedListener {
    pub(super) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            tls: TlsSettings::default(),
            certificate_log: LogLimit::default(),
            proxy_header_log: LogLimit::default(),
        }
    }

    /// The settings in force.
    pub(super) fn settings<'c>(&self, config: &'c Config) -> Option<&'c Listener> {
        config.listener(&self.name)
    }

    /// Returns the connection once requests can be read from it. `None` if that failed: the
    /// connection is closed and the failure counted.
    pub(super) async fn greet(
        &self,
        stream: Stream,
        config: &Config,
        deadline: Instant,
        metrics: &Metrics,
    ) -> Option<Greeted> {
        let settings = self.settings(config)?;
        let mut stream = stream;
        if !settings.proxy_protocol_from.is_empty()
            && let Err(fault) = take_proxy_header(&mut stream, settings, deadline).await
        {
            metrics.proxy_protocol_refused(fault.reason());
            self.log_proxy_header(fault, &stream);
            return None;
        }
        let Some(tls) = &settings.tls else {
            return greet_without_tls(stream, settings, deadline, metrics).await;
        };
        let acme = config.acme.as_deref().filter(|_| tls.acme.is_some());
        let client = peer_of(&stream);
        match self.tls.accept(stream, tls, acme, deadline).await {
            Ok(Handshake::Challenge) => {
                metrics.handshake("acme");
                tracing::debug!(listener = self.name, "an authority verified a host name");
                None
            }
            Ok(Handshake::Client(socket)) => {
                metrics.handshake("ok");
                let arrival = arrival(&socket, tls.hsts);
                Some(Greeted {
                    arrival: Some(Arc::new(arrival)),
                    ..Greeted::from(socket as Stream)
                })
            }
            Err(fault) => {
                metrics.handshake(fault.reason());
                self.log_handshake(fault, client);
                None
            }
        }
    }

    /// An operator who distributes client certificates must see which client lacks a valid one.
    fn log_handshake(&self, fault: HandshakeFault, client: Option<SocketAddr>) {
        let client = client.map(tracing::field::display);
        match fault {
            HandshakeFault::ClientCertificate(why)
                if self.certificate_log.allows(Instant::now().into_std()) =>
            {
                tracing::warn!(
                    listener = self.name,
                    client,
                    why,
                    "a client is refused because of its certificate"
                );
            }
            _ => tracing::debug!(
                listener = self.name,
                client,
                reason = fault.reason(),
                "a TLS handshake failed"
            ),
        }
    }

    /// A load balancer that is not listed, or that sends no header, loses all its connections.
    /// Checks that only connect are usual.
    fn log_proxy_header(&self, fault: ProxyHeaderFault, stream: &Stream) {
        let is_refused = match fault {
            ProxyHeaderFault::Unlisted | ProxyHeaderFault::Malformed => true,
            ProxyHeaderFault::Timeout | ProxyHeaderFault::Closed => false,
        };
        let (listener, reason) = (&self.name, fault.reason());
        let peer = peer_of(stream).map(tracing::field::display);
        let text = "a connection without a valid header of the PROXY protocol is closed";
        if is_refused && self.proxy_header_log.allows(Instant::now().into_std()) {
            tracing::warn!(listener, peer, reason, "{text}");
        } else {
            tracing::debug!(listener, peer, reason, "{text}");
        }
    }
}

fn peer_of(stream: &Stream) -> Option<SocketAddr> {
    let digest = stream.get_socket_digest()?;
    digest.peer_addr()?.as_inet().copied()
}

/// A connection from which requests can be read.
pub(super) struct Greeted {
    pub(super) stream: Stream,
    pub(super) arrival: Option<Arc<Arrival>>,
    /// The bytes of the first request that were read.
    pub(super) ahead: BytesMut,
    /// The limits that all connections of the client's network share; `None` if it has none.
    pub(super) shared: Option<SharedByNetwork>,
}

impl From<Stream> for Greeted {
    fn from(stream: Stream) -> Self {
        Self {
            stream,
            arrival: None,
            ahead: BytesMut::new(),
            shared: None,
        }
    }
}

/// Finds out whether the client speaks HTTP/2, where it may.
async fn greet_without_tls(
    mut stream: Stream,
    settings: &Listener,
    deadline: Instant,
    metrics: &Metrics,
) -> Option<Greeted> {
    if !settings.http2_without_tls {
        return Some(stream.into());
    }
    let Ok(beginning) = timeout_at(deadline, preface::read(&mut stream)).await else {
        metrics.client_connections.head_timed_out();
        return None;
    };
    let beginning = beginning?;
    let http2 = beginning.is_http2.then(|| Arrival {
        is_http2: true,
        ..Arrival::default()
    });
    Some(Greeted {
        arrival: http2.map(Arc::new),
        ahead: beginning.ahead,
        ..Greeted::from(stream)
    })
}

/// The reason why a connection was closed where it must begin with a header of the PROXY protocol.
/// The variants are the labels of the metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ProxyHeaderFault {
    /// The peer may not send one.
    Unlisted,
    /// The peer sent something else.
    Malformed,
    /// The peer did not complete it in time.
    Timeout,
    /// The peer closed the connection.
    Closed,
}

impl ProxyHeaderFault {
    const fn reason(self) -> &'static str {
        match self {
            Self::Unlisted => "unlisted",
            Self::Malformed => "malformed",
            Self::Timeout => "timeout",
            Self::Closed => "closed",
        }
    }
}

/// Reads the header, and makes its address that of the connection.
async fn take_proxy_header(
    stream: &mut Stream,
    settings: &Listener,
    deadline: Instant,
) -> Result<(), ProxyHeaderFault> {
    let peer = peer_of(stream);
    if !peer.is_some_and(|peer| settings.expects_proxy_header(peer.ip())) {
        return Err(ProxyHeaderFault::Unlisted);
    }
    let client = timeout_at(deadline, read_proxy_header(stream))
        .await
        .unwrap_or(Err(ProxyHeaderFault::Timeout))?;
    if let Some(client) = client {
        let digest = SocketDigest::from_raw_fd(stream.id());
        // It is new, so the address is not set yet.
        digest
            .peer_addr
            .set(Some(client.into()))
            .unwrap_or_default();
        stream.set_socket_digest(digest);
    }
    Ok(())
}

async fn read_proxy_header(stream: &mut Stream) -> Result<Option<SocketAddr>, ProxyHeaderFault> {
    // Bounded by the header's own limits.
    let mut header = Vec::new();
    loop {
        let missing = match proxy_header::read(&header) {
            proxy_header::ProxyHeaderProgress::More(missing) => missing,
            proxy_header::ProxyHeaderProgress::Complete(client) => return Ok(client),
            proxy_header::ProxyHeaderProgress::Malformed => {
                return Err(ProxyHeaderFault::Malformed);
            }
        };
        let at = header.len();
        header.resize(at + missing, 0);
        let read = stream.read(&mut header[at..]).await;
        match read {
            Ok(read @ 1..) => header.truncate(at + read),
            Ok(0) | Err(_) => return Err(ProxyHeaderFault::Closed),
        }
    }
}

fn arrival(socket: &TlsSocket, hsts: Duration) -> Arrival {
    let hsts = (!hsts.is_zero()).then(|| format!("max-age={}", hsts.as_secs()));
    let text = |text: Option<String>| HeaderValue::try_from(text?).ok();
    Arrival {
        hsts: text(hsts),
        client_subject: text(socket.client_subject()),
        is_http2: socket.is_http2(),
    }
}
