//! The roll: the order in which replicas reload, and their next actions.
//!
//! A replica is reloaded if it is behind the settled epoch or its last reload failed. At most
//! `catalog.parallel` replicas reload at a time, and the replica furthest behind comes first. The
//! last upstream that serves reads never leaves service. A replica whose reload failed does not
//! delay the others, unless the main, as the backup, would have to serve all reads.
//!
//! A replica that serves reads leaves service only when the other upstreams have their full
//! capacity, or after `MAX_CAPACITY_WAIT`. They have it if none of them is ramping up or ejected,
//! and if the replica that returned last is not the only one under suspicion. A reload does not
//! cool the JVM, so a replica returns with its full share.
//!
//! New changes do not interrupt a roll. A replica that is found behind while a change settles waits
//! for that change, because it would otherwise be reloaded twice. It waits at most `settle_max` and
//! then joins the roll. A replica that may have an empty catalog does not wait.

use std::cmp::Ordering;
use std::sync::Arc;
use std::time::Instant;

use super::CatalogMachine;
use super::credential_check::CredentialCheck;
use super::replica_catalog::{ReloadTarget, Step};
use super::rolls::{Hold, ReloadNeed, RollReason, RollReport};
use crate::cluster::snapshot::Reads;
use crate::cluster::upstream_state::UpstreamState;
use crate::cluster::upstreams::Upstreams;
use crate::cluster::{Action, Cause, TransitionKind, UpstreamId};
use crate::config::Role;

/// The capacity of the upstreams that serve reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Capacity {
    Full,
    /// An upstream is ramping up, and reaches its full share at this time.
    RampingUntil(Instant),
    /// An upstream is ejected, or only the replica that returned last is under suspicion.
    Reduced,
}

impl CatalogMachine {
    /// Applies all timeouts and timed changes up to `now`.
    pub(in crate::cluster) fn pass_time(&mut self, upstreams: &mut Upstreams, now: Instant) {
        for at in 0..upstreams.len() {
            if let Some(sent_at) = upstreams[at].catalog.reads.give_up(now) {
                let id = upstreams[at].upstream.id;
                self.reading_ended(upstreams, id, sent_at, None, now);
            }
        }
        // After the loop above, because the epoch may have waited only for the lost readings.
        self.changes.pass_time(now, &upstreams.config.catalog);
        self.pass_canary_time(upstreams, now);
        for at in 0..upstreams.len() {
            self.pass_main_reload_time(upstreams, at, now);
            self.pass_truncation_time(upstreams, at, now);
            upstreams[at].catalog.credential_check.pass_time(now);
            let is_paused = upstreams[at].is_in_maintenance();
            let step = upstreams[at].catalog.pass_time(is_paused, now);
            self.step(upstreams, at, step, now);
        }
    }

    /// Calls off the reloads that must not go on, begins the reloads that may begin, and ends the
    /// roll if nothing is left to do in it.
    pub(in crate::cluster) fn begin_reloads(&mut self, upstreams: &mut Upstreams, now: Instant) {
        for at in 0..upstreams.len() {
            if !self.may_go_on(upstreams, at) {
                upstreams[at].leave_roll(now);
            }
        }
        while let Some(at) = self.next_to_reload(upstreams, now) {
            let catalog = &upstreams[at].catalog;
            // A replica that serves is reloaded only after GeoServer has accepted the credentials.
            // A replica that is out of service loses nothing if its reload fails.
            if catalog.is_serving() && !catalog.credential_check.has_passed(now) {
                upstreams[at].catalog.credential_check.request(now);
                break;
            }
            upstreams[at].catalog.credential_check = CredentialCheck::NotChecked;
            self.take(upstreams, at, now);
        }
        // While the roll waits for the main's update sequence or its reload, it goes on.
        let waits_for_main = self.rolls.is_under_way()
            && (upstreams.is_main_to_be_reloaded() || self.main_answers_soon(upstreams));
        let is_going_on = waits_for_main
            || upstreams.iter().any(UpstreamState::is_on_its_way)
            || upstreams.iter().any(|state| state.catalog.is_postponed())
            || self.finds_candidate(upstreams, now);
        if !is_going_on
            && let Some(report) = self.rolls.end(upstreams.config.catalog.roll_share, now)
        {
            upstreams.emit(None, TransitionKind::RollEnded(Box::new(report)));
            // Replicas that are still behind may be allowed to begin the next roll at once.
            self.begin_reloads(upstreams, now);
        }
    }

