//! Pages of other origins: the headers that a browser gets from the front door, whichever upstream
//! answers, or none.

use std::fmt::Write as _;

use geofront::geosim::Instance;

use super::client::Answer;
use super::requests::{CAPABILITIES, MAP};
use super::rig::{Plan, Rig};

const VIEWER: &str = "https://viewer.example.org";

const CORS: &str = "[cors]\norigins = [\"https://viewer.example.org\"]\ncredentials = true\n\
    [[routes]]\npath = \"/rest/**\"\nrefuse = true\n";

fn request(method: &str, target: &str, headers: &[(&str, &str)]) -> Vec<u8> {
    let mut request = format!("{method} {target} HTTP/1.1\r\nHost: a\r\n");
    for (name, value) in headers {
        write!(request, "{name}: {value}\r\n").unwrap();
    }
    (request + "\r\n").into_bytes()
}

fn preflight(origin: &str, method: &str) -> Vec<u8> {
    let headers = [
        ("Origin", origin),
        ("Access-Control-Request-Method", method),
        ("Access-Control-Request-Headers", "content-type"),
    ];
    request("OPTIONS", MAP, &headers)
}

fn is_for(answer: &Answer, origin: &str) -> bool {
    answer.header("access-control-allow-origin") == Some(origin)
        && answer.header("access-control-allow-credentials") == Some("true")
        && answer
            .header("vary")
            .is_some_and(|vary| vary.contains("Origin"))
}

/// Requests of clients that some upstream received.
fn received(rig: &Rig) -> usize {
    let of = |instance: &Instance| {
        let requests = instance.requests();
        let of_clients = requests.iter().filter(|r| r.header("via").is_some());
        of_clients.count()
    };
    of(&rig.main) + rig.replicas.iter().map(of).sum::<usize>()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_preflight_is_answered_at_the_door_and_the_connection_goes_on() {
    let rig = Plan::replicas(1).with(CORS).start().await;
    let mut client = rig.client().await;
    let allowed = client.request(&preflight(VIEWER, "POST")).await.unwrap();
    assert_eq!(allowed.status, 204, "{}", allowed.text());
    assert!(is_for(&allowed, VIEWER));
    assert_eq!(
        allowed.header("access-control-allow-methods"),
        Some("GET, HEAD, POST")
    );
    assert_eq!(allowed.header("access-control-max-age"), Some("3600"));
    assert!(allowed.header("x-request-id").is_some() && allowed.header("date").is_some());
    for refused in [
        preflight(VIEWER, "DELETE"),
        preflight("https://evil.example.net", "POST"),
    ] {
        let refused = client.request(&refused).await.unwrap();
        assert_eq!(refused.status, 204);
        assert_eq!(refused.header("access-control-allow-methods"), None);
    }
    assert_eq!(received(&rig), 0);
    // A request of the same connection that is no preflight is GeoServer's.
    assert_eq!(
        client
            .request(&request("OPTIONS", MAP, &[("Origin", VIEWER)]))
            .await
            .unwrap()
            .status
            / 100,
        2
    );
    assert_eq!(received(&rig), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_and_refusals_can_be_read_by_the_pages_that_may_and_by_no_others() {
    let rig = Plan::replicas(1).with(CORS).start().await;
    for (target, status) in [
        (MAP, 200),
        (CAPABILITIES, 200),
        ("/geoserver/rest/layers", 403),
    ] {
        let page = rig
            .request(&request("GET", target, &[("Origin", VIEWER)]))
            .await;
        assert_eq!(page.status, status, "{target}");
        assert!(is_for(&page, VIEWER), "{target}");
        for headers in [&[("Origin", "https://evil.example.net")][..], &[]] {
            let other = rig.request(&request("GET", target, headers)).await;
            assert_eq!(
                other.header("access-control-allow-origin"),
                None,
                "{target}"
            );
            assert!(
                other
                    .header("vary")
                    .is_some_and(|vary| vary.contains("Origin")),
                "{target}: a cache must not give this answer to the page"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_client_of_a_shared_answer_gets_the_headers_of_its_own_page() {
    let rig = Plan::replicas(1).with(CORS).start().await;
    let map = format!("{MAP}&geosim_work=1200ms");
    let mut clients = Vec::new();
    for _ in 0..3 {
        let mut client = rig.client().await;
        let map = request("GET", &map, &[("Origin", VIEWER)]);
        client.send(&map).await.unwrap();
        clients.push(client);
    }
    for client in &mut clients {
        let answer = client.answer().await.unwrap();
        assert!(answer.status == 200 && is_for(&answer, VIEWER));
    }
    assert_eq!(received(&rig), 1, "they shared one answer");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_configuration_preflights_are_left_to_geoserver() {
    let rig = Plan::replicas(1).start().await;
    rig.request(&preflight(VIEWER, "POST")).await;
    assert_eq!(received(&rig), 1);
    let map = rig
        .request(&request("GET", MAP, &[("Origin", VIEWER)]))
        .await;
    assert_eq!(map.header("access-control-allow-origin"), None);
    assert_eq!(map.header("vary"), None);
}
