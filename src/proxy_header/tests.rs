//! Headers as load balancers send them, cut, mangled and made up.

use std::net::IpAddr;

use proptest::prelude::*;

use super::*;

fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
    [&SIGNATURE[..], &[0x20 | command, family], &length, rest].concat()
}

fn v2_of(source: SocketAddr, extra: &[u8]) -> Vec<u8> {
    let (family, ip) = match source.ip() {
        IpAddr::V4(ip) => (0x11, ip.octets().to_vec()),
        IpAddr::V6(ip) => (0x21, ip.octets().to_vec()),
    };
    let port = source.port().to_be_bytes();
    v2(1, family, &[&ip[..], &ip, &port, &[0, 80], extra].concat())
}

fn v1_of(source: SocketAddr) -> Vec<u8> {
    let (family, ip) = match source.ip() {
        IpAddr::V4(ip) => ("TCP4", ip.to_string()),
        IpAddr::V6(ip) => ("TCP6", ip.to_string()),
    };
    format!("PROXY {family} {ip} {ip} {} 80\r\n", source.port()).into_bytes()
}

/// Reads as a connection does, from which no byte can be given back; returns how many were taken.
fn read_exactly(wire: &[u8]) -> (ProxyHeaderProgress, usize) {
    let mut taken = 0;
    loop {
        match read(&wire[..taken]) {
            ProxyHeaderProgress::More(missing) if taken + missing <= wire.len() => {
                assert!(missing > 0, "no progress");
                taken += missing;
            }
            reading => return (reading, taken),
        }
    }
}

fn address() -> impl Strategy<Value = SocketAddr> {
    (any::<IpAddr>(), any::<u16>()).prop_map(|(ip, port)| SocketAddr::new(ip, port))
}

