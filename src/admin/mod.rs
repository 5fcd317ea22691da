//! The admin listener: status page, JSON API, metrics and health endpoints.
//!
//! ```text
//! GET  /                            status page, with /page.css and its scripts
//! GET  /healthz                     200: the process lives
//! GET  /readyz                      200: a request would be served; 503: stopping, or nothing eligible
//! GET  /metrics                     for Prometheus
//! GET  /api/status                  answers::Status
//! GET  /api/config                  the configuration in force, the origin of each value; secrets masked
//! GET  /api/events                  server-sent events: every transition
//! GET  /api/history                 answers::History: rates, times and loads of the last 5 or 60 minutes
//! GET  /api/requests                answers::Requests: the last slow and failed requests
//! POST /api/upstreams/{name}/mode   answers::ModeOrder
//! POST /api/config/reload           answers::Reload
//! POST /api/catalog/sync            answers::SyncOrdered
//! GET  /api/catalog/history         answers::Rolls
//! POST /api/catalog/pause           answers::Rolls, as /api/catalog/resume
//! POST /api/explain                 answers::ExplainOrder: the decision about a request
//! ```
//!
//! With several clusters, these are below `/clusters/NAME/`, and [`clusters`] answers above them.
//!
//! [`guard`] controls access, [`listener`] and [`places`] bound connections, [`api`] answers.
//! Nothing here decides about the cluster: it calls [`Control`] and [`ConfigReload`].

pub mod answers;
mod api;
mod clusters;
mod events;
mod explain;
mod guard;
mod history;
mod listener;
mod places;
mod words;
mod write_timeout;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Router};
use futures::future::join_all;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::admission::QueueStatus;
use crate::config_reload::ConfigReload;
use crate::control::Control;
use crate::metrics::Metrics;
pub use events::Event;
use events::Events;
pub(crate) use guard::MARK;
use history::{History, Reading};
use listener::Client;
pub use places::Capacity;

/// The path of the status page for [`serve_beside`].
pub(crate) const PAGE_BESIDE: &str = "/status";

/// The permissions of the status page in a frame of a page of its own origin.
const FRAMED_CONTENT_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src 'self'; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'self'";

/// Maximum size of a request body.
const MAX_BODY: usize = 16 * 1024;

/// Timeout of one request without the transfer of its answer. A config reload resolves host names,
/// which may take a while.
const REQUEST_LIMIT: Duration = Duration::from_secs(30);

/// Paths that are answered under any load.
const HEALTH_PATHS: [&str; 2] = ["/healthz", "/readyz"];

/// The permissions of the status page: its own script and style, requests to this endpoint, and no
/// frame.
const CONTENT_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src 'self'; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The state that the endpoints show and change.
pub struct AdminState {
    control: Arc<Control>,
    reload: Arc<ConfigReload>,
    metrics: Arc<Metrics>,
    /// Returns the waiting requests.
    queue: Box<dyn Fn() -> QueueStatus + Send + Sync>,
    /// Returns the slow and failed requests after a number.
    requests: Box<dyn Fn(u64) -> answers::Requests + Send + Sync>,
    /// Set when the process begins to shut down.
    stopping: Arc<AtomicBool>,
    started: Instant,
    events: Events,
    history: History,
    capacity: Capacity,
}

impl fmt::Debug for AdminState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdminState").finish_non_exhaustive()
    }
}

impl AdminState {
    /// Creates the state. `stopping` turns true when the process begins to shut down.
    pub fn new(
        control: Arc<Control>,
        reload: Arc<ConfigReload>,
        metrics: Arc<Metrics>,
        queue: impl Fn() -> QueueStatus + Send + Sync + 'static,
        requests: impl Fn(u64) -> answers::Requests + Send + Sync + 'static,
        stopping: Arc<AtomicBool>,
        capacity: Capacity,
    ) -> Arc<Self> {
        let (queue, requests) = (Box::new(queue), Box::new(requests));
        let (started, events, history) = (Instant::now(), Events::new(), History::new());
        Arc::new(Self {
            control,
            reload,
            metrics,
            queue,
            requests,
            stopping,
            started,
            events,
            history,
            capacity,
        })
    }

