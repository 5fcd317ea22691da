//! Clients may speak HTTP/2, under the same rules as HTTP/1.1.

use bytes::Bytes;
use geofront::geosim::Fault;
use geofront::ogc::RequestClass;
use h2::client::SendRequest;
use http::{Method, Request, Response};
use tokio::net::TcpStream;
use tokio::process::Command;

use super::client::Client;
use super::requests::{FEATURES, MAP, TRANSACTION, WFS, XML, get_feature_of_size};
use super::rig::{PATIENCE, Plan, Rig};
use super::tls_client::{Authority, ClientBuilder, listener};

pub(crate) const HOST: &str = "maps.example.org";

pub(crate) struct Served {
    pub(crate) rig: Rig,
    pub(crate) client: ClientBuilder,
    authority: Authority,
}

pub(crate) async fn served(plan: Plan) -> Served {
    let authority = Authority::new();
    let files = authority.sign("maps", &[HOST], 2999);
    let rig = plan.with(&listener("public", &[&files], "")).start().await;
    let mut client = authority.client(None);
    client.alpn = vec![b"h2".to_vec()];
    Served {
        rig,
        client,
        authority,
    }
}

impl Served {
    /// A connection; its task ends with it.
    pub(crate) async fn connect(&self) -> SendRequest<Bytes> {
        self.connect_with(&h2::client::Builder::new()).await
    }

    pub(crate) async fn connect_with(&self, builder: &h2::client::Builder) -> SendRequest<Bytes> {
        let address = self.rig.listener("public");
        let connection = self.client.connect(address, HOST).await.unwrap();
        let (requests, connection) = builder.handshake(connection.stream).await.unwrap();
        tokio::spawn(async move { connection.await.ok() });
        requests
    }
}

pub(crate) fn request(method: Method, target: &str) -> http::request::Builder {
    Request::builder()
        .method(method)
        .uri(format!("https://{HOST}{target}"))
}

/// Sends a request and reads the answer to its end.
pub(crate) async fn exchange(
    requests: &SendRequest<Bytes>,
    request: Request<()>,
    body: &[u8],
) -> Result<(Response<()>, Vec<u8>), h2::Error> {
    let answer = async {
        let mut requests = requests.clone().ready().await?;
        let (answer, mut sending) = requests.send_request(request, body.is_empty())?;
        if !body.is_empty() {
            sending.send_data(Bytes::copy_from_slice(body), true)?;
        }
        let (head, mut stream) = answer.await?.into_parts();
        let mut received = Vec::new();
        while let Some(data) = stream.data().await {
            let data = data?;
            stream.flow_control().release_capacity(data.len())?;
            received.extend_from_slice(&data);
        }
        Ok((Response::from_parts(head, ()), received))
    };
    tokio::time::timeout(PATIENCE, answer)
        .await
        .expect("an answer in time")
}

