//! Accepted and refused messages, one per line.

use super::{accepted, assert_refused, body_of};
use crate::http1::{Fault, Framing, HeadLimits, HeadProgress, HeadReader, TargetForm, Version};

/// A request line in an otherwise good head.
fn line(line: &str) -> Vec<u8> {
    format!("{line}\r\nHost: a\r\n\r\n").into_bytes()
}

/// Fields in an otherwise good head.
fn fields(fields: &str) -> Vec<u8> {
    format!("POST /x HTTP/1.1\r\nHost: a\r\n{fields}\r\n").into_bytes()
}

#[test]
fn request_lines_have_three_parts_and_one_space_between_them() {
    for wrong in [
        "GET  /x HTTP/1.1",
        "GET /x  HTTP/1.1",
        "GET\t/x HTTP/1.1",
        " GET /x HTTP/1.1",
        "GET /x",
        "GET",
        "",
        "GET /x HTTP/1.1 ",
        "GET /x y HTTP/1.1",
        "GET /x http/1.1",
        "GET /x HTTP/1",
        "GET /x HTTP/1.1.1",
        "GET /x HTTP /1.1",
        "GET  HTTP/1.1",
        "G(T /x HTTP/1.1",
        "GET\0 /x HTTP/1.1",
        "GET /x XHTTP/1.1",
    ] {
        assert_refused(&line(wrong), Fault::RequestLine);
    }
    for version in ["HTTP/0.9", "HTTP/1.2", "HTTP/2.0", "HTTP/9.9"] {
        assert_refused(&line(&format!("GET /x {version}")), Fault::Version);
    }
    assert_refused(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Fault::Target);
    assert_refused(
        b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03",
        Fault::RequestLine,
    );
    assert_eq!(accepted(&line("GET /x HTTP/1.0")).version, Version::Http10);
}

#[test]
fn one_line_break_before_a_request_is_ignored_and_no_more() {
    let bytes = [b"\r\n".as_slice(), &line("GET /x HTTP/1.1")].concat();
    let head = accepted(&bytes);
    assert_eq!(
        (head.whole.start, head.method.of(&bytes)),
        (2, b"GET".as_slice())
    );
    assert_refused(
        &[b"\r\n\r\n".as_slice(), &line("GET /x HTTP/1.1")].concat(),
        Fault::RequestLine,
    );
    assert_refused(
        &[b"\n".as_slice(), &line("GET /x HTTP/1.1")].concat(),
        Fault::RequestLine,
    );
}

#[test]
fn methods_are_tokens_of_bounded_length_and_make_no_tunnels() {
    for method in ["GET", "PROPFIND", "M-SEARCH", "get", "VERSION-CONTROL", "X"] {
        let bytes = line(&format!("{method} /x HTTP/1.1"));
        assert_eq!(accepted(&bytes).method.of(&bytes), method.as_bytes());
    }
    assert_refused(
        &line(&format!("{} /x HTTP/1.1", "G".repeat(33))),
        Fault::Method,
    );
    for method in ["CONNECT a:80", "CONNECT /x", "TRACE /x"] {
        assert_refused(&line(&format!("{method} HTTP/1.1")), Fault::MethodRefused);
    }
}

#[test]
fn targets_are_paths_or_http_urls_or_the_asterisk_of_options() {
    for target in ["/", "/x", "//x", "/x?y", "/x?http://b/", "/%00", "/\\"] {
        assert_eq!(
            accepted(&line(&format!("GET {target} HTTP/1.1"))).form,
            TargetForm::Origin,
            "{target}"
        );
    }
    for target in ["http://a", "HTTP://A/x", "http://a:80/x?y", "http://a?y"] {
        let form = accepted(&line(&format!("GET {target} HTTP/1.1"))).form;
        assert!(matches!(form, TargetForm::Absolute { .. }), "{target}");
    }
    for wrong in [
        "x",
        "T",
        "@host/x",
        "?/x",
        "*",
        "ftp://a/x",
        "http:/x",
        "http:a",
        "http://",
        "http:///x",
        "http://u@a/x",
        "http://a\\b/",
        "http://a,b/",
        "a:80",
        "://a/x",
        "ws://a/x",
        "httpx://a",
    ] {
        assert_refused(&line(&format!("GET {wrong} HTTP/1.1")), Fault::Target);
    }
    assert_eq!(
        accepted(&line("OPTIONS * HTTP/1.1")).form,
        TargetForm::Asterisk
    );
    assert_refused(&line("OPTIONS ** HTTP/1.1"), Fault::Target);
}

