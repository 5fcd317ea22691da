//! Host, path, query and body reach the upstream byte for byte.

use geofront::hash::fnv1a;

use super::client::{get, post};
use super::requests::{WFS, XML, get_feature_of_size};
use super::rig::{Plan, Rig};

/// The last request a client's (not a probe's) that any upstream received.
fn received(rig: &Rig) -> std::sync::Arc<geofront::geosim::Request> {
    let all = rig
        .replicas
        .iter()
        .chain([&rig.main])
        .flat_map(|instance| instance.requests());
    all.filter(|request| request.header("via").is_some())
        .last()
        .expect("an upstream received the request")
}

/// True if one upstream has received one request with exactly this body since the last call.
fn has_received(rig: &Rig, body: &[u8]) -> bool {
    let instances = || rig.replicas.iter().chain([&rig.main]);
    let posts: Vec<_> = instances()
        .flat_map(|instance| instance.requests())
        .filter(|request| request.method() == "POST")
        .collect();
    instances().for_each(|instance| instance.control().forget_requests());
    let [request] = posts.as_slice() else {
        return false;
    };
    request.body().length == body.len() as u64 && request.body().hash == fnv1a(body.iter().copied())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_request_target_passes_byte_for_byte() {
    for target in [
        "/geoserver/wms?SERVICE=wms&request=GetMap&CQL_FILTER=name%3D%27a%2Bb%27&x=%c3%a9&y=%C3%A9",
        "/geoserver/./wms//?service=WMS&&request=GetMap&=&a",
        "/geoserver/geor%3Apublic/wms;jsessionid=1?service=WMS&request=GetMap&layers=a,b",
        "/geoserver/wms?service=WMS&request=GetMap&cql_filter=a|b{c}[d]'e'",
        "/geoserver/rest/../rest/layers.json?x=/../",
        "/geoserver/wms?service=WMS&request=GetMap&plus=a+b%20c",
    ] {
        let rig = Plan::replicas(1).start().await;
        drop(rig.client().await.request(get(target).as_bytes()).await);
        assert_eq!(String::from_utf8_lossy(received(&rig).target()), target);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_host_passes_byte_for_byte() {
    let rig = Plan::replicas(1).start().await;
    for host in ["maps.example.org", "Maps.Example.org:8443", "10.0.0.5:80"] {
        let request = format!(
            "GET /geoserver/wms?service=WMS&request=GetMap HTTP/1.1\r\nHost: {host}\r\n\r\n"
        );
        rig.request(request.as_bytes()).await;
        assert_eq!(received(&rig).header("host"), Some(host));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_of_all_sizes_pass_byte_for_byte_with_length_and_in_chunks() {
    let rig = Plan::replicas(1).start().await;
    // Around the 8 KiB that classify and the 64 KiB that can be sent again.
    for size in [
        200, 8_191, 8_192, 8_193, 65_535, 65_536, 65_537, 70_000, 73_727, 73_728, 73_729, 200_000,
        3_000_000,
    ] {
        let body = get_feature_of_size(size);
        let answer = rig.post(WFS, XML, &body).await;
        assert_eq!(
            answer.status,
            200,
            "{size} bytes with a length: {}",
            answer.text()
        );
        assert!(has_received(&rig, &body), "{size} bytes with a length");
        let answer = rig.request(&chunked(&body, 10_000)).await;
        assert_eq!(answer.status, 200, "{size} bytes in chunks");
        assert!(has_received(&rig, &body), "{size} bytes in chunks");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_comes_in_drops_passes_byte_for_byte() {
    let rig = Plan::replicas(1).start().await;
    for (size, first) in [
        (300, 1),
        (66_000, 1),
        (66_000, 1_000),
        (70_000, 8_000),
        (100_000, 8_000),
    ] {
        let body = get_feature_of_size(size);
        let request = post(WFS, XML, &body);
        let head = request.len() - body.len();
        let mut client = rig.client().await;
        client.stream.set_nodelay(true).unwrap();
        client.send(&request[..head]).await.unwrap();
        client.send(&body[..first]).await.unwrap();
        tokio::task::yield_now().await;
        client.send(&body[first..]).await.unwrap();
        let answer = client.answer().await.unwrap();
        assert_eq!(answer.status, 200, "{size} bytes, {first} of them first");
        assert!(
            has_received(&rig, &body),
            "{size} bytes, {first} of them first"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_expects_100_continue_gets_it_and_its_answer() {
    let rig = Plan::replicas(1).start().await;
    let body = get_feature_of_size(300);
    let head = format!(
        "POST {WFS} HTTP/1.1\r\nHost: a\r\nContent-Type: text/xml\r\nExpect: 100-continue\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let mut client = rig.client().await;
    client.send(head.as_bytes()).await.unwrap();
    client.interim().await.unwrap();
    client.send(&body).await.unwrap();
    assert_eq!(client.answer().await.unwrap().status, 200);
    assert!(has_received(&rig, &body));
}

fn chunked(body: &[u8], chunk: usize) -> Vec<u8> {
    let mut request =
        format!("POST {WFS} HTTP/1.1\r\nHost: a\r\nContent-Type: text/xml\r\nTransfer-Encoding: chunked\r\n\r\n").into_bytes();
    for part in body.chunks(chunk) {
        request.extend_from_slice(format!("{:x}\r\n", part.len()).as_bytes());
        request.extend_from_slice(part);
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"0\r\n\r\n");
    request
}
