//! The one queue of the cluster.
//!
//! ```text
//!   retries ahead of all, in order of arrival
//!   lane: tile, no rules    user a: 1 4 9   user b: 5      \
//!   lane: map, no rules     user a: 2 3     user c: 8       > each lane: whose turn; of these, the best rank
//!   lane: map, rule 3       user b: 6 7                    /
//! ```
//!
//! The order, so that it can be promised:
//!
//! * Within a class users take turns, and each user's requests go in order of arrival. A burst of
//!   two hundred requests of one user does not stand before another user's first.
//! * Between classes the best rank goes: the time of arrival plus [`AGEING`] for each step of
//!   priority. So a request of priority `p` that is next in its class is overtaken by better
//!   classes only as long as they arrived no more than `p` steps of ageing after it. No request
//!   waits for ever. (The rank of a waiter never changes, because all age alike.)
//! * A waiter that cannot go at the moment is passed over. A class without room holds up no other
//!   class, and a user at its limit holds up no other user.
//! * A retry was admitted before, so it goes first.
//!
//! The length is bounded. At the bound, a newcomer takes the place of the newest waiter of the
//! lowest class, if that class is lower than its own; else of a user that has more than half of the
//! queue; else, in its own class, of the user with the most waiters, if that user has more than the
//! newcomer's. Otherwise the newcomer is refused. Where only the requests of its priority are too
//! many ([`Queue::shorten`]), the last of these rules decides.
//!
//! Time limits and slots are not here. A waiter whose time is over is taken out with
//! [`Queue::remove`], like one with a client that left. Whether there is a slot is the answer of
//! the caller's offer.

mod lane;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use self::lane::{Front, Lane};
use crate::config::Priority;
use crate::ogc::{PerClass, RequestClass};

/// The time that one step of priority is worth. Three steps stay below the queue's own default time
/// limit of 20 s, so that even the lowest class is served before it gives up.
pub const AGEING: Duration = Duration::from_secs(5);

/// Identifies a waiter. A later one is larger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WaiterId(u64);

/// A request for a slot, as far as the order depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotRequest {
    pub class: RequestClass,
    pub priority: Priority,
    /// Hash of the set of rules that limit the request: requests of one class under different rules
    /// do not hold each other up.
    pub rules: u64,
    /// It prefers the main, wherever others of its class may go: they do not hold each other up
    /// either.
    pub from_main: bool,
    /// Hash of the user.
    pub user: u64,
    pub arrived: Instant,
    /// It was admitted before, and its upstream failed.
    pub is_retry: bool,
}

/// A request that waits, and what belongs to it.
#[derive(Debug, PartialEq, Eq)]
pub struct Waiter<T> {
    pub slot_request: SlotRequest,
    pub value: T,
}

/// The result of [`Queue::push`].
#[derive(Debug, PartialEq, Eq)]
pub enum Pushed<T> {
    Waits(WaiterId),
    /// It waits instead of another waiter, which is shed.
    WaitsInsteadOf(WaiterId, Waiter<T>),
    /// The queue is full of waiters with claims as good.
    Full(T),
}

/// A waiter's answer to the offer of a slot.
#[derive(Debug)]
pub enum Offer<G> {
    Taken(G),
    /// No request of this class under these rules can go now.
    ClassMustWait,
    /// Others of this class may go, and this user may not.
    UserMustWait,
}

/// Identifies requests of one class, priority and set of rules, for the main or for any upstream.
/// If one can go, so can all, but for the limits of their users.
type LaneKey = (Priority, RequestClass, u64, bool);

/// The waiters of one priority, and their bound.
#[derive(Clone, Copy, Debug)]
struct ByPriority {
    len: usize,
    most: usize,
}

/// See the module's documentation.
#[derive(Debug)]
pub struct Queue<T> {
    most: usize,
    waiters: BTreeMap<WaiterId, Waiter<T>>,
    retries: BTreeSet<WaiterId>,
    lanes: BTreeMap<LaneKey, Lane>,
    lengths: PerClass<usize>,
    by_priority: [ByPriority; 4],
    last_id: u64,
    /// Scratch memory, kept between calls.
    fronts: Vec<(LaneKey, Front)>,
}

impl<T> Queue<T> {
    /// At most `most` requests wait at a time.
    pub fn new(most: usize) -> Self {
        Self {
            most,
            waiters: BTreeMap::new(),
            retries: BTreeSet::new(),
            lanes: BTreeMap::new(),
            lengths: PerClass::default(),
            by_priority: [ByPriority {
                len: 0,
                most: usize::MAX,
            }; 4],
            last_id: 0,
            fronts: Vec::new(),
        }
    }

    /// Changes the bound. Waiters above the new bound go on waiting.
    pub fn set_most(&mut self, most: usize) {
        self.most = most;
    }

    /// Bounds the waiters of this priority. Retries pass the bound, and waiters go on waiting.
    pub fn shorten(&mut self, priority: Priority, most: usize) {
        self.by_priority[usize::from(priority.get())].most = most;
    }

