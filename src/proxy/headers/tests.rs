//! The form of a message after it has passed.

use pingora::protocols::http::v1::server::HttpSession;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

fn request(headers: &[(&'static str, &str)]) -> RequestHeader {
    let mut request = RequestHeader::build("GET", b"/geoserver/wms?SERVICE=WMS", None).unwrap();
    for (name, value) in headers {
        request.append_header(*name, *value).unwrap();
    }
    request
}

/// Returns the fields that the upstream receives, as `name: value` lines in lower case.
fn seen_from(trusted: bool, headers: &[(&'static str, &str)]) -> Vec<String> {
    let trust = PeerTrust {
        origin: trusted,
        identity: trusted,
    };
    seen_with(trust, &Trust::default(), headers)
}

fn seen_with(trust: PeerTrust, config: &Trust, headers: &[(&'static str, &str)]) -> Vec<String> {
    let mut request = request(headers);
    let id = RequestId::from_peer(b"id").unwrap();
    let client = ClientView {
        peer: "192.0.2.7".parse().unwrap(),
        local: Some("10.0.0.1:8080".parse().unwrap()),
        trust,
        config,
        tls: false,
        subject: None,
        hsts: None,
        version: Version::HTTP_11,
        request_id: &id,
    };
    prepare_upstream(&mut request, &client).unwrap();
    let mut wire = Vec::new();
    request.header_to_h1_wire(&mut wire);
    let wire = String::from_utf8(wire).unwrap();
    let mut lines: Vec<String> = wire
        .lines()
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| format!("{}: {value}", name.to_ascii_lowercase()))
        .filter(|line| !line.starts_with("via") && !line.starts_with("x-request-id"))
        .collect();
    lines.sort();
    lines
}

#[test]
fn a_stranger_cannot_claim_to_be_a_user_or_a_proxy_in_any_spelling() {
    let claims = [
        ("sec-username", "admin"),
        ("SEC-ROLES", "ROLE_ADMINISTRATOR"),
        ("Sec-Proxy", "true"),
        ("sec_username", "admin"),
        ("imp-username", "admin"),
        ("IMP_ROLES", "ROLE_ADMINISTRATOR"),
        ("X-Forwarded-For", "10.0.0.5"),
        ("x-forwarded-host", "evil.example"),
        ("X_Forwarded_Proto", "https"),
        ("X-Forwarded-Path", "/evil"),
        ("X-Forwarded-Prefix", "/evil"),
        ("X-Forwarded", "for=10.0.0.5"),
        ("Forwarded", "host=evil.example"),
        ("X-Real-IP", "10.0.0.5"),
        ("X-Client-IP", "10.0.0.5"),
        ("True-Client-IP", "10.0.0.5"),
        ("ctrl-flow-priority", "10"),
    ];
    let mut headers = vec![("Host", "maps.example")];
    headers.extend(claims);
    assert_eq!(
        seen_from(false, &headers),
        [
            "host: maps.example",
            "x-forwarded-for: 192.0.2.7",
            "x-forwarded-host: maps.example",
            "x-forwarded-port: 80",
            "x-forwarded-proto: http",
        ]
    );
}

#[test]
fn a_connection_that_would_hide_a_claim_is_noticed_and_one_that_names_its_own_is_not() {
    for list in [
        "X-Forwarded-For",
        "close, sec-username",
        "Imp_Username",
        "Host",
        "x, Content-Length",
        "forwarded",
    ] {
        assert!(
            nominates_a_claim(&request(&[("Connection", list)]), &Trust::default()),
            "{list}"
        );
    }
    for list in [
        "close",
        "keep-alive, Upgrade",
        "X-Own",
        "",
        "TE, HTTP2-Settings",
    ] {
        assert!(
            !nominates_a_claim(&request(&[("Connection", list)]), &Trust::default()),
            "{list}"
        );
    }
    let second = request(&[("Connection", "close"), ("Connection", "x-real-ip")]);
    assert!(nominates_a_claim(&second, &Trust::default()));
    let listed = Trust {
        identity_headers: vec![HeaderField::new("X-Own").unwrap()],
        ..Trust::default()
    };
    assert!(nominates_a_claim(
        &request(&[("Connection", "x_own")]),
        &listed
    ));
}

#[test]
fn an_answers_own_fields_of_the_connection_end_here() {
    let mut response = ResponseHeader::build(200, None).unwrap();
    let fields = [
        ("Connection", "close, X-Own, Content-Length"),
        ("X-Own", "1"),
        ("Keep-Alive", "timeout=20"),
        ("Content-Length", "5"),
    ];
    for (name, value) in fields {
        response.append_header(name, value).unwrap();
    }
    strip_hop_by_hop(&mut response);
    let left: Vec<&str> = response.headers.keys().map(HeaderName::as_str).collect();
    assert_eq!(left, ["connection", "content-length"]);
}

#[test]
fn a_websockets_handshake_passes_from_every_client() {
    let seen = seen_from(
        false,
        &[
            ("Host", "h"),
            ("Sec-WebSocket-Key", "k"),
            ("Sec_WebSocket_Key", "k"),
        ],
    );
    assert_eq!(
        seen.iter()
            .filter(|line| line.contains("websocket"))
            .count(),
        1,
        "{seen:?}"
    );
}

#[test]
fn a_peer_that_may_state_the_origin_alone_states_no_user() {
    let config = Trust {
        identity_headers: vec![HeaderField::new("X-Remote-User").unwrap()],
        ..Trust::default()
    };
    let headers = [
        ("host", "h"),
        ("ctrl-flow-priority", "9"),
        ("sec-username", "admin"),
        ("x-forwarded-host", "maps.example"),
        ("x-remote-user", "admin"),
        ("x_remote_user", "admin"),
    ];
    let seen = |origin, identity| seen_with(PeerTrust { origin, identity }, &config, &headers);
    assert_eq!(
        seen(true, false),
        [
            "host: h",
            "x-forwarded-for: 192.0.2.7",
            "x-forwarded-host: maps.example"
        ]
    );
    let identified = seen(false, true);
    for kept in [
        "sec-username: admin",
        "x-remote-user: admin",
        "ctrl-flow-priority: 9",
    ] {
        assert!(identified.iter().any(|line| line == kept), "{identified:?}");
    }
    assert!(
        identified.contains(&"x-forwarded-host: h".to_owned()),
        "{identified:?}"
    );
}

#[test]
fn the_public_address_is_the_configured_one_whatever_a_peer_states() {
    let url = |path: &str| Trust {
        public_url: Some(PublicUrl {
            scheme: "https",
            authority: "maps.example:8443".to_owned(),
            port: 8443,
            path: path.to_owned(),
        }),
        ..Trust::default()
    };
    let headers = [
        ("host", "10.0.0.1"),
        ("forwarded", "host=evil.example"),
        ("x-forwarded-for", "203.0.113.9"),
        ("x-forwarded-host", "evil.example"),
        ("x-forwarded-path", "/evil"),
        ("x-forwarded-prefix", "/evil"),
        ("x-forwarded-proto", "http"),
        ("x_forwarded_host", "evil.example"),
    ];
    for (trust, chain) in [
        (PeerTrust::FULL, "x-forwarded-for: 203.0.113.9, 192.0.2.7"),
        (PeerTrust::default(), "x-forwarded-for: 192.0.2.7"),
    ] {
        let mut expected = vec![
            "host: 10.0.0.1",
            chain,
            "x-forwarded-host: maps.example:8443",
            "x-forwarded-port: 8443",
            "x-forwarded-proto: https",
        ];
        assert_eq!(seen_with(trust, &url(""), &headers), expected);
        expected.insert(3, "x-forwarded-path: /sdi");
        assert_eq!(seen_with(trust, &url("/sdi"), &headers), expected);
    }
}

#[test]
fn a_client_that_only_forwarded_names_is_in_the_chain_that_geoserver_reads() {
    let headers = [("host", "h"), ("forwarded", "for=\"[2001:db8::7]:443\"")];
    let seen = seen_from(true, &headers);
    assert!(
        seen.contains(&"x-forwarded-for: 2001:db8::7, 192.0.2.7".to_owned()),
        "{seen:?}"
    );
}

#[test]
fn repeated_claims_are_all_removed() {
    let seen = seen_from(
        false,
        &[
            ("Host", "h"),
            ("sec-username", "a"),
            ("Sec-Username", "b"),
            ("accept", "x"),
        ],
    );
    assert!(
        !seen.iter().any(|line| line.starts_with("sec-")),
        "{seen:?}"
    );
    assert!(seen.contains(&"accept: x".to_owned()));
}

#[test]
fn a_strangers_ordinary_headers_pass() {
    let kept = [
        ("authorization", "Basic eA=="),
        ("cookie", "JSESSIONID=1"),
        ("second", "1"),
        ("x-forward", "1"),
        ("impact", "1"),
    ];
    let seen = seen_from(false, &kept);
    for (name, value) in kept {
        assert!(
            seen.contains(&format!("{name}: {value}")),
            "{name} in {seen:?}"
        );
    }
}

#[test]
fn a_trusted_peers_word_passes_unchanged_and_is_not_supplemented() {
    let word = [
        ("host", "10.0.0.1:8080"),
        ("sec-roles", "ROLE_A;ROLE_B"),
        ("sec-username", "jos\u{e9}"),
        ("x-forwarded-path", "/maps, please"),
        ("x-forwarded-proto", "https"),
    ];
    let mut expected: Vec<String> = word
        .iter()
        .map(|(name, value)| format!("{name}: {value}"))
        .collect();
    expected.push("x-forwarded-for: 192.0.2.7".to_owned());
    expected.sort();
    assert_eq!(seen_from(true, &word), expected);
}

#[test]
fn lists_that_geoserver_would_put_into_urls_are_cut_to_the_browsers_value() {
    let seen = seen_from(
        true,
        &[
            ("Host", "h"),
            ("X-Forwarded-Host", "maps.example, 10.0.0.9"),
            ("X-Forwarded-Host", "10.0.0.8"),
            ("X-Forwarded-Proto", "https,http"),
            ("X-Forwarded-Port", "443"),
        ],
    );
    assert!(
        seen.contains(&"x-forwarded-host: maps.example".to_owned()),
        "{seen:?}"
    );
    assert!(
        seen.contains(&"x-forwarded-proto: https".to_owned()),
        "{seen:?}"
    );
    assert!(
        seen.contains(&"x-forwarded-port: 443".to_owned()),
        "{seen:?}"
    );
    assert_eq!(
        seen.iter()
            .filter(|line| line.starts_with("x-forwarded-host"))
            .count(),
        1
    );
}

#[test]
fn a_trusted_peer_joins_the_chain_of_addresses_in_one_line() {
    let seen = seen_from(
        true,
        &[
            ("Host", "h"),
            ("X-Forwarded-For", "203.0.113.9, 10.1.1.1"),
            ("X-Forwarded-For", "10.1.1.2"),
        ],
    );
    assert!(
        seen.contains(&"x-forwarded-for: 203.0.113.9, 10.1.1.1, 10.1.1.2, 192.0.2.7".to_owned()),
        "{seen:?}"
    );
}

#[test]
fn a_request_without_host_gets_our_address_and_one_with_host_keeps_it() {
    assert!(seen_from(false, &[]).contains(&"host: 10.0.0.1:8080".to_owned()));
    assert!(seen_from(true, &[]).contains(&"host: 10.0.0.1:8080".to_owned()));
    assert!(
        seen_from(false, &[("Host", "MAPS.example:8080")])
            .contains(&"host: MAPS.example:8080".to_owned())
    );
}

#[test]
fn a_request_line_that_names_the_authority_is_left_to_pingora() {
    let mut request =
        RequestHeader::build("GET", b"http://maps.example/geoserver/wms", None).unwrap();
    let id = RequestId::fresh();
    let local = Some("10.0.0.1:80".parse().unwrap());
    let client = ClientView {
        peer: "192.0.2.7".parse().unwrap(),
        local,
        trust: PeerTrust::default(),
        config: &Trust::default(),
        tls: false,
        subject: None,
        hsts: None,
        version: Version::HTTP_10,
        request_id: &id,
    };
    prepare_upstream(&mut request, &client).unwrap();
    assert!(!request.headers.contains_key(HOST));
    assert_eq!(request.headers[VIA], "1.0 geofront");
}

#[test]
fn the_forwarded_port_is_the_one_the_client_used() {
    assert_eq!(port_of(b"maps.example", false), 80);
    assert_eq!(port_of(b"maps.example", true), 443);
    assert_eq!(port_of(b"maps.example:8080", false), 8080);
    assert_eq!(port_of(b"[2001:db8::1]", false), 80);
    assert_eq!(port_of(b"[2001:db8::1]:8443", true), 8443);
}

#[test]
fn an_answer_names_its_proxy_and_hides_users() {
    let mut response = ResponseHeader::build(200, None).unwrap();
    response.insert_header("sec-username", "admin").unwrap();
    response.insert_header("Via", "1.1 apache").unwrap();
    let id = RequestId::from_peer(b"id").unwrap();
    let client = ClientView {
        peer: [192, 0, 2, 7].into(),
        local: None,
        trust: PeerTrust::default(),
        config: &Trust::default(),
        tls: false,
        subject: None,
        hsts: None,
        version: Version::HTTP_11,
        request_id: &id,
    };
    prepare_downstream(&mut response, &client).unwrap();
    assert!(!response.headers.contains_key("sec-username"));
    assert_eq!(response.headers["x-request-id"], "id");
    let via: Vec<_> = response.headers.get_all(VIA).iter().collect();
    assert_eq!(via, ["1.1 apache", "1.1 geofront"]);
}

#[test]
fn a_request_that_keeps_coming_back_is_noticed() {
    assert!(!goes_in_circles(&request(&[
        ("Via", "1.1 geofront, 1.1 nginx"),
        ("Via", "1.1 geofront")
    ])));
    assert!(goes_in_circles(&request(&[
        ("Via", "1.1 geofront, 1.1 geofront"),
        ("Via", "1.1 geofront,1.1 geofront")
    ])));
}

/// The bytes a client of `version` gets for a chunked answer, treated as the proxy does.
async fn wire_to_http10_client(length: Option<usize>) -> String {
    let (mut client, ours) = tokio::io::duplex(4096);
    client
        .write_all(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        .await
        .unwrap();
    let mut session = HttpSession::new(Box::new(ours));
    session.read_request().await.unwrap();
    let mut response = ResponseHeader::build(200, None).unwrap();
    match length {
        Some(length) => response.insert_header("Content-Length", length).unwrap(),
        None => response
            .insert_header("Transfer-Encoding", "chunked")
            .unwrap(),
    }
    if unchunk_for_http10(&mut response, false) {
        session.set_server_keepalive(None);
    }
    session
        .write_response_header(Box::new(response))
        .await
        .unwrap();
    session.write_body(b"hello").await.unwrap();
    session.finish_body().await.unwrap();
    drop(session);
    let mut wire = String::new();
    client.read_to_string(&mut wire).await.unwrap();
    wire
}

#[tokio::test]
async fn an_http10_client_gets_no_chunks_and_a_closed_connection() {
    let wire = wire_to_http10_client(None).await;
    assert!(wire.ends_with("\r\n\r\nhello"), "{wire}");
    assert!(wire.contains("Connection: close\r\n"), "{wire}");
    assert!(
        !wire.to_ascii_lowercase().contains("transfer-encoding"),
        "{wire}"
    );
}

#[tokio::test]
async fn an_http10_client_keeps_its_connection_when_the_length_is_known() {
    let wire = wire_to_http10_client(Some(5)).await;
    assert!(wire.contains("Connection: keep-alive\r\n"), "{wire}");
    assert!(wire.ends_with("\r\n\r\nhello"), "{wire}");
}
