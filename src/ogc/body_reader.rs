//! Determines how much of a body must be read before its class is certain, and which part may
//! decide.
//!
//! Any part of a form, a multipart body, a SOAP envelope, a WCS GetCoverage, a WPS Execute or a WMS
//! GetMap may decide, even the last. These are read to their end, or to a bound. In every other
//! document the root decides, and GeoServer requires it within [`BODY_PREFIX`] bytes. A compressed
//! document is unpacked, because a filter in front of GeoServer may unpack it; a compressed form
//! decides nothing.
//!
//! The decision depends on the bytes alone and not on the pieces they came in, so `geofront
//! explain` gives the same result.

use std::borrow::Cow;
use std::io::{self, BufRead, ErrorKind, Read};

use flate2::bufread::MultiGzDecoder;

use super::BODY_PREFIX;
use super::body::{self, BodyKind};
use super::xml;

/// Searches for a root in a body that arrives in small pieces. After these there is only one more
/// search, when [`BODY_PREFIX`] bytes have arrived.
const MAX_LOOKS: u32 = 64;

/// Reads a body until its class is certain; see the module's documentation.
#[derive(Clone, Copy, Debug)]
pub struct BodyReader {
    needed: NeededPart,
    is_gzip: bool,
    /// Limit in bytes for a body that is read to its end.
    most: usize,
    looks: u32,
}

/// The part of a body that is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NeededPart {
    /// Nothing: the content type shows that the body cannot be understood.
    Nothing,
    /// Nothing: no part of the body can be trusted.
    NothingToBelieve,
    Root,
    /// The whole body; its beginning already names the operation.
    Document,
    /// The whole body; a part of it decides nothing.
    Fields,
}

impl BodyReader {
    /// Creates the reader for a body with these headers. It reads `most` bytes of a body that is
    /// read to its end. Two headers of one name are passed as
    /// [`UNREADABLE_CONTENT_TYPE`](super::UNREADABLE_CONTENT_TYPE).
    pub fn new(content_type: Option<&str>, content_encoding: Option<&str>, most: usize) -> Self {
        let coding = content_encoding
            .map(str::trim)
            .filter(|coding| !coding.is_empty() && !coding.eq_ignore_ascii_case("identity"));
        let is_gzip = coding.is_some_and(|coding| {
            coding.eq_ignore_ascii_case("gzip") || coding.eq_ignore_ascii_case("x-gzip")
        });
        let needed = match body::kind(content_type) {
            BodyKind::Ambiguous => NeededPart::Nothing,
            _ if coding.is_some() && !is_gzip => NeededPart::NothingToBelieve,
            BodyKind::Form | BodyKind::Multipart { .. } if is_gzip => NeededPart::NothingToBelieve,
            BodyKind::Form | BodyKind::Multipart { .. } => NeededPart::Fields,
            BodyKind::Soap => NeededPart::Document,
            BodyKind::Xml => NeededPart::Root,
        };
        Self {
            needed,
            is_gzip,
            most,
            looks: 0,
        }
    }

    /// True if more than `text` is needed of a body that continues. Called for every piece that
    /// arrives.
    pub fn wants_more(&mut self, text: &[u8]) -> bool {
        match self.needed {
            NeededPart::Nothing | NeededPart::NothingToBelieve => return false,
            NeededPart::Document | NeededPart::Fields => return text.len() <= self.most,
            NeededPart::Root => {}
        }
        let is_last_look = text.len() >= BODY_PREFIX;
        if self.looks >= MAX_LOOKS && !is_last_look {
            return true;
        }
        self.looks += 1;
        let (prefix, end) = self.prefix(text);
        match xml::root(&prefix) {
            Some(root) if root.is_decided_by_its_end() => {
                self.needed = NeededPart::Document;
                text.len() <= self.most
            }
            Some(_) => false,
            None => !is_last_look && end != UnpackedEnd::Corrupt,
        }
    }

