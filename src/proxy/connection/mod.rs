//! A client's connection: one request after the other, until one of its limits is over.
//!
//! Pingora's own limits are per read: a client that sends one byte a second keeps a connection for
//! ever (slowloris). Here the whole head has one deadline, and is judged before Pingora sees it
//! (`inbox.rs`). Between requests a connection waits in a few hundred bytes: the buffers and the
//! state of a request are made when its first bytes are there, and given back at its end.
//!
//! ```text
//! accepted -- first bytes --> head --> request, answer --+      limits: from accepted to the end of the first head, client_header;
//!                 ^            |                         |      between requests, keep_alive; from the first bytes of another
//!                 +------------|---- kept alive ---------+      head to its end, client_header
//!                              +--> malformed: our answer, then what the client still sends is read for a while
//! ```
//!
//! A healthy connection sets no timer for a request. There is one for the connection, set again
//! only when it goes off too early.

mod acme;
mod answer_head;
mod clients;
mod deadline;
pub(in crate::proxy) mod delivery;
pub(in crate::proxy) mod greet;
mod half_close;
pub(in crate::proxy) mod inbox;
pub(in crate::proxy) mod interrupt;
mod log_limit;
mod networks;
mod pace;
mod preface;
mod readable;
mod reading_credit;
mod redirect;
pub(in crate::proxy) mod refuse_head;
mod reset;
mod stream;
mod unsent;
mod write_timer;

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use async_trait::async_trait;
use futures::FutureExt;
use pingora::apps::{HttpPersistentSettings, HttpServerApp, ServerApp};
use pingora::protocols::http::ServerSession;
use pingora::protocols::{Shutdown, Stream};
use pingora::server::ShutdownWatch;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::config::{Config, Limits};
use crate::http1::HeadLimits;
use crate::metrics::HeldBytes;
use crate::proxy::http2::{self, ConnectionEnd, Http2Limits};
use crate::proxy::running::{KEPT_GRACE, RunningRequests};
use clients::{Clients, CountedClient};
use deadline::{ConnectionDeadline, ConnectionLimit};
use delivery::Delivery;
use greet::{Arrival, Greeted, NamedListener};
use inbox::{Incoming, Tunnel};
use interrupt::{Interrupt, Interrupts};
use readable::Readable;
use refuse_head::HeadRefuser;
use reset::end_with_reset;
use stream::{ClientStream, Left, StreamLimits};
use unsent::Unsent;

/// Time for which bytes are read from a client that was answered before it had sent everything.
/// Unread bytes would reset the connection, and the client would not see the answer. nginx uses the
/// same times.
const LINGER: Duration = Duration::from_secs(30);

/// A client that sends nothing for so long has seen the answer.
const LINGER_SILENCE: Duration = Duration::from_secs(5);

/// Parts of an answer that broke off that are sent at once.
const REST_PARTS: usize = 8;

/// Bytes that are read and discarded at once while a connection lingers.
const LINGER_BUFFER: usize = 4 * 1024;

/// Time for which a stopping process waits for the first head of a connection that it has accepted,
/// because no other process can serve this connection.
const FRESH_GRACE: Duration = Duration::from_secs(1);

/// Seconds of keep-alive with which Pingora starts a connection. They are replaced before the first
/// answer.
const KEEP_ALIVE_AT_FIRST: u64 = 60;

/// Passed through Pingora's per-connection context to the first hook that runs after the head.
#[derive(Debug)]
pub(super) struct Switches {
    /// The connection's.
    pub(super) interrupt: Arc<Interrupt>,
    /// The connection's.
    pub(super) tunnel: Tunnel,
    /// The connection's.
    pub(super) delivery: Delivery,
    /// The request's target, where Pingora could not read it.
    pub(super) target: Option<Box<[u8]>>,
    /// The client ends the connection with this request. Pingora reads `Connection` only once.
    pub(super) is_last: bool,
    /// The properties that the connection's listener adds.
    pub(super) arrival: Option<Arc<Arrival>>,
    /// The memory for bodies that the client's network holds.
    pub(super) bodies: Option<Arc<HeldBytes>>,
}

/// The parts that connections share with the proxy that answers their requests.
pub struct ConnectionParts {
    pub(super) heads: HeadRefuser,
    pub(super) interrupts: Arc<Interrupts>,
    pub(super) running: RunningRequests,
}

/// The Pingora application: serves connections, and has the proxy `A` answer their requests.
pub struct Connections<A> {
    proxy: Arc<A>,
    parts: Arc<ConnectionParts>,
    clients: Arc<Clients>,
    /// `None` for listeners of plain HTTP.
    listener: Option<NamedListener>,
}

