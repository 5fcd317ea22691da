//! Clients: requests arrive, are tried, fail and are tried elsewhere.

use std::sync::Arc;
use std::time::{Duration, Instant};

use geofront::admission::{Client, ConcurrencyKeys};
use geofront::balance::{LearnedCap, Lease};
use geofront::cluster::{
    About, Cause, Event, MainPreference, NoUpstream, Outcome, Selection, SelectionRequest,
    Snapshot, Tried, Upstream, UpstreamId,
};
use geofront::config::{MaxInFlight, PerUser, Priority};
use geofront::ogc::{self, RequestClass, RequestHead};

use crate::chance::Chance;
use crate::ledger::{Entry, Key};
use crate::oracle::{Belongs, Oracle, Tier, costs_at_most};
use crate::places::Kind;
use crate::world::{Todo, World};

/// The most tries of a request.
const MOST_TRIES: usize = 4;
/// Few enough that one user's requests meet in the queue.
const USERS: u64 = 5;
/// All at once.
const LONGEST_RUSH: u64 = 24;
/// A learned cap, whatever it was learned from.
const LEARNED: (u64, u64) = (4, 12);

#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) class: RequestClass,
    /// What it is about, if it is a map.
    pub(crate) layer: Option<Layer>,
    /// What it has in common with others.
    pub(crate) metatile: Option<u64>,
    /// The reader has just changed the catalog: the main is preferred.
    pub(crate) from_main: bool,
    pub(crate) user: u64,
    /// What a trusted proxy adds to the priority of its class.
    pub(crate) steps: i64,
    /// The limits that hold it, as they were when it came; and the same in our terms.
    pub(crate) claim: ConcurrencyKeys,
    pub(crate) held: Held,
    /// What a balancer without us would have made of it, if it is a read.
    pub(crate) naively: Option<f64>,
    /// How often the cluster helped it.
    pub(crate) rescues: u32,
    tried: Tried,
    /// The same, in the ledger's terms.
    pub(crate) keys: Vec<Key>,
}

/// One of a few layers, each with a database of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layer(u64);

impl Layer {
    /// The layer that probes and canaries draw.
    pub(crate) const PROBED: Self = Self(0);

    pub(crate) fn random(chance: &mut Chance) -> Self {
        Self(chance.below(4))
    }
}

/// How many may be at work at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) user: u64,
    /// Of this user.
    pub(crate) of_user: Option<u32>,
    /// Maps of all users.
    pub(crate) of_maps: Option<u32>,
}

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
    /// Were the answer to come, it would be the right one.
    is_right: bool,
    /// Which geofront has it.
    pub(crate) life: u32,
}

impl Request {
    pub(crate) fn tried(&self) -> &Tried {
        &self.tried
    }

    pub(crate) fn is_retry(&self) -> bool {
        !self.keys.is_empty()
    }

    pub(crate) fn priority(&self, of_class: Priority) -> Priority {
        of_class.better_by(self.steps)
    }

    /// Whether it would be served, if only after a wait.
    pub(crate) fn has_place(&self, snapshot: &Snapshot) -> bool {
        snapshot.has_place(self.class, &self.tried)
    }

    /// By the shipped selection. `may_join`: no request waits.
    pub(crate) fn select(
        &self,
        snapshot: &Snapshot,
        may_join: bool,
        now: Instant,
    ) -> Result<Selection, NoUpstream> {
        let main = if self.from_main {
            MainPreference::ToSeeAChange
        } else {
            MainPreference::No
        };
        let request = SelectionRequest {
            class: self.class,
            key: self.metatile,
            tried: self.tried.clone(),
            main,
            about: About::Anything,
        };
        request.select(snapshot, may_join, now)
    }
}

impl Attempt {
    /// It has its lease.
    pub(crate) fn is_with_upstream(&self) -> bool {
        self.lease.is_some()
    }
}

impl World {
    pub(crate) fn arrive(&mut self) {
        match self.chance.below(14) {
            0..=6 => self.request(RequestClass::Map, None),
            7 | 8 => self.request(RequestClass::Capabilities, None),
            9 => self.request(RequestClass::Process, None),
            10 => self.request(RequestClass::Admin, None),
            11 => self.pan(),
            12 => self.rush(),
            _ => {
                let class = *self.chance.one_of(&RequestClass::ALL);
                self.request(class, None);
            }
        }
        // When nothing goes wrong any more, enough for every trial.
        let pause = if self.is_calm {
            self.chance.millis(50, 1_500)
        } else {
            self.chance.millis(1, 250)
        };
        self.plan(pause, Todo::Arrive);
    }

