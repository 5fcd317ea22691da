//! `geofront check`: checks a configuration before it is put into force.

mod examined;
mod findings;
mod probe;

use std::io::Write;
use std::path::Path;

use super::advice::advice;
use super::args;
use super::exit::{Exit, Failure};
use super::load_all;
use super::table::{Side, aligned};
use crate::config::{Config, Loaded, MainReads, Role, UpstreamConfig, shared_upstreams};
use crate::config_reload::FirstLoad;
use crate::driver::wall_clock::seconds_since_1970;

pub(super) fn run(options: &args::Check, out: &mut dyn Write) -> Result<Exit, Failure> {
    let first = load_all(&options.file)?;
    if options.json {
        return json(first, out);
    }
    let (front, clusters) = (first.loaded, first.clusters);
    let path = options.file.display().to_string();
    write!(out, "{}", summary(&path, &front))?;
    remarks(&front, out)?;
    for cluster in &clusters {
        write!(out, "\n{}", cluster_summary(&front.config, &cluster.loaded))?;
        remarks(&cluster.loaded, out)?;
    }
    let configs: Vec<&Config> = clusters
        .iter()
        .map(|cluster| &cluster.loaded.config)
        .collect();
    for note in shared_upstreams(&configs) {
        writeln!(out, "\nnote: {note}")?;
    }
    if !options.probe {
        return Ok(Exit::Success);
    }
    out.flush()?;
    if clusters.is_empty() {
        let (report, exit) = probe::report(front.config)?;
        write!(out, "\n{}", probe::text(&report))?;
        return Ok(exit);
    }
    let mut exit = Exit::Success;
    for cluster in clusters {
        let config = cluster.loaded.config;
        writeln!(out, "\nCluster {}:", name_of(&config))?;
        let (report, of_cluster) = probe::report(config)?;
        write!(out, "\n{}", probe::text(&report))?;
        if of_cluster != Exit::Success {
            exit = of_cluster;
        }
    }
    Ok(exit)
}

/// Writes what was found as JSON: of several clusters, each below its name.
fn json(first: FirstLoad, out: &mut dyn Write) -> Result<Exit, Failure> {
    if first.clusters.is_empty() {
        let (report, exit) = probe::report(first.loaded.config)?;
        writeln!(out, "{}", probe::json(&report)?)?;
        return Ok(exit);
    }
    let (mut found, mut exit) = (serde_json::Map::new(), Exit::Success);
    for cluster in first.clusters {
        let name = name_of(&cluster.loaded.config).to_owned();
        let (report, of_cluster) = probe::report(cluster.loaded.config)?;
        found.insert(name, probe::value(&report));
        if of_cluster != Exit::Success {
            exit = of_cluster;
        }
    }
    let page = serde_json::json!({ "clusters": found });
    let text = serde_json::to_string_pretty(&page)
        .map_err(|error| Failure::new(format!("cannot write the results: {error}")))?;
    writeln!(out, "{text}")?;
    Ok(exit)
}

/// Writes warnings and advice.
fn remarks(loaded: &Loaded, out: &mut dyn Write) -> std::io::Result<()> {
    for warning in &loaded.warnings {
        writeln!(out, "\nwarning: {warning}")?;
    }
    for trouble in loaded.config.certificate_troubles(seconds_since_1970()) {
        writeln!(out, "\nwarning: {}: {}", trouble.subject, trouble.what)?;
    }
    for notice in advice(&loaded.config, Path::exists) {
        writeln!(out, "\n{notice}")?;
    }
    Ok(())
}

fn name_of(config: &Config) -> &str {
    config.cluster.as_ref().map_or("", |name| name.as_str())
}

/// One cluster of a front file: where its clients find it, and its upstreams.
fn cluster_summary(front: &Config, loaded: &Loaded) -> String {
    let name = name_of(&loaded.config);
    let entry = front.clusters.position(name);
    let (file, place) = entry.map_or_else(Default::default, |at| {
        let entry = &front.clusters.entries()[at];
        let hosts: Vec<String> = entry.hosts.iter().map(ToString::to_string).collect();
        let place = match (hosts.join(", "), &*entry.path) {
            (hosts, "") if hosts == "*" => "every other host".to_owned(),
            (hosts, path) if hosts == "*" => format!("{path} on every host"),
            (hosts, "") => hosts,
            (hosts, path) => format!("{path} on {hosts}"),
        };
        (entry.file.display().to_string(), place)
    });
    let rows = upstream_rows(&loaded.config);
    format!("Cluster {name} ({file}) serves {place}.\n\n{rows}\n")
}

fn summary(path: &str, loaded: &Loaded) -> String {
    let Config {
        listen,
        admin,
        listeners,
        ..
    } = &loaded.config;
    let named = listeners.iter().map(|listener| {
        let scheme = if listener.tls.is_some() {
            "https"
        } else {
            "http"
        };
        format!("{} ({scheme}, {})", listener.address, listener.name)
    });
    let listen: Vec<String> = listen
        .iter()
        .map(ToString::to_string)
        .chain(named)
        .collect();
    let come_in = format!(
        "{path} is right.\n\nClients come in on {}; the admin endpoint is on {admin}.\n",
        listen.join(" and "),
    );
    if loaded.config.clusters.is_empty() {
        format!("{come_in}\n{}\n", upstream_rows(&loaded.config))
    } else {
        come_in
    }
}

/// A table of the upstreams.
fn upstream_rows(config: &Config) -> String {
    let headings = [
        ("UPSTREAM", Side::Left),
        ("ROLE", Side::Left),
        ("WEIGHT", Side::Right),
        ("URL", Side::Left),
    ];
    let rows: Vec<Vec<String>> = config.upstreams.iter().map(row).collect();
    aligned(&headings, &rows).join("\n")
}

fn row(upstream: &UpstreamConfig) -> Vec<String> {
    let role = match (upstream.role, upstream.reads) {
        (Role::Replica, _) => "replica",
        (Role::Main, MainReads::Backup) => "main, reads when no replica can",
        (Role::Main, MainReads::Always) => "main, reads too",
        (Role::Main, MainReads::Never) => "main, never reads",
    };
    let resolved = upstream.address.to_string();
    let url = if upstream.url.contains(&resolved) {
        upstream.url.clone()
    } else {
        format!("{} ({resolved})", upstream.url)
    };
    vec![
        upstream.name.to_string(),
        role.to_owned(),
        upstream.weight.get().to_string(),
        url,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::MapEnvironment;

    #[test]
    fn the_summary_shows_listen_addresses_and_upstreams() {
        let text = "listen = ['0.0.0.0:8080']\n[listeners.inside]\naddress = '10.0.0.9:81'\n[upstreams.main]\nurl = 'http://127.0.0.1:8180'\nrole = 'main'\n\
            [upstreams.replica1]\nurl = 'http://localhost:8280'\nweight = 50\n";
        let environment = MapEnvironment::new().file("geofront.toml", text);
        let loaded = Config::load(Path::new("geofront.toml"), &environment).unwrap();
        insta::assert_snapshot!(summary("geofront.toml", &loaded), @r"
        geofront.toml is right.

        Clients come in on 0.0.0.0:8080 and 10.0.0.9:81 (http, inside); the admin endpoint is on 127.0.0.1:9090.

        UPSTREAM  ROLE                             WEIGHT  URL
        main      main, reads when no replica can     100  http://127.0.0.1:8180
        replica1  replica                              50  http://localhost:8280 (127.0.0.1:8280)
        ");
    }
}
