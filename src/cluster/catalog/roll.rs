//! The roll: which replica is reloaded next, and what the cluster makes of what it is told about catalogs.
//!
//! Only replicas behind the settled epoch are reloaded, as many at a time as configured, those furthest behind first, and never
//! the last one that serves. One that failed does not keep the others from their turn, unless it would leave the main alone.

use std::cmp::Ordering;
use std::fmt;
use std::time::Instant;

use super::freshness::{Phase, Step};
use super::memory::{CatalogMemory, Remembered};
use super::status::CatalogStatus;
use super::{Hint, Source, Ticket};
use crate::cluster::snapshot::Reads;
use crate::cluster::tracked::Tracked;
use crate::cluster::{Action, Cause, Cluster, Outcome, Transition, UpstreamId, What};
use crate::config::{Credentials, Role};

/// Why an order to bring all replicas up to date is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncError {
    NoCredentials,
}

impl fmt::Display for SyncError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoCredentials => f.write_str(
                "GeoServer reloads its catalog for administrators only: give `username` with `password_file`, or `headers`, \
                 under [geoserver]",
            ),
        }
    }
}

impl Cluster {
    /// Something that may have changed the catalog. The ticket is resolved when all replicas have what it was about.
    pub fn hint(&mut self, hint: Hint, now: Instant) -> (Ticket, Vec<Transition>) {
        let (ticket, change) = self.changes.hint(hint, now);
        self.note_change(change);
        self.main_reads_soon(now);
        self.settle(now);
        (ticket, std::mem::take(&mut self.outbox))
    }

    /// All replicas shall be reloaded now. The epoch they will have.
    pub fn order_sync(&mut self, now: Instant) -> Result<(u64, Vec<Transition>), SyncError> {
        if !self.can_reload() {
            return Err(SyncError::NoCredentials);
        }
        let epoch = self.changes.order(now);
        self.note_change(Some(Source::Order));
        self.tracked.iter_mut().for_each(|tracked| tracked.catalog.order());
        self.pass_time(now);
        self.settle(now);
        Ok((epoch, std::mem::take(&mut self.outbox)))
    }

    /// What the process before us knew. To be told before anything else.
    pub fn recall(&mut self, memory: &CatalogMemory) {
        for tracked in &mut self.tracked {
            let known = memory.of(tracked.upstream.name.as_str(), tracked.upstream.address);
            if let Some(known) = known.filter(|_| tracked.upstream.role == Role::Replica) {
                tracked.catalog.recall(known.clone());
            }
        }
    }

    /// What a process after us must know.
    pub fn memory(&self) -> CatalogMemory {
        let (epoch, is_at_rest) = (self.changes.epoch(), self.changes.is_at_rest());
        let replicas = self.tracked.iter().filter(|tracked| tracked.upstream.role == Role::Replica);
        let remembered = |tracked: &Tracked| Remembered {
            name: tracked.upstream.name.to_string(),
            address: tracked.upstream.address,
            main_number: self.changes.number().filter(|_| is_at_rest && tracked.catalog.is_fresh(epoch)),
        };
        // Before the main has said its number, nothing is known that is worth it.
        let upstreams = if self.changes.number().is_some() { replicas.map(remembered).collect() } else { Vec::new() };
        CatalogMemory { upstreams }
    }

    pub(in crate::cluster) fn version_read(&mut self, id: UpstreamId, asked: Instant, number: Option<u64>, now: Instant) {
        let Some(at) = self.position(id).filter(|&at| self.tracked[at].catalog.reads.is_running()) else { return };
        if self.tracked[at].upstream.is_main() {
            let change = match number {
                Some(number) => self.changes.read(number, asked, now),
                None => self.changes.unreadable(now),
            };
            self.note_change(change);
            self.judge_doubts(asked, now);
        }
        // What it says in the middle of its reload is neither the old number nor the new one.
        if self.tracked[at].catalog.is_serving() {
            self.tracked[at].catalog.read(number, self.changes.settled());
        }
        self.plan_read(at, now);
        self.judge_assumed();
    }

    pub(in crate::cluster) fn catalog_reloaded(&mut self, id: UpstreamId, outcome: Result<(), Cause>, now: Instant) {
        let Some(at) = self.position(id) else { return };
        let step = self.tracked[at].catalog.reloaded(outcome, now);
        self.step(at, step, now);
    }

    pub(in crate::cluster) fn canary_tested(&mut self, id: UpstreamId, outcome: &Outcome, number: Option<u64>, now: Instant) {
        let Some(at) = self.position(id) else { return };
        let (needed, settled) = (self.config.health.rise, self.changes.settled());
        let step = self.tracked[at].catalog.tested(outcome, number, needed, settled, now);
        self.step(at, step, now);
    }

    /// A replica did not know what the main knows. If the main tells of a change, that explains it.
    pub(in crate::cluster) fn stale_seen(&mut self, id: UpstreamId, now: Instant) {
        let Some(at) = self.position(id).filter(|_| self.can_reload()) else { return };
        if self.tracked[at].upstream.role == Role::Replica {
            self.tracked[at].catalog.doubt(now);
            self.main_reads_soon(now);
        }
    }

