//! Where requests wait for a slot: the shipped [`Waitlist`], driven with the world's slots and
//! checked against a line that is kept the slow way (`line.rs`).
//!
//! ```text
//!   seek -- may it bypass the list? a slot? --> an attempt
//!        -- request a slot of the list --> an attempt, refused, the queue is full, or it waits --> admitted, refused, shed, out of time, gone
//!   a lease ended, a new snapshot, a higher cap: the notifier calls --> serve: the best waiter that can go
//! ```
//!
//! Other threads release slots while the list is in use. Here that happens right after a search
//! that found none: the releaser sees how many waiters were published at that moment.

use std::mem;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use geofront::admission::{
    LimitCheck, Newcomer, RECHECK_INTERVAL, SlotRequest, Waitlist, WaitlistAnswer, may_bypass,
};
use geofront::cluster::{ClusterStatus, NoUpstream, Selection};
use geofront::config::{Effort, Priority};
use geofront::ogc::RequestClass;

use crate::line::Waiting;
use crate::oracle::{Belongs, Oracle};
use crate::requests::Request;
use crate::room::{Arriving, Pick, Room};
use crate::world::{Todo, World};

/// Percentage of the searches without a free slot that are followed by a release on another thread.
const RELEASED_MEANWHILE: u64 = 20;

impl World {
    /// A slot at once, or a place in the queue, or neither.
    pub(crate) fn seek(&mut self, request: Request) {
        let has_waiters = self.room.notifier.has_waiters();
        assert_eq!(
            has_waiters,
            !self.room.line.is_empty(),
            "a newcomer knows whether requests wait"
        );
        if may_bypass(has_waiters, &request.claim) {
            self.check_newcomer(&request);
            match self.choose(&request, true) {
                Ok(selection) => return self.admitted_at_once(request, selection),
                Err(why) if why.is_worth_a_wait() => {}
                Err(_) => return self.refused.push(request),
            }
        }
        self.seek_through_the_list(request);
    }

    fn seek_through_the_list(&mut self, request: Request) {
        self.last_waiter += 1;
        let number = self.last_waiter;
        let slot_request = SlotRequest {
            class: request.class,
            priority: self.priority_of(&request),
            rules: request.claim.fingerprint(),
            from_main: request.from_main,
            effort: request.effort,
            user: request.user,
            arrived: self.now,
            is_retry: request.is_retry(),
        };
        let newcomer = Newcomer {
            slot_request,
            keys: request.claim.clone(),
            request: number,
        };
        self.room.last = Some(number);
        self.room.newcomer = Some(Arriving {
            number,
            slot_request,
            request,
            was_offered: false,
            verdict: None,
        });
        let (config, now) = (Arc::clone(&self.config), self.now);
        let result = self.with_waitlist("served after a look", |list, world| {
            list.request_slot(newcomer, &config.limits, world, now)
        });
        let arriving = self.room.newcomer.take();
        self.room.last = None;
        match result {
            WaitlistAnswer::Admitted(selection) => {
                let arriving = arriving.expect("it does not wait");
                self.admitted_at_once(arriving.request, selection);
            }
            WaitlistAnswer::Refused(_) => {
                let arriving = arriving.expect("it does not wait");
                self.refused.push(arriving.request);
            }
            WaitlistAnswer::Full(_) => {
                self.refused_by_the_queue(&arriving.expect("it does not wait"))
            }
            WaitlistAnswer::Waiting(ticket) => {
                assert!(arriving.is_none(), "a waiter is in the line");
                self.room.line.set_ticket(number, ticket);
                self.plan_wait(number);
            }
        }
        self.answer_bell();
    }

    fn admitted_at_once(&mut self, request: Request, selection: Selection) {
        if !self.room.line.is_empty() {
            self.tally.count("a place taken at once while others wait");
        }
        let priority = self.priority_of(&request);
        self.room.patience.came_in_at_once(priority, self.now);
        self.begin_attempt(request, selection);
    }

    fn refused_by_the_queue(&mut self, arriving: &Arriving) {
        let verdict = arriving.verdict.as_ref().expect("it had to wait");
        assert!(
            verdict.is_too_long && verdict.may_give_way.is_empty(),
            "one of {verdict:?} gives way to {arriving:?}"
        );
        self.tally.count(if verdict.is_full {
            "the queue was full"
        } else {
            "refused in an overload"
        });
    }

