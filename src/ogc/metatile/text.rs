//! A part of the request target, decoded as it is read.

use crate::ogc::word::{Encoding, Word, decode};

/// Maximum length of numbers, boxes and names of grids.
const MAX_BYTES: usize = 128;

#[derive(Clone, Copy)]
pub(super) struct Text<'t> {
    raw: &'t [u8],
    encoding: Encoding,
}

impl<'t> Text<'t> {
    pub(super) fn of_path(raw: &'t [u8]) -> Self {
        Self {
            raw,
            encoding: Encoding::Path,
        }
    }

    pub(super) fn of_query(raw: &'t [u8]) -> Self {
        Self {
            raw,
            encoding: Encoding::Form,
        }
    }

    /// The decoded bytes. Broken escapes are left out: GeoServer refuses them.
    pub(super) fn bytes(self) -> impl Iterator<Item = u8> + use<'t> {
        decode(self.raw, self.encoding).flatten()
    }

    /// The text in lower case, without surrounding blanks.
    pub(super) fn word(self) -> Word {
        Word::of_value(self.raw, self.encoding).unwrap_or(Word::EMPTY)
    }

    pub(super) fn starts_with(self, start: &[u8]) -> bool {
        self.bytes().take(start.len()).eq(start.iter().copied())
    }

    /// The decimal number before a dot or the end: `12`, `12.png`.
    pub(super) fn number(self) -> Option<i64> {
        self.short()?.number()
    }

    /// Part number `at` of the parts between `separator`.
    pub(super) fn part(self, separator: u8, at: usize) -> Option<Short> {
        Short::of(
            self.bytes()
                .skip_through(separator, at)
                .take_while(move |byte| *byte != separator),
        )
        .filter(|part| !part.as_bytes().is_empty())
    }

    pub(super) fn short(self) -> Option<Short> {
        Short::of(self.bytes())
    }
}

/// At most [`MAX_BYTES`], decoded.
pub(super) struct Short {
    bytes: [u8; MAX_BYTES],
    len: usize,
}

impl Short {
    fn of(bytes: impl Iterator<Item = u8>) -> Option<Self> {
        let mut short = Self {
            bytes: [0; MAX_BYTES],
            len: 0,
        };
        for byte in bytes {
            *short.bytes.get_mut(short.len)? = byte;
            short.len += 1;
        }
        Some(short)
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    pub(super) fn word(&self) -> Word {
        Word::of_value(self.as_bytes(), Encoding::Plain).unwrap_or(Word::EMPTY)
    }

    pub(super) fn number(&self) -> Option<i64> {
        let digits = self
            .as_bytes()
            .trim_ascii()
            .split(|byte| *byte == b'.')
            .next()?;
        str::from_utf8(digits)
            .ok()?
            .parse::<u32>()
            .ok()
            .map(i64::from)
    }

    /// Four numbers with commas between them.
    pub(super) fn four_numbers(&self) -> Option<[f64; 4]> {
        let mut numbers = self.as_bytes().split(|byte| *byte == b',').map(number);
        let four = [
            numbers.next()??,
            numbers.next()??,
            numbers.next()??,
            numbers.next()??,
        ];
        numbers.next().is_none().then_some(four)
    }
}

fn number(text: &[u8]) -> Option<f64> {
    str::from_utf8(text.trim_ascii())
        .ok()?
        .parse()
        .ok()
        .filter(|number: &f64| number.is_finite())
}

trait SkipThrough: Iterator<Item = u8> + Sized {
    /// The rest behind separator number `count`; empty if there are fewer.
    fn skip_through(mut self, separator: u8, count: usize) -> Self {
        for _ in 0..count {
            self.find(|byte| *byte == separator);
        }
        self
    }
}

impl<I: Iterator<Item = u8>> SkipThrough for I {}
