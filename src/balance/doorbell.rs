//! Told when a place comes free while somebody waits for one.
//!
//! The usual case costs a look at a counter that is zero. The two sides are Dekker's: who gives a
//! place back first gives it back and then looks whether somebody waits; who waits first says so
//! and then looks for a place. With a fence between the two steps on both sides, at least one sees
//! the other, so no place comes free unnoticed.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering, fence};

/// See the module's documentation. One for the whole cluster.
pub struct Doorbell {
    /// How many wait; written by whoever keeps the queue.
    waiting: AtomicUsize,
    ring: Box<dyn Fn() + Send + Sync>,
}

impl Doorbell {
    /// `ring` is called on the thread that gave the place back. It must not hold leases while it
    /// holds a lock of its own.
    pub fn new(ring: impl Fn() + Send + Sync + 'static) -> Self {
        Self {
            waiting: AtomicUsize::new(0),
            ring: Box::new(ring),
        }
    }

    /// To be told before the last look for a place.
    pub fn set_waiting(&self, waiting: usize) {
        self.waiting.store(waiting, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    pub fn is_anyone_waiting(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }

    /// A place came free: to be called after it did.
    #[inline]
    pub fn place_came_free(&self) {
        fence(Ordering::SeqCst);
        if self.is_anyone_waiting() {
            (self.ring)();
        }
    }
}

impl fmt::Debug for Doorbell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Doorbell")
            .field("waiting", &self.waiting)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn it_rings_only_while_somebody_waits() {
        let rung = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&rung);
        let bell = Doorbell::new(move || {
            counter.fetch_add(1, Ordering::Relaxed);
        });
        bell.place_came_free();
        bell.set_waiting(1);
        bell.place_came_free();
        bell.set_waiting(0);
        bell.place_came_free();
        assert_eq!(rung.load(Ordering::Relaxed), 1);
    }
}
