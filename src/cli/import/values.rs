//! Addresses, durations and sizes as the balancers write them.

use std::net::IpAddr;
use std::time::Duration;

/// A number and the letters after it.
fn number_and_unit(text: &str) -> Option<(u64, &str)> {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    Some((number.parse().ok()?, unit))
}

/// A duration with one unit. `bare` is the unit of a number without one.
pub(super) fn time(text: &str, bare: &str) -> Option<Duration> {
    let (number, unit) = number_and_unit(text)?;
    let unit = if unit.is_empty() { bare } else { unit };
    let millis = match unit.to_ascii_lowercase().as_str() {
        "us" => return Some(Duration::from_micros(number)),
        "ms" => 1,
        "s" => 1000,
        "m" | "mi" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number.checked_mul(millis).map(Duration::from_millis)
}

/// A size in bytes; units are binary, as in nginx and HAProxy.
pub(super) fn size(text: &str) -> Option<u64> {
    let (number, unit) = number_and_unit(text)?;
    let factor: u64 = match unit.to_ascii_lowercase().as_str() {
        "" => 1,
        "k" => 1 << 10,
        "m" => 1 << 20,
        "g" => 1 << 30,
        _ => return None,
    };
    number.checked_mul(factor)
}

/// An address for clients as geofront writes it: `:80`, `*:80` and `80` are every address.
pub(super) fn listener(text: &str) -> Option<String> {
    let (host, port) = text.rsplit_once(':').unwrap_or(("", text));
    let port: u16 = port.parse().ok().filter(|port| *port > 0)?;
    let host = match host {
        "" | "*" => "0.0.0.0".to_owned(),
        "[::]" | "::" => "[::]".to_owned(),
        host => match host.trim_matches(['[', ']']).parse::<IpAddr>().ok()? {
            IpAddr::V4(address) => address.to_string(),
            IpAddr::V6(address) => format!("[{address}]"),
        },
    };
    Some(format!("{host}:{port}"))
}

/// The remedy for an address that [`listener`] cannot read.
pub(super) fn remedy_for_listener(text: &str) -> &'static str {
    let is_unix = ["/", "unix:", "unix@"]
        .iter()
        .any(|begin| text.starts_with(begin));
    if is_unix {
        "a unix socket is a table [listeners.NAME] with `address = \"unix:PATH\"` (docs/tls.md)"
    } else {
        "this address is no IP address with one port: write it under `listen`"
    }
}

/// Host and port of a server as in a URL; `port` is that of an address without one.
pub(super) fn server(text: &str, port: u16) -> Option<String> {
    let is_bare_v6 = text.parse::<std::net::Ipv6Addr>().is_ok();
    let (host, written) = match text.rsplit_once(':') {
        Some((host, written)) if !is_bare_v6 && !text.ends_with(']') => {
            (host, written.parse().ok().filter(|port| *port > 0)?)
        }
        _ => (text, port),
    };
    let name = host.trim_matches(['[', ']']);
    if let Ok(IpAddr::V6(address)) = name.parse() {
        return Some(format!("[{address}]:{written}"));
    }
    let is_host = !name.is_empty()
        && name.len() <= 253
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    is_host.then(|| format!("{name}:{written}"))
}

/// The layer of a probe that requests a map, as `workspace:layer`.
pub(super) fn probe_layer(url: &str) -> Option<String> {
    let query = url.split_once('?')?.1;
    let layers = query.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=')?;
        (key.eq_ignore_ascii_case("layers") || key.eq_ignore_ascii_case("layer")).then_some(value)
    })?;
    let plain = layers.replace("%3A", ":").replace("%3a", ":");
    let is_layer = !plain.is_empty()
        && plain.len() <= 200
        && plain
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "_-:.".contains(c));
    is_layer.then_some(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_one_unit_or_that_of_the_program() {
        for (text, bare, millis) in [
            ("5s", "ms", Some(5000)),
            ("1500", "ms", Some(1500)),
            ("90", "s", Some(90_000)),
            ("1m", "ms", Some(60_000)),
            ("1d", "s", Some(86_400_000)),
            ("1h30m", "s", None),
            ("", "s", None),
            ("99999999999999999999s", "s", None),
            ("9999999999999999d", "s", None),
        ] {
            assert_eq!(
                time(text, bare),
                millis.map(Duration::from_millis),
                "{text}"
            );
        }
    }

    #[test]
    fn addresses_are_written_as_geofront_reads_them() {
        for (text, expected) in [
            ("*:80", Some("0.0.0.0:80")),
            (":88", Some("0.0.0.0:88")),
            ("8080", Some("0.0.0.0:8080")),
            ("[::]:80", Some("[::]:80")),
            ("10.0.0.1:80", Some("10.0.0.1:80")),
            ("maps.example.org:80", None),
            ("unix:/run/x", None),
        ] {
            assert_eq!(listener(text).as_deref(), expected, "{text}");
        }
        for (text, is_unix) in [
            ("unix:/run/x", true),
            ("unix@/run/x", true),
            ("/run/x", true),
            ("maps.example.org:80", false),
        ] {
            let remedy = remedy_for_listener(text);
            assert_eq!(remedy.contains("unix:PATH"), is_unix, "{text}");
        }
        for (text, expected) in [
            ("10.0.0.1:8080", Some("10.0.0.1:8080")),
            ("gs1.example.org", Some("gs1.example.org:80")),
            ("[::1]:8080", Some("[::1]:8080")),
            ("::1", Some("[::1]:80")),
            ("unix@/run/x", None),
            ("${GS1}:8080", None),
            ("gs_1:8080", Some("gs_1:8080")),
            ("a:0", None),
        ] {
            assert_eq!(server(text, 80).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn the_layer_of_a_probe_is_that_of_its_map() {
        let url = "/geoserver/ows?SERVICE=WMS&LAYERS=geor%3Apublic_layer&REQUEST=GetMap";
        assert_eq!(probe_layer(url).as_deref(), Some("geor:public_layer"));
        for url in ["/geoserver/web/", "/wms?layers=", "/wms?layers=a,b"] {
            assert_eq!(probe_layer(url), None, "{url}");
        }
    }
}
