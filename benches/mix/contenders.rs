//! The contenders: each runs in front of a cluster of its own, configured as an operator would
//! configure it.

use std::fmt::Write as _;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use geofront::geosim::Cluster;

use crate::requests;
use crate::rig::administrator::Refresh;
use crate::rig::haproxy::Haproxy;
use crate::rig::place::{Contender, Place, answers, find, free_address};

/// A front door that is not started yet.
#[derive(Clone, Debug)]
pub(crate) struct Front {
    pub(crate) name: String,
    pub(crate) kind: FrontKind,
    catalog: CatalogCare,
}

/// The way in which an administrator's change reaches the replicas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CatalogCare {
    /// None: nothing is published, and the main serves nothing.
    None,
    /// A script reloads the replicas beside the front door.
    Script(Refresh),
    /// The front door reloads them.
    Own,
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
            catalog: CatalogCare::None,
        }
    }

    pub(crate) fn nginx() -> Self {
        Self {
            name: "nginx least_conn".to_owned(),
            kind: FrontKind::Nginx,
            catalog: CatalogCare::None,
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
            catalog: CatalogCare::None,
        }
    }

    /// This front door where an administrator publishes: geofront reloads the replicas itself, the
    /// others have the scripts that the field uses. HAProxy with `maxconn` is left out.
    pub(crate) fn with_catalog(&self) -> Vec<Self> {
        let with = |catalog, words: &str| Self {
            name: format!("{}{words}", self.name),
            kind: self.kind.clone(),
            catalog,
        };
        let in_turn = with(CatalogCare::Script(Refresh::InTurn), ", script in turn");
        match &self.kind {
            FrontKind::Haproxy { maxconn: Some(_) } => Vec::new(),
            FrontKind::Haproxy { maxconn: None } => {
                let at_once = with(CatalogCare::Script(Refresh::AtOnce), ", script at once");
                vec![in_turn, at_once]
            }
            FrontKind::Nginx => vec![in_turn],
            FrontKind::Geofront { .. } => vec![with(CatalogCare::Own, "")],
        }
    }

    /// The script that runs after an administrator's change.
    pub(crate) fn script(&self) -> Option<Refresh> {
        match self.catalog {
            CatalogCare::Script(order) => Some(order),
            CatalogCare::None | CatalogCare::Own => None,
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
                    has_main: self.catalog != CatalogCare::None,
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
                let file =
                    place.nginx_config(&self.name, &nginx(listen, cluster, self.catalog, &log))?;
                (find("nginx")?, vec!["-c".to_owned(), file])
            }
            FrontKind::Geofront { program, limits } => {
                let log = place.file(&self.name, "access.log").display().to_string();
                let file = place.write_watched(
                    &self.name,
                    &geofront(listen, free_address()?, cluster, limits, self.catalog, &log),
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

fn nginx(listen: SocketAddr, cluster: &Cluster, catalog: CatalogCare, log: &str) -> String {
    let servers: String = cluster
        .replicas()
        .iter()
        .map(|replica| format!("server {}; ", replica.address()))
        .collect();
    let main = if catalog == CatalogCare::None {
        String::new()
    } else {
        format!(
            "location ~ ^/geoserver/(web|rest|gwc/rest) {{ proxy_pass http://{}; }}",
            cluster.main().address()
        )
    };
    format!(
        "access_log {log} combined buffer=64k flush=1s;\n\
         upstream geoserver {{ least_conn; {servers} keepalive 64; }}\n\
         server {{ listen {listen}; {main} location / {{ proxy_pass http://geoserver; proxy_http_version 1.1;\n\
           proxy_set_header Connection \"\"; proxy_set_header Host $http_host; proxy_read_timeout 20m;\n\
           proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; proxy_buffers 16 8k; }} }}"
    )
}

/// Processes go to the replicas, because they do behind the others. For the same reason the main
/// serves no reads, except where geofront looks after the catalog: then its defaults are measured.
fn geofront(
    listen: SocketAddr,
    admin: SocketAddr,
    cluster: &Cluster,
    limits: &str,
    catalog: CatalogCare,
    log: &str,
) -> String {
    let (reads, care) = match catalog {
        CatalogCare::Own => (
            "",
            "[geoserver]\nheaders = { sec-username = \"geofront\", sec-roles = \"ROLE_ADMINISTRATOR\" }\n",
        ),
        CatalogCare::None | CatalogCare::Script(_) => (
            "reads = \"never\"\n",
            "[health]\nprobe_layer = \"geor:public_layer\"\nslow_start = \"0s\"\n",
        ),
    };
    let mut config = format!(
        "listen = [\"{listen}\"]\nadmin = \"{admin}\"\nthreads = 1\ntrusted_proxies = [\"127.0.0.1/32\"]\n\
         [upstreams.main]\nurl = \"{}\"\nrole = \"main\"\n{reads}",
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
            "{care}[timeouts]\nkeep_alive = \"10m\"\n\
             [classes.process]\nserved_by = \"replicas\"\n{limits}[log]\naccess = \"{log}\"\n"
        )
}
