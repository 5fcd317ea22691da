//! Attempts at upstreams: their leases, their ends, and the evidence that the cluster gets from
//! them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use geofront::balance::{LearnedCap, Lease};
use geofront::cluster::{Cause, Event, Outcome, Selection, Upstream, UpstreamId};
use geofront::config::MaxInFlight;
use geofront::ogc::RequestClass;

use crate::ledger::{Entry, Key};
use crate::places::Kind;
use crate::requests::Request;
use crate::world::{Todo, World};

/// The most tries of a request.
const MOST_TRIES: usize = 4;
/// A learned cap, whatever it was learned from.
const LEARNED: (u64, u64) = (4, 12);

#[derive(Debug)]
pub(crate) struct Attempt {
    pub(crate) request: Request,
    pub(crate) key: Key,
    upstream: Arc<Upstream>,
    /// Until the upstream is done.
    lease: Option<Lease>,
    teaches_cap: bool,
    kind: Kind,
    sent: Instant,
    outcome: Option<Outcome>,
    /// True if the answer would be right, whether or not it arrives.
    is_right: bool,
    /// The geofront that has the attempt.
    pub(crate) life: u32,
}

impl Attempt {
    /// The attempt holds its lease.
    pub(crate) fn is_with_upstream(&self) -> bool {
        self.lease.is_some()
    }
}

impl World {
    pub(crate) fn begin_attempt(&mut self, request: Request, selection: Selection) {
        self.begin(request, selection, true);
    }

    /// Its client left at the moment that it was served.
    pub(crate) fn begin_attempt_after_client_left(
        &mut self,
        request: Request,
        selection: Selection,
    ) {
        self.begin(request, selection, false);
    }

    fn begin(&mut self, mut request: Request, selection: Selection, has_client: bool) {
        let key = (
            selection.upstream.name.to_string(),
            selection
                .upstream
                .address
                .known()
                .expect("simulated upstreams have addresses"),
        );
        self.audit_lease(&key, selection.upstream.is_main());
        let kind = request.kind(&self.config);
        let entry = self
            .ledger
            .get_mut(&key)
            .expect("a retired upstream serves no request");
        entry.meet(&selection.upstream);
        assert!(
            entry.measured.has_answered(),
            "{key:?} gets nothing before something answered there"
        );
        entry.at_work.begin(kind);
        entry.trials += u32::from(selection.lease.is_trial());
        assert!(entry.trials <= 1, "{key:?}: one trial at a time");
        assert!(!request.keys.contains(&key), "another try is elsewhere");
        self.room.enter(&request);
        request.begins_at(selection.upstream.id, key.clone());
        let condition = self.machine(key.1).shows();
        let (after, outcome) = condition.attempt(&mut self.chance);
        let is_broken = request
            .layer
            .is_some_and(|layer| self.faults.fails_everywhere(layer));
        let outcome = match outcome {
            Some(Outcome::Success) if is_broken => Some(Outcome::Failure(Cause::Status(500))),
            as_it_is => as_it_is,
        };
        let (after, outcome) = match self.faults.of_ours() {
            Some(cause) => (Duration::from_millis(1), Some(Outcome::Failure(cause))),
            None => (after, outcome),
        };
        let (after, outcome) = if has_client {
            (after, outcome)
        } else {
            (Duration::ZERO, None)
        };
        let is_right = self.machine(key.1).geoserver.is_whole();
        let number = self.plan(after, Todo::EndAttempt);
        self.attempts.insert(
            number,
            Attempt {
                request,
                key,
                upstream: selection.upstream,
                lease: Some(selection.lease),
                teaches_cap: selection.teaches_cap,
                kind,
                sent: self.now,
                outcome,
                is_right,
                life: self.life,
            },
        );
    }

