//! Audits the cluster's claims about catalogs against the real contents of the GeoServers.
//!
//! The audit keeps a lower bound of what the cluster must know: the edits that existed when it
//! noticed a change. Every upstream that the cluster calls fresh must have loaded these edits.
//! Upstreams that are only assumed to be fresh (`is_assumed`) are exempt until they have been stale
//! once. No upstream is reloaded without a reason, nor twice where one reload would have been
//! enough.

use std::time::{Duration, Instant};

use geofront::cluster::{
    CatalogStatus, ChangeSource, ClusterStatus, ReloadPhase, RollReason, Ticket, UpstreamCatalog,
    UpstreamStatus,
};
use geofront::config::Catalog;

use crate::catalogs::CatalogReading;
use crate::geoserver::DataDirectory;

/// The lower bound for the cluster.
#[derive(Debug, Default)]
pub(crate) struct Audit {
    /// The edits that every upstream called fresh must have.
    pub(crate) known: u64,
    pub(crate) epoch: u64,
    pub(crate) settled: u64,
    /// When the last epoch began ...
    pub(crate) began: Option<Instant>,
    /// ... and when the last change was noticed that belongs to it.
    pub(crate) last_change: Option<Instant>,
    /// The most concurrent reloads allowed since the last time without any reload.
    pub(crate) parallel: u32,
    pub(crate) promises: Vec<Promise>,
    /// The main is another one, which may not have read the edits of the former one: its update
    /// sequence does not reveal the old parts.
    pub(crate) has_another_main: bool,
    pub(crate) rolls: RollDiary,
}

/// The observed rolls since this geofront started.
#[derive(Debug, Default)]
pub(crate) struct RollDiary {
    /// When the one under way began, and whether it brings a change.
    pub(crate) under_way: Option<(Instant, bool)>,
    /// No other one that brings a change begins before this.
    pub(crate) rest_until: Option<Instant>,
    /// The epoch of the last order.
    pub(crate) ordered: u64,
}

impl RollDiary {
    /// `held`: the epochs that replicas hold.
    pub(crate) fn began(
        &mut self,
        why: RollReason,
        held: impl Iterator<Item = Option<u64>>,
        now: Instant,
    ) {
        assert!(self.under_way.is_none(), "one roll at a time");
        let brings_a_change = why != RollReason::Repair;
        let is_resting = self.rest_until.is_some_and(|until| now < until);
        let mut held = held;
        let is_owed_an_order = held.any(|held| held < Some(self.ordered));
        assert!(
            !brings_a_change || !is_resting || is_owed_an_order,
            "a roll begins in the pause after the last one: {why:?}"
        );
        self.under_way = Some((now, brings_a_change));
    }

    pub(crate) fn ended(&mut self, share: u32, now: Instant) {
        let (began, brings_a_change) = self.under_way.take().expect("a load that ends has begun");
        if brings_a_change {
            // The roll is to be `share` percent of the time from its begin to the end of the pause.
            let whole = (now - began).as_secs_f64() * 100.0 / f64::from(share);
            // One millisecond less, because the shipped code divides in another way.
            let until = began + Duration::from_secs_f64((whole - 0.001).max(0.0));
            self.rest_until = self.rest_until.max(Some(until));
        }
    }
}

/// A hint that is not resolved yet.
#[derive(Debug)]
pub(crate) struct Promise {
    pub(crate) ticket: Ticket,
    /// The edits that the promise covers.
    pub(crate) edits: u64,
}

/// The lower bound for one upstream.
#[derive(Debug, Default)]
pub(crate) struct Upkeep {
    pub(crate) is_assumed: bool,
    pub(crate) was: Option<UpstreamStatus>,
    /// Since when its requests are waited for.
    pub(crate) draining_since: Option<Instant>,
    /// Since when its reload was put off for requests, and the epoch that it held then.
    pub(crate) put_off: Option<(Instant, Option<u64>)>,
    /// The drain that goes on began when its reload had been put off for long enough.
    pub(crate) is_final: bool,
    /// After a reload that failed.
    pub(crate) was_out: bool,
    pub(crate) leases_at_call: Option<u32>,
    pub(crate) calls: u32,
    /// Reloads for the change `reloaded_for`, and how many there may be: one, and one more after
    /// each that failed.
    pub(crate) reloads: u32,
    pub(crate) allowed: u32,
    pub(crate) reloaded_for: Option<u64>,
    /// Number of reload calls that have a reason.
    pub(crate) reasons: u32,
    /// It was found behind while this epoch settled: one reload brings both.
    pub(crate) waits_for: u64,
    pub(crate) failures: u32,
    pub(crate) has_reloaded: bool,
    /// True while a reload that geofront ordered has no known result.
    pub(crate) is_called: bool,
    /// Since when it waits for its canary, after a reload that was answered as done.
    pub(crate) testing_since: Option<Instant>,
    /// It may have had no catalog when the reload was ordered.
    pub(crate) was_empty_at_call: bool,
    /// A reload never reached it, so it is in service.
    pub(crate) must_serve: bool,
    /// It was reloaded since nothing goes wrong any more.
    pub(crate) is_busy_since_calm: bool,
}

