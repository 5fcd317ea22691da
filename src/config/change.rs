//! The difference between two configurations, key by key.
//!
//! The difference is derived from the effective values, so no key can be forgotten here. Secrets
//! are masked in those, so they are compared separately.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::difference::{both, bounded, compared_key, difference, written_below};
use super::{Config, Credentials, Effective, Loaded, UpstreamName};

/// Keys that need a restart: listening sockets, threads and log outputs are created once.
const RESTART: [&str; 5] = ["listen", "admin", "threads", "log.format", "log.access"];

const LISTENERS: &str = "listeners.";
const CLUSTERS: &str = "clusters.";
/// The keys of a listener that are of its socket.
const OF_SOCKET: [&str; 2] = [".address", ".socket_mode"];

/// The step from one configuration to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// No effect changes.
    Unchanged,
    /// The change can be applied at once; one line per difference, a bounded number of them.
    Live(Vec<String>),
    /// These keys need a restart, so nothing is applied.
    NeedsRestart(Vec<RestartKey>),
}

/// A changed key that needs a restart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestartKey {
    /// The full name, such as `listen` or `clusters.city`.
    pub key: String,
    /// Both values, or what became of a table.
    pub change: String,
}

impl RestartKey {
    fn new(key: &str, old: Option<&String>, new: Option<&String>) -> Self {
        let of = |value: Option<&String>| value.cloned().unwrap_or_default();
        let (old, new) = both(&of(old), &of(new));
        Self {
            key: key.to_owned(),
            change: format!("{old} -> {new}"),
        }
    }
}

impl fmt::Display for RestartKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.key, self.change)
    }
}

/// Values by the keys of [`compared_key`].
type Values = BTreeMap<String, String>;

impl Change {
    /// Returns the difference between the running configuration and a new one.
    pub fn between(running: &Loaded, new: &Loaded) -> Self {
        if running.config == new.config {
            return Self::Unchanged;
        }
        let (old_keys, new_keys) = (by_key(running), by_key(new));
        let restart = RESTART
            .into_iter()
            .filter(|key| old_keys.get(*key) != new_keys.get(*key))
            .map(|key| RestartKey::new(key, old_keys.get(key), new_keys.get(key)));
        let restart: Vec<_> = restart
            .chain(listener_sockets(&old_keys, &new_keys))
            .chain(clusters(running, new))
            .collect();
        if !restart.is_empty() {
            return Self::NeedsRestart(restart);
        }
        let mut changes = upstreams(running, new);
        changes.extend(routes(running, new));
        changes.extend(values(running, new, &old_keys, &new_keys));
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
            Self::Live(bounded(changes))
        }
    }
}

fn by_key(loaded: &Loaded) -> Values {
    let entries = loaded.effective.iter();
    entries
        .map(|entry| (compared_key(loaded, &entry.key), entry.value.clone()))
        .collect()
}

/// Listeners that are added or removed, or get another socket.
fn listener_sockets(old: &Values, new: &Values) -> Vec<RestartKey> {
    let is_of_socket = |key: &&String| {
        key.starts_with(LISTENERS) && OF_SOCKET.iter().any(|end| key.ends_with(end))
    };
    let keys: BTreeSet<&String> = old.keys().chain(new.keys()).filter(is_of_socket).collect();
    let value = |values: &Values, key: &str| values.get(key).cloned().unwrap_or_default();
    let moved = keys
        .into_iter()
        .filter(|key| value(old, key) != value(new, key));
    moved
        .map(|key| RestartKey::new(key, old.get(key), new.get(key)))
        .collect()
}

