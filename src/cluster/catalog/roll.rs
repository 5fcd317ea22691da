//! The roll: which replica is reloaded next, and what is due for it.
//!
//! Only replicas behind the settled epoch are reloaded, as many at a time as configured, those furthest behind first, and never
//! the last one that serves. One that failed does not keep the others from their turn, unless it would leave the main alone.
//!
//! A roll that has begun goes on whatever changes meanwhile. But a replica that turns out to be behind only while a change settles
//! waits for that, or it would be reloaded twice: for one settling at most (`settle_max`), as it is in the roll then. Who may have
//! no catalog waits for nothing.

use std::cmp::Ordering;
use std::sync::Arc;
use std::time::Instant;

use super::access::Access;
use super::reload::{Step, Target};
use crate::cluster::snapshot::Reads;
use crate::cluster::tracked::Tracked;
use crate::cluster::{Action, Cause, Cluster, UpstreamId, What};
use crate::config::{Credentials, Role};

impl Cluster {
    pub(in crate::cluster) fn pass_catalog_time(&mut self, now: Instant) {
        for at in 0..self.tracked.len() {
            if let Some(asked) = self.tracked[at].catalog.reads.lost(now) {
                self.reading_ended(self.tracked[at].upstream.id, asked, None, now);
            }
        }
        // After what was lost: that may have been all it waited for.
        self.changes.pass_time(now, &self.config.catalog);
        self.pass_canary_time(now);
        for at in 0..self.tracked.len() {
            self.pass_main_reload_time(at, now);
            self.tracked[at].catalog.access.pass_time(now);
            let is_paused = self.tracked[at].is_in_maintenance();
            let step = self.tracked[at].catalog.pass_time(is_paused, now);
            self.step(at, step, now);
        }
    }

    /// Calls off what must not go on, and begins whatever may.
    pub(in crate::cluster) fn begin_reloads(&mut self, now: Instant) {
        for at in 0..self.tracked.len() {
            if !self.may_go_on(at) {
                self.tracked[at].leave_roll(now);
            }
        }
        while let Some(at) = self.next_to_reload() {
            let catalog = &self.tracked[at].catalog;
            // One that is out of service already has nothing to lose.
            if catalog.is_serving() && !catalog.access.is_open(now) {
                self.tracked[at].catalog.access.want(now);
                return;
            }
            self.tracked[at].catalog.access = Access::Unasked;
            self.tracked[at].leave_service(now);
        }
    }

    /// A replica was asked whether it takes our credentials.
    pub(in crate::cluster) fn credentials_tried(
        &mut self,
        id: UpstreamId,
        asked: Instant,
        outcome: Result<(), Cause>,
        now: Instant,
    ) {
        let Some(at) = self.position(id).filter(|at| self.tracked[*at].catalog.access.is_answered(asked)) else { return };
        match &outcome {
            Ok(()) => self.tracked[at].tried_credentials(None),
            Err(cause) if cause.refused_credentials().is_some() => {
                self.tracked[at].tried_credentials(cause.refused_credentials());
            }
            Err(_) => {}
        }
        let step = self.tracked[at].catalog.credentials_tried(outcome, now);
        self.step(at, step, now);
    }

    /// The next catalog action due.
    pub(in crate::cluster) fn catalog_action(&mut self, now: Instant) -> Option<Action> {
        (0..self.tracked.len()).find_map(|at| self.catalog_action_of(at, now)).or_else(|| self.canary_action(now))
    }

    pub(in crate::cluster) fn catalog_deadline(&self) -> Option<Instant> {
        let of_one = |tracked: &Tracked| {
            let reads = &tracked.catalog.reads;
            let reads = (reads.is_running() || tracked.is_readable()).then(|| reads.deadline());
            let catalog = &tracked.catalog;
            let main = catalog.main_reload.deadline(self.changes.is_settled());
            reads.into_iter().chain(catalog.deadline(tracked.is_in_maintenance())).chain(main).min()
        };
        let settles = self.changes.deadline(&self.config.catalog);
        settles.into_iter().chain(self.tracked.iter().filter_map(of_one)).chain(self.canary_deadline()).min()
    }

    pub(super) fn step(&mut self, at: usize, step: Step, now: Instant) {
        let tracked = &mut self.tracked[at];
        if !tracked.catalog.is_reloading() {
            tracked.resume_probes(now);
        }
        let what = match step {
            Step::Nothing => None,
            Step::Failed { cause, retry_in } => Some(What::ReloadFailed { cause, retry_in }),
            Step::Unreached { cause, retry_in } => {
                tracked.upstream.load.open();
                self.plan_read(at, now);
                Some(What::ReloadFailed { cause, retry_in })
            }
            Step::Outdated { cause, retry_in } => {
                tracked.return_to_service(now, &self.config.health);
                self.plan_read(at, now);
                Some(What::ReloadFailed { cause, retry_in })
            }
            Step::Passed { reloaded } => {
                tracked.return_to_service(now, &self.config.health);
                self.plan_read(at, now);
                reloaded.map(|(epoch, took)| What::Reloaded { epoch, took })
            }
        };
        self.report(at, what);
    }