    /// Takes the replica at `at` out of service for its reload.
    fn take(&mut self, upstreams: &mut Upstreams, at: usize, now: Instant) {
        let need = self.reload_need(upstreams, at);
        let settled = self.changes.settled();
        if !self.rolls.is_under_way() {
            let is_repair = need.held.is_none() || need.is_stuck;
            let (source, by) = if is_repair {
                (None, Vec::new())
            } else {
                self.changes.take_reason()
            };
            let why = source.map_or(RollReason::Repair, RollReason::Change);
            self.rolls.takes(need, settled, (why, by.clone()), now);
            let by = (!by.is_empty()).then(|| by.join(", "));
            upstreams.emit(
                None,
                TransitionKind::RollBegan {
                    epoch: settled,
                    why,
                    by,
                },
            );
        } else {
            self.rolls
                .takes(need, settled, (RollReason::Repair, Vec::new()), now);
        }
        upstreams.states[at].leave_service(upstreams.config.catalog.drain_timeout, now);
    }

    /// Records the result of a credentials check, and goes on with the replica's reload.
    pub(super) fn credentials_tried(
        &mut self,
        upstreams: &mut Upstreams,
        id: UpstreamId,
        sent_at: Instant,
        outcome: Result<(), Cause>,
        now: Instant,
    ) {
        let Some(at) = upstreams
            .position(id)
            .filter(|at| upstreams[*at].catalog.credential_check.is_answered(sent_at))
        else {
            return;
        };
        upstreams[at].tried_credentials(&outcome);
        let step = upstreams[at].catalog.credentials_tried(outcome, now);
        self.step(upstreams, at, step, now);
    }

    /// Returns the next catalog action that is due.
    pub(in crate::cluster) fn poll_action(
        &mut self,
        upstreams: &mut Upstreams,
        now: Instant,
    ) -> Option<Action> {
        (0..upstreams.len())
            .find_map(|at| self.poll_action_of(upstreams, at, now))
            .or_else(|| self.canary_action(upstreams, now))
    }

    /// Returns the time of the next due action or timeout.
    pub(in crate::cluster) fn deadline(&self, upstreams: &Upstreams) -> Option<Instant> {
        let of_one = |state: &UpstreamState| {
            let reads = &state.catalog.reads;
            let reads = (reads.is_running() || state.is_readable()).then(|| reads.deadline());
            let catalog = &state.catalog;
            let may_begin = self.changes.is_settled() && self.rolls.hold().is_none();
            let main = catalog.main_reload.deadline(may_begin);
            let tiles = Self::truncation_deadline(state);
            reads
                .into_iter()
                .chain(catalog.deadline(state.is_in_maintenance()))
                .chain(main)
                .chain(tiles)
                .min()
        };
        let settles = self.changes.deadline(&upstreams.config.catalog);
        let waits = self
            .rolls_deadline
            .into_iter()
            .chain(self.canary_deadline());
        settles
            .into_iter()
            .chain(upstreams.iter().filter_map(of_one))
            .chain(waits)
            .min()
    }

