//! GeoServer's context has another path for clients.

use geofront::geosim::Request;
use std::sync::Arc;

use super::client::get;
use super::requests::{CAPABILITIES, MAP};
use super::rig::{PATIENCE, Plan, Rig};

const PUBLIC: &str = "[geoserver]\npublic_path = \"/maps/geoserver\"\n";

/// The target of clients for one of GeoServer.
fn public(target: &str) -> String {
    format!("/maps{target}")
}

/// Requests of clients that some upstream received.
fn received(rig: &Rig) -> Vec<Arc<Request>> {
    let all = rig.replicas.iter().chain([&rig.main]);
    all.flat_map(|instance| instance.requests())
        .filter(|request| request.header("via").is_some())
        .collect()
}

/// Whether an upstream received this target, with this `X-Forwarded-Path`.
fn has_received(rig: &Rig, target: &str, prefix: &str) -> bool {
    received(rig).iter().any(|request| {
        request.target() == target.as_bytes() && request.header("x-forwarded-path") == Some(prefix)
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_below_the_public_path_reach_geoserver_under_its_own() {
    let rig = Plan::replicas(1)
        .top("trusted_proxies = [\"127.0.0.1/32\"]")
        .with(PUBLIC)
        .start()
        .await;
    for target in [
        MAP,
        CAPABILITIES,
        "/geoserver//wms;a=b?service=WMS&request=GetMap&cql_filter=a|b%20c",
    ] {
        rig.get(&public(target)).await;
        assert!(has_received(&rig, target, "/maps"), "{target}");
    }
    let behind_another =
        get(&public(MAP)).replace("\r\n\r\n", "\r\nX-Forwarded-Path: /sdi/\r\n\r\n");
    rig.request(behind_another.as_bytes()).await;
    assert!(has_received(&rig, MAP, "/sdi/maps"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_paths_are_not_found_and_reach_no_upstream() {
    let rig = Plan::replicas(1).with(PUBLIC).start().await;
    for target in [
        MAP,
        "/",
        "/maps",
        "/maps/geoservers/wms",
        "/maps/geo%73erver/wms",
        "/maps//geoserver/wms",
        "/manager/html",
    ] {
        assert_eq!(rig.get(target).await.status, 404, "{target}");
    }
    assert!(received(&rig).is_empty());
    let refused = "geofront_refused_total{class=\"unknown\",reason=\"public-path\"} 7\n";
    rig.metrics_with(refused).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_spelling_of_the_public_path_gets_around_a_rule() {
    let rule = format!("{PUBLIC}[[routes]]\npath = \"/rest/**\"\nrefuse = true\n");
    let rig = Plan::replicas(1).with(&rule).start().await;
    for below in [
        "/rest/layers",
        "/%72est/layers",
        "//rest;a/layers",
        "/./rest/layers",
        "/web/../rest/layers",
        "/../geoserver/rest/layers",
        "/../../geoserver/rest/layers",
    ] {
        let answer = rig.get(&format!("/maps/geoserver{below}")).await;
        assert_eq!(answer.status, 403, "{below}");
    }
    assert!(received(&rig).is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redirects_and_cookies_stay_below_the_public_path() {
    let rig = Plan::replicas(1).with(PUBLIC).start().await;
    let answer = rig.get("/maps/geoserver/web/").await;
    assert_eq!(answer.status, 302);
    let location = answer.header("location").unwrap();
    let begin = "http://maps.example.org/maps/geoserver/web/?";
    assert!(location.starts_with(begin), "{location}");
    let cookie = answer.header("set-cookie").unwrap();
    assert!(cookie.contains("; Path=/maps/geoserver;"), "{cookie}");

    // A browser that follows it, with its cookie, is there.
    let session = cookie.split(';').next().unwrap();
    let target = location.strip_prefix("http://maps.example.org").unwrap();
    let next = get(target).replace("\r\n\r\n", &format!("\r\nCookie: {session}\r\n\r\n"));
    assert_eq!(rig.request(next.as_bytes()).await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_access_log_has_the_public_path() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("access.log");
    let rig = Plan::replicas(1)
        .with(PUBLIC)
        .access_log(&log)
        .start()
        .await;
    rig.get(&public(MAP)).await;
    rig.get(MAP).await;
    let deadline = std::time::Instant::now() + PATIENCE;
    let lines = loop {
        let lines = std::fs::read_to_string(&log).unwrap_or_default();
        if lines.lines().count() == 2 {
            break lines;
        }
        assert!(std::time::Instant::now() < deadline, "{lines}");
        tokio::task::yield_now().await;
    };
    let found = lines.lines().find(|line| line.contains("status=200"));
    let found = found.unwrap_or_else(|| panic!("{lines}"));
    assert!(
        found.contains(" path=/maps/geoserver/wms?service=WMS"),
        "{found}"
    );
    assert!(found.contains(" layer=geor:public_layer "), "{found}");
    let refused = lines
        .lines()
        .find(|line| line.contains("refused:public-path"));
    let refused = refused.unwrap_or_else(|| panic!("{lines}"));
    assert!(
        refused.contains(" path=/geoserver/wms?service=WMS"),
        "{refused}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn geoserver_can_be_at_the_public_root() {
    let rig = Plan::replicas(1)
        .with("[geoserver]\npublic_path = \"\"\n")
        .start()
        .await;
    let target = MAP.strip_prefix("/geoserver").unwrap();
    assert_eq!(rig.get(target).await.status, 200);
    let all = received(&rig);
    let [map] = all.as_slice() else {
        panic!("{} requests", all.len());
    };
    assert_eq!(map.target(), MAP.as_bytes());
    assert_eq!(map.header("x-forwarded-path"), None);
    let location = rig.get("/web/").await;
    let location = location.header("location").unwrap();
    assert!(
        location.starts_with("http://maps.example.org/web/?"),
        "{location}"
    );
}
