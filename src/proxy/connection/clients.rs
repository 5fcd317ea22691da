//! How many client connections there are, and how many there may be.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::metrics::Metrics;

/// Between two lines of the log about clients that were refused.
const LOG_EVERY: Duration = Duration::from_secs(10);

/// See the module's documentation.
#[derive(Debug)]
pub(in crate::proxy) struct Clients {
    most: usize,
    metrics: Arc<Metrics>,
    logged: Mutex<Option<Instant>>,
}

impl Clients {
    pub(in crate::proxy) fn new(most: usize, metrics: Arc<Metrics>) -> Arc<Self> {
        metrics.client_connections.may_be(most);
        Arc::new(Self {
            most,
            metrics,
            logged: Mutex::new(None),
        })
    }

    /// Counts a connection until the returned value is dropped; `None` if there are too many.
    pub(in crate::proxy) fn enter(self: &Arc<Self>) -> Option<CountedClient> {
        let client = CountedClient(Arc::clone(self));
        if self.metrics.client_connections.begin() <= self.most {
            return Some(client);
        }
        self.metrics.client_connections.refused();
        if self.is_time_to_log(Instant::now()) {
            tracing::warn!(
                most = self.most,
                "clients are refused: more connections would take the file descriptors that probes and the admin endpoint need"
            );
        }
        None
    }

    /// Counts a connection that ends because its head was not complete in time.
    pub(in crate::proxy) fn count_head_timeout(&self) {
        self.metrics.client_connections.head_timed_out();
    }

    fn is_time_to_log(&self, now: Instant) -> bool {
        let mut logged = self.logged.lock();
        let is_time = logged.is_none_or(|at| now.saturating_duration_since(at) >= LOG_EVERY);
        if is_time {
            *logged = Some(now);
        }
        is_time
    }
}

/// A client's connection that is counted.
#[derive(Debug)]
pub(in crate::proxy) struct CountedClient(Arc<Clients>);

impl Drop for CountedClient {
    fn drop(&mut self) {
        self.0.metrics.client_connections.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_clients_get_in_and_the_next_one_when_one_has_left() {
        let clients = Clients::new(2, Metrics::new());
        let (first, second) = (clients.enter(), clients.enter());
        assert!(
            first.is_some()
                && second.is_some()
                && clients.enter().is_none()
                && clients.enter().is_none()
        );
        drop(first);
        assert!(clients.enter().is_some());
    }

    #[test]
    fn refusals_are_logged_now_and_then_only() {
        let clients = Clients::new(0, Metrics::new());
        let now = Instant::now();
        let logged = [0, 1, 9, 10, 15, 20]
            .map(|seconds| clients.is_time_to_log(now + Duration::from_secs(seconds)));
        assert_eq!(logged, [true, false, false, true, false, true]);
    }
}
