//! HTTP/1.1 on a socket, by hand: reading requests with `httparse`, writing answers well or, on
//! demand, badly.
//!
//! A server library would be less code here, but would refuse to act as a sick GeoServer does. Such
//! a server ends a body early, resets in the middle of an answer, leaves a request unread or sends
//! bytes that are not HTTP. This code also keeps the order of received headers.

use std::io;
use std::io::Write as _;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::sleep;

use super::answer::{Answer, Body};
use super::door::Guest;
use super::request::{BodyCollector, Framing, Request, RequestBody};
use super::socket::Socket;

/// A longer head is refused with 400, as a servlet container does (Tomcat's own limit is 8 KiB and
/// is usually raised).
const MAX_HEAD: usize = 64 * 1024;
/// A line that frames a chunk.
const MAX_CHUNK_LINE: usize = 1024;
const READ_SIZE: usize = 16 * 1024;

pub(super) struct Wire {
    stream: Socket,
    guest: Guest,
    input: BytesMut,
    output: Vec<u8>,
}

/// Why there is no request.
#[derive(Debug)]
pub(super) enum NoRequest {
    /// The peer closed, or is gone.
    Gone,
    /// It cannot be answered but with 400.
    Bad,
}

impl From<io::Error> for NoRequest {
    fn from(_: io::Error) -> Self {
        Self::Gone
    }
}

/// How the body of an answer ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    Whole,
    /// Half of it.
    Half,
}

/// The way in which an answer is written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Manner {
    pub(super) ending: Ending,
    pub(super) drip: Option<(usize, Duration)>,
    pub(super) keep_alive: bool,
}

impl Wire {
    pub(super) fn new(stream: Socket, guest: Guest) -> Self {
        Self {
            stream,
            guest,
            input: BytesMut::new(),
            output: Vec::new(),
        }
    }

    pub(super) fn guest(&self) -> &Guest {
        &self.guest
    }

    /// Ends the connection with a reset.
    pub(super) fn reset(self) {
        reset_on_close(self.stream.tcp());
    }

    /// Ends the connection in good order.
    pub(super) async fn close(mut self) {
        if let Socket::Tls(stream) = &mut self.stream {
            // A client that is gone needs no farewell.
            stream.shutdown().await.ok();
        }
    }

    /// The next request, without its body.
    pub(super) async fn receive_head(&mut self) -> Result<Request, NoRequest> {
        let mut searched = 0;
        loop {
            if let Some(end) = end_of_head(&self.input, searched) {
                return Request::parse(self.input.split_to(end).freeze()).ok_or(NoRequest::Bad);
            }
            searched = self.input.len().saturating_sub(3);
            if self.input.len() > MAX_HEAD {
                return Err(NoRequest::Bad);
            }
            self.read_more().await?;
        }
    }

    pub(super) async fn receive_body(
        &mut self,
        request: &Request,
    ) -> Result<RequestBody, NoRequest> {
        let framing = request.framing().ok_or(NoRequest::Bad)?;
        if framing == Framing::None {
            return Ok(RequestBody::default());
        }
        if request.lists("expect", "100-continue") {
            self.send_raw(b"HTTP/1.1 100 \r\n\r\n").await?;
        }
        let mut body = BodyCollector::new();
        match framing {
            Framing::None => {}
            Framing::Length(length) => self.collect(length, &mut body).await?,
            Framing::Chunked => self.collect_chunks(&mut body).await?,
        }
        Ok(body.finish())
    }

    async fn collect(&mut self, length: u64, body: &mut BodyCollector) -> Result<(), NoRequest> {
        let mut left = length;
        while left > 0 {
            if self.input.is_empty() {
                self.read_more().await?;
            }
            let piece = self
                .input
                .len()
                .min(usize::try_from(left).unwrap_or(usize::MAX));
            body.add(&self.input[..piece]);
            self.input.advance(piece);
            left -= piece as u64;
        }
        Ok(())
    }

    async fn collect_chunks(&mut self, body: &mut BodyCollector) -> Result<(), NoRequest> {
        loop {
            let size = self.chunk_size().await?;
            if size == 0 {
                break;
            }
            self.collect(size, body).await?;
            self.line().await?;
        }
        // The trailers, up to the empty line.
        while !self.line().await?.is_empty() {}
        Ok(())
    }

    async fn chunk_size(&mut self) -> Result<u64, NoRequest> {
        let line = self.line().await?;
        let digits = line
            .split(|byte| *byte == b';')
            .next()
            .unwrap_or_default()
            .trim_ascii();
        std::str::from_utf8(digits)
            .ok()
            .and_then(|digits| u64::from_str_radix(digits, 16).ok())
            .ok_or(NoRequest::Bad)
    }

    /// The next line, without its end.
    async fn line(&mut self) -> Result<Bytes, NoRequest> {
        loop {
            if let Some(end) = self.input.windows(2).position(|pair| pair == b"\r\n") {
                let line = self.input.split_to(end).freeze();
                self.input.advance(2);
                return Ok(line);
            }
            if self.input.len() > MAX_CHUNK_LINE {
                return Err(NoRequest::Bad);
            }
            self.read_more().await?;
        }
    }

