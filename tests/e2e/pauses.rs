//! A process that does not run for a while (a paused container, a moved virtual machine, no free
//! CPU time) blames none of it on an upstream or a request.

use std::time::{Duration, Instant};

use geofront::geosim::{Behaviour, DataDirectory, Fault, Instance};
use geofront::ogc::RequestClass;

use super::binary::{Process, tick};
use super::client::{Client, get};
use super::load::Load;
use super::requests::{CAPABILITIES, FEATURES};
use super::rig::{PATIENCE, upstream};

/// Longer than the timeout of probes, and than the second that a late report has.
const PAUSE: Duration = Duration::from_millis(2500);

/// The work of a request that ends soon after the pause in which it began.
const WORK: Duration = Duration::from_millis(2700);

struct Cluster {
    main: Instance,
    replicas: [Instance; 2],
    folder: tempfile::TempDir,
}

impl Cluster {
    fn new(more: &str) -> Self {
        let data = DataDirectory::new();
        let start = |name| Instance::start(name, &data, Behaviour::default());
        let (main, replicas) = (start("main"), ["slave1", "slave2"].map(start));
        let config = format!(
            "listen = [\"127.0.0.1:0\"]\nadmin = \"127.0.0.1:0\"\n{}{}{}[health]\ninterval = \"60ms\"\n\
             timeout = \"500ms\"\ndown_interval = \"50ms\"\nfall = 1\nprobe_layer = \"geor:public_layer\"\n{more}\n",
            upstream("main", main.address(), "role = \"main\"\nreads = \"never\""),
            upstream("slave1", replicas[0].address(), ""),
            upstream("slave2", replicas[1].address(), ""),
        );
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("geofront.toml"), config).unwrap();
        Self {
            main,
            replicas,
            folder,
        }
    }

    async fn start(&self) -> Process {
        let process = Process::start(self.folder.path()).await;
        process.until_all_eligible().await;
        process
    }

    /// Stops the process for [`PAUSE`] while probes are at work everywhere.
    async fn pause(&self, process: &Process) {
        let instances = || self.replicas.iter().chain([&self.main]);
        let counts: Vec<_> = instances().map(|i| i.received(RequestClass::Map)).collect();
        for instance in instances() {
            instance.suffers(Fault::Slow(WORK).only(RequestClass::Map));
        }
        let is_probed = || {
            let mut both = instances().zip(&counts);
            both.all(|(instance, before)| instance.received(RequestClass::Map) > *before)
        };
        until(is_probed).await;
        process.signal("STOP").await;
        let end = Instant::now() + PAUSE;
        until(|| Instant::now() >= end).await;
        instances().for_each(Instance::heals);
        process.signal("CONT").await;
    }
}

async fn until(condition: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline);
        tick().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pause_of_the_process_is_blamed_on_no_upstream_and_costs_no_request() {
    let cluster = Cluster::new("");
    let process = cluster.start().await;
    let load = Load::start(process.listen, 8, &[FEATURES, CAPABILITIES]);
    for _ in 0..2 {
        load.goes_on_for(50).await;
        cluster.pause(&process).await;
        load.goes_on_for(50).await;
    }
    let tally = load.stop().await;
    assert_eq!(tally.failures, 0, "{tally:#?}");
    process.until_all_eligible().await;
    let log = Process::log(cluster.folder.path());
    assert!(!log.contains("level=warn"), "{log}");
    let metrics = process.admin_get("/metrics").await.text();
    let is_probe = |line: &&str| line.starts_with("geofront_probes_total{");
    let probes: Vec<_> = metrics.lines().filter(is_probe).collect();
    let has_passed = |line: &&str| line.contains("outcome=\"success\"");
    assert!(
        probes.len() == 3 && probes.iter().all(has_passed),
        "{probes:#?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_waits_for_a_slot_does_not_give_up_because_the_process_was_paused() {
    let cluster = Cluster::new("[limits]\nmax_in_flight = 1\nqueue_timeout = \"1s\"");
    let process = cluster.start().await;
    for replica in &cluster.replicas {
        replica.suffers(Fault::Slow(WORK).only(RequestClass::Feature).times(1));
    }
    let mut clients = Vec::new();
    for _ in 0..4 {
        let mut client = Client::connect(process.listen).await.unwrap();
        client.send(get(FEATURES).as_bytes()).await.unwrap();
        clients.push(client);
    }
    let deadline = Instant::now() + PATIENCE;
    while process.status().await["queue"]["waiting"] != 2 {
        assert!(Instant::now() < deadline, "{:#}", process.status().await);
    }
    process.signal("STOP").await;
    let end = Instant::now() + PAUSE;
    until(|| Instant::now() >= end).await;
    process.signal("CONT").await;
    for mut client in clients {
        let answer = client.answer().await.unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
}
