//! Several clusters behind one front door: each request reaches its own, and nothing that happens
//! in one cluster touches another.

mod choice;
mod operation;
mod reload;
mod town;

use std::time::{Duration, Instant};

use geofront::geosim::{BASIC, Behaviour, Fault};
use geofront::ogc::RequestClass;

use crate::client::Client;
use crate::requests::{FEATURES, MAP};
use crate::rig::PATIENCE;
use town::{CITY, ELSEWHERE, REGION, Town, TownPlan};

/// A cluster that follows its main within a blink.
const CATALOG: &str = "[geoserver]\nheaders = { sec-username = \"geofront\", sec-roles = \"ROLE_ADMINISTRATOR\" }\n\
    [catalog]\npoll = \"100ms\"\nsettle = \"100ms\"\nroll_share = 100\n";

/// The target of the region's clients for one of GeoServer.
fn in_region(target: &str) -> String {
    format!("{REGION}{target}")
}

fn reloads(instances: &town::Instances) -> Vec<u64> {
    let replicas = instances.replicas.iter();
    replicas
        .map(|replica| replica.control().catalog_reloads())
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_in_one_cluster_rolls_the_replicas_of_that_cluster_only() {
    let town = TownPlan {
        city: CATALOG.to_owned(),
        region: CATALOG.to_owned(),
        behaviour: Behaviour {
            reload_time: Duration::from_millis(20),
            ..Behaviour::default()
        },
        ..TownPlan::default()
    }
    .start()
    .await;
    let is_settled = |town: &Town, name: &str, epoch: u64| {
        let catalog = town.part(name).control.status(Instant::now()).catalog;
        catalog.update_sequence.is_some() && catalog.is_done && catalog.settled >= epoch
    };
    town.until("the catalogs are known", |town| {
        is_settled(town, "city", 0) && is_settled(town, "region", 0)
    })
    .await;
    let (before, elsewhere) = (reloads(&town.city), reloads(&town.region));
    let body = "{\"dataStore\":{\"name\":\"new\"}}";
    let write = format!(
        "POST /geoserver/rest/workspaces/geor/datastores HTTP/1.1\r\nHost: {CITY}\r\nAuthorization: {BASIC}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let epoch = town
        .part("city")
        .control
        .status(Instant::now())
        .catalog
        .epoch;
    assert_eq!(town.request(write.as_bytes()).await.status, 201);
    town.until("the city's replicas have it", |town| {
        is_settled(town, "city", epoch + 1)
            && reloads(&town.city)
                .iter()
                .zip(&before)
                .all(|(now, before)| now > before)
    })
    .await;
    assert_eq!(reloads(&town.region), elsewhere);
    let rolls = town
        .admin("/clusters/region/api/catalog/history")
        .await
        .text();
    assert!(!rolls.contains("new"), "{rolls}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_that_is_down_refuses_its_own_requests_only() {
    let town = TownPlan::default().start().await;
    assert_eq!(town.admin("/readyz").await.status, 200);
    for instance in town.city.all() {
        instance.kill();
    }
    let answer = town.admin_until("/readyz", "cluster city: ").await;
    assert_eq!(answer, "cluster city: no upstream is up and ready\n");
    assert_eq!(town.admin("/readyz").await.status, 503);
    assert_eq!(town.admin("/clusters/city/readyz").await.status, 503);
    assert_eq!(town.admin("/clusters/region/readyz").await.status, 200);
    assert_eq!(town.admin("/healthz").await.status, 200);
    assert_eq!(town.get(CITY, MAP).await.status, 503);
    for _ in 0..4 {
        let answer = town.get(ELSEWHERE, &in_region(MAP)).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert!(answer.served_by().starts_with("region"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_cluster_queues_its_own_requests_only() {
    let one = "[limits]\nmax_in_flight = 1\n";
    let town = TownPlan {
        city: one.to_owned(),
        region: one.to_owned(),
        ..TownPlan::default()
    }
    .start()
    .await;
    for replica in &town.city.replicas {
        replica.suffers(Fault::Hang.only(RequestClass::Feature));
    }
    let mut held = Vec::new();
    for count in 0..4 {
        let mut client = Client::connect(town.app.listen[0]).await.unwrap();
        let target = FEATURES.replace("count=200", &format!("count={}", count + 1));
        let request = format!("GET {target} HTTP/1.1\r\nHost: {CITY}\r\n\r\n");
        client.send(request.as_bytes()).await.unwrap();
        held.push(client);
    }
    let metrics = town
        .admin_until(
            "/metrics",
            "geofront_queue_length{cluster=\"city\",class=\"feature\"} 2\n",
        )
        .await;
    assert!(
        metrics.contains("geofront_queue_length{cluster=\"region\",class=\"feature\"} 0\n"),
        "{metrics}"
    );
    let started = Instant::now();
    let answer = town.get(ELSEWHERE, &in_region(FEATURES)).await;
    assert_eq!(answer.status, 200);
    assert!(started.elapsed() < PATIENCE / 2, "{:?}", started.elapsed());
}

/// Both clusters number their upstreams from the beginning, and a wait is known by that number.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_is_lost_moves_the_waits_of_its_own_cluster_only() {
    // Heavy requests may have a quarter of the slots.
    let limits = "[limits]\nmax_in_flight = 16\n";
    let town = TownPlan {
        city: limits.to_owned(),
        region: limits.to_owned(),
        ..TownPlan::default()
    }
    .start()
    .await;
    let replicas = town.region.replicas.iter().chain(&town.city.replicas);
    replicas.for_each(|replica| replica.suffers(Fault::Hang.only(RequestClass::Feature)));
    let mut waiting = Vec::new();
    for number in 1..=4 {
        let target = FEATURES.replace("count=200", &format!("count={number}"));
        for (host, target) in [(CITY, target.clone()), (ELSEWHERE, in_region(&target))] {
            let mut client = Client::connect(town.app.listen[0]).await.unwrap();
            let request = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n");
            client.send(request.as_bytes()).await.unwrap();
            waiting.push(client);
        }
    }
    let received = |instances: &town::Instances| -> u64 {
        let replicas = instances.replicas.iter();
        replicas
            .map(|replica| replica.received(RequestClass::Feature))
            .sum()
    };
    town.until("all wait for an answer", |town| {
        received(&town.city) == 4 && received(&town.region) == 4
    })
    .await;
    let on_first = town.city.replicas[0].received(RequestClass::Feature);
    town.city.replicas[0].suffers(Fault::Hang);
    town.until("the city's waits have moved", |town| {
        received(&town.city) >= 4 + on_first
    })
    .await;
    assert_eq!(received(&town.region), 4, "none of the region's moved");
}
