//! The upstreams of the cluster, the configuration in force, and the transitions to be handed out.

use std::mem;
use std::ops::{Index, IndexMut};
use std::sync::Arc;
use std::time::Instant;

use super::catalog::MainReload;
use super::upstream_state::UpstreamState;
use super::{Transition, TransitionKind, UpstreamId};
use crate::config::{Config, Credentials, StalePolicy, UpstreamName};

/// The upstreams that every part of the cluster reads and writes.
#[derive(Debug)]
pub(super) struct Upstreams {
    pub(super) config: Arc<Config>,
    /// The upstreams, in the order of the configuration.
    pub(super) states: Vec<UpstreamState>,
    /// True if reads go to upstreams that do not pass their probes, because none does.
    pub(super) fails_open: bool,
    /// The sequence of the last transition.
    sequence: u64,
    /// Transitions not handed out yet.
    outbox: Vec<Transition>,
}

impl Index<usize> for Upstreams {
    type Output = UpstreamState;

    fn index(&self, at: usize) -> &UpstreamState {
        &self.states[at]
    }
}

impl IndexMut<usize> for Upstreams {
    fn index_mut(&mut self, at: usize) -> &mut UpstreamState {
        &mut self.states[at]
    }
}

impl Upstreams {
    pub(super) fn new(config: Arc<Config>, states: Vec<UpstreamState>) -> Self {
        Self {
            config,
            states,
            fails_open: false,
            sequence: 0,
            outbox: Vec::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.states.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &UpstreamState> {
        self.states.iter()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut UpstreamState> {
        self.states.iter_mut()
    }

    pub(super) fn position(&self, id: UpstreamId) -> Option<usize> {
        self.iter().position(|state| state.upstream.id == id)
    }

    pub(super) fn main_id(&self) -> Option<UpstreamId> {
        self.iter()
            .find(|state| state.upstream.is_main())
            .map(|main| main.upstream.id)
    }

    /// Reports changes of the upstream at `at`.
    pub(super) fn report(&mut self, at: usize, changes: impl IntoIterator<Item = TransitionKind>) {
        let name = self[at].upstream.name.clone();
        changes
            .into_iter()
            .for_each(|what| self.emit(Some(name.clone()), what));
    }

    pub(super) fn emit(&mut self, upstream: Option<UpstreamName>, what: TransitionKind) {
        self.sequence += 1;
        self.outbox.push(Transition {
            sequence: self.sequence,
            upstream,
            what,
        });
    }

    /// Takes the transitions that were reported since the last call.
    pub(super) fn take_transitions(&mut self) -> Vec<Transition> {
        mem::take(&mut self.outbox)
    }

    /// True if this geofront reloads replicas.
    pub(super) fn can_reload(&self) -> bool {
        self.config.catalog.roll && self.has_credentials()
    }

    fn has_credentials(&self) -> bool {
        match self.config.geoserver.credentials {
            Credentials::None => false,
            Credentials::Basic { .. } | Credentials::Headers(_) => true,
        }
    }

    /// Makes the next query for the main's update sequence due.
    pub(super) fn main_reads_soon(&mut self, now: Instant) {
        if let Some(main) = self.iter_mut().find(|state| state.upstream.is_main()) {
            main.catalog.reads.hasten(now);
        }
    }

    /// Sets the state of the main's own reload.
    pub(super) fn want_main_reload(&mut self, next: MainReload) {
        if let Some(main) = self.iter_mut().find(|state| state.upstream.is_main()) {
            main.catalog.main_reload = next;
        }
    }

    /// True if the main must reload first. The replicas wait for that.
    pub(super) fn is_main_to_be_reloaded(&self) -> bool {
        self.iter()
            .any(|state| state.catalog.main_reload != MainReload::No)
    }

    /// Lets the main take reads while a replica is out, if the main serves as backup otherwise.
    pub(super) fn lend_the_main(&mut self) {
        let is_any_out = self.iter().any(|state| !state.catalog.is_serving());
        // Where stale replicas are to be avoided, the main comes before them in any case.
        let helps = is_any_out
            && self.config.catalog.main_helps
            && self.config.catalog.stale == StalePolicy::Serve;
        self.iter_mut()
            .for_each(|state| state.helps = helps && state.upstream.is_main());
    }

    /// Returns the number of upstreams that could serve reads, and the number of them that are
    /// ejected.
    pub(super) fn pool(&self) -> (usize, usize) {
        let pool = || self.iter().filter(|state| state.is_of_the_pool());
        (
            pool().count(),
            pool().filter(|state| state.is_set_aside()).count(),
        )
    }

    /// True if `at` may be ejected. At most half of the upstreams that could serve reads are
    /// ejected, so never all.
    pub(super) fn may_eject(&self, at: usize) -> bool {
        let (pool, set_aside) = self.pool();
        self[at].is_ejectable() && (set_aside + 1) * 2 <= pool
    }

    /// Lifts the ejections that must not last: those that are no longer allowed, and enough of the
    /// others that the pool is not empty.
    pub(super) fn lift_ejections(&mut self, now: Instant) {
        for at in 0..self.len() {
            let state = &self[at];
            if state.is_set_aside()
                && (self.config.health.ejection_failures == 0
                    || state.is_fit() && !state.is_ejectable())
            {
                self.lift(at, now);
            }
        }
        while let (pool, set_aside) = self.pool()
            && pool > 0
            && pool == set_aside
        {
            let in_pool = |at: &usize| self[*at].is_of_the_pool();
            let soonest = (0..self.len())
                .filter(in_pool)
                .min_by_key(|&at| self[at].ejected_until());
            self.lift(soonest.expect("the pool is not empty"), now);
        }
    }

    fn lift(&mut self, at: usize, now: Instant) {
        let change = self.states[at].lift(now, &self.config.health);
        self.report(at, change);
    }

    /// Returns the upstreams with comparable evidence, which are those that can be ejected.
    pub(super) fn peers(&self) -> Vec<UpstreamId> {
        self.iter()
            .filter(|state| state.is_ejectable())
            .map(|state| state.upstream.id)
            .collect()
    }

    /// Acquits all upstreams of a fault that turned out to be shared.
    pub(super) fn acquit(&mut self, shared: &[u64], now: Instant) {
        for at in 0..self.len() {
            let change = self[at].acquit(shared, now);
            self.report(at, change);
        }
    }
}
