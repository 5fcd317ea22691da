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
async fn what_geoserver_trusts_does_not_pass_from_a_peer_that_is_not_listed() {
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
