//! The actions of people and of the surroundings: machines break, modes are ordered, the
//! configuration is edited, and in the end it is calm.

use std::collections::BTreeMap;
use std::sync::Arc;

use geofront::cluster::{
    Event, HealthState, LastServing, Mode, ModeError, ModeOrder, ModeOrigin, ReloadPhase,
    UpstreamStatus,
};

use crate::audit::Upkeep;
use crate::blueprint::{freshening_time, recovery_time};
use crate::faults::Faults;
use crate::ledger::{Entry, Key};
use crate::machine::{Condition, LONGEST_ATTEMPT, LONGEST_START};
use crate::oracle::{is_set_aside, key};
use crate::world::{Todo, World};

impl World {
    /// Some machine breaks or recovers.
    pub(crate) fn weather(&mut self) {
        let key = self.some_upstream();
        let condition = Condition::random(&mut self.chance);
        self.set_condition(&key, condition);
        let (from, to) = self.weather_pace;
        self.plan_next(Todo::Weather, from, to);
    }

    pub(crate) fn order(&mut self) {
        let key = self.some_upstream();
        let mode = *self
            .chance
            .one_of(&[Mode::Ready, Mode::Ready, Mode::Drain, Mode::Maintenance]);
        let is_forced = self.chance.percent(30);
        if self.chance.percent(20) {
            self.old_memory = Some(self.cluster.memory());
        }
        self.order_mode(&key, mode, is_forced);
        self.plan_next(Todo::Order, 500, 8_000);
    }

    /// Orders a mode. The order is refused exactly when some class would lose its last upstream and
    /// the operator does not force it.
    fn order_mode(&mut self, key: &Key, mode: Mode, is_forced: bool) {
        self.handle(Event::Tick);
        let lost = self.oracle().classes_only_of(key);
        if mode == Mode::Maintenance
            && self.oracle().of(key).catalog.phase == ReloadPhase::Reloading
        {
            self.tally.count("an order in the middle of a reload");
        }
        let is_refused = mode != Mode::Ready && !is_forced && !lost.is_empty();
        let origin = Some(ModeOrigin {
            by: "an operator".to_owned(),
            at: 0,
        });
        match self.cluster.order_mode(
            &key.0,
            ModeOrder {
                mode,
                force: is_forced,
                origin,
            },
            self.now,
        ) {
            Ok(transitions) => {
                assert!(!is_refused, "{key:?} is the last that serves {lost:?}");
                self.hear(transitions);
            }
            Err(ModeError::LastServing(LastServing { classes, .. })) => {
                assert!(
                    is_refused,
                    "{key:?} is not the last that serves {classes:?}"
                );
                assert_eq!(classes, lost);
                self.tally.count("an order refused");
            }
            Err(ModeError::NoSuchUpstream(name)) => panic!("{name} is there"),
        }
    }

    /// The configuration is edited, a little or a lot, and put in force.
    pub(crate) fn edit(&mut self) {
        for _ in 0..self.chance.between(1, 3) {
            self.blueprint.edit(&mut self.chance);
        }
        self.reload();
        self.plan_next(Todo::Edit, 500, 8_000);
    }

    fn reload(&mut self) {
        self.handle(Event::Tick);
        self.check_catalogs();
        let (before, main) = (self.statuses(), self.main());
        self.config = self.blueprint.load();
        self.lacks_credentials |= !self.blueprint.has_credentials();
        self.keep_the_ledger();
        if self.main().1 != main.1 {
            self.tally.count("another main");
            let address = self.main().1;
            self.machine(address).geoserver.disown();
        }
        let transitions = self
            .cluster
            .handle(Event::Configured(Arc::clone(&self.config)), self.now);
        self.hear(transitions);
        let after = self.statuses();
        for (key, after) in after {
            let found = |is_it: &dyn Fn(&Key) -> bool| {
                before
                    .iter()
                    .find(|(known, _)| is_it(known))
                    .map(|(_, status)| status)
            };
            // Measurements belong to the address, orders to the name.
            let (here, namesake) = (
                found(&|known| known.1 == key.1),
                found(&|known| known.0 == key.0),
            );
            assert_eq!(
                after.mode,
                namesake.or(here).map_or(Mode::Ready, |status| status.mode),
                "{}",
                after.name
            );
            match here {
                Some(before) if before.mode == after.mode => assert_is_kept(before, &after),
                Some(before) => assert_eq!(before.in_flight, after.in_flight, "{}", after.name),
                None => assert_eq!((after.health, after.in_flight), (HealthState::Unknown, 0)),
            }
        }
    }

    fn statuses(&self) -> BTreeMap<Key, UpstreamStatus> {
        self.oracle()
            .upstreams()
            .map(|status| (key(status), status.clone()))
            .collect()
    }

    /// Moves upstreams that left to the retired, and gives each new one a page.
    fn keep_the_ledger(&mut self) {
        let keys: Vec<_> = self.blueprint.keys().collect();
        self.move_keys(&keys);
        let (kept, gone) = std::mem::take(&mut self.ledger)
            .into_iter()
            .partition(|(key, _)| keys.contains(key));
        self.ledger = kept;
        for (
            key,
            Entry {
                upstream, at_work, ..
            },
        ) in gone
        {
            // Whatever comes back under this name and at this address is another one.
            self.attempts
                .values_mut()
                .for_each(|attempt| attempt.request.keys.retain(|tried| *tried != key));
            self.room.forget(&key);
            self.machine(key.1).geoserver.disown();
            let leases = at_work.all;
            if leases > 0 {
                self.tally.count("retired with leases");
            }
            if let Some(upstream) = upstream {
                self.retired
                    .insert((self.life, upstream.id), (upstream, leases));
            }
        }
        let catalog = self.cluster.status(self.now).catalog;
        // Nothing is assumed of a newcomer that can be reloaded.
        let is_assumed = !self.blueprint.has_credentials();
        let new = || Entry::new(Upkeep::new(is_assumed, catalog.settled < catalog.epoch));
        for key in keys {
            self.ledger.entry(key).or_insert_with(new);
        }
    }

