//! Version 2: a block of bytes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{ProxyHeaderProgress, SIGNATURE};

/// The length of the part in front of the addresses.
const FIXED: usize = 16;

/// Maximum length of the rest. The addresses take at most 216 bytes; the others are additional
/// fields such as the client's certificate.
const MAX_REST: usize = 4_096;

const VERSION: u8 = 0x20;
const LOCAL: u8 = 0x0;
const PROXY: u8 = 0x1;
const TCP4: u8 = 0x11;
const TCP6: u8 = 0x21;

/// The additional field with a checksum of the whole header.
const CRC32C: u8 = 0x03;

/// Lengths of the addresses and ports of both ends.
const TCP4_LENGTH: usize = 12;
const TCP6_LENGTH: usize = 36;

/// Reads a header that begins like version 2.
pub(super) fn read(bytes: &[u8]) -> ProxyHeaderProgress {
    // The signature is not complete if a byte of it is missing, so no byte of a wrong one counts.
    let Some(fixed) = bytes.first_chunk::<FIXED>() else {
        // One of the shortest version 1 is as long as this part or shorter.
        return ProxyHeaderProgress::More(FIXED - bytes.len());
    };
    debug_assert!(fixed.starts_with(&SIGNATURE));
    let [.., command, family, high, low] = *fixed;
    let length = usize::from(u16::from_be_bytes([high, low]));
    if command & 0xf0 != VERSION || length > MAX_REST {
        return ProxyHeaderProgress::Malformed;
    }
    let rest = &bytes[FIXED..];
    if rest.len() < length {
        return ProxyHeaderProgress::More(length - rest.len());
    }
    if rest.len() > length {
        return ProxyHeaderProgress::Malformed;
    }
    match (command & 0x0f, family) {
        // The addresses are those of the load balancer itself, if there are any. The whole block is
        // to be ignored.
        (LOCAL, _) => ProxyHeaderProgress::Complete(None),
        (PROXY, TCP4) if has_sound_fields(bytes, TCP4_LENGTH) => {
            source(rest, TCP4_LENGTH, |rest| {
                let (ip, rest) = rest.split_first_chunk::<4>()?;
                Some((IpAddr::V4(Ipv4Addr::from(*ip)), rest.get(4..6)?))
            })
        }
        (PROXY, TCP6) if has_sound_fields(bytes, TCP6_LENGTH) => {
            source(rest, TCP6_LENGTH, |rest| {
                let (ip, rest) = rest.split_first_chunk::<16>()?;
                Some((IpAddr::V6(Ipv6Addr::from(*ip)), rest.get(16..18)?))
            })
        }
        // Other families are not TCP over IP, and other commands do not exist.
        _ => ProxyHeaderProgress::Malformed,
    }
}

/// True if the fields behind addresses of this length end with the header, and a checksum among
/// them is right.
fn has_sound_fields(header: &[u8], addresses: usize) -> bool {
    let mut rest = header.get(FIXED + addresses..).unwrap_or_default();
    while let [kind, high, low, after @ ..] = rest {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let Some((value, behind)) = after.split_at_checked(length) else {
            return false;
        };
        let at = header.len() - after.len();
        if *kind == CRC32C && value != checksum(header, at).to_be_bytes() {
            return false;
        }
        rest = behind;
    }
    rest.is_empty()
}

/// CRC32c of the header, in which the four bytes of the checksum at `at` count as zero.
fn checksum(header: &[u8], at: usize) -> u32 {
    /// The polynomial of Castagnoli, lowest power first.
    const POLYNOMIAL: u32 = 0x82f6_3b78;
    let zeroed = header.iter().enumerate().map(|(index, byte)| {
        let is_checksum = (at..at + 4).contains(&index);
        if is_checksum { 0 } else { *byte }
    });
    let crc = zeroed.fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| {
            let is_odd = crc & 1 == 1;
            crc >> 1 ^ if is_odd { POLYNOMIAL } else { 0 }
        })
    });
    !crc
}

/// Returns the source of addresses with `length`. `parse` returns its address and the bytes of its
/// port.
fn source(
    rest: &[u8],
    length: usize,
    parse: impl Fn(&[u8]) -> Option<(IpAddr, &[u8])>,
) -> ProxyHeaderProgress {
    let parsed = rest.get(..length).and_then(parse);
    let address = parsed.and_then(|(ip, port)| {
        let port = u16::from_be_bytes(port.try_into().ok()?);
        Some(SocketAddr::new(ip, port))
    });
    address.map_or(ProxyHeaderProgress::Malformed, |address| {
        ProxyHeaderProgress::Complete(Some(address))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_crc32c() {
        // The check value of the algorithm. No byte counts as zero.
        assert_eq!(checksum(b"123456789", 9), 0xe306_9283);
        assert_eq!(checksum(b"1234xxxx9", 4), checksum(b"1234\0\0\0\09", 9));
    }
}
