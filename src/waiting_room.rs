//! Where requests wait for a place.
//!
//! ```text
//!  arrives -- nobody waits, no limits --> a place, without a lock
//!          -- else, under the lock: the limits' counters, a place -- none --> the queue
//!  a lease ends, a new snapshot, a counter falls -- somebody waits? --> the best who can go gets the place itself, is woken
//! ```
//!
//! Promises:
//!
//! * Nobody waits while a place is free that it may have. Whoever frees one looks for waiters
//!   afterwards, and whoever waits looks for a place after having said so
//!   ([`Doorbell`](crate::balance::Doorbell)). What frees places by itself, as a ramp does in the
//!   course of time, is found by the waiters, who look again now and then.
//! * A place goes to one waiter, who gets the lease and not just a call: there is no herd, and
//!   nobody who comes in between.
//! * Newcomers do not overtake: while somebody waits they go through the same lock, where whoever
//!   could go has gone.
//! * A request passes the limits and takes its place in one step, so none holds one of them while
//!   it waits for the other.
//! * Each waiter ends once: seated, refused, shed, or gone; what was given to one who is gone goes
//!   on to the next.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::admission::{
    Ask, Claim, Limiter, Offer, Pace, Passage, Pushed, Queue, QueueStatus, StandingQueue, Ticket,
    Waiter,
};
use crate::balance::Doorbell;
use crate::cluster::{About, NoUpstream, Selection, Snapshot, Tried, UpstreamId};
use crate::config::{Limits, Priority};
use crate::control::Control;
use crate::metrics::Metrics;
use crate::ogc::RequestClass;

/// Waiters look for a place themselves as often as this, all of them together.
pub const LOOK: Duration = Duration::from_millis(250);

/// Snapshots that one choice looks at, each because a door was closed since the one before.
const MOST_LOOKS: usize = 8;

/// See the module's documentation.
#[derive(Debug)]
pub struct WaitingRoom {
    control: Arc<Control>,
    metrics: Arc<Metrics>,
    bell: Arc<Doorbell>,
    hall: Mutex<Hall>,
}

/// What the lock guards. No lease ends while it is held: that would ring the bell, and take it
/// again.
#[derive(Debug)]
struct Hall {
    queue: Queue<Entry>,
    limiter: Limiter,
    pace: Pace,
    standing: StandingQueue,
    /// When somebody last looked for places for all.
    looked: Instant,
}

/// What a waiter wants, and how it is told.
#[derive(Debug)]
struct Entry {
    wanted: Wanted,
    claim: Claim,
    tell: oneshot::Sender<Told>,
}

/// Which upstreams a request may go to.
#[derive(Clone, Debug)]
pub struct Wanted {
    pub class: RequestClass,
    /// What it has in common with others that one upstream should answer.
    pub key: Option<u64>,
    pub tried: Tried,
    pub main: MainWish,
    pub about: About,
}

/// Whether the main comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MainWish {
    No,
    /// The reader has just changed the catalog. If the main has no slot free, a replica serves the
    /// read: what it does not know, the main is asked for.
    ToSeeAChange,
    /// This replica did not know, and the main, or another that has the last change, is asked. If
    /// none of them has a slot free, its opinion is the only one, unless it is known to lack a
    /// change that the request is about: then the request waits.
    ForAnOpinion {
        replica: UpstreamId,
        lacks_a_change: bool,
    },
}

/// A place, and the limits passed for it; given back when dropped, in that order.
#[derive(Debug)]
pub struct Seat {
    pub selection: Selection,
    pub permit: Option<Permit>,
}

/// Counted under the limits of a claim, until dropped.
#[derive(Debug)]
pub struct Permit {
    claim: Claim,
    room: Arc<WaitingRoom>,
}

/// What became of a waiter.
#[derive(Debug)]
pub enum Told {
    Seated(Seat),
    /// Nobody is left who could ever take it.
    Nobody(NoUpstream),
    /// A better claim took its place in the queue. With the seconds after which to try again.
    Shed(u32),
}

/// What became of a request that asks for a place.
#[derive(Debug)]
pub enum Asked {
    Seated(Seat),
    Nobody(NoUpstream),
    /// The queue is full. With the seconds after which to try again.
    Full(u32),
    Waits(Waiting),
}

/// One's own place in the queue; left when dropped.
#[derive(Debug)]
pub struct Waiting {
    room: Arc<WaitingRoom>,
    ticket: Ticket,
    pub told: oneshot::Receiver<Told>,
}

impl WaitingRoom {
    pub fn new(control: Arc<Control>, metrics: Arc<Metrics>, now: Instant) -> Arc<Self> {
        let hall = Hall {
            queue: Queue::new(0),
            limiter: Limiter::default(),
            pace: Pace::new(now),
            standing: StandingQueue::new(now),
            looked: now,
        };
        Arc::new_cyclic(|room: &Weak<Self>| {
            let room = Weak::clone(room);
            let bell = Arc::new(Doorbell::new(move || {
                if let Some(room) = room.upgrade() {
                    room.look();
                }
            }));
            control.attach(&bell);
            Self {
                control,
                metrics,
                bell,
                hall: Mutex::new(hall),
            }
        })
    }

