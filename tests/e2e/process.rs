//! The process as its administrator meets it: names that do not resolve, signals, files that are
//! slow to read.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use geofront::geosim::{Behaviour, DataDirectory, Instance};

use super::binary::{Process, until};
use super::client::Client;
use super::requests::MAP;
use super::rig::{PATIENCE, upstream};

/// A main, a replica, and a folder with their configuration.
pub(crate) struct Cluster {
    pub(crate) main: Instance,
    pub(crate) replica: Instance,
    pub(crate) folder: tempfile::TempDir,
}

impl Cluster {
    pub(crate) fn new() -> Self {
        let data: Arc<DataDirectory> = DataDirectory::new();
        let start = |name| Instance::start(name, &data, Behaviour::default());
        let cluster = Self {
            main: start("main"),
            replica: start("slave1"),
            folder: tempfile::tempdir().unwrap(),
        };
        cluster.configure("");
        cluster
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Writes the configuration, with more tables.
    pub(crate) fn configure(&self, more: &str) {
        self.configure_on("127.0.0.1:0", "127.0.0.1:0", more);
    }

    /// The same, with these addresses for `listen` and `admin`.
    pub(crate) fn configure_on(&self, listen: &str, admin: &str, more: &str) {
        let config = format!(
            "listen = [\"{listen}\"]\nadmin = \"{admin}\"\n{}{}[health]\ninterval = \"100ms\"\ndown_interval = \"50ms\"\n\
             slow_start = \"0s\"\nprobe_layer = \"geor:public_layer\"\n{more}",
            upstream("main", self.main.address(), "role = \"main\""),
            upstream("slave1", self.replica.address(), ""),
        );
        std::fs::write(self.path().join("geofront.toml"), config).unwrap();
    }

    pub(crate) async fn start(&self, files: Option<u32>) -> Process {
        let process = Process::start_with_files(self.path(), files).await;
        process.until_eligible("slave1").await;
        process
    }
}

pub(crate) async fn map_status(process: &Process) -> u16 {
    Client::connect(process.listen)
        .await
        .unwrap()
        .get(MAP)
        .await
        .unwrap()
        .status
}

/// A name that no name server has, by RFC 6761.
const NOWHERE: &str = "[upstreams.moved]\nurl = \"http://gs9.invalid:8080\"\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn geofront_starts_and_takes_edits_although_the_name_of_one_geoserver_does_not_resolve() {
    let cluster = Cluster::new();
    cluster.configure(NOWHERE);
    let process = cluster.start(None).await;
    assert_eq!(map_status(&process).await, 200);
    let deadline = Instant::now() + PATIENCE;
    while process.upstream("moved").await["health"] != "down" {
        assert!(
            Instant::now() < deadline,
            "{}",
            process.upstream("moved").await
        );
    }
    let moved = process.upstream("moved").await;
    assert!(moved["address"].is_null(), "{moved}");
    assert!(
        moved["last_cause"]
            .as_str()
            .unwrap()
            .contains("cannot resolve host `gs9.invalid`"),
        "{moved}"
    );

