//! The HTTP server of the map page: the page, its state, and the controls over the simulation.
//!
//! ```text
//! GET  /                                 the page, with its style and scripts under /map/
//! GET  /status                           the status page, for the frame beside the map
//! GET  /demo/state                       DemoState
//! POST /demo/replicas/{name}/{order}     slow, hang, crash, poison or revive
//! POST /demo/revive                      revives all
//! POST /demo/publish                     publishes a layer on the main, through the front door
//! POST /demo/burst?through=WAY           sends heavy requests through geofront or round-robin
//! ```
//!
//! Access is that of the admin listener ([`admin::serve_beside`]): loopback only, no page of
//! another site, and a header on everything that changes something.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Query, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{Html, IntoResponse, Json, Response};
use axum::routing::{any, get, post};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::burst::{Burst, BurstProgress};
use super::exchange::exchange;
use super::simulated_cluster::{Order, OrderError, SharedCluster};
use crate::admin;
use crate::geosim::BASIC;

/// Layers that a visitor may publish.
const MAX_LAYERS: u32 = 20;
/// Timeout for the publication of a layer: REST waits for a catalog reload of the main.
const PUBLICATION_LIMIT: Duration = Duration::from_secs(20);

const STYLE: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// The files of the page, with their types.
const FILES: [(&str, &str, &str); 7] = [
    ("/map/map.css", STYLE, include_str!("map/map.css")),
    ("/map/tiles.js", SCRIPT, include_str!("map/tiles.js")),
    ("/map/figures.js", SCRIPT, include_str!("map/figures.js")),
    ("/map/tour.js", SCRIPT, include_str!("map/tour.js")),
    ("/map/map.js", SCRIPT, include_str!("map/map.js")),
    (
        "/map/leaflet.css",
        STYLE,
        include_str!("vendor/leaflet/leaflet.css"),
    ),
    (
        "/map/leaflet.js",
        SCRIPT,
        include_str!("vendor/leaflet/leaflet.js"),
    ),
];

/// The state that the page shows and changes.
pub(super) struct Simulation {
    pub(super) cluster: SharedCluster,
    /// The front door, for clients.
    pub(super) front: SocketAddr,
    /// The naive balancer.
    pub(super) naive: SocketAddr,
    burst: Arc<Burst>,
    published: AtomicU32,
    layers: Mutex<Vec<String>>,
}

impl Simulation {
    pub(super) fn new(cluster: SharedCluster, front: SocketAddr, naive: SocketAddr) -> Arc<Self> {
        Arc::new(Self {
            cluster,
            front,
            naive,
            burst: Arc::default(),
            published: AtomicU32::new(0),
            layers: Mutex::default(),
        })
    }

    /// Returns the permissions of the page: its own files, and tiles from both balancers.
    fn content_policy(&self) -> HeaderValue {
        let policy = format!(
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; \
             connect-src 'self' http://{} http://{}; frame-src 'self'; base-uri 'none'; \
             form-action 'none'; frame-ancestors 'none'",
            self.front, self.naive
        );
        HeaderValue::from_str(&policy).expect("addresses are printable")
    }
}

/// The routes of the page.
pub(super) fn routes(simulation: Arc<Simulation>) -> Router {
    let policy = simulation.content_policy();
    let files = FILES.into_iter().fold(Router::new(), |router, file| {
        let (path, kind, text) = file;
        router.route(path, get(move || async move { typed(kind, text) }))
    });
    files
        .route("/", get(|| async { Html(include_str!("map/map.html")) }))
        .route("/demo/state", get(state))
        .route("/demo/replicas/{name}/{order}", post(give_order))
        .route("/demo/revive", post(revive_all))
        .route("/demo/publish", post(publish))
        .route("/demo/burst", post(burst))
        .route("/demo/{*rest}", any(unknown))
        .method_not_allowed_fallback(wrong_method)
        .layer(middleware::from_fn(move |request: Request, next: Next| {
            let policy = policy.clone();
            async move { harden(next.run(request).await, policy) }
        }))
        .with_state(simulation)
}

fn harden(response: Response<Body>, policy: HeaderValue) -> Response<Body> {
    admin::hardened(response, policy, "DENY")
}

fn typed(kind: &'static str, text: &'static str) -> Response {
    ([(header::CONTENT_TYPE, kind)], text).into_response()
}

/// The state of the simulation.
#[derive(Serialize)]
struct DemoState {
    front: String,
    naive: String,
    upstreams: Vec<DemoUpstream>,
    layers: Vec<String>,
    max_layers: u32,
    burst: BurstProgress,
}

#[derive(Serialize)]
struct DemoUpstream {
    name: String,
    is_replica: bool,
    /// `#rrggbb`.
    tint: String,
    state: String,
}

