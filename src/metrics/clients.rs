//! Client connections. Each is counted once, so plain atomics are cheap enough.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// The number of client connections, and its limit.
#[derive(Debug, Default)]
pub struct ClientConnections {
    open: AtomicUsize,
    most: AtomicUsize,
    refused: AtomicU64,
    /// Connections that ended within a head.
    heads: AtomicU64,
}

impl ClientConnections {
    /// Sets the maximum number of connections.
    pub fn may_be(&self, most: usize) {
        self.most.store(most, Ordering::Relaxed);
    }

    /// Counts a new connection; returns the current number.
    pub fn begin(&self) -> usize {
        self.open.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub fn end(&self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }

    pub fn refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a head that was not complete in time.
    pub fn head_timed_out(&self) {
        self.heads.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn timed_out_heads(&self) -> u64 {
        self.heads.load(Ordering::Relaxed)
    }

    /// The current number, the maximum, and the number of refused connections.
    pub(super) fn read(&self) -> (usize, usize, u64) {
        (
            self.open.load(Ordering::Relaxed),
            self.most.load(Ordering::Relaxed),
            self.refused.load(Ordering::Relaxed),
        )
    }
}
