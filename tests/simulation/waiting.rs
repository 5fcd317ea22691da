//! Where requests wait for a place: the real queue and the real bell, driven as `proxy::waiting`
//! drives them, and checked against a line that is kept the slow way (`line.rs`).
//!
//! ```text
//!   seek -- nobody waits, or nobody who could go: a place? --> an attempt
//!             none --> the queue --> a place, nobody left, shed, out of time, gone; each waiter one of these, once
//!   a lease ended, a new snapshot, a higher cap: the bell rings --> whoever can go goes, the best first
//! ```

use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use geofront::admission::{Ask, Limiter, Offer, Passage, Pushed, Queue, StandingQueue, Waiter};
use geofront::balance::Doorbell;
use geofront::cluster::{NoUpstream, Selection};
use geofront::config::Priority;
use geofront::ogc::RequestClass;

use crate::ledger::Key;
use crate::line::{Line, Waiting};
use crate::oracle::{Belongs, Oracle};
use crate::patience::Patience;
use crate::requests::{Held, Request};
use crate::world::{Todo, World};

/// Waiters look for a place themselves as often as this, all of them together. As in
/// `proxy::waiting`.
const LOOK: Duration = Duration::from_millis(250);

/// One geofront's.
#[derive(Debug)]
pub(crate) struct Room {
    /// Of the waiters' numbers.
    queue: Queue<u64>,
    bell: Arc<Doorbell>,
    is_rung: Arc<AtomicBool>,
    line: Line,
    limiter: Limiter,
    standing: StandingQueue,
    patience: Patience,
    /// Those whom the limiter counts.
    at_work: Vec<Held>,
    /// When somebody last looked for places for all.
    looked: Instant,
}

impl Room {
    pub(crate) fn new(now: Instant) -> Self {
        let is_rung = Arc::new(AtomicBool::new(false));
        let rung = Arc::clone(&is_rung);
        let bell = Arc::new(Doorbell::new(move || rung.store(true, Ordering::Relaxed)));
        Self {
            queue: Queue::new(0),
            bell,
            is_rung,
            line: Line::default(),
            limiter: Limiter::default(),
            standing: StandingQueue::new(now),
            patience: Patience::new(now),
            at_work: Vec::new(),
            looked: now,
        }
    }

    pub(crate) fn enter(&mut self, request: &Request) {
        if !request.claim.is_empty() {
            self.limiter.enter(&request.claim);
        }
        self.at_work.push(request.held);
    }

    /// Whether the limits leave room for it.
    fn passage(&self, held: &Held) -> Passage {
        let is_full = |most: Option<u32>, counts: &dyn Fn(&&Held) -> bool| {
            most.is_some_and(|most| self.at_work.iter().filter(counts).count() >= most as usize)
        };
        if is_full(held.of_user, &|other| {
            other.user == held.user && other.of_user.is_some()
        }) {
            Passage::UserFull
        } else if is_full(held.of_maps, &|other| other.of_maps.is_some()) {
            Passage::Full
        } else {
            Passage::Free
        }
    }

    /// To a place, or away, because there is nobody left for it.
    fn can_go(&self, oracle: &Oracle<'_>, waiting: &Waiting) -> bool {
        self.passage(&waiting.request.held) == Passage::Free
            && !matches!(
                oracle.belongs(&waiting.request),
                Belongs::Nowhere(NoUpstream::Full | NoUpstream::NoVerdict)
            )
    }

    /// Those that were tried, of all who wait.
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
        self.bell.place_came_free();
    }
}

impl World {
    /// A place at once, or one in the queue, or neither.
    pub(crate) fn seek(&mut self, request: Request) {
        let is_anyone_waiting = self.room.bell.is_anyone_waiting();
        assert_eq!(
            is_anyone_waiting,
            !self.room.line.is_empty(),
            "whoever comes knows whether somebody waits"
        );
        if is_anyone_waiting {
            self.serve_all("served after a look");
        }
        let passage = self.room.limiter.passage(&request.claim);
        assert_eq!(
            passage,
            self.room.passage(&request.held),
            "limits are exact: {request:?}"
        );
        if passage != Passage::Free {
            self.tally.count("held by a limit");
            return self.line_up(request);
        }
        match self.choose(&request) {
            Ok(selection) => {
                if !self.room.line.is_empty() {
                    self.tally.count("a place taken at once while others wait");
                }
                let priority = self.priority_of(&request);
                self.room.standing.is_gone(priority);
                self.room.patience.came_in_at_once(priority, self.now);
                self.begin_attempt(request, selection);
            }
            Err(NoUpstream::Full | NoUpstream::NoVerdict) => self.line_up(request),
            Err(NoUpstream::NoneEligible | NoUpstream::AllTried) => self.refused.push(request),
        }
    }

