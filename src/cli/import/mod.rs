//! `geofront import`: converts the file of a balancer into a configuration, or the limits of a
//! GeoServer's `controlflow.properties` into `[limits]`.
//!
//! The kind of a file is detected from its text, not from its name. Each dialect is read into an
//! [`balancer::OldBalancer`]; [`choose`] finds the main and the replicas, and [`render`] writes
//! them. The result is loaded as a configuration before it is printed.

mod apache;
mod balancer;
mod choose;
mod control_flow;
mod environment;
mod haproxy;
mod nginx;
mod paths;
mod reasons;
mod render;
mod values;

use std::io::{Read, Write};
use std::path::Path;

use super::args;
use super::exit::{Exit, Failure};
use crate::config::Config;
use balancer::OldBalancer;
use choose::Choices;
use environment::ImportEnvironment;

/// Maximum size of the file. Real ones have a few hundred lines.
const MAX_BYTES: u64 = 1 << 20;

pub(super) fn run(options: &args::Import, out: &mut dyn Write) -> Result<Exit, Failure> {
    let text = read(&options.file)?;
    let name = options.file.file_name().unwrap_or_default();
    let name: String = name
        .to_string_lossy()
        .chars()
        .map(|c| if c.is_control() { '?' } else { c })
        .collect();
    let choices = Choices {
        main: options.main.clone(),
        pool: options.pool.clone(),
    };
    write!(out, "{}", convert(&text, &name, &choices)?)?;
    Ok(Exit::Success)
}

fn read(path: &Path) -> Result<String, Failure> {
    let cannot = |why: &dyn std::fmt::Display| {
        Failure::new(format!("cannot read {}: {why}", path.display()))
    };
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(|error| cannot(&error))?;
    file.take(MAX_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| cannot(&error))?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(cannot(&format!("it has more than {MAX_BYTES} bytes")));
    }
    // Java reads such files as Latin-1, in which every byte is a letter. Rules are ASCII anyway.
    Ok(String::from_utf8(bytes)
        .unwrap_or_else(|error| error.into_bytes().into_iter().map(char::from).collect()))
}

/// The kinds of files that are understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FileDialect {
    HaProxy,
    Nginx,
    Apache,
    ControlFlow,
}

/// A mistake in the syntax of a file.
#[derive(Debug, PartialEq, Eq)]
struct SyntaxFault {
    line: usize,
    what: String,
}

impl SyntaxFault {
    fn new(line: usize, what: impl Into<String>) -> Self {
        Self {
            line,
            what: what.into(),
        }
    }
}

/// The configuration for a file with this text. `file` is its name.
fn convert(text: &str, file: &str, choices: &Choices) -> Result<String, Failure> {
    let (program, read) = match dialect(text) {
        Some(FileDialect::ControlFlow) => return Ok(control_flow::convert(text, file)),
        Some(FileDialect::HaProxy) => ("HAProxy", haproxy::read(text)),
        Some(FileDialect::Nginx) => ("nginx", nginx::read(text)),
        Some(FileDialect::Apache) => ("Apache", apache::read(text)),
        None => return Err(not_recognised(text, file)),
    };
    let mut balancer: OldBalancer = read.map_err(|fault| {
        Failure::new(format!("{file}:{}: {}", fault.line, fault.what)).help(format!(
            "the file is read as one of {program}, which refuses it as well"
        ))
    })?;
    let cluster = choose::choose(&mut balancer, choices).map_err(|none| {
        Failure::new(format!(
            "{file} (read as one of {program}) shows no cluster of GeoServers: {}",
            none.why
        ))
        .help(none.help)
    })?;
    let written = render::render(&mut balancer, &cluster, file, &environment::may_read);
    match Config::load(Path::new("geofront.toml"), &ImportEnvironment::new(&written)) {
        Ok(_) => Ok(written),
        Err(diagnostics) => Err(Failure::new(format!(
            "the configuration made from {file} is not valid:\n{diagnostics}"
        ))
        .help("this is a fault of the import, not of the file: write the configuration by hand, and report the file")),
    }
}

/// The kind of a file, by its text.
fn dialect(text: &str) -> Option<FileDialect> {
    if haproxy::is_haproxy(text) {
        Some(FileDialect::HaProxy)
    } else if apache::is_apache(text) {
        Some(FileDialect::Apache)
    } else if nginx::is_nginx(text) {
        Some(FileDialect::Nginx)
    } else {
        control_flow::is_control_flow(text).then_some(FileDialect::ControlFlow)
    }
}

