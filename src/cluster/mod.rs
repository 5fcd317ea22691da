//! The state of the cluster as a machine: events in, actions out.
//!
//! `Cluster` takes in events ([`Event`]), returns the actions that are due ([`Action`]), and is
//! published as a [`Snapshot`] that requests read. It knows no clock, socket or thread: `now` is a
//! parameter.
//!
//! ```text
//!   Configured Probed Observed Tick --handle--> Cluster --poll_action--> Probe
//!                                                  |  \--next_deadline-> when to poll again
//!                                          take_snapshot
//!                                                  v
//!                              request --select--> Lease
//! ```
//!
//! Promises that hold after every event:
//!
//! * An upstream gets nothing while it cannot be reached or is not ready. It gets no reads before
//!   its first passed probe, nor while its answers are wrong and another's are right (`witness`).
//!   While none passes, all that are reachable serve reads.
//! * Load, health, ejection and catalog survive every config reload at an address that is kept. An
//!   ordered mode survives it under a name that is kept.
//! * The evidence of requests alone never ejects more than half of the upstreams that could serve
//!   reads, and never the last of them. A layer that is broken everywhere must not empty the
//!   cluster. When the others are gone, ejections are lifted.
//! * After `poll_action` returned `None`, the next deadline is in the future.

mod catalog;
mod chosen_layer;
mod condition;
mod event;
mod local_fault;
mod memory;
mod mode;
mod reconcile;
mod rescue;
mod selection;
mod shared_faults;
mod snapshot;
mod status;
mod tracked;
mod transition;
mod upstream;
mod witness;
mod words;

#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::mem;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::config::{Address, CertificateTrouble, Config, Role, UpstreamConfig, UpstreamName};
use crate::health::Schedule;
use crate::ogc::RequestClass;

pub use crate::health::HealthState;
pub use catalog::{
    About, CatalogStatus, Concern, FileChange, Freshening, Hint, LastReload, ReplicaRoll,
    RollReason, RollReport, Sighting, Source, SyncError, Ticket, Tickets, UpstreamCatalog,
};
pub use chosen_layer::LayerChoice;
pub use condition::{Condition, ConditionStatus};
pub use event::{Action, Cause, Event, Outcome, ProbeReport};
pub use local_fault::LocalFault;
pub use memory::{LearnedLimit, Memory, OrderedMode, Remembered};
pub use mode::{LastServing, Mode, ModeError, ModeOrder, ModeOrigin};
pub use selection::{MainPreference, SelectionRequest};
pub use shared_faults::Subject;
pub use snapshot::{NoUpstream, Selection, Snapshot, Tried};
pub use status::{Cap, ClusterStatus, UpstreamStatus};
pub use transition::{Fields, Transition, What};
pub use upstream::{Upstream, UpstreamId};

use catalog::{CanaryDoubt, Changes, Doubt, Freshness, Inflation, Rolls, Target};
use chosen_layer::Choosing;
use condition::Conditions;
use shared_faults::{Grounds, SharedFaults};
use snapshot::Place;
use tracked::{Meaning, Tracked};

/// The transition shown for a replica about which nothing is known.
const NEWCOMER: What = What::Stale {
    why: "it is new: which catalog it has loaded is not known",
};

