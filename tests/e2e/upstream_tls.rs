//! GeoServers that are reached by https.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use geofront::cluster::HealthState;
use geofront::geosim::{Behaviour, DataDirectory, Fault, Instance};
use geofront::ogc::RequestClass;
use parking_lot::Mutex;
use rustls::ServerConfig;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::framing::exchange_over_websocket;
use super::requests::{MAP, TRANSACTION, WFS, XML};
use super::rig::{Plan, Rig};
use super::tls_client::{Authority, Files};

/// The name in the certificates of all GeoServers.
const NAME: &str = "geoserver.internal";

/// What a GeoServer presents, and the names that were requested from it.
#[derive(Debug)]
struct Presented {
    pair: ArcSwap<CertifiedKey>,
    requested: Mutex<Vec<Option<String>>>,
}

impl Presented {
    fn of(files: &Files) -> Arc<Self> {
        Arc::new(Self {
            pair: ArcSwap::new(certified(files)),
            requested: Mutex::default(),
        })
    }

    fn present(&self, files: &Files) {
        self.pair.store(certified(files));
    }

    /// A GeoServer that presents it. `clients` have signed the certificates that it requires.
    fn behaviour(self: &Arc<Self>, clients: Option<&Authority>) -> Behaviour {
        let provider = Arc::new(default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap();
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(authority) => {
                let roots = Arc::new(authority.roots());
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
                builder.with_client_cert_verifier(verifier.build().unwrap())
            }
        };
        let config = builder.with_cert_resolver(Arc::<Self>::clone(self));
        Behaviour {
            tls: Some(Arc::new(config)),
            ..Behaviour::default()
        }
    }
}

impl ResolvesServerCert for Presented {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name().map(str::to_owned);
        self.requested.lock().push(name);
        Some(self.pair.load_full())
    }
}

fn certified(files: &Files) -> Arc<CertifiedKey> {
    let chain = vec![CertificateDer::from_pem_file(&files.cert).unwrap()];
    let key = PrivateKeyDer::from_pem_file(&files.key).unwrap();
    Arc::new(CertifiedKey::from_der(chain, key, &default_provider()).unwrap())
}

/// `[geoserver]` with this authority and the name of all GeoServers.
fn trusting(authority: &Authority, more: &str) -> String {
    format!(
        "[geoserver]\nca = \"{}\"\nserver_name = \"{NAME}\"\n{more}\n",
        authority.file().display()
    )
}

fn https(name: &str, address: SocketAddr) -> String {
    format!("[upstreams.{name}]\nurl = \"https://{address}\"\n")
}

/// A web server that takes the beginning of TLS for a bad request.
async fn answers_plainly() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            // A client that is gone is none of this test's.
            stream.read_buf(&mut Vec::with_capacity(4096)).await.ok();
            let answer = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n";
            stream.write_all(answer).await.ok();
        }
    });
    address
}

/// The last cause of an upstream, in words.
fn cause(rig: &Rig, name: &str) -> String {
    let cause = rig.upstream(name).last_cause;
    cause.map(|cause| cause.to_string()).unwrap_or_default()
}

fn certificate_conditions(rig: &Rig) -> Vec<String> {
    let status = rig.app.control.status(std::time::Instant::now());
    let held = status.conditions.iter();
    held.filter(|held| held.condition.kind() == "certificate")
        .map(|held| held.condition.to_string())
        .collect()
}

