//! An edit takes effect within a second or is refused with the reason; no request fails,
//! nothing is forgotten.

use std::time::{Duration, Instant};

use geofront::cluster::{HealthState, Mode};
use geofront::geosim::{Behaviour, Fault, Instance};
use geofront::ogc::RequestClass;

use super::load::Load;
use super::requests::{CAPABILITIES, FEATURES, MAP, MAP_130};
use super::rig::{Plan, upstream};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edit_takes_effect_within_a_second_of_the_write() {
    let rig = Plan::replicas(2).start().await;
    let late = Instance::start("late", &rig.data, Behaviour::default());
    let written = Instant::now();
    rig.write_config(&(rig.config() + &upstream("late", late.address(), "")));
    rig.until("it serves", |rig| {
        rig.upstreams()
            .iter()
            .any(|u| u.name.as_str() == "late" && u.eligible)
    })
    .await;
    assert!(
        written.elapsed() < Duration::from_secs(1),
        "{:?}",
        written.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_file_keeps_the_old_configuration_and_is_reported() {
    let rig = Plan::replicas(2).start().await;
    let good = rig.config();
    rig.write_config(&good.replace("url =", "urll ="));
    rig.until("it was refused", |rig| {
        rig.app
            .reload
            .last()
            .is_some_and(|last| last.outcome.is_refused())
    })
    .await;
    let last = rig.app.reload.last().unwrap();
    assert!(
        last.outcome.to_string().contains("urll"),
        "{}",
        last.outcome
    );
    assert_eq!(rig.upstreams().len(), 3);
    assert_eq!(rig.get(MAP).await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_that_needs_a_restart_is_refused_by_name() {
    let rig = Plan::replicas(1).start().await;
    rig.write_config(
        &rig.config()
            .replace("listen = [\"127.0.0.1:0\"]", "listen = [\"127.0.0.2:0\"]"),
    );
    rig.until("it was refused", |rig| {
        rig.app
            .reload
            .last()
            .is_some_and(|last| last.outcome.is_refused())
    })
    .await;
    assert!(
        rig.app
            .reload
            .last()
            .unwrap()
            .outcome
            .to_string()
            .contains("listen")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_mode_and_counts_survive_a_reload() {
    let rig = Plan::replicas(3).health("interval = \"1h\"").start().await;
    rig.app
        .control
        .set_mode("slave2", Mode::Drain, false, Instant::now())
        .unwrap();
    rig.replicas[0].suffers(Fault::Hang.only(RequestClass::Map));
    rig.replicas[2].suffers(Fault::Hang.only(RequestClass::Map));
    let (mut one, mut other) = (rig.client().await, rig.client().await);
    one.send(super::client::get(MAP).as_bytes()).await.unwrap();
    other
        .send(super::client::get(MAP_130).as_bytes())
        .await
        .unwrap();
    rig.until("both wait", |rig| rig.in_flight() == 2).await;
    let revision = rig.app.control.snapshot().revision;
    rig.write_config(
        &rig.config()
            .replace("[upstreams.slave1]", "[upstreams.slave1]\nweight = 50"),
    );
    rig.until("it is in force", |rig| {
        rig.app.control.snapshot().revision > revision
    })
    .await;
    assert_eq!(rig.in_flight(), 2);
    assert_eq!(rig.upstream("slave2").mode, Mode::Drain);
    assert!(
        rig.upstreams().iter().all(|u| u.health == HealthState::Up),
        "no health is forgotten: {:#?}",
        rig.upstreams()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn removing_an_upstream_lets_its_requests_finish() {
    let rig = Plan::replicas(2).start().await;
    rig.replicas
        .iter()
        .for_each(|r| r.suffers(Fault::Slow(Duration::from_millis(1_500)).only(RequestClass::Map)));
    let (mut one, mut other) = (rig.client().await, rig.client().await);
    one.send(super::client::get(MAP).as_bytes()).await.unwrap();
    other
        .send(super::client::get(MAP_130).as_bytes())
        .await
        .unwrap();
    rig.until("both are under way", |rig| rig.in_flight() == 2)
        .await;
    let without = rig
        .config()
        .replace(&upstream("slave2", rig.replicas[1].address(), ""), "");
    rig.write_config(&without);
    rig.until("it is gone", |rig| rig.upstreams().len() == 2)
        .await;
    for client in [&mut one, &mut other] {
        assert_eq!(client.answer().await.unwrap().status, 200);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_reloads_under_load_fail_no_request_and_lose_no_count() {
    let rig = Plan::replicas(3).start().await;
    let load = Load::start(rig.address(), 12, &[MAP, FEATURES, CAPABILITIES]);
    load.goes_on_for(100).await;
    let base = rig.config();
    let slave3 = upstream("slave3", rig.replicas[2].address(), "");
    for number in 1..=200_u32 {
        let config = match number % 3 {
            0 => base.clone(),
            1 => base.replace(
                "[upstreams.slave1]",
                &format!("[upstreams.slave1]\nweight = {}", 50 + number),
            ),
            _ => base.replace(&slave3, ""),
        };
        rig.write_config(&config);
        let reload = std::sync::Arc::clone(&rig.app.reload);
        let outcome = tokio::task::spawn_blocking(move || reload.reload(Instant::now()))
            .await
            .unwrap();
        assert!(!outcome.is_refused(), "{outcome}");
        load.goes_on_for(5).await;
    }
    let tally = load.stop().await;
    assert_eq!(tally.failures, 0, "{tally:#?}");
    rig.until("every place is given back", |rig| rig.in_flight() == 0)
        .await;
    assert!(rig.app.control.snapshot().revision > 100);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edit_by_rename_or_by_a_swapped_link_takes_effect_as_one_in_place() {
    let rig = Plan::replicas(1).start().await;
    let path = rig.config_path();
    let (beside, target) = (path.with_extension("new"), path.with_extension("target"));
    let heavier = |weight: u32| {
        rig.config().replace(
            "[upstreams.slave1]",
            &format!("[upstreams.slave1]\nweight = {weight}"),
        )
    };
    let first = heavier(50);
    // Like vim and Ansible.
    std::fs::write(&beside, &first).unwrap();
    std::fs::rename(&beside, &path).unwrap();
    rig.until("the renamed file is in force", |rig| {
        rig.upstream("slave1").weight == 50
    })
    .await;
    // Like Kubernetes.
    std::fs::write(&target, first.replace("weight = 50", "weight = 60")).unwrap();
    std::os::unix::fs::symlink(&target, &beside).unwrap();
    std::fs::rename(&beside, &path).unwrap();
    rig.until("what the link leads to is in force", |rig| {
        rig.upstream("slave1").weight == 60
    })
    .await;
}
