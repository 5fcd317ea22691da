//! `X-Geofront-Upstream: NAME`: an administrator's request to one upstream, whatever its health and
//! mode. All other administration through the front door reaches the main.
//!
//! A request with the header is sent to that upstream or refused; the header itself is never passed
//! on. It is accepted from an administrator that a peer in `trusted_identity` names, and with the
//! admin token. All instances share one data directory, and the main would overwrite the changes of
//! another instance. So only the main accepts changes. The exception is a tile cache, which belongs
//! to its instance.

use std::borrow::Cow;

use http::HeaderMap;
use http::header::HeaderValue;
use percent_encoding::percent_decode;
use subtle::ConstantTimeEq;

use crate::config::{PeerTrust, Secret};
use crate::ogc::{Clarity, Classified, RequestClass, RequestHead, normalise_path};

/// Names the upstream.
pub const HEADER: &str = "x-geofront-upstream";
/// Carries the admin token; `Authorization` is GeoServer's.
pub const TOKEN: &str = "x-geofront-token";

/// The role that GeoServer's own administrators have.
const ADMINISTRATOR: &str = "ROLE_ADMINISTRATOR";

/// Why a request may not name an upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denial {
    /// The peer is not in `trusted_identity`, and there is no token.
    Untrusted,
    /// The peer names no user, or a user that is not an administrator.
    NoAdministrator,
    /// The token is wrong, or none is configured.
    WrongToken,
}

/// The upstream that a request names, as it was written. `None` for an ordinary request.
pub fn named(headers: &HeaderMap) -> Option<Cow<'_, str>> {
    let mut lines = headers.get_all(HEADER).iter();
    let text = |line: &HeaderValue| String::from_utf8_lossy(line.as_bytes()).trim().to_owned();
    let first = lines.next()?;
    let others: Vec<String> = lines.map(text).collect();
    // No upstream has a comma in its name, so two of them are an unknown one.
    Some(if others.is_empty() {
        text(first).into()
    } else {
        format!("{}, {}", text(first), others.join(", ")).into()
    })
}

/// Whether a request may name an upstream.
pub fn permit(headers: &HeaderMap, trust: PeerTrust, token: Option<&Secret>) -> Result<(), Denial> {
    if let Some(given) = headers.get(TOKEN) {
        // In constant time, so that the delay reveals nothing about the token.
        let is_same = |token: &Secret| given.as_bytes().ct_eq(token.expose().as_bytes()).into();
        return if token.is_some_and(is_same) {
            Ok(())
        } else {
            Err(Denial::WrongToken)
        };
    }
    if !trust.identity {
        return Err(Denial::Untrusted);
    }
    // GeoServer reads the first line of each.
    let text = |name| {
        headers
            .get(name)
            .and_then(|value: &HeaderValue| value.to_str().ok())
            .unwrap_or_default()
    };
    let is_administrator = text("sec-roles")
        .split([';', ','])
        .any(|role| role.trim() == ADMINISTRATOR);
    if text("sec-username").trim().is_empty() || !is_administrator {
        return Err(Denial::NoAdministrator);
    }
    Ok(())
}

/// Whether an upstream other than the main may get the request: it changes nothing, or only its own
/// tile cache.
pub fn changes_nothing_shared(
    head: &RequestHead<'_>,
    classified: &Classified,
    context: &str,
) -> bool {
    let is_safe = matches!(head.method, "GET" | "HEAD" | "OPTIONS");
    let is_plain = classified.clarity == Clarity::Plain;
    match classified.class {
        RequestClass::Map
        | RequestClass::Tile
        | RequestClass::Info
        | RequestClass::Capabilities
        | RequestClass::Feature
        | RequestClass::Coverage
        | RequestClass::Static => true,
        RequestClass::Admin => is_plain && (is_safe || is_for_own_tiles(head, context)),
        RequestClass::Ui => is_plain && is_view(head, is_safe, context),
        RequestClass::Transaction | RequestClass::Process | RequestClass::Unknown => false,
    }
}

/// Seeding and truncation of the tile cache.
fn is_for_own_tiles(head: &RequestHead<'_>, context: &str) -> bool {
    let is_cache_task = |parts: &[&[u8]]| {
        matches!(
            parts,
            [b"gwc", b"rest", b"seed", ..] | [b"gwc", b"rest", b"masstruncate"]
        )
    };
    head.method == "POST" && with_parts(head, context, is_cache_task)
}

/// True for a page of the web interface that is opened, and for the login that a page may need. A
/// query such as `4-1.0-save` performs an action on a page, by GET too.
fn is_view(head: &RequestHead<'_>, is_safe: bool, context: &str) -> bool {
    let query = head.target.splitn(2, |byte| *byte == b'?').nth(1);
    let query: Cow<'_, [u8]> = percent_decode(query.unwrap_or_default()).into();
    let calls = |part: &[u8]| {
        let digits = part.iter().take_while(|byte| byte.is_ascii_digit()).count();
        digits > 0 && part.get(digits) == Some(&b'-')
    };
    let is_call = query.split(|byte| *byte == b'&').any(calls)
        || query.windows(WICKET.len()).any(|at| at == WICKET);
    with_parts(head, context, |parts| match parts {
        [] | [b"web", ..] => is_safe && !is_call,
        [b"j_spring_security_check" | b"login" | b"j_spring_security_logout" | b"logout"] => true,
        _ => false,
    })
}

/// How older versions of the web interface write a call.
const WICKET: &[u8] = b"wicket:";

