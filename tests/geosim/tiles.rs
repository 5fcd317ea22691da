//! The tile cache: sixteen tiles a metatile, one tile by many names, stores shared or not,
//! locks never shared.

use std::thread;
use std::time::Duration;

use geofront::geosim::{
    Behaviour, Capacity, Cluster, Instance, METATILE, ServiceTime, TileStore, eventually,
};
use geofront::ogc::RequestClass;

use crate::client::{GET_MAP, Reply, as_admin, get, get_with, start, start_with};

/// Slow enough that nothing is rendered before the instance is made faster.
const SLOW: Duration = Duration::from_secs(600);
const FAST: f64 = 1e6;

fn tile(zoom: u32, column: u32, row: u32) -> String {
    format!(
        "/geoserver/gwc/service/wmts?service=WMTS&version=1.0.0&request=GetTile&layer=geor:roads&style=&format=image/png\
         &tilematrixset=EPSG:900913&tilematrix=EPSG:900913:{zoom}&tilerow={row}&tilecol={column}"
    )
}

fn result(reply: &Reply) -> &str {
    assert!(reply.is_png(), "{reply:?}");
    reply.header("geowebcache-cache-result").unwrap()
}

#[test]
fn sixteen_tiles_are_rendered_as_one_metatile() {
    let main = start();
    for (number, (column, row)) in (0..4)
        .flat_map(|row| (4..8).map(move |column| (column, row)))
        .enumerate()
    {
        let reply = get(&main, &tile(5, column, row));
        assert_eq!(
            result(&reply),
            if number == 0 { "MISS" } else { "HIT" },
            "{column}, {row}"
        );
    }
    assert_eq!(main.control().metatiles(), 1);
    for (column, row) in [(3, 0), (8, 0), (4, METATILE)] {
        assert_eq!(
            result(&get(&main, &tile(5, column, row))),
            "MISS",
            "{column}, {row}"
        );
    }
    assert_eq!(
        (
            main.control().metatiles(),
            main.received(RequestClass::Tile)
        ),
        (4, 19)
    );
}

#[test]
fn a_tile_has_the_same_name_in_every_protocol() {
    let main = start();
    let names = [
        tile(2, 3, 1),
        "/geoserver/gwc/service/wmts/rest/geor:roads/line/EPSG:900913/EPSG:900913:2/1/3?format=image/png".to_owned(),
        "/geoserver/gwc/service/wmts/rest/geor:roads/EPSG:900913/2/1/3".to_owned(),
        "/geoserver/gwc/service/tms/1.0.0/geor:roads@EPSG:900913@png/2/3/2.png".to_owned(),
        "/geoserver/gwc/service/tms/1.0.0/geor:roads@EPSG:900913@png/2/3/1.png?flipY=true".to_owned(),
        "/geoserver/gwc/service/wms?service=WMS&request=GetMap&layers=geor:roads&srs=EPSG:900913\
         &bbox=10018754.17,0,20037508.34,10018754.17"
            .to_owned(),
        "/geoserver/wms?service=WMS&request=GetMap&layers=geor:roads&srs=EPSG:3857&width=256&height=256&tiled=true\
         &bbox=10018754.17,0,20037508.34,10018754.17"
            .to_owned(),
        "/geoserver/geor/gwc/service/wmts/rest/roads/EPSG:900913/2/1/3".to_owned(),
    ];
    for (number, name) in names.iter().enumerate() {
        let reply = get(&main, name);
        assert_eq!(
            result(&reply),
            if number == 0 { "MISS" } else { "HIT" },
            "{name}"
        );
        assert_eq!(
            reply.header("geowebcache-tile-index"),
            Some("[3, 2, 2]"),
            "{name}"
        );
        assert_eq!(
            reply.header("geowebcache-gridset"),
            Some("EPSG:900913"),
            "{name}"
        );
    }
    assert_eq!(
        (
            main.control().metatiles(),
            main.received(RequestClass::Tile)
        ),
        (1, names.len() as u64)
    );
}

