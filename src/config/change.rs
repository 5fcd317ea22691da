//! The difference between two configurations, key by key.
//!
//! The difference is derived from the effective values, so no key can be forgotten here. Secrets
//! are masked in those, so they are compared separately.

use std::collections::{BTreeMap, BTreeSet};

use super::{Config, Credentials, Effective, Loaded, UpstreamName};

/// Keys that need a restart: listening sockets, threads and log outputs are created once.
const RESTART: [&str; 5] = ["listen", "admin", "threads", "log.format", "log.access"];

const UPSTREAMS: &str = "upstreams.";
const LISTENERS: &str = "listeners.";
const CLUSTERS: &str = "clusters.";
const ADDRESS: &str = ".address";

/// The step from one configuration to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// No effect changes.
    Unchanged,
    /// The change can be applied at once; one line per difference.
    Live(Vec<String>),
    /// These keys need a restart, so nothing is applied.
    NeedsRestart(Vec<String>),
}

impl Change {
    /// Returns the difference between the running configuration and a new one.
    pub fn between(running: &Loaded, new: &Loaded) -> Self {
        if running.config == new.config {
            return Self::Unchanged;
        }
        let (old_keys, new_keys) = (by_key(&running.effective), by_key(&new.effective));
        let restart = RESTART
            .into_iter()
            .filter(|key| old_keys.get(key) != new_keys.get(key))
            .map(str::to_owned);
        let restart: Vec<_> = restart
            .chain(listener_addresses(&old_keys, &new_keys))
            .chain(clusters(running, new))
            .collect();
        if !restart.is_empty() {
            return Self::NeedsRestart(restart);
        }
        let mut changes = upstreams(running, new);
        changes.extend(routes(running, new));
        changes.extend(values(running, new));
        changes.extend(secrets(running, new));
        changes.extend(certificates(running, new));
        changes.extend(acme_authorities(running, new));
        changes.extend(traces_authorities(running, new));
        changes.extend(upstream_certificates(running, new));
        if names(running) != names(new) && changes.is_empty() {
            changes.push("upstreams: another order".to_owned());
        }
        // All keys are equal, but a name fails to resolve for another reason.
        if changes.is_empty() {
            Self::Unchanged
        } else {
            Self::Live(changes)
        }
    }
}

fn by_key(effective: &[Effective]) -> BTreeMap<&str, &str> {
    effective
        .iter()
        .map(|entry| (entry.key.as_str(), entry.value.as_str()))
        .collect()
}

/// Listeners that are added, removed or moved.
fn listener_addresses(
    old: &BTreeMap<&str, &str>,
    new: &BTreeMap<&str, &str>,
) -> impl Iterator<Item = String> {
    let is_address = |key: &&&str| key.starts_with(LISTENERS) && key.ends_with(ADDRESS);
    let keys: BTreeSet<&str> = old
        .keys()
        .chain(new.keys())
        .filter(is_address)
        .copied()
        .collect();
    let moved = keys.into_iter().filter(|key| old.get(key) != new.get(key));
    moved.map(str::to_owned).collect::<Vec<_>>().into_iter()
}

/// Clusters that are added or removed.
fn clusters(running: &Loaded, new: &Loaded) -> Vec<String> {
    let missing = |from: &Loaded, other: &Loaded| -> Vec<String> {
        let entries = from.config.clusters.entries().iter();
        entries
            .filter(|entry| {
                other
                    .config
                    .clusters
                    .position(entry.name.as_str())
                    .is_none()
            })
            .map(|entry| format!("{CLUSTERS}{}", entry.name))
            .collect()
    };
    [missing(new, running), missing(running, new)].concat()
}

