//! Processing of all catalog events: hints, orders, update sequences, reloads, canaries and
//! evidence.

use std::fmt;
use std::time::{Duration, Instant};

use super::own_update_sequence::SequenceReading;
use super::replica_catalog::Step;
use super::status::CatalogStatus;
use super::{CatalogMachine, ChangeSource, Concern, Hint, Sighting, Ticket, Tickets};
use crate::cluster::upstream_state::UpstreamState;
use crate::cluster::upstreams::Upstreams;
use crate::cluster::{Cause, Condition, Event, Outcome, TransitionKind, UpstreamId};
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
                f.write_str("this geofront reloads no replica (`roll = false` under [catalog]): order it at the geofront that does")
            }
            Self::Paused => f.write_str("rolls are paused: `geofront catalog resume` first"),
        }
    }
}

impl CatalogMachine {
    /// Takes in an event about catalogs.
    pub(in crate::cluster) fn handle(
        &mut self,
        upstreams: &mut Upstreams,
        event: Event,
        now: Instant,
    ) {
        match event {
            Event::UpdateSequenceRead {
                upstream,
                sent_at,
                update_sequence,
            } => self.update_sequence_read(upstreams, upstream, sent_at, update_sequence, now),
            Event::CatalogReloaded {
                upstream,
                sent_at,
                outcome,
            } => self.catalog_reloaded(upstreams, upstream, sent_at, outcome, now),
            Event::CredentialsTried {
                upstream,
                sent_at,
                outcome,
            } => self.credentials_tried(upstreams, upstream, sent_at, outcome, now),
            Event::CanaryTested {
                upstream,
                sent_at,
                outcome,
                update_sequence,
            } => {
                self.canary_tested(upstreams, upstream, sent_at, &outcome, update_sequence, now);
            }
            Event::CanaryTried { sent_at, outcome } => {
                self.canary_tried(upstreams, sent_at, outcome, now);
            }
            Event::MainReloaded {
                upstream,
                sent_at,
                outcome,
            } => self.main_reloaded(upstreams, upstream, sent_at, outcome, now),
            Event::TilesTruncated {
                upstream,
                sent_at,
                outcome,
            } => self.tiles_truncated(upstreams, upstream, sent_at, outcome, now),
            Event::DirectoryChanged(file) => self.directory_changed(upstreams, file, now),
            Event::StaleSeen {
                upstream,
                layer,
                sent,
            } => self.stale_seen(upstreams, upstream, layer, sent, now),
            Event::Configured(_)
            | Event::Resolved { .. }
            | Event::Probed { .. }
            | Event::Observed { .. }
            | Event::LayerChosen { .. }
            | Event::LayerLost { .. }
            | Event::CertificatesChecked(_)
            | Event::Tick => {}
        }
    }

    /// Takes in a hint, with the known facts about its request.
    pub(in crate::cluster) fn sight(
        &mut self,
        upstreams: &mut Upstreams,
        sighting: &Sighting,
        now: Instant,
    ) -> Ticket {
        if sighting.hint == Hint::Certain {
            // The request may be a reload of the main, which inflates the main's own update
            // sequence.
            self.inflation.forget();
        }
        let (ticket, change) = self.changes.hint(sighting, now);
        self.note_change(upstreams, change);
        upstreams.main_reads_soon(now);
        ticket
    }

    /// Orders a reload of all replicas now. Returns the epoch that they will have.
    pub(in crate::cluster) fn order(
        &mut self,
        upstreams: &mut Upstreams,
        now: Instant,
    ) -> Result<u64, SyncError> {
        if !upstreams.config.catalog.roll {
            return Err(SyncError::RollOff);
        }
        if !upstreams.can_reload() {
            return Err(SyncError::NoCredentials);
        }
        if self.rolls.is_paused() {
            return Err(SyncError::Paused);
        }
        let epoch = self.changes.order(now);
        self.rolls.ordered(epoch);
        self.note_change(upstreams, Some(ChangeSource::Order));
        upstreams.iter_mut().for_each(|state| state.catalog.order());
        upstreams.main_reads_soon(now);
        Ok(epoch)
    }

    fn update_sequence_read(
        &mut self,
        upstreams: &mut Upstreams,
        id: UpstreamId,
        sent_at: Instant,
        update_sequence: Option<u64>,
        now: Instant,
    ) {
        if update_sequence.is_none() && upstreams.main_id() == Some(id) {
            self.changes.note_silence(now);
        }
        self.reading_ended(upstreams, id, sent_at, update_sequence, now);
    }

