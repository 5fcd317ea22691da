//! While some upstream would answer correctly, a read is not refused because of geofront's
//! conclusions about it.

use std::time::{Duration, Instant};

use geofront::cluster::{ReloadPhase, TransitionKind};
use geofront::geosim::{Behaviour, Fault, When};
use geofront::ogc::RequestClass;

use super::client::get;
use super::requests::{FEATURES, TILE};
use super::rig::{PATIENCE, Plan, Rig};

/// A process that a client waits for.
const PROCESS: &str = "/geoserver/wps?service=WPS&version=1.0.0&request=Execute&identifier=gs:Clip";

/// `slave2` alone runs processes.
fn pinned(reload_time: Duration) -> Plan {
    let behaviour = Behaviour {
        reload_time,
        ..Behaviour::default()
    };
    Plan::replicas(2)
        .behaving(behaviour)
        .with("[geoserver]\nheaders = { sec-username = \"geofront\", sec-roles = \"ROLE_ADMINISTRATOR\" }")
        .with("[classes.process]\nserved_by = \"slave2\"")
        .catalog("poll = \"100ms\"\nsettle = \"100ms\"\nroll_share = 100")
}

fn phase(rig: &Rig, name: &str) -> ReloadPhase {
    rig.upstream(name).catalog.phase
}

fn is_done(rig: &Rig) -> bool {
    let catalog = rig.app.control.status(Instant::now()).catalog;
    catalog.is_done && catalog.settled > 0
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wps_is_answered_while_its_only_replica_waits_for_another_process_before_its_reload() {
    let rig = pinned(Duration::ZERO).start().await;
    let mut transitions = rig.app.control.transitions();
    let hang = Fault::Slow(Duration::from_secs(3)).only(RequestClass::Process);
    rig.replicas[1].suffers(hang.times(1));
    let mut long = rig.client().await;
    long.send(get(PROCESS).as_bytes()).await.unwrap();
    rig.until("the long process runs", |rig| {
        rig.upstream("slave2").in_flight == 1
    })
    .await;
    rig.main.publish("geor:news");
    rig.until("slave2 waits for it to end", |rig| {
        phase(rig, "slave2") == ReloadPhase::Draining
    })
    .await;
    let answer = rig.get(PROCESS).await;
    assert_eq!(
        (answer.status, answer.served_by()),
        (200, "slave2"),
        "{}",
        answer.text()
    );
    assert_eq!(
        rig.upstream("slave2").in_flight,
        1,
        "it did not wait for the long one"
    );
    let is_reported = std::iter::from_fn(|| transitions.try_recv().ok())
        .any(|transition| matches!(transition.what, TransitionKind::ReloadPostponed { .. }));
    assert!(is_reported);
    let postponed =
        "geofront_catalog_reloads_postponed_total{upstream=\"slave2\",class=\"process\"} 1";
    // Metrics are counted by a reader of transitions, which may come a moment later.
    let deadline = Instant::now() + PATIENCE;
    while !rig.metrics().await.contains(postponed) {
        assert!(Instant::now() < deadline, "the metric does not come");
    }
    rig.until("every replica has the change", is_done).await;
    assert!(rig.upstream("slave2").catalog.is_fresh);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wps_waits_for_the_reload_of_its_only_replica_and_is_not_refused() {
    let rig = pinned(Duration::from_millis(700)).start().await;
    rig.main.publish("geor:news");
    let (deadline, mut longest) = (Instant::now() + PATIENCE, Duration::ZERO);
    while !is_done(&rig) {
        let asked = Instant::now();
        let answer = rig.get(PROCESS).await;
        longest = longest.max(asked.elapsed());
        assert_eq!(
            (answer.status, answer.served_by()),
            (200, "slave2"),
            "{} {:#?}",
            answer.text(),
            rig.upstreams()
        );
        assert!(asked < deadline, "{:#?}", rig.upstreams());
    }
    assert!(
        longest > Duration::from_millis(300),
        "one of them waited for the reload: {longest:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tile_whose_replica_dies_is_answered_by_one_that_was_ejected_for_something_else() {
    let rig = Plan::replicas(2).health("ejection = \"5m\"").start().await;
    let revision = rig.app.control.snapshot().revision;
    rig.write_config(
        &rig.config()
            .replace("role = \"main\"", "role = \"main\"\nreads = \"never\""),
    );
    rig.until("the main reads nothing", |rig| {
        rig.app.control.snapshot().revision > revision
    })
    .await;
    rig.replicas[1].suffers(Fault::Garbage.only(RequestClass::Feature));
    let deadline = Instant::now() + PATIENCE;
    while rig.upstream("slave2").ejected_for.is_none() {
        assert_eq!(rig.get(FEATURES).await.status, 200);
        assert!(Instant::now() < deadline, "{:#?}", rig.upstreams());
    }
    // Probes are maps. A kept-alive connection that breaks off is no failure of its upstream yet.
    rig.replicas[0].suffers(
        Fault::Reset(When::BeforeAnswer)
            .only(RequestClass::Tile)
            .times(2),
    );
    let answer = rig.get(TILE).await;
    assert_eq!(
        (answer.status, answer.served_by()),
        (200, "slave2"),
        "{}",
        answer.text()
    );
    assert!(
        rig.upstream("slave2").ejected_for.is_none(),
        "it showed that it serves"
    );
}
