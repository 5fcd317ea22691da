//! Processing of all catalog events: hints, orders, update sequences, reloads, canaries and
//! evidence.

use std::fmt;
use std::mem;
use std::time::{Duration, Instant};

use super::own_update_sequence::SequenceReading;
use super::replica_catalog::Step;
use super::status::CatalogStatus;
use super::{ChangeSource, Concern, Hint, Sighting, Ticket, Tickets};
use crate::cluster::upstream_state::UpstreamState;
use crate::cluster::{Cause, Cluster, Condition, Outcome, Transition, TransitionKind, UpstreamId};
use crate::config::Role;
use crate::health::PollTimer;

/// Silence of the main in reporting its update sequence after which a condition is shown. One
/// reading may be lost.
const SILENT: Duration = Duration::from_secs(30);

/// The reason why an order to bring all replicas up to date is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncError {
    NoCredentials,
    /// Another geofront reloads the replicas.
    RollOff,
    /// An operator has paused rolls.
    Paused,
}

impl fmt::Display for SyncError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoCredentials => f.write_str(
                "GeoServer reloads its catalog for administrators only: set `username` with `password_file`, or `headers`, \
                 under [geoserver]",
            ),
            Self::RollOff => {
                f.write_str("this geofront reloads no replica (`roll = false` under [catalog]): ask the one that does")
            }
            Self::Paused => f.write_str("rolls are paused: `geofront catalog resume` first"),
        }
    }
}

impl Cluster {
    /// Takes in an event that may have changed the catalog. The ticket is resolved when all
    /// replicas have the change.
    pub fn hint(&mut self, hint: Hint, now: Instant) -> (Ticket, Vec<Transition>) {
        self.sight(&Sighting::of(hint, now), now)
    }

    /// Takes in a hint as [`Self::hint`] does, with the known facts about its request.
    pub fn sight(&mut self, sighting: &Sighting, now: Instant) -> (Ticket, Vec<Transition>) {
        if sighting.hint == Hint::Certain {
            // The request may be a reload of the main, which inflates the main's own update
            // sequence.
            self.inflation.forget();
        }
        let (ticket, change) = self.changes.hint(sighting, now);
        self.note_change(change);
        self.main_reads_soon(now);
        self.settle(now);
        (ticket, mem::take(&mut self.outbox))
    }

    /// Orders a reload of all replicas now. Returns the epoch that they will have.
    pub fn order_sync(&mut self, now: Instant) -> Result<(u64, Vec<Transition>), SyncError> {
        if !self.config.catalog.roll {
            return Err(SyncError::RollOff);
        }
        if !self.can_reload() {
            return Err(SyncError::NoCredentials);
        }
        if self.rolls.is_paused() {
            return Err(SyncError::Paused);
        }
        let epoch = self.changes.order(now);
        self.rolls.ordered(epoch);
        self.note_change(Some(ChangeSource::Order));
        self.upstreams
            .iter_mut()
            .for_each(|state| state.catalog.order());
        self.main_reads_soon(now);
        self.pass_time(now);
        self.settle(now);
        Ok((epoch, mem::take(&mut self.outbox)))
    }

    pub(in crate::cluster) fn update_sequence_read(
        &mut self,
        id: UpstreamId,
        asked: Instant,
        update_sequence: Option<u64>,
        now: Instant,
    ) {
        if update_sequence.is_none() && self.main_id() == Some(id) {
            self.changes.is_silent(now);
        }
        self.reading_ended(id, asked, update_sequence, now);
    }

    /// Takes in a reading, or the loss of its report. A lost report is no evidence about the
    /// upstream.
    pub(super) fn reading_ended(
        &mut self,
        id: UpstreamId,
        asked: Instant,
        update_sequence: Option<u64>,
        now: Instant,
    ) {
        let is_awaited = |&at: &usize| self.upstreams[at].catalog.reads.is_answered(asked);
        let Some(at) = self.position(id).filter(is_awaited) else {
            return;
        };
        // An update sequence reported in the middle of a reload is neither the old one nor the new
        // one.
        let is_in_its_reload = self.upstreams[at].catalog.main_reload.is_running();
        if self.upstreams[at].upstream.is_main() && !is_in_its_reload {
            let change = match update_sequence {
                Some(update_sequence) => {
                    self.inflation.main_read(update_sequence, asked);
                    self.changes.read(update_sequence, asked, now)
                }
                None => self.changes.unreadable(asked, now),
            };
            self.note_change(change);
            self.judge_doubts(asked, now);
        }
        // An update sequence reported in the middle of a reload is neither the old one nor the new
        // one.
        if self.upstreams[at].catalog.is_serving() {
            let (reading, is_move_enough) =
                (self.reading(update_sequence, asked), !self.can_reload());
            self.upstreams[at].catalog.read(reading, is_move_enough);
        }
        self.plan_read(at, now);
        self.judge_assumed();
        self.judge_directory(now);
    }