impl<A> Connections<A> {
    /// Serves at most `max_clients` connections at a time.
    pub fn new(proxy: A, parts: ConnectionParts, max_clients: usize) -> Self {
        let clients = Clients::new(max_clients, Arc::clone(&parts.heads.metrics));
        Self {
            proxy: Arc::new(proxy),
            parts: Arc::new(parts),
            clients,
            listener: None,
        }
    }

    /// Serves the connections of a listener with a name; all share one limit.
    #[must_use]
    pub fn at(&self, listener: &str) -> Self {
        Self {
            proxy: Arc::clone(&self.proxy),
            parts: Arc::clone(&self.parts),
            clients: Arc::clone(&self.clients),
            listener: Some(NamedListener::new(listener)),
        }
    }

    /// Makes the connection fit for heads, which plain HTTP is at once.
    async fn greet(&self, stream: Stream, deadline: Instant) -> Option<Greeted> {
        let Some(listener) = &self.listener else {
            return Some(stream.into());
        };
        let config = self.config();
        let greeting = listener.greet(stream, &config, deadline, &self.parts.heads.metrics);
        // On the heap: connections of plain HTTP do not carry the state of a handshake.
        Box::pin(greeting).await
    }

    /// The port that requests of this connection are redirected to.
    fn redirect_port(&self) -> Option<u16> {
        let listener = self.listener.as_ref()?;
        listener.settings(&self.config())?.https_redirect
    }

    /// The configuration in force for new connections.
    fn config(&self) -> Arc<Config> {
        Arc::clone(&self.parts.heads.control.snapshot().config)
    }

    fn stream(&self, stream: Stream, interrupt: &Arc<Interrupt>) -> Box<ClientStream<Stream>> {
        Box::new(ClientStream::new(
            stream,
            Arc::clone(interrupt),
            Arc::clone(&self.parts.heads.metrics.slow_clients.answers),
            StreamLimits::of(&self.config()),
        ))
    }

    /// The next head, unless it is not complete in time. `from_first_byte` is the limit that begins
    /// with a head, if there is one.
    async fn head_in_time(
        &self,
        client: Option<&CountedClient>,
        stream: &mut ClientStream<Stream>,
        deadline: &mut ConnectionDeadline<'_>,
        mut from_first_byte: Option<Duration>,
    ) -> Option<Incoming> {
        let mut incomplete = None;
        poll_fn(|cx| {
            let limits = |limits: &Limits| HeadLimits {
                max_bytes: limits.head_size,
                max_fields: limits.head_fields,
            };
            let limits = limits(&self.parts.heads.control.snapshot().config.limits);
            if let Poll::Ready(incoming) = stream.poll_head(cx, &limits) {
                return Poll::Ready(Some(incoming));
            }
            if stream.has_begun() {
                deadline.limit = from_first_byte
                    .take()
                    .map_or(deadline.limit, ConnectionLimit::For);
                if let Some(client) = client.filter(|_| incomplete.is_none()) {
                    incomplete = client.begin_head();
                    if incomplete.is_none() {
                        return Poll::Ready(None);
                    }
                }
            }
            deadline.poll_over(cx).map(|()| {
                if stream.has_begun() {
                    self.clients.count_head_timeout();
                }
                None
            })
        })
        .await
    }
}

#[async_trait]
impl<A> ServerApp for Connections<A>
where
    A: HttpServerApp + Send + Sync + 'static,
{
    async fn process_new(
        self: &Arc<Self>,
        stream: Stream,
        shutdown: &ShutdownWatch,
    ) -> Option<Stream> {
        let Some(client) = self.clients.enter() else {
            refuse(stream);
            return None;
        };
        // In a task of its own: Pingora's has room for a handshake that is not done there, which
        // an idle connection would keep.
        let connection = Arc::clone(self).serve_client(stream, client, shutdown.clone());
        tokio::spawn(connection);
        None
    }

    async fn cleanup(&self) {
        self.proxy.http_cleanup().await;
    }
}

