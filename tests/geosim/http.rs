//! The HTTP layer: keep-alive and its ends, framings, what is remembered of requests.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use geofront::geosim::{Behaviour, DataDirectory, Instance, KEPT_BODY, eventually};
use geofront::hash::fnv1a;

use crate::client::{GET_MAP, connect, get, parse, post, raw, try_send};

fn instance(behaviour: Behaviour) -> Instance {
    Instance::start("main", &DataDirectory::new(), behaviour)
}

fn instant() -> Instance {
    instance(Behaviour::default())
}

/// Sends a request on an open connection and reads one answer with a length.
fn ask(stream: &mut TcpStream, target: &str) -> Vec<u8> {
    stream
        .write_all(format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes())
        .unwrap();
    let mut received = Vec::new();
    while !parse(&received).is_ok_and(|reply| reply.is_whole) {
        let mut buffer = [0; 4096];
        let read = stream.read(&mut buffer).unwrap();
        assert!(read > 0, "closed in an answer");
        received.extend_from_slice(&buffer[..read]);
    }
    received
}

#[test]
fn a_connection_serves_many_requests() {
    let main = instant();
    let mut stream = connect(&main).unwrap();
    for _ in 0..50 {
        assert!(parse(&ask(&mut stream, GET_MAP)).unwrap().is_png());
    }
    assert_eq!(main.control().connections_accepted(), 1);
}

#[test]
fn the_last_request_of_a_connection_is_announced() {
    let main = instance(Behaviour {
        keep_alive_requests: Some(3),
        ..Behaviour::default()
    });
    let mut stream = connect(&main).unwrap();
    for number in 1..=3 {
        let reply = parse(&ask(&mut stream, GET_MAP)).unwrap();
        assert_eq!(reply.header("connection"), (number == 3).then_some("close"));
    }
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
}

#[test]
fn an_idle_connection_is_closed_without_notice() {
    let main = instance(Behaviour {
        keep_alive: Duration::from_millis(20),
        ..Behaviour::default()
    });
    let mut stream = connect(&main).unwrap();
    let reply = parse(&ask(&mut stream, GET_MAP)).unwrap();
    assert_eq!(reply.header("connection"), None);
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
}

#[test]
fn requests_are_remembered_as_they_came() {
    let main = instant();
    let head = "POST /geoserver/wfs?A=%41&a=1;x HTTP/1.1\r\nHost: maps.example.org\r\nx-ODD:  two \r\nX-Odd: three\r\n\
        Content-Length: 5\r\nConnection: close\r\n\r\n";
    raw(&main, &format!("{head}hello")).unwrap();
    let request = main.control().last_request().unwrap();
    assert_eq!(request.head(), head.as_bytes());
    assert_eq!(
        (request.method(), request.target()),
        ("POST", b"/geoserver/wfs?A=%41&a=1;x".as_slice())
    );
    let odd: Vec<_> = request
        .headers()
        .filter(|(name, _)| name.eq_ignore_ascii_case("x-odd"))
        .collect();
    assert_eq!(odd, [("x-ODD", b"two".as_slice()), ("X-Odd", b"three")]);
    assert_eq!(
        (request.body().length, request.body().hash),
        (5, fnv1a(*b"hello"))
    );
    assert_eq!(&request.body().start[..], b"hello");
}

#[test]
fn only_the_last_requests_are_remembered() {
    let main = instance(Behaviour {
        remembered_requests: 2,
        ..Behaviour::default()
    });
    for number in 0..5 {
        get(&main, &format!("/geoserver/www/{number}"));
    }
    let targets: Vec<_> = main
        .requests()
        .iter()
        .map(|request| String::from_utf8_lossy(request.target()).into_owned())
        .collect();
    assert_eq!(targets, ["/geoserver/www/3", "/geoserver/www/4"]);
}

#[test]
fn chunked_bodies_are_put_together() {
    let main = instant();
    let request = "POST /geoserver/wfs HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n\
        5;note=x\r\nhello\r\n6\r\n world\r\n0\r\nTrailer: x\r\n\r\n";
    raw(&main, request).unwrap();
    assert_eq!(
        &main.control().last_request().unwrap().body().start[..],
        b"hello world"
    );
}

