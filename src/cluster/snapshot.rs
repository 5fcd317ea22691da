//! The immutable view that requests read.
//!
//! It holds only upstreams that are reachable and ready, already sorted by who may serve what, so
//! that a choice looks at nothing but loads and weights, allocates nothing and takes no lock.
//!
//! Classes served by one place go there or nowhere. For all others: an upstream on trial gets the
//! first request of priority 0 that comes, after a second one of priority 1, after half a minute
//! any (without that preference it might wait for its trial for ever), then the least loaded of the
//! fresh, then, as `catalog.stale` has it, of the stale before the main that serves as backup, or
//! after it. Capabilities are listed by the fresh and the main before anybody else. A request that
//! has failed once is not used for a trial unless no other upstream is left; then it even waits
//! for the end of another's trial. A class that one replica serves waits while that reloads its
//! catalog. While some are stale, the fresh are preferred within a bound of their load, for
//! requests that the change concerns: without the bound the first fresh one would get everything
//! until it is full. All others take those with the least in flight, fresh or not. Requests that
//! belong together take the one that is theirs (`near.rs`).
//!
//! Whoever has no place left for a request is passed over. When that leaves nobody, the request
//! waits ([`NoUpstream::Full`]): only from the fresh to the stale does it go on, where they serve.
//! The backup is there for when nobody else is, and would not be when it drowns in what the others
//! cannot take.

mod near;
mod place;
mod slow;
mod tried;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use self::near::Near;
pub(super) use self::place::{CapSource, Place, Reads, Standing};
pub use self::tried::Tried;
use super::{About, Concern, Tickets, Upstream, UpstreamId};
use crate::balance::{
    Candidate, Caps, Demand, KeysInFlight, LearnedCap, Lease, Load, Mean, Room, Shares, pick_by,
    seed_of,
};
use crate::config::{Config, Limits, MaxInFlight, ServedBy, StalePolicy, Weight};
use crate::health::Warmup;
use crate::ogc::{PerClass, RequestClass};

/// Configuration and upstreams of one revision: one swap, so a reader never sees new upstreams with
/// old health.
#[derive(Debug)]
pub struct Snapshot {
    pub revision: u64,
    pub config: Arc<Config>,
    /// How far hints at changes of the catalog have been followed up.
    pub tickets: Tickets,
    /// Those who serve what several may serve, and are fresh.
    fresh: Box<[Place]>,
    /// Those of them who are stale.
    stale: Box<[Place]>,
    /// All of them.
    first: Box<[Place]>,
    /// What is different on the stale ones.
    concern: Concern,
    /// Those who do when none of the first can.
    backup: Box<[Place]>,
    /// The main, whatever it serves otherwise.
    main: Box<[Place]>,
    /// Those who are half-open.
    on_trial: Box<[Place]>,
    routes: PerClass<Route>,
    /// Until when the first verdict about an upstream that may serve the class is worth waiting
    /// for.
    awaited: PerClass<Option<Instant>>,
    demands: PerClass<Demand>,
    rotation: Rotation,
    /// Begins anew with every snapshot: what it then does not know costs a request or two a second
    /// choice.
    keys: Arc<KeysInFlight>,
}

/// Who serves a class.
#[derive(Clone, Debug)]
enum Route {
    Shared,
    /// One place, if it is reachable and ready. Its ejection and its content do not matter: there
    /// is nobody else to go to.
    One(Option<Place>),
    /// One place that reloads its catalog, and serves afterwards.
    Returning(UpstreamId),
}

/// An upstream about which nothing is known yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Awaited<'u> {
    pub(super) upstream: &'u Upstream,
    /// The part it would have.
    pub(super) reads: Reads,
    /// When waiting for its first verdict is over.
    pub(super) until: Instant,
}

/// Whose turn it is among equals. On its own cache lines, because every request writes it.
#[derive(Debug)]
#[repr(align(128))]
struct Rotation(AtomicUsize);

impl Rotation {
    fn next(&self) -> usize {
        self.0.fetch_add(1, Ordering::Relaxed)
    }
}

