//! State changes of an upstream, caused by probes, attempts, orders and the passing of time.

use super::*;

impl UpstreamState {
    /// Takes in the report of a probe that was sent when the epoch `settled` was. A report that was
    /// no longer waited for is ignored. `is_full`: its requests in flight have reached its limit,
    /// so a late answer to the probe may just be waiting its turn.
    pub(in crate::cluster) fn probed(
        &mut self,
        report: &ProbeReport,
        is_full: bool,
        settled: Option<u64>,
        now: Instant,
        config: &Health,
    ) -> Meaning {
        if !self.probes.is_running() {
            return Meaning::Nothing;
        }
        self.last_probe = Some(report.took);
        self.local_fault = match &report.outcome {
            Outcome::Failure(cause) => cause.local_fault(),
            Outcome::Success | Outcome::Busy => None,
        };
        if matches!(&report.outcome, Outcome::Failure(cause) if cause.is_refused()) {
            self.catalog.was_not_there(settled, now);
        }
        let sent = now.checked_sub(report.took).unwrap_or(now);
        let is_busy = is_full && matches!(report.outcome, Outcome::Failure(Cause::Slow(_)));
        self.learn(
            if is_busy {
                &Outcome::Busy
            } else {
                &report.outcome
            },
            sent,
            now,
            config,
        )
    }

    /// Notes that another upstream passed a probe sent at `sent`. If this one failed before, it is
    /// probed again at once.
    pub(in crate::cluster) fn other_passed(&mut self, sent: Instant, now: Instant) {
        if self.facts.other_passed(sent, now) {
            self.probes.hasten(now, Duration::ZERO);
        }
    }

    /// True if it refused our credentials when they were last tried there.
    pub(in crate::cluster) const fn refuses(&self) -> bool {
        self.refused_credentials.is_some()
    }

    /// Records the result of a request with our credentials. A failure for another reason shows
    /// nothing about them.
    pub(in crate::cluster) fn tried_credentials(&mut self, outcome: &Result<(), Cause>) {
        match outcome.as_ref().map_err(Cause::refused_credentials) {
            Ok(()) => self.refused_credentials = None,
            Err(refused @ Some(_)) => self.refused_credentials = refused,
            Err(None) => {}
        }
    }

    /// Begins a probe of it.
    pub(in crate::cluster) fn begin_probe(&mut self, now: Instant, timeout: Duration) {
        self.probes.begin(now, timeout);
        self.upstream.load.set_in_doubt(self.is_in_doubt());
    }

    /// Notes that time passed: a probe may be lost, an ejection over.
    pub(in crate::cluster) fn passed_time(
        &mut self,
        now: Instant,
        config: &Health,
    ) -> Option<TransitionKind> {
        if self.probes.gives_up(now) {
            // A missing report is our own fault and therefore no evidence about the upstream. The
            // next probe is due as usual.
            self.local_fault = Some(LocalFault::Unreported);
            self.plan_probe(now, config);
        }
        let half_open = self
            .ejection
            .passed_time(now)
            .then_some(TransitionKind::HalfOpen);
        if half_open.is_some() {
            self.changed = now;
        }
        half_open
    }

    /// Takes in the outcome of an attempt that was sent at `sent`. It is no evidence about an
    /// upstream that is not up and ready: there, probes and orders decide.
    pub(in crate::cluster) fn observed(
        &mut self,
        outcome: Outcome,
        grounds: Option<Grounds>,
        sent: Instant,
        now: Instant,
        config: &Health,
        may_eject: bool,
    ) -> Option<TransitionKind> {
        if outcome == Outcome::Success {
            self.succeeded_at = Some(now);
        }
        if !self.is_fit() {
            return None;
        }
        if !self.is_in_doubt() && !self.is_set_aside() {
            self.grounds.clear();
        }
        if let (Some(grounds), Outcome::Failure(_), false) =
            (grounds, &outcome, self.is_set_aside())
        {
            self.grounds.truncate(MAX_GROUNDS - 1);
            self.grounds.insert(0, grounds);
        }
        match outcome {
            Outcome::Failure(cause) if cause.local_fault().is_some() => None,
            Outcome::Success => self
                .ejection
                .succeeded(sent, now)
                .then(|| self.returned(now, config)),
            Outcome::Busy => None,
            Outcome::Failure(cause) => self.blame(cause, sent, now, config, may_eject),
        }
    }

    /// Ends the ejection, because no other upstream is left or this one may no longer be ejected.
    pub(in crate::cluster) fn lift(
        &mut self,
        now: Instant,
        config: &Health,
    ) -> Option<TransitionKind> {
        self.ejection.clear(now).then(|| self.returned(now, config))
    }

