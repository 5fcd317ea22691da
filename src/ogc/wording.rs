//! The words of a request, for a search that no spelling escapes: everything is decoded as often as
//! any server may decode it, and in lower case.
//!
//! Only for requests that servers may read in several ways, so it may allocate.

use super::word::{Encoding, ascii_of, decode};

/// Escapes may be nested: some servers decode a path twice, and a framework behind them once more.
const MAX_DECODINGS: usize = 4;

/// The words of a request.
#[derive(Clone, Debug)]
pub(super) struct Wording {
    text: Vec<u8>,
    /// A letter beyond ASCII may become an ASCII one, or the text is not UTF-8.
    may_be_anything: bool,
}

impl Wording {
    /// The words of `parts`.
    pub(super) fn of(parts: &[&[u8]]) -> Self {
        let mut text = parts.join(&b' ');
        for _ in 0..MAX_DECODINGS {
            if !text.contains(&b'%') {
                break;
            }
            text = decoded_once(&text);
        }
        let may_be_anything = match str::from_utf8(&text) {
            Ok(text) => text
                .chars()
                .any(|letter| !letter.is_ascii() && ascii_of(letter).is_some()),
            Err(_) => true,
        };
        text.make_ascii_lowercase();
        Self {
            text,
            may_be_anything,
        }
    }

    /// True if `word`, which is in lower case, may be in it.
    pub(super) fn may_contain(&self, word: &str) -> bool {
        let word = word.as_bytes();
        self.may_be_anything
            || word.is_empty()
            || self.text.windows(word.len()).any(|window| window == word)
    }

    /// The names in it: words of letters, digits, and what names of layers contain.
    pub(super) fn names(&self) -> impl Iterator<Item = &[u8]> {
        self.text.split(|&byte| {
            !(byte.is_ascii_alphanumeric() || !byte.is_ascii() || b"_-.:".contains(&byte))
        })
    }
}

/// A broken escape stays as it is.
fn decoded_once(text: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut at = 0;
    while at < text.len() {
        let piece = text.get(at..at + 3).filter(|piece| piece[0] == b'%');
        let byte = piece.and_then(|piece| decode(piece, Encoding::Path).next()?.ok());
        match byte {
            Some(byte) => {
                decoded.push(byte);
                at += 3;
            }
            None => {
                decoded.push(text[at]);
                at += 1;
            }
        }
    }
    decoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_found_in_every_encoding() {
        for text in [
            "/g/WFS",
            "/g/%57f%53",
            "/g/%2557fs",
            "/g/%25%35%37fs",
            "/g/wf\u{17f}",
            "/g/\u{ff}",
        ] {
            assert!(Wording::of(&[text.as_bytes()]).may_contain("wfs") || !text.is_ascii());
        }
        assert!(!Wording::of(&[b"/g/wms?x=%zz"]).may_contain("wfs"));
        assert!(Wording::of(&[b"\xe9"]).may_contain("wfs"), "no UTF-8");
        assert!(!Wording::of(&["forêts".as_bytes()]).may_contain("wfs"));
    }

    #[test]
    fn names_are_the_words_between_punctuation() {
        let wording = Wording::of(&[b"/g/wms?layers=topp%3Astates,a_b&x=\"c.d\""]);
        let names: Vec<&[u8]> = wording.names().collect();
        for name in ["topp:states", "a_b", "c.d", "layers"] {
            assert!(names.contains(&name.as_bytes()), "{name}");
        }
    }
}
