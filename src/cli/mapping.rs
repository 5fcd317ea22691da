//! `geofront mapping`: the entries with which geOrchestra's security-proxy or gateway sends
//! requests to this front door.

use std::io::Write;
use std::net::{IpAddr, SocketAddr};

use super::args;
use super::exit::{Exit, Failure};
use super::{load_all, of_cluster};
use crate::config::{Config, HostPattern};

/// Stands for the address where geofront listens on every interface and `--host` is not given.
const PLACEHOLDER: &str = "GEOFRONT_HOST";

pub(super) fn run(options: &args::Mapping, out: &mut dyn Write) -> Result<Exit, Failure> {
    let first = load_all(&options.config)?;
    let front = first.loaded.config.clone();
    let config = of_cluster(first, options.cluster.as_deref())?;
    // Of several clusters, each is reached at the addresses of the front file.
    let config = Config {
        listen: front.listen,
        listeners: front.listeners,
        ..config
    };
    let mut target = target(&config, options.host.as_deref())?;
    let name = options.cluster.as_deref().unwrap_or_default();
    let entry = front.clusters.position(name);
    target
        .remarks
        .extend(entry.and_then(|at| host_remark(&front.clusters.entries()[at].hosts)));
    write!(out, "{}", entries(&target, &config))?;
    Ok(Exit::Success)
}

/// What to mind where the host of a request decides about its cluster.
fn host_remark(hosts: &[HostPattern]) -> Option<String> {
    let hosts: Vec<String> = hosts.iter().map(ToString::to_string).collect();
    (hosts != ["*"]).then(|| {
        format!(
            "geofront gives requests to this cluster by their Host: {}. The security-proxy or gateway\n\
             # must send one of these.",
            hosts.join(", ")
        )
    })
}

/// The address of this front door as the security-proxy or gateway reaches it.
#[derive(Debug, PartialEq)]
struct DoorTarget {
    /// With the context and a slash at its end.
    url: String,
    /// Comments on the address.
    remarks: Vec<String>,
}

/// An address on which requests are served, and its scheme.
#[derive(Clone, Copy, Debug)]
struct ServingAddress {
    address: SocketAddr,
    scheme: &'static str,
}

/// The addresses to which a peer can send requests as they are: no redirects to https, and no
/// header of the PROXY protocol in front.
fn serving_addresses(config: &Config) -> impl Iterator<Item = ServingAddress> {
    let plain = config.listen.iter().map(|&address| ServingAddress {
        address,
        scheme: "http",
    });
    let named = config
        .listeners
        .iter()
        .filter(|listener| {
            listener.https_redirect.is_none() && listener.proxy_protocol_from.is_empty()
        })
        .filter_map(|listener| {
            Some(ServingAddress {
                address: listener.address.inet()?,
                scheme: if listener.tls.is_some() {
                    "https"
                } else {
                    "http"
                },
            })
        });
    plain.chain(named)
}

/// Prefers an address that other machines reach.
fn target(config: &Config, host: Option<&str>) -> Result<DoorTarget, Failure> {
    let ServingAddress {
        address: listener,
        scheme,
    } = serving_addresses(config)
        .find(|serving| !serving.address.ip().is_loopback())
        .or_else(|| serving_addresses(config).next())
        .ok_or_else(|| {
            Failure::new("every address of the configuration redirects, requires a PROXY header or is a unix socket")
                .help("add one for the security-proxy or gateway to `listen`")
        })?;
    let mut remarks = Vec::new();
    let authority = match host {
        Some(host) => authority(host, listener.port())?,
        None if listener.ip().is_unspecified() => {
            remarks.push(format!(
                "geofront listens on every interface. Replace {PLACEHOLDER} by the name or address of this\n\
                 # machine, or repeat this command with --host."
            ));
            format!("{PLACEHOLDER}:{}", listener.port())
        }
        None => listener.to_string(),
    };
    if host.is_none() && listener.ip().is_loopback() {
        remarks.push(
            "geofront listens on this machine only. From another one it cannot be reached: see `listen`."
                .to_owned(),
        );
    }
    let url = format!("{scheme}://{authority}{}/", public_path(config));
    Ok(DoorTarget { url, remarks })
}

/// The path under which clients reach GeoServer.
fn public_path(config: &Config) -> String {
    let geoserver = &config.geoserver;
    let path = geoserver.public_path.as_ref().map(ToString::to_string);
    path.unwrap_or_else(|| geoserver.context.clone())
}

/// `host` with its own port, or else with the listener's.
fn authority(host: &str, port: u16) -> Result<String, Failure> {
    if let Ok(address) = host.parse::<SocketAddr>() {
        return Ok(address.to_string());
    }
    if let Ok(ip) = host.trim_matches(['[', ']']).parse::<IpAddr>() {
        return Ok(SocketAddr::new(ip, port).to_string());
    }
    let (name, port) = match host.rsplit_once(':') {
        Some((name, given)) => (name, given.parse().ok()),
        None => (host, Some(port)),
    };
    let is_name = |name: &str| {
        let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        !name.is_empty() && name.chars().all(is_part)
    };
    match port.filter(|port| *port != 0) {
        Some(port) if is_name(name) => Ok(format!("{name}:{port}")),
        _ => Err(Failure::usage(format!(
            "`{host}` is no host name or IP address, optionally with a port"
        ))),
    }
}

