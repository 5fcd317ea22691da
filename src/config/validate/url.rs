//! `http://host:port`: the only form of an upstream's url.

use std::net::{IpAddr, Ipv6Addr};

/// The parts of a url.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Url<'t> {
    pub(super) tls: bool,
    /// The host without brackets.
    pub(super) host: &'t str,
    pub(super) port: u16,
}

/// The reason why a text is not the url of an upstream.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct UrlProblem {
    /// Completes "must".
    pub(super) rule: &'static str,
    pub(super) help: Option<String>,
    /// The text holds a password.
    pub(super) is_secret: bool,
}

fn wrong(rule: &'static str) -> UrlProblem {
    UrlProblem {
        rule,
        help: None,
        is_secret: false,
    }
}

const PORT: &str = "have a port of 1 to 65535";
const EXAMPLE: &str = "look like \"http://10.0.0.11:8080\"";

pub(super) fn parse(text: &str) -> Result<Url<'_>, UrlProblem> {
    let (scheme, rest) = text.split_once("://").ok_or_else(|| UrlProblem {
        help: with_scheme(text),
        ..wrong(EXAMPLE)
    })?;
    let (tls, default_port) = match scheme.to_ascii_lowercase().as_str() {
        "http" => (false, 80),
        "https" => (true, 443),
        _ => return Err(wrong("begin with http:// or https://")),
    };
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    if authority.contains('@') {
        let help =
            "credentials stand under [geoserver]: `username` with `password_file`".to_owned();
        return Err(UrlProblem {
            rule: "not hold a user or a password",
            help: Some(help),
            is_secret: true,
        });
    }
    if !matches!(path, "" | "/") {
        return Err(UrlProblem {
            help: path.starts_with('/').then(|| about_path(path)),
            ..wrong("end after host and port")
        });
    }
    let (host, port) = host_and_port(authority, default_port).ok_or_else(|| {
        let port = authority.rsplit_once(':').map_or("", |(_, port)| port);
        let is_number = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
        match without_brackets(authority) {
            Some(corrected) => UrlProblem {
                help: Some(format!("did you mean \"{scheme}://{corrected}\"?")),
                ..wrong("have an IPv6 address in brackets")
            },
            None => wrong(if is_number { PORT } else { EXAMPLE }),
        }
    })?;
    match (is_host(host), is_numeric(host)) {
        (true, _) => Ok(Url { tls, host, port }),
        (false, true) => Err(wrong(
            "have an address of four numbers from 0 to 255, or a name",
        )),
        (false, false) => Err(wrong(EXAMPLE)),
    }
}

/// The authority with brackets, if it is an IPv6 address without them, with or without a port.
fn without_brackets(authority: &str) -> Option<String> {
    let is_address = |text: &str| text.parse::<Ipv6Addr>().is_ok();
    match authority.rsplit_once(':') {
        Some((host, port)) if is_address(host) && port.parse::<u16>().is_ok() => {
            Some(format!("[{host}]:{port}"))
        }
        _ if is_address(authority) => Some(format!("[{authority}]")),
        _ => None,
    }
}

fn with_scheme(text: &str) -> Option<String> {
    let completed = format!("http://{text}");
    parse(&completed)
        .is_ok()
        .then(|| format!("did you mean \"{completed}\"?"))
}

fn about_path(path: &str) -> String {
    let path = path.trim_end_matches('/');
    format!(
        "the path is the same on all upstreams and stands once: [geoserver] context = \"{}\"",
        path.escape_debug()
    )
}

/// Splits the part of a url that names a server; `None` if it cannot be one.
pub(super) fn host_and_port(authority: &str, default_port: u16) -> Option<(&str, u16)> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, after) = rest.split_once(']')?;
            host.parse::<Ipv6Addr>().ok()?;
            (
                host,
                after
                    .strip_prefix(':')
                    .or_else(|| after.is_empty().then_some(""))?,
            )
        }
        None => authority.split_once(':').unwrap_or((authority, "")),
    };
    let has_colon = authority.len() > host.len() && authority.ends_with(':');
    if has_colon {
        return None;
    }
    let port = if port.is_empty() {
        default_port
    } else {
        port.parse().ok().filter(|port| *port != 0)?
    };
    Some((host, port))
}

/// True for digits and dots: an address of IPv4, or a mistake in one, but no name.
fn is_numeric(host: &str) -> bool {
    !host.is_empty() && host.bytes().all(|b| b.is_ascii_digit() || b == b'.')
}

/// True for an address, or a name that DNS, `/etc/hosts` or a container network may have.
pub(super) fn is_host(host: &str) -> bool {
    let is_name = !host.is_empty()
        && !is_numeric(host)
        && host.len() <= 253
        && host
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    is_name || host.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_and_port_with_or_without_a_last_slash() {
        let url = |tls, host, port| Ok(Url { tls, host, port });
        assert_eq!(
            parse("http://10.0.0.11:8080"),
            url(false, "10.0.0.11", 8080)
        );
        assert_eq!(
            parse("https://gs.example.org/"),
            url(true, "gs.example.org", 443)
        );
        assert_eq!(parse("http://[::1]:8080"), url(false, "::1", 8080));
        assert_eq!(parse("HTTP://gs_1"), url(false, "gs_1", 80));
    }

    #[test]
    fn everything_else_is_refused() {
        let wrong = [
            "",
            "gs",
            "ftp://gs",
            "http://",
            "http://:80",
            "http://gs:",
            "http://gs:0",
            "http://gs:99999",
            "http://gs:80:80",
            "http://gs/geoserver",
            "http://gs?x",
            "http://gs#x",
            "http://u:p@gs",
            "http://[::1",
            "http://[gs]",
            "http://[::1]x",
            "http://g s",
            "http://::1:80",
            "http://gs\\x",
            "http://10.0.0.256:8080",
            "http://10.0.0:8080",
            "http://8080",
        ];
        for text in wrong {
            assert!(parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn the_brackets_of_an_ipv6_address_are_completed() {
        let corrected = |text: &str| parse(text).unwrap_err().help;
        for text in ["http://fe80::1:8080", "http://2001:db8:1:2:3:4:5:6:8080"] {
            let (host, port) = text["http://".len()..].rsplit_once(':').unwrap();
            let expected = format!("did you mean \"http://[{host}]:{port}\"?");
            assert_eq!(corrected(text), Some(expected), "{text}");
        }
        assert_eq!(
            corrected("https://2001:db8:1:2:3:4:5:6").as_deref(),
            Some("did you mean \"https://[2001:db8:1:2:3:4:5:6]\"?")
        );
        assert_eq!(corrected("http://gs:80:80"), None);
    }

    #[test]
    fn a_password_is_recognised_and_a_missing_scheme_completed() {
        assert!(
            parse("http://admin:geoserver@gs:8080")
                .unwrap_err()
                .is_secret
        );
        assert_eq!(
            parse("gs:8080").unwrap_err().help.as_deref(),
            Some("did you mean \"http://gs:8080\"?")
        );
    }
}
