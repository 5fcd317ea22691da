//! Certificates from files: their host names and validity, whether they match their key, and which
//! of several a client gets.
//!
//! Nothing here reads a file, a clock or the network. Times are seconds since 1970.

mod choice;
mod own;
mod subject;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

pub use choice::choose;
pub use own::OwnCertificate;
pub use subject::subject_of;

/// Maximum number of certificates in one file. A chain has a handful, a list of authorities some
/// hundred.
const MAX_CERTIFICATES: usize = 1_000;

/// A problem of a certificate or key file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CertificateFault {
    /// The file has no section `BEGIN CERTIFICATE`.
    NoCertificate,
    /// The file has no section with a private key.
    NoKey,
    /// The private key is protected by a passphrase.
    KeyEncrypted,
    /// The certificate of the key comes later in the file.
    WrongOrder,
    /// The key belongs to another certificate.
    KeyMismatch,
    /// The file has more than [`MAX_CERTIFICATES`] certificates.
    TooMany,
    /// The file or one of its certificates cannot be understood.
    Malformed(String),
}

impl fmt::Display for CertificateFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoCertificate => f.write_str("it holds no certificate in PEM form"),
            Self::NoKey => f.write_str("it holds no private key in PEM form"),
            Self::KeyEncrypted => f.write_str("its private key is encrypted"),
            Self::WrongOrder => {
                f.write_str("the certificate of its key is not the first in the file")
            }
            Self::KeyMismatch => f.write_str("its key does not belong to its certificate"),
            Self::TooMany => write!(f, "it holds more than {MAX_CERTIFICATES} certificates"),
            Self::Malformed(why) => write!(f, "it cannot be understood: {why}"),
        }
    }
}

/// A certificate chain with its private key.
#[derive(Clone, Debug)]
pub struct ServerCertificate {
    certified: Arc<CertifiedKey>,
    /// Host names in lower case, with `*.` in front of the parent of a wildcard.
    names: Vec<String>,
    validity: Validity,
}

/// The time in which a certificate is valid, in seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    pub not_before: i64,
    pub not_after: i64,
}

impl ServerCertificate {
    /// Reads a chain, the certificate of the key first, and the key.
    pub fn from_pem(chain: &str, key: &str) -> Result<Self, CertificateFault> {
        let chain = certificates(chain)?;
        let key = private_key(key)?;
        let (names, validity) = read(&chain[0])?;
        let load = |chain: &[CertificateDer<'static>]| {
            CertifiedKey::from_der(chain.to_vec(), key.clone_key(), &default_provider())
        };
        match load(&chain) {
            Ok(certified) => Ok(Self {
                certified: Arc::new(certified),
                names,
                validity,
            }),
            Err(rustls::Error::InconsistentKeys(_)) => {
                let is_later = (1..chain.len()).any(|first| load(&chain[first..]).is_ok());
                Err(if is_later {
                    CertificateFault::WrongOrder
                } else {
                    CertificateFault::KeyMismatch
                })
            }
            Err(error) => Err(CertificateFault::Malformed(error.to_string())),
        }
    }

    /// Returns the first host name of the certificate, to refer to it.
    pub fn name(&self) -> &str {
        self.names.first().map_or("(no name)", String::as_str)
    }

    /// Returns the host names, with `*.` in front of the parent of a wildcard.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Returns the end of the certificate's validity.
    pub const fn not_after(&self) -> i64 {
        self.validity.not_after
    }

    /// Returns the time in which the certificate is valid.
    pub const fn validity(&self) -> Validity {
        self.validity
    }

    /// Returns chain and key for the handshake.
    pub const fn certified(&self) -> &Arc<CertifiedKey> {
        &self.certified
    }
}

/// A key that fits a chain is the only one that does, so equal chains are equal pairs.
impl PartialEq for ServerCertificate {
    fn eq(&self, other: &Self) -> bool {
        self.certified.cert == other.certified.cert
    }
}

/// The authorities whose certificates are accepted, from clients or from upstreams.
#[derive(Clone, Debug)]
pub struct Authorities {
    certificates: Vec<CertificateDer<'static>>,
    roots: Arc<RootCertStore>,
}

impl Authorities {
    /// Reads one or more certificates.
    pub fn from_pem(text: &str) -> Result<Self, CertificateFault> {
        let certificates = certificates(text)?;
        let mut roots = RootCertStore::empty();
        for certificate in &certificates {
            read(certificate)?;
            roots
                .add(certificate.clone())
                .map_err(|error| CertificateFault::Malformed(error.to_string()))?;
        }
        Ok(Self {
            certificates,
            roots: Arc::new(roots),
        })
    }

    /// Returns their certificates, each a valid one.
    pub fn certificates(&self) -> &[CertificateDer<'static>] {
        &self.certificates
    }

    /// Returns the authorities as the handshake needs them.
    pub const fn roots(&self) -> &Arc<RootCertStore> {
        &self.roots
    }
}

impl PartialEq for Authorities {
    fn eq(&self, other: &Self) -> bool {
        self.certificates == other.certificates
    }
}

/// Reads all certificates of a file; at least one.
fn certificates(text: &str) -> Result<Vec<CertificateDer<'static>>, CertificateFault> {
    let mut found = Vec::new();
    for certificate in CertificateDer::pem_slice_iter(text.as_bytes()) {
        if found.len() == MAX_CERTIFICATES {
            return Err(CertificateFault::TooMany);
        }
        found.push(certificate.map_err(|error| CertificateFault::Malformed(in_words(error)))?);
    }
    if found.is_empty() {
        return Err(CertificateFault::NoCertificate);
    }
    Ok(found)
}

/// The library's own words show the bytes of a line as numbers.
fn in_words(error: pem::Error) -> String {
    match error {
        pem::Error::MissingSectionEnd { .. } => "it breaks off within a section".to_owned(),
        pem::Error::IllegalSectionStart { .. } => "a section begins with a bad line".to_owned(),
        other => other.to_string(),
    }
}

/// Reads the first private key of a file. An error never holds a part of the file.
fn private_key(text: &str) -> Result<PrivateKeyDer<'static>, CertificateFault> {
    if text.contains("BEGIN ENCRYPTED PRIVATE KEY") || text.contains("Proc-Type: 4,ENCRYPTED") {
        return Err(CertificateFault::KeyEncrypted);
    }
    PrivateKeyDer::from_pem_slice(text.as_bytes()).map_err(|_| CertificateFault::NoKey)
}

/// Returns the host names of a certificate and its validity.
fn read(certificate: &CertificateDer<'_>) -> Result<(Vec<String>, Validity), CertificateFault> {
    let malformed = |why: String| CertificateFault::Malformed(why);
    let (_, parsed) = X509Certificate::from_der(certificate)
        .map_err(|error| malformed(format!("it is no X.509 certificate ({error})")))?;
    let alternatives = parsed
        .subject_alternative_name()
        .map_err(|error| malformed(format!("its names are unreadable ({error})")))?;
    let names = alternatives.map_or_else(Vec::new, |names| {
        let name = |name: &GeneralName<'_>| match name {
            GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
            _ => None,
        };
        names.value.general_names.iter().filter_map(name).collect()
    });
    let validity = Validity {
        not_before: parsed.validity().not_before.timestamp(),
        not_after: parsed.validity().not_after.timestamp(),
    };
    Ok((names, validity))
}
