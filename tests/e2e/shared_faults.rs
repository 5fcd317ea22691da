//! A fault that all upstreams share is attributed to none of them, and is shown as a shared fault.

use std::time::{Duration, Instant};

use geofront::geosim::Fault;
use geofront::ogc::RequestClass;

use super::requests::{FEATURES, MAP};
use super::rig::{Plan, Rig};

fn set_aside(rig: &Rig) -> Vec<String> {
    let upstreams = rig.upstreams().into_iter();
    upstreams
        .filter(|u| u.ejected_for.is_some() || u.half_open)
        .map(|u| u.name.to_string())
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_down_ejects_no_replica_and_status_names_the_layer() {
    for fault in [
        Fault::Exception("Cannot get a connection, pool error"),
        Fault::Status(500),
    ] {
        let rig = Plan::replicas(3).start().await;
        for upstream in rig.replicas.iter().chain([&rig.main]) {
            upstream.suffers(fault.clone().only(RequestClass::Feature));
        }
        for _ in 0..100 {
            rig.get(FEATURES).await;
        }
        assert_eq!(set_aside(&rig), [""; 0], "{fault:?}");
        let conditions = rig.app.control.status(Instant::now()).conditions;
        let said: Vec<_> = conditions
            .iter()
            .map(|status| status.condition.to_string())
            .collect();
        assert!(
            said.len() == 1 && said[0].starts_with("layer geor:public_layer fails everywhere"),
            "{fault:?}: {said:?}"
        );
        assert_eq!(rig.get(MAP).await.status, 200);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_layer_that_one_replica_still_serves_does_not_fail_everywhere() {
    let rig = Plan::replicas(3).health("interval = \"1h\"").start().await;
    for replica in &rig.replicas[..2] {
        replica.suffers(Fault::Status(500).only(RequestClass::Feature));
    }
    for _ in 0..60 {
        assert_eq!(rig.get(FEATURES).await.status, 200);
        let conditions = rig.app.control.status(Instant::now()).conditions;
        let shared = conditions
            .iter()
            .map(|status| status.condition.to_string())
            .find(|said| said.contains("everywhere"));
        assert_eq!(shared, None);
    }
    assert!(
        !set_aside(&rig).is_empty(),
        "each is blamed for its own failures"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_alone_fails_for_a_layer_is_still_set_aside() {
    let rig = Plan::replicas(3).health("interval = \"1h\"").start().await;
    rig.replicas[0].suffers(
        Fault::Exception("Cannot get a connection, pool error").only(RequestClass::Feature),
    );
    for _ in 0..30 {
        assert_eq!(rig.get(FEATURES).await.status, 200);
    }
    assert_eq!(set_aside(&rig), ["slave1"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trial_is_decided_by_the_first_byte_of_a_long_answer_and_not_by_its_end() {
    let health = |plan: Plan| {
        plan.health("interval = \"1h\"")
            .health("ejection = \"300ms\"")
    };
    let rig = health(Plan::replicas(2)).start().await;
    rig.replicas[0].suffers(Fault::OutOfMemory.only(RequestClass::Feature));
    for number in 0..8 {
        rig.get(&FEATURES.replace("count=200", &format!("count={}", 1 + number)))
            .await;
    }
    rig.until("it is on trial", |rig| rig.upstream("slave1").half_open)
        .await;
    rig.replicas[0].heals();
    // The others stay in service: without them the ejection would be lifted.
    rig.replicas[0].suffers(
        Fault::Drip {
            bytes: 400,
            pause: Duration::from_secs(2),
        }
        .only(RequestClass::Map),
    );
    // A map becomes the trial once no tile has been for a second.
    let deadline = Instant::now() + Duration::from_secs(10);
    let mut clients = Vec::new();
    while rig.upstream("slave1").in_flight == 0 {
        assert!(Instant::now() < deadline, "no map became the trial");
        assert!(rig.upstream("slave1").half_open);
        let mut client = rig.client().await;
        let map = format!("{}&number={}", MAP.replace("=64", "=640"), clients.len());
        client
            .send(super::client::get(&map).as_bytes())
            .await
            .unwrap();
        let is_trial = |rig: &Rig| rig.upstream("slave1").in_flight == 1;
        tokio::select! {
            head = client.head() => assert_eq!(head.unwrap().status, 200),
            () = rig.until("it is the trial", is_trial) => {}
        }
        clients.push(client);
    }
    rig.until("it serves again", |rig| !rig.upstream("slave1").half_open)
        .await;
    assert_eq!(rig.upstream("slave1").in_flight, 1, "the answer goes on");
}