/// One attempt's upstream and its place on it.
#[derive(Debug)]
pub struct Selection {
    pub upstream: Arc<Upstream>,
    pub lease: Lease,
    /// How long it takes tells something about the upstream's cap.
    pub teaches_cap: bool,
}

/// Why nobody takes the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoUpstream {
    /// Nobody of the right role is up and ready.
    NoneEligible,
    /// All who could were tried already.
    AllTried,
    /// Somebody could, but has no place left, or the only one that may reloads its catalog: worth
    /// waiting for.
    Full,
    /// No upstream is known to serve it yet, but the first probe of one is under way: worth a short
    /// wait.
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

/// What became of a look at some upstreams.
enum Found {
    Taken(Selection),
    /// Somebody could, but has no place left.
    Full,
    Nobody,
}

/// Upstreams of one rank in serving a class.
struct Tier<'s> {
    places: &'s [Place],
    /// They also serve when those of the rank before are full, and not only when there are none.
    relieves: bool,
}

/// Second opinions that the main gives above its limit.
const MAX_OPINIONS: u32 = 8;
/// While others are stale, the most that a preferred fresh one has, in percent of the mean load.
const FRESH_LOAD_PERCENT: u32 = 125;

/// Places taken by others under one choice's hands, after which it calls everybody full. (It then
/// waits, and looks again.)
const MOST_RACES: usize = 8;

