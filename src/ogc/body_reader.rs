//! How much of a body has to be read before its class is certain, and what of it may decide.
//!
//! Any part of a form, of a multipart body, of a SOAP envelope and of a WCS GetCoverage may decide,
//! the last one too: these are read to their end, or to a bound. Of every other document the root
//! decides, which GeoServer wants within [`BODY_PREFIX`] bytes. A compressed document is looked
//! into, because a filter in front of GeoServer may unpack it; a compressed form decides nothing.
//!
//! What decides depends on the bytes alone and not on the pieces they came in: `geofront explain`
//! gets the same.

use std::borrow::Cow;
use std::io::Read;

use flate2::read::MultiGzDecoder;

use super::BODY_PREFIX;
use super::body::{self, Kind};
use super::xml;

/// Looks for a root in a body that comes in small pieces; after that only once more, when as much
/// has come as is looked at.
const MOST_LOOKS: u32 = 64;

/// See the module's documentation.
#[derive(Clone, Copy, Debug)]
pub struct BodyReader {
    wish: Wish,
    is_gzip: bool,
    /// Bytes of a body that is read to its end.
    most: usize,
    looks: u32,
}

/// What of a body is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    /// Its content type says that it cannot be understood.
    Nothing,
    /// Nothing of it can be believed.
    NothingToBelieve,
    Root,
    /// All of it; its beginning shows what it asks for.
    Document,
    /// All of it, and nothing but all of it.
    Fields,
}

impl BodyReader {
    /// For a body with these headers; `most` bytes of one that is read to its end. Two headers of
    /// one name are told as [`UNREADABLE_CONTENT_TYPE`](super::UNREADABLE_CONTENT_TYPE).
    pub fn new(content_type: Option<&str>, content_encoding: Option<&str>, most: usize) -> Self {
        let coding = content_encoding
            .map(str::trim)
            .filter(|coding| !coding.is_empty() && !coding.eq_ignore_ascii_case("identity"));
        let is_gzip = coding.is_some_and(|coding| {
            coding.eq_ignore_ascii_case("gzip") || coding.eq_ignore_ascii_case("x-gzip")
        });
        let wish = match body::kind(content_type) {
            Kind::Ambiguous => Wish::Nothing,
            _ if coding.is_some() && !is_gzip => Wish::NothingToBelieve,
            Kind::Form | Kind::Multipart { .. } if is_gzip => Wish::NothingToBelieve,
            Kind::Form | Kind::Multipart { .. } => Wish::Fields,
            Kind::Soap => Wish::Document,
            Kind::Xml => Wish::Root,
        };
        Self {
            wish,
            is_gzip,
            most,
            looks: 0,
        }
    }

    /// Whether more than `text` is needed of a body that goes on. Asked whenever a piece has come.
    pub fn wants_more(&mut self, text: &[u8]) -> bool {
        match self.wish {
            Wish::Nothing | Wish::NothingToBelieve => return false,
            Wish::Document | Wish::Fields => return text.len() <= self.most,
            Wish::Root => {}
        }
        let is_last_look = text.len() >= BODY_PREFIX;
        if self.looks >= MOST_LOOKS && !is_last_look {
            return true;
        }
        self.looks += 1;
        match xml::root(&self.prefix(text)) {
            Some(root) if root.is_decided_by_its_end() => {
                self.wish = Wish::Document;
                text.len() <= self.most
            }
            Some(_) => false,
            None => !is_last_look,
        }
    }

    /// What of `text` may decide the class; `is_whole` if the body has no more.
    pub fn evidence<'b>(&self, text: &'b [u8], is_whole: bool) -> Option<Cow<'b, [u8]>> {
        let is_all_there = is_whole && text.len() <= self.most;
        match self.wish {
            Wish::Nothing => Some(Cow::Borrowed(&[])),
            Wish::NothingToBelieve => None,
            Wish::Fields => is_all_there.then_some(Cow::Borrowed(text)),
            Wish::Document | Wish::Root => {
                let prefix = self.prefix(text);
                let wants_all = self.wish == Wish::Document
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

    fn prefix<'b>(&self, text: &'b [u8]) -> Cow<'b, [u8]> {
        let text = &text[..text.len().min(BODY_PREFIX)];
        if self.is_packed(text) {
            Cow::Owned(unpacked(text, BODY_PREFIX).0)
        } else {
            Cow::Borrowed(text)
        }
    }

    /// All that `text` says, unless it is more than is read or broken.
    fn unpacked<'b>(&self, text: &'b [u8]) -> Option<Cow<'b, [u8]>> {
        if !self.is_packed(text) {
            return Some(Cow::Borrowed(text));
        }
        let (unpacked, is_whole) = unpacked(text, self.most);
        is_whole.then_some(Cow::Owned(unpacked))
    }

    /// What only claims to be compressed is what it is to who does not unpack it, and an error to
    /// who does.
    fn is_packed(&self, text: &[u8]) -> bool {
        self.is_gzip && text.starts_with(&GZIP)
    }
}

/// The first bytes of a gzip file (RFC 1952), with which no document begins.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// At most `most` bytes of what `packed` says, and whether that is all.
fn unpacked(packed: &[u8], most: usize) -> (Vec<u8>, bool) {
    let mut text = Vec::new();
    let mut source = MultiGzDecoder::new(packed).take(most as u64 + 1);
    let mut part = [0; 4096];
    loop {
        match source.read(&mut part) {
            Ok(0) => break,
            Ok(length) => text.extend_from_slice(&part[..length]),
            Err(_) => return (text, false),
        }
    }
    let is_whole = text.len() <= most;
    text.truncate(most);
    (text, is_whole)
}

#[cfg(test)]
mod tests;
