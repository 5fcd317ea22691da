//! The catalog of one replica: its epoch, and the evidence for that.

mod reload;

use std::cmp::Ordering;
use std::time::{Duration, Instant};

use super::changes::Changes;
use super::credential_check::CredentialCheck;
use super::evidence::Evidence;
use super::main_reload::MainReload;
use super::own_update_sequence::{OwnUpdateSequence, SequenceReading};
use super::postponed::Postponed;
use super::status::{LastCatalogReload, ReloadPhase, UpstreamCatalog};
use super::tile_cache::TileCache;
use crate::cluster::Cause;
use crate::config::Catalog;
use crate::health::PollTimer;

pub(in crate::cluster) use self::reload::ReloadTarget;
pub(super) use self::reload::Step;
use self::reload::{GIVEN_UP_AT_LEAST, Phase, Testing};

/// A replica's catalog, as the process after this one is to know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cluster) struct RememberedCatalog {
    /// Update sequence of the main that the catalog belongs to; `None` if a reload is owed to it.
    pub(in crate::cluster) main_update_sequence: Option<u64>,
}

#[derive(Debug)]
pub(in crate::cluster) struct ReplicaCatalog {
    /// Epoch of the replica's catalog, as a lower bound. `None`: older than every known epoch.
    pub(super) held: Option<u64>,
    pub(super) basis: Basis,
    /// Epoch that must settle before the next reload, if the replica was not waiting for a reload
    /// when it began. If the replica turns out to be behind meanwhile, one reload brings both.
    waits_for: u64,
    pub(super) own: OwnUpdateSequence,
    pub(in crate::cluster) reads: PollTimer,
    pub(super) phase: Phase,
    pub(super) credential_check: CredentialCheck,
    pub(super) failures: u32,
    pub(super) retry_at: Option<Instant>,
    pub(super) last: Option<Ended>,
    evidence: Evidence,
    /// Time and layer of an answer that showed it behind, until a query to the main decides whether
    /// the main has changed.
    doubted: Option<(Instant, Box<str>)>,
    /// End of the time in which a reload that was given up on is assumed to run on inside
    /// GeoServer.
    pub(super) given_up: Option<Instant>,
    pub(super) postponed: Postponed,
    pub(in crate::cluster) tiles: TileCache,
    /// The state of the main's own reload. Replicas do not use it.
    pub(in crate::cluster) main_reload: MainReload,
}

/// The evidence for `held`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Basis {
    /// It is reachable, and a replica of a healthy cluster read the current catalog when it
    /// started.
    Assumption,
    /// It had the catalog of this update sequence of the main when the process before us ended.
    Memory(u64),
    /// It was loaded before the main reported its first update sequence, so a change in between is
    /// possible.
    Early,
    /// It has everything that was settled since.
    Knowledge,
}

/// The last reload, which has ended.
#[derive(Clone, Debug)]
pub(super) struct Ended {
    pub(super) at: Instant,
    pub(super) took: Duration,
    pub(super) failure: Option<Cause>,
}

impl ReplicaCatalog {
    /// Returns the assumption that holds until better evidence is available.
    pub(in crate::cluster) fn new(changes: &Changes, now: Instant) -> Self {
        Self {
            held: Some(changes.settled()),
            basis: Basis::Assumption,
            waits_for: changes.epoch(),
            own: OwnUpdateSequence::default(),
            reads: PollTimer::At(now),
            phase: Phase::Serving,
            credential_check: CredentialCheck::default(),
            failures: 0,
            retry_at: None,
            last: None,
            evidence: Evidence::default(),
            doubted: None,
            given_up: None,
            postponed: Postponed::default(),
            tiles: TileCache::new(now),
            main_reload: MainReload::No,
        }
    }

    /// Returns the state of a replica that joins a running cluster. The catalog that it has loaded
    /// is not known.
    pub(in crate::cluster) fn newcomer(changes: &Changes, now: Instant) -> Self {
        Self {
            held: None,
            basis: Basis::Knowledge,
            ..Self::new(changes, now)
        }
    }

