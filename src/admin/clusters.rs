//! The endpoints of a front file: an overview of all clusters, and those of each one below
//! `/clusters/NAME/`.
//!
//! ```text
//! GET  /                          overview page
//! GET  /healthz, /readyz          of the process; ready if every cluster is
//! GET  /metrics                   of the process and all clusters
//! GET  /api/clusters              answers::Overview
//! GET  /api/config                what is in force of the front file
//! POST /api/config/reload         answers::Reload: of the front file and of every cluster
//! ...  /clusters/NAME/...         status page and API of one cluster
//! ```

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use prometheus::TEXT_FORMAT;

use super::answers::{ClusterOverview, Overview, Reload};
use super::{AdminState, App, api, cluster_routes};
use crate::cluster::ClusterStatus;
use crate::config::{ClusterEntry, HostPattern};
use crate::config_reload::{ConfigReload, ReloadOutcome};
use crate::metrics::ClusterReading;

/// One cluster behind the front file.
struct Named<'s> {
    name: String,
    state: &'s Arc<AdminState>,
}

/// The clusters in the order of their names.
fn named(app: &App) -> Vec<Named<'_>> {
    let states = app.clusters.iter();
    states
        .map(|state| Named {
            name: state.cluster().unwrap_or_default(),
            state,
        })
        .collect()
}