    fn plan_wait(&mut self, number: u64) {
        if self.has_result(number) {
            return;
        }
        self.plan(RECHECK_INTERVAL, Todo::Look(number));
        self.plan(self.config.limits.queue_timeout, Todo::TimeUp(number));
        if self.chance.percent(15) {
            let after = self.chance.millis(1, 3_000);
            self.plan(after, Todo::Leave(number));
        }
    }

    /// A newcomer overtakes no request that can go, and exceeds no limit.
    pub(crate) fn check_newcomer(&self, request: &Request) {
        assert_eq!(
            self.room.passage(&request.held),
            LimitCheck::Free,
            "limits are exact: {request:?}"
        );
        if !self.room.line.is_empty() {
            let oracle = self.oracle();
            let overtaken = self.room.first_that_can_go(&oracle);
            assert!(
                overtaken.is_none() || self.room.is_raced,
                "{request:?} overtakes {overtaken:?}"
            );
        }
    }

    /// Selects for a newcomer.
    pub(crate) fn choose(
        &mut self,
        request: &Request,
        may_join: bool,
    ) -> Result<Selection, NoUpstream> {
        assert_eq!(
            may_join,
            self.room.line.is_empty(),
            "requests join others above a cap only while none waits"
        );
        let oracle = self.oracle();
        let is_hopeful = request.has_place(&self.snapshot);
        let selected = request.select(&self.snapshot, may_join, self.now);
        let is_hopeless = matches!(
            selected,
            Err(NoUpstream::NoneEligible | NoUpstream::AllTried | NoUpstream::NoVerdict)
        );
        assert!(
            request.from_main || is_hopeful != is_hopeless,
            "the answer without taking a slot is true"
        );
        let happened = self.judge(&oracle, request, may_join, &selected);
        happened.into_iter().for_each(|what| self.tally.count(what));
        self.searched(&selected, true);
        selected
    }

    /// After a search, other threads go on.
    fn searched(&mut self, selected: &Result<Selection, NoUpstream>, is_newcomer: bool) {
        match selected {
            Ok(selection) => selection.upstream.load.attach(&self.room.notifier),
            Err(NoUpstream::Full) if is_newcomer && self.chance.percent(RELEASED_MEANWHILE) => {
                if self.release_any() {
                    self.room.is_raced = true;
                    self.room.pick = None;
                    self.tally.count("a slot released after a search");
                }
            }
            Err(_) => {}
        }
    }

    /// Uses the list, and checks what holds after each use.
    fn with_waitlist<R>(
        &mut self,
        why: &'static str,
        call: impl FnOnce(&mut Waitlist<u64>, &mut Self) -> R,
    ) -> R {
        let mut list = self.room.waitlist.take().expect("no two use the list");
        (self.room.why, self.room.is_raced) = (why, false);
        let result = call(&mut list, self);
        self.room.waitlist = Some(list);
        self.room.pick = None;
        if !self.room.is_raced && !self.room.line.is_empty() && self.room.newcomer.is_none() {
            let oracle = self.oracle();
            let overlooked = self.room.first_that_can_go(&oracle);
            assert!(
                overlooked.is_none(),
                "a request that can go is served: {overlooked:?} of {:?}",
                self.room.line
            );
        }
        result
    }

    fn serve_all(&mut self, why: &'static str) {
        let now = self.now;
        self.with_waitlist(why, |list, world| list.serve(world, now));
    }

    fn priority_of(&self, request: &Request) -> Priority {
        let of_class = self.config.classes[request.class].priority;
        let [_, light, heavy, _] = Priority::ALL;
        request.priority(match request.effort {
            Effort::OfClass => of_class,
            Effort::Heavy => of_class.max(heavy),
            Effort::Light => of_class.min(light),
        })
    }

    /// True if the maximum number of requests of this priority waits.
    pub(crate) fn is_one_too_many(&self, priority: Priority) -> bool {
        let alike = self
            .room
            .line
            .iter()
            .filter(|waiting| waiting.slot_request.priority == priority)
            .count();
        self.room
            .patience
            .most(priority, self.now)
            .is_some_and(|most| alike >= most)
    }

