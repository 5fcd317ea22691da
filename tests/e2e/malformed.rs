//! A client that speaks HTTP in a way that two servers could read differently gets our refusal, and
//! no upstream sees it.

use geofront::geosim::Instance;

use super::client::get;
use super::requests::MAP;
use super::rig::{Plan, Rig};

/// Returns the requests of clients that upstreams received, by method and target.
fn received(rig: &Rig) -> Vec<String> {
    let all = rig
        .replicas
        .iter()
        .chain([&rig.main])
        .flat_map(Instance::requests);
    let of_clients = all.filter(|request| request.header("via").is_some());
    of_clients
        .map(|request| {
            format!(
                "{} {}",
                request.method(),
                String::from_utf8_lossy(request.target())
            )
        })
        .collect()
}

/// Sends each and expects its status; nothing of it may reach an upstream, and the connection ends.
async fn refused(cases: &[(&str, u16)]) {
    let rig = Plan::replicas(1).start().await;
    for (bytes, status) in cases {
        let mut client = rig.client().await;
        let answer = client.request(bytes.as_bytes()).await.unwrap();
        assert_eq!(answer.status, *status, "{bytes:?}: {}", answer.text());
        assert_eq!(answer.header("connection"), Some("close"), "{bytes:?}");
        assert_eq!(answer.header("server"), None, "{bytes:?}");
        assert!(
            answer.header("x-request-id").is_some() && answer.header("date").is_some(),
            "{bytes:?}"
        );
        client.stream.set_nodelay(true).unwrap();
        drop(client.stream.shutdown_write().await);
        assert!(client.is_closed().await, "{bytes:?}");
    }
    assert_eq!(received(&rig), Vec::<String>::new());
}

/// The end of what a client sends.
trait ShutdownWrite {
    async fn shutdown_write(&mut self) -> std::io::Result<()>;
}