    /// Records that the replica's next reload must also bring a change of security, which a catalog
    /// reload alone leaves out.
    pub fn owes_security(&self, id: UpstreamId) -> bool {
        self.position(id).is_some_and(|at| {
            self.upstreams[at]
                .catalog
                .lacks_security(self.changes.security())
        })
    }

    pub(in crate::cluster) fn catalog_reloaded(
        &mut self,
        id: UpstreamId,
        asked: Instant,
        outcome: Result<(), Cause>,
        now: Instant,
    ) {
        let Some(at) = self.position(id) else { return };
        match &outcome {
            Ok(()) => self.upstreams[at].tried_credentials(None),
            Err(cause) if cause.refused_credentials().is_some() => {
                self.upstreams[at].tried_credentials(cause.refused_credentials());
            }
            Err(_) => {}
        }
        let step = self.upstreams[at].catalog.reloaded(asked, outcome, now);
        self.step(at, step, now);
    }

    pub(in crate::cluster) fn canary_tested(
        &mut self,
        id: UpstreamId,
        asked: Instant,
        (outcome, update_sequence): (&Outcome, Option<u64>),
        now: Instant,
    ) {
        let Some(at) = self.position(id) else { return };
        let (needed, reading) = (
            self.config.health.rise,
            self.reading(update_sequence, asked),
        );
        let outcome = self.weighed_canary(at, outcome, now);
        let step = self.upstreams[at]
            .catalog
            .tested(&outcome, reading, needed, now);
        if let (Step::Passed { reloaded: Some(_) }, Some(own), Some(main)) =
            (&step, update_sequence, self.changes.update_sequence())
        {
            self.inflation.reloaded(own, main, asked);
        }
        self.step(at, step, now);
        // The reload may have begun before the main's first report of an update sequence, and ended
        // after it.
        self.judge_assumed();
        self.judge_directory(now);
    }

    /// Takes in evidence that a replica lacks a part of the main's catalog. If the main reports a
    /// change, that change is the explanation.
    pub(in crate::cluster) fn stale_seen(
        &mut self,
        id: UpstreamId,
        layer: Box<str>,
        sent: Instant,
        now: Instant,
    ) {
        let Some(at) = self.position(id).filter(|_| self.can_reload()) else {
            return;
        };
        if self.upstreams[at].upstream.role == Role::Replica {
            self.upstreams[at].catalog.doubt(layer, sent, now);
            self.main_reads_soon(now);
        }
    }

    fn judge_doubts(&mut self, asked: Instant, now: Instant) {
        let epoch = self.changes.epoch();
        let is_replica = |at: &usize| self.upstreams[*at].upstream.role == Role::Replica;
        for at in (0..self.upstreams.len())
            .filter(is_replica)
            .collect::<Vec<_>>()
        {
            let is_behind = self.upstreams[at].catalog.judge_doubt(asked, epoch, now);
            self.report(
                at,
                is_behind.then_some(TransitionKind::Stale {
                    why: "it did not know what the main knows",
                }),
            );
        }
    }

    /// Takes in a change of the main after a change of the configuration.
    pub(in crate::cluster) fn meet_the_main(&mut self, before: Option<UpstreamId>, now: Instant) {
        let main = self.main_id();
        if main == before {
            return;
        }
        let settled = self.changes.settled();
        if let Some(former) = before.and_then(|id| self.position(id)) {
            self.upstreams[former].catalog.was_the_main(settled);
        }
        self.inflation.forget();
        let change = self.changes.another_main(now);
        self.note_change(change);
        if let Some(at) = main.and_then(|id| self.position(id)) {
            self.upstreams[at].become_the_main(self.changes.epoch(), now);
        }
        self.main_reads_soon(now);
    }

    /// Returns a condition if the main is up and has not reported its update sequence for long.
    pub(in crate::cluster) fn main_is_silent(&self, now: Instant) -> Option<Condition> {
        let main = self
            .upstreams
            .iter()
            .find(|state| state.upstream.is_main() && state.is_up())?;
        let is_silent = self
            .changes
            .silent_since()
            .is_some_and(|since| now >= since + SILENT);
        is_silent.then(|| Condition::UpdateSequenceUnknown {
            main: main.upstream.name.clone(),
        })
    }

    pub(in crate::cluster) fn main_id(&self) -> Option<UpstreamId> {
        self.upstreams
            .iter()
            .find(|state| state.upstream.is_main())
            .map(|main| main.upstream.id)
    }

    /// Resolves the tickets of hints that were followed up and that the replicas in service have.
    pub(in crate::cluster) fn resolve_tickets(&mut self) {
        let (answered, changed) = (
            self.changes.answered_ticket(),
            self.changes.changed_ticket(),
        );
        let is_resolved = self.changes.is_settled() && self.is_every_replica_fresh();
        let resolved = if is_resolved {
            answered
        } else {
            self.tickets.resolved
        };
        if is_resolved {
            self.changes.forget_concern();
        }
        let concern = self.concern();
        if self.concern != concern {
            self.concern = concern;
            self.is_visibly_changed = true;
        }
        let tickets = Tickets {
            resolved,
            answered,
            changed,
        };
        if self.tickets != tickets {
            self.tickets = tickets;
            self.is_visibly_changed = true;
        }
    }

