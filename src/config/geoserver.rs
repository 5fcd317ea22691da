//! What geofront knows about GeoServer itself: where it is mounted, and how to introduce oneself to
//! it.

use std::fmt;

/// What all instances have in common.
#[derive(Clone, Debug, PartialEq)]
pub struct GeoServer {
    /// The servlet context path: `/geoserver`, or empty for the root context.
    pub context: String,
    pub credentials: Credentials,
    /// The longest form whose fields its container reads, in bytes: what is read of a body that
    /// decides to its end.
    pub max_post_size: usize,
}

/// How probes and catalog reloads introduce themselves.
#[derive(Clone, Debug, PartialEq)]
pub enum Credentials {
    None,
    Basic {
        username: String,
        password: Secret,
    },
    /// Sent as they are, e.g. `sec-username` and `sec-roles`.
    Headers(Vec<(String, Secret)>),
}

/// A value that never shows in logs, API or debug output.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(value: String) -> Self {
        Self(value)
    }

    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}
