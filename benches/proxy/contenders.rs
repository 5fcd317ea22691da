//! Who is compared, and how each is configured: the same upstreams, least connections, kept-alive on both sides, checks, an access
//! log to a file, one thread on one core.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::load::Client;
use crate::process::Process;

/// From start to the first answer of an upstream.
const START: Duration = Duration::from_secs(20);

/// A program in front of the upstreams.
pub(crate) struct Contender {
    pub(crate) name: &'static str,
    pub(crate) process: Process,
    pub(crate) address: SocketAddr,
}

/// What every contender is told.
pub(crate) struct Setting<'a> {
    pub(crate) folder: &'a Path,
    pub(crate) core: usize,
    pub(crate) upstreams: [SocketAddr; 3],
    pub(crate) body: usize,
}

/// A port that was free a moment ago: HAProxy and nginx cannot say which one the kernel chose.
pub(crate) fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}

impl Setting<'_> {
    pub(crate) fn geofront(&self, name: &'static str, program: &Path) -> io::Result<Contender> {
        let [main, one, two] = self.upstreams;
        let (listen, admin) = (free_address()?, free_address()?);
        let log = self.file(name, "access.log");
        let config = format!(
            "listen = [\"{listen}\"]\nadmin = \"{admin}\"\nthreads = 1\n\
             [upstreams.main]\nurl = \"http://{main}\"\nrole = \"main\"\n\
             [upstreams.one]\nurl = \"http://{one}\"\n[upstreams.two]\nurl = \"http://{two}\"\n\
             [timeouts]\nkeep_alive = \"10m\"\n\
             [log]\naccess = \"{}\"\n",
            log.display()
        );
        let config = self.write(name, "toml", &config)?;
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
        let config = self.write("haproxy", "cfg", &config)?;
        self.start("HAProxy", &find("haproxy")?, &["-db", "-f", &config], listen)
    }

    pub(crate) fn nginx(&self) -> io::Result<Contender> {
        let [_, one, two] = self.upstreams;
        let listen = free_address()?;
        let log = self.file("nginx", "access.log");
        let config = self.nginx_config(
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
        fs::write(self.folder.join("map.png"), vec![b'x'; self.body])?;
        let listens: String = self.upstreams.iter().map(|address| format!("listen {address}; ")).collect();
        let capabilities = "<?xml version=\"1.0\"?><WMS_Capabilities version=\"1.3.0\" updateSequence=\"1\"/>";
        let config = self.nginx_config(
            "upstream",
            &format!(
                "access_log off; open_file_cache max=16;\n\
                 server {{ {listens} root {}; default_type image/png;\n\
                   if ($arg_request ~* getcapabilities) {{ rewrite ^ /capabilities last; }}\n\
                   location = /capabilities {{ default_type text/xml; return 200 '{capabilities}'; }}\n\
                   location / {{ try_files /map.png =404; }} }}",
                self.folder.display()
            ),
        )?;
        let setting = Setting { core, ..*self };
        Ok(setting.start("upstream", &find("nginx")?, &["-c", &config], self.upstreams[0])?.process)
    }

    fn nginx_config(&self, name: &str, http: &str) -> io::Result<String> {
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|kind| format!("{kind}_temp_path {};\n", self.file(name, kind).display()))
            .concat();
        let config = format!(
            "daemon off; master_process off; worker_processes 1; pid {}; error_log stderr;\n\
             events {{ worker_connections 8000; }}\n\
             http {{ keepalive_requests 100000000; keepalive_timeout 10m; {temporary} {http} }}\n",
            self.file(name, "pid").display()
        );
        self.write(name, "conf", &config)
    }

    fn start(&self, name: &'static str, program: &Path, arguments: &[&str], address: SocketAddr) -> io::Result<Contender> {
        let log = self.file(name, "log");
        let mut process = Process::start(self.core, program, arguments, &log)?;
        let deadline = Instant::now() + START;
        while let Err(error) = Client::connect(address).and_then(|mut client| client.ask(self.body)) {
            if process.has_ended() || Instant::now() > deadline {
                let log = fs::read_to_string(&log).unwrap_or_default();
                return Err(io::Error::other(format!("{name} does not serve ({error}):\n{log}")));
            }
            std::thread::park_timeout(Duration::from_millis(50));
        }
        Ok(Contender { name, process, address })
    }

    fn file(&self, name: &str, extension: &str) -> PathBuf {
        self.folder.join(format!("{}.{extension}", name.replace(' ', "-")))
    }

    fn write(&self, name: &str, extension: &str, text: &str) -> io::Result<String> {
        let path = self.file(name, extension);
        fs::write(&path, text)?;
        Ok(path.display().to_string())
    }
}

/// Debian keeps daemons where users do not look.
pub(crate) fn find(program: &str) -> io::Result<PathBuf> {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&paths).chain([PathBuf::from("/usr/sbin")]);
    let found = folders.map(|folder| folder.join(program)).find(|path| path.is_file());
    found.ok_or_else(|| io::Error::other(format!("{program} is missing: scripts/setup.sh bench installs it")))
}
