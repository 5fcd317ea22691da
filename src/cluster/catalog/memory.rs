//! What outlives the process: which replica had which catalog.
//!
//! Without it a restarted geofront can only compare numbers across nodes, which stock GeoServer inflates. With it, the roll that
//! a killed one left half done is finished, and a cluster in which nothing happened is left alone.

use std::net::SocketAddr;

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
}

impl CatalogMemory {
    pub(in crate::cluster) fn of(&self, name: &str, address: SocketAddr) -> Option<&Remembered> {
        self.upstreams.iter().find(|known| known.name == name && known.address == address)
    }
}
