//! `geofront check`: checks a configuration before it is put into force.

mod examined;
mod findings;
mod probe;

use std::io::Write;
use std::path::Path;

use super::advice::advice;
use super::args;
use super::exit::{Exit, Failure};
use super::load_config;
use super::table::{Side, aligned};
use crate::config::{Config, Loaded, MainReads, Role, UpstreamConfig};
use crate::driver::wall_clock::seconds_since_1970;

pub(super) fn run(options: &args::Check, out: &mut dyn Write) -> Result<Exit, Failure> {
    let loaded = load_config(&options.file)?;
    if options.json {
        let (report, exit) = probe::report(loaded.config)?;
        writeln!(out, "{}", probe::json(&report)?)?;
        return Ok(exit);
    }
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
    let (report, exit) = probe::report(loaded.config)?;
    write!(out, "\n{}", probe::text(&report))?;
    Ok(exit)
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