    /// Moves upstreams to other names. The machine at an address stays the same under another name.
    fn move_keys(&mut self, keys: &[Key]) {
        let renamed = |key: &Key| {
            keys.iter()
                .find(|new| new.1 == key.1 && new.0 != key.0)
                .cloned()
        };
        let moved = |key: &mut Key| *key = renamed(key).unwrap_or_else(|| key.clone());
        self.ledger = std::mem::take(&mut self.ledger)
            .into_iter()
            .map(|(key, entry)| (renamed(&key).unwrap_or(key), entry))
            .collect();
        for attempt in self
            .attempts
            .values_mut()
            .filter(|attempt| attempt.life == self.life)
        {
            moved(&mut attempt.key);
            attempt.request.keys.iter_mut().for_each(moved);
        }
        self.room.keys().for_each(moved);
        self.reports
            .values_mut()
            .for_each(|report| moved(&mut report.key));
        self.queries
            .values_mut()
            .for_each(|query| moved(&mut query.key));
        self.calls
            .values_mut()
            .for_each(|call| moved(&mut call.key));
        self.faults.key().into_iter().for_each(moved);
    }

    /// Faults, orders and edits stop. What was begun may still end badly.
    pub(crate) fn calm_down(&mut self) {
        (self.is_calm, self.calm, self.main_is_silent) = (true, Some(self.now), false);
        self.mend();
        self.change_faults(Faults::default());
        let keys: Vec<_> = self.ledger.keys().cloned().collect();
        keys.iter()
            .for_each(|key| self.order_mode(key, Mode::Ready, false));
        let recovery = LONGEST_ATTEMPT + LONGEST_START + recovery_time(&self.config);
        let failures = self
            .ledger
            .values()
            .map(|entry| entry.upkeep.failures)
            .max()
            .unwrap_or_default();
        if failures > 0 {
            self.tally.count("a world that had to retry in the end");
        }
        self.plan(recovery, Todo::Recovered);
        self.deadline = Some(self.now + recovery + freshening_time(&self.config, failures));
    }

    /// Checks that every upstream is back, unless its catalog prevents it.
    pub(crate) fn check_recovery(&self) {
        let is_out = |status: &UpstreamStatus| status.catalog.is_out;
        let was_reloaded =
            |status: &UpstreamStatus| self.ledger[&key(status)].upkeep.is_busy_since_calm;
        let is_kept =
            |status: &&UpstreamStatus| self.probes_draw || is_out(status) || was_reloaded(status);
        for status in self.oracle().upstreams().filter(|status| !is_kept(status)) {
            assert_eq!(status.health, HealthState::Up, "{status:?}");
            assert!(!is_set_aside(status), "{status:?}");
        }
    }

    /// Ends the world after a while without events, once every upstream is back and fresh.
    pub(crate) fn await_rest(&mut self) {
        let Some(deadline) = self.deadline.filter(|_| self.end.is_none()) else {
            return;
        };
        if self.is_fresh() {
            let quiet =
                LONGEST_ATTEMPT + (self.config.catalog.poll + self.config.health.timeout) * 2;
            self.end = Some(self.plan(quiet, Todo::Finish));
        }
        assert!(
            self.now < deadline,
            "no replica stays stale for ever: {:#?}",
            self.cluster.status(self.now)
        );
    }

    /// Checks that every upstream is back and that nothing is left behind.
    pub(crate) fn finish(&mut self) {
        assert!(
            self.is_fresh(),
            "a fresh replica stays fresh: {:#?}",
            self.cluster.status(self.now)
        );
        self.check_the_end();
        self.tally.count(if self.blueprint.can_reload() {
            "a world that ends fresh"
        } else {
            "a world that cannot reload"
        });
        self.leave_room();
        self.attempts.clear();
        let all = self
            .ledger
            .values()
            .filter_map(|entry| entry.upstream.as_ref())
            .chain(self.retired.values().map(|(u, _)| u));
        all.for_each(|upstream| assert_eq!(upstream.load.in_flight(), 0, "every lease ends"));
    }

    fn plan_next(&mut self, what: Todo, from_ms: u64, to_ms: u64) {
        let pause = self.chance.millis(from_ms, to_ms);
        self.plan(pause, what);
    }
}

/// Checks that a config reload keeps all state. An ejection may end with it, when no other upstream
/// is left or ejection is turned off; none begins.
fn assert_is_kept(before: &UpstreamStatus, after: &UpstreamStatus) {
    // An upstream with wrong answers comes back when the last one that does better leaves.
    let is_lifted =
        before.health != HealthState::Up && before.is_reachable && after.health == HealthState::Up;
    assert!(
        before.health == after.health || is_lifted,
        "{}",
        before.name
    );
    let facts =
        |status: &UpstreamStatus| (status.mode, status.in_flight, status.last_cause.clone());
    assert_eq!(facts(before), facts(after), "{}", before.name);
    assert!(
        is_set_aside(before) || !is_set_aside(after),
        "{}: no ejection begins",
        before.name
    );
    if is_set_aside(after) {
        assert_eq!(
            (before.ejected_for, before.half_open),
            (after.ejected_for, after.half_open),
            "{}",
            before.name
        );
    }
}
