//! A private Tomcat of Debian's package: its own folder, a port the kernel chose, a webapp at
//! `/geoserver`; killed when dropped.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::{program, wait};

const HOME: &str = "/usr/share/tomcat10";

/// A JVM on a busy machine takes its time to open its port.
const START: Duration = Duration::from_secs(60);

pub(crate) struct Tomcat {
    process: Child,
    /// `CATALINA_BASE`.
    folder: TempDir,
    pub(crate) address: SocketAddr,
}

impl Tomcat {
    /// Listening, with the webapp deployed and waiting for [`Tomcat::let_webapp_start`].
    pub(crate) fn start() -> Self {
        program::find("java", "default-jre-headless");
        let script = program::find(&format!("{HOME}/bin/catalina.sh"), "tomcat10-common");
        let folder = tempfile::tempdir().expect("a temporary folder");
        for part in ["conf", "logs", "temp", "webapps", "work"] {
            fs::create_dir(folder.path().join(part)).expect("the base is empty");
        }
        copy(&program::data("tomcat/conf"), &folder.path().join("conf"));
        copy(
            &program::data("tomcat/geoserver"),
            &folder.path().join("webapps/geoserver"),
        );
        let log =
            fs::File::create(folder.path().join("logs/catalina.out")).expect("the log is created");
        let mut process = Command::new(script)
            .arg("run")
            .env("CATALINA_HOME", HOME)
            .env("CATALINA_BASE", folder.path())
            .env("CATALINA_TMPDIR", folder.path().join("temp"))
            .env(
                "CATALINA_OPTS",
                "-Xmx128m -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Djava.awt.headless=true",
            )
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("the log's second handle"))
            .stderr(log)
            .spawn()
            .expect("catalina.sh starts");
        let address = wait::until("Tomcat opens its port", START, || {
            assert!(
                process.try_wait().expect("our own child").is_none(),
                "Tomcat ended: {}",
                log_of(folder.path())
            );
            listening_port(process.id()).map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
        });
        Self {
            process,
            folder,
            address,
        }
    }

    /// As [`Tomcat::start`], with the webapp free to start at once.
    pub(crate) fn start_ready() -> Self {
        let tomcat = Self::start();
        tomcat.let_webapp_start();
        tomcat
    }

    /// Ends the wait that stands for GeoServer's loading of its catalog.
    pub(crate) fn let_webapp_start(&self) {
        fs::write(self.folder.path().join("ready"), "").expect("the file is created");
    }

    /// Takes the webapp away while Tomcat runs; Tomcat notices within seconds.
    pub(crate) fn undeploy(&self) {
        let webapp = self.folder.path().join("webapps/geoserver");
        fs::rename(webapp, self.folder.path().join("undeployed"))
            .expect("the webapp is moved away");
    }
}

impl Drop for Tomcat {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("Tomcat's log:\n{}", log_of(self.folder.path()));
        }
        // It may have ended already, which the test has noticed.
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

fn log_of(base: &Path) -> String {
    fs::read_to_string(base.join("logs/catalina.out")).unwrap_or_default()
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("the folder is created");
    for entry in fs::read_dir(from).expect("the test's data is there") {
        let entry = entry.expect("the test's data is readable");
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("the file is copied");
        }
    }
}

/// Returns the TCP port that process `pid` listens on, as the kernel reports it: Tomcat logs it
/// only once the webapps have started.
fn listening_port(pid: u32) -> Option<u16> {
    let sockets: Vec<String> = fs::read_dir(format!("/proc/{pid}/fd"))
        .ok()?
        .filter_map(|fd| {
            Some(
                fs::read_link(fd.ok()?.path())
                    .ok()?
                    .to_str()?
                    .strip_prefix("socket:[")?
                    .trim_end_matches(']')
                    .to_owned(),
            )
        })
        .collect();
    let tables = ["tcp", "tcp6"]
        .map(|table| fs::read_to_string(format!("/proc/net/{table}")).unwrap_or_default());
    tables
        .iter()
        .flat_map(|table| table.lines())
        .find_map(|line| listener_of(line, &sockets))
}

/// The local port of a line of `/proc/net/tcp` that is a listener among `sockets`, which are inode
/// numbers.
fn listener_of(line: &str, sockets: &[String]) -> Option<u16> {
    const LISTEN: &str = "0A";
    let fields: Vec<&str> = line.split_whitespace().collect();
    let (local, state, inode) = (fields.get(1)?, fields.get(3)?, fields.get(9)?);
    let is_ours = *state == LISTEN && sockets.iter().any(|socket| socket == inode);
    is_ours.then(|| u16::from_str_radix(local.rsplit(':').next()?, 16).ok())?
}