pub(crate) async fn get(requests: &SendRequest<Bytes>, target: &str) -> (u16, Vec<u8>) {
    let request = request(Method::GET, target).body(()).unwrap();
    let (answer, body) = exchange(requests, request, &[]).await.unwrap();
    (answer.status().as_u16(), body)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn maps_features_and_posts_are_served_over_http2() {
    let served = served(Plan::replicas(1)).await;
    let requests = served.connect().await;
    let plain = served.rig.get(MAP).await;
    assert_eq!(get(&requests, MAP).await, (200, plain.body));
    let features = served.rig.get(FEATURES).await;
    assert_eq!(get(&requests, FEATURES).await, (200, features.body));
    let all = served.rig.replicas[0].requests();
    let passed = all
        .iter()
        .rfind(|request| request.header("via").is_some())
        .unwrap();
    assert_eq!(passed.header("x-forwarded-proto"), Some("https"));
    assert_eq!(passed.header("host"), Some(HOST));
    assert_eq!(passed.header("via"), Some("2.0 geofront"));

    let head = request(Method::HEAD, MAP).body(()).unwrap();
    let (answer, body) = exchange(&requests, head, &[]).await.unwrap();
    assert!(answer.status() == 200 && body.is_empty());

    // With and without a length, shorter and longer than the windows.
    for size in [300, 400_000] {
        let body = get_feature_of_size(size);
        for has_length in [true, false] {
            let mut post = request(Method::POST, WFS).header("content-type", XML);
            if has_length {
                post = post.header("content-length", body.len());
            }
            let (answer, _) = exchange(&requests, post.body(()).unwrap(), &body)
                .await
                .unwrap();
            assert_eq!(answer.status(), 200, "{size} {has_length}");
        }
    }
    let write = request(Method::POST, WFS)
        .header("content-type", XML)
        .body(())
        .unwrap();
    let (answer, _) = exchange(&requests, write, TRANSACTION).await.unwrap();
    assert_eq!(answer.status(), 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_requests_at_once_share_a_connection() {
    let served = served(Plan::replicas(2)).await;
    let requests = served.connect().await;
    let all = (0..90).map(|number| {
        let requests = &requests;
        async move { get(requests, &format!("{MAP}&number={number}")).await.0 }
    });
    let statuses = futures::future::join_all(all).await;
    assert!(statuses.iter().all(|status| *status == 200), "{statuses:?}");
    let metrics = served.rig.metrics().await;
    assert!(
        metrics.contains("geofront_client_connections 1\n"),
        "{metrics}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_that_breaks_a_rule_is_refused_as_over_http1() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("access.log");
    let served = served(Plan::replicas(1).access_log(&log)).await;
    let requests = served.connect().await;
    let refused = async |request: http::request::Builder| {
        let request = request.body(()).unwrap();
        exchange(&requests, request, &[]).await.unwrap()
    };
    let (answer, body) = refused(request(Method::GET, MAP).header("host", "other.example")).await;
    assert_eq!(answer.status(), 400);
    // In the form that clients of the service understand.
    assert!(
        String::from_utf8_lossy(&body).contains("ServiceException"),
        "{body:?}"
    );
    let (answer, _) = refused(request(Method::TRACE, "/")).await;
    assert_eq!(answer.status(), 405);
    let long = "x".repeat(70_000);
    let (answer, _) = refused(request(Method::GET, MAP).header("x-long", long)).await;
    assert_eq!(answer.status(), 431);
    let mut many = request(Method::GET, MAP);
    for number in 0..201 {
        many = many.header(format!("x-{number}"), "y");
    }
    assert_eq!(refused(many).await.0.status(), 431);
    // The connection goes on.
    assert_eq!(get(&requests, MAP).await.0, 200);
    served
        .rig
        .until("all refusals are logged", |_| {
            let lines = std::fs::read_to_string(&log).unwrap_or_default();
            lines.matches("refused:").count() == 4
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_breaks_off_resets_its_stream_alone() {
    let served = served(Plan::replicas(1)).await;
    let requests = served.connect().await;
    for (target, class) in [(MAP, RequestClass::Map), (FEATURES, RequestClass::Feature)] {
        served.rig.replicas[0].suffers(Fault::Truncate.only(class).times(1));
        let request = request(Method::GET, target).body(()).unwrap();
        let error = exchange(&requests, request, &[]).await.unwrap_err();
        assert!(error.is_reset(), "{error}");
        assert_eq!(get(&requests, target).await.0, 200);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reset_gives_the_slot_back_at_once() {
    let served = served(Plan::replicas(1)).await;
    let requests = served.connect().await;
    served.rig.replicas[0].suffers(Fault::Hang.only(RequestClass::Map));
    let mut ready = requests.clone().ready().await.unwrap();
    let get_map = request(Method::GET, MAP).body(()).unwrap();
    let (answer, mut sending) = ready.send_request(get_map, false).unwrap();
    sending.send_data(Bytes::new(), true).unwrap();
    served
        .rig
        .until("it runs", |rig| rig.in_flight() == 1)
        .await;
    sending.send_reset(h2::Reason::CANCEL);
    served
        .rig
        .until("its slot is free", |rig| rig.in_flight() == 0)
        .await;
    assert!(answer.await.is_err());
    assert_eq!(get(&requests, FEATURES).await.0, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_does_not_read_one_stream_loses_that_stream_only() {
    let limits = "[timeouts]\nclient_write = \"300ms\"";
    let served = served(Plan::replicas(1).with(limits)).await;
    let mut small = h2::client::Builder::new();
    small.initial_window_size(10);
    let requests = served.connect_with(&small).await;
    let mut ready = requests.clone().ready().await.unwrap();
    let stuck = request(Method::GET, FEATURES).body(()).unwrap();
    let (answer, _) = ready.send_request(stuck, true).unwrap();
    let mut body = answer.await.unwrap().into_body();
    let ended = async {
        // The first ten bytes, which are never acknowledged, then the end.
        while let Some(data) = body.data().await {
            if let Err(error) = data {
                return error;
            }
        }
        panic!("the answer is larger than the window");
    };
    let error = tokio::time::timeout(PATIENCE, ended).await.unwrap();
    assert!(error.is_reset(), "{error}");
    assert_eq!(get(&requests, MAP).await.0, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_stops_coming_times_out() {
    let limits = "[timeouts]\nclient_body = \"200ms\"";
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("access.log");
    let served = served(Plan::replicas(1).with(limits).access_log(&log)).await;
    let requests = served.connect().await;
    let mut ready = requests.clone().ready().await.unwrap();
    let post = request(Method::POST, WFS)
        .header("content-type", XML)
        .header("content-length", 1_000)
        .body(())
        .unwrap();
    let (answer, mut sending) = ready.send_request(post, false).unwrap();
    sending
        .send_data(Bytes::from_static(b"<wfs:"), false)
        .unwrap();
    let answer = tokio::time::timeout(PATIENCE, answer)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(answer.status(), 408);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_connection_ends() {
    let limits = "[timeouts]\nkeep_alive = \"200ms\"";
    let served = served(Plan::replicas(1).with(limits)).await;
    let requests = served.connect().await;
    assert_eq!(get(&requests, MAP).await.0, 200);
    let metrics = async || served.rig.metrics().await;
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !metrics().await.contains("geofront_client_connections 0\n") {
        assert!(tokio::time::Instant::now() < deadline, "it stays");
    }
}

/// "Our balancer ends TLS and speaks HTTP/2 with prior knowledge to what is behind it."
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http2_without_tls_is_served_beside_http1_where_a_listener_allows_it() {
    let listener = "[listeners.inside]\naddress = \"127.0.0.1:0\"\nhttp2 = true";
    let rig = Plan::replicas(1).with(listener).start().await;
    let address = rig.listener("inside");
    let stream = TcpStream::connect(address).await.unwrap();
    let (requests, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(async move { connection.await.ok() });
    let get_map = Request::get(format!("http://{HOST}{MAP}"))
        .body(())
        .unwrap();
    let (answer, body) = exchange(&requests, get_map, &[]).await.unwrap();
    assert_eq!(
        (answer.status().as_u16(), body),
        (200, rig.get(MAP).await.body)
    );
    let all = rig.replicas[0].requests();
    let seen = all
        .iter()
        .find(|request| request.header("via") == Some("2.0 geofront"));
    assert_eq!(seen.unwrap().header("x-forwarded-proto"), Some("http"));
    let body = get_feature_of_size(300_000);
    let post = Request::post(format!("http://{HOST}{WFS}"))
        .header("content-type", XML)
        .body(())
        .unwrap();
    let (answer, _) = exchange(&requests, post, &body).await.unwrap();
    assert_eq!(answer.status(), 200);

    // HTTP/1, in pieces, twice on a connection.
    let mut client = Client::connect(address).await.unwrap();
    let (first, rest) = MAP.split_at(10);
    client
        .send(format!("GET {first}").as_bytes())
        .await
        .unwrap();
    let rest = format!("{rest} HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.request(rest.as_bytes()).await.unwrap().status, 200);
    assert_eq!(client.get(MAP).await.unwrap().status, 200);
    let malformed = client.request(b"PRI * HTTP/2.0\r\n\r\n").await.unwrap();
    assert_eq!(malformed.status, 400);

    // Elsewhere it is no request.
    let mut client = rig.client().await;
    let answer = client.request(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    assert_eq!(answer.unwrap().status, 400);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_does_not_finish_its_preface_is_disconnected_and_counted() {
    let listener = "[listeners.inside]\naddress = \"127.0.0.1:0\"\nhttp2 = true\n[timeouts]\nclient_header = \"100ms\"";
    let rig = Plan::replicas(1).with(listener).start().await;
    let mut client = Client::connect(rig.listener("inside")).await.unwrap();
    client.send(b"PRI * HTTP/2.0\r\n\r\nSM").await.unwrap();
    assert!(client.is_closed().await);
    rig.metrics_with("geofront_client_head_timeouts_total 1\n")
        .await;
}

/// Needs `curl`, which has a library of its own for HTTP/2.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn curl_gets_a_map_over_http2() {
    let version = std::process::Command::new("curl").arg("--version").output();
    if !version.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains("HTTP2")) {
        return;
    }
    let served = served(Plan::replicas(1)).await;
    let port = served.rig.listener("public").port();
    let output = Command::new("curl")
        .args([
            "--silent",
            "--show-error",
            "--noproxy",
            "*",
            "--http2",
            "--cacert",
        ])
        .arg(served.authority.file())
        .args(["--resolve", &format!("{HOST}:{port}:127.0.0.1")])
        .args([
            "--write-out",
            "%{http_version} %{http_code} %{content_type}",
        ])
        .args(["--output", "/dev/null"])
        .arg(format!("https://{HOST}:{port}{MAP}"))
        .output()
        .await
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(
        text,
        "2 200 image/png",
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