impl<A> Connections<A>
where
    A: HttpServerApp + Send + Sync + 'static,
{
    /// Serves a connection to its end.
    async fn serve_client(
        self: Arc<Self>,
        stream: Stream,
        mut client: CountedClient,
        shutdown: ShutdownWatch,
    ) -> Option<()> {
        let accepted = Instant::now();
        let first_head = accepted + self.config().timeouts.client_header;
        let mut greeted = self.greet(stream, first_head).await?;
        let config = self.config();
        // Only now known behind a proxy that speaks the PROXY protocol.
        let peer = peer(&greeted.stream).filter(|peer| !config.trust.allows_origin(*peer));
        if !client.join(peer, &config.clients) {
            refuse(greeted.stream);
            return None;
        }
        drop(config);
        greeted.shared = client.shared();
        match &greeted.arrival {
            Some(arrival) if arrival.is_http2 => {
                let arrival = Arc::clone(arrival);
                // On the heap, as above.
                Box::pin(self.serve_http2(greeted, arrival, first_head, &shutdown)).await;
                None
            }
            _ => {
                self.serve(greeted, Some(&client), first_head, &shutdown)
                    .await
            }
        }
    }

    /// Serves the streams of an HTTP/2 connection.
    async fn serve_http2(
        self: &Arc<Self>,
        greeted: Greeted,
        arrival: Arc<Arrival>,
        deadline: Instant,
        shutdown: &ShutdownWatch,
    ) {
        let config = self.config();
        let limits = Http2Limits {
            head_size: config.limits.head_size,
            head_fields: config.limits.head_fields,
            keep_alive: config.timeouts.keep_alive,
            deadline,
        };
        drop(config);
        let Greeted {
            stream,
            ahead,
            shared,
            ..
        } = greeted;
        let serve_one = |stream: Stream| {
            let shared = shared.clone();
            let (connections, shutdown) = (Arc::clone(self), shutdown.clone());
            let arrival = Some(Arc::clone(&arrival));
            async move {
                // The head is there already.
                let first_head = Instant::now() + connections.config().timeouts.client_header;
                let greeted = Greeted {
                    arrival,
                    shared,
                    ..Greeted::from(stream)
                };
                connections
                    .serve(greeted, None, first_head, &shutdown)
                    .await
                    .unwrap_or_default();
            }
        };
        let heads = &self.parts.heads;
        let client = peer(&stream);
        let refused = || heads.note_malformed_stream(client);
        let ended = http2::serve(stream, ahead, limits, shutdown, serve_one, refused).await;
        if ended == ConnectionEnd::Flood {
            self.parts.heads.metrics.http2_flood();
        }
    }

    /// Serves one request after the other. The client is `None` for a stream of HTTP/2, whose
    /// connection is counted. The result has no meaning.
    async fn serve(
        &self,
        greeted: Greeted,
        client: Option<&CountedClient>,
        first_head: Instant,
        shutdown: &ShutdownWatch,
    ) -> Option<()> {
        let registered = self.parts.interrupts.register();
        let interrupt = &registered.interrupt;
        let Greeted {
            stream,
            arrival,
            ahead,
            shared,
        } = greeted;
        let mut stream = self.stream(stream, interrupt);
        stream.begin_with(ahead);
        if let Some(shared) = &shared {
            stream.count_for(shared);
        }
        if client.is_some() {
            // Streams of HTTP/2 share a socket.
            stream.measure_socket();
        }
        let (remains, tunnel, delivery) = (stream.remains(), stream.tunnel(), stream.delivery());
        let mut settings: Option<HttpPersistentSettings> = None;
        let mut stopped = shutdown.clone();
        let mut stopped = pin!(stopped.wait_for(|is_stopped| *is_stopped));
        let mut is_stopped = false;
        let mut deadline = ConnectionDeadline {
            timer: pin!(sleep_until(first_head)),
            limit: ConnectionLimit::Until(first_head),
        };
        let mut next_head = None;
        // A stopping process waits for this connection as for a request, until it has served one.
        let mut fresh = Some(self.parts.running.connect());
        loop {
            let incoming = tokio::select! {
                biased;
                incoming = self.head_in_time(client, &mut stream, &mut deadline, next_head) => {
                    incoming
                }
                () = stop_waiting(&mut stopped, &mut is_stopped, fresh.is_some()) => return None,
            };
            let (head, bytes) = match incoming? {
                Incoming::Head(head, bytes) => (head, bytes),
                Incoming::Gone => return None,
                Incoming::Refused(fault, method, target) => {
                    let hsts = arrival.as_ref().and_then(|arrival| arrival.hsts.as_ref());
                    let heads = &self.parts.heads;
                    // On the heap, like the rest: an idle connection carries no state that most
                    // connections never need.
                    Box::pin(heads.refuse(&mut stream, fault, &method, &target, hsts)).await;
                    drop(stream);
                    break;
                }
            };
            if let Some(token) = acme::token(&head, &bytes)
                && let Some(answer) = acme::answer(&self.config(), token).await
            {
                let heads = &self.parts.heads;
                Box::pin(heads.verify(&mut stream, &head, &bytes, answer)).await;
                drop(stream);
                break;
            }
            if let Some(port) = self.redirect_port() {
                let heads = &self.parts.heads;
                Box::pin(heads.redirect(&mut stream, &head, &bytes, port)).await;
                drop(stream);
                break;
            }
            let mut session = ServerSession::new_http1(stream);
            match settings.take() {
                Some(settings) => settings.apply_to_session(&mut session),
                None => session.set_keepalive(Some(KEEP_ALIVE_AT_FIRST)),
            }
            let Readable { bytes, target } = readable::of(&head, bytes);
            session.set_pipelined_prefix(bytes);
            let switches = Switches {
                interrupt: Arc::clone(interrupt),
                tunnel: tunnel.clone(),
                delivery: delivery.clone(),
                target,
                is_last: head.connection.close,
                arrival: arrival.clone(),
                bodies: shared
                    .as_ref()
                    .map(|shared| Arc::clone(&shared.memory.bodies)),
            };
            session.set_connection_user_context(Some(Box::new(switches)));
            let Some(reused) = self.proxy.process_new_http(session, shutdown).await else {
                break;
            };
            fresh = None;
            let returned;
            (returned, settings) = reused.consume();
            stream = returned
                .into_any()
                .downcast()
                .expect("Pingora returns the stream it was given");
            let config = self.config();
            stream.set_limits(StreamLimits::of(&config));
            (deadline.limit, next_head) = (
                ConnectionLimit::For(config.timeouts.keep_alive),
                Some(config.timeouts.client_header),
            );
        }
        // The client has its answer: a stop need not wait for what it still sends.
        drop(fresh);
        let left = remains.lock().take();
        Box::pin(linger(left?)).await;
        None
    }
}

