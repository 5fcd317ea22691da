//! The header fields that pass between client and upstream, and those that do not.
//!
//! GeoServer accepts `sec-username` and `sec-roles` from every client that reaches it, and uses
//! X-Forwarded-Host and -Proto as they are. So trust is decided here. Fields that identify the user
//! are removed unless the peer is in `trusted_identity`. Unless the peer is in `trusted_proxies`,
//! the fields that state a request's origin are removed too, and X-Forwarded-* are set from the
//! connection. Fields that the peer may state pass byte for byte, with three exceptions:
//!
//! * A list in X-Forwarded-Host, -Proto or -Port is cut to its first element, which is the host
//!   that the user's browser requested. Each proxy appends an element, and GeoServer would put the
//!   whole list into the URLs of its capabilities.
//! * The peer is appended to X-Forwarded-For, as every proxy does.
//! * `public_url` replaces the statements of all peers.
//!
//! Host, path and query are not touched here; hop-by-hop headers are removed by Pingora before we
//! are called. `Forwarded` is never added: two sources of the same fact can disagree.
//! `docs/headers-and-trust.md` is the same for administrators.

use std::net::{IpAddr, SocketAddr};

use http::Version;
use http::header::{
    CONNECTION, HOST, HeaderName, HeaderValue, STRICT_TRANSPORT_SECURITY, TRAILER,
    TRANSFER_ENCODING, UPGRADE, VIA,
};
use pingora::Result;
use pingora::http::authority::raw_target_authority;
use pingora::http::{RequestHeader, ResponseHeader, StatusCode};

use crate::config::{HeaderField, PeerTrust, PublicUrl, Trust};
use crate::named_upstream::{HEADER, TOKEN};
use crate::proxy::client::forwarded;
use crate::proxy::client::request_id::{REQUEST_ID, RequestId};

/// As text: Pingora writes the names of a request as they are given, and copies those of the `http`
/// crate.
const VIA_NAME: &str = "Via";
const X_FORWARDED_FOR: &str = "X-Forwarded-For";
const X_FORWARDED_HOST: &str = "X-Forwarded-Host";
const X_FORWARDED_PROTO: &str = "X-Forwarded-Proto";
const X_FORWARDED_PORT: &str = "X-Forwarded-Port";
const X_FORWARDED_PATH: &str = "X-Forwarded-Path";

/// The subject of a client's certificate. Only geofront sets it: it is removed from
/// the requests of all peers.
const CLIENT_SUBJECT: &str = "X-Geofront-Client-Subject";
const CLIENT_SUBJECT_LOWER: &str = "x-geofront-client-subject";

/// Passes through geofront from which on a request counts as a loop. Each pass adds geofront to
/// `Via`.
const MAX_PASSES: usize = 4;

/// Fields that a message needs, whatever `Connection` names.
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

/// The facts about the client that its connection shows.
#[derive(Clone, Copy, Debug)]
pub struct ClientView<'a> {
    pub peer: IpAddr,
    /// Our end of the connection: stands in for the Host that an HTTP/1.0 client did not send.
    /// `None` on a unix socket.
    pub local: Option<SocketAddr>,
    /// The facts that the peer may state.
    pub trust: PeerTrust,
    pub config: &'a Trust,
    pub tls: bool,
    /// The version of HTTP between client and geofront; upstreams always get 1.1.
    pub version: Version,
    /// The subject of the client's certificate, which our TLS listener has verified.
    pub subject: Option<&'a HeaderValue>,
    /// The listener's `Strict-Transport-Security`.
    pub hsts: Option<&'a HeaderValue>,
    pub request_id: &'a RequestId,
}

/// Makes a client's request fit to be seen by an upstream.
pub fn prepare_upstream(request: &mut RequestHeader, client: &ClientView<'_>) -> Result<()> {
    strip_claims(request, client);
    // Trailers are not passed on.
    request.remove_header(&TRAILER);
    if let Some(subject) = client.subject {
        request.insert_header(CLIENT_SUBJECT, subject.clone())?;
    }
    name_a_host(request, client)?;
    if client.trust.origin {
        pass_forwarded(request, client)?;
    } else {
        set_forwarded(request, client)?;
    }
    if let Some(url) = &client.config.public_url {
        state_public_url(request, url)?;
    }
    request.append_header(
        VIA_NAME,
        HeaderValue::from_static(match client.version {
            Version::HTTP_10 => "1.0 geofront",
            Version::HTTP_2 => "2.0 geofront",
            _ => "1.1 geofront",
        }),
    )?;
    request.insert_header(REQUEST_ID, client.request_id.as_str())
}

