//! Each GeoServer keeps its tiles in a cache of its own: what a change makes old is dropped from
//! every one of them.

use std::time::Instant;

use geofront::geosim::{BASIC, Behaviour, Fault, Instance, Outage, TileStore};

use super::client::{Client, post};
use super::rig::{Plan, Rig};

const CREDENTIALS: &str =
    "[geoserver]\nheaders = { sec-username = \"geofront\", sec-roles = \"ROLE_ADMINISTRATOR\" }\n";
const ROADS: &str = "geor:roads";
const GROUPS: [&str; 2] = ["basemap", "geor:traffic"];
const OTHER: &str = "urban:zoning";

fn plan(tile_caches: &str) -> Plan {
    let behaviour = Behaviour {
        tile_store: TileStore::PerInstance,
        ..Behaviour::default()
    };
    Plan::replicas(2)
        .behaving(behaviour)
        .with(CREDENTIALS)
        .catalog("poll = \"100ms\"\nsettle = \"100ms\"\nroll_share = 100")
        .catalog(&format!("tile_caches = \"{tile_caches}\""))
}

fn tile_of(layer: &str) -> String {
    format!(
        "/geoserver/gwc/service/wmts?service=WMTS&version=1.0.0&request=GetTile&layer={layer}&style=\
         &tilematrixset=EPSG:900913&tilematrix=EPSG:900913:2&tilerow=1&tilecol=1&format=image/png"
    )
}

/// A tile as one GeoServer answers it.
#[derive(Clone, Debug, PartialEq)]
struct Tile {
    look: String,
    is_hit: bool,
}

async fn tile(instance: &Instance, layer: &str) -> Tile {
    let mut client = Client::connect(instance.address()).await.unwrap();
    let answer = client.get(&tile_of(layer)).await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    Tile {
        look: answer.header("x-geosim-look").unwrap().to_owned(),
        is_hit: answer.header("geowebcache-cache-result") == Some("HIT"),
    }
}

impl Rig {
    /// Draws a tile of each layer on every GeoServer, so that it is in each cache.
    async fn fill_caches(&self, layers: &[&str]) {
        for instance in self.replicas.iter().chain([&self.main]) {
            for layer in layers {
                tile(instance, layer).await;
                assert!(tile(instance, layer).await.is_hit);
            }
        }
    }

    async fn is_old_on(&self, instance: &Instance, layer: &str) -> bool {
        tile(instance, layer).await.look != tile(&self.main, layer).await.look
    }

    async fn rest(&self, method: &str, path: &str, body: &str) -> u16 {
        let content_type = if body.starts_with('<') {
            "text/xml"
        } else {
            "application/json"
        };
        let request = format!(
            "{method} /geoserver{path} HTTP/1.1\r\nHost: h\r\nAuthorization: {BASIC}\r\n\
             Content-Type: {content_type}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        self.request(request.as_bytes()).await.status
    }

    async fn until_epoch_is_everywhere(&self, epoch: u64) {
        self.until("every replica has the change", |rig| {
            let catalog = rig.app.control.status(Instant::now()).catalog;
            catalog.is_done && catalog.settled >= epoch
        })
        .await;
    }

    async fn until_nothing_is_owed(&self) {
        self.until("every truncation is done", |rig| {
            rig.upstreams().iter().all(|u| u.catalog.tiles.owed == 0)
        })
        .await;
    }

    fn truncations(&self) -> Vec<u64> {
        self.replicas
            .iter()
            .map(|replica| replica.control().truncations())
            .collect()
    }

    /// A road is added by WFS, with this prefix.
    async fn add_road(&self, prefix: &str) {
        let answer = self.insert(&format!("{prefix}:roads")).await;
        assert!(answer.contains("TransactionResponse"), "{answer}");
    }

    /// A feature of this type is inserted by WFS. Returns the answer.
    async fn insert(&self, name: &str) -> String {
        let (prefix, _) = name.split_once(':').unwrap();
        let body = format!(
            "<wfs:Transaction service=\"WFS\" version=\"1.1.0\" xmlns:wfs=\"http://www.opengis.net/wfs\" \
             xmlns:{prefix}=\"http://geor\"><wfs:Insert><{name}/></wfs:Insert></wfs:Transaction>"
        );
        let request = post("/geoserver/wfs", "text/xml", body.as_bytes());
        let answer = self.request(&request).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.served_by(), "main");
        answer.text().to_string()
    }

    /// A group without a workspace and one in it, which contain the roads.
    async fn make_groups(&self) {
        for (path, name) in [
            ("/rest/layergroups", "basemap"),
            ("/rest/workspaces/geor/layergroups", "traffic"),
        ] {
            let body = format!(
                "{{\"layerGroup\": {{\"name\": \"{name}\", \"publishables\": {{\"published\": {{\"name\": \"{ROADS}\"}}}}}}}}"
            );
            assert_eq!(self.rest("POST", path, &body).await, 201);
        }
        self.until_epoch_is_everywhere(1).await;
    }
}