    fn choose(&mut self, request: &Request) -> Result<Selection, NoUpstream> {
        let may_join = self.room.queue.is_empty();
        let oracle = self.oracle();
        let is_hopeful = request.has_place(&self.snapshot);
        let selected = request.select(&self.snapshot, may_join, self.now);
        let is_hopeless = matches!(
            selected,
            Err(NoUpstream::NoneEligible | NoUpstream::AllTried | NoUpstream::NoVerdict)
        );
        assert!(
            request.from_main || is_hopeful != is_hopeless,
            "what is told without taking a place is true"
        );
        let happened = self.judge(&oracle, request, may_join, &selected);
        happened.into_iter().for_each(|what| self.tally.count(what));
        if let Ok(selection) = &selected {
            selection.upstream.load.attach(&self.room.bell);
        }
        selected
    }

    fn line_up(&mut self, request: Request) {
        let ask = Ask {
            class: request.class,
            priority: self.priority_of(&request),
            rules: request.claim.fingerprint(),
            from_main: request.from_main,
            user: request.user,
            arrived: self.now,
            is_retry: request.is_retry(),
        };
        let most = self.config.limits.queue as usize;
        let is_full = self.room.line.len() >= most;
        let is_one_too_many = self.is_one_too_many(ask.priority);
        let may_give_way = match (is_full, is_one_too_many && !ask.is_retry) {
            (true, _) => self.room.line.who_gives_way(&ask, most),
            (false, true) => self.room.line.who_has_more(&ask),
            (false, false) => Vec::new(),
        };
        let is_too_long = is_full || (is_one_too_many && !ask.is_retry);
        self.last_waiter += 1;
        let number = self.last_waiter;
        self.room.queue.set_most(most);
        self.room.queue.shorten(
            ask.priority,
            self.room.standing.most(ask.priority, self.now),
        );
        if is_one_too_many {
            self.room.standing.is_too_long(ask.priority, self.now);
            self.room.patience.was_too_many(ask.priority, self.now);
            self.tally.count("one too many in an overload");
        }
        let ticket = match self.room.queue.push(ask, number) {
            Pushed::Waits(ticket) => {
                assert!(
                    !is_too_long,
                    "no more than {most} wait, and fewer in an overload"
                );
                ticket
            }
            Pushed::WaitsInsteadOf(ticket, shed) => {
                assert!(
                    is_too_long && may_give_way.contains(&shed.value),
                    "{} of {may_give_way:?} gives way to {ask:?}",
                    shed.value
                );
                let shed = self.room.line.remove(shed.value, false);
                self.tally.count("shed");
                let happened = [
                    (ask.is_retry, "shed for a retry"),
                    (
                        !ask.is_retry && shed.ask.priority < ask.priority,
                        "shed from one who had more than half",
                    ),
                    (!is_full, "shed in an overload"),
                ];
                happened
                    .into_iter()
                    .filter(|(happened, _)| *happened)
                    .for_each(|(_, what)| self.tally.count(what));
                ticket
            }
            Pushed::Full(_) => {
                assert!(
                    is_too_long && may_give_way.is_empty(),
                    "one of {may_give_way:?} gives way to {ask:?}"
                );
                self.tally.count(if is_full {
                    "the queue was full"
                } else {
                    "refused in an overload"
                });
                return;
            }
        };
        self.room.standing.waits(ask.priority, self.now);
        self.room.patience.had_to_wait(ask.priority, self.now);
        let until = self.now + self.config.limits.queue_timeout;
        self.room.line.add(Waiting {
            number,
            ticket,
            ask,
            request,
            until,
        });
        self.plan(LOOK, Todo::Look(number));
        self.plan(self.config.limits.queue_timeout, Todo::TimeUp(number));
        if self.chance.percent(15) {
            let after = self.chance.millis(1, 3_000);
            self.plan(after, Todo::Leave(number));
        }
        self.room.bell.set_waiting(self.room.queue.len());
        self.serve_all("served after a look");
    }

