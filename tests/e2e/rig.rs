//! A whole front door in this process, before a cluster of geosim instances, on ports of the
//! kernel's choice.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use geofront::app::{self, App};
use geofront::cluster::{HealthState, UpstreamStatus};
use geofront::config_reload::RealEnvironment;
use geofront::geosim::{Behaviour, DataDirectory, Instance};
use tempfile::TempDir;

use super::client::{Answer, Client, get, post};

/// A condition that takes longer is taken for one that never comes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// The health settings of every test of the front door: probes that detect a change almost at once.
const QUICK_HEALTH: &str = r#"
[health]
interval = "100ms"
timeout = "500ms"
down_interval = "50ms"
slow_start = "0s"
probe_layer = "geor:public_layer"
"#;

/// The cluster and what stands before it.
pub(crate) struct Rig {
    pub(crate) main: Instance,
    pub(crate) replicas: Vec<Instance>,
    pub(crate) data: Arc<DataDirectory>,
    pub(crate) app: App,
    directory: TempDir,
}

/// The plan of a rig.
#[derive(Clone)]
pub(crate) struct Plan {
    replicas: usize,
    behaviour: Behaviour,
    health: String,
    top: String,
    more: String,
    catalog: String,
    data_on: Option<PathBuf>,
}

impl Plan {
    pub(crate) fn replicas(count: usize) -> Self {
        let top = "listen = [\"127.0.0.1:0\"]\nadmin = \"127.0.0.1:0\"\n".to_owned();
        Self {
            replicas: count,
            behaviour: Behaviour::default(),
            health: QUICK_HEALTH.to_owned(),
            top,
            more: "[log]\naccess = \"off\"\n".to_owned(),
            catalog: String::new(),
            data_on: None,
        }
    }

    /// Every instance is like this.
    pub(crate) fn behaving(mut self, behaviour: Behaviour) -> Self {
        self.behaviour = behaviour;
        self
    }

    /// A top-level line of the configuration.
    pub(crate) fn top(mut self, line: &str) -> Self {
        writeln!(self.top, "{line}").expect("a string takes everything");
        self
    }

    /// More tables.
    pub(crate) fn with(mut self, toml: &str) -> Self {
        self.more.push_str(toml);
        self.more.push('\n');
        self
    }

    /// The cluster's data directory is this folder.
    pub(crate) fn with_data_on(mut self, folder: &Path) -> Self {
        self.data_on = Some(folder.to_owned());
        self
    }

    /// Lines of `[catalog]`, in place of others of the same keys.
    pub(crate) fn catalog(mut self, lines: &str) -> Self {
        for line in lines.lines() {
            let key = key_of(line);
            self.catalog = self
                .catalog
                .lines()
                .filter(|line| key_of(line) != key)
                .flat_map(|line| [line, "\n"])
                .collect();
            writeln!(self.catalog, "{line}").expect("a string takes everything");
        }
        self
    }

    /// Access lines go to this file.
    pub(crate) fn access_log(mut self, path: &Path) -> Self {
        self.more = self.more.replace(
            "access = \"off\"",
            &format!("access = \"{}\"", path.display()),
        );
        self
    }

    /// A line of `[health]`.
    pub(crate) fn health(self, line: &str) -> Self {
        let key = line.split('=').next().unwrap_or_default().trim().to_owned();
        let mut plan = self.without(&key);
        writeln!(plan.health, "{line}").expect("a string takes everything");
        plan
    }

    /// No such key in `[health]`.
    pub(crate) fn without(mut self, key: &str) -> Self {
        let is_other = |line: &&str| line.split('=').next().unwrap_or_default().trim() != key;
        self.health = self
            .health
            .lines()
            .filter(is_other)
            .collect::<Vec<_>>()
            .join("\n")
            + "\n";
        self
    }

    /// Started, and every upstream up.
    pub(crate) async fn start(self) -> Rig {
        let watches_catalog = !self.catalog.is_empty();
        let rig = self.start_cold().await;
        rig.until("every upstream is up", |rig| {
            rig.upstreams().iter().all(|u| u.health == HealthState::Up)
        })
        .await;
        // A replica that was reloaded before the main's first update sequence is reloaded again, as
        // it should be.
        let number = |rig: &Rig| {
            rig.app
                .control
                .status(Instant::now())
                .catalog
                .update_sequence
        };
        rig.until("the main's catalog is known", |rig| {
            !watches_catalog || number(rig).is_some()
        })
        .await;
        rig
    }