    pub(in crate::cluster) fn can_reload(&self) -> bool {
        match self.config.geoserver.credentials {
            Credentials::None => false,
            Credentials::Basic { .. } | Credentials::Headers(_) => true,
        }
    }

    fn catalog_action_of(&mut self, at: usize, now: Instant) -> Option<Action> {
        if self.begin_main_reload(at, now) {
            return Some(Action::ReloadMain(Arc::clone(&self.tracked[at].upstream)));
        }
        let (timeout, catalog) = (self.config.health.timeout, &self.config.catalog);
        let tracked = &mut self.tracked[at];
        let upstream = &tracked.upstream;
        if tracked.is_readable() && tracked.catalog.reads.is_due(now) {
            tracked.catalog.reads.begin(now, timeout);
            return Some(Action::ReadVersion(Arc::clone(upstream)));
        }
        if tracked.catalog.access.ask(timeout, now) {
            return Some(Action::TryCredentials(Arc::clone(upstream)));
        }
        // It draws a map, perhaps once more with credentials, and then says its number.
        if !tracked.is_in_maintenance() && tracked.catalog.test(timeout * 3, now) {
            return Some(Action::TestCanary(Arc::clone(upstream)));
        }
        let still_running = upstream.load.in_flight();
        if !tracked.catalog.is_drained(still_running, catalog.drain_timeout, now) {
            return None;
        }
        let (epoch, upstream) = (self.changes.settled(), Arc::clone(upstream));
        let (main_number, number_since) = (self.changes.number(), self.changes.number_since());
        let expected = main_number.map(|number| self.inflation.expected(number));
        let target = Target { epoch, main_number, expected, number_since };
        tracked.begin_reload(target, catalog.reload_timeout, now);
        self.report(at, Some(What::ReloadBegan { epoch, still_running }));
        Some(Action::ReloadCatalog(upstream))
    }

    fn next_to_reload(&self) -> Option<usize> {
        let on_their_way = self.tracked.iter().filter(|tracked| tracked.is_on_its_way()).count();
        if !self.can_reload()
            || self.is_main_to_be_reloaded()
            || self.main_answers_soon()
            || on_their_way >= self.config.catalog.parallel as usize
        {
            return None;
        }
        let wants = |at: &usize| self.wants_reload(*at) && self.can_be_spared(*at);
        let age = |a: &usize, b: &usize| match self.tracked[*a].catalog.compare_age(&self.tracked[*b].catalog) {
            Ordering::Equal => a.cmp(b),
            differs => differs,
        };
        (0..self.tracked.len()).filter(wants).min_by(age)
    }

    /// What is reloaded before the main's first number would have to be reloaded again.
    fn main_answers_soon(&self) -> bool {
        let mut main = self.tracked.iter().filter(|tracked| tracked.upstream.is_main());
        !self.changes.has_been_asked() && main.any(Tracked::is_readable)
    }

    /// One that is stuck may be down for that very reason.
    pub(super) fn wants_reload(&self, at: usize) -> bool {
        let tracked = &self.tracked[at];
        let can_hear = tracked.is_up() || tracked.is_stuck();
        tracked.upstream.role == Role::Replica && can_hear && tracked.catalog.is_waiting(self.changes.settled())
    }

    /// It would be reloaded now if it were not the last that serves.
    pub(in crate::cluster) fn is_held_back(&self, at: usize) -> bool {
        let is_any_on_its_way = self.tracked.iter().any(|tracked| tracked.catalog.is_on_its_way());
        self.can_reload() && !is_any_on_its_way && self.wants_reload(at) && !self.can_be_spared(at)
    }

    fn can_be_spared(&self, at: usize) -> bool {
        match self.reads_of(at) {
            Some(Reads::First | Reads::Backup | Reads::OnTrial) => self.others_serve(at),
            Some(Reads::No) | None => true,
        }
    }

    /// Whether one whose requests are waited for shall still be reloaded then: not if it is gone, or the last one by now.
    fn may_go_on(&self, at: usize) -> bool {
        let tracked = &self.tracked[at];
        let is_needed = || !tracked.is_up() || tracked.would_serve() && !self.others_serve(at);
        self.can_reload() && !(tracked.catalog.may_return() && is_needed())
    }

    /// Another of those who serve first where one is stuck already, else at least the main.
    fn others_serve(&self, at: usize) -> bool {
        let is_any_stuck = self.tracked.iter().any(Tracked::is_stuck);
        let serves = |other: usize| match self.reads_of(other) {
            Some(Reads::First) => true,
            Some(Reads::Backup) => !is_any_stuck,
            Some(Reads::OnTrial | Reads::No) | None => false,
        };
        (0..self.tracked.len()).any(|other| other != at && serves(other))
    }

    fn reads_of(&self, at: usize) -> Option<Reads> {
        self.tracked[at].standing(self.changes.epoch(), self.fails_open).map(|standing| standing.reads)
    }
}
