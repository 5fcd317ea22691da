//! How many requests run, so that a stopping process knows when it is idle.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

/// The count.
#[derive(Clone, Debug, Default)]
pub struct RunningRequests(Arc<Counter>);

#[derive(Debug, Default)]
struct Counter {
    count: AtomicUsize,
    became_idle: Notify,
}

impl RunningRequests {
    pub(super) fn enter(&self) -> Running {
        self.0.count.fetch_add(1, Ordering::Relaxed);
        Running(Arc::clone(&self.0))
    }

    /// Requests between their complete head and their last byte, log line included.
    pub fn count(&self) -> usize {
        self.0.count.load(Ordering::Acquire)
    }

    /// Resolves when none runs.
    pub async fn idle(&self) {
        while self.count() > 0 {
            self.0.became_idle.notified().await;
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