    /// Returns the parts in which the stale replicas among those in service differ.
    fn concern(&self) -> Concern {
        let (epoch, since) = (self.changes.epoch(), self.changes.concern_since());
        let mut stale = self
            .upstreams
            .iter()
            .map(|state| &state.catalog)
            .filter(|catalog| !catalog.is_fresh(epoch));
        // The changes before that epoch have no record.
        if stale.any(|catalog| !catalog.is_fresh(since)) {
            Concern::Everything
        } else {
            self.changes.concern()
        }
    }

    pub(in crate::cluster) fn catalog_status(&self, now: Instant) -> CatalogStatus {
        CatalogStatus {
            epoch: self.changes.epoch(),
            settled: self.changes.settled(),
            update_sequence: self.changes.update_sequence(),
            silent_for: self
                .changes
                .silent_since()
                .map(|since| now.saturating_duration_since(since)),
            changed_ago: self
                .changes
                .began()
                .map(|began| now.saturating_duration_since(began)),
            can_reload: self.can_reload(),
            is_done: self.is_everybody_fresh(),
            rolls: self.config.catalog.roll,
            is_paused: self.rolls.is_paused(),
            rests_for: self
                .rolls
                .rests_until(now)
                .map(|until| until.saturating_duration_since(now)),
        }
    }

    /// True if, between rolls, a replica had to wait for its turn when the turns were last
    /// examined.
    fn is_resting(&self) -> bool {
        !self.rolls.is_under_way() && self.rolls_deadline.is_some()
    }

    pub(super) fn plan_read(&mut self, at: usize, now: Instant) {
        let pause = if self.upstreams[at].upstream.is_main() {
            self.changes.poll_pause(&self.config.catalog)
        } else {
            self.upstreams[at].catalog.poll_pause(&self.config.catalog)
        };
        self.upstreams[at].catalog.reads = PollTimer::At(now + pause);
    }

    fn is_everybody_fresh(&self) -> bool {
        self.changes.is_at_rest() && self.is_every_replica_fresh()
    }

    fn is_every_replica_fresh(&self) -> bool {
        let epoch = self.changes.epoch();
        // A replica that is down by itself is not waited for. A replica that is out for its reload
        // is, even if its probes fail meanwhile.
        let is_done = |state: &UpstreamState| {
            state.catalog.is_serving() && (!state.is_up() || state.catalog.is_fresh(epoch))
        };
        let mut replicas = self
            .upstreams
            .iter()
            .filter(|state| state.upstream.role == Role::Replica);
        replicas.all(is_done)
    }

    fn reading(&self, update_sequence: Option<u64>, asked: Instant) -> SequenceReading {
        SequenceReading {
            update_sequence,
            asked,
            settled: self.changes.settled_at(asked),
        }
    }

    fn judge_assumed(&mut self) {
        let (update_sequence, epoch, settled) = (
            self.changes.update_sequence(),
            self.changes.epoch(),
            self.changes.settled(),
        );
        for at in 0..self.upstreams.len() {
            let state = &mut self.upstreams[at];
            let had_all = state.catalog.is_serving() && state.catalog.is_fresh(settled);
            let is_stale =
                state.upstream.role == Role::Replica && state.catalog.judge(update_sequence);
            if is_stale && had_all {
                // One reload brings the settling change as well.
                state.catalog.wait_for(epoch);
            }
            self.report(
                at,
                is_stale.then_some(TransitionKind::Stale {
                    why: "its catalog is older than the main's",
                }),
            );
        }
    }

    pub(super) fn main_reads_soon(&mut self, now: Instant) {
        if let Some(main) = self
            .upstreams
            .iter_mut()
            .find(|state| state.upstream.is_main())
        {
            main.catalog.reads.hasten(now);
        }
    }

    /// Makes all upstreams but the main stale. Only a replica that already waits for a reload is
    /// reloaded before the change has settled.
    pub(super) fn note_change(&mut self, change: Option<ChangeSource>) {
        let Some(source) = change else { return };
        let epoch = self.changes.epoch();
        self.emit(None, TransitionKind::CatalogChanged { epoch, source });
        if let Some(main) = self
            .upstreams
            .iter_mut()
            .find(|state| state.upstream.is_main())
        {
            main.catalog.is_the_main(epoch);
        }
        for at in 0..self.upstreams.len() {
            // A replica that waits for the pause after the last roll may as well wait for this
            // change.
            if !self.wants_reload(at) || self.is_resting() {
                self.upstreams[at].catalog.wait_for(epoch);
            }
        }
    }
}
