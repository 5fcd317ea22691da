//! Clients: requests arrive, are tried, fail and are tried elsewhere.

use std::time::Instant;

use geofront::cluster::{Event, NoUpstream, Outcome, Selection, Tried, UpstreamId};
use geofront::ogc::RequestClass;

use crate::ledger::{Entry, Key};
use crate::oracle::{Belongs, Oracle, Tier, costs_at_most};
use crate::world::{Todo, World};

/// The most tries of a request.
const MOST_TRIES: usize = 4;

#[derive(Debug)]
pub(crate) struct Request {
    class: RequestClass,
    /// What it has in common with others.
    pub(crate) metatile: Option<u64>,
    tried: Tried,
    /// The same, in the ledger's terms.
    keys: Vec<Key>,
}

#[derive(Debug)]
pub(crate) struct Attempt {
    pub(crate) request: Request,
    pub(crate) key: Key,
    selection: Selection,
    sent: Instant,
    outcome: Option<Outcome>,
    /// Which geofront has it.
    life: u32,
}

impl World {
    pub(crate) fn arrive(&mut self) {
        match self.chance.below(13) {
            0..=6 => self.request(RequestClass::Map, None),
            7 | 8 => self.request(RequestClass::Capabilities, None),
            9 => self.request(RequestClass::Process, None),
            10 => self.request(RequestClass::Admin, None),
            11 => self.pan(),
            _ => {
                let class = *self.chance.one_of(&RequestClass::ALL);
                self.request(class, None);
            }
        }
        let pause = self.chance.millis(1, 250);
        self.plan(pause, Todo::Arrive);
    }

    pub(crate) fn request(&mut self, class: RequestClass, metatile: Option<u64>) {
        self.attempt(Request { class, metatile, tried: Tried::default(), keys: Vec::new() });
    }

    fn attempt(&mut self, request: Request) {
        let oracle = self.oracle();
        let belongs = oracle.belongs(request.class, &request.keys, |key| self.ledger[key].trials > 0);
        let has_place = self.snapshot.has_place(request.class, &request.tried);
        let selected = self.snapshot.select_for(request.class, request.metatile, &request.tried, self.now);
        assert_eq!(has_place, selected.is_ok(), "what is told without taking a place is true");
        match selected {
            Ok(selection) => {
                let key = (selection.upstream.name.to_string(), selection.upstream.address);
                let metatile = request.metatile.filter(|_| self.config.classes[request.class].affinity.is_some());
                let (is_retry, is_capabilities) = (!request.keys.is_empty(), request.class == RequestClass::Capabilities);
                let traits = (is_retry, is_capabilities, metatile.is_some());
                let happened = judge(&oracle, &belongs, &key, &selection, traits);
                let near = match (&belongs, metatile) {
                    (Belongs::Any { keys, tier: Tier::Fresh | Tier::Stale }, Some(metatile)) => {
                        self.judge_tile(&oracle, metatile, &key, keys)
                    }
                    _ => None,
                };
                near.into_iter().for_each(|what| self.tally.count(what));
                happened.into_iter().for_each(|what| self.tally.count(what));
                self.begin_attempt(request, key, selection);
            }
            Err(why) => {
                assert_eq!(belongs, Belongs::Nowhere(why), "no false refusal");
                self.tally.count(match why {
                    NoUpstream::NoneEligible => "refused: none eligible",
                    NoUpstream::AllTried => "refused: all tried",
                    NoUpstream::Full => unreachable!("nobody has a cap in these worlds"),
                });
            }
        }
    }

    fn begin_attempt(&mut self, mut request: Request, key: Key, selection: Selection) {
        self.audit_lease(&key, selection.upstream.is_main());
        let entry = self.ledger.get_mut(&key).expect("nobody is served by who retired");
        entry.meet(&selection.upstream);
        assert!(entry.has_passed_a_probe(), "{key:?} gets nothing before its first passed probe");
        entry.leases += 1;
        entry.trials += u32::from(selection.lease.is_trial());
        assert!(entry.trials <= 1, "{key:?}: one trial at a time");
        assert!(!request.keys.contains(&key), "another try is elsewhere");
        request.tried.add(selection.upstream.id);
        request.keys.push(key.clone());
        let condition = self.machine(key.1).shows();
        let (after, outcome) = condition.attempt(&mut self.chance);
        let number = self.plan(after, Todo::EndAttempt);
        self.attempts.insert(number, Attempt { request, key, selection, sent: self.now, outcome, life: self.life });
    }