/// Listeners with certificate files that changed or can no longer be used.
fn certificates(running: &Loaded, new: &Loaded) -> Vec<String> {
    let mut changes = Vec::new();
    for listener in &new.config.listeners {
        let old = running.config.listener(&listener.name);
        let old = old.and_then(|old| old.tls.as_ref());
        let (Some(old), Some(tls)) = (old, &listener.tls) else {
            continue;
        };
        let name = &listener.name;
        if old.certificates != tls.certificates {
            changes.push(format!("{LISTENERS}{name}: another certificate"));
        }
        if old.client_authorities != tls.client_authorities {
            changes.push(format!("{LISTENERS}{name}: other authorities of clients"));
        }
        if old.kept != tls.kept {
            changes.push(if tls.kept.is_empty() {
                format!("{LISTENERS}{name}: its files can be used again")
            } else {
                format!(
                    "{LISTENERS}{name}: the certificate stays, {}",
                    tls.kept.join(", ")
                )
            });
        }
    }
    changes
}

/// The authorities of `[acme]`, whose file changed.
fn acme_authorities(running: &Loaded, new: &Loaded) -> Option<String> {
    let of = |loaded: &'_ Loaded| {
        let acme = loaded.config.acme.as_deref();
        acme.and_then(|acme| acme.authorities.clone())
    };
    (of(running) != of(new)).then(|| "acme.ca: other authorities".to_owned())
}

/// The authorities of `[traces]`, whose file changed.
fn traces_authorities(running: &Loaded, new: &Loaded) -> Option<String> {
    let of = |loaded: &'_ Loaded| {
        let traces = loaded.config.traces.as_deref();
        traces.and_then(|traces| traces.authorities.clone())
    };
    (of(running) != of(new)).then(|| "traces.ca: other authorities".to_owned())
}

/// Upstreams whose files for https changed, or can no longer be used.
fn upstream_certificates(running: &Loaded, new: &Loaded) -> Vec<String> {
    let mut changes = Vec::new();
    for upstream in &new.config.upstreams {
        let mut others = running.config.upstreams.iter();
        let old = others.find(|old| old.name == upstream.name);
        let (Some(old), Some(tls)) = (old.and_then(|old| old.tls.as_ref()), &upstream.tls) else {
            continue;
        };
        let name = &upstream.name;
        if old.authorities != tls.authorities {
            changes.push(format!("{name}: other authorities of `ca`"));
        }
        if old.certificate != tls.certificate {
            changes.push(format!("{name}: another client certificate"));
        }
        if old.kept != tls.kept {
            changes.push(if tls.kept.is_empty() {
                format!("{name}: its files for https can be used again")
            } else {
                format!("{name}: what its files held stays, {}", tls.kept.join(", "))
            });
        }
    }
    changes
}

/// Upstreams that are added or removed.
fn upstreams(running: &Loaded, new: &Loaded) -> Vec<String> {
    let (old, new) = (names(running), names(new));
    let added = new
        .iter()
        .filter(|name| !old.contains(name))
        .map(|name| format!("upstream {name} added"));
    let removed = old
        .iter()
        .filter(|name| !new.contains(name))
        .map(|name| format!("upstream {name} removed"));
    added.chain(removed).collect()
}

fn names(loaded: &Loaded) -> Vec<&UpstreamName> {
    loaded
        .config
        .upstreams
        .iter()
        .map(|upstream| &upstream.name)
        .collect()
}

/// Rules that are added or removed, and their order.
fn routes(running: &Loaded, new: &Loaded) -> Vec<String> {
    let of = |loaded: &Loaded| -> Vec<String> {
        let routes = loaded.config.routes.iter();
        routes.map(|route| route.name.to_string()).collect()
    };
    let (old, new) = (of(running), of(new));
    let added = new
        .iter()
        .filter(|name| !old.contains(name))
        .map(|name| format!("route {name} added"));
    let removed = old
        .iter()
        .filter(|name| !new.contains(name))
        .map(|name| format!("route {name} removed"));
    let mut changes: Vec<String> = added.chain(removed).collect();
    if changes.is_empty() && old != new {
        changes.push("routes: another order".to_owned());
    }
    changes
}

