//! The contenders: the balancers that operators put in front of a main and its replicas today, and
//! geofront.

use std::fmt::Write as _;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use geofront::geosim::{Cluster, Flavour};

use crate::rig::haproxy::Haproxy;
use crate::rig::place::{Contender, Place, answers, find, free_address};
use crate::rig::question;

#[derive(Clone, Debug)]
pub(crate) struct Front {
    pub(crate) name: String,
    pub(crate) kind: FrontKind,
    pub(crate) flavour: Flavour,
}

#[derive(Clone, Debug)]
pub(crate) enum FrontKind {
    Haproxy {
        backend: &'static str,
        server: &'static str,
    },
    Nginx,
    /// The lines of its `[catalog]`; without any, it does not look after catalogs.
    Geofront {
        program: PathBuf,
        catalog: Option<String>,
    },
}

/// The check requires a map of a public layer to come back as an image. One failure takes the
/// server out, one success takes it back in.
const MAP_CHECK: &str = "  option httpchk\n\
    \x20 http-check send meth GET uri /geoserver/wms?SERVICE=WMS&VERSION=1.1.1&REQUEST=GetMap&LAYERS=geor:public_layer&STYLES=&SRS=EPSG:4326&BBOX=0,0,1,1&WIDTH=16&HEIGHT=16&FORMAT=image/png\n\
    \x20 http-check expect hdr name \"content-type\" value \"image/png\"\n";

impl Front {
    pub(crate) fn haproxy() -> Self {
        let kind = FrontKind::Haproxy {
            backend: "",
            server: "check inter 5s",
        };
        Self {
            name: "HAProxy leastconn".to_owned(),
            kind,
            flavour: Flavour::GeOrchestra,
        }
    }

    /// HAProxy with the strictest checks possible: checks this strict lose servers to every hiccup.
    pub(crate) fn haproxy_with_map_check() -> Self {
        let kind = FrontKind::Haproxy {
            backend: MAP_CHECK,
            server: "check inter 1s fall 1 rise 1",
        };
        Self {
            name: "HAProxy + map check each 1 s".to_owned(),
            kind,
            flavour: Flavour::GeOrchestra,
        }
    }

    pub(crate) fn nginx() -> Self {
        Self {
            name: "nginx least_conn".to_owned(),
            kind: FrontKind::Nginx,
            flavour: Flavour::GeOrchestra,
        }
    }

    pub(crate) fn geofront(program: PathBuf, catalog: Option<String>, flavour: Flavour) -> Self {
        let name = match (&catalog, flavour) {
            (None, _) => "geofront without [catalog]".to_owned(),
            (Some(_), Flavour::GeOrchestra) => "geofront, geOrchestra's".to_owned(),
            (Some(_), Flavour::Vanilla) => "geofront, vanilla".to_owned(),
            (Some(_), Flavour::VanillaRewriting) => "geofront, vanilla rewriting".to_owned(),
        };
        Self {
            name,
            kind: FrontKind::Geofront { program, catalog },
            flavour,
        }
    }

    /// Returns whether an operator must run refresh.py after a change.
    pub(crate) fn needs_refresh(&self) -> bool {
        !matches!(
            self.kind,
            FrontKind::Geofront {
                catalog: Some(_),
                ..
            }
        )
    }

    /// Started, and serving.
    pub(crate) fn start(&self, place: &Place<'_>, cluster: &Cluster) -> io::Result<Contender> {
        let listen = free_address()?;
        let (program, arguments) = match &self.kind {
            FrontKind::Haproxy { backend, server } => {
                let haproxy = Haproxy {
                    listen,
                    has_main: true,
                    server,
                    backend,
                };
                let file = place.write(&self.name, "cfg", &haproxy.config(cluster))?;
                (
                    find("haproxy")?,
                    vec!["-db".to_owned(), "-f".to_owned(), file],
                )
            }
            FrontKind::Nginx => {
                let file = place.nginx_config(&self.name, &nginx(listen, cluster))?;
                (find("nginx")?, vec!["-c".to_owned(), file])
            }
            FrontKind::Geofront { program, catalog } => {
                let log = place.file(&self.name, "access.log").display().to_string();
                let file = place.write_watched(
                    &self.name,
                    &geofront(listen, free_address()?, cluster, catalog.as_deref(), &log),
                )?;
                (
                    program.clone(),
                    vec!["run".to_owned(), "--config".to_owned(), file],
                )
            }
        };
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        place.start(&self.name, &program, &arguments, listen, |address| {
            answers(address, &question::first_target())
        })
    }
}

fn nginx(listen: SocketAddr, cluster: &Cluster) -> String {
    let servers: String = cluster
        .replicas()
        .iter()
        .map(|replica| format!("server {}; ", replica.address()))
        .collect();
    let pass = |to: &str| {
        format!(
            "proxy_pass http://{to}; proxy_http_version 1.1; proxy_set_header Connection \"\"; proxy_set_header Host $http_host;"
        )
    };
    format!(
        "access_log off; upstream geoserver {{ least_conn; {servers} keepalive 64; }}\n\
         upstream main {{ server {}; }}\n\
         server {{ listen {listen};\n\
           location ~ ^/geoserver/(web|rest|gwc/rest) {{ {} }}\n\
           location / {{ {} }} }}",
        cluster.main().address(),
        pass("main"),
        pass("geoserver")
    )
}

fn geofront(
    listen: SocketAddr,
    admin: SocketAddr,
    cluster: &Cluster,
    catalog: Option<&str>,
    log: &str,
) -> String {
    let mut config = format!(
        "listen = [\"{listen}\"]\nadmin = \"{admin}\"\nthreads = 1\ntrusted_proxies = [\"127.0.0.1/32\"]\n\
         [upstreams.main]\nurl = \"{}\"\nrole = \"main\"\n",
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
    let catalog = catalog
        .map(|lines| format!("[catalog]\n{lines}\n"))
        .unwrap_or_default();
    config
        + &format!(
            "[geoserver]\nheaders = {{ sec-username = \"geofront\", sec-roles = \"ROLE_ADMINISTRATOR\" }}\n\
             [health]\nprobe_layer = \"geor:public_layer\"\n[timeouts]\nkeep_alive = \"10m\"\n{catalog}[log]\naccess = \"{log}\"\n"
        )
}
