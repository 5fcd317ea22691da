//! Access control of the admin listener.
//!
//! On loopback, every client that reaches the port may administrate: a shell on the machine, an SSH
//! tunnel. A browser reaches the port too, on behalf of any page that it shows. So two kinds of
//! requests are denied. One comes from a page of another site, which `Origin` or `Sec-Fetch-Site`
//! reveals. The other comes from a page with a host name that was pointed at 127.0.0.1 (DNS
//! rebinding), which the foreign `Host` reveals.
//!
//! Other programs on the machine can be tricked too. A GeoServer can be made to request a URL (a
//! style, a cascaded service, a remote file). It reaches loopback with a method and a body that the
//! attacker chose, but the attacker cannot add header fields. So a request that changes something
//! must carry [`MARK`] or the token. Neither such a program nor a browser's form can add them.
//!
//! On other addresses a token is required. There the `Host` may be anything, because a rebound page
//! does not have the token. Requests that reveal and change nothing need no token: the empty status
//! page with its style and scripts, which prompts for the token, and the two health checks, because
//! load balancers and Kubernetes send none.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, Method, header};
use subtle::ConstantTimeEq;

use crate::config::Secret;

/// The header field of every request that changes something. Its value does not matter.
pub(crate) const MARK: &str = "x-geofront";

/// Paths that need no token.
const OPEN_PATHS: [&str; 8] = [
    "/",
    "/page.css",
    "/clusters.js",
    "/charts.js",
    "/page.js",
    "/explain.js",
    "/healthz",
    "/readyz",
];

/// The reason why a request was denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Denied {
    ForeignHost,
    ForeignOrigin,
    /// The request changes something, and may come from a program that was tricked.
    NoMark,
    NoToken,
    WrongToken,
    /// The listener is beyond loopback, and the configuration names no token.
    TokenNotConfigured,
}

impl Denied {
    pub(super) const fn message(self) -> &'static str {
        match self {
            Self::ForeignHost => {
                "this address is not one of geofront's own: use localhost, 127.0.0.1 or the configured admin address"
            }
            Self::ForeignOrigin => "pages of other sites may not use geofront's admin endpoint",
            Self::NoMark => {
                "a request that changes something needs the header `X-Geofront: 1`, or the admin token as `Authorization: Bearer TOKEN`"
            }
            Self::NoToken => {
                "a token is required: send `Authorization: Bearer TOKEN` with the configured admin token"
            }
            Self::WrongToken => "the token is not the configured admin token",
            Self::TokenNotConfigured => {
                "the admin address is not on loopback and no admin token is configured: every request is refused"
            }
        }
    }

    pub(super) const fn wants_token(self) -> bool {
        matches!(self, Self::NoToken | Self::WrongToken)
    }
}

/// Admits a request, or returns the reason for the denial. `listener` is the listening address,
/// `token` the configured one.
pub(super) fn admit(
    method: &Method,
    path: &str,
    headers: &HeaderMap,
    listener: SocketAddr,
    token: Option<&Secret>,
) -> Result<(), Denied> {
    let path = within_cluster(path);
    let on_loopback = listener.ip().is_loopback();
    if on_loopback && !names_us(headers, listener.ip()) {
        return Err(Denied::ForeignHost);
    }
    if !is_page_visit(method, path) && is_from_another_site(headers) {
        return Err(Denied::ForeignOrigin);
    }
    match token {
        _ if OPEN_PATHS.contains(&path) && is_reading(method) => Ok(()),
        Some(token) => check_token(headers, token),
        None if on_loopback && !is_reading(method) && !headers.contains_key(MARK) => {
            Err(Denied::NoMark)
        }
        None if on_loopback => Ok(()),
        None => Err(Denied::TokenNotConfigured),
    }
}

/// The path below that of a cluster, whose page is as open as that of a geofront with only one.
fn within_cluster(path: &str) -> &str {
    let Some(rest) = path.strip_prefix("/clusters/") else {
        return path;
    };
    rest.find('/').map_or("/", |end| &rest[end..])
}

/// True for methods that change nothing.
fn is_reading(method: &Method) -> bool {
    method == Method::GET || method == Method::HEAD
}

/// True for a link to the status page. The requests of the page itself then come from its own
/// origin.
fn is_page_visit(method: &Method, path: &str) -> bool {
    path == "/" && is_reading(method)
}

/// True if `Host` is a loopback name, a loopback address or the listening address. A request
/// without `Host` is not from a browser.
fn names_us(headers: &HeaderMap, listener: IpAddr) -> bool {
    headers.get_all(header::HOST).iter().all(|host| {
        let host = host_of(host.to_str().unwrap_or_default());
        host.eq_ignore_ascii_case("localhost")
            || host
                .parse::<IpAddr>()
                .is_ok_and(|ip| ip.to_canonical().is_loopback() || ip == listener)
    })
}

