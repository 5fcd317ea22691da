//! A client's connection: one request after the other, until one of its limits is over.
//!
//! Pingora's own limits are per read: a client that sends one byte a second keeps a connection for ever (slowloris). Here the
//! whole head has one deadline. Between requests a connection waits in a few hundred bytes: the buffers and the state of a request
//! are made when its first bytes are there, and given back at its end.
//!
//! ```text
//! accepted -- first bytes --> head --> request, answer --+      limits: from accepted to the end of the first head, client_header;
//!                 ^                                      |      between requests, keep_alive; from the first bytes of another
//!                 +------------- kept alive -------------+      head to its end, client_header
//! ```
//!
//! A healthy connection sets no timer for a request. There is one for the connection, set again only when it goes off too early.

use std::future::{Future, poll_fn};
use std::mem::MaybeUninit;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use bytes::BytesMut;
use futures::FutureExt;
use pingora::apps::{HttpPersistentSettings, HttpServerApp, ServerApp};
use pingora::protocols::Stream;
use pingora::protocols::http::ServerSession;
use pingora::proxy::HttpProxy;
use pingora::server::ShutdownWatch;
use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use super::FrontDoor;
use super::client_stream::ClientStream;
use super::clients::Clients;
use super::interrupt::Interrupt;

/// Room for the first read of a request; a head is rarely longer.
const FIRST_READ: usize = 4 * 1024;

/// What Pingora starts a connection with. It is replaced before the first answer, and not waited for.
const KEEP_ALIVE_AT_FIRST: u64 = 60;

/// Passed through Pingora's per-connection context to the first hook that runs after the head: told when it is complete.
#[derive(Debug)]
pub(super) struct HeadGuard {
    is_complete: Arc<AtomicBool>,
    /// The connection's.
    pub(super) interrupt: Arc<Interrupt>,
}

impl HeadGuard {
    /// The deadline is off.
    pub(super) fn complete(&self) {
        // Read by the task that runs this hook.
        self.is_complete.store(true, Ordering::Relaxed);
    }
}

/// The Pingora application: serves connections with the proxy.
pub struct Connections {
    proxy: Arc<HttpProxy<FrontDoor>>,
    front_door: FrontDoor,
    clients: Arc<Clients>,
}

impl Connections {
    /// Serves so many connections at a time at most.
    pub fn new(proxy: HttpProxy<FrontDoor>, front_door: FrontDoor, most: usize) -> Self {
        let clients = Clients::new(most, Arc::clone(&front_door.parts.metrics));
        Self { proxy: Arc::new(proxy), front_door, clients }
    }
}

#[async_trait]
impl ServerApp for Connections {
    async fn process_new(self: &Arc<Self>, stream: Stream, shutdown: &ShutdownWatch) -> Option<Stream> {
        let Some(_client) = self.clients.enter() else {
            refuse(stream);
            return None;
        };
        let registered = self.front_door.parts.interrupts.register();
        let interrupt = &registered.interrupt;
        let mut stream: Stream = Box::new(ClientStream::new(stream, Arc::clone(interrupt)));
        let mut settings: Option<HttpPersistentSettings> = None;
        let mut stopped = shutdown.clone();
        let mut stopped = pin!(stopped.wait_for(|is_stopped| *is_stopped));
        let accepted = Instant::now();
        let first_head = accepted + self.front_door.config().timeouts.client_header;
        let mut deadline = Deadline { timer: pin!(sleep_until(first_head)), limit: Limit::Until(first_head) };
        let mut next_head = None;
        let head = Arc::new(AtomicBool::new(false));
        loop {
            let first_bytes = tokio::select! {
                biased;
                read = first_read(&mut stream, &mut deadline) => read?,
                _ = &mut stopped => return None,
            };
            let mut session = ServerSession::new_http1(stream);
            match settings.take() {
                Some(settings) => settings.apply_to_session(&mut session),
                None => session.set_keepalive(Some(KEEP_ALIVE_AT_FIRST)),
            }
            session.set_pipelined_prefix(first_bytes);
            head.store(false, Ordering::Relaxed);
            let guard = HeadGuard { is_complete: Arc::clone(&head), interrupt: Arc::clone(interrupt) };
            session.set_connection_user_context(Some(Box::new(guard)));
            deadline.limit = next_head.map_or(deadline.limit, Limit::For);
            let request = self.proxy.process_new_http(session, shutdown);
            (stream, settings) = head_in_time(request, &head, &mut deadline).await?.consume();
            if *shutdown.borrow() {
                return None;
            }
            let timeouts = &self.front_door.config().timeouts;
            (deadline.limit, next_head) = (Limit::For(timeouts.keep_alive), Some(timeouts.client_header));
        }
    }

