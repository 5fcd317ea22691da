//! The immutable view of the cluster that requests read.
//!
//! It holds only upstreams that are reachable and ready, already sorted by the classes they may
//! serve. A selection therefore compares only loads and weights, allocates nothing and takes no
//! lock.
//!
//! A class with a single serving upstream is routed to that upstream or nowhere. All other classes
//! choose in this order:
//!
//! - An upstream on trial gets the first request of priority 0. After a second it accepts priority
//!   1, and after half a minute any request, because a preference without an end could postpone the
//!   trial for ever.
//! - The fresh upstream with the least load follows.
//! - Stale upstreams and the main as backup come last; `catalog.stale` decides which of the two
//!   precedes the other.
//!
//! Fresh upstreams and the main are preferred for capabilities. A request that has failed once is
//! used for a trial only if no other upstream is left; it then even waits for the end of another
//! request's trial. A class that one replica serves waits while that replica reloads its catalog.
//!
//! While some upstreams are stale, requests that the change concerns prefer the fresh ones within a
//! bound on their load. Without the bound, the first fresh upstream would get every request until
//! it is full. All other requests take the upstream with the least in flight, fresh or stale.
//! Requests with a common key prefer the upstream of that key (`near.rs`).
//!
//! An upstream without a free slot is passed over. If no upstream is left, the request waits
//! ([`NoUpstream::Full`]). A full fresh tier spills over to the stale tier where stale upstreams
//! serve. The backup does not take overflow: it must still have capacity when no other upstream is
//! left.

mod candidate;
mod near;
mod slow;
mod tried;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

pub(super) use self::candidate::{Candidate, CapSource, Reads, Standing};
use self::near::Near;
pub use self::tried::Tried;
use super::{About, Concern, Tickets, Upstream, UpstreamId};
use crate::balance::{
    Caps, Demand, KeysInFlight, LearnedCap, Lease, Load, LoadSample, Mean, Shares, SlotLimits,
    pick_by, seed_of,
};
use crate::config::{Config, Limits, MaxInFlight, ServedBy, StalePolicy, Weight};
use crate::health::Warmup;
use crate::ogc::{PerClass, RequestClass};

/// Configuration and upstreams of one revision. Both are swapped together, so a reader never sees
/// new upstreams with old health.
#[derive(Debug)]
pub struct Snapshot {
    pub revision: u64,
    pub config: Arc<Config>,
    /// The progress in following up hints at catalog changes.
    pub tickets: Tickets,
    /// Fresh upstreams for the shared classes.
    fresh: Box<[Candidate]>,
    /// Stale upstreams for the shared classes.
    stale: Box<[Candidate]>,
    /// All upstreams that serve the shared classes first, fresh and stale.
    first: Box<[Candidate]>,
    /// The part of the catalog in which the stale upstreams differ.
    concern: Concern,
    /// Upstreams for the shared classes when none of `first` can serve.
    backup: Box<[Candidate]>,
    /// The main, regardless of the classes it serves otherwise.
    main: Box<[Candidate]>,
    /// Upstreams that are half-open.
    on_trial: Box<[Candidate]>,
    routes: PerClass<Route>,
    /// Deadline of the wait for a first verdict about an upstream that may serve the class.
    awaited: PerClass<Option<Instant>>,
    demands: PerClass<Demand>,
    rotation: Rotation,
    /// Keys in flight. The record starts empty with every snapshot, which costs the requests in
    /// flight a second choice once or twice.
    keys: Arc<KeysInFlight>,
}

/// The upstreams that serve a class.
#[derive(Clone, Debug)]
enum Route {
    Shared,
    /// One upstream, if it is reachable and ready. Ejection and content failures do not matter
    /// here, because there is no alternative.
    One(Option<Candidate>),
    /// One upstream that is reloading its catalog and serves afterwards.
    Returning(UpstreamId),
}

/// An upstream without any verdict yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Awaited<'u> {
    pub(super) upstream: &'u Upstream,
    /// The part it would have in serving reads.
    pub(super) reads: Reads,
    /// Deadline of the wait for its first verdict.
    pub(super) until: Instant,
}

