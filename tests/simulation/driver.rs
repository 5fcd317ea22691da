//! The driver does what is due and sends the probes: mostly in time, sometimes late. Now and then a
//! report is lost.

use std::sync::Arc;
use std::time::{Duration, Instant};

use geofront::cluster::{Action, Event, Mode, Outcome, ProbeReport, ReloadPhase, Upstream};

use crate::ledger::{Entry, Key};
use crate::world::{Todo, World};

/// A probe that is this much overdue is lost. As in `health::Schedule`.
pub(crate) const REPORT_GRACE: Duration = Duration::from_secs(1);

/// On its way.
#[derive(Debug)]
pub(crate) struct Report {
    upstream: Arc<Upstream>,
    pub(crate) key: Key,
    sent_at: Instant,
    outcome: Outcome,
}

impl World {
    /// Polls without regard to deadlines.
    pub(crate) fn poll_now_and_then(&mut self) {
        if self.is_driver_late {
            self.poll();
            let pause = self.chance.millis(1, 700);
            self.plan(pause, Todo::Poll);
        }
    }

    /// The process does not run for a while. What waiters do then is checked after every step, and
    /// so only without them.
    pub(crate) fn stand_still(&mut self) {
        if !self.room.notifier.has_waiters() {
            self.tally.count("the process stood still");
            self.stands_still_until = self.now + self.chance.millis(300, 8_000);
        }
    }

    pub(crate) fn poll(&mut self) {
        self.handle(Event::Tick);
        while let Some(action) = self.cluster.poll_action(self.now) {
            self.look_again();
            self.act(action);
        }
        self.look_again();
        self.answer_snapshot();
        let next = self.cluster.next_deadline();
        assert!(next.is_none_or(|next| next > self.now), "no busy loop");
    }

    fn act(&mut self, action: Action) {
        if let Action::TruncateTiles { .. } = action {
            unreachable!("tile caches are shared");
        }
        if let Action::ChooseLayer(choice) = action {
            return self.begin_choice(choice);
        }
        let (Action::Probe(upstream)
        | Action::ReadUpdateSequence(upstream)
        | Action::TestCanary(upstream)
        | Action::TryCredentials(upstream)
        | Action::TryCanary(upstream)
        | Action::ReloadMain(upstream)
        | Action::ReloadCatalog(upstream)) = &action
        else {
            unreachable!("it was a choice");
        };
        let key = (
            upstream.name.to_string(),
            upstream
                .address
                .known()
                .expect("simulated upstreams have addresses"),
        );
        let (mode, phase) = {
            let oracle = self.oracle();
            (oracle.of(&key).mode, oracle.of(&key).catalog.phase)
        };
        assert_ne!(
            mode,
            Mode::Maintenance,
            "an upstream in maintenance gets no request of ours: {action:?}"
        );
        self.ledger
            .get_mut(&key)
            .expect("a retired upstream gets no request of ours")
            .meet(upstream);
        match action {
            Action::Probe(upstream) => {
                assert_ne!(
                    phase,
                    ReloadPhase::Reloading,
                    "no upstream is probed while it reloads"
                );
                self.begin_probe(key, upstream);
            }
            Action::ReadUpdateSequence(upstream) => self.begin_reading(&upstream),
            Action::TestCanary(upstream) => {
                assert!(
                    matches!(phase, ReloadPhase::Testing | ReloadPhase::Failed),
                    "only a reloaded upstream gets a canary"
                );
                self.begin_canary(&upstream);
            }
            Action::TryCanary(upstream) => self.begin_canary_elsewhere(&upstream),
            Action::TryCredentials(upstream) => self.begin_trying(&upstream),
            Action::ReloadCatalog(upstream) => self.begin_call(upstream),
            Action::ReloadMain(_) => panic!("`reload_main` is not configured"),
            Action::ChooseLayer(_) | Action::TruncateTiles { .. } => {
                unreachable!("it was handled above")
            }
        }
    }

    fn begin_probe(&mut self, key: Key, upstream: Arc<Upstream>) {
        let timeout = self.config.health.timeout;
        let entry = self.ledger.get_mut(&key).expect("it was met");
        if entry.probe_is_lost(self.now) {
            self.tally.count("a lost probe");
        }
        assert!(
            !entry.is_probed(),
            "{key:?} has one probe under way at most"
        );
        entry.probe_began(self.now, timeout + REPORT_GRACE);
        let machine = self.machine(key.1);
        let (condition, is_whole) = (machine.shows(), machine.geoserver.is_whole());
        let (took, outcome) = match condition.probe(&mut self.chance, timeout) {
            (took, outcome) if self.probes_draw => (took, self.map_outcome(outcome, is_whole)),
            (took, outcome) if upstream.is_main() => (took, self.lose_layer(outcome, is_whole)),
            (took, outcome) => (took, self.chosen_layer_outcome(outcome, is_whole)),
        };
        let (took, outcome) = self.as_far_as_we_get(took, outcome);
        let delay = match self.chance.below(40) {
            0 if !self.is_calm => return,
            1 if !self.is_calm => timeout + self.chance.millis(1_000, 4_000),
            _ => Duration::ZERO,
        };
        let number = self.plan(took + delay, Todo::Report);
        self.reports.insert(
            number,
            Report {
                upstream,
                key,
                sent_at: self.now,
                outcome,
            },
        );
    }

    pub(crate) fn report(&mut self, number: u64) {
        let Some(Report {
            upstream,
            key,
            sent_at,
            outcome,
        }) = self.reports.remove(&number)
        else {
            return;
        };
        let is_it = |entry: &&mut Entry| {
            entry
                .upstream
                .as_ref()
                .is_some_and(|known| known.id == upstream.id)
        };
        if let Some(entry) = self.ledger.get_mut(&key).filter(is_it) {
            if entry.probe_is_lost(self.now) {
                self.tally.count("a late report");
            }
            if entry.probe_reported(&outcome, sent_at, self.now, &self.config.health) {
                let others = self.ledger.iter_mut().filter(|(other, _)| **other != key);
                others.for_each(|(_, other)| other.measured.other_was_right(sent_at, self.now));
            }
        }
        let report = ProbeReport {
            outcome,
            took: self.now - sent_at,
        };
        self.handle(Event::Probed {
            upstream: upstream.id,
            report,
        });
    }
}
