//! The retry budget: the number of retries that the requests of the last ten seconds allow.
//!
//! When half of a cluster is down, retries double the load of the other half, and then it is down
//! too. So retries may be a share of requests only, and always a few, so that a quiet service can
//! retry at all. Requests are counted per thread: every request comes by here, and no two cores
//! shall write to one cache line. Retries are rare and take a lock.
//!
//! One upstream may die with everything it had in flight, and no client sees it: beyond that share,
//! each upstream brings as many retries as it had in flight ([`LossAllowance`]), once per window.
//! The survivors' extra load is then at most one upstream's requests in flight per window, and at
//! most every request in flight once if all upstreams fail together.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// The budget looks back this many seconds, the current one included.
const WINDOW: usize = 10;

/// Retries per window that need no requests to justify them, so that a quiet service can retry at
/// all.
pub(in crate::proxy) const ALWAYS: u64 = 10;

/// Lifetime of an upstream's allowance, and time until the next one: the window.
const ALLOWANCE: Duration = Duration::from_secs(WINDOW as u64);

/// See the module's documentation.
#[derive(Debug)]
pub(in crate::proxy) struct RetryBudget {
    start: Instant,
    requests: Box<[Shard]>,
    retries: Mutex<Shard>,
}

/// The retries that one upstream's lost attempts bring with them, beyond the share of requests.
#[derive(Debug, Default)]
pub(in crate::proxy) struct LossAllowance(Mutex<Option<Losses>>);

/// An upstream's losses within one window.
#[derive(Clone, Copy, Debug)]
struct Losses {
    since: Instant,
    /// The most that was in flight at one of the losses.
    in_flight: u32,
    granted: u32,
}

/// An attempt that was lost with its upstream.
#[derive(Clone, Copy, Debug)]
pub(in crate::proxy) struct Loss<'a> {
    pub(in crate::proxy) allowance: &'a LossAllowance,
    /// Requests in flight on the upstream, the lost one included.
    pub(in crate::proxy) in_flight: u32,
}

impl LossAllowance {
    /// Takes one retry out of the allowance, if one is left.
    fn take(&self, in_flight: u32, now: Instant) -> bool {
        let mut kept = self.0.lock();
        let current = kept.filter(|losses| now.saturating_duration_since(losses.since) < ALLOWANCE);
        let mut losses = current.unwrap_or(Losses {
            since: now,
            in_flight,
            granted: 0,
        });
        losses.in_flight = losses.in_flight.max(in_flight);
        let is_left = losses.granted < losses.in_flight;
        losses.granted += u32::from(is_left);
        *kept = Some(losses);
        is_left
    }
}

impl RetryBudget {
    /// `threads` that count requests at the same time.
    pub(in crate::proxy) fn new(threads: usize, now: Instant) -> Self {
        let shards = threads.clamp(1, 64).next_power_of_two();
        Self {
            start: now,
            requests: (0..shards).map(|_| Shard::default()).collect(),
            retries: Mutex::default(),
        }
    }

    /// A request arrived.
    pub(in crate::proxy) fn count_request(&self, now: Instant) {
        thread_local! {
            static THREAD: Cell<usize> = {
                static NEXT: AtomicUsize = AtomicUsize::new(0);
                Cell::new(NEXT.fetch_add(1, Ordering::Relaxed))
            };
        }
        let shard = &self.requests[THREAD.get() & (self.requests.len() - 1)];
        shard.add_one(self.second(now));
    }

    /// Takes one retry out of the budget, or else out of the allowance of the lost upstream.
    /// `percent` of the window's requests may be retries.
    pub(in crate::proxy) fn try_retry(
        &self,
        percent: u32,
        loss: Option<Loss<'_>>,
        now: Instant,
    ) -> bool {
        self.take_share(percent, now)
            || loss.is_some_and(|loss| loss.allowance.take(loss.in_flight, now))
    }

    fn take_share(&self, percent: u32, now: Instant) -> bool {
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

/// Counts by second, alone on their cache lines. Each slot holds its second above and its count
/// below.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Shard {
    slots: [AtomicU64; WINDOW],
}

impl Shard {
    fn add_one(&self, second: u32) {
        let count = |slot: u64| {
            // A thread that was held up after it read the clock counts for the second that has
            // begun meanwhile.
            let is_current = second_of(slot) >= second;
            Some(if is_current {
                slot + 1
            } else {
                u64::from(second) << 32 | 1
            })
        };
        let slot = &self.slots[second as usize % WINDOW];
        slot.fetch_update(Ordering::Relaxed, Ordering::Relaxed, count)
            .expect("the closure always counts");
    }

