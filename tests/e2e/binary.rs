//! The real binary as a process of its own: what its signals, limits and files do.

use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use command_fds::{CommandFdExt, FdMapping};
use tokio::process::{Child, Command};

use super::client::{Answer, Client};
use super::rig::PATIENCE;

pub(crate) struct Process {
    pub(crate) child: Child,
    pub(crate) listen: SocketAddr,
    pub(crate) admin: SocketAddr,
}

impl Process {
    /// Started, and listening.
    pub(crate) async fn start(folder: &Path) -> Self {
        Self::start_with_files(folder, None).await
    }

    /// Started with so many file descriptors at most, soft and hard limit.
    pub(crate) async fn start_with_files(folder: &Path, files: Option<u32>) -> Self {
        let limit = files
            .map(|files| format!("ulimit -n {files}; "))
            .unwrap_or_default();
        Self::start_in_shell(folder, &limit, &[]).await
    }

    /// Started so that no file can become larger than so many blocks of 512 bytes.
    pub(crate) async fn start_with_file_size(folder: &Path, blocks: u32) -> Self {
        Self::start_in_shell(folder, &format!("ulimit -f {blocks}; "), &[]).await
    }

    /// Started with these listening sockets, as systemd passes them.
    pub(crate) async fn start_with_sockets(folder: &Path, sockets: &[BorrowedFd<'_>]) -> Self {
        let count = sockets.len();
        let variables = format!("export LISTEN_FDS={count} LISTEN_PID=$$; ");
        Self::start_in_shell(folder, &variables, sockets).await
    }

    async fn start_in_shell(folder: &Path, before: &str, sockets: &[BorrowedFd<'_>]) -> Self {
        let ports = folder.join("ports.json");
        std::fs::remove_file(&ports).ok();
        // Passed sockets begin behind stderr.
        let passed = sockets.iter().zip(3..).map(|(socket, child_fd)| FdMapping {
            parent_fd: socket.try_clone_to_owned().unwrap(),
            child_fd,
        });
        // The shell is replaced by the program: signals go to that.
        let mut command = Command::new("sh");
        command
            .args([
                "-c",
                &format!("{before}exec \"$0\" \"$@\""),
                env!("CARGO_BIN_EXE_geofront"),
            ])
            .arg("run")
            .arg("--config")
            .arg(folder.join("geofront.toml"))
            .arg("--ports-file")
            .arg(&ports)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(folder.join("log")).unwrap())
            .kill_on_drop(true)
            .fd_mappings(passed.collect())
            .unwrap();
        let mut child = command.spawn().unwrap();
        let ports = until("geofront listens", || {
            assert!(child.try_wait().unwrap().is_none(), "geofront ended");
            serde_json::from_str::<serde_json::Value>(&std::fs::read_to_string(&ports).ok()?).ok()
        })
        .await;
        let address = |value: &serde_json::Value| value.as_str().unwrap().parse().unwrap();
        Self {
            listen: address(&ports["listen"][0]),
            admin: address(&ports["admin"]),
            child,
        }
    }

    /// Returns the log so far.
    pub(crate) fn log(folder: &Path) -> String {
        std::fs::read_to_string(folder.join("log")).unwrap()
    }

    pub(crate) async fn signal(&self, name: &str) {
        let id = self.child.id().expect("it runs").to_string();
        assert!(
            Command::new("kill")
                .args(["-s", name, &id])
                .status()
                .await
                .unwrap()
                .success()
        );
    }

    /// The answer of the admin endpoint to a GET on a connection of its own.
    pub(crate) async fn admin_get(&self, path: &str) -> Answer {
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
            self.admin
        );
        Client::connect(self.admin)
            .await
            .unwrap()
            .request(request.as_bytes())
            .await
            .unwrap()
    }

    pub(crate) async fn status(&self) -> serde_json::Value {
        let request = format!("GET /api/status HTTP/1.1\r\nHost: {}\r\n\r\n", self.admin);
        let answer = Client::connect(self.admin)
            .await
            .unwrap()
            .request(request.as_bytes())
            .await
            .unwrap();
        serde_json::from_slice(&answer.body).unwrap()
    }

    /// The upstream of this name, as `/api/status` shows it.
    pub(crate) async fn upstream(&self, name: &str) -> serde_json::Value {
        let status = self.status().await;
        status["upstreams"]
            .as_array()
            .unwrap()
            .iter()
            .find(|upstream| upstream["name"] == name)
            .unwrap()
            .clone()
    }

    /// Orders a mode as the command line does.
    pub(crate) async fn order(&self, name: &str, mode: &str, by: &str) {
        let body = format!(r#"{{"mode":"{mode}","by":"{by}"}}"#);
        let request = format!(
            "POST /api/upstreams/{name}/mode HTTP/1.1\r\nHost: {}\r\nX-Geofront: 1\r\nContent-Length: {}\r\n\r\n{body}",
            self.admin,
            body.len()
        );
        let answer = Client::connect(self.admin)
            .await
            .unwrap()
            .request(request.as_bytes())
            .await
            .unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
    }

    pub(crate) async fn until_eligible(&self, name: &str) {
        let deadline = Instant::now() + PATIENCE;
        while self.upstream(name).await["eligible"] != true {
            assert!(Instant::now() < deadline, "{:#}", self.status().await);
            tick().await;
        }
    }

    /// Waits for a config reload with this outcome.
    pub(crate) async fn until_reload(&self, outcome: &str) -> serde_json::Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let last = self.status().await["last_reload"].clone();
            if last["outcome"] == outcome {
                return last;
            }
            assert!(Instant::now() < deadline, "{last:#}");
            tick().await;
        }
    }

    pub(crate) async fn until_all_eligible(&self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let status = self.status().await;
            let upstreams = status["upstreams"].as_array().unwrap();
            if upstreams
                .iter()
                .all(|upstream| upstream["eligible"] == true)
            {
                return;
            }
            assert!(Instant::now() < deadline, "{status:#}");
            tick().await;
        }
    }
}

pub(crate) async fn tick() {
    drop(tokio::time::timeout(Duration::from_millis(5), std::future::pending::<()>()).await);
}

pub(crate) async fn until<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < deadline, "waited for: {what}");
        tick().await;
    }
}