    async fn cleanup(&self) {
        self.proxy.http_cleanup().await;
    }
}

/// The answer to a connection beyond the limit. Its request is not read.
const TOO_MANY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

/// Answers and closes a connection without waiting for it.
fn refuse(mut stream: Stream) {
    drop(stream.write_all(TOO_MANY).now_or_never());
    drop(stream.flush().now_or_never());
}

/// The first bytes of a request; `None` when the client is gone or the limit is over.
async fn first_read(stream: &mut Stream, deadline: &mut Deadline<'_>) -> Option<BytesMut> {
    poll_fn(|cx| {
        // Not kept while waiting: an idle connection has no buffer.
        let mut space = [MaybeUninit::uninit(); FIRST_READ];
        let mut read = ReadBuf::uninit(&mut space);
        match Pin::new(&mut *stream).poll_read(cx, &mut read) {
            Poll::Ready(Ok(())) if !read.filled().is_empty() => {
                let mut bytes = BytesMut::with_capacity(FIRST_READ);
                bytes.extend_from_slice(read.filled());
                Poll::Ready(Some(bytes))
            }
            Poll::Ready(Ok(()) | Err(_)) => Poll::Ready(None),
            Poll::Pending => deadline.poll_over(cx).map(|()| None),
        }
    })
    .await
}

/// The whole of a request, unless its head is not complete in time.
async fn head_in_time<T>(request: impl Future<Output = Option<T>>, head: &AtomicBool, deadline: &mut Deadline<'_>) -> Option<T> {
    let mut request = pin!(request);
    poll_fn(|cx| match request.as_mut().poll(cx) {
        Poll::Ready(ended) => Poll::Ready(ended),
        Poll::Pending if head.load(Ordering::Relaxed) => Poll::Pending,
        Poll::Pending => deadline.poll_over(cx).map(|()| None),
    })
    .await
}

/// What is waited for at most.
#[derive(Clone, Copy)]
enum Limit {
    Until(Instant),
    /// From when somebody has to wait, which is seldom for the rest of a head.
    For(Duration),
}

/// A limit, and a timer that goes off at its end or earlier.
struct Deadline<'t> {
    timer: Pin<&'t mut Sleep>,
    limit: Limit,
}

impl Deadline<'_> {
    fn poll_over(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let end = match self.limit {
            Limit::Until(end) => end,
            Limit::For(limit) => Instant::now() + limit,
        };
        self.limit = Limit::Until(end);
        if end < self.timer.deadline() {
            self.timer.as_mut().reset(end);
        }
        // Set for an earlier limit, it is set again for this one: once in a while, and not for each request.
        while self.timer.as_mut().poll(cx).is_ready() {
            if self.timer.deadline() >= end {
                return Poll::Ready(());
            }
            self.timer.as_mut().reset(end);
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The limit as soon as it is over, of a timer that was set for `timer`.
    async fn over(timer: Duration, limit: Limit) -> Duration {
        let started = Instant::now();
        let mut deadline = Deadline { timer: pin!(sleep_until(started + timer)), limit };
        poll_fn(|cx| deadline.poll_over(cx)).await;
        started.elapsed()
    }

    const SHORT: Duration = Duration::from_millis(30);
    const LONG: Duration = Duration::from_millis(90);

    #[tokio::test]
    async fn a_timer_that_goes_off_too_early_is_set_again() {
        assert!(over(SHORT, Limit::For(LONG)).await >= LONG);
    }

    #[tokio::test]
    async fn a_timer_that_would_go_off_too_late_is_set_anew() {
        assert!(over(Duration::from_secs(3600), Limit::For(SHORT)).await >= SHORT);
    }

    #[tokio::test]
    async fn a_limit_that_is_over_already_ends_at_once() {
        let limit = Limit::Until(Instant::now());
        let ended = tokio::time::timeout(LONG, over(SHORT, limit)).await;
        assert!(ended.is_ok());
    }

    #[tokio::test]
    async fn a_request_whose_head_is_complete_has_no_limit_here() {
        let head = AtomicBool::new(true);
        let mut deadline = Deadline { timer: pin!(sleep_until(Instant::now())), limit: Limit::For(Duration::ZERO) };
        let request = async {
            tokio::time::timeout(SHORT, std::future::pending::<()>()).await.unwrap_err();
            Some("answered")
        };
        assert_eq!(head_in_time(request, &head, &mut deadline).await, Some("answered"));
    }
}
