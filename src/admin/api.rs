//! The handlers: each calls one part of geofront and formats the result.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Extension, Path, Query, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::sse::KeepAlive;
use axum::response::{Html, IntoResponse, Response, Sse};
use prometheus::TEXT_FORMAT;
use serde::{Deserialize, Serialize};

use super::answers::{Failure, ModeOrder, ModeOrdered, Reload, Status, SyncOrdered, Upstream};
use super::history::Window;
use super::listener::Client;
use super::{App, MAX_BODY};
use crate::cluster::{self, ModeError, ModeOrigin, SyncError, UpstreamStatus};
use crate::config::Effective;
use crate::unix_time::since_1970;

/// Keeps proxies and firewalls from closing a quiet event stream, and detects clients that
/// vanished.
const EVENT_KEEP_ALIVE: Duration = Duration::from_secs(15);

pub(super) const SCRIPT: &str = "text/javascript; charset=utf-8";

pub(super) async fn page() -> Html<&'static str> {
    Html(include_str!("page.html"))
}

/// The style and scripts are separate files, because the strict content policy allows no inline
/// ones.
pub(super) async fn page_style() -> Response {
    (
        [(header::CONTENT_TYPE, "text/css; charset=utf-8")],
        include_str!("page.css"),
    )
        .into_response()
}

pub(super) async fn page_charts() -> Response {
    ([(header::CONTENT_TYPE, SCRIPT)], include_str!("charts.js")).into_response()
}

pub(super) async fn page_script() -> Response {
    ([(header::CONTENT_TYPE, SCRIPT)], include_str!("page.js")).into_response()
}

pub(super) async fn page_explain() -> Response {
    ([(header::CONTENT_TYPE, SCRIPT)], include_str!("explain.js")).into_response()
}

pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