    async fn read_more(&mut self) -> Result<(), NoRequest> {
        self.input.reserve(READ_SIZE);
        match self.stream.read_buf(&mut self.input).await? {
            0 => Err(NoRequest::Gone),
            _ => Ok(()),
        }
    }

    pub(super) async fn send_raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await?;
        self.stream.flush().await
    }

    /// Sends `answer` to `request`; `identity` are header lines that name the instance.
    pub(super) async fn send(
        &mut self,
        answer: Answer,
        request: &Request,
        identity: &[u8],
        manner: Manner,
    ) -> io::Result<()> {
        self.output.clear();
        let chunked = matches!(answer.body, Body::Stream(_)) && request.minor_version() > 0;
        write_head(
            &mut self.output,
            &answer,
            request,
            identity,
            manner.keep_alive,
            chunked,
        );
        match answer.body {
            _ if request.is_head() => self.flush(manner).await,
            Body::Full(body) => {
                let sent = if manner.ending == Ending::Half {
                    body.len() / 2
                } else {
                    body.len()
                };
                self.send_full(body.slice(..sent), manner).await
            }
            Body::Stream(pieces) => self.send_stream(pieces, chunked, manner).await,
        }
    }

    async fn send_full(&mut self, body: Bytes, manner: Manner) -> io::Result<()> {
        if manner.drip.is_some() {
            self.output.extend_from_slice(&body);
            return self.flush(manner).await;
        }
        let mut whole = Buf::chain(self.output.as_slice(), body);
        self.stream.write_all_buf(&mut whole).await?;
        self.stream.flush().await
    }

    async fn send_stream(
        &mut self,
        mut pieces: Box<dyn super::answer::Pieces>,
        chunked: bool,
        manner: Manner,
    ) -> io::Result<()> {
        let mut piece = Vec::new();
        let mut sent = 0;
        while pieces.next(&mut piece) {
            if manner.ending == Ending::Half && sent > 0 {
                return Ok(());
            }
            if !piece.is_empty() {
                if manner.ending == Ending::Half {
                    piece.truncate(piece.len() / 2 + 1);
                }
                append_piece(&mut self.output, &piece, chunked);
                self.flush(manner).await?;
                sent += piece.len();
                piece.clear();
            }
        }
        if chunked && manner.ending == Ending::Whole {
            self.output.extend_from_slice(b"0\r\n\r\n");
        }
        self.flush(manner).await
    }

    /// Sends the bytes that were collected so far, at once or drop by drop.
    async fn flush(&mut self, manner: Manner) -> io::Result<()> {
        match manner.drip {
            None => self.stream.write_all(&self.output).await?,
            Some((bytes, pause)) => {
                for drop in self.output.chunks(bytes.max(1)) {
                    sleep(pause).await;
                    self.stream.write_all(drop).await?;
                    self.stream.flush().await?;
                }
            }
        }
        self.stream.flush().await?;
        self.output.clear();
        Ok(())
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        if self.guest.is_reset_on_close() {
            reset_on_close(self.stream.tcp());
        }
    }
}

pub(super) fn reset_on_close(stream: &TcpStream) {
    // It fails for a connection the peer has reset, which needs no other.
    stream.set_zero_linger().ok();
}

fn end_of_head(input: &[u8], searched: usize) -> Option<usize> {
    input[searched..]
        .windows(4)
        .position(|end| end == b"\r\n\r\n")
        .map(|at| searched + at + 4)
}

fn append_piece(out: &mut Vec<u8>, piece: &[u8], chunked: bool) {
    if chunked {
        write!(out, "{:x}\r\n", piece.len()).expect("a Vec takes everything written to it");
    }
    out.extend_from_slice(piece);
    if chunked {
        out.extend_from_slice(b"\r\n");
    }
}

fn write_head(
    out: &mut Vec<u8>,
    answer: &Answer,
    request: &Request,
    identity: &[u8],
    keep_alive: bool,
    chunked: bool,
) {
    let mut line = |arguments: std::fmt::Arguments<'_>| {
        out.write_fmt(arguments)
            .expect("a Vec takes everything written to it")
    };
    // Tomcat sends no reason phrase since 8.5, only the space before it.
    line(format_args!("HTTP/1.1 {} \r\n", answer.status));
    if !answer.content_type.is_empty() {
        line(format_args!("Content-Type: {}\r\n", answer.content_type));
    }
    for (name, value) in &answer.headers {
        line(format_args!("{name}: {value}\r\n"));
    }
    match &answer.body {
        Body::Full(_) if answer.status == 304 || answer.status == 204 => {}
        Body::Full(body) => line(format_args!("Content-Length: {}\r\n", body.len())),
        Body::Stream(_) if chunked => line(format_args!("Transfer-Encoding: chunked\r\n")),
        Body::Stream(_) => {}
    }
    if !keep_alive {
        line(format_args!("Connection: close\r\n"));
    } else if request.minor_version() == 0 {
        line(format_args!("Connection: keep-alive\r\n"));
    }
    out.extend_from_slice(identity);
    out.extend_from_slice(b"\r\n");
}
