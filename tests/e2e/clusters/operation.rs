//! What operators see and do: pages, API, metrics and commands.

use std::process::Command;

use super::in_region;
use super::town::{CITY, ELSEWHERE, Town, TownPlan};
use crate::requests::MAP;

/// Runs a command against the front door.
async fn geofront(town: &Town, arguments: &[&str]) -> (i32, String) {
    let admin = town.app.admin.to_string();
    let config = town.file("geofront.toml").display().to_string();
    let arguments: Vec<String> = arguments
        .iter()
        .map(|argument| argument.replace("ADMIN", &admin).replace("CONFIG", &config))
        .collect();
    let run = move || {
        let output = Command::new(env!("CARGO_BIN_EXE_geofront"))
            .args(arguments)
            .env("COLUMNS", "200")
            .output()
            .expect("the binary runs");
        let text = [output.stdout, output.stderr].concat();
        (
            output.status.code().expect("it exits"),
            String::from_utf8_lossy(&text).into_owned(),
        )
    };
    tokio::task::spawn_blocking(run).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn samples_of_a_cluster_have_its_label_and_those_of_the_process_have_none() {
    let town = TownPlan::default().start().await;
    assert_eq!(town.get(CITY, MAP).await.status, 200);
    assert_eq!(town.get(ELSEWHERE, &in_region(MAP)).await.status, 200);
    let sample = "geofront_requests_total{cluster=\"region\",class=\"map\",upstream=\"slave";
    let metrics = town.admin_until("/metrics", sample).await;
    let metrics = if metrics.contains("geofront_requests_total{cluster=\"city\",class=\"map\"") {
        metrics
    } else {
        town.admin("/metrics").await.text()
    };
    for wanted in [
        "geofront_requests_total{cluster=\"city\",class=\"map\"",
        "geofront_upstream_up{cluster=\"city\",upstream=\"main\"} 1\n",
        "geofront_upstream_up{cluster=\"region\",upstream=\"main\"} 1\n",
        "geofront_catalog_epoch{cluster=\"city\"} ",
        "geofront_config_revision{cluster=\"(none)\"} 1\n",
        "geofront_client_connections ",
        "geofront_build_info{version=",
    ] {
        assert!(metrics.contains(wanted), "{wanted}\n{metrics}");
    }
    for family in metrics.lines().filter(|line| line.starts_with("# HELP ")) {
        let name = family.split(' ').nth(2).unwrap();
        let heads = metrics.matches(&format!("# HELP {name} ")).count();
        assert_eq!(heads, 1, "{name} is a family once");
    }
    assert!(!metrics.contains("cluster=\"(none)\",upstream=\"main\""));
}

/// The metrics that the panels of the Grafana dashboard select, with their matchers.
fn selectors_of_dashboard() -> Vec<(String, String)> {
    let dashboard: serde_json::Value =
        serde_json::from_str(include_str!("../../../packaging/grafana/geofront.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let targets = panels.flat_map(|panel| panel["targets"].as_array().into_iter().flatten());
    let expressions = targets.map(|target| target["expr"].as_str().unwrap());
    let is_name = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let selectors = expressions.flat_map(|expression| {
        let braces = expression.match_indices('{');
        braces.map(|(at, _)| {
            let name = expression[..at].rfind(|letter| !is_name(letter));
            let matchers = expression[at + 1..].split('}').next().unwrap();
            let name = &expression[name.map_or(0, |before| before + 1)..at];
            (name.to_owned(), matchers.to_owned())
        })
    });
    selectors.collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_dashboard_shows_one_cluster_by_every_metric_that_has_its_label() {
    let town = TownPlan::default().start().await;
    assert_eq!(town.get(CITY, MAP).await.status, 200);
    let sample = "geofront_requests_total{cluster=\"city\",class=\"map\",upstream=\"slave";
    let metrics = town.admin_until("/metrics", sample).await;
    let (mut of_clusters, mut of_process) = (0, 0);
    for (name, matchers) in selectors_of_dashboard() {
        let sample = format!("{name}{{");
        let line = metrics.lines().find(|line| line.starts_with(&sample));
        let has_label = line.map(|line| line.contains("{cluster=\""));
        let is_plain = metrics.contains(&format!("\n{name} "));
        let is_filtered = matchers.contains("cluster=~\"$cluster\"");
        match has_label.or_else(|| is_plain.then_some(false)) {
            Some(has_label) => assert_eq!(is_filtered, has_label, "{name}{{{matchers}}}"),
            // No sample yet.
            None => continue,
        }
        if is_filtered {
            of_clusters += 1;
        } else {
            of_process += 1;
        }
    }
    assert!(
        of_clusters > 40 && of_process > 8,
        "{of_clusters}, {of_process}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_cluster_has_a_page_and_an_api_of_its_own_and_the_front_an_overview() {
    let town = TownPlan::default().start().await;
    let overview = town.admin("/").await.text();
    assert!(overview.contains("clusters.js"), "{overview}");
    for path in [
        "/page.css",
        "/clusters.js",
        "/clusters/city/page.js",
        "/clusters/city/page.css",
    ] {
        assert_eq!(town.admin(path).await.status, 200, "{path}");
    }
    let list = town.admin("/api/clusters").await.text();
    let list: serde_json::Value = serde_json::from_str(&list).unwrap();
    assert_eq!(list["ready"], true);
    let names: Vec<&str> = list["clusters"]
        .as_array()
        .unwrap()
        .iter()
        .map(|cluster| cluster["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["city", "region"]);
    assert_eq!(list["clusters"][0]["hosts"][1], "*.city.example.org");
    assert_eq!(list["clusters"][1]["path"], "/region/geoserver");
    assert_eq!(list["clusters"][1]["upstreams"], 3);
    for name in names {
        let page = town.admin(&format!("/clusters/{name}/")).await.text();
        assert!(page.contains("src=\"page.js\""), "{page}");
        let moved = town.admin(&format!("/clusters/{name}")).await;
        assert_eq!(moved.status, 308);
        assert_eq!(
            moved.header("location"),
            Some(&*format!("/clusters/{name}/"))
        );
        let status = town
            .admin(&format!("/clusters/{name}/api/status"))
            .await
            .text();
        let status: serde_json::Value = serde_json::from_str(&status).unwrap();
        assert_eq!(status["cluster"], name);
        assert_eq!(status["upstreams"].as_array().unwrap().len(), 3);
    }
    let missing = town.admin("/api/status").await;
    assert_eq!(missing.status, 404);
    assert!(
        missing.text().contains("several clusters: city, region"),
        "{}",
        missing.text()
    );
    let unknown = town.admin("/clusters/moon/api/status").await;
    assert_eq!(unknown.status, 404);
    assert!(
        unknown.text().contains("no cluster `moon`"),
        "{}",
        unknown.text()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_need_the_name_of_a_cluster_and_act_on_that_one() {
    let town = TownPlan::default().start().await;
    for command in [
        &["status"][..],
        &["status", "--json"],
        &["top"],
        &["drain", "slave1"],
        &["catalog", "history"],
    ] {
        let (code, text) = geofront(&town, &[command, &["--admin", "ADMIN"]].concat()).await;
        assert_ne!(code, 0, "{command:?}");
        assert!(
            text.contains("several clusters: city, region"),
            "{command:?}: {text}"
        );
    }
    let city = ["--admin", "ADMIN", "--cluster", "city"];
    let (code, text) = geofront(&town, &[&["status"][..], &city].concat()).await;
    assert_eq!(code, 0, "{text}");
    assert!(text.contains(", cluster city: serving"), "{text}");
    let (code, text) = geofront(&town, &[&["drain", "slave1"][..], &city].concat()).await;
    assert_eq!(code, 0, "{text}");
    let mode = |name: &str| {
        let upstreams = town
            .part(name)
            .control
            .status(std::time::Instant::now())
            .upstreams;
        upstreams[1].mode
    };
    assert_eq!(mode("city"), geofront::cluster::Mode::Drain);
    assert_eq!(mode("region"), geofront::cluster::Mode::Ready);
    let (code, text) = geofront(&town, &["reload", "--admin", "ADMIN"]).await;
    assert_eq!(code, 0, "{text}");
    let unknown = ["status", "--admin", "ADMIN", "--cluster", "moon"];
    let (code, text) = geofront(&town, &unknown).await;
    assert_ne!(code, 0);
    assert!(
        text.contains("no cluster `moon`: there are city, region"),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn check_and_explain_know_all_clusters() {
    let town = TownPlan::default().start().await;
    let (code, text) = geofront(&town, &["check", "CONFIG", "--probe"]).await;
    assert_eq!(code, 0, "{text}");
    for wanted in [
        "geofront.toml is right.",
        "city.toml) serves city.example.org, *.city.example.org.",
        "region.toml) serves /region/geoserver on every host.",
        "Cluster city:\n",
        "Cluster region:\n",
    ] {
        assert!(text.contains(wanted), "{wanted}\n{text}");
    }
    let (code, text) = geofront(&town, &["check", "CONFIG", "--probe", "--json"]).await;
    assert_eq!(code, 0, "{text}");
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        json["clusters"]["region"]["upstreams"]
            .as_array()
            .unwrap()
            .len(),
        3
    );

    for (url, wanted) in [
        (
            "https://city.example.org/geoserver/wms?service=WMS&request=GetMap",
            "cluster      city\n",
        ),
        (
            "/region/geoserver/wms?service=WMS&request=GetMap",
            "cluster      region\n",
        ),
        ("https://maps.example.org/geoserver/wms", "refused      404"),
        ("/region/geoserver/web/../wms", "cluster      region\n"),
        ("/x/../region/geoserver/wms", "refused      404"),
    ] {
        let (code, text) = geofront(&town, &["explain", "--config", "CONFIG", url]).await;
        assert_eq!(code, 0, "{text}");
        assert!(text.starts_with(wanted), "{url}: {text}");
    }
    std::fs::write(town.file("city.toml"), "[upstreams.a]\nurl = 3\n").unwrap();
    std::fs::write(town.file("region.toml"), "listen = \"0.0.0.0:80\"\n").unwrap();
    let (code, text) = geofront(&town, &["check", "CONFIG"]).await;
    assert_eq!(code, 78, "{text}");
    assert!(
        text.contains("city.toml:2:7") && text.contains("region.toml:1:10"),
        "{text}"
    );
}