/// The client's address; `None` where there is none.
fn peer(stream: &Stream) -> Option<IpAddr> {
    let digest = stream.get_socket_digest()?;
    digest.peer_addr()?.as_inet().map(SocketAddr::ip)
}

/// Returns when a connection need not wait for a head any more, because the process stops.
/// `is_stopped` is set once `stopped` has resolved, after which it must not be polled.
async fn stop_waiting(stopped: impl Future, is_stopped: &mut bool, is_fresh: bool) {
    if !*is_stopped {
        stopped.await;
        *is_stopped = true;
    }
    sleep(if is_fresh { FRESH_GRACE } else { KEPT_GRACE }).await;
}

/// The answer to a connection beyond a limit. Its request is not read.
const TOO_MANY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

/// Answers and closes a connection without waiting for it. Inside TLS the client cannot read it.
fn refuse(mut stream: Stream) {
    let _written = stream.write_all(TOO_MANY).now_or_never();
    let _flushed = stream.flush().now_or_never();
}

/// Sends the received part of an answer that broke off while the client was slow.
async fn send_rest(stream: &mut Stream, mut unsent: Unsent) -> io::Result<()> {
    while !unsent.is_empty() {
        let mut parts = [IoSlice::new(&[]); REST_PARTS];
        let count = unsent.fill(&mut parts);
        let sent = stream.write_vectored(&parts[..count]).await?;
        if sent == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        unsent.advance(sent);
    }
    stream.flush().await
}

/// Ends a connection whose client may still be sending so that it sees its answer.
async fn linger(left: Left<Stream>) {
    let mut stream = left.inner;
    if let Some(fd) = left.must_be_reset {
        // The part of the answer that was sent is of no use to the client.
        if let Err(error) = end_with_reset(fd) {
            tracing::warn!(%error, "an answer that broke off ends as if it were complete");
        }
        return;
    }
    let is_sent = left.unsent.is_empty()
        || matches!(
            timeout(LINGER, send_rest(&mut stream, left.unsent)).await,
            Ok(Ok(()))
        );
    if !is_sent || !left.is_owed {
        return;
    }
    Shutdown::shutdown(&mut *stream).await;
    let mut forgotten = [0; LINGER_BUFFER];
    let drain = async {
        while matches!(
            timeout(LINGER_SILENCE, stream.read(&mut forgotten)).await,
            Ok(Ok(1..))
        ) {}
    };
    // Over or not, the connection ends.
    timeout(LINGER, drain).await.ok();
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A client that reuses its connection may be sending a request in the moment of the stop. It
    /// gets an answer, with `Connection: close`.
    #[tokio::test(start_paused = true)]
    async fn a_connection_outlives_the_stop_by_a_moment_and_one_without_an_answer_by_a_second() {
        for (is_fresh, grace) in [(false, KEPT_GRACE), (true, FRESH_GRACE)] {
            let started = Instant::now();
            let mut is_stopped = false;
            stop_waiting(std::future::ready(()), &mut is_stopped, is_fresh).await;
            // The timer has milliseconds.
            let took = started.elapsed();
            assert!(
                (grace..=grace * 2).contains(&took) && is_stopped,
                "{took:?}"
            );
            let resolved = async { panic!("it is polled again") };
            stop_waiting(resolved, &mut is_stopped, is_fresh).await;
        }
    }
}
