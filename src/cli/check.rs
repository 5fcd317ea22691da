//! `geofront check`: checks a configuration before it is put into force.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use futures::StreamExt;
use futures::stream;

use super::advice::advice;
use super::args;
use super::exit::{Exit, Failure};
use super::load_config;
use super::table::{Side, aligned};
use crate::cluster::{Action, Cause, Cluster, Outcome, ProbeReport, Upstream};
use crate::config::{Config, Loaded, MainReads, Role, UpstreamConfig};
use crate::driver::Prober;
use crate::driver::certificates::seconds_since_1970;

/// Maximum number of concurrent probes.
const MAX_PROBES: usize = 32;

pub(super) fn run(options: &args::Check, out: &mut dyn Write) -> Result<Exit, Failure> {
    let loaded = load_config(&options.file)?;
    write!(
        out,
        "{}",
        summary(&options.file.display().to_string(), &loaded)
    )?;
    for warning in &loaded.warnings {
        writeln!(out, "\nwarning: {warning}")?;
    }
    for trouble in loaded.config.certificate_troubles(seconds_since_1970()) {
        writeln!(out, "\nwarning: {}: {}", trouble.subject, trouble.what)?;
    }
    for notice in advice(&loaded.config, Path::exists) {
        writeln!(out, "\n{notice}")?;
    }
    if !options.probe {
        return Ok(Exit::Success);
    }
    out.flush()?;
    let examined = examine_all(Arc::new(loaded.config))?;
    let (text, exit) = findings(&examined);
    write!(out, "\n{text}")?;
    Ok(exit)
}

/// The results of probing one upstream.
#[derive(Debug)]
struct Examined {
    upstream: Arc<Upstream>,
    health: ProbeReport,
    /// Its `updateSequence`.
    number: Option<u64>,
    /// `None` if no credentials are configured.
    credentials: Option<Result<(), Cause>>,
}

/// Probes each upstream once as in operation, and checks the requirements of catalog reloads.
fn examine_all(config: Arc<Config>) -> Result<Vec<Examined>, Failure> {
    let now = Instant::now();
    let mut cluster = Cluster::new(Arc::clone(&config), now);
    // In a new cluster every upstream is due for a probe.
    let probed = |action| {
        if let Action::Probe(upstream) = action {
            Some(upstream)
        } else {
            None
        }
    };
    let upstreams: Vec<Arc<Upstream>> = std::iter::from_fn(|| cluster.poll_action(now))
        .filter_map(probed)
        .collect();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime =
        runtime.map_err(|error| Failure::new(format!("cannot start probing: {error}")))?;
    let prober = Prober::new();
    let examine = async |upstream: Arc<Upstream>| {
        let health = prober.probe(&upstream, &config).await;
        let (number, credentials) = match &health.outcome {
            // Nothing answers there, so nothing more can be checked.
            Outcome::Failure(Cause::Connect(_)) => (None, None),
            Outcome::Success | Outcome::Busy | Outcome::Failure(_) => (
                prober.update_sequence(&upstream, &config).await,
                prober.try_credentials(&upstream, &config).await,
            ),
        };
        Examined {
            upstream,
            health,
            number,
            credentials,
        }
    };
    Ok(runtime.block_on(
        stream::iter(upstreams)
            .map(examine)
            .buffered(MAX_PROBES)
            .collect(),
    ))
}

/// The results as text, and the exit code.
fn findings(examined: &[Examined]) -> (String, Exit) {
    let headings = [
        ("UPSTREAM", Side::Left),
        ("TOOK", Side::Right),
        ("ANSWERED", Side::Left),
        ("NUMBER", Side::Right),
        ("CREDENTIALS", Side::Left),
    ];
    let mut text = aligned(
        &headings,
        &examined.iter().map(examined_row).collect::<Vec<_>>(),
    )
    .join("\n")
        + "\n";
    let is_well = |one: &&Examined| !matches!(one.health.outcome, Outcome::Failure(_));
    let main = examined.iter().find(|one| one.upstream.is_main());
    if main
        .filter(is_well)
        .is_some_and(|main| main.number.is_none())
    {
        text += "\nnote: the main does not report its updateSequence: a change is noticed only if it comes through geofront\n";
    }
    let is_all_well = |one: &Examined| is_well(&one) && !matches!(one.credentials, Some(Err(_)));
    (
        text,
        if examined.iter().all(is_all_well) {
            Exit::Success
        } else {
            Exit::Failure
        },
    )
}