#[test]
fn a_tile_must_not_be_cached_and_may_be_requested_conditionally() {
    let main = start();
    for _miss_then_hit in 0..2 {
        let reply = get(&main, &tile(0, 0, 0));
        assert_eq!(
            reply.header("cache-control"),
            Some("no-cache, no-store, must-revalidate")
        );
        assert_eq!(
            (reply.header("pragma"), reply.header("expires")),
            (Some("no-cache"), Some("0"))
        );
        let since = reply.header("last-modified").unwrap();
        let unchanged = get_with(&main, &tile(0, 0, 0), &[("If-Modified-Since", since)]);
        assert!(
            unchanged.status == 304
                && unchanged.body.is_empty()
                && unchanged.header("content-length").is_none()
        );
    }
}

#[test]
fn a_box_that_is_no_tile_is_an_ordinary_map_with_the_reason() {
    let main = start();
    let reply = get(
        &main,
        &format!(
            "{}&tiled=true",
            GET_MAP.replace("BBOX=-20820223", "BBOX=-15000000")
        ),
    );
    assert!(reply.is_png() && reply.header("geowebcache-cache-result").is_none());
    assert_eq!(
        reply.header("geowebcache-miss-reason"),
        Some("request does not align to grid(s)")
    );
    assert_eq!(main.control().metatiles(), 0);
}

#[test]
fn an_unknown_layer_is_400_as_xml_for_wmts_and_as_text_for_others() {
    let main = start();
    let text = "Unknown layer geor:nowhere. Check the logfiles, it may not have loaded properly.";
    let wmts = get(&main, &tile(2, 0, 0).replace("geor:roads", "geor:nowhere"));
    assert_eq!(
        (wmts.status, wmts.header("content-type")),
        (400, Some("text/xml"))
    );
    assert!(
        wmts.is_well_formed_xml() && wmts.text().contains(text),
        "{wmts:?}"
    );
    let tms = get(
        &main,
        "/geoserver/gwc/service/tms/1.0.0/geor:nowhere@EPSG:900913@png/2/0/0.png",
    );
    assert_eq!(
        (tms.status, tms.header("content-type"), tms.text()),
        (400, Some("text/plain"), format!("400: {text}"))
    );
}

#[test]
fn a_tile_outside_the_grid_is_400_and_an_unknown_protocol_404() {
    let main = start();
    let outside = get(&main, &tile(2, 4, 0));
    assert!(
        outside.status == 400
            && outside
                .text()
                .contains("exceptionCode=\"TileOutOfRange\" locator=\"TILECOL\""),
        "{outside:?}"
    );
    assert_eq!(
        get(&main, "/geoserver/gwc/service/gopher/1.0.0").status,
        404
    );
    assert_eq!(get(&main, "/geoserver/gwc/nothing").status, 404);
}

#[test]
fn in_a_shared_store_a_tile_rendered_by_one_instance_is_a_hit_on_all() {
    let cluster = Cluster::start(1);
    assert_eq!(result(&get(cluster.main(), &tile(5, 0, 0))), "MISS");
    assert_eq!(result(&get(cluster.replica(1), &tile(5, 1, 1))), "HIT");
    assert_eq!(cluster.replica(1).control().metatiles(), 0);
    assert_eq!(
        as_admin(
            cluster.main(),
            "POST",
            "/geoserver/gwc/rest/masstruncate",
            "<truncateAll/>"
        )
        .status,
        200
    );
    assert_eq!(result(&get(cluster.replica(1), &tile(5, 1, 1))), "MISS");
}

#[test]
fn with_stores_of_their_own_every_instance_renders() {
    let cluster = Cluster::start_with(
        1,
        &Behaviour {
            tile_store: TileStore::PerInstance,
            ..Behaviour::default()
        },
    );
    for instance in cluster.instances() {
        assert_eq!(result(&get(instance, &tile(5, 0, 0))), "MISS");
        assert_eq!(result(&get(instance, &tile(5, 1, 1))), "HIT");
        assert_eq!(instance.control().metatiles(), 1);
    }
}

