//! Creates and connects all parts: [`start`] for tests and the demo, [`run`] for the process.
//!
//! Pingora's `Server` is deliberately not used: it waits for a fixed grace period when it stops,
//! gives every service a runtime of its own, and dies of SIGHUP. Its services also run on
//! geofront's runtime and sockets.

mod activation;
mod descriptors;
mod listeners;
mod logging;
mod part;
mod stop;
mod unix_sockets;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures::future::join_all;
use pingora::listeners::ListenerConfig;
use pingora::proxy::{HttpProxy, http_proxy};
use pingora::server::configuration::ServerConf;
use pingora::services::Service as _;
use pingora::services::listening::Service;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::admin::{self, AdminState};
use crate::admission::QueueStatus;
use crate::cluster::{Hold, Tried};
use crate::config::{Config, Diagnostics, ListenAddress, shared_upstreams};
use crate::config_reload::{self, ConfigReload, FirstLoad, FirstRead, SharedEnvironment};
use crate::control::Control;
use crate::driver;
use crate::metrics::Metrics;
use crate::proxy::access_log::AccessLog;
use crate::proxy::{Connections, FrontDoor, SharedParts};
use crate::waiting_room::WaitingRoom;
use activation::PassedSockets;
use descriptors::{Budget, Workers};
use logging::LogLevelSwitch;
pub use part::AppPart;
use unix_sockets::UnixSocket;

/// Idle upstream connections per worker thread: more than a cluster's Tomcats ever serve.
const IDLE_UPSTREAM_CONNECTIONS: usize = 512;

/// A lower limit on clients is worth a warning.
const FEW_CLIENTS: usize = 256;

/// A running front door.
#[derive(Debug)]
pub struct App {
    /// Addresses for clients, with the ports that the kernel chose for 0.
    pub listen: Vec<SocketAddr>,
    /// The same for listeners with a name.
    pub listeners: Vec<(String, ListenAddress)>,
    pub admin: SocketAddr,
    /// The state that the admin listener shows, for other listeners.
    pub(crate) admin_state: Arc<AdminState>,
    /// The cluster; of several, a part without upstreams that stands for the front file.
    pub control: Arc<Control>,
    pub reload: Arc<ConfigReload>,
    /// The clusters of a front file, in the order of their names.
    pub clusters: Vec<AppPart>,
    front_door: FrontDoor,
    room: Arc<WaitingRoom>,
    draining: Arc<AtomicBool>,
    /// Stops the listeners.
    stop_serving: watch::Sender<bool>,
    /// Stops everything else: admin, probes, file watch.
    stop_rest: watch::Sender<bool>,
    service: JoinHandle<()>,
    rest: Vec<JoinHandle<()>>,
}

/// The reason why the start failed.
#[derive(Debug)]
pub enum StartError {
    Config(Diagnostics),
    Listen {
        address: ListenAddress,
        error: io::Error,
    },
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(diagnostics) => diagnostics.fmt(f),
            Self::Listen { address, error } => {
                write!(
                    f,
                    "cannot listen on {address}: {error}{}",
                    listeners::remedy(address, error)
                )
            }
        }
    }
}

impl std::error::Error for StartError {}

/// Starts a front door on the current runtime; it serves when this returns.
pub async fn start(path: &Path, environment: SharedEnvironment) -> Result<App, StartError> {
    let first = FirstRead::new(path, &environment).map_err(StartError::Config)?;
    start_with(first, PassedSockets::default()).await
}

