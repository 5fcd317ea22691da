//! Limits the frames that cost work and advance no request: resets, pings, settings, priorities,
//! pieces of heads and empty data. A connection with too many of them is ended. WINDOW_UPDATE has a
//! count of its own, because clients send it for the bytes that they receive: the more they
//! receive, the more of it they may send.
//!
//! The HTTP/2 library bounds the memory of a connection; this module bounds its work.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::resets::{MalformedStreams, ResetWatch};

/// The first bytes of a connection, before the first frame.
const PREFACE: usize = 24;

/// The fixed part of a frame.
const HEADER: usize = 9;

/// Frames at once. A user who pans a map cancels some hundred tiles.
const BURST: u32 = 1_000;

/// Time after which one more may come.
const REFILL: Duration = Duration::from_millis(10);

/// Bytes for which a client may send one more WINDOW_UPDATE. Clients send two for some kilobytes.
const BYTES_PER_UPDATE: u64 = 512;

/// WINDOW_UPDATE frames at once, for a client that reads all of its windows late.
const MAX_UPDATES: u32 = 100_000;

/// The number of a kind of frame.
const WINDOW_UPDATE: u8 = 8;

/// Finds the frames in the bytes of a client.
#[derive(Debug)]
struct FrameWatch {
    /// Bytes until the next frame.
    skip: usize,
    header: [u8; HEADER],
    /// Bytes of the header that are there.
    length: usize,
}

impl FrameWatch {
    const fn new() -> Self {
        Self {
            skip: PREFACE,
            header: [0; HEADER],
            length: 0,
        }
    }

    /// Counts the frames that begin in `bytes`.
    fn count(&mut self, mut bytes: &[u8]) -> FrameCount {
        let mut count = FrameCount::default();
        while !bytes.is_empty() {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = &bytes[skipped..];
            let taken = (HEADER - self.length).min(bytes.len());
            self.header[self.length..self.length + taken].copy_from_slice(&bytes[..taken]);
            self.length += taken;
            bytes = &bytes[taken..];
            if self.length == HEADER {
                let [a, b, c, kind, flags, ..] = self.header;
                self.skip = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
                self.length = 0;
                count.costly += u32::from(is_costly(kind, flags, self.skip));
                count.updates += u32::from(kind == WINDOW_UPDATE);
            }
        }
        count
    }
}

/// True for the kinds in the module's documentation (RFC 9113 section 6).
fn is_costly(kind: u8, flags: u8, length: usize) -> bool {
    const END_STREAM: u8 = 1;
    match kind {
        // DATA
        0 => length == 0 && flags & END_STREAM == 0,
        // HEADERS are requests.
        1 | WINDOW_UPDATE => false,
        _ => true,
    }
}

/// How many frames of the kinds that are limited a client has sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct FrameCount {
    /// See [`is_costly`].
    costly: u32,
    /// WINDOW_UPDATE.
    updates: u32,
}

/// A connection whose frames are watched.
#[derive(Debug)]
pub(super) struct WatchedFrames<S> {
    inner: S,
    /// The bytes of the connection that were read before.
    ahead: BytesMut,
    watch: FrameWatch,
    /// Frames that may come now.
    left: u32,
    updates_left: u32,
    /// Bytes sent that have not earned a WINDOW_UPDATE yet.
    sent: u64,
    /// When `left` was filled up.
    filled: Instant,
    is_flood: FloodFlag,
    resets: ResetWatch,
}

/// Raised for a flood. From then on nothing more is read: a failed read would end the connection
/// without a word, and the client is to get the reason.
#[derive(Clone, Debug, Default)]
pub(super) struct FloodFlag(Arc<Flag>);

#[derive(Debug, Default)]
struct Flag {
    is_raised: AtomicBool,
    /// The one task of the connection waits for it.
    raised: Notify,
}

impl FloodFlag {
    pub(super) fn is_raised(&self) -> bool {
        self.0.is_raised.load(Ordering::Relaxed)
    }

    /// Resolves when it is raised.
    pub(super) async fn raised(&self) {
        self.0.raised.notified().await;
    }

    fn raise(&self) {
        self.0.is_raised.store(true, Ordering::Relaxed);
        self.0.raised.notify_one();
    }
}

impl<S> WatchedFrames<S> {
    pub(super) fn new(
        inner: S,
        ahead: BytesMut,
        is_flood: FloodFlag,
        malformed: MalformedStreams,
    ) -> Self {
        Self {
            resets: ResetWatch::new(malformed),
            inner,
            ahead,
            is_flood,
            watch: FrameWatch::new(),
            left: BURST,
            updates_left: BURST,
            sent: 0,
            filled: Instant::now(),
        }
    }

    /// The client has got `bytes`, and may send as many more WINDOW_UPDATE as they need.
    fn earn(&mut self, bytes: usize) {
        self.sent += bytes as u64;
        let earned = u32::try_from(self.sent / BYTES_PER_UPDATE).unwrap_or(MAX_UPDATES);
        self.sent %= BYTES_PER_UPDATE;
        self.updates_left = self.updates_left.saturating_add(earned).min(MAX_UPDATES);
    }

