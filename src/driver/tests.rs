//! The driver's loop: probes run, results arrive, transitions are counted.

use std::time::Duration;

use super::fixture::{Behaviour, PATIENCE, Server, config, http};
use super::*;
use crate::cluster::{HealthState, UpstreamStatus};

const CAPABILITIES: &str = "<WMS_Capabilities version=\"1.3.0\">";
const OFTEN: &str = "[health]\ninterval = \"100ms\"\ndown_interval = \"100ms\"\ntimeout = \"50ms\"\nrise = 1\nfall = 2\n";

struct Running {
    control: Arc<Control>,
    metrics: Arc<Metrics>,
    stop: watch::Sender<bool>,
    task: tokio::task::JoinHandle<()>,
}

fn drive(control: Arc<Control>) -> Running {
    let (stop, stopped) = watch::channel(false);
    let metrics = Metrics::new();
    let task = tokio::spawn(run(Arc::clone(&control), Arc::clone(&metrics), stopped));
    Running {
        control,
        metrics,
        stop,
        task,
    }
}

fn replica(control: &Control) -> UpstreamStatus {
    let upstreams = control.status(Instant::now()).upstreams;
    upstreams
        .into_iter()
        .find(|upstream| upstream.name.as_str() == "replica")
        .unwrap()
}

async fn health_becomes(control: &Control, state: HealthState) {
    let mut transitions = control.transitions();
    let wait = async {
        while replica(control).health != state {
            transitions.recv().await.ok();
        }
    };
    tokio::time::timeout(PATIENCE, wait)
        .await
        .unwrap_or_else(|_| panic!("health becomes {state}"));
}

#[tokio::test]
async fn an_upstream_that_answers_comes_up_and_its_probes_are_counted() {
    let server = Server::start(Behaviour::Answer(http("200 OK", "text/xml", CAPABILITIES))).await;
    let running = drive(Control::new(config(server.address, OFTEN), Instant::now()));
    health_becomes(&running.control, HealthState::Up).await;
    let page = running
        .metrics
        .render(&running.control.status(Instant::now()));
    assert!(
        page.contains("geofront_probes_total{upstream=\"replica\",outcome=\"success\"}"),
        "{page}"
    );
}

#[tokio::test]
async fn an_upstream_that_hangs_goes_down_with_its_cause() {
    let server = Server::start(Behaviour::Stall(Vec::new())).await;
    let running = drive(Control::new(config(server.address, OFTEN), Instant::now()));
    health_becomes(&running.control, HealthState::Down).await;
    assert_eq!(
        replica(&running.control).last_cause,
        Some(Cause::Timeout("no answer"))
    );
}

#[tokio::test]
async fn a_new_configuration_is_driven_without_a_restart() {
    let hanging = Server::start(Behaviour::Stall(Vec::new())).await;
    let working = Server::start(Behaviour::Answer(http("200 OK", "text/xml", CAPABILITIES))).await;
    let running = drive(Control::new(config(hanging.address, OFTEN), Instant::now()));
    health_becomes(&running.control, HealthState::Down).await;
    running.control.handle(
        Event::Configured(config(working.address, OFTEN)),
        Instant::now(),
    );
    health_becomes(&running.control, HealthState::Up).await;
}

#[tokio::test]
async fn it_ends_on_shutdown_together_with_its_probes() {
    let server = Server::start(Behaviour::Stall(Vec::new())).await;
    let slow = "[health]\ntimeout = \"4s\"\n";
    let mut server = server;
    let running = drive(Control::new(config(server.address, slow), Instant::now()));
    server.requests.recv().await.expect("a probe is under way");
    running.stop.send(true).unwrap();
    tokio::time::timeout(Duration::from_secs(2), running.task)
        .await
        .expect("before the probe's own end")
        .unwrap();
}
