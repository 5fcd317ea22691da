//! A request body, or the beginning of a long one, read before an upstream is chosen.
//!
//! The bytes read here must still reach the upstream, and every further upstream that is tried.
//! Pingora keeps a body of up to 64 KiB and sends it at the start of each attempt. It keeps nothing
//! of a longer body, so our own copy is sent first ([`BodyPrefix::prepend`]). If the copy is the
//! whole body, Pingora would send nothing at all. It is then given a session with a body of one
//! byte, and our copy replaces that byte in each attempt ([`stand_in`]).
//!
//! Every body is read ahead, up to a bound, before the request takes a slot at an upstream
//! ([`BodyPrefix::gather`]). A client that sends slowly therefore holds no slot. The copies of all
//! clients together are bounded ([`BodyMemory`]). A body without room in that memory, or without a
//! decision in time, is classified by the part that has arrived, at worst as `unknown`, and
//! streams.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use pingora::Result;
use pingora::http::RequestHeader;
use pingora::protocols::http::ServerSession;
use pingora::proxy::Session;
use tokio::time::{Instant, timeout_at};

use crate::metrics::{ClientMemory, HeldBytes, MemoryShare};
use crate::ogc::{BODY_PREFIX, BodyReader};

/// Bytes of Pingora's retry buffer, and of one read of a body, which every request may hold.
const RETRY_BUFFER: usize = 64 * 1024;

/// Bytes that every body may hold without being counted.
const FREE: usize = 4 * 1024;

/// Time for the part of a body that decides the class. Two megabytes over a slow line arrive in
/// time.
const PATIENCE: Duration = Duration::from_secs(120);

/// Longer than any body takes: its rate and its pauses are limited instead.
const FAR: Duration = Duration::from_secs(24 * 60 * 60);

/// Which copy of the bytes an attempt sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sends {
    /// Pingora's, as it stands.
    Pingoras,
    /// Ours, and then what else comes.
    OursFirst,
    /// Ours, in place of the byte that stands for it.
    OursAlone,
}

/// The bytes read ahead.
#[derive(Debug)]
pub(in crate::proxy) struct BodyPrefix {
    bytes: Bytes,
    reader: BodyReader,
    /// The whole body was read.
    is_complete: bool,
    sends: Sends,
    /// Our copy was sent in this attempt.
    is_sent: bool,
    share: MemoryShare,
}

/// The memory of bodies.
#[derive(Clone, Debug)]
pub(in crate::proxy) struct BodyMemory<'m> {
    pub(in crate::proxy) memory: &'m Arc<ClientMemory>,
    /// The bytes that the client's network holds.
    pub(in crate::proxy) network: Option<Arc<HeldBytes>>,
    /// Bytes of all bodies together.
    pub(in crate::proxy) limit: usize,
}

impl BodyPrefix {
    /// Reads until the class can be decided.
    pub(in crate::proxy) async fn read(
        session: &mut Session,
        mut reader: BodyReader,
        memory: BodyMemory<'_>,
    ) -> Result<Self> {
        let limit = memory.limit;
        let mut prefix = Self::nothing(reader, memory);
        let deadline = Instant::now() + PATIENCE;
        let is_enough = |bytes: &[u8]| !reader.wants_more(bytes);
        prefix
            .read_on(session, deadline, limit, true, is_enough)
            .await?;
        prefix.reader = reader;
        Ok(prefix)
    }

    /// Reads on until `most` bytes have arrived, before a slot is requested, so that a client that
    /// sends slowly holds none. Returns false if more than `max_body` bytes have arrived.
    pub(in crate::proxy) async fn gather(
        &mut self,
        session: &mut Session,
        most: usize,
        max_body: u64,
        limit: usize,
    ) -> Result<bool> {
        let is_too_large = |length: usize| length as u64 > max_body;
        if !self.is_complete {
            let far = Instant::now() + FAR;
            self.read_on(session, far, limit, false, |bytes| {
                bytes.len() >= most || is_too_large(bytes.len())
            })
            .await?;
        }
        Ok(!is_too_large(self.bytes.len()))
    }

    /// Before anything is read.
    pub(in crate::proxy) fn nothing(reader: BodyReader, memory: BodyMemory<'_>) -> Self {
        Self {
            bytes: Bytes::new(),
            reader,
            is_complete: false,
            sends: Sends::Pingoras,
            is_sent: false,
            share: MemoryShare::of_network(memory.memory, memory.network),
        }
    }

