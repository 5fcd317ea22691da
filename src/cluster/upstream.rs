//! One GeoServer instance, for as long as its address is configured.

use std::sync::Arc;

use crate::balance::Load;
use crate::config::{Address, Role, UpstreamConfig, UpstreamName, UpstreamTls};

/// Identifies an upstream. It is never used twice in the life of a process: a new address under an
/// old name gets a new one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UpstreamId(pub u32);

/// The constant properties of an upstream. Its weight, health and mode are in the snapshot.
///
/// A config reload that changes its name, url, TLS settings or role makes a new `Upstream` with the
/// same `id` and the same `load`.
#[derive(Debug)]
pub struct Upstream {
    pub id: UpstreamId,
    pub name: UpstreamName,
    pub url: String,
    pub tls: Option<Arc<UpstreamTls>>,
    pub host: String,
    pub address: Address,
    pub role: Role,
    pub load: Arc<Load>,
}

impl Upstream {
    pub(super) fn new(id: UpstreamId, config: &UpstreamConfig, load: Arc<Load>) -> Self {
        Self {
            id,
            name: config.name.clone(),
            url: config.url.clone(),
            tls: config.tls.clone(),
            host: config.host.clone(),
            address: config.address.clone(),
            role: config.role,
            load,
        }
    }

    /// True if it takes administration.
    pub fn is_main(&self) -> bool {
        self.role == Role::Main
    }

    /// True if it is the instance that `config` means: same address, or the same name while neither
    /// is resolved.
    pub(super) fn is_at(&self, config: &UpstreamConfig) -> bool {
        let is_known = self.address.known().is_some() || self.name == config.name;
        is_known && self.address.is_same_place(&config.address)
    }

    /// True if none of its properties has changed in `config`.
    pub(super) fn is_as_in(&self, config: &UpstreamConfig) -> bool {
        let UpstreamConfig {
            name,
            url,
            tls,
            host,
            port: _,
            address,
            role,
            reads: _,
            weight: _,
            max_in_flight: _,
        } = config;
        let (ours, theirs) = (
            (&self.name, &self.address, self.role),
            (name, address, *role),
        );
        ours == theirs && (&self.url, &self.tls, &self.host) == (url, tls, host)
    }
}
