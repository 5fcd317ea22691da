//! h2spec, a conformance suite for servers of HTTP/2, against the real binary.
//!
//! Debian has no package of it, so `make test` leaves these tests out (the feature `h2spec` of the
//! crate): `make h2spec` brings it and runs them.

use std::path::{Path, PathBuf};
use std::process::Command;

use geofront::geosim::{Behaviour, DataDirectory, Instance};

use crate::front::Front;

/// An answer with a body, as the suite needs one.
const TARGET: &str = "/geoserver/wms?service=WMS&version=1.3.0&request=GetCapabilities";

/// A front door with a listener for HTTP/2, and what is behind it.
struct Served {
    front: Front,
    _upstreams: [Instance; 2],
}

fn served(listener: &str) -> Served {
    let data = DataDirectory::new();
    let upstreams =
        ["main", "replica"].map(|name| Instance::start(name, &data, Behaviour::default()));
    let named =
        [&upstreams[0], &upstreams[1]].map(|instance| (instance.name(), instance.address()));
    let more = format!("[listeners.tested]\naddress = \"127.0.0.1:0\"\n{listener}");
    let front = Front::start(&named, &more);
    front.wait_until_up(&named.map(|(name, _)| name));
    Served {
        front,
        _upstreams: upstreams,
    }
}

/// Where `make h2spec` puts it.
fn h2spec() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools/h2spec")
}

/// The last line of the report, and the failures before it.
fn report(served: &Served, more: &[&str]) -> (String, String) {
    let address = served.front.listener("tested");
    let output = Command::new(h2spec())
        .args(["--strict", "--host", "127.0.0.1", "--timeout", "5"])
        .args(["--port", &address.port().to_string(), "--path", TARGET])
        .args(more)
        .output()
        .expect("`make h2spec` has installed it");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let last = text.lines().last().unwrap_or_default().to_owned();
    let failures = text.split("Failures:").nth(1).unwrap_or_default();
    (last, failures.to_owned())
}

#[test]
fn h2spec_finds_nothing_wrong_over_tls() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let path = folder.path().join("pair.pem");
    let both = format!("{}{}", pair.cert.pem(), pair.signing_key.serialize_pem());
    std::fs::write(&path, both).expect("it is written");
    let served = served(&format!("cert = \"{}\"\n", path.display()));
    let (last, failures) = report(&served, &["--tls", "--insecure"]);
    assert!(last.ends_with(" 0 skipped, 0 failed"), "{last}\n{failures}");
}

/// The listener serves HTTP/1, too, so what is no preface is a request there, and gets a 400.
#[test]
fn h2spec_without_tls_misses_only_the_end_after_an_invalid_preface() {
    let served = served("http2 = true\n");
    let (last, failures) = report(&served, &[]);
    assert!(last.ends_with(" 0 skipped, 1 failed"), "{last}\n{failures}");
    let expected = "Sends invalid connection preface";
    assert!(failures.contains(expected), "{last}\n{failures}");
}
