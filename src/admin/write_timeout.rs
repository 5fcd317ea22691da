//! A timeout for a peer that stops reading.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// A stream whose writes fail with [`io::ErrorKind::TimedOut`] if the peer accepts no data for the
/// timeout. Reads and the shutdown have no timeout here.
pub(super) struct WriteTimeoutStream<S> {
    inner: S,
    timeout: Duration,
    /// Runs while a write or a flush is pending.
    timer: Option<Pin<Box<Sleep>>>,
}

impl<S> WriteTimeoutStream<S> {
    pub(super) const fn new(inner: S, timeout: Duration) -> Self {
        Self {
            inner,
            timeout,
            timer: None,
        }
    }

    /// Passes the result of a write on. Starts the timer if the write is pending, and fails once
    /// the timer has ended.
    fn with_timeout<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.timer = None;
            return written;
        }
        let timeout = self.timeout;
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(timeout)));
        timer
            .as_mut()
            .poll(cx)
            .map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for WriteTimeoutStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for WriteTimeoutStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write(cx, data);
        self.with_timeout(cx, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.inner).poll_flush(cx);
        self.with_timeout(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::time::Instant;

    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(20);

    #[tokio::test(start_paused = true)]
    async fn writes_fail_after_the_timeout_if_the_client_reads_nothing() {
        let (_client, server) = tokio::io::duplex(64);
        let began = Instant::now();
        let error = WriteTimeoutStream::new(server, TIMEOUT)
            .write_all(&[0; 1000])
            .await
            .unwrap_err();
        assert_eq!(
            (error.kind(), began.elapsed().as_secs()),
            (io::ErrorKind::TimedOut, TIMEOUT.as_secs())
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_client_that_reads_a_part_within_each_timeout_gets_everything() {
        let (mut client, server) = tokio::io::duplex(64);
        let mut stream = WriteTimeoutStream::new(server, TIMEOUT);
        let reading = async {
            let mut part = [0; 64];
            for _ in 0..4 {
                tokio::time::timeout(TIMEOUT * 3 / 4, std::future::pending::<()>())
                    .await
                    .ok();
                client.read_exact(&mut part).await.unwrap();
            }
        };
        let (written, ()) = tokio::join!(stream.write_all(&[0; 256]), reading);
        written.unwrap();
    }
}
