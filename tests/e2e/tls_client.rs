//! Certificates made for a test, and a client that speaks TLS.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SanType, date_time_ymd,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::client::Client;
use super::rig::Rig;

/// An authority, and a folder for the files that it signs.
pub(crate) struct Authority {
    pub(crate) folder: TempDir,
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// The files of a certificate and its key.
#[derive(Clone, Debug)]
pub(crate) struct Files {
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
            .distinguished_name
            .push(DnType::CommonName, "an authority");
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), &pem).unwrap();
        Self {
            folder,
            issuer: Issuer::new(params, key),
            pem,
        }
    }

    /// The authority's own certificate.
    pub(crate) fn file(&self) -> PathBuf {
        self.path("ca.pem")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes `file.pem` and `file.key` for these host names, valid until the end of `year`.
    pub(crate) fn sign(&self, file: &str, hosts: &[&str], year: i32) -> Files {
        self.sign_for(file, hosts, 1975..=year)
    }

    /// The same, valid from the beginning of the first year to the end of the last.
    pub(crate) fn sign_for(&self, file: &str, hosts: &[&str], years: RangeInclusive<i32>) -> Files {
        let mut params = CertificateParams::default();
        params.subject_alt_names = hosts
            .iter()
            .map(|host| SanType::DnsName((*host).try_into().unwrap()))
            .collect();
        params.distinguished_name.push(DnType::CommonName, hosts[0]);
        params.not_before = date_time_ymd(*years.start(), 1, 1);
        params.not_after = date_time_ymd(*years.end(), 12, 31);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let files = Files {
            cert: self.path(&format!("{file}.pem")),
            key: self.path(&format!("{file}.key")),
        };
        replace(&files.cert, &certificate.pem());
        replace(&files.key, &key.serialize_pem());
        files
    }

    /// The authority itself, as those that trust it hold it.
    pub(crate) fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        let root = CertificateDer::from_pem_slice(self.pem.as_bytes()).unwrap();
        roots.add(root).unwrap();
        roots
    }

    /// A client that trusts this authority and presents a certificate of its own, if there is one.
    pub(crate) fn client(&self, own: Option<&Files>) -> ClientBuilder {
        ClientBuilder {
            roots: self.roots(),
            own: own.cloned(),
            versions: vec![&rustls::version::TLS13, &rustls::version::TLS12],
            alpn: Vec::new(),
        }
    }
}

/// Replaces a file like certbot and editors.
fn replace(path: &Path, text: &str) {
    let new = path.with_extension("new");
    std::fs::write(&new, text).unwrap();
    std::fs::rename(new, path).unwrap();
}

/// The settings of a client's connections.
#[derive(Clone)]
pub(crate) struct ClientBuilder {
    roots: RootCertStore,
    own: Option<Files>,
    pub(crate) versions: Vec<&'static SupportedProtocolVersion>,
    pub(crate) alpn: Vec<Vec<u8>>,
}

impl ClientBuilder {
    /// The settings, which may be used again to resume a session.
    pub(crate) fn config(&self) -> Arc<ClientConfig> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&self.versions)
            .unwrap()
            .with_root_certificates(self.roots.clone());
        let mut config = match &self.own {
            None => builder.with_no_client_auth(),
            Some(files) => {
                let certificate = CertificateDer::from_pem_file(&files.cert).unwrap();
                let key = PrivateKeyDer::from_pem_file(&files.key).unwrap();
                builder
                    .with_client_auth_cert(vec![certificate], key)
                    .unwrap()
            }
        };
        config.alpn_protocols = self.alpn.clone();
        Arc::new(config)
    }

    /// Connects to `address` and requests `host`.
    pub(crate) async fn connect(
        &self,
        address: SocketAddr,
        host: &str,
    ) -> std::io::Result<Client<TlsStream<TcpStream>>> {
        connect(self.config(), address, host).await
    }
}

impl ClientBuilder {
    /// Begins TLS on a connection.
    pub(crate) async fn over<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
        host: &str,
    ) -> std::io::Result<Client<TlsStream<S>>> {
        let name = ServerName::try_from(host.to_owned()).unwrap();
        let stream = TlsConnector::from(self.config())
            .connect(name, stream)
            .await?;
        Ok(Client::over(stream))
    }
}

/// Connects with settings that may have been used before.
pub(crate) async fn connect(
    config: Arc<ClientConfig>,
    address: SocketAddr,
    host: &str,
) -> std::io::Result<Client<TlsStream<TcpStream>>> {
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::try_from(host.to_owned()).unwrap();
    let stream = TlsConnector::from(config).connect(name, stream).await?;
    Ok(Client::over(stream))
}

/// The certificate that the server presented.
pub(crate) fn presented(client: &Client<TlsStream<TcpStream>>) -> Vec<u8> {
    let (_, session) = client.stream.get_ref();
    session.peer_certificates().unwrap()[0].to_vec()
}

/// The certificate in a file.
pub(crate) fn in_file(files: &Files) -> Vec<u8> {
    CertificateDer::from_pem_file(&files.cert).unwrap().to_vec()
}

/// A table of the configuration.
pub(crate) fn listener(name: &str, files: &[&Files], more: &str) -> String {
    let list = |path: fn(&Files) -> &PathBuf| {
        let paths = files
            .iter()
            .map(|files| format!("\"{}\"", path(files).display()));
        paths.collect::<Vec<_>>().join(", ")
    };
    format!(
        "[listeners.{name}]\naddress = \"127.0.0.1:0\"\ncert = [{}]\nkey = [{}]\n{more}\n",
        list(|files| &files.cert),
        list(|files| &files.key)
    )
}

impl Rig {
    /// The address of a listener with a name.
    pub(crate) fn listener(&self, name: &str) -> SocketAddr {
        let mut listeners = self.app.listeners.iter();
        listeners
            .find(|(known, _)| known == name)
            .and_then(|(_, address)| address.inet())
            .expect("it is configured, with a port")
    }
}