    /// Applies the effects that a step of a replica's reload has on the cluster, and reports it.
    pub(super) fn step(&mut self, upstreams: &mut Upstreams, at: usize, step: Step, now: Instant) {
        let state = &mut upstreams[at];
        if !state.catalog.is_reloading() {
            state.resume_probes(now);
        }
        let what = match step {
            Step::Nothing => None,
            Step::Failed { cause, retry_in } => {
                self.rolls.note(&state.upstream.name, Err(cause.clone()));
                Some(TransitionKind::ReloadFailed { cause, retry_in })
            }
            Step::Unreached { cause, retry_in } => {
                state.upstream.load.open();
                self.rolls.note(&state.upstream.name, Err(cause.clone()));
                self.plan_read(upstreams, at, now);
                Some(TransitionKind::ReloadFailed { cause, retry_in })
            }
            Step::Outdated { cause, retry_in } => {
                state.return_to_service();
                self.rolls.note(&state.upstream.name, Err(cause.clone()));
                self.plan_read(upstreams, at, now);
                Some(TransitionKind::ReloadFailed { cause, retry_in })
            }
            Step::Passed { reloaded } => {
                state.return_to_service();
                self.rolls.last_returned = Some(state.upstream.id);
                if let Some((_, took)) = reloaded {
                    self.rolls.note(&state.upstream.name, Ok(took));
                }
                self.plan_read(upstreams, at, now);
                reloaded.map(|(epoch, took)| TransitionKind::Reloaded { epoch, took })
            }
        };
        upstreams.report(at, what);
    }

    /// Returns the next catalog action that is due for one upstream.
    fn poll_action_of(
        &mut self,
        upstreams: &mut Upstreams,
        at: usize,
        now: Instant,
    ) -> Option<Action> {
        if self.begin_main_reload(upstreams, at, now) {
            return Some(Action::ReloadMain(Arc::clone(&upstreams[at].upstream)));
        }
        if let Some(action) = self.begin_truncation(upstreams, at, now) {
            return Some(action);
        }
        let waits_for_main = self.main_answers_soon(upstreams);
        let (timeout, catalog) = (upstreams.config.health.timeout, &upstreams.config.catalog);
        let state = &mut upstreams.states[at];
        let upstream = &state.upstream;
        if state.is_readable() && state.catalog.reads.is_due(now) {
            state.catalog.reads.begin(now, timeout);
            return Some(Action::ReadUpdateSequence(Arc::clone(upstream)));
        }
        if state.catalog.credential_check.begin(timeout, now) {
            return Some(Action::TryCredentials(Arc::clone(upstream)));
        }
        // The canary test draws a map, perhaps a second time with credentials, and then queries the
        // update sequence.
        if !state.is_in_maintenance() && state.catalog.test(timeout * 3, now) {
            return Some(Action::TestCanary(Arc::clone(upstream)));
        }
        let still_running = upstream.load.in_flight();
        if !state
            .catalog
            .is_drained(still_running, catalog.drain_timeout, now)
            || waits_for_main
            || self.rolls.hold().is_some()
            || state.catalog.tiles.is_running()
        {
            return None;
        }
        let (epoch, upstream) = (self.changes.settled(), Arc::clone(upstream));
        let (main_update_sequence, update_sequence_since) = (
            self.changes.update_sequence(),
            self.changes.update_sequence_since(),
        );
        let expected =
            main_update_sequence.map(|update_sequence| self.inflation.expected(update_sequence));
        let target = ReloadTarget {
            epoch,
            main_update_sequence,
            expected,
            update_sequence_since,
        };
        state.begin_reload(target, catalog.reload_timeout, now);
        self.note_tiles_of_reload(upstreams, at);
        self.changes.reload_began();
        upstreams.report(
            at,
            Some(TransitionKind::ReloadBegan {
                epoch,
                still_running,
            }),
        );
        Some(Action::ReloadCatalog(upstream))
    }

