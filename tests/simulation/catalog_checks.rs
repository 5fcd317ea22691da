//! The checks of catalogs after every step: reloads, rolls, and what serves meanwhile.

use std::net::SocketAddr;
use std::time::Duration;

use geofront::cluster::{
    CatalogStatus, ChangeSource, ClusterStatus, HealthState, Mode, ReloadPhase, RollReason,
    TransitionKind, UpstreamStatus,
};
use geofront::config::{MainReads, Role};
use geofront::ogc::RequestClass;

use crate::driver::REPORT_GRACE;
use crate::geoserver::LoadedBy;
use crate::ledger::Key;
use crate::oracle::{is_set_aside, key};
use crate::world::World;

impl World {
    /// Makes the checks about catalogs that are due after every step.
    pub(crate) fn check_catalogs(&mut self) {
        let status = self.cluster.status(self.now);
        self.audit
            .check_settling(&status, &self.config.catalog, self.now, self.is_driver_late);
        let is_idle = |status: &UpstreamStatus| !status.catalog.is_out;
        let before = if status.upstreams.iter().all(is_idle) {
            0
        } else {
            self.audit.parallel
        };
        self.audit.parallel = before.max(self.config.catalog.parallel);
        let mut left = Vec::new();
        for status in &status.upstreams {
            self.check_catalog(status, &mut left);
        }
        for key in &left {
            self.check_capacity(key, &status);
        }
        self.check_promises(&status);
        self.check_the_last(&status);
        let wants = |s: &UpstreamStatus| {
            s.health == HealthState::Up && s.catalog.phase == ReloadPhase::Waiting
        };
        let could = |s: &UpstreamStatus| {
            wants(s) && s.role == Role::Replica && s.catalog.retry_in.is_none()
        };
        let is_settled =
            status.catalog.can_reload && status.catalog.epoch == status.catalog.settled;
        if is_settled && status.upstreams.iter().all(is_idle) && status.upstreams.iter().any(could)
        {
            self.tally.count("a roll held up by the last one");
        }
        for status in status.upstreams {
            let upkeep = &mut self
                .ledger
                .get_mut(&key(&status))
                .expect("it is tracked")
                .upkeep;
            (upkeep.was, upkeep.has_reloaded) = (Some(status), false);
        }
    }

    /// A replica leaves service only when no other one that serves is ramping up: for a minute at
    /// most, which is longer than all that goes wrong here.
    fn check_capacity(&self, key: &Key, status: &ClusterStatus) {
        let serves = |status: &&UpstreamStatus| {
            let is_first = match (status.role, self.reads_of(status)) {
                (Role::Replica, _) | (Role::Main, MainReads::Always) => true,
                (Role::Main, MainReads::Backup | MainReads::Never) => false,
            };
            is_first
                && status.health == HealthState::Up
                && status.mode == Mode::Ready
                && !is_set_aside(status)
        };
        let of = |status: &UpstreamStatus| &self.ledger[&crate::oracle::key(status)];
        let leaves = status
            .upstreams
            .iter()
            .find(|status| crate::oracle::key(status) == *key)
            .expect("it is tracked");
        if !serves(&leaves) || of(leaves).upkeep.was_out {
            return;
        }
        // One that drained may have been called back in this step, after the other had left.
        let was_out = |other: &UpstreamStatus| {
            let was = of(other).upkeep.was.as_ref();
            was.is_some_and(|was| was.catalog.is_out)
        };
        let others = status
            .upstreams
            .iter()
            .filter(|other| other.name != leaves.name && !other.catalog.is_out)
            .filter(|other| !was_out(other));
        for other in others.filter(serves) {
            let is_ramping = of(other)
                .ramp
                .is_some_and(|ramp| ramp.since + ramp.length > self.now);
            assert!(
                !is_ramping,
                "{key:?} leaves while {} is ramping up",
                other.name
            );
        }
    }

    fn reads_of(&self, status: &UpstreamStatus) -> MainReads {
        let found = self
            .config
            .upstreams
            .iter()
            .find(|upstream| upstream.name == status.name);
        found.expect("a tracked upstream is configured").reads
    }

