//! A client's connection, whose writes go out together.
//!
//! Pingora writes the head and the body of an answer apart. Sent apart they cost two system calls
//! and two packets; put together in a buffer they cost a copy of the body, and a buffer for every
//! connection, idle ones too. Here a short write waits for the next one, and a long one takes the
//! waiting bytes along in the same system call, uncopied. Memory is held only while bytes wait.
//! They are sent after two milliseconds at the latest: Pingora reads from the client while it waits
//! for more of the answer, and this stream sends meanwhile.
//!
//! While an upstream is at work on the answer, bytes that the connection does not accept are held
//! in memory (`unsent.rs`), so that the upstream does not wait for the client. A client that takes
//! its bytes in time costs no copy.
//!
//! Reads go through the [`Inbox`]. However Pingora ends a connection, its remains come back as
//! [`Remains`].

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::ops::Range;
use std::os::fd::RawFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;
use bytes::BytesMut;
use futures::FutureExt;
use http::HeaderValue;
use parking_lot::Mutex;
use pingora::protocols::l4::ext::get_tcp_info;
use pingora::protocols::raw_connect::ProxyDigest;
use pingora::protocols::tls::SslDigest;
use pingora::protocols::{
    ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl,
    Stream, TimingDigest, UniqueID, UniqueIDType,
};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};

use super::answer_head::{begins_final, date_in};
use super::delivery::Delivery;
use super::half_close::{HalfClose, PROBE};
use super::inbox::{Inbox, Incoming, Tunnel};
use super::interrupt::Interrupt;
use super::networks::SharedByNetwork;
use super::pace::PaceRule;
use super::reading_credit::ReadingCredit;
use super::unsent::Unsent;
use super::write_timer::{ReadingLimit, WriteTimer};
use crate::config::Config;
use crate::http1::HeadLimits;
use crate::metrics::ClientMemory;

/// Maximum bytes that wait for a flush or a longer write: the head of an answer, and the whole of a
/// small one.
const MAX_WAITING: usize = 8 * 1024;

/// Parts sent by one system call: what waits and the pieces of one write (a chunk has three).
const MAX_PARTS: usize = 8;

/// The part of the free memory that one answer may fill beyond its own share, as a divisor. So one
/// large answer leaves most of the memory to others, and each further one gets less.
const FREE_PART: usize = 4;

/// A slow client's bytes are not held in pieces that are shorter than this, unless they are the
/// last.
const MIN_PIECE: usize = 32 * 1024;

/// The remains of a connection when its stream is dropped.
#[derive(Debug)]
pub(in crate::proxy) struct Left<S> {
    pub(in crate::proxy) inner: S,
    /// The client may still be sending.
    pub(in crate::proxy) is_owed: bool,
    /// The received part of an answer that broke off.
    pub(in crate::proxy) unsent: Unsent,
    /// The socket, if its clean end would make half an answer look whole.
    pub(in crate::proxy) must_be_reset: Option<RawFd>,
}

/// The limits on the time and memory of a client.
#[derive(Clone, Copy, Debug)]
pub(in crate::proxy) struct StreamLimits {
    /// For the bodies of its requests.
    body: PaceRule,
    memory: usize,
    all_memory: usize,
    min_rate: u64,
    patience: Duration,
}

impl StreamLimits {
    pub(in crate::proxy) fn of(config: &Config) -> Self {
        Self {
            body: PaceRule {
                rate: config.clients.min_upload_rate,
                patience: config.timeouts.client_body,
            },
            memory: config.clients.answer_memory,
            all_memory: config.clients.all_answer_memory,
            min_rate: config.clients.min_download_rate,
            patience: config.timeouts.client_write,
        }
    }
}

/// The place where a stream leaves its remains.
pub(in crate::proxy) type Remains<S> = Arc<Mutex<Option<Left<S>>>>;

/// See the module's documentation.
#[derive(Debug)]
pub(in crate::proxy) struct ClientStream<S: AsyncWrite + Unpin> {
    /// `None` once it has been left in `remains`.
    inner: Option<S>,
    /// Fails reads.
    interrupt: Arc<Interrupt>,
    /// Bytes that the connection did not accept.
    unsent: Unsent,
    /// Short writes, behind `unsent`.
    waiting: Vec<u8>,
    memory: Arc<ClientMemory>,
    limits: StreamLimits,
    delivery: Delivery,
    /// The time for which slow readers of the client's network may keep slots.
    reading: Option<ReadingCredit>,
    /// `None` until a write has to wait.
    timer: Option<WriteTimer>,
    /// The socket, to measure how much the client has received: the kernel holds megabytes for a
    /// slow one.
    fd: Option<RawFd>,
    /// Bytes that the connection has taken.
    taken: u64,
    /// A flush was not waited for.
    needs_flush: bool,
    /// The current request's answer has begun; interim answers do not count.
    is_answered: bool,
    /// The client has closed its side, and may be waiting for its answer.
    half_close: Option<HalfClose>,
    inbox: Inbox,
    remains: Remains<S>,
}