#[test]
fn a_long_body_is_kept_in_part_and_hashed_in_full() {
    let main = instant();
    let body = "x".repeat(KEPT_BODY + 1_000_000);
    post(&main, "/geoserver/rest/imports", &[], &body);
    let request = main.control().last_request().unwrap();
    assert_eq!(
        (request.body().length, request.body().hash),
        (body.len() as u64, fnv1a(body.bytes()))
    );
    assert_eq!(request.body().start.len(), KEPT_BODY);
}

#[test]
fn a_client_that_expects_100_continue_receives_it() {
    let main = instant();
    let mut stream = connect(&main).unwrap();
    stream.write_all(b"POST /geoserver/wfs HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n").unwrap();
    let mut interim = [0; 17];
    stream.read_exact(&mut interim).unwrap();
    assert_eq!(&interim, b"HTTP/1.1 100 \r\n\r\n");
}

#[test]
fn http_1_0_is_answered_without_chunks_and_closed() {
    let main = instant();
    let reply = raw(
        &main,
        "GET /geoserver/wfs?service=WFS&version=2.0.0&request=GetFeature&typeNames=geor:roads&count=3\
        &outputFormat=application/json HTTP/1.0\r\n\r\n",
    )
    .unwrap();
    assert_eq!(
        (
            reply.header("transfer-encoding"),
            reply.header("connection")
        ),
        (None, Some("close"))
    );
    assert_eq!(reply.json()["numberReturned"], 3);
}

#[test]
fn a_request_that_a_servlet_container_refuses_gets_400() {
    let main = instant();
    for request in [
        "GET /geoserver/wms HTTP/1.1\r\n\r\n",
        "GET /geoserver/wms HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        "GET /geoserver/%2e%2e%2frest HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST /geoserver/wfs HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
        "NOT HTTP\r\n\r\n",
    ] {
        assert_eq!(raw(&main, request).unwrap().status, 400, "{request}");
    }
}

#[test]
fn head_has_the_head_of_get_and_no_body() {
    let main = instant();
    let mut stream = connect(&main).unwrap();
    stream
        .write_all(
            format!("HEAD {GET_MAP} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes(),
        )
        .unwrap();
    let mut received = String::new();
    stream.read_to_string(&mut received).unwrap();
    assert!(received.contains("Content-Length: ") && received.ends_with("\r\n\r\n"));
}

#[test]
fn every_answer_names_its_instance_its_epoch_and_the_tag_of_its_request() {
    let main = instant();
    main.publish("geor:new");
    let reply = get(&main, "/geoserver/www/a.css?geosim_tag=r42");
    assert_eq!(reply.header("x-geosim"), Some("main"));
    assert_eq!(
        reply.header("x-geosim-epoch"),
        Some(main.epoch().unwrap().to_string().as_str())
    );
    assert_eq!(reply.header("x-geosim-tag"), Some("r42"));
}

#[test]
fn connections_end_when_the_instance_is_dropped() {
    let main = instant();
    let mut stream = connect(&main).unwrap();
    eventually("the connection is accepted", || {
        main.control().open_connections() == 1
    });
    drop(main);
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
}

#[test]
fn requests_on_one_connection_may_be_pipelined() {
    let main = instant();
    let two = "GET /geoserver/www/a.css HTTP/1.1\r\nHost: x\r\n\r\nGET /geoserver/www/missing HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let mut stream = connect(&main).unwrap();
    stream.write_all(two.as_bytes()).unwrap();
    let mut received = String::new();
    stream.read_to_string(&mut received).unwrap();
    assert!(received.starts_with("HTTP/1.1 200 ") && received.contains("HTTP/1.1 404 "));
}

#[test]
fn an_unknown_method_reaches_the_webapp() {
    let main = instant();
    assert_eq!(
        try_send(&main, "DELETE", "/geoserver/www/x", &[], "")
            .unwrap()
            .status,
        405
    );
}
