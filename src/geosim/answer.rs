//! An answer on its way out: status, headers, and a body that is there or is produced piece by
//! piece.

use std::fmt;
use std::io::Write;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;

pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) content_type: &'static str,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Body,
}

pub(super) enum Body {
    Full(Bytes),
    /// Sent chunked, while it is produced.
    Stream(Box<dyn Pieces>),
}

/// A body as it grows.
pub(super) trait Pieces: Send {
    /// Appends the next piece to `out`; false when there was none left.
    fn next(&mut self, out: &mut Vec<u8>) -> bool;
}

impl<F: FnMut(&mut Vec<u8>) -> bool + Send> Pieces for F {
    fn next(&mut self, out: &mut Vec<u8>) -> bool {
        self(out)
    }
}

impl Answer {
    pub(super) fn new(status: u16, content_type: &'static str, body: impl Into<Bytes>) -> Self {
        Self {
            status,
            content_type,
            headers: Vec::new(),
            body: Body::Full(body.into()),
        }
    }

    pub(super) fn ok(content_type: &'static str, body: impl Into<Bytes>) -> Self {
        Self::new(200, content_type, body)
    }

    pub(super) fn empty(status: u16) -> Self {
        Self::new(status, "", Bytes::new())
    }

    pub(super) fn stream(content_type: &'static str, pieces: impl Pieces + 'static) -> Self {
        Self {
            status: 200,
            content_type,
            headers: Vec::new(),
            body: Body::Stream(Box::new(pieces)),
        }
    }

    pub(super) fn redirect(location: String) -> Self {
        Self::empty(302).with("Location", location)
    }

    pub(super) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// Returns the servlet container's own page: for errors outside any service, and while the
    /// webapp is not there.
    pub(super) fn container_page(status: u16, message: &str) -> Self {
        let page = format!(
            "<!doctype html><html lang=\"en\"><head><title>HTTP Status {status} \u{2013} {message}</title></head>\
             <body><h1>HTTP Status {status} \u{2013} {message}</h1><hr class=\"line\" /></body></html>"
        );
        Self::new(status, "text/html;charset=utf-8", page)
    }

    pub(super) fn not_found() -> Self {
        Self::container_page(404, "Not Found")
    }

    /// Returns whether GeoServer's filter would compress the answer: text, XML, JSON and scripts.
    pub(super) fn is_compressible(&self) -> bool {
        let kind = self.content_type;
        kind.starts_with("text/")
            || kind.contains("xml")
            || kind.contains("json")
            || kind.contains("javascript")
    }

    pub(super) fn compressed(mut self) -> Self {
        self.body = match self.body {
            Body::Full(body) => Body::Full(gzip(&body).into()),
            Body::Stream(pieces) => Body::Stream(Box::new(Gzipped {
                pieces,
                encoder: Some(GzEncoder::new(Vec::new(), Compression::fast())),
            })),
        };
        self.with("Content-Encoding", "gzip")
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.status, self.content_type)
    }
}

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder
        .write_all(body)
        .and_then(|()| encoder.finish())
        .expect("a Vec takes everything written to it")
}

struct Gzipped {
    pieces: Box<dyn Pieces>,
    /// `None` once the end is written.
    encoder: Option<GzEncoder<Vec<u8>>>,
}

impl Pieces for Gzipped {
    fn next(&mut self, out: &mut Vec<u8>) -> bool {
        let Some(encoder) = &mut self.encoder else {
            return false;
        };
        let mut plain = Vec::new();
        let more = self.pieces.next(&mut plain);
        encoder
            .write_all(&plain)
            .expect("a Vec takes everything written to it");
        if more {
            out.append(encoder.get_mut());
        } else if let Some(encoder) = self.encoder.take() {
            out.extend(
                encoder
                    .finish()
                    .expect("a Vec takes everything written to it"),
            );
        }
        true
    }
}