    pub(crate) fn end_attempt(&mut self, number: u64) {
        // Attempts of a geofront that has ended may have ended with it.
        let Some(mut attempt) = self.attempts.remove(&number) else {
            return;
        };
        if let Some(outcome) = attempt
            .outcome
            .clone()
            .filter(|_| attempt.life == self.life)
        {
            self.observe(attempt.upstream.id, attempt.sent, outcome);
        }
        self.end_lease(&mut attempt);
        self.answer_bell();
        let Attempt {
            request,
            key,
            teaches_cap,
            outcome,
            is_right,
            life,
            ..
        } = attempt;
        let is_ours = life == self.life;
        let is_local = matches!(outcome, Some(Outcome::Failure(Cause::Local(_))));
        let has_failed = matches!(outcome, Some(Outcome::Failure(_))) && !is_local;
        let is_answered = outcome == Some(Outcome::Success);
        if is_ours {
            self.give_back(&request);
        }
        if teaches_cap && is_answered && is_ours && self.chance.percent(20) {
            self.learn_cap(&key);
        }
        if is_answered && request.class == RequestClass::Map && self.ledger.contains_key(&key) {
            self.find_stale(&key);
        }
        if has_failed && is_ours && request.attempts < MOST_TRIES {
            self.tally.count("a retry");
            self.seek(request);
        } else if is_ours && (has_failed || is_answered) {
            self.concluded(&request, is_answered && is_right);
        }
    }

    /// Its upstream is done, if it was not before.
    fn end_lease(&mut self, attempt: &mut Attempt) {
        let Some(lease) = attempt.lease.take() else {
            return;
        };
        let (upstream, is_ours) = (&attempt.upstream, attempt.life == self.life);
        let is_tracked = |entry: &&mut Entry| {
            is_ours
                && entry
                    .upstream
                    .as_ref()
                    .is_some_and(|known| known.id == upstream.id)
        };
        match self.ledger.get_mut(&attempt.key).filter(is_tracked) {
            Some(entry) => {
                entry.at_work.end(attempt.kind);
                entry.trials -= u32::from(lease.is_trial());
            }
            None => {
                self.retired
                    .get_mut(&(attempt.life, upstream.id))
                    .expect("an upstream that is not tracked has retired")
                    .1 -= 1
            }
        }
        self.room.end_lease(&upstream.load, || drop(lease));
    }

    /// Some upstream is done with some attempt. False if there is none.
    pub(crate) fn release_any(&mut self) -> bool {
        let numbers: Vec<u64> = self
            .attempts
            .iter()
            .filter(|(_, attempt)| attempt.is_with_upstream())
            .map(|(number, _)| *number)
            .collect();
        if numbers.is_empty() {
            return false;
        }
        let number = *self.chance.one_of(&numbers);
        let mut attempt = self.attempts.remove(&number).expect("it was found");
        self.end_lease(&mut attempt);
        self.attempts.insert(number, attempt);
        true
    }

    /// Another cap turns out to be better.
    fn learn_cap(&mut self, key: &Key) {
        let learned = LearnedCap {
            cap: self.chance.between(LEARNED.0, LEARNED.1) as u32,
            has_extra: self.chance.percent(50),
            heavy: self.chance.below(12) as u32,
        };
        // Nothing is learned about an upstream that was removed meanwhile.
        let Some(entry) = self.ledger.get_mut(key) else {
            return;
        };
        let nothing_yet = LearnedCap {
            cap: MaxInFlight::AUTO_START,
            has_extra: true,
            heavy: 0,
        };
        let before = entry.learned.replace(learned).unwrap_or(nothing_yet);
        entry
            .upstream
            .as_ref()
            .expect("an upstream that answered was met")
            .load
            .set_learned_cap(learned);
        if learned.cap > before.cap
            || learned.heavy > before.heavy
            || (learned.has_extra && !before.has_extra)
        {
            self.tally.count("a higher cap was learned");
            self.place_came_free();
        }
    }

    /// Reports an outcome like `Control`: a success only if it would change something.
    fn observe(&mut self, upstream: UpstreamId, sent: Instant, outcome: Outcome) {
        let (pool, set_aside) = self.oracle().pool();
        if matches!(outcome, Outcome::Failure(_)) && set_aside > 0 && (set_aside + 1) * 2 > pool {
            self.tally.count("the ceiling reached");
        }
        let in_doubt = |entry: &Entry| {
            entry
                .upstream
                .as_ref()
                .is_some_and(|u| u.id == upstream && u.load.is_in_doubt())
        };
        let is_news = outcome != Outcome::Success || self.ledger.values().any(in_doubt);
        if is_news && outcome == Outcome::Success {
            self.lose_probes();
            let entry = self
                .ledger
                .values_mut()
                .find(|entry| entry.upstream.as_ref().is_some_and(|u| u.id == upstream));
            entry
                .into_iter()
                .for_each(|entry| entry.succeeded = Some(self.now));
        }
        if is_news {
            self.handle(Event::Observed {
                upstream,
                sent,
                outcome,
                subject: None,
            });
        }
    }
}
