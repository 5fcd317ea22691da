//! Certificates by ACME from pebble, the test authority of Let's Encrypt, which is strict on
//! purpose.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use geofront::certificates::Authorities;
use geofront::geosim::{Behaviour, DataDirectory, Instance};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use tempfile::TempDir;

use crate::front::Front;
use crate::program;
use crate::wait::until;

/// An order, after a first attempt before the authority was there.
const PATIENCE: Duration = Duration::from_secs(60);

/// A name that leads to this machine wherever the tests run.
const HOST: &str = "localhost";

const TARGET: &str = "/geoserver/wms?service=WMS&version=1.3.0&request=GetCapabilities";

/// The authority; stopped when dropped.
struct Pebble(Child);

impl Pebble {
    fn start(folder: &Path, ports: &Ports, front: &Front) -> Self {
        let config = serde_json::json!({ "pebble": {
            "listenAddress": ports.directory.to_string(),
            "managementListenAddress": ports.management.to_string(),
            "certificate": folder.join("pebble.pem"),
            "privateKey": folder.join("pebble.key"),
            "httpPort": front.address().port(),
            "tlsPort": front.listener("public").port(),
            "ocspResponderURL": "",
            "externalAccountBindingRequired": false,
        }});
        let path = folder.join("pebble.json");
        std::fs::write(&path, config.to_string()).expect("the configuration is written");
        let child = Command::new(program::find("pebble", "pebble"))
            .arg("-config")
            .arg(path)
            // Without pauses, and without refusals of good nonces, which chance decides.
            .env("PEBBLE_VA_NOSLEEP", "1")
            .env("PEBBLE_WFE_NONCEREJECT", "0")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("pebble starts");
        Self(child)
    }
}

impl Drop for Pebble {
    fn drop(&mut self) {
        // It may have ended already.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Addresses that were free a moment ago: pebble takes no port of the kernel's choice.
struct Ports {
    directory: SocketAddr,
    management: SocketAddr,
}

impl Ports {
    fn free() -> Self {
        let sockets = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").expect("a free port"));
        let [directory, management] =
            sockets.map(|socket| socket.local_addr().expect("it is bound"));
        Self {
            directory,
            management,
        }
    }
}

/// The answer of a server whose certificate is of `authorities`; `None` if there is none.
fn get(address: SocketAddr, authorities: RootCertStore, target: &str) -> Option<String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the versions are known")
        .with_root_certificates(authorities)
        .with_no_client_auth();
    let name = HOST.try_into().expect("a host name");
    let session = ClientConnection::new(Arc::new(config), name).expect("the settings are right");
    let mut stream = StreamOwned::new(session, TcpStream::connect(address).ok()?);
    let request = format!("GET {target} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    // Some servers end without a farewell.
    stream.read_to_string(&mut answer).ok();
    let (head, body) = answer.split_once("\r\n\r\n")?;
    head.starts_with("HTTP/1.1 200").then(|| body.to_owned())
}

fn roots(pem: &str) -> RootCertStore {
    let authorities = Authorities::from_pem(pem).expect("a certificate");
    RootCertStore::clone(authorities.roots())
}

/// A certificate for pebble's own address, which is its own authority.
fn make_certificate(folder: &Path) -> String {
    let pair = rcgen::generate_simple_self_signed([HOST.to_owned()]).expect("a certificate");
    let pem = pair.cert.pem();
    std::fs::write(folder.join("pebble.pem"), &pem).expect("it is written");
    std::fs::write(folder.join("pebble.key"), pair.signing_key.serialize_pem())
        .expect("it is written");
    pem
}

/// Orders by `challenge` from an authority that starts after geofront.
fn ordered_by(challenge: &str) {
    let folder: TempDir = tempfile::tempdir().expect("a temporary folder");
    let own = make_certificate(folder.path());
    let data = DataDirectory::new();
    let upstreams =
        ["main", "replica"].map(|name| Instance::start(name, &data, Behaviour::default()));
    let named =
        [&upstreams[0], &upstreams[1]].map(|instance| (instance.name(), instance.address()));
    let ports = Ports::free();
    let more = format!(
        "[listeners.public]\naddress = \"127.0.0.1:0\"\nacme = \"{HOST}\"\n\
         [acme]\ndirectory = \"https://{HOST}:{}/dir\"\nca = \"{}\"\nchallenge = \"{challenge}\"\nfolder = \"{}\"\n",
        ports.directory.port(),
        folder.path().join("pebble.pem").display(),
        folder.path().join("acme").display(),
    );
    let front = Front::start(&named, &more);
    front.wait_until_up(&named.map(|(name, _)| name));
    let _pebble = Pebble::start(folder.path(), &ports, &front);
    let issuer = until("pebble runs", PATIENCE, || {
        get(ports.management, roots(&own), "/roots/0")
    });
    let served = until("a certificate of pebble's is served", PATIENCE, || {
        get(front.listener("public"), roots(&issuer), TARGET)
    });
    assert!(served.contains("WMS_Capabilities"), "{served}");
    assert!(
        front
            .metrics()
            .contains("geofront_acme_orders_total{outcome=\"issued\"} 1")
    );
}

#[test]
fn pebble_issues_a_certificate_after_http_01() {
    ordered_by("http-01");
}

#[test]
fn pebble_issues_a_certificate_after_tls_alpn_01() {
    ordered_by("tls-alpn-01");
}
