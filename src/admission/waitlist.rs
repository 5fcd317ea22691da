//! The policy of waiting for a slot: which request is admitted, which one waits, which waiter is
//! served next. Pure: the lock, the clock and the awaitable place are in `waiting_room`.
//!
//! ```text
//!  a request arrives -- no waiters, no limits --> it may bypass the list, without a lock
//!                    -- else: serve the waiters, check the limits, find a slot -- none --> the queue
//!  a slot or a limit's counter comes free, a waiter leaves --> serve: the best waiter that can go gets the slot itself
//! ```
//!
//! Promises:
//!
//! * No request waits while a slot is free that it may use. To avoid lost wake-ups, the releaser
//!   checks for waiters after releasing, and a waiter re-checks for slots after enqueueing. What
//!   frees slots in the course of time, as a slow start does, is found by
//!   [`Waitlist::serve_if_due`].
//! * A free slot goes to one waiter, which gets the slot and not only a notice of it. So there is
//!   no herd, and no newcomer in between.
//! * Newcomers do not overtake: while requests wait, a newcomer goes through the list, which first
//!   serves every waiter that can go.
//! * A request passes the limits and takes its slot in one step, so it holds neither of them while
//!   it waits for the other.
//! * Each waiter ends once: admitted, refused, shed, or gone.

use std::time::{Duration, Instant};

use super::{
    ConcurrencyKeys, LimitCheck, Limiter, Offer, OverloadDetector, Pace, Pushed, Queue,
    QueueStatus, SlotRequest, Waiter, WaiterId,
};
use crate::config::{Limits, Priority};
use crate::ogc::RequestClass;

/// Interval at which waiters search for slots themselves, all of them together.
pub const RECHECK_INTERVAL: Duration = Duration::from_millis(250);

/// See the module's documentation.
#[derive(Debug)]
pub struct Waitlist<T> {
    queue: Queue<Entry<T>>,
    limiter: Limiter,
    pace: Pace,
    overload: OverloadDetector,
    /// The time at which all waiters were last offered the free slots.
    served_at: Instant,
}

#[derive(Debug)]
struct Entry<T> {
    keys: ConcurrencyKeys,
    request: T,
}

/// A waiter that was served, with its slot or the reason why it will get none.
type Served<T, S> = (
    Waiter<Entry<T>>,
    Result<<S as Slots<T>>::Slot, <S as Slots<T>>::Refusal>,
);

/// A request that has just arrived.
#[derive(Debug)]
pub struct Newcomer<T> {
    pub slot_request: SlotRequest,
    pub keys: ConcurrencyKeys,
    pub request: T,
}

/// The slots that a [`Waitlist`] hands out, and the way to its waiters. No slot may be given back
/// inside a call, because its release serves the list, which is in use.
pub trait Slots<T> {
    /// A slot that is taken.
    type Slot;
    /// A slot together with the limits that were passed for it.
    type Admission;
    /// The reason why a request cannot be served, now or later.
    type Refusal;

    /// Takes a slot that this request may use. `may_join`: no request waits, so this one may go
    /// beyond a limit to join others that belong to it.
    fn find(&mut self, request: &T, may_join: bool) -> SlotSearch<Self::Slot, Self::Refusal>;

    /// Binds a slot to the limits that the list has counted for it. They must be given back with
    /// [`Waitlist::release`].
    fn admit(&mut self, slot: Self::Slot, keys: ConcurrencyKeys) -> Self::Admission;

    /// Prepares a request that found no slot for waiting. It may still be refused.
    fn prepare_wait(&mut self, request: &mut T);

    /// Ends the wait of a request.
    fn end_wait(&mut self, request: T, result: WaitlistResult<Self::Admission, Self::Refusal>);

    /// Publishes the number of waiters to those that release slots.
    fn set_waiting(&mut self, waiters: usize);

    /// Publishes the number of waiters of one class.
    fn set_waiting_of_class(&mut self, class: RequestClass, waiters: usize);
}

/// The result of one search for a slot.
#[derive(Debug)]
pub enum SlotSearch<S, R> {
    Found(S),
    /// There is none now. It is worth waiting for one.
    Full,
    /// There will be none.
    Refused(R),
}

/// The end of a wait.
#[derive(Debug)]
pub enum WaitlistResult<A, R> {
    Admitted(A),
    Refused(R),
    /// A request with a better claim took its place in the queue. Holds the seconds after which to
    /// try again.
    Shed(u32),
}