fn entries(target: &DoorTarget, config: &Config) -> String {
    let DoorTarget { url, remarks } = target;
    let path = match config.geoserver.context.as_str() {
        "" => "/geoserver",
        context => context,
    };
    let remarks: String = remarks
        .iter()
        .map(|remark| format!("# {remark}\n"))
        .collect();
    format!(
        "{remarks}{trust}
# security-proxy up to 18.06: in properties['proxy.mapping'] of GenerateConfig.groovy, then rebuild.
<entry key=\"geoserver\" value=\"{url}\" />

# security-proxy from 19.04: in security-proxy/targets-mapping.properties, then restart it.
geoserver={url}

# gateway from 23: in gateway/gateway.yaml or gateway/routes.yaml, then restart it.
georchestra:
  gateway:
    services:
      geoserver:
        target: {url}
# Its route, if routes.yaml has none for GeoServer yet:
spring:
  cloud:
    gateway:
      routes:
        - id: geoserver
          uri: ${{georchestra.gateway.services.geoserver.target}}
          predicates:
            - Path={path}/**
",
        trust = trust(config),
    )
}

/// Whether the identity that the security-proxy or gateway sends will reach GeoServer.
fn trust(config: &Config) -> String {
    let (key, trusted) = match &config.trust.identity {
        Some(identity) => ("trusted_identity", identity),
        None => ("trusted_proxies", &config.trust.proxies),
    };
    if trusted.is_empty() {
        return format!(
            "# `{key}` is empty: geofront removes the user headers (sec-*) of every peer. Add the address of the\n\
             # security-proxy or gateway to it, or its users have no rights in GeoServer.\n"
        );
    }
    let peers: Vec<String> = trusted.iter().map(ToString::to_string).collect();
    format!(
        "# User headers (sec-*) pass from these peers only (`{key}`): {}.\n",
        peers.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::MapEnvironment;

    fn config(head: &str) -> Config {
        let text = format!(
            "{head}\n[upstreams.main]\nurl = 'http://10.0.0.1'\nrole = 'main'\n[upstreams.a]\nurl = 'http://10.0.0.2'\n"
        );
        Config::load(
            Path::new("f"),
            &MapEnvironment::new().file("f", text.as_str()),
        )
        .unwrap_or_else(|wrong| panic!("{wrong}"))
        .config
    }

    fn url(head: &str, host: Option<&str>) -> String {
        target(&config(head), host).unwrap().url
    }

    #[test]
    fn the_entries_carry_the_address_and_context_of_the_front_door() {
        let config = config(
            "listen = ['127.0.0.1:8081', '10.0.0.9:8080']\ntrusted_proxies = ['10.0.0.5/32']\ngeoserver.context = '/maps'",
        );
        let target = target(&config, None).unwrap();
        insta::assert_snapshot!(entries(&target, &config), @r#"
        # User headers (sec-*) pass from these peers only (`trusted_proxies`): 10.0.0.5/32.

        # security-proxy up to 18.06: in properties['proxy.mapping'] of GenerateConfig.groovy, then rebuild.
        <entry key="geoserver" value="http://10.0.0.9:8080/maps/" />

        # security-proxy from 19.04: in security-proxy/targets-mapping.properties, then restart it.
        geoserver=http://10.0.0.9:8080/maps/

        # gateway from 23: in gateway/gateway.yaml or gateway/routes.yaml, then restart it.
        georchestra:
          gateway:
            services:
              geoserver:
                target: http://10.0.0.9:8080/maps/
        # Its route, if routes.yaml has none for GeoServer yet:
        spring:
          cloud:
            gateway:
              routes:
                - id: geoserver
                  uri: ${georchestra.gateway.services.geoserver.target}
                  predicates:
                    - Path=/maps/**
        "#);
    }

    #[test]
    fn a_listener_on_every_interface_needs_a_host() {
        let every = "listen = ['0.0.0.0:8080']";
        assert_eq!(url(every, None), "http://GEOFRONT_HOST:8080/geoserver/");
        for (host, authority) in [
            ("door.example.org", "door.example.org:8080"),
            ("door:80", "door:80"),
            ("10.0.0.9", "10.0.0.9:8080"),
            ("fd00::9", "[fd00::9]:8080"),
            ("[fd00::9]:81", "[fd00::9]:81"),
        ] {
            assert_eq!(
                url(every, Some(host)),
                format!("http://{authority}/geoserver/")
            );
        }
        for host in ["", "a b", "a:b", "http://a", "a:0", "a:99999"] {
            assert!(target(&config(every), Some(host)).is_err(), "{host}");
        }
    }

    #[test]
    fn named_listeners_are_addresses_too_unless_they_redirect() {
        let redirecting = "[listeners.plain]\naddress = '10.0.0.9:80'\nhttps_redirect = 443\n";
        let named = "[listeners.inside]\naddress = '10.0.0.9:8080'\n";
        assert_eq!(
            url(&format!("{redirecting}{named}"), None),
            "http://10.0.0.9:8080/geoserver/"
        );
        assert!(target(&config(redirecting), None).is_err());
    }

    #[test]
    fn an_address_that_others_cannot_reach_and_a_missing_trust_are_remarked() {
        let config = config("listen = ['127.0.0.1:8080']");
        let target = target(&config, None).unwrap();
        let text = entries(&target, &config);
        assert!(
            text.contains("on this machine only") && text.contains("`trusted_proxies` is empty")
        );
    }
}
