//! Finds the streams that the HTTP/2 library resets on its own, because their requests are
//! malformed: it shows them to nobody, and a refusal needs its access line.
//!
//! The bytes that leave for a client show them: RST_STREAM frames with PROTOCOL_ERROR.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

/// The fixed part of a frame.
const HEADER: usize = 9;

/// A whole RST_STREAM: its payload is the code.
const RESET: usize = HEADER + 4;

/// The number of the frame.
const RST_STREAM: u8 = 3;

/// The code for malformed requests (RFC 9113 section 8.1.1).
const PROTOCOL_ERROR: [u8; 4] = [0, 0, 0, 1];

/// Resets that wait to be logged. More are not logged one by one: the library ends such a
/// connection.
const MAX_WAITING: usize = 1024;

/// The streams that were reset as malformed, by number. One for each connection.
#[derive(Clone, Debug, Default)]
pub(super) struct MalformedStreams(Arc<Found>);

#[derive(Debug, Default)]
struct Found {
    streams: Mutex<Vec<u32>>,
    /// The one task of the connection waits for it.
    added: Notify,
}

impl MalformedStreams {
    /// Resolves when there are some to take.
    pub(super) async fn added(&self) {
        self.0.added.notified().await;
    }

    pub(super) fn take(&self) -> Vec<u32> {
        std::mem::take(&mut *self.0.streams.lock())
    }

    fn add(&self, stream: u32) {
        let mut streams = self.0.streams.lock();
        if streams.len() < MAX_WAITING {
            streams.push(stream);
            self.0.added.notify_one();
        }
    }
}

/// Reads the frames of a server as they leave.
#[derive(Debug)]
pub(super) struct ResetWatch {
    /// Bytes until the next frame.
    skip: usize,
    frame: [u8; RESET],
    /// Bytes of the frame that are there.
    length: usize,
    found: MalformedStreams,
}

impl ResetWatch {
    pub(super) const fn new(found: MalformedStreams) -> Self {
        Self {
            skip: 0,
            frame: [0; RESET],
            length: 0,
            found,
        }
    }

    /// Notes the resets that end in `bytes`, the next to leave.
    pub(super) fn note(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = &bytes[skipped..];
            let wanted = if self.length < HEADER { HEADER } else { RESET };
            let taken = (wanted - self.length).min(bytes.len());
            self.frame[self.length..self.length + taken].copy_from_slice(&bytes[..taken]);
            self.length += taken;
            bytes = &bytes[taken..];
            match self.length {
                HEADER => self.begin(),
                RESET => self.end(),
                _ => {}
            }
        }
    }

    /// The header of a frame is there.
    fn begin(&mut self) {
        let [a, b, c, kind, ..] = self.frame;
        let payload = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        if kind != RST_STREAM || payload != RESET - HEADER {
            (self.skip, self.length) = (payload, 0);
        }
    }

    /// A whole RST_STREAM is there.
    fn end(&mut self) {
        self.length = 0;
        let [.., a, b, c, d, e, f, g, h] = self.frame;
        if [e, f, g, h] == PROTOCOL_ERROR {
            self.found.add(u32::from_be_bytes([a, b, c, d]));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(kind: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let [_, a, b, c] = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&[a, b, c, kind, 0], &stream.to_be_bytes()[..], payload].concat()
    }

    proptest! {
        #[test]
        fn resets_of_malformed_requests_are_found_in_any_pieces(
            frames in prop::collection::vec((0..5_u8, 1..99_u32, 0..3_u8, 0..9_usize), 0..20),
            step in 1..40_usize,
        ) {
            let (mut wire, mut expected) = (Vec::new(), Vec::new());
            for (kind, stream, code, length) in frames {
                if kind == RST_STREAM {
                    wire.extend(frame(kind, stream, &[0, 0, 0, code]));
                    expected.extend((code == 1).then_some(stream));
                } else {
                    wire.extend(frame(kind, stream, &vec![code; length]));
                }
            }
            let found = MalformedStreams::default();
            let mut watch = ResetWatch::new(found.clone());
            wire.chunks(step).for_each(|piece| watch.note(piece));
            prop_assert_eq!(found.take(), expected);
        }
    }
}
