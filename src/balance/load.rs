//! How much an upstream is doing now, and the claim that one attempt holds on it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// Live leases on one upstream. Outlives snapshots and config reloads: the only state that readers and writers share.
///
/// Alone on its cache lines (two, for the adjacent-line prefetcher): every request on every core writes here.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Load {
    in_flight: AtomicU32,
}

impl Load {
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Takes a place unless `cap` are taken; exact under concurrency.
    pub fn try_lease(self: &Arc<Self>, cap: u32) -> Option<Lease> {
        self.in_flight
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| (n < cap).then_some(n + 1))
            .ok()
            .map(|_| Lease { load: Arc::clone(self) })
    }
}

/// One attempt's place on an upstream, given back on drop: aborts, panics and shutdown included.
#[derive(Debug)]
#[must_use = "dropping a lease gives the place back"]
pub struct Lease {
    load: Arc<Load>,
}

impl Drop for Lease {
    fn drop(&mut self) {
        let before = self.load.in_flight.fetch_sub(1, Ordering::Relaxed);
        debug_assert!(before > 0, "a lease was given back twice");
    }
}
