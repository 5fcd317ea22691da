//! The place where requests await a slot: the [`Waitlist`] behind a lock, and the notifier that
//! serves it when a slot comes free.
//!
//! The policy is the list's. This module adds the lock, the clock, the newest snapshot, and the
//! channel on which a waiter gets its [`WaitResult`]. A request without limits that arrives while
//! no request waits does not take the lock ([`WaitingRoom::bypass`]).

use std::sync::{Arc, Weak};
use std::time::Instant;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::admission::{
    self, ConcurrencyKeys, Newcomer, QueueStatus, SlotRequest, SlotSearch, Slots, WaiterId,
    Waitlist,
};
use crate::balance::CapacityNotifier;
use crate::cluster::{NoUpstream, Selection, SelectionRequest};
use crate::config::Limits;
use crate::control::Control;
use crate::metrics::Metrics;
use crate::ogc::RequestClass;

pub use crate::admission::RECHECK_INTERVAL;

/// Snapshots that one choice looks at, each because a door was closed since the one before.
const MAX_LOOKS: usize = 8;

/// How a wait ended.
pub type WaitResult = admission::WaitlistResult<Admission, NoUpstream>;
/// The first answer to a request for a slot.
pub type SlotRequestResult = admission::WaitlistAnswer<Admission, NoUpstream, Waiting>;

/// See the module's documentation.
#[derive(Debug)]
pub struct WaitingRoom {
    control: Arc<Control>,
    metrics: Arc<Metrics>,
    notifier: Arc<CapacityNotifier>,
    /// No lease ends while it is locked: that would call the notifier, which locks it.
    waitlist: Mutex<Waitlist<Request>>,
}

/// A request for a slot, and the channel for the result of its wait.
#[derive(Debug)]
struct Request {
    selection: SelectionRequest,
    /// There from the moment it may have to wait.
    reply: Option<oneshot::Sender<WaitResult>>,
    /// The user, for operators; empty until it may have to wait.
    user: String,
}

/// A slot, and the limits that were passed for it. Both are given back when it drops, in that
/// order.
#[derive(Debug)]
pub struct Admission {
    pub selection: Selection,
    pub permit: Option<ConcurrencyPermit>,
}

/// A request counted under its limits, until dropped.
#[derive(Debug)]
pub struct ConcurrencyPermit {
    keys: ConcurrencyKeys,
    room: Arc<WaitingRoom>,
}

/// A request's own place in the queue. It leaves the queue when this drops.
#[derive(Debug)]
pub struct Waiting {
    room: Arc<WaitingRoom>,
    ticket: WaiterId,
    pub result: oneshot::Receiver<WaitResult>,
}

/// The slots of the cluster at one moment, for one call of the list.
struct ClusterSlots<'r> {
    room: &'r Arc<WaitingRoom>,
    now: Instant,
    /// The receiver of the newcomer's result, if it had to prepare for waiting.
    result: Option<oneshot::Receiver<WaitResult>>,
    /// Returns the newcomer's user.
    user: &'r dyn Fn() -> String,
}

impl WaitingRoom {
    /// Returns a room without waiters.
    pub fn new(control: Arc<Control>, metrics: Arc<Metrics>, now: Instant) -> Arc<Self> {
        Arc::new_cyclic(|room: &Weak<Self>| {
            let room = Weak::clone(room);
            let notifier = Arc::new(CapacityNotifier::new(move || {
                if let Some(room) = room.upgrade() {
                    room.serve();
                }
            }));
            control.attach(&notifier);
            Self {
                control,
                metrics,
                notifier,
                waitlist: Mutex::new(Waitlist::new(now)),
            }
        })
    }

    /// Takes a slot at once, without the lock. `None` if the request has to [`Self::request_slot`].
    pub fn bypass(
        &self,
        request: &SelectionRequest,
        keys: &ConcurrencyKeys,
        now: Instant,
    ) -> Option<Result<Admission, NoUpstream>> {
        if !admission::may_bypass(self.notifier.has_waiters(), keys) {
            return None;
        }
        match self.select(request, true, now) {
            Ok(selection) => Some(Ok(Admission {
                selection,
                permit: None,
            })),
            Err(why) if why.is_worth_a_wait() => None,
            Err(why) => Some(Err(why)),
        }
    }

    /// Takes a slot if one is free that no waiter can use; else a place in the queue, if that has
    /// room. `user` is called only for a request that has to wait.
    pub fn request_slot(
        self: &Arc<Self>,
        request: SelectionRequest,
        keys: ConcurrencyKeys,
        slot_request: SlotRequest,
        user: &dyn Fn() -> String,
        limits: &Limits,
        now: Instant,
    ) -> SlotRequestResult {
        let newcomer = Newcomer {
            slot_request,
            keys,
            request: Request {
                selection: request,
                reply: None,
                user: String::new(),
            },
        };
        let mut slots = ClusterSlots {
            user,
            ..self.slots(now)
        };
        let result = self
            .waitlist
            .lock()
            .request_slot(newcomer, limits, &mut slots, now);
        result.map_waiting(|ticket| Waiting {
            room: Arc::clone(self),
            ticket,
            result: slots.result.expect("a request prepares before it waits"),
        })
    }

