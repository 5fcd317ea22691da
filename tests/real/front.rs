//! The real binary, `geofront run` on a configuration file, on ports the kernel chose; stopped when
//! dropped.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs::File;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde::Deserialize;
use tempfile::TempDir;

use crate::wait;

/// From start to listening: nothing slow happens in between, but the machine may be busy.
const START: Duration = Duration::from_secs(20);

/// From an upstream that works to one that is up, on a busy machine.
const HEALTH: Duration = Duration::from_secs(30);

/// A running front door.
pub(crate) struct Front {
    process: Child,
    folder: TempDir,
    ports: Ports,
}

#[derive(Deserialize)]
struct Ports {
    listen: Vec<SocketAddr>,
    listeners: HashMap<String, SocketAddr>,
    admin: SocketAddr,
}

impl Front {
    /// In front of `upstreams`, the first of which is the main. `more` is more configuration, whole
    /// tables.
    pub(crate) fn start(upstreams: &[(&str, SocketAddr)], more: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let config = folder.path().join("geofront.toml");
        std::fs::write(&config, configuration(upstreams, more))
            .expect("the configuration is written");
        let ports_file = folder.path().join("ports.json");
        let log = File::create(folder.path().join("log")).expect("the log is created");
        let mut process = Command::new(env!("CARGO_BIN_EXE_geofront"))
            .args(["run", "--config"])
            .arg(&config)
            .arg("--ports-file")
            .arg(&ports_file)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("the log's second handle"))
            .stderr(log)
            .spawn()
            .expect("geofront starts");
        let ports = wait::until("geofront listens", START, || {
            let ended = process.try_wait().expect("our own child").is_some();
            assert!(!ended, "geofront ended: {}", log_of(&folder));
            serde_json::from_str(&std::fs::read_to_string(&ports_file).ok()?).ok()
        });
        Self {
            process,
            folder,
            ports,
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.ports.listen[0]
    }

    /// The address of a listener with a name.
    pub(crate) fn listener(&self, name: &str) -> SocketAddr {
        self.ports.listeners[name]
    }

    /// Returns the metrics as Prometheus would see them.
    pub(crate) fn metrics(&self) -> String {
        self.admin("/metrics")
    }

    /// Reads the configuration again, which has not changed.
    pub(crate) fn reload_configuration(&self) {
        self.post("/api/config/reload");
    }

    /// An order without a body.
    pub(crate) fn post(&self, path: &str) {
        ureq::post(format!("http://{}{path}", self.ports.admin))
            .header("X-Geofront", "1")
            .send_empty()
            .expect("the admin address obeys");
    }

    /// Every upstream gets requests, and none of them on trial after an ejection.
    pub(crate) fn is_in_service(&self) -> bool {
        let status: serde_json::Value =
            serde_json::from_str(&self.admin("/api/status")).expect("the status is JSON");
        let upstreams = status["upstreams"]
            .as_array()
            .expect("the status lists upstreams");
        upstreams
            .iter()
            .all(|upstream| upstream["eligible"] == true && upstream["half_open"] != true)
    }

    /// Every replica has the main's last change.
    pub(crate) fn is_fresh(&self) -> bool {
        let status: serde_json::Value =
            serde_json::from_str(&self.admin("/api/status")).expect("the status is JSON");
        status["catalog"]["done"] == true
    }

    /// Where Prometheus scrapes.
    pub(crate) fn admin_address(&self) -> SocketAddr {
        self.ports.admin
    }

    fn admin(&self, path: &str) -> String {
        let mut answer = ureq::get(format!("http://{}{path}", self.ports.admin))
            .call()
            .expect("the admin address answers");
        answer.body_mut().read_to_string().expect("text to its end")
    }

    #[track_caller]
    pub(crate) fn wait_until_up(&self, names: &[&str]) {
        self.wait_until(names, "up");
    }

    #[track_caller]
    pub(crate) fn wait_until_down(&self, names: &[&str]) {
        self.wait_until(names, "down");
    }

    #[track_caller]
    fn wait_until(&self, names: &[&str], health: &str) {
        wait::until(&format!("{names:?} {health}"), HEALTH, || {
            let status: serde_json::Value =
                serde_json::from_str(&self.admin("/api/status")).expect("the status is JSON");
            let upstreams = status["upstreams"]
                .as_array()
                .expect("the status lists upstreams");
            let is = |name: &str| {
                upstreams
                    .iter()
                    .any(|upstream| upstream["name"] == name && upstream["health"] == health)
            };
            names.iter().all(|name| is(name)).then_some(())
        });
    }

    /// The log's lines so far.
    pub(crate) fn log(&self) -> String {
        log_of(&self.folder)
    }
}

fn log_of(folder: &TempDir) -> String {
    let path: PathBuf = folder.path().join("log");
    std::fs::read_to_string(path).unwrap_or_default()
}

impl Drop for Front {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("geofront's log:\n{}", self.log());
        }
        // It may have ended already, which the test has noticed.
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

fn configuration(upstreams: &[(&str, SocketAddr)], more: &str) -> String {
    let mut toml = "listen = [\"127.0.0.1:0\"]\nadmin = \"127.0.0.1:0\"\n".to_owned();
    for (i, (name, address)) in upstreams.iter().enumerate() {
        let role = if i == 0 { "role = \"main\"\n" } else { "" };
        write!(
            toml,
            "\n[upstreams.{name}]\nurl = \"http://{address}\"\n{role}"
        )
        .expect("a string grows");
    }
    toml + "\n" + more
}
