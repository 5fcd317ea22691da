//! The machine itself: the effects of each event, each order and the passing of time.

mod view;

use std::collections::HashSet;
use std::mem;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::chosen_layer::Choosing;
use super::conditions::Conditions;
use super::reconcile::{self, Reconciled};
use super::shared_faults::SharedFaults;
use super::upstream_state::{Meaning, UpstreamState};
use super::upstreams::Upstreams;
use super::{
    Action, CatalogMachine, Event, Hint, Hold, LastServing, Memory, Mode, ModeError, ModeOrder,
    Outcome, ProbeReport, ReplicaCatalog, RollReport, Sighting, Subject, SyncError, Ticket,
    Transition, TransitionKind, Tried, Truncation, Upstream, UpstreamId,
};
use crate::config::{Address, CertificateTrouble, Config, Role, UpstreamConfig, UpstreamName};
use crate::health::Schedule;
use crate::ogc::RequestClass;

/// The transition shown for a replica about which nothing is known.
const NEWCOMER: TransitionKind = TransitionKind::Stale {
    why: "it is new: which catalog it has loaded is not known",
};

/// The state machine of the cluster.
#[derive(Debug)]
pub struct Cluster {
    /// Revision of the configuration; the first is 1.
    revision: u64,
    pub(super) upstreams: Upstreams,
    ids: Ids,
    catalog: CatalogMachine,
    /// The conditions that hold. [`Self::settle`] writes them.
    conditions: Conditions,
    /// The part of the memory about upstreams without a known address.
    unclaimed: Memory,
    /// The faults of the last minute.
    faults: SharedFaults,
    choosing: Choosing,
    /// The certificates that need an operator.
    certificates: Vec<CertificateTrouble>,
    /// True if requests would see a difference from the snapshot last taken.
    is_visibly_changed: bool,
    snapshots_taken: usize,
}

/// The source of identities, and with them of slots in the common schedule of probes.
#[derive(Debug)]
struct Ids {
    next: u32,
    origin: Instant,
}

impl Ids {
    fn track(
        &mut self,
        config: &UpstreamConfig,
        catalog: ReplicaCatalog,
        now: Instant,
    ) -> UpstreamState {
        let id = UpstreamId(self.next);
        self.next = self
            .next
            .checked_add(1)
            .expect("there are fewer than four billion changes of the configuration");
        let upstream = Arc::new(Upstream::new(id, config, Arc::default()));
        UpstreamState::new(
            upstream,
            config,
            Schedule::new(self.origin, id.0, now),
            catalog,
            now,
        )
    }
}

impl Cluster {
    /// Builds a cluster in which everything is unknown and the first probes are due at `now`.
    pub fn new(config: Arc<Config>, now: Instant) -> Self {
        let mut ids = Ids {
            next: 0,
            origin: now,
        };
        let catalog = CatalogMachine::new();
        let track = |upstream| ids.track(upstream, catalog.of_a_newcomer(false, now), now);
        let states = config.upstreams.iter().map(track).collect();
        Self {
            revision: 1,
            upstreams: Upstreams::new(config, states),
            ids,
            catalog,
            conditions: Conditions::default(),
            unclaimed: Memory::default(),
            faults: SharedFaults::default(),
            choosing: Choosing::new(now),
            certificates: Vec::new(),
            is_visibly_changed: false,
            snapshots_taken: 0,
        }
    }

    /// Takes in an event. Returns the changes that it caused.
    pub fn handle(&mut self, event: Event, now: Instant) -> Vec<Transition> {
        self.pass_time(now);
        match event {
            Event::Configured(config) => self.configured(config, now),
            Event::Resolved { upstream, address } => self.resolved(&upstream, address, now),
            Event::Probed { upstream, report } => self.probed(upstream, report, now),
            Event::Observed {
                upstream,
                sent,
                outcome,
                subject,
            } => self.observed(upstream, sent, outcome, subject, now),
            Event::LayerChosen { sent_at, layer } => {
                self.choosing
                    .chosen(&mut self.upstreams, sent_at, layer, now);
            }
            Event::LayerLost { layer } => self.choosing.lost(&mut self.upstreams, &layer),
            Event::UpdateSequenceRead { .. }
            | Event::CatalogReloaded { .. }
            | Event::CredentialsTried { .. }
            | Event::CanaryTested { .. }
            | Event::CanaryTried { .. }
            | Event::MainReloaded { .. }
            | Event::TilesTruncated { .. }
            | Event::DirectoryChanged(_)
            | Event::StaleSeen { .. } => self.catalog.handle(&mut self.upstreams, event, now),
            Event::CertificatesChecked(troubles) => self.certificates = troubles,
            Event::Tick => {}
        }
        self.settle(now);
        self.upstreams.take_transitions()
    }