/// Keys that are in both and differ, and keys outside the upstream tables that were added or
/// removed.
fn values(running: &Loaded, new: &Loaded) -> Vec<String> {
    let old = by_key(&running.effective);
    let differs = |entry: &&Effective| {
        old.get(entry.key.as_str())
            .is_some_and(|value| *value != entry.value)
    };
    new.effective
        .iter()
        .filter(differs)
        .map(|entry| difference(&entry.key, old[entry.key.as_str()], &entry.value))
        .collect()
}

/// `slave3: weight 100 -> 50` for the key of an upstream, `health.interval: 5s -> 10s` for others.
fn difference(key: &str, old: &str, new: &str) -> String {
    let or_none = |value: &str| {
        if value.is_empty() {
            "none".to_owned()
        } else {
            value.to_owned()
        }
    };
    let (old, new) = (or_none(old), or_none(new));
    match key
        .strip_prefix(UPSTREAMS)
        .and_then(|rest| rest.rsplit_once('.'))
    {
        Some((name, key)) => format!("{name}: {key} {old} -> {new}"),
        None => format!("{key}: {old} -> {new}"),
    }
}

/// True if a difference between header conditions shows in the effective values.
fn is_header_change_shown(running: &Loaded, new: &Loaded) -> bool {
    let shown = |loaded: &Loaded| -> Vec<String> {
        let entries = loaded.effective.iter();
        let is_condition =
            |entry: &&Effective| entry.key.starts_with("routes.") && entry.key.ends_with(".header");
        entries
            .filter(is_condition)
            .map(|entry| entry.value.clone())
            .collect()
    };
    shown(running) != shown(new)
}

