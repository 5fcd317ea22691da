//! One front door before two clusters of geosim: `city` by its hosts, `region` by its path.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use geofront::app::{self, App, AppPart};
use geofront::cluster::HealthState;
use geofront::config_reload::RealEnvironment;
use geofront::geosim::{Behaviour, DataDirectory, Instance, Request};
use tempfile::TempDir;

use crate::client::{Answer, Client};
use crate::rig::PATIENCE;

const HEALTH: &str = "[health]\ninterval = \"100ms\"\ntimeout = \"500ms\"\ndown_interval = \"50ms\"\nslow_start = \"0s\"\n\
    probe_layer = \"geor:public_layer\"\n";

/// The entries of both clusters.
pub(super) const ENTRIES: &str = "[clusters.city]\nfile = \"city.toml\"\nhosts = [\"city.example.org\", \"*.city.example.org\"]\n\
    [clusters.region]\nfile = \"region.toml\"\npath = \"/region/geoserver\"\n";

/// The path of the region's clients.
pub(super) const REGION: &str = "/region";

/// A host that only the region serves.
pub(super) const ELSEWHERE: &str = "maps.example.org";
pub(super) const CITY: &str = "city.example.org";

/// The instances of one cluster.
pub(super) struct Instances {
    pub(super) main: Instance,
    pub(super) replicas: Vec<Instance>,
}

impl Instances {
    pub(super) fn start(name: &str, replicas: usize, behaviour: &Behaviour) -> Self {
        let data = DataDirectory::new();
        let start = |called: &str| Instance::start(called, &data, behaviour.clone());
        let replica = |number| start(&format!("{name}{number}"));
        Self {
            main: start(&format!("{name}-main")),
            replicas: (1..=replicas).map(replica).collect(),
        }
    }

    /// The configuration of a cluster of these.
    pub(super) fn config(&self, more: &str) -> String {
        let main = format!(
            "[upstreams.main]\nurl = \"{}\"\nrole = \"main\"\n",
            self.main.url()
        );
        let replica = |(at, replica): (usize, &Instance)| {
            format!("[upstreams.slave{}]\nurl = \"{}\"\n", at + 1, replica.url())
        };
        let replicas: String = self.replicas.iter().enumerate().map(replica).collect();
        format!("{main}{replicas}{HEALTH}{more}")
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Instance> {
        [&self.main].into_iter().chain(&self.replicas)
    }

    /// Requests of clients that some instance received.
    pub(super) fn received(&self) -> Vec<Arc<Request>> {
        self.all()
            .flat_map(Instance::requests)
            .filter(|request| request.header("via").is_some())
            .collect()
    }
}

/// The front door and its clusters.
pub(super) struct Town {
    pub(super) city: Instances,
    pub(super) region: Instances,
    pub(super) app: App,
    directory: TempDir,
}

/// What stands in the files besides the upstreams.
#[derive(Clone, Default)]
pub(super) struct TownPlan {
    pub(super) front: String,
    pub(super) city: String,
    pub(super) region: String,
    pub(super) behaviour: Behaviour,
    /// In place of [`ENTRIES`].
    pub(super) entries: Option<String>,
}

impl TownPlan {
    /// Started, and every upstream up.
    pub(super) async fn start(self) -> Town {
        let city = Instances::start("city", 2, &self.behaviour);
        let region = Instances::start("region", 2, &self.behaviour);
        let directory = tempfile::tempdir().expect("a folder for the configuration");
        let write = |name: &str, text: String| {
            std::fs::write(directory.path().join(name), text).expect("a writable configuration");
        };
        let entries = self.entries.as_deref().unwrap_or(ENTRIES);
        let log = if self.front.contains("[log]") {
            ""
        } else {
            "[log]\naccess = \"off\"\n"
        };
        let front = format!(
            "listen = [\"127.0.0.1:0\"]\nadmin = \"127.0.0.1:0\"\n{}{log}{entries}",
            self.front
        );
        write("geofront.toml", front);
        write("city.toml", city.config(&self.city));
        write("region.toml", region.config(&self.region));
        let path = directory.path().join("geofront.toml");
        let app = app::start(&path, Arc::new(RealEnvironment))
            .await
            .unwrap_or_else(|error| panic!("{error}"));
        let town = Town {
            city,
            region,
            app,
            directory,
        };
        let is_up = |part: &AppPart| {
            let upstreams = part.control.status(Instant::now()).upstreams;
            upstreams.iter().all(|u| u.health == HealthState::Up)
        };
        town.until("every upstream is up", |town| {
            town.app.clusters.iter().all(is_up)
        })
        .await;
        town
    }
}

impl Town {
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(super) fn folder(&self) -> &Path {
        self.directory.path()
    }

    /// The running cluster of this name.
    pub(super) fn part(&self, name: &str) -> &AppPart {
        let mut parts = self.app.clusters.iter();
        parts
            .find(|part| part.name.as_ref().is_some_and(|own| own.as_str() == name))
            .expect("there is such a cluster")
    }

    /// Waits for a condition; fails the test when it does not come.
    pub(super) async fn until(&self, what: &str, condition: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !condition(self) {
            assert!(Instant::now() < deadline, "waited for: {what}");
            tokio::time::timeout(Duration::from_millis(5), std::future::pending::<()>())
                .await
                .unwrap_or(());
        }
    }

    /// A GET of a client that names this host.
    pub(super) async fn get(&self, host: &str, target: &str) -> Answer {
        let request = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n");
        self.request(request.as_bytes()).await
    }

    pub(super) async fn request(&self, bytes: &[u8]) -> Answer {
        Client::connect(self.app.listen[0])
            .await
            .expect("the front door listens")
            .request(bytes)
            .await
            .expect("an answer")
    }

    /// What the admin endpoint has at `path`.
    pub(super) async fn admin(&self, path: &str) -> Answer {
        self.order("GET", path).await
    }

    /// A request to the admin endpoint.
    pub(super) async fn order(&self, method: &str, path: &str) -> Answer {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nX-Geofront: test\r\nContent-Length: 0\r\n\r\n"
        );
        Client::connect(self.app.admin)
            .await
            .expect("the admin endpoint listens")
            .request(request.as_bytes())
            .await
            .expect("an answer")
    }

    /// What the admin endpoint has at `path`, once that contains `wanted`.
    pub(super) async fn admin_until(&self, path: &str, wanted: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let found = self.admin(path).await.text();
            if found.contains(wanted) {
                return found;
            }
            assert!(Instant::now() < deadline, "no {wanted} in {found}");
            tokio::time::timeout(Duration::from_millis(5), std::future::pending::<()>())
                .await
                .unwrap_or(());
        }
    }
}
