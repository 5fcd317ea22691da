//! HTTP/2 towards clients.
//!
//! Each stream is served as a connection of HTTP/1.1 with one request ([`stream`]): the same code
//! judges its head, applies its limits and answers it. What is particular to HTTP/2 is bounded
//! here: the number of streams, the size of heads, the buffers for slow clients, and the frames
//! that advance no request ([`frames`]).

mod frames;
mod request;
mod resets;
mod response;
mod stream;

use std::collections::VecDeque;
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
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use frames::{FloodFlag, WatchedFrames};
use resets::MalformedStreams;
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
    /// The end of the time for the first frames and the head of the first request.
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

/// The number of last streams that are known. A stream that is older and still runs gets a second
/// access line if its trailers are malformed.
const KNOWN_STREAMS: usize = 2 * MAX_STREAMS as usize;

/// Serves a connection, of which `ahead` was read before. `serve` serves one stream, and goes on in
/// a task of its own. `refused` logs a malformed request, of which the library shows nothing.
pub(in crate::proxy) async fn serve<F, S>(
    stream: Stream,
    ahead: BytesMut,
    limits: Http2Limits,
    shutdown: &ShutdownWatch,
    serve: F,
    refused: impl Fn(),
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
    let (is_flood, malformed) = (FloodFlag::default(), MalformedStreams::default());
    let watched = WatchedFrames::new(stream, ahead, is_flood.clone(), malformed.clone());
    let handshake = builder(&limits).handshake::<_, Bytes>(watched);
    let mut reason = None;
    if let Ok(Ok(connection)) = timeout_at(limits.deadline, handshake).await {
        let mut connection = Streams {
            connection,
            digests,
            is_flood: is_flood.clone(),
            malformed,
            known: VecDeque::new(),
            running: JoinSet::new(),
        };
        let ended = connection.run(&limits, shutdown, serve, &refused).await;
        connection.note_malformed(&refused);
        let error = ended.err();
        if error.as_ref().is_some_and(is_protocol_error) {
            refused();
        }
        reason = error.and_then(|error| error.reason());
        // Their reads fail now, so they end by themselves, each with its access line.
        connection.running.detach_all();
    }
    // The library has limits of its own.
    if is_flood.is_raised() || reason == Some(Reason::ENHANCE_YOUR_CALM) {
        ConnectionEnd::Flood
    } else {
        ConnectionEnd::Usual
    }
}

/// True if the library has ended the connection because of malformed frames. A flood is counted
/// elsewhere.
fn is_protocol_error(error: &h2::Error) -> bool {
    let is_fault = |reason| ![Reason::NO_ERROR, Reason::ENHANCE_YOUR_CALM].contains(&reason);
    error.is_go_away() && error.is_library() && error.reason().is_some_and(is_fault)
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
    is_flood: FloodFlag,
    malformed: MalformedStreams,
    /// The last streams that are served. Each has its own access line.
    known: VecDeque<u32>,
    running: JoinSet<()>,
}

impl Streams {
    async fn run<F, S>(
        &mut self,
        limits: &Http2Limits,
        shutdown: &ShutdownWatch,
        serve: F,
        refused: &impl Fn(),
    ) -> Result<(), h2::Error>
    where
        F: Fn(Stream) -> S,
        S: Future<Output = ()> + Send + 'static,
    {
        let mut stopped = shutdown.clone();
        let mut stopped = pin!(stopped.wait_for(|is_stopped| *is_stopped));
        let keep_alive = limits.keep_alive;
        // Until the first request, as for HTTP/1.
        let mut idle = pin!(sleep_until(limits.deadline));
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
                () = self.is_flood.raised() => break,
                () = self.malformed.added() => self.note_malformed(refused),
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
        self.end_flood().await
    }

    /// Logs the streams that were reset as malformed and are not served.
    fn note_malformed(&self, refused: &impl Fn()) {
        let streams = self.malformed.take().into_iter();
        streams
            .filter(|stream| !self.known.contains(stream))
            .for_each(|_| refused());
    }

    /// Ends the connection with the reason.
    async fn end_flood(&mut self) -> Result<(), h2::Error> {
        self.connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
        let sent = async { while let Some(Ok(_)) = self.connection.accept().await {} };
        // A client that floods may read nothing.
        timeout(FAREWELL, sent).await.ok();
        Err(Reason::ENHANCE_YOUR_CALM.into())
    }