#[test]
fn targets_may_have_bytes_that_browsers_send_raw_but_no_line_ends_or_quotes() {
    for byte in (0..=u8::MAX).filter(|byte| *byte != b' ') {
        let bytes = [b"GET /a", &[byte][..], b"b HTTP/1.1\r\nHost: a\r\n\r\n"].concat();
        match byte {
            0..=b' ' | 0x7f | b'#' | b'"' | b'<' | b'>' | b'`' => {
                let fault = if b"\r\n".contains(&byte) {
                    Fault::RequestLine
                } else {
                    Fault::TargetByte
                };
                assert_refused(&bytes, fault);
            }
            _ => assert_eq!(accepted(&bytes).target.of(&bytes), [b'/', b'a', byte, b'b']),
        }
    }
}

#[test]
fn there_is_one_host_and_it_is_one() {
    assert_refused(b"GET / HTTP/1.1\r\nAccept: x\r\n\r\n", Fault::HostMissing);
    assert_eq!(accepted(b"GET / HTTP/1.0\r\n\r\n").host, None);
    for (host, fault) in [
        ("Host: a\r\nhost: a\r\n", Fault::HostRepeated),
        ("Host: \r\n", Fault::HostInvalid),
        ("Host: a b\r\n", Fault::HostInvalid),
        ("Host: a, b\r\n", Fault::HostInvalid),
        ("Host: a/b\r\n", Fault::HostInvalid),
        ("Host: a:99999\r\n", Fault::HostInvalid),
        ("Host: a:8x\r\n", Fault::HostInvalid),
        ("Host: u@a\r\n", Fault::HostInvalid),
        ("Host: http://a\r\n", Fault::HostInvalid),
    ] {
        assert_refused(format!("GET / HTTP/1.1\r\n{host}\r\n").as_bytes(), fault);
        assert_refused(format!("GET / HTTP/1.0\r\n{host}\r\n").as_bytes(), fault);
    }
}

