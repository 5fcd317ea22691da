//! A client's connection, whose writes go out together.
//!
//! Pingora writes the head and the body of an answer apart. Sent apart they cost two system calls
//! and two packets; put together in a buffer they cost a copy of the body, and a buffer for every
//! connection, idle ones too. Here a short write waits for the next one, and a long one takes what
//! waits along in the same system call, uncopied. Memory is held only while something waits.
//!
//! Reads go through the [`Inbox`]. However Pingora ends a connection, what is left of it comes back
//! as [`Remains`].

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;
use futures::FutureExt;
use parking_lot::Mutex;
use pingora::protocols::raw_connect::ProxyDigest;
use pingora::protocols::tls::SslDigest;
use pingora::protocols::{
    ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl,
    Stream, TimingDigest, UniqueID, UniqueIDType,
};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};

use super::inbox::{Inbox, Incoming, Tunnel};
use super::interrupt::Interrupt;
use crate::http1::HeadLimits;

/// What waits for a flush or a longer write, at most: the head of an answer and the whole of a
/// small one.
const MAX_WAITING: usize = 8 * 1024;

/// Parts sent by one system call: what waits and the pieces of one write (a chunk has three).
const MAX_PARTS: usize = 8;

/// What is left of a connection when its stream is dropped.
#[derive(Debug)]
pub(in crate::proxy) struct Left<S> {
    pub(in crate::proxy) inner: S,
    /// The client may still be sending.
    pub(in crate::proxy) is_owed: bool,
}

/// Where a stream leaves what is left of it.
pub(in crate::proxy) type Remains<S> = Arc<Mutex<Option<Left<S>>>>;

/// See the module's documentation.
#[derive(Debug)]
pub(in crate::proxy) struct ClientStream<S: AsyncWrite + Unpin> {
    /// `None` once it has been left in `remains`.
    inner: Option<S>,
    /// Fails reads.
    interrupt: Arc<Interrupt>,
    waiting: Vec<u8>,
    inbox: Inbox,
    remains: Remains<S>,
}

/// Why there is a connection.
const THERE: &str = "only dropping takes it";

/// The connection itself.
fn of<S>(inner: &mut Option<S>) -> &mut S {
    inner.as_mut().expect(THERE)
}

impl<S: AsyncWrite + Unpin> ClientStream<S> {
    pub(in crate::proxy) fn new(inner: S, interrupt: Arc<Interrupt>) -> Self {
        let (inbox, remains) = (Inbox::default(), Remains::default());
        Self {
            inner: Some(inner),
            interrupt,
            waiting: Vec::new(),
            inbox,
            remains,
        }
    }

    /// Where the connection will be when this is dropped.
    pub(in crate::proxy) fn remains(&self) -> Remains<S> {
        Arc::clone(&self.remains)
    }

    /// What turns this connection into a tunnel.
    pub(in crate::proxy) fn tunnel(&self) -> Tunnel {
        self.inbox.tunnel.clone()
    }

    /// Whether a part of the next head has come.
    pub(in crate::proxy) fn has_begun(&self) -> bool {
        self.inbox.has_begun()
    }

