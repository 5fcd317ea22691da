//! Any bytes as a request: reading them whole or in pieces comes to the same, and never panics.

#![no_main]

use geofront::http1::{BodyScanner, Framing, HeadLimits, HeadProgress, HeadReader};

const LIMITS: HeadLimits = HeadLimits { max_bytes: 4_096, max_fields: 50 };

fn read(input: &[u8], piece: usize) -> HeadProgress {
    let mut reader = HeadReader::default();
    let mut end = 0;
    loop {
        end = input.len().min(end + piece);
        match reader.read(&input[..end], &LIMITS) {
            HeadProgress::More if end < input.len() => {}
            reading => return reading,
        }
    }
}

/// How many bytes belong to the body, and whether it is complete; `None` for a malformed one.
fn take(framing: Framing, input: &[u8], piece: usize) -> Option<(usize, bool)> {
    let mut body = BodyScanner::new(framing);
    let mut taken = 0;
    for piece in input.chunks(piece) {
        let length = body.take(piece).ok()?;
        taken += length;
        if length < piece.len() {
            assert!(body.is_complete());
            break;
        }
    }
    Some((taken, body.is_complete()))
}

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let whole = read(input, input.len().max(1));
    let in_pieces = read(input, 3);
    let is_refused = |progress: &HeadProgress| matches!(progress, HeadProgress::Refused(_));
    let is_same = is_refused(&whole) && is_refused(&in_pieces) || whole == in_pieces;
    assert!(is_same, "{whole:?} and {in_pieces:?}");
    if let HeadProgress::Complete(head) = whole {
        let rest = &input[head.whole.end..];
        let whole = take(head.framing, rest, rest.len().max(1));
        assert_eq!(whole, take(head.framing, rest, 3));
    }
});
