//! One HTTP/2 stream as a connection of HTTP/1.1 that carries one request.
//!
//! Reads return the request in the syntax of HTTP/1.1. Writes take an answer in the same syntax and
//! send it as frames. So one request over HTTP/2 has the same rules, limits, retries and access
//! line as one over HTTP/1.1. An answer that is broken off resets its stream.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Buf, Bytes, BytesMut};
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use pingora::protocols::raw_connect::ProxyDigest;
use pingora::protocols::tls::SslDigest;
use pingora::protocols::{
    GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl,
    TimingDigest, UniqueID, UniqueIDType,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::request::BodyForm;
use super::response::{AnswerPart, ResponseReader};

/// Maximum part of a body that is handed over at once.
const MAX_PART: usize = 16 * 1024;

/// The state that the streams of one connection share.
#[derive(Clone, Debug)]
pub(super) struct SharedDigests {
    pub(super) socket: Option<Arc<SocketDigest>>,
    pub(super) tls: Option<Arc<SslDigest>>,
    pub(super) id: UniqueIDType,
}

/// See the module's documentation.
pub(super) struct StreamIo {
    /// The head, and the part of the body that came last.
    ahead: BytesMut,
    /// `None` once it is complete.
    body: Option<RecvStream>,
    form: BodyForm,
    answer: Answer,
    reader: ResponseReader,
    digests: SharedDigests,
}

/// The way out.
enum Answer {
    /// The head has not been sent.
    Expected(SendResponse<Bytes>),
    Body(SendStream<Bytes>),
    /// All is sent, or the stream was reset.
    Over,
}

impl std::fmt::Debug for StreamIo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StreamIo").finish_non_exhaustive()
    }
}

impl StreamIo {
    pub(super) fn new(
        head: BytesMut,
        body: Option<RecvStream>,
        form: BodyForm,
        answer: SendResponse<Bytes>,
        is_for_head: bool,
        digests: SharedDigests,
    ) -> Self {
        Self {
            ahead: head,
            body,
            form,
            answer: Answer::Expected(answer),
            reader: ResponseReader::new(is_for_head),
            digests,
        }
    }

    /// Takes the next part of the body into `ahead`.
    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(body) = &mut self.body else {
            return Poll::Ready(Ok(()));
        };
        match ready!(body.poll_data(cx)) {
            Some(Ok(data)) => {
                if data.is_empty() {
                    // An empty chunk would be the last.
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                // A client whose stream is over needs no more room.
                body.flow_control()
                    .release_capacity(data.len())
                    .unwrap_or_default();
                if self.form == BodyForm::Chunked {
                    let line = format!("{:x}\r\n", data.len());
                    self.ahead.extend_from_slice(line.as_bytes());
                }
                self.ahead.extend_from_slice(&data);
                if self.form == BodyForm::Chunked {
                    self.ahead.extend_from_slice(b"\r\n");
                }
            }
            None => {
                self.body = None;
                if self.form == BodyForm::Chunked {
                    self.ahead.extend_from_slice(b"0\r\n\r\n");
                }
            }
            Some(Err(error)) => return Poll::Ready(Err(gone(error))),
        }
        Poll::Ready(Ok(()))
    }

