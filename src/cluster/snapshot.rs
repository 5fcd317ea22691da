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
mod choice;
mod group;
mod near;
mod need;
mod opinion;
mod slow;
mod tried;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

pub(super) use self::candidate::{Candidate, CapSource, Reads, Standing};
use self::choice::Found;
pub(super) use self::need::Need;
pub use self::slow::SlowUpstream;
pub use self::tried::Tried;
use super::{About, Concern, Tickets, Upstream, UpstreamId};
use crate::balance::{Demand, KeysInFlight, Lease};
use crate::config::{Config, Effort, ServedBy};
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
    /// False as long as no upstream has a reduced share, so that a selection need not look for one.
    is_any_slow: AtomicBool,
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

/// The upstreams that do not serve yet and will soon.
pub(super) struct Expected<'u> {
    pub(super) awaited: &'u [Awaited<'u>],
    /// They are reloading their catalog.
    pub(super) returning: &'u [&'u Upstream],
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
    /// True if an upstream may serve the request later.
    pub const fn is_worth_a_wait(self) -> bool {
        match self {
            Self::Full | Self::NoVerdict => true,
            Self::NoneEligible | Self::AllTried => false,
        }
    }
}

impl Snapshot {
    /// Builds the snapshot. `turn` is the start of the rotation among equals.
    pub(super) fn new(
        revision: u64,
        config: Arc<Config>,
        candidates: &[Candidate],
        expected: &Expected<'_>,
        tickets: Tickets,
        concern: Concern,
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
            routes: PerClass::from_fn(|class| {
                route(&config, class, candidates, expected.returning)
            }),
            awaited: PerClass::from_fn(|class| awaited_until(&config, class, expected.awaited)),
            demands: PerClass::from_fn(|class| Demand::of(class, config.classes[class].priority)),
            rotation: Rotation(AtomicUsize::new(turn)),
            is_any_slow: AtomicBool::new(candidates.iter().any(Candidate::is_slow)),
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
        let need = Need {
            key,
            ..Need::of(class)
        };
        self.select_about(need, false, tried, now)
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
        let need = Need {
            key: Some(key),
            ..Need::of(class)
        };
        self.select_about(need, true, tried, now)
    }

    /// Selects an upstream that is not in `tried`. With `may_join`, the request may join others of
    /// its key on an upstream without a free slot.
    pub(super) fn select_about(
        &self,
        need: Need,
        may_join: bool,
        tried: &Tried,
        now: Instant,
    ) -> Result<Selection, NoUpstream> {
        let (class, demand) = (need.class, self.demand_of(need));
        let near = self.wish_of(class, need.key, may_join);
        let found = match &self.routes[tried.class_served(class)] {
            _ if tried.has_group() => self.select_of_group(need, near, tried, now),
            Route::Shared => self.select_shared(need, near, tried, now),
            Route::One(Some(candidate)) if !candidate.is_out(tried) => candidate
                .lease(demand, now)
                .map_or(Found::Full, Found::Taken),
            Route::Returning(id) if !tried.contains(*id) => Found::Full,
            Route::One(_) | Route::Returning(_) => Found::NoneEligible,
        };
        self.concluded(found, class, tried)
            .map_err(|why| match why {
                NoUpstream::NoneEligible if self.awaits_verdict(tried.class_served(class), now) => {
                    NoUpstream::NoVerdict
                }
                why => why,
            })
    }

    /// Selects the main and takes a slot on it, whatever the class: a client that just changed the
    /// catalog must see its change.
    pub(super) fn select_main(
        &self,
        need: Need,
        tried: &Tried,
        now: Instant,
    ) -> Result<Selection, NoUpstream> {
        let found = match self.main.iter().find(|candidate| !candidate.is_out(tried)) {
            Some(main) => main
                .lease(self.demand_of(need), now)
                .map_or(Found::Full, Found::Taken),
            None => Found::NoneEligible,
        };
        self.concluded(found, need.class, tried)
    }

    /// Returns the slots that a request may use.
    fn demand_of(&self, need: Need) -> Demand {
        match (self.demands[need.class], need.effort) {
            (Demand::Quick | Demand::Ordinary, Effort::Heavy) => Demand::Heavy,
            (Demand::Heavy, Effort::Light) => Demand::Ordinary,
            (demand, Effort::OfClass | Effort::Heavy | Effort::Light) => demand,
        }
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
            Found::NoneEligible if self.is_any_tried(class, tried) => Err(NoUpstream::AllTried),
            Found::NoneEligible => Err(NoUpstream::NoneEligible),
        }
    }

    fn is_any_tried(&self, class: RequestClass, tried: &Tried) -> bool {
        if tried.has_group() {
            return self
                .of_any_group()
                .any(|candidate| tried.contains(candidate.upstream.id));
        }
        let class = tried.class_served(class);
        let mut candidates = self
            .in_full(class)
            .chain(self.trials(class, false).filter(|_| self.is_shared(class)));
        candidates.any(|candidate| candidate.is_tried(tried))
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
    pub fn distinguishes_workspaces(&self) -> bool {
        !self.stale.is_empty() && self.concern.is_narrow()
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
        if tried.has_group() {
            return self.of_any_group().any(|candidate| is_open(&candidate));
        }
        let class = tried.class_served(class);
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