/// "Our security officer wants no plain HTTP between the front door and GeoServer."
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_probes_and_reloads_all_go_by_https_to_the_name_that_is_configured() {
    let authority = Authority::new();
    let presented = Presented::of(&authority.sign("gs", &[NAME], 2999));
    let account = "headers = { sec-username = \"geofront\", sec-roles = \"ROLE_ADMINISTRATOR\" }";
    let rig = Plan::replicas(2)
        .behaving(presented.behaviour(None))
        .with(&trusting(&authority, account))
        .catalog("poll = \"100ms\"\nsettle = \"100ms\"")
        .start()
        .await;
    assert_eq!(rig.get(MAP).await.status, 200);
    assert_eq!(rig.post(WFS, XML, TRANSACTION).await.status, 200);
    assert_eq!(rig.main.received(RequestClass::Transaction), 1);
    rig.main.publish("geor:news");
    rig.until("every replica has the layer", |rig| {
        let mut replicas = rig.replicas.iter();
        replicas.all(|replica| replica.epoch() == rig.main.epoch())
    })
    .await;
    let requested = presented.requested.lock().clone();
    assert!(requested.iter().all(|name| name.as_deref() == Some(NAME)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_websocket_passes_by_https() {
    let authority = Authority::new();
    let presented = Presented::of(&authority.sign("gs", &[NAME], 2999));
    let rig = Plan::replicas(1)
        .behaving(presented.behaviour(None))
        .with(&trusting(&authority, ""))
        .start()
        .await;
    let raw = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nhello";
    for upstream in rig.replicas.iter().chain([&rig.main]) {
        upstream.suffers(Fault::Raw(raw).under("/geoserver/ws"));
    }
    for _ in 0..20 {
        exchange_over_websocket(&rig).await.unwrap();
    }
}

/// "One of our GeoServers got a wrong certificate, and all geofront said was `cannot connect`."
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_geoserver_with_a_wrong_certificate_is_down_with_that_cause() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let data = DataDirectory::new();
    let good = authority.sign("good", &[NAME], 2999);
    let other_name = authority.sign("name", &["other.internal"], 2999);
    let expired = authority.sign("expired", &[NAME], 2001);
    let future = authority.sign_for("future", &[NAME], 2998..=2999);
    let unknown = stranger.sign("gs", &[NAME], 2999);
    let start = |name: &str, files: &Files, clients: Option<&Authority>| {
        Instance::start(name, &data, Presented::of(files).behaviour(clients))
    };
    let plain = Instance::start("plain", &data, Behaviour::default());
    let wrong = [
        (
            start("unknown", &unknown, None),
            "cannot connect: its certificate is signed by an authority that is not trusted (`ca`)",
        ),
        (
            start("named", &other_name, None),
            "cannot connect: its certificate is not valid for geoserver.internal (`server_name`)",
        ),
        (
            start("expired", &expired, None),
            "cannot connect: its certificate has expired",
        ),
        (
            start("future", &future, None),
            "cannot connect: its certificate is not valid yet",
        ),
        (
            start("demanding", &good, Some(&stranger)),
            "cannot connect: it requires a client certificate (`client_cert`)",
        ),
        (plain, "timeout: no connection by TLS"),
    ];
    let tables: String = wrong
        .iter()
        .map(|(instance, _)| https(instance.name(), instance.address()))
        .collect();
    let refusing = answers_plainly().await;
    let rig = Plan::replicas(1)
        .with(&trusting(&authority, ""))
        .with(&tables)
        .with(&https("refusing", refusing))
        .start_cold()
        .await;
    rig.until("the good one is up", |rig| {
        rig.upstream("slave1").health == HealthState::Up
    })
    .await;
    for (instance, sentence) in &wrong {
        rig.until(sentence, |rig| {
            cause(rig, instance.name()) == *sentence
                && rig.upstream(instance.name()).health == HealthState::Down
        })
        .await;
    }
    rig.until("the plain port is recognised", |rig| {
        cause(rig, "refusing") == "cannot connect: it does not speak TLS"
    })
    .await;
    assert_eq!(rig.get(MAP).await.status, 200);

    // The authority of one is added to the file that all use, and another gets what it requires.
    let both = [&authority, &stranger].map(|some| std::fs::read_to_string(some.file()).unwrap());
    std::fs::write(authority.file(), both.concat()).unwrap();
    rig.until("the authority is trusted", |rig| {
        rig.upstream("unknown").health == HealthState::Up
    })
    .await;
    let own = stranger.sign("own", &["geofront"], 2999);
    let demanding = https("demanding", wrong[4].0.address());
    let client = format!(
        "{demanding}client_cert = \"{}\"\nclient_key = \"{}\"\n",
        own.cert.display(),
        own.key.display()
    );
    rig.write_config(&rig.config().replace(&demanding, &client));
    rig.until("the client certificate is accepted", |rig| {
        rig.upstream("demanding").health == HealthState::Up
    })
    .await;
}

/// "The key was renewed before its certificate, and the front door lost all GeoServers."
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_client_certificate_or_authority_keeps_the_old_one_and_is_reported() {
    let authority = Authority::new();
    let presented = Presented::of(&authority.sign("gs", &[NAME], 2999));
    let behaviour = Behaviour {
        // Every request needs a handshake.
        keep_alive_requests: Some(1),
        ..presented.behaviour(Some(&authority))
    };
    let own = authority.sign("own", &["geofront"], 2999);
    let client = format!(
        "client_cert = \"{}\"\nclient_key = \"{}\"",
        own.cert.display(),
        own.key.display()
    );
    let rig = Plan::replicas(1)
        .behaving(behaviour)
        .with(&trusting(&authority, &client))
        .start()
        .await;
    assert_eq!(rig.get(MAP).await.status, 200);
    let next = authority.sign("next", &["geofront"], 2999);
    std::fs::copy(&next.key, &own.key).unwrap();
    let good = std::fs::read(authority.file()).unwrap();
    std::fs::write(authority.file(), "nothing").unwrap();
    rig.until("both files are reported", |rig| {
        let said = certificate_conditions(rig).concat();
        said.contains("own.key does not belong to") && said.contains("ca.pem: it holds no")
    })
    .await;
    assert_eq!(rig.get(MAP).await.status, 200);

    // The rest of the configuration can still be edited.
    let edited = rig
        .config()
        .replace("interval = \"100ms\"", "interval = \"90ms\"");
    rig.write_config(&edited);
    rig.until("the edit is in force", |rig| {
        let config = &rig.app.control.snapshot_full().config;
        config.health.interval == Duration::from_millis(90)
    })
    .await;
    let probes = presented.requested.lock().len() + 20;
    rig.until("new connections succeed", |_| {
        presented.requested.lock().len() > probes
    })
    .await;
    assert_eq!(rig.upstream("slave1").health, HealthState::Up);

    std::fs::write(authority.file(), good).unwrap();
    std::fs::copy(&next.cert, &own.cert).unwrap();
    rig.until("the trouble is over", |rig| {
        certificate_conditions(rig).is_empty()
    })
    .await;
    assert_eq!(rig.get(MAP).await.status, 200);
}

/// "A certificate expired at noon, and our users saw errors until the next probe."
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_that_turns_wrong_between_two_probes_costs_no_client_an_answer() {
    let authority = Authority::new();
    let presented = Presented::of(&authority.sign("gs", &[NAME], 2999));
    let behaviour = Behaviour {
        keep_alive_requests: Some(1),
        ..presented.behaviour(None)
    };
    let second = Instance::start("slave2", &DataDirectory::new(), behaviour);
    let rig = Plan::replicas(1)
        .with(&trusting(&authority, ""))
        .with(&https("slave2", second.address()))
        .health("interval = \"10m\"")
        .start()
        .await;
    for _ in 0..10 {
        assert_eq!(rig.get(MAP).await.status, 200);
    }
    assert!(second.received(RequestClass::Map) > 2, "it has its share");
    presented.present(&authority.sign("gs", &[NAME], 2001));
    for _ in 0..10 {
        assert_eq!(rig.get(MAP).await.status, 200);
    }
    rig.metrics_with(
        "geofront_retries_total{class=\"map\",upstream=\"slave2\",reason=\"connect\"}",
    )
    .await;
    assert_eq!(
        cause(&rig, "slave2"),
        "cannot connect: its certificate has expired"
    );
}
