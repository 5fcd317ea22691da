//! `[cors]`: which pages of other origins may use the services from a browser.

use std::fmt;
use std::time::Duration;

/// The table `[cors]`. Off while there are no origins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cors {
    pub origins: Vec<OriginPattern>,
    pub methods: Vec<CorsMethod>,
    /// Request headers that a page may set.
    pub headers: Vec<CorsHeader>,
    /// Pages may send cookies and passwords, and read the answers to such requests.
    pub credentials: bool,
    /// Time for which a browser remembers the answer to its preflight.
    pub max_age: Duration,
}

/// An origin, `https://*.example.org` for every host below one, or `*` for all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OriginPattern {
    Any,
    /// In lower case, as browsers send it.
    Exact(Box<str>),
    /// Scheme with `://`, and the rest of the host from the dot on, with the port.
    Below {
        scheme: Box<str>,
        rest: Box<str>,
    },
}

/// A method, in capitals.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CorsMethod(Box<str>);

/// The name of a request header in lower case, or `*` for every one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CorsHeader(Box<str>);

impl Cors {
    /// True if answers carry headers for pages of other origins.
    pub const fn is_on(&self) -> bool {
        !self.origins.is_empty()
    }

    /// True if every origin may read the answers, whichever it is.
    pub fn is_open(&self) -> bool {
        !self.credentials && self.origins.contains(&OriginPattern::Any)
    }

    /// True if a page of this origin may read the answers.
    pub fn allows(&self, origin: &[u8]) -> bool {
        self.origins.iter().any(|pattern| pattern.matches(origin))
    }

    /// True if a page may use this method.
    pub fn allows_method(&self, method: &[u8]) -> bool {
        self.methods
            .iter()
            .any(|allowed| allowed.as_str().as_bytes() == method)
    }

    /// True if a page may set any header.
    pub fn allows_any_header(&self) -> bool {
        self.headers.iter().any(|header| header.as_str() == "*")
    }
}

impl OriginPattern {
    /// Returns the pattern, or `None` if no browser sends such an origin.
    pub fn new(text: &str) -> Option<Self> {
        if text == "*" {
            return Some(Self::Any);
        }
        let text = text.to_ascii_lowercase();
        let (scheme, host) = text.split_once("://")?;
        // Browsers leave the usual port out.
        let usual = match scheme {
            "http" => ":80",
            "https" => ":443",
            _ => return None,
        };
        let host = host.strip_suffix(usual).unwrap_or(host);
        let below = host.strip_prefix('*');
        let plain = below.unwrap_or(host);
        let is_host = |b: u8| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b);
        if !has_port_or_none(plain)
            || plain.trim_start_matches('.').is_empty()
            || !plain.bytes().all(is_host)
            || below.is_some_and(|rest| !rest.starts_with('.'))
        {
            return None;
        }
        Some(match below {
            Some(rest) => Self::Below {
                scheme: format!("{scheme}://").into(),
                rest: rest.into(),
            },
            None => Self::Exact(format!("{scheme}://{host}").into()),
        })
    }

    fn matches(&self, origin: &[u8]) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(exact) => origin.eq_ignore_ascii_case(exact.as_bytes()),
            Self::Below { scheme, rest } => {
                let origin = origin.to_ascii_lowercase();
                let below = origin
                    .strip_prefix(scheme.as_bytes())
                    .and_then(|host| host.strip_suffix(rest.as_bytes()));
                below.is_some_and(|label| {
                    !label.is_empty()
                        && label
                            .iter()
                            .all(|b| b.is_ascii_alphanumeric() || b"-._".contains(b))
                })
            }
        }
    }
}

impl fmt::Display for OriginPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Exact(origin) => f.write_str(origin),
            Self::Below { scheme, rest } => write!(f, "{scheme}*{rest}"),
        }
    }
}

/// True unless something else than a port stands behind the colon of a host.
fn has_port_or_none(host: &str) -> bool {
    let after_address = host.rsplit_once(']').map_or(host, |(_, after)| after);
    let Some((name, port)) = after_address.split_once(':') else {
        return true;
    };
    let is_named = !name.is_empty() || host.contains(']');
    is_named && port.parse::<u16>().is_ok_and(|port| port != 0)
}

fn is_token(text: &str) -> bool {
    let is_token_byte = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'+-.^_`|~".contains(&b);
    !text.is_empty() && text.bytes().all(is_token_byte)
}

impl CorsMethod {
    /// Returns the method; `None` if the text is no method, or one that is never passed on.
    pub fn new(text: &str) -> Option<Self> {
        let method = text.to_ascii_uppercase();
        let is_passed_on = is_token(&method) && !matches!(&*method, "CONNECT" | "TRACE");
        is_passed_on.then(|| Self(method.into()))
    }

    /// The method.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CorsMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl CorsHeader {
    /// Returns the name, or `None` if it is none.
    pub fn new(text: &str) -> Option<Self> {
        (text == "*" || is_token(text)).then(|| Self(text.to_ascii_lowercase().into()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CorsHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_matched_whole_or_by_the_hosts_below_one() {
        for (pattern, origin, matches) in [
            ("*", "https://a.example.org", true),
            (
                "https://Viewer.example.org",
                "https://viewer.example.org",
                true,
            ),
            (
                "https://viewer.example.org",
                "https://viewer.example.org.evil.net",
                false,
            ),
            (
                "https://viewer.example.org",
                "http://viewer.example.org",
                false,
            ),
            (
                "https://viewer.example.org",
                "https://viewer.example.org:8443",
                false,
            ),
            ("http://localhost:8080", "http://localhost:8080", true),
            ("http://[::1]:8080", "http://[::1]:8080", true),
            // Browsers leave the usual port out.
            ("https://a.example.org:443", "https://a.example.org", true),
            ("http://*.example.org:80", "http://a.example.org", true),
            ("http://a.example.org:443", "http://a.example.org", false),
            ("https://*.example.org", "https://a.b.example.org", true),
            ("https://*.example.org", "https://example.org", false),
            ("https://*.example.org", "https://.example.org", false),
            (
                "https://*.example.org",
                "https://evil.net/.example.org",
                false,
            ),
            ("https://*.example.org", "https://evilexample.org", false),
            (
                "https://*.example.org:8443",
                "https://a.example.org:8443",
                true,
            ),
        ] {
            let parsed = OriginPattern::new(pattern).unwrap();
            assert_eq!(
                parsed.matches(origin.as_bytes()),
                matches,
                "{pattern} {origin}"
            );
        }
    }

    #[test]
    fn what_no_browser_sends_is_no_origin() {
        for text in [
            "",
            "null",
            "example.org",
            "https://",
            "https://*",
            "https://*example.org",
            "https://a.example.org/path",
            "https://a.*.org",
            "ftp://example.org",
            "https://user@example.org",
            "https://example.org:",
            "https://example.org:0",
            "https://example.org:65536",
            "https://example.org:8443:1",
            "https://:8443",
        ] {
            assert_eq!(OriginPattern::new(text), None, "{text}");
        }
    }
}