    /// Carries out an operator's order, without a record of its origin.
    pub fn set_mode(
        &mut self,
        name: &str,
        mode: Mode,
        force: bool,
        now: Instant,
    ) -> Result<Vec<Transition>, ModeError> {
        self.order_mode(
            name,
            ModeOrder {
                mode,
                force,
                origin: None,
            },
            now,
        )
    }

    /// Carries out an operator's order. It is refused, unless forced, when it takes away the last
    /// upstream that serves some class.
    pub fn order_mode(
        &mut self,
        name: &str,
        order: ModeOrder,
        now: Instant,
    ) -> Result<Vec<Transition>, ModeError> {
        let at = self
            .upstreams
            .iter()
            .position(|state| state.upstream.name.as_str() == name);
        let at = at.ok_or_else(|| ModeError::NoSuchUpstream(name.to_owned()))?;
        if order.mode != Mode::Ready && !order.force {
            self.refuse_the_last(at)?;
        }
        let changes = self.upstreams[at].set_mode(order.mode, order.origin, now);
        self.upstreams.report(at, changes);
        self.settle(now);
        Ok(self.upstreams.take_transitions())
    }

    /// Returns the next action that is due; call until `None`. Changes caused by the passing of
    /// time are reported by the next [`Self::handle`].
    pub fn poll_action(&mut self, now: Instant) -> Option<Action> {
        self.pass_time(now);
        self.settle(now);
        let timeout = self.upstreams.config.health.timeout;
        let is_due = |state: &&mut UpstreamState| state.probes.due().is_some_and(|due| due <= now);
        let next = self
            .upstreams
            .iter_mut()
            .filter(is_due)
            .min_by_key(|state| state.probes.due());
        let Some(next) = next else {
            return self
                .catalog
                .poll_action(&mut self.upstreams, now)
                .or_else(|| {
                    let choice = self.choosing.begin(&self.upstreams, now)?;
                    Some(Action::ChooseLayer(choice))
                });
        };
        next.begin_probe(now, timeout);
        Some(Action::Probe(Arc::clone(&next.upstream)))
    }

    /// Returns the time of the next action that is due without an event.
    pub fn next_deadline(&self) -> Option<Instant> {
        let upstreams = self.upstreams.iter().filter_map(UpstreamState::deadline);
        upstreams
            .chain(self.catalog.deadline(&self.upstreams))
            .chain(self.faults.deadline())
            .chain(self.choosing.deadline(&self.upstreams))
            .min()
    }

    /// Takes in an event that may have changed the catalog. The ticket is resolved when all
    /// replicas have the change.
    pub fn hint(&mut self, hint: Hint, now: Instant) -> (Ticket, Vec<Transition>) {
        self.sight(&Sighting::of(hint, now), now)
    }

    /// Takes in a hint as [`Self::hint`] does, with the known facts about its request.
    pub fn sight(&mut self, sighting: &Sighting, now: Instant) -> (Ticket, Vec<Transition>) {
        let ticket = self.catalog.sight(&mut self.upstreams, sighting, now);
        self.settle(now);
        (ticket, self.upstreams.take_transitions())
    }

    /// Takes in a truncation of tiles that an upstream has carried out. All others with a cache of
    /// their own owe the same.
    pub fn note_truncation(
        &mut self,
        carried_out_by: UpstreamId,
        truncation: &Truncation,
        now: Instant,
    ) -> Vec<Transition> {
        self.catalog
            .owe_truncation(&mut self.upstreams, carried_out_by, truncation);
        self.settle(now);
        self.upstreams.take_transitions()
    }

