//! The choice of a cluster by host and path.

use super::in_region;
use super::town::{CITY, ELSEWHERE, Instances, Town, TownPlan};
use crate::client::Client;
use crate::http2;
use crate::requests::{CAPABILITIES, MAP, TILE};

/// The cluster that answered; empty if none did.
async fn served_by(town: &Town, host: &str, target: &str) -> String {
    let answer = town.get(host, target).await;
    answer
        .served_by()
        .trim_end_matches(|c: char| c.is_ascii_digit())
        .to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_reach_their_cluster_by_host_and_by_path() {
    let town = TownPlan::default().start().await;
    for target in [MAP, TILE, CAPABILITIES] {
        for host in [
            CITY,
            "CITY.Example.ORG",
            "city.example.org:8443",
            "city.example.org.",
            "a.city.example.org",
            "a.b.city.example.org",
        ] {
            assert_eq!(served_by(&town, host, target).await, "city", "{host}");
        }
        for host in [
            ELSEWHERE,
            "10.0.0.1:8080",
            "example.org",
            "notcity.example.org",
        ] {
            let target = in_region(target);
            assert_eq!(served_by(&town, host, &target).await, "region", "{host}");
        }
    }
    let region = town.region.received();
    assert!(
        region
            .iter()
            .all(|request| request.target().starts_with(b"/geoserver/")),
        "GeoServer has its own path"
    );
    let prefixes = region.iter().map(|r| r.header("x-forwarded-path"));
    assert!(prefixes.clone().all(|prefix| prefix == Some("/region")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_decides_before_a_path() {
    let town = TownPlan::default().start().await;
    // Not the region: its path on a host of the city is a path of the city's GeoServers.
    let answer = town.get(CITY, &in_region(MAP)).await;
    assert_eq!(answer.status, 404);
    assert!(town.region.received().is_empty());
    assert_eq!(town.city.received().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_cluster_of_an_absolute_target_is_that_of_its_host() {
    let town = TownPlan::default().start().await;
    for (version, fields) in [
        ("1.1", "Host: city.example.org\r\n"),
        ("1.0", ""),
        ("1.1", "Host: CITY.example.org:80\r\n"),
    ] {
        let request = format!("GET http://city.example.org{MAP} HTTP/{version}\r\n{fields}\r\n");
        let answer = town.request(request.as_bytes()).await;
        assert!(answer.served_by().starts_with("city"), "{request}");
    }
    let disagrees =
        format!("GET http://city.example.org{MAP} HTTP/1.1\r\nHost: {ELSEWHERE}\r\n\r\n");
    assert_eq!(town.request(disagrees.as_bytes()).await.status, 400);
    let two = format!("GET {MAP} HTTP/1.1\r\nHost: {CITY}\r\nHost: {ELSEWHERE}\r\n\r\n");
    assert_eq!(town.request(two.as_bytes()).await.status, 400);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_request_of_a_connection_has_its_own_cluster() {
    let town = TownPlan::default().start().await;
    let mut client = Client::connect(town.app.listen[0]).await.unwrap();
    for _ in 0..3 {
        for (host, target, cluster) in [
            (CITY, MAP.to_owned(), "city"),
            (ELSEWHERE, in_region(MAP), "region"),
        ] {
            let request = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n");
            let answer = client.request(request.as_bytes()).await.unwrap();
            assert!(answer.served_by().starts_with(cluster), "{host}");
        }
    }
}

/// Identical requests share an answer within a cluster; `/geoserver/wms` is one path in both.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_are_shared_within_a_cluster_only() {
    let entries = super::town::ENTRIES.replace(
        "path = \"/region/geoserver\"",
        "hosts = \"region.example.org\"",
    );
    let town = TownPlan {
        entries: Some(entries),
        ..TownPlan::default()
    }
    .start()
    .await;
    let map = format!("{MAP}&geosim_work=300ms");
    let (city, region) = tokio::join!(town.get(CITY, &map), town.get("region.example.org", &map));
    assert!(city.served_by().starts_with("city"));
    assert!(region.served_by().starts_with("region"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_of_no_cluster_get_an_answer_a_line_and_a_count() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("access.log");
    let entries = "[clusters.city]\nfile = \"city.toml\"\nhosts = \"city.example.org\"\n\
        [clusters.region]\nfile = \"region.toml\"\nhosts = \"region.example.org\"\npath = \"/region/geoserver\"\n";
    let town = TownPlan {
        front: format!("[log]\naccess = \"{}\"\n", log.display()),
        entries: Some(entries.to_owned()),
        ..TownPlan::default()
    }
    .start()
    .await;
    let stranger = town.get("other.example.org", MAP).await;
    assert_eq!(stranger.status, 421);
    let elsewhere = town.get("region.example.org", MAP).await;
    assert_eq!(elsewhere.status, 404);
    assert!(elsewhere.text().contains("no map service at this address"));
    assert_eq!(town.request(b"GET / HTTP/1.0\r\n\r\n").await.status, 421);
    assert_eq!(town.get(CITY, MAP).await.status, 200);
    let metrics = town
        .admin_until(
            "/metrics",
            "geofront_refused_total{cluster=\"(none)\",class=\"unknown\",reason=\"unknown-host\"} 2\n",
        )
        .await;
    assert!(
        metrics.contains(
            "geofront_refused_total{cluster=\"(none)\",class=\"unknown\",reason=\"unknown-path\"} 1\n"
        ),
        "{metrics}"
    );
    town.until("the lines are written", |_| {
        std::fs::read_to_string(&log).is_ok_and(|lines| lines.lines().count() == 4)
    })
    .await;
    let lines = std::fs::read_to_string(&log).unwrap();
    let line = |wanted: &str| {
        let found = lines.lines().find(|line| line.contains(wanted));
        found.unwrap_or_else(|| panic!("no {wanted} in {lines}"))
    };
    assert!(line("end=refused:unknown-host").contains("status=421"));
    assert!(!line("end=refused:unknown-path").contains("cluster="));
    assert!(line("status=200").ends_with(" cluster=city"));
    assert!(town.region.received().is_empty());
}

/// One GeoServer has both paths, as two contexts of one Tomcat do: the rules of the guarded path
/// must not be got around by way of the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_spelling_leads_around_the_rules_of_another_cluster() {
    let entries = "[clusters.guarded]\nfile = \"guarded.toml\"\npath = \"/geoserver\"\n\
        [clusters.open]\nfile = \"open.toml\"\npath = \"/open\"\n";
    let instances = Instances::start("one", 1, &Default::default());
    let folder = tempfile::tempdir().unwrap();
    let rule = "[[routes]]\npath = \"/rest/**\"\nrefuse = true\n";
    for (name, text) in [
        (
            "geofront.toml",
            format!(
                "listen = [\"127.0.0.1:0\"]\nadmin = \"127.0.0.1:0\"\n[log]\naccess = \"off\"\n{entries}"
            ),
        ),
        ("guarded.toml", instances.config(rule)),
        (
            "open.toml",
            instances.config("[geoserver]\ncontext = \"/open\"\n"),
        ),
    ] {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    let environment = std::sync::Arc::new(geofront::config_reload::RealEnvironment);
    let app = geofront::app::start(&folder.path().join("geofront.toml"), environment)
        .await
        .unwrap();
    let status = async |target: &str, host: &str| {
        let mut client = Client::connect(app.listen[0]).await.unwrap();
        let request = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n");
        client.request(request.as_bytes()).await.unwrap().status
    };
    for target in [
        "/open/../geoserver/rest/layers",
        "/open/%2e%2e/geoserver/rest/layers",
        "/open/%2E./geoserver/rest/layers",
        "/open/..;/geoserver/rest/layers",
        "/open;/../geoserver/rest/layers",
        "/open/..%2fgeoserver/rest/layers",
        "/open/..%5cgeoserver/rest/layers",
        "/open/..%252fgeoserver/rest/layers",
        "/open/%252e%252e/geoserver/rest/layers",
        "/open//../../geoserver/rest/layers",
        "/open/./../geoserver/rest/layers",
        "/open/x/../../geoserver/rest/layers",
        "/open/..;x=/geoserver/rest/layers",
        "/open%2f..%2fgeoserver/rest/layers",
        "//geoserver/rest/layers",
        "/./geoserver/rest/layers",
        "/x/../geoserver/rest/layers",
        "/%67eoserver/rest/layers",
        "/geoserver%2frest/layers",
        "/;x/geoserver/rest/layers",
    ] {
        for host in ["maps.example.org", "MAPS.EXAMPLE.ORG:80"] {
            let status = status(target, host).await;
            assert!(matches!(status, 400 | 403 | 404), "{target}: {status}");
        }
        let absolute = format!("http://maps.example.org{target}");
        let status = status(&absolute, "maps.example.org").await;
        assert!(matches!(status, 400 | 403 | 404), "{absolute}: {status}");
    }
    // Within its cluster, the rule holds for every spelling.
    for target in [
        "/geoserver/rest/layers",
        "/geoserver/%72est/layers",
        "/geoserver/web/../rest/layers",
        "/geoserver;a/rest/layers",
    ] {
        assert_eq!(status(target, "maps.example.org").await, 403, "{target}");
    }
    assert!(
        instances.received().is_empty(),
        "none reached the GeoServer"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_requests_of_an_http2_connection_go_by_their_authority() {
    let town = TownPlan {
        front: "[listeners.second]\naddress = \"127.0.0.1:0\"\nhttp2 = true\n".to_owned(),
        ..TownPlan::default()
    }
    .start()
    .await;
    let stream = tokio::net::TcpStream::connect(town.app.listeners[0].1.inet().unwrap())
        .await
        .unwrap();
    let (requests, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(async move { connection.await.ok() });
    for (authority, target, wanted) in [
        (CITY, MAP.to_owned(), "city"),
        (ELSEWHERE, in_region(MAP), "region"),
        ("A.CITY.example.org:443", MAP.to_owned(), "city"),
        (ELSEWHERE, MAP.to_owned(), ""),
    ] {
        let request = http::Request::get(format!("http://{authority}{target}"))
            .body(())
            .unwrap();
        let (answer, _) = http2::exchange(&requests, request, &[]).await.unwrap();
        let served_by = answer.headers().get("x-geosim");
        let served_by = served_by.map_or("", |name| name.to_str().unwrap());
        assert!(served_by.starts_with(wanted), "{authority}: {served_by}");
        assert_eq!(answer.status() == 404, wanted.is_empty(), "{authority}");
    }
}