    /// Returns the mode in force and the origin of its order; `None` for the mode that every
    /// upstream starts with.
    pub(in crate::cluster) fn ordered_mode(&self) -> Option<(Mode, &ModeOrigin)> {
        Some((self.mode, self.mode_origin.as_ref()?))
    }

    /// Takes over the order that was given for the upstream of this name at another address. That
    /// is no transition.
    pub(in crate::cluster) fn inherit_mode(&mut self, former: &Self, now: Instant) {
        self.set_mode(former.mode, former.mode_origin.clone(), now);
    }

    /// Drops the evidence that rests on faults shared with others, and ends the ejection with it.
    pub(in crate::cluster) fn acquit(
        &mut self,
        shared: &[u64],
        now: Instant,
    ) -> Option<TransitionKind> {
        let rests = |grounds: &&Grounds| shared.iter().any(|key| grounds.rest_on(*key));
        let resting = self.grounds.iter().filter(rests).count();
        if resting == 0 || resting * 2 < self.grounds.len() {
            return None;
        }
        self.grounds.clear();
        let was_set_aside = self.ejection.acquit(now);
        if was_set_aside {
            self.changed = now;
        }
        was_set_aside.then_some(TransitionKind::Returned)
    }

    pub(in crate::cluster) fn set_mode(
        &mut self,
        mode: Mode,
        origin: Option<ModeOrigin>,
        now: Instant,
    ) -> Vec<TransitionKind> {
        if mode == self.mode {
            return Vec::new();
        }
        let from = std::mem::replace(&mut self.mode, mode);
        self.changed = now;
        let by = origin.as_ref().map(|origin| origin.by.clone());
        self.mode_origin = origin;
        let mut changes = vec![TransitionKind::Mode { from, to: mode, by }];
        match (from, mode) {
            (_, Mode::Maintenance) => {
                self.leave_roll(now);
                self.catalog.forget_credential_check();
                changes.extend(self.forget(now));
            }
            (Mode::Maintenance, Mode::Ready | Mode::Drain) => self.resume_probes(now),
            (Mode::Ready | Mode::Drain, Mode::Ready | Mode::Drain) => {}
        }
        changes
    }

    // Effects of its catalog reload.

    /// Closes it for new requests, even those of an older snapshot. `bound`: the longest time for
    /// which requests may postpone the reload.
    pub(in crate::cluster) fn leave_service(&mut self, bound: Duration, now: Instant) {
        self.upstream.load.close();
        self.catalog.begin(bound, now);
    }

    /// Lets it go on serving for a request that needs it now, if it is only draining. Returns true
    /// for the first such request.
    pub(in crate::cluster) fn postpone_reload(&mut self, now: Instant) -> bool {
        let postponed = self.catalog.postpone(now);
        if postponed.is_some() {
            self.upstream.load.open();
        }
        postponed.unwrap_or(false)
    }

    /// Calls its reload off. A reload that GeoServer has already received must be waited for,
    /// whatever is ordered meanwhile.
    pub(in crate::cluster) fn leave_roll(&mut self, now: Instant) {
        if self.catalog.call_off(now) {
            self.upstream.load.open();
        }
    }

    /// Begins its reload. Probes stop meanwhile: while it reads its catalog, they would fail as all
    /// requests do.
    pub(in crate::cluster) fn begin_reload(
        &mut self,
        target: ReloadTarget,
        limit: Duration,
        now: Instant,
    ) {
        self.catalog.reload(target, limit, now);
        self.probes.stop();
    }

    /// Returns it to service after the canary passed. A catalog reload does not cool a JVM, so the
    /// replica gets the share that it had before.
    pub(in crate::cluster) fn return_to_service(&self) {
        self.upstream.load.open();
    }

    /// Resumes its probes. It is not probed in maintenance, nor while it reads its catalog.
    pub(in crate::cluster) fn resume_probes(&mut self, now: Instant) {
        if self.probes.is_off() && !self.is_in_maintenance() && !self.catalog.is_reloading() {
            self.probes.restart(now);
        }
    }

    /// Makes it the main, whatever its catalog is: administration goes here or nowhere.
    pub(in crate::cluster) fn become_the_main(&mut self, epoch: u64, now: Instant) {
        self.catalog.become_main(epoch);
        self.upstream.load.open();
        self.resume_probes(now);
    }

