//! Start and stop: the cost of a stop, and its end.

use std::time::{Duration, Instant};

use geofront::cluster::HealthState;
use geofront::geosim::{Behaviour, Fault};
use geofront::ogc::RequestClass;
use tokio::net::TcpStream;

use super::client::{Client, get};
use super::requests::MAP;
use super::rig::Plan;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_lets_running_requests_finish_and_ends_as_soon_as_they_have() {
    let rig = Plan::replicas(1).start().await;
    rig.replicas[0].suffers(Fault::Slow(Duration::from_millis(700)).only(RequestClass::Map));
    let mut client = rig.client().await;
    client.send(get(MAP).as_bytes()).await.unwrap();
    rig.until("it is under way", |rig| rig.in_flight() == 1)
        .await;
    let address = rig.address();
    let stopping = Instant::now();
    let stop = tokio::spawn(rig.app.stop());
    let answer = client.answer().await.unwrap();
    assert_eq!((answer.status, answer.is_complete), (200, true));
    assert_eq!(stop.await.unwrap(), 0, "nothing was cut off");
    assert!(
        stopping.elapsed() < Duration::from_secs(3),
        "{:?}",
        stopping.elapsed()
    );
    assert!(
        TcpStream::connect(address).await.is_err(),
        "nobody listens any more"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_front_door_stops_at_once_whatever_connections_are_kept() {
    let rig = Plan::replicas(1).start().await;
    let mut idle = rig.client().await;
    idle.get(MAP).await.unwrap();
    let stopping = Instant::now();
    rig.app.stop().await;
    assert!(
        stopping.elapsed() < Duration::from_secs(2),
        "{:?}",
        stopping.elapsed()
    );
    assert!(idle.is_closed().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readyz_turns_503_at_once_and_clients_are_served_until_the_delay_is_over() {
    let rig = Plan::replicas(1)
        .with("[shutdown]\ndelay = \"1s\"")
        .start()
        .await;
    let (address, admin) = (rig.address(), rig.app.admin);
    let ready = |admin| async move {
        Client::connect(admin)
            .await?
            .request(&admin_get(admin, "/readyz"))
            .await
    };
    assert_eq!(ready(admin).await.unwrap().status, 200);
    let stop = tokio::spawn(rig.app.stop());
    let deadline = Instant::now() + Duration::from_millis(900);
    while ready(admin).await.unwrap().status != 503 {
        assert!(Instant::now() < deadline);
    }
    assert_eq!(
        Client::connect(address)
            .await
            .unwrap()
            .get(MAP)
            .await
            .unwrap()
            .status,
        200,
        "it still serves"
    );
    stop.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_outlasts_the_limit_is_cut_off_and_counted() {
    let rig = Plan::replicas(1)
        .with("[shutdown]\ntimeout = \"300ms\"")
        .start()
        .await;
    rig.replicas[0].suffers(Fault::Hang.only(RequestClass::Map));
    let mut client = rig.client().await;
    client.send(get(MAP).as_bytes()).await.unwrap();
    rig.until("it is under way", |rig| rig.in_flight() == 1)
        .await;
    assert_eq!(rig.app.stop().await, 1);
}

fn admin_get(admin: std::net::SocketAddr, path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n").into_bytes()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_come_before_the_first_probe_has_returned_wait_for_it() {
    let slow = Behaviour {
        startup_time: Duration::from_millis(700),
        ..Behaviour::default()
    };
    let rig = Plan::replicas(2)
        .behaving(slow)
        .health("timeout = \"3s\"")
        .start_cold()
        .await;
    let asked: Vec<_> = (0..50)
        .map(|number| {
            let (address, target) = (
                rig.address(),
                MAP.replace("width=64", &format!("width={}", 64 + number)),
            );
            tokio::spawn(async move {
                Client::connect(address)
                    .await
                    .unwrap()
                    .get(&target)
                    .await
                    .unwrap()
                    .status
            })
        })
        .collect();
    let early = rig.get("/geoserver/rest/about/status").await;
    assert_ne!(early.status, 503, "administration waits, too");
    for answer in asked {
        assert_eq!(answer.await.unwrap(), 200);
    }
    rig.app.control.first_verdicts().await;
    assert!(
        rig.upstreams()
            .iter()
            .all(|upstream| upstream.health == HealthState::Up)
    );
}