    /// Returns the stream as a connection of HTTP/1.1. `None` if its request cannot be one: then
    /// the stream is reset.
    fn stream(
        &mut self,
        request: Request<RecvStream>,
        mut answer: SendResponse<Bytes>,
    ) -> Option<StreamIo> {
        let (parts, body) = request.into_parts();
        let body = (!body.is_end_stream()).then_some(body);
        let Some((head, form)) = request::head_of(&parts, body.is_some()) else {
            answer.send_reset(Reason::PROTOCOL_ERROR);
            return None;
        };
        if self.known.len() == KNOWN_STREAMS {
            self.known.pop_front();
        }
        self.known.push_back(answer.stream_id().as_u32());
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// The room of the connection between client and server.
    const SOCKET: usize = 4 * 1024;

    /// The preface, settings with the largest window for each stream, the same for the connection,
    /// and `GET https://a/`.
    const REQUEST: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\
        \0\0\x06\x04\0\0\0\0\0\0\x04\x7f\xff\xff\xff\
        \0\0\x04\x08\0\0\0\0\0\x7f\xff\0\0\
        \0\0\x06\x01\x05\0\0\0\x01\x82\x87\x84\x41\x01a";

    const LIMITS: fn() -> Http2Limits = || Http2Limits {
        head_size: 64 * 1024,
        head_fields: 200,
        keep_alive: Duration::from_secs(75),
        deadline: Instant::now() + Duration::from_secs(10),
    };

    /// What a client that sends `bytes` gets until the connection ends, and how it ended.
    async fn answer_to(bytes: &[u8]) -> (Vec<u8>, ConnectionEnd) {
        let (mut client, ours) = tokio::io::duplex(1 << 20);
        client.write_all(bytes).await.unwrap();
        let (_stop, shutdown) = tokio::sync::watch::channel(false);
        let serve_one = |_: Stream| async {};
        let ours = Box::new(ours);
        let ahead = BytesMut::new();
        let ended = serve(ours, ahead, LIMITS(), &shutdown, serve_one, || {}).await;
        let mut got = Vec::new();
        client.read_to_end(&mut got).await.unwrap();
        (got, ended)
    }

    /// The code of the last GOAWAY.
    fn goaway(mut frames: &[u8]) -> Option<u32> {
        let mut code = None;
        while let [_, high, low, kind, rest @ ..] = frames {
            let length = usize::from(u16::from_be_bytes([*high, *low]));
            let payload = &rest[5..5 + length];
            if *kind == 7 {
                code = payload[4..8].try_into().ok().map(u32::from_be_bytes);
            }
            frames = &rest[5 + length..];
        }
        code
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_ends_with_its_reason() {
        let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
        let pings = b"\0\0\x08\x06\0\0\0\0\x0012345678".repeat(1_001);
        let (got, ended) = answer_to(&[&preface[..], &pings].concat()).await;
        assert_eq!(ended, ConnectionEnd::Flood);
        assert_eq!(goaway(&got), Some(11), "ENHANCE_YOUR_CALM");
    }

    #[tokio::test(start_paused = true)]
    async fn requests_that_are_reset_before_anything_looks_at_them_are_few() {
        let resets = |count: usize| {
            let mut bytes = REQUEST[..REQUEST.len() - 15].to_vec();
            for number in 0..count {
                let [high, low] = u16::try_from(2 * number + 1).unwrap().to_be_bytes();
                bytes.extend_from_slice(&[0, 0, 6, 1, 5, 0, 0, high, low]);
                bytes.extend_from_slice(b"\x82\x87\x84\x41\x01a");
                bytes.extend_from_slice(&[0, 0, 4, 3, 0, 0, 0, high, low, 0, 0, 0, 8]);
            }
            bytes
        };
        let (_, ended) = answer_to(&resets(MAX_UNSEEN_RESETS)).await;
        assert_eq!(ended, ConnectionEnd::Usual);
        let (got, ended) = answer_to(&resets(MAX_UNSEEN_RESETS + 1)).await;
        assert_eq!((ended, goaway(&got)), (ConnectionEnd::Flood, Some(11)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_without_a_request_ends_with_the_time_for_the_first_head() {
        let started = Instant::now();
        let (got, ended) = answer_to(&REQUEST[..24 + 15]).await;
        assert_eq!((ended, goaway(&got)), (ConnectionEnd::Usual, Some(0)));
        let took = started.elapsed();
        assert!(took <= Duration::from_secs(10) + FAREWELL, "{took:?}");
    }

    /// The clock stands still until nothing goes on any more, so the limit on time is over when
    /// the answer has come as far as it can.
    #[tokio::test(start_paused = true)]
    async fn an_answer_for_a_client_that_reads_nothing_waits_where_it_comes_from() {
        let (mut client, ours) = tokio::io::duplex(SOCKET);
        client.write_all(REQUEST).await.unwrap();
        let accepted = Arc::new(AtomicUsize::new(0));
        let serve_one = |mut stream: Stream| {
            let accepted = Arc::clone(&accepted);
            async move {
                let head = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n";
                stream.write_all(head).await.unwrap();
                while let Ok(count) = stream.write(&[b'x'; 10_000]).await {
                    accepted.fetch_add(count, Ordering::Relaxed);
                }
            }
        };
        let (_stop, shutdown) = tokio::sync::watch::channel(false);
        let served = serve(
            Box::new(ours),
            BytesMut::new(),
            LIMITS(),
            &shutdown,
            serve_one,
            || {},
        );
        assert!(
            timeout_at(Instant::now() + Duration::from_secs(60), served)
                .await
                .is_err()
        );
        let accepted = accepted.load(Ordering::Relaxed);
        // What is in the socket and in a frame that is being written has left the buffer.
        let most = MAX_SEND_BUFFER + SOCKET + 2 * MAX_FRAME;
        assert!((MAX_SEND_BUFFER..=most).contains(&accepted), "{accepted}");
    }

    /// The largest frame that a client gets unless it wants larger ones.
    const MAX_FRAME: usize = 16 * 1024;
}