    cluster.configure(&format!("{NOWHERE}[timeouts]\nconnect = \"3s\"\n"));
    process.until_reload("applied").await;
    assert_eq!(process.upstream("moved").await["health"], "down");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_that_hangs_on_a_slow_disk_holds_up_neither_administration_nor_requests() {
    let cluster = Cluster::new();
    let mut process = cluster.start(None).await;
    // This pipe has no writer, so a reader blocks, as on an NFS server that is gone.
    let config = cluster.path().join("geofront.toml");
    std::fs::remove_file(&config).unwrap();
    assert!(
        std::process::Command::new("mkfifo")
            .arg(&config)
            .status()
            .unwrap()
            .success()
    );
    process.signal("HUP").await;
    process.signal("HUP").await;
    for path in [
        "/healthz",
        "/readyz",
        "/api/config",
        "/api/status",
        "/metrics",
    ] {
        let began = Instant::now();
        assert_eq!(process.admin_get(path).await.status, 200, "{path}");
        assert!(
            began.elapsed() < Duration::from_secs(2),
            "{path}: {:?}",
            began.elapsed()
        );
    }
    assert_eq!(map_status(&process).await, 200);
    let began = Instant::now();
    process.signal("TERM").await;
    assert!(
        tokio::time::timeout(PATIENCE, process.child.wait())
            .await
            .expect("it ends")
            .unwrap()
            .success()
    );
    assert!(
        began.elapsed() < Duration::from_secs(8),
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigusr1_opens_the_access_log_anew_and_sigusr2_is_ignored() {
    let cluster = Cluster::new();
    let log = cluster.path().join("access.log");
    cluster.configure(&format!("[log]\naccess = \"{}\"\n", log.display()));
    let process = cluster.start(None).await;
    for signal in ["USR2", "USR1"] {
        process.signal(signal).await;
        assert_eq!(map_status(&process).await, 200, "after SIG{signal}");
    }
    until("the log says so", || {
        Process::log(cluster.path())
            .contains("the access log is opened anew")
            .then_some(())
    })
    .await;
}

/// Without a handler, SIGXFSZ would end the process.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_access_log_at_the_limit_of_file_sizes_ends_no_process() {
    let cluster = Cluster::new();
    let log = cluster.path().join("access.log");
    cluster.configure(&format!("[log]\naccess = \"{}\"\n", log.display()));
    let process = Process::start_with_file_size(cluster.path(), 64).await;
    process.until_all_eligible().await;
    let deadline = Instant::now() + PATIENCE;
    while !Process::log(cluster.path()).contains("the access log cannot be written") {
        assert!(Instant::now() < deadline, "the log never reaches the limit");
        assert_eq!(map_status(&process).await, 200);
    }
    assert_eq!(map_status(&process).await, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_level_of_the_log_changes_without_a_restart_and_its_outputs_are_named_as_needing_one() {
    let cluster = Cluster::new();
    let process = cluster.start(None).await;
    assert!(!Process::log(cluster.path()).contains("level=debug"));
    cluster.configure("[log]\nlevel = \"debug\"\n");
    process.until_reload("applied").await;
    until("it logs more", || {
        Process::log(cluster.path())
            .contains("level=debug")
            .then_some(())
    })
    .await;
    cluster.configure("[log]\nlevel = \"debug\"\nformat = \"json\"\n");
    let refused = process.until_reload("refused").await;
    assert!(
        refused["error"]
            .as_str()
            .unwrap()
            .starts_with("log.format (logfmt -> json) cannot change while geofront runs"),
        "{refused}"
    );
}

/// Connections that send nothing.
async fn idle_clients(process: &Process, count: usize) -> Vec<tokio::net::TcpStream> {
    let mut clients = Vec::new();
    for _ in 0..count {
        clients.push(
            tokio::net::TcpStream::connect(process.listen)
                .await
                .unwrap(),
        );
    }
    clients
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_clients_that_use_up_file_descriptors_take_no_upstream_down_and_no_reload_away() {
    let cluster = Cluster::new();
    let process = cluster.start(Some(100)).await;
    let idle = idle_clients(&process, 110).await;
    until("clients are refused", || {
        Process::log(cluster.path())
            .contains("clients are refused")
            .then_some(())
    })
    .await;
    // Several rounds of probes.
    let metrics = |text: &str| {
        let line = text.lines().find(|line| {
            line.starts_with("geofront_probes_total{upstream=\"slave1\",outcome=\"success\"}")
        });
        line.and_then(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
            .unwrap_or_default()
    };
    let probes = metrics(&process.admin_get("/metrics").await.text());
    let deadline = Instant::now() + PATIENCE;
    while metrics(&process.admin_get("/metrics").await.text()) < probes + 10 {
        assert!(Instant::now() < deadline, "probes go on");
    }
    for upstream in ["main", "slave1"] {
        assert_eq!(process.upstream(upstream).await["health"], "up");
    }
    cluster.configure("[timeouts]\nconnect = \"3s\"\n");
    process.until_reload("applied").await;
    let log = Process::log(cluster.path());
    assert!(
        !log.contains("health=down") && !log.contains("config=refused"),
        "{log}"
    );
    assert_eq!(log.matches("clients are refused").count(), 1, "{log}");
    drop(idle);
    let deadline = Instant::now() + PATIENCE;
    while map_status(&process).await != 200 {
        assert!(Instant::now() < deadline, "there is room again");
    }
}
