//! Probes of raw servers that behave like no GeoServer double.

use std::net::SocketAddr;

use super::super::fixture::{Behaviour, PATIENCE, Server, config, http, upstream};
use super::*;
use crate::cluster::Cause;

const CAPABILITIES: &str =
    "<?xml version=\"1.0\"?><WMS_Capabilities version=\"1.3.0\" updateSequence=\"7\">";
const QUICK: &str = "[health]\ntimeout = \"100ms\"\n";

async fn probe(address: SocketAddr, more: &str) -> Outcome {
    let config = config(address, more);
    let probe = async {
        Prober::new()
            .probe(&upstream(&config, "replica"), &config)
            .await
    };
    tokio::time::timeout(PATIENCE, probe)
        .await
        .expect("probes end")
        .outcome
}

async fn probe_of(behaviour: Behaviour) -> Outcome {
    probe(Server::start(behaviour).await.address, QUICK).await
}

#[tokio::test]
async fn the_capabilities_request_is_cheap() {
    let mut server =
        Server::start(Behaviour::Answer(http("200 OK", "text/xml", CAPABILITIES))).await;
    assert_eq!(probe(server.address, "").await, Outcome::Success);
    let request = server.requests.recv().await.unwrap();
    let expected = "GET /geoserver/wms?service=WMS&version=1.3.0&request=GetCapabilities&namespace=__none__ HTTP/1.1\r\n";
    assert!(request.starts_with(expected), "{request}");
    for line in [
        "ctrl-flow-priority: 10",
        "Accept-Encoding: identity",
        &format!("Host: {}", server.address),
    ] {
        assert!(
            request.contains(&format!("\r\n{line}\r\n")),
            "{line} in {request}"
        );
    }
}

#[tokio::test]
async fn a_map_of_the_probe_layer_is_requested_anonymously_by_default() {
    let png = [b"\x89PNG\r\n\x1a\n".as_slice(), b"\0\0\0\0IEND\xaeB`\x82"].concat();
    let mut server = Server::start(Behaviour::Answer(http("200 OK", "image/png", png))).await;
    let more = "[geoserver]\nheaders = { sec-username = \"probe\", sec-roles = \"ROLE_USER\" }\n[health]\nprobe_layer = \"geor:a b\"\n";
    for (authenticate, is_sent) in [("", false), ("authenticate = true\n", true)] {
        assert_eq!(
            probe(server.address, &format!("{more}{authenticate}")).await,
            Outcome::Success
        );
        let request = server.requests.recv().await.unwrap();
        assert!(
            request.contains("request=GetMap&layers=geor%3Aa%20b&"),
            "{request}"
        );
        assert_eq!(
            request.contains("\r\nsec-username: probe\r\n"),
            is_sent,
            "{request}"
        );
    }
}

#[tokio::test]
async fn a_closed_port_is_a_failure_to_connect() {
    let address = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    assert_eq!(
        probe(address, QUICK).await,
        Outcome::Failure(Cause::Connect("connection refused".to_owned()))
    );
}

#[tokio::test]
async fn a_port_that_accepts_and_never_answers_is_a_timeout() {
    // The connection is never accepted by the program, only by the kernel's backlog, as while
    // Tomcat starts.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    assert_eq!(
        probe(listener.local_addr().unwrap(), QUICK).await,
        Outcome::Failure(Cause::Timeout("no answer"))
    );
    assert_eq!(
        probe_of(Behaviour::Stall(Vec::new())).await,
        Outcome::Failure(Cause::Timeout("no answer"))
    );
}

#[tokio::test]
async fn an_answer_that_stops_within_is_too_slow_and_shows_that_something_answers() {
    let half =
        b"HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\nContent-Length: 1000\r\n\r\n<?xml".to_vec();
    assert_eq!(
        probe_of(Behaviour::Stall(half)).await,
        Outcome::Failure(Cause::Slow("the answer did not end"))
    );
}

#[tokio::test]
async fn an_answer_that_is_cut_off_is_truncated() {
    let half =
        b"HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\nContent-Length: 1000\r\n\r\n<?xml".to_vec();
    assert_eq!(
        probe_of(Behaviour::Answer(half)).await,
        Outcome::Failure(Cause::Truncated)
    );
}

#[tokio::test]
async fn capabilities_without_end_are_left_at_their_root() {
    let flood = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\n\r\n{CAPABILITIES}{}",
        "<Layer/>".repeat(1000)
    );
    assert_eq!(
        probe_of(Behaviour::Flood(flood.into_bytes())).await,
        Outcome::Success
    );
}

#[tokio::test]
async fn a_connection_closed_without_an_answer_is_a_reset() {
    assert_eq!(
        probe_of(Behaviour::Answer(Vec::new())).await,
        Outcome::Failure(Cause::Reset("before it answered"))
    );
}

#[tokio::test]
async fn another_protocol_is_unexpected() {
    let outcome = probe_of(Behaviour::Answer(b"SSH-2.0-OpenSSH_9.9\r\n\r\n".to_vec())).await;
    assert_eq!(
        outcome,
        Outcome::Failure(Cause::Connect("it does not speak HTTP".to_owned()))
    );
}

#[tokio::test]
async fn early_hints_are_not_the_answer() {
    let answer = [
        b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n".to_vec(),
        http("200 OK", "text/xml", CAPABILITIES),
    ]
    .concat();
    assert_eq!(probe_of(Behaviour::Answer(answer)).await, Outcome::Success);
    let hints = b"HTTP/1.1 103 Early Hints\r\n\r\n".to_vec();
    let outcome = probe_of(Behaviour::Flood(hints)).await;
    assert_eq!(
        outcome,
        Outcome::Failure(Cause::Unexpected("informational answers only".to_owned()))
    );
}

#[tokio::test]
async fn a_tls_upstream_that_speaks_plainly_cannot_be_connected_to() {
    let server = Server::start(Behaviour::Answer(http("200 OK", "text/xml", CAPABILITIES))).await;
    let more = format!(
        "[upstreams.tls]\nurl = \"https://localhost:{}\"\n[health]\ntimeout = \"200ms\"\n",
        server.address.port()
    );
    let config = config(SocketAddr::from(([127, 0, 0, 1], 2)), &more);
    let outcome = Prober::new()
        .probe(&upstream(&config, "tls"), &config)
        .await
        .outcome;
    assert!(
        matches!(
            outcome,
            Outcome::Failure(Cause::Connect(_) | Cause::Timeout("no connection by TLS"))
        ),
        "{outcome:?}"
    );
}