/// Additional fields of every kind but the checksum.
fn fields() -> impl Strategy<Value = Vec<u8>> {
    let value = prop::collection::vec(any::<u8>(), 0..20);
    let field = (any::<u8>(), value).prop_map(|(kind, value)| {
        let kind = if kind == 3 { 4 } else { kind };
        [&[kind, 0, value.len() as u8], &value[..]].concat()
    });
    prop::collection::vec(field, 0..4).prop_map(|fields| fields.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn the_source_is_read_and_no_byte_behind_the_header_is_taken(
        source in address(),
        fields in fields(),
        behind in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        for header in [v1_of(source), v2_of(source, &fields)] {
            let wire = [&header[..], &behind].concat();
            let complete = ProxyHeaderProgress::Complete(Some(source));
            prop_assert_eq!(read_exactly(&wire), (complete, header.len()));
        }
    }

    #[test]
    fn a_header_that_is_cut_is_never_complete(source in address(), cut in 0..200_usize) {
        for header in [v1_of(source), v2_of(source, &[4, 0, 6, 0, 0, 0, 0, 0, 0])] {
            let cut = cut.min(header.len() - 1);
            prop_assert!(matches!(read(&header[..cut]), ProxyHeaderProgress::More(_)), "{cut}");
        }
    }

    #[test]
    fn nothing_panics_and_reading_ends(
        wire in prop::collection::vec(any::<u8>(), 0..300),
        is_v2: bool,
    ) {
        let begin: &[u8] = if is_v2 { &SIGNATURE } else { b"PROXY TCP" };
        read_exactly(&wire);
        let (_, taken) = read_exactly(&[begin, &wire].concat());
        prop_assert!(taken <= 16 + 4_096);
    }
}

#[test]
fn a_load_balancer_may_speak_for_itself() {
    let unknown: [&[u8]; 2] = [
        b"PROXY UNKNOWN\r\n",
        b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n",
    ];
    for header in unknown {
        assert_eq!(
            read_exactly(header),
            (ProxyHeaderProgress::Complete(None), header.len())
        );
    }
    for header in [v2(0, 0, &[]), v2(0, 0x11, &[0; 12]), v2(0, 0x31, &[0; 216])] {
        assert_eq!(
            read_exactly(&header),
            (ProxyHeaderProgress::Complete(None), header.len())
        );
    }
}

#[test]
fn anything_but_an_exact_header_is_malformed() {
    let lines: &[&[u8]] = &[
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2\n",
        b"PROXY TCP4  1.2.3.4 1.2.3.4 1 2\r\n",
        b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2 \r\n",
        b"PROXY TCP4 1.2.3.4 1.2.3.4 01 2\r\n",
        b"PROXY TCP4 1.2.3.4 1.2.3.4 +1 2\r\n",
        b"PROXY TCP4 1.2.3.4 1.2.3.4 65536 2\r\n",
        b"PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n",
        b"PROXY TCP4 1.2.3.04 1.2.3.4 1 2\r\n",
        b"PROXY TCP4 ::1 ::1 1 2\r\n",
        b"PROXY TCP6 1.2.3.4 1.2.3.4 1 2\r\n",
        b"PROXY UDP4 1.2.3.4 1.2.3.4 1 2\r\n",
        b"PROXY tcp4 1.2.3.4 1.2.3.4 1 2\r\n",
        b"proxy TCP4 1.2.3.4 1.2.3.4 1 2\r\n",
        b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2\r\r\n",
    ];
    for line in lines {
        assert_eq!(
            read_exactly(line).0,
            ProxyHeaderProgress::Malformed,
            "{}",
            line.escape_ascii()
        );
    }
    let long = [&b"PROXY UNKNOWN "[..], &[b'x'; 100]].concat();
    assert_eq!(read_exactly(&long).0, ProxyHeaderProgress::Malformed);
    let of_version = |version: u8| {
        let fixed = [version << 4 | 1, 0x11, 0, 12];
        [&SIGNATURE[..], &fixed, &[0; 12]].concat()
    };
    assert!(matches!(
        read_exactly(&of_version(2)).0,
        ProxyHeaderProgress::Complete(Some(_))
    ));
    for header in [
        v2(2, 0x11, &[0; 12]),
        v2(1, 0x12, &[0; 12]),
        v2(1, 0x31, &[0; 216]),
        v2(1, 0, &[]),
        v2(1, 0x11, &[0; 11]),
        v2(1, 0x21, &[0; 35]),
        v2(1, 0x11, &[0; 4_097]),
        of_version(1),
        of_version(3),
    ] {
        assert_eq!(
            read_exactly(&header).0,
            ProxyHeaderProgress::Malformed,
            "{header:?}"
        );
    }
}

#[test]
fn additional_fields_end_with_the_header() {
    for source in ["192.0.2.7:1", "[2001:db8::7]:1"] {
        let of = |fields: &[u8]| read_exactly(&v2_of(source.parse().unwrap(), fields)).0;
        let is_read = |fields| matches!(of(fields), ProxyHeaderProgress::Complete(Some(_)));
        let sound: [&[u8]; 3] = [b"", b"\x04\0\0", b"\xea\0\x02ab\x04\0\x01x"];
        assert!(sound.into_iter().all(is_read));
        let malformed: [&[u8]; 4] = [
            b"\x04",
            b"\x04\0",
            b"\x04\0\x01",
            b"\xea\0\x02ab\x04\xff\xffx",
        ];
        for fields in malformed {
            assert_eq!(of(fields), ProxyHeaderProgress::Malformed, "{fields:?}");
        }
    }
}

#[test]
fn a_checksum_must_be_that_of_the_header() {
    let source = "192.0.2.7:1".parse().unwrap();
    let mut header = v2_of(source, b"\x04\0\x01x\x03\0\x04\0\0\0\0\xea\0\x01y");
    let at = header.len() - 8;
    assert_eq!(read(&header), ProxyHeaderProgress::Malformed);
    // As Castagnoli's polynomial has it, computed apart from the code under test.
    header[at..at + 4].copy_from_slice(&[0x98, 0x58, 0xb5, 0x14]);
    assert_eq!(read(&header), ProxyHeaderProgress::Complete(Some(source)));
    // Without its kind, the field is no checksum.
    for changed in (12..header.len()).filter(|changed| *changed != at - 3) {
        let mut other = header.clone();
        other[changed] ^= 0x10;
        assert_ne!(
            read(&other),
            ProxyHeaderProgress::Complete(Some(source)),
            "{changed}"
        );
    }
    let short = v2_of(source, b"\x03\0\x03abc");
    assert_eq!(read(&short), ProxyHeaderProgress::Malformed);
}
