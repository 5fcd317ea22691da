//! Settings of GeoServer itself: where it is mounted, and the credentials for it.

use std::fmt;

use super::PublicPath;

/// The settings that all instances share.
#[derive(Clone, Debug, PartialEq)]
pub struct GeoServer {
    /// The servlet context path: `/geoserver`, or empty for the root context.
    pub context: String,
    /// The path that clients use instead; `None` if they use the context.
    pub public_path: Option<PublicPath>,
    pub credentials: Credentials,
    /// Maximum length of a form in bytes. GeoServer's container ignores the fields of a longer one,
    /// and geofront reads bodies up to this length.
    pub max_post_size: usize,
}

/// The credentials of probes and catalog reloads.
#[derive(Clone, Debug, PartialEq)]
pub enum Credentials {
    None,
    Basic {
        username: String,
        password: Secret,
    },
    /// Header fields that are sent unchanged, such as `sec-username` and `sec-roles`.
    Headers(Vec<(String, Secret)>),
}

/// A value that never appears in logs, the API or debug output.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret, so that it is not printed by accident.
    pub fn new(value: String) -> Self {
        Self(value)
    }

    /// Returns the secret itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}