pub(super) async fn readyz(State(app): State<App>) -> Response {
    match app.state.not_ready() {
        None => "ready\n".into_response(),
        Some(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")).into_response(),
    }
}

pub(super) async fn metrics(State(app): State<App>) -> Response {
    let status = app.state.control.status(Instant::now());
    (
        [(header::CONTENT_TYPE, TEXT_FORMAT)],
        app.state.metrics.render(&status),
    )
        .into_response()
}

pub(super) async fn status(State(app): State<App>) -> Response {
    json(StatusCode::OK, &status_of(&app, Instant::now()))
}

fn status_of(app: &App, now: Instant) -> Status {
    let state = &app.state;
    let front = app.front.as_ref();
    let cluster = state.control.status(now);
    let upstream = |upstream: &UpstreamStatus| {
        let totals = state.metrics.totals(&upstream.name);
        Upstream::new(upstream, totals.requests, totals.errors)
    };
    Status {
        cluster: state.cluster(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        revision: cluster.revision,
        ready: state.not_ready().is_none(),
        stopping: state.stopping.load(Ordering::Relaxed),
        uptime_seconds: now.saturating_duration_since(state.started).as_secs(),
        last_reload: state.reload.last().as_ref().map(Into::into),
        front_reload: front
            .and_then(|front| front.reload.last())
            .as_ref()
            .map(Into::into),
        catalog: (&cluster.catalog).into(),
        chosen_layer: cluster.chosen_layer.clone(),
        conditions: cluster.conditions.iter().map(Into::into).collect(),
        queue: (&(state.queue)()).into(),
        upstreams: cluster.upstreams.iter().map(upstream).collect(),
    }
}

pub(super) async fn config(State(app): State<App>) -> Response {
    let entry = |entry: Effective| serde_json::json!({ "key": entry.key, "value": entry.value, "origin": entry.origin });
    let entries: Vec<serde_json::Value> = app
        .state
        .reload
        .effective()
        .into_iter()
        .map(entry)
        .collect();
    json(StatusCode::OK, &entries)
}

pub(super) async fn reload_config(State(app): State<App>) -> Response {
    let reload = Arc::clone(&app.state.reload);
    let ended = tokio::task::spawn_blocking(move || reload.reload(Instant::now())).await;
    let last_change = app.state.reload.last_change();
    match ended.map(|outcome| Reload::from(outcome).after(last_change)) {
        Ok(outcome @ (Reload::Applied { .. } | Reload::Unchanged { .. })) => {
            json(StatusCode::OK, &outcome)
        }
        Ok(outcome @ Reload::Refused { .. }) => json(StatusCode::UNPROCESSABLE_ENTITY, &outcome),
        Err(_) => failure(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the config reload ended without an answer: see the log",
        ),
    }
}

/// Answers 202: a roll takes as long as GeoServer needs. `/api/status` shows its progress.
pub(super) async fn sync_catalog(State(app): State<App>) -> Response {
    match app.state.control.order_sync(Instant::now()) {
        Ok(epoch) => json(StatusCode::ACCEPTED, &SyncOrdered { epoch }),
        Err(refused @ (SyncError::NoCredentials | SyncError::RollOff | SyncError::Paused)) => {
            failure(StatusCode::CONFLICT, refused)
        }
    }
}

pub(super) async fn roll_history(State(app): State<App>) -> Response {
    json(StatusCode::OK, &app.state.control.roll_history())
}

pub(super) async fn pause_rolls(State(app): State<App>) -> Response {
    order_pause(&app, true)
}

pub(super) async fn resume_rolls(State(app): State<App>) -> Response {
    order_pause(&app, false)
}

fn order_pause(app: &App, is_paused: bool) -> Response {
    app.state.control.pause_rolls(is_paused, Instant::now());
    json(StatusCode::OK, &app.state.control.roll_history())
}

pub(super) async fn set_mode(
    State(app): State<App>,
    Extension(client): Extension<Client>,
    Path(name): Path<String>,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let body = match body {
        Ok(body) => body,
        Err(refused) => return unread(&refused, MAX_BODY),
    };
    let order: ModeOrder = match serde_json::from_slice(&body) {
        Ok(order) => order,
        Err(error) => {
            let hint =
                format!("the body must be like {{\"mode\":\"drain\",\"force\":false}}: {error}");
            return failure(StatusCode::BAD_REQUEST, hint);
        }
    };
    let now = Instant::now();
    let origin = ModeOrigin {
        by: operator(order.by.as_deref(), client.address),
        at: since_1970(SystemTime::now()).as_secs(),
    };
    let ordered = cluster::ModeOrder {
        mode: order.mode.into(),
        force: order.force,
        origin: Some(origin),
    };
    match app.state.control.order_mode(&name, ordered, now) {
        Ok(()) => {
            let status = app.state.control.status(now);
            let in_flight = status
                .upstreams
                .iter()
                .find(|u| u.name.as_str() == name)
                .map_or(0, |u| u.in_flight);
            json(
                StatusCode::OK,
                &ModeOrdered {
                    upstream: name,
                    mode: order.mode,
                    in_flight,
                },
            )
        }
        Err(error @ ModeError::NoSuchUpstream(_)) => {
            let status = app.state.control.status(now);
            let names: Vec<&str> = status.upstreams.iter().map(|u| u.name.as_str()).collect();
            failure(
                StatusCode::NOT_FOUND,
                format!("{error}; there are {}", names.join(", ")),
            )
        }
        Err(error @ ModeError::LastServing(_)) => failure(StatusCode::CONFLICT, error),
    }
}

/// Maximum length of an operator's name in characters.
const MAX_NAME: usize = 64;

/// `alice from 10.0.0.9`, or the address alone. The name comes from the client: it is information
/// for people and proves nothing.
fn operator(name: Option<&str>, address: IpAddr) -> String {
    let name: String = name
        .unwrap_or_default()
        .chars()
        .filter(|c| !c.is_control())
        .take(MAX_NAME)
        .collect();
    match name.trim() {
        "" => address.to_string(),
        name => format!("{name} from {address}"),
    }
}

pub(super) async fn events(State(app): State<App>, headers: HeaderMap) -> Response {
    let last_seen = headers
        .get("last-event-id")
        .and_then(|id| id.to_str().ok()?.parse().ok());
    let listening = app.state.events.listen(last_seen, app.stop.clone());
    Sse::new(listening)
        .keep_alive(KeepAlive::new().interval(EVENT_KEEP_ALIVE))
        .into_response()
}

/// Parameters of `GET /api/history?minutes=5&after=0`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HistoryQuery {
    minutes: Option<u32>,
    after: Option<u64>,
}

pub(super) async fn history(
    State(app): State<App>,
    query: Result<Query<HistoryQuery>, axum::extract::rejection::QueryRejection>,
) -> Response {
    let window = query.ok().and_then(|Query(query)| {
        let window = Window::of_minutes(query.minutes.unwrap_or(60))?;
        Some((window, query.after.unwrap_or(0)))
    });
    let Some((window, after)) = window else {
        let usage = "use /api/history?minutes=M&after=N, M being 5 or 60 and N the `sequence` of the last answer, or 0";
        return failure(StatusCode::BAD_REQUEST, usage);
    };
    compact_json(
        &app.state
            .history
            .answer(window, after, &app.state.metrics, Instant::now()),
    )
}

/// Parameters of `GET /api/requests?after=0&id=ID`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RequestsQuery {
    after: Option<u64>,
    id: Option<String>,
}

