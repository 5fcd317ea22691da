//! One replica's catalog: which epoch it holds, and how that is known.

use std::cmp::Ordering;
use std::time::{Duration, Instant};

use super::access::Access;
use super::changes::Changes;
use super::directory::MainReload;
use super::due::Due;
use super::evidence::Evidence;
use super::own::{OwnNumber, Reading};
use super::postponed::Postponed;
use super::reload::{GIVEN_UP_AT_LEAST, Phase, Testing};
use super::status::{Freshening, LastReload, UpstreamCatalog};
use crate::cluster::Cause;
use crate::config::Catalog;

#[derive(Debug)]
pub(in crate::cluster) struct Freshness {
    /// The epoch whose catalog it holds, at least. `None`: an older one than all we know of.
    pub(super) held: Option<u64>,
    pub(super) basis: Basis,
    /// Not reloaded before this epoch is settled: it was not waiting for a reload when that began.
    /// If it turns out to be behind meanwhile, one reload brings both.
    waits_for: u64,
    pub(super) own: OwnNumber,
    pub(super) reads: Due,
    pub(super) phase: Phase,
    pub(super) access: Access,
    pub(super) failures: u32,
    pub(super) retry_at: Option<Instant>,
    pub(super) last: Option<Ended>,
    evidence: Evidence,
    /// An answer showed it behind, and the main was not asked since whether that is a change it
    /// told of. When, and the layer.
    doubted: Option<(Instant, Box<str>)>,
    /// Until when a reload that was given up on is taken to run inside GeoServer still.
    pub(super) given_up: Option<Instant>,
    pub(super) postponed: Postponed,
    /// Of the main alone.
    pub(in crate::cluster) main_reload: MainReload,
}

/// What `held` rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Basis {
    /// It is there, and a healthy cluster's replica read what there was when it started.
    Assumption,
    /// It had the catalog of this number of the main's when the process before us ended.
    Memory(u64),
    /// It was loaded before the main said its first number: something may have changed in between.
    Early,
    /// All that was settled since.
    Knowledge,
}

/// Its last reload.
#[derive(Clone, Debug)]
pub(super) struct Ended {
    pub(super) at: Instant,
    pub(super) took: Duration,
    pub(super) failure: Option<Cause>,
}

impl Freshness {
    /// Until something better is known.
    pub(in crate::cluster) fn new(changes: &Changes, now: Instant) -> Self {
        Self {
            held: Some(changes.settled()),
            basis: Basis::Assumption,
            waits_for: changes.epoch(),
            own: OwnNumber::default(),
            reads: Due::At(now),
            phase: Phase::Serving,
            access: Access::default(),
            failures: 0,
            retry_at: None,
            last: None,
            evidence: Evidence::default(),
            doubted: None,
            given_up: None,
            postponed: Postponed::default(),
            main_reload: MainReload::No,
        }
    }

    /// One that joins a cluster which has been running: what it has loaded is not known.
    pub(in crate::cluster) fn newcomer(changes: &Changes, now: Instant) -> Self {
        Self {
            held: None,
            basis: Basis::Knowledge,
            ..Self::new(changes, now)
        }
    }

    // What it is.

    pub(in crate::cluster) fn is_fresh(&self, epoch: u64) -> bool {
        self.held >= Some(epoch)
    }

    /// Whether it wants to be reloaded now.
    pub(super) fn is_waiting(&self, settled: u64) -> bool {
        let is_known = !self.own.is_unread() || self.held.is_none();
        let is_behind =
            self.is_serving() && is_known && !self.is_fresh(settled) && self.waits_for <= settled;
        (is_behind || self.is_stuck())
            && self.retry_at.is_none()
            && self.given_up.is_none()
            && !self.is_postponed()
    }

    /// How long after one reading of its number the next one is due.
    pub(super) fn poll_pause(&self, config: &Catalog) -> Duration {
        if self.own.is_unread() {
            Duration::ZERO
        } else {
            config.poll
        }
    }

