//! The immutable view that requests read.
//!
//! It holds only upstreams that are up and ready, already sorted by who may serve what, so that a choice looks at nothing but
//! loads and weights, allocates nothing and takes no lock.
//!
//! Classes served by one place go there or nowhere. For all others: an upstream on trial gets the first request that comes
//! (without that preference a light one might wait for its trial forever), then the least loaded of the fresh, then, as
//! `catalog.stale` has it, of the stale before the main that serves as backup, or after it. Capabilities are listed by the
//! fresh and the main before anybody else. A request that has failed once is not used for a trial unless nobody else is left.
//! Requests that belong together take the one that is theirs (`near.rs`).

mod near;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use super::{Ticket, Upstream, UpstreamId};
use crate::balance::{Candidate, KeysInFlight, Lease, Load, Room, Wish, pick_by, seed_of};
use crate::config::{Config, ServedBy, StalePolicy, Weight};
use crate::health::Warmup;
use crate::ogc::{PerClass, RequestClass};

/// Configuration and upstreams of one revision: one swap, so a reader never sees new upstreams with old health.
#[derive(Debug)]
pub struct Snapshot {
    pub revision: u64,
    pub config: Arc<Config>,
    /// Hints at changes of the catalog up to this one are with everybody who serves.
    pub resolved: Ticket,
    /// Those who serve what several may serve, and are fresh.
    fresh: Box<[Place]>,
    /// Those of them who are stale.
    stale: Box<[Place]>,
    /// Those who do when none of the first can.
    backup: Box<[Place]>,
    /// The main, whatever it serves otherwise.
    main: Box<[Place]>,
    /// Those who are half-open.
    on_trial: Box<[Place]>,
    routes: PerClass<Route>,
    rotation: Rotation,
    /// Begins anew with every snapshot: what it then does not know costs a request or two a second choice.
    keys: Arc<KeysInFlight>,
}

/// Who serves a class.
#[derive(Clone, Debug)]
enum Route {
    Shared,
    /// One place, if it is up and ready. Its ejection does not matter: there is nobody else to go to.
    One(Option<Place>),
}

/// An upstream that is up and ready.
#[derive(Clone, Debug)]
pub(super) struct Place {
    upstream: Arc<Upstream>,
    /// The upstream's: one pointer less to follow for each candidate.
    load: Arc<Load>,
    standing: Standing,
    /// Stands for its name where keys choose: an upstream that moves to another address keeps what is its own.
    seed: u64,
}

/// What of an upstream's state requests can see.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Standing {
    pub(super) reads: Reads,
    pub(super) is_fresh: bool,
    pub(super) weight: Weight,
    pub(super) warmup: Option<Warmup>,
}

/// Its part in serving what several may serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reads {
    First,
    Backup,
    OnTrial,
    /// By configuration, or because it is ejected.
    No,
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
}

/// Why nobody takes the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoUpstream {
    /// Nobody of the right role is up and ready.
    NoneEligible,
    /// All who could were tried already.
    AllTried,
}

/// The upstreams one request has tried. Bounded: attempts are.
#[derive(Clone, Debug, Default)]
pub struct Tried {
    ids: [UpstreamId; Self::MAX],
    len: usize,
}

impl Tried {
    /// No request tries more often.
    pub const MAX: usize = 8;

    /// What comes after [`Self::MAX`] is not remembered.
    pub fn add(&mut self, id: UpstreamId) {
        if let Some(free) = self.ids.get_mut(self.len) {
            *free = id;
            self.len += 1;
        }
    }

    /// For an attempt that says nothing about its upstream: it may be asked again.
    pub fn remove(&mut self, id: UpstreamId) {
        if let Some(at) = self.ids[..self.len].iter().position(|tried| *tried == id) {
            self.ids.copy_within(at + 1..self.len, at);
            self.len -= 1;
        }
    }

