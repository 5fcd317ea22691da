//! Sockets that a parent opened and passes on, as systemd does: a restart refuses no connection.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use geofront::ogc::RequestClass;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::binary::{Process, until};
use super::client::Client;
use super::process::{Cluster, map_status};
use super::requests::{MAP, WFS, get_feature_of_size};
use super::rig::PATIENCE;

/// Clients that send one request after the other, each on a connection of its own.
const CLIENTS: usize = 8;

/// Longest time for one round of the long test.
const ROUND: Duration = Duration::from_secs(600);

/// A cluster and the sockets of its front door.
struct Activated {
    cluster: Cluster,
    listen: TcpListener,
    admin: TcpListener,
}

impl Activated {
    fn new() -> Self {
        let bind = || TcpListener::bind("127.0.0.1:0").unwrap();
        let (cluster, listen, admin) = (Cluster::new(), bind(), bind());
        let activated = Self {
            cluster,
            listen,
            admin,
        };
        activated.configure("");
        activated
    }

    fn configure(&self, more: &str) {
        let text = |socket: &TcpListener| socket.local_addr().unwrap().to_string();
        let (listen, admin) = (text(&self.listen), text(&self.admin));
        self.cluster.configure_on(&listen, &admin, more);
    }

    fn address(&self) -> SocketAddr {
        self.listen.local_addr().unwrap()
    }

    async fn start(&self) -> Process {
        let sockets = [self.listen.as_fd(), self.admin.as_fd()];
        let process = Process::start_with_sockets(self.cluster.folder.path(), &sockets).await;
        process.until_eligible("slave1").await;
        process
    }

    /// Waits until it has ended by itself.
    async fn stop(&self, process: Process) {
        process.signal("TERM").await;
        ended(process).await;
    }
}

async fn ended(mut process: Process) {
    let ended = timeout(PATIENCE, process.child.wait()).await;
    assert!(ended.expect("it stops").unwrap().success());
}

/// The clients, and what became of their requests.
#[derive(Clone, Debug, Default)]
struct Load {
    is_over: Arc<AtomicBool>,
    served: Arc<AtomicUsize>,
    slowest: Arc<AtomicU64>,
}

impl Load {
    /// Returns the first request that was not answered.
    async fn run(self, address: SocketAddr) -> Option<String> {
        while !self.is_over.load(Ordering::Relaxed) {
            let began = Instant::now();
            let answered = async { Client::connect(address).await?.get(MAP).await };
            match timeout(PATIENCE, answered).await {
                Ok(Ok(answer)) if answer.status == 200 && answer.is_complete => {}
                failed => return Some(format!("{failed:?}")),
            }
            let took = began.elapsed().as_millis() as u64;
            self.slowest.fetch_max(took, Ordering::Relaxed);
            self.served.fetch_add(1, Ordering::Relaxed);
        }
        None
    }

    async fn until_served(&self, more: usize) {
        let wanted = self.served.load(Ordering::Relaxed) + more;
        let served = async {
            while self.served.load(Ordering::Relaxed) < wanted {
                tokio::task::yield_now().await;
            }
        };
        timeout(ROUND, served).await.expect("requests are served");
    }
}

/// Restarts under load. In every second one, the new process starts while the old one still ends.
/// Returns the load, of which no request failed.
async fn restarts_under_load(restarts: usize, between: usize) -> Load {
    let activated = Activated::new();
    let load = Load::default();
    let mut process = activated.start().await;
    let mut clients: JoinSet<_> = (0..CLIENTS)
        .map(|_| load.clone().run(activated.address()))
        .collect();
    for restart in 0..restarts {
        load.until_served(between).await;
        if restart % 2 == 0 {
            activated.stop(process).await;
            process = activated.start().await;
        } else {
            let old = process;
            old.signal("TERM").await;
            process = activated.start().await;
            ended(old).await;
        }
    }
    load.until_served(between).await;
    load.is_over.store(true, Ordering::Relaxed);
    while let Some(failed) = clients.join_next().await {
        assert_eq!(failed.unwrap(), None);
    }
    load
}

