//! The grammar by cases, and compared with a second, independently written reader.

mod cases;
mod naive;
mod properties;

use super::{BodyScanner, Fault, Head, HeadLimits, HeadProgress, HeadReader};

const LIMITS: HeadLimits = HeadLimits {
    max_bytes: 2_000,
    max_fields: 20,
};

/// Reads `bytes` in pieces of `piece` bytes.
fn read_in_pieces(bytes: &[u8], piece: usize) -> HeadProgress {
    let mut reader = HeadReader::default();
    let mut end = 0;
    loop {
        end = bytes.len().min(end + piece);
        match reader.read(&bytes[..end], &LIMITS) {
            HeadProgress::More if end < bytes.len() => {}
            reading => return reading,
        }
    }
}

fn read(bytes: &[u8]) -> HeadProgress {
    read_in_pieces(bytes, usize::MAX / 2)
}

#[track_caller]
fn accepted(bytes: &[u8]) -> Head {
    match read(bytes) {
        HeadProgress::Complete(head) => head,
        reading => panic!("{reading:?}: {}", bytes.escape_ascii()),
    }
}

#[track_caller]
fn assert_refused(bytes: &[u8], fault: Fault) {
    assert_eq!(
        read(bytes),
        HeadProgress::Refused(fault),
        "{}",
        bytes.escape_ascii()
    );
}

/// The number of `bytes` that belong to the body of the request with this head.
fn body_of(head: &Head, bytes: &[u8], piece: usize) -> Result<Option<usize>, Fault> {
    let mut reader = BodyScanner::new(head.framing);
    let mut taken = 0;
    for piece in bytes.chunks(piece) {
        taken += reader.take(piece)?;
    }
    Ok(reader.is_complete().then_some(taken))
}
