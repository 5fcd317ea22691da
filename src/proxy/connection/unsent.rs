//! Bytes of an answer that the client's connection does not take yet, in bounded memory.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::sync::Arc;

use crate::metrics::{ClientMemory, HeldBytes, MemoryShare};

/// Bytes that each piece counts beside its own.
const PIECE: usize = 64;

/// See the module's documentation.
#[derive(Debug)]
pub(in crate::proxy) struct Unsent {
    pieces: VecDeque<Vec<u8>>,
    /// Bytes of the first piece that are sent.
    sent: usize,
    length: usize,
    share: MemoryShare,
}

impl Unsent {
    pub(in crate::proxy) fn new(memory: &Arc<ClientMemory>) -> Self {
        Self {
            pieces: VecDeque::new(),
            sent: 0,
            length: 0,
            share: MemoryShare::new(memory),
        }
    }

    /// Counts the held bytes for the client's network, too. Nothing is held yet.
    pub(in crate::proxy) fn count_for(&mut self, memory: &Arc<ClientMemory>, of: Arc<HeldBytes>) {
        self.share = MemoryShare::of_network(memory, Some(of));
    }

    /// See [`MemoryShare::is_short`].
    pub(in crate::proxy) fn is_short(&self, limit: usize) -> bool {
        self.share.is_short(limit)
    }

    /// Bytes of `limit` that no answer holds.
    pub(in crate::proxy) fn free(&self, limit: usize) -> usize {
        self.share.free(limit)
    }

    pub(in crate::proxy) fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Bytes that are held.
    pub(in crate::proxy) fn len(&self) -> usize {
        self.length
    }

    /// Takes memory for `bytes` more, if all answers together then hold at most `limit`.
    pub(in crate::proxy) fn make_room(&mut self, bytes: usize, limit: usize) -> bool {
        // Two pieces at most follow.
        self.share.grow(bytes + 2 * PIECE, limit)
    }

    /// Adds a piece behind the others. Its memory was taken before, or is accounted elsewhere.
    pub(in crate::proxy) fn push(&mut self, piece: Vec<u8>) {
        if !piece.is_empty() {
            self.length += piece.len();
            self.pieces.push_back(piece);
        }
    }

    /// Writes the first pieces into `slices`; returns their number.
    pub(in crate::proxy) fn fill<'s>(&'s self, slices: &mut [IoSlice<'s>]) -> usize {
        let mut sent = self.sent;
        let mut count = 0;
        for (slice, piece) in slices.iter_mut().zip(&self.pieces) {
            *slice = IoSlice::new(&piece[sent..]);
            sent = 0;
            count += 1;
        }
        count
    }

    /// Forgets bytes that are sent; returns how many of `sent` lie behind all pieces.
    pub(in crate::proxy) fn advance(&mut self, sent: usize) -> usize {
        let (mut left, before) = (sent, self.length);
        while let Some(first) = self.pieces.front() {
            let rest = first.len() - self.sent;
            if left < rest {
                self.sent += left;
                self.length -= left;
                left = 0;
                break;
            }
            (self.sent, self.length, left) = (0, self.length - rest, left - rest);
            self.pieces.pop_front();
        }
        if self.is_empty() {
            self.clear();
        } else {
            self.share.shrink(before - self.length);
        }
        left
    }

    /// Forgets everything.
    pub(in crate::proxy) fn clear(&mut self) {
        self.pieces = VecDeque::new();
        (self.sent, self.length) = (0, 0);
        self.share.shrink(usize::MAX);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(unsent: &Unsent) -> Vec<u8> {
        let mut slices = [IoSlice::new(&[]); 100];
        let count = unsent.fill(&mut slices);
        slices[..count]
            .iter()
            .flat_map(|slice| slice.to_vec())
            .collect()
    }

    proptest! {
        #[test]
        fn the_unsent_rest_is_kept(
            lengths in prop::collection::vec(0..50_usize, 0..20),
            steps in prop::collection::vec(1..120_usize, 0..20),
        ) {
            let memory = Arc::default();
            let mut unsent = Unsent::new(&memory);
            let mut expected = Vec::new();
            for (number, length) in lengths.into_iter().enumerate() {
                prop_assert!(unsent.make_room(length, 1 << 20));
                unsent.push(vec![number as u8; length]);
                expected.extend(vec![number as u8; length]);
            }
            for step in steps {
                let behind = unsent.advance(step);
                prop_assert_eq!(behind, step.saturating_sub(expected.len()));
                expected.drain(..step.min(expected.len()));
                prop_assert_eq!((unsent.len(), text(&unsent)), (expected.len(), expected.clone()));
                prop_assert!(memory.held() >= unsent.len());
            }
            unsent.advance(expected.len());
            prop_assert_eq!((memory.held(), unsent.pieces.capacity()), (0, 0));
        }
    }
}
