//! Authorities: the value of `Host`, and the part before the path of an absolute target.

use std::net::Ipv6Addr;

/// Maximum length of a host, that of DNS names.
const MAX_HOST: usize = 255;

/// A host with its port, if one was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Authority<'a> {
    host: &'a [u8],
    port: Option<u16>,
}

impl<'a> Authority<'a> {
    /// Parses `host`, `host:port` or `[IPv6]:port`. Names consist of letters, digits, `-`, `_` and
    /// `.`: the rest of RFC 3986's `reg-name` serves only to make two servers disagree.
    pub(super) fn parse(text: &'a [u8]) -> Option<Self> {
        let (host, port) = match text.first()? {
            b'[' => literal(text)?,
            _ => match text.iter().position(|byte| *byte == b':') {
                Some(colon) => (&text[..colon], Some(&text[colon + 1..])),
                None => (text, None),
            },
        };
        let is_host = host.starts_with(b"[") || is_name(host);
        let port = match port {
            // RFC 3986 allows a colon without a port.
            None | Some([]) => None,
            Some(digits) => Some(parse_port(digits)?),
        };
        is_host.then_some(Self { host, port })
    }

    /// True if both are the same place for a client of `default_port`.
    pub(super) fn agrees(self, other: Self, default_port: u16) -> bool {
        let port = |authority: Self| authority.port.unwrap_or(default_port);
        self.host.eq_ignore_ascii_case(other.host) && port(self) == port(other)
    }
}

/// Returns the host of an authority without its port; `None` if it is no valid authority.
pub fn host_without_port(authority: &[u8]) -> Option<&[u8]> {
    Authority::parse(authority).map(|authority| authority.host)
}

/// Splits an address in brackets from its port.
fn literal(text: &[u8]) -> Option<(&[u8], Option<&[u8]>)> {
    let end = text.iter().position(|byte| *byte == b']')?;
    std::str::from_utf8(&text[1..end])
        .ok()?
        .parse::<Ipv6Addr>()
        .ok()?;
    match &text[end + 1..] {
        [] => Some((&text[..=end], None)),
        [b':', port @ ..] => Some((&text[..=end], Some(port))),
        _ => None,
    }
}

fn is_name(host: &[u8]) -> bool {
    let is_letter = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
    (1..=MAX_HOST).contains(&host.len()) && host.iter().all(is_letter)
}

fn parse_port(digits: &[u8]) -> Option<u16> {
    let is_number = digits.len() <= 5 && digits.iter().all(u8::is_ascii_digit);
    let port = is_number
        .then(|| std::str::from_utf8(digits).ok()?.parse().ok())
        .flatten();
    port.filter(|port| *port > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_names_or_addresses_with_or_without_a_port() {
        for host in [
            "a",
            "maps.example.org",
            "MAPS.example.org:8443",
            "geo_server-1:80",
            "10.0.0.5:8080",
            "[::1]",
            "[2001:db8::1]:8443",
            "a:",
            "a.:1",
            "[::ffff:10.0.0.1]:65535",
        ] {
            assert!(Authority::parse(host.as_bytes()).is_some(), "{host}");
        }
        for host in [
            "",
            ":80",
            "a b",
            "a,b",
            "a/b",
            "a:80:80",
            "a:65536",
            "a:0",
            "a:-1",
            "a:+1",
            "a:8o",
            "a: 80",
            "u@a",
            "a\\b",
            "[::1",
            "[::1]80",
            "[1.2.3.4]",
            "[::1%25eth0]",
            "::1",
            "a?b",
            "a#b",
            "\u{e9}",
            "a%20b",
            "a;b",
            "'a'",
        ] {
            assert_eq!(Authority::parse(host.as_bytes()), None, "{host}");
        }
        assert_eq!(Authority::parse(&[b'a'; MAX_HOST + 1]), None);
    }

    #[test]
    fn authorities_agree_in_any_case_and_with_the_default_port_left_out() {
        let agree = |a: &'static str, b: &'static str| {
            Authority::parse(a.as_bytes())
                .unwrap()
                .agrees(Authority::parse(b.as_bytes()).unwrap(), 80)
        };
        assert!(agree("A.example", "a.Example:80") && agree("a:", "a"));
        assert!(!agree("a", "b") && !agree("a:81", "a") && !agree("a", "a."));
    }
}
