//! Tests with real map servers and a real client: three MapServers behind the real binary, and GDAL
//! in front of it.
//!
//! The data are real too: the capitals of Europe.

mod server;

use std::path::Path;
use std::process::Command;

use tokio::runtime::Runtime;

use self::server::MapServer;
use crate::front::Front;
use crate::program;

/// Features in `tests/data/mapserver/capitals.geojson`.
const CAPITALS: usize = 42;

const PROBES: &str = "[health]\ninterval = \"1s\"\nrise = 1\nslow_start = \"0s\"\n";

/// One main and three replicas, and the front door before them.
struct Cluster {
    main: MapServer,
    replicas: [MapServer; 3],
    front: Front,
    _runtime: Runtime,
}

impl Cluster {
    fn start() -> Self {
        let runtime = Runtime::new().expect("a runtime");
        let main = MapServer::start(&runtime);
        let replicas = [(); 3].map(|()| MapServer::start(&runtime));
        let names = ["replica1", "replica2", "replica3"];
        let upstreams: Vec<_> = [("main", main.address)]
            .into_iter()
            .chain(names.into_iter().zip(replicas.iter().map(|r| r.address)))
            .collect();
        let front = Front::start(&upstreams, PROBES);
        front.wait_until_up(&names);
        Self {
            main,
            replicas,
            front,
            _runtime: runtime,
        }
    }

    fn url(&self, rest: &str) -> String {
        format!("http://{}/geoserver/{rest}", self.front.address())
    }

    fn get(&self, rest: &str) -> String {
        let mut answer = ureq::get(self.url(rest))
            .call()
            .expect("the front door answers");
        answer.body_mut().read_to_string().expect("text to its end")
    }
}

/// A GDAL program that sends its requests only to the front door.
fn gdal(name: &str) -> Command {
    let mut command = Command::new(program::find(name, "gdal-bin"));
    command
        .env_remove("http_proxy")
        .env("GDAL_HTTP_TIMEOUT", "30")
        .env("CPL_DEBUG", "HTTP");
    command
}

fn stdout(command: &mut Command) -> String {
    String::from_utf8(program::run(command).stdout).expect("GDAL speaks UTF-8")
}

#[test]
fn capabilities_lead_back_to_the_front_door() {
    let cluster = Cluster::start();
    let capabilities = cluster.get("wms?SERVICE=WMS&VERSION=1.3.0&REQUEST=GetCapabilities");
    assert!(
        capabilities.contains("<WMS_Capabilities")
            && capabilities.trim_end().ends_with("</WMS_Capabilities>")
    );
    let link = format!("xlink:href=\"{}", cluster.url("wms?"));
    assert!(capabilities.contains(&link), "no {link} in {capabilities}");
}

#[test]
fn a_wfs_client_reads_every_feature() {
    let cluster = Cluster::start();
    let source = format!("WFS:{}", cluster.url("wfs"));
    let summary = stdout(gdal("ogrinfo").args(["-ro", "-so", &source, "capitals"]));
    assert!(
        summary.contains(&format!("Feature Count: {CAPITALS}")),
        "{summary}"
    );

    let all = stdout(gdal("ogrinfo").args(["-ro", "-al", "-geom=SUMMARY", &source]));
    assert_eq!(all.matches("OGRFeature(").count(), CAPITALS, "{all}");
    for name in ["Amsterdam", "Reykjavik", "Zagreb"] {
        assert!(all.contains(&format!("= {name}")), "{name} is missing");
    }
}

#[test]
fn a_wms_client_decodes_the_map() {
    let cluster = Cluster::start();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let map = folder.path().join("map.png");
    let layer = cluster.url(
        "wms?SERVICE=WMS&VERSION=1.1.1&REQUEST=GetMap&LAYERS=capitals&STYLES=&SRS=EPSG:4326&BBOX=-25,33,35,67&FORMAT=image/png",
    );
    program::run(
        gdal("gdal_translate")
            .args(["-q", "-of", "PNG", "-outsize", "600", "340"])
            .arg(format!("WMS:{layer}"))
            .arg(&map),
    );
    let colours = colours_of(&map);
    assert!(
        colours.contains(&[210, 230, 250]),
        "the sea is missing among {} colours",
        colours.len()
    );
    assert!(
        colours.contains(&[180, 30, 30]),
        "the capitals are missing among {} colours",
        colours.len()
    );
}

/// The colours of the PNG at `path`, transparency left out.
fn colours_of(path: &Path) -> std::collections::BTreeSet<[u8; 3]> {
    let file = std::io::BufReader::new(std::fs::File::open(path).expect("the map was written"));
    let mut reader = png::Decoder::new(file)
        .read_info()
        .expect("the map is a PNG");
    let mut pixels = vec![0; reader.output_buffer_size().expect("the map is small")];
    let frame = reader.next_frame(&mut pixels).expect("the map is whole");
    let samples = frame.color_type.samples();
    pixels[..frame.buffer_size()]
        .chunks(samples)
        .map(|pixel| [pixel[0], pixel[1], pixel[2]])
        .collect()
}

#[test]
fn replicas_share_the_reads_and_the_main_is_spared() {
    let cluster = Cluster::start();
    for _ in 0..12 {
        let answer =
            cluster.get("wfs?SERVICE=WFS&VERSION=2.0.0&REQUEST=GetFeature&TYPENAMES=capitals");
        assert!(
            answer.contains(&format!("numberReturned=\"{CAPITALS}\"")),
            "{answer}"
        );
    }
    let answered: Vec<usize> = cluster.replicas.iter().map(MapServer::answered).collect();
    assert_eq!(answered, [4, 4, 4], "an idle cluster takes turns");
    assert_eq!(cluster.main.answered(), 0);
}