    /// Reads until `is_enough`, the deadline, or the end of the body. Without memory it ends, too,
    /// unless the class `decides`: then what Pingora holds anyway is read.
    async fn read_on(
        &mut self,
        session: &mut Session,
        deadline: Instant,
        limit: usize,
        decides: bool,
        mut is_enough: impl FnMut(&[u8]) -> bool,
    ) -> Result<()> {
        let downstream = &mut session.downstream_session;
        if expects_continue(downstream.req_header()) {
            downstream.write_continue_response().await?;
        }
        downstream.enable_retry_buffering();
        let mut bytes = BytesMut::from(std::mem::take(&mut self.bytes));
        while self.take_memory(bytes.len(), limit) || decides && bytes.len() < RETRY_BUFFER {
            match timeout_at(deadline, downstream.read_request_body()).await {
                Ok(read) => match read.map_err(|error| error.into_down())? {
                    Some(piece) => bytes.extend_from_slice(&piece),
                    None => break,
                },
                Err(_elapsed) => break,
            }
            if is_enough(&bytes) {
                break;
            }
        }
        self.bytes = bytes.freeze();
        self.is_complete = downstream.is_body_done();
        self.sends = match (downstream.retry_buffer_truncated(), self.is_complete) {
            (false, _) => Sends::Pingoras,
            (true, false) => Sends::OursFirst,
            (true, true) => Sends::OursAlone,
        };
        if self.sends == Sends::OursAlone {
            stand_in(session).await?;
        }
        Ok(())
    }

    /// Takes memory for `length` bytes in all. Returns false if there is none.
    fn take_memory(&mut self, length: usize, limit: usize) -> bool {
        let more = length
            .saturating_sub(FREE)
            .saturating_sub(self.share.bytes());
        more == 0 || self.share.grow(more, limit)
    }

    /// At most [`BODY_PREFIX`] bytes, for what an answer may repeat of them.
    pub(in crate::proxy) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.bytes.len().min(BODY_PREFIX)]
    }

    /// Whether [`Self::bytes`] is the whole body.
    pub(in crate::proxy) fn is_whole(&self) -> bool {
        self.is_complete && self.bytes.len() <= BODY_PREFIX
    }

    /// The whole body, if it is here.
    pub(in crate::proxy) fn whole(&self) -> Option<&[u8]> {
        self.is_complete.then_some(&self.bytes[..])
    }

    /// Returns the part that may decide the class.
    pub(in crate::proxy) fn evidence(&self) -> Option<std::borrow::Cow<'_, [u8]>> {
        self.reader.evidence(&self.bytes, self.is_complete)
    }

    /// A new attempt sends everything again.
    pub(in crate::proxy) fn rewind(&mut self) {
        self.is_sent = false;
    }

    /// Puts our copy before the first part of the body that an attempt sends, or in its place, if
    /// Pingora has lost its own.
    pub(in crate::proxy) fn prepend(&mut self, body: &mut Option<Bytes>) {
        if self.sends == Sends::Pingoras || self.is_sent {
            return;
        }
        self.is_sent = true;
        let rest = body
            .take()
            .filter(|rest| self.sends == Sends::OursFirst && !rest.is_empty());
        *body = Some(match rest {
            None => self.bytes.clone(),
            Some(rest) => [&self.bytes[..], &rest].concat().into(),
        });
    }

    /// True if all of a body, of which an attempt has sent `sent` bytes, is still here to be sent
    /// again.
    pub(in crate::proxy) fn covers(&self, sent: u64) -> bool {
        self.sends == Sends::OursFirst && sent <= self.bytes.len() as u64
    }

    /// The answer goes to the client: no other attempt follows.
    pub(in crate::proxy) fn let_go(&mut self) {
        if self.bytes.len() > BODY_PREFIX && self.is_sent {
            self.bytes = Bytes::copy_from_slice(self.bytes());
            self.share.shrink(usize::MAX);
        }
    }
}

