//! Conclusions from the examined upstreams. Each finding states a problem or a noteworthy fact, and
//! the remedy.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use super::examined::Examined;
use crate::cluster::{Cause, Outcome, Upstream};
use crate::config::{Config, Credentials, MaxInFlight};
use crate::driver::examination::{Examination, KeepAlive};

/// Seconds by which clocks may differ: below that the measurement itself is not exact enough.
const MAX_SKEW: i64 = 3;

/// The threads of a Tomcat in geOrchestra's guide.
const FEW_THREADS: u32 = 20;

/// The module of GeoServer's own limits.
const CONTROL_FLOW: &str = "gs-control-flow";

/// The version of Java since which its own renderer is the fast one (Marlin).
const MARLIN_JAVA: u32 = 9;

/// Something that the operator should know.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub(super) struct CheckFinding {
    /// A stable name for scripts.
    pub(super) kind: &'static str,
    /// A problem fails the check, a note does not.
    pub(super) severity: &'static str,
    /// The upstreams that the finding is about.
    pub(super) upstreams: Vec<String>,
    pub(super) what: String,
    pub(super) help: String,
}

impl CheckFinding {
    pub(super) fn is_problem(&self) -> bool {
        self.severity == PROBLEM
    }
}

/// All findings, problems first.
pub(super) fn findings(examined: &[Examined], config: &Config) -> Vec<CheckFinding> {
    let mut found = Vec::new();
    for one in examined {
        found.extend(health(one, config));
        found.extend(credentials(one));
    }
    let answering: Vec<&Examined> = examined.iter().filter(|one| is_reachable(one)).collect();
    found.extend(update_sequence(&answering));
    found.extend(versions(&answering));
    found.extend(data_directory(&answering));
    found.extend(behind_its_files(&answering));
    found.extend(modules(&answering));
    found.extend(control_flow(&answering));
    found.extend(renderer(&answering));
    found.extend(settings(&answering));
    found.extend(clocks(&answering));
    found.extend(keep_alive(&answering, config));
    found.extend(threads(config));
    found.extend(unread(&answering, config));
    found.sort_by_key(|finding| !finding.is_problem());
    found
}

const PROBLEM: &str = "problem";
const NOTE: &str = "note";

fn finding(
    severity: &'static str,
    kind: &'static str,
    upstreams: &[&Examined],
    what: impl Into<String>,
    help: impl Into<String>,
) -> CheckFinding {
    CheckFinding {
        kind,
        severity,
        upstreams: upstreams.iter().map(|one| name(one)).collect(),
        what: what.into(),
        help: help.into(),
    }
}

fn name(one: &Examined) -> String {
    one.upstream.name.to_string()
}

fn is_reachable(one: &Examined) -> bool {
    !matches!(
        one.found.health.outcome,
        Outcome::Failure(Cause::Connect(_))
    )
}

/// The remedy for an upstream that cannot be connected to. A host name may have several addresses,
/// of which geofront uses one.
fn unreachable(upstream: &Upstream, context: &str) -> String {
    let Upstream { url, host, .. } = upstream;
    let question = format!("is GeoServer running there, and may this machine reach {url}?");
    let is_name = host.parse::<IpAddr>().is_err();
    match upstream.address.known().filter(|_| is_name) {
        Some(address) => {
            let (ip, port) = (address.ip(), address.port());
            format!(
                "{question} Of the addresses of {host}, geofront uses {ip}. \
                 Try `curl -sI --resolve {host}:{port}:{ip} {url}{context}/index.html`"
            )
        }
        None => format!("{question} Try `curl -sI {url}{context}/index.html`"),
    }
}

fn health(one: &Examined, config: &Config) -> Option<CheckFinding> {
    let Outcome::Failure(cause) = &one.found.health.outcome else {
        return None;
    };
    let url = &one.upstream.url;
    let context = &config.geoserver.context;
    let help = match cause {
        Cause::Connect(_) => unreachable(&one.upstream, context),
        Cause::Timeout(_) => "the port accepts connections and GeoServer does not answer: it may be starting, out of threads or in a \
             long garbage collection; see its log"
            .to_owned(),
        Cause::Slow(_) => "lighter requests are answered: the probe waits for something slow, such as a database; choose another \
             `probe_layer` under [health]"
            .to_owned(),
        Cause::Status(404) => format!(
            "something answers there that has no GeoServer under {context}: set `context` under [geoserver], or see whether the \
             web application failed to start"
        ),
        Cause::Credentials(_) => "the probe is anonymous unless `authenticate` is set under [health]: choose a public `probe_layer`".to_owned(),
        Cause::Unexpected(text) if text.contains("java.lang.") => {
            "see the log of that GeoServer, and restart it".to_owned()
        }
        Cause::Unexpected(_) => format!(
            "open {url}{context}/web/ and look whether the layer of the probe exists and is drawn; `probe_layer` under [health] names it"
        ),
        Cause::Status(_) | Cause::Truncated | Cause::Reset(_) | Cause::NodeFault(_) => {
            "see the log of that GeoServer".to_owned()
        }
        Cause::Local(_) => "the fault is on this machine, not at the upstream".to_owned(),
    };
    Some(finding(PROBLEM, "health", &[one], cause.to_string(), help))
}