    pub fn contains(&self, id: UpstreamId) -> bool {
        self.ids[..self.len].contains(&id)
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl Snapshot {
    /// `turn` is where the rotation among equals begins.
    pub(super) fn new(revision: u64, config: Arc<Config>, places: &[Place], resolved: Ticket, turn: usize) -> Self {
        let those = |belongs: &dyn Fn(&Place) -> bool| places.iter().filter(|place| belongs(place)).cloned().collect();
        let with = |reads| those(&|place| place.standing.reads == reads);
        let first = |is_fresh| those(&|place| place.standing.reads == Reads::First && place.standing.is_fresh == is_fresh);
        Self {
            revision,
            resolved,
            fresh: first(true),
            stale: first(false),
            backup: with(Reads::Backup),
            main: those(&|place| place.upstream.is_main()),
            on_trial: with(Reads::OnTrial),
            routes: PerClass::from_fn(|class| route(&config, class, places)),
            rotation: Rotation(AtomicUsize::new(turn)),
            keys: Arc::default(),
            config,
        }
    }

    /// The eligible upstream with the least in flight for its weight, and a place on it.
    pub fn select(&self, class: RequestClass, tried: &Tried, now: Instant) -> Result<Selection, NoUpstream> {
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
        let selection = match &self.routes[class] {
            Route::Shared => self.select_shared(class, self.wish(class, key), tried, now),
            Route::One(place) => place.as_ref().filter(|place| !place.is_tried(tried)).and_then(Place::lease),
        };
        selection.ok_or_else(|| self.nobody(class, tried))
    }

    /// The main and a place on it, whatever the class: who just changed the catalog must see the change.
    pub fn select_main(&self, tried: &Tried) -> Option<Selection> {
        self.main.iter().find(|place| !place.is_tried(tried)).and_then(Place::lease)
    }

    /// Whether the main can be asked for a second opinion about `upstream`'s answer.
    pub fn main_knows_better(&self, upstream: &Upstream, tried: &Tried) -> bool {
        self.main.iter().any(|main| main.upstream.id != upstream.id && !main.is_tried(tried))
    }

    /// Whether it is the very same view.
    pub fn is(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }

    /// Whether [`Self::select`] would find somebody; takes no place.
    pub fn has_place(&self, class: RequestClass, tried: &Tried) -> bool {
        let is_free =
            |place: &Place| place.standing.reads != Reads::OnTrial || !place.load.is_on_trial() || self.is_pinned(class);
        self.places(class).any(|place| !place.is_tried(tried) && is_free(place))
    }

    /// Those who serve `class` in full now.
    pub fn serving(&self, class: RequestClass) -> impl Iterator<Item = &Arc<Upstream>> {
        let is_pinned = self.is_pinned(class);
        let serves = move |place: &&Place| is_pinned || place.standing.reads != Reads::OnTrial;
        self.places(class).filter(serves).map(|place| &place.upstream)
    }

    /// Whether any request would be served: what `/readyz` says.
    pub fn would_serve(&self) -> bool {
        RequestClass::ALL.into_iter().any(|class| self.serving(class).next().is_some())
    }

    fn select_shared(&self, class: RequestClass, wish: Option<Wish>, tried: &Tried, now: Instant) -> Option<Selection> {
        let trial = || self.trials(class).filter(|place| !place.is_tried(tried)).find_map(Place::lease_trial);
        let choose = |tier: &[Place]| match wish {
            Some(wish) => self.nearest(tier, wish, tried, now),
            None => self.least_loaded(tier, tried, now),
        };
        let serving = || self.tiers(class).into_iter().find_map(choose);
        if tried.is_empty() { trial().or_else(serving) } else { serving().or_else(trial) }
    }

    /// Who serves a shared class, those first who are preferred.
    fn tiers(&self, class: RequestClass) -> [&[Place]; 3] {
        let (fresh, stale, backup) = (&*self.fresh, &*self.stale, &*self.backup);
        match (class, self.config.catalog.stale) {
            (RequestClass::Capabilities, StalePolicy::Serve) => [fresh, &self.main, stale],
            (RequestClass::Capabilities, StalePolicy::Avoid) => [fresh, &self.main, &[]],
            (_, StalePolicy::Serve) => [fresh, stale, backup],
            (_, StalePolicy::Avoid) => [fresh, backup, stale],
        }
    }

    /// Who may get a request of a shared class as its trial.
    fn trials(&self, class: RequestClass) -> impl Iterator<Item = &Place> {
        self.on_trial.iter().filter(move |place| class != RequestClass::Capabilities || place.standing.is_fresh)
    }

    fn least_loaded(&self, places: &[Place], tried: &Tried, now: Instant) -> Option<Selection> {
        let start = if places.len() > 1 { self.rotation.next() } else { 0 };
        let candidate = |at: usize| (!places[at].is_out(tried)).then(|| places[at].candidate(now));
        places[pick_by(places.len(), candidate, start)?].lease()
    }

    fn nobody(&self, class: RequestClass, tried: &Tried) -> NoUpstream {
        if self.places(class).any(|place| place.is_tried(tried)) { NoUpstream::AllTried } else { NoUpstream::NoneEligible }
    }

    fn is_pinned(&self, class: RequestClass) -> bool {
        matches!(self.routes[class], Route::One(_))
    }

    fn places(&self, class: RequestClass) -> impl Iterator<Item = &Place> {
        let (one, shared) = match &self.routes[class] {
            Route::One(place) => (place.as_ref(), None),
            Route::Shared => (None, Some(self.tiers(class).into_iter().flatten().chain(self.trials(class)))),
        };
        one.into_iter().chain(shared.into_iter().flatten())
    }
}

fn route(config: &Config, class: RequestClass, places: &[Place]) -> Route {
    let one = |is_it: &dyn Fn(&Upstream) -> bool| Route::One(places.iter().find(|place| is_it(&place.upstream)).cloned());
    match &config.classes[class].served_by {
        ServedBy::Replicas => Route::Shared,
        ServedBy::Main => one(&Upstream::is_main),
        ServedBy::Upstream(name) => one(&|upstream| upstream.name == *name),
    }
}

impl Place {
    pub(super) fn new(upstream: &Arc<Upstream>, standing: Standing) -> Self {
        let seed = seed_of(upstream.name.as_str());
        Self { upstream: Arc::clone(upstream), load: Arc::clone(&upstream.load), standing, seed }
    }

    #[inline]
    fn is_tried(&self, tried: &Tried) -> bool {
        !tried.is_empty() && tried.contains(self.upstream.id)
    }

    /// Tried, or closed since this snapshot was taken.
    #[inline]
    fn is_out(&self, tried: &Tried) -> bool {
        self.is_tried(tried) || self.load.is_closed()
    }

    #[inline]
    fn candidate(&self, now: Instant) -> Candidate {
        Candidate { in_flight: self.load.in_flight(), weight: self.standing.weight_at(now) }
    }

    fn lease(&self) -> Option<Selection> {
        self.load.try_lease(Room::UNLIMITED).map(|lease| self.selection(lease))
    }

    fn lease_trial(&self) -> Option<Selection> {
        self.load.try_trial(Room::UNLIMITED).map(|lease| self.selection(lease))
    }

    fn selection(&self, lease: Lease) -> Selection {
        Selection { upstream: Arc::clone(&self.upstream), lease }
    }
}

impl Standing {
    /// In parts of [`Warmup::WHOLE`], so that a ramp has steps even for the smallest weight.
    #[inline]
    pub(super) fn weight_at(&self, now: Instant) -> u32 {
        u32::from(self.weight.get()) * self.warmup.map_or(Warmup::WHOLE, |warmup| warmup.share(now))
    }
}
