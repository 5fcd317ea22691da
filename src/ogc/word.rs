//! Short text, decoded onto the stack: names of parameters, services, operations and path segments.
//!
//! Nothing here allocates, and nothing here guesses: what is not plainly a short ASCII name says so
//! ([`Strange`]), and the caller then takes the careful road.

use std::cmp::Ordering;

/// How bytes stand in the text they come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    /// A path: `%41` is `A`, `+` is a plus.
    Path,
    /// A query or a form body: `%41` is `A`, `+` is a space.
    Form,
    /// A multipart field or an XML attribute: every byte is itself.
    Plain,
}

/// Text that readers of different strictness may take for different names: a broken escape, or
/// letters beyond ASCII. Java's case folding turns some of those into ASCII ones (`ſ` into `s`, the
/// Kelvin sign into `k`), so they cannot be passed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Strange;

/// A name of at most [`Word::CAPACITY`] bytes. Longer text keeps its beginning, and equals no name
/// of ours.
#[derive(Clone, Copy, Debug)]
pub(super) struct Word {
    bytes: [u8; Self::CAPACITY],
    len: u8,
    is_whole: bool,
}

impl Word {
    /// Longer than every name we know (`DescribeEOCoverageSet` has 21 letters,
    /// `j_spring_security_logout` 24).
    pub(super) const CAPACITY: usize = 32;

    pub(super) const EMPTY: Self = Self {
        bytes: [0; Self::CAPACITY],
        len: 0,
        is_whole: true,
    };

    /// A path segment: decoded, case kept. The path is validated by then, so a broken escape cannot
    /// be met.
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

    /// The value of a parameter: decoded, ASCII lower case, without the blanks and control bytes
    /// around it that GeoServer trims (Java's `trim`).
    pub(super) fn of_value(raw: &[u8], encoding: Encoding) -> Result<Self, Strange> {
        if is_plain(raw) {
            return Ok(Self::copied(raw).into_lower_case());
        }
        let is_blank = |byte: &Result<u8, Strange>| matches!(byte, Ok(byte) if *byte <= b' ');
        let mut word = Self::folded(decode(raw, encoding).skip_while(is_blank))?;
        while word.as_bytes().last().is_some_and(|&byte| byte <= b' ') {
            word.len -= 1;
        }
        Ok(word)
    }

    /// The name of a parameter: as a value, but blanks are part of a name.
    pub(super) fn of_key(raw: &[u8], encoding: Encoding) -> Result<Self, Strange> {
        if is_plain(raw) {
            return Ok(Self::copied(raw).into_lower_case());
        }
        Self::folded(decode(raw, encoding))
    }

    /// `raw` as it is.
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

    fn folded(bytes: impl Iterator<Item = Result<u8, Strange>>) -> Result<Self, Strange> {
        let mut word = Self::EMPTY;
        for byte in bytes {
            let byte = byte?;
            if !byte.is_ascii() {
                return Err(Strange);
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
            // Blanks may still turn out to be trailing ones.
            Ordering::Equal | Ordering::Greater => self.is_whole &= byte <= b' ',
        }
    }

    /// The text, or its beginning when it is longer than any name.
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether this is exactly `name`.
    pub(super) fn is(&self, name: &str) -> bool {
        self.is_whole && self.as_bytes() == name.as_bytes()
    }
}

impl PartialEq for Word {
    /// Two beginnings are never equal: what follows them is not known.
    fn eq(&self, other: &Self) -> bool {
        self.is_whole && other.is_whole && self.as_bytes() == other.as_bytes()
    }
}

/// Whether `raw` is a short name and stands for itself in every encoding.
fn is_plain(raw: &[u8]) -> bool {
    raw.len() <= Word::CAPACITY
        && raw
            .iter()
            .all(|&byte| byte.is_ascii_graphic() && !matches!(byte, b'%' | b'+'))
}

/// The bytes `raw` stands for.
pub(super) fn decode(raw: &[u8], encoding: Encoding) -> impl Iterator<Item = Result<u8, Strange>> {
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

/// The byte of the two hexadecimal digits that follow a `%`.
fn escaped(digits: &[u8]) -> Result<u8, Strange> {
    let digit = |at: usize| {
        digits
            .get(at)
            .and_then(|&byte| char::from(byte).to_digit(16))
    };
    match (digit(0), digit(1)) {
        (Some(high), Some(low)) => Ok((high * 16 + low) as u8),
        _ => Err(Strange),
    }
}
