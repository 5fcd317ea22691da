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
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use prometheus::TEXT_FORMAT;

use super::answers::{ClusterOverview, LastChange, Overview, Reload};
use super::{AdminState, App, api, cluster_routes};
use crate::cluster::ClusterStatus;
use crate::config::{ClusterEntry, HostPattern};
use crate::config_reload::{LastConfigChange, ReloadOutcome};
use crate::metrics::ClusterReading;

/// Changes of several files within this time are shown as one: each file has a watch of its own,
/// which notices an edit within a second.
const ONE_CHANGE: Duration = Duration::from_secs(2);

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
            front: Some(Arc::clone(&app.state)),
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

/// A part after a reload of all of them: the front file, whose name is empty, or a cluster.
struct PartReload {
    name: String,
    outcome: ReloadOutcome,
    last_change: Option<LastConfigChange>,
}

impl PartReload {
    /// The text after the name of its cluster.
    fn of_cluster(&self, text: &str) -> String {
        if self.name.is_empty() {
            text.to_owned()
        } else {
            format!("cluster {}: {text}", self.name)
        }
    }

    /// Its changes, each with the name of its cluster.
    fn named(&self, changes: &[String]) -> Vec<String> {
        changes
            .iter()
            .map(|change| self.of_cluster(change))
            .collect()
    }
}

/// Reloads the front file first, then every cluster: one that is refused does not stop the others.
async fn reload_all(State(app): State<App>) -> Response {
    let states: Vec<_> = [&app.state]
        .into_iter()
        .chain(app.clusters.iter())
        .cloned()
        .collect();
    let reload = move || -> Vec<PartReload> {
        let reload = |state: Arc<AdminState>| PartReload {
            name: state.cluster().unwrap_or_default(),
            outcome: state.reload.reload(Instant::now()),
            last_change: state.reload.last_change(),
        };
        states.into_iter().map(reload).collect()
    };
    match tokio::task::spawn_blocking(reload).await {
        Ok(parts) => match joined(&parts) {
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

/// One outcome for all parts.
fn joined(parts: &[PartReload]) -> Reload {
    let (mut applied, mut refused, mut front) = (Vec::new(), Vec::<&str>::new(), 0);
    let mut reasons = Vec::new();
    for part in parts {
        match &part.outcome {
            ReloadOutcome::Applied { revision, changes } => {
                if part.name.is_empty() {
                    front = *revision;
                }
                applied.extend(part.named(changes));
            }
            ReloadOutcome::Unchanged { revision } if part.name.is_empty() => front = *revision,
            ReloadOutcome::Unchanged { .. } => {}
            // A mistake in the front file is found with each cluster, too.
            ReloadOutcome::Refused { reason } if refused.contains(&reason.as_str()) => {}
            ReloadOutcome::Refused { reason } => {
                refused.push(reason);
                reasons.push(part.of_cluster(reason));
            }
        }
    }
    if !reasons.is_empty() {
        let others = if applied.is_empty() {
            String::new()
        } else {
            format!("\n\nin force all the same: {}", applied.join("; "))
        };
        return Reload::Refused {
            error: format!("{}{others}", reasons.join("\n\n")),
        };
    }
    if applied.is_empty() {
        Reload::Unchanged {
            revision: front,
            last_change: last_change(parts),
        }
    } else {
        Reload::Applied {
            revision: front,
            changes: applied,
        }
    }
}

/// The last change of all parts, and those that other parts had at the same time.
fn last_change(parts: &[PartReload]) -> Option<LastChange> {
    let newest = parts
        .iter()
        .filter_map(|part| part.last_change.as_ref())
        .max_by_key(|change| change.at)?;
    let changes = parts.iter().filter_map(|part| {
        let change = part.last_change.as_ref()?;
        let is_same = newest.at.saturating_duration_since(change.at) <= ONE_CHANGE;
        is_same.then(|| part.named(&change.changes))
    });
    Some(LastChange {
        changes: changes.flatten().collect(),
        ..newest.clone().into()
    })
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

    const FRONT: &str = "";

    fn refused(reason: &str) -> ReloadOutcome {
        ReloadOutcome::Refused {
            reason: reason.to_owned(),
        }
    }

    fn unchanged() -> ReloadOutcome {
        ReloadOutcome::Unchanged { revision: 3 }
    }

    fn applied() -> ReloadOutcome {
        ReloadOutcome::Applied {
            revision: 7,
            changes: vec!["a: 1 -> 2".to_owned()],
        }
    }

    fn part(name: &str, outcome: ReloadOutcome) -> PartReload {
        PartReload {
            name: name.to_owned(),
            outcome,
            last_change: None,
        }
    }

    fn all(front: ReloadOutcome, city: ReloadOutcome, region: ReloadOutcome) -> Reload {
        joined(&[
            part(FRONT, front),
            part("city", city),
            part("region", region),
        ])
    }

    #[test]
    fn the_outcomes_of_all_files_are_one() {
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

    #[test]
    fn a_mistake_in_the_front_file_is_shown_once() {
        assert_eq!(
            all(refused("no"), refused("no"), refused("nor this")),
            Reload::Refused {
                error: "no\n\ncluster region: nor this".to_owned()
            }
        );
    }

    #[test]
    fn changes_that_the_watches_noticed_together_are_shown_together() {
        let start = Instant::now();
        let changed = |name: &str, at: Duration| PartReload {
            last_change: Some(LastConfigChange {
                at: start + at,
                changes: vec!["a: 1 -> 2".to_owned()],
            }),
            ..part(name, unchanged())
        };
        let long_ago = changed(FRONT, Duration::ZERO);
        let city = changed("city", Duration::from_secs(9));
        let region = changed("region", Duration::from_secs(9) + ONE_CHANGE);
        let Reload::Unchanged { last_change, .. } = joined(&[long_ago, city, region]) else {
            panic!("nothing changed");
        };
        assert_eq!(
            last_change.unwrap().changes,
            ["cluster city: a: 1 -> 2", "cluster region: a: 1 -> 2"]
        );
    }
}