async fn start_with(first: FirstRead, mut passed: PassedSockets) -> Result<App, StartError> {
    let limit = descriptors::raise_limit();
    let mut loaded = look_up(first).await.map_err(StartError::Config)?;
    let clusters = std::mem::take(&mut loaded.clusters);
    let config = loaded.loaded.config.clone();
    let configs: Vec<&Config> = clusters
        .iter()
        .map(|cluster| &cluster.loaded.config)
        .collect();
    for note in shared_upstreams(&configs) {
        tracing::warn!("{note}");
    }
    let metrics = Metrics::new();
    let access_log = AccessLog::start(&config.log.access, config.log.format);
    let shared = SharedParts::new(access_log, config.threads);
    let part = |cluster| AppPart::new(cluster, metrics.of_cluster(), shared.clone(), Vec::new());
    let clusters: Vec<AppPart> = clusters.into_iter().map(part).collect();
    let doors = clusters
        .iter()
        .map(|cluster| cluster.front_door.clone())
        .collect();
    let front = AppPart::new(loaded, Arc::clone(&metrics), shared.clone(), doors);

    let named = config.listeners.iter();
    let named = named.filter_map(|listener| listener.address.inet());
    let addresses: Vec<SocketAddr> = config.listen.iter().copied().chain(named).collect();
    let all: Vec<SocketAddr> = addresses.iter().copied().chain([config.admin]).collect();
    let sockets = listeners::bind(&addresses, &all, &mut passed)?;
    let (listen, named) = sockets.addresses.split_at(config.listen.len());
    let named = bound_listeners(&config, named);
    let listen = listen.to_vec();
    let (admin_listener, admin, is_admin_passed) =
        listeners::bind_admin(config.admin, &all, &mut passed)?;
    // After all ports: another process with this configuration has failed there, so no two of them
    // make way for their own sockets at a time.
    let unix_sockets = bind_unix_sockets(&config, &mut passed)?;
    passed.warn_of_the_rest();

    let (stop_serving, serving) = watch::channel(false);
    let (stop_rest, rest_stopped) = watch::channel(false);
    // The next process answers on a socket that was passed on.
    let admin_stopped = if is_admin_passed {
        stop_serving.subscribe()
    } else {
        rest_stopped.clone()
    };
    let draining = Arc::new(AtomicBool::new(false));

    let budget = Budget::new(
        limit,
        descriptors::open_now(),
        Workers {
            threads: config.threads.get(),
            idle_connections: IDLE_UPSTREAM_CONNECTIONS,
        },
    );
    if budget.clients < FEW_CLIENTS {
        tracing::warn!(
            limit,
            clients = budget.clients,
            "few file descriptors: raise LimitNOFILE of the service, or `ulimit -n`"
        );
    }
    let connections = connections(&config, front.front_door.clone(), budget);
    let unix_services: Vec<_> = unix_sockets
        .into_iter()
        .map(|(name, socket)| socket.serve(Arc::new(connections.at(name)), serving.clone()))
        .collect();
    let services = proxy_services(&config, connections, &sockets);
    let table = sockets.table;
    let service = tokio::spawn(async move {
        let serve = |mut service: ProxyService| {
            let (table, serving) = (Arc::clone(&table), serving.clone());
            async move { service.start_service(Some(table), serving, 1).await }
        };
        let services = join_all(services.into_iter().map(serve));
        tokio::join!(services, join_all(unix_services));
    });
    let states = clusters
        .iter()
        .map(|cluster| cluster.admin_state(&draining, budget.admin))
        .collect();
    let admin_state = front.admin_state(&draining, budget.admin);
    let mut rest = vec![
        tokio::spawn(admin::serve_clusters(
            admin_listener,
            Arc::clone(&admin_state),
            states,
            admin_stopped,
        )),
        tokio::spawn(driver::traces::send(
            Arc::clone(&front.control),
            Arc::clone(front.front_door.traces()),
            metrics,
            rest_stopped.clone(),
        )),
    ];
    rest.extend(front.watch_files(&rest_stopped));
    if clusters.is_empty() {
        rest.extend(front.drive(&rest_stopped));
    }
    for cluster in &clusters {
        rest.extend(cluster.watch_files(&rest_stopped));
        rest.extend(cluster.drive(&rest_stopped));
    }
    let AppPart {
        control,
        reload,
        room,
        front_door,
        ..
    } = front;
    Ok(App {
        listen,
        listeners: named,
        admin,
        admin_state,
        control,
        reload,
        clusters,
        front_door,
        room,
        draining,
        stop_serving,
        stop_rest,
        service,
        rest,
    })
}

/// Looks up host names on a thread that may block.
async fn look_up(first: FirstRead) -> Result<FirstLoad, Diagnostics> {
    tokio::task::spawn_blocking(move || first.look_up())
        .await
        .expect("a configuration is parsed without a panic, whatever it contains")
}

