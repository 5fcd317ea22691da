//! Reads an answer in HTTP/1.1 as it is written, for its way out as HTTP/2.
//!
//! The answer is Pingora's or our own, so this is not a guard: unexpected bytes end the stream with
//! a reset.

use std::io;

use http::header::{CONNECTION, CONTENT_LENGTH, HeaderName, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderValue, Response, StatusCode};

/// Maximum length of the head of an answer: above the limit of Pingora.
const MAX_HEAD: usize = 2 << 20;

/// Maximum number of fields: above the limit of Pingora and the fields that are added.
const MAX_FIELDS: usize = 320;

/// Maximum length of a line with the size of a chunk.
const MAX_CHUNK_LINE: usize = 32;

/// The meaning of the bytes that were read.
#[derive(Debug)]
pub(super) enum AnswerPart {
    /// An interim answer (1xx).
    Interim(Response<()>),
    /// The head of the answer. `is_end`: it has no body.
    Head {
        response: Response<()>,
        is_end: bool,
    },
    /// The body is complete.
    End,
}

/// The position in the answer.
#[derive(Debug, PartialEq, Eq)]
enum State {
    Head,
    /// So many bytes of the body follow.
    Length(u64),
    /// The line with the size of a chunk.
    ChunkLine,
    Chunk(u64),
    /// The line break behind a chunk, of which so many bytes are missing.
    ChunkEnd(u8),
    /// The lines behind the last chunk; the length of the one that is being read.
    Trailers(usize),
    /// The body ends with the connection.
    UntilClose,
    Done,
}

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct ResponseReader {
    state: State,
    /// The head or the line of a chunk, as far as it is there.
    line: Vec<u8>,
    /// Answers to HEAD have no body.
    is_for_head: bool,
}

impl ResponseReader {
    pub(super) fn new(is_for_head: bool) -> Self {
        Self {
            state: State::Head,
            line: Vec::new(),
            is_for_head,
        }
    }

    /// True if the body ends when nothing more is written.
    pub(super) fn ends_with_connection(&self) -> bool {
        self.state == State::UntilClose
    }

    /// Returns how many of the next bytes are body; `None` if they are not.
    pub(super) fn body_ahead(&self) -> Option<u64> {
        match self.state {
            State::Length(left) | State::Chunk(left) => Some(left),
            State::UntilClose => Some(u64::MAX),
            _ => None,
        }
    }

    /// Counts bytes of the body, at most [`Self::body_ahead`]. True if the body is complete.
    pub(super) fn took_body(&mut self, count: u64) -> bool {
        match &mut self.state {
            State::Length(left) => {
                *left -= count;
                if *left == 0 {
                    self.state = State::Done;
                }
            }
            State::Chunk(left) => {
                *left -= count;
                if *left == 0 {
                    self.state = State::ChunkEnd(2);
                }
            }
            _ => {}
        }
        self.state == State::Done
    }

    /// Reads bytes that are not body. Returns how many, and their meaning if they complete
    /// something.
    pub(super) fn read(&mut self, bytes: &[u8]) -> io::Result<(usize, Option<AnswerPart>)> {
        match self.state {
            State::Head => self.head(bytes),
            State::ChunkLine => self.chunk_line(bytes),
            State::ChunkEnd(missing) => {
                let taken = bytes.len().min(usize::from(missing));
                let missing = missing - taken as u8;
                self.state = if missing == 0 {
                    State::ChunkLine
                } else {
                    State::ChunkEnd(missing)
                };
                Ok((taken, None))
            }
            State::Trailers(length) => Ok(self.trailers(bytes, length)),
            State::Length(_) | State::Chunk(_) | State::UntilClose => Ok((0, None)),
            State::Done => Err(io::Error::other("more than an answer")),
        }
    }

    fn head(&mut self, bytes: &[u8]) -> io::Result<(usize, Option<AnswerPart>)> {
        let before = self.line.len();
        self.line.extend_from_slice(bytes);
        // The end may have begun in the bytes before.
        let from = before.saturating_sub(3);
        let end = self.line[from..]
            .windows(4)
            .position(|four| four == b"\r\n\r\n");
        let Some(end) = end.map(|at| from + at + 4) else {
            if self.line.len() > MAX_HEAD {
                return Err(io::Error::other("the head of the answer is too long"));
            }
            return Ok((bytes.len(), None));
        };
        self.line.truncate(end);
        let line = std::mem::take(&mut self.line);
        let event = self.parse(&line)?;
        Ok((end - before, Some(event)))
    }

    fn parse(&mut self, head: &[u8]) -> io::Result<AnswerPart> {
        let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
        let mut parsed = httparse::Response::new(&mut fields);
        parsed.parse(head).map_err(io::Error::other)?;
        let status =
            StatusCode::from_u16(parsed.code.unwrap_or_default()).map_err(io::Error::other)?;
        let mut response = Response::new(());
        *response.status_mut() = status;
        let (mut length, mut is_chunked) = (None, false);
        for field in parsed.headers.iter() {
            let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(io::Error::other)?;
            if name == TRANSFER_ENCODING {
                is_chunked = true;
            } else if name == CONTENT_LENGTH {
                length = std::str::from_utf8(field.value)
                    .ok()
                    .and_then(|text| text.parse().ok());
            }
            if !belongs_to_the_connection(&name) {
                let value = HeaderValue::from_bytes(field.value).map_err(io::Error::other)?;
                response.headers_mut().append(name, value);
            }
        }
        if status.is_informational() {
            return Ok(AnswerPart::Interim(response));
        }
        let has_none =
            self.is_for_head || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        self.state = match (has_none, is_chunked, length) {
            (true, ..) | (false, false, Some(0)) => State::Done,
            (false, true, _) => State::ChunkLine,
            (false, false, Some(length)) => State::Length(length),
            (false, false, None) => State::UntilClose,
        };
        let is_end = self.state == State::Done;
        Ok(AnswerPart::Head { response, is_end })
    }