    /// Resolves when the client resets the stream or the connection ends.
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        let reset = match &mut self.answer {
            Answer::Expected(answer) => ready!(answer.poll_reset(cx)),
            Answer::Body(body) => ready!(body.poll_reset(cx)),
            Answer::Over => return Poll::Pending,
        };
        Poll::Ready(reset.map_or_else(gone, |_| io::ErrorKind::ConnectionReset.into()))
    }

    /// Sends as much of `data` as the client has room for.
    fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        data: &[u8],
        ahead: u64,
    ) -> Poll<io::Result<usize>> {
        let Answer::Body(body) = &mut self.answer else {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        };
        let wanted = data.len().min(MAX_PART);
        let wanted = usize::try_from(ahead).map_or(wanted, |ahead| wanted.min(ahead));
        body.reserve_capacity(wanted);
        while body.capacity() == 0 {
            match ready!(body.poll_capacity(cx)) {
                Some(Ok(_)) => {}
                Some(Err(error)) => return Poll::Ready(Err(gone(error))),
                None => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            }
        }
        let count = wanted.min(body.capacity());
        let is_end = self.reader.took_body(count as u64);
        body.send_data(Bytes::copy_from_slice(&data[..count]), is_end)
            .map_err(gone)?;
        if is_end {
            self.answer = Answer::Over;
        }
        Poll::Ready(Ok(count))
    }

    fn handle(&mut self, event: AnswerPart) -> io::Result<()> {
        match event {
            AnswerPart::Interim(response) => {
                if let Answer::Expected(answer) = &mut self.answer {
                    answer.send_informational(response).map_err(gone)?;
                }
            }
            AnswerPart::Head { response, is_end } => {
                let Answer::Expected(answer) = &mut self.answer else {
                    return Err(io::Error::other("an answer came twice"));
                };
                let body = answer.send_response(response, is_end).map_err(gone)?;
                self.answer = if is_end {
                    Answer::Over
                } else {
                    Answer::Body(body)
                };
            }
            AnswerPart::End => self.end()?,
        }
        Ok(())
    }

    fn end(&mut self) -> io::Result<()> {
        if let Answer::Body(body) = &mut self.answer {
            body.send_data(Bytes::new(), true).map_err(gone)?;
        }
        self.answer = Answer::Over;
        Ok(())
    }

    fn reset(&mut self) {
        match &mut self.answer {
            Answer::Expected(answer) => answer.send_reset(Reason::INTERNAL_ERROR),
            Answer::Body(body) => body.send_reset(Reason::INTERNAL_ERROR),
            Answer::Over => {}
        }
        self.answer = Answer::Over;
    }
}

fn gone(error: h2::Error) -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, error)
}

impl AsyncRead for StreamIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.ahead.is_empty() {
            if matches!(this.answer, Answer::Over) {
                // The one request is over, and so is this connection.
                return Poll::Ready(Ok(()));
            }
            ready!(this.poll_body(cx))?;
        }
        if this.ahead.is_empty() {
            // The request is complete: nothing more comes, but the client may go.
            return this.poll_gone(cx).map(Err);
        }
        let length = this.ahead.len().min(buf.remaining());
        buf.put_slice(&this.ahead[..length]);
        this.ahead.advance(length);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for StreamIo {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let mut taken = 0;
        while taken < data.len() {
            let rest = &data[taken..];
            if let Some(ahead) = this.reader.body_ahead() {
                match this.poll_send(cx, rest, ahead) {
                    Poll::Ready(Ok(count)) => taken += count,
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending if taken > 0 => break,
                    Poll::Pending => return Poll::Pending,
                }
                continue;
            }
            let (count, event) = this.reader.read(rest)?;
            taken += count;
            if let Some(event) = event {
                this.handle(event)?;
            }
        }
        Poll::Ready(Ok(taken))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The task of the connection sends the bytes that were handed over.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.reader.ends_with_connection() {
            self.end()?;
        } else {
            self.reset();
        }
        Poll::Ready(Ok(()))
    }
}

/// An answer that is not complete must not look as if it were.
impl Drop for StreamIo {
    fn drop(&mut self) {
        self.reset();
    }
}

#[async_trait]
impl Shutdown for StreamIo {
    async fn shutdown(&mut self) {
        // A stream that is over needs no end.
        tokio::io::AsyncWriteExt::shutdown(self).await.ok();
    }
}

impl UniqueID for StreamIo {
    fn id(&self) -> UniqueIDType {
        self.digests.id
    }
}

impl Ssl for StreamIo {
    fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
        self.digests.tls.clone()
    }
}

impl Peek for StreamIo {}

impl GetTimingDigest for StreamIo {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        Vec::new()
    }

    fn get_read_pending_time(&self) -> Duration {
        Duration::ZERO
    }

    fn get_write_pending_time(&self) -> Duration {
        Duration::ZERO
    }
}

impl GetProxyDigest for StreamIo {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        None
    }
}

impl GetSocketDigest for StreamIo {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        self.digests.socket.clone()
    }
}
