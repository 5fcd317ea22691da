//! Advice of `geofront check` about a valid configuration: settings that are missing, and the
//! consequences.

use std::path::Path;

use crate::config::{
    AccessLogDestination, AcmeChallenge, Config, Credentials, MaxInFlight, UNIX_PEER,
};

/// The directory that systemd creates for `StateDirectory=geofront` of the package's unit. A
/// shell's environment does not name it.
const STATE_DIRECTORY: &str = "/var/lib/geofront";

/// All advice, each with a remedy.
pub(super) fn advice(config: &Config, exists: impl Fn(&Path) -> bool) -> Vec<String> {
    // Of several clusters, the front file has what is of the process, and the others have the rest.
    let (is_of_cluster, is_of_process) = (config.clusters.is_empty(), config.cluster.is_none());
    let can_reload = config.geoserver.credentials != Credentials::None;
    let mut found = Vec::new();
    let mut note = |what: &str, help: &str| found.push(format!("note: {what}\n  help: {help}"));
    if is_of_cluster && !can_reload {
        note(
            "replicas that lack the main's last change are reported and avoided, but not reloaded: there are no credentials",
            "GeoServer reloads its catalog for administrators only: set `username` with `password_file`, or `headers`, \
             under [geoserver]",
        );
    }
    if is_of_cluster && config.health.probe_layer.is_none() && config.catalog.canary_layer.is_none()
    {
        note(
            "a replica with an empty catalog, as in the middle of a reload, passes its probes: capabilities do not show the fault",
            "geofront chooses a layer for probes to draw; to be sure, name a small public one: `probe_layer` under [health]",
        );
    }
    if let Some(folder) = config
        .catalog
        .watch
        .as_deref()
        .filter(|folder| !exists(&folder.join("global.xml")))
    {
        note(
            &format!(
                "`catalog.watch`: there is no global.xml in {}, so no change is noticed there",
                folder.display()
            ),
            "name GeoServer's data directory as this machine sees it, or leave the key out: the main is polled in any case",
        );
    }
    if config.catalog.reload_main && config.catalog.watch.is_none() {
        note(
            "`catalog.reload_main` has no effect without `catalog.watch`",
            "name GeoServer's data directory with `watch`: changes are noticed there that did not pass the main",
        );
    }
    for listener in unix_listeners_without_trust(config) {
        note(
            &format!("all clients of listener {listener} count as one address, 127.0.0.1"),
            "if a proxy connects to this unix socket, add \"127.0.0.1\" to `trusted_proxies`: then the addresses count that it \
             states",
        );
    }
    for (key, file, lost) in files_to_write(config) {
        let folder = file.parent().filter(|folder| folder.parent().is_some());
        if let Some(folder) = folder.filter(|folder| !exists(folder)) {
            note(
                &format!(
                    "`{key}`: there is no folder {}, so {lost}",
                    folder.display()
                ),
                "create it, and let geofront's user write it",
            );
        }
    }
    let context = &config.geoserver.context;
    let public = config.trust.public_url.as_ref();
    if public.is_some_and(|url| !context.is_empty() && url.path.ends_with(context)) {
        note(
            &format!(
                "`public_url` ends with GeoServer's own path {context}, so that it is twice in its addresses"
            ),
            "name the address up to there, without that path",
        );
    }
    if can_reload && config.catalog.state_file.is_none() && !exists(Path::new(STATE_DIRECTORY)) {
        note(
            "a restart forgets which replica has which catalog, and may leave a roll unfinished",
            "set `state_file` under [catalog], or StateDirectory=geofront in the systemd unit, as in the package's unit",
        );
    }
    for (what, help) in unreached_challenges(config) {
        note(&what, &help);
    }
    if is_of_process && !config.trust.proxies.is_empty() && config.trust.identity.is_none() {
        note(
            "`trusted_identity` is not set: every peer in `trusted_proxies` may also state the user, an administrator included \
             (sec-*, imp-*)",
            "name the security-proxy or gateway alone in `trusted_identity`; a web server that passes browsers' headers on must not \
             be in it (`trusted_identity = []` if there is no other)",
        );
    }
    let learn = config
        .upstreams
        .iter()
        .filter(|upstream| upstream.max_in_flight == MaxInFlight::Auto);
    let learn: Vec<&str> = learn.map(|upstream| upstream.name.as_str()).collect();
    if config.limits.quick_reserve > 0 && !learn.is_empty() {
        note(
            &format!(
                "`limits.quick_reserve` has no effect where `max_in_flight` is learned: {}",
                learn.join(", ")
            ),
            "there priority 0 may use a quarter more slots than the learned limit; remove the key, or set `max_in_flight`",
        );
    }
    found
}

