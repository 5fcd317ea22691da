//! The certificate that geofront presents to upstreams.

use std::fmt;
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::{
    CertificateFault, ServerCertificate, Validity, certificates, private_key, read, subject_of,
};

/// A certificate chain with its private key, for connections that geofront opens.
#[derive(Clone)]
pub struct OwnCertificate {
    chain: Vec<CertificateDer<'static>>,
    key: Arc<PrivateKeyDer<'static>>,
    validity: Validity,
}

impl OwnCertificate {
    /// Reads a chain, the certificate of the key first, and the key.
    pub fn from_pem(chain: &str, key: &str) -> Result<Self, CertificateFault> {
        let validity = ServerCertificate::from_pem(chain, key)?.validity();
        let chain = certificates(chain)?;
        for certificate in &chain {
            read(certificate)?;
        }
        Ok(Self {
            chain,
            key: Arc::new(private_key(key)?),
            validity,
        })
    }

    /// Returns the subject of the certificate, to refer to it.
    pub fn name(&self) -> String {
        let subject = self.chain.first().and_then(|own| subject_of(own));
        subject.unwrap_or_else(|| "(no name)".to_owned())
    }

    /// Returns the time in which the certificate is valid.
    pub const fn validity(&self) -> Validity {
        self.validity
    }

    /// Returns the chain, the certificate of the key first.
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }

    /// Returns the private key in DER form.
    pub fn key(&self) -> &[u8] {
        self.key.secret_der()
    }
}

/// A key that fits a chain is the only one that does, so equal chains are equal pairs.
impl PartialEq for OwnCertificate {
    fn eq(&self, other: &Self) -> bool {
        self.chain == other.chain
    }
}

impl fmt::Debug for OwnCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnCertificate")
            .field("name", &self.name())
            .finish_non_exhaustive()
    }
}