    /// Gives every free slot to the best waiter that can use it.
    pub fn serve(self: &Arc<Self>) {
        let mut waitlist = self.waitlist.lock();
        let now = Instant::now();
        waitlist.serve(&mut self.slots(now), now);
    }

    /// Serves the waiters after slots may have come free without the end of a lease.
    pub fn notify(&self) {
        self.notifier.notify();
    }

    /// Returns the state of the queue for an operator.
    pub fn status(&self, now: Instant) -> QueueStatus {
        let snapshot = self.control.snapshot();
        self.waitlist
            .lock()
            .status(|request| &request.user, &snapshot.config.limits, now)
    }

    /// Returns the seconds after which a request that gave up waiting should try again.
    pub fn retry_after(&self, limits: &Limits, now: Instant) -> u32 {
        self.waitlist.lock().retry_after(limits, now)
    }

    /// Selects from the newest snapshot; from the one after it, where a door was closed meanwhile.
    /// `may_join`: no request waits.
    fn select(
        &self,
        request: &SelectionRequest,
        may_join: bool,
        now: Instant,
    ) -> Result<Selection, NoUpstream> {
        let mut selected = Err(NoUpstream::NoneEligible);
        for _ in 0..MAX_LOOKS {
            let snapshot = self.control.snapshot();
            selected = request.select(&snapshot, may_join, now);
            if selected.is_ok() || snapshot.is(&self.control.snapshot()) {
                break;
            }
        }
        if let Ok(selection) = &selected {
            selection.upstream.load.attach(&self.notifier);
        }
        selected
    }

    const fn slots(self: &Arc<Self>, now: Instant) -> ClusterSlots<'_> {
        ClusterSlots {
            room: self,
            now,
            result: None,
            user: &String::new,
        }
    }
}

impl Slots<Request> for ClusterSlots<'_> {
    type Slot = Selection;
    type Admission = Admission;
    type Refusal = NoUpstream;

    fn find(&mut self, request: &Request, may_join: bool) -> SlotSearch<Selection, NoUpstream> {
        match self.room.select(&request.selection, may_join, self.now) {
            Ok(selection) => SlotSearch::Found(selection),
            Err(why) if why.is_worth_a_wait() => SlotSearch::Full,
            Err(why) => SlotSearch::Refused(why),
        }
    }

    fn admit(&mut self, selection: Selection, keys: ConcurrencyKeys) -> Admission {
        let permit = (!keys.is_empty()).then(|| ConcurrencyPermit {
            keys,
            room: Arc::clone(self.room),
        });
        Admission { selection, permit }
    }

    fn prepare_wait(&mut self, request: &mut Request) {
        let (reply, result) = oneshot::channel();
        request.reply = Some(reply);
        request.user = (self.user)();
        self.result = Some(result);
    }

    fn end_wait(&mut self, request: Request, result: WaitResult) {
        let reply = request.reply.expect("a request prepares before it waits");
        // A waiter leaves the queue before it drops its receiver, so this one has it.
        reply.send(result).expect("a waiter has its receiver");
    }

    fn set_waiting(&mut self, waiters: usize) {
        self.room.notifier.set_waiting(waiters);
    }

    fn set_waiting_of_class(&mut self, class: RequestClass, waiters: usize) {
        self.room.metrics.queue_length(class, waiters);
    }
}

impl Waiting {
    /// Stops waiting. A result that came at the last moment counts.
    pub fn leave(mut self) -> Option<WaitResult> {
        if self.take_out() {
            None
        } else {
            self.result.try_recv().ok()
        }
    }

    /// Serves the waiters, unless that was done within the last [`RECHECK_INTERVAL`].
    pub fn serve_if_due(&self) {
        let mut waitlist = self.room.waitlist.lock();
        let now = Instant::now();
        waitlist.serve_if_due(&mut self.room.slots(now), now);
    }

    /// Returns whether it was in the queue.
    fn take_out(&self) -> bool {
        let mut waitlist = self.room.waitlist.lock();
        let now = Instant::now();
        waitlist.leave(self.ticket, &mut self.room.slots(now), now)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        // If it was served meanwhile, the slot drops with the channel, and goes on to the next.
        self.take_out();
    }
}

impl Drop for ConcurrencyPermit {
    fn drop(&mut self) {
        let mut waitlist = self.room.waitlist.lock();
        let now = Instant::now();
        waitlist.release(&self.keys, &mut self.room.slots(now), now);
    }
}

#[cfg(test)]
mod tests;
