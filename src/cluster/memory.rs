//! What outlives the process: which replica had which catalog, the modes that operators ordered, the learned concurrency limits,
//! and the layer that was chosen for probes.
//!
//! Without the catalogs a restarted geofront can only compare numbers across nodes, which stock GeoServer inflates. With them, the
//! roll that a killed one left half done is finished, and a cluster in which nothing happened is left alone. Without the modes a
//! restart gives requests to a GeoServer that an administrator has taken out.

use std::net::SocketAddr;

use super::tracked::Tracked;
use super::{Cluster, Mode, ModeOrigin};
use crate::balance::LearnedCap;
use crate::config::Role;

/// Everything worth remembering.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    pub upstreams: Vec<Remembered>,
    pub modes: Vec<OrderedMode>,
    pub limits: Vec<LearnedLimit>,
    /// The layer that was chosen to be drawn by probes and canaries where none is configured.
    pub chosen_layer: Option<String>,
}

/// About one replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remembered {
    pub name: String,
    pub address: SocketAddr,
    /// The main's number whose catalog it had; `None` if a reload was owed to it.
    pub main_number: Option<u64>,
    /// That reload had begun: until its canary passes, the replica may have no catalog at all.
    pub is_reloading: bool,
}

/// A mode that an operator ordered. It belongs to the name: the operator named it, wherever it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrderedMode {
    pub name: String,
    pub mode: Mode,
    pub origin: ModeOrigin,
}

/// A concurrency limit that was learned. It belongs to the address: it was measured there, whatever that is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LearnedLimit {
    pub address: SocketAddr,
    pub limit: LearnedCap,
}

impl Memory {
    /// Whether there is nothing to remember.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn of(&self, name: &str, address: SocketAddr) -> Option<&Remembered> {
        self.upstreams.iter().find(|known| known.name == name && known.address == address)
    }
}

impl Cluster {
    /// Takes over what the process before this one knew. It must be called before anything else.
    pub fn recall(&mut self, memory: &Memory) {
        let start = self.ids.origin;
        for tracked in self.tracked.iter_mut().filter(|tracked| tracked.upstream.role == Role::Replica) {
            if let Some(known) = memory.of(tracked.upstream.name.as_str(), tracked.upstream.address) {
                tracked.recall(known, start);
            }
        }
        for tracked in &mut self.tracked {
            let name = tracked.upstream.name.as_str();
            if let Some(ordered) = memory.modes.iter().find(|ordered| ordered.name == name) {
                // No transition: nothing changed, except that this process did not know it.
                drop(tracked.set_mode(ordered.mode, Some(ordered.origin.clone()), start));
            }
            if let Some(learned) = memory.limits.iter().find(|learned| learned.address == tracked.upstream.address) {
                tracked.upstream.load.set_learned_cap(learned.limit);
            }
        }
        self.chosen_layer.clone_from(&memory.chosen_layer);
    }

    /// Returns what a process after this one must know. It says nothing of upstreams of which nothing is known.
    pub fn memory(&self) -> Memory {
        let (epoch, is_at_rest) = (self.changes.epoch(), self.changes.is_at_rest());
        let number = self.changes.number().filter(|_| is_at_rest);
        let replicas = self.tracked.iter().filter(|tracked| tracked.upstream.role == Role::Replica);
        let remembered = |tracked: &Tracked| {
            let main_number = tracked.catalog.remembered(epoch, number)?;
            Some(Remembered {
                name: tracked.upstream.name.to_string(),
                address: tracked.upstream.address,
                main_number,
                is_reloading: tracked.catalog.may_be_empty(),
            })
        };
        let ordered = |tracked: &Tracked| {
            let (mode, origin) = tracked.ordered_mode()?;
            Some(OrderedMode { name: tracked.upstream.name.to_string(), mode, origin: origin.clone() })
        };
        let learned = |tracked: &Tracked| {
            let limit = tracked.upstream.load.learned_cap()?;
            Some(LearnedLimit { address: tracked.upstream.address, limit })
        };
        Memory {
            upstreams: replicas.filter_map(remembered).collect(),
            modes: self.tracked.iter().filter_map(ordered).collect(),
            limits: self.tracked.iter().filter_map(learned).collect(),
            chosen_layer: self.chosen_layer.clone(),
        }
    }
}
