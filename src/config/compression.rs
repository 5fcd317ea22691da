//! `[compression]`: answers that the front door compresses where an upstream did not.

use std::fmt;

use crate::ogc::{PerClass, RequestClass};

/// The table `[compression]`. Off while there are no codings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compression {
    /// In the order of preference, for clients that prefer none.
    pub codings: Vec<Coding>,
    /// An answer with a shorter body is passed on as it is, in bytes.
    pub min_size: u64,
    /// Whether answers to requests of a class are compressed.
    pub classes: PerClass<bool>,
}

/// A content coding that the front door can apply (RFC 9110 section 8.4.1, RFC 8878).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    Gzip,
    Zstd,
}

impl Compression {
    /// The codings for answers to requests of `class`; empty if these are not compressed.
    pub fn codings_for(&self, class: RequestClass) -> &[Coding] {
        if self.codings.is_empty() || !self.classes[class] {
            return &[];
        }
        &self.codings
    }

    /// True if answers to requests of some class are compressed.
    pub const fn is_on(&self) -> bool {
        !self.codings.is_empty()
    }
}

impl Coding {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Gzip, Self::Zstd];

    /// The name in `Accept-Encoding` and `Content-Encoding`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }

    /// Returns the coding of this name; names have no case.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|coding| coding.as_str().eq_ignore_ascii_case(name))
    }
}

impl fmt::Display for Coding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