    /// The newcomer waits from now on.
    pub(crate) fn line_up(&mut self, arriving: Arriving) {
        let verdict = arriving.verdict.expect("it prepared for waiting");
        assert!(
            !verdict.is_too_long || verdict.has_shed,
            "no more wait than may, and fewer in an overload"
        );
        self.room
            .patience
            .had_to_wait(arriving.slot_request.priority, self.now);
        self.room.line.add(Waiting {
            number: arriving.number,
            ticket: None,
            slot_request: arriving.slot_request,
            request: arriving.request,
            until: self.now + self.config.limits.queue_timeout,
        });
    }

    pub(crate) fn shed(&mut self, number: u64) {
        let newcomer = self.room.newcomer.as_mut();
        let newcomer = newcomer.expect("a waiter is shed for a newcomer");
        let (slot_request, verdict) = (newcomer.slot_request, newcomer.verdict.as_mut());
        let verdict = verdict.expect("it prepared for waiting");
        assert!(
            verdict.is_too_long && verdict.may_give_way.contains(&number) && !verdict.has_shed,
            "{number} of {verdict:?} gives way to {slot_request:?}"
        );
        verdict.has_shed = true;
        let is_full = verdict.is_full;
        let shed = self.room.line.remove(number, false);
        let happened = [
            (true, "shed"),
            (slot_request.is_retry, "shed for a retry"),
            (
                !slot_request.is_retry && shed.slot_request.priority < slot_request.priority,
                "shed from a user with more than half",
            ),
            (!is_full, "shed in an overload"),
        ];
        happened
            .into_iter()
            .filter(|(happened, _)| *happened)
            .for_each(|(_, what)| self.tally.count(what));
    }

    /// One of the line is served.
    pub(crate) fn served(&mut self, number: u64) -> Waiting {
        if let Some(pick) = self.room.pick.take().filter(|_| !self.room.is_raced) {
            assert_eq!(
                Some(number),
                pick.expected,
                "the best waiter that can go is served: {:?}",
                self.room.line
            );
        }
        self.room.line.remove(number, true)
    }

    pub(crate) fn seat(&mut self, waiting: Waiting, selection: Selection) {
        let Waiting {
            slot_request,
            request,
            ..
        } = waiting;
        self.room
            .patience
            .was_served(slot_request.priority, slot_request.arrived, self.now);
        if self.chance.percent(3) {
            self.tally.count("left when its turn came");
            return self.begin_attempt_after_client_left(request, selection);
        }
        self.tally.count(self.room.why);
        self.tally.count(if slot_request.is_retry {
            "a retry waited, and was served"
        } else {
            "waited, and was served"
        });
        let is_older = |other: &Waiting| {
            other.slot_request.arrived < slot_request.arrived
                && other.slot_request.priority > slot_request.priority
        };
        if self.room.line.iter().any(is_older) {
            self.tally
                .count("waited longer than a newer one of a better class");
        }
        self.begin_attempt(request, selection);
    }

    /// The state before a waiter is served: taken when the first of its searches begins.
    fn pick(&mut self) -> Rc<ClusterStatus> {
        if self.room.pick.is_none() {
            let status = Rc::new(self.cluster.status(self.now));
            let oracle = self.oracle_of(Rc::clone(&status));
            let expected = self
                .room
                .first_that_can_go(&oracle)
                .map(|waiting| waiting.number);
            self.room.pick = Some(Pick { status, expected });
        }
        Rc::clone(&self.room.pick.as_ref().expect("it was taken").status)
    }

    pub(crate) fn find_for_waiter(&mut self, number: u64) -> Result<Selection, NoUpstream> {
        let status = self.pick();
        let oracle = self.oracle_of(status);
        let waiting = self.room.line.find(number);
        let request = &waiting.expect("a request in the queue waits").request;
        assert_eq!(
            self.room.passage(&request.held),
            LimitCheck::Free,
            "limits are exact: {request:?}"
        );
        let selected = request.select(&self.snapshot, false, self.now);
        let happened = match &selected {
            Err(why) if why.is_worth_a_wait() => Vec::new(),
            _ => self.judge(&oracle, request, false, &selected),
        };
        happened.into_iter().for_each(|what| self.tally.count(what));
        self.searched(&selected, self.room.last == Some(number));
        selected
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
            .swap_remove(at.expect("an admitted request is counted"));
        if request.claim.is_empty() {
            return;
        }
        let now = self.now;
        self.with_waitlist("served when a limit left room", |list, world| {
            list.release(&request.claim, world, now);
        });
    }