/// RFC 9110 section 10.1.1.
pub(in crate::proxy) fn expects_continue(request: &RequestHeader) -> bool {
    request
        .headers
        .get(http::header::EXPECT)
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

/// A request with a body of one byte.
const STAND_IN: &[u8] = b"POST / HTTP/1.1\r\nHost: geofront\r\nContent-Length: 1\r\n\r\nx";

/// Replaces a session whose body has been read by one on the same connection, with the same head,
/// and with one byte for a body, which is read and kept to be sent.
async fn stand_in(session: &mut Session) -> Result<()> {
    let downstream = &mut *session.downstream_session;
    let (keepalive, reuses) = (
        downstream.get_keepalive(),
        downstream.get_keepalive_reuses_remaining(),
    );
    let head = downstream.req_header().clone();
    let nowhere = Box::new(tokio::io::duplex(1).0);
    let ServerSession::H1(mut old) =
        std::mem::replace(downstream, ServerSession::new_http1(nowhere))
    else {
        return pingora::Error::e_explain(
            pingora::ErrorType::InternalError,
            "only HTTP/1 is spoken with clients",
        );
    };
    let timeouts = (
        old.get_read_timeout(),
        old.get_write_timeout(),
        old.get_total_drain_timeout(),
    );
    // Only so that it hands out its connection, and the bytes of the next request that have
    // arrived.
    old.set_server_keepalive(Some(0));
    old.set_keepalive_reuses_remaining(None);
    old.set_pipelining_enabled(true);
    let Some(connection) = old.reuse().await? else {
        return pingora::Error::e_explain(
            pingora::ErrorType::InternalError,
            "a connection whose request is read is there",
        );
    };
    let (stream, next_request) = connection.into_parts();
    let mut new = ServerSession::new_http1(stream);
    new.set_pipelined_prefix(BytesMut::from(STAND_IN));
    new.read_request().await?;
    new.enable_retry_buffering();
    new.read_request_body().await?;
    *new.req_header_mut() = head;
    // As without this replacement, a client that does not wait for its answer gets this one, and
    // has to try again.
    new.set_keepalive(keepalive.filter(|_| next_request.is_none()));
    new.set_keepalive_reuses_remaining(reuses);
    new.set_read_timeout(timeouts.0);
    new.set_write_timeout(timeouts.1);
    new.set_total_drain_timeout(timeouts.2);
    *downstream = new;
    Ok(())
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

    use super::*;

    const MAX: usize = 1 << 20;
    const LIMIT: usize = 64 << 20;

    fn of(memory: &Arc<ClientMemory>) -> BodyMemory<'_> {
        BodyMemory {
            memory,
            network: None,
            limit: LIMIT,
        }
    }

    #[tokio::test]
    async fn a_body_that_decides_nothing_is_read_ahead_up_to_its_bound_and_sent_whole() {
        let bodies = Arc::default();
        for length in [1, 9_000, RETRY_BUFFER + 1, 150_000, 300_000] {
            let body: Vec<u8> = (0..length).map(|at| b'a' + (at % 23) as u8).collect();
            let (mut session, _client) = session(&body).await;
            let mut prefix = BodyPrefix::nothing(reader(&session), of(&bodies));
            assert!(
                prefix
                    .gather(&mut session, 200_000, u64::MAX, LIMIT)
                    .await
                    .unwrap()
            );
            assert!(prefix.bytes.len() >= length.min(200_000) && prefix.bytes.len() < 270_000);
            assert_eq!(prefix.is_complete, length < 200_000);
            for _ in 0..if prefix.is_complete { 3 } else { 1 } {
                assert!(
                    sent(&mut session, &mut prefix).await == body,
                    "{length} bytes"
                );
            }
        }
        assert_eq!(bodies.held(), 0);
    }

    #[tokio::test]
    async fn a_body_for_which_there_is_no_memory_streams() {
        let bodies = Arc::default();
        let (mut session, _client) = session(&vec![b'x'; 300_000]).await;
        let mut prefix = BodyPrefix::nothing(reader(&session), of(&bodies));
        assert!(prefix.gather(&mut session, MAX, u64::MAX, 0).await.unwrap());
        assert!(!prefix.is_complete);
        assert_eq!(sent(&mut session, &mut prefix).await.len(), 300_000);
    }

    #[tokio::test]
    async fn a_body_that_becomes_too_large_is_noticed_before_it_is_sent() {
        let (mut session, _client) = session(&vec![b'x'; 300_000]).await;
        let mut prefix = BodyPrefix::nothing(reader(&session), of(&Arc::default()));
        assert!(
            !prefix
                .gather(&mut session, MAX, 1_000, LIMIT)
                .await
                .unwrap()
        );
    }

    /// A session whose head is read, and the client's end, which has sent `body` in one piece.
    async fn session(body: &[u8]) -> (Session, DuplexStream) {
        let head = "POST /geoserver/wms HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-www-form-urlencoded\r\n";
        let request = [
            format!("{head}Content-Length: {}\r\n\r\n", body.len()).as_bytes(),
            body,
        ]
        .concat();
        let (ours, mut client) = tokio::io::duplex(request.len() + 1000);
        client.write_all(&request).await.unwrap();
        let mut session = Session::new_h1(Box::new(ours));
        session.downstream_session.read_request().await.unwrap();
        session.set_keepalive(Some(60));
        session.set_read_timeout(Some(Duration::from_secs(7)));
        (session, client)
    }

    fn reader(session: &Session) -> BodyReader {
        BodyReader::new(
            session
                .req_header()
                .headers
                .get("content-type")
                .map(|value| value.to_str().unwrap()),
            None,
            MAX,
        )
    }

    /// Returns the body that an attempt sends: Pingora's copy first, and then the bytes that it
    /// still reads.
    async fn sent(session: &mut Session, prefix: &mut BodyPrefix) -> Vec<u8> {
        prefix.rewind();
        let mut sent = Vec::new();
        if let Some(kept) = session.downstream_session.get_retry_buffer() {
            let mut part = Some(kept);
            prefix.prepend(&mut part);
            sent.extend(part.unwrap());
        }
        while !session.downstream_session.is_body_done() {
            let mut part = session
                .downstream_session
                .read_request_body()
                .await
                .unwrap();
            prefix.prepend(&mut part);
            sent.extend(part.unwrap_or_default());
        }
        sent
    }

    #[tokio::test]
    async fn every_attempt_sends_all_of_a_body_that_decides_however_long_it_is() {
        let bodies = Arc::default();
        for length in [10, 9_000, RETRY_BUFFER, RETRY_BUFFER + 1, 200_000, MAX] {
            let body: Vec<u8> = (0..length).map(|at| b'a' + (at % 23) as u8).collect();
            let (mut session, mut client) = session(&body).await;
            let reader = reader(&session);
            let mut prefix = BodyPrefix::read(&mut session, reader, of(&bodies))
                .await
                .unwrap();
            assert_eq!(
                prefix.evidence().as_deref(),
                Some(&body[..]),
                "{length} bytes"
            );
            for attempt in 1..=3 {
                assert_eq!(
                    sent(&mut session, &mut prefix).await,
                    body,
                    "{length} bytes, attempt {attempt}"
                );
                assert!(
                    !session.downstream_session.retry_buffer_truncated()
                        && session.downstream_session.is_body_done()
                );
            }
            let headers = &session.req_header().headers;
            assert_eq!(
                headers["content-length"].to_str().unwrap(),
                length.to_string()
            );
            assert_eq!(session.get_keepalive(), Some(60));
            session.respond_error(503).await.unwrap();
            let mut answer = [0; 12];
            client.read_exact(&mut answer).await.unwrap();
            assert_eq!(
                &answer, b"HTTP/1.1 503",
                "the client's connection is the same"
            );
        }
    }

    #[tokio::test]
    async fn bytes_behind_a_long_form_are_no_part_of_it() {
        let body = vec![b'x'; 100_000];
        let (mut session, mut client) = session(&body).await;
        client.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
        let reader = reader(&session);
        let mut prefix = BodyPrefix::read(&mut session, reader, of(&Arc::default()))
            .await
            .unwrap();
        assert_eq!(sent(&mut session, &mut prefix).await, body);
    }

    #[tokio::test]
    async fn bodies_of_all_clients_together_have_a_bound_and_one_without_room_is_not_read_on() {
        let bodies: Arc<ClientMemory> = Arc::default();
        let mut taken = MemoryShare::new(&bodies);
        assert!(taken.grow(LIMIT - 100_000, LIMIT));
        let body = vec![b'x'; 300_000];
        let (mut session, _client) = session(&body).await;
        let reader = reader(&session);
        let mut prefix = BodyPrefix::read(&mut session, reader, of(&bodies))
            .await
            .unwrap();
        assert_eq!(prefix.evidence(), None, "the rest may hold anything");
        assert!(prefix.bytes.len() < 250_000, "{}", prefix.bytes.len());
        assert_eq!(
            sent(&mut session, &mut prefix).await,
            body,
            "it is passed on all the same"
        );
        drop((taken, prefix));
        assert_eq!(bodies.held(), 0);
    }

    #[tokio::test]
    async fn a_body_is_let_go_when_its_answer_goes_to_the_client() {
        let bodies: Arc<ClientMemory> = Arc::default();
        let (mut session, _client) = session(&vec![b'x'; 300_000]).await;
        let reader = reader(&session);
        let mut prefix = BodyPrefix::read(&mut session, reader, of(&bodies))
            .await
            .unwrap();
        sent(&mut session, &mut prefix).await;
        assert!(bodies.held() > 0);
        prefix.let_go();
        assert_eq!((bodies.held(), prefix.bytes.len()), (0, BODY_PREFIX));
    }

    #[tokio::test(start_paused = true)]
    async fn a_form_that_does_not_end_in_time_is_decided_by_the_part_that_arrived() {
        let (ours, mut client) = tokio::io::duplex(1000);
        let head = "POST /geoserver/wms HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-www-form-urlencoded\r\n";
        client
            .write_all(format!("{head}Content-Length: 100000\r\n\r\na=").as_bytes())
            .await
            .unwrap();
        let mut session = Session::new_h1(Box::new(ours));
        session.downstream_session.read_request().await.unwrap();
        let started = Instant::now();
        let reader = reader(&session);
        let prefix = BodyPrefix::read(&mut session, reader, of(&Arc::default()))
            .await
            .unwrap();
        assert_eq!((prefix.evidence(), started.elapsed()), (None, PATIENCE));
    }
}
