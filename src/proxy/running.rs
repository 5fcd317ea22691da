//! The number of running requests, by which a stopping process finds out when it is idle.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

/// How long a kept-alive connection outlives a stop: its client may just be sending a request,
/// which no other process can answer.
pub const KEPT_GRACE: Duration = Duration::from_millis(50);

/// The count.
#[derive(Clone, Debug, Default)]
pub struct RunningRequests(Arc<Counter>);

#[derive(Debug, Default)]
struct Counter {
    count: AtomicUsize,
    /// Connections that have not had their first answer.
    fresh: AtomicUsize,
    became_idle: Notify,
}

impl RunningRequests {
    pub(super) fn enter(&self) -> Running {
        self.0.count.fetch_add(1, Ordering::Relaxed);
        Running(Arc::clone(&self.0))
    }

    /// Counts a connection until its first answer. A stopping process waits for it.
    pub(super) fn connect(&self) -> FreshConnection {
        self.0.fresh.fetch_add(1, Ordering::Relaxed);
        FreshConnection(Arc::clone(&self.0))
    }

    /// Requests between their complete head and their last byte, log line included.
    pub fn count(&self) -> usize {
        self.0.count.load(Ordering::Acquire)
    }

    /// True if none runs, and no connection waits for its first answer.
    pub fn is_idle(&self) -> bool {
        self.count() == 0 && self.0.fresh.load(Ordering::Acquire) == 0
    }

    /// Resolves when [`Self::is_idle`].
    pub async fn idle(&self) {
        while !self.is_idle() {
            self.0.became_idle.notified().await;
        }
    }
}

/// A connection without an answer; counted until dropped.
#[derive(Debug)]
pub(super) struct FreshConnection(Arc<Counter>);

impl Drop for FreshConnection {
    fn drop(&mut self) {
        if self.0.fresh.fetch_sub(1, Ordering::Release) == 1 {
            self.0.became_idle.notify_one();
        }
    }
}

/// One of them; counted until dropped.
#[derive(Debug)]
pub(super) struct Running(Arc<Counter>);

impl Drop for Running {
    fn drop(&mut self) {
        if self.0.count.fetch_sub(1, Ordering::Release) == 1 {
            // Stored as a permit if no task waits: the waiter counts again, so a stale one costs a
            // look.
            self.0.became_idle.notify_one();
        }
    }
}
