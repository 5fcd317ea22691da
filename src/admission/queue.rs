//! The queue of the requests that wait for a slot. There is one for the whole cluster.
//!
//! ```text
//!   retries                 in order of arrival, ahead of all lanes
//!   lane: tile, no rules    user a: 1 4 9   user b: 5      \
//!   lane: map, no rules     user a: 2 3     user c: 8       > of the next request of each lane,
//!   lane: map, rule 3       user b: 6 7                    /  the one with the best rank
//! ```
//!
//! The queue guarantees this order:
//!
//! * A retry goes first, because the request was admitted before.
//! * Within a lane, users take turns, and each user's requests go in order of arrival. A burst of
//!   two hundred requests from one user delays the first request of another user by one request.
//! * Among lanes, the request with the best rank goes first. The rank is the time of arrival plus
//!   [`AGEING`] for each step of priority. The next request of a lane of priority `p` is overtaken
//!   only by requests that arrive less than `p` steps of ageing after it, so no request waits for
//!   ever. The rank of a waiter never changes, because all waiters age alike.
//! * A waiter that cannot use a slot now is passed over. A lane that has to wait holds up no other
//!   lane, and a user at its limit holds up no other user.
//!
//! The length is bounded. If the queue is full, a newcomer displaces another waiter. The first of
//! these rules that applies selects that waiter:
//!
//! 1. If a class of lower priority than the newcomer's has waiters, the newest waiter of the lowest
//!    priority.
//! 2. If another user has more than half of the queue, the newest waiter of that user.
//! 3. If, in the newcomer's priority, another user has more waiters than the newcomer's user would
//!    have, the newest waiter of the user with the most.
//!
//! If no rule applies, the newcomer is refused. A retry always displaces the newest waiter of the
//! lowest priority. If only the newcomer's priority has reached a bound ([`Queue::shorten`]), just
//! the third rule applies.
//!
//! Timeouts and slots are not part of the queue. The caller removes a waiter when its time is over
//! or its client has left ([`Queue::remove`]), and offers slots to the waiters ([`Queue::serve`]).

mod lane;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use self::lane::{Front, Lane};
use crate::config::{Effort, Priority};
use crate::ogc::{PerClass, RequestClass};

/// The waiting time that counts as one step of priority. Three steps are shorter than the default
/// `queue_timeout` of 20 s, so requests of the lowest priority are served before their timeout.
pub const AGEING: Duration = Duration::from_secs(5);

/// Identifies a waiter. A waiter that was enqueued later has a larger id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WaiterId(u64);

/// The properties of a request for a slot that determine its place in the order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotRequest {
    pub class: RequestClass,
    pub priority: Priority,
    /// Hash of the set of rules that limit the request. Requests of one class under different rules
    /// have separate lanes, so they do not hold each other up.
    pub rules: u64,
    /// True if the request prefers the main. It then has a separate lane, because others of its
    /// class can go to another upstream.
    pub from_main: bool,
    /// A request that is heavier or lighter than its class has a separate lane, because others of
    /// its class may use other slots.
    pub effort: Effort,
    /// Hash of the user.
    pub user: u64,
    pub arrived: Instant,
    /// True if the request was admitted before, and its upstream failed.
    pub is_retry: bool,
}

/// A request that waits, with the caller's data about it.
#[derive(Debug, PartialEq, Eq)]
pub struct Waiter<T> {
    pub slot_request: SlotRequest,
    pub value: T,
}

/// The result of [`Queue::push`].
#[derive(Debug, PartialEq, Eq)]
pub enum Pushed<T> {
    /// The request waits.
    Waits(WaiterId),
    /// The request waits and has displaced this waiter.
    WaitsInsteadOf(WaiterId, Waiter<T>),
    /// The queue is full, and no waiter makes room for the request.
    Full(T),
}

/// The result of offering a slot to a waiter.
#[derive(Debug)]
pub enum Offer<G> {
    Taken(G),
    /// No request of the waiter's lane can use a slot now.
    ClassMustWait,
    /// The waiter's user is at a limit. Other users of the lane may go.
    UserMustWait,
}

/// Identifies a lane: priority, class, [`SlotRequest::rules`], [`SlotRequest::from_main`],
/// [`SlotRequest::effort`]. Apart from the limits of users, either all requests of a lane can use
/// a free slot or none can.
type LaneKey = (Priority, RequestClass, u64, bool, Effort);

/// The number of waiters of one priority, and its maximum.
#[derive(Clone, Copy, Debug)]
struct ByPriority {
    len: usize,
    max_len: usize,
}

/// See the module's documentation.
#[derive(Debug)]
pub struct Queue<T> {
    max_len: usize,
    waiters: BTreeMap<WaiterId, Waiter<T>>,
    retries: BTreeSet<WaiterId>,
    lanes: BTreeMap<LaneKey, Lane>,
    lengths: PerClass<usize>,
    by_priority: [ByPriority; 4],
    last_id: u64,
    /// Scratch memory of [`Self::serve`], kept between calls.
    fronts: Vec<(LaneKey, Front)>,
}

impl<T> Queue<T> {
    /// Returns an empty queue for at most `max_len` waiters.
    pub fn new(max_len: usize) -> Self {
        Self {
            max_len,
            waiters: BTreeMap::new(),
            retries: BTreeSet::new(),
            lanes: BTreeMap::new(),
            lengths: PerClass::default(),
            by_priority: [ByPriority {
                len: 0,
                max_len: usize::MAX,
            }; 4],
            last_id: 0,
            fronts: Vec::new(),
        }
    }

    /// Changes the maximum length. Waiters above the new maximum stay in the queue.
    pub fn set_max_len(&mut self, max_len: usize) {
        self.max_len = max_len;
    }

