//! The state of the answer under way that a request and the stream of its client's connection
//! share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use http::HeaderValue;
use parking_lot::Mutex;

/// One for each connection. Request and stream run in one task, so the order of its loads and
/// stores is that of the program.
#[derive(Clone, Debug, Default)]
pub(in crate::proxy) struct Delivery(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    holds_slot: AtomicBool,
    unsent: AtomicUsize,
    is_given_up: AtomicBool,
    ends_with_connection: AtomicBool,
    has_date: AtomicBool,
    date: Mutex<Option<HeaderValue>>,
}

impl Delivery {
    /// Sets whether an upstream is at work on the answer: then it must not wait for the client, as
    /// long as there is memory.
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

    /// True if the client was given up because it read too slowly.
    pub(in crate::proxy) fn is_given_up(&self) -> bool {
        self.0.is_given_up.load(Ordering::Relaxed)
    }

    /// Sets whether the answer under way ends with its connection, and is not complete.
    pub(in crate::proxy) fn set_ends_with_connection(&self, ends_with_connection: bool) {
        let ends = &self.0.ends_with_connection;
        ends.store(ends_with_connection, Ordering::Relaxed);
    }

    pub(super) fn ends_with_connection(&self) -> bool {
        self.0.ends_with_connection.load(Ordering::Relaxed)
    }

    /// The `Date` of the next final answer; `None` for the time at which it is written.
    pub(in crate::proxy) fn set_date(&self, date: Option<HeaderValue>) {
        self.0.has_date.store(date.is_some(), Ordering::Relaxed);
        *self.0.date.lock() = date;
    }

    /// The `Date` of the next final answer, which only the first call returns.
    pub(super) fn take_date(&self) -> Option<HeaderValue> {
        // Most calls are for parts of a body.
        if !self.0.has_date.swap(false, Ordering::Relaxed) {
            return None;
        }
        self.0.date.lock().take()
    }

    pub(super) fn has_date(&self) -> bool {
        self.0.has_date.load(Ordering::Relaxed)
    }
}
