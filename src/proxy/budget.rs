//! How many retries the last ten seconds allow.
//!
//! When half of a cluster is down, retries double the load of the other half, and then it is down too. So retries may be a share
//! of requests only, and always a few, so that a quiet service can retry at all. Requests are counted per thread: every request
//! comes by here, and no two cores shall write to one cache line. Retries are rare and take a lock.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use parking_lot::Mutex;

/// The budget looks back this many seconds, the current one included.
const WINDOW: usize = 10;

/// Retries per window that need no requests to justify them: an upstream that dies takes this many requests with it at a quiet time.
pub const ALWAYS: u64 = 10;

/// See the module's documentation.
#[derive(Debug)]
pub struct RetryBudget {
    start: Instant,
    requests: Box<[Shard]>,
    retries: Mutex<Shard>,
}

impl RetryBudget {
    /// `threads` that count requests at the same time.
    pub fn new(threads: usize, now: Instant) -> Self {
        let shards = threads.clamp(1, 64).next_power_of_two();
        Self { start: now, requests: (0..shards).map(|_| Shard::default()).collect(), retries: Mutex::default() }
    }

    /// A request arrived.
    pub fn count_request(&self, now: Instant) {
        thread_local! {
            static THREAD: Cell<usize> = {
                static NEXT: AtomicUsize = AtomicUsize::new(0);
                Cell::new(NEXT.fetch_add(1, Ordering::Relaxed))
            };
        }
        let shard = &self.requests[THREAD.get() & (self.requests.len() - 1)];
        shard.add_one(self.second(now));
    }

    /// Takes one retry out of the budget, if there is one. `percent` of the window's requests may be retries.
    pub fn try_retry(&self, percent: u32, now: Instant) -> bool {
        let second = self.second(now);
        let requests: u64 = self.requests.iter().map(|shard| shard.sum(second)).sum();
        let allowed = (requests * u64::from(percent) / 100).max(ALWAYS);
        let retries = self.retries.lock();
        if retries.sum(second) >= allowed {
            return false;
        }
        retries.add_one(second);
        true
    }

    fn second(&self, now: Instant) -> u32 {
        now.saturating_duration_since(self.start).as_secs() as u32
    }
}

/// Counts by second, alone on their cache lines. Each slot holds its second above and its count below.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Shard {
    slots: [AtomicU64; WINDOW],
}

impl Shard {
    fn add_one(&self, second: u32) {
        let count = |slot: u64| {
            // A thread that was held up after it read the clock counts for the second that has begun meanwhile.
            let is_current = second_of(slot) >= second;
            Some(if is_current { slot + 1 } else { u64::from(second) << 32 | 1 })
        };
        let slot = &self.slots[second as usize % WINDOW];
        slot.fetch_update(Ordering::Relaxed, Ordering::Relaxed, count).expect("the closure always counts");
    }

    fn sum(&self, second: u32) -> u64 {
        let in_window = |slot: &AtomicU64| {
            let slot = slot.load(Ordering::Relaxed);
            let is_recent = second.saturating_sub(second_of(slot)) < WINDOW as u32;
            if is_recent { slot & u64::from(u32::MAX) } else { 0 }
        };
        self.slots.iter().map(in_window).sum()
    }
}

const fn second_of(slot: u64) -> u32 {
    (slot >> 32) as u32
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const THREADS: usize = 4;

    fn after(start: Instant, seconds: f64) -> Instant {
        start + Duration::from_secs_f64(seconds)
    }

    fn allowed(budget: &RetryBudget, percent: u32, now: Instant) -> u64 {
        (0..).take_while(|_| budget.try_retry(percent, now)).count() as u64
    }

    #[test]
    fn a_quiet_service_can_always_retry_a_few_times() {
        let start = Instant::now();
        let budget = RetryBudget::new(THREADS, start);
        assert_eq!(allowed(&budget, 20, start), ALWAYS);
        assert_eq!(allowed(&budget, 0, after(start, 9.9)), 0);
        assert_eq!(allowed(&budget, 0, after(start, 10.0)), ALWAYS);
    }

    #[test]
    fn retries_are_a_share_of_the_last_ten_seconds_requests() {
        let start = Instant::now();
        let budget = RetryBudget::new(THREADS, start);
        (0..10).for_each(|second| (0..100).for_each(|_| budget.count_request(after(start, f64::from(second)))));
        assert_eq!(allowed(&budget, 20, after(start, 9.5)), 200);
        // Ten seconds later both the requests and the retries are forgotten.
        assert_eq!(allowed(&budget, 20, after(start, 19.5)), ALWAYS);
    }

    #[test]
    fn retries_come_back_as_they_grow_old() {
        let start = Instant::now();
        let budget = RetryBudget::new(THREADS, start);
        let ask = |second: u32| budget.try_retry(0, after(start, f64::from(second)));
        assert!((0..10).all(ask));
        assert!((10..1000).all(ask), "one a second, for ever");
    }

    #[test]
    fn no_request_of_any_thread_goes_uncounted() {
        let start = Instant::now();
        let budget = RetryBudget::new(2, start);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| (0..10_000).for_each(|i| budget.count_request(after(start, f64::from(i % 3) / 3.0))));
            }
        });
        assert_eq!(allowed(&budget, 100, start), 80_000);
    }

    #[test]
    fn a_clock_read_late_does_not_undo_the_second_that_has_begun() {
        let start = Instant::now();
        let budget = RetryBudget::new(1, start);
        (0..100).for_each(|_| budget.count_request(after(start, 10.0)));
        budget.count_request(after(start, 0.0));
        assert_eq!(allowed(&budget, 100, after(start, 10.0)), 101);
    }
}
