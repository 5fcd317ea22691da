//! `geofront check`: whether a configuration is right, before it is put into force.

use std::io::Write;
use std::sync::Arc;
use std::time::Instant;

use futures::StreamExt;
use futures::stream;

use super::args;
use super::exit::{Exit, Failure};
use super::load_config;
use super::table::{Side, aligned};
use crate::cluster::{Action, Cluster, Outcome, ProbeReport, Upstream};
use crate::config::{Config, Loaded, MainReads, Role, UpstreamConfig};
use crate::driver::Prober;

/// Probes under way at a time.
const MAX_PROBES: usize = 32;

pub(super) fn run(options: &args::Check, out: &mut dyn Write) -> Result<Exit, Failure> {
    let loaded = load_config(&options.file)?;
    write!(out, "{}", summary(&options.file.display().to_string(), &loaded))?;
    if !options.probe {
        return Ok(Exit::Success);
    }
    out.flush()?;
    let reports = probe_all(Arc::new(loaded.config))?;
    let (text, exit) = findings(&reports);
    write!(out, "\n{text}")?;
    Ok(exit)
}

/// Each upstream asked once, the way its health is checked later.
fn probe_all(config: Arc<Config>) -> Result<Vec<(Arc<Upstream>, ProbeReport)>, Failure> {
    let now = Instant::now();
    let mut cluster = Cluster::new(Arc::clone(&config), now);
    // A new cluster wants every upstream probed at once.
    let probed = |action| if let Action::Probe(upstream) = action { Some(upstream) } else { None };
    let upstreams: Vec<Arc<Upstream>> = std::iter::from_fn(|| cluster.poll_action(now)).filter_map(probed).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::new(format!("cannot start probing: {error}")))?;
    let prober = Prober::new();
    let probe = async |upstream: Arc<Upstream>| {
        let report = prober.probe(&upstream, &config).await;
        (upstream, report)
    };
    Ok(runtime.block_on(stream::iter(upstreams).map(probe).buffered(MAX_PROBES).collect()))
}

/// How the upstreams answered, and what the exit code says of it.
fn findings(reports: &[(Arc<Upstream>, ProbeReport)]) -> (String, Exit) {
    let row = |(upstream, report): &(Arc<Upstream>, ProbeReport)| {
        let answer = match &report.outcome {
            Outcome::Success => "well".to_owned(),
            Outcome::Busy => "busy, asks for patience".to_owned(),
            Outcome::Failure(cause) => cause.to_string(),
        };
        vec![upstream.name.to_string(), format!("{} ms", report.took.as_millis()), answer]
    };
    let headings = [("UPSTREAM", Side::Left), ("TOOK", Side::Right), ("ANSWERED", Side::Left)];
    let lines = aligned(&headings, &reports.iter().map(row).collect::<Vec<_>>());
    let has_failed = reports.iter().any(|(_, report)| matches!(report.outcome, Outcome::Failure(_)));
    (lines.join("\n") + "\n", if has_failed { Exit::Failure } else { Exit::Success })
}

fn summary(path: &str, loaded: &Loaded) -> String {
    let Config { listen, admin, upstreams, .. } = &loaded.config;
    let listen: Vec<String> = listen.iter().map(ToString::to_string).collect();
    let headings = [("UPSTREAM", Side::Left), ("ROLE", Side::Left), ("WEIGHT", Side::Right), ("URL", Side::Left)];
    let rows: Vec<Vec<String>> = upstreams.iter().map(row).collect();
    format!(
        "{path} is right.\n\nClients come in on {}; the admin endpoint is on {admin}.\n\n{}\n",
        listen.join(" and "),
        aligned(&headings, &rows).join("\n")
    )
}

fn row(upstream: &UpstreamConfig) -> Vec<String> {
    let role = match (upstream.role, upstream.reads) {
        (Role::Replica, _) => "replica",
        (Role::Main, MainReads::Backup) => "main, reads when no replica can",
        (Role::Main, MainReads::Always) => "main, reads too",
        (Role::Main, MainReads::Never) => "main, never reads",
    };
    let resolved = upstream.address.to_string();
    let url = if upstream.url.contains(&resolved) { upstream.url.clone() } else { format!("{} ({resolved})", upstream.url) };
    vec![upstream.name.to_string(), role.to_owned(), upstream.weight.get().to_string(), url]
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::MapEnvironment;

    #[test]
    fn the_summary_shows_where_clients_come_in_and_who_serves() {
        let text = "listen = ['0.0.0.0:8080']\n[upstreams.main]\nurl = 'http://127.0.0.1:8180'\nrole = 'main'\n\
            [upstreams.replica1]\nurl = 'http://localhost:8280'\nweight = 50\n";
        let environment = MapEnvironment::new().file("geofront.toml", text);
        let loaded = Config::load(Path::new("geofront.toml"), &environment).unwrap();
        insta::assert_snapshot!(summary("geofront.toml", &loaded), @r"
        geofront.toml is right.

        Clients come in on 0.0.0.0:8080; the admin endpoint is on 127.0.0.1:9090.

        UPSTREAM  ROLE                             WEIGHT  URL
        main      main, reads when no replica can     100  http://127.0.0.1:8180
        replica1  replica                              50  http://localhost:8280 (127.0.0.1:8280)
        ");
    }
}
