//! A simulated cluster that has had every kind of trouble, so that a scrape shows every family.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use geofront::geosim::{Behaviour, DataDirectory, Fault, Instance, When};
use geofront::ogc::RequestClass;

use crate::front::Front;
use crate::wait::until;

const PATIENCE: Duration = Duration::from_secs(40);

const CONFIGURATION: &str = r#"
[geoserver]
headers = { sec-username = "geofront", sec-roles = "ROLE_ADMINISTRATOR" }
[health]
interval = "200ms"
down_interval = "100ms"
slow_start = "0s"
ejection = "1s"
probe_layer = "geor:public_layer"
[catalog]
poll = "100ms"
settle = "100ms"
[limits]
max_in_flight = 2
queue = 4
[log]
access = "off"
"#;

const MAP: &str = "/geoserver/wms?service=WMS&version=1.1.1&request=GetMap&layers=geor:public_layer\
    &styles=&format=image/png&srs=EPSG:4326&bbox=-180,-90,180,90&width=64&height=32";

const FEATURES: &str =
    "/geoserver/wfs?service=WFS&version=2.0.0&request=GetFeature&typeNames=geor:public_layer";

const TILE: &str = "/geoserver/gwc/service/wmts?service=WMTS&version=1.0.0&request=GetTile\
    &layer=geor:public_layer&style=&tilematrixset=EPSG:900913&tilematrix=EPSG:900913:2\
    &tilerow=1&tilecol=1&format=image/png";

const TRANSACTION: &str = "<wfs:Transaction service=\"WFS\" version=\"1.1.0\" \
    xmlns:wfs=\"http://www.opengis.net/wfs\"><wfs:Insert/></wfs:Transaction>";

/// Requests of one burst: more than the slots and the queue hold together.
const BURST: usize = 16;

/// The cluster and the front door before it.
pub(crate) struct Traffic {
    pub(crate) front: Front,
    main: Instance,
    replicas: [Instance; 2],
}

impl Traffic {
    /// Every upstream is up when this returns.
    pub(crate) fn start() -> Self {
        let data = DataDirectory::new();
        let start = |name: &str| Instance::start(name, &data, Behaviour::default());
        let (main, replicas) = (start("main"), [start("replica1"), start("replica2")]);
        let upstreams = [&main, &replicas[0], &replicas[1]];
        let named = upstreams.map(|instance| (instance.name(), instance.address()));
        let front = Front::start(&named, CONFIGURATION);
        front.wait_until_up(&named.map(|(name, _)| name));
        Self {
            front,
            main,
            replicas,
        }
    }

    /// Every family of the metrics has a sample, and its counters grow.
    pub(crate) fn fill_every_family(&self) {
        self.eject_a_replica();
        self.lose_a_write();
        self.get(TILE);
        self.refuse_a_method();
        self.fill_the_queue();
        self.reload_catalogs();
        self.front.reload_configuration();
    }

    /// Also retries what the ejected replica answered.
    fn eject_a_replica(&self) {
        let before = self.count("geofront_ejections_total");
        // Probes draw maps. If they failed as well, the replica could be down before it is ejected.
        self.replicas[0].suffers(Fault::OutOfMemory.only(RequestClass::Feature));
        until("a replica is ejected", PATIENCE, || {
            self.get(FEATURES);
            (self.count("geofront_ejections_total") > before).then_some(())
        });
        self.replicas[0].heals();
        until("a request is retried", PATIENCE, || {
            (self.count("geofront_retries_total") > 0.0).then_some(())
        });
        // After its ejection it is on trial, until a request succeeds there.
        until("every upstream is back in service", PATIENCE, || {
            self.get(MAP);
            self.front.is_in_service().then_some(())
        });
    }

    fn lose_a_write(&self) {
        let reset = Fault::Reset(When::BeforeAnswer);
        self.main
            .suffers(reset.only(RequestClass::Transaction).times(1));
        let length = TRANSACTION.len();
        self.send(&format!(
            "POST /geoserver/wfs HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
             Content-Type: text/xml\r\nContent-Length: {length}\r\n\r\n{TRANSACTION}"
        ));
        self.wait_for_refusal("connection-lost");
    }

    fn refuse_a_method(&self) {
        self.send("TRACE / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        self.wait_for_refusal("method-refused");
    }

    fn fill_the_queue(&self) {
        thread::scope(|scope| {
            for number in 0..BURST {
                scope.spawn(move || self.get(&format!("{MAP}&geosim_work=300ms&n={number}")));
            }
        });
        self.wait_for_refusal("queue-full");
        until("a request waited", PATIENCE, || {
            (self.count("geofront_queue_seconds_count") > 0.0).then_some(())
        });
    }

    /// One reload fails, one succeeds.
    fn reload_catalogs(&self) {
        let (done, failed) = ("outcome=\"success\"", "outcome=\"status\"");
        let reloads = |outcome: &str| {
            let is_of = |line: &&str| {
                line.starts_with("geofront_catalog_reloads_total{") && line.contains(outcome)
            };
            let metrics = self.front.metrics();
            metrics.lines().filter(is_of).filter_map(value).sum::<f64>()
        };
        let before = [done, failed].map(reloads);
        self.replicas[1].control().fail_catalog_reloads(1);
        self.front.post("/api/catalog/sync");
        until(
            "catalogs are reloaded, one after a failure",
            PATIENCE,
            || {
                let after = [done, failed].map(reloads);
                (after[0] > before[0] && after[1] > before[1]).then_some(())
            },
        );
    }

    fn wait_for_refusal(&self, reason: &str) {
        until(reason, PATIENCE, || {
            let metrics = self.front.metrics();
            metrics
                .contains(&format!("reason=\"{reason}\""))
                .then_some(())
        });
    }

    /// Returns the sum of the samples whose name begins with `name`.
    fn count(&self, name: &str) -> f64 {
        let metrics = self.front.metrics();
        let samples = metrics.lines().filter(|line| line.starts_with(name));
        samples.filter_map(value).sum()
    }

    fn get(&self, target: &str) {
        self.send(&format!(
            "GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        ));
    }

    /// Whatever the answer is, metrics show it.
    fn send(&self, request: &str) {
        let mut stream = TcpStream::connect(self.front.address()).expect("geofront accepts");
        stream
            .write_all(request.as_bytes())
            .expect("geofront reads");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).ok();
    }
}

fn value(sample: &str) -> Option<f64> {
    sample.rsplit_once(' ')?.1.parse().ok()
}
