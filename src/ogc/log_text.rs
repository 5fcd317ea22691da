//! Parts of a request target as text that is fit for a log: decoded, bounded, on one line.

use std::borrow::Cow;

use super::word::{Encoding, decode};
use super::{Classified, Span};

/// Maximum length in bytes. A list of layers may fill a whole request; a log line needs its
/// beginning.
const MAX_TEXT: usize = 200;

impl Classified {
    /// The layers that the request names in `target`, which must be the request's own. At most 200
    /// bytes.
    pub fn layer<'t>(&self, target: &'t [u8]) -> Option<Cow<'t, str>> {
        self.layer.and_then(|span| text(span, target))
    }

    /// The workspace of a virtual service, in the form of [`Self::layer`].
    pub fn workspace<'t>(&self, target: &'t [u8]) -> Option<Cow<'t, str>> {
        self.workspace.and_then(|span| text(span, target))
    }
}

fn text(span: Span, target: &[u8]) -> Option<Cow<'_, str>> {
    let raw = span.of(target);
    if raw.is_empty() {
        return None;
    }
    let is_plain = raw.len() <= MAX_TEXT
        && raw
            .iter()
            .all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'%' | b'+'));
    if let (true, Ok(text)) = (is_plain, str::from_utf8(raw)) {
        return Some(Cow::Borrowed(text));
    }
    let is_query = target[..span.start as usize].contains(&b'?');
    let encoding = if is_query {
        Encoding::Form
    } else {
        Encoding::Path
    };
    let decoded: Vec<u8> = decode(raw, encoding)
        .map(|byte| byte.unwrap_or(b'%'))
        .take(MAX_TEXT)
        .collect();
    Some(Cow::Owned(printable(&decoded)))
}

/// Control characters and what is not UTF-8 become U+FFFD; a character cut by the bound is dropped.
fn printable(decoded: &[u8]) -> String {
    let mut text = String::with_capacity(MAX_TEXT);
    for character in String::from_utf8_lossy(decoded).chars() {
        let character = if character.is_control() {
            char::REPLACEMENT_CHARACTER
        } else {
            character
        };
        if text.len() + character.len_utf8() > MAX_TEXT {
            break;
        }
        text.push(character);
    }
    text
}