fn not_recognised(text: &str, file: &str) -> Failure {
    if let Some(folder) = watched_by_incron(text) {
        return Failure::new(format!(
            "{file} is a table of incron: geofront itself notices changes and reloads the replicas"
        ))
        .help(format!(
            "set `watch = \"{folder}\"` under [catalog] if this machine mounts it, and remove the line with `incrontab -e` \
             (docs/from-haproxy-or-nginx.md)"
        ));
    }
    if text.contains("/rest/reload") {
        return Failure::new(format!(
            "{file} is a script that reloads GeoServers: geofront does that itself, one replica at a time while it serves nothing"
        ))
        .help("disable the script, and set credentials under [geoserver] (docs/from-haproxy-or-nginx.md)");
    }
    Failure::new(format!(
        "{file} is no file of HAProxy, nginx or Apache (mod_proxy_balancer), and no controlflow.properties"
    ))
    .help(
        "recognised are sections such as `backend`, blocks such as `upstream NAME { }`, directives such as `BalancerMember`, and \
         rules such as `ows.wms.getmap=16`; write other balancers' settings by hand (docs/configuration.md)",
    )
}

/// The folder of the file in an incron table that watches `global.xml`.
fn watched_by_incron(text: &str) -> Option<&str> {
    let is_event = |word: &str| word.starts_with("IN_");
    let line = text.lines().find(|line| {
        !line.trim_start().starts_with('#') && line.split_whitespace().nth(1).is_some_and(is_event)
    })?;
    let path = line.split_whitespace().next()?;
    Some(path.rsplit_once('/').map_or(path, |(folder, _)| folder))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> String {
        convert(text, "file", &Choices::default())
            .map(|text| panic!("{text}"))
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn a_file_of_no_known_kind_is_refused() {
        for text in [
            "",
            "maps.example.org {\n  reverse_proxy 10.0.0.1:8080\n}\n",
            "a=b\n",
            "{\"backend\": []}",
        ] {
            assert!(refusal(text).contains("is no file of HAProxy"), "{text}");
        }
    }

    #[test]
    fn the_jobs_that_reload_geoservers_are_refused_with_what_to_do_instead() {
        let incron =
            refusal("/opt/geoserver_datadir/global.xml IN_MODIFY /usr/local/bin/refresh.py\n");
        assert!(
            incron.contains("watch = \"/opt/geoserver_datadir\""),
            "{incron}"
        );
        let script =
            refusal("for host in hosts:\n  post('http://%s/geoserver/rest/reload' % host)\n");
        assert!(script.contains("credentials under [geoserver]"), "{script}");
    }

    #[test]
    fn passwords_of_the_old_file_are_not_in_the_new_one() {
        let haproxy = "listen stats\n  bind :1936\n  stats auth admin:hunter2\n\
             backend geoserver\n  http-request set-header Authorization \"Basic hunter2\"\n  \
             server main 10.0.0.1:8080\n  server a 10.0.0.2:8080\n";
        let nginx = "upstream geoserver {\n  server 10.0.0.1:8080;\n  server 10.0.0.2:8080;\n}\n\
             server {\n  listen 80;\n  location / {\n    proxy_pass http://geoserver;\n    \
             proxy_set_header Authorization \"Basic hunter2\";\n  }\n}\n";
        let choices = Choices {
            main: Some("10.0.0.1:8080".to_owned()),
            pool: None,
        };
        for text in [haproxy, nginx] {
            let written = convert(text, "file", &choices).unwrap();
            assert!(written.contains("uthorization ***"), "{written}");
            assert!(!written.contains("hunter2"), "{written}");
        }
    }

    #[test]
    fn a_syntax_mistake_names_file_and_line() {
        for (text, place) in [
            ("http {\n  upstream a {\n", "file:2: "),
            ("global\n  log \"x\nbackend b\n", "file:2: "),
            (
                "<Proxy balancer://a>\n  BalancerMember http://10.0.0.1\n",
                "file:1: ",
            ),
        ] {
            assert!(
                refusal(text).starts_with(&format!("error: {place}")),
                "{}",
                refusal(text)
            );
        }
    }
}