/// The reason why there is a connection.
const THERE: &str = "only dropping takes it";

/// The connection itself.
fn of<S>(inner: &mut Option<S>) -> &mut S {
    inner.as_mut().expect(THERE)
}

impl<S: AsyncWrite + Unpin> ClientStream<S> {
    pub(in crate::proxy) fn new(
        inner: S,
        interrupt: Arc<Interrupt>,
        memory: Arc<ClientMemory>,
        limits: StreamLimits,
    ) -> Self {
        let (mut inbox, remains) = (Inbox::default(), Remains::default());
        inbox.set_rule(limits.body);
        Self {
            inner: Some(inner),
            interrupt,
            unsent: Unsent::new(&memory),
            waiting: Vec::new(),
            memory,
            limits,
            delivery: Delivery::default(),
            reading: None,
            timer: None,
            fd: None,
            taken: 0,
            needs_flush: false,
            is_answered: false,
            half_close: None,
            inbox,
            remains,
        }
    }

    /// The limits of the configuration in force.
    pub(in crate::proxy) fn set_limits(&mut self, limits: StreamLimits) {
        self.limits = limits;
        self.inbox.set_rule(limits.body);
    }

    /// Takes over the bytes that were read from the connection before.
    pub(in crate::proxy) fn begin_with(&mut self, ahead: BytesMut) {
        self.inbox.begin_with(ahead);
    }

    /// Counts unread bytes and slow reading for the client's network, too.
    pub(in crate::proxy) fn count_for(&mut self, network: &SharedByNetwork) {
        let held = Arc::clone(&network.memory.answers);
        self.unsent.count_for(&self.memory, held);
        self.reading = Some(network.reading.clone());
    }

    /// Returns the state that the requests of this connection share with it.
    pub(in crate::proxy) fn delivery(&self) -> Delivery {
        self.delivery.clone()
    }

    /// Where the connection will be when this is dropped.
    pub(in crate::proxy) fn remains(&self) -> Remains<S> {
        Arc::clone(&self.remains)
    }