    /// The part of `text` that may decide the class. `is_whole` is set if the body has ended.
    pub fn evidence<'b>(&self, text: &'b [u8], is_whole: bool) -> Option<Cow<'b, [u8]>> {
        let is_all_there = is_whole && text.len() <= self.most;
        match self.needed {
            NeededPart::Nothing => Some(Cow::Borrowed(&[])),
            NeededPart::NothingToBelieve => None,
            NeededPart::Fields => is_all_there.then_some(Cow::Borrowed(text)),
            NeededPart::Document | NeededPart::Root => {
                let (prefix, _) = self.prefix(text);
                let wants_all = self.needed == NeededPart::Document
                    || xml::root(&prefix).is_some_and(|root| root.is_decided_by_its_end());
                let all = if wants_all && is_all_there {
                    self.unpacked(text)
                } else {
                    None
                };
                Some(all.unwrap_or(prefix))
            }
        }
    }

    /// The beginning of the document, as far as `text` has it.
    fn prefix<'b>(&self, text: &'b [u8]) -> (Cow<'b, [u8]>, UnpackedEnd) {
        let text = &text[..text.len().min(BODY_PREFIX)];
        if !self.is_packed(text) {
            return (Cow::Borrowed(text), UnpackedEnd::Whole);
        }
        let (mut unpacked, end) = unpacked(text, BODY_PREFIX);
        if end == UnpackedEnd::Corrupt {
            unpacked = self::unpacked(ByteByByte(text), BODY_PREFIX).0;
        }
        (Cow::Owned(unpacked), end)
    }

    /// The whole unpacked `text`; `None` if it is broken or longer than the limit.
    fn unpacked<'b>(&self, text: &'b [u8]) -> Option<Cow<'b, [u8]>> {
        if !self.is_packed(text) {
            return Some(Cow::Borrowed(text));
        }
        let (unpacked, end) = unpacked(text, self.most);
        (end == UnpackedEnd::Whole).then_some(Cow::Owned(unpacked))
    }

    /// True if `text` is really compressed. A body that only claims to be compressed is plain text
    /// to a server that does not unpack it, and an error to one that does.
    fn is_packed(&self, text: &[u8]) -> bool {
        self.is_gzip && text.starts_with(&GZIP)
    }
}

/// The first bytes of a gzip file (RFC 1952). No document begins with them.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// Where the unpacked text ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum UnpackedEnd {
    Whole,
    /// At the limit, or with the bytes that have arrived.
    Cut,
    /// Before bytes that cannot be unpacked.
    Corrupt,
}

/// Offers one byte at a time. A decoder loses what it unpacked together with corrupt bytes, so the
/// text before them would depend on the pieces in which a body arrived.
struct ByteByByte<'b>(&'b [u8]);

impl Read for ByteByByte<'_> {
    fn read(&mut self, part: &mut [u8]) -> io::Result<usize> {
        self.0.read(part)
    }
}

impl BufRead for ByteByByte<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        Ok(&self.0[..self.0.len().min(1)])
    }

    fn consume(&mut self, count: usize) {
        self.0.consume(count);
    }
}

/// At most `most` bytes of the unpacked `packed`, and where they end.
fn unpacked(packed: impl BufRead, most: usize) -> (Vec<u8>, UnpackedEnd) {
    let mut text = Vec::new();
    let mut source = MultiGzDecoder::new(packed).take(most as u64 + 1);
    let mut part = [0; 4096];
    let end = loop {
        match source.read(&mut part) {
            Ok(0) if text.len() <= most => break UnpackedEnd::Whole,
            Ok(0) => break UnpackedEnd::Cut,
            Ok(length) => text.extend_from_slice(&part[..length]),
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => break UnpackedEnd::Cut,
            Err(_) => break UnpackedEnd::Corrupt,
        }
    };
    text.truncate(most);
    (text, end)
}

#[cfg(test)]
mod tests;