    fn check_catalog(&mut self, status: &UpstreamStatus, left: &mut Vec<Key>) {
        let key = key(status);
        let (known, now) = (self.audit.known, self.now);
        let geoserver = &self.machine(key.1).geoserver;
        let (loaded, is_whole) = (geoserver.loaded, geoserver.is_whole());
        let can_reload = self.blueprint.can_reload();
        let drain_timeout = self.config.catalog.drain_timeout;
        let catalog = self.cluster.status(now).catalog;
        let may_be_old = self.may_have_read_old_files(&catalog);
        let entry = self.ledger.get_mut(&key).expect("it is tracked");
        let upkeep = &mut entry.upkeep;
        let is_draining = status.catalog.phase == ReloadPhase::Draining;
        if is_draining && upkeep.draining_since.is_none() {
            left.push(key.clone());
            upkeep.is_final = upkeep.is_overdue(&status.catalog, drain_timeout, now);
        }
        let was_testing = upkeep.was_testing();
        upkeep.was_out = is_draining && (upkeep.was_out || was_testing);
        upkeep.draining_since = is_draining.then(|| upkeep.draining_since.unwrap_or(now));
        let is_tested = status.catalog.phase == ReloadPhase::Testing;
        upkeep.testing_since = is_tested.then(|| upkeep.testing_since.unwrap_or(now));
        if std::mem::take(&mut upkeep.must_serve) {
            assert!(
                !status.catalog.is_out,
                "{key:?} is out although its reload never reached it"
            );
            self.tally.count("a reload that never reached it");
        }
        upkeep
            .leases_at_call
            .take_if(|_| status.catalog.phase != ReloadPhase::Reloading);
        assert!(
            upkeep
                .leases_at_call
                .is_none_or(|most| entry.at_work.all <= most),
            "{key:?}: no request comes in while it is reloaded"
        );
        if status.role == Role::Main {
            // Its catalog when it is a replica again is another matter.
            upkeep.reloaded_for = None;
            return;
        }
        let claims = status.catalog.is_fresh;
        // Without credentials a number that moves is believed: nothing better can be known.
        upkeep.is_assumed = claims && (upkeep.is_assumed || !can_reload);
        assert!(
            !claims || upkeep.is_assumed || may_be_old || !is_whole || loaded >= known,
            "{key:?} has {loaded} of {known} edits: {status:?}"
        );
        let was_behind = upkeep.was.as_ref().is_some_and(|was| {
            was.role == Role::Replica && was.catalog.epoch < status.catalog.epoch
        });
        if was_behind && !upkeep.has_reloaded {
            upkeep.failures = 0;
            self.tally.count("a replica had loaded by itself");
        }
        if claims && !upkeep.is_assumed && !is_whole {
            self.tally
                .count("a fresh replica was emptied behind our back");
        }
    }

    /// The main's update sequence shows that a replica has read old files. It cannot while the main
    /// reports none, nor after an edit on disk that the main itself has not loaded, nor before the
    /// main was read again after its number moved: old files have the number that was read last.
    fn may_have_read_old_files(&self, catalog: &CatalogStatus) -> bool {
        let main = self.machines.get(&self.main().1);
        let main_lacks_an_edit =
            main.is_some_and(|main| main.geoserver.number < self.directory.number);
        let is_unknown = catalog.update_sequence.is_none()
            || catalog.silent_for.is_some()
            || catalog.update_sequence < Some(self.directory.number)
            || self.audit.has_another_main
            || main_lacks_an_edit;
        self.directory.lag.is_some() && is_unknown
    }

    /// Checks that a change is on every upstream once its hint is resolved. Until then the author
    /// of the change reads elsewhere.
    fn check_promises(&mut self, status: &ClusterStatus) {
        let tickets = self.snapshot.tickets;
        let promises = std::mem::take(&mut self.audit.promises);
        let (kept, due): (Vec<_>, Vec<_>) = promises
            .into_iter()
            .partition(|promise| tickets.is_pending(promise.ticket, promise.ticket));
        self.audit.promises = kept;
        let Some(edits) = due.iter().map(|promise| promise.edits).max() else {
            return;
        };
        self.tally.count("a hint resolved");
        let may_be_old = self.may_have_read_old_files(&status.catalog);
        for status in status
            .upstreams
            .iter()
            .filter(|status| status.role == Role::Replica)
        {
            let key = key(status);
            let serves = status.health == HealthState::Up
                && status.mode == Mode::Ready
                && !self.ledger[&key].upkeep.is_assumed;
            let geoserver = &self.machine(key.1).geoserver;
            let has_it = may_be_old || !geoserver.is_whole() || geoserver.loaded >= edits;
            assert!(
                !serves || has_it,
                "{key:?} has {} of {edits} edits: {due:?}",
                geoserver.loaded
            );
        }
    }