fn credentials(one: &Examined) -> Option<CheckFinding> {
    let Some(Err(cause)) = &one.found.credentials else {
        return None;
    };
    if !matches!(cause, Cause::Credentials(_)) {
        let what = format!("its REST interface does not answer well: {cause}");
        let help = "see the log of that GeoServer: its catalog is reloaded over REST";
        return Some(finding(PROBLEM, "rest", &[one], what, help));
    }
    Some(finding(
        PROBLEM,
        "credentials",
        &[one],
        format!("it does not accept the credentials of [geoserver]: {cause}"),
        "without them its catalog cannot be reloaded: compare `username` and the password's file, or `headers`, with GeoServer's users",
    ))
}

fn update_sequence(answering: &[&Examined]) -> Option<CheckFinding> {
    let main = answering.iter().find(|one| one.upstream.is_main())?;
    let is_well = !matches!(main.found.health.outcome, Outcome::Failure(_));
    (is_well && main.found.update_sequence.is_none()).then(|| {
        finding(
            NOTE,
            "update-sequence",
            &[main],
            "the main does not report its updateSequence: a change is noticed only if it comes through geofront",
            "let GeoServer answer WMS capabilities without a workspace (Settings, Global, Enable Global Services), or configure credentials",
        )
    })
}

/// The values of a fact with the upstreams that have them, if they differ: `2.27.1 on main; ...`.
fn differing(
    answering: &[&Examined],
    fact: impl Fn(&Examination) -> Option<String>,
) -> Option<String> {
    let mut groups: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for one in answering {
        if let Some(value) = fact(&one.found) {
            groups.entry(value).or_default().push(name(one));
        }
    }
    let parts: Vec<String> = groups
        .iter()
        .map(|(value, names)| format!("{value} on {}", names.join(", ")))
        .collect();
    (parts.len() > 1).then(|| parts.join("; "))
}

fn versions(answering: &[&Examined]) -> Option<CheckFinding> {
    let shown = differing(answering, |found| {
        let version = found.version.as_ref()?;
        Some(version.version.clone())
    });
    if let Some(differing) = shown {
        return Some(finding(
            PROBLEM,
            "versions",
            answering,
            format!("GeoServer's versions differ: {differing}"),
            "install the same version everywhere: another version reads and writes the shared data directory in its own way",
        ));
    }
    let revisions = differing(answering, |found| {
        let revision = found.version.as_ref()?.revision.clone();
        (!revision.is_empty()).then_some(revision)
    })?;
    Some(finding(
        NOTE,
        "versions",
        answering,
        format!("the version is the same and its builds differ: {revisions}"),
        "install the same build everywhere",
    ))
}

/// All instances must see the same files.
fn data_directory(answering: &[&Examined]) -> Vec<CheckFinding> {
    let with_file = |one: &&&Examined| one.found.global_xml.is_some();
    let seen: Vec<&Examined> = answering.iter().filter(with_file).copied().collect();
    let Some(main) = seen.iter().find(|one| one.upstream.is_main()) else {
        return Vec::new();
    };
    let Some(own) = main.found.global_xml.as_ref() else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for one in &seen {
        let Some(file) = one.found.global_xml.as_ref() else {
            continue;
        };
        let number =
            |number: Option<u64>| number.map_or_else(|| "none".to_owned(), |n| n.to_string());
        if file.hash != own.hash {
            found.push(finding(
                PROBLEM,
                "data-directory",
                &[one],
                format!(
                    "its global.xml is not the main's (update sequence {} in its file, {} in the main's): it has another data \
                     directory, or reads an old copy of the file",
                    number(file.update_sequence),
                    number(own.update_sequence)
                ),
                "mount the main's data directory there (GEOSERVER_DATA_DIR); on NFS with a short attribute cache, such as actimeo=3. Then \
                 check again",
            ));
        } else if !file.last_modified.is_empty()
            && !own.last_modified.is_empty()
            && file.last_modified != own.last_modified
        {
            found.push(finding(
                PROBLEM,
                "data-directory",
                &[one],
                format!(
                    "its global.xml equals the main's but was changed at another time ({}, the main's {}): it is a copy, not the same file",
                    file.last_modified, own.last_modified
                ),
                "mount the main's data directory there (GEOSERVER_DATA_DIR): a reload of a copy does not bring the main's changes",
            ));
        }
    }
    found
}

