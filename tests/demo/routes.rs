//! The HTTP server of the map page: its files, its controls, and its access control.

use std::collections::BTreeMap;
use std::time::Duration;

use geofront::demo::{DemoError, Options};
use serde_json::Value;
use tokio::time::{interval, timeout};

use super::client::{MARK, TILE, get, post, send};
use super::started;

const PATIENCE: Duration = Duration::from_secs(60);

/// The condition of each upstream, by name.
fn states(state: &Value) -> BTreeMap<String, String> {
    let upstreams = state["upstreams"].as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    upstreams
        .map(|upstream| (text(&upstream["name"]), text(&upstream["state"])))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_its_files_and_the_status_page_in_its_frame_are_served() {
    let demo = started().await;
    let map = demo.addresses.map;
    for (path, kind, part) in [
        ("/", "text/html", "plain round robin"),
        ("/map/map.css", "text/css", "#map"),
        ("/map/leaflet.css", "text/css", ".leaflet-"),
        ("/map/leaflet.js", "text/javascript", "Leaflet 1.9.4"),
        ("/map/map.js", "text/javascript", "class Demo"),
        ("/map/tiles.js", "text/javascript", "class Tiles"),
        ("/map/figures.js", "text/javascript", "class Figures"),
        ("/map/tour.js", "text/javascript", "class Tour"),
        ("/status", "text/html", "<title>geofront</title>"),
        ("/page.js", "text/javascript", "EventSource"),
        ("/explain.js", "text/javascript", "explain"),
        ("/api/status", "application/json", "\"upstreams\""),
    ] {
        let answer = get(map, path).await;
        assert_eq!(answer.status, 200, "{path}");
        let (found, body) = (answer.field("content-type").unwrap(), &answer.body);
        assert!(
            found.starts_with(kind) && body.contains(part),
            "{path}: {found}"
        );
    }
    let framed = get(map, "/status").await;
    let policy = framed.field("content-security-policy").unwrap();
    assert!(policy.contains("frame-ancestors 'self'"), "{policy}");
    assert_eq!(framed.field("x-frame-options"), Some("SAMEORIGIN"));
    // The product's own listener allows no frame.
    let own = get(demo.addresses.admin, "/").await;
    assert_eq!(own.field("x-frame-options"), Some("DENY"));
    demo.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_may_fetch_tiles_from_both_balancers_and_nothing_else() {
    let demo = started().await;
    let at = demo.addresses;
    let page = get(at.map, "/").await;
    let policy = page.field("content-security-policy").unwrap();
    let wanted = format!(
        "connect-src 'self' http://{} http://{};",
        at.front, at.naive
    );
    assert!(policy.contains(&wanted), "{policy}");
    assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"));
    for balancer in [at.front, at.naive] {
        let tile = get(balancer, TILE).await;
        assert!(tile.is_image(), "{tile:?}");
        assert_eq!(tile.field("access-control-allow-origin"), Some("*"));
        assert!(tile.upstream().unwrap().starts_with("slave"), "{tile:?}");
    }
    let state = get(at.map, "/demo/state").await.json();
    assert_eq!(state["front"], format!("http://{}", at.front));
    assert_eq!(state["naive"], format!("http://{}", at.naive));
    demo.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_order_breaks_the_replica_as_named_and_revive_ends_it() {
    let demo = started().await;
    let map = demo.addresses.map;
    for (order, state) in [
        ("slow", "slow"),
        ("hang", "hanging"),
        ("poison", "poisoned"),
        ("crash", "crashed"),
        ("revive", "well"),
    ] {
        let answer = post(map, &format!("/demo/replicas/slave2/{order}")).await;
        assert_eq!(answer.status, 200, "{order}: {}", answer.body);
        let found = states(&get(map, "/demo/state").await.json());
        let others = ["main", "slave1", "slave3"].map(|name| found[name].as_str());
        assert_eq!((found["slave2"].as_str(), others), (state, ["well"; 3]));
        let replica = demo.cluster.replicas().nth(1).unwrap();
        assert_eq!(replica.is_running(), order != "crash", "{order}");
        assert_eq!(replica.control().speed() < 1.0, order == "slow", "{order}");
        if order == "poison" {
            let poisoned = get(replica.address(), TILE).await;
            assert_eq!(poisoned.status, 200);
            assert!(poisoned.body.contains("OutOfMemoryError"), "{poisoned:?}");
        }
    }
    post(map, "/demo/replicas/slave1/crash").await;
    post(map, "/demo/replicas/slave3/hang").await;
    assert_eq!(post(map, "/demo/revive").await.status, 200);
    let found = states(&get(map, "/demo/state").await.json());
    assert!(found.values().all(|state| state == "well"), "{found:?}");
    demo.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_orders_of_the_demo_are_refused_and_named() {
    let demo = started().await;
    let map = demo.addresses.map;
    post(map, "/demo/replicas/slave1/crash").await;
    for (path, status, reason) in [
        (
            "/demo/replicas/slave1/explode",
            404,
            "no order is called `explode`: slow, hang, crash, poison, revive",
        ),
        (
            "/demo/replicas/slave9/slow",
            404,
            "no replica of the demo is called `slave9`",
        ),
        (
            "/demo/replicas/main/crash",
            404,
            "no replica of the demo is called `main`",
        ),
        (
            "/demo/replicas/slave1/slow",
            409,
            "slave1 has crashed: revive it first",
        ),
        (
            "/demo/burst?through=nothing",
            400,
            "through=`nothing`: must be geofront or round-robin",
        ),
        (
            "/demo/elsewhere",
            404,
            "the demo has no control at /demo/elsewhere",
        ),
        ("/demo/state", 405, "/demo/state does not take POST"),
    ] {
        let answer = post(map, path).await;
        assert_eq!(
            (answer.status, answer.json()["error"].as_str().unwrap()),
            (status, reason)
        );
    }
    let read = get(map, "/demo/revive").await;
    assert_eq!(read.status, 405, "{read:?}");
    demo.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn controls_are_out_of_reach_of_other_sites_and_of_tricked_programs() {
    let demo = started().await;
    let map = demo.addresses.map;
    let mark = MARK.to_owned();
    for fields in [
        String::new(),
        format!("{mark}Host: evil.example\r\n"),
        format!("{mark}Origin: http://evil.example\r\n"),
        format!("{mark}Origin: http://{}\r\n", demo.addresses.front),
        format!("{mark}Sec-Fetch-Site: cross-site\r\n"),
    ] {
        for path in [
            "/demo/replicas/slave1/crash",
            "/demo/revive",
            "/demo/publish",
            "/demo/burst?through=geofront",
        ] {
            let answer = send(map, "POST", path, &fields).await;
            assert_eq!(answer.status, 403, "{path} {fields}: {}", answer.body);
        }
    }
    let found = get(map, "/demo/state").await.json();
    assert!(
        states(&found).values().all(|state| state == "well"),
        "{found}"
    );
    assert_eq!(
        (
            found["burst"]["running"].as_bool(),
            found["layers"].as_array().unwrap().len()
        ),
        (Some(false), 0)
    );
    demo.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_published_layer_is_drawn_at_once_and_the_map_has_no_gap_while_replicas_reload() {
    let demo = started().await;
    let at = demo.addresses;
    let published = post(at.map, "/demo/publish").await.json();
    assert_eq!(published["layer"], "geor:parcels1");
    assert_eq!(
        get(at.map, "/demo/state").await.json()["layers"][0],
        "geor:parcels1"
    );
    let new = TILE.replace("geor:public_layer", "geor:parcels1");
    let reloads = || {
        demo.cluster
            .replicas()
            .map(|replica| replica.control().catalog_reloads())
    };
    let watching = async {
        let (mut number, mut beat) = (0, interval(Duration::from_millis(50)));
        while !reloads().all(|reloads| reloads > 0)
            || demo
                .cluster
                .replicas()
                .any(|replica| replica.control().is_reloading())
        {
            beat.tick().await;
            number += 1;
            for tile in [TILE, &new] {
                let answer = get(at.front, &format!("{tile}&n={number}")).await;
                assert!(answer.is_image(), "{answer:?}");
            }
        }
        number
    };
    let asked = timeout(PATIENCE, watching)
        .await
        .expect("all replicas are reloaded");
    assert!(asked > 20, "{asked} tiles requested");
    demo.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_is_served_through_geofront_and_only_one_runs_at_a_time() {
    let demo = started().await;
    let at = demo.addresses;
    // The work is the same; the wait is shorter.
    for replica in demo.cluster.replicas() {
        replica.control().set_speed(20.0);
    }
    assert_eq!(
        post(at.map, "/demo/burst?through=geofront").await.status,
        200
    );
    let second = post(at.map, "/demo/burst?through=geofront").await;
    assert_eq!(
        (second.status, second.json()["error"].as_str()),
        (409, Some("a burst is running: wait for its end"))
    );
    let over = async {
        let mut beat = interval(Duration::from_millis(50));
        loop {
            beat.tick().await;
            let burst = get(at.map, "/demo/state").await.json()["burst"].take();
            if burst["running"] == false {
                return burst;
            }
        }
    };
    let burst = timeout(PATIENCE, over).await.expect("the burst ends");
    assert_eq!(
        (burst["served"].as_u64(), burst["failed"].as_u64()),
        (burst["requests"].as_u64(), Some(0)),
        "{burst}"
    );
    demo.stop().await;
}

#[tokio::test]
async fn the_map_page_listens_on_loopback_only() {
    let any = "127.0.0.1:0".parse().unwrap();
    let options = Options {
        replicas: 1,
        listen: any,
        admin: any,
        map: "0.0.0.0:0".parse().unwrap(),
    };
    let refused = geofront::demo::start(options).await.err().unwrap();
    assert!(matches!(refused, DemoError::NotLoopback(_)));
    assert!(
        refused.to_string().contains("must be a loopback address"),
        "{refused}"
    );
}