    /// Every place that is free goes to the best who can have it.
    fn serve_all(&mut self, why: &'static str) {
        self.room.looked = self.now;
        while let Some((number, decided)) = self.serve_one() {
            let waiting = self.room.line.remove(number, true);
            if decided.is_ok() {
                self.room.standing.served(waiting.ask.priority, self.now);
                self.room
                    .patience
                    .was_served(waiting.ask.priority, self.now);
            }
            match decided {
                // Given back to the next.
                Ok(_) if self.chance.percent(3) => self.tally.count("left when its turn came"),
                Ok(selection) => self.seat(waiting, selection, why),
                Err(_) => {
                    self.tally.count("waited, and nobody was left");
                    self.refused.push(waiting.request);
                }
            }
        }
        for priority in Priority::ALL {
            if self.room.queue.len_of_priority(priority) == 0 {
                self.room.standing.is_gone(priority);
            }
            if self
                .room
                .line
                .iter()
                .all(|waiting| waiting.ask.priority != priority)
            {
                self.room.patience.came_in_at_once(priority, self.now);
            }
        }
        self.room.bell.set_waiting(self.room.queue.len());
    }

    fn priority_of(&self, request: &Request) -> Priority {
        request.priority(self.config.classes[request.class].priority)
    }

    /// As many of this priority wait as may.
    fn is_one_too_many(&self, priority: Priority) -> bool {
        let alike = self
            .room
            .line
            .iter()
            .filter(|waiting| waiting.ask.priority == priority)
            .count();
        self.room
            .patience
            .most(priority, self.now)
            .is_some_and(|most| alike >= most)
    }

    fn seat(&mut self, waiting: Waiting, selection: Selection, why: &'static str) {
        let Waiting { ask, request, .. } = waiting;
        self.tally.count(why);
        self.tally.count(if ask.is_retry {
            "a retry waited, and was served"
        } else {
            "waited, and was served"
        });
        let is_older =
            |other: &Waiting| other.ask.arrived < ask.arrived && other.ask.priority > ask.priority;
        if self.room.line.iter().any(is_older) {
            self.tally
                .count("waited longer than a newer one of a better class");
        }
        self.begin_attempt(request, selection);
    }

    /// Who is served, and how; the best of those who can go.
    fn serve_one(&mut self) -> Option<(u64, Result<Selection, NoUpstream>)> {
        let mut queue = mem::replace(&mut self.room.queue, Queue::new(0));
        let oracle = self.oracle();
        let expected = self
            .room
            .line
            .next(|waiting| self.room.can_go(&oracle, waiting));
        let offer = |waiter: &Waiter<u64>| {
            let request = &self
                .room
                .line
                .find(waiter.value)
                .expect("who is in the queue waits")
                .request;
            match self.room.limiter.passage(&request.claim) {
                Passage::UserFull => Offer::UserMustWait,
                Passage::Full => Offer::ClassMustWait,
                Passage::Free => match request.select(&self.snapshot, false, self.now) {
                    Err(NoUpstream::Full | NoUpstream::NoVerdict) => Offer::ClassMustWait,
                    decided => Offer::Taken(decided),
                },
            }
        };
        let claim = |waiter: &Waiter<u64>| {
            &self
                .room
                .line
                .find(waiter.value)
                .expect("who is in the queue waits")
                .request
                .claim
        };
        let served = queue.serve(|waiter| self.room.limiter.user_may(claim(waiter)), offer);
        let served = served.map(|(waiter, decided)| (waiter.value, decided));
        let (found, expected) = (
            served.as_ref().map(|(number, _)| *number),
            expected.map(|waiting| waiting.number),
        );
        assert_eq!(
            found, expected,
            "the best of those who can go is served: {:?}",
            self.room.line
        );
        let mut happened = Vec::new();
        if let Some((number, decided)) = &served {
            let waiting = self.room.line.find(*number).expect("who is served waits");
            happened = self.judge(&oracle, &waiting.request, false, decided);
            decided
                .iter()
                .for_each(|selection| selection.upstream.load.attach(&self.room.bell));
        }
        self.room.queue = queue;
        happened.into_iter().for_each(|what| self.tally.count(what));
        served
    }

