//! A request as it was received: every byte of its head, in order, and its body.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use bytes::Bytes;

use super::kvp::Kvp;
use crate::hash::{FNV_START, fnv1a_from};

/// Number of bytes of a body that are kept, and of a form that are read: Tomcat's `maxPostSize`.
/// The length and hash are of all of it.
pub const KEPT_BODY: usize = 2 << 20;

/// More headers than this are refused, as a servlet container does.
pub(super) const MAX_HEADERS: usize = 100;

/// A request that an instance received, for tests to inspect.
#[derive(Clone)]
pub struct Request {
    head: Bytes,
    method: Range<usize>,
    target: Range<usize>,
    headers: Vec<(Range<usize>, Range<usize>)>,
    minor_version: u8,
    body: RequestBody,
}

/// The body of a request, decoded from its framing.
#[derive(Clone, Debug)]
pub struct RequestBody {
    /// The first [`KEPT_BODY`] bytes.
    pub start: Bytes,
    pub length: u64,
    /// [`fnv1a`](crate::hash::fnv1a) of the whole body.
    pub hash: u64,
}

impl Default for RequestBody {
    fn default() -> Self {
        Self {
            start: Bytes::new(),
            length: 0,
            hash: FNV_START,
        }
    }
}

/// How the body is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    None,
    Length(u64),
    Chunked,
}

impl Request {
    /// Parses the complete request head `head`; returns `None` if it is not HTTP/1.
    pub(super) fn parse(head: Bytes) -> Option<Self> {
        let mut slots = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut parsed = httparse::Request::new(&mut slots);
        // Tomcat takes any byte in a target; the parser wants UTF-8, and finds the same places in
        // this.
        let is_text = std::str::from_utf8(&head).is_ok();
        let ascii = || {
            head.iter()
                .map(|byte| if byte.is_ascii() { *byte } else { b'x' })
                .collect()
        };
        let readable = if is_text {
            Cow::Borrowed(&head[..])
        } else {
            Cow::Owned(ascii())
        };
        if !matches!(parsed.parse(&readable), Ok(httparse::Status::Complete(_))) {
            return None;
        }
        let base = readable.as_ptr() as usize;
        let range = |part: &[u8]| {
            let start = part.as_ptr() as usize - base;
            start..start + part.len()
        };
        let (method, target) = (
            range(parsed.method?.as_bytes()),
            range(parsed.path?.as_bytes()),
        );
        let headers = parsed
            .headers
            .iter()
            .map(|header| (range(header.name.as_bytes()), range_of(header.value, base)))
            .collect();
        let minor_version = parsed.version?;
        Some(Self {
            method,
            target,
            headers,
            minor_version,
            body: RequestBody::default(),
            head,
        })
    }

    pub(super) fn with_body(mut self, body: RequestBody) -> Self {
        self.body = body;
        self
    }

    /// The head as received, from the request line to the empty line.
    pub fn head(&self) -> &[u8] {
        &self.head
    }

    /// Returns the HTTP method.
    pub fn method(&self) -> &str {
        // The parser lets only token bytes through, which are ASCII.
        std::str::from_utf8(&self.head[self.method.clone()]).unwrap_or_default()
    }

    /// Path and query as on the request line.
    pub fn target(&self) -> &[u8] {
        &self.head[self.target.clone()]
    }

    /// The path as on the request line, nothing decoded.
    pub fn raw_path(&self) -> &[u8] {
        self.target()
            .split(|byte| *byte == b'?')
            .next()
            .unwrap_or_default()
    }

    /// Returns the query of the request target.
    pub fn query(&self) -> &[u8] {
        let path = self.raw_path().len();
        self.target().get(path + 1..).unwrap_or_default()
    }

    /// HTTP/1.`n`.
    pub fn minor_version(&self) -> u8 {
        self.minor_version
    }

    /// Names and values in the order and spelling they arrived in.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.headers.iter().map(|(name, value)| {
            (
                std::str::from_utf8(&self.head[name.clone()]).unwrap_or_default(),
                &self.head[value.clone()],
            )
        })
    }

    /// The first header of this name, as a servlet's `getHeader` gives it; `None` also when it is
    /// not text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers()
            .find(|(n, _)| n.eq_ignore_ascii_case(name))
            .and_then(|(_, value)| std::str::from_utf8(value).ok())
    }

    /// Returns the number of headers of this name.
    pub fn count_of(&self, name: &str) -> usize {
        self.headers()
            .filter(|(n, _)| n.eq_ignore_ascii_case(name))
            .count()
    }

    /// Returns the body.
    pub fn body(&self) -> &RequestBody {
        &self.body
    }

    /// The value of a key of the query, whatever its case.
    pub fn parameter(&self, key: &str) -> Option<Cow<'_, str>> {
        Kvp::new(self.query(), b"").get(key)
    }

    pub(super) fn is_head(&self) -> bool {
        self.method() == "HEAD"
    }

    /// Whether a header with a list of tokens has this one.
    pub(super) fn lists(&self, name: &str, token: &str) -> bool {
        self.header(name).is_some_and(|list| {
            list.split(',')
                .any(|item| item.trim().eq_ignore_ascii_case(token))
        })
    }

    pub(super) fn wants_keep_alive(&self) -> bool {
        match self.minor_version {
            0 => self.lists("connection", "keep-alive"),
            _ => !self.lists("connection", "close"),
        }
    }

    /// `None` for a framing that cannot be trusted.
    pub(super) fn framing(&self) -> Option<Framing> {
        if self.header("transfer-encoding").is_some() {
            return self
                .lists("transfer-encoding", "chunked")
                .then_some(Framing::Chunked);
        }
        match self.count_of("content-length") {
            0 => Some(Framing::None),
            1 => self
                .header("content-length")?
                .trim()
                .parse()
                .ok()
                .map(Framing::Length),
            _ => None,
        }
    }
}

fn range_of(part: &[u8], base: usize) -> Range<usize> {
    // An empty value may point anywhere.
    if part.is_empty() {
        0..0
    } else {
        part.as_ptr() as usize - base..part.as_ptr() as usize - base + part.len()
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {}",
            self.method(),
            String::from_utf8_lossy(self.target())
        )
    }
}

/// Gathers a body piece by piece.
#[derive(Debug)]
pub(super) struct BodyCollector {
    start: Vec<u8>,
    length: u64,
    hash: u64,
}

impl BodyCollector {
    pub(super) fn new() -> Self {
        Self {
            start: Vec::new(),
            length: 0,
            hash: FNV_START,
        }
    }

    pub(super) fn add(&mut self, piece: &[u8]) {
        let room = KEPT_BODY - self.start.len();
        self.start
            .extend_from_slice(&piece[..piece.len().min(room)]);
        self.length += piece.len() as u64;
        self.hash = fnv1a_from(self.hash, piece.iter().copied());
    }

    pub(super) fn finish(self) -> RequestBody {
        RequestBody {
            start: self.start.into(),
            length: self.length,
            hash: self.hash,
        }
    }
}
