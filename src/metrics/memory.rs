//! The memory that holds what clients are slow to send or to read. It is counted where it is taken,
//! so that the metric cannot differ from the limit.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// A bounded amount of memory that many requests share.
#[derive(Debug, Default)]
pub struct ClientMemory {
    held: AtomicUsize,
    limit: AtomicUsize,
    refused: AtomicU64,
}

/// Bytes of a [`ClientMemory`], given back when dropped.
#[derive(Debug)]
pub struct MemoryShare {
    memory: Arc<ClientMemory>,
    bytes: usize,
}

impl ClientMemory {
    /// Bytes that are held now.
    pub fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    /// True if more than half of `limit` bytes are held: then slow clients are a burden to others.
    pub fn is_short(&self, limit: usize) -> bool {
        self.held() > limit / 2
    }

    /// The bytes held, the limit, and how often there was no room.
    pub(super) fn read(&self) -> (usize, usize, u64) {
        (
            self.held(),
            self.limit.load(Ordering::Relaxed),
            self.refused.load(Ordering::Relaxed),
        )
    }

    /// Takes `bytes` if all together then hold at most `limit`.
    fn take(&self, bytes: usize, limit: usize) -> bool {
        self.limit.store(limit, Ordering::Relaxed);
        let taken = |held: usize| held.checked_add(bytes).filter(|held| *held <= limit);
        let has_room = self
            .held
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, taken)
            .is_ok();
        if !has_room {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
        has_room
    }
}

impl MemoryShare {
    /// Holds nothing yet.
    pub fn new(memory: &Arc<ClientMemory>) -> Self {
        Self {
            memory: Arc::clone(memory),
            bytes: 0,
        }
    }

    /// Bytes that this share holds.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes `more` bytes. Returns false, and takes nothing, if all shares together would then hold
    /// more than `limit`.
    pub fn grow(&mut self, more: usize, limit: usize) -> bool {
        let has_room = self.memory.take(more, limit);
        if has_room {
            self.bytes += more;
        }
        has_room
    }

    /// Gives `less` bytes back, at most all.
    pub fn shrink(&mut self, less: usize) {
        let less = less.min(self.bytes);
        self.bytes -= less;
        self.memory.held.fetch_sub(less, Ordering::Relaxed);
    }
}

impl Drop for MemoryShare {
    fn drop(&mut self) {
        self.shrink(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_together_stay_below_the_limit_and_are_given_back() {
        let memory = Arc::default();
        let (mut first, mut second) = (MemoryShare::new(&memory), MemoryShare::new(&memory));
        assert!(first.grow(60, 100) && !second.grow(41, 100) && second.grow(40, 100));
        assert!(memory.is_short(100) && !memory.is_short(200));
        first.shrink(10);
        assert!(second.grow(10, 100) && !second.grow(1, 100));
        assert_eq!(memory.read(), (100, 100, 2));
        drop((first, second));
        assert_eq!(memory.held(), 0);
    }

    #[test]
    fn a_limit_that_was_lowered_holds_for_new_bytes() {
        let memory = Arc::default();
        let mut share = MemoryShare::new(&memory);
        assert!(share.grow(60, 100) && !share.grow(1, 50));
        share.shrink(1000);
        assert!(share.grow(50, 50));
    }
}
