//! HAProxy as an operator of a GeoServer cluster sets it up: leastconn over the replicas,
//! administration to the main.

use std::fmt::Write as _;
use std::net::SocketAddr;

use geofront::geosim::Cluster;

pub(crate) struct Haproxy<'a> {
    pub(crate) listen: SocketAddr,
    /// Whether `/geoserver/web` and `/geoserver/rest` go to the main.
    pub(crate) has_main: bool,
    /// The text of each server line after the address.
    pub(crate) server: &'a str,
    /// More lines of the backend, such as how to check.
    pub(crate) backend: &'a str,
}

impl Haproxy<'_> {
    /// One thread, connections kept alive on both sides, an access log, no limit that a long
    /// download would meet.
    pub(crate) fn config(&self, cluster: &Cluster) -> String {
        let Self {
            listen,
            has_main,
            server,
            backend,
        } = self;
        let (main_rule, main_backend) = if *has_main {
            let rule = "  acl admin path_beg /geoserver/web /geoserver/rest /geoserver/gwc/rest\n  use_backend main if admin\n";
            (
                rule,
                format!("backend main\n  server main {}\n", cluster.main().address()),
            )
        } else {
            ("", String::new())
        };
        let mut config = format!(
            "global\n  nbthread 1\n  maxconn 9000\n  log stdout format raw local0\n\
             defaults\n  mode http\n  log global\n  option httplog\n  option forwardfor\n  http-reuse always\n\
             \x20 timeout connect 5s\n  timeout client 20m\n  timeout server 20m\n  timeout queue 1m\n\
             \x20 timeout http-request 10s\n  timeout http-keep-alive 10m\n\
             frontend front\n  bind {listen}\n{main_rule}  default_backend geoserver\n\
             {main_backend}backend geoserver\n  balance leastconn\n{backend}"
        );
        for replica in cluster.replicas() {
            writeln!(
                config,
                "  server {} {} {server}",
                replica.name(),
                replica.address()
            )
            .expect("a string grows");
        }
        config
    }
}