/// The files that geofront writes and whose folder it does not create: key, file, and what is lost
/// without the folder.
fn files_to_write(config: &Config) -> Vec<(&'static str, &Path, &'static str)> {
    let mut files = Vec::new();
    let state_file = config.catalog.state_file.as_ref();
    if let Some(file) = state_file.filter(|_| config.clusters.is_empty()) {
        files.push((
            "catalog.state_file",
            file.as_path(),
            "a restart forgets modes, learned limits and catalogs",
        ));
    }
    if let AccessLogDestination::File(file) = &config.log.access {
        files.push((
            "log.access",
            file.as_path(),
            "all lines of the access log are dropped",
        ));
    }
    files
}

/// Unix sockets through which clients come without an address of their own.
fn unix_listeners_without_trust(config: &Config) -> impl Iterator<Item = &str> {
    let is_trusted = config.trust.allows_origin(UNIX_PEER);
    let listeners = config.listeners.iter().filter(move |listener| {
        let is_unix = listener.address.path().is_some();
        is_unix && !is_trusted && !listener.expects_proxy_header(UNIX_PEER)
    });
    listeners.map(|listener| listener.name.as_str())
}

/// Certificates by ACME whose challenges come in on another port than those of this machine.
fn unreached_challenges(config: &Config) -> Vec<(String, String)> {
    let Some(acme) = &config.acme else {
        return Vec::new();
    };
    let named = config.listeners.iter();
    let plain = named.clone().filter(|listener| listener.tls.is_none());
    // Behind a unix socket, a web server has the port.
    let has_plain_socket = plain
        .clone()
        .any(|listener| listener.address.path().is_some());
    let plain = plain
        .filter_map(|listener| listener.address.inet())
        .chain(config.listen.iter().copied());
    let ordered = named.filter(|listener| {
        listener
            .tls
            .as_deref()
            .is_some_and(|tls| tls.acme.is_some())
    });
    let unreached = |what: String, port: u16, to: String| {
        (
            what,
            format!(
                "the certificate authority connects to port {port} of each host name: let it lead to {to}, or use that port, \
                 or choose the other `challenge` under [acme]"
            ),
        )
    };
    match acme.challenge {
        AcmeChallenge::Http01 if has_plain_socket => Vec::new(),
        AcmeChallenge::Http01 if plain.clone().all(|address| address.port() != 80) => {
            let plain: Vec<String> = plain.map(|address| address.to_string()).collect();
            let what = "`acme.challenge` is \"http-01\", and no address has port 80".to_owned();
            vec![unreached(what, 80, plain.join(" or "))]
        }
        AcmeChallenge::Http01 => Vec::new(),
        AcmeChallenge::TlsAlpn01 => ordered
            .filter(|listener| {
                listener
                    .address
                    .inet()
                    .is_some_and(|inet| inet.port() != 443)
            })
            .map(|listener| {
                let what = format!(
                    "`acme.challenge` is \"tls-alpn-01\", and listener {} does not have port 443",
                    listener.name
                );
                unreached(what, 443, listener.address.to_string())
            })
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::MapEnvironment;

    const CLUSTER: &str = "[upstreams.main]\nurl = 'http://127.0.0.1:1'\nrole = 'main'\n[upstreams.a]\nurl = 'http://127.0.0.1:2'\n";
    const CREDENTIALS: &str = "[geoserver]\nheaders = { sec-username = 'geofront' }\n";
    const LAYER: &str = "[health]\nprobe_layer = 'a:b'\n";

    /// The advice for a configuration while these files exist.
    fn noted(tables: &[&str], files: &[&str]) -> Vec<String> {
        let environment =
            MapEnvironment::new().file("geofront.toml", format!("{CLUSTER}{}", tables.concat()));
        let config = Config::load(Path::new("geofront.toml"), &environment)
            .unwrap()
            .config;
        advice(&config, |path| {
            files.iter().any(|file| Path::new(file) == path)
        })
    }

    #[test]
    fn the_smallest_configuration_gets_all_advice() {
        insta::assert_snapshot!(noted(&[], &[]).join("\n"), @r"
        note: replicas that lack the main's last change are reported and avoided, but not reloaded: there are no credentials
          help: GeoServer reloads its catalog for administrators only: set `username` with `password_file`, or `headers`, under [geoserver]
        note: a replica with an empty catalog, as in the middle of a reload, passes its probes: capabilities do not show the fault
          help: geofront chooses a layer for probes to draw; to be sure, name a small public one: `probe_layer` under [health]
        ");
    }

    #[test]
    fn a_complete_configuration_gets_no_advice() {
        let catalog = "[catalog]\nwatch = '/data'\nstate_file = '/state'\n";
        assert_eq!(
            noted(&[CREDENTIALS, LAYER, catalog], &["/data/global.xml"]),
            Vec::<String>::new()
        );
        let canary = "[catalog]\ncanary_layer = 'a:b'\n";
        assert_eq!(
            noted(&[CREDENTIALS, canary], &[STATE_DIRECTORY]),
            Vec::<String>::new()
        );
    }

    #[test]
    fn keys_without_their_folder_or_their_companion_are_noted() {
        let tables = "[catalog]\nreload_main = true\nstate_file = '/lost/state'\n[log]\naccess = '/var/gone/access.log'\n";
        insta::assert_snapshot!(noted(&[CREDENTIALS, LAYER, tables], &[]).join("\n"), @r"
        note: `catalog.reload_main` has no effect without `catalog.watch`
          help: name GeoServer's data directory with `watch`: changes are noticed there that did not pass the main
        note: `catalog.state_file`: there is no folder /lost, so a restart forgets modes, learned limits and catalogs
          help: create it, and let geofront's user write it
        note: `log.access`: there is no folder /var/gone, so all lines of the access log are dropped
          help: create it, and let geofront's user write it
        ");
        let tables = "[catalog]\nstate_file = '/lost/state'\n";
        assert_eq!(
            noted(&[CREDENTIALS, LAYER, tables], &["/lost"]),
            Vec::<String>::new()
        );
    }

    #[test]
    fn a_public_url_with_the_path_of_geoserver_is_noted() {
        for (url, is_noted) in [
            ("https://maps.example.org/geoserver", true),
            ("https://maps.example.org/geo", false),
            ("https://maps.example.org", false),
        ] {
            let file = format!("public_url = '{url}'\n{CLUSTER}{CREDENTIALS}{LAYER}");
            let environment = MapEnvironment::new().file("geofront.toml", file);
            let config = Config::load(Path::new("geofront.toml"), &environment)
                .unwrap()
                .config;
            let found = advice(&config, |_| true).join("\n");
            assert_eq!(
                found.contains("ends with GeoServer's own path"),
                is_noted,
                "{url}"
            );
        }
    }

    #[test]
    fn proxies_that_may_also_state_the_user_are_noted_until_that_is_decided() {
        let catalog = "[catalog]\nstate_file = '/state'\n";
        let noted = |top: &str| {
            let file = format!("{top}{CLUSTER}{CREDENTIALS}{LAYER}{catalog}");
            let environment = MapEnvironment::new().file("geofront.toml", file);
            let config = Config::load(Path::new("geofront.toml"), &environment)
                .unwrap()
                .config;
            advice(&config, |_| true)
        };
        insta::assert_snapshot!(noted("trusted_proxies = '10.0.0.5'\n").join("\n"), @r"
        note: `trusted_identity` is not set: every peer in `trusted_proxies` may also state the user, an administrator included (sec-*, imp-*)
          help: name the security-proxy or gateway alone in `trusted_identity`; a web server that passes browsers' headers on must not be in it (`trusted_identity = []` if there is no other)
        ");
        let decided = "trusted_proxies = '10.0.0.5'\ntrusted_identity = []\n";
        assert_eq!(noted(decided), Vec::<String>::new());
    }

    #[test]
    fn a_unix_socket_without_a_trusted_proxy_is_noted_and_has_every_port() {
        let noted = |top: &str, more: &str| {
            let listener = format!("[listeners.a]\naddress = 'unix:/run/a.sock'\n{more}");
            let catalog = "[catalog]\nstate_file = '/state'\n";
            let file = format!("{top}{CLUSTER}{CREDENTIALS}{LAYER}{catalog}{listener}");
            let environment = MapEnvironment::new().file("geofront.toml", file);
            let config = Config::load(Path::new("geofront.toml"), &environment)
                .unwrap()
                .config;
            advice(&config, |_| true)
        };
        insta::assert_snapshot!(noted("", "").join("\n"), @r#"
        note: all clients of listener a count as one address, 127.0.0.1
          help: if a proxy connects to this unix socket, add "127.0.0.1" to `trusted_proxies`: then the addresses count that it states
        "#);
        let none = Vec::<String>::new();
        let trusted = "trusted_proxies = '127.0.0.1'\ntrusted_identity = []\n";
        assert_eq!(noted(trusted, ""), none);
        assert_eq!(noted("", "proxy_protocol_from = '127.0.0.1'\n"), none);
        // The web server in front passes the authority's requests on.
        let ordered = "[listeners.b]\naddress = '0.0.0.0:443'\nacme = 'b.example'\n";
        let http = format!("{ordered}[acme]\nchallenge = 'http-01'\n");
        assert_eq!(noted(trusted, &http), none);
    }

    #[test]
    fn challenges_that_come_in_on_another_port_are_noted() {
        let noted = |tables: &str| {
            let all = [
                CREDENTIALS,
                LAYER,
                "[catalog]\nstate_file = '/state'\n",
                tables,
            ];
            noted(&all, &[])
        };
        let listener =
            |port: u16| format!("[listeners.a]\naddress = '0.0.0.0:{port}'\nacme = 'a.example'\n");
        let plain = |port: u16| format!("[listeners.b]\naddress = '0.0.0.0:{port}'\n");
        let http = "[acme]\nchallenge = 'http-01'\n";
        assert_eq!(noted(&listener(443)), Vec::<String>::new());
        assert_eq!(noted(&(listener(8443) + &plain(80))), Vec::<String>::new());
        insta::assert_snapshot!(noted(&listener(8443)).join("\n"), @r#"
        note: `acme.challenge` is "tls-alpn-01", and listener a does not have port 443
          help: the certificate authority connects to port 443 of each host name: let it lead to 0.0.0.0:8443, or use that port, or choose the other `challenge` under [acme]
        "#);
        insta::assert_snapshot!(noted(&(listener(443) + &plain(8080) + http)).join("\n"), @r#"
        note: `acme.challenge` is "http-01", and no address has port 80
          help: the certificate authority connects to port 80 of each host name: let it lead to 0.0.0.0:8080, or use that port, or choose the other `challenge` under [acme]
        "#);
    }

    #[test]
    fn a_reserve_without_effect_is_noted() {
        let limits = "[limits]\nmax_in_flight = 'auto'\nquick_reserve = 50\n";
        insta::assert_snapshot!(noted(&[CREDENTIALS, LAYER, limits], &[STATE_DIRECTORY]).join("\n"), @r"
        note: `limits.quick_reserve` has no effect where `max_in_flight` is learned: main, a
          help: there priority 0 may use a quarter more slots than the learned limit; remove the key, or set `max_in_flight`
        ");
    }

    #[test]
    fn a_folder_that_is_no_data_directory_and_a_memory_that_is_not_kept_are_noted() {
        insta::assert_snapshot!(noted(&[CREDENTIALS, LAYER, "[catalog]\nwatch = '/data'\n"], &[]).join("\n"), @r"
        note: `catalog.watch`: there is no global.xml in /data, so no change is noticed there
          help: name GeoServer's data directory as this machine sees it, or leave the key out: the main is polled in any case
        note: a restart forgets which replica has which catalog, and may leave a roll unfinished
          help: set `state_file` under [catalog], or StateDirectory=geofront in the systemd unit, as in the package's unit
        ");
    }
}