impl Snapshot {
    /// `turn` is where the rotation among equals begins.
    pub(super) fn new(
        revision: u64,
        config: Arc<Config>,
        places: &[Place],
        (awaited, returning): (&[Awaited<'_>], &[&Upstream]),
        (tickets, concern): (Tickets, Concern),
        turn: usize,
    ) -> Self {
        let those = |belongs: &dyn Fn(&Place) -> bool| {
            places
                .iter()
                .filter(|place| belongs(place))
                .cloned()
                .collect()
        };
        let with = |reads| those(&|place| place.standing.reads == reads && !place.standing.helps);
        let is_first = |standing: &Standing| standing.reads == Reads::First || standing.helps;
        let first = |is_fresh| {
            those(&|place| is_first(&place.standing) && place.standing.is_fresh == is_fresh)
        };
        Self {
            revision,
            tickets,
            fresh: first(true),
            stale: first(false),
            first: those(&|place| is_first(&place.standing)),
            concern,
            backup: with(Reads::Backup),
            main: those(&|place| {
                place.upstream.is_main()
                    && place.standing.passes
                    && !place.standing.is_reading_catalog
            }),
            on_trial: with(Reads::OnTrial),
            routes: PerClass::from_fn(|class| route(&config, class, places, returning)),
            awaited: PerClass::from_fn(|class| awaited_until(&config, class, awaited)),
            demands: PerClass::from_fn(|class| Demand::of(class, config.classes[class].priority)),
            rotation: Rotation(AtomicUsize::new(turn)),
            keys: Arc::default(),
            config,
        }
    }

    /// The eligible upstream with the least in flight for its weight, and a place on it.
    pub fn select(
        &self,
        class: RequestClass,
        tried: &Tried,
        now: Instant,
    ) -> Result<Selection, NoUpstream> {
        self.select_for(class, None, tried, now)
    }

    /// [`Self::select`] for one of the requests that have `key` in common: see `near.rs`.
    pub fn select_for(
        &self,
        class: RequestClass,
        key: Option<u64>,
        tried: &Tried,
        now: Instant,
    ) -> Result<Selection, NoUpstream> {
        self.select_about(class, About::Anything, (key, false), tried, now)
    }

    /// [`Self::select_for`] while nobody waits: then those of `key` may be more than there are
    /// places, where some of them are.
    pub fn select_joining(
        &self,
        class: RequestClass,
        key: u64,
        tried: &Tried,
        now: Instant,
    ) -> Result<Selection, NoUpstream> {
        self.select_about(class, About::Anything, (Some(key), true), tried, now)
    }

    /// Both, for a request of which it is known what it is about. `key`: what it has in common with
    /// others, and whether it may join them where there is no place left.
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
            Route::One(Some(place)) if !place.is_out(tried) => {
                place.lease(demand, now).map_or(Found::Full, Found::Taken)
            }
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

    /// The main and a place on it, whatever the class: who just changed the catalog must see the
    /// change.
    pub fn select_main(
        &self,
        class: RequestClass,
        tried: &Tried,
        now: Instant,
    ) -> Result<Selection, NoUpstream> {
        let found = match self.main.iter().find(|place| !place.is_out(tried)) {
            Some(main) => main
                .lease(self.demands[class], now)
                .map_or(Found::Full, Found::Taken),
            None => Found::Nobody,
        };
        self.concluded(found, class, tried)
    }

    /// [`Self::select_main`] for a second opinion about another upstream's answer, if need be up to
    /// [`MAX_OPINIONS`] places above the main's limit. The answer at hand may be wrong, and second
    /// opinions have a budget of their own.
    pub fn select_main_for_opinion(
        &self,
        class: RequestClass,
        tried: &Tried,
        now: Instant,
    ) -> Result<Selection, NoUpstream> {
        let demand = self.demands[class];
        let found = match self.main.iter().find(|place| !place.is_out(tried)) {
            Some(main) => {
                let room = main.room(demand, now).and(MAX_OPINIONS);
                main.lease_in(room, demand)
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
        let mut places = self
            .in_full(class)
            .chain(self.trials(class, false).filter(|_| self.is_shared(class)));
        places.any(|place| place.is_tried(tried))
    }

    /// Whether the main, or a fresh one, can be asked for a second opinion about `upstream`'s
    /// answer.
    pub fn others_know_better(&self, upstream: &Upstream, tried: &Tried) -> bool {
        let knows = |place: &Place| place.upstream.id != upstream.id && !place.is_tried(tried);
        self.main.iter().any(knows) || self.is_stale(upstream) && self.fresh.iter().any(knows)
    }

    /// Whether `upstream` serves although it lacks a change.
    pub fn is_stale(&self, upstream: &Upstream) -> bool {
        self.stale
            .iter()
            .any(|place| place.upstream.id == upstream.id)
    }

    /// Whether a request about `about` may get another answer from a stale one than from a fresh
    /// one.
    pub fn is_concerned(&self, about: About) -> bool {
        self.concern.touches(about)
    }

    /// Whether it is worth finding out what a request is about.
    pub fn tells_workspaces_apart(&self) -> bool {
        !self.stale.is_empty() && self.concern.is_narrow()
    }

    /// A fresh one and a place on it, or the main.
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

    /// Whether it is the very same view.
    pub fn is(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }

    /// Whether [`Self::select`] would find somebody, if only after a wait for a place; takes none.
    pub fn has_place(&self, class: RequestClass, tried: &Tried) -> bool {
        let is_open = |place: &&Place| !place.is_tried(tried) && !place.load.is_closed();
        let mut trials = self
            .trials(class, true)
            .filter(|place| self.is_shared(class) && is_open(place));
        let returns = matches!(&self.routes[class], Route::Returning(id) if !tried.contains(*id));
        returns || self.in_full(class).any(|place| is_open(&place)) || trials.next().is_some()
    }

    /// Those who serve `class` in full now.
    pub fn serving(&self, class: RequestClass) -> impl Iterator<Item = &Arc<Upstream>> {
        self.in_full(class).map(|place| &place.upstream)
    }

    /// Whether the first probe of an upstream that may serve `class` is still worth waiting for.
    pub fn awaits_verdict(&self, class: RequestClass, now: Instant) -> bool {
        self.awaited[class].is_some_and(|until| now < until)
    }

    /// Whether any request would be served: what `/readyz` says.
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
            let may_have = |place: &&Place| is_last_resort || place.standing.tries(demand, now);
            let is_free = |place: &&Place| !place.is_out(tried) && !place.load.is_on_trial();
            let trials = || {
                self.trials(class, is_last_resort)
                    .filter(is_free)
                    .filter(may_have)
            };
            let taken = trials().find_map(|place| place.lease_trial(demand, now));
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
                // The trial of another request is worth waiting for where there is nothing else.
                let is_tried_by_another =
                    self.trials(class, true).any(|place| !place.is_out(tried));
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

    /// The fresh within the bound, then all; the backup where there is none of them.
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
                    .filter(|place| !place.is_out(tried))
                    .map(|place| place.candidate(now)),
            );
            let is_within =
                |place: &Place| mean.allows(place.candidate(now), FRESH_LOAD_PERCENT, 0);
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
        for Tier { places, relieves } in self.tiers(class) {
            if matches!(found, Found::Full) && !relieves {
                break;
            }
            found = found.or_else(|| {
                self.choose(places, self.demands[class], near, (tried, &|_| true), now)
            });
            if matches!(found, Found::Taken(_)) {
                break;
            }
        }
        found
    }

    /// Who serves a shared class, those first who are preferred.
    fn tiers(&self, class: RequestClass) -> [Tier<'_>; 3] {
        let tier = |places| Tier {
            places,
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

    /// Upstreams that may get a request of a shared class as their trial. Stale ones list
    /// capabilities only as the last resort.
    fn trials(&self, class: RequestClass, is_last_resort: bool) -> impl Iterator<Item = &Place> {
        let stale = is_last_resort && self.config.catalog.stale == StalePolicy::Serve;
        let may_be_stale = stale || class != RequestClass::Capabilities;
        self.on_trial
            .iter()
            .filter(move |place| may_be_stale || place.standing.is_fresh)
    }

    /// Of those untried that `allowed` allows.
    fn choose(
        &self,
        places: &[Place],
        demand: Demand,
        near: Option<Near>,
        (tried, allowed): (&Tried, &dyn Fn(&Place) -> bool),
        now: Instant,
    ) -> Found {
        if let Some(selection) = self.take_recovery_trial(places, demand, tried, now) {
            return Found::Taken(selection);
        }
        for _ in 0..MOST_RACES {
            let chosen = match near {
                Some(near) => self.nearest(places, demand, near, (tried, allowed), now),
                None => self.least_loaded(places, demand, (tried, allowed), now),
            };
            match chosen {
                Some(Some(selection)) => return Found::Taken(selection),
                // Somebody else took the place, or the door was closed.
                Some(None) => {}
                None if places.iter().any(|place| !place.is_out(tried)) => return Found::Full,
                None => return Found::Nobody,
            }
        }
        Found::Full
    }

    /// `None` if nobody has a place; nothing inside if the chosen one has none any more.
    fn least_loaded(
        &self,
        places: &[Place],
        demand: Demand,
        (tried, allowed): (&Tried, &dyn Fn(&Place) -> bool),
        now: Instant,
    ) -> Option<Option<Selection>> {
        let start = if places.len() > 1 {
            self.rotation.next()
        } else {
            0
        };
        // Whoever costs least of all has a place, most of the time: then nobody else's cap is
        // looked at.
        let cheapest = &places[pick_by(
            places.len(),
            |at| {
                places[at]
                    .offer(tried, now)
                    .filter(|_| allowed(&places[at]))
            },
            start,
        )?];
        if let Some(selection) = cheapest.lease(demand, now) {
            return Some(Some(selection));
        }
        let has_place = |place: &Place| place.has_place(demand, tried, now) && allowed(place);
        let candidate = |at: usize| has_place(&places[at]).then(|| places[at].candidate(now));
        let chosen = &places[pick_by(places.len(), candidate, start)?];
        Some(chosen.lease(demand, now))
    }

    fn is_shared(&self, class: RequestClass) -> bool {
        matches!(self.routes[class], Route::Shared)
    }

    /// Those who serve `class` otherwise than as their trial.
    fn in_full(&self, class: RequestClass) -> impl Iterator<Item = &Place> {
        let (one, shared) = match &self.routes[class] {
            Route::One(place) => (place.as_ref(), None),
            Route::Returning(_) => (None, None),
            Route::Shared => (
                None,
                Some(self.tiers(class).into_iter().flat_map(|tier| tier.places)),
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

fn route(config: &Config, class: RequestClass, places: &[Place], returning: &[&Upstream]) -> Route {
    let one = |is_it: &dyn Fn(&Upstream) -> bool| {
        Route::One(places.iter().find(|place| is_it(&place.upstream)).cloned())
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