    /// Returns the replica that leaves service for its reload now, if there is one. Otherwise sets
    /// `rolls_deadline` to the time of the next attempt.
    fn next_to_reload(&mut self, upstreams: &Upstreams, now: Instant) -> Option<usize> {
        self.rolls_deadline = None;
        let on_their_way = upstreams
            .iter()
            .filter(|state| state.is_on_its_way())
            .count();
        if !upstreams.can_reload()
            || upstreams.is_main_to_be_reloaded()
            || self.main_answers_soon(upstreams)
            || on_their_way >= upstreams.config.catalog.parallel as usize
        {
            return None;
        }
        let at = self.candidate(upstreams, now)?;
        let takes_capacity = self.reads_of(upstreams, at) == Some(Reads::First);
        let until = match self.capacity(upstreams, at, now) {
            Capacity::RampingUntil(until) => Some(until),
            Capacity::Reduced => None,
            Capacity::Full => return Some(at),
        };
        if takes_capacity && self.rolls.waits_for_capacity(now) {
            self.rolls_deadline = self
                .rolls
                .capacity_deadline()
                .into_iter()
                .chain(until)
                .min();
            return None;
        }
        Some(at)
    }

    /// Returns the replica to reload next, if the rules of rolls allow one. Does not consider the
    /// capacity of the cluster.
    fn candidate(&mut self, upstreams: &Upstreams, now: Instant) -> Option<usize> {
        let wants: Vec<usize> = (0..upstreams.len())
            .filter(|at| self.wants_reload(upstreams, *at) && self.can_be_spared(upstreams, *at))
            .collect();
        let may = |at: &usize| self.rolls.may_take(self.reload_need(upstreams, *at), now);
        let age = |a: &usize, b: &usize| match upstreams[*a]
            .catalog
            .compare_age(&upstreams[*b].catalog)
        {
            Ordering::Equal => a.cmp(b),
            differs => differs,
        };
        let next = wants.iter().copied().filter(may).min_by(age);
        if next.is_none() && !wants.is_empty() {
            self.rolls_deadline = self.rolls.rests_until(now);
        }
        next
    }

    /// Returns whether the roll goes on with another replica once the capacity allows it. Sets
    /// `rolls_deadline` if only the pause between rolls prevents that.
    fn finds_candidate(&mut self, upstreams: &Upstreams, now: Instant) -> bool {
        let is_main_ready =
            !upstreams.is_main_to_be_reloaded() && !self.main_answers_soon(upstreams);
        upstreams.can_reload() && is_main_ready && self.candidate(upstreams, now).is_some()
    }

    fn reload_need(&self, upstreams: &Upstreams, at: usize) -> ReloadNeed {
        let catalog = &upstreams[at].catalog;
        ReloadNeed {
            held: catalog.held,
            is_stuck: catalog.is_stuck(),
        }
    }

    /// Returns the capacity of the upstreams other than `at`. It is full if none of them is ramping
    /// up or ejected, and the replica that returned last is not the only one under suspicion.
    fn capacity(&self, upstreams: &Upstreams, at: usize, now: Instant) -> Capacity {
        let others = || {
            (0..upstreams.len()).filter(|other| {
                *other != at && self.reads_of(upstreams, *other) == Some(Reads::First)
            })
        };
        let ramps = others()
            .filter_map(|other| upstreams[other].ramps_until(now))
            .max();
        let is_suspected = |other: &usize| upstreams[*other].is_suspected();
        let returned =
            others().find(|other| Some(upstreams[*other].upstream.id) == self.rolls.last_returned);
        let is_only_suspect = returned.is_some_and(|returned| {
            is_suspected(&returned)
                && others()
                    .chain([at])
                    .any(|other| other != returned && !is_suspected(&other))
        });
        let is_set_aside =
            |other: usize| upstreams[other].is_ejectable() && upstreams[other].is_set_aside();
        let is_any_set_aside = (0..upstreams.len()).any(|other| other != at && is_set_aside(other));
        match ramps {
            Some(until) => Capacity::RampingUntil(until),
            None if is_only_suspect || is_any_set_aside => Capacity::Reduced,
            None => Capacity::Full,
        }
    }