    /// A place at once, for a request under no limits; without a lock. `None` if it has to ask.
    pub fn walk_in(&self, wanted: &Wanted, now: Instant) -> Option<Result<Seat, NoUpstream>> {
        if self.bell.is_anyone_waiting() {
            return None;
        }
        match self.select(wanted, true, now) {
            Ok(selection) => Some(Ok(Seat {
                selection,
                permit: None,
            })),
            Err(NoUpstream::Full | NoUpstream::NoVerdict) => None,
            Err(why @ (NoUpstream::NoneEligible | NoUpstream::AllTried)) => Some(Err(why)),
        }
    }

    /// A place, if there is one for nobody better; else one in the queue, if that has room.
    pub fn ask(
        self: &Arc<Self>,
        wanted: Wanted,
        claim: Claim,
        ask: Ask,
        limits: &Limits,
        now: Instant,
    ) -> Asked {
        let mut hall = self.hall.lock();
        if !hall.queue.is_empty() {
            self.serve_all(&mut hall, now);
        }
        if hall.limiter.passage(&claim) == Passage::Free {
            match self.select(&wanted, hall.queue.is_empty(), now) {
                Ok(selection) => {
                    hall.standing.is_gone(ask.priority);
                    return Asked::Seated(self.seat(&mut hall, selection, claim));
                }
                Err(NoUpstream::Full | NoUpstream::NoVerdict) => {}
                Err(why @ (NoUpstream::NoneEligible | NoUpstream::AllTried)) => {
                    return Asked::Nobody(why);
                }
            }
        }
        self.line_up(&mut hall, wanted, claim, ask, limits, now)
    }

    fn line_up(
        self: &Arc<Self>,
        hall: &mut Hall,
        wanted: Wanted,
        claim: Claim,
        ask: Ask,
        limits: &Limits,
        now: Instant,
    ) -> Asked {
        let (tell, told) = oneshot::channel();
        let retry_after = hall
            .pace
            .seconds_for(hall.queue.len(), limits.queue_timeout, now);
        hall.queue.set_most(limits.queue as usize);
        let most_alike = hall.standing.most(ask.priority, now);
        hall.queue.shorten(ask.priority, most_alike);
        if hall.queue.len_of_priority(ask.priority) >= most_alike {
            hall.standing.is_too_long(ask.priority, now);
        }
        let ticket = match hall.queue.push(
            ask,
            Entry {
                wanted,
                claim,
                tell,
            },
        ) {
            Pushed::Full(_) => return Asked::Full(retry_after),
            Pushed::Waits(ticket) => ticket,
            Pushed::WaitsInsteadOf(ticket, shed) => {
                // Whoever is not there any more does not need to be told.
                drop(shed.value.tell.send(Told::Shed(retry_after)));
                self.count(hall, shed.ask.class);
                ticket
            }
        };
        self.count(hall, ask.class);
        hall.standing.waits(ask.priority, now);
        self.bell.set_waiting(hall.queue.len());
        // A place may have come free between the look and the word that somebody waits.
        self.serve_all(hall, now);
        Asked::Waits(Waiting {
            room: Arc::clone(self),
            ticket,
            told,
        })
    }

    /// Gives every place that is free to the best who can have it.
    pub fn look(self: &Arc<Self>) {
        let mut hall = self.hall.lock();
        self.serve_all(&mut hall, Instant::now());
    }

    /// The same, unless somebody has just done it.
    pub fn look_now_and_then(self: &Arc<Self>) {
        let (mut hall, now) = (self.hall.lock(), Instant::now());
        if now.saturating_duration_since(hall.looked) >= LOOK {
            self.serve_all(&mut hall, now);
        }
    }

    /// Places may have come free in a way that no lease tells.
    pub fn place_came_free(&self) {
        self.bell.place_came_free();
    }

    pub fn status(&self, now: Instant) -> QueueStatus {
        let most = self.control.snapshot().config.limits.queue as usize;
        let hall = self.hall.lock();
        QueueStatus {
            classes: hall.queue.waiting_by_class(now),
            most,
            per_second: hall.pace.per_second(now),
        }
    }

    /// Seconds after which whoever gave up waiting should try again.
    pub fn retry_after(&self, limits: &Limits, now: Instant) -> u32 {
        let hall = self.hall.lock();
        hall.pace
            .seconds_for(hall.queue.len(), limits.queue_timeout, now)
    }

    fn serve_all(self: &Arc<Self>, hall: &mut Hall, now: Instant) {
        hall.looked = now;
        while let Some((waiter, told)) = self.serve_one(hall, now) {
            let Waiter {
                ask,
                value: Entry { claim, tell, .. },
            } = waiter;
            let told = match told {
                Ok(selection) => {
                    hall.pace.note(now);
                    hall.standing.served(ask.priority, now);
                    Told::Seated(self.seat(hall, selection, claim))
                }
                Err(why) => Told::Nobody(why),
            };
            self.count(hall, ask.class);
            // A waiter takes itself out of the queue before it stops listening, so this one
            // listens.
            tell.send(told).expect("who is in the queue listens");
        }
        for priority in Priority::ALL {
            if hall.queue.len_of_priority(priority) == 0 {
                hall.standing.is_gone(priority);
            }
        }
        self.bell.set_waiting(hall.queue.len());
    }

