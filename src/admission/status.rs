//! The state of the queue, for operators.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::{Queue, Waiter};
use crate::ogc::RequestClass;

/// Maximum number of users in a [`QueueStatus`].
pub const MAX_USERS: usize = 10;

/// The queue at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct QueueStatus {
    /// The classes that have waiters.
    pub classes: Vec<ClassWaiting>,
    /// The users with the most waiters, at most [`MAX_USERS`] of them.
    pub users: Vec<UserWaiting>,
    /// Maximum number of waiters (`limits.queue`).
    pub max_waiting: usize,
    /// Waiters served per second, averaged over the last ten seconds.
    pub per_second: f64,
}

/// The waiters of one class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassWaiting {
    pub class: RequestClass,
    pub waiting: usize,
    /// Number of distinct users that these waiters belong to.
    pub users: usize,
    /// Time for which the oldest waiter has waited.
    pub longest: Duration,
}

/// The waiters of one user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserWaiting {
    /// The name that a trusted proxy gave, or the address.
    pub user: String,
    pub waiting: usize,
    /// Time for which the oldest waiter has waited.
    pub longest: Duration,
}

impl QueueStatus {
    /// Returns the number of waiters of all classes.
    pub fn waiting(&self) -> usize {
        self.classes.iter().map(|class| class.waiting).sum()
    }
}

impl<T> Queue<T> {
    /// Returns the state of each class that has waiters.
    pub fn waiting_by_class(&self, now: Instant) -> Vec<ClassWaiting> {
        let class_waiting = |class: RequestClass| {
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
        RequestClass::ALL
            .into_iter()
            .filter_map(class_waiting)
            .collect()
    }

    /// Returns the users with the most waiters, the most first. `name` is the user of a waiter.
    pub fn waiting_by_user<'q>(
        &'q self,
        name: impl Fn(&'q T) -> &'q str,
        now: Instant,
    ) -> Vec<UserWaiting> {
        let mut by_user: BTreeMap<u64, (usize, &'q Waiter<T>)> = BTreeMap::new();
        // The oldest waiter comes first.
        for waiter in self.waiters() {
            by_user
                .entry(waiter.slot_request.user)
                .or_insert((0, waiter))
                .0 += 1;
        }
        let mut users: Vec<(usize, &Waiter<T>)> = by_user.into_values().collect();
        users.sort_by_key(|(waiting, first)| (usize::MAX - waiting, first.slot_request.arrived));
        users
            .into_iter()
            .take(MAX_USERS)
            .map(|(waiting, first)| UserWaiting {
                user: name(&first.value).to_owned(),
                waiting,
                longest: now.saturating_duration_since(first.slot_request.arrived),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::SlotRequest;
    use crate::config::{Effort, Priority};

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
                effort: Effort::OfClass,
                user,
                arrived: after(seconds),
                is_retry: false,
            };
            queue.push(slot_request, format!("user {user}"));
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
        let users = queue.waiting_by_user(String::as_str, after(5));
        let waiting = |user: &str, waiting, seconds| UserWaiting {
            user: user.to_owned(),
            waiting,
            longest: Duration::from_secs(seconds),
        };
        assert_eq!(users, [waiting("user 1", 2, 5), waiting("user 2", 1, 2)]);
    }

    #[test]
    fn only_the_users_with_the_most_waiters_are_named() {
        let (mut queue, start) = (Queue::new(2000), Instant::now());
        for user in 0..100 {
            for _ in 0..=user % 20 {
                let slot_request = SlotRequest {
                    class: RequestClass::Map,
                    priority: Priority::FIRST,
                    rules: 0,
                    from_main: false,
                    effort: Effort::OfClass,
                    user,
                    arrived: start,
                    is_retry: false,
                };
                queue.push(slot_request, format!("{user}"));
            }
        }
        let users = queue.waiting_by_user(String::as_str, start);
        let most: Vec<usize> = users.iter().map(|user| user.waiting).collect();
        assert_eq!(most, [20, 20, 20, 20, 20, 19, 19, 19, 19, 19]);
    }
}