pub(super) async fn requests(
    State(app): State<App>,
    query: Result<Query<RequestsQuery>, axum::extract::rejection::QueryRejection>,
) -> Response {
    let Ok(Query(RequestsQuery { after, id })) = query else {
        let usage = "use /api/requests?after=N&id=ID, N being the `sequence` of the last answer, or 0; both may be left out";
        return failure(StatusCode::BAD_REQUEST, usage);
    };
    let mut answer = (app.state.requests)(after.unwrap_or(0));
    answer
        .requests
        .retain(|request| id.as_deref().is_none_or(|id| request["id"] == id));
    compact_json(&answer)
}

pub(super) async fn not_found(request: Request) -> Response {
    if request.uri().path().starts_with("/clusters/") {
        let only = "this geofront has one cluster without a name: leave --cluster out";
        return failure(StatusCode::NOT_FOUND, only);
    }
    let endpoints = "there is: /, /healthz, /readyz, /metrics, /api/status, /api/config, /api/events, /api/history, /api/requests, \
        /api/catalog/history, \
        POST /api/upstreams/NAME/mode, POST /api/config/reload, POST /api/catalog/sync, \
        POST /api/catalog/pause, POST /api/catalog/resume, POST /api/explain";
    failure(StatusCode::NOT_FOUND, endpoints)
}

pub(super) async fn wrong_method() -> Response {
    let methods = "reading is GET; /api/upstreams/NAME/mode, /api/config/reload, /api/catalog/sync, /api/catalog/pause, /api/catalog/resume and /api/explain are POST";
    failure(StatusCode::METHOD_NOT_ALLOWED, methods)
}

pub(super) fn failure(status: StatusCode, error: impl ToString) -> Response {
    json(
        status,
        &Failure {
            error: error.to_string(),
        },
    )
}

/// The answer to a request whose body was not read: it has more than `most` bytes, or broke off.
pub(super) fn unread(refused: &BytesRejection, most: usize) -> Response {
    let status = refused.status();
    if status == StatusCode::PAYLOAD_TOO_LARGE {
        failure(status, format!("the body has more than {most} bytes"))
    } else {
        failure(status, refused.body_text())
    }
}

/// JSON on one line, for long answers that only programs read.
fn compact_json(answer: &impl Serialize) -> Response {
    let text = serde_json::to_string(answer).expect("our answers have string keys only");
    (
        StatusCode::OK,
        [(header::CONTENT_TYPE, "application/json")],
        text,
    )
        .into_response()
}

/// Indented JSON, which people read with curl.
pub(super) fn json(status: StatusCode, answer: &impl Serialize) -> Response {
    let mut text = serde_json::to_string_pretty(answer).expect("our answers have string keys only");
    text.push('\n');
    (status, [(header::CONTENT_TYPE, "application/json")], text).into_response()
}