/// Calls `read` with the segments of the path below GeoServer's context.
fn with_parts<T>(head: &RequestHead<'_>, context: &str, read: impl FnOnce(&[&[u8]]) -> T) -> T {
    let raw = head.target.split(|byte| *byte == b'?').next();
    let path = normalise_path(raw.unwrap_or_default()).unwrap_or_default();
    let below = path.strip_prefix(context.as_bytes()).unwrap_or(&path);
    let parts: Vec<&[u8]> = below
        .split(|byte| *byte == b'/')
        .filter(|part| !part.is_empty())
        .collect();
    read(&parts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ogc;

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    const TRUSTED: PeerTrust = PeerTrust::FULL;
    const ORIGIN_ALONE: PeerTrust = PeerTrust {
        origin: true,
        identity: false,
    };

    #[test]
    fn only_an_administrator_of_a_trusted_peer_may_name_an_upstream() {
        let user = ("sec-username", "ada");
        let may = |lines: &[_], trust| permit(&headers(lines), trust, None);
        let roles = ("sec-roles", "ROLE_USER;ROLE_ADMINISTRATOR");
        assert_eq!(may(&[user, roles], TRUSTED), Ok(()));
        assert_eq!(may(&[user, roles], ORIGIN_ALONE), Err(Denial::Untrusted));
        for lines in [
            &[][..],
            &[roles],
            &[("sec-username", " "), roles],
            &[user],
            &[user, ("sec-roles", "ROLE_ADMINISTRATORS;ROLE_USER")],
            &[user, ("sec-roles", "ROLE_USER"), roles],
            &[("imp-username", "ada"), ("imp-roles", "ROLE_ADMINISTRATOR")],
        ] {
            assert_eq!(
                may(lines, TRUSTED),
                Err(Denial::NoAdministrator),
                "{lines:?}"
            );
        }
    }

    #[test]
    fn the_admin_token_permits_from_anywhere_and_a_wrong_one_from_nowhere() {
        let token = Secret::new("s3cret".to_owned());
        let given = |value, token| permit(&headers(&[(TOKEN, value)]), TRUSTED, token);
        assert_eq!(given("s3cret", Some(&token)), Ok(()));
        for wrong in ["", "s3cre", "s3cretx", "S3CRET"] {
            assert_eq!(
                given(wrong, Some(&token)),
                Err(Denial::WrongToken),
                "{wrong}"
            );
        }
        assert_eq!(given("s3cret", None), Err(Denial::WrongToken));
        assert_eq!(given("", None), Err(Denial::WrongToken));
    }

    #[test]
    fn two_names_are_no_name_that_an_upstream_has() {
        let of = |lines: &[_]| named(&headers(lines)).map(Cow::into_owned);
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[(HEADER, " a ")]).as_deref(), Some("a"));
        assert_eq!(of(&[(HEADER, "a"), (HEADER, "b")]).as_deref(), Some("a, b"));
    }

    fn passes(method: &str, target: &str) -> bool {
        let head = RequestHead {
            method,
            target: target.as_bytes(),
            content_type: None,
        };
        let classified = ogc::classify(&head, "/geoserver", Some(b""));
        changes_nothing_shared(&head, &classified, "/geoserver")
    }

    #[test]
    fn replicas_are_looked_at_and_their_tiles_discarded() {
        for (method, target) in [
            ("GET", "/geoserver/rest/about/system-status.json"),
            ("HEAD", "/geoserver/rest/logs"),
            ("GET", "/geoserver/rest/monitor/requests.html"),
            ("GET", "/geoserver/wms?service=WMS&request=GetCapabilities"),
            ("POST", "/geoserver/gwc/rest/masstruncate"),
            ("POST", "/geoserver/gwc/rest/seed/geor:roads.json"),
            ("GET", "/geoserver/gwc/rest/seed.json"),
            ("GET", "/geoserver/"),
            ("GET", "/geoserver/web/?3"),
            (
                "GET",
                "/geoserver/web/wicket/bookmarkable/org.geoserver.web.admin.StatusPage?3&filter=x",
            ),
            ("POST", "/geoserver/j_spring_security_check"),
        ] {
            assert!(passes(method, target), "{method} {target}");
        }
    }

    #[test]
    fn what_may_change_the_shared_data_directory_is_for_the_main() {
        for (method, target) in [
            ("POST", "/geoserver/rest/workspaces"),
            ("PUT", "/geoserver/rest/layers/geor:roads"),
            ("DELETE", "/geoserver/rest/workspaces/geor"),
            ("POST", "/geoserver/rest/reload"),
            ("PUT", "/geoserver/gwc/rest/layers/geor:roads"),
            ("POST", "/geoserver/gwc/rest/reload"),
            ("DELETE", "/geoserver/gwc/rest/masstruncate"),
            ("POST", "/geoserver/gwc/rest/masstruncate/../layers/a"),
            ("POST", "/geoserver/rest/gwc/rest/seed"),
            ("POST", "/geoserver/web/?3"),
            ("GET", "/geoserver/web/?3-1.0-toolbar-delete"),
            ("GET", "/geoserver/web/?filter=x&3-1.0-save"),
            ("GET", "/geoserver/web/?%33%2D1.0-save"),
            (
                "GET",
                "/geoserver/web/?wicket:interface=:1:save::ILinkListener::",
            ),
            ("GET", "/geoserver/wfs?service=WFS&request=Transaction"),
            (
                "GET",
                "/geoserver/wps?service=WPS&request=Execute&identifier=gs:Import",
            ),
            ("POST", "/geoserver/TestWfsPost"),
            ("GET", "/geoserver/TestWfsPost?url=x"),
            ("GET", "/geoserver/unheard/of"),
        ] {
            assert!(!passes(method, target), "{method} {target}");
        }
    }
}