    /// Returns the number of waiters.
    pub fn len(&self) -> usize {
        self.waiters.len()
    }

    /// True if no request waits.
    pub fn is_empty(&self) -> bool {
        self.waiters.is_empty()
    }

    /// Returns the number of waiters of one priority.
    pub fn len_of_priority(&self, priority: Priority) -> usize {
        self.by_priority[usize::from(priority.get())].len
    }

    /// Returns the number of waiters of one class.
    pub fn len_of(&self, class: RequestClass) -> usize {
        self.lengths[class]
    }

    /// Returns all waiters, the oldest first.
    pub fn waiters(&self) -> impl Iterator<Item = &Waiter<T>> {
        self.waiters.values()
    }

    /// Enqueues a request, if there is room or another waiter has to make room.
    pub fn push(&mut self, slot_request: SlotRequest, value: T) -> Pushed<T> {
        let alike = &self.by_priority[usize::from(slot_request.priority.get())];
        let displaced_by = if self.len() >= self.most {
            Some(self.displaced_by(&slot_request))
        } else if alike.len >= alike.most && !slot_request.is_retry {
            Some(self.newest_of_longest(&slot_request))
        } else {
            None
        };
        let shed = match displaced_by {
            Some(None) => return Pushed::Full(value),
            Some(Some(id)) => self.remove(id),
            None => None,
        };
        let id = self.insert(slot_request, value);
        self.check_invariants();
        match shed {
            Some(shed) => Pushed::WaitsInsteadOf(id, shed),
            None => Pushed::Waits(id),
        }
    }

    /// Offers a slot to one waiter after the other, the best first, until one takes it. `may` is
    /// False for waiters of a user at a limit: they are passed over without an offer.
    pub fn serve<G>(
        &mut self,
        may: impl Fn(&Waiter<T>) -> bool,
        mut offer: impl FnMut(&Waiter<T>) -> Offer<G>,
    ) -> Option<(Waiter<T>, G)> {
        let mut fronts = std::mem::take(&mut self.fronts);
        let served = self
            .serve_retry(&may, &mut offer)
            .or_else(|| self.serve_lanes(&mut fronts, &may, &mut offer));
        fronts.clear();
        self.fronts = fronts;
        let (id, given) = served?;
        let waiter = self.take_out(id, true).expect("an offer goes to a waiter");
        self.check_invariants();
        Some((waiter, given))
    }

    /// Removes a waiter after its client left or its time is over. `None` if it waits no more.
    pub fn remove(&mut self, id: WaiterId) -> Option<Waiter<T>> {
        let waiter = self.take_out(id, false)?;
        self.check_invariants();
        Some(waiter)
    }

    /// Retries have tried different upstreams, so each gets an offer. There are few of them.
    fn serve_retry<G>(
        &self,
        may: &impl Fn(&Waiter<T>) -> bool,
        offer: &mut impl FnMut(&Waiter<T>) -> Offer<G>,
    ) -> Option<(WaiterId, G)> {
        let waiting = self.retries.iter().map(|id| (*id, &self.waiters[id]));
        waiting
            .filter(|(_, waiter)| may(waiter))
            .find_map(|(id, waiter)| match offer(waiter) {
                Offer::Taken(given) => Some((id, given)),
                Offer::ClassMustWait | Offer::UserMustWait => None,
            })
    }

    fn serve_lanes<G>(
        &self,
        fronts: &mut Vec<(LaneKey, Front)>,
        may: &impl Fn(&Waiter<T>) -> bool,
        offer: &mut impl FnMut(&Waiter<T>) -> Offer<G>,
    ) -> Option<(WaiterId, G)> {
        let first = |(key, lane): (&LaneKey, &Lane)| {
            Some((*key, self.first_that_may(lane, lane.front(), may)?))
        };
        fronts.extend(self.lanes.iter().filter_map(first));
        while let Some(at) = (0..fronts.len()).min_by_key(|at| self.rank(fronts[*at].1.id)) {
            let (key, front) = fronts[at];
            let next = match offer(&self.waiters[&front.id]) {
                Offer::Taken(given) => return Some((front.id, given)),
                Offer::ClassMustWait => None,
                Offer::UserMustWait => {
                    let lane = &self.lanes[&key];
                    self.first_that_may(lane, lane.after(front.turn), may)
                }
            };
            match next {
                Some(next) => fronts[at].1 = next,
                None => {
                    fronts.swap_remove(at);
                }
            }
        }
        None
    }

    /// Returns the first from `front` on that may go.
    fn first_that_may(
        &self,
        lane: &Lane,
        front: Option<Front>,
        may: &impl Fn(&Waiter<T>) -> bool,
    ) -> Option<Front> {
        std::iter::successors(front, |front| lane.after(front.turn))
            .find(|front| may(&self.waiters[&front.id]))
    }

    fn rank(&self, id: WaiterId) -> (Instant, WaiterId) {
        (self.waiters[&id].slot_request.rank(), id)
    }

