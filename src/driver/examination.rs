//! Examines one upstream for `geofront check --probe`: what GeoServer and its servlet container
//! report about themselves over HTTP.
//!
//! Nothing is changed, and every answer is bounded. What needs an administrator is read only if
//! `[geoserver]` has credentials. A missing fact is `None`: the upstream did not answer, refused,
//! or has another version of the interface.

use std::time::{Duration, Instant, SystemTime};

use serde_json::Value;

use super::internal_request::{Answer, Deadline, InternalRequest};
use super::probe::Prober;
use crate::cluster::{Cause, Outcome, ProbeReport, Upstream};
use crate::config::{Config, Credentials};
use crate::hash::fnv1a;

/// Maximum size of an answer of the REST interface. The status of all modules is the longest, with
/// the properties of the Java process.
const MAX_REST_ANSWER: usize = 1 << 20;

/// Maximum number of modules that are kept; a GeoServer with all extensions has under a hundred.
const MAX_MODULES: usize = 400;

/// Maximum depth at which modules are searched in the JSON.
const MAX_DEPTH: usize = 6;

/// The facts that an upstream reports about itself.
#[derive(Clone, Debug)]
pub struct Examination {
    pub health: ProbeReport,
    /// The update sequence of the catalog in memory.
    pub update_sequence: Option<u64>,
    /// `None` if no credentials are configured, or the upstream is not reachable.
    pub credentials: Option<Result<(), Cause>>,
    /// GeoServer's version, such as `2.27.1`, with its revision.
    pub version: Option<GeoServerVersion>,
    /// The modules that are available, sorted by name.
    pub modules: Option<Vec<GeoServerModule>>,
    /// `global.xml` as the upstream sees it in its data directory.
    pub global_xml: Option<DataFile>,
    /// The settings that concern a cluster.
    pub settings: Option<GlobalSettings>,
    /// The upstream's clock minus ours, in seconds.
    pub clock_skew: Option<i64>,
    /// The servlet container's timeout for idle connections.
    pub keep_alive: KeepAlive,
}

/// The version of a GeoServer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GeoServerVersion {
    pub version: String,
    /// Empty if it is not reported.
    pub revision: String,
}

/// A module of GeoServer, with its own version and message.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct GeoServerModule {
    pub name: String,
    pub version: String,
    pub message: String,
}

/// A file of the data directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataFile {
    pub hash: u64,
    /// The time of its last change, as the upstream reports it.
    pub last_modified: String,
    /// The update sequence in the file.
    pub update_sequence: Option<u64>,
}

/// Global settings of a GeoServer that concern a cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GlobalSettings {
    /// The name of the lock provider; empty for the default, which locks within one process.
    pub lock_provider: String,
    /// The settings of the image library, as `key=value`, sorted.
    pub jai: Vec<String>,
}

/// The policy of a servlet container for idle connections, as its answer states it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeepAlive {
    /// An idle connection stays open for so long.
    For(Duration),
    /// Connections are closed after each answer.
    Closes,
    /// It states nothing.
    Unknown,
}

impl Prober {
    /// Examines `upstream`. After a failed connection nothing more is requested.
    pub async fn examine(&self, upstream: &Upstream, config: &Config) -> Examination {
        let health = self.probe(upstream, config).await;
        let mut found = Examination {
            health,
            update_sequence: None,
            credentials: None,
            version: None,
            modules: None,
            global_xml: None,
            settings: None,
            clock_skew: None,
            keep_alive: KeepAlive::Unknown,
        };
        if matches!(found.health.outcome, Outcome::Failure(Cause::Connect(_))) {
            return found;
        }
        (found.clock_skew, found.keep_alive) = self.read_connection(upstream, config).await;
        found.update_sequence = self.update_sequence(upstream, config).await;
        found.credentials = self.try_credentials(upstream, config).await;
        if config.geoserver.credentials == Credentials::None
            || !matches!(found.credentials, Some(Ok(())))
        {
            return found;
        }
        let rest = async |path: &str| {
            let answer = self.rest(path, upstream, config).await?;
            serde_json::from_slice::<Value>(&answer.body).ok()
        };
        found.version = rest("/rest/about/version.json")
            .await
            .and_then(|json| version_in(&json));
        found.modules = rest("/rest/about/status.json").await.map(|json| {
            let mut modules = Vec::new();
            collect_modules(&json, 0, &mut modules);
            modules.sort();
            modules
        });
        found.settings = rest("/rest/settings.json")
            .await
            .and_then(|json| settings_in(&json));
        found.global_xml = self
            .rest("/rest/resource/global.xml", upstream, config)
            .await
            .map(|answer| data_file(&answer));
        found
    }

