//! A listener on a unix socket: a web server on the same machine reaches geofront without a port.

use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use geofront::geosim::Fault;
use geofront::ogc::RequestClass;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;

use super::binary::Process;
use super::client::{Client, get};
use super::process::Cluster;
use super::requests::MAP;
use super::rig::{PATIENCE, Plan, Rig};
use super::tls_client::Authority;

/// A folder, and a socket in it.
struct Place {
    folder: tempfile::TempDir,
    socket: PathBuf,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("http.sock");
        Self { folder, socket }
    }

    /// The table of a listener.
    fn listener(&self, more: &str) -> String {
        let path = self.socket.display();
        format!("[listeners.local]\naddress = \"unix:{path}\"\n{more}\n")
    }

    async fn client(&self) -> Client<UnixStream> {
        Client::over(UnixStream::connect(&self.socket).await.unwrap())
    }

    async fn status(&self, request: &str) -> u16 {
        let mut client = self.client().await;
        client.request(request.as_bytes()).await.unwrap().status
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// A field of the last request that geofront passed on.
fn passed(rig: &Rig, field: &str) -> Option<String> {
    let all = rig.replicas.iter().flat_map(|replica| replica.requests());
    let last = all
        .filter(|request| request.header("via").is_some())
        .last()?;
    Some(last.header(field)?.to_owned())
}

fn forwarded_for(client: &str) -> String {
    format!(
        "GET {MAP} HTTP/1.1\r\nHost: maps.example.org\r\nX-Forwarded-For: {client}\r\nX-Forwarded-Proto: https\r\n\r\n"
    )
}

/// "nginx is on the same machine; why does every request go through TCP?"
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_over_a_unix_socket_are_served_like_any_other() {
    let place = Place::new();
    let log = place.folder.path().join("access.log");
    let rig = Plan::replicas(1)
        .with(&place.listener(""))
        .access_log(&log)
        .start()
        .await;
    assert_eq!(mode(&place.socket), 0o660);
    let mut client = place.client().await;
    for _ in 0..2 {
        let answer = client.get(MAP).await.unwrap();
        assert!(answer.status == 200 && answer.is_complete, "{answer:?}");
    }
    assert_eq!(
        passed(&rig, "x-forwarded-for").as_deref(),
        Some("127.0.0.1")
    );
    // A client of HTTP/1.0 need not name a host, and GeoServer's container requires one.
    assert_eq!(
        place.status(&format!("GET {MAP} HTTP/1.0\r\n\r\n")).await,
        200
    );
    assert_eq!(passed(&rig, "host").as_deref(), Some("localhost"));
    assert_eq!(place.status("GET  / HTTP/1.1\r\n\r\n").await, 400);
    rig.until("all lines are written", |_| {
        let lines = fs::read_to_string(&log).unwrap_or_default();
        lines.matches("client=127.0.0.1").count() == 4
    })
    .await;
}

/// A process that reaches the socket states addresses and users as one on 127.0.0.1 may.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_of_a_unix_socket_is_trusted_like_one_at_127_0_0_1() {
    for is_listed in [false, true] {
        let place = Place::new();
        let list = if is_listed { "127.0.0.1" } else { "127.0.0.2" };
        let rig = Plan::replicas(1)
            .top(&format!("trusted_proxies = \"{list}\""))
            .with(&place.listener(""))
            .start()
            .await;
        assert_eq!(place.status(&forwarded_for("192.0.2.7")).await, 200);
        let (chain, scheme) = if is_listed {
            ("192.0.2.7, 127.0.0.1", "https")
        } else {
            ("127.0.0.1", "http")
        };
        assert_eq!(passed(&rig, "x-forwarded-for").as_deref(), Some(chain));
        assert_eq!(passed(&rig, "x-forwarded-proto").as_deref(), Some(scheme));
    }
}