/// "Every upgrade of the package costs our users some errors."
///
/// `make soak` runs it at length.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restarts_under_load_refuse_and_lose_no_request() {
    let number =
        |name, default: usize| std::env::var(name).map_or(default, |text| text.parse().unwrap());
    let (restarts, requests) = (
        number("SOAK_RESTARTS", 4),
        number("SOAK_RESTART_REQUESTS", 200),
    );
    let began = Instant::now();
    let load = restarts_under_load(restarts, requests.div_ceil(restarts + 1)).await;
    let served = load.served.load(Ordering::Relaxed);
    println!(
        "{restarts} restarts, {served} requests in {:?}, none refused and none lost; the slowest took {} ms",
        began.elapsed(),
        load.slowest.load(Ordering::Relaxed)
    );
    assert!(served >= requests, "{served}");
}

/// "We restarted geofront during a long upload, and two processes reloaded our GeoServers."
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_old_process_finishes_its_requests_the_new_one_serves_and_one_reloads_catalogs() {
    let activated = Activated::new();
    let (folder, main) = (activated.cluster.folder.path(), &activated.cluster.main);
    let replica = &activated.cluster.replica;
    activated.configure(&format!(
        "[catalog]\npoll = \"100ms\"\nsettle = \"100ms\"\nstate_file = \"{}\"\n\
         [geoserver]\nheaders = {{ sec-username = \"geofront\", sec-roles = \"ROLE_ADMINISTRATOR\" }}\n",
        folder.join("state.json").display()
    ));
    let mut old = activated.start().await;
    // The old process waits for the body of this request.
    let body = get_feature_of_size(4096);
    let (first, rest) = body.split_at(100);
    let head = format!(
        "POST {WFS} HTTP/1.1\r\nHost: a\r\nContent-Type: text/xml\r\nContent-Length: {}\r\nExpect: 100-continue\r\n\r\n",
        body.len()
    );
    let mut client = Client::connect(activated.address()).await.unwrap();
    client.send(head.as_bytes()).await.unwrap();
    assert_eq!(client.interim().await.unwrap(), 100);
    client.send(first).await.unwrap();
    old.signal("TERM").await;

    let new = activated.start().await;
    assert_eq!(map_status(&new).await, 200);
    main.publish("geor:news");
    let reads = || main.received(RequestClass::Capabilities);
    let before = reads();
    until("the change was read again and again", || {
        (reads() > before + 20).then_some(())
    })
    .await;
    assert_eq!(replica.control().catalog_reloads(), 0);
    let condition = &new.status().await["conditions"][0]["kind"];
    assert_eq!(condition, "other-process");
    assert!(old.child.try_wait().unwrap().is_none(), "it still runs");

    client.send(rest).await.unwrap();
    let answer = client.answer().await.unwrap();
    assert!(answer.status == 200 && answer.is_complete, "{answer:?}");
    ended(old).await;
    until("the replica has the layer", || {
        (replica.epoch() == main.epoch()).then_some(())
    })
    .await;
    assert_eq!(replica.control().catalog_reloads(), 1);
    assert!(
        new.status().await["conditions"]
            .as_array()
            .unwrap()
            .is_empty()
    );
}

/// "We moved geofront to another port and forgot the socket unit; nothing said so."
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_passed_socket_of_another_address_is_reported_and_the_configured_one_is_served() {
    let activated = Activated::new();
    activated.cluster.configure("");
    let process = activated.start().await;
    assert_ne!(process.listen, activated.address());
    assert_eq!(map_status(&process).await, 200);
    let log = Process::log(activated.cluster.folder.path());
    assert!(
        log.contains(&format!("address={}", activated.address())),
        "{log}"
    );
}

/// A client has connected just before the stop, and sends its request after it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_was_accepted_before_the_stop_is_served() {
    let activated = Activated::new();
    let process = activated.start().await;
    let mut client = Client::connect(activated.address()).await.unwrap();
    client.send(b"GET ").await.unwrap();
    assert_eq!(
        map_status(&process).await,
        200,
        "the connection is accepted"
    );
    process.signal("TERM").await;
    until("the listener is closed", || {
        let log = Process::log(activated.cluster.folder.path());
        log.contains("Shutting down").then_some(())
    })
    .await;
    let rest = format!("{MAP} HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.request(rest.as_bytes()).await.unwrap().status, 200);
}