/// The addresses of the listeners with a name. `inet` are those that were bound, in the same order.
fn bound_listeners(config: &Config, inet: &[SocketAddr]) -> Vec<(String, ListenAddress)> {
    let mut inet = inet.iter().copied();
    let bound = config.listeners.iter().map(|listener| {
        let address = match &listener.address {
            ListenAddress::Inet(_) => inet.next().map(ListenAddress::from),
            ListenAddress::Unix(_) => None,
        };
        let address = address.unwrap_or_else(|| listener.address.clone());
        (listener.name.clone(), address)
    });
    bound.collect()
}

/// Binds the unix sockets of the configuration, each with the name of its listener.
fn bind_unix_sockets<'c>(
    config: &'c Config,
    passed: &mut PassedSockets,
) -> Result<Vec<(&'c str, UnixSocket)>, StartError> {
    let mut sockets = Vec::new();
    for listener in &config.listeners {
        if let Some(path) = listener.address.path() {
            let socket = unix_sockets::bind(path, listener.socket_mode, passed)?;
            sockets.push((listener.name.as_str(), socket));
        }
    }
    Ok(sockets)
}

type ClientConnections = Connections<HttpProxy<FrontDoor>>;
type ProxyService = Service<ClientConnections>;

fn connections(config: &Config, front_door: FrontDoor, budget: Budget) -> ClientConnections {
    let conf = ServerConf {
        threads: config.threads.get(),
        upstream_keepalive_pool_size: budget.idle_per_thread,
        max_retries: Tried::MAX,
        ..ServerConf::default()
    };
    let parts = front_door.connection_parts();
    let proxy = http_proxy(&Arc::new(conf), front_door);
    Connections::new(proxy, parts, budget.clients)
}

/// One service for all addresses of `listen`, and one for each listener with a name and a port.
fn proxy_services(
    config: &Config,
    plain: ClientConnections,
    sockets: &listeners::Sockets,
) -> Vec<ProxyService> {
    let mut endpoints = sockets.endpoints();
    let with_name = |(name, endpoint): (&String, ListenerConfig)| {
        let mut service = Service::new(name.clone(), plain.at(name));
        service.add_listener(endpoint);
        service
    };
    let of_plain: Vec<_> = endpoints.by_ref().take(config.listen.len()).collect();
    let with_port = config.listeners.iter();
    let names = with_port
        .filter(|listener| listener.address.inet().is_some())
        .map(|listener| &listener.name);
    let mut services: Vec<_> = names.zip(endpoints).map(with_name).collect();
    let mut service = Service::new("proxy".to_owned(), plain);
    for endpoint in of_plain {
        service.add_listener(endpoint);
    }
    services.push(service);
    services
}

impl App {
    /// The requests that wait for a slot.
    pub fn queue(&self) -> QueueStatus {
        self.room.status(Instant::now())
    }

    /// The states of all clusters: of several, without the part that stands for the front file.
    fn controls(&self) -> Vec<&Arc<Control>> {
        if self.clusters.is_empty() {
            vec![&self.control]
        } else {
            let clusters = self.clusters.iter();
            clusters.map(|cluster| &cluster.control).collect()
        }
    }

    /// The configurations of the front file, if there is one, and of all clusters.
    fn reloads(&self) -> Vec<Arc<ConfigReload>> {
        let clusters = self.clusters.iter().map(|cluster| &cluster.reload);
        [&self.reload]
            .into_iter()
            .chain(clusters)
            .cloned()
            .collect()
    }

    /// Stops according to the configuration in force: `/readyz` turns 503 at once, the listeners
    /// close after the delay, and running requests finish within the time limit. The next process
    /// may serve meanwhile, so no catalog reload begins any more.
    ///
    /// Returns the number of requests that were cut off.
    pub async fn stop(self) -> usize {
        self.draining.store(true, Ordering::Relaxed);
        for control in self.controls() {
            control.hold_reloads(Some(Hold::Stopping), Instant::now());
        }
        let shutdown = self.control.snapshot_full().config.shutdown.clone();
        tokio::time::sleep(shutdown.delay).await;
        self.stop_serving.send_replace(true);
        // Until the listeners are closed, connections are accepted that must be served.
        stop::join(self.service).await;
        let cut_off = stop::finish(self.front_door.running(), shutdown.timeout).await;
        self.stop_rest.send_replace(true);
        for task in self.rest {
            stop::join(task).await;
        }
        cut_off
    }
}

