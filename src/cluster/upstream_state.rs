//! State of one upstream. Configuration, measurements, observations and orders are facts that do
//! not depend on each other.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::snapshot::{Awaited, CapSource, Reads, Standing};
use super::{
    Cap, CatalogStatus, Cause, Condition, Grounds, HealthState, LocalFault, Mode, ModeOrigin,
    Outcome, ProbeReport, ReloadTarget, ReplicaCatalog, TransitionKind, Upstream, UpstreamStatus,
};
use crate::balance::WHOLE;
use crate::config::{
    Health, Limits, MainReads, MaxInFlight, Role, ServedBy, UpstreamConfig, UpstreamName, Weight,
};
use crate::health::{Ejection, Facts, Schedule, Verdict, Warmup};

mod changes;

#[derive(Debug)]
pub(super) struct UpstreamState {
    pub(super) upstream: Arc<Upstream>,
    weight: Weight,
    reads: MainReads,
    max_in_flight: MaxInFlight,
    /// The results of its probes.
    pub(super) facts: Facts,
    /// Its health for reads, which follows from its facts and the health of the others.
    /// [`Self::measured`] writes it.
    health: HealthState,
    mode: Mode,
    /// The origin of an ordered mode; `None` for the mode that every upstream starts with.
    mode_origin: Option<ModeOrigin>,
    ejection: Ejection,
    /// The grounds of the evidence against it, the latest first.
    grounds: Vec<Grounds>,
    pub(super) probes: Schedule,
    pub(super) catalog: ReplicaCatalog,
    warmup: Option<Warmup>,
    /// True for the main while it takes reads like the replicas, because some of them are out for
    /// their reload.
    pub(super) helps: bool,
    /// Time of the last change of health, mode or ejection.
    changed: Instant,
    last_cause: Option<Cause>,
    last_probe: Option<Duration>,
    /// Time of the last successful request that was of interest.
    succeeded_at: Option<Instant>,
    /// The cause of its last content failure.
    content_cause: Option<Cause>,
    /// The status with which it refused the last probe, which was anonymous.
    refused_probe: Option<u16>,
    /// The status with which it refused our credentials when they were last tried there.
    refused_credentials: Option<u16>,
    /// A fault of our own that kept the last probe from being sent or answered.
    pub(super) local_fault: Option<LocalFault>,
    /// Its standing in the last snapshot. [`Self::publish`] writes it.
    published: Option<Standing>,
    /// True if the last snapshot has its first verdict as awaited.
    is_awaited_published: bool,
    /// True if the last snapshot has it as returning soon.
    is_return_published: bool,
}

/// The result of an upstream's probes, for a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content<'c> {
    /// It is not probed, does not answer, or has not reported yet.
    Unknown,
    Passing,
    Failing(&'c Cause),
    /// It refused the probe with this status.
    Refused(u16),
}

/// The meaning of one upstream's probe report for the other upstreams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    Nothing,
    /// Its content fails from now on, so the answers of the others matter.
    BeginsToFail,
    /// The probe request is sound: the others could pass it, too.
    Passes,
}

/// Failures with remembered grounds.
const MAX_GROUNDS: usize = 16;

/// Longest wait of a request for the first verdict about an upstream: the default timeout of a
/// probe, with a margin.
const FIRST_VERDICT: Duration = Duration::from_secs(5);

impl UpstreamState {
    pub(super) fn new(
        upstream: Arc<Upstream>,
        config: &UpstreamConfig,
        probes: Schedule,
        catalog: ReplicaCatalog,
        now: Instant,
    ) -> Self {
        Self {
            upstream,
            weight: config.weight,
            reads: config.reads,
            max_in_flight: config.max_in_flight,
            facts: Facts::default(),
            health: HealthState::Unknown,
            mode: Mode::Ready,
            mode_origin: None,
            ejection: Ejection::new(now),
            grounds: Vec::new(),
            probes,
            catalog,
            warmup: None,
            helps: false,
            changed: now,
            last_cause: None,
            last_probe: None,
            succeeded_at: None,
            content_cause: None,
            refused_probe: None,
            refused_credentials: None,
            local_fault: None,
            published: None,
            is_awaited_published: false,
            is_return_published: false,
        }
    }

