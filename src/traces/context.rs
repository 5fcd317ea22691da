//! The `traceparent` header of W3C Trace Context, level 1 (https://www.w3.org/TR/trace-context-1/),
//! and the identifiers in it.

use std::cell::Cell;
use std::fmt;
use std::hash::{BuildHasher, RandomState};

use crate::hash::SplitMix64;

/// Length of a `traceparent` of version 00.
const LENGTH: usize = 55;

/// The flag of a trace whose caller records it.
const SAMPLED: u8 = 1;

/// The flag of level 2: the trace's identifier is random. It is kept with the identifier.
const RANDOM: u8 = 2;

/// The identifier of a trace; never zero.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceId([u8; 16]);

/// The identifier of a span within its trace; never zero.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SpanId([u8; 8]);

/// A span as other processes know it: the content of a `traceparent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceParent {
    pub trace: TraceId,
    pub span: SpanId,
    flags: u8,
}

impl TraceId {
    /// Returns a random identifier.
    pub fn random() -> Self {
        let number = u128::from(random()) << 64 | u128::from(random());
        Self(number.max(1).to_be_bytes())
    }

    /// Returns the identifier as OTLP sends it.
    pub const fn bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl SpanId {
    /// Returns a random identifier.
    pub fn random() -> Self {
        Self(random().max(1).to_be_bytes())
    }

    /// Returns the identifier as OTLP sends it.
    pub const fn bytes(&self) -> &[u8; 8] {
        &self.0
    }
}

impl TraceParent {
    /// Returns the first span of a new trace.
    pub fn random(is_sampled: bool) -> Self {
        Self {
            trace: TraceId::random(),
            span: SpanId::random(),
            flags: u8::from(is_sampled),
        }
    }

    /// Reads a header. A later version is read as far as version 00 goes, as the specification
    /// demands; anything else is not a `traceparent`.
    pub fn parse(header: &[u8]) -> Option<Self> {
        let (known, rest) = header.split_at_checked(LENGTH)?;
        let version = hex::<1>(&known[..2])?[0];
        let is_known = version == 0 && rest.is_empty();
        let is_later = !matches!(version, 0 | 0xff) && matches!(rest.first(), None | Some(b'-'));
        let has_dashes = [2, 35, 52].into_iter().all(|at| known[at] == b'-');
        if !has_dashes || !(is_known || is_later) {
            return None;
        }
        let (trace, span) = (hex::<16>(&known[3..35])?, hex::<8>(&known[36..52])?);
        let flags = hex::<1>(&known[53..])?[0];
        (trace != [0; 16] && span != [0; 8]).then_some(Self {
            trace: TraceId(trace),
            span: SpanId(span),
            // Other flags have no meaning yet, and are not passed on.
            flags: flags & (SAMPLED | RANDOM),
        })
    }

    /// True if the caller records the trace.
    pub const fn is_sampled(self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// Returns another span of the same trace.
    #[must_use]
    pub const fn with_span(self, span: SpanId) -> Self {
        Self { span, ..self }
    }
}

/// The header's value.
impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{}-{}-{:02x}", self.trace, self.span, self.flags)
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", u64::from_be_bytes(self.0))
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TraceId({self})")
    }
}

impl fmt::Debug for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SpanId({self})")
    }
}

/// Reads lower-case hexadecimal digits, two for each byte.
fn hex<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

const fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    }
}

/// A random number, also for decisions about samples. One sequence for each thread, from a random
/// start.
pub(super) fn random() -> u64 {
    thread_local! {
        static NUMBERS: Cell<[SplitMix64; 2]> = Cell::new([seeded(), seeded()]);
    }
    let mut numbers = NUMBERS.get();
    // Two generators: the numbers of one alone would give away those that follow, and a client sees
    // some of them.
    let number = numbers[0].draw() ^ numbers[1].draw().rotate_left(32);
    NUMBERS.set(numbers);
    number
}