    // Properties of the replica.

    pub(in crate::cluster) fn is_fresh(&self, epoch: u64) -> bool {
        self.held >= Some(epoch)
    }

    /// True if it needs a reload now.
    pub(super) fn is_waiting(&self, settled: u64) -> bool {
        let is_known = !self.own.is_unread() || self.held.is_none();
        let is_behind =
            self.is_serving() && is_known && !self.is_fresh(settled) && self.waits_for <= settled;
        (is_behind || self.is_stuck())
            && self.retry_at.is_none()
            && self.given_up.is_none()
            && !self.is_postponed()
    }

    /// Returns the pause between two readings of its update sequence.
    pub(super) fn poll_pause(&self, config: &Catalog) -> Duration {
        if self.own.is_unread() {
            Duration::ZERO
        } else {
            config.poll
        }
    }

    /// Orders replicas by age: the one furthest behind comes first.
    pub(super) fn compare_age(&self, other: &Self) -> Ordering {
        self.held.cmp(&other.held)
    }

    pub(in crate::cluster) fn status(
        &self,
        epoch: u64,
        settled: u64,
        now: Instant,
    ) -> UpstreamCatalog {
        UpstreamCatalog {
            is_fresh: self.is_fresh(epoch),
            epoch: self.held,
            update_sequence: self.own.update_sequence(),
            phase: self.reload_phase(settled),
            is_out: !self.is_serving(),
            last_reload: self.last.as_ref().map(|last| LastCatalogReload {
                ago: now.saturating_duration_since(last.at),
                took: last.took,
                failure: last.failure.clone(),
            }),
            retry_in: self.retry_at.map(|at| at.saturating_duration_since(now)),
            tiles: self.tiles.status(),
        }
    }

    fn reload_phase(&self, settled: u64) -> ReloadPhase {
        match &self.phase {
            Phase::Serving if self.is_fresh(settled) => ReloadPhase::No,
            Phase::Serving if self.retry_at.is_some() => ReloadPhase::Failed,
            Phase::Serving => ReloadPhase::Waiting,
            Phase::Draining { .. } => ReloadPhase::Draining,
            Phase::Reloading { .. } => ReloadPhase::Reloading,
            Phase::Testing(testing) if testing.has_failed() => ReloadPhase::Failed,
            Phase::Testing(_) => ReloadPhase::Testing,
        }
    }

    /// True if its next reload must also bring the change of security of the epoch `changed`.
    pub(super) fn lacks_security(&self, changed: u64) -> bool {
        changed > 0 && !self.is_fresh(changed)
    }

    // Evidence about the replica.

    /// Restores the knowledge of the process before us. Returns true if its catalog may be empty;
    /// it must not serve before its canary passed.
    pub(in crate::cluster) fn recall(
        &mut self,
        main_update_sequence: Option<u64>,
        is_reloading: bool,
        start: Instant,
    ) -> bool {
        match main_update_sequence {
            Some(update_sequence) => self.basis = Basis::Memory(update_sequence),
            None => self.loses_all(),
        }
        if is_reloading {
            self.phase = Phase::Testing(Testing::after_a_failure(start));
            self.given_up = Some(start + GIVEN_UP_AT_LEAST);
        }
        is_reloading
    }

    /// Returns its catalog for the process after this one; `None` if nothing is known of it.
    pub(in crate::cluster) fn remembered(
        &self,
        epoch: u64,
        main_update_sequence: Option<u64>,
    ) -> Option<RememberedCatalog> {
        let of = |main_update_sequence| {
            Some(RememberedCatalog {
                main_update_sequence,
            })
        };
        match self.basis {
            _ if !self.is_fresh(epoch) => of(None),
            Basis::Assumption => None,
            // The memory of the former process is still all the evidence there is.
            Basis::Memory(update_sequence) => of(Some(update_sequence)),
            Basis::Early => of(None),
            Basis::Knowledge => of(main_update_sequence),
        }
    }

