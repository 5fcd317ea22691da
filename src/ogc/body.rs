//! The request that a body holds, as far as a [`BodyReader`](super::BodyReader) has read it.
//!
//! GeoServer chooses how to read a body by the content type alone, and so does geofront. A form is
//! key-value pairs. SOAP holds the request as the first child of its `Body`. Multipart has fields
//! and one file. Everything else is XML whose root names the operation. A content type that
//! containers interpret differently is not read at all.

use super::charset;
use super::kvp::Kvp;
use super::multipart;
use super::xml::{self, Root};

/// Stands for a content type that is not valid text. No real content type is written like this.
pub const UNREADABLE_CONTENT_TYPE: &str = "\u{fffd}";

/// How GeoServer reads the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyKind<'h> {
    Form,
    Xml,
    Soap,
    Multipart {
        boundary: &'h str,
    },
    /// Containers differ about it.
    Ambiguous,
}

const FORM: &str = "application/x-www-form-urlencoded";
const SOAP: &str = "application/soap+xml";

pub(super) fn kind(content_type: Option<&str>) -> BodyKind<'_> {
    let Some(content_type) = content_type else {
        return BodyKind::Xml;
    };
    // Servers differ about control bytes, which Java trims, and about letters beyond ASCII.
    let is_text = |byte| matches!(byte, b'\t' | b' '..=b'~');
    if !content_type.bytes().all(is_text) {
        return BodyKind::Ambiguous;
    }
    let content_type = content_type.trim();
    let media_type = content_type
        .split(';')
        .next()
        .unwrap_or_default()
        .trim_end();
    // GeoServer compares the beginning and its case; Tomcat compares the whole media type. Both
    // must agree.
    if media_type == FORM {
        if charset::is_plain(content_type) {
            BodyKind::Form
        } else {
            BodyKind::Ambiguous
        }
    } else if media_type == SOAP {
        BodyKind::Soap
    } else if starts_with(content_type, FORM) || starts_with(content_type, SOAP) {
        BodyKind::Ambiguous
    } else if starts_with(content_type, "multipart") {
        multipart::boundary(content_type).map_or(BodyKind::Ambiguous, |boundary| {
            BodyKind::Multipart { boundary }
        })
    } else {
        BodyKind::Xml
    }
}

fn starts_with(text: &str, beginning: &str) -> bool {
    text.as_bytes()
        .get(..beginning.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(beginning.as_bytes()))
}

/// The content of a body.
#[derive(Clone, Copy, Debug)]
pub(super) enum Payload {
    /// No body, or one that was only key-value pairs (added to the [`Kvp`]).
    Pairs,
    Root(Root),
    Unreadable(&'static str),
}

/// Reads `prefix` and adds its pairs to `kvp`.
pub(super) fn read(kind: BodyKind<'_>, prefix: &[u8], kvp: &mut Kvp) -> Payload {
    match kind {
        BodyKind::Form => {
            kvp.add_form(prefix);
            Payload::Pairs
        }
        BodyKind::Ambiguous => {
            Payload::Unreadable("a content type that servers read in different ways")
        }
        BodyKind::Xml | BodyKind::Soap | BodyKind::Multipart { .. } if prefix.is_empty() => {
            Payload::Pairs
        }
        BodyKind::Xml => payload(
            xml::root(prefix),
            "the body's XML root cannot be read from its first 8192 bytes",
        ),
        BodyKind::Soap => payload(
            xml::soap_root(prefix),
            "the SOAP body cannot be read with certainty",
        ),
        BodyKind::Multipart { boundary } => match multipart::read(prefix, boundary, kvp) {
            Some(file) => payload(
                xml::root(file),
                "the multipart body's file has no XML root that can be read",
            ),
            None => Payload::Unreadable("the multipart body cannot be read with certainty"),
        },
    }
}

fn payload(root: Option<Root>, otherwise: &'static str) -> Payload {
    root.map_or(Payload::Unreadable(otherwise), Payload::Root)
}
