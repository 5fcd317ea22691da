//! The actions of people on GeoServers: they edit, click, reload and restart, through the front
//! door or past it.

use std::time::{Duration, Instant};

use geofront::cluster::{Event, FileChange, Hint, Sighting, SyncError};
use geofront::config::Role;

use crate::geoserver::{Load, LoadedBy};
use crate::ledger::Key;
use crate::machine::Condition;
use crate::world::{Todo, World};

/// The hint that the proxy will give about a change, and the edits that it covers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PlannedHint {
    hint: Hint,
    edits: u64,
    /// When it was done.
    began: Instant,
}

impl World {
    /// Applies one random action of an administrator.
    pub(crate) fn administer(&mut self) {
        match self.chance.below(18) {
            0..=5 => self.edit_in_a_burst(),
            6 => self.edit_without_number(),
            7 => self.order_sync(),
            8 | 9 => self.plan_hint(Hint::Ui, 0),
            10 => self.reload_behind_our_back(),
            11 | 12 => self.restart_some_process(),
            13 => self.reload_the_main(),
            14 => self.edit_on_disk(),
            15 => self.silence_the_main(),
            _ => self.see_stale(),
        }
        let (from, to) = self.pace;
        let pause = self.chance.millis(from, to);
        self.plan(pause, Todo::Administer);
    }

    /// A publication is many edits.
    fn edit_in_a_burst(&mut self) {
        for _ in 0..self.chance.between(1, 5) {
            let after = self.chance.millis(0, 1_500);
            self.plan(after, Todo::Publish);
        }
    }

    pub(crate) fn publish(&mut self) {
        let steps = self.chance.between(1, 8);
        if !self.edit_catalog(steps) {
            return;
        }
        match self.chance.below(10) {
            0..=3 => self.plan_hint(Hint::Write, self.directory.edits),
            4..=6 => self.plan_hint(Hint::Ui, self.directory.edits),
            _ => self.tally.count("an edit past the front door"),
        }
        self.file_changed();
    }

    fn edit_without_number(&mut self) {
        if self.edit_catalog(0) {
            self.tally.count("an edit without a number");
            self.plan_hint(Hint::Certain, self.directory.edits);
        }
    }

    /// Changes the files, like git or rsync. No GeoServer is involved, and chance decides whether
    /// and how the number in the directory moves.
    fn edit_on_disk(&mut self) {
        self.directory.edits += 1;
        let number = self.directory.number;
        self.directory.number = *self
            .chance
            .one_of(&[number + 50, number + 1, number / 2, number]);
        self.directory.is_edited_in_place = self.directory.number == number;
        self.tally.count("an edit on disk");
        self.file_changed();
    }

    /// It goes on serving, without a number.
    fn silence_the_main(&mut self) {
        self.main_is_silent = !self.main_is_silent;
        if self.main_is_silent {
            self.tally.count("a main without a number");
        }
    }

    /// True if the main can be worked with.
    fn edit_catalog(&mut self, steps: u64) -> bool {
        let address = self.main().1;
        let is_starting = self
            .machines
            .values()
            .any(|machine| machine.geoserver.is_starting());
        let machine = self.machine(address);
        let is_writable = machine.is_writable();
        if is_writable {
            let machine = self.machines.get_mut(&address).expect("it is there");
            machine.geoserver.edit(steps, &mut self.directory);
            self.tally.count(if is_starting {
                "an edit while a replica starts"
            } else {
                "an edit"
            });
        }
        is_writable
    }

    /// The answer passes by, a moment later.
    fn plan_hint(&mut self, hint: Hint, edits: u64) {
        let after = self.chance.millis(0, 50);
        let number = self.plan(after, Todo::Hint);
        self.planned_hints.insert(
            number,
            PlannedHint {
                hint,
                edits,
                began: self.now,
            },
        );
    }

    pub(crate) fn hint(&mut self, number: u64) {
        // Without an entry, an earlier geofront received the hint, or none did.
        let Some(PlannedHint { hint, edits, began }) = self.planned_hints.remove(&number) else {
            return;
        };
        if hint == Hint::File {
            return self.look_at_the_file();
        }
        self.handle(Event::Tick);
        let (ticket, transitions) = self.cluster.sight(
            &Sighting {
                began,
                ..Sighting::of(hint, self.now)
            },
            self.now,
        );
        self.hear(transitions);
        self.audit.promise(ticket, edits);
        match hint {
            Hint::Certain | Hint::Security => self.audit.noticed(&self.directory, self.now),
            Hint::Write | Hint::Ui | Hint::File => {}
        }
        self.tally.count(match hint {
            Hint::Certain | Hint::Security => "a certain hint",
            Hint::Write => "a write was seen",
            Hint::Ui => "a click was seen",
            Hint::File => unreachable!("the file is looked at"),
        });
    }

    /// The watch of the data directory will find another update sequence, or another text.
    pub(crate) fn file_changed(&mut self) {
        if self.watches_file
            && (self.file_number != self.directory.number || self.directory.is_edited_in_place)
        {
            self.plan_hint(Hint::File, 0);
        }
    }

