//! A client's connection inside TLS.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use pingora::protocols::raw_connect::ProxyDigest;
use pingora::protocols::tls::SslDigest;
use pingora::protocols::{
    GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, Stream,
    TimingDigest, UniqueID, UniqueIDType,
};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::timeout;
use tokio_rustls::server::TlsStream;

use crate::certificates::subject_of;
use crate::proxy::http2;

/// Time for a client to take the end of its connection.
const FAREWELL: Duration = Duration::from_secs(5);

/// See the module's documentation.
#[derive(Debug)]
pub(in crate::proxy) struct TlsSocket {
    stream: TlsStream<Stream>,
    digest: Arc<SslDigest>,
}

impl TlsSocket {
    pub(super) fn new(stream: TlsStream<Stream>) -> Self {
        let (_, session) = stream.get_ref();
        let suite = session.negotiated_cipher_suite();
        let cipher = suite
            .and_then(|suite| suite.suite().as_str())
            .unwrap_or("unknown");
        let version = session
            .protocol_version()
            .and_then(|version| version.as_str())
            .unwrap_or("unknown");
        let digest = SslDigest::new(cipher, version, None, None, Vec::new());
        Self {
            stream,
            digest: Arc::new(digest),
        }
    }

    /// Returns the subject of the client's certificate, which the handshake has verified.
    pub(in crate::proxy) fn client_subject(&self) -> Option<String> {
        let (_, session) = self.stream.get_ref();
        subject_of(session.peer_certificates()?.first()?)
    }

    /// True if both ends have chosen HTTP/2.
    pub(in crate::proxy) fn is_http2(&self) -> bool {
        let (_, session) = self.stream.get_ref();
        session.alpn_protocol() == Some(http2::ALPN)
    }

    fn plain(&self) -> &Stream {
        self.stream.get_ref().0
    }
}

impl AsyncRead for TlsSocket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for TlsSocket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, data)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[async_trait]
impl Shutdown for TlsSocket {
    async fn shutdown(&mut self) {
        // The connection ends either way. A client that reads nothing does not hold it open.
        timeout(FAREWELL, AsyncWriteExt::shutdown(&mut self.stream))
            .await
            .ok();
    }
}

impl UniqueID for TlsSocket {
    fn id(&self) -> UniqueIDType {
        self.plain().id()
    }
}

impl Ssl for TlsSocket {
    fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
        Some(Arc::clone(&self.digest))
    }
}

impl Peek for TlsSocket {}

impl GetTimingDigest for TlsSocket {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        self.plain().get_timing_digest()
    }

    fn get_read_pending_time(&self) -> Duration {
        self.plain().get_read_pending_time()
    }

    fn get_write_pending_time(&self) -> Duration {
        self.plain().get_write_pending_time()
    }
}

impl GetProxyDigest for TlsSocket {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        self.plain().get_proxy_digest()
    }
}

impl GetSocketDigest for TlsSocket {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        self.plain().get_socket_digest()
    }

    fn set_socket_digest(&mut self, digest: SocketDigest) {
        self.stream.get_mut().0.set_socket_digest(digest);
    }
}