    /// Checks that the last upstream that could serve is not drained for a reload.
    fn check_the_last(&self, status: &ClusterStatus) {
        let is_served = self.snapshot.serving(RequestClass::Map).next().is_some();
        for status in status
            .upstreams
            .iter()
            .filter(|status| status.catalog.phase == ReloadPhase::Draining)
        {
            let was_out = self.ledger[&key(status)].upkeep.was_out;
            let could = status.health == HealthState::Up
                && status.mode == Mode::Ready
                && !is_set_aside(status);
            assert!(
                is_served || !could || was_out,
                "{}: the last one that serves is not reloaded",
                status.name
            );
        }
    }

    /// Audits a reload that geofront is about to order from GeoServer.
    pub(crate) fn audit_call(&mut self, key: &Key) {
        let under_way = self.calls_under_way();
        let most = self.audit.parallel.max(self.config.catalog.parallel) as usize;
        assert!(
            under_way <= most,
            "{under_way} reloads under way, {most} allowed"
        );
        let limit = self.config.catalog.drain_timeout;
        let entry = self
            .ledger
            .get_mut(key)
            .expect("a retired upstream is not reloaded");
        let waited = entry
            .upkeep
            .draining_since
            .map_or(Duration::ZERO, |since| self.now - since);
        assert!(
            entry.at_work.all == 0 || waited >= limit,
            "{key:?}: {} requests are not waited for",
            entry.at_work.all
        );
        assert!(
            self.audit.rolls.under_way.is_some(),
            "{key:?} is reloaded, and no roll is under way"
        );
        entry.upkeep.leases_at_call = Some(entry.at_work.all);
        entry.upkeep.calls += 1;
        entry.upkeep.is_called = true;
        entry.upkeep.was_empty_at_call = entry.upkeep.was_out || entry.upkeep.was_testing();
        entry.upkeep.is_busy_since_calm |= self.is_calm;
        assert!(
            entry.upkeep.calls <= entry.upkeep.reasons,
            "{key:?} is reloaded without a reason: {:?}",
            entry.upkeep
        );
        entry.hold_probes(self.now);
        let has_leases = entry.at_work.all > 0;
        assert!(
            self.blueprint.has_credentials(),
            "no upstream can be reloaded without credentials"
        );
        assert!(
            self.end.is_none(),
            "{key:?} is reloaded although every replica is fresh"
        );
        self.tally.count("a catalog reload");
        let happened = [
            (under_way > 1, "two catalog reloads at a time"),
            (has_leases, "a reload beside requests that did not end"),
        ];
        happened
            .into_iter()
            .filter(|(happened, _)| *happened)
            .for_each(|(_, what)| self.tally.count(what));
    }

