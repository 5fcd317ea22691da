//! What requests and operators see of the cluster.

use std::mem;
use std::sync::Arc;
use std::time::Instant;

use super::Cluster;
use crate::cluster::snapshot::{Candidate, Expected};
use crate::cluster::upstream_state::UpstreamState;
use crate::cluster::{ClusterStatus, Condition, ReloadPhase, Snapshot, Upstream};
use crate::config::UpstreamName;

impl Cluster {
    /// Returns the view of the cluster for requests, as of now.
    pub fn snapshot(&self) -> Snapshot {
        let epoch = self.catalog.epoch();
        let candidate = |t: &UpstreamState| {
            Some(Candidate::new(
                &t.upstream,
                t.standing(epoch, self.upstreams.fails_open)?,
                &self.upstreams.config.limits,
            ))
        };
        let candidates: Vec<_> = self.upstreams.iter().filter_map(candidate).collect();
        let awaited: Vec<_> = self
            .upstreams
            .iter()
            .filter_map(UpstreamState::awaited)
            .collect();
        let returning = self.upstreams.iter().filter(|state| state.returns_soon());
        let returning: Vec<_> = returning.map(|state| &*state.upstream).collect();
        let (tickets, concern) = self.catalog.news();
        Snapshot::new(
            self.revision,
            Arc::clone(&self.upstreams.config),
            &candidates,
            &Expected {
                awaited: &awaited,
                returning: &returning,
            },
            tickets,
            concern,
            self.snapshots_taken,
        )
    }

    /// Returns a snapshot, if requests would see a difference from the one last taken.
    pub fn take_snapshot(&mut self) -> Option<Snapshot> {
        mem::take(&mut self.is_visibly_changed).then(|| {
            self.snapshots_taken += 1;
            self.snapshot()
        })
    }

    /// Returns the state of the cluster for an operator.
    pub fn status(&self, now: Instant) -> ClusterStatus {
        let catalog = self.catalog.status(&self.upstreams, now);
        let (limits, fails_open) = (&self.upstreams.config.limits, self.upstreams.fails_open);
        let mut upstreams: Vec<_> = self
            .upstreams
            .iter()
            .map(|state| state.status(&catalog, limits, fails_open, now))
            .collect();
        for at in (0..upstreams.len()).filter(|at| self.catalog.is_held_back(&self.upstreams, *at))
        {
            upstreams[at].catalog.phase = ReloadPhase::HeldBack;
        }
        let conditions = self.conditions.status(now);
        let chosen_layer = self.choosing.in_force(&self.upstreams).map(str::to_owned);
        ClusterStatus {
            revision: self.revision,
            catalog,
            chosen_layer,
            conditions,
            upstreams,
        }
    }

    /// Returns the upstream of this name, whatever its state.
    pub fn upstream(&self, name: &UpstreamName) -> Option<Arc<Upstream>> {
        let named = self
            .upstreams
            .iter()
            .find(|state| state.upstream.name == *name);
        named.map(|state| Arc::clone(&state.upstream))
    }

    /// Returns the conditions that hold now, one per kind, upstream and subject. Those of the whole
    /// cluster come first.
    pub(super) fn conditions(&self, now: Instant) -> Vec<Condition> {
        let fault = self.upstreams.iter().find_map(|state| state.local_fault);
        let own = fault.map(|fault| Condition::LocalFault { fault });
        own.into_iter()
            .chain(self.upstreams.shared_condition())
            .chain(self.catalog.conditions(&self.upstreams, now))
            .chain(self.choosing.condition(&self.upstreams))
            .chain(
                self.certificates
                    .iter()
                    .cloned()
                    .map(Condition::Certificate),
            )
            .chain(self.faults.conditions(&self.upstreams.peers()))
            .chain(
                self.upstreams
                    .iter()
                    .flat_map(|state| state.conditions(now)),
            )
            .collect()
    }
}