impl Upkeep {
    /// It only drains, served until then, and its reload was not put off for too long when that
    /// began.
    pub(crate) fn may_be_put_off(
        &self,
        catalog: &UpstreamCatalog,
        bound: Duration,
        now: Instant,
    ) -> bool {
        let (may_be_empty, is_final) = match self.draining_since {
            Some(_) => (self.was_out, self.is_final),
            // It has begun to drain in this very step.
            None => (self.was_testing(), self.is_overdue(catalog, bound, now)),
        };
        catalog.phase == ReloadPhase::Draining && !may_be_empty && !is_final
    }

    /// It waited for its canary before this step, and has not returned from its reload in it.
    pub(crate) fn was_testing(&self) -> bool {
        let is_testing = |was: &UpstreamStatus| is_testing(&was.catalog);
        self.was.as_ref().is_some_and(is_testing) && !self.has_reloaded
    }

    pub(crate) fn is_overdue(
        &self,
        catalog: &UpstreamCatalog,
        bound: Duration,
        now: Instant,
    ) -> bool {
        self.put_off
            .is_some_and(|(since, held)| held == catalog.epoch && now >= since + bound)
    }

    pub(crate) fn put_off(&mut self, catalog: &UpstreamCatalog, now: Instant) {
        if self.put_off.is_none_or(|(_, held)| held != catalog.epoch) {
            self.put_off = Some((now, catalog.epoch));
        }
        self.draining_since = None;
    }

    pub(crate) fn count_reload(&mut self, epoch: u64) {
        if self.reloaded_for.replace(epoch) != Some(epoch) {
            (self.reloads, self.allowed) = (0, 1);
        }
        self.reloads += 1;
    }

    /// The next cluster has no record of work under way.
    pub(crate) fn new(is_assumed: bool, is_owed: bool) -> Self {
        Self {
            is_assumed,
            reasons: u32::from(is_owed),
            ..Self::default()
        }
    }
}

impl Audit {
    /// Records that the cluster received an update sequence that moved, or its first. `then` and
    /// `status` are from before and after that.
    pub(crate) fn main_was_read(
        &mut self,
        then: &CatalogStatus,
        status: &CatalogStatus,
        reading: CatalogReading,
        directory: &DataDirectory,
        now: Instant,
    ) {
        // An order was given, and this is the first update sequence since. The order's reloads
        // cover the edits up to it; later edits are another change.
        let is_of_an_order = status.epoch == status.settled;
        match (then.update_sequence, status.update_sequence) {
            (None, Some(_)) => self.known = self.known.max(reading.announced),
            (Some(before), Some(after)) if before != after && is_of_an_order => {
                self.known = self.known.max(reading.announced)
            }
            (Some(before), Some(after)) if before != after => self.noticed(directory, now),
            (_, None) | (Some(_), Some(_)) => {}
        }
    }

    pub(crate) fn noticed(&mut self, directory: &DataDirectory, now: Instant) {
        (self.known, self.last_change) = (directory.edits, Some(now));
    }

    /// This holds even if no update sequence can be read.
    pub(crate) fn promise(&mut self, ticket: Ticket, edits: u64) {
        self.promises.push(Promise { ticket, edits });
    }

    pub(crate) fn succeed(&mut self) {
        (self.epoch, self.settled, self.began, self.last_change) = (0, 0, None, None);
        self.promises.clear();
        self.rolls = RollDiary::default();
    }

    /// A new epoch begins, so the last one had come to rest.
    pub(crate) fn changed(
        &mut self,
        epoch: u64,
        source: ChangeSource,
        config: &Catalog,
        directory: &DataDirectory,
        now: Instant,
    ) {
        match source {
            ChangeSource::Order => self.settled = epoch,
            ChangeSource::Number
            | ChangeSource::Write
            | ChangeSource::Main
            | ChangeSource::Directory => self.settled(epoch - 1, config, now),
        }
        self.has_another_main |= source == ChangeSource::Main;
        (self.epoch, self.began) = (epoch, Some(now));
        self.noticed(directory, now);
    }

    /// Not before its time.
    pub(crate) fn settled(&mut self, epoch: u64, config: &Catalog, now: Instant) {
        let since = |at: Option<Instant>| at.map_or(Duration::MAX, |at| now - at);
        let (quiet, age) = (since(self.last_change), since(self.began));
        let is_over = quiet >= config.settle || age >= config.settle_max;
        assert!(
            epoch <= self.settled || is_over,
            "settled after {quiet:?} of quiet, {age:?} old"
        );
        self.settled = epoch;
    }

    /// Nor long after it.
    pub(crate) fn check_settling(
        &mut self,
        status: &ClusterStatus,
        config: &Catalog,
        now: Instant,
        is_driver_late: bool,
    ) {
        self.settled(status.catalog.settled, config, now);
        let age = status.catalog.changed_ago.unwrap_or_default();
        let is_overdue = status.catalog.epoch > self.settled && age > config.settle_max;
        assert!(
            !is_overdue || is_driver_late,
            "not settled although {age:?} old"
        );
    }
}

/// It waits for its canary, whether or not it has been given up on.
pub(crate) fn is_testing(catalog: &UpstreamCatalog) -> bool {
    catalog.is_out && matches!(catalog.phase, ReloadPhase::Testing | ReloadPhase::Failed)
}
