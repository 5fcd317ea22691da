//! Clients are served over TLS, without a restart for a new certificate.

use std::sync::Arc;
use std::time::Duration;

use geofront::geosim::{Fault, Request};
use geofront::ogc::RequestClass;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::Command;

use super::client::{Client, get, post};
use super::requests::{FEATURES, MAP, TRANSACTION, WFS, XML};
use super::rig::{Plan, Rig};
use super::tls_client::{Authority, Files, connect, in_file, listener, presented};

const HOST: &str = "maps.example.org";

/// The last request that came through the proxy.
fn passed(rig: &Rig) -> Arc<Request> {
    let all = rig.replicas.iter().flat_map(|replica| replica.requests());
    let passed = all.filter(|request| request.header("via").is_some());
    passed.last().expect("a request passed")
}

/// The value of a sample of the metrics.
async fn sample(rig: &Rig, name: &str) -> Option<f64> {
    let metrics = rig.metrics().await;
    let line = metrics
        .lines()
        .find(|line| line.starts_with(name))?
        .to_owned();
    line.rsplit_once(' ')?.1.parse().ok()
}

/// A front door with the listener `public` for [`HOST`]. Its certificate ends with `year`, and
/// `more` are other keys of the listener.
async fn served_until(year: i32, more: &str) -> (Authority, Files, Rig) {
    let authority = Authority::new();
    let files = authority.sign("maps", &[HOST], year);
    let rig = Plan::replicas(1)
        .with(&listener("public", &[&files], more))
        .start()
        .await;
    (authority, files, rig)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_is_served_over_tls_1_2_and_1_3_and_geoserver_learns_that_it_was_https() {
    let (authority, _, rig) = served_until(2999, "hsts = \"365d\"").await;
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let mut client = authority.client(None);
        client.versions = vec![version];
        client.alpn = vec![b"http/1.1".to_vec()];
        let mut client = client.connect(rig.listener("public"), HOST).await.unwrap();
        let alpn = client.stream.get_ref().1.alpn_protocol();
        assert_eq!(alpn, Some(&b"http/1.1"[..]));
        for target in [MAP, FEATURES] {
            let answer = client.get(target).await.unwrap();
            assert!(answer.status == 200 && answer.is_complete, "{answer:?}");
            let hsts = answer.header("strict-transport-security");
            assert_eq!(hsts, Some("max-age=31536000"));
        }
    }
    let request = passed(&rig);
    assert_eq!(request.header("x-forwarded-proto"), Some("https"));
    assert_eq!(request.header("x-forwarded-port"), Some("443"));
    assert_eq!(request.header("x-forwarded-for"), Some("127.0.0.1"));
    let ok = "geofront_tls_handshakes_total{outcome=\"ok\"}";
    assert_eq!(sample(&rig, ok).await, Some(2.0));
    // Plain HTTP has no HSTS.
    let plain = rig.get(MAP).await;
    assert_eq!(plain.header("strict-transport-security"), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http2_is_not_chosen_where_it_is_switched_off() {
    for (more, chosen) in [("", "h2"), ("http2 = false", "http/1.1")] {
        let (authority, _, rig) = served_until(2999, more).await;
        let mut client = authority.client(None);
        client.alpn = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let client = client.connect(rig.listener("public"), HOST).await.unwrap();
        let alpn = client.stream.get_ref().1.alpn_protocol();
        assert_eq!(alpn, Some(chosen.as_bytes()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_host_gets_its_own_certificate() {
    let authority = Authority::new();
    let first = authority.sign("first", &[HOST], 2999);
    let wild = authority.sign("wild", &["*.example.org"], 2999);
    let rig = Plan::replicas(1)
        .with(&listener("public", &[&first, &wild], ""))
        .start()
        .await;
    for (host, files) in [(HOST, &first), ("tiles.example.org", &wild)] {
        let client = authority.client(None);
        let client = client.connect(rig.listener("public"), host).await.unwrap();
        assert_eq!(presented(&client), in_file(files), "{host}");
    }
    let client = authority.client(None);
    let unknown = client
        .connect(rig.listener("public"), "elsewhere.example")
        .await;
    assert!(
        unknown.is_err(),
        "the client notices that the name is another"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_renewed_certificate_is_used_at_once_and_no_connection_notices() {
    let (authority, files, rig) = served_until(2030, "").await;
    let address = rig.listener("public");
    let mut old = authority.client(None).connect(address, HOST).await.unwrap();
    assert_eq!(old.get(MAP).await.unwrap().status, 200);
    let revision = rig.app.control.snapshot().revision;

    authority.sign("maps", &[HOST], 2031);
    rig.until("the new certificate is in force", |rig| {
        rig.app.control.snapshot().revision > revision
    })
    .await;
    let new = authority.client(None).connect(address, HOST).await.unwrap();
    assert_eq!(presented(&new), in_file(&files));
    assert_ne!(presented(&new), presented(&old));
    assert_eq!(old.get(MAP).await.unwrap().status, 200);
    let changes = rig.app.reload.last().unwrap().outcome.to_string();
    assert!(
        changes.contains("listeners.public: another certificate"),
        "{changes}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_pair_of_files_keeps_the_old_certificate_and_blocks_no_other_edit() {
    let (authority, files, rig) = served_until(2999, "").await;
    let good = in_file(&files);
    let other = authority.sign("other", &[HOST], 2999);
    std::fs::copy(&other.key, &files.key).unwrap();
    let kinds = |rig: &Rig| {
        let status = rig.app.control.status(std::time::Instant::now());
        let conditions = status.conditions.iter();
        conditions
            .map(|held| held.condition.kind())
            .collect::<Vec<_>>()
    };
    rig.until("the trouble is reported", |rig| {
        kinds(rig).contains(&"certificate")
    })
    .await;
    let client = authority.client(None);
    let client = client.connect(rig.listener("public"), HOST).await.unwrap();
    assert_eq!(presented(&client), good);

    // The rest of the configuration can still be edited.
    rig.write_config(
        &rig.config()
            .replace("interval = \"100ms\"", "interval = \"90ms\""),
    );
    rig.until("the edit is in force", |rig| {
        let config = &rig.app.control.snapshot_full().config;
        config.health.interval == Duration::from_millis(90)
    })
    .await;
    assert!(kinds(&rig).contains(&"certificate"));

    // The certificate of the new key follows.
    std::fs::copy(&other.cert, &files.cert).unwrap();
    rig.until("the trouble is over", |rig| {
        !kinds(rig).contains(&"certificate")
    })
    .await;
    let client = authority.client(None);
    let client = client.connect(rig.listener("public"), HOST).await.unwrap();
    assert_eq!(presented(&client), in_file(&other));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_that_expires_soon_is_a_condition_and_a_metric() {
    let (_authority, _, rig) = served_until(2001, "").await;
    rig.until("it is reported", |rig| {
        let status = rig.app.control.status(std::time::Instant::now());
        let mut conditions = status.conditions.iter();
        conditions.any(|held| held.condition.to_string().contains("maps.example.org"))
    })
    .await;
    let name = "geofront_certificate_expiry_seconds{listener=\"public\",name=\"maps.example.org\"}";
    assert_eq!(sample(&rig, name).await, Some(1_009_756_800.0));
}

/// The conditions about certificates in words.
fn certificate_conditions(rig: &Rig) -> String {
    let status = rig.app.control.status(std::time::Instant::now());
    let held = status.conditions.iter().map(|held| &held.condition);
    held.filter(|condition| condition.kind() == "certificate")
        .map(|condition| format!("{condition}\n"))
        .collect()
}

/// "The renewal failed over the holidays, and the front door did not start again."
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_outside_of_its_time_stops_nothing_and_is_a_condition() {
    let (authority, _, rig) = served_until(2001, "").await;
    rig.until("the start reports it", |rig| {
        certificate_conditions(rig).contains("it expired")
    })
    .await;
    // Only clients judge the certificate. The handshake goes on, and so does plain HTTP.
    let refused = authority
        .client(None)
        .connect(rig.listener("public"), HOST)
        .await;
    assert!(refused.is_err_and(|error| error.to_string().contains("expired")));
    assert_eq!(rig.get(MAP).await.status, 200);

    // The next one is not valid yet, and the one after it is good.
    authority.sign_for("maps", &[HOST], 2998..=2999);
    rig.until("a config reload reports it, too", |rig| {
        certificate_conditions(rig).contains("it becomes valid in")
    })
    .await;
    assert_eq!(rig.get(MAP).await.status, 200);
    authority.sign("maps", &[HOST], 2999);
    rig.until("the condition ends", |rig| {
        certificate_conditions(rig).is_empty()
    })
    .await;
    let client = authority.client(None);
    let mut client = client.connect(rig.listener("public"), HOST).await.unwrap();
    assert_eq!(client.get(MAP).await.unwrap().status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_whose_certificate_is_outside_of_its_time_is_refused_and_counted() {
    let (authority, clients) = (Authority::new(), Authority::new());
    let files = authority.sign("maps", &[HOST], 2999);
    let more = format!("client_ca = \"{}\"", clients.file().display());
    let rig = Plan::replicas(1)
        .with(&listener("public", &[&files], &more))
        .start()
        .await;
    let address = rig.listener("public");
    let expired = clients.sign("expired", &["ann"], 2001);
    let future = clients.sign_for("future", &["ann"], 2998..=2999);
    for own in [&expired, &future] {
        for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
            let mut client = authority.client(Some(own));
            client.versions = vec![version];
            let answer = match client.connect(address, HOST).await {
                Ok(mut client) => client.get(MAP).await,
                Err(error) => Err(error),
            };
            assert!(answer.is_err(), "{answer:?}");
        }
    }
    let refused = "geofront_tls_handshakes_total{outcome=\"client-certificate\"}";
    assert_eq!(sample(&rig, refused).await, Some(4.0));
    let good = clients.sign("good", &["ann"], 2999);
    let good = authority.client(Some(&good)).connect(address, HOST).await;
    assert_eq!(good.unwrap().get(MAP).await.unwrap().status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http_is_redirected_to_https() {
    let authority = Authority::new();
    let files = authority.sign("maps", &[HOST], 2999);
    let plain = "[listeners.plain]\naddress = \"127.0.0.1:0\"\nhttps_redirect = 443\n";
    let rig = Plan::replicas(1)
        .with(&(listener("public", &[&files], "") + plain))
        .start()
        .await;
    let redirected = async |request: &[u8]| {
        let mut client = Client::connect(rig.listener("plain")).await.unwrap();
        client.request(request).await.unwrap()
    };
    let answer = redirected(get(MAP).as_bytes()).await;
    assert_eq!(answer.status, 301);
    let location = format!("https://{HOST}{MAP}");
    assert_eq!(answer.header("location"), Some(location.as_str()));
    // The client repeats a body as it is.
    let answer = redirected(&post(WFS, XML, TRANSACTION)).await;
    assert_eq!(answer.status, 308);
    let answer = redirected(b"GET / HTTP/1.0\r\n\r\n").await;
    assert_eq!(answer.status, 400);
    let proxied = rig.replicas.iter().flat_map(|replica| replica.requests());
    assert_eq!(
        proxied
            .filter(|request| request.header("via").is_some())
            .count(),
        0
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_certificate_is_required_and_its_subject_is_passed_on() {
    let (authority, clients) = (Authority::new(), Authority::new());
    let files = authority.sign("maps", &[HOST], 2999);
    let more = format!("client_ca = \"{}\"", clients.file().display());
    let rig = Plan::replicas(1)
        .top("trusted_proxies = [\"127.0.0.1/32\"]")
        .with(&listener("public", &[&files], &more))
        .start()
        .await;
    let address = rig.listener("public");
    let ann = clients.sign("ann", &["ann"], 2999);
    let mut client = authority
        .client(Some(&ann))
        .connect(address, HOST)
        .await
        .unwrap();
    let request = format!(
        "GET {MAP} HTTP/1.1\r\nHost: {HOST}\r\nX-Geofront-Client-Subject: CN=admin\r\nx_geofront_client_subject: CN=admin\r\n\r\n"
    );
    assert_eq!(
        client.request(request.as_bytes()).await.unwrap().status,
        200
    );
    let request_seen = passed(&rig);
    assert_eq!(
        request_seen.header("x-geofront-client-subject"),
        Some("CN=ann")
    );
    assert_eq!(request_seen.count_of("x-geofront-client-subject"), 1);
    assert_eq!(request_seen.header("x_geofront_client_subject"), None);

    // A trusted peer on a plain listener cannot set it either.
    assert_eq!(rig.request(request.as_bytes()).await.status, 200);
    assert_eq!(passed(&rig).header("x-geofront-client-subject"), None);

    // TLS 1.3 clients learn of the refusal with their first read.
    let stranger = authority.sign("stranger", &["stranger"], 2999);
    for own in [None, Some(&stranger)] {
        let client = authority.client(own).connect(address, HOST).await;
        let answer = match client {
            Ok(mut client) => client.get(MAP).await,
            Err(error) => Err(error),
        };
        assert!(answer.is_err(), "{answer:?}");
    }
    let refused = "geofront_tls_handshakes_total{outcome=\"client-certificate\"}";
    assert_eq!(sample(&rig, refused).await, Some(2.0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_optional_client_certificate_keeps_its_subject_when_the_session_is_resumed() {
    let (authority, clients) = (Authority::new(), Authority::new());
    let files = authority.sign("maps", &[HOST], 2999);
    let more = format!(
        "client_ca = \"{}\"\nclient_certificate = \"optional\"",
        clients.file().display()
    );
    let rig = Plan::replicas(1)
        .with(&listener("public", &[&files], &more))
        .start()
        .await;
    let address = rig.listener("public");
    let mut anonymous = authority.client(None).connect(address, HOST).await.unwrap();
    assert_eq!(anonymous.get(MAP).await.unwrap().status, 200);
    assert_eq!(passed(&rig).header("x-geofront-client-subject"), None);

    let ann = clients.sign("ann", &["ann"], 2999);
    let config = authority.client(Some(&ann)).config();
    for round in 0..2 {
        let mut client = connect(Arc::clone(&config), address, HOST).await.unwrap();
        assert_eq!(client.get(MAP).await.unwrap().status, 200);
        let kind = client.stream.get_ref().1.handshake_kind();
        let is_resumed = kind == Some(rustls::HandshakeKind::Resumed);
        assert_eq!(is_resumed, round == 1, "{kind:?}");
        let subject = passed(&rig);
        let subject = subject.header("x-geofront-client-subject");
        assert_eq!(subject, Some("CN=ann"), "round {round}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_does_not_finish_its_handshake_is_disconnected() {
    let authority = Authority::new();
    let files = authority.sign("maps", &[HOST], 2999);
    let rig = Plan::replicas(1)
        .with(&listener("public", &[&files], ""))
        .with("[timeouts]\nclient_header = \"200ms\"")
        .start()
        .await;
    let mut silent = Client::connect(rig.listener("public")).await.unwrap();
    assert!(silent.is_closed().await);
    let mut slow = Client::connect(rig.listener("public")).await.unwrap();
    // The beginning of a ClientHello.
    slow.send(&[22, 3, 1, 2, 0, 1]).await.unwrap();
    assert!(slow.is_closed().await);
    let mut plain = TcpStream::connect(rig.listener("public")).await.unwrap();
    plain.write_all(get(MAP).as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    plain.read_to_end(&mut answer).await.ok();
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
    let failed = |reason: &str| format!("geofront_tls_handshakes_total{{outcome=\"{reason}\"}}");
    assert_eq!(sample(&rig, &failed("timeout")).await, Some(2.0));
    assert_eq!(sample(&rig, &failed("not-tls")).await, Some(1.0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_rules_for_heads_and_the_truth_about_truncation_hold_inside_tls_too() {
    let (authority, _, rig) = served_until(2999, "hsts = \"1d\"").await;
    let address = rig.listener("public");
    let mut client = authority.client(None).connect(address, HOST).await.unwrap();
    let malformed = client.request(b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(malformed.unwrap().status, 400);
    let mut client = authority.client(None).connect(address, HOST).await.unwrap();
    let malformed = client.request(b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(
        malformed.unwrap().header("strict-transport-security"),
        Some("max-age=86400")
    );
    rig.replicas[0].suffers(Fault::Truncate.only(RequestClass::Feature).times(1));
    let mut client = authority.client(None).connect(address, HOST).await.unwrap();
    let answer = client.get(FEATURES).await;
    assert!(answer.is_err() || !answer.unwrap().is_complete);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_listener_cannot_move_without_a_restart() {
    let (_authority, _, rig) = served_until(2999, "").await;
    rig.write_config(
        &rig.config()
            .replace("[listeners.public]", "[listeners.other]"),
    );
    rig.until("it is refused", |rig| {
        let last = rig.app.reload.last();
        last.is_some_and(|last| {
            let outcome = last.outcome.to_string();
            last.outcome.is_refused() && outcome.contains("listeners.other.address")
        })
    })
    .await;
}

/// Needs `openssl` and `curl`, which have a TLS library of their own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openssl_and_curl_verify_the_chain_and_get_a_map() {
    let has = |tool: &str| {
        let found = std::process::Command::new(tool).arg("version").output();
        found.is_ok()
            || std::process::Command::new(tool)
                .arg("--version")
                .output()
                .is_ok()
    };
    if !has("openssl") || !has("curl") {
        return;
    }
    let (authority, _, rig) = served_until(2999, "").await;
    let address = rig.listener("public");
    for version in ["-tls1_2", "-tls1_3"] {
        let output = Command::new("openssl")
            .args([
                "s_client",
                "-connect",
                &address.to_string(),
                "-servername",
                HOST,
                version,
            ])
            .arg("-CAfile")
            .arg(authority.file())
            .args(["-verify_return_error", "-verify_hostname", HOST, "-brief"])
            .stdin(std::process::Stdio::null())
            .output()
            .await
            .unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(text.contains("Verification: OK"), "{version}: {text}");
    }
    let old = Command::new("openssl")
        .args(["s_client", "-connect", &address.to_string(), "-tls1_1"])
        .stdin(std::process::Stdio::null())
        .output()
        .await
        .unwrap();
    assert!(!old.status.success(), "TLS 1.1 is not spoken");
    let output = Command::new("curl")
        .args(["--silent", "--show-error", "--noproxy", "*", "--cacert"])
        .arg(authority.file())
        .args(["--resolve", &format!("{HOST}:{}:127.0.0.1", address.port())])
        .args([
            "--write-out",
            "%{http_code} %{content_type}",
            "--output",
            "/dev/null",
        ])
        .arg(format!("https://{HOST}:{}{MAP}", address.port()))
        .output()
        .await
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(
        text,
        "200 image/png",
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
