//! The session of GeoServer's web interface: a cookie of its servlet container, and a parameter of
//! paths.
//!
//! Clients have a session on the main. That of a replica would replace it, so it is dropped from
//! the replica's answers. If a request names its upstream (`named_upstream`), the replica's session
//! is kept beside that of the main.

use http::HeaderMap;
use http::header::{COOKIE, LOCATION, SET_COOKIE};
use pingora::Result;
use pingora::http::{RequestHeader, ResponseHeader};

use crate::config::UpstreamName;

/// The name of the cookie. In paths it is in lower case.
const NAME: &str = "JSESSIONID";

/// A cookie as `Cookie` and `Set-Cookie` have it.
struct Cookie<'c> {
    text: &'c [u8],
    name: &'c [u8],
    /// The rest, from the `=` on.
    rest: &'c [u8],
}

impl<'c> Cookie<'c> {
    fn new(text: &'c [u8]) -> Self {
        let text = text.trim_ascii();
        let equals = text.iter().position(|byte| *byte == b'=');
        let (name, rest) = text.split_at(equals.unwrap_or(text.len()));
        Self {
            text,
            name: name.trim_ascii_end(),
            rest,
        }
    }

    fn is_session(&self) -> bool {
        is_name(self.name) && !self.rest.is_empty()
    }

    /// The same cookie under another name.
    fn renamed(&self, name: &str) -> Vec<u8> {
        [name.as_bytes(), self.rest].concat()
    }
}

fn is_name(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(NAME.as_bytes())
}

/// The cookies of a request.
fn cookies(headers: &HeaderMap) -> impl Iterator<Item = Cookie<'_>> {
    headers
        .get_all(COOKIE)
        .iter()
        .flat_map(|line| line.as_bytes().split(|byte| *byte == b';'))
        .map(Cookie::new)
        .filter(|cookie| !cookie.text.is_empty())
}

/// The identifier of the session that a request belongs to.
pub(super) fn id_in(headers: &HeaderMap) -> Option<&[u8]> {
    cookies(headers)
        .filter(Cookie::is_session)
        .map(|cookie| &cookie.rest[1..])
        .find(|id| !id.is_empty())
}

/// The name of a replica's session cookie at the client, where the main's has its own.
fn name_of(upstream: &UpstreamName) -> String {
    format!("GEOFRONT_{upstream}_{NAME}")
}

/// Gives a replica that a request names its own session, and not the main's.
pub(super) fn give(request: &mut RequestHeader, upstream: &UpstreamName) -> Result<()> {
    let own = name_of(upstream);
    let kept: Vec<Vec<u8>> = cookies(&request.headers)
        .filter(|cookie| !is_name(cookie.name))
        .map(|cookie| {
            if cookie.name == own.as_bytes() {
                cookie.renamed(NAME)
            } else {
                cookie.text.to_vec()
            }
        })
        .collect();
    request.remove_header(&COOKIE);
    if kept.is_empty() {
        return Ok(());
    }
    request.insert_header(COOKIE, kept.join(&b"; "[..]))
}

/// Keeps the session of a replica that a request names beside the main's.
pub(super) fn keep(response: &mut ResponseHeader, upstream: &UpstreamName) -> Result<()> {
    change_cookies(response, |line| {
        let cookie = Cookie::new(line);
        Some(if cookie.is_session() {
            cookie.renamed(&name_of(upstream))
        } else {
            line.to_vec()
        })
    })
}

/// Removes the parts of a replica's answer that would replace a client's session on the main: the
/// session cookie, and the session in the address of a redirect.
pub(super) fn remove(response: &mut ResponseHeader) -> Result<()> {
    change_cookies(response, |line| {
        (!is_name(Cookie::new(line).name)).then(|| line.to_vec())
    })?;
    let without = response
        .headers
        .get(LOCATION)
        .and_then(|location| without(location.as_bytes()));
    if let Some(location) = without {
        response.insert_header(LOCATION, location)?;
    }
    Ok(())
}

/// Replaces each line of `Set-Cookie` by the result of `change`.
fn change_cookies(
    response: &mut ResponseHeader,
    change: impl Fn(&[u8]) -> Option<Vec<u8>>,
) -> Result<()> {
    if !response.headers.contains_key(SET_COOKIE) {
        return Ok(());
    }
    let lines = response.headers.get_all(SET_COOKIE).iter();
    let changed: Vec<Vec<u8>> = lines.filter_map(|line| change(line.as_bytes())).collect();
    response.remove_header(&SET_COOKIE);
    for line in changed {
        response.append_header(SET_COOKIE, line)?;
    }
    Ok(())
}

