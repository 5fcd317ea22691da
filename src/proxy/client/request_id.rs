//! The identifier of a request in our log, in the upstream's log and in the answer.

use std::cell::Cell;
use std::fmt;
use std::hash::{BuildHasher, RandomState};

use pingora::http::RequestHeader;

use crate::hash::SplitMix64;

/// The header that carries it, both ways.
pub const REQUEST_ID: &str = "X-Request-Id";

/// Sixteen hexadecimal digits of our own, or the id that a trusted peer has given the request. It
/// is copied, never allocated.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct RequestId {
    bytes: [u8; Self::MAX_BYTES],
    len: u8,
}

impl RequestId {
    /// Longer names from a trusted peer are replaced: 36 is a UUID, 55 a W3C trace parent.
    pub const MAX_BYTES: usize = 64;

    /// The trusted peer's name for it when it is sane, else a fresh one.
    pub fn of(request: &RequestHeader, trusted: bool) -> Self {
        let given = request.headers.get(REQUEST_ID).filter(|_| trusted);
        given
            .and_then(|value| Self::from_peer(value.as_bytes()))
            .unwrap_or_else(Self::fresh)
    }

    /// Unique in this process; a repetition elsewhere or after a restart is as unlikely as two
    /// equal 64-bit random numbers.
    pub fn fresh() -> Self {
        let mut bytes = [0; Self::MAX_BYTES];
        let number = next_number();
        for (i, digit) in bytes.iter_mut().take(16).enumerate() {
            *digit = b"0123456789abcdef"[(number >> (60 - 4 * i)) as usize & 0xf];
        }
        Self { bytes, len: 16 }
    }

    /// `None` unless every byte may stand in a log line, a header and a URL as it is.
    pub fn from_peer(value: &[u8]) -> Option<Self> {
        let is_sane = (1..=Self::MAX_BYTES).contains(&value.len())
            && value
                .iter()
                .all(|b| b.is_ascii_alphanumeric() || b"-_.:/+=".contains(b));
        is_sane.then(|| {
            let mut bytes = [0; Self::MAX_BYTES];
            bytes[..value.len()].copy_from_slice(value);
            Self {
                bytes,
                len: value.len() as u8,
            }
        })
    }

    /// Returns the id as text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..usize::from(self.len)]).expect("only ASCII gets in")
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RequestId({self})")
    }
}

/// SplitMix64 (Steele, Lea and Flood, 2014), one sequence per thread from a random start: no cache
/// line is shared.
fn next_number() -> u64 {
    thread_local! {
        static NUMBERS: Cell<SplitMix64> =
            Cell::new(SplitMix64::new(RandomState::new().hash_one(std::process::id())));
    }
    let mut numbers = NUMBERS.get();
    let number = numbers.draw();
    NUMBERS.set(numbers);
    number
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn request(id: &str) -> RequestHeader {
        let mut request = RequestHeader::build("GET", b"/", None).unwrap();
        request.insert_header(REQUEST_ID, id).unwrap();
        request
    }

    #[test]
    fn a_trusted_peer_names_the_request() {
        assert_eq!(
            RequestId::of(&request("gateway-7f3a"), true).as_str(),
            "gateway-7f3a"
        );
    }

    #[test]
    fn a_stranger_does_not() {
        assert_ne!(
            RequestId::of(&request("gateway-7f3a"), false).as_str(),
            "gateway-7f3a"
        );
    }

    #[test]
    fn names_that_could_forge_a_log_line_or_grow_it_are_replaced() {
        for bad in ["", "a b", "a\"b", "<script>", &"x".repeat(65)] {
            assert_eq!(RequestId::from_peer(bad.as_bytes()), None, "{bad:?}");
        }
    }

    #[test]
    fn fresh_ones_differ_across_threads_too() {
        let threads: Vec<_> = (0..4)
            .map(|_| {
                std::thread::spawn(|| {
                    (0..1000)
                        .map(|_| RequestId::fresh().to_string())
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        let all: HashSet<_> = threads
            .into_iter()
            .flat_map(|t| t.join().unwrap())
            .collect();
        assert_eq!(all.len(), 4000);
        assert!(all.iter().all(|id| id.len() == 16));
    }
}