/// The options of `geofront run`.
#[derive(Clone, Debug)]
pub struct RunOptions {
    pub config: PathBuf,
    /// A file for the addresses once they are bound, for tests and scripts.
    pub ports_file: Option<PathBuf>,
}

/// The process: `geofront run`. Returns when it has stopped.
pub fn run(options: &RunOptions) -> ExitCode {
    let environment: SharedEnvironment = Arc::new(config_reload::RealEnvironment);
    let first = match FirstRead::new(&options.config, &environment) {
        Ok(first) => first,
        Err(diagnostics) => {
            eprintln!("{diagnostics}");
            return ExitCode::from(exit::CONFIG);
        }
    };
    let config = first.config();
    let log_level = logging::init(&config.log);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(config.threads.get())
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        // The limits of the service are too low: open files, or threads.
        Err(error) => {
            eprintln!("error: cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let code = runtime.block_on(serve_until_stopped(options, first, &log_level));
    // Everything that still runs (a request past the limit, a probe) is cut off here.
    runtime.shutdown_timeout(Duration::from_millis(200));
    code
}

async fn serve_until_stopped(
    options: &RunOptions,
    first: FirstRead,
    log_level: &LogLevelSwitch,
) -> ExitCode {
    let mut signals = match stop::Signals::register() {
        Ok(signals) => signals,
        Err(error) => {
            tracing::error!(%error, "cannot handle signals");
            return ExitCode::FAILURE;
        }
    };
    let passed = match PassedSockets::from_environment() {
        Ok(passed) => passed,
        Err(error) => {
            tracing::error!(%error, "cannot use the sockets that the service manager passed");
            return ExitCode::FAILURE;
        }
    };
    let started = tokio::select! {
        started = start_with(first, passed) => started,
        // The look-up of names may take a while.
        () = signals.stop() => return ExitCode::SUCCESS,
    };
    let app = match started {
        Ok(app) => app,
        Err(error) => {
            tracing::error!("{error}");
            return ExitCode::FAILURE;
        }
    };
    announce(&app, options.ports_file.as_deref());
    let controls = app.controls().into_iter().cloned().collect();
    let ready = tokio::spawn(announce_ready(controls));
    signals.until_stop(&app, log_level).await;
    ready.abort();
    stop::notify(sd_notify::NotifyState::Stopping);
    let cut_off = app.stop().await;
    tracing::info!(cut_off, "stopped");
    ExitCode::SUCCESS
}

fn announce(app: &App, ports_file: Option<&Path>) {
    for listen in &app.listen {
        tracing::info!(%listen, "serving");
    }
    for (listener, address) in &app.listeners {
        tracing::info!(%address, listener, "serving");
    }
    tracing::info!(admin = %app.admin, "serving the status page, the API and metrics");
    if let Some(path) = ports_file {
        let listeners: BTreeMap<&str, String> = app
            .listeners
            .iter()
            .map(|(name, address)| (name.as_str(), address.to_string()))
            .collect();
        let ports = serde_json::json!({
            "listen": app.listen,
            "listeners": listeners,
            "admin": app.admin,
        });
        if let Err(error) = listeners::write_ports_file(path, &ports.to_string()) {
            tracing::error!(%error, path = %path.display(), "cannot write the ports file");
        }
    }
}

/// Notifies systemd after the first probes: until then requests would only wait.
async fn announce_ready(controls: Vec<Arc<Control>>) {
    join_all(controls.iter().map(|control| control.first_verdicts())).await;
    stop::notify(sd_notify::NotifyState::Ready);
}

/// Exit codes, after sysexits.
mod exit {
    pub(super) const CONFIG: u8 = 78;
}
