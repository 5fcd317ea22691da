//! The state of the queue, for operators.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::Queue;
use crate::ogc::RequestClass;

/// The queue at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct QueueStatus {
    /// Classes with waiters.
    pub classes: Vec<ClassWaiting>,
    /// The number of requests that may wait.
    pub most: usize,
    /// Waiters served per second, lately.
    pub per_second: f64,
}

/// The waiters of one class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassWaiting {
    pub class: RequestClass,
    pub waiting: usize,
    /// The number of their users.
    pub users: usize,
    /// How long the oldest of them has waited.
    pub longest: Duration,
}

impl QueueStatus {
    /// Returns the number of waiters.
    pub fn waiting(&self) -> usize {
        self.classes.iter().map(|class| class.waiting).sum()
    }
}

impl<T> Queue<T> {
    /// Returns the classes with waiters.
    pub fn waiting_by_class(&self, now: Instant) -> Vec<ClassWaiting> {
        let of_class = |class: RequestClass| {
            let slot_requests = || {
                self.waiters()
                    .map(|waiter| &waiter.slot_request)
                    .filter(move |slot_request| slot_request.class == class)
            };
            let oldest = slot_requests()
                .map(|slot_request| slot_request.arrived)
                .min()?;
            let users: BTreeSet<u64> = slot_requests()
                .map(|slot_request| slot_request.user)
                .collect();
            let longest = now.saturating_duration_since(oldest);
            Some(ClassWaiting {
                class,
                waiting: self.len_of(class),
                users: users.len(),
                longest,
            })
        };
        RequestClass::ALL.into_iter().filter_map(of_class).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::SlotRequest;
    use crate::config::Priority;

    #[test]
    fn waiters_are_counted_by_class_with_their_users_and_the_longest_wait() {
        let (mut queue, start) = (Queue::new(10), Instant::now());
        let after = |seconds| start + Duration::from_secs(seconds);
        for (class, user, seconds) in [
            (RequestClass::Map, 1, 0),
            (RequestClass::Map, 1, 2),
            (RequestClass::Tile, 2, 3),
        ] {
            let slot_request = SlotRequest {
                class,
                priority: Priority::FIRST,
                rules: 0,
                from_main: false,
                user,
                arrived: after(seconds),
                is_retry: false,
            };
            queue.push(slot_request, ());
        }
        let by_class = queue.waiting_by_class(after(5));
        let waiting = |class, waiting, users, seconds| ClassWaiting {
            class,
            waiting,
            users,
            longest: Duration::from_secs(seconds),
        };
        assert_eq!(
            by_class,
            [
                waiting(RequestClass::Tile, 1, 1, 2),
                waiting(RequestClass::Map, 2, 1, 5)
            ]
        );
    }
}