    /// It is not at work any more, as far as limits count.
    pub(crate) fn give_back(&mut self, request: &Request) {
        let at = self
            .room
            .at_work
            .iter()
            .position(|held| *held == request.held);
        self.room
            .at_work
            .swap_remove(at.expect("who was let in is counted"));
        if request.claim.is_empty() {
            return;
        }
        self.room.limiter.leave(&request.claim);
        if !self.room.queue.is_empty() {
            self.serve_all("served when a limit left room");
        }
    }

    /// There is more room than there was.
    pub(crate) fn place_came_free(&mut self) {
        self.room.ring();
        self.answer_bell_with("served after learning");
    }

    /// A lease ended, or there is a new snapshot: then whoever keeps the queue looks at once.
    pub(crate) fn answer_bell(&mut self) {
        self.answer_bell_with("served after the end of a lease");
    }

    pub(crate) fn answer_snapshot(&mut self) {
        self.answer_bell_with("served from a new snapshot");
    }

    fn answer_bell_with(&mut self, why: &'static str) {
        while self.room.is_rung.swap(false, Ordering::Relaxed) {
            self.serve_all(why);
        }
    }

    /// Nobody does anything then: the wait is over that it is about, or somebody has looked just
    /// before.
    pub(crate) fn is_idle(&self, what: Todo, at: Instant) -> bool {
        match what {
            Todo::Look(number) => self.is_told(number) || at - self.room.looked < LOOK,
            Todo::TimeUp(number) | Todo::Leave(number) => self.is_told(number),
            _ => false,
        }
    }

    /// A waiter looks for all.
    pub(crate) fn look_for_places(&mut self, number: u64) {
        self.serve_all("served after a look");
        self.look_again_after(number, self.now);
    }

    /// It looks once more.
    pub(crate) fn look_again_after(&mut self, number: u64, at: Instant) {
        if !self.is_told(number) {
            self.plan(at + LOOK - self.now, Todo::Look(number));
        }
    }

    /// It does not wait any more.
    fn is_told(&self, number: u64) -> bool {
        self.room.line.find(number).is_none()
    }

    /// Its time is over, or its client is gone.
    pub(crate) fn stop_waiting(&mut self, number: u64, what: &'static str) {
        let ticket = self.room.line.remove(number, false).ticket;
        let removed = self.room.queue.remove(ticket).map(|waiter| waiter.value);
        assert_eq!(
            removed,
            Some(number),
            "who has not been told anything waits"
        );
        assert!(
            self.room.queue.remove(ticket).is_none(),
            "nobody leaves twice"
        );
        self.tally.count(what);
        self.serve_all("served when another left");
    }

    /// The queue ends with its geofront.
    pub(crate) fn leave_room(&mut self) {
        let room = mem::replace(&mut self.room, Room::new(self.now));
        room.line
            .iter()
            .for_each(|_| self.tally.count("waited when its geofront ended"));
    }

    /// What holds of the queue after every step.
    pub(crate) fn check_queue(&self, oracle: Oracle<'_>) {
        let Room {
            queue,
            bell,
            line,
            looked,
            ..
        } = &self.room;
        assert!(
            queue
                .waiters()
                .map(|waiter| waiter.value)
                .eq(line.iter().map(|waiting| waiting.number)),
            "who waits is known"
        );
        for class in RequestClass::ALL {
            let waiting = line
                .iter()
                .filter(|waiting| waiting.ask.class == class)
                .count();
            assert_eq!(queue.len_of(class), waiting, "{class}: waiters are counted");
        }
        assert_eq!(
            bell.is_anyone_waiting(),
            !line.is_empty(),
            "the bell knows whether somebody waits"
        );
        if line.is_empty() {
            return;
        }
        assert!(
            line.iter().all(|waiting| waiting.until >= self.now),
            "nobody waits longer than it may"
        );
        assert!(self.now - *looked < LOOK * 2, "somebody looks now and then");
        // What a ramp has freed since then is found by the next look.
        let oracle = oracle.at(*looked);
        // Where another took the one trial there was, that is found by the next look as well.
        let is_told_later = |waiting: &Waiting| {
            oracle.belongs(&waiting.request) == Belongs::Nowhere(NoUpstream::AllTried)
        };
        let overlooked =
            line.next(|waiting| self.room.can_go(&oracle, waiting) && !is_told_later(waiting));
        assert!(
            overlooked.is_none(),
            "nobody waits while a place is free: {overlooked:?} of {line:?}"
        );
    }
}
