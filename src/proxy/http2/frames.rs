//! Watches the frames that a client sends, and ends a connection that sends too many of the kinds
//! that cost us work and bring no request further: resets, pings, settings, priorities, pieces of
//! heads and empty data.
//!
//! The library below has bounds on what it keeps. This is the bound on what it does.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

/// The first bytes of a connection, before the first frame.
const PREFACE: usize = 24;

/// The fixed part of a frame.
const HEADER: usize = 9;

/// Frames at once. A user who pans a map cancels some hundred tiles.
const BURST: u32 = 1_000;

/// Time after which one more may come.
const REFILL: Duration = Duration::from_millis(10);

/// Finds the frames in what a client sends.
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

    /// Counts the costly frames that begin in `bytes`.
    fn count(&mut self, mut bytes: &[u8]) -> u32 {
        let mut count = 0;
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
                count += u32::from(is_costly(kind, flags, self.skip));
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
        // HEADERS are requests; WINDOW_UPDATE comes with every answer.
        1 | 8 => false,
        _ => true,
    }
}

/// A connection whose frames are watched.
#[derive(Debug)]
pub(super) struct WatchedFrames<S> {
    inner: S,
    watch: FrameWatch,
    /// Frames that may come now.
    left: u32,
    /// When `left` was filled up.
    filled: Instant,
    is_flood: FloodFlag,
}

/// Set when a connection ends for a flood: its error reaches us as text only.
#[derive(Clone, Debug, Default)]
pub(super) struct FloodFlag(Arc<AtomicBool>);

impl FloodFlag {
    pub(super) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl<S> WatchedFrames<S> {
    pub(super) fn new(inner: S, is_flood: FloodFlag) -> Self {
        Self {
            inner,
            is_flood,
            watch: FrameWatch::new(),
            left: BURST,
            filled: Instant::now(),
        }
    }

    fn pay(&mut self, count: u32) -> io::Result<()> {
        if count == 0 {
            return Ok(());
        }
        let refills = self.filled.elapsed().as_millis() / REFILL.as_millis();
        if refills > 0 {
            let refills = u32::try_from(refills).unwrap_or(BURST);
            self.left = self.left.saturating_add(refills).min(BURST);
            self.filled = Instant::now();
        }
        let Some(left) = self.left.checked_sub(count) else {
            self.is_flood.0.store(true, Ordering::Relaxed);
            return Err(io::Error::other(
                "too many frames that bring no request further",
            ));
        };
        self.left = left;
        Ok(())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for WatchedFrames<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(cx, buf))?;
        let count = self.watch.count(&buf.filled()[before..]);
        let paid = self.pay(count);
        if paid.is_err() {
            // A failed read brings nothing.
            buf.set_filled(before);
        }
        Poll::Ready(paid)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for WatchedFrames<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, data)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, parts)
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
            let mut expected = 0;
            for (kind, flags, length) in frames {
                wire.extend(frame(kind, flags, length));
                expected += u32::from(match kind {
                    0 => length == 0 && flags == 0,
                    1 | 8 => false,
                    _ => true,
                });
            }
            let mut watch = FrameWatch::new();
            let found: u32 = wire.chunks(step).map(|piece| watch.count(piece)).sum();
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
        let mut read = Vec::new();
        WatchedFrames::new(ours, FloodFlag::default())
            .read_to_end(&mut read)
            .await
            .is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_resets_pings_or_settings_ends_the_connection_and_requests_do_not() {
        for kind in [3, 4, 6, 9] {
            assert!(passes(kind, BURST as usize).await, "{kind}");
            assert!(!passes(kind, BURST as usize + 1).await, "{kind}");
        }
        assert!(passes(1, 10 * BURST as usize).await, "requests");
        assert!(passes(8, 10 * BURST as usize).await, "windows");
    }

    #[tokio::test(start_paused = true)]
    async fn frames_may_come_again_after_a_while() {
        let mut watched = WatchedFrames::new(tokio::io::empty(), FloodFlag::default());
        watched.pay(BURST).unwrap();
        watched.pay(1).unwrap_err();
        tokio::time::advance(REFILL * 10).await;
        watched.pay(10).unwrap();
        watched.pay(1).unwrap_err();
    }
}