    fn serve_one(
        &self,
        hall: &mut Hall,
        now: Instant,
    ) -> Option<(Waiter<Entry>, Result<Selection, NoUpstream>)> {
        let Hall { queue, limiter, .. } = hall;
        let may = |waiter: &Waiter<Entry>| limiter.user_may(&waiter.value.claim);
        let offer = |waiter: &Waiter<Entry>| match limiter.passage(&waiter.value.claim) {
            Passage::UserFull => Offer::UserMustWait,
            Passage::Full => Offer::ClassMustWait,
            Passage::Free => match self.select(&waiter.value.wanted, false, now) {
                Err(NoUpstream::Full | NoUpstream::NoVerdict) => Offer::ClassMustWait,
                decided => Offer::Taken(decided),
            },
        };
        queue.serve(may, offer)
    }

    fn seat(self: &Arc<Self>, hall: &mut Hall, selection: Selection, claim: Claim) -> Seat {
        if claim.is_empty() {
            return Seat {
                selection,
                permit: None,
            };
        }
        hall.limiter.enter(&claim);
        Seat {
            selection,
            permit: Some(Permit {
                claim,
                room: Arc::clone(self),
            }),
        }
    }

    /// From the newest snapshot; from the one after it, where a door was closed meanwhile.
    /// `may_join`: nobody waits.
    fn select(
        &self,
        wanted: &Wanted,
        may_join: bool,
        now: Instant,
    ) -> Result<Selection, NoUpstream> {
        let mut selected = Err(NoUpstream::NoneEligible);
        for _ in 0..MOST_LOOKS {
            let snapshot = self.control.snapshot();
            selected = wanted.select(&snapshot, may_join, now);
            if selected.is_ok() || snapshot.is(&self.control.snapshot()) {
                break;
            }
        }
        if let Ok(selection) = &selected {
            selection.upstream.load.attach(&self.bell);
        }
        selected
    }

    /// For the scrape.
    fn count(&self, hall: &Hall, class: RequestClass) {
        self.metrics.queue_length(class, hall.queue.len_of(class));
    }
}

impl Wanted {
    fn select(
        &self,
        snapshot: &Snapshot,
        may_join: bool,
        now: Instant,
    ) -> Result<Selection, NoUpstream> {
        let with_others = |tried: &Tried| match self.key {
            Some(key) if may_join => {
                snapshot.select_about(self.class, self.about, (Some(key), true), tried, now)
            }
            key => snapshot.select_about(self.class, self.about, (key, false), tried, now),
        };
        match self.main {
            MainWish::No => {}
            MainWish::ToSeeAChange => match snapshot.select_main(self.class, &self.tried, now) {
                Ok(selection) => return Ok(selection),
                // Waiting for the main is better than a refusal.
                Err(NoUpstream::Full) => {
                    return with_others(&self.tried).map_err(|_| NoUpstream::Full);
                }
                Err(NoUpstream::NoneEligible | NoUpstream::AllTried | NoUpstream::NoVerdict) => {}
            },
            MainWish::ForAnOpinion {
                replica,
                lacks_a_change,
            } => {
                match snapshot.select_fresh(self.class, &self.tried, now) {
                    Err(NoUpstream::Full) if lacks_a_change => return Err(NoUpstream::Full),
                    Err(_) => {}
                    found => return found,
                }
                let mut tried = self.tried.clone();
                tried.remove(replica);
                return with_others(&tried);
            }
        }
        with_others(&self.tried)
    }
}

impl Waiting {
    /// Stops waiting. What was given at the last moment is taken.
    pub fn leave(mut self) -> Option<Told> {
        if self.room.leave(self.ticket, Instant::now()) {
            None
        } else {
            self.told.try_recv().ok()
        }
    }

    pub fn look_now_and_then(&self) {
        self.room.look_now_and_then();
    }
}

impl WaitingRoom {
    /// False if it is not in the queue any more.
    fn leave(self: &Arc<Self>, ticket: Ticket, now: Instant) -> bool {
        let mut hall = self.hall.lock();
        let Some(waiter) = hall.queue.remove(ticket) else {
            return false;
        };
        self.count(&hall, waiter.ask.class);
        // The next of its user may go where it could not, if a config reload came between the two.
        self.serve_all(&mut hall, now);
        true
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        // If it was served meanwhile, the place drops with the channel, and goes on to the next.
        self.room.leave(self.ticket, Instant::now());
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut hall = self.room.hall.lock();
        hall.limiter.leave(&self.claim);
        if !hall.queue.is_empty() {
            self.room.serve_all(&mut hall, Instant::now());
        }
    }
}

#[cfg(test)]
mod tests;
