//! The configuration of one GeoServer instance.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::{MaxInFlight, UpstreamTls};

/// The name of an upstream: letters, digits, `-`, `_` and `.`, at most 64 bytes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UpstreamName(Arc<str>);

impl UpstreamName {
    /// Maximum length of a name.
    pub const MAX_BYTES: usize = 64;

    /// `None` if `name` breaks the rule.
    pub fn new(name: &str) -> Option<Self> {
        let fits = !name.is_empty()
            && name.len() <= Self::MAX_BYTES
            && name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
        fits.then(|| Self(name.into()))
    }

    /// Returns the name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for UpstreamName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The role of an upstream: administration goes to the main, reads go to replicas (geOrchestra's
/// guide calls them "slaves").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Main,
    Replica,
}

/// The conditions under which the main serves reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MainReads {
    /// The main serves reads only when no replica can.
    Backup,
    Always,
    Never,
}

/// The relative capacity of an upstream, 1 to 1000.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Weight(u16);

impl Weight {
    /// The weight of an upstream without a configured one.
    pub const DEFAULT: Self = Self(100);
    /// The largest weight.
    pub const MAX: u16 = 1000;

    /// Returns this weight; `None` if it is out of range.
    pub const fn new(weight: u16) -> Option<Self> {
        if weight >= 1 && weight <= Self::MAX {
            Some(Self(weight))
        } else {
            None
        }
    }

    /// Returns the weight as a number.
    pub const fn get(self) -> u16 {
        self.0
    }
}

/// The address of an upstream. A name that does not resolve puts its upstream down; it is not a
/// mistake of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    Known(SocketAddr),
    /// The host name has no usable address yet, for this reason.
    Unresolved(Arc<str>),
}

impl Address {
    /// Returns the address, if it is known.
    pub const fn known(&self) -> Option<SocketAddr> {
        match self {
            Self::Known(address) => Some(*address),
            Self::Unresolved(_) => None,
        }
    }

    /// True if both addresses are the same place. Two unresolved addresses are, whatever their
    /// reasons.
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
    /// Stands in place of an address.
    pub(super) const UNRESOLVED: &str = "unresolved";
}

/// The configuration of one GeoServer instance.
#[derive(Clone, Debug, PartialEq)]
pub struct UpstreamConfig {
    pub name: UpstreamName,
    /// The url as written, without a trailing slash: `http://10.0.0.11:8080`.
    pub url: String,
    /// The TLS settings of an `https` url; `None` for `http`.
    pub tls: Option<Arc<UpstreamTls>>,
    /// The host of the url.
    pub host: String,
    /// The port of the url, or the default of its scheme.
    pub port: u16,
    /// The address in the url, or the last address of its host name.
    pub address: Address,
    pub role: Role,
    /// Applies to the main only.
    pub reads: MainReads,
    pub weight: Weight,
    /// The upstream's own limit, or that of `[limits]`.
    pub max_in_flight: MaxInFlight,
}

impl UpstreamConfig {
    /// The host and port to look up; `None` if the url has an address.
    pub fn lookup(&self) -> Option<(&str, u16)> {
        self.host
            .parse::<IpAddr>()
            .is_err()
            .then_some((self.host.as_str(), self.port))
    }
}
