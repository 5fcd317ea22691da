//! Strict HTTP/1 parsing, applied to the bytes before anything acts on them.
//!
//! ```text
//! bytes --HeadReader--> Head (method, target, host, framing, ...) --BodyReader--> where the body ends
//!             |                                                         |
//!             +---------------------- Fault <---------------------------+
//! ```
//!
//! If two servers read one request differently, one client can speak for another (request
//! smuggling). So every ambiguous message is refused here, once, and an accepted message means the
//! same to every server. Each byte is inspected once, nothing allocates
//! (`tests/http1_allocations.rs`), and a second, independently written reader agrees (`tests.rs`).
//! Sources: RFC 9110 and RFC 9112; each [`Fault`] names its section.

mod body;
mod fault;
mod head;
mod host;
mod sets;
mod target;

pub use body::{BodyReader, Framing};
pub use fault::Fault;
pub use head::{Connection, Head, HeadLimits, HeadReader, Reading, Version};
pub use host::host_without_port;
pub use target::TargetForm;

/// A range of the bytes that were read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// Index of the first byte.
    pub start: usize,
    /// Index after the last byte.
    pub end: usize,
}

impl Span {
    /// Returns the bytes of this range; `bytes` must be the bytes that were read.
    pub fn of(self, bytes: &[u8]) -> &[u8] {
        &bytes[self.start..self.end]
    }
}

#[cfg(test)]
mod tests;
