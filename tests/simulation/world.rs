//! One world: every actor acts at random, and every step is checked.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use geofront::cluster::{
    Cluster, ClusterStatus, Event, LayerChoice, Memory, Snapshot, Upstream, UpstreamId,
};
use geofront::config::Config;

use crate::administrators::PlannedHint;
use crate::attempts::Attempt;
use crate::audit::{Audit, Upkeep};
use crate::blueprint::Blueprint;
use crate::catalogs::{Call, Query};
use crate::chance::Chance;
use crate::driver::Report;
use crate::faults::Faults;
use crate::geoserver::{DataDirectory, GeoServer};
use crate::ledger::{Entry, Key, Tally};
use crate::machine::{Condition, Machine};
use crate::naive::{Bill, Naive};
use crate::oracle::Oracle;
use crate::requests::Request;
use crate::room::Room;

/// Duration of the phase in which all faults occur.
pub(crate) const CHAOS: Duration = Duration::from_secs(40);

pub(crate) struct World {
    pub(crate) chance: Chance,
    pub(crate) now: Instant,
    pub(crate) start: Instant,
    pub(crate) blueprint: Blueprint,
    pub(crate) config: Arc<Config>,
    pub(crate) cluster: Cluster,
    /// The snapshot that requests see, as `Control` would publish it.
    pub(crate) snapshot: Snapshot,
    pub(crate) agenda: BinaryHeap<Reverse<Planned>>,
    pub(crate) last_number: u64,
    pub(crate) directory: DataDirectory,
    pub(crate) machines: BTreeMap<SocketAddr, Machine>,
    pub(crate) ledger: BTreeMap<Key, Entry>,
    pub(crate) audit: Audit,
    /// The upstreams that left with leases in some life, and the number of their leases.
    pub(crate) retired: BTreeMap<(u32, UpstreamId), (Arc<Upstream>, u32)>,
    pub(crate) attempts: BTreeMap<u64, Attempt>,
    pub(crate) room: Room,
    pub(crate) last_waiter: u64,
    pub(crate) reports: BTreeMap<u64, Report>,
    pub(crate) queries: BTreeMap<u64, Query>,
    pub(crate) calls: BTreeMap<u64, Call>,
    /// The layer choices that are under way, with their start times and the layer chosen before.
    pub(crate) choices: BTreeMap<u64, (Instant, LayerChoice)>,
    /// The contents of an earlier state file.
    pub(crate) old_memory: Option<Memory>,
    /// The machines on which loads run, by the number of the load.
    pub(crate) loads: BTreeMap<u64, SocketAddr>,
    pub(crate) planned_hints: BTreeMap<u64, PlannedHint>,
    /// Probes are for a map, so that they fail where the catalog is empty.
    pub(crate) probes_draw: bool,
    /// The data directory is watched, and this was in it when last seen.
    pub(crate) watches_file: bool,
    pub(crate) file_number: u64,
    /// It answers, and reports no number.
    pub(crate) main_is_silent: bool,
    /// The range of milliseconds between two machine events. Where these are rare, a shared fault
    /// can be distinguished from them.
    pub(crate) weather_pace: (u64, u64),
    /// Between what administrators do, in milliseconds.
    pub(crate) pace: (u64, u64),
    /// There was no way to reload, at some time at least.
    pub(crate) lacks_credentials: bool,
    /// True when no fault occurs any more.
    pub(crate) is_calm: bool,
    /// Since then.
    pub(crate) calm: Option<Instant>,
    /// The time by which every upstream must be fresh.
    pub(crate) deadline: Option<Instant>,
    /// Set when every upstream is fresh: the world ends then unless something happens first.
    pub(crate) end: Option<u64>,
    /// Geofronts so far.
    pub(crate) life: u32,
    /// The process does not run until then; what happens meanwhile, it sees afterwards.
    pub(crate) stands_still_until: Instant,
    /// The driver checks for due work only now and then, not at each deadline.
    pub(crate) is_driver_late: bool,
    pub(crate) revision: u64,
    pub(crate) sequence: u64,
    pub(crate) tally: Tally,
    pub(crate) naive: Naive,
    pub(crate) faults: Faults,
    /// The layer that had been chosen when probes began to fail.
    pub(crate) faulty_layer: Option<String>,
    /// Requests that found no upstream just now.
    pub(crate) refused: Vec<Request>,
    pub(crate) is_replay: bool,
}

