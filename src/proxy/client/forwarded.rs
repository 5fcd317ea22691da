//! The address that a request came from, in `X-Forwarded-For` or in `Forwarded` (RFC 7239).
//!
//! Both hold one element for each hop, the nearest last. The client is the last address that is not
//! a trusted proxy's own. An element that is no address (`unknown`, `_hidden`, nonsense) ends the
//! chain: nothing before it was vouched for. `Forwarded` is read only without `X-Forwarded-For`,
//! because a proxy that appends to one of them passes the other as its client sent it.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use http::HeaderMap;
use http::header::FORWARDED;

const FORWARDED_FOR: &str = "x-forwarded-for";

/// The client's address as the header fields state it, as far back as trusted proxies lead; `None`
/// if they state none.
pub(in crate::proxy) fn client(
    headers: &HeaderMap,
    trusts: impl Fn(IpAddr) -> bool,
) -> Option<IpAddr> {
    let mut chain = Chain {
        trusts,
        client: None,
    };
    if headers.contains_key(FORWARDED_FOR) {
        for line in headers.get_all(FORWARDED_FOR) {
            line.as_bytes()
                .split(|byte| *byte == b',')
                .for_each(|hop| chain.add(node(hop)));
        }
    } else {
        for line in headers.get_all(FORWARDED) {
            elements(line.as_bytes(), |element| chain.add(forwarded_for(element)));
        }
    }
    chain.client
}

/// True if `X-Forwarded-For` is missing, so that `Forwarded` counts.
pub(in crate::proxy) fn counts_forwarded(headers: &HeaderMap) -> bool {
    !headers.contains_key(FORWARDED_FOR) && headers.contains_key(FORWARDED)
}

/// The hops so far, the farthest first.
struct Chain<T> {
    trusts: T,
    /// The client, if no hop follows.
    client: Option<IpAddr>,
}

impl<T: Fn(IpAddr) -> bool> Chain<T> {
    fn add(&mut self, hop: Option<IpAddr>) {
        self.client = match (hop, self.client) {
            (None, _) => None,
            (Some(hop), Some(client)) if (self.trusts)(hop) => Some(client),
            (Some(hop), _) => Some(hop),
        };
    }
}

/// Calls `found` with each element of a list, in which commas may be quoted.
fn elements<'l>(line: &'l [u8], mut found: impl FnMut(&'l [u8])) {
    each_part(line, b',', &mut found);
}

/// Splits at `separator` outside quotes. A quote that does not end reaches to the end.
fn each_part<'l>(line: &'l [u8], separator: u8, found: &mut impl FnMut(&'l [u8])) {
    let (mut start, mut is_quoted, mut is_escaped) = (0, false, false);
    for (i, byte) in line.iter().enumerate() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_quoted => is_escaped = true,
            b'"' => is_quoted = !is_quoted,
            byte if *byte == separator && !is_quoted => {
                found(&line[start..i]);
                start = i + 1;
            }
            _ => {}
        }
    }
    found(&line[start..]);
}

/// The address in the `for` parameter of one element of `Forwarded`; `None` unless there is exactly
/// one.
fn forwarded_for(element: &[u8]) -> Option<IpAddr> {
    let (mut address, mut count) = (None, 0);
    each_part(element, b';', &mut |pair| {
        let Some(equals) = pair.iter().position(|byte| *byte == b'=') else {
            return;
        };
        if pair[..equals].trim_ascii().eq_ignore_ascii_case(b"for") {
            (address, count) = (node(&pair[equals + 1..]), count + 1);
        }
    });
    address.filter(|_| count == 1)
}

