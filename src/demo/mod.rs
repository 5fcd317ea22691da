//! A simulated GeoServer cluster behind a real front door, in one process, with a map page.
//!
//! ```text
//!   browser ──> map_server          the map page, its controls, and the status page in a frame
//!      │             └── orders ──> simulated_cluster ── main, slave1, slave2 ...
//!      ├── tiles ──> the front door ──────────────────────────┘  │
//!      └── tiles ──> naive_round_robin ──────────────────────────┘
//! ```

mod burst;
mod exchange;
mod instructions;
mod map_server;
mod naive_round_robin;
mod simulated_cluster;

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{interval, timeout};

use crate::admin;
use crate::app::{self, App, StartError};
use crate::config::MapEnvironment;
use crate::geosim::{Instance, PASSWORD, USER};
pub use instructions::Addresses;
use map_server::Simulation;
pub use simulated_cluster::{Order, SimulatedCluster};

/// The configuration exists in memory only.
const FILE: &str = "/demo/geofront.toml";

/// The variable with the password of the simulated GeoServers.
const PASSWORD_VARIABLE: &str = "GEOSERVER_PASSWORD";

/// Time for which the start waits until all replicas serve.
const READY_LIMIT: Duration = Duration::from_secs(10);
const READY_POLL: Duration = Duration::from_millis(20);

/// The size and addresses of the demo.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    pub replicas: u16,
    pub listen: SocketAddr,
    pub admin: SocketAddr,
    /// The map page, on loopback.
    pub map: SocketAddr,
}

/// A running demo.
pub struct Demo {
    pub app: App,
    pub cluster: Arc<SimulatedCluster>,
    pub addresses: Addresses,
    stop: watch::Sender<bool>,
    servers: [JoinHandle<()>; 2],
}

/// The reason why the demo did not start.
#[derive(Debug)]
pub enum DemoError {
    Start(StartError),
    /// The address of the map page.
    Listen(SocketAddr, io::Error),
    /// The controls of the demo are for the machine itself only.
    NotLoopback(SocketAddr),
}

impl fmt::Display for DemoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start(error) => error.fmt(f),
            Self::Listen(address, error) => write!(f, "cannot listen on {address}: {error}"),
            Self::NotLoopback(address) => write!(
                f,
                "the map page of the demo at {address}: must be a loopback address, because its controls have no password"
            ),
        }
    }
}

impl std::error::Error for DemoError {}

/// Starts the instances, the front door before them, the naive balancer and the map page.
pub async fn start(options: Options) -> Result<Demo, DemoError> {
    if !options.map.ip().is_loopback() {
        return Err(DemoError::NotLoopback(options.map));
    }
    let page = bind(options.map).await?;
    let naive = bind((Ipv4Addr::LOCALHOST, 0).into()).await?;
    let cluster = Arc::new(SimulatedCluster::start(options.replicas));
    let environment = MapEnvironment::new()
        .file(FILE, configuration(options, &cluster))
        .environment_variable(PASSWORD_VARIABLE, PASSWORD);
    let app = app::start(Path::new(FILE), Arc::new(environment))
        .await
        .map_err(DemoError::Start)?;
    let addresses = Addresses {
        front: reachable(app.listen[0]),
        admin: app.admin,
        map: address_of(&page),
        naive: address_of(&naive),
    };
    let (stop, stopped) = watch::channel(false);
    let simulation = Simulation::new(Arc::clone(&cluster), addresses.front, addresses.naive);
    let replicas = cluster.replicas().map(Instance::address).collect();
    let servers = [
        tokio::spawn(naive_round_robin::serve(naive, replicas, stopped.clone())),
        tokio::spawn(admin::serve_beside(
            page,
            Arc::clone(&app.admin_state),
            map_server::routes(simulation),
            stopped,
        )),
    ];
    Ok(Demo {
        app,
        cluster,
        addresses,
        stop,
        servers,
    })
}

async fn bind(address: SocketAddr) -> Result<TcpListener, DemoError> {
    TcpListener::bind(address)
        .await
        .map_err(|error| DemoError::Listen(address, error))
}

fn address_of(listener: &TcpListener) -> SocketAddr {
    listener
        .local_addr()
        .expect("a bound socket has an address")
}

/// The address by which this machine reaches a listener.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
    address
}

fn configuration(options: Options, cluster: &SimulatedCluster) -> String {
    let mut text = format!(
        "listen = [\"{}\"]\nadmin = \"{}\"\n",
        options.listen, options.admin
    );
    // The burst comes from clients with addresses of their own.
    text += "trusted_proxies = [\"127.0.0.1/32\"]\ntrusted_identity = []\n";
    let replicas = cluster.replicas().map(|replica| (replica, "replica"));
    for (instance, role) in replicas.chain([(&cluster.main, "main")]) {
        text += &format!(
            "[upstreams.{}]\nurl = \"http://{}\"\nrole = \"{role}\"\n",
            instance.name(),
            instance.address()
        );
    }
    text +=
        &format!("[geoserver]\nusername = \"{USER}\"\npassword_env = \"{PASSWORD_VARIABLE}\"\n");
    text += "[health]\ninterval = \"1s\"\ntimeout = \"1500ms\"\nfall = 2\nprobe_layer = \"geor:public_layer\"\nejection = \"5s\"\nslow_start = \"5s\"\n";
    text += "[limits]\nqueue_timeout = \"90s\"\n";
    text + "[catalog]\npoll = \"2s\"\nsettle = \"1s\"\nroll_share = 100\n[log]\naccess = \"off\"\n"
}

impl Demo {
    /// Suggestions to try, with the bound ports.
    pub fn instructions(&self) -> String {
        instructions::instructions(self.addresses, &self.cluster)
    }

    /// Waits until every upstream serves; false if that takes too long.
    pub async fn is_ready(&self) -> bool {
        let all_serve = || {
            let status = self.app.control.status(Instant::now());
            status.upstreams.iter().all(|upstream| upstream.eligible)
        };
        let waiting = async {
            let mut look = interval(READY_POLL);
            while !all_serve() {
                look.tick().await;
            }
        };
        timeout(READY_LIMIT, waiting).await.is_ok()
    }

    /// Ends everything.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        self.app.stop().await;
        for server in self.servers {
            server.await.expect("a server of the demo does not panic");
        }
    }
}
