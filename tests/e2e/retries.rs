//! Tests that a write is executed at most once, and that a read whose upstream dies before its
//! first byte is answered by another.

use std::time::{Duration, Instant};

use geofront::cluster::HealthState;
use geofront::geosim::{Behaviour, Fault, When};
use geofront::ogc::RequestClass;

use super::client::get;
use super::load::Load;
use super::requests::{
    CAPABILITIES, FEATURES, MAP, TILE, TRANSACTION, WFS, XML, get_feature_of_size,
};
use super::rig::{Plan, Rig};

const INFO: &str = "/geoserver/wms?service=WMS&version=1.1.1&request=GetFeatureInfo&layers=geor:public_layer\
                    &query_layers=geor:public_layer&srs=EPSG:4326&bbox=-180,-90,180,90&width=64&height=32&x=1&y=1";
const COVERAGE: &str =
    "/geoserver/wcs?service=WCS&version=2.0.1&request=GetCoverage&coverageId=geor__elevation";
const REST: &str = "/geoserver/rest/about/version.xml";
const WEB: &str = "/geoserver/web/";

fn executed(rig: &Rig) -> usize {
    rig.data.writes().len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_whose_answer_is_lost_is_not_sent_again() {
    let rig = Plan::replicas(2).start().await;
    rig.main.suffers(
        Fault::Reset(When::BeforeAnswer)
            .only(RequestClass::Transaction)
            .times(1),
    );
    let answer = rig.post(WFS, XML, TRANSACTION).await;
    assert_eq!(answer.status, 502);
    assert_eq!(
        (executed(&rig), rig.main.received(RequestClass::Transaction)),
        (1, 1)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_does_not_meet_a_connection_that_is_just_being_closed() {
    let rig = Plan::replicas(1).start().await;
    let mut client = rig.client().await;
    for number in 1..=20 {
        // Leaves an idle connection to the main, which closes it without a word.
        assert_eq!(
            client
                .get("/geoserver/rest/about/version.xml")
                .await
                .unwrap()
                .status
                / 100,
            4
        );
        rig.main
            .suffers(Fault::Close.only(RequestClass::Admin).times(1));
        drop(client.get("/geoserver/rest/about/status").await);
        client = rig.client().await;
        let answer = client
            .request(&super::client::post(WFS, XML, TRANSACTION))
            .await
            .unwrap();
        assert_eq!((answer.status, executed(&rig)), (200, number));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_never_goes_on_a_connection_that_may_be_closing_and_a_read_survives_one() {
    let behaviour = Behaviour {
        closes_under_the_next: true,
        ..Behaviour::default()
    };
    let rig = Plan::replicas(1)
        .behaving(behaviour)
        .with("[retry]\nbudget_percent = 100")
        .start()
        .await;
    for number in 1..=5 {
        // Each leaves an idle connection on which the next request is lost.
        for target in [MAP, REST, WEB] {
            assert_ne!(rig.get(target).await.status / 100, 5, "{target}");
        }
        let answer = rig.post(WFS, XML, TRANSACTION).await;
        assert_eq!((answer.status, executed(&rig)), (200, number));
    }
    let metrics = rig.metrics().await;
    assert!(
        metrics.contains("geofront_retries_total{class=\"admin\""),
        "{metrics}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_idle_connections_that_an_upstream_closes_cost_no_read() {
    let behaviour = Behaviour {
        closes_under_the_next: true,
        ..Behaviour::default()
    };
    let plan = Plan::replicas(1).behaving(behaviour);
    let rig = plan
        .with("[limits]\nmax_in_flight = 16\n[retry]\nattempts = 2")
        .start()
        .await;
    let slow = Fault::Slow(Duration::from_secs(1)).only(RequestClass::Info);
    rig.replicas[0].suffers(slow.times(6));
    let mut clients = Vec::new();
    for number in 0..6 {
        let mut client = rig.client().await;
        // Identical ones would share an answer.
        let target = format!("{INFO}&number={number}");
        client.send(get(&target).as_bytes()).await.unwrap();
        clients.push(client);
    }
    rig.until("each has a connection of its own", |rig| {
        rig.in_flight() == 6
    })
    .await;
    for mut client in clients {
        assert_eq!(client.answer().await.unwrap().status, 200);
    }
    let answer = rig.get(INFO).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn get_and_head_of_every_class_that_may_be_repeated_reuse_connections() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("access.log");
    let rig = Plan::replicas(1).access_log(&log).start().await;
    let targets = [
        ("map", MAP),
        ("tile", TILE),
        ("info", INFO),
        ("capabilities", CAPABILITIES),
        ("feature", FEATURES),
        ("coverage", COVERAGE),
        ("admin", REST),
        ("static", "/geoserver/styles/default.png"),
        ("unknown", "/geoserver/an-extension/read"),
    ];
    let mut client = rig.client().await;
    for (_, target) in targets {
        for method in ["GET", "GET", "HEAD", "HEAD"] {
            let request = get(target).replacen("GET", method, 1);
            client.send(request.as_bytes()).await.unwrap();
            match method {
                "HEAD" => client.head().await.unwrap(),
                _ => client.answer().await.unwrap(),
            };
        }
    }
    let lines = || -> Vec<String> {
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    };
    rig.until("all lines are written", |_| {
        lines().len() == 4 * targets.len()
    })
    .await;
    for (lines, (class, target)) in lines().chunks(4).zip(targets) {
        for (number, line) in lines.iter().enumerate() {
            assert!(line.contains(&format!(" class={class} ")), "{line}");
            // The first of an upstream opens a connection.
            let is_reused = line.contains(" connect_ms=0.000 ");
            assert!(is_reused || number == 0, "{target}: {line}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_whose_upstream_dies_before_its_first_byte_is_answered_by_another() {
    let rig = Plan::replicas(2).start().await;
    for fault in [
        Fault::Reset(When::BeforeReading),
        Fault::Reset(When::BeforeAnswer),
        Fault::Close,
        Fault::Garbage,
    ] {
        rig.replicas[0].suffers(
            fault
                .clone()
                .only(RequestClass::Map)
                .only(RequestClass::Feature)
                .times(1),
        );
        for _ in 0..3 {
            let answer = rig.get(MAP).await;
            assert_eq!(
                (answer.status, answer.header("content-type")),
                (200, Some("image/png")),
                "{fault:?}"
            );
        }
        rig.replicas[0].heals();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_by_post_is_tried_again_with_its_whole_body() {
    let rig = Plan::replicas(2)
        .health("ejection_failures = 0")
        .start()
        .await;
    for size in [300, 5_000, 20_000, 60_000] {
        let body = get_feature_of_size(size);
        rig.replicas.iter().for_each(|r| {
            r.suffers(
                Fault::Reset(When::BeforeAnswer)
                    .only(RequestClass::Feature)
                    .times(1),
            )
        });
        let answer = rig.post(WFS, XML, &body).await;
        assert_eq!(answer.status, 200, "{size} bytes");
        rig.replicas
            .iter()
            .for_each(geofront::geosim::Instance::heals);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_retry_goes_to_another_upstream() {
    let rig = Plan::replicas(2)
        .health("ejection_failures = 0")
        .start()
        .await;
    for replica in &rig.replicas {
        replica.suffers(Fault::Reset(When::BeforeAnswer).only(RequestClass::Map));
    }
    let answer = rig.get(MAP).await;
    assert_eq!(
        (answer.status, answer.served_by()),
        (200, "main"),
        "both replicas failed, the main is the backup"
    );
    assert!(
        rig.replicas
            .iter()
            .all(|replica| replica.received(RequestClass::Map) >= 1)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attempts_are_bounded() {
    let rig = Plan::replicas(5)
        .health("ejection_failures = 0")
        .with("[retry]\nattempts = 2")
        .start()
        .await;
    rig.replicas
        .iter()
        .chain([&rig.main])
        .for_each(|r| r.suffers(Fault::Reset(When::BeforeAnswer).only(RequestClass::Map)));
    let received = |rig: &Rig| -> usize {
        let all = rig.replicas.iter().chain([&rig.main]);
        all.flat_map(|r| r.requests())
            .filter(|request| request.header("via").is_some())
            .count()
    };
    let before = received(&rig);
    assert!(rig.get(MAP).await.status >= 502);
    assert_eq!(received(&rig) - before, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killing_a_replica_under_load_costs_no_idempotent_request() {
    let rig = Plan::replicas(3).start().await;
    let load = Load::start(rig.address(), 16, &[MAP, FEATURES, CAPABILITIES]);
    load.goes_on_for(300).await;
    rig.replicas[1].kill();
    load.goes_on_for(300).await;
    rig.replicas[1].restart();
    rig.until("it is back", |rig| {
        rig.upstream("slave2").health == HealthState::Up
    })
    .await;
    load.goes_on_for(300).await;
    let tally = load.stop().await;
    assert_eq!(tally.failures, 0, "{tally:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keep_alive_connections_that_tomcat_closes_cost_no_read() {
    let behaviour = Behaviour {
        keep_alive_requests: Some(7),
        ..Default::default()
    };
    let rig = Plan::replicas(2).behaving(behaviour).start().await;
    let load = Load::start(rig.address(), 8, &[MAP, FEATURES]);
    load.goes_on_for(800).await;
    let tally = load.stop().await;
    assert_eq!(tally.failures, 0, "{tally:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_leaves_releases_its_slot_and_counts_against_no_upstream() {
    let rig = Plan::replicas(1).start().await;
    rig.replicas[0].suffers(Fault::Hang.only(RequestClass::Map));
    for _ in 0..10 {
        let mut client = rig.client().await;
        client.send(get(MAP).as_bytes()).await.unwrap();
        rig.until("the request is with the replica", |rig| {
            rig.in_flight() == 1
        })
        .await;
        drop(client);
        rig.until("its place is free", |rig| rig.in_flight() == 0)
            .await;
    }
    let status = rig.app.control.status(Instant::now());
    assert!(
        status
            .upstreams
            .iter()
            .all(|u| u.health == HealthState::Up && u.ejected_for.is_none()),
        "{status:#?}"
    );
}