/// A catalog in memory that is older than the file. A reload may count the number up, so a higher
/// number is no sign of anything.
fn behind_its_files(answering: &[&Examined]) -> Vec<CheckFinding> {
    let behind = |one: &&Examined| {
        let file = one.found.global_xml.as_ref()?.update_sequence?;
        let memory = one.found.update_sequence?;
        (memory < file).then(|| {
            finding(
                NOTE,
                "stale",
                &[one],
                format!("its catalog has update sequence {memory}, and its data directory {file}: it lacks changes"),
                "geofront reloads it when it runs (`geofront status`); `geofront sync --wait` does so now",
            )
        })
    };
    answering.iter().filter_map(behind).collect()
}

fn module_names(found: &Examination) -> Option<Vec<&str>> {
    let modules = found.modules.as_ref()?;
    Some(modules.iter().map(|module| module.name.as_str()).collect())
}

/// Modules that some instances lack.
fn modules(answering: &[&Examined]) -> Vec<CheckFinding> {
    let all: Vec<(&Examined, Vec<&str>)> = answering
        .iter()
        .filter_map(|one| Some((*one, module_names(&one.found)?)))
        .collect();
    let lacking = |(one, names): &(&Examined, Vec<&str>)| {
        let mut missing: Vec<&str> = all
            .iter()
            .flat_map(|(_, others)| others.iter().copied())
            .filter(|name| !names.contains(name))
            .collect();
        missing.sort_unstable();
        missing.dedup();
        (!missing.is_empty()).then(|| {
            finding(
                PROBLEM,
                "modules",
                &[one],
                format!("it lacks modules that others have: {}", missing.join(", ")),
                "install the same extensions everywhere: requests for what is missing fail on this instance only",
            )
        })
    };
    all.iter().filter_map(lacking).collect()
}

fn control_flow(answering: &[&Examined]) -> Option<CheckFinding> {
    let has = |one: &&&Examined| {
        module_names(&one.found).is_some_and(|names| names.contains(&CONTROL_FLOW))
    };
    let with: Vec<&Examined> = answering.iter().filter(has).copied().collect();
    (!with.is_empty()).then(|| {
        finding(
            NOTE,
            "control-flow",
            &with,
            "the control-flow extension is installed: its limits hold for each instance by itself, besides geofront's",
            "`geofront import controlflow.properties` makes them rules for the whole cluster. Keep `timeout` set in the file, or a \
             request may wait in GeoServer for ever",
        )
    })
}

/// The status of Java's renderer, as GeoServer reports it: message and Java's version.
fn renderer(answering: &[&Examined]) -> Vec<CheckFinding> {
    let mut found = Vec::new();
    let engine = |one: &Examined| {
        let modules = one.found.modules.as_ref()?;
        let jvm = modules.iter().find(|module| {
            module.name == "jvm" && module.message.to_ascii_lowercase().contains("render")
        })?;
        Some((jvm.message.to_ascii_lowercase(), java_version(&jvm.version)))
    };
    for one in answering {
        let Some((message, java)) = engine(one) else {
            continue;
        };
        let is_marlin = message.contains("marlin");
        let is_old = java.is_some_and(|java| java < MARLIN_JAVA);
        let is_other = message.contains("pisces") && !is_marlin || message.contains("sun.dc");
        if !is_marlin && is_old || is_other {
            found.push(finding(
                NOTE,
                "renderer",
                &[one],
                "it draws without Marlin, the faster renderer for concurrent maps",
                "run it with Java 11 or later without `sun.java2d.renderer`, or install Marlin and set \
                 -Dsun.java2d.renderer=org.marlin.pisces.MarlinRenderingEngine",
            ));
        }
    }
    found
}

/// `17` for `17.0.9`, `8` for `1.8.0_392`.
fn java_version(text: &str) -> Option<u32> {
    let mut parts = text.split(['.', '_', '-', '+']);
    match parts.next()?.parse().ok()? {
        1 => parts.next()?.parse().ok(),
        major => Some(major),
    }
}