    fn look_at_the_file(&mut self) {
        let number = self.directory.number;
        let before = std::mem::replace(&mut self.file_number, number);
        let is_edited = std::mem::take(&mut self.directory.is_edited_in_place);
        if before != number || is_edited {
            self.tally.count("the file was seen to change");
            self.handle(Event::DirectoryChanged(FileChange {
                update_sequence: number,
                before,
            }));
        }
    }

    fn order_sync(&mut self) {
        self.handle(Event::Tick);
        self.lose_probes();
        match self.cluster.order_sync(self.now) {
            Ok((epoch, transitions)) => {
                self.hear(transitions);
                let status = self.cluster.status(self.now).catalog;
                assert_eq!(
                    (status.epoch, status.settled),
                    (epoch, epoch),
                    "an order is settled at once"
                );
                self.tally.count("an order to sync");
            }
            Err(SyncError::NoCredentials) => {
                assert!(
                    !self.blueprint.has_credentials(),
                    "an order is refused for a reason"
                );
                self.tally.count("an order to sync refused");
            }
            Err(refused @ (SyncError::RollOff | SyncError::Paused)) => panic!("{refused}"),
        }
    }

    fn reload_behind_our_back(&mut self) {
        let key = self.some_upstream();
        if key == self.main() || !self.machine(key.1).is_writable() {
            return;
        }
        let (takes, succeeds) = (self.chance.millis(50, 8_000), self.chance.percent(85));
        self.queue(
            key.1,
            Load {
                succeeds,
                ..Load::new(LoadedBy::Other, takes)
            },
        );
        self.tally.count("a reload behind our back");
    }

    /// Reloads the main through the front door or past it. Past it, the update sequence of a
    /// patched main does not even move.
    fn reload_the_main(&mut self) {
        let address = self.main().1;
        if !self.machine(address).is_writable() {
            return;
        }
        let takes = self.chance.millis(50, 2_000);
        self.queue(address, Load::new(LoadedBy::Other, takes));
        if self.chance.percent(60) {
            self.plan_hint(Hint::Certain, 0);
        }
        self.tally.count("the main was reloaded");
    }

    /// Restarts a process so quickly that no probe may notice.
    fn restart_some_process(&mut self) {
        let key = self.some_upstream();
        if self.machine(key.1).geoserver.is_running {
            self.stop_process(&key);
            self.start_process(&key);
            self.tally.count("a process was restarted");
        }
    }

    /// The main serves a layer that a replica lacks, or seems to lack.
    fn see_stale(&mut self) {
        let key = self.some_upstream();
        self.report_stale(&key);
    }

    /// Does as the proxy does when the main answers a request that a replica could not.
    pub(crate) fn find_stale(&mut self, key: &Key) {
        let (edits, main) = (self.directory.edits, self.main().1);
        let geoserver = &self.machine(key.1).geoserver;
        let is_behind = !geoserver.is_whole() || geoserver.loaded < edits;
        if is_behind && self.machine(main).geoserver.is_whole() && self.chance.percent(15) {
            self.report_stale(key);
        }
    }

    fn report_stale(&mut self, key: &Key) {
        if let Some(upstream) = self.ledger[key]
            .upstream
            .as_ref()
            .map(|upstream| upstream.id)
        {
            let layer = format!("geor:l{}", self.chance.below(30)).into();
            self.handle(Event::StaleSeen {
                upstream,
                layer,
                sent: self.now,
            });
            self.tally.count("evidence of a stale replica");
        }
    }

    pub(crate) fn set_condition(&mut self, key: &Key, condition: Condition) {
        let before = std::mem::replace(&mut self.machine(key.1).condition, condition);
        match (
            before == Condition::Refusing,
            condition == Condition::Refusing,
        ) {
            (false, true) => self.stop_process(key),
            (true, false) => self.start_process(key),
            (true, true) | (false, false) => {}
        }
    }

    fn stop_process(&mut self, key: &Key) {
        let broken = self.machine(key.1).geoserver.stop();
        self.break_calls(broken);
    }

    fn start_process(&mut self, key: &Key) {
        let takes = self.chance.millis(100, 3_000);
        self.machine(key.1).geoserver.start(takes);
        self.load_next(key.1);
    }

    /// Administrators mend what they broke, and every hang ends.
    pub(crate) fn mend(&mut self) {
        let keys: Vec<_> = self.ledger.keys().cloned().collect();
        for key in keys {
            self.set_condition(&key, Condition::Healthy);
            let can_be_mended_by_us = self.blueprint.can_reload() && key != self.main();
            let geoserver = &mut self.machine(key.1).geoserver;
            geoserver.hurry();
            let is_ours = geoserver.emptied_by == Some(LoadedBy::Geofront) && can_be_mended_by_us;
            if geoserver.emptied_by.is_some() && !geoserver.is_loading() && !is_ours {
                geoserver.queue(Load::new(LoadedBy::Other, Duration::from_millis(500)));
            }
            self.load_next(key.1);
        }
    }

    pub(crate) fn main(&self) -> Key {
        let main = self
            .config
            .upstreams
            .iter()
            .find(|upstream| upstream.role == Role::Main)
            .expect("there is one");
        (
            main.name.to_string(),
            main.address
                .known()
                .expect("simulated upstreams have addresses"),
        )
    }

    pub(crate) fn some_upstream(&mut self) -> Key {
        let keys: Vec<_> = self.ledger.keys().cloned().collect();
        self.chance.one_of(&keys).clone()
    }
}
