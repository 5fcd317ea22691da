//! The world's slots, as the shipped waitlist uses them.

use geofront::admission::{ConcurrencyKeys, LimitCheck, SlotSearch, Slots, WaitlistResult};
use geofront::cluster::{NoUpstream, Selection};
use geofront::config::Priority;
use geofront::ogc::RequestClass;

use crate::line::Waiting;
use crate::room::{Arriving, Verdict};
use crate::world::World;

impl Slots<u64> for World {
    type Slot = Selection;
    type Admission = Selection;
    type Refusal = NoUpstream;

    fn find(&mut self, number: &u64, may_join: bool) -> SlotSearch<Selection, NoUpstream> {
        let selected = match self.room.newcomer.take_if(|it| it.number == *number) {
            Some(mut newcomer) => {
                newcomer.was_offered = true;
                self.check_newcomer(&newcomer.request);
                let selected = self.choose(&newcomer.request, may_join);
                self.room.newcomer = Some(newcomer);
                selected
            }
            None => self.find_for_waiter(*number),
        };
        match selected {
            Ok(selection) => SlotSearch::Found(selection),
            Err(why) if why.is_worth_a_wait() => SlotSearch::Full,
            Err(why) => SlotSearch::Refused(why),
        }
    }

    fn admit(&mut self, selection: Selection, _: ConcurrencyKeys) -> Selection {
        selection
    }

    fn prepare_wait(&mut self, number: &mut u64) {
        let newcomer = self.room.newcomer(*number).expect("a newcomer prepares");
        let (slot_request, held, was_offered) = (
            newcomer.slot_request,
            newcomer.request.held,
            newcomer.was_offered,
        );
        if !was_offered {
            assert_ne!(
                self.room.passage(&held),
                LimitCheck::Free,
                "limits are exact: {slot_request:?}"
            );
            self.tally.count("held by a limit");
        }
        let most = self.config.limits.queue as usize;
        let is_full = self.room.line.len() >= most;
        let is_one_too_many = self.is_one_too_many(slot_request.priority);
        let may_give_way = match (is_full, is_one_too_many && !slot_request.is_retry) {
            (true, _) => self.room.line.may_give_way(&slot_request, most),
            (false, true) => self.room.line.newest_of_longest_users(&slot_request),
            (false, false) => Vec::new(),
        };
        if is_one_too_many {
            self.room
                .patience
                .was_too_many(slot_request.priority, self.now);
            self.tally.count("one too many in an overload");
        }
        let newcomer = self.room.newcomer(*number).expect("a newcomer prepares");
        newcomer.verdict = Some(Verdict {
            is_full,
            is_too_long: is_full || (is_one_too_many && !slot_request.is_retry),
            may_give_way,
            has_shed: false,
        });
    }

    fn end_wait(&mut self, number: u64, result: WaitlistResult<Selection, NoUpstream>) {
        match result {
            WaitlistResult::Shed(_) => self.shed(number),
            WaitlistResult::Admitted(selection) => {
                let waiting = self.served(number);
                self.seat(waiting, selection);
            }
            WaitlistResult::Refused(_) => {
                let waiting = self.served(number);
                self.tally.count("waited until no upstream was left");
                self.refused.push(waiting.request);
            }
        }
    }

    fn set_waiting(&mut self, waiters: usize) {
        let lines_up = |newcomer: &mut Arriving| newcomer.verdict.is_some();
        if let Some(newcomer) = self.room.newcomer.take_if(lines_up) {
            self.line_up(newcomer);
        }
        for priority in Priority::ALL {
            let is_it = |waiting: &Waiting| waiting.slot_request.priority == priority;
            if !self.room.line.iter().any(is_it) {
                self.room.patience.came_in_at_once(priority, self.now);
            }
        }
        self.room.notifier.set_waiting(waiters);
    }

    fn set_waiting_of_class(&mut self, _: RequestClass, _: usize) {}
}
