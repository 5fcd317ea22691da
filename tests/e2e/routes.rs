//! The rules of operators: services and addresses that are closed, requests that go to nodes of
//! their own, and extensions with requests that are reads.

use std::time::Duration;

use geofront::geosim::Instance;

use super::client::{Answer, get, post};
use super::requests::{FEATURES, MAP, TRANSACTION, WFS, XML};
use super::rig::{PATIENCE, Plan, Rig};

/// Requests of clients (not probes) that any instance has received.
fn received(rig: &Rig) -> usize {
    let of = |instance: &Instance| {
        let requests = instance.requests();
        requests
            .iter()
            .filter(|request| request.header("via").is_some())
            .count()
    };
    of(&rig.main) + rig.replicas.iter().map(of).sum::<usize>()
}

fn from(address: &str, target: &str) -> Vec<u8> {
    format!("GET {target} HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: {address}\r\n\r\n").into_bytes()
}

fn is_refused(answer: &Answer) -> bool {
    answer.status == 403 && answer.header("x-geosim").is_none()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i_want_the_rest_interface_and_the_web_interface_from_inside_only() {
    let rig = Plan::replicas(1)
        .top("trusted_proxies = [\"127.0.0.1/32\"]")
        .with(
            "[[routes]]\nname = \"inside-only\"\npath = [\"/rest/**\", \"/gwc/rest/**\", \"/web/**\"]\n\
             not_from = \"10.0.0.0/8\"\nrefuse = true\n",
        )
        .start()
        .await;
    for target in [
        "/geoserver/rest/workspaces",
        "/geoserver/rest/../rest/workspaces",
        "/geoserver/%72est/workspaces",
        "/geoserver//rest;a=b/workspaces.json",
        "/geoserver/gwc/rest/layers",
        "/geoserver/web/",
    ] {
        let before = received(&rig);
        let outside = rig.request(&from("192.0.2.7", target)).await;
        assert!(is_refused(&outside), "{target}: {}", outside.status);
        assert_eq!(received(&rig), before, "{target}");
        let inside = rig.request(&from("10.1.2.3", target)).await;
        assert_ne!(inside.status, 403, "{target}");
    }
    assert_eq!(rig.request(&from("192.0.2.7", MAP)).await.status, 200);
    let metrics = rig.metrics().await;
    assert!(
        metrics.contains("geofront_refused_total{class=\"admin\",reason=\"route\"}"),
        "{metrics}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i_want_wfs_t_off_and_the_client_to_read_why_in_its_own_form() {
    let rig = Plan::replicas(1)
        .with("[[routes]]\nservice = \"WFS\"\noperation = [\"Transaction\", \"LockFeature\", \"GetFeatureWithLock\"]\nrefuse = true\n")
        .start()
        .await;
    let before = received(&rig);
    let answer = rig.post(WFS, XML, TRANSACTION).await;
    assert!(is_refused(&answer), "{}", answer.status);
    assert!(
        answer.text().contains("<ows:ExceptionReport"),
        "{}",
        answer.text()
    );
    for target in [
        "/geoserver/ows?service=WFS&request=Transaction",
        "/geoserver/geor/wfs?request=LockFeature",
        "/geoserver/wms?service=WMS&service=WFS&request=Transaction",
        "/geoserver/wfs/Transaction",
    ] {
        assert!(is_refused(&rig.get(target).await), "{target}");
    }
    let soap = b"<e:Envelope xmlns:e='http://www.w3.org/2003/05/soap-envelope'><e:Body><Transaction service='WFS'/></e:Body></e:Envelope>";
    assert!(is_refused(
        &rig.post(WFS, "application/soap+xml", soap).await
    ));
    assert_eq!(received(&rig), before, "nothing of it reached a GeoServer");
    assert_eq!(rig.get(FEATURES).await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i_want_exports_on_a_node_of_their_own_and_maps_on_the_others() {
    let rig = Plan::replicas(3)
        .with(
            "[[routes]]\noperation = [\"GetFeature\", \"GetCoverage\"]\nupstreams = \"slave3\"\n\
             [[routes]]\nupstreams = [\"slave1\", \"slave2\"]\n",
        )
        .start()
        .await;
    let name = |index: usize| rig.replicas[index].name().to_owned();
    for _ in 0..6 {
        assert_eq!(rig.get(FEATURES).await.served_by(), name(2));
        assert_ne!(rig.get(MAP).await.served_by(), name(2));
    }
    rig.replicas[2].kill();
    let answer = rig.get(FEATURES).await;
    assert_eq!(
        answer.status, 200,
        "without its node an export is served by others, as without the rule"
    );
    assert_ne!(answer.served_by(), name(2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_only_a_request_is_refused_rather_than_served_elsewhere() {
    let rig = Plan::replicas(2)
        .with("[[routes]]\nworkspace = \"geor\"\nupstreams = \"slave2\"\nonly = true\n")
        .start()
        .await;
    assert_eq!(rig.get(MAP).await.served_by(), rig.replicas[1].name());
    rig.replicas[1].kill();
    rig.until("the replica is down", |rig| {
        rig.upstream("slave2").health != geofront::cluster::HealthState::Up
    })
    .await;
    let refused = rig.get(MAP).await;
    assert_eq!(refused.status, 503);
    assert!(refused.header("retry-after").is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_requests_of_my_extension_are_reads_and_a_write_below_its_path_is_still_a_write() {
    let rig = Plan::replicas(1)
        .with("[[routes]]\npath = \"/ext/**\"\nclass = \"feature\"\n")
        .start()
        .await;
    let reached_main = async |bytes: &[u8]| {
        let before = rig
            .main
            .requests()
            .iter()
            .filter(|r| r.header("via").is_some())
            .count();
        drop(rig.request(bytes).await);
        rig.main
            .requests()
            .iter()
            .filter(|r| r.header("via").is_some())
            .count()
            > before
    };
    assert!(!reached_main(get("/geoserver/ext/a").as_bytes()).await);
    assert!(reached_main(get("/geoserver/ext/wfs?request=Transaction").as_bytes()).await);
    assert!(reached_main(&post("/geoserver/ext/a", XML, b"<a/>")).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rule_that_is_added_to_the_file_holds_from_the_next_request_on() {
    let rig = Plan::replicas(1).start().await;
    assert_eq!(rig.get(MAP).await.status, 200);
    let config = format!(
        "{}\n[[routes]]\nservice = \"WMS\"\nrefuse = true\n",
        rig.config()
    );
    rig.write_config(&config);
    let deadline = tokio::time::Instant::now() + PATIENCE;
    let mut looks = tokio::time::interval(Duration::from_millis(20));
    while !is_refused(&rig.get(MAP).await) {
        assert!(
            tokio::time::Instant::now() < deadline,
            "the rule is not in force"
        );
        looks.tick().await;
    }
    assert!(
        rig.get(MAP)
            .await
            .text()
            .contains("<ServiceExceptionReport")
    );
}