/// Ordered by time, then by when it was planned.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Planned {
    at: Instant,
    number: u64,
    what: Todo,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Todo {
    Arrive,
    EndAttempt,
    /// A waiter's event, with the waiter's number, like the two that follow.
    Look(u64),
    TimeUp(u64),
    Leave(u64),
    Report,
    Weather,
    Break,
    Order,
    Edit,
    Poll,
    Reading,
    Canary,
    CanaryElsewhere,
    Trying,
    /// A layer is chosen.
    Choice,
    CallEnds,
    LoadEnds,
    Administer,
    Publish,
    Hint,
    Succeed,
    StandStill,
    Calm,
    Recovered,
    Finish,
}

impl World {
    pub(crate) fn new(seed: u64, is_replay: bool) -> Self {
        let mut chance = Chance::new(seed);
        let now = Instant::now();
        let blueprint = Blueprint::random(&mut chance);
        let config = blueprint.load();
        let cluster = Cluster::new(Arc::clone(&config), now);
        let directory = DataDirectory::random(&mut chance);
        let new = || Entry::new(Upkeep::new(true, false));
        Self {
            snapshot: cluster.snapshot(),
            stands_still_until: now,
            is_driver_late: chance.percent(25),
            probes_draw: blueprint.probes_draw(),
            watches_file: chance.percent(30),
            file_number: directory.number,
            main_is_silent: false,
            weather_pace: *chance.one_of(&[(100, 6_000), (100, 6_000), (3_000, 60_000)]),
            pace: *chance.one_of(&[(200, 2_000), (1_000, 6_000), (5_000, 20_000)]),
            lacks_credentials: !blueprint.has_credentials(),
            ledger: blueprint.keys().map(|key| (key, new())).collect(),
            directory,
            audit: Audit::default(),
            chance,
            now,
            start: now,
            blueprint,
            config,
            cluster,
            agenda: BinaryHeap::new(),
            last_number: 0,
            machines: BTreeMap::new(),
            retired: BTreeMap::new(),
            attempts: BTreeMap::new(),
            room: Room::new(now),
            last_waiter: 0,
            reports: BTreeMap::new(),
            queries: BTreeMap::new(),
            calls: BTreeMap::new(),
            choices: BTreeMap::new(),
            old_memory: None,
            loads: BTreeMap::new(),
            planned_hints: BTreeMap::new(),
            is_calm: false,
            deadline: None,
            end: None,
            calm: None,
            life: 0,
            revision: 1,
            sequence: 0,
            tally: Tally::default(),
            naive: Naive::new(now),
            faults: Faults::default(),
            faulty_layer: None,
            refused: Vec::new(),
            is_replay,
        }
    }

    pub(crate) fn run(mut self) -> (Tally, Bill) {
        for what in [
            Todo::Poll,
            Todo::Arrive,
            Todo::Weather,
            Todo::Break,
            Todo::Order,
            Todo::Edit,
            Todo::Administer,
        ] {
            self.plan(Duration::ZERO, what);
        }
        self.plan(CHAOS, Todo::Calm);
        for _ in 0..self.chance.below(3) {
            let after = self.chance.millis(1_000, 40_000);
            self.plan(after, Todo::Succeed);
        }
        for _ in 0..self.chance.below(3) {
            let after = self.chance.millis(1_000, 40_000);
            self.plan(after, Todo::StandStill);
        }
        while self.step() {
            self.observe_truth();
            self.check_naively();
            self.check();
            self.check_catalogs();
            self.await_rest();
        }
        (self.tally, self.naive.bill)
    }

    /// The number of what is planned.
    pub(crate) fn plan(&mut self, after: Duration, what: Todo) -> u64 {
        self.last_number += 1;
        self.agenda.push(Reverse(Planned {
            at: self.now + after,
            number: self.last_number,
            what,
        }));
        self.last_number
    }