    /// A transition that concerns catalogs.
    pub(crate) fn check_catalog_transition(&mut self, key: Option<&Key>, what: &TransitionKind) {
        let upkeep = key
            .and_then(|key| self.ledger.get_mut(key))
            .map(|entry| &mut entry.upkeep);
        match (what, upkeep) {
            (TransitionKind::ReloadPostponed { .. }, _) => {
                self.tally.count("a reload was postponed")
            }
            (TransitionKind::CatalogChanged { epoch, source }, _) => {
                self.tally.count("a change was noticed");
                if *source == ChangeSource::Order {
                    self.audit.rolls.ordered = *epoch;
                }
                if *source == ChangeSource::Directory {
                    self.tally.count("a change on disk was noticed");
                    // One that left the cluster may write there when it ends the reload that we
                    // began.
                    self.end = None;
                }
                self.audit.changed(
                    *epoch,
                    *source,
                    &self.config.catalog,
                    &self.directory,
                    self.now,
                );
                self.ledger
                    .values_mut()
                    .for_each(|entry| entry.upkeep.reasons += 1);
            }
            (TransitionKind::Stale { .. }, Some(upkeep)) => {
                self.tally.count("found stale");
                self.end = None;
                upkeep.allowed += 1;
                let had_all = upkeep
                    .was
                    .as_ref()
                    .is_some_and(|was| was.catalog.phase == ReloadPhase::No);
                if had_all && self.audit.settled < self.audit.epoch {
                    self.tally.count("found stale while a change settles");
                    upkeep.waits_for = self.audit.epoch;
                } else {
                    upkeep.reasons += 1;
                }
            }
            (TransitionKind::RollBegan { why, .. }, _) => {
                self.tally.count(if *why == RollReason::Repair {
                    "a roll that repairs"
                } else {
                    "a roll"
                });
                let status = self.cluster.status(self.now);
                let replicas = status
                    .upstreams
                    .iter()
                    .filter(|status| status.role == Role::Replica);
                self.audit
                    .rolls
                    .began(*why, replicas.map(|status| status.catalog.epoch), self.now);
            }
            (TransitionKind::RollEnded(_), _) => self
                .audit
                .rolls
                .ended(self.config.catalog.roll_share, self.now),
            (TransitionKind::ReloadBegan { epoch, .. }, Some(upkeep)) => {
                upkeep.count_reload(*epoch);
                upkeep.put_off = None;
                assert!(
                    upkeep.reloads <= upkeep.allowed,
                    "{key:?} is reloaded again for the same change: {upkeep:?}"
                );
                assert!(
                    *epoch >= upkeep.waits_for,
                    "{key:?} is reloaded for {epoch}, and then again: {upkeep:?}"
                );
            }
            (TransitionKind::ReloadFailed { .. }, Some(upkeep)) => {
                self.tally.count("a catalog reload failed");
                // A credentials check found it out, so it cost no reload.
                let was_called = u32::from(std::mem::take(&mut upkeep.is_called));
                upkeep.reasons += was_called;
                upkeep.allowed += was_called;
                upkeep.failures += 1;
            }
            (TransitionKind::Reloaded { .. }, Some(upkeep)) => {
                self.tally.count("reloaded");
                (upkeep.failures, upkeep.has_reloaded, upkeep.is_called) = (0, true, false);
            }
            (_, _) => {}
        }
    }

    /// It loaded without us, or not when we thought: where we cannot reload, that counts for more
    /// than is proven.
    pub(crate) fn audit_unknown_load(&mut self, address: SocketAddr) {
        if self.lacks_credentials {
            let there = self.ledger.iter_mut().filter(|(key, _)| key.1 == address);
            there.for_each(|(_, entry)| entry.upkeep.is_assumed = true);
        }
    }

    /// Checks that a replica emptied by geofront gets no new requests.
    pub(crate) fn audit_lease(&mut self, key: &Key, is_main: bool) {
        let emptied_by = self.machine(key.1).geoserver.emptied_by;
        assert!(
            is_main || emptied_by != Some(LoadedBy::Geofront),
            "{key:?} has no catalog, and we know it"
        );
    }

    /// Returns whether every upstream is up and has every edit.
    pub(crate) fn is_fresh(&self) -> bool {
        let status = self.cluster.status(self.now);
        let noticed = (self.config.catalog.poll + self.config.health.timeout + REPORT_GRACE) * 2;
        let is_well = |status: &UpstreamStatus| {
            let is_back = status.health == HealthState::Up && !is_set_aside(status);
            is_back
                && (!self.blueprint.can_reload()
                    || status.catalog.is_fresh && status.catalog.phase == ReloadPhase::No)
        };
        let is_noticed = self.calm.is_some_and(|calm| calm + noticed <= self.now);
        is_noticed
            && status.upstreams.iter().all(is_well)
            && (status.catalog.is_done || !self.blueprint.can_reload())
    }

    /// Checks that in the end every upstream has everything that the update sequence reported.
    pub(crate) fn check_the_end(&mut self) {
        if !self.blueprint.can_reload() {
            return;
        }
        let announced = self.directory.announced;
        let statuses = self.cluster.status(self.now).upstreams;
        for key in statuses
            .iter()
            .filter(|status| status.role == Role::Replica)
            .map(key)
        {
            let is_assumed = self.ledger[&key].upkeep.is_assumed;
            let geoserver = &self.machine(key.1).geoserver;
            let has_all = geoserver.is_whole() && geoserver.loaded >= announced;
            assert!(
                has_all || is_assumed,
                "{key:?}: {geoserver:?} of {announced} edits"
            );
        }
    }
}