/// The first answer to a request for a slot. `W` identifies its place in the queue.
#[derive(Debug)]
pub enum WaitlistAnswer<A, R, W = WaiterId> {
    Admitted(A),
    Refused(R),
    /// The queue is full. Holds the seconds after which to try again.
    Full(u32),
    Waiting(W),
}

impl<A, R, W> WaitlistAnswer<A, R, W> {
    /// Turns the identification of a waiter into another.
    pub fn map_waiting<V>(self, map: impl FnOnce(W) -> V) -> WaitlistAnswer<A, R, V> {
        match self {
            Self::Admitted(admission) => WaitlistAnswer::Admitted(admission),
            Self::Refused(refusal) => WaitlistAnswer::Refused(refusal),
            Self::Full(retry_after) => WaitlistAnswer::Full(retry_after),
            Self::Waiting(id) => WaitlistAnswer::Waiting(map(id)),
        }
    }
}

/// True if a request may take a slot without the list, and so without its lock: it overtakes no
/// waiter, and no limit is counted for it.
#[inline]
pub fn may_bypass(has_waiters: bool, keys: &ConcurrencyKeys) -> bool {
    !has_waiters && keys.is_empty()
}

impl<T> Waitlist<T> {
    /// Returns a list without waiters.
    pub fn new(now: Instant) -> Self {
        Self {
            queue: Queue::new(0),
            limiter: Limiter::default(),
            pace: Pace::new(now),
            overload: OverloadDetector::new(now),
            served_at: now,
        }
    }

    /// Admits a newcomer if a slot is free that no waiter can use, or enqueues it.
    pub fn request_slot<S: Slots<T>>(
        &mut self,
        newcomer: Newcomer<T>,
        limits: &Limits,
        slots: &mut S,
        now: Instant,
    ) -> WaitlistAnswer<S::Admission, S::Refusal> {
        if !self.queue.is_empty() {
            self.serve(slots, now);
        }
        let Newcomer {
            slot_request,
            keys,
            request,
        } = newcomer;
        if self.limiter.check(&keys) == LimitCheck::Free {
            match slots.find(&request, self.queue.is_empty()) {
                SlotSearch::Found(slot) => {
                    self.overload.on_empty(slot_request.priority);
                    return WaitlistAnswer::Admitted(self.admit(slot, keys, slots));
                }
                SlotSearch::Full => {}
                SlotSearch::Refused(refusal) => return WaitlistAnswer::Refused(refusal),
            }
        }
        self.enqueue(slot_request, Entry { keys, request }, limits, slots, now)
    }

    fn enqueue<S: Slots<T>>(
        &mut self,
        slot_request: SlotRequest,
        mut entry: Entry<T>,
        limits: &Limits,
        slots: &mut S,
        now: Instant,
    ) -> WaitlistAnswer<S::Admission, S::Refusal> {
        let retry_after = self.retry_after(limits, now);
        self.bound_queue(&slot_request, limits, now);
        slots.prepare_wait(&mut entry.request);
        let id = match self.queue.push(slot_request, entry) {
            Pushed::Full(_) => return WaitlistAnswer::Full(retry_after),
            Pushed::Waits(id) => id,
            Pushed::WaitsInsteadOf(id, shed) => {
                slots.end_wait(shed.value.request, WaitlistResult::Shed(retry_after));
                self.publish_class(shed.slot_request.class, slots);
                id
            }
        };
        self.overload.waits(slot_request.priority, now);
        self.publish_class(slot_request.class, slots);
        slots.set_waiting(self.queue.len());
        // A slot may have come free between the search and the publication of the waiter. Its
        // releaser saw no waiter.
        self.serve(slots, now);
        WaitlistAnswer::Waiting(id)
    }

    /// Bounds the queue for a newcomer: by the configuration, and in an overload by priority.
    fn bound_queue(&mut self, slot_request: &SlotRequest, limits: &Limits, now: Instant) {
        self.queue.set_max_len(limits.queue as usize);
        let max_len = self.overload.max_len(slot_request.priority, now);
        self.queue.shorten(slot_request.priority, max_len);
        if self.queue.len_of_priority(slot_request.priority) >= max_len {
            self.overload.on_overflow(slot_request.priority, now);
        }
    }

