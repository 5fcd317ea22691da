//! The contenders and their configurations. All have the same upstreams, least connections,
//! keep-alive on both sides, checks, an access log to a file, and one thread on one core.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::Path;

use crate::load::Client;
use crate::rig::place::{Contender, Place, find, free_address};
use crate::rig::process::Process;

/// The settings that every contender gets.
pub(crate) struct Setting<'a> {
    pub(crate) place: Place<'a>,
    pub(crate) upstreams: [SocketAddr; 3],
    pub(crate) body: usize,
}

impl Setting<'_> {
    /// With these lines in its `[limits]`, and the tables that follow them.
    pub(crate) fn geofront(
        &self,
        name: &str,
        program: &Path,
        limits: &str,
    ) -> io::Result<Contender> {
        let [main, one, two] = self.upstreams;
        let (listen, admin) = (free_address()?, free_address()?);
        let log = self.place.file(name, "access.log");
        let config = format!(
            "listen = [\"{listen}\"]\nadmin = \"{admin}\"\nthreads = 1\n\
             [upstreams.main]\nurl = \"http://{main}\"\nrole = \"main\"\n\
             [upstreams.one]\nurl = \"http://{one}\"\n[upstreams.two]\nurl = \"http://{two}\"\n\
             [timeouts]\nkeep_alive = \"10m\"\n\
             [limits]\n{limits}\n\
             [log]\naccess = \"{}\"\n",
            log.display()
        );
        let config = self.place.write_watched(name, &config)?;
        let arguments = ["run", "--config", &config];
        self.start(name, program, &arguments, listen)
    }

    pub(crate) fn haproxy(&self) -> io::Result<Contender> {
        let [_, one, two] = self.upstreams;
        let listen = free_address()?;
        let config = format!(
            "global\n  nbthread 1\n  maxconn 5000\n  log stdout format raw local0\n\
             defaults\n  mode http\n  log global\n  option httplog\n  option forwardfor\n  http-reuse always\n\
             \x20 timeout connect 5s\n  timeout client 1m\n  timeout server 1m\n  timeout http-request 10s\n  timeout http-keep-alive 10m\n\
             frontend front\n  bind {listen}\n  unique-id-format %[uuid]\n  unique-id-header X-Request-Id\n  default_backend geoserver\n\
             backend geoserver\n  balance leastconn\n  server one {one} check inter 5s\n  server two {two} check inter 5s\n"
        );
        let config = self.place.write("haproxy", "cfg", &config)?;
        self.start(
            "HAProxy",
            &find("haproxy")?,
            &["-db", "-f", &config],
            listen,
        )
    }

    pub(crate) fn nginx(&self) -> io::Result<Contender> {
        let [_, one, two] = self.upstreams;
        let listen = free_address()?;
        let log = self.place.file("nginx", "access.log");
        let config = self.place.nginx_config(
            "nginx",
            &format!(
                "access_log {} combined buffer=64k flush=1s;\n\
                 upstream geoserver {{ least_conn; server {one}; server {two}; keepalive 64; }}\n\
                 server {{ listen {listen}; location / {{ proxy_pass http://geoserver; proxy_http_version 1.1;\n\
                   proxy_set_header Connection \"\"; proxy_set_header Host $http_host; proxy_set_header X-Request-Id $request_id;\n\
                   proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; proxy_buffers 16 8k; }} }}",
                log.display()
            ),
        )?;
        self.start("nginx", &find("nginx")?, &["-c", &config], listen)
    }

    /// Three upstreams in one nginx: a picture for a map, capabilities for a probe.
    pub(crate) fn upstream(&self, core: usize) -> io::Result<Process> {
        fs::write(self.place.folder.join("map.png"), vec![b'x'; self.body])?;
        let listens: String = self
            .upstreams
            .iter()
            .map(|address| format!("listen {address}; "))
            .collect();
        let capabilities =
            "<?xml version=\"1.0\"?><WMS_Capabilities version=\"1.3.0\" updateSequence=\"1\"/>";
        let config = self.place.nginx_config(
            "upstream",
            &format!(
                "access_log off; open_file_cache max=16;\n\
                 server {{ {listens} root {}; default_type image/png;\n\
                   if ($arg_request ~* getcapabilities) {{ rewrite ^ /capabilities last; }}\n\
                   location = /capabilities {{ default_type text/xml; return 200 '{capabilities}'; }}\n\
                   location = /v1/traces {{ return 200; }}
                   location / {{ try_files /map.png =404; }} }}",
                self.place.folder.display()
            ),
        )?;
        let setting = Setting {
            place: Place { core, ..self.place },
            ..*self
        };
        Ok(setting
            .start(
                "upstream",
                &find("nginx")?,
                &["-c", &config],
                self.upstreams[0],
            )?
            .process)
    }

    fn start(
        &self,
        name: &str,
        program: &Path,
        arguments: &[&str],
        address: SocketAddr,
    ) -> io::Result<Contender> {
        let serves =
            |address| Client::connect(address, 0).and_then(|mut client| client.ask(self.body));
        self.place.start(name, program, arguments, address, serves)
    }
}
