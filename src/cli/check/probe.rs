//! `geofront check --probe`: examines every upstream, and reports what was found as text or JSON.

use std::sync::Arc;
use std::time::Instant;

use futures::StreamExt;
use futures::stream;
use serde_json::{Value, json};

use super::super::exit::{Exit, Failure};
use super::super::table::{Side, aligned};
use super::examined::Examined;
use super::findings::{self, CheckFinding};
use crate::cluster::{Action, Cause, Cluster, Outcome, Upstream};
use crate::config::Config;
use crate::driver::Prober;
use crate::driver::examination::KeepAlive;

/// Maximum number of upstreams that are examined at the same time.
const MAX_PROBES: usize = 32;

/// Everything that was found.
#[derive(Debug)]
pub(super) struct ProbeResults {
    pub(super) examined: Vec<Examined>,
    pub(super) findings: Vec<CheckFinding>,
}

/// Examines every upstream. The check fails if there is a problem.
pub(super) fn report(config: Config) -> Result<(ProbeResults, Exit), Failure> {
    let config = Arc::new(config);
    let examined = examine_all(&config)?;
    let findings = findings::findings(&examined, &config);
    let is_well = findings.iter().all(|finding| !finding.is_problem());
    let exit = if is_well {
        Exit::Success
    } else {
        Exit::Failure
    };
    Ok((ProbeResults { examined, findings }, exit))
}

fn examine_all(config: &Arc<Config>) -> Result<Vec<Examined>, Failure> {
    let now = Instant::now();
    let mut cluster = Cluster::new(Arc::clone(config), now);
    // In a new cluster every upstream is due for a probe.
    let probed = |action| {
        if let Action::Probe(upstream) = action {
            Some(upstream)
        } else {
            None
        }
    };
    let upstreams: Vec<Arc<Upstream>> = std::iter::from_fn(|| cluster.poll_action(now))
        .filter_map(probed)
        .collect();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime =
        runtime.map_err(|error| Failure::new(format!("cannot start probing: {error}")))?;
    let prober = Prober::new();
    let examine = async |upstream: Arc<Upstream>| {
        let found = prober.examine(&upstream, config).await;
        Examined { upstream, found }
    };
    Ok(runtime.block_on(
        stream::iter(upstreams)
            .map(examine)
            .buffered(MAX_PROBES)
            .collect(),
    ))
}

/// A table of the upstreams, and the findings below it.
pub(super) fn text(results: &ProbeResults) -> String {
    let headings = [
        ("UPSTREAM", Side::Left),
        ("TOOK", Side::Right),
        ("ANSWERED", Side::Left),
        ("SEQUENCE", Side::Right),
        ("VERSION", Side::Left),
        ("CLOCK", Side::Right),
        ("KEEP-ALIVE", Side::Right),
        ("CREDENTIALS", Side::Left),
    ];
    let rows: Vec<Vec<String>> = results.examined.iter().map(row).collect();
    let mut text = aligned(&headings, &rows).join("\n") + "\n";
    for finding in &results.findings {
        let upstreams = match finding.upstreams.as_slice() {
            [] => String::new(),
            names => format!("{}: ", names.join(", ")),
        };
        text += &format!(
            "\n{}: {upstreams}{}\n  help: {}\n",
            finding.severity, finding.what, finding.help
        );
    }
    text
}

fn row(Examined { upstream, found }: &Examined) -> Vec<String> {
    let credentials = match &found.credentials {
        None => String::new(),
        Some(Ok(())) => "accepted".to_owned(),
        Some(Err(Cause::Credentials(_))) => "refused".to_owned(),
        Some(Err(_)) => "unknown".to_owned(),
    };
    let version = found.version.as_ref();
    vec![
        upstream.name.to_string(),
        format!("{} ms", found.health.took.as_millis()),
        answered(&found.health.outcome),
        found
            .update_sequence
            .map(|number| number.to_string())
            .unwrap_or_default(),
        version
            .map(|version| version.version.clone())
            .unwrap_or_default(),
        found
            .clock_skew
            .map(|skew| format!("{skew:+} s"))
            .unwrap_or_default(),
        keep_alive(found.keep_alive),
        credentials,
    ]
}

fn answered(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Success => "well".to_owned(),
        Outcome::Busy => "busy".to_owned(),
        Outcome::Failure(cause) => cause.to_string(),
    }
}

fn keep_alive(keep_alive: KeepAlive) -> String {
    match keep_alive {
        KeepAlive::For(time) => format!("{} s", time.as_secs()),
        KeepAlive::Closes => "none".to_owned(),
        KeepAlive::Unknown => String::new(),
    }
}

/// All facts and findings, for scripts.
pub(super) fn json(results: &ProbeResults) -> Result<String, Failure> {
    serde_json::to_string_pretty(&value(results))
        .map_err(|error| Failure::new(format!("cannot write the results: {error}")))
}

/// All facts and findings.
pub(super) fn value(results: &ProbeResults) -> Value {
    let upstreams: Vec<Value> = results.examined.iter().map(facts).collect();
    json!({"upstreams": upstreams, "findings": results.findings})
}

fn facts(Examined { upstream, found }: &Examined) -> Value {
    let modules = found.modules.as_ref().map(|modules| {
        let one = |module: &crate::driver::examination::GeoServerModule| {
            json!({"name": module.name, "version": module.version})
        };
        modules.iter().map(one).collect::<Vec<_>>()
    });
    let file = found.global_xml.as_ref().map(|file| {
        json!({
            "hash": format!("{:016x}", file.hash),
            "last_modified": file.last_modified,
            "update_sequence": file.update_sequence,
        })
    });
    let (closes, idle) = match found.keep_alive {
        KeepAlive::For(time) => (Some(false), Some(time.as_secs())),
        KeepAlive::Closes => (Some(true), None),
        KeepAlive::Unknown => (None, None),
    };
    json!({
        "name": upstream.name.to_string(),
        "url": upstream.url,
        "is_main": upstream.is_main(),
        "took_ms": u64::try_from(found.health.took.as_millis()).unwrap_or(u64::MAX),
        "answered": answered(&found.health.outcome),
        "is_healthy": !matches!(found.health.outcome, Outcome::Failure(_)),
        "update_sequence": found.update_sequence,
        "credentials": found.credentials.as_ref().map(|result| match result {
            Ok(()) => "accepted".to_owned(),
            Err(cause) => cause.to_string(),
        }),
        "version": found.version.as_ref().map(|version| &version.version),
        "revision": found.version.as_ref().map(|version| &version.revision),
        "modules": modules,
        "global_xml": file,
        "lock_provider": found.settings.as_ref().map(|settings| &settings.lock_provider),
        "jai": found.settings.as_ref().map(|settings| &settings.jai),
        "clock_skew_seconds": found.clock_skew,
        "keep_alive_seconds": idle,
        "closes_connections": closes,
    })
}

#[cfg(test)]
mod tests;