    /// Orders a reload of all replicas now. Returns the epoch that they will have.
    pub fn order_sync(&mut self, now: Instant) -> Result<(u64, Vec<Transition>), SyncError> {
        let epoch = self.catalog.order(&mut self.upstreams, now)?;
        self.pass_time(now);
        self.settle(now);
        Ok((epoch, self.upstreams.take_transitions()))
    }

    /// Carries out an operator's order to pause or resume rolls. While rolls are paused, no replica
    /// leaves service for its catalog. Replicas that are out already come back.
    pub fn pause_rolls(&mut self, is_paused: bool, now: Instant) -> Vec<Transition> {
        self.catalog.pause(&mut self.upstreams, is_paused);
        self.settle(now);
        self.upstreams.take_transitions()
    }

    /// Holds all catalog reloads because of another process, or lets them go on.
    pub fn hold_reloads(&mut self, hold: Option<Hold>, now: Instant) -> Vec<Transition> {
        self.catalog.hold(hold);
        self.settle(now);
        self.upstreams.take_transitions()
    }

    /// Takes the rolls that ended since the last call.
    pub fn take_ended_rolls(&mut self) -> Vec<RollReport> {
        self.catalog.take_ended_rolls()
    }

    /// True if the replica's next reload must also bring a change of security, which a catalog
    /// reload alone leaves out.
    pub fn owes_security(&self, id: UpstreamId) -> bool {
        self.catalog.owes_security(&self.upstreams, id)
    }

    /// Attempts to make an upstream available to a request of `class` that finds none beside those
    /// in `tried`. Returns true if another selection may find one.
    pub fn rescue(
        &mut self,
        class: RequestClass,
        tried: &Tried,
        now: Instant,
    ) -> (bool, Vec<Transition>) {
        self.pass_time(now);
        self.settle(now);
        // Time may have helped, or the rescue of another request.
        if !self.snapshot().has_place(class, tried) {
            let epoch = self.catalog.epoch();
            self.upstreams.rescue(class, tried, epoch, now);
            self.settle(now);
        }
        let is_found = self.snapshot().has_place(class, tried);
        (is_found, self.upstreams.take_transitions())
    }

    /// True if [`Self::rescue`] would help.
    pub fn could_rescue(&self, class: RequestClass, tried: &Tried) -> bool {
        let epoch = self.catalog.epoch();
        self.upstreams.rescuer(class, tried, epoch).is_some()
    }

    /// Restores the knowledge of the process before this one. It must be called before anything
    /// else.
    pub fn recall(&mut self, memory: &Memory) {
        let start = self.ids.origin;
        self.unclaimed.clone_from(memory);
        for state in self.upstreams.iter_mut() {
            self.unclaimed.recall_address(state, start);
            memory.recall_mode(state, start);
        }
        // The process before may have had another configuration.
        self.catalog.forget_shared_tiles(&mut self.upstreams, start);
        self.choosing.layer.clone_from(&memory.chosen_layer);
    }

    /// Returns the knowledge that a later process needs. It omits upstreams about which nothing is
    /// known.
    pub fn memory(&self) -> Memory {
        let mut memory = Memory {
            chosen_layer: self.choosing.layer.clone(),
            ..Memory::default()
        };
        for state in self.upstreams.iter() {
            memory.add(state, &self.catalog, &self.unclaimed);
        }
        memory
    }

    /// Returns the layer that probes and canaries draw, if geofront chose one.
    pub fn chosen_layer(&self) -> Option<&str> {
        self.choosing.in_force(&self.upstreams)
    }