const LINE: &str = "{\"layer\": {\"defaultStyle\": {\"name\": \"line\"}}}";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_style_has_changed_no_replica_answers_an_old_tile() {
    for (tile_caches, is_old) in [("shared", true), ("own", false)] {
        let rig = plan(tile_caches).start().await;
        rig.fill_caches(&[ROADS, OTHER]).await;
        assert_eq!(rig.rest("PUT", "/rest/layers/geor:roads", LINE).await, 200);
        rig.until_epoch_is_everywhere(1).await;
        for replica in &rig.replicas {
            assert_eq!(rig.is_old_on(replica, ROADS).await, is_old, "{tile_caches}");
            let other = tile(replica, OTHER).await;
            assert!(other.is_hit, "tiles of other workspaces are kept");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_an_edit_of_features_no_replica_answers_an_old_tile_of_the_layer_or_its_groups() {
    let rig = plan("own").start().await;
    rig.make_groups().await;
    rig.fill_caches(&[ROADS, OTHER, GROUPS[0], GROUPS[1]]).await;
    rig.add_road("geor").await;
    rig.until_nothing_is_owed().await;
    for replica in &rig.replicas {
        for layer in [ROADS, GROUPS[0], GROUPS[1]] {
            assert!(!rig.is_old_on(replica, layer).await, "{layer}");
        }
        assert!(tile(replica, OTHER).await.is_hit);
    }
    assert_eq!(rig.app.control.status(Instant::now()).catalog.epoch, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edit_that_geoserver_refuses_drops_no_tile() {
    let rig = plan("own").start().await;
    rig.fill_caches(&[ROADS, OTHER]).await;
    let answer = rig.insert("feature:no_such_type").await;
    assert!(answer.contains("ExceptionReport"), "{answer}");
    // What it had made old would be dropped together with this.
    rig.add_road("geor").await;
    rig.until_nothing_is_owed().await;
    for replica in &rig.replicas {
        assert!(!rig.is_old_on(replica, ROADS).await);
        assert!(tile(replica, OTHER).await.is_hit);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edit_under_a_prefix_that_is_no_workspace_drops_every_tile() {
    let rig = plan("own").start().await;
    rig.fill_caches(&[ROADS, OTHER]).await;
    rig.add_road("feature").await;
    rig.until_nothing_is_owed().await;
    for replica in &rig.replicas {
        assert!(!rig.is_old_on(replica, ROADS).await);
        assert!(!tile(replica, OTHER).await.is_hit);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_to_truncate_is_carried_out_by_every_replica() {
    let rig = plan("own").start().await;
    let layer = "<truncateLayer><layerName>geor:roads</layerName></truncateLayer>";
    let form = "{\"seedRequest\": {\"name\": \"geor:roads\", \"type\": \"truncate\"}}";
    for (path, body) in [
        ("/gwc/rest/masstruncate", layer),
        ("/gwc/rest/seed/geor:roads.json", form),
    ] {
        rig.fill_caches(&[ROADS, OTHER]).await;
        assert_eq!(rig.rest("POST", path, body).await, 200, "{path}");
        rig.until_nothing_is_owed().await;
        for replica in &rig.replicas {
            assert!(!tile(replica, ROADS).await.is_hit, "{path}");
            assert!(tile(replica, OTHER).await.is_hit, "{path}");
        }
    }
    assert_eq!(rig.truncations(), [2, 2]);
    let unknown = layer.replace("roads", "nothing");
    assert_eq!(
        rig.rest("POST", "/gwc/rest/masstruncate", &unknown).await,
        400
    );
    rig.until_nothing_is_owed().await;
    assert_eq!(
        rig.truncations(),
        [2, 2],
        "what the main refused is not repeated"
    );
    rig.metrics_with("geofront_tile_truncations_total{upstream=\"slave1\",outcome=\"success\"} 2")
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_cannot_truncate_serves_on_and_is_reported() {
    let rig = plan("own").start().await;
    let fault = Outage::from(Fault::Status(500)).under("/geoserver/gwc/rest");
    rig.replicas[0].control().suffers(fault);
    rig.add_road("geor").await;
    rig.until("the failure is reported", |rig| {
        let tiles = rig.upstream("slave1").catalog.tiles;
        tiles.failure.is_some() && tiles.owed == 1
    })
    .await;
    assert!(rig.upstream("slave1").eligible);
    rig.admin_until("/api/status", "\"truncation_failure\": \"status 500\"")
        .await;
    rig.metrics_with("geofront_tile_truncations_owed{upstream=\"slave1\"} 1")
        .await;
    // A roll brings the replica back although it still cannot truncate.
    assert_eq!(rig.rest("PUT", "/rest/layers/geor:roads", LINE).await, 200);
    rig.until_epoch_is_everywhere(1).await;
    assert!(rig.upstream("slave1").eligible);
    rig.replicas[0].control().heals();
    rig.until_nothing_is_owed().await;
    assert!(!rig.is_old_on(&rig.replicas[0], ROADS).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_administrator_who_names_a_replica_truncates_there_alone() {
    let rig = plan("own")
        .top("trusted_proxies = [\"127.0.0.1\"]")
        .start()
        .await;
    let body = "<truncateAll/>";
    let request = format!(
        "POST /geoserver/gwc/rest/masstruncate HTTP/1.1\r\nHost: h\r\nX-Geofront-Upstream: slave2\r\n\
         sec-username: admin\r\nsec-roles: ROLE_ADMINISTRATOR\r\nContent-Type: text/xml\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let answer = rig.request(request.as_bytes()).await;
    assert_eq!((answer.status, answer.served_by()), (200, "slave2"));
    rig.until_nothing_is_owed().await;
    assert_eq!(rig.truncations(), [0, 1]);
}
