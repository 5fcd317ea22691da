//! What passes between client and upstream beside the body, and what does not.
//!
//! GeoServer believes `sec-username` and `sec-roles` from anybody who reaches it, and reads
//! X-Forwarded-Host and -Proto raw, so this is where trust is decided. From a peer that is not in
//! `trusted_proxies`, everything GeoServer or its container could take for the word of a proxy is
//! removed and X-Forwarded-* are set from the connection. From a trusted peer all of it passes byte
//! for byte, with two exceptions: a list in X-Forwarded-Host, -Proto or -Port (each proxy appended
//! its own) is cut to its first element, which is what the user's browser asked for, because
//! GeoServer would put the whole list into the URLs of its capabilities; and the peer is appended
//! to X-Forwarded-For, as every proxy does.
//!
//! Host, path and query are not touched; hop-by-hop headers are removed by Pingora before we are
//! called. `Forwarded` is never added: two sources of the same fact can disagree.
//! `docs/headers-and-trust.md` tells administrators the same.

use std::net::{IpAddr, SocketAddr};

use http::header::{
    CONNECTION, HOST, HeaderName, HeaderValue, TRAILER, TRANSFER_ENCODING, UPGRADE, VIA,
};
use pingora::Result;
use pingora::http::authority::raw_target_authority;
use pingora::http::{RequestHeader, ResponseHeader, StatusCode};

use crate::proxy::client::request_id::{REQUEST_ID, RequestId};

/// As text: Pingora writes the names of a request as they are given, and copies those of the `http`
/// crate.
const VIA_NAME: &str = "Via";
const X_FORWARDED_FOR: &str = "X-Forwarded-For";
const X_FORWARDED_HOST: &str = "X-Forwarded-Host";
const X_FORWARDED_PROTO: &str = "X-Forwarded-Proto";
const X_FORWARDED_PORT: &str = "X-Forwarded-Port";

/// Every answer and request we pass names us once; a request that names us this often is going
/// round in circles.
const MAX_PASSES: usize = 4;

/// What a message cannot do without, whatever `Connection` names.
const KEPT: [&str; 8] = [
    "host",
    "content-length",
    "content-type",
    "content-encoding",
    "transfer-encoding",
    "authorization",
    "cookie",
    "date",
];

const OUR_NAME: &[u8] = b"geofront";

/// What the connection tells about who asks.
#[derive(Clone, Copy, Debug)]
pub struct ClientView<'a> {
    pub peer: IpAddr,
    /// Our end of the connection: stands in for the Host that an HTTP/1.0 client did not send.
    pub local: Option<SocketAddr>,
    /// `Config::trusts(peer)`.
    pub trusted: bool,
    pub tls: bool,
    /// The request came as HTTP/1.0 (what goes upstream is always 1.1).
    pub http10: bool,
    pub request_id: &'a RequestId,
}

/// Makes a client's request fit to be seen by an upstream.
pub fn prepare_upstream(request: &mut RequestHeader, client: &ClientView<'_>) -> Result<()> {
    if !client.trusted {
        strip_claims(request);
    }
    name_a_host(request, client)?;
    if client.trusted {
        pass_forwarded(request, client)?;
    } else {
        set_forwarded(request, client)?;
    }
    request.append_header(
        VIA_NAME,
        HeaderValue::from_static(if client.http10 {
            "1.0 geofront"
        } else {
            "1.1 geofront"
        }),
    )?;
    request.insert_header(REQUEST_ID, client.request_id.as_str())
}

/// Makes an upstream's answer fit to be seen by the client.
pub fn prepare_downstream(response: &mut ResponseHeader, client: &ClientView<'_>) -> Result<()> {
    strip_hop_by_hop(response);
    if !client.trusted {
        let echoed: Vec<HeaderName> = response
            .headers
            .keys()
            .filter(|name| names_a_user(name.as_str()))
            .cloned()
            .collect();
        for name in &echoed {
            response.remove_header(name);
        }
    }
    response.append_header(VIA_NAME, HeaderValue::from_static("1.1 geofront"))?;
    response.insert_header(REQUEST_ID, client.request_id.as_str())
}