    /// Takes in a reading, or the loss of its report. A lost report is no evidence about the
    /// upstream.
    pub(super) fn reading_ended(
        &mut self,
        upstreams: &mut Upstreams,
        id: UpstreamId,
        sent_at: Instant,
        update_sequence: Option<u64>,
        now: Instant,
    ) {
        let is_awaited = |&at: &usize| upstreams[at].catalog.reads.is_answered(sent_at);
        let Some(at) = upstreams.position(id).filter(is_awaited) else {
            return;
        };
        // An update sequence reported in the middle of a reload is neither the old one nor the new
        // one.
        let is_in_its_reload = upstreams[at].catalog.main_reload.is_running();
        if upstreams[at].upstream.is_main() && !is_in_its_reload {
            let change = match update_sequence {
                Some(update_sequence) => {
                    self.inflation.main_read(update_sequence, sent_at);
                    self.changes.read(update_sequence, sent_at, now)
                }
                None => self.changes.unreadable(sent_at, now),
            };
            self.note_change(upstreams, change);
            self.judge_doubts(upstreams, sent_at, now);
        }
        // An update sequence reported in the middle of a reload is neither the old one nor the new
        // one.
        if upstreams[at].catalog.is_serving() {
            let (reading, is_move_enough) = (
                self.reading(update_sequence, sent_at),
                !upstreams.can_reload(),
            );
            upstreams[at].catalog.read(reading, is_move_enough);
        }
        self.plan_read(upstreams, at, now);
        self.judge_assumed(upstreams);
        self.judge_directory(upstreams, now);
    }

    /// True if the replica's next reload must also bring a change of security, which a catalog
    /// reload alone leaves out.
    pub(in crate::cluster) fn owes_security(&self, upstreams: &Upstreams, id: UpstreamId) -> bool {
        upstreams.position(id).is_some_and(|at| {
            upstreams[at]
                .catalog
                .lacks_security(self.changes.security())
        })
    }

    fn catalog_reloaded(
        &mut self,
        upstreams: &mut Upstreams,
        id: UpstreamId,
        sent_at: Instant,
        outcome: Result<(), Cause>,
        now: Instant,
    ) {
        let Some(at) = upstreams.position(id) else {
            return;
        };
        upstreams[at].tried_credentials(&outcome);
        let step = upstreams[at].catalog.reloaded(sent_at, outcome, now);
        self.step(upstreams, at, step, now);
        self.truncate_after_reload(upstreams, at, now);
    }

    fn canary_tested(
        &mut self,
        upstreams: &mut Upstreams,
        id: UpstreamId,
        sent_at: Instant,
        outcome: &Outcome,
        update_sequence: Option<u64>,
        now: Instant,
    ) {
        let Some(at) = upstreams.position(id) else {
            return;
        };
        let (needed, reading) = (
            upstreams.config.health.rise,
            self.reading(update_sequence, sent_at),
        );
        let outcome = self.weighed_canary(upstreams, at, outcome, now);
        let step = upstreams[at].catalog.tested(&outcome, reading, needed, now);
        if let (Step::Passed { reloaded: Some(_) }, Some(own), Some(main)) =
            (&step, update_sequence, self.changes.update_sequence())
        {
            self.inflation.reloaded(own, main, sent_at);
        }
        self.step(upstreams, at, step, now);
        // The reload may have begun before the main's first report of an update sequence, and ended
        // after it.
        self.judge_assumed(upstreams);
        self.judge_directory(upstreams, now);
    }

    /// Takes in evidence that a replica lacks a part of the main's catalog. If the main reports a
    /// change, that change is the explanation.
    fn stale_seen(
        &self,
        upstreams: &mut Upstreams,
        id: UpstreamId,
        layer: Box<str>,
        sent: Instant,
        now: Instant,
    ) {
        let Some(at) = upstreams.position(id).filter(|_| upstreams.can_reload()) else {
            return;
        };
        if upstreams[at].upstream.role == Role::Replica {
            upstreams[at].catalog.doubt(layer, sent, now);
            upstreams.main_reads_soon(now);
        }
    }

    fn judge_doubts(&self, upstreams: &mut Upstreams, sent_at: Instant, now: Instant) {
        let epoch = self.changes.epoch();
        let is_replica = |at: &usize| upstreams[*at].upstream.role == Role::Replica;
        for at in (0..upstreams.len()).filter(is_replica).collect::<Vec<_>>() {
            let is_behind = upstreams[at].catalog.judge_doubt(sent_at, epoch, now);
            upstreams.report(
                at,
                is_behind.then_some(TransitionKind::Stale {
                    why: "it did not know what the main knows",
                }),
            );
        }
    }

    /// Takes in a change of the main after a change of the configuration.
    pub(in crate::cluster) fn meet_the_main(
        &mut self,
        upstreams: &mut Upstreams,
        before: Option<UpstreamId>,
        now: Instant,
    ) {
        let main = upstreams.main_id();
        if main == before {
            return;
        }
        let settled = self.changes.settled();
        if let Some(former) = before.and_then(|id| upstreams.position(id)) {
            upstreams[former].catalog.become_replica(settled);
        }
        self.inflation.forget();
        let change = self.changes.another_main(now);
        self.note_change(upstreams, change);
        if let Some(at) = main.and_then(|id| upstreams.position(id)) {
            upstreams[at].become_the_main(self.changes.epoch(), now);
        }
        upstreams.main_reads_soon(now);
    }

