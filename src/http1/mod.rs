//! HTTP/1 as strictly as a front door must read it, from the bytes and before anything acts on
//! them.
//!
//! ```text
//! bytes --HeadReader--> Head (method, target, host, framing, ...) --BodyReader--> where the body ends
//!             |                                                         |
//!             +---------------------- Fault <---------------------------+
//! ```
//!
//! Two servers that read one request differently let one client speak for another (request
//! smuggling). So every message that could be read in two ways is refused here, once, and what is
//! accepted means the same to every server. Each byte is looked at once, nothing allocates
//! (`tests/http1_allocations.rs`), and a second reader that was written differently agrees
//! (`tests.rs`). Sources: RFC 9110 and RFC 9112; each [`Fault`] names its section.

mod body;
mod fault;
mod head;
mod host;
mod sets;
mod target;

pub use body::{BodyReader, Framing};
pub use fault::Fault;
pub use head::{Connection, Head, HeadLimits, HeadReader, Reading, Version};
pub use target::TargetForm;

/// A part of the bytes that were read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// Index of the first byte.
    pub start: usize,
    /// Index after the last byte.
    pub end: usize,
}

impl Span {
    /// Returns the part of `bytes`, which must be the bytes that were read.
    pub fn of(self, bytes: &[u8]) -> &[u8] {
        &bytes[self.start..self.end]
    }
}

#[cfg(test)]
mod tests;