fn seeded() -> SplitMix64 {
    SplitMix64::new(RandomState::new().hash_one(std::process::id()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const EXAMPLE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    /// The grammar of the specification, written as a regular expression of its own.
    fn grammar() -> impl Strategy<Value = String> {
        "([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-[ -~]{0,20}|)"
    }

    /// The specification's rules, each on the text itself.
    fn is_valid(text: &str) -> bool {
        let parts: Vec<&str> = text.splitn(5, '-').collect();
        let are_hex = |text: &str, length: usize| {
            text.len() == length && text.chars().all(|c| "0123456789abcdef".contains(c))
        };
        parts.len() >= 4
            && are_hex(parts[0], 2)
            && parts[0] != "ff"
            && are_hex(parts[1], 32)
            && !parts[1].trim_matches('0').is_empty()
            && are_hex(parts[2], 16)
            && !parts[2].trim_matches('0').is_empty()
            && are_hex(parts[3], 2)
            && (parts.len() == 4 || parts[0] != "00")
    }

    #[test]
    fn the_example_of_the_specification_is_read_and_written() {
        let parent = TraceParent::parse(EXAMPLE.as_bytes()).unwrap();
        assert!(parent.is_sampled());
        assert_eq!(parent.to_string(), EXAMPLE);
        assert_eq!(parent.trace.to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
    }

    #[test]
    fn what_the_specification_calls_invalid_is_refused() {
        let wrong = [
            "",
            "00",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-what",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-1",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "0x-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00_4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01.what",
            " 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ];
        for text in wrong {
            assert_eq!(TraceParent::parse(text.as_bytes()), None, "{text:?}");
            assert!(!is_valid(text), "{text:?}");
        }
    }

    #[test]
    fn a_later_version_is_read_as_far_as_it_is_known_and_written_as_00() {
        for text in [
            "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-what-the-future-brings",
        ] {
            let parent = TraceParent::parse(text.as_bytes()).unwrap();
            assert_eq!(parent.to_string(), EXAMPLE);
        }
    }

    #[test]
    fn flags_without_a_meaning_are_not_passed_on() {
        let parent = TraceParent::parse(EXAMPLE.replace("-01", "-ff").as_bytes()).unwrap();
        assert!(parent.to_string().ends_with("-03"));
        let unsampled = TraceParent::parse(EXAMPLE.replace("-01", "-fe").as_bytes()).unwrap();
        assert!(!unsampled.is_sampled());
    }

    #[test]
    fn random_identifiers_differ() {
        let ids: std::collections::HashSet<_> = (0..10_000).map(|_| TraceId::random()).collect();
        let spans: std::collections::HashSet<_> = (0..10_000).map(|_| SpanId::random()).collect();
        assert_eq!((ids.len(), spans.len()), (10_000, 10_000));
    }

    proptest! {
        #[test]
        fn whatever_fits_the_grammar_is_read_by_its_rules(text in grammar()) {
            let read = TraceParent::parse(text.as_bytes());
            prop_assert_eq!(read.is_some(), is_valid(&text));
            if let Some(read) = read {
                prop_assert_eq!(&read.to_string()[3..52], &text[3..52]);
            }
        }

        /// One character of a valid header is replaced, removed or added.
        #[test]
        fn a_header_that_is_changed_is_valid_only_by_the_rules(
            at in 0..LENGTH, by in "[ -~]{0,2}", removed in 0..2_usize,
        ) {
            let text = format!("{}{by}{}", &EXAMPLE[..at], &EXAMPLE[at + removed..]);
            prop_assert_eq!(TraceParent::parse(text.as_bytes()).is_some(), is_valid(&text), "{}", text);
        }

        #[test]
        fn no_bytes_cause_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let read = TraceParent::parse(&bytes);
            prop_assert!(read.is_none() || is_valid(&String::from_utf8_lossy(&bytes)));
        }

        #[test]
        fn what_is_written_is_read_again(sampled in any::<bool>()) {
            let parent = TraceParent::random(sampled);
            prop_assert_eq!(TraceParent::parse(parent.to_string().as_bytes()), Some(parent));
        }
    }
}