    fn configured(&mut self, config: Arc<Config>, now: Instant) {
        let has_others =
            self.upstreams.config.geoserver.credentials != config.geoserver.credentials;
        self.catalog.reconfigured();
        self.upstreams.config = config;
        self.revision += 1;
        if has_others {
            self.upstreams
                .iter_mut()
                .filter(|state| state.refuses())
                .for_each(|state| state.catalog.try_again());
        }
        let (main, can_reload) = (self.upstreams.main_id(), self.upstreams.can_reload());
        let old = mem::take(&mut self.upstreams.states);
        // A new upstream is assumed to have read the directory when it started, if nothing can be
        // reloaded.
        let track = |upstream: &_| {
            let catalog = self.catalog.of_a_newcomer(can_reload, now);
            self.ids.track(upstream, catalog, now)
        };
        let mut reconciled =
            reconcile::reconcile(old, &self.upstreams.config.upstreams, now, track);
        self.upstreams.states = mem::take(&mut reconciled.upstreams);
        self.is_visibly_changed = true;
        self.report_configuration(reconciled, can_reload);
        self.catalog.meet_the_main(&mut self.upstreams, main, now);
        self.catalog.forget_shared_tiles(&mut self.upstreams, now);
        let interval = self
            .upstreams
            .config
            .health
            .interval
            .max(self.upstreams.config.health.down_interval);
        self.upstreams
            .iter_mut()
            .for_each(|state| state.probes.hasten(now, interval));
    }

    /// Reports that a configuration is in force, and its effect on each upstream.
    fn report_configuration(&mut self, reconciled: Reconciled, can_reload: bool) {
        let Reconciled {
            upstreams: _,
            added,
            retired,
            changes,
        } = reconciled;
        let revision = self.revision;
        self.upstreams
            .emit(None, TransitionKind::Configured { revision });
        for name in retired {
            self.upstreams.emit(Some(name), TransitionKind::Retired);
        }
        for (name, what) in changes {
            self.upstreams.emit(Some(name), what);
        }
        for name in added {
            let is_replica = self
                .upstreams
                .iter()
                .any(|new| new.upstream.name == name && new.upstream.role == Role::Replica);
            self.upstreams
                .emit(Some(name.clone()), TransitionKind::Added);
            if is_replica && can_reload {
                self.upstreams.emit(Some(name), NEWCOMER);
            }
        }
    }

    /// Takes in the resolved address of a name. A known address is kept while the name cannot be
    /// resolved, because a fault of the name server is not the upstream's.
    fn resolved(&mut self, name: &UpstreamName, address: Address, now: Instant) {
        let Some(at) = self
            .upstreams
            .config
            .upstreams
            .iter()
            .position(|upstream| upstream.name == *name)
        else {
            return;
        };
        let from = self.upstreams.config.upstreams[at].address.known();
        if self.upstreams.config.upstreams[at].address == address
            || (from.is_some() && address.known().is_none())
        {
            return;
        }
        Arc::make_mut(&mut self.upstreams.config).upstreams[at].address = address.clone();
        let (config, main) = (Arc::clone(&self.upstreams.config), self.upstreams.main_id());
        self.is_visibly_changed = true;
        match address {
            // The reason has changed.
            Address::Unresolved(_) => self.upstreams[at].reconfigure(&config.upstreams[at]),
            Address::Known(to) => {
                let is_replica = config.upstreams[at].role == Role::Replica;
                let is_newcomer = from.is_some() && self.upstreams.can_reload();
                let catalog = self.catalog.of_a_newcomer(is_newcomer, now);
                let mut new = self.ids.track(&config.upstreams[at], catalog, now);
                new.inherit_mode(&self.upstreams[at], now);
                self.upstreams[at] = new;
                self.unclaimed.recall_address(&mut self.upstreams[at], now);
                self.upstreams
                    .report(at, [TransitionKind::Moved { from, to }]);
                self.upstreams
                    .report(at, (is_newcomer && is_replica).then_some(NEWCOMER));
                self.catalog.meet_the_main(&mut self.upstreams, main, now);
            }
        }
    }

    fn probed(&mut self, id: UpstreamId, report: ProbeReport, now: Instant) {
        let Some(at) = self.upstreams.position(id) else {
            return;
        };
        let sent = now.checked_sub(report.took).unwrap_or(now);
        let settled = self.catalog.settled_at(sent);
        let is_full = self.upstreams[at].is_full(&self.upstreams.config.limits, now);
        let meaning = self.upstreams.states[at].probed(
            &report,
            is_full,
            settled,
            now,
            &self.upstreams.config.health,
        );
        let others = self
            .upstreams
            .iter_mut()
            .enumerate()
            .filter(|(other, _)| *other != at)
            .map(|(_, other)| other);
        match meaning {
            Meaning::Nothing => {}
            // The others show whether that is its own fault.
            Meaning::BeginsToFail => {
                others.for_each(|other| other.probes.hasten(now, Duration::ZERO))
            }
            Meaning::Passes => others.for_each(|other| other.other_passed(sent, now)),
        }
    }