    /// Leaves out what comes next as long as that is nothing.
    fn skip_idle(&mut self) {
        while let Some(Reverse(next)) = self.agenda.peek()
            && self.is_idle(next.what, next.at)
        {
            let Planned { at, what, .. } = self.agenda.pop().expect("it was there").0;
            if let Todo::Look(waiter) = what {
                self.look_again_after(waiter, at);
            }
        }
    }

    /// False when the world ends.
    fn step(&mut self) -> bool {
        self.skip_idle();
        let next = self.agenda.peek().expect("the end is planned").0.at;
        let next = next.max(self.stands_still_until);
        let deadline = self
            .cluster
            .next_deadline()
            .filter(|deadline| !self.is_driver_late && *deadline < next);
        if let Some(deadline) = deadline {
            self.now = deadline.max(self.stands_still_until);
            self.poll();
            return true;
        }
        self.now = next;
        let Planned { number, what, .. } = self.agenda.pop().expect("it was there").0;
        match what {
            Todo::Arrive => self.arrive(),
            Todo::EndAttempt => self.end_attempt(number),
            Todo::Look(waiter) => self.look_for_places(waiter),
            Todo::TimeUp(waiter) => self.stop_waiting(waiter, "waited too long"),
            Todo::Leave(waiter) => self.stop_waiting(waiter, "left while waiting"),
            Todo::Report => self.report(number),
            Todo::Reading => self.report_number(number),
            Todo::Canary => self.report_canary(number),
            Todo::CanaryElsewhere => self.report_canary_elsewhere(number),
            Todo::Trying => self.report_trying(number),
            Todo::Choice => self.report_choice(number),
            Todo::CallEnds => self.give_up(number),
            Todo::LoadEnds => self.end_load(number),
            Todo::Hint => self.hint(number),
            Todo::Weather
            | Todo::Break
            | Todo::Order
            | Todo::Edit
            | Todo::Administer
            | Todo::Publish
            | Todo::Succeed
            | Todo::StandStill
                if self.is_calm => {}
            Todo::Administer => self.administer(),
            Todo::Publish => self.publish(),
            Todo::Succeed => self.succeed(),
            Todo::StandStill => self.stand_still(),
            Todo::Weather => self.weather(),
            Todo::Break => self.break_everything(),
            Todo::Order => self.order(),
            Todo::Edit => self.edit(),
            Todo::Poll => self.poll_now_and_then(),
            Todo::Calm => self.calm_down(),
            Todo::Recovered => self.check_recovery(),
            Todo::Finish if self.end == Some(number) => {
                self.finish();
                return false;
            }
            Todo::Finish => {}
        }
        self.follow_refusals();
        self.answer_snapshot();
        if !self.is_driver_late {
            self.poll();
        }
        true
    }

    /// Passes an event to the cluster, as `Control` does.
    pub(crate) fn handle(&mut self, event: Event) {
        self.lose_probes();
        let transitions = self.cluster.handle(event, self.now);
        self.hear(transitions);
        self.answer_snapshot();
    }

    pub(crate) fn oracle(&self) -> Oracle<'_> {
        self.oracle_of(Rc::new(self.cluster.status(self.now)))
    }

    /// Returns the oracle for a status that was taken now.
    pub(crate) fn oracle_of(&self, status: Rc<ClusterStatus>) -> Oracle<'_> {
        Oracle::new(&self.config, status, &self.ledger, self.now)
    }

    /// The one at this address, as it was found.
    pub(crate) fn machine(&mut self, address: SocketAddr) -> &mut Machine {
        let (chance, directory) = (&mut self.chance, &self.directory);
        self.machines.entry(address).or_insert_with(|| {
            let is_steady = self.weather_pace.0 > 1_000 && chance.percent(90);
            let condition = if is_steady {
                Condition::Healthy
            } else {
                Condition::random(chance)
            };
            let mut geoserver = GeoServer::found(directory, chance);
            if condition == Condition::Refusing {
                geoserver.stop();
            }
            Machine {
                condition,
                geoserver,
            }
        })
    }
}
