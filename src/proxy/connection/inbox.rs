//! The bytes that a client's connection has received, and the part of them that Pingora may see.
//!
//! Pingora reads a request leniently, and reads on behind its end. So it gets a head only after the
//! head was judged, and then exactly the bytes of that request's body. Bytes that the client sends
//! ahead wait here until the next head is judged.

use std::fmt;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::Instant;

use super::pace::{ClientPace, PaceRule};
use crate::http1::{
    BodyScanner, Fault, Framing, Head, HeadLimits, HeadProgress, HeadReader, Version,
};

/// Room for one read ahead; a head is rarely longer.
const READ_AHEAD: usize = 4 * 1024;

/// The field by which a client announces that it waits for `100 Continue` before it sends its body.
const EXPECT: &[u8] = b"\nexpect:";

/// Bytes that a client may send ahead. Further bytes wait in the kernel.
const MAX_AHEAD: usize = 16 * 1024;

/// The connection has become a tunnel: further bytes are no HTTP any more.
#[derive(Clone, Debug, Default)]
pub(in crate::proxy) struct Tunnel(Arc<AtomicBool>);

impl Tunnel {
    /// Both ends have agreed on another protocol.
    pub(in crate::proxy) fn open(&self) {
        // Read by the task that opens it.
        self.0.store(true, Ordering::Relaxed);
    }

