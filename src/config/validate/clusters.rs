//! `[clusters.NAME]`: the clusters of a front file, and where clients find each of them.

use std::path::Path;

use super::check::{Check, EMPTY_PATH};
use super::url::is_host;
use crate::config::diagnostics::Problem;
use crate::config::raw::{Named, RawCluster};
use crate::config::source::At;
use crate::config::value::Written;
use crate::config::{ClusterEntry, Clusters, HostPattern, UpstreamName, defaults};

/// A host and a path that lead to a cluster.
struct Gate<'r> {
    cluster: &'r str,
    host: HostPattern,
    path: Box<str>,
    at: At,
}

impl Check<'_> {
    /// Reads the clusters; none in a configuration of a single cluster.
    pub(super) fn clusters(&mut self, raw: &[Named<RawCluster>]) -> Clusters {
        let mut gates = Vec::new();
        let entries = raw
            .iter()
            .filter_map(|named| self.cluster(named, &mut gates));
        let clusters = Clusters::new(entries.collect());
        self.distinct_gates(&gates);
        if let Some(gate) = gates.get(defaults::MAX_CLUSTER_HOSTS) {
            let most = defaults::MAX_CLUSTER_HOSTS;
            let title = format!("`hosts` of all clusters are more than {most}");
            self.refuse(Problem::new(title).at(gate.at));
        }
        clusters
    }

    fn cluster<'r>(
        &mut self,
        named: &'r Named<RawCluster>,
        gates: &mut Vec<Gate<'r>>,
    ) -> Option<ClusterEntry> {
        let (name, raw) = (&named.name, &named.table);
        let key = |key: &str| format!("clusters.{}.{key}", name.value);
        let valid = UpstreamName::new(&name.value);
        if valid.is_none() {
            let title = format!(
                "cluster name `{}`: must be 1 to {} letters, digits, `-`, `_` or `.`",
                name.value.escape_debug(),
                UpstreamName::MAX_BYTES
            );
            self.refuse(Problem::new(title).at(name.at));
        }
        let file = self.optional(&key("file"), &raw.file);
        if raw.file.is_absent() {
            let title = format!("cluster `{}` has no `file`", name.value);
            let help =
                "`file` names the file with its upstreams, limits and everything else of its own";
            self.refuse(Problem::new(title).at(name.at).help(help));
        }
        if let Some(written) = raw.file.given().filter(|file| file.value.is_empty()) {
            let title = format!("`{}`: {EMPTY_PATH}", key("file"));
            self.refuse(Problem::new(title).at(written.at));
        }
        let hosts = self.hosts(&key("hosts"), named);
        let path = self.path(&key("path"), &raw.path, "");
        if raw.hosts.is_absent() && raw.path.is_absent() {
            let title = format!("cluster `{}` has neither `hosts` nor `path`", name.value);
            let help = "without them it would get every request; write `hosts = [\"*\"]` if it is to get those of no other cluster";
            self.refuse(Problem::new(title).at(name.at).help(help));
        }
        let patterns = hosts.iter().map(|host| host.value.clone()).collect();
        gates.extend(hosts.into_iter().map(|host| Gate {
            cluster: &name.value,
            host: host.value,
            path: path.as_str().into(),
            at: host.at,
        }));
        let (file, at) = (file?, raw.file.at()?);
        let folder = self
            .sources
            .path(at)
            .parent()
            .unwrap_or_else(|| Path::new(""));
        Some(ClusterEntry {
            name: valid?,
            file: folder.join(file),
            hosts: patterns,
            path: path.into(),
        })
    }

    /// Reads the hosts of a cluster; any host if none is written.
    fn hosts(&mut self, key: &str, named: &Named<RawCluster>) -> Vec<Written<HostPattern>> {
        let slot = &named.table.hosts;
        self.list(key, slot, Vec::new());
        let Some(written) = slot.given() else {
            let at = named.table.path.at().unwrap_or(named.name.at);
            let value = HostPattern::Any;
            return vec![Written { value, at }];
        };
        if written.value.is_empty() {
            let problem = Problem::new(format!("`{key}` is empty: no request would match"));
            let help = "leave the key out for every host";
            self.refuse(problem.at(written.at).help(help));
        }
        let read = |host: &Written<String>| match pattern(&host.value) {
            Some(value) => Some(Written { value, at: host.at }),
            None => {
                let title = format!(
                    "host \"{}\" of `{key}`: must be a name, an address, \"*.example.org\" or \"*\"",
                    host.value.escape_debug()
                );
                let help = "without scheme, port and path; a name beyond ASCII in its ASCII form (xn--...)";
                self.refuse(Problem::new(title).at(host.at).help(help));
                None
            }
        };
        written.value.iter().filter_map(read).collect()
    }

    /// Refuses a host and path that lead to two clusters, or twice to one.
    fn distinct_gates(&mut self, gates: &[Gate<'_>]) {
        for (at, gate) in gates.iter().enumerate() {
            let is_same = |other: &&Gate<'_>| other.host == gate.host && other.path == gate.path;
            let Some(first) = gates[..at].iter().find(is_same) else {
                continue;
            };
            let place = match (&gate.host, &*gate.path) {
                (HostPattern::Any, "") => "every request".to_owned(),
                (HostPattern::Any, path) => format!("the path {path}"),
                (host, "") => format!("the host {host}"),
                (host, path) => format!("the host {host} with the path {path}"),
            };
            let title = if first.cluster == gate.cluster {
                format!("cluster `{}` has {place} twice", gate.cluster)
            } else {
                format!(
                    "clusters `{}` and `{}` both have {place}",
                    first.cluster, gate.cluster
                )
            };
            let origin = self.sources.origin(first.at);
            self.refuse(
                Problem::new(title)
                    .at(gate.at)
                    .label(format!("first at {origin}")),
            );
        }
    }
}

fn pattern(text: &str) -> Option<HostPattern> {
    let lower = text.to_ascii_lowercase();
    if lower == "*" {
        return Some(HostPattern::Any);
    }
    let is_name = |host: &str| is_host(host) && !host.starts_with('.') && !host.ends_with('.');
    if let Some(domain) = lower.strip_prefix('*') {
        let name = domain.strip_prefix('.')?;
        return is_name(name).then(|| HostPattern::Below(domain.into()));
    }
    if lower.contains(':') {
        // `Host` has the brackets.
        return is_host(&lower).then(|| HostPattern::Exact(format!("[{lower}]").into()));
    }
    is_name(&lower).then(|| HostPattern::Exact(lower.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_names_addresses_and_wildcards() {
        for (text, host) in [
            ("maps.example.org", "maps.example.org"),
            ("MAPS.example.org", "maps.example.org"),
            ("*.Example.org", "*.example.org"),
            ("*", "*"),
            ("10.0.0.1", "10.0.0.1"),
            ("::1", "[::1]"),
        ] {
            assert_eq!(pattern(text).unwrap().to_string(), host, "{text}");
        }
        for text in [
            "",
            ".",
            "*.",
            "**",
            "*example.org",
            "a.*.org",
            "http://a",
            "a:80",
            "a/b",
            "a.",
            ".a",
            "é.org",
            "[::1]",
        ] {
            assert_eq!(pattern(text), None, "{text}");
        }
    }
}
