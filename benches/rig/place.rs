//! Where programs under measurement run: a folder for their files and a core of their own.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::process::Process;

/// From start to the first answer of an upstream.
const START: Duration = Duration::from_secs(20);
/// For one answer while a program starts.
const FIRST_ANSWER: Duration = Duration::from_secs(2);

/// A program in front of the upstreams.
pub(crate) struct Contender {
    pub(crate) name: String,
    pub(crate) process: Process,
    pub(crate) address: SocketAddr,
}

#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) folder: &'a Path,
    pub(crate) core: usize,
}

impl Place<'_> {
    /// Starts `program`, and returns when `serves` does not fail any more.
    pub(crate) fn start(
        &self,
        name: &str,
        program: &Path,
        arguments: &[&str],
        address: SocketAddr,
        serves: impl Fn(SocketAddr) -> io::Result<()>,
    ) -> io::Result<Contender> {
        let log = self.file(name, "log");
        let mut process = Process::start(self.core, program, arguments, &log)?;
        let deadline = Instant::now() + START;
        while let Err(error) = serves(address) {
            if process.has_ended() || Instant::now() > deadline {
                let log = fs::read_to_string(&log).unwrap_or_default();
                return Err(io::Error::other(format!(
                    "{name} does not serve ({error}):\n{log}"
                )));
            }
            std::thread::park_timeout(Duration::from_millis(50));
        }
        Ok(Contender {
            name: name.to_owned(),
            process,
            address,
        })
    }

    pub(crate) fn file(&self, name: &str, extension: &str) -> PathBuf {
        let is_plain = |letter: char| letter.is_ascii_alphanumeric();
        let name: String = name
            .chars()
            .map(|letter| if is_plain(letter) { letter } else { '-' })
            .collect();
        self.folder.join(format!("{name}.{extension}"))
    }

    pub(crate) fn write(&self, name: &str, extension: &str, text: &str) -> io::Result<String> {
        let path = self.file(name, extension);
        fs::write(&path, text)?;
        Ok(path.display().to_string())
    }

    /// The configuration of a geofront, in a folder of its own: its folder is watched, and others
    /// write logs into this one.
    pub(crate) fn write_watched(&self, name: &str, text: &str) -> io::Result<String> {
        let folder = self.file(name, "d");
        fs::create_dir_all(&folder)?;
        let path = folder.join("geofront.toml");
        fs::write(&path, text)?;
        Ok(path.display().to_string())
    }

    /// The file of an nginx with one worker, which serves `http`.
    pub(crate) fn nginx_config(&self, name: &str, http: &str) -> io::Result<String> {
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|kind| format!("{kind}_temp_path {};\n", self.file(name, kind).display()))
            .concat();
        let config = format!(
            "daemon off; master_process off; worker_processes 1; pid {}; error_log stderr;\n\
             events {{ worker_connections 16000; }}\n\
             http {{ keepalive_requests 100000000; keepalive_timeout 10m; {temporary} {http} }}\n",
            self.file(name, "pid").display()
        );
        self.write(name, "conf", &config)
    }
}

/// True if the geofront `program` accepts these lines of configuration: an older one lacks some
/// tables.
pub(crate) fn is_understood(place: &Place<'_>, program: &Path, lines: &str) -> io::Result<bool> {
    let upstreams = "[upstreams.main]\nurl = \"http://127.0.0.1:1\"\nrole = \"main\"\n[upstreams.one]\nurl = \"http://127.0.0.1:2\"\n";
    let file = place.write("understood", "toml", &format!("{upstreams}{lines}"))?;
    let check = Command::new(program)
        .args(["check", &file])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()?;
    Ok(check.success())
}

/// Returns a port that was free a moment ago, because HAProxy and nginx do not report the one that
/// the kernel chose.
pub(crate) fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}

/// Debian keeps daemons in folders that are not in a user's `PATH`.
pub(crate) fn find(program: &str) -> io::Result<PathBuf> {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&paths).chain([PathBuf::from("/usr/sbin")]);
    let found = folders
        .map(|folder| folder.join(program))
        .find(|path| path.is_file());
    found.ok_or_else(|| {
        io::Error::other(format!(
            "{program} is missing: scripts/setup.sh bench installs it"
        ))
    })
}

/// An error unless a GET for `target` is answered with 200.
pub(crate) fn answers(address: SocketAddr, target: &str) -> io::Result<()> {
    let mut connection = TcpStream::connect(address)?;
    connection.set_read_timeout(Some(FIRST_ANSWER))?;
    connection.write_all(
        format!("GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").as_bytes(),
    )?;
    let mut answer = Vec::new();
    connection.read_to_end(&mut answer)?;
    let first_line = String::from_utf8_lossy(&answer)
        .lines()
        .next()
        .unwrap_or_default()
        .to_owned();
    if first_line.split(' ').nth(1) == Some("200") {
        Ok(())
    } else {
        Err(io::Error::other(first_line))
    }
}
