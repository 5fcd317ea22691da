//! Notifies the waiting room when a slot comes free while requests wait.
//!
//! In the usual case this costs a read of a counter that is zero. The two sides follow Dekker's
//! protocol. A releaser gives the slot back first and then checks for waiters. A waiter is counted
//! first and then looks for a slot. With a fence between the two steps on both sides, at least one
//! sees the other, so no slot comes free unnoticed.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering, fence};

/// See the module's documentation. One for the whole cluster.
pub struct CapacityNotifier {
    /// The number of waiters, written by the waiting room.
    waiting: AtomicUsize,
    call: Box<dyn Fn() + Send + Sync>,
}

impl CapacityNotifier {
    /// `call` runs on the thread that gave the slot back. It must not end leases while it holds a
    /// lock of its own.
    pub fn new(call: impl Fn() + Send + Sync + 'static) -> Self {
        Self {
            waiting: AtomicUsize::new(0),
            call: Box::new(call),
        }
    }

    /// Publishes the number of waiters. A waiter must be published before its last search for a
    /// slot.
    pub fn set_waiting(&self, waiting: usize) {
        self.waiting.store(waiting, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// Returns whether requests wait.
    pub fn has_waiters(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }

    /// Serves the waiters, if there are any. To be called after a slot came free.
    #[inline]
    pub fn notify(&self) {
        fence(Ordering::SeqCst);
        if self.has_waiters() {
            (self.call)();
        }
    }
}

impl fmt::Debug for CapacityNotifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CapacityNotifier")
            .field("waiting", &self.waiting)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn it_calls_only_while_requests_wait() {
        let calls = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&calls);
        let notifier = CapacityNotifier::new(move || {
            counter.fetch_add(1, Ordering::Relaxed);
        });
        notifier.notify();
        notifier.set_waiting(1);
        notifier.notify();
        notifier.set_waiting(0);
        notifier.notify();
        assert_eq!(calls.load(Ordering::Relaxed), 1);
    }
}