    /// The name of the cluster; `None` where there is only one.
    fn cluster(&self) -> Option<String> {
        let snapshot = self.control.snapshot();
        snapshot.config.cluster.as_ref().map(ToString::to_string)
    }

    /// A reading for the history.
    fn reading(&self) -> Reading {
        Reading::new(
            &self.control.status(Instant::now()),
            self.metrics.counts(),
            (self.queue)().waiting(),
        )
    }

    /// Records events and samples; does not end. It receives every transition from this call on.
    fn record(self: Arc<Self>) -> impl Future<Output = ()> + Send {
        let transitions = self.control.transitions();
        async move {
            tokio::select! {
                () = self.events.record_all(transitions) => unreachable!("the state holds the sender of transitions"),
                () = self.history.record_all(|| self.reading()) => unreachable!("a timer does not end"),
            }
        }
    }

    /// The reason why `/readyz` fails; `None` if it succeeds.
    fn not_ready(&self) -> Option<&'static str> {
        if self.stopping.load(Ordering::Relaxed) {
            return Some("stopping");
        }
        (!self.control.snapshot().would_serve()).then_some("no upstream is up and ready")
    }
}

/// The context of a handler: the state, the listening address, and the signal to end streams.
#[derive(Clone)]
struct App {
    state: Arc<AdminState>,
    /// The states of the clusters of a front file; empty where there is only one cluster.
    clusters: Arc<[Arc<AdminState>]>,
    /// The state of the front file that `state` is a cluster of.
    front: Option<Arc<AdminState>>,
    address: SocketAddr,
    stop: watch::Receiver<bool>,
}

/// Serves the admin endpoints until `shutdown` turns true.
pub async fn serve(listener: TcpListener, state: Arc<AdminState>, shutdown: watch::Receiver<bool>) {
    serve_clusters(listener, state, Vec::new(), shutdown).await;
}

/// Serves the admin endpoints of a front file, whose own state is `state`, and of its `clusters`,
/// until `shutdown` turns true.
pub async fn serve_clusters(
    listener: TcpListener,
    state: Arc<AdminState>,
    clusters: Vec<Arc<AdminState>>,
    shutdown: watch::Receiver<bool>,
) {
    let address = listener
        .local_addr()
        .expect("a bound socket has an address");
    let states = [&state].into_iter().chain(&clusters).cloned();
    let recording = states.map(AdminState::record).collect::<Vec<_>>();
    let capacity = state.capacity;
    let app = App {
        state,
        clusters: clusters.into(),
        front: None,
        address,
        stop: shutdown.clone(),
    };
    tokio::select! {
        () = listener::run(listener, router(app), capacity, shutdown) => {}
        _ = join_all(recording) => unreachable!("a timer does not end"),
    }
}

/// Serves `routes` on a listener of their own, with the access control and the bounds of the admin
/// endpoints, until `shutdown` turns true. The admin endpoints answer every other path there,
/// except that the status page is at [`PAGE_BESIDE`], where a page of `routes` may frame it.
pub(crate) async fn serve_beside(
    listener: TcpListener,
    state: Arc<AdminState>,
    routes: Router,
    shutdown: watch::Receiver<bool>,
) {
    let address = listener
        .local_addr()
        .expect("a bound socket has an address");
    let capacity = state.capacity;
    let app = App {
        state,
        clusters: Arc::default(),
        front: None,
        address,
        stop: shutdown.clone(),
    };
    let page = Router::new()
        .route(PAGE_BESIDE, get(api::page))
        .layer(middleware::map_response(allow_own_frame));
    let router = routes
        .merge(page)
        .fallback_service(router(app.clone()))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(middleware::from_fn_with_state(app, check_admission));
    listener::run(listener, router, capacity, shutdown).await;
}