/// A layer's style is changed on the main: its own cache drops the old tiles, and a replica keeps
/// them, even after it has loaded the new catalog, until they are truncated there.
#[test]
fn a_cache_of_its_own_answers_an_old_tile_until_it_is_truncated_there() {
    let cluster = Cluster::start_with(
        1,
        &Behaviour {
            tile_store: TileStore::PerInstance,
            ..Behaviour::default()
        },
    );
    let (main, replica) = (cluster.main(), cluster.replica(1));
    let look = |instance: &Instance| {
        let reply = get(instance, &tile(5, 0, 0));
        reply.header("x-geosim-look").unwrap().to_owned()
    };
    let old = look(replica);
    assert_eq!(look(main), old);
    let style = "<layer><defaultStyle><name>line</name></defaultStyle></layer>";
    let layer = "/geoserver/rest/layers/geor:roads";
    assert_eq!(as_admin(main, "PUT", layer, style).status, 200);
    let new = look(main);
    assert_ne!(new, old);
    as_admin(replica, "POST", "/geoserver/rest/reload", "");
    assert_eq!(look(replica), old);
    let truncate =
        |body: &str| as_admin(replica, "POST", "/geoserver/gwc/rest/masstruncate", body).status;
    let other = "<truncateLayer><layerName>geor:rivers</layerName></truncateLayer>";
    assert_eq!((truncate(other), look(replica)), (200, old));
    assert_eq!(truncate(&other.replace("rivers", "nothing")), 400);
    assert_eq!(truncate(&other.replace("rivers", "roads")), 200);
    assert_eq!(look(replica), new);
}

/// An instance renders nothing until [`let_go`].
fn reluctant() -> Behaviour {
    let metatile_time = ServiceTime::Fixed(SLOW);
    Behaviour {
        metatile_time,
        capacity: Capacity::Shared { cores: 1.0 },
        ..Behaviour::default()
    }
}

/// Lets the instance render what `waiting` requests want.
fn let_go(instance: &Instance, waiting: usize) {
    eventually("the requests are there", || {
        instance.control().in_flight() == waiting
    });
    // One thread serves all connections: when it has answered, it has begun with all that came
    // before.
    assert_eq!(get(instance, "/geoserver/www/a.css").status, 200);
    instance.control().set_speed(FAST);
}

#[test]
fn a_request_for_a_tile_that_is_being_rendered_waits_for_it() {
    let main = start_with(reluctant());
    thread::scope(|scope| {
        let asked: Vec<_> = (0..4)
            .map(|column| {
                scope.spawn({
                    let main = &main;
                    move || get(main, &tile(5, column, 0))
                })
            })
            .collect();
        let_go(&main, asked.len());
        let mut results: Vec<_> = asked
            .into_iter()
            .map(|asked| result(&asked.join().unwrap()).to_owned())
            .collect();
        results.sort();
        assert_eq!(results, ["HIT", "HIT", "HIT", "MISS"]);
    });
    assert_eq!(main.control().metatiles(), 1);
}

#[test]
fn instances_with_concurrent_requests_all_render_because_locks_are_not_shared() {
    let cluster = Cluster::start_with(1, &reluctant());
    thread::scope(|scope| {
        let asked = [cluster.main(), cluster.replica(1)]
            .map(|instance| scope.spawn(|| get(instance, &tile(5, 0, 0))));
        for instance in cluster.instances() {
            eventually("the request is there", || {
                instance.control().in_flight() == 1
            });
            assert_eq!(get(instance, "/geoserver/www/a.css").status, 200);
        }
        cluster.instances().for_each(|instance| let_go(instance, 1));
        for asked in asked {
            assert_eq!(result(&asked.join().unwrap()), "MISS");
        }
    });
    assert!(
        cluster
            .instances()
            .all(|instance| instance.control().metatiles() == 1)
    );
}