/// An address with or without a port, IPv6 with or without brackets, with or without quotes.
fn node(text: &[u8]) -> Option<IpAddr> {
    let text = text.trim_ascii();
    let text = match text.strip_prefix(b"\"") {
        Some(quoted) => quoted.strip_suffix(b"\"")?,
        None => text,
    };
    let text = std::str::from_utf8(text).ok()?.trim();
    let address = if let Some(bracketed) = text.strip_prefix('[').and_then(|t| t.strip_suffix(']'))
    {
        bracketed.parse::<Ipv6Addr>().ok().map(IpAddr::V6)
    } else {
        let alone = text.parse::<IpAddr>().ok();
        alone.or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()))
    };
    address.map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn trusts(address: IpAddr) -> bool {
        address.to_string().starts_with("10.")
    }

    fn from(lines: &[(&'static str, &str)]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(
                HeaderName::from_static(name),
                HeaderValue::from_str(value).unwrap(),
            );
        }
        client(&headers, trusts).map(|address| address.to_string())
    }

    fn listed(value: &str) -> Option<String> {
        from(&[("x-forwarded-for", value)])
    }

    fn standard(value: &str) -> Option<String> {
        from(&[("forwarded", value)])
    }

    #[test]
    fn addresses_are_read_in_every_form_in_which_proxies_write_them() {
        for (written, address) in [
            ("192.0.2.7", "192.0.2.7"),
            ("192.0.2.7:51324", "192.0.2.7"),
            ("\"192.0.2.7:51324\"", "192.0.2.7"),
            ("2001:db8::7", "2001:db8::7"),
            ("[2001:db8::7]", "2001:db8::7"),
            ("[2001:db8::7]:443", "2001:db8::7"),
            ("\"[2001:db8::7]:443\"", "2001:db8::7"),
            ("::ffff:192.0.2.7", "192.0.2.7"),
        ] {
            assert_eq!(listed(written).as_deref(), Some(address), "{written}");
            assert_eq!(
                standard(&format!("proto=https;For={written};by=10.0.0.1")).as_deref(),
                Some(address),
                "{written}"
            );
        }
    }

    #[test]
    fn a_text_that_is_no_address_states_none() {
        for written in [
            "unknown",
            "_hidden",
            "",
            "\"192.0.2.7",
            "[192.0.2.7]",
            "[2001:db8::7",
            "192.0.2.7:99999",
            "192.0.2.7 x",
            "fe80::1%eth0",
        ] {
            assert_eq!(listed(written), None, "{written}");
            assert_eq!(standard(&format!("for={written}")), None, "{written}");
        }
        assert_eq!(standard("for=192.0.2.7;for=192.0.2.8"), None);
        assert_eq!(standard("proto=https"), None);
    }

    #[test]
    fn the_client_is_the_last_address_that_is_no_trusted_proxys() {
        for (hops, client) in [
            (
                &["203.0.113.1", "192.0.2.7", "10.0.0.9"][..],
                Some("192.0.2.7"),
            ),
            (&["10.0.0.8", "10.0.0.9"], Some("10.0.0.8")),
            (
                &["192.0.2.7", "unknown", "10.0.0.8", "10.0.0.9"],
                Some("10.0.0.8"),
            ),
            (&["192.0.2.7", "unknown"], None),
            (&["unknown", "192.0.2.7"], Some("192.0.2.7")),
        ] {
            assert_eq!(listed(&hops.join(", ")).as_deref(), client, "{hops:?}");
            let elements: Vec<_> = hops.iter().map(|hop| format!("for={hop}")).collect();
            assert_eq!(standard(&elements.join(",")).as_deref(), client, "{hops:?}");
            let lines: Vec<_> = hops.iter().map(|hop| ("x-forwarded-for", *hop)).collect();
            assert_eq!(from(&lines).as_deref(), client, "{hops:?}");
        }
    }

    #[test]
    fn quotes_hide_commas_and_semicolons() {
        assert_eq!(
            standard(
                r#"for="x,for=192.0.2.6\",for=192.0.2.5";host="a;b", for=192.0.2.7;host="a,b""#
            )
            .as_deref(),
            Some("192.0.2.7")
        );
        assert_eq!(
            standard("for=192.0.2.7, for=\"192.0.2.8, for=192.0.2.9"),
            None
        );
    }

    #[test]
    fn a_client_cannot_state_by_forwarded_what_its_proxy_states_by_x_forwarded_for() {
        let both = [
            ("forwarded", "for=203.0.113.66"),
            ("x-forwarded-for", "192.0.2.7"),
        ];
        assert_eq!(from(&both).as_deref(), Some("192.0.2.7"));
    }
}
