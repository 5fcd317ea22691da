//! The waiting room of one geofront in a world: the shipped list, the notifier, and the slow line
//! that the list is checked against.

use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use geofront::admission::{LimitCheck, SlotRequest, Waitlist};
use geofront::balance::{CapacityNotifier, Load};
use geofront::cluster::{ClusterStatus, NoUpstream};

use crate::ledger::Key;
use crate::line::{Line, Waiting};
use crate::oracle::{Belongs, Oracle};
use crate::patience::Patience;
use crate::requests::{Held, Request};

/// A load and what is in flight there.
type Ending = Arc<Mutex<Option<(Arc<Load>, u32)>>>;

/// One geofront's.
#[derive(Debug)]
pub(crate) struct Room {
    /// The waiters by their numbers. `None` while it is in use.
    pub(crate) waitlist: Option<Waitlist<u64>>,
    pub(crate) notifier: Arc<CapacityNotifier>,
    pub(crate) is_rung: Arc<AtomicBool>,
    /// The load on which a lease is about to end, and what is in flight there before.
    pub(crate) ending: Ending,
    pub(crate) line: Line,
    pub(crate) patience: Patience,
    /// Those that the limits count.
    pub(crate) at_work: Vec<Held>,
    /// The request that the list is deciding about, while it is no waiter.
    pub(crate) newcomer: Option<Arriving>,
    /// The newcomer's number, until the list has answered about it.
    pub(crate) last: Option<u64>,
    /// The search result from which the next waiter is served.
    pub(crate) pick: Option<Pick>,
    /// A slot was released since the list began to serve: the order of this pass is not checked.
    pub(crate) is_raced: bool,
    /// Why the list is served.
    pub(crate) why: &'static str,
}

/// A request that is neither admitted nor a waiter yet.
#[derive(Debug)]
pub(crate) struct Arriving {
    pub(crate) number: u64,
    pub(crate) slot_request: SlotRequest,
    pub(crate) request: Request,
    /// It passed the limits.
    pub(crate) was_offered: bool,
    /// When it has to wait: what is right then.
    pub(crate) verdict: Option<Verdict>,
}

/// The state of the queue for one more waiter.
#[derive(Clone, Debug)]
pub(crate) struct Verdict {
    pub(crate) is_full: bool,
    pub(crate) is_too_long: bool,
    /// The waiters one of which may have to give way.
    pub(crate) may_give_way: Vec<u64>,
    pub(crate) has_shed: bool,
}

/// The state before a waiter is served.
#[derive(Debug)]
pub(crate) struct Pick {
    pub(crate) status: Rc<ClusterStatus>,
    pub(crate) expected: Option<u64>,
}

impl Room {
    pub(crate) fn new(now: Instant) -> Self {
        let is_rung = Arc::new(AtomicBool::new(false));
        let ending = Ending::default();
        let (rung, ended) = (Arc::clone(&is_rung), Arc::clone(&ending));
        let notifier = Arc::new(CapacityNotifier::new(move || {
            if let Some((load, before)) = &*ended.lock().expect("no check failed") {
                assert!(
                    load.in_flight() < *before,
                    "waiters are looked for after the slot came free"
                );
            }
            rung.store(true, Ordering::Relaxed);
        }));
        Self {
            waitlist: Some(Waitlist::new(now)),
            notifier,
            is_rung,
            ending,
            line: Line::default(),
            patience: Patience::new(now),
            at_work: Vec::new(),
            newcomer: None,
            last: None,
            pick: None,
            is_raced: false,
            why: "",
        }
    }

    pub(crate) fn enter(&mut self, request: &Request) {
        self.at_work.push(request.held);
    }

    /// A lease ends when `end` is called.
    pub(crate) fn end_lease(&self, load: &Arc<Load>, end: impl FnOnce()) {
        let before = load.in_flight();
        let now = |ending| *self.ending.lock().expect("no check failed") = ending;
        now(Some((Arc::clone(load), before)));
        end();
        now(None);
    }

    pub(crate) fn waitlist(&self) -> &Waitlist<u64> {
        self.waitlist.as_ref().expect("the list is not in use")
    }

    /// The number was given to a newcomer.
    pub(crate) fn newcomer(&mut self, number: u64) -> Option<&mut Arriving> {
        self.newcomer
            .as_mut()
            .filter(|newcomer| newcomer.number == number)
    }

    /// Requests that can go: the newest newcomer has overtaken one of them.
    pub(crate) fn first_that_can_go(&self, oracle: &Oracle<'_>) -> Option<&Waiting> {
        self.line.next(|waiting| self.can_go(oracle, waiting))
    }

    /// Checks whether the limits leave room for it.
    pub(crate) fn passage(&self, held: &Held) -> LimitCheck {
        let is_full = |most: Option<u32>, counts: &dyn Fn(&&Held) -> bool| {
            most.is_some_and(|most| self.at_work.iter().filter(counts).count() >= most as usize)
        };
        if is_full(held.of_user, &|other| {
            other.user == held.user && other.of_user.is_some()
        }) {
            LimitCheck::UserFull
        } else if is_full(held.of_maps, &|other| other.of_maps.is_some()) {
            LimitCheck::Full
        } else {
            LimitCheck::Free
        }
    }

    /// True if the waiter can end its wait: with a slot, or because no upstream is left for it.
    pub(crate) fn can_go(&self, oracle: &Oracle<'_>, waiting: &Waiting) -> bool {
        self.passage(&waiting.request.held) == LimitCheck::Free
            && !matches!(
                oracle.belongs(&waiting.request),
                Belongs::Nowhere(NoUpstream::Full | NoUpstream::NoVerdict)
            )
    }

    /// Returns the upstreams that the waiters have tried.
    pub(crate) fn keys(&mut self) -> impl Iterator<Item = &mut Key> {
        self.line
            .iter_mut()
            .flat_map(|waiting| waiting.request.keys.iter_mut())
    }

    /// This one is no more.
    pub(crate) fn forget(&mut self, key: &Key) {
        self.line
            .iter_mut()
            .for_each(|waiting| waiting.request.keys.retain(|tried| tried != key));
    }

    /// There may be a place that no lease gave back.
    pub(crate) fn ring(&self) {
        self.notifier.notify();
    }
}
