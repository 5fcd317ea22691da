//! Tiles of one metatile go to one replica, and it renders them once.
//!
//! `cargo test --test e2e affinity -- --nocapture` prints how often the metatiles of bursts of
//! neighbouring tiles were rendered.

use std::collections::BTreeSet;
use std::time::Duration;

use geofront::geosim::{Behaviour, Fault, METATILE, ServiceTime, TileStore, When};
use geofront::ogc::RequestClass;
use tokio::task::JoinSet;

use super::client::Client;
use super::rig::{Plan, Rig};

const ZOOM: u32 = 12;
/// The tiles of a user's map: columns and rows.
const MAP: (u32, u32) = (8, 5);
/// Number of times the user pans.
const PANS: u32 = 8;

fn plan(replicas: usize, store: TileStore) -> Plan {
    let behaviour = Behaviour {
        metatile_time: ServiceTime::Fixed(Duration::from_millis(100)),
        tile_store: store,
        ..Behaviour::default()
    };
    // A learned limit begins with fewer places than the bursts here need, and then tiles of a
    // metatile are parted.
    Plan::replicas(replicas)
        .behaving(behaviour)
        .with("[limits]\nmax_in_flight = 16")
}

const WITHOUT: &str = "[classes.tile]\naffinity = false";

fn wmts(column: u32, row: u32) -> String {
    format!(
        "/geoserver/gwc/service/wmts?SERVICE=WMTS&REQUEST=GetTile&VERSION=1.0.0&LAYER=geor:public_layer&STYLE=&FORMAT=image/png\
         &TILEMATRIXSET=EPSG:900913&TILEMATRIX=EPSG:900913:{ZOOM}&TILEROW={row}&TILECOL={column}"
    )
}

fn tms(column: u32, row: u32) -> String {
    let y = (1 << ZOOM) - 1 - row;
    format!(
        "/geoserver/gwc/service/tms/1.0.0/geor:public_layer@EPSG:900913@png/{ZOOM}/{column}/{y}.png"
    )
}

fn rendered(rig: &Rig) -> u64 {
    rig.replicas
        .iter()
        .map(|replica| replica.control().metatiles())
        .sum()
}

/// Sends all requests at once, each on a connection of its own, and returns the names of the
/// upstreams that answered.
async fn burst(rig: &Rig, targets: Vec<String>) -> BTreeSet<String> {
    let address = rig.address();
    let mut asked = JoinSet::new();
    for target in targets {
        asked.spawn(async move {
            let answer = Client::connect(address)
                .await
                .unwrap()
                .get(&target)
                .await
                .unwrap();
            assert_eq!(
                (answer.status, answer.header("content-type")),
                (200, Some("image/png")),
                "{target}"
            );
            answer.served_by().to_owned()
        });
    }
    asked.join_all().await.into_iter().collect()
}

/// Maps of neighbouring tiles, one after the other: how often a metatile of them was rendered, on
/// average.
async fn renders_per_metatile(rig: &Rig) -> f64 {
    let mut metatiles = BTreeSet::new();
    let before = rendered(rig);
    for pan in 0..PANS {
        let (left, top) = (100 + pan * 40, 203 + pan * 17);
        let tiles: Vec<_> = (left..left + MAP.0)
            .flat_map(|x| (top..top + MAP.1).map(move |y| (x, y)))
            .collect();
        metatiles.extend(tiles.iter().map(|(x, y)| (x / METATILE, y / METATILE)));
        burst(rig, tiles.into_iter().map(|(x, y)| wmts(x, y)).collect()).await;
    }
    (rendered(rig) - before) as f64 / metatiles.len() as f64
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_metatile_of_a_burst_of_neighbours_is_rendered_about_once() {
    for store in [TileStore::Shared, TileStore::PerInstance] {
        let with = renders_per_metatile(&plan(3, store).start().await).await;
        let without = renders_per_metatile(&plan(3, store).with(WITHOUT).start().await).await;
        println!(
            "3 replicas, tiles {store:?}: {with:.2} renders of a metatile with affinity, {without:.2} without"
        );
        assert!(with < 1.1, "{store:?}: {with} renders of a metatile");
        assert!(
            without > 1.4,
            "{store:?}: the double does not show the difference: {without}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_any_spelling_tiles_of_one_metatile_are_answered_by_one_replica() {
    let rig = plan(3, TileStore::PerInstance).start().await;
    let tiles = (0..METATILE).flat_map(|x| (0..METATILE).map(move |y| (2048 + x, 1024 + y)));
    let targets = tiles
        .map(|(x, y)| {
            if (x + y) % 2 == 0 {
                wmts(x, y)
            } else {
                tms(x, y)
            }
        })
        .collect();
    assert_eq!(burst(&rig, targets).await.len(), 1);
    assert_eq!(rendered(&rig), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_after_the_other_tiles_stay_with_their_replica_and_all_replicas_have_some() {
    let rig = plan(3, TileStore::PerInstance).start().await;
    let mut all = BTreeSet::new();
    for metatile in 0..12 {
        let mut places = BTreeSet::new();
        for column in 0..3 {
            places.extend(burst(&rig, vec![wmts(metatile * METATILE + column, 8)]).await);
        }
        assert_eq!(places.len(), 1);
        all.append(&mut places);
    }
    assert_eq!(all.len(), 3);
    assert_eq!(rendered(&rig), 12);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tile_whose_replica_fails_is_answered_by_the_next_in_its_order() {
    let rig = plan(3, TileStore::Shared)
        .health("ejection_failures = 0")
        .start()
        .await;
    let first = burst(&rig, vec![wmts(4, 4)]).await;
    let replica = rig
        .replicas
        .iter()
        .find(|replica| first.contains(replica.name()))
        .unwrap();
    replica.suffers(Fault::Reset(When::BeforeAnswer).only(RequestClass::Tile));
    let second = burst(&rig, vec![wmts(5, 4)]).await;
    assert!(second.is_disjoint(&first), "{second:?}");
    assert_eq!(
        burst(&rig, vec![wmts(6, 4)]).await,
        second,
        "the next in the order is always the same"
    );
    replica.heals();
    assert_eq!(burst(&rig, vec![wmts(7, 4)]).await, first);
}