/// Makes an upstream's answer fit to be seen by the client.
pub fn prepare_downstream(response: &mut ResponseHeader, client: &ClientView<'_>) -> Result<()> {
    strip_hop_by_hop(response);
    if !client.trust.identity {
        let echoed: Vec<HeaderName> = response
            .headers
            .keys()
            .filter(|name| names_a_user(name.as_str(), &client.config.identity_headers))
            .cloned()
            .collect();
        for name in &echoed {
            response.remove_header(name);
        }
    }
    if let Some(hsts) = client.hsts {
        response.insert_header(STRICT_TRANSPORT_SECURITY, hsts.clone())?;
    }
    // Trailers are not passed on.
    response.remove_header(&TRAILER);
    response.append_header(VIA_NAME, HeaderValue::from_static("1.1 geofront"))?;
    response.insert_header(REQUEST_ID, client.request_id.as_str())
}

/// Frames an answer for an HTTP/1.0 client, which does not know chunks: without a length it ends
/// with its connection.
///
/// True when the connection has to close after this answer. The caller must then switch keep-alive
/// off on the session as well: Pingora derives the `Connection` header from that, before it looks
/// at how the body is framed.
#[must_use = "the session's keep-alive has to be switched off"]
pub fn unchunk_for_http10(response: &mut ResponseHeader, is_head: bool) -> bool {
    response.remove_header(&TRANSFER_ENCODING);
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

/// Whether `Connection` would have us remove a field that identifies the client or its target. A
/// part of a trusted peer's statements is worse than none of them.
pub fn nominates_a_claim(request: &RequestHeader, config: &Trust) -> bool {
    let is_kept = |name: &[u8]| {
        let name = name.to_ascii_lowercase();
        std::str::from_utf8(&name)
            .is_ok_and(|name| claim(name, config).is_some() || KEPT.contains(&name))
    };
    nominations(&request.headers).any(is_kept)
}

/// Fields that end with the connection, whether `Connection` names them or not (RFC 9110 section
/// 7.6.1).
fn strip_hop_by_hop(response: &mut ResponseHeader) {
    let is_ours = |name: &HeaderName| {
        !KEPT.contains(&name.as_str()) && *name != CONNECTION && *name != UPGRADE
    };
    // With these two, `Upgrade` is for the client; with others, it offers a protocol of the
    // upstream's connection.
    let is_about_upgrade = matches!(
        response.status,
        StatusCode::SWITCHING_PROTOCOLS | StatusCode::UPGRADE_REQUIRED
    );
    if !is_about_upgrade {
        response.remove_header(&UPGRADE);
    }
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

/// Removes the fields that this peer may not set.
fn strip_claims(request: &mut RequestHeader, client: &ClientView<'_>) {
    let is_unwanted = |name: &str| {
        if client.trust == PeerTrust::FULL {
            is_ours(name)
        } else {
            is_removed(name, client)
        }
    };
    // Empty for most clients, and an empty Vec does not allocate.
    let claims: Vec<HeaderName> = request
        .headers
        .keys()
        .filter(|name| is_unwanted(name.as_str()))
        .cloned()
        .collect();
    for name in &claims {
        request.remove_header(name);
    }
}

/// The kind of fact that a header field states about a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Claim {
    /// The user, or the priority of the user's requests.
    Identity,
    /// Where the request came from, and under which name.
    Origin,
}

/// True if the field is not passed on, because the peer may not state it. `name` is lower case.
pub(super) fn is_removed(name: &str, client: &ClientView<'_>) -> bool {
    if is_ours(name) {
        return true;
    }
    match claim(name, client.config) {
        Some(Claim::Identity) => !client.trust.identity,
        Some(Claim::Origin) => !client.trust.origin,
        None => false,
    }
}

/// True for the field that only we set, and for those that are meant for us.
fn is_ours(name: &str) -> bool {
    [CLIENT_SUBJECT_LOWER, HEADER, TOKEN]
        .into_iter()
        .any(|ours| equals_folded(name, ours))
}

/// The claim that the field makes, if any. `_` counts as `-`, because containers that map fields to
/// variables do not distinguish them.
fn claim(name: &str, config: &Trust) -> Option<Claim> {
    // control-flow serves requests with a higher number first.
    if names_a_user(name, &config.identity_headers) || equals_folded(name, "ctrl-flow-priority") {
        return Some(Claim::Identity);
    }
    states_an_origin(name).then_some(Claim::Origin)
}

fn states_an_origin(name: &str) -> bool {
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
        Some(b'c') => equals_folded(name, "cf-connecting-ip"),
        _ => false,
    }
}

