//! Finds the end of a request's body, and checks the grammar of chunks.

use super::Fault;
use super::sets::{self, TOKEN, VALUE};

/// Maximum digits of a chunk's size: as many as fit 60 bits.
const MAX_DIGITS: u32 = 15;

/// Maximum length in bytes of a chunk's extensions. No server has a use for them.
const MAX_EXTENSION: u32 = 256;

/// Maximum length in bytes of all trailers.
const MAX_TRAILERS: u32 = 4096;

/// The framing of a request's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// The length in bytes; 0 without a body.
    Length(u64),
    /// The body ends with its last chunk.
    Chunked,
}

impl Default for Framing {
    fn default() -> Self {
        Self::Length(0)
    }
}

/// The reader's position in a body.
#[derive(Clone, Copy, Debug)]
enum Part {
    Complete,
    /// Bytes of an unchunked body that are still to come.
    Rest(u64),
    Size {
        size: u64,
        digits: u32,
    },
    /// White space after the size, which RFC 9112 tolerates.
    Space {
        size: u64,
        length: u32,
    },
    Extension {
        size: u64,
        length: u32,
    },
    SizeLf {
        size: u64,
    },
    /// Bytes of a chunk that are still to come.
    Data(u64),
    DataCr,
    DataLf,
    TrailerStart {
        length: u32,
    },
    TrailerName {
        length: u32,
    },
    TrailerValue {
        length: u32,
    },
    TrailerLf {
        length: u32,
    },
    LastLf,
}

/// Follows one body. Bytes are counted and checked, never kept.
#[derive(Clone, Copy, Debug)]
pub struct BodyScanner(Part);

impl BodyScanner {
    /// A reader of a body with this framing.
    pub const fn new(framing: Framing) -> Self {
        Self(match framing {
            Framing::Length(0) => Part::Complete,
            Framing::Length(length) => Part::Rest(length),
            Framing::Chunked => Part::Size { size: 0, digits: 0 },
        })
    }

    /// True once the last byte of the body was seen.
    pub const fn is_complete(&self) -> bool {
        matches!(self.0, Part::Complete)
    }

    /// Takes the next bytes of the connection; returns the number of those that belong to this
    /// body.
    pub fn take(&mut self, bytes: &[u8]) -> Result<usize, Fault> {
        let mut at = 0;
        while at < bytes.len() {
            match &mut self.0 {
                Part::Complete => break,
                Part::Rest(rest) | Part::Data(rest) => {
                    let taken = usize::try_from(*rest)
                        .map_or(bytes.len() - at, |rest| rest.min(bytes.len() - at));
                    *rest -= taken as u64;
                    at += taken;
                    self.0 = match self.0 {
                        Part::Rest(0) => Part::Complete,
                        Part::Data(0) => Part::DataCr,
                        unfinished => unfinished,
                    };
                }
                framing => {
                    self.0 = next(*framing, bytes[at])?;
                    at += 1;
                }
            }
        }
        Ok(at)
    }
}

/// The part after `byte`, for parts that are read byte by byte.
fn next(part: Part, byte: u8) -> Result<Part, Fault> {
    let is_value = sets::is(byte, VALUE);
    match (part, byte) {
        (Part::Size { size, digits }, _) if byte.is_ascii_hexdigit() && digits < MAX_DIGITS => {
            Ok(Part::Size {
                size: size << 4 | hex(byte),
                digits: digits + 1,
            })
        }
        (Part::Size { size, digits: 1.. } | Part::Space { size, .. }, b';') => {
            Ok(Part::Extension { size, length: 0 })
        }
        (Part::Size { size, digits: 1.. }, b' ' | b'\t') => Ok(Part::Space { size, length: 0 }),
        (
            Part::Size { size, digits: 1.. }
            | Part::Space { size, .. }
            | Part::Extension { size, .. },
            b'\r',
        ) => Ok(Part::SizeLf { size }),
        (Part::Space { size, length }, b' ' | b'\t') if length < MAX_EXTENSION => Ok(Part::Space {
            size,
            length: length + 1,
        }),
        (Part::Extension { size, length }, _) if is_value && length < MAX_EXTENSION => {
            Ok(Part::Extension {
                size,
                length: length + 1,
            })
        }
        (Part::SizeLf { size: 0 }, b'\n') => Ok(Part::TrailerStart { length: 0 }),
        (Part::SizeLf { size }, b'\n') => Ok(Part::Data(size)),
        (Part::DataCr, b'\r') => Ok(Part::DataLf),
        (Part::DataLf, b'\n') => Ok(Part::Size { size: 0, digits: 0 }),
        (Part::LastLf, b'\n') => Ok(Part::Complete),
        (
            Part::TrailerStart { length }
            | Part::TrailerName { length }
            | Part::TrailerValue { length }
            | Part::TrailerLf { length },
            _,
        ) => trailer(part, byte, length + 1)
            .filter(|_| length < MAX_TRAILERS)
            .ok_or(Fault::Trailers),
        _ => Err(Fault::Chunk),
    }
}

/// The part after `byte` of a trailer; `length` is the length of all trailers so far.
fn trailer(part: Part, byte: u8, length: u32) -> Option<Part> {
    match (part, byte) {
        (Part::TrailerStart { .. }, b'\r') => Some(Part::LastLf),
        (Part::TrailerStart { .. } | Part::TrailerName { .. }, _) if sets::is(byte, TOKEN) => {
            Some(Part::TrailerName { length })
        }
        (Part::TrailerName { .. }, b':') => Some(Part::TrailerValue { length }),
        (Part::TrailerValue { .. }, b'\r') => Some(Part::TrailerLf { length }),
        (Part::TrailerValue { .. }, _) if sets::is(byte, VALUE) => {
            Some(Part::TrailerValue { length })
        }
        (Part::TrailerLf { .. }, b'\n') => Some(Part::TrailerStart { length }),
        _ => None,
    }
}

fn hex(digit: u8) -> u64 {
    char::from(digit).to_digit(16).unwrap_or_default().into()
}
