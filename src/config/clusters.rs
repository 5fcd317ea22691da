//! `[clusters.NAME]`: several clusters behind one front door, and the choice of one for a request.
//!
//! A host decides before a path: an exact host before `*.example.org`, a longer pattern before a
//! shorter one, `*` last. Among the entries of one host the longest path decides. Two entries with
//! the same host and the same path are refused, so the choice does not depend on their order.
//!
//! A cluster's own rules (`[[routes]]`, classes, limits) apply only to requests that the choice
//! gives to it. So the path is read twice: as it was sent, and as a servlet container reads it. A
//! request for which the two readings lead to different clusters goes to none.

use std::path::PathBuf;

use super::UpstreamName;
use super::public_path::rest_below;
use crate::http1::host_without_port;
use crate::ogc::normalise_path;

/// A cluster's entry in the front file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterEntry {
    pub name: UpstreamName,
    /// The file with the cluster's own configuration.
    pub file: PathBuf,
    /// The hosts under which clients reach it; `*` alone if any host will do.
    pub hosts: Vec<HostPattern>,
    /// The path below which clients reach it; empty for every path.
    pub path: Box<str>,
}

/// A host, every host below a domain, or any host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostPattern {
    /// In lower case.
    Exact(Box<str>),
    /// The domain with its leading dot, in lower case.
    Below(Box<str>),
    Any,
}

impl HostPattern {
    /// True if `host`, without a port, is one of the pattern.
    fn matches(&self, host: &[u8]) -> bool {
        match self {
            Self::Exact(exact) => host.eq_ignore_ascii_case(exact.as_bytes()),
            Self::Below(domain) => {
                let at = host.len().checked_sub(domain.len());
                at.is_some_and(|at| at > 0 && host[at..].eq_ignore_ascii_case(domain.as_bytes()))
            }
            Self::Any => true,
        }
    }

    /// The order of the choice: smaller values come first.
    fn rank(&self) -> (u8, usize) {
        match self {
            Self::Exact(_) => (0, 0),
            Self::Below(domain) => (1, usize::MAX - domain.len()),
            Self::Any => (2, 0),
        }
    }
}

impl std::fmt::Display for HostPattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exact(host) => f.write_str(host),
            Self::Below(domain) => write!(f, "*{domain}"),
            Self::Any => f.write_str("*"),
        }
    }
}

/// One host and one path of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Gate {
    host: HostPattern,
    path: Box<str>,
    /// The index of the cluster.
    cluster: usize,
}

impl Gate {
    /// True if the gate is for this path, which has no query.
    fn leads(&self, path: &[u8]) -> bool {
        self.path.is_empty() || rest_below(path, &self.path).is_some()
    }
}

/// The cluster of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClusterChoice {
    /// The index in [`Clusters::entries`].
    Cluster(usize),
    /// No cluster has the host.
    UnknownHost,
    /// Some cluster has the host, and none has the path.
    UnknownPath,
}

/// All clusters of a front file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Clusters {
    /// In the order of their names, so that an index stays the same in every edition of the file.
    entries: Vec<ClusterEntry>,
    /// In the order of the choice.
    gates: Vec<Gate>,
}

impl Clusters {
    pub(super) fn new(mut entries: Vec<ClusterEntry>) -> Self {
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        let gates = entries.iter().enumerate().flat_map(|(cluster, entry)| {
            entry.hosts.iter().map(move |host| Gate {
                host: host.clone(),
                path: entry.path.clone(),
                cluster,
            })
        });
        let mut gates: Vec<Gate> = gates.collect();
        gates.sort_by_key(|gate| (gate.host.rank(), usize::MAX - gate.path.len()));
        Self { entries, gates }
    }

    /// The clusters in the order of their names; none in a configuration of a single cluster.
    pub fn entries(&self) -> &[ClusterEntry] {
        &self.entries
    }

    /// True in a configuration of a single cluster.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The index of the cluster with this name.
    pub fn position(&self, name: &str) -> Option<usize> {
        self.entries
            .iter()
            .position(|entry| entry.name.as_str() == name)
    }

    /// The names, separated by commas, for messages.
    pub fn names(&self) -> String {
        let names: Vec<&str> = self.entries.iter().map(|e| e.name.as_str()).collect();
        names.join(", ")
    }

    /// Chooses the cluster of a request. `authority` is the value of `Host`, with or without a
    /// port; `target` is the path and query as they were sent.
    pub fn choose(&self, authority: Option<&[u8]>, target: &[u8]) -> ClusterChoice {
        let host = authority.and_then(host_without_port).unwrap_or_default();
        // `maps.example.org.` is the same name.
        let host = host.strip_suffix(b".").unwrap_or(host);
        let gates = || self.gates.iter().filter(|gate| gate.host.matches(host));
        if gates().next().is_none() {
            return ClusterChoice::UnknownHost;
        }
        let length = target.iter().position(|byte| *byte == b'?');
        let path = &target[..length.unwrap_or(target.len())];
        let lead = |path: &[u8]| {
            let gate = gates().find(|gate| gate.leads(path));
            gate.map(|gate| gate.cluster)
        };
        let as_sent = lead(path);
        // `OPTIONS *` is about the server.
        let depends_on_path = path != b"*" && gates().any(|gate| !gate.path.is_empty());
        if depends_on_path {
            let as_read = normalise_path(path).map(|path| lead(&path));
            if as_read != Some(as_sent) {
                return ClusterChoice::UnknownPath;
            }
        }
        as_sent.map_or(ClusterChoice::UnknownPath, ClusterChoice::Cluster)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, hosts: &[HostPattern], path: &str) -> ClusterEntry {
        ClusterEntry {
            name: UpstreamName::new(name).unwrap(),
            file: PathBuf::from(format!("{name}.toml")),
            hosts: hosts.to_vec(),
            path: path.into(),
        }
    }

