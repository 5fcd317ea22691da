//! Each cluster's configuration is reloaded by itself.

use std::time::Instant;

use super::in_region;
use super::town::{CITY, ELSEWHERE, ENTRIES, Town, TownPlan};
use crate::binary::Process;
use crate::requests::MAP;
use crate::rig::PATIENCE;

fn revision(town: &Town, name: &str) -> u64 {
    town.part(name).control.snapshot().revision
}

fn edit(town: &Town, file: &str, change: impl Fn(String) -> String) {
    let path = town.file(file);
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(path, change(text)).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_file_of_one_cluster_hinders_no_other() {
    let town = TownPlan::default().start().await;
    edit(&town, "city.toml", |text| text + "[limits]\nqueue = -1\n");
    let overview = town.admin_until("/api/clusters", "\"refused\"").await;
    let overview: serde_json::Value = serde_json::from_str(&overview).unwrap();
    let clusters = &overview["clusters"];
    let error = clusters[0]["last_reload"]["error"].as_str().unwrap();
    let place = format!("{}:", town.file("city.toml").display());
    assert!(
        error.contains(&place) && error.contains("`limits.queue` is -1"),
        "{error}"
    );
    assert_eq!(clusters[1]["last_reload"], serde_json::Value::Null);
    assert_eq!(overview["last_reload"], serde_json::Value::Null);
    assert_eq!(town.get(CITY, MAP).await.status, 200);

    let before = revision(&town, "region");
    edit(&town, "region.toml", |text| {
        text.replace("[upstreams.slave1]", "[upstreams.slave1]\nweight = 7")
    });
    town.until("the region's edit is in force", |town| {
        revision(town, "region") > before
    })
    .await;
    assert_eq!(revision(&town, "city"), 1);
    let metrics = town.admin("/metrics").await.text();
    for (cluster, well) in [("city", 0), ("region", 1), ("(none)", 1)] {
        let sample =
            format!("geofront_config_last_reload_success{{cluster=\"{cluster}\"}} {well}\n");
        assert!(metrics.contains(&sample), "{sample}{metrics}");
    }

    edit(&town, "city.toml", |text| {
        text.replace("queue = -1", "queue = 9")
    });
    town.until("the city's edit is in force", |town| {
        town.part("city").control.snapshot().config.limits.queue == 9
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hosts_and_paths_change_live_and_clusters_by_a_restart() {
    let town = TownPlan::default().start().await;
    assert_eq!(town.get("new.example.org", MAP).await.status, 404);
    edit(&town, "geofront.toml", |text| {
        text.replace("\"city.example.org\"", "\"new.example.org\"")
            .replace("/region/geoserver", "/land/geoserver")
    });
    let deadline = Instant::now() + PATIENCE;
    let land = format!("/land{MAP}");
    while town.get("new.example.org", MAP).await.status != 200
        || town.get(ELSEWHERE, &land).await.status != 200
    {
        assert!(Instant::now() < deadline, "the new places are not served");
    }
    assert_eq!(town.get(ELSEWHERE, &in_region(MAP)).await.status, 404);
    let served = town.get("a.city.example.org", MAP).await;
    assert_eq!(served.status, 200, "the other host stays");

    let removed = |text: String| {
        let city = text.find("[clusters.city]").unwrap();
        let region = text.find("[clusters.region]").unwrap();
        text[..city].to_owned() + &text[region..]
    };
    edit(&town, "geofront.toml", removed);
    let refused = "clusters.city (removed) cannot change while geofront runs";
    town.admin_until("/api/clusters", refused).await;
    assert_eq!(town.get("new.example.org", MAP).await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_order_reloads_the_front_file_and_all_clusters() {
    let town = TownPlan::default().start().await;
    let unchanged = town.order("POST", "/api/config/reload").await;
    assert_eq!(unchanged.status, 200);
    assert!(
        unchanged.text().contains("\"unchanged\""),
        "{}",
        unchanged.text()
    );
    edit(&town, "city.toml", |text| text + "[limits]\nqueue = -1\n");
    edit(&town, "region.toml", |text| text + "[limits]\nqueue = 7\n");
    let answer = town.order("POST", "/api/config/reload").await;
    assert_eq!(answer.status, 422);
    assert!(
        answer.text().contains("cluster city: "),
        "{}",
        answer.text()
    );
    assert_eq!(
        town.part("region").control.snapshot().config.limits.queue,
        7
    );
    let one = town
        .order("POST", "/clusters/region/api/config/reload")
        .await;
    assert_eq!(one.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_of_the_process_names_the_cluster() {
    let town = TownPlan::default().start().await;
    let process = Process::start(town.folder()).await;
    let path = town.file("city.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let edited = text.replace("[upstreams.slave1]", "[upstreams.slave1]\nweight = 7");
    std::fs::write(&path, edited).unwrap();
    town.until("the lines are there", |town| {
        let log = Process::log(town.folder());
        let has = |parts: &[&str]| {
            let mut lines = log.lines();
            lines.any(|line| parts.iter().all(|part| line.contains(part)))
        };
        has(&["upstream=slave1", "health=up", "cluster=city"])
            && has(&["upstream=slave1", "health=up", "cluster=region"])
            && has(&["config=applied", "cluster=city"])
    })
    .await;
    let log = Process::log(town.folder());
    assert!(
        !log.lines()
            .any(|line| line.contains("config=applied") && line.contains("cluster=region"))
    );
    process.signal("TERM").await;
}

/// The order of the entries in the file is not that of the clusters: an edit may change it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_order_of_the_entries_changes_nothing() {
    let town = TownPlan::default().start().await;
    let swapped = {
        let region = ENTRIES.find("[clusters.region]").unwrap();
        format!("{}{}", &ENTRIES[region..], &ENTRIES[..region])
    };
    edit(&town, "geofront.toml", |text| {
        text.replace(ENTRIES, &swapped)
    });
    let answer = town.order("POST", "/api/config/reload").await;
    assert!(answer.text().contains("\"unchanged\""), "{}", answer.text());
    assert!(town.get(CITY, MAP).await.served_by().starts_with("city"));
    let region = town.get(ELSEWHERE, &in_region(MAP)).await;
    assert!(region.served_by().starts_with("region"));
}

/// The watch of a file is usually earlier than the order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_shows_the_change_that_a_watch_noticed_first() {
    let town = TownPlan::default().start().await;
    edit(&town, "city.toml", |text| text + "[limits]\nqueue = 7\n");
    town.until("the edit is in force", |town| revision(town, "city") > 1)
        .await;
    let answer = town.order("POST", "/api/config/reload").await;
    assert_eq!(answer.status, 200);
    let answer: serde_json::Value = serde_json::from_str(&answer.text()).unwrap();
    assert_eq!(answer["outcome"], "unchanged");
    assert_eq!(
        answer["last_change"]["changes"],
        serde_json::json!(["cluster city: limits.queue: 400 -> 7"])
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_status_of_a_cluster_shows_that_the_front_file_was_refused() {
    let town = TownPlan::default().start().await;
    let status = town.admin("/clusters/city/api/status").await.text();
    assert!(!status.contains("front_reload"), "{status}");
    edit(&town, "geofront.toml", |text| {
        format!("threads = 7\n{text}")
    });
    let status = town
        .admin_until("/clusters/city/api/status", "front_reload")
        .await;
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    let front = &status["front_reload"];
    assert_eq!(front["outcome"], "refused");
    let reason = front["error"].as_str().unwrap();
    assert!(reason.starts_with("threads ("), "{reason}");
    assert_ne!(status["last_reload"]["outcome"], "refused", "{status}");
}