    fn judge_doubts(&mut self, asked: Instant, now: Instant) {
        let epoch = self.changes.epoch();
        for at in 0..self.tracked.len() {
            let is_behind = self.tracked[at].catalog.judge_doubt(asked, epoch, now);
            self.report(at, is_behind.then_some(What::Stale { why: "it did not know what the main knows" }));
        }
    }

    pub(in crate::cluster) fn pass_catalog_time(&mut self, now: Instant) {
        self.changes.pass_time(now, &self.config.catalog);
        for at in 0..self.tracked.len() {
            self.pass_time_of(at, now);
        }
    }

    fn pass_time_of(&mut self, at: usize, now: Instant) {
        let (settled, limit) = (self.changes.settled(), self.config.catalog.drain_timeout);
        if self.tracked[at].catalog.reads.is_lost(now) {
            let (id, timeout) = (self.tracked[at].upstream.id, self.config.health.timeout);
            self.version_read(id, now.checked_sub(timeout).unwrap_or(now), None, now);
        }
        let tracked = &mut self.tracked[at];
        let in_flight = tracked.upstream.load.in_flight();
        if tracked.catalog.may_stop() && !tracked.is_up() {
            tracked.leave_roll();
        } else if tracked.catalog.is_drained(in_flight, limit, now) {
            tracked.catalog.reload(settled, now);
            tracked.hold_probes();
            self.report(at, Some(What::ReloadBegan { epoch: settled, still_running: in_flight }));
        }
        let step = self.tracked[at].catalog.pass_time(now);
        self.step(at, step, now);
    }

    fn step(&mut self, at: usize, step: Step, now: Instant) {
        let tracked = &mut self.tracked[at];
        if tracked.catalog.is_reloading() {
            tracked.hold_probes();
        } else {
            tracked.resume_probes(now);
        }
        let what = match step {
            Step::Nothing => None,
            Step::Failed { cause, retry_in } => Some(What::ReloadFailed { cause, retry_in }),
            Step::Passed { reloaded } => {
                tracked.return_to_service(now, &self.config.health);
                self.plan_read(at, now);
                reloaded.map(|(epoch, took)| What::Reloaded { epoch, took })
            }
        };
        self.report(at, what);
    }

    /// The next catalog action due.
    pub(in crate::cluster) fn catalog_action(&mut self, now: Instant) -> Option<Action> {
        let (health, catalog) = (&self.config.health, &self.config.catalog);
        for tracked in &mut self.tracked {
            let upstream = &tracked.upstream;
            if tracked.is_readable() && tracked.catalog.reads.is_due(now) {
                tracked.catalog.reads.begin(now, health.timeout);
                return Some(Action::ReadVersion(std::sync::Arc::clone(upstream)));
            }
            match &mut tracked.catalog.phase {
                Phase::Reloading { call, .. } if call.is_due(now) => {
                    call.begin(now, catalog.reload_timeout);
                    return Some(Action::ReloadCatalog(std::sync::Arc::clone(upstream)));
                }
                Phase::Testing(testing) if testing.next.is_due(now) => {
                    testing.next.begin(now, health.timeout * 2);
                    return Some(Action::TestCanary(std::sync::Arc::clone(upstream)));
                }
                Phase::Serving | Phase::Draining { .. } | Phase::Reloading { .. } | Phase::Testing(_) => {}
            }
        }
        None
    }

    pub(in crate::cluster) fn catalog_deadline(&self) -> Option<Instant> {
        let of_one = |tracked: &Tracked| {
            let reads =
                Some(tracked.catalog.reads.deadline()).filter(|_| tracked.is_readable() || tracked.catalog.reads.is_running());
            reads.into_iter().chain(tracked.catalog.deadline()).min()
        };
        let settles = self.changes.deadline(&self.config.catalog);
        settles.into_iter().chain(self.tracked.iter().filter_map(of_one)).min()
    }

    /// Begins whatever may begin now.
    pub(in crate::cluster) fn begin_reloads(&mut self, now: Instant) {
        while let Some(at) = self.next_to_reload() {
            self.tracked[at].leave_service(now);
            self.pass_time_of(at, now);
        }
    }

    fn next_to_reload(&self) -> Option<usize> {
        let on_their_way = self.tracked.iter().filter(|tracked| tracked.catalog.is_on_its_way()).count();
        if !self.can_reload() || on_their_way >= self.config.catalog.parallel as usize {
            return None;
        }
        let wants = |at: &usize| self.wants_reload(*at) && self.can_be_spared(*at);
        let age = |a: &usize, b: &usize| match self.tracked[*a].catalog.compare_age(&self.tracked[*b].catalog) {
            Ordering::Equal => a.cmp(b),
            differs => differs,
        };
        (0..self.tracked.len()).filter(wants).min_by(age)
    }