    /// Returns a condition if the main is up and has not reported its update sequence for long.
    pub(super) fn main_is_silent(&self, upstreams: &Upstreams, now: Instant) -> Option<Condition> {
        let main = upstreams
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

    /// Resolves the tickets of hints that were followed up and that the replicas in service have.
    /// Returns true if requests would see a difference.
    pub(in crate::cluster) fn resolve_tickets(&mut self, upstreams: &Upstreams) -> bool {
        let (answered, changed) = (
            self.changes.answered_ticket(),
            self.changes.changed_ticket(),
        );
        let is_resolved = self.changes.is_settled() && self.is_every_replica_fresh(upstreams);
        let resolved = if is_resolved {
            answered
        } else {
            self.tickets.resolved
        };
        if is_resolved {
            self.changes.forget_concern();
        }
        let concern = self.current_concern(upstreams);
        let tickets = Tickets {
            resolved,
            answered,
            changed,
        };
        let is_new = self.concern != concern || self.tickets != tickets;
        (self.concern, self.tickets) = (concern, tickets);
        is_new
    }

    /// Returns the parts in which the stale replicas among those in service differ.
    fn current_concern(&self, upstreams: &Upstreams) -> Concern {
        let (epoch, since) = (self.changes.epoch(), self.changes.concern_since());
        let mut stale = upstreams
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

    pub(in crate::cluster) fn status(&self, upstreams: &Upstreams, now: Instant) -> CatalogStatus {
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
            can_reload: upstreams.can_reload(),
            is_done: self.is_cluster_fresh(upstreams),
            rolls: upstreams.config.catalog.roll,
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

    pub(super) fn plan_read(&self, upstreams: &mut Upstreams, at: usize, now: Instant) {
        let pause = if upstreams[at].upstream.is_main() {
            self.changes.poll_pause(&upstreams.config.catalog)
        } else {
            upstreams[at].catalog.poll_pause(&upstreams.config.catalog)
        };
        upstreams[at].catalog.reads = PollTimer::At(now + pause);
    }

    fn is_cluster_fresh(&self, upstreams: &Upstreams) -> bool {
        self.changes.is_at_rest() && self.is_every_replica_fresh(upstreams)
    }

    fn is_every_replica_fresh(&self, upstreams: &Upstreams) -> bool {
        let epoch = self.changes.epoch();
        // A replica that is down by itself is not waited for. A replica that is out for its reload
        // is, even if its probes fail meanwhile.
        let is_done = |state: &UpstreamState| {
            state.catalog.is_serving() && (!state.is_up() || state.catalog.is_fresh(epoch))
        };
        let mut replicas = upstreams
            .iter()
            .filter(|state| state.upstream.role == Role::Replica);
        replicas.all(is_done)
    }

    fn reading(&self, update_sequence: Option<u64>, sent_at: Instant) -> SequenceReading {
        SequenceReading {
            update_sequence,
            sent_at,
            settled: self.changes.settled_at(sent_at),
        }
    }

    fn judge_assumed(&self, upstreams: &mut Upstreams) {
        let (update_sequence, epoch, settled) = (
            self.changes.update_sequence(),
            self.changes.epoch(),
            self.changes.settled(),
        );
        for at in 0..upstreams.len() {
            let state = &mut upstreams[at];
            let had_all = state.catalog.is_serving() && state.catalog.is_fresh(settled);
            let is_stale =
                state.upstream.role == Role::Replica && state.catalog.judge(update_sequence);
            if is_stale && had_all {
                // One reload brings the settling change as well.
                state.catalog.wait_for(epoch);
            }
            upstreams.report(
                at,
                is_stale.then_some(TransitionKind::Stale {
                    why: "its catalog is older than the main's",
                }),
            );
        }
    }

    /// Makes all upstreams but the main stale. Only a replica that already waits for a reload is
    /// reloaded before the change has settled.
    pub(super) fn note_change(&self, upstreams: &mut Upstreams, change: Option<ChangeSource>) {
        let Some(source) = change else { return };
        let epoch = self.changes.epoch();
        upstreams.emit(None, TransitionKind::CatalogChanged { epoch, source });
        if let Some(main) = upstreams.iter_mut().find(|state| state.upstream.is_main()) {
            main.catalog.become_main(epoch);
        }
        for at in 0..upstreams.len() {
            // A replica that waits for the pause after the last roll may as well wait for this
            // change.
            if !self.wants_reload(upstreams, at) || self.is_resting() {
                upstreams[at].catalog.wait_for(epoch);
            }
        }
    }
}
