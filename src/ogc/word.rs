//! Short text, decoded onto the stack: names of parameters, services, operations and path segments.
//!
//! Nothing here allocates and nothing here guesses. Text that is not plainly a short ASCII name is
//! reported as [`Ambiguous`], and the caller then takes the safe path.

use std::cmp::Ordering;

/// The encoding of bytes in their text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    /// Path: `%41` is `A`, `+` is a plus.
    Path,
    /// Query or form body: `%41` is `A`, `+` is a space.
    Form,
    /// Multipart field or XML attribute: every byte is itself.
    Plain,
}

/// Text that servers of different strictness may read as different names: a broken escape, or
/// letters beyond ASCII. Java's case folding turns some of those into ASCII (`ſ` into `s`, the
/// Kelvin sign into `k`), so they cannot be ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ambiguous;

/// A name of at most [`Word::CAPACITY`] bytes. Longer text keeps its beginning and equals no known
/// name.
#[derive(Clone, Copy, Debug)]
pub(super) struct Word {
    bytes: [u8; Self::CAPACITY],
    len: u8,
    is_whole: bool,
}

impl Word {
    /// Longer than every known name (`j_spring_security_logout` has 24 letters,
    /// `vec:IntersectionFeatureCollection` 33).
    pub(super) const CAPACITY: usize = 40;

    pub(super) const EMPTY: Self = Self {
        bytes: [0; Self::CAPACITY],
        len: 0,
        is_whole: true,
    };

    /// Decodes a path segment and keeps its case. The path is validated by then, so there are no
    /// broken escapes.
    pub(super) fn of_segment(raw: &[u8]) -> Self {
        if !raw.contains(&b'%') {
            return Self::copied(raw);
        }
        let mut word = Self::EMPTY;
        for byte in decode(raw, Encoding::Path).flatten() {
            word.push(byte);
        }
        word
    }

    /// Decodes the value of a parameter: ASCII lower case, without the surrounding blanks and
    /// control bytes that GeoServer trims (Java's `trim`).
    pub(super) fn of_value(raw: &[u8], encoding: Encoding) -> Result<Self, Ambiguous> {
        if is_plain(raw) {
            return Ok(Self::copied(raw).into_lower_case());
        }
        let is_blank = |byte: &Result<u8, Ambiguous>| matches!(byte, Ok(byte) if *byte <= b' ');
        let mut word = Self::folded(decode(raw, encoding).skip_while(is_blank))?;
        while word.as_bytes().last().is_some_and(|&byte| byte <= b' ') {
            word.len -= 1;
        }
        Ok(word)
    }

    /// Decodes the name of a parameter like a value, except that blanks are part of a name.
    pub(super) fn of_key(raw: &[u8], encoding: Encoding) -> Result<Self, Ambiguous> {
        if is_plain(raw) {
            return Ok(Self::copied(raw).into_lower_case());
        }
        Self::folded(decode(raw, encoding))
    }

    /// Copies `raw` unchanged.
    fn copied(raw: &[u8]) -> Self {
        let mut word = Self::EMPTY;
        let len = raw.len().min(Self::CAPACITY);
        word.bytes[..len].copy_from_slice(&raw[..len]);
        Self {
            len: len as u8,
            is_whole: raw.len() == len,
            ..word
        }
    }

    fn into_lower_case(mut self) -> Self {
        self.bytes.make_ascii_lowercase();
        self
    }

    fn folded(bytes: impl Iterator<Item = Result<u8, Ambiguous>>) -> Result<Self, Ambiguous> {
        let mut word = Self::EMPTY;
        for byte in bytes {
            let byte = byte?;
            if !byte.is_ascii() {
                return Err(Ambiguous);
            }
            word.push(byte.to_ascii_lowercase());
        }
        Ok(word)
    }

    fn push(&mut self, byte: u8) {
        match usize::from(self.len).cmp(&Self::CAPACITY) {
            Ordering::Less => {
                self.bytes[usize::from(self.len)] = byte;
                self.len += 1;
            }
            // The blanks may still be trailing ones.
            Ordering::Equal | Ordering::Greater => self.is_whole &= byte <= b' ',
        }
    }

    /// The text, or its beginning if it is longer than any name.
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    /// True if no text was cut off.
    pub(super) fn is_whole(&self) -> bool {
        self.is_whole
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// True if this is exactly `name`.
    pub(super) fn is(&self, name: &str) -> bool {
        self.is_whole && self.as_bytes() == name.as_bytes()
    }
}

impl PartialEq for Word {
    /// Two truncated texts are never equal: their ends are not known.
    fn eq(&self, other: &Self) -> bool {
        self.is_whole && other.is_whole && self.as_bytes() == other.as_bytes()
    }
}

/// True if `raw` is a short name and stands for itself in every encoding.
fn is_plain(raw: &[u8]) -> bool {
    raw.len() <= Word::CAPACITY
        && raw
            .iter()
            .all(|&byte| byte.is_ascii_graphic() && !matches!(byte, b'%' | b'+'))
}

/// False if `raw` stands for itself in every encoding.
pub(super) fn has_escapes(raw: &[u8]) -> bool {
    raw.contains(&b'%') || raw.contains(&b'+')
}

/// True if `raw`, decoded, is `text` in any case.
pub(super) fn is_text(raw: &[u8], text: &str, encoding: Encoding) -> bool {
    // Decoding makes nothing longer.
    if raw.len() < text.len() {
        return false;
    }
    if !has_escapes(raw) {
        return raw.eq_ignore_ascii_case(text.as_bytes());
    }
    let mut wanted = text.bytes();
    let mut decoded = decode(raw, encoding);
    decoded.by_ref().all(|byte| {
        byte.is_ok_and(|byte| {
            wanted
                .next()
                .is_some_and(|want| want.eq_ignore_ascii_case(&byte))
        })
    }) && wanted.next().is_none()
}

/// The ASCII letter that `letter` is or may become when Java changes its case or ignores it (`ſ` is
/// `s`). Of a ligature it is the first.
pub(super) fn ascii_of(letter: char) -> Option<char> {
    letter
        .to_lowercase()
        .chain(letter.to_uppercase())
        .find(char::is_ascii)
}

/// The bytes that `raw` encodes.
pub(super) fn decode(
    raw: &[u8],
    encoding: Encoding,
) -> impl Iterator<Item = Result<u8, Ambiguous>> {
    let mut rest = raw;
    std::iter::from_fn(move || {
        let (&first, tail) = rest.split_first()?;
        rest = tail;
        match (encoding, first) {
            (Encoding::Plain, byte) => Some(Ok(byte)),
            (Encoding::Form, b'+') => Some(Ok(b' ')),
            (Encoding::Form | Encoding::Path, b'%') => {
                let byte = escaped(tail);
                rest = tail.get(2..).unwrap_or_default();
                Some(byte)
            }
            (Encoding::Form | Encoding::Path, byte) => Some(Ok(byte)),
        }
    })
}

/// The byte of the two hexadecimal digits after a `%`.
fn escaped(digits: &[u8]) -> Result<u8, Ambiguous> {
    let digit = |at: usize| {
        digits
            .get(at)
            .and_then(|&byte| char::from(byte).to_digit(16))
    };
    match (digit(0), digit(1)) {
        (Some(high), Some(low)) => Ok((high * 16 + low) as u8),
        _ => Err(Ambiguous),
    }
}
