//! Who is compared: each in front of a cluster of its own, told what an operator would tell it.

use std::fmt::Write as _;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use geofront::geosim::Cluster;

use crate::requests;
use crate::rig::haproxy::Haproxy;
use crate::rig::place::{Contender, Place, answers, find, free_address};

/// A front door that is not started yet.
#[derive(Clone, Debug)]
pub(crate) struct Front {
    pub(crate) name: String,
    pub(crate) kind: FrontKind,
}

#[derive(Clone, Debug)]
pub(crate) enum FrontKind {
    /// `maxconn` of each server, if any: above it HAProxy keeps requests in one queue, in order of
    /// arrival.
    Haproxy {
        maxconn: Option<usize>,
    },
    Nginx,
    /// The lines of its `[limits]`.
    Geofront {
        program: PathBuf,
        limits: String,
    },
}

impl Front {
    pub(crate) fn haproxy(maxconn: Option<usize>) -> Self {
        let more = maxconn
            .map(|most| format!(" + maxconn {most}"))
            .unwrap_or_default();
        Self {
            name: format!("HAProxy leastconn{more}"),
            kind: FrontKind::Haproxy { maxconn },
        }
    }

    pub(crate) fn nginx() -> Self {
        Self {
            name: "nginx least_conn".to_owned(),
            kind: FrontKind::Nginx,
        }
    }

    pub(crate) fn geofront(program: PathBuf, limits: &str) -> Self {
        let brief = limits
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .collect::<Vec<_>>()
            .join(", ");
        let name = if brief.is_empty() {
            "geofront, defaults".to_owned()
        } else {
            format!("geofront {brief}")
        };
        Self {
            name,
            kind: FrontKind::Geofront {
                program,
                limits: limits.to_owned(),
            },
        }
    }

    /// Started, and serving.
    pub(crate) fn start(&self, place: &Place<'_>, cluster: &Cluster) -> io::Result<Contender> {
        let listen = free_address()?;
        let (program, arguments) = match &self.kind {
            FrontKind::Haproxy { maxconn } => {
                let more = maxconn
                    .map(|most| format!(" maxconn {most}"))
                    .unwrap_or_default();
                let server = format!("check inter 5s{more}");
                let haproxy = Haproxy {
                    listen,
                    has_main: false,
                    server: &server,
                    backend: "",
                };
                let file = place.write(&self.name, "cfg", &haproxy.config(cluster))?;
                (
                    find("haproxy")?,
                    vec!["-db".to_owned(), "-f".to_owned(), file],
                )
            }
            FrontKind::Nginx => {
                let log = place.file(&self.name, "access.log").display().to_string();
                let file = place.nginx_config(&self.name, &nginx(listen, cluster, &log))?;
                (find("nginx")?, vec!["-c".to_owned(), file])
            }
            FrontKind::Geofront { program, limits } => {
                let log = place.file(&self.name, "access.log").display().to_string();
                let file = place.write_watched(
                    &self.name,
                    &geofront(listen, free_address()?, cluster, limits, &log),
                )?;
                (
                    program.clone(),
                    vec!["run".to_owned(), "--config".to_owned(), file],
                )
            }
        };
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        place.start(&self.name, &program, &arguments, listen, |address| {
            answers(address, &requests::first_target())
        })
    }
}

fn nginx(listen: SocketAddr, cluster: &Cluster, log: &str) -> String {
    let servers: String = cluster
        .replicas()
        .iter()
        .map(|replica| format!("server {}; ", replica.address()))
        .collect();
    format!(
        "access_log {log} combined buffer=64k flush=1s;\n\
         upstream geoserver {{ least_conn; {servers} keepalive 64; }}\n\
         server {{ listen {listen}; location / {{ proxy_pass http://geoserver; proxy_http_version 1.1;\n\
           proxy_set_header Connection \"\"; proxy_set_header Host $http_host; proxy_read_timeout 20m;\n\
           proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; proxy_buffers 16 8k; }} }}"
    )
}

/// The main serves no reads, because it serves none behind the others; processes go to the
/// replicas, because they do there.
fn geofront(
    listen: SocketAddr,
    admin: SocketAddr,
    cluster: &Cluster,
    limits: &str,
    log: &str,
) -> String {
    let mut config = format!(
        "listen = [\"{listen}\"]\nadmin = \"{admin}\"\nthreads = 1\ntrusted_proxies = [\"127.0.0.1/32\"]\n\
         [upstreams.main]\nurl = \"{}\"\nrole = \"main\"\nreads = \"never\"\n",
        cluster.main().url()
    );
    for replica in cluster.replicas() {
        writeln!(
            config,
            "[upstreams.{}]\nurl = \"{}\"",
            replica.name(),
            replica.url()
        )
        .expect("a string grows");
    }
    let limits = if limits.is_empty() {
        String::new()
    } else {
        format!("[limits]\n{limits}\n")
    };
    config
        + &format!(
            "[health]\nprobe_layer = \"geor:public_layer\"\nslow_start = \"0s\"\n[timeouts]\nkeep_alive = \"10m\"\n\
             [classes.process]\nserved_by = \"replicas\"\n{limits}[log]\naccess = \"{log}\"\n"
        )
}