    fn exact(host: &str) -> HostPattern {
        HostPattern::Exact(host.into())
    }

    fn below(domain: &str) -> HostPattern {
        HostPattern::Below(domain.into())
    }

    fn chosen(clusters: &Clusters, host: &str, target: &str) -> String {
        match clusters.choose(Some(host.as_bytes()), target.as_bytes()) {
            ClusterChoice::Cluster(at) => clusters.entries()[at].name.to_string(),
            ClusterChoice::UnknownHost => "unknown host".to_owned(),
            ClusterChoice::UnknownPath => "unknown path".to_owned(),
        }
    }

    #[test]
    fn the_more_specific_host_decides_before_the_path() {
        let clusters = Clusters::new(vec![
            entry("any", &[HostPattern::Any], "/deep/path"),
            entry("wide", &[below(".example.org")], ""),
            entry("narrow", &[below(".maps.example.org")], ""),
            entry(
                "exact",
                &[exact("a.maps.example.org"), exact("10.0.0.1")],
                "",
            ),
        ]);
        for (host, target, cluster) in [
            ("a.maps.example.org", "/deep/path", "exact"),
            ("A.Maps.Example.ORG", "/", "exact"),
            ("a.maps.example.org:8443", "/", "exact"),
            ("a.maps.example.org.", "/", "exact"),
            ("a.maps.example.org.:80", "/", "exact"),
            ("10.0.0.1:80", "/", "exact"),
            ("b.maps.example.org", "/", "narrow"),
            ("maps.example.org", "/", "wide"),
            ("x.y.example.org", "/deep/path", "wide"),
            ("example.org", "/deep/path/wms", "any"),
            ("example.org", "/", "unknown path"),
            (".example.org", "/", "unknown path"),
            ("evilexample.org", "/", "unknown path"),
            ("[::1]:80", "/deep/path?x", "any"),
        ] {
            assert_eq!(chosen(&clusters, host, target), cluster, "{host} {target}");
        }
    }

    #[test]
    fn a_host_of_no_cluster_is_reported_as_such() {
        let clusters = Clusters::new(vec![entry("a", &[exact("a.example.org")], "")]);
        assert_eq!(chosen(&clusters, "b.example.org", "/"), "unknown host");
        assert_eq!(
            clusters.choose(None, b"/"),
            ClusterChoice::UnknownHost,
            "a client of HTTP/1.0 names no host"
        );
    }

    /// Two paths on one host, one below the other, and a cluster for the rest.
    fn by_path() -> Clusters {
        Clusters::new(vec![
            entry("city", &[HostPattern::Any], "/city/geoserver"),
            entry("region", &[HostPattern::Any], "/region"),
            entry("inner", &[HostPattern::Any], "/region/inner"),
        ])
    }

    #[test]
    fn the_longest_path_decides_at_whole_segments() {
        for (target, cluster) in [
            ("/city/geoserver", "city"),
            ("/city/geoserver/", "city"),
            ("/city/geoserver?a=/region", "city"),
            ("/city/geoserver;a=b/wms", "city"),
            ("/city/geoserver//wms", "city"),
            ("/city/geoserver/./wms", "city"),
            ("/city/geoserver/web/../wms", "city"),
            ("/city/geoserver/%77ms", "city"),
            ("/region/wms", "region"),
            ("/region/inner/wms", "inner"),
            ("/region/innermost/wms", "region"),
            ("/city/geoservers/wms", "unknown path"),
            ("/city", "unknown path"),
            ("/", "unknown path"),
            ("*", "unknown path"),
            ("/CITY/geoserver/wms", "unknown path"),
        ] {
            assert_eq!(chosen(&by_path(), "h", target), cluster, "{target}");
        }
    }

    #[test]
    fn no_spelling_leads_from_one_cluster_to_the_path_of_another() {
        for target in [
            "/city/geoserver/../../region/rest",
            "/city/geoserver/..;/..;/region/rest",
            "/city/geoserver/%2e%2e/%2e%2e/region/rest",
            "/city/geoserver/..%2f..%2fregion/rest",
            "/city/geoserver/..%5c..%5cregion/rest",
            "/city/geoserver/..\\..\\region/rest",
            "/city/geoserver/%252e%252e/%252e%252e/region/rest",
            "/city/geoserver//../../../region/rest",
            "/city/geoserver/..",
            "/x/../region/rest",
            "/x/../city/geoserver/wms",
            "/./region/rest",
            "//region/rest",
            "/reg%69on/rest",
            "/region;x/rest/../../city/geoserver/rest",
            "/region/%69nner/rest",
            "/region//inner/rest",
            "/region/;/inner/rest",
            "/region/./inner/rest",
            "/region/x/../inner/rest",
            "/region/inner/../rest",
            "/region/%2569nner/rest",
            "/region%2finner/rest",
            "/region/inner%2frest",
            "/city%2fgeoserver/rest",
            "/../region/rest",
            "/region/%00",
        ] {
            assert_eq!(chosen(&by_path(), "h", target), "unknown path", "{target}");
        }
    }

    #[test]
    fn one_cluster_for_a_whole_host_takes_every_spelling() {
        let clusters = Clusters::new(vec![entry("a", &[HostPattern::Any], "")]);
        for target in ["/", "*", "//x", "/a%2fb", "/../x", "/geoserver/..%5c.."] {
            assert_eq!(chosen(&clusters, "h", target), "a", "{target}");
        }
    }
}
