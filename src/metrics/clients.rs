//! Client connections: counted once each, so plain atomics are cheap enough.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// See the module's documentation.
#[derive(Debug, Default)]
pub struct ClientConnections {
    open: AtomicUsize,
    most: AtomicUsize,
    refused: AtomicU64,
}

impl ClientConnections {
    /// There may be so many.
    pub fn may_be(&self, most: usize) {
        self.most.store(most, Ordering::Relaxed);
    }

    /// One more; returns how many there are now.
    pub fn begin(&self) -> usize {
        self.open.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub fn end(&self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }

    pub fn refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// How many there are, may be, and were refused.
    pub(super) fn read(&self) -> (usize, usize, u64) {
        (
            self.open.load(Ordering::Relaxed),
            self.most.load(Ordering::Relaxed),
            self.refused.load(Ordering::Relaxed),
        )
    }
}