    /// Notes that it came up. Its next update sequence may belong to another catalog.
    pub(in crate::cluster) fn came_up(&mut self, now: Instant) {
        self.own.came_up(now);
        // Queries that were sent earlier and are not answered yet are no evidence either.
        self.reads = PollTimer::At(now);
    }

    /// Notes that no process listened there when the epoch `settled` was.
    pub(in crate::cluster) fn was_not_there(&mut self, settled: Option<u64>, now: Instant) {
        self.own.was_not_there(settled, now);
    }

    /// Takes in a reading of its update sequence, or a failed one.
    pub(super) fn read(&mut self, reading: SequenceReading, is_move_enough: bool) {
        let Some(loaded) = self.own.read(reading, is_move_enough) else {
            return;
        };
        if self.held < Some(loaded) {
            (self.held, self.basis) = (Some(loaded), Basis::Knowledge);
            (self.failures, self.retry_at) = (0, None);
        }
    }

    /// Judges its freshness once the update sequences are known. Returns true if it turns out
    /// stale.
    pub(super) fn judge(&mut self, main_update_sequence: Option<u64>) -> bool {
        let Some(main) = main_update_sequence else {
            return false;
        };
        let is_stale = match (self.basis, self.own.update_sequence()) {
            (Basis::Assumption, Some(own)) => own < main,
            (Basis::Assumption, None) | (Basis::Knowledge, _) => return false,
            (Basis::Memory(then), _) => then != main,
            (Basis::Early, _) => true,
        };
        self.basis = Basis::Knowledge;
        if is_stale {
            self.held = None;
        }
        is_stale
    }

    /// Notes that the answer to a request sent at `sent` showed it behind the main. If it was
    /// reloaded since, that is no news.
    pub(super) fn doubt(&mut self, layer: Box<str>, sent: Instant, now: Instant) {
        if self.last.as_ref().is_none_or(|last| last.at <= sent) {
            self.doubted = Some((now, layer));
        }
    }

    /// Decides the doubt after a query to the main sent at `sent_at`. Returns true if the replica
    /// turns out to be behind although the main reported no change.
    pub(super) fn judge_doubt(&mut self, sent_at: Instant, epoch: u64, now: Instant) -> bool {
        let Some((_, layer)) = self
            .doubted
            .take_if(|(doubted_at, _)| *doubted_at <= sent_at)
        else {
            return false;
        };
        let counts =
            self.is_serving() && self.is_fresh(epoch) && self.evidence.seen(&layer, epoch, now);
        if counts {
            self.loses_all();
        }
        counts
    }

    /// Forgets the credentials check, because a replica in maintenance is not queried, and the
    /// check may differ afterwards.
    pub(in crate::cluster) fn forget_credential_check(&mut self) {
        self.credential_check = CredentialCheck::default();
    }

    /// Allows another attempt, because the credentials changed or enough time has passed.
    pub(in crate::cluster) fn try_again(&mut self) {
        self.retry_at = None;
    }

    /// Orders a reload now, whatever failed before.
    pub(super) fn order(&mut self) {
        self.evidence.forget();
        self.retry_at = None;
    }

    /// Returns the layers of the main that no reload brings.
    pub(in crate::cluster) fn missing_layers(&self, now: Instant) -> impl Iterator<Item = &str> {
        self.evidence.facts(now)
    }

    /// Makes it wait for an epoch that began while it was not waiting for a reload.
    pub(super) fn wait_for(&mut self, epoch: u64) {
        self.waits_for = epoch;
    }

    /// Makes it the main. Its catalog is the one that the others must have.
    pub(in crate::cluster) fn become_main(&mut self, epoch: u64) {
        (self.held, self.basis, self.phase) = (Some(epoch), Basis::Knowledge, Phase::Serving);
        (self.failures, self.retry_at) = (0, None);
    }

    /// Makes it a replica, because another upstream is the main now and adds to the unsettled
    /// changes.
    pub(super) fn become_replica(&mut self, settled: u64) {
        self.held = self.held.min(Some(settled));
    }

    /// Marks it as older than every known epoch.
    fn loses_all(&mut self) {
        (self.held, self.basis) = (None, Basis::Knowledge);
    }
}