    /// Returns the switch that turns this connection into a tunnel.
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
        self.is_answered = false;
        self.inbox.poll_head(of(&mut self.inner), cx, limits)
    }

    fn has_unsent(&self) -> bool {
        !self.waiting.is_empty() || !self.unsent.is_empty()
    }

    /// Nothing has to be sent.
    fn rest(&mut self) {
        if let Some(timer) = &mut self.timer {
            timer.rest();
        }
    }

    /// Sends `parts` behind the waiting bytes; returns how many bytes of `parts` were accepted.
    fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        while self.has_unsent() {
            let mut all = [IoSlice::new(&[]); MAX_PARTS];
            let mut count = self.unsent.fill(&mut all);
            let rest = [IoSlice::new(&self.waiting)];
            for (slot, part) in all[count..].iter_mut().zip(rest.iter().chain(parts)) {
                *slot = *part;
                count += 1;
            }
            let sent =
                ready!(Pin::new(of(&mut self.inner)).poll_write_vectored(cx, &all[..count]))?;
            if let Some(of_parts) = self.take_sent(sent)? {
                return Poll::Ready(Ok(of_parts));
            }
        }
        let sent = ready!(Pin::new(of(&mut self.inner)).poll_write_vectored(cx, parts))?;
        self.taken += sent as u64;
        Poll::Ready(Ok(sent))
    }

    /// Sends all that waits.
    fn poll_send_all(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.has_unsent() {
            let mut all = [IoSlice::new(&[]); MAX_PARTS];
            let mut count = self.unsent.fill(&mut all);
            if count < all.len() {
                all[count] = IoSlice::new(&self.waiting);
                count += 1;
            }
            let sent =
                ready!(Pin::new(of(&mut self.inner)).poll_write_vectored(cx, &all[..count]))?;
            self.take_sent(sent)?;
        }
        ready!(Pin::new(of(&mut self.inner)).poll_flush(cx))?;
        self.needs_flush = false;
        Poll::Ready(Ok(()))
    }

    /// Forgets `sent` waiting bytes; returns the number of sent bytes behind them, if there are
    /// any.
    fn take_sent(&mut self, sent: usize) -> io::Result<Option<usize>> {
        if sent == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.taken += sent as u64;
        let mut sent = sent;
        if !self.unsent.is_empty() {
            sent = self.unsent.advance(sent);
            self.delivery.set_unsent(self.unsent.len());
        }
        if sent < self.waiting.len() {
            self.waiting.drain(..sent);
            return Ok(None);
        }
        let behind = sent - self.waiting.len();
        self.waiting = Vec::new();
        Ok((behind > 0).then_some(behind))
    }

    /// Holds `parts` in memory, behind the waiting bytes, if the upstream would otherwise have to
    /// wait for the client. Returns the number of bytes that it holds.
    fn hold(&mut self, parts: &[IoSlice<'_>]) -> Option<usize> {
        if !self.delivery.holds_slot() {
            return None;
        }
        let length = parts.iter().map(|part| part.len()).sum::<usize>();
        let before = self.unsent.len() + self.waiting.len();
        let free = self.unsent.free(self.limits.all_memory);
        let most = self.limits.memory.max(free / FREE_PART);
        let taken = length.min(most.saturating_sub(before));
        let has_room = taken >= length.min(MIN_PIECE)
            && self
                .unsent
                .make_room(self.waiting.len() + taken, self.limits.all_memory);
        if !has_room {
            return None;
        }
        let mut piece = Vec::with_capacity(taken);
        for part in parts {
            let left = taken - piece.len();
            piece.extend_from_slice(&part[..part.len().min(left)]);
        }
        self.unsent.push(std::mem::take(&mut self.waiting));
        self.unsent.push(piece);
        self.delivery.set_unsent(self.unsent.len());
        Some(taken)
    }

    /// Called when the connection accepts nothing more; ready with an error when the client is too
    /// slow. `holds_slot`: an upstream waits for the client.
    fn poll_too_slow(&mut self, cx: &mut Context<'_>, holds_slot: bool) -> Poll<io::Error> {
        let is_strict = holds_slot || self.unsent.is_short(self.limits.all_memory);
        let rule = PaceRule {
            rate: if is_strict { self.limits.min_rate } else { 0 },
            patience: self.limits.patience,
        };
        let limit = ReadingLimit {
            rule: &rule,
            is_strict,
            network: self.reading.as_ref().filter(|_| holds_slot),
        };
        let (fd, sent) = (self.fd, self.taken);
        let acknowledged = || Some(get_tcp_info(fd?).ok()?.tcpi_bytes_acked);
        let timer = self.timer.get_or_insert_with(WriteTimer::new);
        ready!(timer.poll_too_slow(cx, &limit, || acknowledged().unwrap_or(sent)));
        // The waiting bytes are discarded, because the client is given up.
        self.unsent.clear();
        self.waiting = Vec::new();
        self.delivery.give_up();
        Poll::Ready(io::ErrorKind::TimedOut.into())
    }

    /// The client has closed its side of the connection. Ready when it has gone: as long as it may
    /// be waiting for its answer, the request goes on.
    fn poll_closed(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(fd) = self.fd.filter(|_| self.inbox.may_close_its_side()) else {
            return Poll::Ready(Ok(()));
        };
        if self.half_close.is_none() {
            self.half_close = Some(HalfClose::new());
            if !self.is_answered {
                self.waiting.extend_from_slice(PROBE);
                if let Poll::Ready(Err(error)) = self.poll_send_all(cx) {
                    return Poll::Ready(Err(error));
                }
            }
        }
        let half_close = self.half_close.as_mut().expect("it is made above");
        half_close.poll_gone(cx, fd).map(Ok)
    }

    /// Where the date of its upstream belongs in the next answer's head, if that comes now and has
    /// another date. Most answers come within the second in which they were made.
    fn upstreams_date(&self, parts: &[IoSlice<'_>]) -> Option<(Range<usize>, HeaderValue)> {
        let head = parts.first().filter(|head| begins_final(head))?;
        let date = self.delivery.take_date()?;
        let at = date_in(head).filter(|at| head[at.clone()] != *date.as_bytes())?;
        Some((at, date))
    }

    /// Sends the waiting bytes while nothing more comes; ready with an error when that fails.
    fn poll_waiting(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        if !self.has_unsent() && !self.needs_flush {
            self.rest();
            return Poll::Pending;
        }
        if self.unsent.is_empty() && !self.needs_flush {
            let timer = self.timer.get_or_insert_with(WriteTimer::new);
            ready!(timer.poll_gathered(cx));
        }
        match self.poll_send_all(cx) {
            Poll::Ready(Ok(())) => {
                self.rest();
                Poll::Pending
            }
            Poll::Ready(Err(error)) => Poll::Ready(error),
            Poll::Pending => self.poll_too_slow(cx, false),
        }
    }
}

impl ClientStream<Stream> {
    /// Measures how fast the client reads at its socket.
    pub(in crate::proxy) fn measure_socket(&mut self) {
        self.fd = Some(self.id());
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for ClientStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if let Poll::Ready(error) = this.poll_waiting(cx) {
            return Poll::Ready(Err(error));
        }
        match this.interrupt.poll(cx) {
            Poll::Ready(error) => Poll::Ready(Err(error)),
            Poll::Pending => {
                let before = buf.filled().len();
                ready!(this.inbox.poll_read(of(&mut this.inner), cx, buf))?;
                if buf.filled().len() == before {
                    return this.poll_closed(cx);
                }
                Poll::Ready(Ok(()))
            }
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
        // Nothing may wait while a body is read: reads, which send what waits, may stop.
        let may_wait = self.inbox.is_body_complete() || length == 0;
        self.is_answered |= parts.first().is_some_and(|part| begins_final(part));
        if self.delivery.has_date()
            && let Some((at, date)) = self.upstreams_date(parts)
        {
            // The date may differ in length from the one that it replaces, so everything is taken.
            let (before, after) = (&parts[0][..at.start], &parts[0][at.end..]);
            let rest = parts[1..].iter().map(|part| &**part);
            [before, date.as_bytes(), after]
                .into_iter()
                .chain(rest)
                .for_each(|piece| self.waiting.extend_from_slice(piece));
            if (!may_wait || self.waiting.len() > MAX_WAITING)
                && let Poll::Ready(Err(error)) = self.poll_send_all(cx)
            {
                return Poll::Ready(Err(error));
            }
            return Poll::Ready(Ok(length));
        }
        if may_wait && self.waiting.len() + length <= MAX_WAITING {
            parts
                .iter()
                .for_each(|part| self.waiting.extend_from_slice(part));
            return Poll::Ready(Ok(length));
        }
        if let Poll::Ready(sent) = self.poll_send(cx, parts) {
            return Poll::Ready(sent);
        }
        if let Some(held) = self.hold(parts) {
            return Poll::Ready(Ok(held));
        }
        let holds_slot = self.delivery.holds_slot();
        self.poll_too_slow(cx, holds_slot).map(Err)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.poll_send_all(cx) {
            Poll::Ready(result) => Poll::Ready(result),
            // It is sent while the upstream goes on.
            Poll::Pending if self.delivery.holds_slot() => {
                self.needs_flush = true;
                Poll::Ready(Ok(()))
            }
            Poll::Pending => self.poll_too_slow(cx, false).map(Err),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.as_mut().poll_flush(cx))?;
        Pin::new(of(&mut self.inner)).poll_shutdown(cx)
    }
}

/// Sends the waiting bytes if that can be done at once, as Pingora's own stream does. The
/// connection outlives this stream, and so do the bytes that it did not accept.
impl<S: AsyncWrite + Unpin> Drop for ClientStream<S> {
    fn drop(&mut self) {
        if self.has_unsent() {
            poll_fn(|cx| self.poll_send_all(cx)).now_or_never();
            let waiting = std::mem::take(&mut self.waiting);
            self.unsent.push(waiting);
        }
        let is_owed = self.inbox.is_owed();
        let unsent = std::mem::replace(&mut self.unsent, Unsent::new(&self.memory));
        let must_be_reset = self.fd.filter(|_| self.delivery.ends_with_connection());
        *self.remains.lock() = self.inner.take().map(|inner| Left {
            inner,
            is_owed,
            unsent,
            must_be_reset,
        });
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
pub(super) const LIMITS: StreamLimits = StreamLimits {
    body: PaceRule {
        rate: 1024,
        patience: Duration::from_secs(60),
    },
    memory: 100_000,
    all_memory: 1_000_000,
    min_rate: 1024,
    patience: Duration::from_secs(60),
};

#[cfg(test)]
mod tests;
