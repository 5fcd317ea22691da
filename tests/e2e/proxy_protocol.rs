//! The address that a load balancer states is the client's, from listed load balancers only.

use std::net::SocketAddr;

use super::client::{Answer, Client, get};
use super::requests::MAP;
use super::rig::{Plan, Rig};
use super::tls_client::{Authority, listener};

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const V1: &[u8] = b"PROXY TCP4 192.0.2.7 10.0.0.2 40000 443\r\n";
/// The same in version 2, with an additional field.
const V2: &[u8] =
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x10\xc0\0\x02\x07\x0a\0\0\x02\x9c\x40\x01\xbb\x04\0\x01x";

fn balanced(from: &str) -> String {
    format!("[listeners.balanced]\naddress = \"127.0.0.1:0\"\nproxy_protocol_from = [\"{from}\"]\n")
}

async fn send(address: SocketAddr, parts: &[&[u8]]) -> std::io::Result<Answer> {
    let mut client = Client::connect(address).await?;
    client.request(&parts.concat()).await
}

/// The client's address as GeoServer receives it.
fn forwarded(rig: &Rig) -> Option<String> {
    let all = rig.replicas.iter().flat_map(|replica| replica.requests());
    let passed = all
        .filter(|request| request.header("via").is_some())
        .last()?;
    Some(passed.header("x-forwarded-for")?.to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_stated_address_is_the_clients_in_both_versions_and_in_the_access_log() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("access.log");
    let rig = Plan::replicas(1)
        .with(&balanced("127.0.0.0/8"))
        .access_log(&log)
        .start()
        .await;
    let address = rig.listener("balanced");
    for header in [V1, V2] {
        let mut client = Client::connect(address).await.unwrap();
        let request = [header, get(MAP).as_bytes()].concat();
        assert_eq!(client.request(&request).await.unwrap().status, 200);
        assert_eq!(forwarded(&rig).as_deref(), Some("192.0.2.7"));
        // It holds for the whole connection.
        assert_eq!(
            client
                .get("/geoserver/wms?request=Nothing")
                .await
                .unwrap()
                .status,
            200
        );
        assert_eq!(forwarded(&rig).as_deref(), Some("192.0.2.7"));
        let malformed = send(address, &[header, b"GET  / HTTP/1.1\r\n\r\n"]).await;
        assert_eq!(malformed.unwrap().status, 400);
    }
    rig.until("all lines are written", |_| {
        let lines = std::fs::read_to_string(&log).unwrap_or_default();
        lines.matches("client=192.0.2.7").count() == 6
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_header_that_arrives_byte_by_byte_is_read() {
    let rig = Plan::replicas(1).with(&balanced("127.0.0.1")).start().await;
    for header in [V1, V2] {
        let mut client = Client::connect(rig.listener("balanced")).await.unwrap();
        client.stream.set_nodelay(true).unwrap();
        for byte in header {
            client.send(&[*byte]).await.unwrap();
            tokio::task::yield_now().await;
        }
        assert_eq!(client.get(MAP).await.unwrap().status, 200);
        assert_eq!(forwarded(&rig).as_deref(), Some("192.0.2.7"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_balancers_own_check_keeps_its_address() {
    let rig = Plan::replicas(1).with(&balanced("127.0.0.1")).start().await;
    let local = [SIGNATURE, b"\x20\0\0\0"].concat();
    for header in [&local[..], b"PROXY UNKNOWN\r\n"] {
        let answer = send(rig.listener("balanced"), &[header, get(MAP).as_bytes()]).await;
        assert_eq!(answer.unwrap().status, 200);
        assert_eq!(forwarded(&rig).as_deref(), Some("127.0.0.1"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_without_the_header_or_from_elsewhere_is_closed_and_counted() {
    let elsewhere =
        "[listeners.elsewhere]\naddress = \"127.0.0.1:0\"\nproxy_protocol_from = [\"192.0.2.1\"]\n";
    let rig = Plan::replicas(1)
        .with(&(balanced("127.0.0.1") + elsewhere))
        .with("[timeouts]\nclient_header = \"200ms\"")
        .start()
        .await;
    let address = rig.listener("balanced");
    assert!(send(address, &[get(MAP).as_bytes()]).await.is_err());
    let mut silent = Client::connect(address).await.unwrap();
    silent.send(&V2[..20]).await.unwrap();
    assert!(silent.is_closed().await);
    let unlisted = send(rig.listener("elsewhere"), &[V1, get(MAP).as_bytes()]).await;
    assert!(unlisted.is_err());
    // A listener that expects no header reads none.
    let answer = rig.request(&[V1, get(MAP).as_bytes()].concat()).await;
    assert_eq!(answer.status, 400);
    assert_eq!(forwarded(&rig), None);
    let metrics = rig.metrics().await;
    for reason in ["malformed", "timeout", "unlisted"] {
        let counted = format!("geofront_proxy_protocol_refused_total{{reason=\"{reason}\"}} 1");
        assert!(metrics.contains(&counted), "{reason}: {metrics}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_stated_address_decides_whether_a_client_is_trusted() {
    let rig = Plan::replicas(1)
        .top("trusted_proxies = [\"127.0.0.1/32\"]")
        .with(&balanced("127.0.0.1"))
        .start()
        .await;
    let request = format!("GET {MAP} HTTP/1.1\r\nHost: a\r\nsec-username: admin\r\n\r\n");
    let answer = send(rig.listener("balanced"), &[V1, request.as_bytes()]).await;
    assert_eq!(answer.unwrap().status, 200);
    let all = rig.replicas[0].requests();
    let passed = all
        .iter()
        .rfind(|request| request.header("via").is_some())
        .unwrap();
    assert_eq!(passed.header("sec-username"), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_begins_right_behind_the_header() {
    let authority = Authority::new();
    let files = authority.sign("maps", &["maps.example.org"], 2999);
    let more = "proxy_protocol_from = [\"127.0.0.1\"]";
    let rig = Plan::replicas(1)
        .with(&listener("public", &[&files], more))
        .start()
        .await;
    for header in [V1, V2] {
        let mut plain = Client::connect(rig.listener("public")).await.unwrap();
        plain.send(header).await.unwrap();
        let mut client = authority
            .client(None)
            .over(plain.stream, "maps.example.org")
            .await
            .unwrap();
        assert_eq!(client.get(MAP).await.unwrap().status, 200);
        assert_eq!(forwarded(&rig).as_deref(), Some("192.0.2.7"));
    }
}
