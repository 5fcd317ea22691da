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
        wrong(if is_number { PORT } else { EXAMPLE })
    })?;
    if is_host(host) {
        Ok(Url { tls, host, port })
    } else {
        Err(wrong(EXAMPLE))
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

/// True for an address, or a name that DNS, `/etc/hosts` or a container network may have.
pub(super) fn is_host(host: &str) -> bool {
    let is_name = !host.is_empty()
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
        ];
        for text in wrong {
            assert!(parse(text).is_err(), "{text:?}");
        }
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