/// The address without `;jsessionid=...`; `None` if it has none.
pub(super) fn without(location: &[u8]) -> Option<Vec<u8>> {
    let begins = |rest: &[u8]| {
        rest.first() == Some(&b';')
            && rest.get(1..=NAME.len()).is_some_and(is_name)
            && rest.get(1 + NAME.len()) == Some(&b'=')
    };
    let mut kept = Vec::with_capacity(location.len());
    let mut rest = location;
    while let Some((&first, tail)) = rest.split_first() {
        if begins(rest) {
            let ends = |byte: &u8| matches!(byte, b';' | b'/' | b'?' | b'#');
            let end = tail.iter().position(ends).unwrap_or(tail.len());
            rest = &tail[end..];
        } else {
            kept.push(first);
            rest = tail;
        }
    }
    (kept.len() < location.len()).then_some(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replica() -> UpstreamName {
        UpstreamName::new("replica1").expect("a name")
    }

    #[test]
    fn a_replica_gets_its_own_session_and_never_that_of_the_main() {
        let mut request = RequestHeader::build("GET", b"/", None).unwrap();
        let cookies = "a=1; JSESSIONID=main; GEOFRONT_replica1_JSESSIONID=own; GEOFRONT_replica2_JSESSIONID=other";
        request.insert_header(COOKIE, cookies).unwrap();
        give(&mut request, &replica()).unwrap();
        assert_eq!(
            request.headers[COOKIE],
            "a=1; JSESSIONID=own; GEOFRONT_replica2_JSESSIONID=other"
        );
        request.insert_header(COOKIE, "JSESSIONID=main").unwrap();
        give(&mut request, &replica()).unwrap();
        assert!(!request.headers.contains_key(COOKIE));
    }

    #[test]
    fn a_session_of_a_replica_does_not_replace_the_session_of_the_main() {
        let mut response = ResponseHeader::build(200, None).unwrap();
        response
            .append_header(SET_COOKIE, "JSESSIONID=x; Path=/geoserver")
            .unwrap();
        response.append_header(SET_COOKIE, "JSESSIONIDS=y").unwrap();
        keep(&mut response, &replica()).unwrap();
        let lines: Vec<_> = response.headers.get_all(SET_COOKIE).iter().collect();
        assert_eq!(
            lines,
            [
                "GEOFRONT_replica1_JSESSIONID=x; Path=/geoserver",
                "JSESSIONIDS=y"
            ]
        );
    }

    #[test]
    fn a_session_is_found_among_other_cookies() {
        let of = |cookie: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(COOKIE, http::HeaderValue::from_static(cookie));
            id_in(&headers).map(<[u8]>::to_vec)
        };
        assert_eq!(of("a=1; JSESSIONID=42; b=2"), Some(b"42".to_vec()));
        assert_eq!(of("JSESSIONID=; JSESSIONID=43"), Some(b"43".to_vec()));
        for none in [
            "",
            "XJSESSIONID=42",
            "JSESSIONID=",
            "JSESSIONID",
            "a=JSESSIONID=42",
        ] {
            assert_eq!(of(none), None, "{none}");
        }
    }

    /// The session cookies and the address that remain of a replica's answer.
    fn after_removal(cookies: &[&'static str], location: &'static str) -> (Vec<String>, String) {
        let mut response = ResponseHeader::build(302, None).unwrap();
        for cookie in cookies {
            response.append_header(SET_COOKIE, *cookie).unwrap();
        }
        response.insert_header(LOCATION, location).unwrap();
        remove(&mut response).unwrap();
        let text = |value: &http::HeaderValue| value.to_str().unwrap().to_owned();
        (
            response
                .headers
                .get_all(SET_COOKIE)
                .iter()
                .map(text)
                .collect(),
            text(&response.headers[LOCATION]),
        )
    }

    #[test]
    fn a_replicas_session_is_removed_and_other_cookies_pass() {
        let cookies = [
            "JSESSIONID=0A1B; Path=/geoserver; HttpOnly",
            "lang=fr",
            " jsessionid = x",
            "JSESSIONIDS=1",
        ];
        assert_eq!(
            after_removal(&cookies, "/geoserver/wms").0,
            ["lang=fr", "JSESSIONIDS=1"]
        );
    }

    #[test]
    fn a_replicas_session_is_removed_from_the_address_of_a_redirect() {
        for (location, expected) in [
            ("/geoserver/a;jsessionid=0A1B?b=c#d", "/geoserver/a?b=c#d"),
            ("http://h/geoserver;JSESSIONID=0A/a", "http://h/geoserver/a"),
            ("/a;jsessionid=1;v=2", "/a;v=2"),
            ("/a;jsessionid", "/a;jsessionid"),
            ("/a?jsessionid=1", "/a?jsessionid=1"),
            ("/a;jsessionid=1", "/a"),
        ] {
            assert_eq!(after_removal(&[], location).1, expected, "{location}");
        }
    }
}