    /// The upstream's clock, and how long it keeps idle connections.
    async fn read_connection(
        &self,
        upstream: &Upstream,
        config: &Config,
    ) -> (Option<i64>, KeepAlive) {
        let target = format!("{}/index.html", config.geoserver.context);
        let request = InternalRequest::get(target).keeping_alive();
        let deadline = Deadline::after(config.health.timeout);
        let (began, clock) = (Instant::now(), SystemTime::now());
        let answer = self
            .client()
            .run(&request, upstream, config, deadline, |_| true)
            .await;
        let Ok(answer) = answer else {
            return (None, KeepAlive::Unknown);
        };
        // The answer was made between the request and now.
        let middle = clock + began.elapsed() / 2;
        (skew(&answer.date, middle), keep_alive(&answer))
    }

    /// The whole answer of the REST interface with status 200.
    async fn rest(&self, path: &str, upstream: &Upstream, config: &Config) -> Option<Answer> {
        let target = format!("{}{path}", config.geoserver.context);
        let request = InternalRequest::get(target).authenticated(true);
        let deadline = Deadline::after(config.health.timeout);
        let is_enough = |answer: &Answer| answer.body.len() > MAX_REST_ANSWER;
        let answer = self
            .client()
            .run(&request, upstream, config, deadline, is_enough)
            .await
            .ok()?;
        (answer.status == 200 && answer.is_complete).then_some(answer)
    }
}

/// The seconds by which `date` is ahead of `now`.
fn skew(date: &str, now: SystemTime) -> Option<i64> {
    let date = httpdate::parse_http_date(date).ok()?;
    // The header has whole seconds, so the clock shows half a second more on average.
    let date = date + Duration::from_millis(500);
    let seconds = |apart: Duration| i64::try_from((apart + Duration::from_millis(500)).as_secs());
    match date.duration_since(now) {
        Ok(ahead) => seconds(ahead).ok(),
        Err(behind) => seconds(behind.duration()).ok().map(|seconds| -seconds),
    }
}

fn keep_alive(answer: &Answer) -> KeepAlive {
    if answer.connection.eq_ignore_ascii_case("close") {
        return KeepAlive::Closes;
    }
    answer
        .keep_alive
        .split(',')
        .find_map(|part| part.trim().strip_prefix("timeout=")?.trim().parse().ok())
        .map_or(KeepAlive::Unknown, |seconds| {
            KeepAlive::For(Duration::from_secs(seconds))
        })
}

/// The version of the resource `GeoServer`.
fn version_in(json: &Value) -> Option<GeoServerVersion> {
    let resources = json.get("about")?.get("resource")?;
    let resources = match resources {
        Value::Array(all) => all.iter().collect(),
        one => vec![one],
    };
    let geoserver = resources.into_iter().find(|resource| {
        resource
            .get("@name")
            .is_some_and(|name| name == "GeoServer")
    })?;
    Some(GeoServerVersion {
        version: plain(geoserver.get("Version")?),
        revision: geoserver.get("Git-Revision").map(plain).unwrap_or_default(),
    })
}

