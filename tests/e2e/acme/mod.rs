//! Certificates by ACME: ordered, served, renewed, and what happens when the authority is
//! difficult.

mod authority;
mod challenger;

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use geofront::acme::challenges::{self, PendingChallenge};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::client::{Client, get};
use super::requests::MAP;
use super::rig::{PATIENCE, Plan, Rig};
use super::tls_client::presented;
use authority::{Authority, Mood, Route};
use challenger::AnyCertificate;

const HOST: &str = "maps.example.org";
const ALIAS: &str = "tiles.example.org";

/// An authority, and a folder for `[acme]`.
struct Site {
    authority: Authority,
    folder: TempDir,
}

impl Site {
    async fn new() -> Self {
        Self {
            authority: Authority::start().await,
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn folder(&self) -> PathBuf {
        self.folder.path().join("acme")
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder().join(name)
    }

    /// A front door with the listener `public`, and a plain address.
    fn plan(&self, challenge: &str, domains: &[&str]) -> Plan {
        let ca = self.folder.path().join("ca.pem");
        std::fs::write(&ca, self.authority.pem()).unwrap();
        Plan::replicas(1).with(&format!(
            "[listeners.public]\naddress = \"127.0.0.1:0\"\nacme = {domains:?}\n\
             [acme]\ncontact = \"ops@example.org\"\ndirectory = \"{}\"\nca = \"{}\"\nchallenge = \"{challenge}\"\nfolder = \"{}\"",
            self.authority.directory(),
            ca.display(),
            self.folder().display(),
        ))
    }

    async fn start(&self, challenge: &str) -> Rig {
        // It orders as soon as it runs, and the authority must not verify at a predecessor.
        self.authority.forget_route();
        let rig = self.plan(challenge, &[HOST, ALIAS]).start().await;
        self.authority.route_to(route(&rig));
        rig
    }

    /// Puts a certificate into the folder as if it had been ordered before.
    fn put(&self, name: &str, text: &str) {
        std::fs::create_dir_all(self.folder()).unwrap();
        std::fs::write(self.file(name), text).unwrap();
    }

    /// Connects as a client that trusts the authority; `None` while that fails.
    async fn connect(&self, rig: &Rig, host: &str) -> Option<TlsClient> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(self.authority.roots())
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let address = rig.listener("public");
        super::tls_client::connect(Arc::new(config), address, host)
            .await
            .ok()
    }

    /// Connects once the certificate is there.
    async fn connect_soon(&self, rig: &Rig, host: &str) -> TlsClient {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(client) = self.connect(rig, host).await {
                return client;
            }
            assert!(
                Instant::now() < deadline,
                "no certificate: {:?}",
                troubles(rig)
            );
            rig.metrics().await;
        }
    }
}

type TlsClient = Client<tokio_rustls::client::TlsStream<TcpStream>>;

fn route(rig: &Rig) -> Route {
    Route {
        http: rig.address(),
        tls: rig.listener("public"),
    }
}

/// The conditions about certificates, with their remedies.
fn troubles(rig: &Rig) -> Vec<String> {
    let status = rig.app.control.status(Instant::now());
    let conditions = status.conditions.iter().map(|held| &held.condition);
    conditions
        .filter(|condition| condition.kind() == "certificate")
        .map(|condition| format!("{condition} | {}", condition.remedy()))
        .collect()
}