    /// Pauses or resumes rolls. While rolls are paused, no replica leaves service for a reload.
    /// Replicas that have already left finish their reload and return.
    pub(in crate::cluster) fn pause(&mut self, upstreams: &mut Upstreams, is_paused: bool) {
        if self.rolls.is_paused() != is_paused {
            self.rolls.set_paused(is_paused);
            upstreams.emit(None, TransitionKind::RollsPaused(is_paused));
        }
    }

    /// Sets or clears the reason why no catalog reload may begin. Running reloads are finished in
    /// any case.
    pub(in crate::cluster) fn hold(&mut self, hold: Option<Hold>) {
        self.rolls.set_hold(hold);
    }

    /// Returns the rolls that have ended since the last call.
    pub(in crate::cluster) fn take_ended_rolls(&mut self) -> Vec<RollReport> {
        self.rolls.take_ended().into()
    }

    /// True if the main's first update sequence is expected soon. A replica that is reloaded before
    /// that would have to be reloaded again.
    fn main_answers_soon(&self, upstreams: &Upstreams) -> bool {
        let mut main = upstreams.iter().filter(|state| state.upstream.is_main());
        !self.changes.has_been_queried() && main.any(UpstreamState::is_readable)
    }

    /// True if the upstream is a replica that needs a reload and can receive one. A replica that is
    /// stuck or answers wrongly is included even if it is down: its catalog may be empty, and then
    /// only a reload helps.
    pub(super) fn wants_reload(&self, upstreams: &Upstreams, at: usize) -> bool {
        let state = &upstreams[at];
        let can_receive = state.is_up() || state.is_stuck() || state.facts.is_failing();
        state.upstream.role == Role::Replica
            && can_receive
            && state.catalog.is_waiting(self.changes.settled())
    }

    /// True if the replica is not reloaded only because it is the last upstream that serves reads.
    pub(in crate::cluster) fn is_held_back(&self, upstreams: &Upstreams, at: usize) -> bool {
        let is_any_on_its_way = upstreams.iter().any(|state| state.catalog.is_on_its_way());
        upstreams.can_reload()
            && !self.rolls.is_stopped()
            && !is_any_on_its_way
            && self.wants_reload(upstreams, at)
            && !self.can_be_spared(upstreams, at)
    }

    /// True if this upstream is not the last one that serves reads.
    fn can_be_spared(&self, upstreams: &Upstreams, at: usize) -> bool {
        match self.reads_of(upstreams, at) {
            Some(Reads::First | Reads::Backup | Reads::OnTrial) => self.others_serve(upstreams, at),
            Some(Reads::No) | None => true,
        }
    }

    /// False if a draining replica has to return to service without a reload: because it is down,
    /// is now the last upstream that serves reads, or no reload may begin.
    fn may_go_on(&self, upstreams: &Upstreams, at: usize) -> bool {
        let state = &upstreams[at];
        let is_gone = || !state.is_up() && !state.facts.is_failing();
        let is_needed = || is_gone() || state.would_serve() && !self.others_serve(upstreams, at);
        let is_unwanted = || self.rolls.is_stopped() || is_needed();
        upstreams.can_reload() && !(state.catalog.may_return() && is_unwanted())
    }

    /// True if another upstream serves reads. While a replica is stuck after a failed reload, a
    /// backup does not count.
    fn others_serve(&self, upstreams: &Upstreams, at: usize) -> bool {
        let is_any_stuck = upstreams.iter().any(UpstreamState::is_stuck);
        let serves = |other: usize| match self.reads_of(upstreams, other) {
            Some(Reads::First) => true,
            Some(Reads::Backup) => !is_any_stuck,
            Some(Reads::OnTrial | Reads::No) | None => false,
        };
        (0..upstreams.len()).any(|other| other != at && serves(other))
    }

    /// Returns the reads that the upstream serves now; `None` if it serves no requests.
    fn reads_of(&self, upstreams: &Upstreams, at: usize) -> Option<Reads> {
        upstreams[at]
            .standing(self.changes.epoch(), upstreams.fails_open)
            .map(|standing| standing.reads)
    }
}