/// All endpoints of a front file.
pub(super) fn routes(app: &App) -> Router {
    let mut router = Router::new()
        .route("/", get(page))
        .route("/page.css", get(api::page_style))
        .route("/clusters.js", get(script))
        .route("/healthz", get(api::healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/api/clusters", get(overview))
        .route("/api/config", get(api::config))
        .route("/api/config/reload", post(reload_all))
        .fallback(not_found)
        .method_not_allowed_fallback(api::wrong_method)
        .with_state(app.clone());
    for Named { name, state } in named(app) {
        let own = App {
            state: Arc::clone(state),
            clusters: Arc::default(),
            ..app.clone()
        };
        let path = format!("/clusters/{name}");
        let page = format!("{path}/");
        router = router
            .route(&path, get(Redirect::permanent(&page)))
            .route(&page, get(api::page))
            .route(
                &format!("{path}/metrics"),
                get(Redirect::permanent("/metrics")),
            )
            .nest(&path, cluster_routes().with_state(own));
    }
    router
}

async fn page() -> Html<&'static str> {
    Html(include_str!("clusters.html"))
}

async fn script() -> Response {
    (
        [(header::CONTENT_TYPE, api::SCRIPT)],
        include_str!("clusters.js"),
    )
        .into_response()
}

async fn readyz(State(app): State<App>) -> Response {
    match not_ready(&app) {
        None => "ready\n".into_response(),
        Some(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")).into_response(),
    }
}

/// The reason why `/readyz` fails; `None` if every cluster is ready.
fn not_ready(app: &App) -> Option<String> {
    if app.state.stopping.load(Ordering::Relaxed) {
        return Some("stopping".to_owned());
    }
    let reasons = named(app).into_iter().filter_map(|Named { name, state }| {
        let reason = state.not_ready()?;
        Some(format!("cluster {name}: {reason}"))
    });
    let reasons: Vec<String> = reasons.collect();
    (!reasons.is_empty()).then(|| reasons.join("\n"))
}

async fn metrics(State(app): State<App>) -> Response {
    let now = Instant::now();
    let clusters: Vec<(Named<'_>, ClusterStatus)> = named(&app)
        .into_iter()
        .map(|cluster| {
            let status = cluster.state.control.status(now);
            (cluster, status)
        })
        .collect();
    let readings: Vec<ClusterReading<'_>> = clusters
        .iter()
        .map(|(cluster, status)| ClusterReading {
            name: &cluster.name,
            metrics: &cluster.state.metrics,
            status,
        })
        .collect();
    let status = app.state.control.status(now);
    (
        [(header::CONTENT_TYPE, TEXT_FORMAT)],
        app.state.metrics.render_clusters(&status, &readings),
    )
        .into_response()
}

async fn overview(State(app): State<App>) -> Response {
    let now = Instant::now();
    let (state, config) = (&app.state, app.state.control.snapshot_full().config.clone());
    let status = state.control.status(now);
    let cluster = |Named { name, state }: Named<'_>| {
        let entry = config.clusters.position(&name);
        cluster_overview(
            &name,
            state,
            entry.map(|at| &config.clusters.entries()[at]),
            now,
        )
    };
    api::json(
        StatusCode::OK,
        &Overview {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ready: not_ready(&app).is_none(),
            stopping: state.stopping.load(Ordering::Relaxed),
            uptime_seconds: now.saturating_duration_since(state.started).as_secs(),
            last_reload: state.reload.last().as_ref().map(Into::into),
            conditions: status.conditions.iter().map(Into::into).collect(),
            clusters: named(&app).into_iter().map(cluster).collect(),
        },
    )
}

fn cluster_overview(
    name: &str,
    state: &AdminState,
    entry: Option<&ClusterEntry>,
    now: Instant,
) -> ClusterOverview {
    let status = state.control.status(now);
    let of = |hosts: &[HostPattern]| hosts.iter().map(ToString::to_string).collect();
    ClusterOverview {
        name: name.to_owned(),
        hosts: entry.map_or_else(Vec::new, |entry| of(&entry.hosts)),
        path: entry.map_or_else(String::new, |entry| entry.path.to_string()),
        revision: status.revision,
        ready: state.not_ready().is_none(),
        not_ready: state.not_ready().map(str::to_owned),
        last_reload: state.reload.last().as_ref().map(Into::into),
        upstreams: status.upstreams.len(),
        eligible: status.upstreams.iter().filter(|u| u.eligible).count(),
        in_flight: status.upstreams.iter().map(|u| u.in_flight).sum(),
        waiting: (state.queue)().waiting(),
        conditions: status.conditions.iter().map(Into::into).collect(),
    }
}

/// Reloads the front file first, then every cluster: one that is refused does not stop the others.
async fn reload_all(State(app): State<App>) -> Response {
    let reloads = [&app.state].into_iter().chain(app.clusters.iter());
    let reloads: Vec<_> = reloads
        .map(|state| {
            (
                state.cluster().unwrap_or_default(),
                Arc::clone(&state.reload),
            )
        })
        .collect();
    let reload = move || -> Vec<(String, ReloadOutcome)> {
        let reload =
            |(name, reload): (String, Arc<ConfigReload>)| (name, reload.reload(Instant::now()));
        reloads.into_iter().map(reload).collect()
    };
    match tokio::task::spawn_blocking(reload).await {
        Ok(outcomes) => match joined(outcomes) {
            refused @ Reload::Refused { .. } => {
                api::json(StatusCode::UNPROCESSABLE_ENTITY, &refused)
            }
            outcome => api::json(StatusCode::OK, &outcome),
        },
        Err(_) => api::failure(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the config reload ended without an answer: see the log",
        ),
    }
}

/// One outcome for those of the front file, which has an empty name, and of all clusters.
fn joined(outcomes: Vec<(String, ReloadOutcome)>) -> Reload {
    let (mut applied, mut refused, mut front) = (Vec::new(), Vec::new(), 0);
    let prefix = |name: &str| {
        if name.is_empty() {
            String::new()
        } else {
            format!("cluster {name}: ")
        }
    };
    for (name, outcome) in outcomes {
        match outcome {
            ReloadOutcome::Applied { revision, changes } => {
                if name.is_empty() {
                    front = revision;
                }
                let prefix = prefix(&name);
                applied.extend(changes.iter().map(|change| format!("{prefix}{change}")));
            }
            ReloadOutcome::Unchanged { revision } if name.is_empty() => front = revision,
            ReloadOutcome::Unchanged { .. } => {}
            ReloadOutcome::Refused { reason } => {
                refused.push(format!("{}{reason}", prefix(&name)));
            }
        }
    }
    if !refused.is_empty() {
        let others = if applied.is_empty() {
            String::new()
        } else {
            format!("\n\nin force all the same: {}", applied.join("; "))
        };
        return Reload::Refused {
            error: format!("{}{others}", refused.join("\n\n")),
        };
    }
    if applied.is_empty() {
        Reload::Unchanged {
            revision: front,
            last_change: None,
        }
    } else {
        Reload::Applied {
            revision: front,
            changes: applied,
        }
    }
}

/// The answer to requests for one cluster that do not name it.
async fn not_found(State(app): State<App>, request: Request) -> Response {
    let names: Vec<String> = named(&app)
        .into_iter()
        .map(|cluster| cluster.name)
        .collect();
    let names = names.join(", ");
    let path = request.uri().path();
    let message = match path.strip_prefix("/clusters/") {
        Some(rest) => {
            let name: String = rest.chars().take_while(|c| *c != '/').take(64).collect();
            format!("there is no cluster `{name}`: there are {names}")
        }
        None if path.starts_with("/api/") => format!(
            "this geofront has several clusters: {names}; name one with --cluster NAME, or request /clusters/NAME{path}"
        ),
        None => format!(
            "there is: /, /healthz, /readyz, /metrics, /api/clusters, /api/config, POST /api/config/reload, \
             and the pages and API of each cluster below /clusters/NAME/ ({names})"
        ),
    };
    api::failure(StatusCode::NOT_FOUND, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(reason: &str) -> ReloadOutcome {
        ReloadOutcome::Refused {
            reason: reason.to_owned(),
        }
    }

    #[test]
    fn the_outcomes_of_all_files_are_one() {
        let unchanged = || ReloadOutcome::Unchanged { revision: 3 };
        let applied = || ReloadOutcome::Applied {
            revision: 7,
            changes: vec!["a: 1 -> 2".to_owned()],
        };
        let all = |front, city, region| {
            let names = [String::new(), "city".to_owned(), "region".to_owned()];
            joined(names.into_iter().zip([front, city, region]).collect())
        };
        assert_eq!(
            all(unchanged(), unchanged(), unchanged()),
            Reload::Unchanged {
                revision: 3,
                last_change: None,
            }
        );
        assert_eq!(
            all(unchanged(), applied(), applied()),
            Reload::Applied {
                revision: 3,
                changes: vec![
                    "cluster city: a: 1 -> 2".to_owned(),
                    "cluster region: a: 1 -> 2".to_owned()
                ]
            }
        );
        assert_eq!(
            all(applied(), refused("no"), unchanged()),
            Reload::Refused {
                error: "cluster city: no\n\nin force all the same: a: 1 -> 2".to_owned()
            }
        );
    }
}
