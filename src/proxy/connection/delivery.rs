//! What a request and the stream of its client's connection share about the answer under way.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// One for each connection. Request and stream run in one task, so the order of its loads and
/// stores is that of the program.
#[derive(Clone, Debug, Default)]
pub(in crate::proxy) struct Delivery(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    holds_slot: AtomicBool,
    unsent: AtomicUsize,
    is_given_up: AtomicBool,
}

impl Delivery {
    /// Whether an upstream is at work on the answer: then it must not wait for the client, as long
    /// as there is memory.
    pub(in crate::proxy) fn set_holds_slot(&self, holds_slot: bool) {
        self.0.holds_slot.store(holds_slot, Ordering::Relaxed);
    }

    pub(super) fn holds_slot(&self) -> bool {
        self.0.holds_slot.load(Ordering::Relaxed)
    }

    pub(super) fn set_unsent(&self, bytes: usize) {
        self.0.unsent.store(bytes, Ordering::Relaxed);
    }

    /// Bytes that Pingora has written and that the connection has not taken.
    pub(in crate::proxy) fn unsent(&self) -> usize {
        self.0.unsent.load(Ordering::Relaxed)
    }

    pub(super) fn give_up(&self) {
        self.0.is_given_up.store(true, Ordering::Relaxed);
    }

    /// The client was given up because it read too slowly.
    pub(in crate::proxy) fn is_given_up(&self) -> bool {
        self.0.is_given_up.load(Ordering::Relaxed)
    }
}