    /// The next request's head, judged.
    pub(in crate::proxy) fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        limits: &HeadLimits,
    ) -> Poll<Incoming>
    where
        S: AsyncRead,
    {
        self.inbox.poll_head(of(&mut self.inner), cx, limits)
    }

    /// Sends `parts` behind what waits; how much of `parts` is gone.
    fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        while !self.waiting.is_empty() {
            let mut all = [IoSlice::new(&[]); MAX_PARTS];
            all[0] = IoSlice::new(&self.waiting);
            let count = all.len().min(parts.len() + 1);
            all[1..count].copy_from_slice(&parts[..count - 1]);
            let sent =
                ready!(Pin::new(of(&mut self.inner)).poll_write_vectored(cx, &all[..count]))?;
            if let Some(of_parts) = self.take_sent(sent)? {
                return Poll::Ready(Ok(of_parts));
            }
        }
        Pin::new(of(&mut self.inner)).poll_write_vectored(cx, parts)
    }

    /// Forgets `sent` bytes of what waits; how many of them were of what came behind it, if any.
    fn take_sent(&mut self, sent: usize) -> io::Result<Option<usize>> {
        if sent == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        if sent < self.waiting.len() {
            self.waiting.drain(..sent);
            return Ok(None);
        }
        let behind = sent - self.waiting.len();
        self.waiting = Vec::new();
        Ok((behind > 0).then_some(behind))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for ClientStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        match this.interrupt.poll(cx) {
            Poll::Ready(error) => Poll::Ready(Err(error)),
            Poll::Pending => this.inbox.poll_read(of(&mut this.inner), cx, buf),
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for ClientStream<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(data)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let length = parts.iter().map(|part| part.len()).sum::<usize>();
        if self.waiting.len() + length > MAX_WAITING {
            return self.poll_send(cx, parts);
        }
        parts
            .iter()
            .for_each(|part| self.waiting.extend_from_slice(part));
        Poll::Ready(Ok(length))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.waiting.is_empty() {
            let this = &mut *self;
            let sent = ready!(Pin::new(of(&mut this.inner)).poll_write(cx, &this.waiting))?;
            self.take_sent(sent)?;
        }
        Pin::new(of(&mut self.inner)).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.as_mut().poll_flush(cx))?;
        Pin::new(of(&mut self.inner)).poll_shutdown(cx)
    }
}

/// As Pingora's own stream does: what waits is sent if that can be done at once. The connection
/// outlives this.
impl<S: AsyncWrite + Unpin> Drop for ClientStream<S> {
    fn drop(&mut self) {
        if !self.waiting.is_empty() {
            let _flushed = self.flush().now_or_never();
        }
        let is_owed = self.inbox.is_owed();
        *self.remains.lock() = self.inner.take().map(|inner| Left { inner, is_owed });
    }
}

#[async_trait]
impl Shutdown for ClientStream<Stream> {
    async fn shutdown(&mut self) {
        // The connection ends either way.
        self.flush().await.ok();
        Shutdown::shutdown(&mut **of(&mut self.inner)).await;
    }
}

impl UniqueID for ClientStream<Stream> {
    fn id(&self) -> UniqueIDType {
        self.inner.as_ref().expect(THERE).id()
    }
}

impl Ssl for ClientStream<Stream> {
    fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
        self.inner.as_ref().expect(THERE).get_ssl_digest()
    }

    fn selected_alpn_proto(&self) -> Option<ALPN> {
        self.inner.as_ref().expect(THERE).selected_alpn_proto()
    }
}

#[async_trait]
impl Peek for ClientStream<Stream> {
    async fn try_peek(&mut self, buf: &mut [u8]) -> io::Result<bool> {
        of(&mut self.inner).try_peek(buf).await
    }
}

impl GetTimingDigest for ClientStream<Stream> {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        self.inner.as_ref().expect(THERE).get_timing_digest()
    }

    fn get_read_pending_time(&self) -> Duration {
        self.inner.as_ref().expect(THERE).get_read_pending_time()
    }

    fn get_write_pending_time(&self) -> Duration {
        self.inner.as_ref().expect(THERE).get_write_pending_time()
    }
}

impl GetProxyDigest for ClientStream<Stream> {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        self.inner.as_ref().expect(THERE).get_proxy_digest()
    }

    fn set_proxy_digest(&mut self, digest: ProxyDigest) {
        of(&mut self.inner).set_proxy_digest(digest);
    }
}