    /// Takes over the part of the configuration that may change while the upstream stays the same.
    pub(super) fn reconfigure(&mut self, config: &UpstreamConfig) {
        (self.weight, self.reads, self.max_in_flight) =
            (config.weight, config.reads, config.max_in_flight);
        if !self.upstream.is_as_in(config) {
            let load = Arc::clone(&self.upstream.load);
            self.upstream = Arc::new(Upstream::new(self.upstream.id, config, load));
        }
    }

    // Properties of the upstream.

    /// Returns its name, its ordered mode and the origin of the order.
    pub(super) fn order(&self) -> (UpstreamName, Mode, Option<ModeOrigin>) {
        (
            self.upstream.name.clone(),
            self.mode,
            self.mode_origin.clone(),
        )
    }

    /// True if it is up, no order keeps it out of service, and it is not reloading its catalog.
    pub(super) fn is_fit(&self) -> bool {
        self.is_up() && self.is_there()
    }

    /// True if it is reachable, no order keeps it out of service, and it is not reloading its
    /// catalog. It may then get requests that only one upstream can answer.
    pub(super) fn is_there(&self) -> bool {
        self.is_ready() && self.catalog.is_serving()
    }

    /// True if it is reachable and no order keeps it out of service.
    pub(super) fn is_ready(&self) -> bool {
        self.facts.is_reachable() && self.mode == Mode::Ready
    }

    /// True if it is out of service for a reload that is worth waiting for when no other upstream
    /// serves.
    pub(super) fn returns_soon(&self) -> bool {
        self.is_ready() && self.catalog.returns_soon()
    }

    pub(super) fn is_up(&self) -> bool {
        self.health == HealthState::Up
    }

    /// True if its first probe since it was last unknown is still to come. Once probes fail by a
    /// fault of our own, their verdict is not waited for.
    pub(super) fn is_awaited(&self) -> bool {
        self.facts.reach() == HealthState::Unknown
            && !self.probes.is_off()
            && self.local_fault.is_none()
    }