fn examined_row(
    Examined {
        upstream,
        health,
        number,
        credentials,
    }: &Examined,
) -> Vec<String> {
    let answer = match &health.outcome {
        Outcome::Success => "well".to_owned(),
        Outcome::Busy => "busy".to_owned(),
        Outcome::Failure(cause) => cause.to_string(),
    };
    let credentials = match credentials {
        None => String::new(),
        Some(Ok(())) => "accepted".to_owned(),
        Some(Err(cause)) => cause.to_string(),
    };
    let number = number.map(|number| number.to_string()).unwrap_or_default();
    vec![
        upstream.name.to_string(),
        format!("{} ms", health.took.as_millis()),
        answer,
        number,
        credentials,
    ]
}

fn summary(path: &str, loaded: &Loaded) -> String {
    let Config {
        listen,
        admin,
        listeners,
        upstreams,
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
    let headings = [
        ("UPSTREAM", Side::Left),
        ("ROLE", Side::Left),
        ("WEIGHT", Side::Right),
        ("URL", Side::Left),
    ];
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
    use crate::geosim::{DataDirectory, Fault, Instance};

    /// The findings for a main and a replica, with this password.
    fn found(password: &str, main: &Instance, replica: &Instance) -> (String, Exit) {
        let text = format!(
            "[upstreams.main]\nurl = 'http://{}'\nrole = 'main'\n[upstreams.replica1]\nurl = 'http://{}'\n\
             [geoserver]\nusername = 'admin'\npassword_env = 'PASSWORD'\n",
            main.address(),
            replica.address()
        );
        let environment = MapEnvironment::new()
            .file("geofront.toml", text)
            .environment_variable("PASSWORD", password);
        let config = Config::load(Path::new("geofront.toml"), &environment)
            .unwrap()
            .config;
        let mut examined = examine_all(Arc::new(config)).unwrap();
        examined
            .iter_mut()
            .for_each(|one| one.health.took = std::time::Duration::ZERO);
        findings(&examined)
    }

    fn cluster() -> (Instance, Instance) {
        let data = DataDirectory::new();
        let instance = |name| Instance::start(name, &data, crate::geosim::Behaviour::default());
        (instance("main"), instance("replica1"))
    }

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

    #[test]
    fn accepted_credentials_are_reported() {
        let (main, replica) = cluster();
        let (text, exit) = found("geoserver", &main, &replica);
        insta::assert_snapshot!(text, @r"
        UPSTREAM  TOOK  ANSWERED  NUMBER  CREDENTIALS
        main      0 ms  well           0  accepted
        replica1  0 ms  well           0  accepted
        ");
        assert_eq!(exit, Exit::Success);
    }

    #[test]
    fn credentials_that_geoserver_refuses_fail_the_check() {
        let (main, replica) = cluster();
        let (text, exit) = found("wrong", &main, &replica);
        let refused = "credentials refused: status 401";
        assert!(exit == Exit::Failure && text.contains(refused), "{text}");
    }

    #[test]
    fn a_main_without_an_update_sequence_is_noted() {
        let (main, replica) = cluster();
        main.suffers(Fault::Busy);
        let (text, exit) = found("geoserver", &main, &replica);
        assert!(
            text.contains("note: the main does not report its updateSequence"),
            "{text}"
        );
        assert_eq!(exit, Exit::Failure, "{text}");
    }
}
