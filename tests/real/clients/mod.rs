//! Client libraries of other projects, in front of the real binary and geosim: publishing by REST,
//! reading every service, searching a catalog, editing features.
//!
//! geosim records which instance received which request. What changes something, and REST, belongs
//! to the main; all reads belong to the replicas.

mod python;

use std::fmt::Write as _;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use geofront::geosim::{Cluster, Controls, Request};

use crate::front::Front;
use crate::program;
use crate::wait;

/// From a change on the main to its reload on every replica, on a busy machine.
const SPREAD: Duration = Duration::from_secs(30);

const QUICK: &str = "[health]\ninterval = \"1s\"\nrise = 1\nslow_start = \"0s\"\n\
                     [catalog]\nsettle = \"200ms\"\npoll = \"1s\"\n";

/// A simulated cluster, and the front door before it.
struct Site {
    cluster: Cluster,
    front: Front,
    folder: tempfile::TempDir,
}

impl Site {
    fn start() -> Self {
        let cluster = Cluster::start(2);
        let folder = tempfile::tempdir().expect("a temporary folder");
        let password = folder.path().join("password");
        std::fs::write(&password, geofront::geosim::PASSWORD).expect("the password is written");
        let upstreams: Vec<_> = (cluster.instances())
            .map(|instance| (instance.name(), instance.address()))
            .collect();
        let more = format!(
            "[geoserver]\nusername = \"{}\"\npassword_file = \"{}\"\n{QUICK}",
            geofront::geosim::USER,
            password.display()
        );
        let front = Front::start(&upstreams, &more);
        front.wait_until_up(&["main", "replica1", "replica2"]);
        Self {
            cluster,
            front,
            folder,
        }
    }

    fn url(&self) -> String {
        format!("http://{}/geoserver", self.front.address())
    }

    /// Runs a script of this folder.
    fn run(&self, script: &str, arguments: &[&str]) {
        let mut python = python::command(script);
        program::run(python.arg(self.url()).args(arguments));
    }

    /// Waits until every replica has what the main has.
    fn wait_until_published(&self, layer: &str) {
        wait::until(&format!("{layer} is on every replica"), SPREAD, || {
            let has_it = |replica: &geofront::geosim::Instance| {
                self.cluster.main().epoch() == replica.epoch() && !replica.control().is_reloading()
            };
            (self.cluster.replicas().iter().all(has_it)
                && self.cluster.data().contents().layer(layer).is_some()
                && self.front.is_fresh())
            .then_some(())
        });
    }

    /// Fails unless the main received every request of a client that changes something, REST, and
    /// what belongs to a process, and nothing else.
    fn check_places(&self) {
        let mut wrong = String::new();
        for instance in self.cluster.instances() {
            let is_main = instance.name() == self.cluster.main().name();
            for request in of_clients(instance.control()) {
                if belongs_on_main(&request) != is_main {
                    writeln!(wrong, "{request:?} on {}", instance.name()).expect("a string grows");
                }
            }
        }
        assert_eq!(wrong, "", "each on an instance that should not have it");
    }

    fn received_by_replicas(&self) -> Vec<usize> {
        let replicas = self.cluster.replicas().iter();
        replicas
            .map(|replica| of_clients(replica.control()).len())
            .collect()
    }
}

/// What an instance received, probes and catalog reloads left out.
fn of_clients(controls: &Controls) -> Vec<Arc<Request>> {
    let is_ours = |request: &Arc<Request>| {
        let agent = request.header("user-agent").unwrap_or_default();
        agent.starts_with("geofront/")
    };
    let requests = controls.requests().into_iter();
    requests.filter(|request| !is_ours(request)).collect()
}

/// Decided by the words that each client writes, not by geofront's classification.
fn belongs_on_main(request: &Request) -> bool {
    let target = String::from_utf8_lossy(request.target()).into_owned();
    let body = String::from_utf8_lossy(&request.body().start).into_owned();
    let is_rest = ["/geoserver/rest", "/geoserver/gwc/rest"];
    is_rest.iter().any(|rest| target.starts_with(rest))
        || ["Transaction", ":Execute "]
            .iter()
            .any(|root| body.contains(root))
        || target.contains("GetExecutionStatus")
}