    pub(crate) fn request(&mut self, class: RequestClass, metatile: Option<u64>) {
        let user = self.chance.below(USERS);
        self.request_of(user, class, metatile);
    }

    pub(crate) fn request_of(&mut self, user: u64, class: RequestClass, metatile: Option<u64>) {
        let from_main = self.chance.percent(3);
        let steps = *self.chance.one_of(&[0, 0, 0, 0, 0, 0, 0, 0, 1, -1]);
        let (claim, held) = (self.claim(user, class), self.held(user, class));
        let naively = (self.is_read(class) && !from_main).then(|| self.naive_chance());
        let (tried, keys) = (Tried::default(), Vec::new());
        let layer = (class == RequestClass::Map).then(|| Layer::random(&mut self.chance));
        self.seek(Request {
            class,
            layer,
            metatile,
            from_main,
            user,
            steps,
            claim,
            held,
            naively,
            rescues: 0,
            tried,
            keys,
        });
    }

    fn claim(&self, user: u64, class: RequestClass) -> ConcurrencyKeys {
        let target = match class {
            RequestClass::Map => "/geoserver/wms?service=WMS&request=GetMap",
            // Held by its user alone, as everything else is in these worlds.
            _ => "/geoserver/web/",
        };
        let head = RequestHead {
            method: "GET",
            target: target.as_bytes(),
            content_type: None,
        };
        let client = Client {
            user,
            is_vouched_for: false,
            address: [10, 0, 0, 9].into(),
            address_key: 9,
        };
        ConcurrencyKeys::of(
            &self.config.limits,
            &ogc::classify(&head, "/geoserver", Some(b"")),
            &head,
            &client,
        )
    }

    fn held(&self, user: u64, class: RequestClass) -> Held {
        let of_user = match self.config.limits.per_user {
            PerUser::Fixed(most) => Some(most),
            PerUser::Auto | PerUser::Off => None,
        };
        Held {
            user,
            of_user,
            of_maps: self
                .blueprint
                .most_maps()
                .filter(|_| class == RequestClass::Map),
        }
    }

    /// A program that sends all of its requests at once.
    fn rush(&mut self) {
        let user = self.chance.below(USERS);
        let class = *self.chance.one_of(&[
            RequestClass::Map,
            RequestClass::Feature,
            RequestClass::Info,
            RequestClass::Process,
        ]);
        for _ in 0..self.chance.between(1, LONGEST_RUSH) {
            self.request_of(user, class, None);
        }
    }