fn settings(answering: &[&Examined]) -> Vec<CheckFinding> {
    let mut found = Vec::new();
    let jai = differing(answering, |found| {
        let jai = &found.settings.as_ref()?.jai;
        (!jai.is_empty()).then(|| jai.join(", "))
    });
    if let Some(jai) = jai {
        found.push(finding(
            NOTE,
            "jai",
            answering,
            format!("the settings of image processing (JAI) differ: {jai}"),
            "they stand in the shared global.xml, so the instances that differ have not read it: `geofront sync --wait`",
        ));
    }
    let main = answering.iter().find(|one| one.upstream.is_main());
    if let Some(main) = main
        && let Some(settings) = &main.found.settings
        && matches!(
            settings.lock_provider.as_str(),
            "" | "nullLockProvider" | "memoryLockProvider"
        )
    {
        found.push(finding(
            NOTE,
            "lock-provider",
            &[main],
            "file locking of the data directory is off: GeoServer locks within one process only",
            "choose file locking under Settings, Global (`fileLockProvider`), in case another instance ever writes",
        ));
    }
    found
}

fn clocks(answering: &[&Examined]) -> Vec<CheckFinding> {
    let wrong = |one: &&Examined| {
        let skew = one.found.clock_skew?;
        (skew.abs() >= MAX_SKEW).then(|| {
            let side = if skew > 0 { "ahead of" } else { "behind" };
            finding(
                NOTE,
                "clock",
                &[one],
                format!("its clock is {} s {side} this machine's", skew.abs()),
                "let every machine set its clock by NTP (timedatectl): logs cannot be compared, and caches keep old answers",
            )
        })
    };
    answering.iter().filter_map(wrong).collect()
}

fn keep_alive(answering: &[&Examined], config: &Config) -> Vec<CheckFinding> {
    let idle = config.timeouts.upstream_idle;
    let wrong = |one: &&Examined| match one.found.keep_alive {
        KeepAlive::For(time) if time <= idle => Some(finding(
            PROBLEM,
            "keep-alive",
            &[one],
            format!(
                "it closes idle connections after {}, and geofront uses them for {}: requests meet closed connections",
                seconds(time),
                seconds(idle)
            ),
            format!(
                "raise keepAliveTimeout of Tomcat's connector above {}, or lower `timeouts.upstream_idle`",
                seconds(idle)
            ),
        )),
        KeepAlive::Closes => Some(finding(
            NOTE,
            "keep-alive",
            &[one],
            "it closes every connection after one answer",
            "allow keep-alive in its connector (Tomcat: maxKeepAliveRequests is not 1): each request opens a connection otherwise",
        )),
        KeepAlive::For(_) | KeepAlive::Unknown => None,
    };
    answering.iter().filter_map(wrong).collect()
}

fn seconds(time: Duration) -> String {
    humantime::format_duration(time).to_string()
}

/// The number of Tomcat's threads is not reported over HTTP, so only a configured limit shows
/// whether it matters.
fn threads(config: &Config) -> Option<CheckFinding> {
    let above: Vec<(String, u32)> = config
        .upstreams
        .iter()
        .filter_map(|upstream| match upstream.max_in_flight {
            MaxInFlight::Fixed(most) if most >= FEW_THREADS => {
                Some((upstream.name.to_string(), most))
            }
            MaxInFlight::Fixed(_) | MaxInFlight::Auto | MaxInFlight::Off => None,
        })
        .collect();
    let most = above.iter().map(|(_, most)| *most).max()?;
    Some(CheckFinding {
        kind: "threads",
        severity: NOTE,
        upstreams: above.into_iter().map(|(name, _)| name).collect(),
        what: format!("`max_in_flight` sends up to {most} requests at a time"),
        help: format!(
            "maxThreads of Tomcat's connector must be larger, at least {}, or probes wait behind maps. It is 200 by default and \
             {FEW_THREADS} in geOrchestra's guide, and cannot be read over HTTP",
            most.saturating_add(most / 4).max(most + 5)
        ),
    })
}

/// Returns a note on the facts that could not be compared.
fn unread(answering: &[&Examined], config: &Config) -> Option<CheckFinding> {
    if config.geoserver.credentials == Credentials::None {
        return Some(finding(
            NOTE,
            "unread",
            &[],
            "versions, modules, settings and data directories are not compared: GeoServer shows them to administrators only",
            "set `username` with `password_file`, or `headers`, under [geoserver]",
        ));
    }
    let is_silent = |one: &&&Examined| {
        matches!(one.found.credentials, Some(Ok(())))
            && (one.found.version.is_none()
                || one.found.modules.is_none()
                || one.found.global_xml.is_none())
    };
    let silent: Vec<&Examined> = answering.iter().filter(is_silent).copied().collect();
    (!silent.is_empty()).then(|| {
        finding(
            NOTE,
            "unread",
            &silent,
            "not everything could be read over REST (/rest/about, /rest/resource), so it is not compared",
            "see whether the REST extension is installed there and its account has the role of an administrator",
        )
    })
}
