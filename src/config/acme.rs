//! Certificates that geofront orders by itself from a certificate authority (ACME, RFC 8555).

use std::path::PathBuf;

use crate::certificates::Authorities;

/// The settings of `[acme]`, for all listeners with certificates by ACME.
#[derive(Clone, Debug, PartialEq)]
pub struct Acme {
    /// The address to which the authority may write, without `mailto:`.
    pub contact: Option<String>,
    /// The https url of the authority's directory.
    pub directory: String,
    /// The authorities whose certificate the directory's server may have; `None` for those of the
    /// system.
    pub authorities: Option<Authorities>,
    /// The proof that a host name is ours.
    pub challenge: AcmeChallenge,
    /// The folder for the account, the certificates and the running challenges.
    pub folder: PathBuf,
}

/// How an authority verifies that a host name is ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AcmeChallenge {
    /// It requests a file by http from port 80 of the host (RFC 8555 section 8.3).
    Http01,
    /// It does a TLS handshake with port 443 of the host (RFC 8737).
    TlsAlpn01,
}

/// The certificate of one listener that is ordered by ACME.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcmeCertificate {
    /// The host names in lower case; at least one.
    pub domains: Vec<String>,
    /// The file with the chain and the key.
    pub file: PathBuf,
    /// The reason why the file cannot be used.
    pub unusable: Option<String>,
}
