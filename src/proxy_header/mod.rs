//! The header of the PROXY protocol, versions 1 and 2, with which a load balancer states the
//! client's address at the beginning of a connection.
//!
//! The header is never detected automatically: on a listener it is either required or not expected.
//! The bytes after it are the client's, so the caller must not read beyond its end.
//! [`ProxyHeaderProgress::More`] holds the number of bytes that can be read safely.

#[cfg(test)]
mod tests;
mod v1;
mod v2;

use std::net::SocketAddr;

/// The first bytes of version 2. No other protocol begins like this.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// The result of reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyHeaderProgress {
    /// At least so many bytes are missing.
    More(usize),
    /// The header is complete, and this is the client's address. `None` if the header has no
    /// address (`LOCAL`, `UNKNOWN`), as in health checks.
    Complete(Option<SocketAddr>),
    /// This is no header, or a malformed one.
    Malformed,
}

/// Parses a header from `bytes`, the data received so far.
pub fn read(bytes: &[u8]) -> ProxyHeaderProgress {
    let is_begin = |of: &[u8]| bytes.iter().zip(of).all(|(byte, wanted)| byte == wanted);
    if bytes.is_empty() {
        // The shortest header.
        ProxyHeaderProgress::More(v1::SHORTEST)
    } else if is_begin(&SIGNATURE) {
        v2::read(bytes)
    } else if is_begin(v1::BEGIN) {
        v1::read(bytes)
    } else {
        ProxyHeaderProgress::Malformed
    }
}