    fn observed(
        &mut self,
        id: UpstreamId,
        sent: Instant,
        outcome: Outcome,
        subject: Option<Subject>,
        now: Instant,
    ) {
        let Some(at) = self.upstreams.position(id) else {
            return;
        };
        if let (Outcome::Success, Some(subject)) = (&outcome, &subject) {
            self.faults.served(id, subject, now);
        }
        let mut grounds = None;
        if let (Outcome::Failure(cause), Some(subject), true) =
            (&outcome, subject, self.upstreams[at].is_fit())
        {
            let peers = self.upstreams.peers();
            let (on, shared) = self.faults.record(id, cause, &subject, &peers, now);
            if !shared.is_empty() {
                return self.upstreams.acquit(&shared, now);
            }
            grounds = Some(on);
        }
        let may_eject = self.upstreams.may_eject(at);
        let change = self.upstreams.states[at].observed(
            outcome,
            grounds,
            sent,
            now,
            &self.upstreams.config.health,
            may_eject,
        );
        self.upstreams.report(at, change);
    }

    fn pass_time(&mut self, now: Instant) {
        self.faults.pass_time(now);
        for at in 0..self.upstreams.len() {
            let changes = self.upstreams.states[at].passed_time(now, &self.upstreams.config.health);
            self.upstreams.report(at, changes);
        }
        self.catalog.pass_time(&mut self.upstreams, now);
        self.choosing.pass_time(&mut self.upstreams, now);
    }

    fn refuse_the_last(&self, at: usize) -> Result<(), ModeError> {
        let (snapshot, upstream) = (self.snapshot(), &self.upstreams[at].upstream);
        let is_the_last = |class: &RequestClass| {
            let mut serving = snapshot.serving(*class).peekable();
            serving.peek().is_some() && serving.all(|other| other.id == upstream.id)
        };
        let classes: Vec<_> = RequestClass::ALL.into_iter().filter(is_the_last).collect();
        if classes.is_empty() {
            Ok(())
        } else {
            Err(ModeError::LastServing(LastServing {
                name: upstream.name.clone(),
                classes,
            }))
        }
    }

    /// Completes every change: lifts ejections that must not last, and notes the changes that
    /// requests can see.
    fn settle(&mut self, now: Instant) {
        self.upstreams.judge_health(now);
        self.catalog.begin_reloads(&mut self.upstreams, now);
        self.upstreams.lift_ejections(now);
        self.upstreams.end_common_ramps(now);
        self.upstreams.fails_open = self.upstreams.must_fail_open();
        self.is_visibly_changed |= self.catalog.resolve_tickets(&self.upstreams);
        self.upstreams.lend_the_main();
        let holding = self.conditions(now);
        self.conditions.note(&mut self.upstreams, holding, now);
        let epoch = self.catalog.epoch();
        let fails_open = self.upstreams.fails_open;
        for state in self.upstreams.iter_mut() {
            self.is_visibly_changed |= state.publish(epoch, fails_open);
        }
        if cfg!(debug_assertions) {
            self.check_invariants();
        }
    }

    fn check_invariants(&self) {
        let names: HashSet<_> = self
            .upstreams
            .iter()
            .map(|state| &state.upstream.name)
            .collect();
        let ids: HashSet<_> = self
            .upstreams
            .iter()
            .map(|state| state.upstream.id)
            .collect();
        assert_eq!(
            (names.len(), ids.len()),
            (self.upstreams.len(), self.upstreams.len()),
            "names and ids are unique"
        );
        let (pool, set_aside) = self.upstreams.pool();
        assert!(
            pool == 0 || set_aside < pool,
            "an upstream that could serve reads does"
        );
        let epoch = self.catalog.epoch();
        self.upstreams
            .iter()
            .for_each(|state| state.check_invariants(epoch, self.upstreams.fails_open));
        self.catalog.check_invariants();
    }
}
