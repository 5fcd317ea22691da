//! Without a configured layer: an emptied replica does not serve, and the choice does no harm.

use std::time::{Duration, Instant};

use geofront::cluster::HealthState;
use geofront::geosim::{Behaviour, Fault, Flavour, Outage};
use geofront::ogc::RequestClass;

use super::load::Load;
use super::requests::MAP;
use super::rig::{Plan, Rig};

const CREDENTIALS: &str =
    "[geoserver]\nheaders = { sec-username = \"geofront\", sec-roles = \"ROLE_ADMINISTRATOR\" }\n";

fn plan(replicas: usize) -> Plan {
    let behaviour = Behaviour {
        flavour: Flavour::GeOrchestra,
        reload_time: Duration::from_millis(100),
        ..Behaviour::default()
    };
    let plan = Plan::replicas(replicas)
        .behaving(behaviour)
        .without("probe_layer")
        .with(CREDENTIALS);
    plan.catalog("poll = \"100ms\"\nsettle = \"100ms\"")
}

impl Rig {
    fn chosen(&self) -> Option<String> {
        self.app.control.status(Instant::now()).chosen_layer
    }

    async fn until_chosen(&self) -> String {
        self.until("a layer is chosen", |rig| rig.chosen().is_some())
            .await;
        self.chosen().expect("it is chosen")
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_answered_500_and_the_replica_answered_that_my_layer_is_not_defined() {
    let rig = plan(2).start().await;
    rig.until_chosen().await;
    rig.replicas[0].control().fail_catalog_reloads(1);
    let load = Load::start(rig.address(), 4, &[MAP]);
    rig.main.publish("geor:news");
    rig.until("its reload failed", |rig| {
        rig.upstream("slave1")
            .catalog
            .last_reload
            .is_some_and(|last| last.failure.is_some())
    })
    .await;
    assert!(
        !rig.upstream("slave1").eligible,
        "{:#?}",
        rig.upstream("slave1")
    );
    rig.until("the other one has the change", |rig| {
        rig.upstream("slave2").catalog.is_fresh
    })
    .await;
    load.goes_on_for(200).await;
    let tally = load.stop().await;
    assert_eq!(tally.failures, 0, "{tally:#?}");
    let slave1 = rig.upstream("slave1");
    let has_reloaded = slave1
        .catalog
        .last_reload
        .as_ref()
        .is_some_and(|last| last.failure.is_none());
    assert!(
        !slave1.eligible || has_reloaded,
        "it serves again after a reload that passed: {slave1:#?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i_removed_the_layer_that_geofront_had_chosen_and_everything_goes_on() {
    let rig = plan(2).start().await;
    let chosen = rig.until_chosen().await;
    let load = Load::start(rig.address(), 4, &[MAP]);
    let (workspace, layer) = chosen.split_once(':').expect("a qualified name");
    let delete = format!(
        "DELETE /geoserver/rest/workspaces/{workspace}/layers/{layer} HTTP/1.1\r\nHost: h\r\nAuthorization: {}\r\n\r\n",
        geofront::geosim::BASIC
    );
    assert_eq!(rig.request(delete.as_bytes()).await.status, 200);
    rig.until("another layer is chosen", |rig| {
        rig.chosen().is_some_and(|now| now != chosen)
    })
    .await;
    rig.until("every replica has the change", |rig| {
        rig.app.control.status(Instant::now()).catalog.is_done
    })
    .await;
    assert!(
        rig.upstreams()
            .iter()
            .all(|upstream| upstream.health == HealthState::Up)
    );
    let tally = load.stop().await;
    assert_eq!(tally.failures, 0, "{tally:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_database_of_the_chosen_layer_is_down_and_no_upstream_goes_down_for_it() {
    let rig = plan(2).start().await;
    rig.until_chosen().await;
    for instance in [&rig.main, &rig.replicas[0], &rig.replicas[1]] {
        let fault = Fault::Exception("Cannot get a connection, pool error");
        instance
            .control()
            .suffers(Outage::from(fault).only(RequestClass::Map));
    }
    rig.until("it is given up", |rig| rig.chosen().is_none())
        .await;
    let probes = rig.main.received(RequestClass::Capabilities);
    rig.until("it was probed again and again", |rig| {
        rig.main.received(RequestClass::Capabilities) > probes + 20
    })
    .await;
    assert!(
        rig.upstreams()
            .iter()
            .all(|upstream| upstream.health == HealthState::Up),
        "{:#?}",
        rig.upstreams()
    );
}