/// Position in the rotation among equal candidates. It has cache lines of its own because every
/// request writes it.
#[derive(Debug)]
#[repr(align(128))]
struct Rotation(AtomicUsize);

impl Rotation {
    fn next(&self) -> usize {
        self.0.fetch_add(1, Ordering::Relaxed)
    }
}

/// The upstream selected for one attempt, and the slot taken on it.
#[derive(Debug)]
pub struct Selection {
    pub upstream: Arc<Upstream>,
    pub lease: Lease,
    /// True if the latency of this attempt is a sample for the upstream's learned cap.
    pub teaches_cap: bool,
}

/// The reason why no upstream takes the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoUpstream {
    /// No upstream of the right role is up and ready.
    NoneEligible,
    /// All eligible upstreams were tried already.
    AllTried,
    /// Eligible upstreams exist but have no free slot, or the only eligible one is reloading its
    /// catalog. The request should wait.
    Full,
    /// No upstream is known to serve the class yet, but the first probe of one is under way. A
    /// short wait is worthwhile.
    NoVerdict,
}

impl NoUpstream {
    /// Whether an upstream may serve the request later.
    pub const fn is_worth_a_wait(self) -> bool {
        match self {
            Self::Full | Self::NoVerdict => true,
            Self::NoneEligible | Self::AllTried => false,
        }
    }
}

/// The result of examining some upstreams.
enum Found {
    Taken(Selection),
    /// Eligible upstreams exist, but none has a free slot.
    Full,
    Nobody,
}

/// Upstreams of equal rank in serving a class.
struct Tier<'s> {
    candidates: &'s [Candidate],
    /// True if this tier also serves when the tier before it is full, and not only when that tier
    /// is empty.
    relieves: bool,
}

/// Second opinions that the main gives above its concurrency limit.
const MAX_OPINIONS: u32 = 8;
/// Highest load of a preferred fresh upstream while others are stale, in percent of the mean load.
const FRESH_LOAD_PERCENT: u32 = 125;

/// Lost races for a slot within one selection, after which the selection reports all upstreams as
/// full. The request then waits and selects again.
const MAX_RACES: usize = 8;