async fn until_trouble(rig: &Rig, words: &str) {
    rig.until(&format!("a condition with `{words}`"), |rig| {
        troubles(rig).iter().any(|trouble| trouble.contains(words))
    })
    .await;
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// The time of the next attempt, in seconds from now.
fn next_attempt(site: &Site) -> i64 {
    let text = std::fs::read_to_string(site.file("attempts.json")).unwrap();
    let attempts: serde_json::Value = serde_json::from_str(&text).unwrap();
    let next = attempts["public"]["next"].as_i64().unwrap();
    next - geofront::driver::wall_clock::seconds_since_1970()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_first_certificate_is_ordered_by_each_challenge_and_served_without_a_restart() {
    for challenge in ["http-01", "tls-alpn-01"] {
        let site = Site::new().await;
        let rig = site.plan(challenge, &[HOST, ALIAS]).start().await;
        // The authority waits for the route: until then there is no certificate.
        assert_eq!(rig.get(MAP).await.status, 200, "other listeners serve");
        assert!(site.connect(&rig, HOST).await.is_none());
        let none = "geofront_tls_handshakes_total{outcome=\"no-certificate\"} 1";
        rig.metrics_with(none).await;
        until_trouble(&rig, "no client can connect before it is there").await;

        site.authority.route_to(route(&rig));
        let mut client = site.connect_soon(&rig, HOST).await;
        assert_eq!(client.get(MAP).await.unwrap().status, 200, "{challenge}");
        assert!(site.connect(&rig, ALIAS).await.is_some());
        rig.metrics_with("geofront_acme_orders_total{outcome=\"issued\"} 1")
            .await;
        rig.until("no trouble is left", |rig| troubles(rig).is_empty())
            .await;
        for name in ["account.json", "public.pem", "attempts.json"] {
            assert_eq!(mode(&site.file(name)), 0o600, "{name}");
        }
        assert_eq!(mode(&site.folder()), 0o700);
        assert!(!site.file("challenges.json").exists());
        assert_eq!((site.authority.orders(), site.authority.accounts()), (1, 1));
        if challenge == "tls-alpn-01" {
            let verified = "geofront_tls_handshakes_total{outcome=\"acme\"} 2";
            rig.metrics_with(verified).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_orders_nothing_and_serves_at_once() {
    let site = Site::new().await;
    let first = site.start("http-01").await;
    let served = presented(&site.connect_soon(&first, HOST).await);
    first
        .metrics_with("geofront_acme_orders_total{outcome=\"issued\"} 1")
        .await;
    first.app.stop().await;
    let requests = site.authority.requests();

    let second = site.start("http-01").await;
    let client = site
        .connect(&second, HOST)
        .await
        .expect("the certificate is there");
    assert_eq!(presented(&client), served);
    // The expiry is reported by the check that would begin an order.
    second
        .metrics_with("geofront_certificate_expiry_seconds{listener=\"public\"")
        .await;
    assert_eq!(site.authority.requests(), requests);
    assert!(troubles(&second).is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_is_renewed_with_a_third_of_its_life_left_and_no_connection_notices() {
    let site = Site::new().await;
    let old = site.authority.issue(&[HOST, ALIAS], 61, 29);
    site.put("public.pem", &old);
    let rig = site.plan("http-01", &[HOST, ALIAS]).start().await;
    let mut before = site.connect(&rig, HOST).await.expect("the old one serves");
    site.authority.route_to(route(&rig));
    let deadline = Instant::now() + PATIENCE;
    loop {
        let client = site.connect(&rig, HOST).await.expect("there always is one");
        if presented(&client) != presented(&before) {
            break;
        }
        assert!(Instant::now() < deadline, "{:?}", troubles(&rig));
    }
    assert_eq!(before.get(MAP).await.unwrap().status, 200);
    assert_eq!(site.authority.orders(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_young_certificate_is_not_renewed_and_another_name_is_ordered() {
    let site = Site::new().await;
    site.put("public.pem", &site.authority.issue(&[HOST], 50, 40));
    let rig = site.plan("http-01", &[HOST]).start().await;
    site.authority.route_to(route(&rig));
    rig.metrics_with("geofront_certificate_expiry_seconds{listener=\"public\"")
        .await;
    assert_eq!(site.authority.requests(), 0);

    let both = format!("acme = {:?}", [HOST, ALIAS]);
    rig.write_config(&rig.config().replace(&format!("acme = {:?}", [HOST]), &both));
    site.connect_soon(&rig, ALIAS).await;
    assert_eq!(site.authority.orders(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_difficult_authority_is_a_condition_with_its_words_and_is_left_alone_for_a_while() {
    let cases = [
        (
            Mood::Refuses("rejectedIdentifier", "this name is on a list", None),
            "this name is on a list (rejectedIdentifier)",
            "refused",
            5 * 60,
        ),
        (
            Mood::Refuses("rateLimited", "too many certificates", Some("7200")),
            "too many certificates (rateLimited)",
            "rate-limited",
            7200,
        ),
        (
            Mood::Refuses("rateLimited", "slower", None),
            "slower (rateLimited)",
            "rate-limited",
            60 * 60,
        ),
        (Mood::Babbles, "JSON", "bad-answer", 5 * 60),
        (
            Mood::IssuesForOthers,
            "it is not for maps.example.org",
            "bad-answer",
            5 * 60,
        ),
        (Mood::IssuesExpired, "it has expired", "bad-answer", 5 * 60),
    ];
    for (mood, words, outcome, wait) in cases {
        let site = Site::new().await;
        site.authority.set_mood(mood.clone());
        let rig = site.start("http-01").await;
        until_trouble(&rig, words).await;
        let counted = format!("geofront_acme_orders_total{{outcome=\"{outcome}\"}} 1");
        rig.metrics_with(&counted).await;
        let next = next_attempt(&site);
        assert!(
            (wait - 30..=wait + wait / 5).contains(&next),
            "{mood:?}: {next} s"
        );
        assert!(!site.file("public.pem").exists(), "{mood:?}");
        assert!(!site.file("challenges.json").exists(), "{mood:?}");
        assert_eq!(rig.get(MAP).await.status, 200);

        // A restart does not try again before its time.
        rig.app.stop().await;
        let requests = site.authority.requests();
        let rig = site.start("http-01").await;
        until_trouble(&rig, words).await;
        assert_eq!(site.authority.requests(), requests, "{mood:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_settings_are_tried_at_once() {
    let site = Site::new().await;
    site.authority
        .set_mood(Mood::Refuses("rejectedIdentifier", "no", None));
    let rig = site.start("http-01").await;
    until_trouble(&rig, "rejectedIdentifier").await;
    site.authority.set_mood(Mood::Good);
    let config = rig.config();
    rig.write_config(&config.replace("challenge = \"http-01\"", "challenge = \"tls-alpn-01\""));
    site.connect_soon(&rig, HOST).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_leads_elsewhere_is_reported_in_the_words_of_the_authority() {
    let site = Site::new().await;
    let rig = site.plan("http-01", &[HOST]).start().await;
    let elsewhere: SocketAddr = rig.app.admin;
    site.authority.route_to(Route {
        http: elsewhere,
        tls: elsewhere,
    });
    until_trouble(
        &rig,
        "the authority could not verify maps.example.org: the answer of",
    )
    .await;
    until_trouble(&rig, "let the name point to this machine").await;
    assert!(next_attempt(&site) > 4 * 60);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_authority_that_is_down_at_the_start_is_asked_again_soon() {
    let mut site = Site::new().await;
    let plan = site.plan("http-01", &[HOST]);
    let address = site.authority.address;
    let roots = site.authority.pem().to_owned();
    drop(std::mem::replace(
        &mut site.authority,
        Authority::start().await,
    ));
    let rig = plan.start().await;
    until_trouble(&rig, "connection refused").await;
    assert_eq!(rig.get(MAP).await.status, 200);
    assert!(next_attempt(&site) <= 6);

    // Another authority listens there now, which is not trusted at first.
    site.authority = Authority::start_at(address).await;
    site.authority.route_to(route(&rig));
    until_trouble(&rig, "certificate").await;
    let ca = site.folder.path().join("ca.pem");
    std::fs::write(&ca, format!("{roots}{}", site.authority.pem())).unwrap();
    site.connect_soon(&rig, HOST).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn torn_files_and_a_forgotten_account_end_in_a_new_order() {
    let site = Site::new().await;
    let first = site.start("http-01").await;
    site.connect_soon(&first, HOST).await;
    first
        .metrics_with("geofront_acme_orders_total{outcome=\"issued\"} 1")
        .await;
    first.app.stop().await;
    for name in ["account.json", "public.pem", "attempts.json"] {
        let whole = std::fs::read(site.file(name)).unwrap();
        std::fs::write(site.file(name), &whole[..whole.len() / 2]).unwrap();
    }
    let second = site.start("http-01").await;
    site.connect_soon(&second, HOST).await;
    assert_eq!((site.authority.orders(), site.authority.accounts()), (2, 2));
    second
        .metrics_with("geofront_acme_orders_total{outcome=\"issued\"} 1")
        .await;
    second.app.stop().await;

    site.authority.forget_accounts();
    std::fs::remove_file(site.file("public.pem")).unwrap();
    std::fs::remove_file(site.file("attempts.json")).unwrap();
    let third = site.start("http-01").await;
    site.connect_soon(&third, HOST).await;
    assert_eq!((site.authority.orders(), site.authority.accounts()), (3, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_order_once_and_either_answers_the_challenge() {
    let site = Site::new().await;
    let plan = site.plan("http-01", &[HOST, ALIAS]);
    let (one, two) = tokio::join!(plan.clone().start(), plan.start());
    rig_that_waits(&one, &two).await;
    // One of the two has ordered. The authority connects to both, a challenge each.
    site.authority.route_to(Route {
        http: one.address(),
        tls: one.listener("public"),
    });
    let first = site.connect_soon(&one, HOST).await;
    let second = site.connect_soon(&two, HOST).await;
    assert_eq!(presented(&first), presented(&second));
    assert_eq!((site.authority.orders(), site.authority.accounts()), (1, 1));
}

/// Waits until both have looked for an order.
async fn rig_that_waits(one: &Rig, two: &Rig) {
    for rig in [one, two] {
        until_trouble(rig, "no client can connect before it is there").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_get_requests_with_a_token_of_ours_are_answered_and_all_others_go_on_as_before() {
    let site = Site::new().await;
    site.put("public.pem", &site.authority.issue(&[HOST], 0, 90));
    let plain = "[listeners.plain]\naddress = \"127.0.0.1:0\"\nhttps_redirect = 443\n";
    let rig = site.plan("http-01", &[HOST]).with(plain).start().await;
    let ours = PendingChallenge {
        domain: HOST.to_owned(),
        token: "a-token_1".to_owned(),
        key_authorization: "a-token_1.thumbprint".to_owned(),
        digest: String::new(),
    };
    let path = |token: &str| format!("/.well-known/acme-challenge/{token}");
    let before = rig.get(&path("a-token_1")).await;
    challenges::publish(&site.folder(), &[ours]).unwrap();

    for address in [rig.address(), rig.listener("plain")] {
        let mut client = Client::connect(address).await.unwrap();
        let answer = client.get(&path("a-token_1")).await.unwrap();
        assert_eq!(
            (answer.status, answer.text().as_str()),
            (200, "a-token_1.thumbprint")
        );
        assert_eq!(
            answer.header("content-type"),
            Some("application/octet-stream")
        );
    }
    for token in ["", "a-token", "a-token_12", "a-token_1?x", "a-token_1/"] {
        let answer = rig.get(&path(token)).await;
        assert_eq!(answer.status, before.status, "{token}");
        let mut client = Client::connect(rig.listener("plain")).await.unwrap();
        assert_eq!(
            client.get(&path(token)).await.unwrap().status,
            301,
            "{token}"
        );
    }
    for method in ["HEAD", "POST", "PUT"] {
        let request = get(&path("a-token_1")).replacen("GET", method, 1);
        let mut client = Client::connect(rig.listener("plain")).await.unwrap();
        client.send(request.as_bytes()).await.unwrap();
        let status = client.head().await.unwrap().status;
        assert_eq!(status, if method == "HEAD" { 301 } else { 308 }, "{method}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handshake_for_a_challenge_without_an_order_of_ours_fails() {
    let site = Site::new().await;
    site.put("public.pem", &site.authority.issue(&[HOST], 0, 90));
    let rig = site.plan("tls-alpn-01", &[HOST]).start().await;
    let handshake = async |protocols: &[&[u8]]| {
        let connector = TlsConnector::from(AnyCertificate::client(protocols));
        let stream = TcpStream::connect(rig.listener("public")).await.unwrap();
        connector.connect(HOST.try_into().unwrap(), stream).await
    };
    assert!(handshake(&[b"acme-tls/1"]).await.is_err());
    // Clients that offer more are clients.
    let stream = handshake(&[b"acme-tls/1", b"http/1.1"]).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    let mut client = Client::over(stream);
    assert_eq!(client.get(MAP).await.unwrap().status, 200);
}
