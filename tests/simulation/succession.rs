//! Restarts of geofront itself: the next process knows the configuration and the state file that
//! the last one left.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use geofront::balance::LearnedCap;
use geofront::cluster::{Cluster, Event, Memory, Mode};

use crate::audit::Upkeep;
use crate::ledger::Entry;
use crate::world::World;

impl World {
    pub(crate) fn succeed(&mut self) {
        self.handle(Event::Tick);
        let has_memory = self.chance.percent(75);
        let is_old = has_memory && self.old_memory.is_some() && self.chance.percent(20);
        let memory = match has_memory {
            true if is_old => self.old_memory.clone().expect("there is one"),
            true => self.cluster.memory(),
            false => Memory::default(),
        };
        self.tally.count(match has_memory {
            true if is_old => "a restart with an old memory",
            true => "a restart with a memory",
            false => "a restart without a memory",
        });
        let mut modes: BTreeMap<String, Mode> = self
            .oracle()
            .upstreams()
            .map(|status| (status.name.to_string(), status.mode))
            .collect();
        let mut learned: BTreeMap<SocketAddr, LearnedCap> = self
            .ledger
            .iter()
            .filter_map(|(key, entry)| Some((key.1, entry.learned?)))
            .collect();
        if is_old {
            modes = memory
                .modes
                .iter()
                .map(|ordered| (ordered.name.clone(), ordered.mode))
                .collect();
            learned = memory
                .limits
                .iter()
                .map(|known| (known.address, known.limit))
                .collect();
        }
        // An old file's record of catalogs may be wrong, and nothing reveals it.
        let is_assumed = |entry: &Entry| entry.upkeep.is_assumed || is_old;
        let assumed: Vec<_> = self
            .ledger
            .iter()
            .filter(|(_, entry)| is_assumed(entry))
            .map(|(key, _)| key.1)
            .collect();
        self.leave_room();
        self.leave_leases();
        self.cluster = Cluster::new(Arc::clone(&self.config), self.now);
        self.cluster.recall(&memory);
        (self.life, self.revision, self.sequence) = (self.life + 1, 1, 0);
        self.reports.clear();
        self.queries.clear();
        self.calls.clear();
        self.choices.clear();
        self.planned_hints.clear();
        self.audit.succeed();
        self.snapshot = self.cluster.snapshot();
        let is_reloading = memory.upstreams.iter().any(|known| known.is_reloading);
        if is_reloading {
            self.tally.count("a restart in the middle of a reload");
        }
        let main = self.main();
        for key in self.blueprint.keys().collect::<Vec<_>>() {
            let known = memory.upstreams.iter().find(|known| known.address == key.1);
            let is_owed = known.is_some_and(|known| known.main_update_sequence.is_none());
            let is_known = known.is_some() && key != main && !assumed.contains(&key.1);
            let learned = learned.get(&key.1).copied().filter(|_| has_memory);
            let mut entry = Entry::new(Upkeep::new(!is_known, is_owed));
            entry.learned = learned;
            self.ledger.insert(key.clone(), entry);
            if known.is_none() || is_old {
                self.machine(key.1).geoserver.disown();
            }
        }
        for status in self.cluster.status(self.now).upstreams {
            let ordered = modes
                .get(status.name.as_str())
                .copied()
                .filter(|_| has_memory)
                .unwrap_or(Mode::Ready);
            assert_eq!(
                status.mode, ordered,
                "{}: an order survives a restart with a memory",
                status.name
            );
            if ordered != Mode::Ready {
                self.tally.count("an order that survived a restart");
            }
        }
    }

    /// Those that run may go on beside the next one, as after an upgrade without an outage, or end
    /// here.
    fn leave_leases(&mut self) {
        let ledger = std::mem::take(&mut self.ledger);
        if self.chance.percent(50) {
            self.attempts.clear();
            self.retired.clear();
            return;
        }
        for entry in ledger.into_values().filter(|entry| entry.at_work.all > 0) {
            self.tally.count("a lease that outlived its geofront");
            let upstream = entry.upstream.expect("an upstream with leases was met");
            self.retired
                .insert((self.life, upstream.id), (upstream, entry.at_work.all));
        }
    }
}
