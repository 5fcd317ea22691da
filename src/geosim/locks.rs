//! WFS locks: in the memory of one instance, unknown to all others, gone when it ends.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// More locks than this at once are not kept: the one that ends first is dropped.
const MAX_LOCKS: usize = 10_000;
const MINUTE: u64 = 60;

#[derive(Debug, Default)]
pub(super) struct FeatureLocks {
    until: Mutex<HashMap<String, Instant>>,
}

impl FeatureLocks {
    pub(super) fn take(&self, number: u64, minutes: u64) -> String {
        let lock = format!("GeoServer_{number:016x}");
        let mut until = self.until.lock();
        if until.len() == MAX_LOCKS
            && let Some(first) = until
                .iter()
                .min_by_key(|(_, end)| **end)
                .map(|(lock, _)| lock.clone())
        {
            until.remove(&first);
        }
        until.insert(
            lock.clone(),
            Instant::now() + Duration::from_secs(minutes.min(60 * 24) * MINUTE),
        );
        lock
    }

    pub(super) fn holds(&self, lock: &str) -> bool {
        self.until
            .lock()
            .get(lock)
            .is_some_and(|until| Instant::now() < *until)
    }

    pub(super) fn release(&self, lock: &str) -> bool {
        self.until.lock().remove(lock).is_some()
    }
}
