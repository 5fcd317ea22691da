//! "Since users draw their filters on the map, everything goes to the main": clients switch to POST
//! exactly when filters and styles grow. Long forms and posts in chunks are what they are, however
//! they arrive.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use geofront::geosim::{Fault, Instance, When};
use geofront::hash::fnv1a;
use geofront::ogc::RequestClass;

use super::client::Client;
use super::requests::{FEATURES, MAP, WFS, XML};
use super::rig::{Plan, Rig};

const WMS: &str = "/geoserver/wms";
const FORM: &str = "application/x-www-form-urlencoded";

/// A map request whose form has `size` bytes: a long style precedes the parameters that name the
/// map.
fn long_map(size: usize) -> Vec<u8> {
    let (_, parameters) = MAP.split_once('?').unwrap();
    let style = "x".repeat(size - parameters.len() - "sld_body=&".len());
    format!("sld_body={style}&{parameters}").into_bytes()
}

/// A feature request whose form has `size` bytes, in the same way.
fn long_query(size: usize) -> Vec<u8> {
    let (_, parameters) = FEATURES.split_once('?').unwrap();
    let filter = "x".repeat(size - parameters.len() - "note=&".len());
    format!("note={filter}&{parameters}").into_bytes()
}

fn head(target: &str, headers: &str) -> Vec<u8> {
    format!("POST {target} HTTP/1.1\r\nHost: a\r\n{headers}\r\n\r\n").into_bytes()
}

fn with_length(target: &str, content_type: &str, body: &[u8]) -> Vec<u8> {
    let head = head(
        target,
        &format!(
            "Content-Type: {content_type}\r\nContent-Length: {}",
            body.len()
        ),
    );
    [head, body.to_vec()].concat()
}

fn in_chunks(target: &str, content_type: &str, body: &[u8], size: usize) -> Vec<u8> {
    let mut request = head(
        target,
        &format!("Content-Type: {content_type}\r\nTransfer-Encoding: chunked"),
    );
    for chunk in body.chunks(size) {
        request.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        request.extend_from_slice(chunk);
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"0\r\n\r\n");
    request
}

/// The posts that `instance` has received, each with its whole body, since the last look.
fn posts(instance: &Instance) -> Vec<(u64, u64)> {
    let posts = instance
        .requests()
        .into_iter()
        .filter(|request| request.method() == "POST");
    let posts = posts
        .map(|request| (request.body().length, request.body().hash))
        .collect();
    instance.control().forget_requests();
    posts
}

