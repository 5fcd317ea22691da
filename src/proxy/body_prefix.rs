//! The beginning of a request body, read before an upstream is chosen because it decides the class.
//!
//! What is read here must still reach the upstream. Pingora keeps the first 64 KiB of a body for retries and sends them at the
//! start of each attempt, so bodies that fit go that way. A read can bring up to 64 KiB at once, though, and one that overflows
//! that buffer empties it: then our own copy goes first (see [`BodyPrefix::prepend`]). The third case, a body that overflows
//! the buffer *and* is complete, has no way forward in Pingora. It cannot arise from one read, so a body that could end there
//! is read once; what that does not tell stays undecided, which is the safe direction: the main.

use bytes::{Bytes, BytesMut};
use pingora::Result;
use pingora::http::RequestHeader;
use pingora::proxy::Session;

use crate::ogc::{self, BODY_PREFIX};

/// Pingora's retry buffer, and the most that one read of a body brings.
const RETRY_BUFFER: usize = 64 * 1024;

/// One read, whatever it brings.
const ONE_READ: usize = 1;

/// The bytes read ahead.
#[derive(Debug, Default)]
pub(super) struct BodyPrefix {
    bytes: BytesMut,
    /// The whole body was read.
    is_complete: bool,
    /// Pingora's buffer overflowed: our copy has to be sent.
    is_ours_to_send: bool,
    /// It was sent in this attempt.
    is_sent: bool,
}

impl BodyPrefix {
    /// Reads until the class can be decided.
    pub(super) async fn read(session: &mut Session) -> Result<Self> {
        let wanted = wanted(session.req_header());
        let downstream = &mut session.downstream_session;
        if expects_continue(downstream.req_header()) {
            downstream.write_continue_response().await?;
        }
        downstream.enable_retry_buffering();
        let mut prefix = Self::default();
        while prefix.bytes.len() < wanted {
            match downstream.read_request_body().await? {
                Some(bytes) => prefix.bytes.extend_from_slice(&bytes),
                None => break,
            }
        }
        prefix.is_complete = downstream.is_body_done();
        prefix.is_ours_to_send = downstream.retry_buffer_truncated();
        Ok(prefix)
    }

    /// At most [`BODY_PREFIX`] bytes: what GeoServer's dispatcher looks at.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.bytes.len().min(BODY_PREFIX)]
    }

    /// Whether [`Self::bytes`] is the whole body.
    pub(super) fn is_whole(&self) -> bool {
        self.is_complete && self.bytes.len() <= BODY_PREFIX
    }

    /// What may decide the class.
    pub(super) fn evidence(&self, content_type: Option<&str>) -> Option<&[u8]> {
        ogc::evidence(content_type, self.bytes(), self.is_whole())
    }

    /// A new attempt sends everything again.
    pub(super) fn rewind(&mut self) {
        self.is_sent = false;
    }

    /// Puts our copy before the first part of the body that an attempt sends, if Pingora has lost its own.
    pub(super) fn prepend(&mut self, body: &mut Option<Bytes>) {
        if !self.is_ours_to_send || self.is_sent {
            return;
        }
        self.is_sent = true;
        let mut whole = self.bytes.clone();
        if let Some(rest) = body.take() {
            whole.extend_from_slice(&rest);
        }
        *body = Some(whole.freeze());
    }

    /// Whether all of a body of which an attempt has sent `sent` bytes is still here, to be sent again.
    pub(super) fn covers(&self, sent: u64) -> bool {
        self.is_ours_to_send && sent <= self.bytes.len() as u64
    }
}

/// RFC 9110 section 10.1.1.
pub(super) fn expects_continue(request: &RequestHeader) -> bool {
    request.headers.get(http::header::EXPECT).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

/// How much to read: less than the dispatcher looks at only where more could end beyond the retry buffer.
fn wanted(request: &RequestHeader) -> usize {
    let length = request.headers.get(http::header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    match length {
        Some(length) if length <= RETRY_BUFFER || length >= RETRY_BUFFER + BODY_PREFIX => BODY_PREFIX,
        Some(_) | None => ONE_READ,
    }
}
