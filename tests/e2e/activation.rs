//! Sockets that a parent opened and passes on, as systemd does: a restart refuses no connection.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::task::JoinSet;
use tokio::time::timeout;

use super::binary::Process;
use super::client::Client;
use super::process::{Cluster, map_status};
use super::requests::MAP;
use super::rig::PATIENCE;

/// Restarts under load.
const RESTARTS: usize = 4;

/// Clients that send one request after the other, each on a connection of its own.
const CLIENTS: usize = 8;

/// Requests that must have ended between two restarts.
const BETWEEN: usize = 40;

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
        let text = |socket: &TcpListener| socket.local_addr().unwrap().to_string();
        cluster.configure_on(&text(&listen), &text(&admin), "");
        Self {
            cluster,
            listen,
            admin,
        }
    }

    fn address(&self) -> SocketAddr {
        self.listen.local_addr().unwrap()
    }

    async fn start(&self) -> Process {
        let sockets = [&self.listen, &self.admin];
        let process = Process::start_with_sockets(self.cluster.folder.path(), &sockets).await;
        process.until_eligible("slave1").await;
        process
    }

    /// Waits until it has ended by itself.
    async fn stop(&self, mut process: Process) {
        process.signal("TERM").await;
        let ended = timeout(PATIENCE, process.child.wait()).await;
        assert!(ended.expect("it stops").unwrap().success());
    }
}

/// The clients, and what became of their requests.
#[derive(Clone, Debug, Default)]
struct Load {
    is_over: Arc<AtomicBool>,
    served: Arc<AtomicUsize>,
}

impl Load {
    /// Returns the first request that was not answered.
    async fn run(self, address: SocketAddr) -> Option<String> {
        while !self.is_over.load(Ordering::Relaxed) {
            let answered = async { Client::connect(address).await?.get(MAP).await };
            match timeout(PATIENCE, answered).await {
                Ok(Ok(answer)) if answer.status == 200 && answer.is_complete => {}
                failed => return Some(format!("{failed:?}")),
            }
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
        timeout(PATIENCE, served)
            .await
            .expect("requests are served");
    }
}

/// "Every upgrade of the package costs our users some errors."
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restarts_under_load_refuse_and_lose_no_request() {
    let activated = Activated::new();
    let load = Load::default();
    let mut process = activated.start().await;
    let mut clients: JoinSet<_> = (0..CLIENTS)
        .map(|_| load.clone().run(activated.address()))
        .collect();
    for _ in 0..RESTARTS {
        load.until_served(BETWEEN).await;
        activated.stop(process).await;
        process = activated.start().await;
    }
    load.until_served(BETWEEN).await;
    load.is_over.store(true, Ordering::Relaxed);
    while let Some(failed) = clients.join_next().await {
        assert_eq!(failed.unwrap(), None);
    }
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
    let ready = || async { process.admin_get("/readyz").await.status };
    while timeout(PATIENCE, ready())
        .await
        .is_ok_and(|status| status == 200)
    {}
    let rest = format!("{MAP} HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.request(rest.as_bytes()).await.unwrap().status, 200);
}