/// Returns how many requests the main and the replica have received since the last call.
fn reached(rig: &Rig) -> (usize, usize) {
    (posts(&rig.main).len(), posts(&rig.replicas[0]).len())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_map_whose_style_has_made_its_form_long_is_drawn_by_a_replica() {
    let rig = Plan::replicas(1).start().await;
    for size in [9_000, 65_536, 65_537, 200_000, 2 << 20] {
        let body = long_map(size);
        let expected = vec![(size as u64, fnv1a(body.iter().copied()))];
        for request in [
            with_length(WMS, FORM, &body),
            in_chunks(WMS, FORM, &body, 10_000),
            in_chunks(WMS, FORM, &body, 777),
        ] {
            let answer = rig.request(&request).await;
            assert_eq!(
                (answer.status, answer.header("content-type")),
                (200, Some("image/png")),
                "{size}: {}",
                answer.text()
            );
            assert_eq!(
                (posts(&rig.main), posts(&rig.replicas[0])),
                (vec![], expected.clone()),
                "{size} bytes, byte for byte"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_form_whose_replica_dies_is_sent_to_another_from_its_first_byte() {
    let rig = Plan::replicas(2)
        .health("ejection_failures = 0")
        .start()
        .await;
    for size in [9_000, 60_000, 70_000, 300_000, 2_000_000] {
        // No map, as the probes are: they would take the faults.
        let body = long_query(size);
        let expected = (size as u64, fnv1a(body.iter().copied()));
        rig.replicas.iter().for_each(|r| {
            r.suffers(
                Fault::Reset(When::BeforeAnswer)
                    .only(RequestClass::Feature)
                    .times(1),
            )
        });
        let answer = rig.request(&in_chunks(WFS, FORM, &body, 30_000)).await;
        assert_eq!(answer.status, 200, "{size} bytes");
        let all: Vec<_> = rig
            .replicas
            .iter()
            .chain([&rig.main])
            .flat_map(posts)
            .collect();
        assert!(all.len() >= 2, "{size} bytes were sent {} times", all.len());
        assert!(
            all.iter().all(|post| *post == expected),
            "{size} bytes each time"
        );
        rig.replicas.iter().for_each(Instance::heals);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_goes_on_behind_a_long_form() {
    let rig = Plan::replicas(1).start().await;
    let mut client = rig.client().await;
    for size in [300_000, 66_000, 1_000_000] {
        assert_eq!(
            client
                .request(&with_length(WMS, FORM, &long_map(size)))
                .await
                .unwrap()
                .status,
            200
        );
        assert_eq!(client.get(MAP).await.unwrap().status, 200);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_at_the_end_of_a_long_form_reaches_the_main_once_and_no_replica() {
    let rig = Plan::replicas(1).start().await;
    for padding in [9_000, 70_000, 1_500_000] {
        let body = format!(
            "service=WFS&request=GetFeature&cql_filter={}&request=Transaction",
            "x".repeat(padding)
        );
        rig.main.suffers(
            Fault::Reset(When::BeforeAnswer)
                .only(RequestClass::Transaction)
                .times(1),
        );
        drop(
            rig.client()
                .await
                .request(&in_chunks(WFS, FORM, body.as_bytes(), 50_000))
                .await,
        );
        assert_eq!(reached(&rig), (1, 0), "{padding}");
        rig.main.heals();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_form_longer_than_tomcat_reads_goes_to_the_main_byte_for_byte() {
    let rig = Plan::replicas(1).start().await;
    let body = long_map((2 << 20) + 1);
    for request in [
        with_length(WMS, FORM, &body),
        in_chunks(WMS, FORM, &body, 100_000),
    ] {
        drop(rig.client().await.request(&request).await);
        assert_eq!(
            (posts(&rig.main), posts(&rig.replicas[0])),
            (
                vec![(body.len() as u64, fnv1a(body.iter().copied()))],
                vec![]
            )
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_sets_the_shorter_forms_that_tomcat_reads() {
    let rig = Plan::replicas(1)
        .with("[geoserver]\nmax_post_size = \"10KB\"")
        .start()
        .await;
    assert_eq!(
        rig.request(&with_length(WMS, FORM, &long_map(10_000)))
            .await
            .status,
        200
    );
    assert_eq!(reached(&rig), (0, 1));
    drop(
        rig.request(&with_length(WMS, FORM, &long_map(10_001)))
            .await,
    );
    assert_eq!(reached(&rig), (1, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_xml_query_in_small_chunks_is_read_by_a_replica() {
    let rig = Plan::replicas(1).start().await;
    let query = r#"<?xml version="1.0"?><!-- drawn by a user --><wfs:GetFeature service="WFS" version="1.1.0"
        xmlns:wfs="http://www.opengis.net/wfs"><wfs:Query typeName="geor:public_layer"/></wfs:GetFeature>"#;
    for size in [1, 10, 40, 100] {
        let request = in_chunks(WFS, XML, query.as_bytes(), size);
        let head = request
            .windows(4)
            .position(|window| window == b"\r\n\r\n")
            .unwrap()
            + 4;
        let mut client = rig.client().await;
        client.stream.set_nodelay(true).unwrap();
        client.send(&request[..head]).await.unwrap();
        for piece in request[head..].chunks(size + 7) {
            client.send(piece).await.unwrap();
            tokio::task::yield_now().await;
        }
        assert_eq!(
            client.answer().await.unwrap().status,
            200,
            "chunks of {size}"
        );
        assert_eq!(reached(&rig), (0, 1), "chunks of {size}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_packed_query_is_passed_to_a_replica_as_it_came_and_a_packed_write_is_not() {
    let rig = Plan::replicas(1).start().await;
    for (text, expected) in [
        (r#"<GetFeature service="WFS"/>"#, (0, 1)),
        (r#"<Transaction service="WFS"/>"#, (1, 0)),
    ] {
        let mut packed = GzEncoder::new(Vec::new(), Compression::default());
        packed.write_all(text.as_bytes()).unwrap();
        let packed = packed.finish().unwrap();
        let head = head(
            WFS,
            &format!(
                "Content-Type: {XML}\r\nContent-Encoding: gzip\r\nContent-Length: {}",
                packed.len()
            ),
        );
        drop(
            rig.client()
                .await
                .request(&[head, packed.clone()].concat())
                .await,
        );
        assert_eq!(reached(&rig), expected, "{text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_are_still_sending_their_forms_keep_no_place_from_others() {
    let rig = Plan::replicas(1)
        .with("[limits]\nmax_in_flight = 1\nqueue = 0")
        .start()
        .await;
    let mut slow: Vec<Client> = Vec::new();
    for _ in 0..5 {
        let mut client = rig.client().await;
        let form = with_length(WMS, FORM, &long_map(100_000));
        client.send(&form[..90_000]).await.unwrap();
        slow.push(client);
    }
    for _ in 0..20 {
        assert_eq!(rig.get(MAP).await.status, 200);
    }
    let rest = &with_length(WMS, FORM, &long_map(100_000))[90_000..];
    for client in &mut slow {
        client.send(rest).await.unwrap();
        assert_eq!(client.answer().await.unwrap().status, 200);
    }
}