fn secrets(running: &Loaded, new: &Loaded) -> Vec<String> {
    let is_shown = is_header_change_shown(running, new);
    let (old, new) = (&running.config, &new.config);
    let token = (old.admin_token != new.admin_token).then_some("the admin token");
    let credentials = match (&old.geoserver.credentials, &new.geoserver.credentials) {
        (Credentials::Basic { password: old, .. }, Credentials::Basic { password: new, .. })
            if old != new =>
        {
            Some("the password for GeoServer")
        }
        (Credentials::Headers(old), Credentials::Headers(new)) if old != new => {
            Some("the headers for GeoServer")
        }
        _ => None,
    };
    let traces = match (&old.traces, &new.traces) {
        (Some(old), Some(new)) if old.headers != new.headers => Some("the headers of [traces]"),
        _ => None,
    };
    // Only values that are shown are compared otherwise.
    let headers = |config: &Config| -> Vec<_> {
        let routes = config.routes.iter();
        routes
            .map(|route| route.conditions.headers.clone())
            .collect()
    };
    let conditions = (headers(old) != headers(new) && !is_shown)
        .then_some("the header conditions of [[routes]]");
    token
        .into_iter()
        .chain(credentials)
        .chain(traces)
        .chain(conditions)
        .map(|what| format!("{what} changed"))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;
    use std::path::Path;

    use super::*;
    use crate::config::{Address, Config, MapEnvironment};

    const BASE: &str = "[upstreams.main]\nurl = \"http://10.0.0.1\"\nrole = \"main\"\n[upstreams.slave1]\nurl = \"http://10.0.0.2\"\n";

    fn load(text: &str, password: &str) -> Loaded {
        let world = MapEnvironment::new()
            .file("f.toml", text)
            .file("password", password);
        Config::load(Path::new("f.toml"), &world).unwrap_or_else(|e| panic!("{e}"))
    }

    fn change(new: &str) -> Change {
        Change::between(&load(BASE, ""), &load(new, ""))
    }

    fn live(changes: &[&str]) -> Change {
        Change::Live(changes.iter().map(|change| (*change).to_owned()).collect())
    }

    #[test]
    fn a_header_condition_that_is_not_shown_changes_all_the_same() {
        let rule = |value: &str| {
            let rule =
                format!("{BASE}[[routes]]\nheader = 'Authorization: {value}'\nrefuse = true\n");
            load(&rule, "")
        };
        let changed = Change::between(&rule("Basic a"), &rule("Basic b"));
        assert_eq!(
            changed,
            live(&["the header conditions of [[routes]] changed"])
        );
        let shown = rule("Basic secret").effective.into_iter();
        let shown: Vec<String> = shown.map(|entry| entry.value).collect();
        assert!(
            shown.contains(&"Authorization: ***".to_owned()),
            "{shown:?}"
        );
    }

    #[test]
    fn a_comment_changes_nothing() {
        assert_eq!(change(&format!("# edited\n{BASE}")), Change::Unchanged);
    }

    #[test]
    fn upstreams_that_come_and_go_are_named_once() {
        let other = BASE
            .replace("slave1", "slave2")
            .replace("10.0.0.2", "10.0.0.3");
        assert_eq!(
            change(&other),
            live(&["upstream slave2 added", "upstream slave1 removed"])
        );
    }

    #[test]
    fn changed_values_are_reported_with_both_sides() {
        let heavier =
            format!("{BASE}weight = 50\n[health]\ninterval = \"10s\"\nprobe_layer = \"a:b\"\n");
        let told = [
            "slave1: weight 100 -> 50",
            "health.interval: 5s -> 10s",
            "health.probe_layer: none -> a:b",
        ];
        assert_eq!(change(&heavier), live(&told));
    }

    #[test]
    fn a_change_that_needs_a_restart_is_refused_with_all_others() {
        let moved = format!("threads = 7\nlisten = \"0.0.0.0:80\"\n{BASE}weight = 50\n");
        assert_eq!(
            change(&moved),
            Change::NeedsRestart(vec!["listen".to_owned(), "threads".to_owned()])
        );
    }

    #[test]
    fn outputs_of_the_log_need_a_restart_and_its_level_does_not() {
        let outputs = format!("{BASE}[log]\nformat = \"json\"\naccess = \"off\"\n");
        assert_eq!(
            change(&outputs),
            Change::NeedsRestart(vec!["log.format".to_owned(), "log.access".to_owned()])
        );
        assert_eq!(
            change(&format!("{BASE}[log]\nlevel = \"debug\"\n")),
            live(&["log.level: info -> debug"])
        );
    }

    #[test]
    fn cores_that_come_and_go_are_no_change_unless_threads_are_configured() {
        let load_on = |text: &str, cores| {
            let world = MapEnvironment::new()
                .file("f.toml", text)
                .cores(NonZeroUsize::new(cores).unwrap());
            Config::load(Path::new("f.toml"), &world).unwrap()
        };
        let (two, mut four) = (load_on(BASE, 2), load_on(BASE, 4));
        four.keep_unconfigured_threads(&two);
        assert_eq!(Change::between(&two, &four), Change::Unchanged);
        let mut configured = load_on(&format!("threads = 4\n{BASE}"), 4);
        configured.keep_unconfigured_threads(&two);
        assert_eq!(
            Change::between(&two, &configured),
            Change::NeedsRestart(vec!["threads".to_owned()])
        );
    }

    #[test]
    fn another_reason_for_which_a_name_does_not_resolve_is_no_change() {
        let text = format!("{BASE}[upstreams.slave2]\nurl = \"http://nowhere\"\n");
        let (before, mut after) = (load(&text, ""), load(&text, ""));
        after.config.upstreams[2].address = Address::Unresolved("the name server is down".into());
        assert_eq!(Change::between(&before, &after), Change::Unchanged);
    }

    #[test]
    fn a_new_password_is_a_change_that_is_not_printed() {
        let text =
            format!("{BASE}[geoserver]\nusername = \"admin\"\npassword_file = \"password\"\n");
        let change = Change::between(&load(&text, "old\n"), &load(&text, "new\n"));
        assert_eq!(change, live(&["the password for GeoServer changed"]));
    }

    #[test]
    fn another_order_is_reported_as_such() {
        let (main, slave) = BASE.split_at(BASE.find("[upstreams.slave1]").unwrap());
        assert_eq!(
            change(&format!("{slave}{main}")),
            live(&["upstreams: another order"])
        );
    }
}
