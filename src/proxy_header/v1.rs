//! Version 1: a line of text.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::ProxyHeaderProgress;

pub(super) const BEGIN: &[u8] = b"PROXY ";

/// `PROXY UNKNOWN` and the end of the line.
pub(super) const SHORTEST: usize = 15;

/// The end of the line is among the first so many bytes.
const LONGEST: usize = 107;

/// A line is read in steps of this size, the size of its end.
const END: &[u8] = b"\r\n";

/// Reads a header that begins like version 1.
pub(super) fn read(bytes: &[u8]) -> ProxyHeaderProgress {
    let line = match bytes.iter().position(|byte| *byte == b'\n') {
        Some(end) if end + 1 == bytes.len() && end < LONGEST => &bytes[..end],
        // A reader that goes on behind the line has taken bytes of the client.
        Some(_) => return ProxyHeaderProgress::Malformed,
        None if bytes.len() >= LONGEST => return ProxyHeaderProgress::Malformed,
        None if bytes.len() < SHORTEST => return ProxyHeaderProgress::More(SHORTEST - bytes.len()),
        None if bytes.ends_with(b"\r") => return ProxyHeaderProgress::More(1),
        None => return ProxyHeaderProgress::More(END.len()),
    };
    let Some(line) = line.strip_suffix(b"\r") else {
        return ProxyHeaderProgress::Malformed;
    };
    let parsed = std::str::from_utf8(line).ok().and_then(parse);
    parsed.unwrap_or(ProxyHeaderProgress::Malformed)
}

/// Parses the line. Returns `None` if it is malformed.
fn parse(line: &str) -> Option<ProxyHeaderProgress> {
    let mut parts = line.split(' ').skip(1);
    let family = parts.next()?;
    if family == "UNKNOWN" {
        // Whatever else is on the line is to be ignored.
        return Some(ProxyHeaderProgress::Complete(None));
    }
    let (source, destination) = (parts.next()?, parts.next()?);
    let (source_port, destination_port) = (port(parts.next()?)?, port(parts.next()?)?);
    if parts.next().is_some() {
        return None;
    }
    let address = |text: &str| match family {
        "TCP4" => text.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
        "TCP6" => text.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        _ => None,
    };
    // The destination must be well formed, too, but it is of no use.
    let _ = (address(destination)?, destination_port);
    let source = SocketAddr::new(address(source)?, source_port);
    Some(ProxyHeaderProgress::Complete(Some(source)))
}

/// Digits without a sign and without leading zeros.
fn port(text: &str) -> Option<u16> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
    let is_short = text == "0" || !text.starts_with('0');
    (is_plain && is_short).then(|| text.parse().ok()).flatten()
}