    /// Started; nothing awaited.
    pub(crate) async fn start_cold(self) -> Rig {
        let on_disk = self
            .data_on
            .as_deref()
            .map(|folder| DataDirectory::on_disk(folder).expect("a writable folder"));
        let data = on_disk.unwrap_or_else(DataDirectory::new);
        let main = Instance::start("main", &data, self.behaviour.clone());
        let mut replicas = Vec::new();
        for number in 1..=self.replicas {
            replicas.push(Instance::start(
                &format!("slave{number}"),
                &data,
                self.behaviour.clone(),
            ));
        }
        let directory = tempfile::tempdir().expect("a folder for the configuration");
        let mut upstreams = upstream_at("main", &main.url(), "role = \"main\"");
        for replica in &replicas {
            upstreams.push_str(&upstream_at(replica.name(), &replica.url(), ""));
        }
        let catalog = if self.catalog.is_empty() {
            String::new()
        } else {
            format!("[catalog]\n{}", self.catalog)
        };
        let config = format!(
            "{}{upstreams}{}{catalog}{}",
            self.top, self.health, self.more
        );
        let path = directory.path().join("geofront.toml");
        std::fs::write(&path, config).expect("a writable configuration");
        let app = app::start(&path, Arc::new(RealEnvironment))
            .await
            .unwrap_or_else(|error| panic!("{error}"));
        Rig {
            main,
            replicas,
            data,
            app,
            directory,
        }
    }
}

fn key_of(line: &str) -> &str {
    line.split('=').next().unwrap_or_default().trim()
}

/// A table of the configuration.
pub(crate) fn upstream(name: &str, address: SocketAddr, more: &str) -> String {
    upstream_at(name, &format!("http://{address}"), more)
}

fn upstream_at(name: &str, url: &str, more: &str) -> String {
    format!("[upstreams.{name}]\nurl = \"{url}\"\n{more}\n")
}

impl Rig {
    pub(crate) fn address(&self) -> SocketAddr {
        self.app.listen[0]
    }

    pub(crate) fn config_path(&self) -> PathBuf {
        self.directory.path().join("geofront.toml")
    }

    pub(crate) fn config(&self) -> String {
        std::fs::read_to_string(self.config_path()).expect("the configuration is readable")
    }

    pub(crate) fn write_config(&self, config: &str) {
        std::fs::write(self.config_path(), config).expect("the configuration is writable");
    }

    pub(crate) fn upstreams(&self) -> Vec<UpstreamStatus> {
        self.app.control.status(Instant::now()).upstreams
    }

    pub(crate) fn upstream(&self, name: &str) -> UpstreamStatus {
        let found = self
            .upstreams()
            .into_iter()
            .find(|u| u.name.as_str() == name);
        found.unwrap_or_else(|| panic!("no upstream is called {name}"))
    }

    pub(crate) fn in_flight(&self) -> u32 {
        self.upstreams().iter().map(|u| u.in_flight).sum()
    }

    /// Waits for a condition; fails the test when it does not come.
    pub(crate) async fn until(&self, what: &str, condition: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !condition(self) {
            assert!(
                Instant::now() < deadline,
                "waited for: {what}; the cluster is {:#?}",
                self.upstreams()
            );
            tokio::task::yield_now().await;
            tokio::time::timeout(Duration::from_millis(5), std::future::pending::<()>())
                .await
                .unwrap_or(());
        }
    }

    pub(crate) async fn client(&self) -> Client {
        Client::connect(self.address())
            .await
            .expect("the front door listens")
    }

    /// A GET on a connection of its own.
    pub(crate) async fn get(&self, target: &str) -> Answer {
        self.request(get(target).as_bytes()).await
    }

    pub(crate) async fn post(&self, target: &str, content_type: &str, body: &[u8]) -> Answer {
        self.request(&post(target, content_type, body)).await
    }

    /// Returns the metrics as Prometheus would scrape them.
    pub(crate) async fn metrics(&self) -> String {
        self.admin("/metrics").await
    }

    /// Returns what the admin endpoint has at `path`.
    async fn admin(&self, path: &str) -> String {
        let mut admin = Client::connect(self.app.admin)
            .await
            .expect("the admin endpoint listens");
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        admin
            .request(request.as_bytes())
            .await
            .expect("an answer")
            .text()
    }

    /// The metrics once they contain `wanted`: a request is counted after its answer.
    pub(crate) async fn metrics_with(&self, wanted: &str) -> String {
        self.admin_until("/metrics", wanted).await
    }

    /// What the admin endpoint has at `path`, once that contains `wanted`.
    pub(crate) async fn admin_until(&self, path: &str, wanted: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let found = self.admin(path).await;
            if found.contains(wanted) {
                return found;
            }
            assert!(Instant::now() < deadline, "no {wanted} in {found}");
            tokio::time::timeout(Duration::from_millis(5), std::future::pending::<()>())
                .await
                .unwrap_or(());
        }
    }

    pub(crate) async fn request(&self, bytes: &[u8]) -> Answer {
        self.client().await.request(bytes).await.expect("an answer")
    }
}