    /// Gives every free slot to the best waiter that can use it.
    pub fn serve<S: Slots<T>>(&mut self, slots: &mut S, now: Instant) {
        self.served_at = now;
        while let Some((waiter, found)) = self.serve_one(slots) {
            let Entry { keys, request } = waiter.value;
            let result = match found {
                Ok(slot) => {
                    self.pace.note(now);
                    let SlotRequest {
                        priority, arrived, ..
                    } = waiter.slot_request;
                    let waited = now.saturating_duration_since(arrived);
                    self.overload.served(priority, waited, now);
                    WaitlistResult::Admitted(self.admit(slot, keys, slots))
                }
                Err(refusal) => WaitlistResult::Refused(refusal),
            };
            self.publish_class(waiter.slot_request.class, slots);
            slots.end_wait(request, result);
        }
        for priority in Priority::ALL {
            if self.queue.len_of_priority(priority) == 0 {
                self.overload.on_empty(priority);
            }
        }
        slots.set_waiting(self.queue.len());
    }

    /// Serves, unless that was done within the last [`RECHECK_INTERVAL`].
    pub fn serve_if_due<S: Slots<T>>(&mut self, slots: &mut S, now: Instant) {
        if now.saturating_duration_since(self.served_at) >= RECHECK_INTERVAL {
            self.serve(slots, now);
        }
    }

    /// Removes a waiter after its time is over or its client left. Returns whether it waited.
    pub fn leave<S: Slots<T>>(&mut self, id: WaiterId, slots: &mut S, now: Instant) -> bool {
        let Some(waiter) = self.queue.remove(id) else {
            return false;
        };
        self.publish_class(waiter.slot_request.class, slots);
        // The next of its user may be able to go where this one was not, if a config reload came
        // between the two.
        self.serve(slots, now);
        true
    }

    /// Ends the count of an admitted request under its limits.
    pub fn release<S: Slots<T>>(&mut self, keys: &ConcurrencyKeys, slots: &mut S, now: Instant) {
        self.limiter.leave(keys);
        if !self.queue.is_empty() {
            self.serve(slots, now);
        }
    }

    /// Returns the state of the queue for an operator. `name` is the user of a request.
    pub fn status<'w>(
        &'w self,
        name: impl Fn(&'w T) -> &'w str,
        limits: &Limits,
        now: Instant,
    ) -> QueueStatus {
        QueueStatus {
            classes: self.queue.waiting_by_class(now),
            users: self
                .queue
                .waiting_by_user(|entry| name(&entry.request), now),
            max_waiting: limits.queue as usize,
            per_second: self.pace.per_second(now),
        }
    }

    /// Returns the seconds after which a request that gave up waiting should try again.
    pub fn retry_after(&self, limits: &Limits, now: Instant) -> u32 {
        self.pace
            .seconds_for(self.queue.len(), limits.queue_timeout, now)
    }

    /// Returns the requests that wait, the oldest first.
    pub fn waiters(&self) -> impl Iterator<Item = &T> {
        self.queue.waiters().map(|waiter| &waiter.value.request)
    }

    /// Returns the number of waiters of one class.
    pub fn len_of(&self, class: RequestClass) -> usize {
        self.queue.len_of(class)
    }

    /// Returns when all waiters were last offered the free slots.
    pub fn served_at(&self) -> Instant {
        self.served_at
    }

    /// Returns the number of limits under which requests are counted now.
    pub fn counters(&self) -> usize {
        self.limiter.counters()
    }

    fn serve_one<S: Slots<T>>(&mut self, slots: &mut S) -> Option<Served<T, S>> {
        let limiter = &self.limiter;
        let may = |waiter: &Waiter<Entry<T>>| limiter.user_may(&waiter.value.keys);
        let offer = |waiter: &Waiter<Entry<T>>| match limiter.check(&waiter.value.keys) {
            LimitCheck::UserFull => Offer::UserMustWait,
            LimitCheck::Full => Offer::ClassMustWait,
            LimitCheck::Free => match slots.find(&waiter.value.request, false) {
                SlotSearch::Found(slot) => Offer::Taken(Ok(slot)),
                SlotSearch::Full => Offer::ClassMustWait,
                SlotSearch::Refused(refusal) => Offer::Taken(Err(refusal)),
            },
        };
        self.queue.serve(may, offer)
    }

    fn admit<S: Slots<T>>(
        &mut self,
        slot: S::Slot,
        keys: ConcurrencyKeys,
        slots: &mut S,
    ) -> S::Admission {
        self.limiter.enter(&keys);
        slots.admit(slot, keys)
    }

    fn publish_class<S: Slots<T>>(&self, class: RequestClass, slots: &mut S) {
        slots.set_waiting_of_class(class, self.queue.len_of(class));
    }
}

#[cfg(test)]
mod tests;