/// The state machine of the cluster.
#[derive(Debug)]
pub struct Cluster {
    config: Arc<Config>,
    /// Revision of the configuration; the first is 1.
    revision: u64,
    /// The upstreams, in the order of the configuration.
    tracked: Vec<Tracked>,
    ids: Ids,
    changes: Changes,
    /// A change of the data directory that is not explained yet.
    directory: Option<Doubt>,
    /// Doubt about the canary that a replica fails, checked against an upstream in service.
    canary_doubt: CanaryDoubt,
    /// The surplus that a load adds to the update sequence found in the data directory.
    inflation: Inflation,
    tickets: Tickets,
    /// The difference of the stale replicas in service. [`Self::resolve_tickets`] writes it.
    concern: Concern,
    rolls: Rolls,
    /// Time when a replica that had to wait may get its turn.
    rolls_deadline: Option<Instant>,
    /// The conditions that hold. [`Self::settle`] writes them.
    conditions: Conditions,
    /// The layer chosen for probes and canaries when none is configured. It survives a restart.
    chosen_layer: Option<String>,
    /// True if reads go to upstreams that do not pass their probes, because none does.
    /// [`Self::settle`] writes it.
    fails_open: bool,
    /// The part of the memory about upstreams without a known address.
    unclaimed: Memory,
    /// The faults of the last minute.
    faults: SharedFaults,
    choosing: Choosing,
    /// The certificates that need an operator.
    certificates: Vec<CertificateTrouble>,
    /// The sequence of the last transition.
    sequence: u64,
    /// Transitions not handed out yet.
    outbox: Vec<Transition>,
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
    fn track(&mut self, config: &UpstreamConfig, catalog: Freshness, now: Instant) -> Tracked {
        let id = UpstreamId(self.next);
        self.next = self
            .next
            .checked_add(1)
            .expect("nobody reconfigures four billion times");
        let upstream = Arc::new(Upstream::new(id, config, Arc::default()));
        Tracked::new(
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
        let (mut ids, changes) = (
            Ids {
                next: 0,
                origin: now,
            },
            Changes::new(),
        );
        let track = |upstream| ids.track(upstream, Freshness::new(&changes, now), now);
        let tracked = config.upstreams.iter().map(track).collect();
        Self {
            config,
            revision: 1,
            tracked,
            ids,
            changes,
            directory: None,
            canary_doubt: CanaryDoubt::default(),
            inflation: Inflation::default(),
            tickets: Tickets::default(),
            concern: Concern::default(),
            rolls: Rolls::default(),
            rolls_deadline: None,
            conditions: Conditions::default(),
            chosen_layer: None,
            fails_open: false,
            unclaimed: Memory::default(),
            faults: SharedFaults::default(),
            choosing: Choosing::new(now),
            certificates: Vec::new(),
            sequence: 0,
            outbox: Vec::new(),
            is_visibly_changed: false,
            snapshots_taken: 0,
        }
    }

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
            } => self.observed(upstream, sent, (outcome, subject), now),
            Event::VersionRead {
                upstream,
                asked,
                number,
            } => self.version_read(upstream, asked, number, now),
            Event::CatalogReloaded {
                upstream,
                asked,
                outcome,
            } => self.catalog_reloaded(upstream, asked, outcome, now),
            Event::CredentialsTried {
                upstream,
                asked,
                outcome,
            } => self.credentials_tried(upstream, asked, outcome, now),
            Event::CanaryTested {
                upstream,
                asked,
                outcome,
                number,
            } => {
                self.canary_tested(upstream, asked, (&outcome, number), now);
            }
            Event::CanaryTried { asked, outcome } => self.canary_tried(asked, outcome, now),
            Event::MainReloaded {
                upstream,
                asked,
                outcome,
            } => self.main_reloaded(upstream, asked, outcome, now),
            Event::LayerChosen { asked, layer } => self.layer_chosen(asked, layer, now),
            Event::LayerLost { layer } => self.layer_lost(&layer),
            Event::CertificatesChecked(troubles) => self.certificates = troubles,
            Event::DirectoryChanged(file) => self.directory_changed(file, now),
            Event::StaleSeen {
                upstream,
                layer,
                sent,
            } => self.stale_seen(upstream, layer, sent, now),
            Event::Tick => {}
        }
        self.settle(now);
        mem::take(&mut self.outbox)
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
            .tracked
            .iter()
            .position(|tracked| tracked.upstream.name.as_str() == name);
        let at = at.ok_or_else(|| ModeError::NoSuchUpstream(name.to_owned()))?;
        if order.mode != Mode::Ready && !order.force {
            self.refuse_the_last(at)?;
        }
        let changes = self.tracked[at].set_mode(order.mode, order.origin, now);
        self.report(at, changes);
        self.settle(now);
        Ok(mem::take(&mut self.outbox))
    }

    /// Returns the next action that is due; call until `None`. Changes caused by the passing of
    /// time are reported by the next [`Self::handle`].
    pub fn poll_action(&mut self, now: Instant) -> Option<Action> {
        self.pass_time(now);
        self.settle(now);
        let is_due = |tracked: &&mut Tracked| tracked.probes.due().is_some_and(|due| due <= now);
        let next = self
            .tracked
            .iter_mut()
            .filter(is_due)
            .min_by_key(|tracked| tracked.probes.due());
        let Some(next) = next else {
            return self.catalog_action(now).or_else(|| self.choice_action(now));
        };
        next.begin_probe(now, self.config.health.timeout);
        Some(Action::Probe(Arc::clone(&next.upstream)))
    }

    /// Returns the time of the next action that is due without an event.
    pub fn next_deadline(&self) -> Option<Instant> {
        let upstreams = self.tracked.iter().filter_map(Tracked::deadline);
        upstreams
            .chain(self.catalog_deadline())
            .chain(self.faults.deadline())
            .chain(self.choice_deadline())
            .min()
    }

    pub fn snapshot(&self) -> Snapshot {
        let epoch = self.changes.epoch();
        let place = |t: &Tracked| {
            Some(Place::new(
                &t.upstream,
                t.standing(epoch, self.fails_open)?,
                &self.config.limits,
            ))
        };
        let places: Vec<_> = self.tracked.iter().filter_map(place).collect();
        let awaited: Vec<_> = self.tracked.iter().filter_map(Tracked::awaited).collect();
        let returning = self.tracked.iter().filter(|tracked| tracked.returns_soon());
        let returning: Vec<_> = returning.map(|tracked| &*tracked.upstream).collect();
        let news = (self.tickets, self.concern.clone());
        Snapshot::new(
            self.revision,
            Arc::clone(&self.config),
            &places,
            (&awaited, &returning),
            news,
            self.snapshots_taken,
        )
    }

    /// Returns a snapshot, if requests would see a difference from the one last taken.
    pub fn take_snapshot(&mut self) -> Option<Snapshot> {
        mem::take(&mut self.is_visibly_changed).then(|| {
            self.snapshots_taken += 1;
            self.snapshot()
        })
    }

    pub fn status(&self, now: Instant) -> ClusterStatus {
        let catalog = self.catalog_status(now);
        let view = (&self.config.limits, self.fails_open);
        let mut upstreams: Vec<_> = self
            .tracked
            .iter()
            .map(|tracked| tracked.status(&catalog, view, now))
            .collect();
        for at in (0..upstreams.len()).filter(|at| self.is_held_back(*at)) {
            upstreams[at].catalog.doing = Freshening::HeldBack;
        }
        let conditions = self.conditions.status(now);
        let chosen_layer = self.chosen_layer().map(str::to_owned);
        ClusterStatus {
            revision: self.revision,
            catalog,
            chosen_layer,
            conditions,
            upstreams,
        }
    }

    fn configured(&mut self, config: Arc<Config>, now: Instant) {
        let has_others = self.config.geoserver.credentials != config.geoserver.credentials;
        self.canary_doubt.forget();
        self.config = config;
        self.revision += 1;
        if has_others {
            self.tracked
                .iter_mut()
                .filter(|tracked| tracked.refuses())
                .for_each(|tracked| tracked.catalog.try_again());
        }
        let (main, can_reload) = (self.main_id(), self.can_reload());
        let (old, ids, changes) = (mem::take(&mut self.tracked), &mut self.ids, &self.changes);
        // A new upstream is assumed to have read the directory when it started, if nothing can be
        // reloaded.
        let catalog = || {
            if can_reload {
                Freshness::newcomer(changes, now)
            } else {
                Freshness::new(changes, now)
            }
        };
        let track = |upstream: &_| ids.track(upstream, catalog(), now);
        let reconciled = reconcile::reconcile(old, &self.config.upstreams, now, track);
        self.tracked = reconciled.tracked;
        self.is_visibly_changed = true;
        self.emit(
            None,
            What::Configured {
                revision: self.revision,
            },
        );
        reconciled
            .retired
            .into_iter()
            .for_each(|name| self.emit(Some(name), What::Retired));
        reconciled
            .changes
            .into_iter()
            .for_each(|(name, what)| self.emit(Some(name), what));
        for name in reconciled.added {
            let is_replica = self
                .tracked
                .iter()
                .any(|new| new.upstream.name == name && new.upstream.role == Role::Replica);
            self.emit(Some(name.clone()), What::Added);
            if is_replica && can_reload {
                self.emit(Some(name), NEWCOMER);
            }
        }
        self.meet_the_main(main, now);
        let interval = self
            .config
            .health
            .interval
            .max(self.config.health.down_interval);
        self.tracked
            .iter_mut()
            .for_each(|tracked| tracked.probes.hasten(now, interval));
    }

    /// Takes in the resolved address of a name. A known address is kept while the name cannot be
    /// resolved, because a fault of the name server is not the upstream's.
    fn resolved(&mut self, name: &UpstreamName, address: Address, now: Instant) {
        let Some(at) = self
            .config
            .upstreams
            .iter()
            .position(|upstream| upstream.name == *name)
        else {
            return;
        };
        let from = self.config.upstreams[at].address.known();
        if self.config.upstreams[at].address == address
            || (from.is_some() && address.known().is_none())
        {
            return;
        }
        Arc::make_mut(&mut self.config).upstreams[at].address = address.clone();
        let (config, main) = (Arc::clone(&self.config), self.main_id());
        self.is_visibly_changed = true;
        match address {
            // The reason has changed.
            Address::Unresolved(_) => self.tracked[at].reconfigure(&config.upstreams[at]),
            Address::Known(to) => {
                let is_replica = config.upstreams[at].role == Role::Replica;
                let is_newcomer = from.is_some() && self.can_reload();
                let catalog = if is_newcomer {
                    Freshness::newcomer
                } else {
                    Freshness::new
                };
                let mut new =
                    self.ids
                        .track(&config.upstreams[at], catalog(&self.changes, now), now);
                new.inherit_mode(&self.tracked[at], now);
                self.tracked[at] = new;
                self.recall_late(at, now);
                self.report(at, [What::Moved { from, to }]);
                self.report(at, (is_newcomer && is_replica).then_some(NEWCOMER));
                self.meet_the_main(main, now);
            }
        }
    }

    fn probed(&mut self, id: UpstreamId, report: ProbeReport, now: Instant) {
        let Some(at) = self.position(id) else { return };
        let sent = now.checked_sub(report.took).unwrap_or(now);
        let settled = self.changes.settled_at(sent);
        let is_full = self.tracked[at].is_full(&self.config.limits, now);
        let meaning =
            self.tracked[at].probed((&report, is_full), settled, now, &self.config.health);
        let others = self
            .tracked
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
        (outcome, subject): (Outcome, Option<Subject>),
        now: Instant,
    ) {
        let Some(at) = self.position(id) else { return };
        let mut grounds = None;
        if let (Outcome::Failure(cause), Some(subject), true) =
            (&outcome, subject, self.tracked[at].is_fit())
        {
            let peers = self.peers();
            let (on, shared) = self.faults.record(id, (cause, &subject), &peers, now);
            if !shared.is_empty() {
                return self.acquit(&shared, now);
            }
            grounds = Some(on);
        }
        let may_eject = self.may_eject(at);
        let change = self.tracked[at].observed(
            (outcome, grounds),
            sent,
            now,
            &self.config.health,
            may_eject,
        );
        self.report(at, change);
    }

    fn pass_time(&mut self, now: Instant) {
        self.faults.pass_time(now);
        for at in 0..self.tracked.len() {
            let changes = self.tracked[at].passed_time(now, &self.config.health);
            self.report(at, changes);
        }
        self.pass_catalog_time(now);
        self.pass_choice_time(now);
    }

    /// True if `at` may be ejected. At most half of the upstreams that could serve reads are
    /// ejected, so never all.
    fn may_eject(&self, at: usize) -> bool {
        let (pool, set_aside) = self.pool();
        self.tracked[at].is_ejectable() && (set_aside + 1) * 2 <= pool
    }

    /// Returns the number of upstreams that could serve reads, and the number of them that are
    /// ejected.
    fn pool(&self) -> (usize, usize) {
        let pool = || {
            self.tracked
                .iter()
                .filter(|tracked| tracked.is_of_the_pool())
        };
        (
            pool().count(),
            pool().filter(|tracked| tracked.is_set_aside()).count(),
        )
    }

    fn refuse_the_last(&self, at: usize) -> Result<(), ModeError> {
        let (snapshot, upstream) = (self.snapshot(), &self.tracked[at].upstream);
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
        self.judge_health(now);
        self.begin_reloads(now);
        for at in 0..self.tracked.len() {
            let tracked = &self.tracked[at];
            if tracked.is_set_aside()
                && (self.config.health.ejection_failures == 0
                    || tracked.is_fit() && !tracked.is_ejectable())
            {
                self.lift(at, now);
            }
        }
        while let (pool, set_aside) = self.pool()
            && pool > 0
            && pool == set_aside
        {
            let in_pool = |at: &usize| self.tracked[*at].is_of_the_pool();
            let soonest = (0..self.tracked.len())
                .filter(in_pool)
                .min_by_key(|&at| self.tracked[at].ejected_until());
            self.lift(soonest.expect("the pool is not empty"), now);
        }
        self.end_common_ramps(now);
        self.fails_open = self.must_fail_open();
        self.resolve_tickets();
        self.lend_the_main();
        self.note_conditions(now);
        let epoch = self.changes.epoch();
        for tracked in &mut self.tracked {
            self.is_visibly_changed |= tracked.publish(epoch, self.fails_open);
        }
        if cfg!(debug_assertions) {
            self.check_invariants();
        }
    }

    fn lift(&mut self, at: usize, now: Instant) {
        let change = self.tracked[at].lift(now, &self.config.health);
        self.report(at, change);
    }

    /// Returns the upstream of this name, whatever its state.
    pub fn upstream(&self, name: &UpstreamName) -> Option<Arc<Upstream>> {
        let named = self
            .tracked
            .iter()
            .find(|tracked| tracked.upstream.name == *name);
        named.map(|tracked| Arc::clone(&tracked.upstream))
    }

    fn position(&self, id: UpstreamId) -> Option<usize> {
        self.tracked
            .iter()
            .position(|tracked| tracked.upstream.id == id)
    }

    fn report(&mut self, at: usize, changes: impl IntoIterator<Item = What>) {
        let name = self.tracked[at].upstream.name.clone();
        changes
            .into_iter()
            .for_each(|what| self.emit(Some(name.clone()), what));
    }

    fn emit(&mut self, upstream: Option<UpstreamName>, what: What) {
        self.sequence += 1;
        self.outbox.push(Transition {
            sequence: self.sequence,
            upstream,
            what,
        });
    }

    fn check_invariants(&self) {
        let names: HashSet<_> = self
            .tracked
            .iter()
            .map(|tracked| &tracked.upstream.name)
            .collect();
        let ids: HashSet<_> = self
            .tracked
            .iter()
            .map(|tracked| tracked.upstream.id)
            .collect();
        assert_eq!(
            (names.len(), ids.len()),
            (self.tracked.len(), self.tracked.len()),
            "names and ids are unique"
        );
        let (pool, set_aside) = self.pool();
        assert!(
            pool == 0 || set_aside < pool,
            "somebody who could serve reads does"
        );
        let epoch = self.changes.epoch();
        self.tracked
            .iter()
            .for_each(|tracked| tracked.check_invariants(epoch, self.fails_open));
        self.changes.check_invariants();
    }
}