    /// Changes the maximum number of waiters of one priority. It does not apply to retries. Waiters
    /// above the new maximum stay in the queue.
    pub fn shorten(&mut self, priority: Priority, max_len: usize) {
        self.by_priority[usize::from(priority.get())].max_len = max_len;
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

    /// Enqueues a request if the queue has room or the request displaces another waiter.
    pub fn push(&mut self, slot_request: SlotRequest, value: T) -> Pushed<T> {
        let alike = &self.by_priority[usize::from(slot_request.priority.get())];
        // `Some(None)`: another waiter would have to be displaced, and none may be.
        let displaced = if self.len() >= self.max_len {
            Some(self.displaced_by(&slot_request))
        } else if alike.len >= alike.max_len && !slot_request.is_retry {
            Some(self.newest_of_longest(&slot_request))
        } else {
            None
        };
        let shed = match displaced {
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

    /// Offers a slot to one waiter after the other, in the order of the module's documentation,
    /// until one takes it. Waiters for which `may_go` returns false are passed over without an
    /// offer: their users are at a limit.
    pub fn serve<G>(
        &mut self,
        may_go: impl Fn(&Waiter<T>) -> bool,
        mut offer: impl FnMut(&Waiter<T>) -> Offer<G>,
    ) -> Option<(Waiter<T>, G)> {
        let mut fronts = std::mem::take(&mut self.fronts);
        let served = self
            .serve_retry(&may_go, &mut offer)
            .or_else(|| self.serve_lanes(&mut fronts, &may_go, &mut offer));
        fronts.clear();
        self.fronts = fronts;
        let (id, given) = served?;
        let waiter = self.take_out(id, true).expect("an offer goes to a waiter");
        self.check_invariants();
        Some((waiter, given))
    }

    /// Removes a waiter after its client left or its time is over. Returns `None` if the waiter is
    /// no longer in the queue.
    pub fn remove(&mut self, id: WaiterId) -> Option<Waiter<T>> {
        let waiter = self.take_out(id, false)?;
        self.check_invariants();
        Some(waiter)
    }

    /// Offers the slot to the retries, the oldest first. Each gets its own offer, because retries
    /// have tried different upstreams.
    fn serve_retry<G>(
        &self,
        may_go: &impl Fn(&Waiter<T>) -> bool,
        offer: &mut impl FnMut(&Waiter<T>) -> Offer<G>,
    ) -> Option<(WaiterId, G)> {
        let waiting = self.retries.iter().map(|id| (*id, &self.waiters[id]));
        waiting
            .filter(|(_, waiter)| may_go(waiter))
            .find_map(|(id, waiter)| match offer(waiter) {
                Offer::Taken(given) => Some((id, given)),
                Offer::ClassMustWait | Offer::UserMustWait => None,
            })
    }

    /// Offers the slot to the lanes, the one whose next request has the best rank first.
    fn serve_lanes<G>(
        &self,
        fronts: &mut Vec<(LaneKey, Front)>,
        may_go: &impl Fn(&Waiter<T>) -> bool,
        offer: &mut impl FnMut(&Waiter<T>) -> Offer<G>,
    ) -> Option<(WaiterId, G)> {
        let first = |(key, lane): (&LaneKey, &Lane)| {
            Some((*key, self.first_that_may_go(lane, lane.front(), may_go)?))
        };
        fronts.extend(self.lanes.iter().filter_map(first));
        while let Some(at) = (0..fronts.len()).min_by_key(|at| self.rank(fronts[*at].1.id)) {
            let (key, front) = fronts[at];
            let next = match offer(&self.waiters[&front.id]) {
                Offer::Taken(given) => return Some((front.id, given)),
                Offer::ClassMustWait => None,
                Offer::UserMustWait => {
                    let lane = &self.lanes[&key];
                    self.first_that_may_go(lane, lane.after(front.turn), may_go)
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

    /// Returns the first request from `front` on whose user may go.
    fn first_that_may_go(
        &self,
        lane: &Lane,
        front: Option<Front>,
        may_go: &impl Fn(&Waiter<T>) -> bool,
    ) -> Option<Front> {
        std::iter::successors(front, |front| lane.after(front.turn))
            .find(|front| may_go(&self.waiters[&front.id]))
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

    /// Returns the waiter that the newcomer displaces from a full queue, by the rules of the
    /// module's documentation.
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

    /// Returns the newest waiter of the user with the most waiters of the newcomer's priority, if
    /// the newcomer's user would still have fewer.
    fn newest_of_longest(&self, newcomer: &SlotRequest) -> Option<WaiterId> {
        let lengths = self.lengths_by_user(|priority| priority == newcomer.priority);
        let own = lengths.get(&newcomer.user).copied().unwrap_or(0);
        let (user, length) = lengths.into_iter().max_by_key(|(_, length)| *length)?;
        if length > own + 1 {
            self.newest(newcomer.priority, Some(user))
        } else {
            None
        }
    }

    /// Returns a user that has more than half of the queue, if it would still have no fewer waiters
    /// than `user` after losing one to it.
    fn greedy_user(&self, user: u64) -> Option<u64> {
        let lengths = self.lengths_by_user(|_| true);
        let own = lengths.get(&user).copied().unwrap_or(0);
        lengths
            .into_iter()
            .find(|(_, length)| length * 2 > self.max_len && *length > own + 1)
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
    /// Returns the rank: the request with the smallest rank goes first.
    pub fn rank(&self) -> Instant {
        self.arrived + AGEING * u32::from(self.priority.get())
    }

    pub(super) fn lane(&self) -> LaneKey {
        (
            self.priority,
            self.class,
            self.rules,
            self.from_main,
            self.effort,
        )
    }
}

#[cfg(test)]
mod tests;
