//! The header of the PROXY protocol, versions 1 and 2, with which a load balancer states the
//! client's address at the beginning of a connection.
//!
//! The header is read strictly and never guessed: a connection either must begin with one or must
//! not. What follows it belongs to the client, so a reader must not read beyond its end:
//! [`ProxyHeaderProgress::More`] returns the number of bytes that are still part of it for certain.

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
    /// The header is complete, and this is the client's address. `None` if the load balancer speaks
    /// for itself, as in its health checks.
    Complete(Option<SocketAddr>),
    /// This is no header, or a malformed one.
    Malformed,
}

/// Reads a header, of which `bytes` are the beginning.
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