    fn is_open(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// The result of the wait for a head.
#[derive(Debug)]
pub(in crate::proxy) enum Incoming {
    /// A head that was judged, and its bytes.
    Head(Head, BytesMut),
    /// A head that breaks a rule; method and target as far as they were understood.
    Refused(Fault, Vec<u8>, Vec<u8>),
    /// The client has gone.
    Gone,
}

/// See the module's documentation.
#[derive(Debug)]
pub(in crate::proxy) struct Inbox {
    /// Read from the connection and not judged yet.
    ahead: BytesMut,
    head: HeadReader,
    body: BodyScanner,
    /// The minimum rate of the body.
    rule: PaceRule,
    pace: ClientPace,
    /// Start of the wait for more of the body.
    waiting: Option<Instant>,
    /// The client waits for `100 Continue` before it sends its body.
    expects_continue: bool,
    /// The current request is one of HTTP/1.1.
    is_http11: bool,
    pub(in crate::proxy) tunnel: Tunnel,
}

impl Default for Inbox {
    fn default() -> Self {
        let (body, rule) = (BodyScanner::new(Framing::default()), PaceRule::default());
        Self {
            ahead: BytesMut::new(),
            head: HeadReader::default(),
            body,
            rule,
            pace: ClientPace::new(&rule),
            waiting: None,
            expects_continue: false,
            is_http11: false,
            tunnel: Tunnel::default(),
        }
    }
}

impl Inbox {
    /// Bodies must come at least as fast as this.
    pub(in crate::proxy) fn set_rule(&mut self, rule: PaceRule) {
        self.rule = rule;
    }

    /// Takes over the bytes that were read from the connection before.
    pub(in crate::proxy) fn begin_with(&mut self, ahead: BytesMut) {
        self.ahead = ahead;
    }

    /// Whether bytes of a head are here.
    pub(in crate::proxy) fn has_begun(&self) -> bool {
        !self.ahead.is_empty()
    }

    /// Whether all of the current request's body has come.
    pub(in crate::proxy) fn is_body_complete(&self) -> bool {
        self.body.is_complete()
    }

    /// True if the client supports interim answers, and only its answer is awaited.
    pub(in crate::proxy) fn may_close_its_side(&self) -> bool {
        self.is_http11 && self.body.is_complete() && !self.tunnel.is_open()
    }

    /// Whether the client may still be sending, as far as is known.
    pub(in crate::proxy) fn is_owed(&self) -> bool {
        !self.body.is_complete() || self.has_begun()
    }

    /// The next head, judged.
    pub(in crate::proxy) fn poll_head<S>(
        &mut self,
        stream: &mut S,
        cx: &mut Context<'_>,
        limits: &HeadLimits,
    ) -> Poll<Incoming>
    where
        S: AsyncRead + Unpin,
    {
        loop {
            if !self.ahead.is_empty() {
                match self.head.read(&self.ahead, limits) {
                    HeadProgress::More => {}
                    HeadProgress::Complete(head) => return Poll::Ready(self.begin(head)),
                    HeadProgress::Refused(fault) => {
                        let (method, target) = self.head.request_line(&self.ahead);
                        return Poll::Ready(Incoming::Refused(
                            fault,
                            method.to_vec(),
                            target.to_vec(),
                        ));
                    }
                }
            }
            match ready!(self.poll_ahead(stream, cx)) {
                Ok(1..) => {}
                Ok(0) | Err(_) => return Poll::Ready(Incoming::Gone),
            }
        }
    }

    /// Begins a request: its head is handed over, and its body may follow.
    fn begin(&mut self, head: Head) -> Incoming {
        self.head = HeadReader::default();
        self.body = BodyScanner::new(head.framing);
        self.is_http11 = head.version == Version::Http11;
        // Splitting costs an allocation, and most requests are nothing but a head.
        let is_all = self.ahead.len() == head.whole.end;
        let mut bytes = if is_all {
            std::mem::take(&mut self.ahead)
        } else {
            self.ahead.split_to(head.whole.end)
        };
        bytes.advance(head.whole.start);
        if !self.body.is_complete() {
            self.pace = ClientPace::new(&self.rule);
            self.waiting = None;
            let expect = |line: &[u8]| line.eq_ignore_ascii_case(EXPECT);
            self.expects_continue = bytes.windows(EXPECT.len()).any(expect);
        }
        Incoming::Head(head, bytes)
    }

    /// Reads on behalf of Pingora: the rest of the body, then nothing until the request is over.
    pub(in crate::proxy) fn poll_read<S>(
        &mut self,
        stream: &mut S,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>>
    where
        S: AsyncRead + Unpin,
    {
        if self.tunnel.is_open() {
            return self.poll_tunnel(stream, cx, buf);
        }
        if self.body.is_complete() {
            return self.poll_idle(stream, cx);
        }
        if !self.ahead.is_empty() {
            let length = self.ahead.len().min(buf.remaining());
            let taken = self.body.take(&self.ahead[..length]).map_err(malformed)?;
            buf.put_slice(&self.ahead[..taken]);
            self.ahead.advance(taken);
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        let Poll::Ready(read) = Pin::new(stream).poll_read(cx, buf) else {
            self.waiting.get_or_insert_with(Instant::now);
            return Poll::Pending;
        };
        read?;
        self.note_pace(buf.filled().len() - before)?;
        let taken = self.body.take(&buf.filled()[before..]).map_err(malformed)?;
        self.ahead
            .extend_from_slice(&buf.filled()[before + taken..]);
        buf.set_filled(before + taken);
        Poll::Ready(Ok(()))
    }

    /// The client has sent `bytes` more of its body.
    fn note_pace(&mut self, bytes: usize) -> io::Result<()> {
        let Some(since) = self.waiting.take() else {
            return Ok(());
        };
        if std::mem::take(&mut self.expects_continue) {
            return Ok(());
        }
        if self.pace.note(bytes as u64, since.elapsed(), &self.rule) {
            return Ok(());
        }
        Err(io::Error::new(io::ErrorKind::TimedOut, TooSlow))
    }

    fn poll_tunnel<S>(
        &mut self,
        stream: &mut S,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>>
    where
        S: AsyncRead + Unpin,
    {
        if self.ahead.is_empty() {
            return Pin::new(stream).poll_read(cx, buf);
        }
        let length = self.ahead.len().min(buf.remaining());
        buf.put_slice(&self.ahead.split_to(length));
        Poll::Ready(Ok(()))
    }

    /// Keeps further bytes for later, because the request is complete. Ready when the client has
    /// gone.
    fn poll_idle<S: AsyncRead + Unpin>(
        &mut self,
        stream: &mut S,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while self.ahead.len() < MAX_AHEAD {
            if ready!(self.poll_ahead(stream, cx))? == 0 {
                return Poll::Ready(Ok(()));
            }
        }
        // Nothing wakes this read. The task that waits beside it notices the end of the request.
        Poll::Pending
    }

    /// Reads some bytes for later; returns their number.
    fn poll_ahead<S: AsyncRead + Unpin>(
        &mut self,
        stream: &mut S,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        // Not kept while waiting: an idle connection has no buffer.
        let mut space = [MaybeUninit::uninit(); READ_AHEAD];
        let mut read = ReadBuf::uninit(&mut space);
        ready!(Pin::new(stream).poll_read(cx, &mut read))?;
        let bytes = read.filled();
        if self.ahead.capacity() == 0 && !bytes.is_empty() {
            self.ahead.reserve(READ_AHEAD);
        }
        self.ahead.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }
}

/// A body came too slowly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct TooSlow;

impl fmt::Display for TooSlow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the client sends its body too slowly")
    }
}

impl std::error::Error for TooSlow {}

/// Whether a client was given up because its body came too slowly.
pub(in crate::proxy) fn is_too_slow(error: &pingora::Error) -> bool {
    inner(error).is_some_and(|inner| inner.is::<TooSlow>())
}

/// The error of ours that made a read fail.
fn inner(error: &pingora::Error) -> Option<&(dyn std::error::Error + Send + Sync + 'static)> {
    error.root_cause().downcast_ref::<io::Error>()?.get_ref()
}

fn malformed(fault: Fault) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, fault)
}

/// The broken rule, if that is why reading a body failed.
pub(in crate::proxy) fn fault_of(error: &pingora::Error) -> Option<Fault> {
    inner(error)?.downcast_ref::<Fault>().copied()
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::Duration;

    use pingora::protocols::Stream;
    use pingora::protocols::http::v1::server::HttpSession;
    use proptest::prelude::*;
    use tokio::io::{AsyncWriteExt, DuplexStream};

    use super::*;
    use crate::http1::{ByteRange, TargetForm};
    use crate::proxy::connection::readable;
    use crate::proxy::connection::stream::ClientStream;

    const LIMITS: HeadLimits = HeadLimits {
        max_bytes: 64 * 1024,
        max_fields: 200,
    };

    fn pair() -> (DuplexStream, Box<ClientStream<Stream>>) {
        let (client, ours) = tokio::io::duplex(1 << 20);
        (
            client,
            Box::new(ClientStream::new(
                Box::new(ours),
                Arc::default(),
                Arc::default(),
                crate::proxy::connection::stream::LIMITS,
            )),
        )
    }

    async fn next(stream: &mut ClientStream<Stream>) -> Incoming {
        poll_fn(|cx| stream.poll_head(cx, &LIMITS)).await
    }

    /// Returns the next request as Pingora reads it, with its body; `None` if the head was refused.
    async fn pingora_reads(
        mut stream: Box<ClientStream<Stream>>,
    ) -> Option<(Head, BytesMut, HttpSession, Vec<u8>)> {
        let Incoming::Head(head, bytes) = next(&mut stream).await else {
            return None;
        };
        let mut session = HttpSession::new(stream);
        let readable = readable::of(&head, bytes.clone());
        session.set_pipelined_prefix(readable.bytes);
        let read = session
            .read_request()
            .await
            .unwrap_or_else(|error| panic!("{error}: {}", bytes.escape_ascii()));
        assert!(read.is_some());
        if let Some(target) = readable.target {
            session.req_header_mut().set_raw_path(&target).unwrap();
        }
        let mut body = Vec::new();
        while let Some(part) = session.read_body_bytes().await.unwrap() {
            body.extend_from_slice(&part);
        }
        Some((head, bytes, session, body))
    }

    fn target() -> impl Strategy<Value = Vec<u8>> {
        let bytes = prop::collection::vec(
            prop_oneof![Just(b'/'), Just(b'%'), Just(b':'), 0x21..=0xff_u8],
            0..20,
        );
        let start = prop::sample::select(vec![
            "/",
            "//",
            "/?",
            "http://a",
            "https://[::1]:1/",
            "http://a?",
            "*",
        ]);
        (start, bytes).prop_map(|(start, bytes)| [start.as_bytes(), &bytes].concat())
    }

    /// Bytes without the end of a line, which would end the head and begin another body.
    fn value() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(any::<u8>(), 0..12).prop_filter("it ends the line", |value| {
            !value.windows(2).any(|pair| pair == b"\r\n")
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn pingora_reads_the_judged_bytes(
            method in "[A-Z!#$%&'*+.^_`|~-]{1,12}",
            target in target(),
            fields in prop::collection::vec(("[a-zA-Z0-9!#$%&'*+.^_`|~-]{1,12}", value()), 0..6),
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..4),
            version in prop::sample::select(vec!["HTTP/1.1", "HTTP/1.0"]),
        ) {
            let mut request = [method.as_bytes(), b" ", &target, b" ", version.as_bytes(), b"\r\n"].concat();
            for (name, value) in &fields {
                request.extend_from_slice(&[name.as_bytes(), b": ", value, b"\r\n"].concat());
            }
            if version == "HTTP/1.1" {
                request.extend_from_slice(b"Host: a\r\nTransfer-Encoding: chunked\r\n\r\n");
                for chunk in &chunks {
                    request.extend_from_slice(&[format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat());
                }
                request.extend_from_slice(b"0\r\nX: y\r\n\r\n");
            } else {
                request.extend_from_slice(format!("Content-Length: {}\r\n\r\n", chunks.concat().len()).as_bytes());
                request.extend_from_slice(&chunks.concat());
            }
            request.extend_from_slice(b"GET /second HTTP/1.1\r\nHost: a\r\n\r\n");
            let mut runtime = tokio::runtime::Builder::new_current_thread();
            let runtime = runtime.enable_all().build().unwrap();
            runtime.block_on(async {
                let (mut client, stream) = pair();
                client.write_all(&request).await.unwrap();
                let Some((head, bytes, session, body)) = pingora_reads(stream).await else {
                    return;
                };
                let of = |span: ByteRange| &request[span.start..span.end];
                assert_eq!(session.req_header().method.as_str().as_bytes(), of(head.method));
                let is_absolute = matches!(head.form, TargetForm::Absolute { .. });
                let target = match head.form {
                    TargetForm::Absolute { path, .. } => path,
                    TargetForm::Origin | TargetForm::Asterisk => head.target,
                };
                let path = session.req_header().raw_path();
                assert!(path == of(target) || path == [b"/", of(target)].concat(), "{}", path.escape_ascii());
                let lines = bytes.windows(2).filter(|pair| pair == b"\r\n").count() - 2;
                let is_added = is_absolute && head.host.is_none();
                assert_eq!(session.req_header().headers.len(), lines + usize::from(is_added));
                assert_eq!(body, chunks.concat());
            });
        }
    }

    #[test]
    fn the_longest_target_that_is_accepted_is_one_for_pingora() {
        let mut request = pingora::http::RequestHeader::build("GET", b"/", None).unwrap();
        let mut longest = 0;
        for length in 21_000..22_000 {
            let target = [b"/".as_slice(), &vec![0xe9; length]].concat();
            let head = [b"GET ", &target[..], b" HTTP/1.1\r\nHost: a\r\n\r\n"].concat();
            let limits = HeadLimits {
                max_bytes: 1 << 20,
                max_fields: 10,
            };
            if let HeadProgress::Complete(_) = HeadReader::default().read(&head, &limits) {
                request.set_raw_path(&target).unwrap();
                longest = length;
            }
        }
        assert_eq!(longest, 21_666);
    }

    #[tokio::test]
    async fn bytes_sent_ahead_are_the_next_head_and_no_part_of_this_body() {
        let (mut client, mut stream) = pair();
        client
            .write_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcGET /2 HTTP/1.1\r\nHost: a\r\n\r\n")
            .await
            .unwrap();
        let Incoming::Head(..) = next(&mut stream).await else {
            panic!("the first is good")
        };
        let mut body = [0; 10];
        let read = tokio::io::AsyncReadExt::read(&mut stream, &mut body)
            .await
            .unwrap();
        assert_eq!(&body[..read], b"abc");
        let Incoming::Head(head, bytes) = next(&mut stream).await else {
            panic!("the second is good")
        };
        assert_eq!(head.target.of(&bytes), b"/2");
    }

    #[tokio::test]
    async fn a_client_that_sends_far_ahead_waits_and_costs_no_more_than_the_bound() {
        let (mut client, mut stream) = pair();
        client
            .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            .await
            .unwrap();
        let Incoming::Head(..) = next(&mut stream).await else {
            panic!("it is good")
        };
        client.write_all(&vec![b'x'; 500_000]).await.unwrap();
        let mut inbox = Inbox::default();
        let mut inner = &[b'x'; 500_000][..];
        let waker = std::task::Waker::noop();
        assert!(
            inbox
                .poll_idle(&mut inner, &mut Context::from_waker(waker))
                .is_pending()
        );
        assert!(inbox.ahead.len() < MAX_AHEAD + READ_AHEAD);
    }

    /// Seconds until a client that waits so long before each byte of its body is given up; `None`
    /// if it is not within a hundred bytes.
    async fn given_up_after(more: &str, pauses: impl Iterator<Item = u64>) -> Option<u64> {
        let (mut client, mut stream) = pair();
        let head = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n{more}\r\n");
        client.write_all(head.as_bytes()).await.unwrap();
        let Incoming::Head(..) = next(&mut stream).await else {
            panic!("it is good")
        };
        let started = Instant::now();
        for pause in pauses.take(100) {
            let mut byte = [0; 1];
            let read = tokio::io::AsyncReadExt::read(&mut stream, &mut byte);
            let send = async {
                let mut clock = tokio::time::interval(Duration::from_secs(pause));
                clock.tick().await;
                clock.tick().await;
                client.write_all(b"x").await.unwrap();
            };
            if let Err(error) = tokio::join!(read, send).0 {
                assert!(error.get_ref().unwrap().is::<TooSlow>());
                return Some(started.elapsed().as_secs());
            }
        }
        None
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_comes_byte_by_byte_is_given_up_after_the_grace() {
        assert_eq!(given_up_after("", std::iter::repeat(1)).await, Some(10));
        let first_late = || std::iter::once(30).chain(std::iter::repeat(1));
        assert_eq!(given_up_after("", first_late()).await, Some(30));
        let expect = "EXPECT: 100-continue\r\n";
        assert_eq!(given_up_after(expect, first_late()).await, Some(40));
    }

    #[tokio::test]
    async fn in_a_tunnel_everything_passes_from_the_first_byte_on() {
        let (mut client, mut stream) = pair();
        client
            .write_all(
                b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n\0\x01",
            )
            .await
            .unwrap();
        let Incoming::Head(..) = next(&mut stream).await else {
            panic!("it is good")
        };
        stream.tunnel().open();
        client.write_all(b"\r\n\0").await.unwrap();
        let mut bytes = [0; 5];
        tokio::io::AsyncReadExt::read_exact(&mut stream, &mut bytes)
            .await
            .unwrap();
        assert_eq!(&bytes, b"\0\x01\r\n\0");
    }
}