/// The host of `host:port`, without the brackets of IPv6.
fn host_of(authority: &str) -> &str {
    if let Some(rest) = authority.strip_prefix('[') {
        return rest.split(']').next().unwrap_or_default();
    }
    authority
        .rsplit_once(':')
        .map_or(authority, |(host, _)| host)
}

/// True if the browser marks the request as caused by another site's page.
fn is_from_another_site(headers: &HeaderMap) -> bool {
    let text = |name| {
        headers
            .get(name)
            .map(|value| value.to_str().unwrap_or_default())
    };
    let host = text(header::HOST).unwrap_or_default();
    let foreign_origin = text(header::ORIGIN).is_some_and(|origin| {
        let authority = origin
            .strip_prefix("http://")
            .or_else(|| origin.strip_prefix("https://"));
        authority.is_none_or(|authority| !authority.eq_ignore_ascii_case(host))
    });
    let foreign_fetch = headers
        .get("sec-fetch-site")
        .is_some_and(|site| site != "same-origin" && site != "none");
    foreign_origin || foreign_fetch
}

/// Compares in constant time, so that the delay reveals nothing about the token.
fn check_token(headers: &HeaderMap, token: &Secret) -> Result<(), Denied> {
    let given = headers.get(header::AUTHORIZATION).ok_or(Denied::NoToken)?;
    let (scheme, given) = given
        .to_str()
        .ok()
        .and_then(|value| value.split_once(' '))
        .ok_or(Denied::NoToken)?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(Denied::NoToken);
    }
    let is_same: bool = given
        .trim()
        .as_bytes()
        .ct_eq(token.expose().as_bytes())
        .into();
    is_same.then_some(()).ok_or(Denied::WrongToken)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOOPBACK: &str = "127.0.0.1:9090";
    const EVERYWHERE: &str = "0.0.0.0:9090";

    fn checked(
        listener: &str,
        token: Option<&str>,
        path: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<(), Denied> {
        checked_with(&Method::GET, listener, token, path, headers)
    }

    fn checked_with(
        method: &Method,
        listener: &str,
        token: Option<&str>,
        path: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<(), Denied> {
        let headers = headers
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .collect();
        let token = token.map(|token| Secret::new(token.to_owned()));
        admit(
            method,
            path,
            &headers,
            listener.parse().unwrap(),
            token.as_ref(),
        )
    }

    #[test]
    fn on_loopback_every_loopback_name_is_ours() {
        for host in [
            "localhost",
            "LocalHost:9090",
            "127.0.0.1:9090",
            "127.8.8.8",
            "[::1]:9090",
            "[::ffff:127.0.0.1]:1",
        ] {
            assert_eq!(
                checked(LOOPBACK, None, "/api/status", &[("host", host)]),
                Ok(()),
                "{host}"
            );
        }
        assert_eq!(checked(LOOPBACK, None, "/api/status", &[]), Ok(()));
    }

    #[test]
    fn on_loopback_a_rebound_name_is_refused_on_every_path() {
        for host in [
            "evil.example",
            "evil.example:9090",
            "localhost.evil.example",
            "127.0.0.1.nip.io",
            "10.0.0.5",
            "",
            "[::2]",
        ] {
            for path in ["/", "/metrics", "/healthz", "/api/status"] {
                assert_eq!(
                    checked(LOOPBACK, None, path, &[("host", host)]),
                    Err(Denied::ForeignHost),
                    "{host} {path}"
                );
            }
        }
    }

    #[test]
    fn two_hosts_are_refused_unless_both_are_ours() {
        let hosts = [("host", "localhost"), ("host", "evil.example")];
        assert_eq!(
            checked(LOOPBACK, None, "/api/status", &hosts),
            Err(Denied::ForeignHost)
        );
    }

    #[test]
    fn a_page_of_another_site_may_neither_read_nor_write() {
        for foreign in [
            ("origin", "http://evil.example"),
            ("origin", "null"),
            ("origin", "http://localhost:8080"),
            ("origin", "localhost:9090"),
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "same-site"),
        ] {
            let headers = [("host", "localhost:9090"), foreign];
            assert_eq!(
                checked(LOOPBACK, None, "/api/status", &headers),
                Err(Denied::ForeignOrigin),
                "{foreign:?}"
            );
            let headers = [
                ("host", "front:9090"),
                ("authorization", "Bearer secret"),
                foreign,
            ];
            assert_eq!(
                checked(EVERYWHERE, Some("secret"), "/api/status", &headers),
                Err(Denied::ForeignOrigin),
                "{foreign:?}"
            );
        }
    }

    #[test]
    fn requests_of_the_status_page_and_links_to_it_are_admitted() {
        let own = [
            ("host", "localhost:9090"),
            ("origin", "http://localhost:9090"),
            ("sec-fetch-site", "same-origin"),
        ];
        assert_eq!(checked(LOOPBACK, None, "/api/config", &own), Ok(()));
        let link = [("host", "localhost:9090"), ("sec-fetch-site", "cross-site")];
        assert_eq!(checked(LOOPBACK, None, "/", &link), Ok(()));
    }

    #[test]
    fn beyond_loopback_only_the_right_token_opens() {
        let with = |value| {
            checked(
                EVERYWHERE,
                Some("s3cret"),
                "/api/status",
                &[("authorization", value)],
            )
        };
        assert_eq!(with("Bearer s3cret"), Ok(()));
        assert_eq!(with("bearer s3cret"), Ok(()));
        for wrong in ["Bearer s3cre", "Bearer s3cretx", "Bearer S3CRET", "Bearer "] {
            assert_eq!(with(wrong), Err(Denied::WrongToken), "{wrong}");
        }
        for none in ["s3cret", "Basic s3cret", ""] {
            assert_eq!(with(none), Err(Denied::NoToken), "{none}");
        }
        assert_eq!(
            checked(EVERYWHERE, Some("s3cret"), "/metrics", &[]),
            Err(Denied::NoToken)
        );
    }

    #[test]
    fn a_token_is_required_on_loopback_too_once_it_is_configured() {
        assert_eq!(
            checked(
                LOOPBACK,
                Some("s3cret"),
                "/api/status",
                &[("host", "localhost")]
            ),
            Err(Denied::NoToken)
        );
    }

    #[test]
    fn beyond_loopback_without_a_configured_token_every_request_is_denied() {
        let headers = [("authorization", "Bearer ")];
        assert_eq!(
            checked("[::]:9090", None, "/api/status", &headers),
            Err(Denied::TokenNotConfigured)
        );
        assert_eq!(
            checked("10.0.0.5:9090", None, "/metrics", &[]),
            Err(Denied::TokenNotConfigured)
        );
    }

    #[test]
    fn a_change_needs_the_mark_or_the_token_on_loopback_too() {
        let post = |token, headers: &[(&'static str, &str)]| {
            checked_with(
                &Method::POST,
                LOOPBACK,
                token,
                "/api/config/reload",
                headers,
            )
        };
        let (host, mark) = (("host", "localhost"), ("x-geofront", "1"));
        assert_eq!(post(None, &[host]), Err(Denied::NoMark));
        assert_eq!(post(None, &[]), Err(Denied::NoMark));
        assert_eq!(post(None, &[host, mark]), Ok(()));
        let bearer = ("authorization", "Bearer s3cret");
        assert_eq!(post(Some("s3cret"), &[host, bearer]), Ok(()));
        assert_eq!(post(Some("s3cret"), &[host, mark]), Err(Denied::NoToken));
        let rebound = [("host", "evil.example"), mark];
        assert_eq!(post(None, &rebound), Err(Denied::ForeignHost));
        for method in [Method::PUT, Method::DELETE, Method::OPTIONS, Method::PATCH] {
            let verdict = checked_with(&method, LOOPBACK, None, "/", &[host]);
            assert_eq!(verdict, Err(Denied::NoMark), "{method}");
        }
    }

    #[test]
    fn below_a_cluster_the_same_paths_are_open() {
        let status = |path: &str| {
            checked(
                EVERYWHERE,
                Some("s3cret"),
                path,
                &[("host", "front.example:9090")],
            )
        };
        for path in [
            "/clusters/a/",
            "/clusters/a",
            "/clusters/a/page.js",
            "/clusters/a/readyz",
        ] {
            assert_eq!(status(path), Ok(()), "{path}");
        }
        for path in [
            "/clusters/a/api/status",
            "/clusters/a/b/",
            "/clusters/a/clusters/b/",
            "/clusters/a//",
            "/clustersa/",
            "/api/clusters",
        ] {
            assert_eq!(status(path), Err(Denied::NoToken), "{path}");
        }
        let visit = [("host", "localhost"), ("sec-fetch-site", "cross-site")];
        assert_eq!(checked(LOOPBACK, None, "/clusters/a/", &visit), Ok(()));
        let read = checked(LOOPBACK, None, "/clusters/a/api/status", &visit);
        assert_eq!(read, Err(Denied::ForeignOrigin));
    }

    #[test]
    fn health_checks_and_the_empty_page_need_no_token() {
        for path in OPEN_PATHS {
            assert_eq!(
                checked(
                    EVERYWHERE,
                    Some("s3cret"),
                    path,
                    &[("host", "front.example:9090")]
                ),
                Ok(()),
                "{path}"
            );
        }
    }
}