    /// It would be reloaded now if it were not the last that serves.
    pub(in crate::cluster) fn is_held_back(&self, at: usize) -> bool {
        let is_any_on_its_way = self.tracked.iter().any(|tracked| tracked.catalog.is_on_its_way());
        self.can_reload() && !is_any_on_its_way && self.wants_reload(at) && !self.can_be_spared(at)
    }

    /// One that is stuck may be down for that very reason.
    fn wants_reload(&self, at: usize) -> bool {
        let tracked = &self.tracked[at];
        let can_hear = tracked.is_up() || tracked.catalog.is_stuck();
        tracked.upstream.role == Role::Replica && can_hear && tracked.catalog.is_waiting(self.changes.settled())
    }

    /// Somebody else serves meanwhile: another of those who serve first where one is stuck already, else at least the main.
    fn can_be_spared(&self, at: usize) -> bool {
        let reads = |tracked: &Tracked| tracked.standing(self.changes.epoch()).map(|standing| standing.reads);
        if !matches!(reads(&self.tracked[at]), Some(Reads::First | Reads::Backup | Reads::OnTrial)) {
            return true;
        }
        let is_any_stuck = self.tracked.iter().any(|tracked| tracked.catalog.is_stuck());
        let serves = |tracked: &Tracked| match reads(tracked) {
            Some(Reads::First) => true,
            Some(Reads::Backup) => !is_any_stuck,
            Some(Reads::OnTrial | Reads::No) | None => false,
        };
        self.tracked.iter().enumerate().any(|(other, tracked)| other != at && serves(tracked))
    }

    /// Everything that was hinted at is with those who serve.
    pub(in crate::cluster) fn resolve_tickets(&mut self) {
        if self.is_everybody_fresh() && self.resolved != self.changes.last_ticket() {
            self.resolved = self.changes.last_ticket();
            self.is_visibly_changed = true;
        }
    }

    fn is_everybody_fresh(&self) -> bool {
        let epoch = self.changes.epoch();
        // Who is down by itself is not waited for; who is out for its reload is, even if its probes fail meanwhile.
        let is_done = |tracked: &Tracked| tracked.catalog.is_serving() && (!tracked.is_up() || tracked.catalog.is_fresh(epoch));
        let mut replicas = self.tracked.iter().filter(|tracked| tracked.upstream.role == Role::Replica);
        self.changes.is_at_rest() && replicas.all(is_done)
    }

    pub(in crate::cluster) fn catalog_status(&self, now: Instant) -> CatalogStatus {
        CatalogStatus {
            epoch: self.changes.epoch(),
            settled: self.changes.settled(),
            number: self.changes.number(),
            changed_ago: self.changes.began().map(|began| now.saturating_duration_since(began)),
            can_reload: self.can_reload(),
            is_done: self.is_everybody_fresh(),
        }
    }

    /// After a change of the configuration: who is the main now?
    pub(in crate::cluster) fn meet_the_main(&mut self, before: Option<UpstreamId>, now: Instant) {
        let epoch = self.changes.epoch();
        let main = self.tracked.iter_mut().find(|tracked| tracked.upstream.is_main());
        if let Some(main) = main {
            if Some(main.upstream.id) != before {
                self.changes.another_main();
            }
            main.leave_roll();
            main.resume_probes(now);
            main.catalog.is_the_main(epoch);
        }
    }

    pub(in crate::cluster) fn main_id(&self) -> Option<UpstreamId> {
        self.tracked.iter().find(|tracked| tracked.upstream.is_main()).map(|main| main.upstream.id)
    }

    fn can_reload(&self) -> bool {
        match self.config.geoserver.credentials {
            Credentials::None => false,
            Credentials::Basic { .. } | Credentials::Headers(_) => true,
        }
    }

    fn judge_assumed(&mut self) {
        let number = self.changes.number();
        for at in 0..self.tracked.len() {
            let tracked = &mut self.tracked[at];
            let is_stale = tracked.upstream.role == Role::Replica && tracked.catalog.judge(number);
            self.report(at, is_stale.then_some(What::Stale { why: "its catalog is older than the main's" }));
        }
    }

    fn plan_read(&mut self, at: usize, now: Instant) {
        let pause = if self.tracked[at].upstream.is_main() {
            self.changes.poll_pause(&self.config.catalog)
        } else {
            self.config.catalog.poll
        };
        self.tracked[at].catalog.reads = super::due::Due::At(now + pause);
    }

    fn main_reads_soon(&mut self, now: Instant) {
        if let Some(main) = self.tracked.iter_mut().find(|tracked| tracked.upstream.is_main()) {
            main.catalog.reads.hasten(now);
        }
    }

    /// Everybody but the main is stale from here on.
    fn note_change(&mut self, change: Option<Source>) {
        let Some(source) = change else { return };
        let epoch = self.changes.epoch();
        self.emit(None, What::CatalogChanged { epoch, source });
        if let Some(main) = self.tracked.iter_mut().find(|tracked| tracked.upstream.is_main()) {
            main.catalog.is_the_main(epoch);
        }
    }
}
