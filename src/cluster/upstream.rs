//! One GeoServer instance: who it is, for as long as it is configured under this name at this address.

use std::any::Any;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use crate::balance::Load;
use crate::config::{Role, UpstreamName};

/// Never used twice in the life of a process: a new address under an old name gets a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UpstreamId(pub u32);

/// What does not change while an upstream lives. Its weight, health and mode are in the snapshot.
#[derive(Debug)]
pub struct Upstream {
    pub id: UpstreamId,
    pub name: UpstreamName,
    pub url: String,
    pub tls: bool,
    pub host: String,
    pub address: SocketAddr,
    pub role: Role,
    pub load: Arc<Load>,
    /// What the floors above prepare once per upstream (its peer, its counters) and find again without a look-up.
    pub attachment: OnceLock<Arc<dyn Any + Send + Sync>>,
}