    /// There is more room than there was.
    pub(crate) fn place_came_free(&mut self) {
        self.room.ring();
        self.answer_bell_with("served after learning");
    }

    /// A lease ended: the list is served at once.
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

    /// True if the event has no effect: its wait is over, or the list was served just before.
    pub(crate) fn is_idle(&self, what: Todo, at: Instant) -> bool {
        match what {
            Todo::Look(number) => {
                self.has_result(number) || at - self.room.waitlist().served_at() < RECHECK_INTERVAL
            }
            Todo::TimeUp(number) | Todo::Leave(number) => self.has_result(number),
            _ => false,
        }
    }

    /// A waiter looks for all.
    pub(crate) fn look_for_places(&mut self, number: u64) {
        let now = self.now;
        self.with_waitlist("served after a look", |list, world| {
            list.serve_if_due(world, now);
        });
        self.look_again_after(number, self.now);
    }

    /// It looks once more.
    pub(crate) fn look_again_after(&mut self, number: u64, at: Instant) {
        if !self.has_result(number) {
            self.plan(at + RECHECK_INTERVAL - self.now, Todo::Look(number));
        }
    }

    /// It does not wait any more.
    fn has_result(&self, number: u64) -> bool {
        self.room.line.find(number).is_none()
    }

    /// Its time is over, or its client is gone.
    pub(crate) fn stop_waiting(&mut self, number: u64, what: &'static str) {
        let ticket = self.room.line.remove(number, false).ticket;
        let ticket = ticket.expect("a waiter has a ticket");
        let now = self.now;
        self.tally.count(what);
        let leave = |list: &mut Waitlist<u64>, world: &mut Self| list.leave(ticket, world, now);
        let has_left = self.with_waitlist("served when another left", leave);
        assert!(has_left, "a request that has no result waits");
        assert!(
            !self.with_waitlist("served when another left", leave),
            "a request leaves once"
        );
    }

    /// The queue ends with its geofront.
    pub(crate) fn leave_room(&mut self) {
        let room = mem::replace(&mut self.room, Room::new(self.now));
        room.line
            .iter()
            .for_each(|_| self.tally.count("waited when its geofront ended"));
    }

    /// Checks the queue after every step.
    pub(crate) fn check_queue(&self, oracle: Oracle<'_>) {
        let Room { notifier, line, .. } = &self.room;
        let list = self.room.waitlist();
        assert!(
            list.waiters()
                .copied()
                .eq(line.iter().map(|waiting| waiting.number)),
            "every waiter is known"
        );
        for class in RequestClass::ALL {
            let waiting = line
                .iter()
                .filter(|waiting| waiting.slot_request.class == class)
                .count();
            assert_eq!(list.len_of(class), waiting, "{class}: waiters are counted");
        }
        assert_eq!(
            notifier.has_waiters(),
            !line.is_empty(),
            "the notifier knows whether requests wait"
        );
        if line.is_empty() {
            return;
        }
        assert!(
            line.iter().all(|waiting| waiting.until >= self.now),
            "no request waits longer than it may"
        );
        let served_at = list.served_at();
        assert!(
            self.now - served_at < RECHECK_INTERVAL * 2,
            "the waiters look now and then"
        );
        // A slot that a ramp has freed since then is found by the next search.
        let oracle = oracle.at(served_at);
        // If another request took the only trial, the next search finds that as well.
        let is_told_later = |waiting: &Waiting| {
            oracle.belongs(&waiting.request) == Belongs::Nowhere(NoUpstream::AllTried)
        };
        let overlooked =
            line.next(|waiting| self.room.can_go(&oracle, waiting) && !is_told_later(waiting));
        assert!(
            overlooked.is_none(),
            "no request waits while a slot is free: {overlooked:?} of {line:?}"
        );
    }
}
