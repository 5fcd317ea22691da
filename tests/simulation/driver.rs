//! Whoever sends the probes: mostly in time, sometimes late, and now and then a report is lost.

use std::time::Duration;

use geofront::cluster::{Action, Event, Mode, Outcome, ProbeReport, UpstreamId};

use crate::ledger::Key;
use crate::world::{Todo, World};

/// A probe that is this much overdue is lost. As in `health::Schedule`.
const REPORT_GRACE: Duration = Duration::from_secs(1);

/// On its way.
#[derive(Debug)]
pub(crate) struct Report {
    upstream: UpstreamId,
    key: Key,
    outcome: Outcome,
}

impl World {
    /// For a driver that does not look at deadlines.
    pub(crate) fn poll_now_and_then(&mut self) {
        if self.is_driver_late {
            self.poll();
            let pause = self.chance.millis(1, 700);
            self.plan(pause, Todo::Poll);
        }
    }

    pub(crate) fn poll(&mut self) {
        self.handle(Event::Tick);
        while let Some(Action::Probe(upstream)) = self.cluster.poll_action(self.now) {
            let key = (upstream.name.to_string(), upstream.address);
            assert_ne!(self.oracle().of(&key).mode, Mode::Maintenance, "nobody is probed in maintenance");
            let timeout = self.config.health.timeout;
            let entry = self.ledger.get_mut(&key).expect("nobody probes who retired");
            entry.meet(&upstream);
            if entry.probe_is_lost(self.now) {
                self.tally.count("a lost probe");
            }
            assert!(!entry.is_probed(), "{key:?} has one probe under way at most");
            entry.probe_began(self.now + timeout + REPORT_GRACE);
            self.begin_probe(key, upstream.id, timeout);
        }
        let next = self.cluster.next_deadline();
        assert!(next.is_none_or(|next| next > self.now), "no busy loop");
    }

    fn begin_probe(&mut self, key: Key, upstream: UpstreamId, timeout: Duration) {
        let (took, outcome) = self.condition(key.1).probe(&mut self.chance, timeout);
        let delay = match self.chance.below(40) {
            0 if !self.is_calm => return,
            1 if !self.is_calm => timeout + self.chance.millis(1_000, 4_000),
            _ => Duration::ZERO,
        };
        let number = self.plan(took + delay, Todo::Report);
        self.reports.insert(number, Report { upstream, key, outcome });
    }

    pub(crate) fn report(&mut self, number: u64) {
        let Report { upstream, key, outcome } = self.reports.remove(&number).expect("a report arrives once");
        if let Some(entry) = self.ledger.get_mut(&key) {
            if entry.probe_is_lost(self.now) {
                self.tally.count("a late report");
            }
            entry.probe_reported(&outcome, self.now);
        }
        let report = ProbeReport { outcome, took: Duration::from_millis(5) };
        self.handle(Event::Probed { upstream, report });
    }
}