    fn sum(&self, second: u32) -> u64 {
        let in_window = |slot: &AtomicU64| {
            let slot = slot.load(Ordering::Relaxed);
            let is_recent = second.saturating_sub(second_of(slot)) < WINDOW as u32;
            if is_recent {
                slot & u64::from(u32::MAX)
            } else {
                0
            }
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
    /// More retries in a row are as good as no limit.
    const MANY: u64 = 100_000;

    fn after(start: Instant, seconds: f64) -> Instant {
        start + Duration::from_secs_f64(seconds)
    }

    fn allowed(budget: &RetryBudget, percent: u32, now: Instant) -> u64 {
        (0..MANY)
            .take_while(|_| budget.try_retry(percent, None, now))
            .count() as u64
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
        (0..10).for_each(|second| {
            (0..100).for_each(|_| budget.count_request(after(start, f64::from(second))))
        });
        assert_eq!(allowed(&budget, 20, after(start, 9.5)), 200);
        // Ten seconds later both the requests and the retries are forgotten.
        assert_eq!(allowed(&budget, 20, after(start, 19.5)), ALWAYS);
    }

    #[test]
    fn retries_come_back_as_they_grow_old() {
        let start = Instant::now();
        let budget = RetryBudget::new(THREADS, start);
        let ask = |second: u32| budget.try_retry(0, None, after(start, f64::from(second)));
        assert!((0..10).all(ask));
        assert!((10..1000).all(ask), "one a second, for ever");
    }

    /// Retries granted to an upstream that loses its attempts one after the other, and gets no
    /// others.
    fn granted(
        budget: &RetryBudget,
        allowance: &LossAllowance,
        in_flight: u32,
        now: Instant,
    ) -> u32 {
        let is_granted = |left: &u32| {
            budget.try_retry(
                0,
                Some(Loss {
                    allowance,
                    in_flight: *left,
                }),
                now,
            )
        };
        (1..=in_flight).rev().filter(is_granted).count() as u32
    }

    #[test]
    fn one_upstream_may_die_with_everything_it_had_in_flight() {
        let start = Instant::now();
        for in_flight in [1, 10, 16, 17, 100, 10_000] {
            let (budget, allowance) = (RetryBudget::new(THREADS, start), LossAllowance::default());
            (0..ALWAYS).for_each(|_| {
                assert!(
                    budget.try_retry(0, None, start),
                    "the share is spent on something else"
                )
            });
            assert_eq!(granted(&budget, &allowance, in_flight, start), in_flight);
        }
    }

    #[test]
    fn a_loss_before_the_others_does_not_make_the_allowance_small() {
        let start = Instant::now();
        let (budget, allowance) = (RetryBudget::new(THREADS, start), LossAllowance::default());
        (0..ALWAYS).for_each(|_| assert!(budget.try_retry(0, None, start)));
        assert_eq!(granted(&budget, &allowance, 1, start), 1);
        assert_eq!(
            granted(&budget, &allowance, 16, after(start, 5.0)),
            15,
            "sixteen in the window"
        );
    }

    #[test]
    fn an_upstream_that_goes_on_losing_brings_no_more_than_it_had_in_flight_per_window() {
        let start = Instant::now();
        let (budget, allowance) = (RetryBudget::new(THREADS, start), LossAllowance::default());
        let storm = |second: f64| {
            let now = after(start, second);
            (0..1000)
                .filter(|_| {
                    budget.try_retry(
                        0,
                        Some(Loss {
                            allowance: &allowance,
                            in_flight: 16,
                        }),
                        now,
                    )
                })
                .count() as u64
        };
        assert_eq!(storm(0.0), ALWAYS + 16);
        assert_eq!(storm(9.9), 0);
        assert_eq!(storm(10.0), ALWAYS + 16);
    }

    #[test]
    fn no_request_of_any_thread_goes_uncounted() {
        let start = Instant::now();
        let budget = RetryBudget::new(2, start);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    (0..10_000)
                        .for_each(|i| budget.count_request(after(start, f64::from(i % 3) / 3.0)))
                });
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