#[test]
fn the_host_of_a_url_and_the_field_are_the_same() {
    for (url, host) in [
        ("http://a/", "A"),
        ("http://a:80/", "a"),
        ("https://a/", "a:443"),
        ("http://[::1]/", "[::1]:80"),
    ] {
        accepted(format!("GET {url} HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes());
    }
    for (url, host) in [
        ("http://a/", "b"),
        ("http://a:81/", "a"),
        ("https://a/", "a:80"),
    ] {
        assert_refused(
            format!("GET {url} HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes(),
            Fault::HostDisagrees,
        );
    }
    assert_refused(b"GET http://a/ HTTP/1.1\r\n\r\n", Fault::HostMissing);
}

#[test]
fn fields_have_names_and_values_and_lines_of_their_own() {
    for (field, fault) in [
        ("X : y\r\n", Fault::FieldName),
        (": y\r\n", Fault::FieldName),
        ("X\r\n", Fault::FieldName),
        ("X y: z\r\n", Fault::FieldName),
        ("X\u{e9}: z\r\n", Fault::FieldName),
        ("X: y\r\n z\r\n", Fault::FoldedField),
        ("X: y\r\n\tz\r\n", Fault::FoldedField),
        ("X: a\0b\r\n", Fault::FieldValue),
        ("X: a\u{1}b\r\n", Fault::FieldValue),
        ("X: a\u{7f}b\r\n", Fault::FieldValue),
        ("X: a\u{b}\r\n", Fault::FieldValue),
        ("X: a\rb\r\n", Fault::LineEnd),
        ("X: a\nY: b\r\n", Fault::LineEnd),
        ("\n", Fault::LineEnd),
        ("\rX: y\r\n", Fault::LineEnd),
        ("Connection: close x\r\n", Fault::FieldValue),
    ] {
        assert_refused(&fields(field), fault);
    }
    assert_refused(b"GET / HTTP/1.1\r\n Host: a\r\n\r\n", Fault::FoldedField);
    assert_refused(b"GET / HTTP/1.1\nHost: a\n\n", Fault::LineEnd);
    accepted(&fields("X:\r\nY:\t y z\t\r\nZ: \u{e9}\r\n"));
    accepted(&[b"GET / HTTP/1.1\r\nHost: a\r\nX: \xe9\xff\r\n\r\n".as_slice()].concat());
}

#[test]
fn a_length_is_one_number_once() {
    assert_eq!(
        accepted(&fields("Content-Length: 007\r\n")).framing,
        Framing::Length(7)
    );
    assert_eq!(accepted(&fields("")).framing, Framing::Length(0));
    for length in [
        "",
        "-1",
        "+1",
        "1 1",
        "1, 1",
        "0x1",
        "1_0",
        "1.0",
        "9223372036854775808",
        "99999999999999999999",
        "\u{665}",
    ] {
        assert_refused(
            &fields(&format!("Content-Length: {length}\r\n")),
            Fault::ContentLength,
        );
    }
    for second in ["4", "5"] {
        assert_refused(
            &fields(&format!(
                "Content-Length: 4\r\nContent-length: {second}\r\n"
            )),
            Fault::ContentLength,
        );
    }
}

#[test]
fn chunked_is_the_only_transfer_coding_and_comes_alone() {
    assert_eq!(
        accepted(&fields("Transfer-Encoding: Chunked\r\n")).framing,
        Framing::Chunked
    );
    for coding in [
        "",
        "identity",
        "gzip, chunked",
        "chunked, identity",
        "chunked, chunked",
        "xchunked",
        "chunked;a=b",
        "\"chunked\"",
    ] {
        assert_refused(
            &fields(&format!("Transfer-Encoding: {coding}\r\n")),
            Fault::TransferEncoding,
        );
    }
    assert_refused(
        &fields("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"),
        Fault::TransferEncoding,
    );
    assert_refused(
        &fields("Transfer-Encoding: chunked\r\nContent-Length: 4\r\n"),
        Fault::LengthAndChunks,
    );
    assert_refused(
        b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
        Fault::TransferEncoding,
    );
    assert_refused(&fields("Transfer-Encoding : chunked\r\n"), Fault::FieldName);
    assert_refused(
        &fields("Transfer-Encoding: chunked\u{b}\r\n"),
        Fault::FieldValue,
    );
}

#[test]
fn a_target_is_as_long_as_its_text() {
    let read = |target: &[u8]| {
        let limits = HeadLimits {
            max_bytes: 200_000,
            max_fields: 20,
        };
        HeadReader::default().read(
            &[b"GET /", target, b" HTTP/1.1\r\nHost: a\r\n\r\n"].concat(),
            &limits,
        )
    };
    let is_accepted = |target: &[u8]| match read(target) {
        HeadProgress::Complete(_) => true,
        HeadProgress::Refused(Fault::TargetTooLong) => false,
        reading => panic!("{reading:?}"),
    };
    assert!(is_accepted(&[b'x'; 64_999]) && !is_accepted(&[b'x'; 65_000]));
    assert!(
        is_accepted("\u{e9}".repeat(32_499).as_bytes())
            && !is_accepted("\u{e9}".repeat(32_500).as_bytes())
    );
    assert!(is_accepted(&[0xe9; 21_666]) && !is_accepted(&[0xe9; 21_667]));
}

#[test]
fn heads_have_a_size_and_a_number_of_fields() {
    accepted(&fields(&"X: y\r\n".repeat(19)));
    assert_refused(&fields(&"X: y\r\n".repeat(20)), Fault::TooManyFields);
    let long = "x".repeat(2_000);
    assert_refused(&fields(&format!("X: {long}\r\n")), Fault::HeadTooLarge);
    assert_refused(
        format!("GET /{long} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes(),
        Fault::HeadTooLarge,
    );
    assert_refused(format!("GET /{long}").as_bytes(), Fault::TargetTooLong);
    let rest = 2_000 - fields("X: \r\n").len();
    accepted(&fields(&format!("X: {}\r\n", &long[..rest])));
    assert_refused(
        &fields(&format!("X: {}\r\n", &long[..=rest])),
        Fault::HeadTooLarge,
    );
    // Bytes behind a head are not part of it.
    let two = [line("GET /x HTTP/1.1"), long.into_bytes()].concat();
    assert_eq!(accepted(&two).whole.end, line("GET /x HTTP/1.1").len());
}

#[test]
fn options_of_the_connection_and_expectations_are_reported() {
    let head = accepted(&fields(
        "Connection: Keep-Alive, , Upgrade\r\nUpgrade: websocket\r\nExpect: 100-Continue\r\n",
    ));
    assert!(head.connection.keep_alive && head.connection.upgrade && !head.connection.close);
    assert!(head.has_upgrade && head.expects_continue);
    assert!(!accepted(b"GET / HTTP/1.0\r\nExpect: 100-continue\r\n\r\n").expects_continue);
}

#[test]
fn a_body_ends_by_its_framing() {
    let length = accepted(&fields("Content-Length: 5\r\n"));
    let chunked = accepted(&fields("Transfer-Encoding: chunked\r\n"));
    let rest = b"GET / HTTP/1.1\r\n";
    let cases: [(_, &[u8]); 7] = [
        (&length, b"hello"),
        (&chunked, b"0\r\n\r\n"),
        (&chunked, b"5\r\nhello\r\n0\r\n\r\n"),
        (&chunked, b"00A\r\n0\r\n\r\nGET /\r\n000\r\n\r\n"),
        (&chunked, b"5;a=b;c=\"d e\"\r\nhello\r\n0;x\r\n\r\n"),
        (&chunked, b"5 \t ;x\r\nhello\r\n0 \r\n\r\n"),
        (&chunked, b"0\r\nX: y\r\nZ:\r\n\r\n"),
    ];
    for (head, body) in cases {
        for piece in [1, 2, 3, usize::MAX] {
            let bytes = [body, rest.as_slice()].concat();
            assert_eq!(
                body_of(head, &bytes, piece),
                Ok(Some(body.len())),
                "{}",
                body.escape_ascii()
            );
            assert_eq!(
                body_of(head, &body[..body.len() - 1], piece),
                Ok(None),
                "{}",
                body.escape_ascii()
            );
        }
    }
}

#[test]
fn chunks_are_held_to_their_grammar() {
    let chunked = accepted(&fields("Transfer-Encoding: chunked\r\n"));
    let long = [b"1;".as_slice(), &[b'x'; 300], b"\r\na\r\n0\r\n\r\n"].concat();
    let cases: [&[u8]; 16] = [
        b"\r\n",
        b";x\r\n",
        b" 5\r\nhello\r\n",
        b"-1\r\n",
        b"+5\r\n",
        b"0x5\r\n",
        b"5\nhello\r\n",
        b"5;a\nb\r\nhello\r\n",
        b"5;a\rb\r\nhello\r\n",
        b"5;\0\r\nhello\r\n",
        b"5\r\nhelloX\r\n",
        b"5\r\nhello\n",
        b"5\r\nhello\r0",
        b"5 x\r\n",
        b"1234567890abcdef\r\n",
        &long,
    ];
    for body in cases {
        for piece in [1, usize::MAX] {
            assert_eq!(
                body_of(&chunked, body, piece),
                Err(Fault::Chunk),
                "{}",
                body.escape_ascii()
            );
        }
    }
    let endless = [b"0\r\n".as_slice(), &b"X: y\r\n".repeat(1_000)].concat();
    let cases: [&[u8]; 6] = [
        b"0\r\nX\r\n\r\n",
        b"0\r\nX : y\r\n\r\n",
        b"0\r\n x\r\n\r\n",
        b"0\r\nX: y\n\r\n",
        b"0\r\n: y\r\n\r\n",
        &endless,
    ];
    for body in cases {
        assert_eq!(
            body_of(&chunked, body, 7),
            Err(Fault::Trailers),
            "{}",
            body.escape_ascii()
        );
    }
    assert_eq!(body_of(&chunked, b"0\r\n\rx", 1), Err(Fault::Chunk));
}

#[test]
fn every_fault_has_a_word_of_its_own_a_refusing_status_and_a_rule() {
    let words: std::collections::BTreeSet<_> = Fault::ALL.into_iter().map(Fault::reason).collect();
    assert_eq!(words.len(), Fault::ALL.len());
    for fault in Fault::ALL {
        assert!(
            (400..600).contains(&fault.status()) && fault.rule().starts_with("RFC "),
            "{fault}"
        );
    }
}
