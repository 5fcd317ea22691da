//! HTTP/2 towards clients.
//!
//! Each stream is served as a connection of HTTP/1.1 with one request ([`stream`]): the same code
//! judges its head, applies its limits and answers it. What is particular to HTTP/2 is bounded
//! here:
//! the number of streams, the size of heads, what is buffered for slow clients, and frames that
//! bring no request further ([`frames`]).

mod frames;
mod request;
mod response;
mod stream;

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use h2::server::{Connection, SendResponse};
use h2::{Reason, RecvStream};
use http::{Method, Request};
use pingora::protocols::Stream;
use pingora::server::ShutdownWatch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout_at};

use frames::{FloodFlag, WatchedFrames};
use stream::{SharedDigests, StreamIo};

/// Requests at a time on one connection. The same as nginx's and HAProxy's.
const MAX_STREAMS: u32 = 100;

/// Bytes of bodies that a client may send ahead, for one stream and for all of a connection.
const STREAM_WINDOW: u32 = 128 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;

/// Bytes of one answer that wait for a client to read.
const MAX_SEND_BUFFER: usize = 64 * 1024;

/// Streams that a client has reset before they were looked at. More end the connection.
const MAX_UNSEEN_RESETS: usize = 50;

/// Time for the last frames of a connection.
const FAREWELL: Duration = Duration::from_secs(5);

/// The protocol's name in a TLS handshake.
pub(in crate::proxy) const ALPN: &[u8] = b"h2";

/// The limits of one connection.
#[derive(Clone, Copy, Debug)]
pub(in crate::proxy) struct Http2Limits {
    /// Bytes of a head. It is judged again, with the limits in force then.
    pub(in crate::proxy) head_size: usize,
    pub(in crate::proxy) head_fields: usize,
    /// Time without a request after which the connection ends.
    pub(in crate::proxy) keep_alive: Duration,
    /// The end of the time for the first frames.
    pub(in crate::proxy) deadline: Instant,
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::proxy) enum ConnectionEnd {
    /// By the client, by time or by a stop of the process.
    Usual,
    /// The client sent too much that brings no request further.
    Flood,
}

/// Serves a connection, of which `ahead` was read before. `serve` serves one stream, and goes on in
/// a task of its own.
pub(in crate::proxy) async fn serve<F, S>(
    stream: Stream,
    ahead: BytesMut,
    limits: Http2Limits,
    shutdown: &ShutdownWatch,
    serve: F,
) -> ConnectionEnd
where
    F: Fn(Stream) -> S,
    S: Future<Output = ()> + Send + 'static,
{
    let digests = SharedDigests {
        socket: stream.get_socket_digest(),
        tls: stream.get_ssl_digest(),
        id: stream.id(),
    };
    let is_flood = FloodFlag::default();
    let watched = WatchedFrames::new(stream, ahead, is_flood.clone());
    let handshake = builder(&limits).handshake::<_, Bytes>(watched);
    let mut reason = None;
    if let Ok(Ok(connection)) = timeout_at(limits.deadline, handshake).await {
        let mut connection = Streams {
            connection,
            digests,
            running: JoinSet::new(),
        };
        let ended = connection.run(limits.keep_alive, shutdown, serve).await;
        reason = ended.err().and_then(|error| error.reason());
        // Their reads fail now, so they end by themselves, each with its access line.
        connection.running.detach_all();
    }
    // The library has limits of its own.
    if is_flood.is_set() || reason == Some(Reason::ENHANCE_YOUR_CALM) {
        ConnectionEnd::Flood
    } else {
        ConnectionEnd::Usual
    }
}

fn builder(limits: &Http2Limits) -> h2::server::Builder {
    // Each field counts for 32 bytes more. A head that is only a little too long is judged, and
    // refused with an answer of ours.
    let list = limits.head_size.saturating_mul(2) + limits.head_fields.saturating_mul(64);
    let mut builder = h2::server::Builder::new();
    builder
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(u32::try_from(list).unwrap_or(u32::MAX))
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buffer_size(MAX_SEND_BUFFER)
        .max_pending_accept_reset_streams(MAX_UNSEEN_RESETS);
    builder
}

/// The streams of one connection.
struct Streams {
    connection: Connection<WatchedFrames<Stream>, Bytes>,
    digests: SharedDigests,
    running: JoinSet<()>,
}

impl Streams {
    async fn run<F, S>(
        &mut self,
        keep_alive: Duration,
        shutdown: &ShutdownWatch,
        serve: F,
    ) -> Result<(), h2::Error>
    where
        F: Fn(Stream) -> S,
        S: Future<Output = ()> + Send + 'static,
    {
        let mut stopped = shutdown.clone();
        let mut stopped = pin!(stopped.wait_for(|is_stopped| *is_stopped));
        let mut idle = pin!(sleep_until(Instant::now() + keep_alive));
        let mut is_ending = false;
        loop {
            tokio::select! {
                accepted = self.connection.accept() => match accepted {
                    Some(Ok((request, answer))) => {
                        if let Some(stream) = self.stream(request, answer) {
                            self.running.spawn(serve(Box::new(stream)));
                        }
                    }
                    Some(Err(error)) => return Err(error),
                    None => return Ok(()),
                },
                Some(_) = self.running.join_next() => {
                    if self.running.is_empty() && !is_ending {
                        idle.as_mut().reset(Instant::now() + keep_alive);
                    }
                }
                _ = &mut stopped, if !is_ending => {
                    self.connection.graceful_shutdown();
                    is_ending = true;
                    idle.as_mut().reset(Instant::now() + FAREWELL);
                }
                () = &mut idle, if self.running.is_empty() => {
                    if is_ending {
                        return Ok(());
                    }
                    self.connection.graceful_shutdown();
                    is_ending = true;
                    idle.as_mut().reset(Instant::now() + FAREWELL);
                }
            }
        }
    }

    /// Returns the stream as a connection of HTTP/1.1. `None` if its request cannot be one: then
    /// the stream is reset.
    fn stream(
        &self,
        request: Request<RecvStream>,
        mut answer: SendResponse<Bytes>,
    ) -> Option<StreamIo> {
        let (parts, body) = request.into_parts();
        let body = (!body.is_end_stream()).then_some(body);
        let Some((head, form)) = request::head_of(&parts, body.is_some()) else {
            answer.send_reset(Reason::PROTOCOL_ERROR);
            return None;
        };
        let is_for_head = parts.method == Method::HEAD;
        let digests = self.digests.clone();
        Some(StreamIo::new(
            head,
            body,
            form,
            answer,
            is_for_head,
            digests,
        ))
    }
}
