//! No header that GeoServer trusts passes from a peer that is not listed.

use std::sync::Arc;

use geofront::geosim::Request;

use super::requests::MAP;
use super::rig::{Plan, Rig};

const CLAIMS: [(&str, &str); 12] = [
    ("sec-username", "admin"),
    ("Sec-Roles", "ROLE_ADMINISTRATOR"),
    ("SEC-PROXY", "true"),
    ("sec_username", "admin"),
    ("imp-username", "admin"),
    ("Imp-Roles", "ROLE_ADMINISTRATOR"),
    ("X-Forwarded-Host", "evil.example"),
    ("X-Forwarded-Proto", "gopher"),
    ("X-Forwarded-Port", "1"),
    ("X-Forwarded-Path", "/evil"),
    ("Forwarded", "host=evil.example"),
    ("X-Real-IP", "192.0.2.66"),
];

async fn passed(rig: &Rig) -> Arc<Request> {
    let mut request = format!("GET {MAP} HTTP/1.1\r\nHost: maps.example.org\r\n");
    for (name, value) in CLAIMS {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str("X-Forwarded-For: 192.0.2.66\r\n\r\n");
    assert_eq!(rig.request(request.as_bytes()).await.status, 200);
    let all = rig.replicas.iter().flat_map(|replica| replica.requests());
    all.filter(|request| request.header("via").is_some())
        .last()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fields_that_geoserver_trusts_do_not_pass_from_an_unlisted_peer() {
    let rig = Plan::replicas(1).start().await;
    let request = passed(&rig).await;
    for (name, value) in CLAIMS {
        assert_ne!(request.header(name), Some(value), "{name}");
    }
    assert_eq!(request.header("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(request.header("x-forwarded-host"), Some("maps.example.org"));
    assert_eq!(request.header("x-forwarded-proto"), Some("http"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listed_peer_vouches_for_its_users_and_its_names_pass_unchanged() {
    let rig = Plan::replicas(1)
        .top("trusted_proxies = [\"127.0.0.1/32\"]")
        .start()
        .await;
    let request = passed(&rig).await;
    for (name, value) in CLAIMS {
        assert_eq!(request.header(name), Some(value), "{name}");
    }
    assert_eq!(
        request.header("x-forwarded-for"),
        Some("192.0.2.66, 127.0.0.1")
    );
    assert_eq!(request.count_of("x-forwarded-for"), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_cannot_have_a_header_removed_by_naming_it_in_connection() {
    let rig = Plan::replicas(1).start().await;
    let request = format!(
        "GET {MAP} HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, X-Forwarded-For, X-Forwarded-Host\r\n\r\n"
    );
    let answer = rig.request(request.as_bytes()).await;
    let all = rig.replicas.iter().flat_map(|replica| replica.requests());
    let passed = all.filter(|request| request.header("via").is_some()).last();
    let is_set = passed.is_some_and(|request| request.header("x-forwarded-for").is_some());
    assert!(answer.status >= 400 || is_set, "{}", answer.status);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upstreams_word_about_users_does_not_reach_the_client() {
    let rig = Plan::replicas(1).start().await;
    let answer = rig.get(MAP).await;
    assert!(
        answer
            .headers
            .iter()
            .all(|(name, _)| !name.to_ascii_lowercase().starts_with("sec-"))
    );
    assert!(answer.header("x-request-id").is_some() && answer.header("via").is_some());
}

/// The request that reached a replica, after one with these fields was sent.
async fn seen_upstream(rig: &Rig, fields: &str) -> Arc<Request> {
    let request = format!("GET {MAP} HTTP/1.1\r\nHost: 10.0.0.1:8080\r\n{fields}\r\n");
    assert_eq!(rig.request(request.as_bytes()).await.status, 200);
    let all = rig.replicas.iter().flat_map(|replica| replica.requests());
    all.filter(|request| request.header("via").is_some())
        .last()
        .unwrap()
}

/// "Our nginx only ends TLS, but we had to list it, and now every browser is an administrator."
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_web_server_that_only_ends_tls_cannot_make_a_browser_an_administrator() {
    let rig = Plan::replicas(1)
        .top("trusted_proxies = [\"127.0.0.1/32\"]")
        .top("trusted_identity = [\"10.0.0.5/32\"]")
        .top("identity_headers = [\"X-Remote-User\"]")
        .start()
        .await;
    let fields = "X-Forwarded-For: 192.0.2.66\r\nX-Forwarded-Proto: https\r\nsec-username: admin\r\n\
        sec-roles: ROLE_ADMINISTRATOR\r\nX-Remote-User: admin\r\nX_Remote_User: admin\r\n";
    let request = seen_upstream(&rig, fields).await;
    for name in [
        "sec-username",
        "sec-roles",
        "x-remote-user",
        "x_remote_user",
    ] {
        assert_eq!(request.header(name), None, "{name}");
    }
    assert_eq!(request.header("x-forwarded-proto"), Some("https"));
    assert_eq!(
        request.header("x-forwarded-for"),
        Some("192.0.2.66, 127.0.0.1")
    );
}

/// "Our gateway names the user, and users appear as the gateway's address or as what they claim."
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_only_names_users_does_not_state_where_requests_came_from() {
    let rig = Plan::replicas(1)
        .top("trusted_identity = [\"127.0.0.1/32\"]")
        .top("identity_headers = [\"X-Remote-User\"]")
        .start()
        .await;
    let fields = "X-Forwarded-For: 192.0.2.66\r\nsec-username: ann\r\nX-Remote-User: ann\r\n";
    let request = seen_upstream(&rig, fields).await;
    assert_eq!(request.header("sec-username"), Some("ann"));
    assert_eq!(request.header("x-remote-user"), Some("ann"));
    assert_eq!(request.header("x-forwarded-for"), Some("127.0.0.1"));
}

/// "Capabilities show http and the inner port, because a proxy on the way forgot a header."
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn geoserver_receives_the_configured_public_address_whatever_the_client_sends() {
    let rig = Plan::replicas(1)
        .top("trusted_proxies = [\"127.0.0.1/32\"]")
        .top("public_url = \"https://maps.example.org/sdi\"")
        .start()
        .await;
    let fields = "X-Forwarded-Host: evil.example\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Port: 1\r\n\
        X-Forwarded-Path: /evil\r\nForwarded: host=evil.example\r\n";
    let request = seen_upstream(&rig, fields).await;
    for (name, value) in [
        ("x-forwarded-host", "maps.example.org"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-port", "443"),
        ("x-forwarded-path", "/sdi"),
        ("host", "10.0.0.1:8080"),
    ] {
        assert_eq!(request.header(name), Some(value), "{name}");
        assert_eq!(request.count_of(name), 1, "{name}");
    }
    assert_eq!(request.header("forwarded"), None);
}

/// "Every line of the log has the proxy's address, and behind our other proxy it has nothing at
/// all."
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_access_log_has_the_address_that_a_trusted_proxy_states_in_every_spelling() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let rig = Plan::replicas(1)
        .access_log(&path)
        .top("trusted_proxies = [\"127.0.0.1/32\"]")
        .start()
        .await;
    let spellings = [
        ("X-Forwarded-For: 203.0.113.1, 192.0.2.7:51324", "192.0.2.7"),
        ("X-Forwarded-For: \"[2001:db8::7]:443\"", "2001:db8::7"),
        (
            "Forwarded: for=203.0.113.1, For=\"[2001:db8::7]\";proto=https",
            "2001:db8::7",
        ),
        (
            "Forwarded: for=203.0.113.66\r\nX-Forwarded-For: 192.0.2.7",
            "192.0.2.7",
        ),
        ("X-Forwarded-For: 192.0.2.7, unknown", "127.0.0.1"),
    ];
    for (i, (field, client)) in spellings.into_iter().enumerate() {
        seen_upstream(&rig, &format!("{field}\r\nX-Request-Id: number-{i}\r\n")).await;
        let expected = format!(" id=number-{i} client={client} peer=127.0.0.1 ");
        rig.until(field, |_| {
            std::fs::read_to_string(&path).is_ok_and(|text| text.contains(&expected))
        })
        .await;
    }
}