fn router(app: App) -> Router {
    let routes = if app.clusters.is_empty() {
        cluster_routes()
            .route("/", get(api::page))
            .route("/healthz", get(api::healthz))
            .route("/metrics", get(api::metrics))
            .with_state(app.clone())
    } else {
        clusters::routes(&app)
    };
    routes
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(middleware::from_fn(limit_time))
        .layer(middleware::from_fn_with_state(app, check_admission))
        .layer(middleware::map_response(harden))
}

/// The routes of one cluster, without those that a process has once.
fn cluster_routes() -> Router<App> {
    Router::new()
        .route("/page.css", get(api::page_style))
        .route("/charts.js", get(api::page_charts))
        .route("/page.js", get(api::page_script))
        .route("/explain.js", get(api::page_explain))
        .route("/readyz", get(api::readyz))
        .route("/api/status", get(api::status))
        .route("/api/config", get(api::config))
        .route("/api/config/reload", post(api::reload_config))
        .route("/api/catalog/sync", post(api::sync_catalog))
        .route("/api/catalog/history", get(api::roll_history))
        .route("/api/catalog/pause", post(api::pause_rolls))
        .route("/api/catalog/resume", post(api::resume_rolls))
        .route(
            "/api/explain",
            post(explain::explain).layer(DefaultBodyLimit::max(explain::MAX_QUESTION)),
        )
        .route("/api/events", get(api::events))
        .route("/api/history", get(api::history))
        .route("/api/requests", get(api::requests))
        .route("/api/upstreams/{name}/mode", post(api::set_mode))
        .fallback(api::not_found)
        .method_not_allowed_fallback(api::wrong_method)
}

async fn check_admission(
    State(app): State<App>,
    Extension(client): Extension<Client>,
    request: Request,
    next: Next,
) -> Response {
    if client.is_reserve && !HEALTH_PATHS.contains(&request.uri().path()) {
        let busy = "too many admin connections: these places are for /healthz and /readyz";
        return (
            [(header::CONNECTION, "close")],
            api::failure(StatusCode::SERVICE_UNAVAILABLE, busy),
        )
            .into_response();
    }
    let admitted = {
        let snapshot = app.state.control.snapshot();
        let token = snapshot.config.admin_token.as_ref();
        guard::admit(
            request.method(),
            request.uri().path(),
            request.headers(),
            app.address,
            token,
        )
    };
    match admitted {
        Ok(()) => next.run(request).await,
        Err(denied) if denied.wants_token() => {
            let challenge = [(header::WWW_AUTHENTICATE, "Bearer")];
            (
                challenge,
                api::failure(StatusCode::UNAUTHORIZED, denied.message()),
            )
                .into_response()
        }
        Err(denied) => api::failure(StatusCode::FORBIDDEN, denied.message()),
    }
}

async fn limit_time(request: Request, next: Next) -> Response {
    match tokio::time::timeout(REQUEST_LIMIT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => api::failure(StatusCode::GATEWAY_TIMEOUT, "this took longer than 30 s"),
    }
}

async fn harden(response: Response<Body>) -> Response<Body> {
    hardened(response, HeaderValue::from_static(CONTENT_POLICY), "DENY")
}

async fn allow_own_frame(response: Response<Body>) -> Response<Body> {
    let policy = HeaderValue::from_static(FRAMED_CONTENT_POLICY);
    hardened(response, policy, "SAMEORIGIN")
}

/// Adds the headers of every answer to a browser. `policy` states the permissions of the page, and
/// `frames` where it may be framed.
pub(crate) fn hardened(
    mut response: Response<Body>,
    policy: HeaderValue,
    frames: &'static str,
) -> Response<Body> {
    response
        .headers_mut()
        .insert(header::CONTENT_SECURITY_POLICY, policy);
    for (name, value) in [
        (header::CACHE_CONTROL, "no-store"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, frames),
    ] {
        response
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    response
}