async fn state(State(simulation): State<Arc<Simulation>>) -> Json<DemoState> {
    let main = simulation.cluster.main.name();
    let upstream = |(name, [red, green, blue], ailment): (&str, [u8; 3], _)| DemoUpstream {
        name: name.to_owned(),
        is_replica: name != main,
        tint: format!("#{red:02x}{green:02x}{blue:02x}"),
        state: format!("{ailment}"),
    };
    Json(DemoState {
        front: format!("http://{}", simulation.front),
        naive: format!("http://{}", simulation.naive),
        upstreams: simulation
            .cluster
            .look()
            .into_iter()
            .map(upstream)
            .collect(),
        layers: simulation.layers.lock().clone(),
        max_layers: MAX_LAYERS,
        burst: simulation.burst.progress(),
    })
}

async fn give_order(
    State(simulation): State<Arc<Simulation>>,
    Path((name, order)): Path<(String, String)>,
) -> Response {
    let Some(known) = Order::named(&order) else {
        let names = Order::ALL.map(|(name, _)| name).join(", ");
        return failure(
            StatusCode::NOT_FOUND,
            &format!("no order is called `{order}`: {names}"),
        );
    };
    let cluster = Arc::clone(&simulation.cluster);
    let executed = tokio::task::spawn_blocking(move || cluster.execute(&name, known)).await;
    match executed.expect("an order is executed without a panic") {
        Ok(()) => done(),
        Err(error @ OrderError::NoSuchReplica(_)) => {
            failure(StatusCode::NOT_FOUND, &error.to_string())
        }
        Err(error @ OrderError::IsCrashed(_)) => failure(StatusCode::CONFLICT, &error.to_string()),
    }
}

async fn revive_all(State(simulation): State<Arc<Simulation>>) -> Response {
    let cluster = Arc::clone(&simulation.cluster);
    let revived = tokio::task::spawn_blocking(move || cluster.revive_all()).await;
    revived.expect("replicas are revived without a panic");
    done()
}

/// Publishes as an administrator's script does: over REST, through the front door.
async fn publish(State(simulation): State<Arc<Simulation>>) -> Response {
    let number = simulation.published.fetch_add(1, Ordering::Relaxed) + 1;
    if number > MAX_LAYERS {
        simulation.published.fetch_sub(1, Ordering::Relaxed);
        let reason = format!("{MAX_LAYERS} layers are published, which is the most of this demo");
        return failure(StatusCode::CONFLICT, &reason);
    }
    let layer = format!("parcels{number}");
    let head = format!(
        "POST /geoserver/rest/workspaces/geor/datastores/cadastre/featuretypes HTTP/1.1\r\n\
         Authorization: {BASIC}\r\nContent-Type: application/json\r\n"
    );
    let body = format!("{{\"featureType\":{{\"name\":\"{layer}\"}}}}");
    match exchange(simulation.front, &head, &body, PUBLICATION_LIMIT).await {
        Ok(reply) if reply.status == 201 => {
            let layer = format!("geor:{layer}");
            simulation.layers.lock().push(layer.clone());
            Json(serde_json::json!({ "layer": layer })).into_response()
        }
        Ok(reply) => {
            let reason = format!("the main answered {}: {}", reply.status, reply.body);
            failure(StatusCode::BAD_GATEWAY, &reason)
        }
        Err(error) => failure(StatusCode::BAD_GATEWAY, &format!("the main: {error}")),
    }
}

#[derive(Deserialize)]
struct BurstOrder {
    #[serde(default)]
    through: String,
}

async fn burst(
    State(simulation): State<Arc<Simulation>>,
    Query(order): Query<BurstOrder>,
) -> Response {
    let to = match order.through.as_str() {
        "geofront" => simulation.front,
        "round-robin" => simulation.naive,
        other => {
            let reason = format!("through=`{other}`: must be geofront or round-robin");
            return failure(StatusCode::BAD_REQUEST, &reason);
        }
    };
    if simulation.burst.start(to) {
        done()
    } else {
        failure(StatusCode::CONFLICT, "a burst is running: wait for its end")
    }
}

async fn unknown(request: Request) -> Response {
    let reason = format!("the demo has no control at {}", request.uri().path());
    failure(StatusCode::NOT_FOUND, &reason)
}

async fn wrong_method(request: Request) -> Response {
    let (method, path) = (request.method(), request.uri().path());
    let reason = format!("{path} does not take {method}");
    failure(StatusCode::METHOD_NOT_ALLOWED, &reason)
}

fn done() -> Response {
    Json(serde_json::json!({ "done": true })).into_response()
}

fn failure(status: StatusCode, reason: &str) -> Response {
    (status, Json(serde_json::json!({ "error": reason }))).into_response()
}
