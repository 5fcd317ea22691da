//! `public_url`: scheme, host, and the path in front of GeoServer's context.

use super::url;
use crate::config::PublicUrl;

/// The longest path that is sensible in front of GeoServer's own.
const MAX_PATH: usize = 256;

/// Returns the parts, or what is wrong; the reason completes "must".
pub(super) fn parse(text: &str) -> Result<PublicUrl, &'static str> {
    const EXAMPLE: &str = "look like \"https://maps.example.org\" or \"https://example.org/maps\"";
    let (scheme, rest) = text.split_once("://").ok_or(EXAMPLE)?;
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let origin = &text[..scheme.len() + "://".len() + authority.len()];
    let url = url::parse(origin).map_err(|wrong| {
        if wrong.is_secret {
            "not hold a user or a password"
        } else {
            EXAMPLE
        }
    })?;
    let path = path.trim_end_matches('/');
    let is_path = path.len() <= MAX_PATH
        && !path.contains("//")
        && path
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"/-._~!$&'()*+;=:@%".contains(&b));
    if !is_path {
        return Err("have a plain path, without a query, a fragment or a comma");
    }
    let (scheme, default_port) = if url.tls {
        ("https", 443)
    } else {
        ("http", 80)
    };
    let host = if url.host.contains(':') {
        format!("[{}]", url.host)
    } else {
        url.host.to_ascii_lowercase()
    };
    let authority = if url.port == default_port {
        host
    } else {
        format!("{host}:{}", url.port)
    };
    Ok(PublicUrl {
        scheme,
        authority,
        port: url.port,
        path: path.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str) -> (&'static str, String, u16, String) {
        let url = parse(text).unwrap();
        (url.scheme, url.authority, url.port, url.path)
    }

    #[test]
    fn a_public_address_has_a_scheme_a_host_and_perhaps_a_port_and_a_path() {
        for (text, expected) in [
            (
                "https://maps.example.org",
                ("https", "maps.example.org", 443, ""),
            ),
            (
                "https://Maps.example.org:443/",
                ("https", "maps.example.org", 443, ""),
            ),
            (
                "http://10.0.0.1:8080/sdi/",
                ("http", "10.0.0.1:8080", 8080, "/sdi"),
            ),
            (
                "HTTPS://[2001:db8::1]:8443/a/b",
                ("https", "[2001:db8::1]:8443", 8443, "/a/b"),
            ),
        ] {
            let (scheme, authority, port, path) = expected;
            let expected = (scheme, authority.to_owned(), port, path.to_owned());
            assert_eq!(parts(text), expected, "{text}");
        }
    }

    #[test]
    fn a_url_that_geoserver_could_misread_is_refused() {
        for text in [
            "maps.example.org",
            "ftp://maps.example.org",
            "https://",
            "https://a b",
            "https://u:p@maps.example.org",
            "https://maps.example.org/?a",
            "https://maps.example.org/#a",
            "https://maps.example.org/a,b",
            "https://maps.example.org/a b",
            "https://maps.example.org//a",
            "https://maps.example.org:0",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