    fn chunk_line(&mut self, bytes: &[u8]) -> io::Result<(usize, Option<AnswerPart>)> {
        let end = bytes.iter().position(|byte| *byte == b'\n');
        let taken = end.map_or(bytes.len(), |end| end + 1);
        self.line.extend_from_slice(&bytes[..taken]);
        if self.line.len() > MAX_CHUNK_LINE {
            return Err(io::Error::other("the size of a chunk is too long"));
        }
        if end.is_some() {
            let line = std::mem::take(&mut self.line);
            let size = std::str::from_utf8(line.trim_ascii()).ok();
            let size = size.and_then(|text| u64::from_str_radix(text, 16).ok());
            self.state = match size.ok_or_else(|| io::Error::other("a size of a chunk is none"))? {
                0 => State::Trailers(0),
                size => State::Chunk(size),
            };
        }
        Ok((taken, None))
    }

    /// Trailers are not passed on.
    fn trailers(&mut self, bytes: &[u8], mut length: usize) -> (usize, Option<AnswerPart>) {
        for (at, byte) in bytes.iter().enumerate() {
            match byte {
                b'\n' if length == 0 => {
                    self.state = State::Done;
                    return (at + 1, Some(AnswerPart::End));
                }
                b'\n' => length = 0,
                b'\r' => {}
                _ => length += 1,
            }
        }
        self.state = State::Trailers(length);
        (bytes.len(), None)
    }
}

/// HTTP/2 has no such fields (RFC 9113 section 8.2.2).
fn belongs_to_the_connection(name: &HeaderName) -> bool {
    [CONNECTION, TRANSFER_ENCODING, UPGRADE].contains(name)
        || matches!(name.as_str(), "keep-alive" | "proxy-connection")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The status, the body, and whether the answer is complete.
    fn read(wire: &[u8], step: usize, is_for_head: bool) -> io::Result<(u16, Vec<u8>, bool)> {
        let mut reader = ResponseReader::new(is_for_head);
        let (mut status, mut body, mut is_complete) = (0, Vec::new(), false);
        for piece in wire.chunks(step) {
            let mut piece = piece;
            while !piece.is_empty() {
                if let Some(ahead) = reader.body_ahead() {
                    let taken = piece
                        .len()
                        .min(usize::try_from(ahead).unwrap_or(usize::MAX));
                    body.extend_from_slice(&piece[..taken]);
                    is_complete = reader.took_body(taken as u64);
                    piece = &piece[taken..];
                    continue;
                }
                let (taken, event) = reader.read(piece)?;
                piece = &piece[taken..];
                match event {
                    Some(AnswerPart::Head { response, is_end }) => {
                        status = response.status().as_u16();
                        assert!(!response.headers().contains_key(TRANSFER_ENCODING));
                        is_complete = is_end;
                    }
                    Some(AnswerPart::End) => is_complete = true,
                    Some(AnswerPart::Interim(_)) | None => {}
                }
            }
        }
        Ok((status, body, is_complete))
    }

    proptest! {
        #[test]
        fn every_framing_is_read_in_any_pieces(
            parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..50), 0..5),
            step in 1..70_usize,
            cut in 1..40_usize,
        ) {
            let body = parts.concat();
            let with_length = [format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len()).as_bytes(), &body].concat();
            let mut chunked = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
            for part in &parts {
                chunked.extend_from_slice(&[format!("{:X}\r\n", part.len()).as_bytes(), part, b"\r\n"].concat());
            }
            chunked.extend_from_slice(b"0\r\nX: y\r\n\r\n");
            for wire in [with_length, chunked] {
                prop_assert_eq!(read(&wire, step, false).unwrap(), (200, body.clone(), true));
                let cut = &wire[..wire.len() - cut.min(wire.len())];
                if !body.is_empty() || cut.is_empty() {
                    prop_assert!(!read(cut, step, false).unwrap().2, "a part is not complete");
                }
            }
        }

        #[test]
        fn nothing_panics(wire in prop::collection::vec(any::<u8>(), 0..200), step in 1..50_usize) {
            let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
            read(&wire, step, false).ok();
            read(&[&head[..], &wire].concat(), step, false).ok();
        }
    }

    #[test]
    fn answers_without_a_body_end_with_their_head() {
        for head in [
            "HTTP/1.1 204 No Content\r\n\r\n",
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        ] {
            assert!(read(head.as_bytes(), 7, false).unwrap().2, "{head}");
        }
        let head = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n";
        assert!(read(head, 7, true).unwrap().2, "HEAD");
        assert!(!read(head, 7, false).unwrap().2);
    }

    #[test]
    fn a_body_until_the_end_of_the_connection_is_not_complete_by_itself() {
        let wire = b"HTTP/1.1 200 OK\r\n\r\nabc";
        assert_eq!(read(wire, 5, false).unwrap(), (200, b"abc".to_vec(), false));
    }
}
