//! Knowledge that outlives the process: the catalogs of replicas, the truncations that tile caches
//! owe, the modes that operators ordered, the learned concurrency limits, and the layer chosen for
//! probes.
//!
//! Without the catalogs, a restarted geofront can only compare update sequences across nodes, which
//! stock GeoServer inflates. With them, it finishes the roll that a killed process left half done,
//! and leaves a cluster without changes alone. Without the modes, a restart would give requests to
//! a GeoServer that an administrator has taken out.

use std::net::SocketAddr;
use std::time::Instant;

use super::upstream_state::UpstreamState;
use super::{CatalogMachine, Mode, ModeOrigin, Truncation};
use crate::balance::LearnedCap;
use crate::config::Role;

/// Everything to be remembered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    pub upstreams: Vec<Remembered>,
    pub modes: Vec<OrderedMode>,
    pub limits: Vec<LearnedLimit>,
    pub tiles: Vec<OwedTiles>,
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

/// The truncations that the tile cache at an address owes, the next one first. It is on the disk of
/// a GeoServer, so it belongs to the address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwedTiles {
    pub name: String,
    pub address: SocketAddr,
    pub truncations: Vec<Truncation>,
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

    /// Restores an ordered mode. That is no transition: nothing changed, except that this process
    /// did not know it.
    pub(super) fn recall_mode(&self, state: &mut UpstreamState, start: Instant) {
        let name = state.upstream.name.as_str();
        if let Some(ordered) = self.modes.iter().find(|ordered| ordered.name == name) {
            state.set_mode(ordered.mode, Some(ordered.origin.clone()), start);
        }
    }

    /// Restores the knowledge about the address of an upstream, once that is known. It is then no
    /// part of this memory any more.
    pub(super) fn recall_address(&mut self, state: &mut UpstreamState, now: Instant) {
        let Some(address) = state.upstream.address.known() else {
            return;
        };
        if state.upstream.role == Role::Replica
            && let Some(known) = self.at(address)
        {
            state.recall(known.main_update_sequence, known.is_reloading, now);
        }
        if let Some(learned) = self
            .limits
            .iter()
            .find(|learned| learned.address == address)
        {
            state.upstream.load.set_learned_cap(learned.limit);
        }
        let mut tiles = self.tiles.iter();
        if let Some(owed) = tiles.find(|owed| owed.address == address) {
            state.catalog.tiles.recall(&owed.truncations);
        }
        self.tiles.retain(|owed| owed.address != address);
        self.upstreams.retain(|known| known.address != address);
        self.limits.retain(|learned| learned.address != address);
    }

    /// Adds the knowledge about an upstream that a later process needs, if there is any.
    /// `unclaimed`: the memory of the former process about upstreams without a known address.
    pub(super) fn add(
        &mut self,
        state: &UpstreamState,
        catalog: &CatalogMachine,
        unclaimed: &Self,
    ) {
        let name = state.upstream.name.to_string();
        if let Some((mode, origin)) = state.ordered_mode() {
            self.modes.push(OrderedMode {
                name: name.clone(),
                mode,
                origin: origin.clone(),
            });
        }
        let Some(address) = state.upstream.address.known() else {
            // Such an upstream may still turn up at the remembered address.
            self.upstreams.extend(
                unclaimed
                    .upstreams
                    .iter()
                    .filter(|known| known.name == name)
                    .cloned(),
            );
            let tiles = unclaimed.tiles.iter().filter(|owed| owed.name == name);
            self.tiles.extend(tiles.cloned());
            return;
        };
        self.limits.extend(
            state
                .upstream
                .load
                .learned_cap()
                .map(|limit| LearnedLimit { address, limit }),
        );
        let truncations: Vec<Truncation> = state.catalog.tiles.all_owed().cloned().collect();
        if !truncations.is_empty() {
            self.tiles.push(OwedTiles {
                name: name.clone(),
                address,
                truncations,
            });
        }
        let is_replica = state.upstream.role == Role::Replica;
        let remembered = is_replica
            .then(|| catalog.remembered(&state.catalog))
            .flatten();
        self.upstreams
            .extend(remembered.map(|remembered| Remembered {
                name,
                address,
                main_update_sequence: remembered.main_update_sequence,
                is_reloading: state.catalog.may_be_empty(),
            }));
    }
}
