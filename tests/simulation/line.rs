//! The waiters, and the one that should be next: the rules of `docs/limits.md` in their order,
//! without any of the queue's structure.

use std::fmt;
use std::time::{Duration, Instant};

use geofront::admission::{SlotRequest, WaiterId};
use geofront::config::{Effort, Priority};
use geofront::ogc::RequestClass;

use crate::requests::Request;

/// The time that one step of priority is worth.
const STEP: Duration = Duration::from_secs(5);

/// A waiter.
pub(crate) struct Waiting {
    pub(crate) number: u64,
    /// `None` until the list has returned it.
    pub(crate) ticket: Option<WaiterId>,
    pub(crate) slot_request: SlotRequest,
    pub(crate) request: Request,
    /// Time when it gives up.
    pub(crate) until: Instant,
}

/// Waiters of one lane can go at the same times, apart from the limits of their users.
type Lane = (RequestClass, Priority, u64, bool, Effort);

/// See the module's documentation.
#[derive(Debug, Default)]
pub(crate) struct Line {
    /// In order of arrival.
    waiting: Vec<Waiting>,
    /// Each user of each lane once; of one lane, in the order of their turns.
    turns: Vec<(Lane, u64)>,
}

/// The short form, because a world's queue is long.
impl fmt::Debug for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            number,
            slot_request,
            request,
            ..
        } = self;
        let priority = slot_request.priority.get();
        write!(
            f,
            "#{number} {} priority {priority} user {} {:?} tried {:?}",
            slot_request.class, slot_request.user, request.held, request.keys
        )?;
        f.write_str(if request.from_main {
            " from the main"
        } else {
            ""
        })
    }
}

impl Waiting {
    fn lane(&self) -> Lane {
        (
            self.slot_request.class,
            self.slot_request.priority,
            self.slot_request.rules,
            self.request.from_main,
            self.request.effort,
        )
    }

    fn turn(&self) -> (Lane, u64) {
        (self.lane(), self.slot_request.user)
    }

    fn rank(&self) -> (Instant, u64) {
        (
            self.slot_request.arrived + STEP * u32::from(self.slot_request.priority.get()),
            self.number,
        )
    }
}

impl Line {
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// In order of arrival.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Waiting> {
        self.waiting.iter()
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Waiting> {
        self.waiting.iter_mut()
    }

    pub(crate) fn find(&self, number: u64) -> Option<&Waiting> {
        self.waiting.iter().find(|waiting| waiting.number == number)
    }

    pub(crate) fn add(&mut self, waiting: Waiting) {
        let turn = waiting.turn();
        if !waiting.slot_request.is_retry && !self.turns.contains(&turn) {
            self.turns.push(turn);
        }
        self.waiting.push(waiting);
    }

    /// Its place in the queue, if it waits.
    pub(crate) fn set_ticket(&mut self, number: u64, ticket: WaiterId) {
        if let Some(waiting) = self.iter_mut().find(|waiting| waiting.number == number) {
            waiting.ticket = Some(ticket);
        }
    }

    /// Ends the wait of one waiter. A user that was served has had its turn.
    pub(crate) fn remove(&mut self, number: u64, was_served: bool) -> Waiting {
        let at = self
            .waiting
            .iter()
            .position(|waiting| waiting.number == number)
            .expect("a waiter ends once");
        let gone = self.waiting.remove(at);
        let turn = gone.turn();
        let has_more = self
            .waiting
            .iter()
            .any(|other| !other.slot_request.is_retry && other.turn() == turn);
        if !gone.slot_request.is_retry && (was_served || !has_more) {
            self.turns.retain(|other| *other != turn);
            if has_more {
                self.turns.push(turn);
            }
        }
        gone
    }

    /// Returns the next of the waiters that can go: retries first, then the best rank among the
    /// next ones of all lanes.
    pub(crate) fn next(&self, can_go: impl Fn(&Waiting) -> bool) -> Option<&Waiting> {
        let retry = self
            .waiting
            .iter()
            .find(|waiting| waiting.slot_request.is_retry && can_go(waiting));
        retry.or_else(|| {
            let mut firsts: Vec<&Waiting> = Vec::new();
            for turn in &self.turns {
                let oldest = self
                    .waiting
                    .iter()
                    .find(|waiting| !waiting.slot_request.is_retry && waiting.turn() == *turn);
                let oldest = oldest.expect("a user with a turn has a waiter");
                if firsts.iter().all(|first| first.lane() != turn.0) && can_go(oldest) {
                    firsts.push(oldest);
                }
            }
            firsts.into_iter().min_by_key(|waiting| waiting.rank())
        })
    }

    /// Returns the waiters that may have to give way to a newcomer when `most` wait; none if the
    /// newcomer is refused.
    pub(crate) fn may_give_way(&self, newcomer: &SlotRequest, most: usize) -> Vec<u64> {
        let others = || {
            self.waiting
                .iter()
                .filter(|waiting| !waiting.slot_request.is_retry)
        };
        let Some(lowest) = others().map(|waiting| waiting.slot_request.priority).max() else {
            return Vec::new();
        };
        let count = |user, priority: Option<Priority>| {
            let is_counted = |w: &&Waiting| {
                w.slot_request.user == user
                    && priority.is_none_or(|priority| w.slot_request.priority == priority)
            };
            others().filter(is_counted).count()
        };
        let newest = |user: Option<u64>, priority| {
            let is_it = |w: &&Waiting| {
                w.slot_request.priority == priority
                    && user.is_none_or(|user| w.slot_request.user == user)
            };
            others().filter(is_it).map(|waiting| waiting.number).max()
        };
        if newcomer.is_retry || lowest > newcomer.priority {
            return newest(None, lowest).into_iter().collect();
        }
        let is_greedy = |user: u64| {
            let length = count(user, None);
            length * 2 > most && length > count(newcomer.user, None) + 1
        };
        let lowest_of = |user| {
            others()
                .filter(|w| w.slot_request.user == user)
                .map(|w| w.slot_request.priority)
                .max()
        };
        let greedy: Vec<_> = others()
            .map(|w| w.slot_request.user)
            .filter(|user| is_greedy(*user))
            .collect();
        if !greedy.is_empty() {
            return greedy
                .into_iter()
                .filter_map(|user| newest(Some(user), lowest_of(user)?))
                .collect();
        }
        if lowest < newcomer.priority {
            Vec::new()
        } else {
            self.newest_of_longest_users(newcomer)
        }
    }

    /// Returns the waiters that may have to give way to a newcomer because too many of its priority
    /// wait.
    pub(crate) fn newest_of_longest_users(&self, newcomer: &SlotRequest) -> Vec<u64> {
        let alike = || {
            self.waiting.iter().filter(|waiting| {
                !waiting.slot_request.is_retry && waiting.slot_request.priority == newcomer.priority
            })
        };
        let length = |user| {
            alike()
                .filter(|waiting| waiting.slot_request.user == user)
                .count()
        };
        let longest = alike()
            .map(|waiting| length(waiting.slot_request.user))
            .max()
            .unwrap_or_default();
        if longest <= length(newcomer.user) + 1 {
            return Vec::new();
        }
        let users = alike()
            .map(|waiting| waiting.slot_request.user)
            .filter(|user| length(*user) == longest);
        users
            .filter_map(|user| {
                alike()
                    .filter(|waiting| waiting.slot_request.user == user)
                    .map(|waiting| waiting.number)
                    .max()
            })
            .collect()
    }
}