impl Snapshot {
    /// Builds the snapshot. `turn` is the start of the rotation among equals.
    pub(super) fn new(
        revision: u64,
        config: Arc<Config>,
        candidates: &[Candidate],
        (awaited, returning): (&[Awaited<'_>], &[&Upstream]),
        (tickets, concern): (Tickets, Concern),
        turn: usize,
    ) -> Self {
        let those = |belongs: &dyn Fn(&Candidate) -> bool| {
            candidates
                .iter()
                .filter(|candidate| belongs(candidate))
                .cloned()
                .collect()
        };
        let with = |reads| {
            those(&|candidate| candidate.standing.reads == reads && !candidate.standing.helps)
        };
        let is_first = |standing: &Standing| standing.reads == Reads::First || standing.helps;
        let first = |is_fresh| {
            those(&|candidate| {
                is_first(&candidate.standing) && candidate.standing.is_fresh == is_fresh
            })
        };
        Self {
            revision,
            tickets,
            fresh: first(true),
            stale: first(false),
            first: those(&|candidate| is_first(&candidate.standing)),
            concern,
            backup: with(Reads::Backup),
            main: those(&|candidate| {
                candidate.upstream.is_main()
                    && candidate.standing.passes
                    && !candidate.standing.is_reading_catalog
            }),
            on_trial: with(Reads::OnTrial),
            routes: PerClass::from_fn(|class| route(&config, class, candidates, returning)),
            awaited: PerClass::from_fn(|class| awaited_until(&config, class, awaited)),
            demands: PerClass::from_fn(|class| Demand::of(class, config.classes[class].priority)),
            rotation: Rotation(AtomicUsize::new(turn)),
            keys: Arc::default(),
            config,
        }
    }

    /// Selects the eligible upstream with the least in flight for its weight, and takes a slot on
    /// it.
    pub fn select(
        &self,
        class: RequestClass,
        tried: &Tried,
        now: Instant,
    ) -> Result<Selection, NoUpstream> {
        self.select_for(class, None, tried, now)
    }

    /// Selects as [`Self::select`] does, for one of the requests that have `key` in common
    /// (`near.rs`).
    pub fn select_for(
        &self,
        class: RequestClass,
        key: Option<u64>,
        tried: &Tried,
        now: Instant,
    ) -> Result<Selection, NoUpstream> {
        self.select_about(class, About::Anything, (key, false), tried, now)
    }

    /// Selects as [`Self::select_for`] does, while no request is waiting. Requests of `key` may
    /// then exceed the slots of an upstream that already serves some of them.
    pub fn select_joining(
        &self,
        class: RequestClass,
        key: u64,
        tried: &Tried,
        now: Instant,
    ) -> Result<Selection, NoUpstream> {
        self.select_about(class, About::Anything, (Some(key), true), tried, now)
    }

    /// Selects an upstream for a request with a known subject `about`. `key` is the key it shares
    /// with others, and whether it may join them on an upstream without a free slot.
    pub fn select_about(
        &self,
        class: RequestClass,
        about: About,
        key: (Option<u64>, bool),
        tried: &Tried,
        now: Instant,
    ) -> Result<Selection, NoUpstream> {
        let (near, demand) = (self.wish_of(class, key.0, key.1), self.demands[class]);
        let found = match &self.routes[class] {
            Route::Shared => self.select_shared(class, about, near, tried, now),
            Route::One(Some(candidate)) if !candidate.is_out(tried) => candidate
                .lease(demand, now)
                .map_or(Found::Full, Found::Taken),
            Route::Returning(id) if !tried.contains(*id) => Found::Full,
            Route::One(_) | Route::Returning(_) => Found::Nobody,
        };
        self.concluded(found, class, tried)
            .map_err(|why| match why {
                NoUpstream::NoneEligible if self.awaits_verdict(class, now) => {
                    NoUpstream::NoVerdict
                }
                why => why,
            })
    }

    /// Selects the main and takes a slot on it, whatever the class: a client that just changed the
    /// catalog must see its change.
    pub fn select_main(
        &self,
        class: RequestClass,
        tried: &Tried,
        now: Instant,
    ) -> Result<Selection, NoUpstream> {
        let found = match self.main.iter().find(|candidate| !candidate.is_out(tried)) {
            Some(main) => main
                .lease(self.demands[class], now)
                .map_or(Found::Full, Found::Taken),
            None => Found::Nobody,
        };
        self.concluded(found, class, tried)
    }

    /// Selects the main for a second opinion about another upstream's answer, if need be up to
    /// [`MAX_OPINIONS`] slots above the main's limit. The answer at hand may be wrong, and second
    /// opinions have a budget of their own.
    pub fn select_main_for_opinion(
        &self,
        class: RequestClass,
        tried: &Tried,
        now: Instant,
    ) -> Result<Selection, NoUpstream> {
        let demand = self.demands[class];
        let found = match self.main.iter().find(|candidate| !candidate.is_out(tried)) {
            Some(main) => {
                let limits = main.slot_limits(demand, now).and(MAX_OPINIONS);
                main.lease_in(limits, demand)
                    .map_or(Found::Full, Found::Taken)
            }
            None => Found::Nobody,
        };
        self.concluded(found, class, tried)
    }

    fn concluded(
        &self,
        found: Found,
        class: RequestClass,
        tried: &Tried,
    ) -> Result<Selection, NoUpstream> {
        match found {
            Found::Taken(selection) => Ok(selection),
            Found::Full => Err(NoUpstream::Full),
            Found::Nobody if self.is_any_tried(class, tried) => Err(NoUpstream::AllTried),
            Found::Nobody => Err(NoUpstream::NoneEligible),
        }
    }

    fn is_any_tried(&self, class: RequestClass, tried: &Tried) -> bool {
        let mut candidates = self
            .in_full(class)
            .chain(self.trials(class, false).filter(|_| self.is_shared(class)));
        candidates.any(|candidate| candidate.is_tried(tried))
    }

    /// True if the main or a fresh upstream can give a second opinion about the answer of
    /// `upstream`.
    pub fn others_know_better(&self, upstream: &Upstream, tried: &Tried) -> bool {
        let knows = |candidate: &Candidate| {
            candidate.upstream.id != upstream.id && !candidate.is_tried(tried)
        };
        self.main.iter().any(knows) || self.is_stale(upstream) && self.fresh.iter().any(knows)
    }

    /// True if `upstream` serves although it lacks a change.
    pub fn is_stale(&self, upstream: &Upstream) -> bool {
        self.stale
            .iter()
            .any(|candidate| candidate.upstream.id == upstream.id)
    }

    /// True if a request about `about` may get another answer from a stale upstream than from a
    /// fresh one.
    pub fn is_concerned(&self, about: About) -> bool {
        self.concern.touches(about)
    }

    /// True if it is worth finding out the workspace of a request.
    pub fn tells_workspaces_apart(&self) -> bool {
        !self.stale.is_empty() && self.concern.is_narrow()
    }

    /// Selects a fresh upstream or the main, and takes a slot on it.
    pub fn select_fresh(
        &self,
        class: RequestClass,
        tried: &Tried,
        now: Instant,
    ) -> Result<Selection, NoUpstream> {
        let main = self.select_main_for_opinion(class, tried, now);
        if main.is_ok() {
            return main;
        }
        let fresh = self.choose(
            &self.fresh,
            self.demands[class],
            None,
            (tried, &|_| true),
            now,
        );
        match (fresh, main) {
            (Found::Taken(selection), _) => Ok(selection),
            (Found::Full, _) | (_, Err(NoUpstream::Full)) => Err(NoUpstream::Full),
            (Found::Nobody, main) => main,
        }
    }

    /// True if `other` is the very same view.
    pub fn is(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }

    /// True if [`Self::select`] would find an upstream, if only after a wait for a slot. Takes no
    /// slot.
    pub fn has_place(&self, class: RequestClass, tried: &Tried) -> bool {
        let is_open =
            |candidate: &&Candidate| !candidate.is_tried(tried) && !candidate.load.is_closed();
        let mut trials = self
            .trials(class, true)
            .filter(|candidate| self.is_shared(class) && is_open(candidate));
        let returns = matches!(&self.routes[class], Route::Returning(id) if !tried.contains(*id));
        returns
            || self.in_full(class).any(|candidate| is_open(&candidate))
            || trials.next().is_some()
    }

    /// Returns the upstreams that serve `class` in full now.
    pub fn serving(&self, class: RequestClass) -> impl Iterator<Item = &Arc<Upstream>> {
        self.in_full(class).map(|candidate| &candidate.upstream)
    }

    /// True if the first probe of an upstream that may serve `class` is still worth waiting for.
    pub fn awaits_verdict(&self, class: RequestClass, now: Instant) -> bool {
        self.awaited[class].is_some_and(|until| now < until)
    }

    /// True if any request would be served. `/readyz` reports this.
    pub fn would_serve(&self) -> bool {
        RequestClass::ALL
            .into_iter()
            .any(|class| self.serving(class).next().is_some())
    }

    fn select_shared(
        &self,
        class: RequestClass,
        about: About,
        near: Option<Near>,
        tried: &Tried,
        now: Instant,
    ) -> Found {
        let demand = self.demands[class];
        let trial = |is_last_resort: bool| {
            let may_have =
                |candidate: &&Candidate| is_last_resort || candidate.standing.tries(demand, now);
            let is_free =
                |candidate: &&Candidate| !candidate.is_out(tried) && !candidate.load.is_on_trial();
            let trials = || {
                self.trials(class, is_last_resort)
                    .filter(is_free)
                    .filter(may_have)
            };
            let taken = trials().find_map(|candidate| candidate.lease_trial(demand, now));
            let otherwise = if trials().next().is_some() {
                Found::Full
            } else {
                Found::Nobody
            };
            taken.map_or(otherwise, Found::Taken)
        };
        let serving = || self.serve(class, about, near, tried, now);
        let found = if tried.is_empty() {
            trial(false).or_else(serving)
        } else {
            serving().or_else(|| trial(false))
        };
        if matches!(found, Found::Nobody) {
            trial(true).or_else(|| {
                // Another request's trial is worth waiting for when there is no other upstream.
                let is_tried_by_another = self
                    .trials(class, true)
                    .any(|candidate| !candidate.is_out(tried));
                if is_tried_by_another {
                    Found::Full
                } else {
                    Found::Nobody
                }
            })
        } else {
            found
        }
    }

    fn serve(
        &self,
        class: RequestClass,
        about: About,
        near: Option<Near>,
        tried: &Tried,
        now: Instant,
    ) -> Found {
        let is_mixed = !self.fresh.is_empty() && !self.stale.is_empty();
        if is_mixed
            && class != RequestClass::Capabilities
            && self.config.catalog.stale == StalePolicy::Serve
        {
            self.serve_mixed(class, about, near, tried, now)
        } else {
            self.serve_by_tiers(class, near, tried, now)
        }
    }

    /// Selects among the fresh within the bound, then among all, and uses the backup if there are
    /// none.
    fn serve_mixed(
        &self,
        class: RequestClass,
        about: About,
        near: Option<Near>,
        tried: &Tried,
        now: Instant,
    ) -> Found {
        let demand = self.demands[class];
        if self.concern.touches(about) {
            let mean = Mean::of(
                self.first
                    .iter()
                    .filter(|candidate| !candidate.is_out(tried))
                    .map(|candidate| candidate.load_sample(now)),
            );
            let is_within = |candidate: &Candidate| {
                mean.allows(candidate.load_sample(now), FRESH_LOAD_PERCENT, 0)
            };
            let fresh = self.choose(&self.fresh, demand, near, (tried, &is_within), now);
            if matches!(fresh, Found::Taken(_)) {
                return fresh;
            }
        }
        match self.choose(&self.first, demand, near, (tried, &|_| true), now) {
            Found::Nobody => self.choose(&self.backup, demand, near, (tried, &|_| true), now),
            found => found,
        }
    }

    fn serve_by_tiers(
        &self,
        class: RequestClass,
        near: Option<Near>,
        tried: &Tried,
        now: Instant,
    ) -> Found {
        let mut found = Found::Nobody;
        for Tier {
            candidates,
            relieves,
        } in self.tiers(class)
        {
            if matches!(found, Found::Full) && !relieves {
                break;
            }
            found = found.or_else(|| {
                self.choose(
                    candidates,
                    self.demands[class],
                    near,
                    (tried, &|_| true),
                    now,
                )
            });
            if matches!(found, Found::Taken(_)) {
                break;
            }
        }
        found
    }

    /// Returns the tiers that serve a shared class, the preferred ones first.
    fn tiers(&self, class: RequestClass) -> [Tier<'_>; 3] {
        let tier = |candidates| Tier {
            candidates,
            relieves: false,
        };
        let (fresh, backup, main) = (tier(&self.fresh), tier(&self.backup), tier(&self.main));
        let (stale, nobody) = (tier(&self.stale), tier(&[]));
        match (class, self.config.catalog.stale) {
            (RequestClass::Capabilities, StalePolicy::Serve) => [fresh, main, stale],
            (RequestClass::Capabilities, StalePolicy::Avoid) => [fresh, main, nobody],
            (_, StalePolicy::Serve) => [
                fresh,
                Tier {
                    relieves: true,
                    ..stale
                },
                backup,
            ],
            (_, StalePolicy::Avoid) => [fresh, backup, stale],
        }
    }

    /// Returns the upstreams that may get a request of a shared class as their trial. Stale ones
    /// serve capabilities only as the last resort.
    fn trials(
        &self,
        class: RequestClass,
        is_last_resort: bool,
    ) -> impl Iterator<Item = &Candidate> {
        let stale = is_last_resort && self.config.catalog.stale == StalePolicy::Serve;
        let may_be_stale = stale || class != RequestClass::Capabilities;
        self.on_trial
            .iter()
            .filter(move |candidate| may_be_stale || candidate.standing.is_fresh)
    }

    /// Chooses among the untried candidates that `allowed` accepts.
    fn choose(
        &self,
        candidates: &[Candidate],
        demand: Demand,
        near: Option<Near>,
        (tried, allowed): (&Tried, &dyn Fn(&Candidate) -> bool),
        now: Instant,
    ) -> Found {
        if let Some(selection) = self.take_recovery_trial(candidates, demand, tried, now) {
            return Found::Taken(selection);
        }
        for _ in 0..MAX_RACES {
            let chosen = match near {
                Some(near) => self.nearest(candidates, demand, near, (tried, allowed), now),
                None => self.least_loaded(candidates, demand, (tried, allowed), now),
            };
            match chosen {
                Some(Some(selection)) => return Found::Taken(selection),
                // Another request took the slot, or the upstream was closed.
                Some(None) => {}
                None if candidates.iter().any(|candidate| !candidate.is_out(tried)) => {
                    return Found::Full;
                }
                None => return Found::Nobody,
            }
        }
        Found::Full
    }

    /// Takes a slot on the candidate with the least load. Returns `None` if none has a free slot,
    /// and `Some(None)` if the chosen one has lost its free slot meanwhile.
    fn least_loaded(
        &self,
        candidates: &[Candidate],
        demand: Demand,
        (tried, allowed): (&Tried, &dyn Fn(&Candidate) -> bool),
        now: Instant,
    ) -> Option<Option<Selection>> {
        let start = if candidates.len() > 1 {
            self.rotation.next()
        } else {
            0
        };
        // The cheapest candidate usually has a free slot, and in that case no other cap is
        // examined.
        let cheapest = &candidates[pick_by(
            candidates.len(),
            |at| {
                candidates[at]
                    .offer(tried, now)
                    .filter(|_| allowed(&candidates[at]))
            },
            start,
        )?];
        if let Some(selection) = cheapest.lease(demand, now) {
            return Some(Some(selection));
        }
        let has_slot =
            |candidate: &Candidate| candidate.has_slot(demand, tried, now) && allowed(candidate);
        let candidate =
            |at: usize| has_slot(&candidates[at]).then(|| candidates[at].load_sample(now));
        let chosen = &candidates[pick_by(candidates.len(), candidate, start)?];
        Some(chosen.lease(demand, now))
    }

    fn is_shared(&self, class: RequestClass) -> bool {
        matches!(self.routes[class], Route::Shared)
    }

    /// Returns the upstreams that serve `class` other than as their trial.
    fn in_full(&self, class: RequestClass) -> impl Iterator<Item = &Candidate> {
        let (one, shared) = match &self.routes[class] {
            Route::One(candidate) => (candidate.as_ref(), None),
            Route::Returning(_) => (None, None),
            Route::Shared => (
                None,
                Some(
                    self.tiers(class)
                        .into_iter()
                        .flat_map(|tier| tier.candidates),
                ),
            ),
        };
        one.into_iter().chain(shared.into_iter().flatten())
    }
}

fn awaited_until(config: &Config, class: RequestClass, awaited: &[Awaited<'_>]) -> Option<Instant> {
    let may_serve = |upstream: &Awaited<'_>| match &config.classes[class].served_by {
        ServedBy::Replicas => upstream.reads != Reads::No,
        ServedBy::Main => upstream.upstream.is_main(),
        ServedBy::Upstream(name) => upstream.upstream.name == *name,
    };
    awaited
        .iter()
        .filter(|upstream| may_serve(upstream))
        .map(|upstream| upstream.until)
        .max()
}

fn route(
    config: &Config,
    class: RequestClass,
    candidates: &[Candidate],
    returning: &[&Upstream],
) -> Route {
    let one = |is_it: &dyn Fn(&Upstream) -> bool| {
        Route::One(
            candidates
                .iter()
                .find(|candidate| is_it(&candidate.upstream))
                .cloned(),
        )
    };
    match &config.classes[class].served_by {
        ServedBy::Replicas => Route::Shared,
        ServedBy::Main => one(&Upstream::is_main),
        ServedBy::Upstream(name) => {
            match returning.iter().find(|upstream| upstream.name == *name) {
                Some(upstream) => Route::Returning(upstream.id),
                None => one(&|upstream| upstream.name == *name),
            }
        }
    }
}

impl Found {
    fn or_else(self, other: impl FnOnce() -> Self) -> Self {
        match self {
            Self::Taken(selection) => Self::Taken(selection),
            Self::Nobody => other(),
            Self::Full => match other() {
                Self::Taken(selection) => Self::Taken(selection),
                Self::Full | Self::Nobody => Self::Full,
            },
        }
    }
}