impl ShutdownWrite for tokio::net::TcpStream {
    async fn shutdown_write(&mut self) -> std::io::Result<()> {
        tokio::io::AsyncWriteExt::shutdown(self).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn request_lines_that_were_passed_on_as_something_else_are_refused() {
    refused(&[
        ("GET  /x HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GE T /x HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET x HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET @host/x HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET ?/x HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET ftp://a/x HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET /x\ty HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET /x\u{1}y HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET /x\0y HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET /x#y HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET /x?<y> HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET /x?\"y\" HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET /x HTTP/1.2\r\nHost: a\r\n\r\n", 505),
        ("GET /x\r\n", 400),
        ("CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n", 405),
        ("TRACE /x HTTP/1.1\r\nHost: a\r\n\r\n", 405),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_has_one_host_and_a_valid_one() {
    refused(&[
        ("GET /x HTTP/1.1\r\n\r\n", 400),
        ("GET /x HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400),
        ("GET /x HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
        ("GET /x HTTP/1.1\r\nHost: a/b\r\n\r\n", 400),
        ("GET /x HTTP/1.1\r\nHost: a,b\r\n\r\n", 400),
        ("GET /x HTTP/1.1\r\nHost: a:99999\r\n\r\n", 400),
        ("GET http://a/x HTTP/1.1\r\nHost: b\r\n\r\n", 400),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_that_could_smuggle_a_request_is_refused() {
    const POST: &str = "POST /geoserver/wfs HTTP/1.1\r\nHost: a\r\nContent-Type: text/xml\r\n";
    let cases = [
        ("Content-Length: 4\r\nContent-Length: 4\r\n\r\nabcd", 400),
        ("Content-Length: 4, 4\r\n\r\nabcd", 400),
        ("Content-Length: +4\r\n\r\nabcd", 400),
        (
            "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
        ),
        ("Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
        ("Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", 501),
        ("Transfer-Encoding: chunked\r\n\r\n\r\n0\r\n\r\n", 400),
        (
            "Transfer-Encoding: chunked\r\n\r\n5;a\nb\r\nhello\r\n0\r\n\r\n",
            400,
        ),
        (
            "Transfer-Encoding: chunked\r\n\r\n5\r\nhelloX\r\n0\r\n\r\n",
            400,
        ),
        (
            "Transfer-Encoding: chunked\r\n\r\n0\r\nX: y\nGET / HTTP/1.1\r\n\r\n",
            431,
        ),
        ("Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n", 400),
        ("X: y\r\n folded\r\n\r\n", 400),
        ("X: y\nContent-Length: 4\r\n\r\nabcd", 400),
    ];
    let cases: Vec<(String, u16)> = cases
        .iter()
        .map(|(rest, status)| (format!("{POST}{rest}"), *status))
        .collect();
    let cases: Vec<(&str, u16)> = cases
        .iter()
        .map(|(bytes, status)| (bytes.as_str(), *status))
        .collect();
    refused(&cases).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_malformed_chunk_behind_a_good_beginning_ends_the_request_and_blames_no_upstream() {
    // Otherwise the upstream sees nothing of a body so short before its end.
    let streaming = "[clients]\nbody_memory = \"0B\"";
    let rig = Plan::replicas(1).with(streaming).start().await;
    let mut client = rig.client().await;
    let head = "OPTIONS /geoserver/wms HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n";
    client.send(head.as_bytes()).await.unwrap();
    rig.until("an upstream has the beginning", |rig| rig.in_flight() > 0)
        .await;
    client.send(b";\r\n").await.unwrap();
    let answer = client.answer().await.unwrap();
    assert_eq!(answer.status, 400);
    assert!(client.is_closed().await);
    rig.until("no place is held", |rig| rig.in_flight() == 0)
        .await;
    assert!(rig.upstreams().iter().all(|upstream| upstream.eligible));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn characters_that_browsers_and_map_clients_send_raw_pass_byte_for_byte() {
    let rig = Plan::replicas(1).start().await;
    let targets: [&[u8]; 5] = [
        b"/geoserver/wms?service=WMS&request=GetMap&cql_filter=a|b{c}[f]^\\",
        "/geoserver/wms?service=WMS&request=GetMap&layers=stra\u{df}e".as_bytes(),
        b"/geoserver/wms?service=WMS&request=GetMap&layers=stra\xdfe",
        b"/geoserver/wms?service=WMS&request=GetMap&x=%00%zz%",
        b"//geoserver/wms?service=WMS&request=GetMap",
    ];
    for target in targets {
        let request = [b"GET ", target, b" HTTP/1.1\r\nHost: a\r\n\r\n"].concat();
        rig.request(&request).await;
        let all = rig
            .replicas
            .iter()
            .chain([&rig.main])
            .flat_map(Instance::requests);
        let last = all
            .filter(|request| request.header("via").is_some())
            .last()
            .expect("an upstream received it");
        assert_eq!(
            last.target().escape_ascii().to_string(),
            target.escape_ascii().to_string()
        );
        rig.replicas
            .iter()
            .chain([&rig.main])
            .for_each(|upstream| upstream.control().forget_requests());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_whole_url_reaches_the_upstream_as_path_and_host() {
    let rig = Plan::replicas(1).start().await;
    let request =
        format!("GET http://maps.example.org{MAP} HTTP/1.1\r\nHost: Maps.example.org:80\r\n\r\n");
    let answer = rig.request(request.as_bytes()).await;
    assert_eq!(answer.status, 200);
    assert_eq!(received(&rig), [format!("GET {MAP}")]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_request_of_a_connection_is_judged_and_the_good_ones_before_are_answered() {
    let rig = Plan::replicas(1).start().await;
    let mut client = rig.client().await;
    client
        .send(
            [
                get(MAP),
                get(MAP),
                "GET  / HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
            ]
            .concat()
            .as_bytes(),
        )
        .await
        .unwrap();
    let mut statuses = Vec::new();
    for _ in 0..3 {
        statuses.push(client.answer().await.unwrap().status);
    }
    assert_eq!(statuses, [200, 200, 400]);
    assert_eq!(received(&rig).len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_speaks_the_services_language_and_is_logged_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("access.log");
    let rig = Plan::replicas(1).access_log(&log).start().await;
    let answer = rig
        .request(format!("GET {MAP} HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n").as_bytes())
        .await;
    assert_eq!(answer.status, 400);
    assert_eq!(
        answer.header("content-type"),
        Some("application/vnd.ogc.se_xml;charset=UTF-8")
    );
    assert!(
        answer.text().contains("ServiceExceptionReport") && answer.text().contains("Host"),
        "{}",
        answer.text()
    );
    let line = || {
        std::fs::read_to_string(&log)
            .unwrap_or_default()
            .contains("class=map service=WMS operation=GetMap")
    };
    rig.until("the line is written", |_| line()).await;
    let text = std::fs::read_to_string(&log).unwrap();
    assert!(
        text.contains("status=400") && text.contains("end=refused:host-repeated"),
        "{text}"
    );
    assert!(
        text.contains(answer.header("x-request-id").unwrap()),
        "{text}"
    );
    let metrics = rig.metrics().await;
    assert!(
        metrics.contains("geofront_refused_total{class=\"map\",reason=\"host-repeated\"} 1"),
        "{metrics}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_is_still_sending_sees_its_refusal() {
    let rig = Plan::replicas(1).start().await;
    for (host, length, status) in [("a b", 3_000_000_u64, 400), ("a", 30_000_000_000, 413)] {
        let mut client = rig.client().await;
        let head = format!(
            "POST /geoserver/wfs HTTP/1.1\r\nHost: {host}\r\nContent-Length: {length}\r\n\r\n"
        );
        client.send(head.as_bytes()).await.unwrap();
        // More than the sockets in between hold: it has to be read, although the answer is given.
        for part in 0..200 {
            client
                .send(&[b'x'; 100_000])
                .await
                .unwrap_or_else(|error| panic!("part {part} of {status}: {error}"));
        }
        assert_eq!(client.answer().await.unwrap().status, status);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heads_larger_than_64_kib_or_with_more_than_200_fields_are_refused() {
    let long = "x".repeat(66_000);
    let many = "X: y\r\n".repeat(200);
    refused(&[
        (
            &format!("GET /x HTTP/1.1\r\nHost: a\r\nX: {long}\r\n\r\n"),
            431,
        ),
        (&format!("GET /{long} HTTP/1.1\r\nHost: a\r\n\r\n"), 414),
        (&format!("GET /x HTTP/1.1\r\nHost: a\r\n{many}\r\n"), 431),
    ])
    .await;
    let rig = Plan::replicas(1).start().await;
    // Latin-1, of which each letter is longer as text.
    let latin = [
        b"GET /geoserver/wms?x=".as_slice(),
        &[0xe9; 30_000],
        b" HTTP/1.1\r\nHost: a\r\n\r\n",
    ]
    .concat();
    assert_eq!(rig.request(&latin).await.status, 414);
    let fields = format!("X: {}\r\n", "x".repeat(700)).repeat(80);
    let answer = rig
        .request(format!("GET {MAP} HTTP/1.1\r\nHost: a\r\n{fields}\r\n").as_bytes())
        .await;
    assert_eq!(answer.status, 200);
}

/// "A client got 400 again and again, and the status page listed no request of it."
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_head_is_listed_among_the_failed_requests_while_its_connection_is_open() {
    let rig = Plan::replicas(1).start().await;
    let mut client = rig.client().await;
    let answer = client
        .request(b"GET /x#y HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .unwrap();
    let id = answer.header("x-request-id").unwrap();
    let listed = rig
        .admin_until(&format!("/api/requests?id={id}"), "refused:target-byte")
        .await;
    assert!(listed.contains(id), "{listed}");
    drop(client);
}