/// Collects every object with a `module` that is available.
fn collect_modules(json: &Value, depth: usize, modules: &mut Vec<GeoServerModule>) {
    if depth > MAX_DEPTH || modules.len() == MAX_MODULES {
        return;
    }
    match json {
        Value::Array(all) => {
            for inner in all {
                collect_modules(inner, depth + 1, modules);
            }
        }
        Value::Object(object) => match object.get("module") {
            Some(Value::String(name)) => {
                if object.get("isAvailable").is_none_or(|is| *is != false) {
                    modules.push(GeoServerModule {
                        name: name.clone(),
                        version: object.get("version").map(plain).unwrap_or_default(),
                        message: object.get("message").map(plain).unwrap_or_default(),
                    });
                }
            }
            _ => {
                for inner in object.values() {
                    collect_modules(inner, depth + 1, modules);
                }
            }
        },
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn settings_in(json: &Value) -> Option<GlobalSettings> {
    let global = json.get("global")?;
    let mut jai: Vec<String> = global
        .get("jai")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .filter(|(_, value)| !value.is_object() && !value.is_array())
        .map(|(key, value)| format!("{key}={}", plain(value)))
        .collect();
    jai.sort();
    Some(GlobalSettings {
        lock_provider: global
            .get("lockProviderName")
            .map(plain)
            .unwrap_or_default(),
        jai,
    })
}

fn data_file(answer: &Answer) -> DataFile {
    let text = String::from_utf8_lossy(&answer.body);
    let update_sequence = text
        .split_once("<updateSequence>")
        .and_then(|(_, rest)| rest.split('<').next()?.trim().parse().ok());
    DataFile {
        hash: fnv1a(answer.body.iter().copied()),
        last_modified: answer.last_modified.clone(),
        update_sequence,
    }
}

/// A text without quotation marks, or the JSON of another value.
fn plain(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_is_compared_to_the_second() {
        let date = "Sun, 06 Nov 1994 08:49:37 GMT";
        let at = httpdate::parse_http_date(date).unwrap();
        let after = |millis| skew(date, at + Duration::from_millis(millis));
        assert_eq!(after(500), Some(0));
        assert_eq!(after(100_500), Some(-100));
        assert_eq!(skew(date, at - Duration::from_millis(59_500)), Some(60));
        assert_eq!(skew("today", at), None);
    }

    #[test]
    fn the_time_of_idle_connections_is_read_from_the_header() {
        let answer = |connection: &str, keep_alive: &str| Answer {
            connection: connection.to_owned(),
            keep_alive: keep_alive.to_owned(),
            ..Answer::default()
        };
        let seconds = |seconds| KeepAlive::For(Duration::from_secs(seconds));
        for (connection, header, expected) in [
            ("keep-alive", "timeout=20", seconds(20)),
            ("", "max=100, timeout=5", seconds(5)),
            ("Close", "timeout=20", KeepAlive::Closes),
            ("", "", KeepAlive::Unknown),
            ("", "timeout=soon", KeepAlive::Unknown),
        ] {
            let found = keep_alive(&answer(connection, header));
            assert_eq!(found, expected, "{connection} {header}");
        }
    }

    #[test]
    fn modules_are_found_wherever_the_json_has_them() {
        let json = serde_json::json!({"about": {"status": [
            {"module": "gs-wms", "isAvailable": true, "version": "2.27.1"},
            {"module": "gs-gone", "isAvailable": false},
            {"module": "jvm", "isAvailable": true, "version": 17, "message": "Marlin"},
        ]}});
        let mut modules = Vec::new();
        collect_modules(&json, 0, &mut modules);
        let found: Vec<(&str, &str)> = modules
            .iter()
            .map(|module| (module.name.as_str(), module.version.as_str()))
            .collect();
        assert_eq!(found, [("gs-wms", "2.27.1"), ("jvm", "17")]);
    }

    #[test]
    fn the_version_is_that_of_geoserver_and_not_of_its_libraries() {
        let json = serde_json::json!({"about": {"resource": [
            {"@name": "GeoTools", "Version": 33.1},
            {"@name": "GeoServer", "Version": "2.27.1", "Git-Revision": "abc"},
        ]}});
        let version = version_in(&json).unwrap();
        assert_eq!(
            (version.version.as_str(), version.revision.as_str()),
            ("2.27.1", "abc")
        );
    }
}
