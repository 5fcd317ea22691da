//! Replicas whose answers show that they lack a part of the catalog.

use std::time::{Duration, Instant};

use geofront::geosim::{Behaviour, Flavour};
use geofront::ogc::RequestClass;

use super::{CREDENTIALS, OPINIONS_AT_ONCE, OPINIONS_PER_SECOND, map_of, plan, rest};
use crate::client::Client;
use crate::load::Load;
use crate::requests::{FEATURES, MAP, TILE};
use crate::rig::Plan;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_layer_that_a_replica_does_not_know_is_answered_by_the_main_and_the_replica_is_reloaded()
{
    let tile = TILE.replace("geor:public_layer", "geor:news");
    for target in [
        map_of("geor:news"),
        FEATURES.replace("geor:public_layer", "geor:news"),
        tile,
    ] {
        let rig = plan(1, Flavour::GeOrchestra)
            .catalog("poll = \"1h\"")
            .start()
            .await;
        rig.until("the main's number is known", |rig| {
            rig.app
                .control
                .status(Instant::now())
                .catalog
                .update_sequence
                .is_some()
        })
        .await;
        rig.main.publish("geor:news");
        let answer = rig.get(&target).await;
        assert_eq!(
            (answer.status, answer.served_by()),
            (200, "main"),
            "{}",
            answer.text()
        );
        assert!(
            !answer.text().contains("ExceptionReport"),
            "{}",
            answer.text()
        );
        rig.until("it is fresh", |rig| {
            rig.catalog_reloads() == [1] && rig.upstream("slave1").catalog.is_fresh
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_foreign_reload_of_a_replica_costs_no_wrong_map() {
    let behaviour = Behaviour {
        reload_time: Duration::from_millis(500),
        ..Behaviour::default()
    };
    // Probes too slow to notice: only the answers show it.
    let rig = Plan::replicas(2)
        .behaving(behaviour)
        .with(CREDENTIALS)
        .health("interval = \"1h\"")
        .start()
        .await;
    let load = Load::start(rig.address(), 6, &[MAP, FEATURES]);
    load.goes_on_for(50).await;
    let address = rig.replicas[0].address();
    let reload = tokio::spawn(async move {
        let mut client = Client::connect(address).await.unwrap();
        client
            .request(&rest("POST", "/reload", ""))
            .await
            .unwrap()
            .status
    });
    assert_eq!(reload.await.unwrap(), 200);
    load.goes_on_for(50).await;
    let tally = load.stop().await;
    assert_eq!(tally.failures, 0, "{tally:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_for_a_layer_that_no_upstream_has_gets_the_replicas_own_answer() {
    // There are no probes meanwhile, so every map request to the main is a second opinion.
    let rig = plan(2, Flavour::GeOrchestra)
        .health("interval = \"1h\"")
        .start()
        .await;
    let (began, before) = (Instant::now(), rig.main.received(RequestClass::Map));
    for _ in 0..400 {
        let answer = rig.get(&map_of("geor:nowhere")).await;
        assert!(
            answer.text().contains("LayerNotDefined"),
            "{}",
            answer.text()
        );
    }
    let (asked, took) = (
        rig.main.received(RequestClass::Map) - before,
        began.elapsed(),
    );
    let most = OPINIONS_AT_ONCE + (took * OPINIONS_PER_SECOND).as_secs();
    assert!(
        (OPINIONS_AT_ONCE..=most).contains(&asked),
        "the main is asked within its budget: {asked} times in {took:?}"
    );
    assert_eq!(rig.catalog_reloads(), [0, 0]);
}