/// `sec-username`, `sec-roles`, `imp-username` and the rest of geOrchestra's. Browsers' own
/// `sec-fetch-*` and `sec-ch-*` go the same way: GeoServer has no use for them, and the
/// security-proxy and the gateway remove them too. `sec-websocket-*` is spoken with the upstream,
/// and identifies no user.
fn names_a_user(name: &str, more: &[HeaderField]) -> bool {
    (starts_with_folded(name, "sec-") && !name.starts_with("sec-websocket-"))
        || starts_with_folded(name, "imp-")
        || more.iter().any(|field| equals_folded(name, field.as_str()))
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
    if is_named {
        return Ok(());
    }
    let Some(local) = client.local else {
        return request.insert_header(HOST, "localhost");
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

/// Sets the fields from the connection, the only source for an untrusted peer.
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

/// The port the client used, from its own `Host`: our port may be behind a port mapping.
fn port_of(host: &[u8], tls: bool) -> u16 {
    let after_colon = host
        .iter()
        .rposition(|b| *b == b':')
        .map(|colon| &host[colon + 1..]);
    let port = after_colon.and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
    port.unwrap_or(if tls { 443 } else { 80 })
}

/// Passes the fields of a trusted peer. A field that it did not set stays unset.
fn pass_forwarded(request: &mut RequestHeader, client: &ClientView<'_>) -> Result<()> {
    for name in [X_FORWARDED_HOST, X_FORWARDED_PROTO, X_FORWARDED_PORT] {
        keep_first_element(request, name)?;
    }
    append_peer(request, client)
}

/// The public address as configured. Everything else that states one is removed.
fn state_public_url(request: &mut RequestHeader, url: &PublicUrl) -> Result<()> {
    let others: Vec<HeaderName> = request
        .headers
        .keys()
        .filter(|name| {
            let name = name.as_str();
            let states_a_name =
                starts_with_folded(name, "x-forwarded") && name != "x-forwarded-for";
            states_a_name || name == "forwarded"
        })
        .cloned()
        .collect();
    for name in &others {
        request.remove_header(name);
    }
    request.insert_header(X_FORWARDED_PROTO, HeaderValue::from_static(url.scheme))?;
    request.insert_header(X_FORWARDED_HOST, url.authority.as_str())?;
    request.insert_header(X_FORWARDED_PORT, url.port)?;
    if !url.path.is_empty() {
        request.insert_header(X_FORWARDED_PATH, url.path.as_str())?;
    }
    Ok(())
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
/// It does not know `Forwarded`, so the client of that stands in for a missing chain.
fn append_peer(request: &mut RequestHeader, client: &ClientView<'_>) -> Result<()> {
    let mut chain = Vec::new();
    if forwarded::counts_forwarded(&request.headers) {
        let trusts = |address| client.config.allows_origin(address);
        let from = forwarded::client(&request.headers, trusts);
        chain.extend(
            from.into_iter()
                .flat_map(|from| format!("{from}, ").into_bytes()),
        );
    }
    for line in request.headers.get_all(X_FORWARDED_FOR) {
        chain.extend_from_slice(line.as_bytes());
        chain.extend_from_slice(b", ");
    }
    chain.extend_from_slice(client.peer.to_canonical().to_string().as_bytes());
    request.insert_header(X_FORWARDED_FOR, chain)
}

#[cfg(test)]
mod tests;
