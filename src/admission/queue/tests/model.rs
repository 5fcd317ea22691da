//! The queue against a model of it written the slow way.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    Push {
        class: usize,
        user: u64,
        rules: u64,
        is_retry: bool,
    },
    /// Serves while these classes and users cannot go.
    Serve {
        classes: BTreeSet<usize>,
        users: BTreeSet<u64>,
    },
    /// Removes the waiter at this place among all waiters.
    Leave(usize),
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let some = |most: usize| proptest::collection::btree_set(0..most, 0..most);
    prop_oneof![
        6 => (0..CLASSES.len(), 0..4_u64, 0..2_u64, 0..20_u32)
            .prop_map(|(class, user, rules, n)| {
                let is_retry = n == 0;
                Step::Push { class, user, rules, is_retry }
            }),
        3 => Just(Step::Serve { classes: BTreeSet::new(), users: BTreeSet::new() }),
        2 => (some(CLASSES.len()), some(4)).prop_map(|(classes, users)| {
            Step::Serve { classes, users: users.into_iter().map(|user| user as u64).collect() }
        }),
        1 => (0..50_usize).prop_map(Step::Leave),
        1 => (0..7_000_u64).prop_map(Step::Pass),
    ]
}

/// All waiters in order of arrival, and each lane's users in the order of their turns.
#[derive(Default)]
struct Model {
    waiting: Vec<(u64, SlotRequest)>,
    turns: Vec<((usize, u64), Vec<u64>)>,
}

fn class_index(slot_request: &SlotRequest) -> usize {
    CLASSES
        .iter()
        .position(|(class, _)| *class == slot_request.class)
        .unwrap()
}

impl Model {
    fn turns_of(&mut self, slot_request: &SlotRequest) -> &mut Vec<u64> {
        let lane = (class_index(slot_request), slot_request.rules);
        let at = self
            .turns
            .iter()
            .position(|(known, _)| *known == lane)
            .unwrap_or_else(|| {
                self.turns.push((lane, Vec::new()));
                self.turns.len() - 1
            });
        &mut self.turns[at].1
    }

    fn of_lane<'m>(
        &'m self,
        slot_request: &'m SlotRequest,
    ) -> impl Iterator<Item = &'m (u64, SlotRequest)> {
        self.waiting
            .iter()
            .filter(|(_, other)| !other.is_retry && other.lane() == slot_request.lane())
    }

    fn push(&mut self, number: u64, slot_request: SlotRequest) {
        let turns = self.turns_of(&slot_request);
        if !slot_request.is_retry && !turns.contains(&slot_request.user) {
            turns.push(slot_request.user);
        }
        self.waiting.push((number, slot_request));
    }

    fn remove(&mut self, number: u64, was_served: bool) {
        let at = self
            .waiting
            .iter()
            .position(|(other, _)| *other == number)
            .unwrap();
        let slot_request = self.waiting.remove(at).1;
        if slot_request.is_retry {
            return;
        }
        let has_more = self
            .of_lane(&slot_request)
            .any(|(_, other)| other.user == slot_request.user);
        let turns = self.turns_of(&slot_request);
        if was_served || !has_more {
            turns.retain(|user| *user != slot_request.user);
        }
        if was_served && has_more {
            turns.push(slot_request.user);
        }
    }

    /// The waiters to be served when some cannot go.
    fn best(&self, classes: &BTreeSet<usize>, users: &BTreeSet<u64>) -> Option<u64> {
        let can = |slot_request: &SlotRequest| {
            !classes.contains(&class_index(slot_request)) && !users.contains(&slot_request.user)
        };
        if let Some((number, _)) = self
            .waiting
            .iter()
            .find(|(_, slot_request)| slot_request.is_retry && can(slot_request))
        {
            return Some(*number);
        }
        let mut best: Option<(Instant, u64)> = None;
        for ((class, rules), turns) in &self.turns {
            let of_user = |user: &u64| {
                self.waiting.iter().find(|(_, slot_request)| {
                    !slot_request.is_retry
                        && class_index(slot_request) == *class
                        && slot_request.rules == *rules
                        && slot_request.user == *user
                        && can(slot_request)
                })
            };
            if let Some((number, slot_request)) = turns.iter().find_map(of_user) {
                let rank = (
                    slot_request.arrived + AGEING * u32::from(slot_request.priority.get()),
                    *number,
                );
                best = Some(best.map_or(rank, |best| best.min(rank)));
            }
        }
        best.map(|(_, number)| number)
    }
}

/// A queue, its model, and the end of every request that arrived.
struct Trial {
    queue: Queue<u64>,
    model: Model,
    now: Instant,
    came: u64,
    ended: BTreeSet<u64>,
    ids: Vec<(u64, WaiterId)>,
}

impl Trial {
    fn end(&mut self, number: u64) {
        assert!(self.ended.insert(number), "{number} ended twice");
        self.ids.retain(|(other, _)| *other != number);
    }