/// Frames an answer for an HTTP/1.0 client, who does not know chunks: without a length it ends with
/// its connection.
///
/// True when the connection has to close after this answer. The caller must then switch keep-alive
/// off on the session as well: Pingora derives the `Connection` header from that, before it looks
/// at how the body is framed.
#[must_use = "the session's keep-alive has to be switched off"]
pub fn unchunk_for_http10(response: &mut ResponseHeader, is_head: bool) -> bool {
    response.remove_header(&TRANSFER_ENCODING);
    response.remove_header(&TRAILER);
    let has_body = !is_head
        && !matches!(
            response.status,
            StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED
        );
    has_body && !response.headers.contains_key(http::header::CONTENT_LENGTH)
}

/// Whether the request has come through here so often that an upstream must be ourselves.
pub fn goes_in_circles(request: &RequestHeader) -> bool {
    let passes = request
        .headers
        .get_all(VIA)
        .iter()
        .flat_map(|line| line.as_bytes().split(|b| *b == b','));
    passes
        .filter(|hop| hop.trim_ascii().ends_with(OUR_NAME))
        .count()
        >= MAX_PASSES
}

/// Whether `Connection` would have us remove a field that says who asks or for what. A part of what
/// a trusted peer vouches for is worse than none of it.
pub fn nominates_a_claim(request: &RequestHeader) -> bool {
    let is_kept = |name: &[u8]| {
        let name = name.to_ascii_lowercase();
        std::str::from_utf8(&name).is_ok_and(|name| is_claim(name) || KEPT.contains(&name))
    };
    nominations(&request.headers).any(is_kept)
}

/// Fields that end with the connection, whether `Connection` names them or not (RFC 9110 section
/// 7.6.1).
fn strip_hop_by_hop(response: &mut ResponseHeader) {
    let is_ours = |name: &HeaderName| {
        !KEPT.contains(&name.as_str()) && *name != CONNECTION && *name != UPGRADE
    };
    let named = nominations(&response.headers)
        .filter_map(|name| HeaderName::from_bytes(name).ok())
        .filter(is_ours);
    let named: Vec<HeaderName> = named.collect();
    for name in named
        .iter()
        .map(HeaderName::as_str)
        .chain(["keep-alive", "proxy-connection"])
    {
        response.remove_header(name);
    }
}

fn nominations(headers: &http::HeaderMap) -> impl Iterator<Item = &[u8]> {
    let lines = headers.get_all(CONNECTION).iter();
    lines.flat_map(|line| {
        line.as_bytes()
            .split(|byte| *byte == b',')
            .map(<[u8]>::trim_ascii)
    })
}

fn strip_claims(request: &mut RequestHeader) {
    // Empty for most clients, and an empty Vec does not allocate.
    let claims: Vec<HeaderName> = request
        .headers
        .keys()
        .filter(|name| is_claim(name.as_str()))
        .cloned()
        .collect();
    for name in &claims {
        request.remove_header(name);
    }
}

/// Whether this header is the word of a proxy. `name` is lower case; `_` counts as `-`, because
/// what maps headers to variables behind a container does not tell them apart.
pub(super) fn is_claim(name: &str) -> bool {
    if names_a_user(name) {
        return true;
    }
    match name.as_bytes().first() {
        Some(b'x') => {
            starts_with_folded(name, "x-forwarded")
                || [
                    "x-real-ip",
                    "x-client-ip",
                    "x-cluster-client-ip",
                    "x-original-forwarded-for",
                    "x-request-id",
                ]
                .into_iter()
                .any(|claim| equals_folded(name, claim))
        }
        Some(b'f') => name == "forwarded",
        Some(b't') => equals_folded(name, "true-client-ip"),
        // control-flow serves requests with a higher number first.
        Some(b'c') => {
            equals_folded(name, "ctrl-flow-priority") || equals_folded(name, "cf-connecting-ip")
        }
        _ => false,
    }
}