    /// Returns the state of its content, for a comparison with that of others.
    pub(super) fn content(&self) -> Content<'_> {
        if self.is_in_maintenance() || !self.facts.is_reachable() {
            return Content::Unknown;
        }
        match (
            self.refused_probe,
            self.facts.content(),
            &self.content_cause,
        ) {
            (Some(status), ..) => Content::Refused(status),
            (None, HealthState::Up, _) => Content::Passing,
            (None, HealthState::Down, Some(cause)) => Content::Failing(cause),
            (None, HealthState::Down | HealthState::Unknown, _) => Content::Unknown,
        }
    }

    pub(super) fn is_in_maintenance(&self) -> bool {
        self.mode == Mode::Maintenance
    }

    /// True if it is out of service for a catalog reload that goes on. A canary of a replica in
    /// maintenance waits until maintenance ends.
    pub(super) fn is_on_its_way(&self) -> bool {
        self.catalog.is_on_its_way() && !(self.is_in_maintenance() && self.catalog.is_testing())
    }

    /// True if it is out of service after a failed catalog reload.
    pub(super) fn is_stuck(&self) -> bool {
        self.catalog.is_stuck() && !self.is_in_maintenance()
    }

    /// True if it would get reads if it was not closed.
    pub(super) fn would_serve(&self) -> bool {
        self.is_up()
            && self.mode == Mode::Ready
            && !self.is_set_aside()
            && self.configured_reads() != Reads::No
    }

    /// True if a query for its update sequence makes sense.
    pub(super) fn is_readable(&self) -> bool {
        let is_there = self.upstream.is_main() || self.is_up();
        is_there && !self.is_in_maintenance() && self.catalog.is_serving()
    }

    /// True if a successful request matters, either to the evidence of requests or to the running
    /// probe.
    fn is_in_doubt(&self) -> bool {
        self.is_suspected() || self.is_up() && self.probes.is_running() && !self.has_succeeded()
    }

    /// True if requests are evidence against it.
    pub(super) fn is_suspected(&self) -> bool {
        self.is_fit() && self.ejection.is_in_doubt()
    }

    /// True if a request has succeeded since the running probe began.
    fn has_succeeded(&self) -> bool {
        self.probes
            .running_since()
            .is_some_and(|began| self.succeeded_at >= Some(began))
    }

    /// True if its requests in flight have reached its concurrency limit.
    pub(super) fn is_full(&self, limits: &Limits, now: Instant) -> bool {
        self.cap(limits, now)
            .is_some_and(|cap| self.upstream.load.in_flight() >= cap.all)
    }

    pub(super) fn is_set_aside(&self) -> bool {
        self.ejection.is_set_aside()
    }

    pub(super) const fn weight(&self) -> Weight {
        self.weight
    }

    pub(super) fn is_ramping(&self, now: Instant) -> bool {
        self.warmup
            .is_some_and(|warmup| warmup.share(now) < Warmup::WHOLE)
    }

    /// Ends its ramp: it gets its full share at once.
    pub(super) fn end_ramp(&mut self) {
        self.warmup = None;
    }

    /// True if it is fit to serve the classes that several upstreams may serve, if only as backup.
    pub(super) fn is_of_the_pool(&self) -> bool {
        self.is_fit() && self.may_read()
    }

    /// True if the configuration lets it serve reads, if only as backup.
    pub(super) fn may_read(&self) -> bool {
        self.configured_reads() != Reads::No
    }

    /// True if it can be ejected at all. The backup is the last resort, and an upstream that serves
    /// no reads has no substitute.
    pub(super) fn is_ejectable(&self) -> bool {
        self.is_fit() && self.configured_reads() == Reads::First
    }

    /// True if it gets no requests of a class with this `served_by` because it is ejected. Ejection
    /// does not matter where one upstream serves a class.
    pub(super) fn is_ejected_for(&self, served_by: &ServedBy) -> bool {
        self.ejected_until().is_some() && *served_by == ServedBy::Replicas
    }

    /// Begins its trial, if it is ejected and the trial is due.
    pub(super) fn begin_trial(&mut self, now: Instant) -> Option<TransitionKind> {
        let begins = self.ejection.try_early(now);
        if begins {
            self.changed = now;
        }
        begins.then_some(TransitionKind::HalfOpen)
    }

    /// Returns the time when its trial begins; `None` if the trial has begun, or there is none.
    pub(super) fn ejected_until(&self) -> Option<Instant> {
        self.ejection.ejected_until()
    }

    /// Returns the time of its next due action or timed change of state.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.probes
            .deadline()
            .into_iter()
            .chain(self.ejection.ejected_until())
            .min()
    }

    /// Returns its standing for the snapshot. With `fails_open` no upstream passes its probes, and
    /// reads come here regardless of that.
    pub(super) fn standing(&self, epoch: u64, fails_open: bool) -> Option<Standing> {
        let passes = self.is_up() || fails_open;
        let reads = match self.configured_reads() {
            _ if !passes => Reads::No,
            Reads::First if self.ejection.is_half_open() => Reads::OnTrial,
            Reads::First if self.is_set_aside() => Reads::No,
            configured => configured,
        };
        // During its own reload, the main goes on with the classes that only it serves.
        let is_reading_catalog = self.catalog.main_reload.is_running();
        let reads = if is_reading_catalog { Reads::No } else { reads };
        let is_fresh = self.catalog.is_fresh(epoch);
        let (weight, warmup, max_in_flight) = (self.weight, self.warmup, self.max_in_flight);
        let half_open_since = self.ejection.is_half_open().then_some(self.changed);
        let helps = self.helps && reads == Reads::Backup;
        let standing = Standing {
            reads,
            passes,
            helps,
            is_fresh,
            is_reading_catalog,
            weight,
            warmup,
            max_in_flight,
            half_open_since,
        };
        self.is_there().then_some(standing)
    }

    /// Returns the end of its ramp, if it gets less than its full share now.
    pub(super) fn ramps_until(&self, now: Instant) -> Option<Instant> {
        self.warmup
            .map(|warmup| warmup.ends())
            .filter(|ends| *ends > now)
    }

    /// Returns it as awaited if it has no verdict yet and its first probe will report soon.
    pub(super) fn awaited(&self) -> Option<Awaited<'_>> {
        let is_awaited = self.health == HealthState::Unknown
            && self.mode == Mode::Ready
            && self.catalog.is_serving();
        let (upstream, reads, until) = (
            &*self.upstream,
            self.configured_reads(),
            self.changed + FIRST_VERDICT,
        );
        is_awaited.then_some(Awaited {
            upstream,
            reads,
            until,
        })
    }

    /// Records its standing for the next snapshot, and whether successes are of interest. Returns
    /// true if anything that the snapshot shows has changed.
    pub(super) fn publish(&mut self, epoch: u64, fails_open: bool) -> bool {
        self.upstream.load.set_in_doubt(self.is_in_doubt());
        let standing = self.standing(epoch, fails_open);
        let is_awaited = self.awaited().is_some();
        let returns = self.returns_soon();
        let differs = standing != self.published
            || is_awaited != self.is_awaited_published
            || returns != self.is_return_published;
        self.published = standing;
        self.is_awaited_published = is_awaited;
        self.is_return_published = returns;
        differs
    }

    pub(super) fn status(
        &self,
        catalog: &CatalogStatus,
        limits: &Limits,
        fails_open: bool,
        now: Instant,
    ) -> UpstreamStatus {
        let upstream = &self.upstream;
        let effective = u32::from(self.weight.get())
            * self.warmup.map_or(Warmup::WHOLE, |w| w.share(now))
            / Warmup::WHOLE;
        let effective = effective * upstream.load.slowness().share() / WHOLE;
        UpstreamStatus {
            name: upstream.name.clone(),
            url: upstream.url.clone(),
            address: upstream.address.clone(),
            role: upstream.role,
            health: self.health,
            is_reachable: self.facts.is_reachable(),
            mode: self.mode,
            mode_origin: self.mode_origin.clone(),
            ejected_for: self
                .ejected_until()
                .map(|until| until.saturating_duration_since(now)),
            half_open: self.ejection.is_half_open(),
            eligible: (self.is_up() || fails_open)
                && self.is_there()
                && self.ejected_until().is_none(),
            in_flight: upstream.load.in_flight(),
            slower_in_flight: upstream.load.slower_in_flight(),
            heavy_in_flight: upstream.load.heavy_in_flight(),
            cap: self.cap(limits, now),
            waited_inside: upstream.load.waited_inside(),
            weight: self.weight.get(),
            effective_weight: u16::try_from(effective).unwrap_or(u16::MAX).max(1),
            since: now.saturating_duration_since(self.changed),
            last_cause: self.last_cause.clone(),
            last_probe: self.last_probe,
            catalog: self.catalog.status(catalog.epoch, catalog.settled, now),
        }
    }

    /// Returns the conditions here that an operator should act on.
    pub(super) fn conditions(&self, now: Instant) -> impl Iterator<Item = Condition> {
        let upstream = || self.upstream.name.clone();
        let missing = |layer: &str| Condition::LayerMissing {
            upstream: self.upstream.name.clone(),
            layer: layer.to_owned(),
        };
        let missing = self.catalog.missing_layers(now).map(missing);
        let refused = self
            .refused_credentials
            .filter(|_| !self.is_in_maintenance());
        let refused = refused.map(|status| Condition::CredentialsRefused {
            upstream: upstream(),
            status,
        });
        refused.into_iter().chain(missing)
    }

    fn cap(&self, limits: &Limits, now: Instant) -> Option<Cap> {
        let caps =
            CapSource::of(self.max_in_flight, limits).caps(&self.upstream.load, self.warmup, now);
        let is_learned = self.max_in_flight == MaxInFlight::Auto;
        (!caps.is_unlimited()).then(|| Cap {
            all: caps.all(),
            slower: caps.slower(),
            heavy: caps.heavy(),
            is_learned,
        })
    }

    /// Returns the configured part in reads, regardless of the evidence of requests.
    fn configured_reads(&self) -> Reads {
        match (self.upstream.role, self.reads) {
            (Role::Replica, _) | (Role::Main, MainReads::Always) => Reads::First,
            (Role::Main, MainReads::Backup) => Reads::Backup,
            (Role::Main, MainReads::Never) => Reads::No,
        }
    }

    /// Checks the invariants of one upstream.
    pub(super) fn check_invariants(&self, epoch: u64, fails_open: bool) {
        let name = &self.upstream.name;
        let in_maintenance = self.is_in_maintenance();
        let is_probed = !in_maintenance && !self.catalog.is_reloading();
        assert_eq!(
            self.probes.is_off(),
            !is_probed,
            "{name}: probed exactly while not in maintenance and not reloading"
        );
        assert_eq!(
            self.upstream.load.is_closed(),
            !self.catalog.is_serving(),
            "{name}: closed exactly while in its reload"
        );
        assert!(
            !in_maintenance || self.health == HealthState::Unknown,
            "{name}: in maintenance nothing is known"
        );
        assert!(
            !self.is_set_aside() || self.is_up(),
            "{name}: set aside only while up"
        );
        assert_eq!(
            self.upstream.load.is_in_doubt(),
            self.is_in_doubt(),
            "{name}: doubt is shown"
        );
        assert_eq!(
            self.published,
            self.standing(epoch, fails_open),
            "{name}: its standing is published"
        );
    }
}