    fn push(&mut self, slot_request: SlotRequest) {
        self.came += 1;
        let (number, was_full) = (self.came, self.queue.len() >= 12);
        match self.queue.push(slot_request, number) {
            Pushed::Waits(id) => {
                assert!(!was_full);
                self.ids.push((number, id));
                self.model.push(number, slot_request);
            }
            Pushed::WaitsInsteadOf(id, shed) => {
                assert!(was_full && !shed.slot_request.is_retry);
                assert!(
                    slot_request.is_retry
                        || shed.slot_request.priority >= slot_request.priority
                        || shed.slot_request.user != slot_request.user
                );
                self.model.remove(shed.value, false);
                self.end(shed.value);
                self.ids.push((number, id));
                self.model.push(number, slot_request);
            }
            Pushed::Full(number) => {
                assert!(
                    was_full
                        && !self
                            .queue
                            .waiters()
                            .any(
                                |waiter| waiter.slot_request.priority > slot_request.priority
                                    && !waiter.slot_request.is_retry
                            )
                );
                self.end(number);
            }
        }
    }

    fn serve(&mut self, classes: &BTreeSet<usize>, users: &BTreeSet<u64>) {
        let expected = self.model.best(classes, users);
        let may = |waiter: &Waiter<u64>| !users.contains(&waiter.slot_request.user);
        let offer = |waiter: &Waiter<u64>| {
            if classes.contains(&class_index(&waiter.slot_request)) {
                Offer::ClassMustWait
            } else {
                Offer::Taken(())
            }
        };
        let served = self
            .queue
            .serve(may, offer)
            .map(|(waiter, ())| waiter.value);
        assert_eq!(served, expected);
        if let Some(number) = served {
            self.model.remove(number, true);
            self.end(number);
        }
    }

    fn leave(&mut self, at: usize) {
        let Some((number, id)) = self.ids.get(at).copied() else {
            return;
        };
        assert_eq!(
            self.queue.remove(id).map(|waiter| waiter.value),
            Some(number)
        );
        assert_eq!(self.queue.remove(id), None, "no waiter leaves twice");
        self.model.remove(number, false);
        self.end(number);
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Push {
                class,
                user,
                rules,
                is_retry,
            } => {
                let slot_request = slot_request(CLASSES[class].0, user, self.now);
                self.push(SlotRequest {
                    rules,
                    is_retry,
                    ..slot_request
                });
            }
            Step::Serve { classes, users } => self.serve(&classes, &users),
            Step::Leave(at) => self.leave(at),
            Step::Pass(millis) => self.now += Duration::from_millis(millis),
        }
        assert_eq!(self.queue.len(), self.model.waiting.len());
        assert!(self.queue.len() <= 12, "the bound holds");
    }
}

proptest! {
    #[test]
    fn in_any_story_each_waiter_is_served_in_the_models_order_and_ends_once(
        steps in proptest::collection::vec(step(), 1..120),
    ) {
        let (queue, model) = (Queue::new(12), Model::default());
        let (ended, ids) = (BTreeSet::new(), Vec::new());
        let mut trial = Trial { queue, model, now: Instant::now(), came: 0, ended, ids };
        steps.into_iter().for_each(|step| trial.step(step));
        for _ in 0..MANY {
            if trial.queue.is_empty() {
                break;
            }
            trial.serve(&BTreeSet::new(), &BTreeSet::new());
        }
        prop_assert_eq!(trial.ended.len() as u64, trial.came, "no request is lost");
    }

    /// The number of tiles does not matter, although each would go first.
    #[test]
    fn no_waiter_is_overtaken_by_a_better_class_that_came_later_than_ageing_allows(
        priority in 1..4_usize,
        gaps in proptest::collection::vec(1..400_u64, 100..300),
    ) {
        let (mut queue, start) = (Queue::new(1000), Instant::now());
        let mut now = start;
        wait(&mut queue, slot_request(CLASSES[priority].0, 7, start), None);
        for gap in gaps {
            now += Duration::from_millis(gap);
            wait(&mut queue, slot_request(RequestClass::Tile, gap, now), Some(now));
            let (served, ()) = queue.serve(|_| true, |_| Offer::Taken(())).unwrap();
            match served.value {
                Some(came) => prop_assert!(came <= start + AGEING * priority as u32),
                None => return Ok(()),
            }
        }
        prop_assert!(now <= start + AGEING * priority as u32, "it waited longer than promised");
    }

    /// A newcomer waits for one request of each user before it, not for their bursts.
    #[test]
    fn a_users_first_waits_for_at_most_one_request_of_each_other_user(
        bursts in proptest::collection::vec(1..30_usize, 1..8),
    ) {
        let (mut queue, now) = (Queue::new(1000), Instant::now());
        for (user, burst) in bursts.iter().enumerate() {
            for _ in 0..*burst {
                wait(&mut queue, slot_request(RequestClass::Map, user as u64, now), false);
            }
        }
        wait(&mut queue, slot_request(RequestClass::Map, 99, now), true);
        let position = serve_all(&mut queue).iter().position(|is_newcomer| *is_newcomer).unwrap();
        prop_assert!(position <= bursts.len());
    }
}
