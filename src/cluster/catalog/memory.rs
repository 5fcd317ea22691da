//! What outlives the process: which replica had which catalog.
//!
//! Without it a restarted geofront can only compare numbers across nodes, which stock GeoServer inflates. With it, the roll that
//! a killed one left half done is finished, and a cluster in which nothing happened is left alone.

use std::net::SocketAddr;

use crate::cluster::Cluster;
use crate::cluster::tracked::Tracked;
use crate::config::Role;

/// Everything worth remembering.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CatalogMemory {
    pub upstreams: Vec<Remembered>,
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

impl CatalogMemory {
    fn of(&self, name: &str, address: SocketAddr) -> Option<&Remembered> {
        self.upstreams.iter().find(|known| known.name == name && known.address == address)
    }
}

impl Cluster {
    /// What the process before us knew. To be told before anything else.
    pub fn recall(&mut self, memory: &CatalogMemory) {
        let start = self.ids.origin;
        for tracked in self.tracked.iter_mut().filter(|tracked| tracked.upstream.role == Role::Replica) {
            if let Some(known) = memory.of(tracked.upstream.name.as_str(), tracked.upstream.address) {
                tracked.recall(known, start);
            }
        }
    }

    /// What a process after us must know. Nothing of those of whom nothing is known.
    pub fn memory(&self) -> CatalogMemory {
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
        CatalogMemory { upstreams: replicas.filter_map(remembered).collect() }
    }
}
