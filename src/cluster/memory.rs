//! Knowledge that outlives the process: the catalogs of replicas, the modes that operators ordered,
//! the learned concurrency limits, and the layer chosen for probes.
//!
//! Without the catalogs, a restarted geofront can only compare update sequences across nodes, which
//! stock GeoServer inflates. With them, it finishes the roll that a killed process left half done,
//! and leaves a cluster without changes alone. Without the modes, a restart would give requests to
//! a GeoServer that an administrator has taken out.

use std::net::SocketAddr;
use std::time::Instant;

use super::upstream_state::UpstreamState;
use super::{Cluster, Mode, ModeOrigin};
use crate::balance::LearnedCap;
use crate::config::Role;

/// Everything to be remembered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    pub upstreams: Vec<Remembered>,
    pub modes: Vec<OrderedMode>,
    pub limits: Vec<LearnedLimit>,
    /// The layer chosen for probes and canaries when none is configured.
    pub chosen_layer: Option<String>,
}

/// The memory of one replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remembered {
    pub name: String,
    pub address: SocketAddr,
    /// The main's update sequence for the replica's catalog; `None` if a reload was owed to it.
    pub main_update_sequence: Option<u64>,
    /// True if that reload had begun. The replica may have no catalog at all until its canary
    /// passes.
    pub is_reloading: bool,
}

/// A mode that an operator ordered. It belongs to the name, because the operator named the
/// upstream, whatever its address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrderedMode {
    pub name: String,
    pub mode: Mode,
    pub origin: ModeOrigin,
}

/// A concurrency limit that was learned. It belongs to the address where it was measured, whatever
/// the upstream's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LearnedLimit {
    pub address: SocketAddr,
    pub limit: LearnedCap,
}

impl Memory {
    /// True if there is nothing to remember.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Returns the memory of an address. A catalog belongs to the address where it was read,
    /// whatever the upstream's name.
    fn at(&self, address: SocketAddr) -> Option<&Remembered> {
        self.upstreams.iter().find(|known| known.address == address)
    }
}

impl Cluster {
    /// Restores the knowledge of the process before this one. It must be called before anything
    /// else.
    pub fn recall(&mut self, memory: &Memory) {
        let start = self.ids.origin;
        self.unclaimed.clone_from(memory);
        for at in 0..self.upstreams.len() {
            self.recall_late(at, start);
            let state = &mut self.upstreams[at];
            let name = state.upstream.name.as_str();
            if let Some(ordered) = memory.modes.iter().find(|ordered| ordered.name == name) {
                // This is no transition. Nothing changed, except that this process did not know it.
                state.set_mode(ordered.mode, Some(ordered.origin.clone()), start);
            }
        }
        self.chosen_layer.clone_from(&memory.chosen_layer);
    }

    /// Restores the knowledge about the address of `at`, which has become known only now.
    pub(super) fn recall_late(&mut self, at: usize, now: Instant) {
        let state = &mut self.upstreams[at];
        let Some(address) = state.upstream.address.known() else {
            return;
        };
        if state.upstream.role == Role::Replica
            && let Some(known) = self.unclaimed.at(address)
        {
            state.recall(known.main_update_sequence, known.is_reloading, now);
        }
        if let Some(learned) = self
            .unclaimed
            .limits
            .iter()
            .find(|learned| learned.address == address)
        {
            state.upstream.load.set_learned_cap(learned.limit);
        }
        self.unclaimed
            .upstreams
            .retain(|known| known.address != address);
        self.unclaimed
            .limits
            .retain(|learned| learned.address != address);
    }

    /// Returns the knowledge that a later process needs. It omits upstreams about which nothing is
    /// known.
    pub fn memory(&self) -> Memory {
        let mut memory = Memory {
            chosen_layer: self.chosen_layer.clone(),
            ..Memory::default()
        };
        for state in &self.upstreams {
            let name = state.upstream.name.to_string();
            if let Some((mode, origin)) = state.ordered_mode() {
                memory.modes.push(OrderedMode {
                    name: name.clone(),
                    mode,
                    origin: origin.clone(),
                });
            }
            let Some(address) = state.upstream.address.known() else {
                // Such an upstream may still turn up at the remembered address.
                memory.upstreams.extend(
                    self.unclaimed
                        .upstreams
                        .iter()
                        .filter(|known| known.name == name)
                        .cloned(),
                );
                continue;
            };
            memory.limits.extend(
                state
                    .upstream
                    .load
                    .learned_cap()
                    .map(|limit| LearnedLimit { address, limit }),
            );
            memory
                .upstreams
                .extend(self.remembered(state, name, address));
        }
        memory
    }

    fn remembered(
        &self,
        state: &UpstreamState,
        name: String,
        address: SocketAddr,
    ) -> Option<Remembered> {
        if state.upstream.role == Role::Main {
            return None;
        }
        let (epoch, is_at_rest) = (self.changes.epoch(), self.changes.is_at_rest());
        let update_sequence = self.changes.update_sequence().filter(|_| is_at_rest);
        let main_update_sequence = state.catalog.remembered(epoch, update_sequence)?;
        Some(Remembered {
            name,
            address,
            main_update_sequence,
            is_reloading: state.catalog.may_be_empty(),
        })
    }
}