#[test]
fn what_client_libraries_publish_is_made_on_the_main_and_read_on_every_replica() {
    let site = Site::start();
    let folder = site
        .folder
        .path()
        .to_str()
        .expect("a temporary folder's path is UTF-8");
    site.run("publish_with_geoserver_rest.py", &[folder]);
    site.run("publish_with_geoservercloud.py", &[]);
    let writes = site.cluster.data().writes();
    assert!(writes.len() > 30, "{}", writes.len());
    assert!(
        writes
            .iter()
            .all(|write| write.by == "main" || write.what == "POST /rest/reload")
    );

    site.wait_until_published("water:lakes");
    site.run("read_published.py", &["town:lanes", "water:lakes"]);
    site.check_places();
    let reads = site.received_by_replicas();
    assert!(reads.iter().all(|reads| *reads > 0), "{reads:?}");
}

#[test]
fn owslib_reads_every_service_on_the_replicas_and_runs_its_process_on_the_main() {
    let site = Site::start();
    site.run("read_with_owslib.py", &[]);
    site.check_places();
    let reads = site.received_by_replicas();
    assert!(reads.iter().all(|reads| *reads > 5), "{reads:?}");
    assert_eq!(
        site.cluster
            .data()
            .writes()
            .iter()
            .filter(|write| write.what == "Execute")
            .count(),
        1
    );
}

#[test]
fn pystac_client_searches_by_post_and_by_get_on_the_replicas() {
    let site = Site::start();
    site.run("search_with_pystac.py", &[]);
    site.check_places();
    assert!(of_clients(site.cluster.main().control()).is_empty());
    let reads = site.received_by_replicas();
    assert!(reads.iter().all(|reads| *reads > 0), "{reads:?}");
}

fn gdal(tool: &str) -> Command {
    let mut command = Command::new(program::find(tool, "gdal-bin"));
    command.env("GDAL_WMTS_CACHE", "NO");
    command
}

fn stdout(command: &mut Command) -> String {
    String::from_utf8_lossy(&program::run(command).stdout).into_owned()
}

#[test]
fn gdal_reads_features_and_tiles_from_the_replicas() {
    let site = Site::start();
    for source in [
        format!("WFS:{}/wfs", site.url()),
        format!("OAPIF:{}/ogc/features/v1", site.url()),
    ] {
        let features = stdout(gdal("ogrinfo").args(["-ro", &source, "geor:public_layer"]));
        assert_eq!(
            features.matches("OGRFeature(").count(),
            10,
            "{source}: {features}"
        );
    }
    let map = site.folder.path().join("map.png");
    let source = format!(
        "WMTS:{}/gwc/service/wmts?REQUEST=GetCapabilities,layer=geor:roads",
        site.url()
    );
    program::run(
        gdal("gdal_translate")
            // It leaves a cache of tiles where it runs.
            .current_dir(site.folder.path())
            .args(["-q", "-of", "PNG", "-outsize", "300", "300", &source])
            .arg(map),
    );
    site.check_places();
    let (main, replicas) = (site.cluster.main(), site.cluster.replicas());
    assert!(of_clients(main.control()).is_empty());
    let tiles: u64 = replicas
        .iter()
        .map(|replica| replica.received(geofront::ogc::RequestClass::Tile))
        .sum();
    assert!(tiles > 0);
}

#[test]
fn gdal_inserts_a_feature_once_and_on_the_main() {
    let site = Site::start();
    let place = site.folder.path().join("place.geojson");
    let feature = r#"{"type":"FeatureCollection","features":[{"type":"Feature","properties":{"number":1},
        "geometry":{"type":"Point","coordinates":[1,2]}}]}"#;
    std::fs::write(&place, feature).expect("the feature is written");
    let target = format!("WFS:{}/wfs?VERSION=1.1.0", site.url());
    program::run(
        gdal("ogr2ogr")
            .args(["-update", "-append", "-f", "WFS", &target])
            .arg(place)
            .args(["-nln", "geor:roads"]),
    );
    let writes = site.cluster.data().writes();
    let made: Vec<_> = writes
        .iter()
        .map(|write| (write.by.as_str(), write.what.as_str()))
        .collect();
    assert_eq!(made, [("main", "Transaction")]);
    site.check_places();
}