    /// Whether what was selected is right, and what of interest it shows. `oracle`: from before.
    pub(crate) fn judge(
        &self,
        oracle: &Oracle<'_>,
        request: &Request,
        may_join: bool,
        selected: &Result<Selection, NoUpstream>,
    ) -> Vec<&'static str> {
        let belongs = oracle.belongs(request);
        let metatile = request
            .metatile
            .filter(|_| self.config.classes[request.class].affinity.is_some());
        let companions = match metatile.filter(|_| may_join) {
            Some(metatile) => {
                oracle.full_companions(request, |key| self.has_companions(key, metatile))
            }
            None => Vec::new(),
        };
        let selection = match selected {
            Ok(selection) => selection,
            Err(why) => {
                assert_eq!(belongs, Belongs::Nowhere(*why), "no false refusal");
                return vec![match why {
                    NoUpstream::NoneEligible => "refused: none eligible",
                    NoUpstream::AllTried => "refused: all tried",
                    NoUpstream::Full => "every upstream full",
                    NoUpstream::NoVerdict => "no verdict yet",
                }];
            }
        };
        let key = (
            selection.upstream.name.to_string(),
            selection
                .upstream
                .address
                .known()
                .expect("simulated upstreams have addresses"),
        );
        self.judge_cap(&key, request, selection);
        if companions.contains(&key) {
            return vec!["a tile with its companions above the cap"];
        }
        let mut happened = judge_place(
            oracle,
            request,
            &belongs,
            (&key, selection),
            metatile.is_some(),
        );
        if let (
            Belongs::Any {
                keys,
                tier: Tier::Fresh | Tier::Stale | Tier::Mixed,
            },
            Some(metatile),
        ) = (&belongs, metatile)
        {
            happened.extend(self.judge_tile(oracle, metatile, &key, (keys, &companions)));
        }
        happened
    }

    /// Checks which attempts are samples for a learned limit: all but heavy ones and administration
    /// where the limit is learned.
    fn judge_cap(&self, key: &Key, request: &Request, selection: &Selection) {
        let (kind, configured) = (
            Kind::of(request.class, &self.config),
            self.config.upstreams.iter(),
        );
        let is_auto = configured
            .filter(|upstream| upstream.max_in_flight == MaxInFlight::Auto)
            .any(|u| u.name.as_str() == key.0);
        assert_eq!(
            selection.teaches_cap,
            is_auto && matches!(kind, Kind::Quick | Kind::Ordinary),
            "{key:?}: {kind:?}"
        );
        assert_eq!(
            selection.lease.is_heavy(),
            kind == Kind::Heavy,
            "{key:?}: {kind:?}"
        );
    }

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
        let kind = Kind::of(request.class, &self.config);
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
        request.tried.add(selection.upstream.id);
        request.keys.push(key.clone());
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
        // Those of a geofront that is gone may have gone with it.
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
        if has_failed && is_ours && request.keys.len() < MOST_TRIES {
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

    /// It is answered, or refused.
    pub(crate) fn concluded(&mut self, request: &Request, is_right: bool) {
        if self.faults.of_ours().is_some() {
            return;
        }
        if let Some(chance) = request.naively.filter(|_| {
            request
                .layer
                .is_none_or(|layer| !self.faults.fails_everywhere(layer))
        }) {
            self.naive.concluded(chance, is_right);
        }
    }

    /// Another cap turns out to be better.
    fn learn_cap(&mut self, key: &Key) {
        let learned = LearnedCap {
            cap: self.chance.between(LEARNED.0, LEARNED.1) as u32,
            has_extra: self.chance.percent(50),
            heavy: self.chance.below(12) as u32,
        };
        // An upstream that retired meanwhile learns nothing.
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

    /// As `Control` does: a success is reported only where it would change something.
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

/// Whether the selection is where the request belongs, and what of interest that shows.
fn judge_place(
    oracle: &Oracle<'_>,
    request: &Request,
    belongs: &Belongs,
    (key, selection): (&Key, &Selection),
    has_affinity: bool,
) -> Vec<&'static str> {
    let is_capabilities = request.class == RequestClass::Capabilities;
    let is_trial = matches!(belongs, Belongs::Trial(_));
    assert_eq!(
        selection.lease.is_trial(),
        is_trial,
        "{belongs:?}: a trial is marked as one"
    );
    match belongs {
        Belongs::There(place) => {
            assert_eq!(key, place, "a class of one place goes there");
            vec![if request.from_main {
                "the author of a change sees it"
            } else {
                "a main-only request was selected for"
            }]
        }
        Belongs::Trial(keys) => {
            assert!(keys.contains(key), "{key:?} is not on trial: {belongs:?}");
            vec![if request.is_retry() {
                "a trial by a retry"
            } else {
                "a trial"
            }]
        }
        Belongs::Any { keys, tier } => {
            assert!(keys.contains(key), "{key:?} must not serve: {belongs:?}");
            let (chosen, others) = (oracle.of(key), keys.iter().map(|key| oracle.of(key)));
            if !has_affinity {
                others.for_each(|other| {
                    assert!(
                        costs_at_most(chosen, other),
                        "{chosen:?} costs more than {other:?}"
                    )
                });
            }
            let ramps_up = keys
                .iter()
                .any(|key| oracle.of(key).effective_weight != oracle.of(key).weight);
            let all = [
                (true, "a request was selected for"),
                (*tier == Tier::Backup, "the backup served"),
                (*tier == Tier::Main, "capabilities from the main"),
                (
                    *tier == Tier::Stale && is_capabilities,
                    "capabilities from stale ones",
                ),
                (
                    matches!(tier, Tier::Stale | Tier::Mixed) && !is_capabilities,
                    "stale ones served",
                ),
                (
                    *tier == Tier::Fresh && oracle.upstreams().any(|s| !s.catalog.is_fresh),
                    "a fresh one served while others were stale",
                ),
                (keys.len() > 1, "a choice between several"),
                (
                    keys.len() > 1 && ramps_up,
                    "a choice while an upstream ramps up",
                ),
            ];
            all.into_iter()
                .filter_map(|(happened, what)| happened.then_some(what))
                .collect()
        }
        Belongs::Nowhere(why) => panic!("{key:?} must not serve: {why:?}"),
    }
}
