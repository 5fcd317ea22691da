//! The TLS settings for connections to an upstream.

use std::path::PathBuf;

use crate::certificates::{Authorities, OwnCertificate};

/// The TLS settings of one upstream, from its own table and, where that is silent, `[geoserver]`.
#[derive(Clone, Debug, PartialEq)]
pub struct UpstreamTls {
    /// The name that is requested (SNI) and that the upstream's certificate must have.
    pub server_name: String,
    /// The file of `authorities`.
    pub ca: Option<PathBuf>,
    /// The authorities that may have signed the upstream's certificate; `None` for those of the
    /// system.
    pub authorities: Option<Authorities>,
    /// The files of `certificate` and of its key.
    pub files: Option<(PathBuf, PathBuf)>,
    /// The certificate that geofront presents if the upstream requests one.
    pub certificate: Option<OwnCertificate>,
    /// The files that can no longer be used, with the reasons. What they held before stays in use.
    pub kept: Vec<String>,
}