/// `sec-username`, `sec-roles`, `imp-username` and the rest of geOrchestra's. Browsers' own
/// `sec-fetch-*` and `sec-ch-*` go the same way: GeoServer has no use for them, and the
/// security-proxy and the gateway remove them too. `sec-websocket-*` is spoken with the upstream,
/// and says nothing about users.
fn names_a_user(name: &str) -> bool {
    (starts_with_folded(name, "sec-") && !name.starts_with("sec-websocket-"))
        || starts_with_folded(name, "imp-")
}

fn starts_with_folded(name: &str, prefix: &str) -> bool {
    name.len() >= prefix.len() && equals_folded(&name[..prefix.len()], prefix)
}

fn equals_folded(name: &str, other: &str) -> bool {
    name.len() == other.len()
        && name
            .bytes()
            .zip(other.bytes())
            .all(|(a, b)| a == b || (a == b'_' && b == b'-'))
}

/// HTTP/1.1 upstreams require a Host (Tomcat answers 400 without). Where the request line names the
/// authority, Pingora takes it from there.
fn name_a_host(request: &mut RequestHeader, client: &ClientView<'_>) -> Result<()> {
    let is_named = request.headers.contains_key(HOST)
        || raw_target_authority(request.raw_path())
            .authority()
            .is_some();
    let Some(local) = client.local.filter(|_| !is_named) else {
        return Ok(());
    };
    let default_port = if client.tls { 443 } else { 80 };
    let ip = local.ip().to_canonical();
    let host = match (ip, local.port() == default_port) {
        (IpAddr::V6(ip), true) => format!("[{ip}]"),
        (IpAddr::V4(ip), true) => ip.to_string(),
        (ip, false) => SocketAddr::new(ip, local.port()).to_string(),
    };
    request.insert_header(HOST, host)
}

/// The connection is all we know.
fn set_forwarded(request: &mut RequestHeader, client: &ClientView<'_>) -> Result<()> {
    if let Some(host) = request.headers.get(HOST).cloned() {
        request.insert_header(X_FORWARDED_PORT, port_of(host.as_bytes(), client.tls))?;
        request.insert_header(X_FORWARDED_HOST, host)?;
    }
    request.insert_header(
        X_FORWARDED_PROTO,
        HeaderValue::from_static(if client.tls { "https" } else { "http" }),
    )?;
    request.insert_header(X_FORWARDED_FOR, client.peer.to_canonical().to_string())
}

/// The port the client used: as it says itself, since ours may hide behind a port mapping.
fn port_of(host: &[u8], tls: bool) -> u16 {
    let after_colon = host
        .iter()
        .rposition(|b| *b == b':')
        .map(|colon| &host[colon + 1..]);
    let port = after_colon.and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
    port.unwrap_or(if tls { 443 } else { 80 })
}

/// The trusted peer knows better than we do, so what it did not say stays unsaid.
fn pass_forwarded(request: &mut RequestHeader, client: &ClientView<'_>) -> Result<()> {
    for name in [X_FORWARDED_HOST, X_FORWARDED_PROTO, X_FORWARDED_PORT] {
        keep_first_element(request, name)?;
    }
    append_peer(request, client.peer)
}

fn keep_first_element(request: &mut RequestHeader, name: &'static str) -> Result<()> {
    let mut lines = request.headers.get_all(name).iter();
    let Some(line) = lines.next() else {
        return Ok(());
    };
    let first = line
        .as_bytes()
        .split(|b| *b == b',')
        .map(<[u8]>::trim_ascii)
        .find(|element| !element.is_empty());
    let is_single = lines.next().is_none() && !line.as_bytes().contains(&b',');
    match first {
        Some(first) if !is_single => {
            let first =
                HeaderValue::from_bytes(first).expect("a part of a valid value without its commas");
            request.insert_header(name, first)
        }
        Some(_) | None => Ok(()),
    }
}

/// In one line: GeoServer's control-flow reads the first line only, and of that the first element.
fn append_peer(request: &mut RequestHeader, peer: IpAddr) -> Result<()> {
    let mut chain = Vec::new();
    for line in request.headers.get_all(X_FORWARDED_FOR) {
        chain.extend_from_slice(line.as_bytes());
        chain.extend_from_slice(b", ");
    }
    chain.extend_from_slice(peer.to_canonical().to_string().as_bytes());
    request.insert_header(X_FORWARDED_FOR, chain)
}