/// Only a proxy that states its clients' addresses may bring more of them than one address.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_clients_of_a_unix_socket_share_the_limits_of_one_address_unless_it_is_trusted() {
    for (top, expected) in [("", 503), ("trusted_proxies = \"127.0.0.1\"", 200)] {
        let place = Place::new();
        let rig = Plan::replicas(1)
            .top(top)
            .with(&place.listener(""))
            .with("[clients]\nmax_per_address = 1")
            .start()
            .await;
        let mut first = place.client().await;
        assert_eq!(first.get(MAP).await.unwrap().status, 200);
        let mut second = place.client().await;
        // A refused connection may be closed already, and then still has its answer.
        second.send(get(MAP).as_bytes()).await.ok();
        assert_eq!(second.answer().await.unwrap().status, expected, "{top}");
        drop(rig);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_balancer_states_its_clients_over_a_unix_socket_if_127_0_0_1_is_listed() {
    const HEADER: &str = "PROXY TCP4 192.0.2.7 10.0.0.2 40000 443\r\n";
    for (from, is_served) in [("127.0.0.1", true), ("192.0.2.1", false)] {
        let place = Place::new();
        let more = format!("proxy_protocol_from = \"{from}\"");
        let rig = Plan::replicas(1).with(&place.listener(&more)).start().await;
        let mut client = place.client().await;
        let request = format!("{HEADER}{}", get(MAP));
        let answer = client.request(request.as_bytes()).await;
        assert_eq!(answer.is_ok(), is_served, "{answer:?}");
        if is_served {
            assert_eq!(
                passed(&rig, "x-forwarded-for").as_deref(),
                Some("192.0.2.7")
            );
        }
    }
}

/// TLS and HTTP/2 without TLS are served there, too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_and_http2_work_over_a_unix_socket() {
    let authority = Authority::new();
    let files = authority.sign("maps", &["maps.example.org"], 2999);
    let (tls, plain) = (Place::new(), Place::new());
    let certificate = format!(
        "cert = \"{}\"\nkey = \"{}\"",
        files.cert.display(),
        files.key.display()
    );
    let second = plain.listener("http2 = true").replace("local", "plain");
    let rig = Plan::replicas(1)
        .with(&(tls.listener(&certificate) + &second))
        .start()
        .await;
    let stream = UnixStream::connect(&tls.socket).await.unwrap();
    let settings = authority.client(None);
    let mut client = settings.over(stream, "maps.example.org").await.unwrap();
    assert_eq!(client.get(MAP).await.unwrap().status, 200);
    assert_eq!(passed(&rig, "x-forwarded-proto").as_deref(), Some("https"));

    let stream = UnixStream::connect(&plain.socket).await.unwrap();
    let (mut requests, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(async move { connection.await.ok() });
    let request = http::Request::get(format!("http://maps.example.org{MAP}"));
    let (answer, _) = requests
        .send_request(request.body(()).unwrap(), true)
        .unwrap();
    assert_eq!(answer.await.unwrap().status(), 200);
}

/// "`nc -U -N` gets no answer": a client that sends no more may wait for its answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_closes_its_side_gets_its_answer_and_one_that_has_gone_ends_its_request() {
    let place = Place::new();
    let rig = Plan::replicas(1).with(&place.listener("")).start().await;
    let slow = Fault::Slow(Duration::from_millis(200));
    rig.replicas[0].suffers(slow.only(RequestClass::Map).times(1));
    let mut client = place.client().await;
    client.send(get(MAP).as_bytes()).await.unwrap();
    client.stream.shutdown().await.unwrap();
    let answer = client.answer().await.unwrap();
    assert!(answer.status == 200 && answer.is_complete, "{answer:?}");

    rig.replicas[0].suffers(Fault::Hang.only(RequestClass::Map));
    let mut client = place.client().await;
    client.send(get(MAP).as_bytes()).await.unwrap();
    rig.until("it waits", |rig| rig.in_flight() == 1).await;
    drop(client);
    rig.until("it is given up", |rig| rig.in_flight() == 0)
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_of_a_listener_on_a_unix_socket_take_effect_while_it_runs() {
    let place = Place::new();
    let rig = Plan::replicas(1).with(&place.listener("")).start().await;
    assert_eq!(place.status(&get(MAP)).await, 200);
    let config = rig
        .config()
        .replace(&place.listener(""), &place.listener("https_redirect = 443"));
    rig.write_config(&config);
    until_redirected(&place).await;
    // Another mode would need another socket.
    let config = config.replace("https_redirect", "socket_mode = \"0600\"\nhttps_redirect");
    rig.write_config(&config);
    let refused = rig.app.reload.reload(Instant::now());
    assert!(
        format!("{refused:?}").contains("socket_mode"),
        "{refused:?}"
    );
    assert_eq!(mode(&place.socket), 0o660);
}

async fn until_redirected(place: &Place) {
    let redirected = async { while place.status(&get(MAP)).await != 301 {} };
    tokio::time::timeout(PATIENCE, redirected).await.unwrap();
}

/// A cluster before whose geofront process there is a socket.
fn cluster_with_socket(more: &str) -> (Cluster, PathBuf) {
    let cluster = Cluster::new();
    let socket = cluster.folder.path().join("http.sock");
    let path = socket.display();
    cluster.configure(&format!(
        "[listeners.local]\naddress = \"unix:{path}\"\n{more}"
    ));
    (cluster, socket)
}

async fn map_over(socket: &Path) -> std::io::Result<u16> {
    let mut client = Client::over(UnixStream::connect(socket).await?);
    Ok(client.get(MAP).await?.status)
}

/// "After a power failure geofront did not start: the address was in use."
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_socket_that_a_killed_process_left_makes_way_and_the_end_removes_it() {
    let (cluster, socket) = cluster_with_socket("socket_mode = \"0606\"\n");
    let mut killed = cluster.start(None).await;
    assert_eq!(
        (mode(&socket), map_over(&socket).await.unwrap()),
        (0o606, 200)
    );
    killed.signal("KILL").await;
    killed.child.wait().await.unwrap();
    assert!(socket.exists(), "nothing could remove it");

    let mut next = cluster.start(None).await;
    assert_eq!(map_over(&socket).await.unwrap(), 200);
    next.signal("TERM").await;
    assert!(next.child.wait().await.unwrap().success());
    assert!(!socket.exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_removes_no_other_file_and_no_socket_of_a_running_process() {
    let (cluster, socket) = cluster_with_socket("");
    fs::write(&socket, "a letter").unwrap();
    let config = cluster.folder.path().join("geofront.toml");
    let run = async || {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_geofront"));
        command
            .args(["run", "--config"])
            .arg(&config)
            .kill_on_drop(true);
        let ended = tokio::time::timeout(PATIENCE, command.output()).await;
        ended.expect("it does not start").unwrap()
    };
    let failed = run().await;
    let text = String::from_utf8_lossy(&failed.stderr).into_owned();
    let named = format!("unix:{}", socket.display());
    assert!(
        !failed.status.success() && text.contains(&named) && text.contains("is not a socket"),
        "{text}"
    );
    assert_eq!(fs::read_to_string(&socket).unwrap(), "a letter");

    fs::remove_file(&socket).unwrap();
    let first = cluster.start(None).await;
    let failed = run().await;
    let text = String::from_utf8_lossy(&failed.stderr).into_owned();
    assert!(text.contains("another process listens on it"), "{text}");
    assert_eq!(map_over(&socket).await.unwrap(), 200);
    drop(first);
}

/// systemd opens the socket, and keeps it while geofront restarts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_passed_unix_socket_keeps_its_file_and_its_clients_over_a_restart() {
    let (cluster, socket) = cluster_with_socket("");
    let listener = UnixListener::bind(&socket).unwrap();
    let mode_before = mode(&socket);
    let start = async || {
        let process = Process::start_with_sockets(cluster.folder.path(), &[listener.as_fd()]).await;
        process.until_eligible("slave1").await;
        process
    };
    let mut old = start().await;
    assert_eq!(map_over(&socket).await.unwrap(), 200);
    old.signal("TERM").await;
    assert!(old.child.wait().await.unwrap().success());
    assert_eq!(mode(&socket), mode_before, "it is the service manager's");
    // Between the two, the kernel holds the connection.
    let waiting = tokio::spawn({
        let socket = socket.clone();
        async move { map_over(&socket).await }
    });
    let new = start().await;
    assert_eq!(waiting.await.unwrap().unwrap(), 200);
    let log = Process::log(cluster.folder.path());
    assert!(!log.contains("is not served"), "{log}");
    drop(new);
}