    /// Who is furthest behind comes first.
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
            number: self.own.number(),
            doing: self.doing(settled),
            is_out: !self.is_serving(),
            last_reload: self.last.as_ref().map(|last| LastReload {
                ago: now.saturating_duration_since(last.at),
                took: last.took,
                failure: last.failure.clone(),
            }),
            retry_in: self.retry_at.map(|at| at.saturating_duration_since(now)),
        }
    }

    fn doing(&self, settled: u64) -> Freshening {
        match &self.phase {
            Phase::Serving if self.is_fresh(settled) => Freshening::No,
            Phase::Serving if self.retry_at.is_some() => Freshening::Failed,
            Phase::Serving => Freshening::Waiting,
            Phase::Draining { .. } => Freshening::Draining,
            Phase::Reloading { .. } => Freshening::Reloading,
            Phase::Testing(testing) if testing.has_failed() => Freshening::Failed,
            Phase::Testing(_) => Freshening::Testing,
        }
    }

    /// Whether its next reload must bring security along that changed in the epoch `changed`.
    pub(super) fn lacks_security(&self, changed: u64) -> bool {
        changed > 0 && !self.is_fresh(changed)
    }

    // What is learned about it.

    /// What the process before us knew. True if its catalog may be empty: nobody may come in before
    /// its canary passed.
    pub(in crate::cluster) fn recall(
        &mut self,
        main_number: Option<u64>,
        is_reloading: bool,
        start: Instant,
    ) -> bool {
        match main_number {
            Some(number) => self.basis = Basis::Memory(number),
            None => self.loses_all(),
        }
        if is_reloading {
            self.phase = Phase::Testing(Testing::after_a_failure(start));
            self.given_up = Some(start + GIVEN_UP_AT_LEAST);
        }
        is_reloading
    }

    /// The main's number whose catalog it has, `None` inside if a reload is owed to it; `None` if
    /// nothing is known of it.
    pub(in crate::cluster) fn remembered(
        &self,
        epoch: u64,
        main_number: Option<u64>,
    ) -> Option<Option<u64>> {
        match self.basis {
            _ if !self.is_fresh(epoch) => Some(None),
            Basis::Assumption => None,
            // What we were told is still all there is to know.
            Basis::Memory(number) => Some(Some(number)),
            Basis::Early => Some(None),
            Basis::Knowledge => Some(main_number),
        }
    }

    /// It came up: whatever it says next may be another catalog.
    pub(in crate::cluster) fn came_up(&mut self, now: Instant) {
        self.own.came_up(now);
        // What was asked before and is not answered yet says nothing either.
        self.reads = Due::At(now);
    }

    /// Nobody listened there when the epoch `settled` was.
    pub(in crate::cluster) fn was_not_there(&mut self, settled: Option<u64>, now: Instant) {
        self.own.was_not_there(settled, now);
    }

    /// It said its number, or did not.
    pub(super) fn read(&mut self, reading: Reading, is_move_enough: bool) {
        let Some(loaded) = self.own.read(reading, is_move_enough) else {
            return;
        };
        if self.held < Some(loaded) {
            (self.held, self.basis) = (Some(loaded), Basis::Knowledge);
            (self.failures, self.retry_at) = (0, None);
        }
    }

    /// Once the numbers are known. True if it turns out stale.
    pub(super) fn judge(&mut self, main_number: Option<u64>) -> bool {
        let Some(main) = main_number else {
            return false;
        };
        let is_stale = match (self.basis, self.own.number()) {
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

    /// The answer to a request of `sent` showed it behind the main. If it was reloaded since, that
    /// is no news.
    pub(super) fn doubt(&mut self, layer: Box<str>, sent: Instant, now: Instant) {
        if self.last.as_ref().is_none_or(|last| last.at <= sent) {
            self.doubted = Some((now, layer));
        }
    }

    /// The main was asked at `asked`, and what it said is known. True if the replica turns out to
    /// be behind although the main told of no change.
    pub(super) fn judge_doubt(&mut self, asked: Instant, epoch: u64, now: Instant) -> bool {
        let Some((_, layer)) = self.doubted.take_if(|(doubted_at, _)| *doubted_at <= asked) else {
            return false;
        };
        let counts =
            self.is_serving() && self.is_fresh(epoch) && self.evidence.seen(&layer, epoch, now);
        if counts {
            self.loses_all();
        }
        counts
    }

    /// Nothing is asked of a replica in maintenance, and the question may be another one
    /// afterwards.
    pub(in crate::cluster) fn forget_access(&mut self) {
        self.access = Access::default();
    }

    /// There are other credentials, or time to try again.
    pub(in crate::cluster) fn try_again(&mut self) {
        self.retry_at = None;
    }

    /// An operator wants it reloaded now, whatever failed before.
    pub(super) fn order(&mut self) {
        self.evidence.forget();
        self.retry_at = None;
    }

    /// Layers of the main that no reload brings.
    pub(in crate::cluster) fn missing_layers(&self, now: Instant) -> impl Iterator<Item = &str> {
        self.evidence.facts(now)
    }

    /// This epoch began, and it was not waiting for a reload then.
    pub(super) fn wait_for(&mut self, epoch: u64) {
        self.waits_for = epoch;
    }

    /// It is the main, whose catalog is the one the others must have.
    pub(in crate::cluster) fn is_the_main(&mut self, epoch: u64) {
        (self.held, self.basis, self.phase) = (Some(epoch), Basis::Knowledge, Phase::Serving);
        (self.failures, self.retry_at) = (0, None);
    }

    /// Another one is the main now, and adds to what is not settled yet.
    pub(super) fn was_the_main(&mut self, settled: u64) {
        self.held = self.held.min(Some(settled));
    }

    /// It is behind everything.
    fn loses_all(&mut self) {
        (self.held, self.basis) = (None, Basis::Knowledge);
    }
}