#[cfg(test)]
mod tests {
    use pingora::protocols::http::v1::server::HttpSession;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    fn request(headers: &[(&'static str, &str)]) -> RequestHeader {
        let mut request = RequestHeader::build("GET", b"/geoserver/wms?SERVICE=WMS", None).unwrap();
        for (name, value) in headers {
            request.append_header(*name, *value).unwrap();
        }
        request
    }

    /// What the upstream sees, as `name: value` lines in lower case names.
    fn seen_from(trusted: bool, headers: &[(&'static str, &str)]) -> Vec<String> {
        let mut request = request(headers);
        let id = RequestId::from_peer(b"id").unwrap();
        let client = ClientView {
            peer: "192.0.2.7".parse().unwrap(),
            local: Some("10.0.0.1:8080".parse().unwrap()),
            trusted,
            tls: false,
            http10: false,
            request_id: &id,
        };
        prepare_upstream(&mut request, &client).unwrap();
        let mut wire = Vec::new();
        request.header_to_h1_wire(&mut wire);
        let wire = String::from_utf8(wire).unwrap();
        let mut lines: Vec<String> = wire
            .lines()
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| format!("{}: {value}", name.to_ascii_lowercase()))
            .filter(|line| !line.starts_with("via") && !line.starts_with("x-request-id"))
            .collect();
        lines.sort();
        lines
    }

    #[test]
    fn a_stranger_cannot_claim_to_be_a_user_or_a_proxy_in_any_spelling() {
        let claims = [
            ("sec-username", "admin"),
            ("SEC-ROLES", "ROLE_ADMINISTRATOR"),
            ("Sec-Proxy", "true"),
            ("sec_username", "admin"),
            ("imp-username", "admin"),
            ("IMP_ROLES", "ROLE_ADMINISTRATOR"),
            ("X-Forwarded-For", "10.0.0.5"),
            ("x-forwarded-host", "evil.example"),
            ("X_Forwarded_Proto", "https"),
            ("X-Forwarded-Path", "/evil"),
            ("X-Forwarded-Prefix", "/evil"),
            ("X-Forwarded", "for=10.0.0.5"),
            ("Forwarded", "host=evil.example"),
            ("X-Real-IP", "10.0.0.5"),
            ("X-Client-IP", "10.0.0.5"),
            ("True-Client-IP", "10.0.0.5"),
            ("ctrl-flow-priority", "10"),
        ];
        let mut headers = vec![("Host", "maps.example")];
        headers.extend(claims);
        assert_eq!(
            seen_from(false, &headers),
            [
                "host: maps.example",
                "x-forwarded-for: 192.0.2.7",
                "x-forwarded-host: maps.example",
                "x-forwarded-port: 80",
                "x-forwarded-proto: http",
            ]
        );
    }

    #[test]
    fn a_connection_that_would_hide_a_claim_is_noticed_and_one_that_names_its_own_is_not() {
        for list in [
            "X-Forwarded-For",
            "close, sec-username",
            "Imp_Username",
            "Host",
            "x, Content-Length",
            "forwarded",
        ] {
            assert!(
                nominates_a_claim(&request(&[("Connection", list)])),
                "{list}"
            );
        }
        for list in [
            "close",
            "keep-alive, Upgrade",
            "X-Own",
            "",
            "TE, HTTP2-Settings",
        ] {
            assert!(
                !nominates_a_claim(&request(&[("Connection", list)])),
                "{list}"
            );
        }
        assert!(nominates_a_claim(&request(&[
            ("Connection", "close"),
            ("Connection", "x-real-ip")
        ])));
    }

    #[test]
    fn an_answers_own_fields_of_the_connection_end_here() {
        let mut response = ResponseHeader::build(200, None).unwrap();
        let fields = [
            ("Connection", "close, X-Own, Content-Length"),
            ("X-Own", "1"),
            ("Keep-Alive", "timeout=20"),
            ("Content-Length", "5"),
        ];
        for (name, value) in fields {
            response.append_header(name, value).unwrap();
        }
        strip_hop_by_hop(&mut response);
        let left: Vec<&str> = response.headers.keys().map(HeaderName::as_str).collect();
        assert_eq!(left, ["connection", "content-length"]);
    }

    #[test]
    fn a_websockets_handshake_passes_from_everybody() {
        let seen = seen_from(
            false,
            &[
                ("Host", "h"),
                ("Sec-WebSocket-Key", "k"),
                ("Sec_WebSocket_Key", "k"),
            ],
        );
        assert_eq!(
            seen.iter()
                .filter(|line| line.contains("websocket"))
                .count(),
            1,
            "{seen:?}"
        );
    }

    #[test]
    fn repeated_claims_are_all_removed() {
        let seen = seen_from(
            false,
            &[
                ("Host", "h"),
                ("sec-username", "a"),
                ("Sec-Username", "b"),
                ("accept", "x"),
            ],
        );
        assert!(
            !seen.iter().any(|line| line.starts_with("sec-")),
            "{seen:?}"
        );
        assert!(seen.contains(&"accept: x".to_owned()));
    }

    #[test]
    fn a_strangers_ordinary_headers_pass() {
        let kept = [
            ("authorization", "Basic eA=="),
            ("cookie", "JSESSIONID=1"),
            ("second", "1"),
            ("x-forward", "1"),
            ("impact", "1"),
        ];
        let seen = seen_from(false, &kept);
        for (name, value) in kept {
            assert!(
                seen.contains(&format!("{name}: {value}")),
                "{name} in {seen:?}"
            );
        }
    }

    #[test]
    fn a_trusted_peers_word_passes_unchanged_and_is_not_supplemented() {
        let word = [
            ("host", "10.0.0.1:8080"),
            ("sec-roles", "ROLE_A;ROLE_B"),
            ("sec-username", "jos\u{e9}"),
            ("x-forwarded-path", "/maps, please"),
            ("x-forwarded-proto", "https"),
        ];
        let mut expected: Vec<String> = word
            .iter()
            .map(|(name, value)| format!("{name}: {value}"))
            .collect();
        expected.push("x-forwarded-for: 192.0.2.7".to_owned());
        expected.sort();
        assert_eq!(seen_from(true, &word), expected);
    }

    #[test]
    fn lists_that_geoserver_would_put_into_urls_are_cut_to_what_the_browser_asked() {
        let seen = seen_from(
            true,
            &[
                ("Host", "h"),
                ("X-Forwarded-Host", "maps.example, 10.0.0.9"),
                ("X-Forwarded-Host", "10.0.0.8"),
                ("X-Forwarded-Proto", "https,http"),
                ("X-Forwarded-Port", "443"),
            ],
        );
        assert!(
            seen.contains(&"x-forwarded-host: maps.example".to_owned()),
            "{seen:?}"
        );
        assert!(
            seen.contains(&"x-forwarded-proto: https".to_owned()),
            "{seen:?}"
        );
        assert!(
            seen.contains(&"x-forwarded-port: 443".to_owned()),
            "{seen:?}"
        );
        assert_eq!(
            seen.iter()
                .filter(|line| line.starts_with("x-forwarded-host"))
                .count(),
            1
        );
    }

    #[test]
    fn a_trusted_peer_joins_the_chain_of_addresses_in_one_line() {
        let seen = seen_from(
            true,
            &[
                ("Host", "h"),
                ("X-Forwarded-For", "203.0.113.9, 10.1.1.1"),
                ("X-Forwarded-For", "10.1.1.2"),
            ],
        );
        assert!(
            seen.contains(
                &"x-forwarded-for: 203.0.113.9, 10.1.1.1, 10.1.1.2, 192.0.2.7".to_owned()
            ),
            "{seen:?}"
        );
    }

    #[test]
    fn a_request_without_host_gets_our_address_and_one_with_host_keeps_it() {
        assert!(seen_from(false, &[]).contains(&"host: 10.0.0.1:8080".to_owned()));
        assert!(seen_from(true, &[]).contains(&"host: 10.0.0.1:8080".to_owned()));
        assert!(
            seen_from(false, &[("Host", "MAPS.example:8080")])
                .contains(&"host: MAPS.example:8080".to_owned())
        );
    }

    #[test]
    fn a_request_line_that_names_the_authority_is_left_to_pingora() {
        let mut request =
            RequestHeader::build("GET", b"http://maps.example/geoserver/wms", None).unwrap();
        let id = RequestId::fresh();
        let local = Some("10.0.0.1:80".parse().unwrap());
        let client = ClientView {
            peer: "192.0.2.7".parse().unwrap(),
            local,
            trusted: false,
            tls: false,
            http10: true,
            request_id: &id,
        };
        prepare_upstream(&mut request, &client).unwrap();
        assert!(!request.headers.contains_key(HOST));
        assert_eq!(request.headers[VIA], "1.0 geofront");
    }

    #[test]
    fn the_forwarded_port_is_the_one_the_client_used() {
        assert_eq!(port_of(b"maps.example", false), 80);
        assert_eq!(port_of(b"maps.example", true), 443);
        assert_eq!(port_of(b"maps.example:8080", false), 8080);
        assert_eq!(port_of(b"[2001:db8::1]", false), 80);
        assert_eq!(port_of(b"[2001:db8::1]:8443", true), 8443);
    }

    #[test]
    fn an_answer_says_who_passed_it_on_and_keeps_users_to_itself() {
        let mut response = ResponseHeader::build(200, None).unwrap();
        response.insert_header("sec-username", "admin").unwrap();
        response.insert_header("Via", "1.1 apache").unwrap();
        let id = RequestId::from_peer(b"id").unwrap();
        let client = ClientView {
            peer: [192, 0, 2, 7].into(),
            local: None,
            trusted: false,
            tls: false,
            http10: false,
            request_id: &id,
        };
        prepare_downstream(&mut response, &client).unwrap();
        assert!(!response.headers.contains_key("sec-username"));
        assert_eq!(response.headers["x-request-id"], "id");
        let via: Vec<_> = response.headers.get_all(VIA).iter().collect();
        assert_eq!(via, ["1.1 apache", "1.1 geofront"]);
    }

    #[test]
    fn a_request_that_keeps_coming_back_is_noticed() {
        assert!(!goes_in_circles(&request(&[
            ("Via", "1.1 geofront, 1.1 nginx"),
            ("Via", "1.1 geofront")
        ])));
        assert!(goes_in_circles(&request(&[
            ("Via", "1.1 geofront, 1.1 geofront"),
            ("Via", "1.1 geofront,1.1 geofront")
        ])));
    }

    /// The bytes a client of `version` gets for a chunked answer, treated as the proxy does.
    async fn wire_to_http10_client(length: Option<usize>) -> String {
        let (mut client, ours) = tokio::io::duplex(4096);
        client
            .write_all(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
            .await
            .unwrap();
        let mut session = HttpSession::new(Box::new(ours));
        session.read_request().await.unwrap();
        let mut response = ResponseHeader::build(200, None).unwrap();
        match length {
            Some(length) => response.insert_header("Content-Length", length).unwrap(),
            None => response
                .insert_header("Transfer-Encoding", "chunked")
                .unwrap(),
        }
        if unchunk_for_http10(&mut response, false) {
            session.set_server_keepalive(None);
        }
        session
            .write_response_header(Box::new(response))
            .await
            .unwrap();
        session.write_body(b"hello").await.unwrap();
        session.finish_body().await.unwrap();
        drop(session);
        let mut wire = String::new();
        client.read_to_string(&mut wire).await.unwrap();
        wire
    }

    #[tokio::test]
    async fn an_http10_client_gets_no_chunks_and_a_closed_connection() {
        let wire = wire_to_http10_client(None).await;
        assert!(wire.ends_with("\r\n\r\nhello"), "{wire}");
        assert!(wire.contains("Connection: close\r\n"), "{wire}");
        assert!(
            !wire.to_ascii_lowercase().contains("transfer-encoding"),
            "{wire}"
        );
    }

    #[tokio::test]
    async fn an_http10_client_keeps_its_connection_when_the_length_is_known() {
        let wire = wire_to_http10_client(Some(5)).await;
        assert!(wire.contains("Connection: keep-alive\r\n"), "{wire}");
        assert!(wire.ends_with("\r\n\r\nhello"), "{wire}");
    }
}