/// Clusters that are added or removed.
fn clusters(running: &Loaded, new: &Loaded) -> Vec<RestartKey> {
    let missing = |from: &Loaded, other: &Loaded, change: &str| -> Vec<RestartKey> {
        let entries = from.config.clusters.entries().iter();
        entries
            .filter(|entry| {
                other
                    .config
                    .clusters
                    .position(entry.name.as_str())
                    .is_none()
            })
            .map(|entry| RestartKey {
                key: format!("{CLUSTERS}{}", entry.name),
                change: change.to_owned(),
            })
            .collect()
    };
    [
        missing(new, running, "added"),
        missing(running, new, "removed"),
    ]
    .concat()
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

/// Upstreams that are added or removed, with their written keys.
fn upstreams(running: &Loaded, new: &Loaded) -> Vec<String> {
    let details =
        |loaded: &Loaded, name: &UpstreamName| written_below(loaded, &format!("upstreams.{name}."));
    let (old_names, new_names) = (names(running), names(new));
    let added = new_names
        .iter()
        .filter(|name| !old_names.contains(name))
        .map(|name| format!("upstream {name} added{}", details(new, name)));
    let removed = old_names
        .iter()
        .filter(|name| !new_names.contains(name))
        .map(|name| format!("upstream {name} removed{}", details(running, name)));
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

/// Rules that are renamed, added or removed, the last two with their keys, and their order.
fn routes(running: &Loaded, new: &Loaded) -> Vec<String> {
    let of = |loaded: &Loaded| -> Vec<String> {
        let routes = loaded.config.routes.iter();
        routes.map(|route| route.name.to_string()).collect()
    };
    let (old_names, new_names) = (of(running), of(new));
    let pairs = running.config.routes.iter().zip(&new.config.routes);
    let renamed = pairs.filter(|(old, new)| {
        let is_same = (&old.conditions, &old.action) == (&new.conditions, &new.action);
        is_same
            && !new_names.iter().any(|name| **name == *old.name)
            && !old_names.iter().any(|name| **name == *new.name)
    });
    let renamed: Vec<(String, String)> = renamed
        .map(|(old, new)| (old.name.to_string(), new.name.to_string()))
        .collect();
    let line = |loaded: &Loaded, name: &String, change: &str| {
        let details = written_below(loaded, &format!("routes.{name}."));
        format!("route {name} {change}{details}")
    };
    let added = new_names
        .iter()
        .filter(|name| !old_names.contains(name) && !renamed.iter().any(|(_, new)| new == *name))
        .map(|name| line(new, name, "added"));
    let removed = old_names
        .iter()
        .filter(|name| !new_names.contains(name) && !renamed.iter().any(|(old, _)| old == *name))
        .map(|name| line(running, name, "removed"));
    let names = renamed
        .iter()
        .map(|(old, new)| format!("route {old}: name {old} -> {new}"));
    let mut changes: Vec<String> = names.chain(added).chain(removed).collect();
    if changes.is_empty() && old_names != new_names {
        changes.push("routes: another order".to_owned());
    }
    changes
}

/// Keys whose values differ, except those of upstreams and rules that were added or removed.
fn values(running: &Loaded, new: &Loaded, old_keys: &Values, new_keys: &Values) -> Vec<String> {
    let is_in_both = |key: &String| old_keys.contains_key(key) && new_keys.contains_key(key);
    let is_of_a_table = |key: &String| key.starts_with("upstreams.") || key.starts_with("routes.");
    // In the order of the documentation; keys that are only in the old configuration come last.
    let entries = [new, running].into_iter().flat_map(|loaded| {
        let entries = loaded.effective.iter();
        entries.map(|entry| compared_key(loaded, &entry.key))
    });
    let mut seen = BTreeSet::new();
    let none = String::new();
    entries
        .filter(|key| seen.insert(key.clone()))
        .filter(|key| is_in_both(key) || !is_of_a_table(key))
        .filter_map(|key| {
            let old = old_keys.get(&key).unwrap_or(&none);
            let new = new_keys.get(&key).unwrap_or(&none);
            (old != new).then(|| difference(&key, old, new))
        })
        .collect()
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

    /// The keys that need a restart, as they are shown.
    fn restart(change: Change) -> Vec<String> {
        match change {
            Change::NeedsRestart(keys) => keys.iter().map(RestartKey::to_string).collect(),
            Change::Unchanged | Change::Live(_) => panic!("{change:?}"),
        }
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
            live(&[
                "upstream slave2 added (url http://10.0.0.3)",
                "upstream slave1 removed (url http://10.0.0.2)"
            ])
        );
    }

    #[test]
    fn another_path_or_mode_of_a_unix_socket_needs_a_restart_and_a_port_has_no_mode() {
        let with = |listener: &str| format!("{BASE}[listeners.a]\n{listener}\n");
        let socket = with("address = \"unix:/run/a.sock\"");
        let between =
            |old: &str, new: &str| restart(Change::between(&load(old, ""), &load(new, "")));
        assert_eq!(
            between(&socket, &socket.replace("a.sock", "b.sock")),
            ["listeners.a.address (unix:/run/a.sock -> unix:/run/b.sock)"]
        );
        assert_eq!(
            between(
                &socket,
                &with("address = \"unix:/run/a.sock\"\nsocket_mode = \"666\"")
            ),
            ["listeners.a.socket_mode (0660 -> 0666)"]
        );
        assert_eq!(
            between(BASE, &with("address = \"0.0.0.0:81\"")),
            [
                "listen (0.0.0.0:8080 -> none)",
                "listeners.a.address (none -> 0.0.0.0:81)"
            ]
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
            restart(change(&moved)),
            ["listen (0.0.0.0:8080 -> 0.0.0.0:80)", "threads (2 -> 7)"]
        );
    }

    #[test]
    fn outputs_of_the_log_need_a_restart_and_its_level_does_not() {
        let outputs = format!("{BASE}[log]\nformat = \"json\"\naccess = \"off\"\n");
        assert_eq!(
            restart(change(&outputs)),
            ["log.format (logfmt -> json)", "log.access (stdout -> off)"]
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
            restart(Change::between(&two, &configured)),
            ["threads (2 -> 4)"]
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
    fn a_rule_that_is_inserted_leaves_the_others_unchanged() {
        let rule = |name: &str, path: &str| {
            format!("[[routes]]\nname = \"{name}\"\npath = \"{path}\"\nrefuse = true\n")
        };
        let of = |rules: &[String]| load(&format!("{BASE}{}", rules.concat()), "");
        let change = Change::between(
            &of(&[rule("a", "/rest/**"), rule("b", "/web/**")]),
            &of(&[
                rule("new", "/styles/**"),
                rule("a", "/rest/**"),
                rule("b", "/web/*"),
            ]),
        );
        assert_eq!(
            change,
            live(&[
                "route new added (path /styles/**, refuse true)",
                "route b: path /web/** -> /web/*"
            ])
        );
        let renamed = Change::between(
            &of(&[rule("a", "/rest/**"), rule("b", "/web/**")]),
            &of(&[rule("c", "/rest/**"), rule("b", "/web/**")]),
        );
        assert_eq!(renamed, live(&["route a: name a -> c"]));
    }

    #[test]
    fn a_table_that_is_added_or_removed_is_reported_key_by_key() {
        let traces = format!("{BASE}[traces]\nendpoint = \"http://10.0.0.9:4318/v1/traces\"\n");
        let lines = |change: Change| match change {
            Change::Live(lines) => lines,
            Change::Unchanged | Change::NeedsRestart(_) => panic!("{change:?}"),
        };
        let added = lines(change(&traces));
        let endpoint = "traces.endpoint: none -> http://10.0.0.9:4318/v1/traces".to_owned();
        assert!(added.contains(&endpoint), "{added:?}");
        let removed = lines(Change::between(&load(&traces, ""), &load(BASE, "")));
        let endpoint = "traces.endpoint: http://10.0.0.9:4318/v1/traces -> none".to_owned();
        assert!(removed.contains(&endpoint), "{removed:?}");
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
