//! Active checks and passive evidence that are specific to GeoServer.

use std::time::Instant;

use geofront::cluster::{HealthState, Mode};
use geofront::geosim::Fault;
use geofront::ogc::RequestClass;

use super::load::Load;
use super::requests::{CAPABILITIES, FEATURES, MAP};
use super::rig::Plan;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_way_of_being_broken_is_seen_as_down_and_healing_as_up() {
    let rig = Plan::replicas(2).start().await;
    for fault in [
        Fault::Refuse,
        Fault::Starting,
        Fault::Hang,
        Fault::Undeployed,
        Fault::Status(500),
        Fault::OutOfMemory,
        Fault::Garbage,
        Fault::Truncate,
    ] {
        rig.replicas[0].suffers(fault.clone());
        rig.until(&format!("{fault:?} is down"), |rig| {
            rig.upstream("slave1").health == HealthState::Down
        })
        .await;
        assert!(
            rig.upstream("slave1").last_cause.is_some(),
            "{fault:?} has a cause"
        );
        for _ in 0..4 {
            assert_eq!(rig.get(MAP).await.served_by(), "slave2", "{fault:?}");
        }
        rig.replicas[0].heals();
        rig.until("healed", |rig| {
            rig.upstream("slave1").health == HealthState::Up
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_probe_layer_capabilities_give_the_same_verdict() {
    let rig = Plan::replicas(1).without("probe_layer").start().await;
    for fault in [Fault::Undeployed, Fault::OutOfMemory, Fault::Starting] {
        rig.replicas[0].suffers(fault.clone());
        rig.until(&format!("{fault:?} is down"), |rig| {
            rig.upstream("slave1").health == HealthState::Down
        })
        .await;
        rig.replicas[0].heals();
        rig.until("healed", |rig| {
            rig.upstream("slave1").health == HealthState::Up
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_control_flow_refusal_of_a_probe_means_busy_not_down() {
    let rig = Plan::replicas(2).health("fall = 2").start().await;
    rig.replicas[0].suffers(Fault::Busy);
    let probes = rig.replicas[0].requests().len();
    rig.until("it was probed five times more", |rig| {
        rig.replicas[0].requests().len() >= probes + 5
    })
    .await;
    assert_eq!(rig.upstream("slave1").health, HealthState::Up);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_answers_200_with_out_of_memory_exceptions_costs_under_half_a_percent() {
    // Probes notice nothing, so the evidence of requests ejects it.
    let rig = Plan::replicas(3).health("interval = \"1h\"").start().await;
    let load = Load::start(rig.address(), 8, &[MAP, FEATURES, CAPABILITIES]);
    load.goes_on_for(200).await;
    for class in [
        RequestClass::Map,
        RequestClass::Feature,
        RequestClass::Capabilities,
    ] {
        rig.replicas[0].suffers(Fault::OutOfMemory.only(class));
    }
    load.goes_on_for(2_000).await;
    let is_out = !rig.upstream("slave1").eligible;
    let tally = load.stop().await;
    assert!(is_out, "{:#?}", rig.upstream("slave1"));
    assert!(tally.failures * 200 < tally.requests, "{tally:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_layer_that_is_broken_everywhere_does_not_empty_the_cluster() {
    let rig = Plan::replicas(4).start().await;
    rig.replicas
        .iter()
        .chain([&rig.main])
        .for_each(|r| r.suffers(Fault::Status(500).only(RequestClass::Feature)));
    for _ in 0..100 {
        rig.get(FEATURES).await;
    }
    let set_aside = rig
        .upstreams()
        .iter()
        .filter(|u| u.ejected_for.is_some())
        .count();
    assert!(set_aside <= 2, "{set_aside} of 5");
    assert_eq!(rig.get(MAP).await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clients_own_mistakes_never_count_against_an_upstream() {
    let rig = Plan::replicas(2).start().await;
    let mistakes = [
        "/geoserver/wms?service=WMS&version=1.1.1&request=GetMap&layers=no:such&styles=&format=image/png&srs=EPSG:4326\
         &bbox=-180,-90,180,90&width=64&height=32",
        "/geoserver/wfs?service=WFS&version=2.0.0&request=GetFeature&typeNames=no:such",
        "/geoserver/nosuchworkspace/wms?service=WMS&request=GetMap&layers=x",
        "/geoserver/wms?service=WMS&request=GetMap",
    ];
    for mistake in mistakes {
        for _ in 0..15 {
            rig.get(mistake).await;
        }
    }
    let status = rig.app.control.status(Instant::now());
    assert!(
        status
            .upstreams
            .iter()
            .all(|u| u.ejected_for.is_none() && u.health == HealthState::Up),
        "{status:#?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_upstream_gets_nothing_before_its_first_passed_probe() {
    let rig = Plan::replicas(1).start().await;
    let late = geofront::geosim::Instance::start(
        "late",
        &rig.data,
        geofront::geosim::Behaviour::default(),
    );
    late.suffers(Fault::Hang);
    rig.write_config(&(rig.config() + &super::rig::upstream("late", late.address(), "")));
    rig.until("the new upstream is known", |rig| {
        rig.upstreams().len() == 3
    })
    .await;
    for _ in 0..10 {
        assert_eq!(rig.get(MAP).await.served_by(), "slave1");
    }
    late.heals();
    rig.until("it is up", |rig| {
        rig.upstream("late").health == HealthState::Up
    })
    .await;
    let mut served = std::collections::HashSet::new();
    for _ in 0..10 {
        served.insert(rig.get(MAP).await.served_by().to_owned());
    }
    assert!(served.contains("late"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upstream_in_maintenance_is_not_even_probed() {
    let rig = Plan::replicas(2).start().await;
    rig.app
        .control
        .set_mode("slave1", Mode::Maintenance, false, Instant::now())
        .unwrap();
    rig.until("probes under way are over", |rig| {
        rig.replicas[0].control().in_flight() == 0
    })
    .await;
    let (before, others) = (
        rig.replicas[0].requests().len(),
        rig.replicas[1].requests().len(),
    );
    rig.until("others were probed", |rig| {
        rig.replicas[1].requests().len() >= others + 5
    })
    .await;
    assert!(
        rig.replicas[0].requests().len() <= before + 1,
        "at most one that was under way"
    );
}
