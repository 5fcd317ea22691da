//! The policy on the slots of one counter, with actions of other threads between its steps.

use super::super::concurrency_keys::tests::{MAP, client, keys, limits};
use super::*;
use crate::config::Effort;

/// Any request may have any of these slots.
#[derive(Default)]
struct Counter {
    free: u32,
    /// Released by another thread as soon as a search found no slot.
    released_after_a_search: u32,
    waiting: usize,
    /// Slots that were released while waiters were published: their releaser serves the list.
    notices: u32,
    results: Vec<(u64, bool)>,
}

impl Slots<u64> for Counter {
    type Slot = ();
    type Admission = ConcurrencyKeys;
    type Refusal = ();

    fn find(&mut self, _: &u64, _: bool) -> SlotSearch<(), ()> {
        if self.free > 0 {
            self.free -= 1;
            return SlotSearch::Found(());
        }
        let released = std::mem::take(&mut self.released_after_a_search);
        self.free += released;
        self.notices += if self.waiting > 0 { released } else { 0 };
        SlotSearch::Full
    }

    fn admit(&mut self, (): (), keys: ConcurrencyKeys) -> ConcurrencyKeys {
        keys
    }

    fn prepare_wait(&mut self, _: &mut u64) {}

    fn end_wait(&mut self, request: u64, result: WaitlistResult<ConcurrencyKeys, ()>) {
        self.results
            .push((request, matches!(result, WaitlistResult::Admitted(_))));
    }

    fn set_waiting(&mut self, waiters: usize) {
        self.waiting = waiters;
    }

    fn set_waiting_of_class(&mut self, _: RequestClass, _: usize) {}
}

struct Rig {
    list: Waitlist<u64>,
    slots: Counter,
    limits: Limits,
    now: Instant,
}

impl Rig {
    fn new(free: u32, lines: &str) -> Self {
        let now = Instant::now();
        let slots = Counter {
            free,
            ..Counter::default()
        };
        Self {
            list: Waitlist::new(now),
            slots,
            limits: limits(lines),
            now,
        }
    }

    fn keys(&self, user: u64) -> ConcurrencyKeys {
        keys(&self.limits, MAP, &client(user, "10.0.0.1"))
    }

    /// A map of this user; the user identifies it.
    fn request_slot(&mut self, user: u64) -> WaitlistAnswer<ConcurrencyKeys, ()> {
        let keys = self.keys(user);
        let slot_request = SlotRequest {
            class: RequestClass::Map,
            priority: Priority::FIRST,
            rules: keys.fingerprint(),
            from_main: false,
            effort: Effort::OfClass,
            user,
            arrived: self.now,
            is_retry: false,
        };
        let newcomer = Newcomer {
            slot_request,
            keys,
            request: user,
        };
        self.list
            .request_slot(newcomer, &self.limits, &mut self.slots, self.now)
    }

    fn waits(&mut self, user: u64) -> WaiterId {
        match self.request_slot(user) {
            WaitlistAnswer::Waiting(id) => id,
            other => panic!("user {user} does not wait: {other:?}"),
        }
    }
}

#[test]
fn only_a_request_without_limits_bypasses_the_list_and_only_while_no_request_waits() {
    let limited = Rig::new(1, "per_user = 1").keys(1);
    assert_eq!(
        [
            may_bypass(false, &ConcurrencyKeys::default()),
            may_bypass(true, &ConcurrencyKeys::default()),
            may_bypass(false, &limited)
        ],
        [true, false, false]
    );
}

#[test]
fn a_slot_that_is_released_before_its_waiter_is_published_is_found_by_the_waiter() {
    let mut rig = Rig::new(0, "");
    rig.slots.released_after_a_search = 1;
    rig.waits(1);
    assert_eq!(
        rig.slots.notices, 0,
        "the releaser saw no waiter, so no notice will come"
    );
    assert_eq!(rig.slots.results, [(1, true)]);
    assert_eq!(rig.slots.waiting, 0);
}

#[test]
fn a_slot_that_is_released_after_the_last_search_is_noticed() {
    let mut rig = Rig::new(0, "");
    rig.waits(1);
    rig.slots.released_after_a_search = 1;
    rig.list.serve(&mut rig.slots, rig.now);
    assert_eq!((rig.slots.notices, rig.slots.results.len()), (1, 0));
    rig.list.serve(&mut rig.slots, rig.now);
    assert_eq!(rig.slots.results, [(1, true)]);
}

#[test]
fn a_newcomer_gets_a_slot_only_after_the_waiters_had_theirs() {
    let mut rig = Rig::new(0, "");
    rig.waits(1);
    rig.slots.free = 1;
    rig.waits(2);
    assert_eq!(rig.slots.results, [(1, true)]);
    rig.slots.free = 2;
    let answer = rig.request_slot(3);
    assert!(matches!(answer, WaitlistAnswer::Admitted(_)), "{answer:?}");
    assert_eq!(rig.slots.results, [(1, true), (2, true)]);
}

#[test]
fn a_limit_that_is_released_serves_the_waiter_it_held() {
    let mut rig = Rig::new(9, "per_user = 1");
    let WaitlistAnswer::Admitted(first) = rig.request_slot(1) else {
        panic!("slots are free")
    };
    rig.waits(1);
    assert!(
        matches!(rig.request_slot(2), WaitlistAnswer::Admitted(_)),
        "another user is not held up"
    );
    rig.list.release(&first, &mut rig.slots, rig.now);
    assert_eq!(rig.slots.results, [(1, true)]);
}

#[test]
fn a_waiter_that_left_is_not_served_and_leaves_once() {
    let mut rig = Rig::new(0, "");
    let first = rig.waits(1);
    rig.waits(2);
    let mut leave = || rig.list.leave(first, &mut rig.slots, rig.now);
    assert_eq!([leave(), leave()], [true, false]);
    rig.slots.free = 1;
    rig.list.serve(&mut rig.slots, rig.now);
    assert_eq!(rig.slots.results, [(2, true)]);
}

#[test]
fn after_a_waiter_left_the_others_are_served_at_once_where_they_can_go() {
    let mut rig = Rig::new(0, "");
    let first = rig.waits(1);
    rig.waits(2);
    rig.slots.free = 1;
    assert!(rig.list.leave(first, &mut rig.slots, rig.now));
    assert_eq!(rig.slots.results, [(2, true)]);
}

#[test]
fn waiters_look_for_slots_themselves_once_in_an_interval() {
    let mut rig = Rig::new(0, "");
    rig.waits(1);
    rig.slots.free = 1;
    let mut serve_after = |elapsed| {
        rig.list.serve_if_due(&mut rig.slots, rig.now + elapsed);
        rig.slots.results.len()
    };
    assert_eq!(serve_after(RECHECK_INTERVAL / 2), 0);
    assert_eq!(serve_after(RECHECK_INTERVAL), 1);
}