    fn insert(&mut self, slot_request: SlotRequest, value: T) -> WaiterId {
        self.last_id += 1;
        let id = WaiterId(self.last_id);
        if slot_request.is_retry {
            self.retries.insert(id);
        } else {
            self.lanes
                .entry(slot_request.lane())
                .or_default()
                .push(slot_request.user, id);
        }
        self.lengths[slot_request.class] += 1;
        self.by_priority[usize::from(slot_request.priority.get())].len += 1;
        self.waiters.insert(
            id,
            Waiter {
                slot_request,
                value,
            },
        );
        id
    }

    fn take_out(&mut self, id: WaiterId, was_served: bool) -> Option<Waiter<T>> {
        let waiter = self.waiters.remove(&id)?;
        let slot_request = &waiter.slot_request;
        self.lengths[slot_request.class] -= 1;
        self.by_priority[usize::from(slot_request.priority.get())].len -= 1;
        if !self.retries.remove(&id) {
            let lane = self
                .lanes
                .get_mut(&slot_request.lane())
                .expect("a waiter has a lane");
            lane.remove(slot_request.user, id, was_served);
            if lane.is_empty() {
                self.lanes.remove(&slot_request.lane());
            }
        }
        Some(waiter)
    }

    /// Applies the rules of the module's documentation, in their order.
    fn displaced_by(&self, newcomer: &SlotRequest) -> Option<WaiterId> {
        let lowest = self.lanes.last_key_value()?.0.0;
        if newcomer.is_retry || lowest > newcomer.priority {
            return self.newest(lowest, None);
        }
        if let Some(greedy) = self.greedy_user(newcomer.user) {
            return self.newest_of_user(greedy);
        }
        if lowest < newcomer.priority {
            return None;
        }
        self.newest_of_longest(newcomer)
    }

    /// Returns the newest waiter of this priority of the user with the most of them, if these are
    /// more than the newcomer's user would have.
    fn newest_of_longest(&self, newcomer: &SlotRequest) -> Option<WaiterId> {
        let lengths = self.lengths_by_user(|priority| priority == newcomer.priority);
        let own = lengths.get(&newcomer.user).copied().unwrap_or(0);
        let (user, most) = lengths.into_iter().max_by_key(|(_, length)| *length)?;
        if most > own + 1 {
            self.newest(newcomer.priority, Some(user))
        } else {
            None
        }
    }

    /// Returns another user that has more than half of the queue, and would still have no fewer
    /// waiters than `user`.
    fn greedy_user(&self, user: u64) -> Option<u64> {
        let lengths = self.lengths_by_user(|_| true);
        let own = lengths.get(&user).copied().unwrap_or(0);
        lengths
            .into_iter()
            .find(|(_, length)| length * 2 > self.most && *length > own + 1)
            .map(|(user, _)| user)
    }

    fn lengths_by_user(&self, counts: impl Fn(Priority) -> bool) -> BTreeMap<u64, usize> {
        let mut lengths = BTreeMap::new();
        for (_, lane) in self
            .lanes
            .iter()
            .filter(|((priority, ..), _)| counts(*priority))
        {
            lane.lengths()
                .for_each(|(user, length)| *lengths.entry(user).or_default() += length);
        }
        lengths
    }

    fn newest(&self, priority: Priority, user: Option<u64>) -> Option<WaiterId> {
        let lanes = self.lanes.iter().filter(|((p, ..), _)| *p == priority);
        lanes.filter_map(|(_, lane)| lane.newest(user)).max()
    }

    /// Returns the user's newest waiter of the lowest class in which it has any.
    fn newest_of_user(&self, user: u64) -> Option<WaiterId> {
        Priority::ALL
            .into_iter()
            .rev()
            .find_map(|priority| self.newest(priority, Some(user)))
    }

    fn check_invariants(&self) {
        if cfg!(debug_assertions) {
            let in_lanes: usize = self
                .lanes
                .values()
                .flat_map(Lane::lengths)
                .map(|(_, length)| length)
                .sum();
            assert_eq!(
                in_lanes + self.retries.len(),
                self.len(),
                "each waiter is in one place"
            );
            let by_class: usize = self.lengths.iter().map(|(_, length)| length).sum();
            let by_priority: usize = self.by_priority.iter().map(|alike| alike.len).sum();
            assert_eq!(
                [by_class, by_priority],
                [self.len(); 2],
                "each waiter is counted in one class and one priority"
            );
            assert!(
                self.lanes.values().all(|lane| !lane.is_empty()),
                "lanes come and go with their waiters"
            );
            self.lanes.values().for_each(Lane::check_invariants);
        }
    }
}

impl SlotRequest {
    /// The smaller rank goes first.
    pub fn rank(&self) -> Instant {
        self.arrived + AGEING * u32::from(self.priority.get())
    }

    pub(super) fn lane(&self) -> LaneKey {
        (self.priority, self.class, self.rules, self.from_main)
    }
}

#[cfg(test)]
mod tests;