    pub(crate) fn end_attempt(&mut self, number: u64) {
        // Those of a geofront that is gone may have gone with it.
        let Some(attempt) = self.attempts.remove(&number) else { return };
        let Attempt { request, key, selection, sent, outcome, life } = attempt;
        let Selection { upstream, lease, teaches_cap: _ } = selection;
        let is_ours = life == self.life;
        let has_failed = matches!(outcome, Some(Outcome::Failure(_)));
        let is_answered = outcome == Some(Outcome::Success);
        if let Some(outcome) = outcome.filter(|_| is_ours) {
            self.observe(upstream.id, sent, outcome);
        }
        match self.ledger.get_mut(&key).filter(|_| is_ours) {
            Some(entry) => {
                entry.leases -= 1;
                entry.trials -= u32::from(lease.is_trial());
            }
            None => self.retired.get_mut(&(life, key.clone())).expect("who is not tracked retired").1 -= 1,
        }
        drop(lease);
        if is_answered && request.class == RequestClass::Map && self.ledger.contains_key(&key) {
            self.find_stale(&key);
        }
        if has_failed && is_ours && request.keys.len() < MOST_TRIES {
            self.tally.count("a retry");
            self.attempt(request);
        }
    }

    /// As `Control` does: a success is reported only where it would change something.
    fn observe(&mut self, upstream: UpstreamId, sent: Instant, outcome: Outcome) {
        let (pool, set_aside) = self.oracle().pool();
        if matches!(outcome, Outcome::Failure(_)) && set_aside > 0 && (set_aside + 1) * 2 > pool {
            self.tally.count("the ceiling reached");
        }
        let in_doubt = |entry: &Entry| entry.upstream.as_ref().is_some_and(|u| u.id == upstream && u.load.is_in_doubt());
        let is_news = outcome != Outcome::Success || self.ledger.values().any(in_doubt);
        if is_news {
            self.handle(Event::Observed { upstream, sent, outcome });
        }
    }
}

/// Whether the selection is where the request belongs, and what of interest that shows.
fn judge(
    oracle: &Oracle<'_>,
    belongs: &Belongs,
    key: &Key,
    selection: &Selection,
    (is_retry, is_capabilities, has_affinity): (bool, bool, bool),
) -> Vec<&'static str> {
    let is_trial = matches!(belongs, Belongs::Trial(_));
    assert_eq!(selection.lease.is_trial(), is_trial, "{belongs:?}: a trial is marked as one");
    match belongs {
        Belongs::There(place) => {
            assert_eq!(key, place, "a class of one place goes there");
            vec!["a main-only request was selected for"]
        }
        Belongs::Trial(keys) => {
            assert!(keys.contains(key), "{key:?} is not on trial: {belongs:?}");
            vec![if is_retry { "a trial by a retry" } else { "a trial" }]
        }
        Belongs::Any { keys, tier } => {
            assert!(keys.contains(key), "{key:?} must not serve: {belongs:?}");
            let (chosen, others) = (oracle.of(key), keys.iter().map(|key| oracle.of(key)));
            if !has_affinity {
                others.for_each(|other| assert!(costs_at_most(chosen, other), "{chosen:?} costs more than {other:?}"));
            }
            let ramps_up = keys.iter().any(|key| oracle.of(key).effective_weight != oracle.of(key).weight);
            let all = [
                (true, "a request was selected for"),
                (*tier == Tier::Backup, "the backup served"),
                (*tier == Tier::Main, "capabilities from the main"),
                (*tier == Tier::Stale && is_capabilities, "capabilities from stale ones"),
                (*tier == Tier::Stale && !is_capabilities, "stale ones served"),
                (
                    *tier == Tier::Fresh && oracle.upstreams().any(|s| !s.catalog.is_fresh),
                    "a fresh one served while others were stale",
                ),
                (keys.len() > 1, "a choice between several"),
                (keys.len() > 1 && ramps_up, "a choice while somebody ramps up"),
            ];
            all.into_iter().filter_map(|(happened, what)| happened.then_some(what)).collect()
        }
        Belongs::Nowhere(why) => panic!("{key:?} must not serve: {why:?}"),
    }
}