impl GetSocketDigest for ClientStream<Stream> {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        self.inner.as_ref().expect(THERE).get_socket_digest()
    }

    fn set_socket_digest(&mut self, digest: SocketDigest) {
        of(&mut self.inner).set_socket_digest(digest);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use proptest::prelude::*;

    use super::*;

    /// Remembers each write, and takes only so much of one.
    #[derive(Clone, Debug)]
    struct Wire {
        writes: Arc<Mutex<Vec<Vec<u8>>>>,
        takes: usize,
    }

    impl Wire {
        fn taking(takes: usize) -> Self {
            Self {
                writes: Arc::default(),
                takes,
            }
        }

        fn writes(&self) -> Vec<usize> {
            self.writes.lock().unwrap().iter().map(Vec::len).collect()
        }

        fn text(&self) -> Vec<u8> {
            self.writes.lock().unwrap().concat()
        }
    }

    impl AsyncWrite for Wire {
        fn poll_write(
            self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            data: &[u8],
        ) -> Poll<io::Result<usize>> {
            self.poll_write_vectored(cx, &[IoSlice::new(data)])
        }

        fn poll_write_vectored(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            parts: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            let mut data: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied()).collect();
            data.truncate(self.takes);
            self.writes.lock().unwrap().push(data.clone());
            Poll::Ready(Ok(data.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    const HEAD: [u8; 300] = [b'h'; 300];

    #[tokio::test]
    async fn the_head_goes_out_with_the_beginning_of_a_long_body() {
        let wire = Wire::taking(usize::MAX);
        let mut stream = ClientStream::new(wire.clone(), Arc::default());
        stream.write_all(&HEAD).await.unwrap();
        assert!(wire.writes().is_empty(), "a head does not go out alone");
        stream.write_all(&[b'b'; 20_000]).await.unwrap();
        assert_eq!(wire.writes(), [20_300]);
    }

    #[tokio::test]
    async fn a_small_answer_goes_out_whole_when_it_is_flushed() {
        let wire = Wire::taking(usize::MAX);
        let mut stream = ClientStream::new(wire.clone(), Arc::default());
        stream.write_all(&HEAD).await.unwrap();
        stream.write_all(&[b'b'; 2_000]).await.unwrap();
        stream.flush().await.unwrap();
        assert_eq!(wire.writes(), [2_300]);
    }

    #[tokio::test]
    async fn nothing_is_held_when_nothing_waits() {
        let mut stream = ClientStream::new(Wire::taking(usize::MAX), Arc::default());
        stream.write_all(&HEAD).await.unwrap();
        stream.flush().await.unwrap();
        assert_eq!(stream.waiting.capacity(), 0);
    }

    #[test]
    fn what_waits_is_sent_when_the_connection_is_dropped() {
        let wire = Wire::taking(usize::MAX);
        let mut stream = ClientStream::new(wire.clone(), Arc::default());
        stream.write_all(&HEAD).now_or_never().unwrap().unwrap();
        drop(stream);
        assert_eq!(wire.text(), HEAD);
    }

    #[tokio::test]
    async fn a_wire_that_takes_nothing_is_an_error_and_no_loop() {
        let mut stream = ClientStream::new(Wire::taking(0), Arc::default());
        stream.write_all(&HEAD).await.unwrap();
        assert_eq!(
            stream.flush().await.unwrap_err().kind(),
            io::ErrorKind::WriteZero
        );
    }

    proptest! {
        // Every case copies a quarter of a megabyte in small pieces.
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn every_byte_arrives_once_and_in_order(
            lengths in prop::collection::vec(
                prop_oneof![0..40_usize, 7_000..9_000_usize, 20_000..30_000_usize],
                0..12,
            ),
            takes in prop_oneof![500..1_500_usize, 4_000..20_000_usize],
            flush_every in 1..5_usize,
        ) {
            let wire = Wire::taking(takes);
            let mut stream = ClientStream::new(wire.clone(), Arc::default());
            let mut expected = Vec::new();
            for (at, length) in lengths.into_iter().enumerate() {
                let data: Vec<u8> = (0..length).map(|byte| (byte + at) as u8).collect();
                // Half of them in two pieces, as a chunk comes.
                let mut pieces = bytes::Buf::chain(&data[..length / 2], &data[length / 2..]);
                let written = if at % 2 == 0 {
                    stream.write_all(&data).now_or_never()
                } else {
                    stream.write_all_buf(&mut pieces).now_or_never()
                };
                written.expect("the wire is always ready").unwrap();
                if at % flush_every == 0 {
                    stream.flush().now_or_never().expect("the wire is always ready").unwrap();
                }
                expected.extend(data);
            }
            drop(stream);
            prop_assert_eq!(wire.text(), expected);
        }
    }
}