    /// Restores the knowledge of the process before us.
    pub(in crate::cluster) fn recall(
        &mut self,
        main_update_sequence: Option<u64>,
        is_reloading: bool,
        start: Instant,
    ) {
        if self
            .catalog
            .recall(main_update_sequence, is_reloading, start)
        {
            self.upstream.load.close();
        }
    }

    /// Evaluates the report of a probe that was sent at `sent`.
    fn learn(
        &mut self,
        outcome: &Outcome,
        sent: Instant,
        now: Instant,
        config: &Health,
    ) -> Meaning {
        let has_timed_out = matches!(
            outcome,
            Outcome::Failure(Cause::Timeout(_) | Cause::Slow(_))
        );
        // Requests that succeed meanwhile outvote a probe that was not answered in time.
        let outcome = if has_timed_out && self.has_succeeded() {
            &Outcome::Busy
        } else {
            outcome
        };
        let verdict = outcome.verdict();
        let refused = outcome.refused_credentials();
        self.refused_probe = refused.filter(|_| !config.authenticate);
        if config.authenticate && matches!(verdict, Verdict::Passed | Verdict::Refused) {
            self.refused_credentials = refused;
        }
        if let Outcome::Failure(cause) = outcome {
            self.last_cause = Some(cause.clone());
            if verdict == Verdict::Failed {
                self.content_cause = Some(cause.clone());
            }
        }
        let begins_to_fail = self.facts.learn(verdict, sent, now, config);
        self.plan_probe(now, config);
        match verdict {
            Verdict::Passed => Meaning::Passes,
            _ if begins_to_fail => Meaning::BeginsToFail,
            _ => Meaning::Nothing,
        }
    }

    fn plan_probe(&mut self, now: Instant, config: &Health) {
        self.probes.plan(
            now,
            self.facts
                .probe_interval(config, self.is_fit() && self.ejection.is_in_doubt()),
        );
    }

    /// Sets its health for reads from now on.
    pub(in crate::cluster) fn measured(
        &mut self,
        to: HealthState,
        now: Instant,
        config: &Health,
    ) -> Option<TransitionKind> {
        let from = std::mem::replace(&mut self.health, to);
        if from == to {
            return None;
        }
        self.health_changed(from, to, now, config);
        let cause = self.last_cause.clone().filter(|_| to == HealthState::Down);
        Some(TransitionKind::Health { from, to, cause })
    }

    fn health_changed(
        &mut self,
        from: HealthState,
        to: HealthState,
        now: Instant,
        config: &Health,
    ) {
        self.changed = now;
        self.warmup = None;
        if to == HealthState::Up {
            self.catalog.came_up(now);
        }
        match (from, to) {
            // An upstream that comes back only because no other passes was not away for a reason
            // that makes it cold.
            (HealthState::Down, HealthState::Up) if self.facts.is_passing() => {
                self.warmup = Warmup::new(now, config.slow_start);
            }
            // Probes decide from here, and an upstream that comes back is usually another process.
            (_, HealthState::Down | HealthState::Unknown) => {
                self.ejection.clear(now);
            }
            (_, HealthState::Up) => {}
        }
    }

    /// Adds evidence against it. The next probe is brought forward, whether or not it can be
    /// ejected.
    fn blame(
        &mut self,
        cause: Cause,
        sent: Instant,
        now: Instant,
        config: &Health,
        may_eject: bool,
    ) -> Option<TransitionKind> {
        self.probes
            .hasten(now, config.interval.min(config.down_interval));
        if !self.is_ejectable() || config.ejection_failures == 0 {
            return None;
        }
        let length = self
            .ejection
            .failed(cause.severity(), sent, now, config, may_eject)?;
        self.changed = now;
        self.last_cause = Some(cause.clone());
        Some(TransitionKind::Ejected {
            until: now + length,
            length,
            cause,
        })
    }

    fn returned(&mut self, now: Instant, config: &Health) -> TransitionKind {
        self.changed = now;
        self.warmup = Warmup::new(now, config.slow_start);
        TransitionKind::Returned
    }

    /// Forgets all measurements on entering maintenance, because they will not hold afterwards.
    fn forget(&mut self, now: Instant) -> Option<TransitionKind> {
        let from = std::mem::replace(&mut self.health, HealthState::Unknown);
        (self.facts, self.refused_probe, self.local_fault) = (Facts::default(), None, None);
        self.ejection.clear(now);
        self.warmup = None;
        self.probes.stop();
        (from != HealthState::Unknown).then_some(TransitionKind::Health {
            from,
            to: HealthState::Unknown,
            cause: None,
        })
    }
}
