//! One GeoServer instance as configured.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::MaxInFlight;

/// The name of an upstream: letters, digits, `-`, `_` and `.`, at most 64 bytes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UpstreamName(Arc<str>);

impl UpstreamName {
    pub const MAX_BYTES: usize = 64;

    /// `None` unless `name` keeps the rule.
    pub fn new(name: &str) -> Option<Self> {
        let fits = !name.is_empty()
            && name.len() <= Self::MAX_BYTES
            && name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
        fits.then(|| Self(name.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for UpstreamName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where administration goes, and who serves requests (geOrchestra's guide calls replicas
/// "slaves").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Main,
    Replica,
}

/// When the main serves reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MainReads {
    /// Only when no replica can.
    Backup,
    Always,
    Never,
}

/// Relative capacity, 1 to 1000.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Weight(u16);

impl Weight {
    pub const DEFAULT: Self = Self(100);
    pub const MAX: u16 = 1000;

    pub const fn new(weight: u16) -> Option<Self> {
        if weight >= 1 && weight <= Self::MAX {
            Some(Self(weight))
        } else {
            None
        }
    }

    pub const fn get(self) -> u16 {
        self.0
    }
}

/// Where an upstream is. A name that does not resolve is a reason for its upstream to be down,
/// never a wrong configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    Known(SocketAddr),
    /// The name of the host has no usable address yet; the reason.
    Unresolved(Arc<str>),
}

impl Address {
    pub const fn known(&self) -> Option<SocketAddr> {
        match self {
            Self::Known(address) => Some(*address),
            Self::Unresolved(_) => None,
        }
    }

    /// Whether both are the same place. Two that are not resolved are: the reason makes no
    /// difference.
    pub fn is_same_place(&self, other: &Self) -> bool {
        self.known() == other.known()
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self::Known(address)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known(address) => address.fmt(f),
            Self::Unresolved(_) => f.write_str(Self::UNRESOLVED),
        }
    }
}

impl Address {
    /// Stands where an address would.
    pub(super) const UNRESOLVED: &str = "unresolved";
}

/// One GeoServer instance as configured.
#[derive(Clone, Debug, PartialEq)]
pub struct UpstreamConfig {
    pub name: UpstreamName,
    /// As written, without a trailing slash: `http://10.0.0.11:8080`.
    pub url: String,
    /// `https`.
    pub tls: bool,
    /// Host of the url, for SNI.
    pub host: String,
    /// Of the url, or the scheme's own.
    pub port: u16,
    /// The address that is written as the host, or the one that its name resolved to last.
    pub address: Address,
    pub role: Role,
    /// Meaningful for the main only.
    pub reads: MainReads,
    pub weight: Weight,
    /// Its own, or that of `[limits]`.
    pub max_in_flight: MaxInFlight,
}

impl UpstreamConfig {
    /// The host and port to look up; `None` where an address is written.
    pub fn lookup(&self) -> Option<(&str, u16)> {
        self.host
            .parse::<IpAddr>()
            .is_err()
            .then_some((self.host.as_str(), self.port))
    }
}