    /// True if the client may have sent these frames.
    fn pay(&mut self, count: FrameCount) -> bool {
        if count == FrameCount::default() {
            return true;
        }
        let refills = self.filled.elapsed().as_millis() / REFILL.as_millis();
        if refills > 0 {
            let refills = u32::try_from(refills).unwrap_or(BURST);
            self.left = self.left.saturating_add(refills).min(BURST);
            if self.updates_left < BURST {
                self.updates_left = self.updates_left.saturating_add(refills).min(BURST);
            }
            self.filled = Instant::now();
        }
        let left = self.left.checked_sub(count.costly);
        let updates_left = self.updates_left.checked_sub(count.updates);
        let (Some(left), Some(updates_left)) = (left, updates_left) else {
            return false;
        };
        (self.left, self.updates_left) = (left, updates_left);
        true
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for WatchedFrames<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.is_flood.is_raised() {
            return Poll::Pending;
        }
        let before = buf.filled().len();
        if self.ahead.is_empty() {
            ready!(Pin::new(&mut self.inner).poll_read(cx, buf))?;
        } else {
            let length = self.ahead.len().min(buf.remaining());
            buf.put_slice(&self.ahead.split_to(length));
        }
        let count = self.watch.count(&buf.filled()[before..]);
        if self.pay(count) {
            return Poll::Ready(Ok(()));
        }
        buf.set_filled(before);
        self.is_flood.raise();
        Poll::Pending
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for WatchedFrames<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        let sent = ready!(Pin::new(&mut self.inner).poll_write(cx, data))?;
        self.resets.note(&data[..sent]);
        self.earn(sent);
        Poll::Ready(Ok(sent))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let sent = ready!(Pin::new(&mut self.inner).poll_write_vectored(cx, parts))?;
        let mut left = sent;
        for part in parts {
            let length = left.min(part.len());
            self.resets.note(&part[..length]);
            left -= length;
        }
        self.earn(sent);
        Poll::Ready(Ok(sent))
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    fn frame(kind: u8, flags: u8, length: usize) -> Vec<u8> {
        let [.., a, b, c] = u32::try_from(length).unwrap().to_be_bytes();
        let header = [a, b, c, kind, flags, 0, 0, 0, 1];
        [&header[..], &vec![kind; length]].concat()
    }

    proptest! {
        #[test]
        fn frames_are_found_in_any_pieces(
            frames in prop::collection::vec((0..12_u8, 0..2_u8, 0..40_usize), 0..20),
            step in 1..60_usize,
        ) {
            let mut wire = vec![0; PREFACE];
            let mut expected = FrameCount::default();
            for (kind, flags, length) in frames {
                wire.extend(frame(kind, flags, length));
                expected.costly += u32::from(match kind {
                    0 => length == 0 && flags == 0,
                    1 | 8 => false,
                    _ => true,
                });
                expected.updates += u32::from(kind == 8);
            }
            let mut watch = FrameWatch::new();
            let mut found = FrameCount::default();
            for count in wire.chunks(step).map(|piece| watch.count(piece)) {
                found.costly += count.costly;
                found.updates += count.updates;
            }
            prop_assert_eq!(found, expected);
        }
    }

    /// How many of `count` frames pass at once.
    async fn passes(kind: u8, count: usize) -> bool {
        let (mut client, ours) = tokio::io::duplex(1 << 20);
        let mut wire = vec![0; PREFACE];
        wire.extend((0..count).flat_map(|_| frame(kind, 0, 8)));
        client.write_all(&wire).await.unwrap();
        drop(client);
        let is_flood = FloodFlag::default();
        let mut read = Vec::new();
        let mut watched = over(ours, BytesMut::new(), is_flood.clone());
        tokio::select! {
            read = watched.read_to_end(&mut read) => read.is_ok(),
            () = is_flood.raised() => false,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_one_kind_of_frame_ends_the_connection_and_requests_do_not() {
        for kind in [3, 4, 6, 8, 9] {
            assert!(passes(kind, BURST as usize).await, "{kind}");
            assert!(!passes(kind, BURST as usize + 1).await, "{kind}");
        }
        assert!(passes(1, 10 * BURST as usize).await, "requests");
    }

    #[tokio::test(start_paused = true)]
    async fn frames_may_come_again_after_a_while() {
        let mut watched = watched();
        let costly = |costly| FrameCount { costly, updates: 0 };
        assert!(watched.pay(costly(BURST)));
        assert!(!watched.pay(costly(1)));
        tokio::time::advance(REFILL * 10).await;
        assert!(watched.pay(costly(10)));
        assert!(!watched.pay(costly(1)));
    }

    fn watched() -> WatchedFrames<tokio::io::Empty> {
        over(tokio::io::empty(), BytesMut::new(), FloodFlag::default())
    }

    fn over<S>(inner: S, ahead: BytesMut, is_flood: FloodFlag) -> WatchedFrames<S> {
        WatchedFrames::new(inner, ahead, is_flood, MalformedStreams::default())
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_receives_much_may_send_many_window_updates() {
        let mut watched = watched();
        let updates = |updates| FrameCount { costly: 0, updates };
        watched.earn(10_000 * BYTES_PER_UPDATE as usize);
        assert!(watched.pay(updates(10_000 + BURST)));
        assert!(!watched.pay(updates(1)));
        tokio::time::advance(REFILL * 10).await;
        assert!(watched.pay(updates(10)));
        assert!(!watched.pay(updates(1)));
        watched.earn(1 << 40);
        assert!(!watched.pay(updates(MAX_UPDATES + 1)));
    }

    #[tokio::test]
    async fn bytes_that_were_read_before_come_first_and_are_watched() {
        let ahead = BytesMut::from(&[&[0; PREFACE][..], &frame(6, 0, 8)].concat()[..]);
        let inner = &b"rest"[..];
        let mut watched = over(inner, ahead.clone(), FloodFlag::default());
        let mut read = Vec::new();
        watched.read_to_end(&mut read).await.unwrap();
        assert_eq!(read, [&ahead[..], b"rest"].concat());
        assert_eq!(watched.left, BURST - 1);
    }
}
