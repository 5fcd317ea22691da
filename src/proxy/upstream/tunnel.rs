//! The connection of a WebSocket to its upstream.
//!
//! Pingora passes the end of a request, which has no body here, through a channel to the half that
//! talks to the upstream. This half takes from the channel and from the connection in any order
//! (`proxy_handle_upstream` of pingora-proxy 0.9.1). If it takes the 101 first, it takes the end of
//! the request for the end of the tunnel, and closes both sides. So this connection holds back what
//! the upstream sends until the end of the request has arrived there: Pingora flushes the
//! connection then, although nothing is left to send.
//!
//! ```text
//! Handshake -- connected --> Request -- the request ends --> End -- flush --> Open
//! ```

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use async_trait::async_trait;
use http::header::UPGRADE;
use pingora::connectors::L4Connect;
use pingora::protocols::l4::ext;
use pingora::protocols::l4::socket::SocketAddr;
use pingora::protocols::l4::stream::Stream;
use pingora::protocols::l4::virt::{VirtualSockOpt, VirtualSocket, VirtualSocketStream};
use pingora::proxy::Session;
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorType, Result};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// TLS is set up, if the upstream has it: everything passes.
const HANDSHAKE: u8 = 0;
/// The request is on its way: nothing of the upstream passes.
const REQUEST: u8 = 1;
/// The end of the request is on its way: nothing of the upstream passes until the next flush.
const END: u8 = 2;
/// Everything passes.
const OPEN: u8 = 3;

/// The progress of a request on its [`held_connection`].
#[derive(Clone, Debug)]
pub(in crate::proxy) struct RequestProgress(Arc<AtomicU8>);

impl RequestProgress {
    fn new() -> Self {
        Self(Arc::new(AtomicU8::new(HANDSHAKE)))
    }

    /// The connection is set up. The request follows.
    pub(in crate::proxy) fn begins(&self) {
        self.0.store(REQUEST, Ordering::Relaxed);
    }

    /// The end of the request follows.
    pub(in crate::proxy) fn ends(&self) {
        self.0.store(END, Ordering::Relaxed);
    }

    fn holds(&self) -> bool {
        matches!(self.0.load(Ordering::Relaxed), REQUEST | END)
    }

    /// Returns whether this flush ends the hold.
    fn flushed(&self) -> bool {
        let (is_end, relaxed) = (END, Ordering::Relaxed);
        self.0
            .compare_exchange(is_end, OPEN, relaxed, relaxed)
            .is_ok()
    }
}

/// Whether a request without a body asks for a WebSocket, the only tunnel that Pingora offers to
/// upstreams.
pub(in crate::proxy) fn is_websocket(session: &mut Session) -> bool {
    let upgrade = session.req_header().headers.get(UPGRADE);
    upgrade.is_some_and(|to| to.as_bytes().eq_ignore_ascii_case(b"websocket"))
        && session.downstream_session.is_body_empty()
}

/// Makes `peer` connect anew, by a connection that is held back as described above. A connection of
/// this kind has no file descriptor by which Pingora's pool could know it, so it must not be kept
/// for reuse.
pub(in crate::proxy) fn held_connection(peer: &mut HttpPeer) -> RequestProgress {
    let progress = RequestProgress::new();
    peer.options.custom_l4 = Some(Arc::new(Connector {
        progress: progress.clone(),
        timeout: peer.options.connection_timeout,
    }));
    progress
}

#[derive(Debug)]
struct Connector {
    progress: RequestProgress,
    timeout: Option<Duration>,
}

#[async_trait]
impl L4Connect for Connector {
    async fn connect(&self, address: &SocketAddr) -> Result<Stream> {
        let SocketAddr::Inet(address) = address else {
            return Error::e_explain(ErrorType::ConnectError, "not an IP address");
        };
        let connecting = ext::connect(address, None);
        let connected = match self.timeout {
            None => connecting.await,
            Some(timeout) => tokio::time::timeout(timeout, connecting)
                .await
                .unwrap_or_else(|_| Error::e_explain(ErrorType::ConnectTimedout, "connecting")),
        };
        let socket = Held::new(connected?, self.progress.clone());
        Ok(VirtualSocketStream::new(Box::new(socket)).into())
    }
}

/// A connection that holds back what it receives. See the module's documentation.
struct Held<S> {
    socket: S,
    progress: RequestProgress,
    /// Waits for the end of the hold.
    reader: Option<Waker>,
}

impl<S> Held<S> {
    const fn new(socket: S, progress: RequestProgress) -> Self {
        Self {
            socket,
            progress,
            reader: None,
        }
    }
}

impl<S> fmt::Debug for Held<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Held")
            .field("progress", &self.progress)
            .finish_non_exhaustive()
    }
}

impl VirtualSocket for Held<TcpStream> {
    fn set_socket_option(&self, option: VirtualSockOpt) -> io::Result<()> {
        match option {
            VirtualSockOpt::NoDelay => self.socket.set_nodelay(true),
            VirtualSockOpt::KeepAlive(keepalive) => {
                ext::set_tcp_keepalive(&self.socket, &keepalive).map_err(io::Error::other)
            }
            // Pingora may come to know others. Without them, the connection works.
            _ => Ok(()),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Held<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.progress.holds() {
            self.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Pin::new(&mut self.socket).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Held<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.progress.flushed()
            && let Some(reader) = self.reader.take()
        {
            reader.wake();
        }
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write_vectored(cx, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    #[tokio::test]
    async fn the_answer_passes_after_the_flush_that_follows_the_end_of_the_request() {
        let (socket, mut upstream) = duplex(64);
        let progress = RequestProgress::new();
        let mut held = Held::new(socket, progress.clone());
        upstream.write_all(b"handshake, 101").await.unwrap();
        let mut handshake = [0; 11];
        held.read_exact(&mut handshake).await.unwrap();

        progress.begins();
        let mut answer = [0; 3];
        assert!(held.read(&mut answer).now_or_never().is_none());
        held.write_all(b"head").await.unwrap();
        held.flush().await.unwrap();
        assert!(held.read(&mut answer).now_or_never().is_none());

        progress.ends();
        assert!(held.read(&mut answer).now_or_never().is_none());
        held.flush().await.unwrap();
        held.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"101");
    }

    #[tokio::test]
    async fn the_flush_wakes_a_reader_that_waits() {
        let (socket, mut upstream) = duplex(64);
        let progress = RequestProgress::new();
        progress.ends();
        let (mut reader, mut writer) = tokio::io::split(Held::new(socket, progress));
        upstream.write_all(b"101").await.unwrap();
        let mut answer = [0; 3];
        let read = tokio::spawn(async move { reader.read_exact(&mut answer).await });
        tokio::task::yield_now().await;
        writer.flush().await.unwrap();
        assert_eq!(read.await.unwrap().unwrap(), 3);
    }
}
