//! Clients that send requests without pause and check every answer.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

use super::client::{Answer, Client};
use super::rig::PATIENCE;

/// Wrong answers remembered for the test's message.
const REMEMBERED: usize = 5;

/// The results of the requests.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) requests: u64,
    pub(crate) failures: u64,
    /// The first few.
    pub(crate) what: Vec<String>,
}

/// See the module's documentation.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    asked: Arc<AtomicU64>,
    clients: Vec<JoinHandle<Tally>>,
}

impl Load {
    /// Starts `clients` concurrent clients that request `targets` in turn, each on a connection
    /// that it keeps as long as it may.
    pub(crate) fn start(
        address: SocketAddr,
        clients: usize,
        targets: &'static [&'static str],
    ) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let asked = Arc::new(AtomicU64::new(0));
        let client = |first| {
            tokio::spawn(ask(
                address,
                targets,
                first,
                Arc::clone(&stop),
                Arc::clone(&asked),
            ))
        };
        let clients = (0..clients).map(client).collect();
        Self {
            stop,
            asked,
            clients,
        }
    }

    /// Waits until so many more requests were answered.
    pub(crate) async fn goes_on_for(&self, requests: u64) {
        let goal = self.asked.load(Ordering::Relaxed) + requests;
        let deadline = Instant::now() + PATIENCE * 3;
        while self.asked.load(Ordering::Relaxed) < goal {
            assert!(Instant::now() < deadline, "the load has come to a halt");
            drop(
                tokio::time::timeout(Duration::from_millis(2), std::future::pending::<()>()).await,
            );
        }
    }

    pub(crate) async fn stop(self) -> Tally {
        self.stop.store(true, Ordering::Relaxed);
        let mut total = Tally::default();
        for client in self.clients {
            let tally = client.await.expect("a client does not panic");
            total.requests += tally.requests;
            total.failures += tally.failures;
            total.what.extend(tally.what);
        }
        total.what.truncate(REMEMBERED);
        total
    }
}

async fn ask(
    address: SocketAddr,
    targets: &'static [&'static str],
    first: usize,
    stop: Arc<AtomicBool>,
    asked: Arc<AtomicU64>,
) -> Tally {
    let mut tally = Tally::default();
    let mut kept: Option<Client> = None;
    for target in targets.iter().cycle().skip(first) {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let answer = one(address, target, &mut kept).await;
        tally.requests += 1;
        asked.fetch_add(1, Ordering::Relaxed);
        if let Err(wrong) = answer {
            tally.failures += 1;
            if tally.what.len() < REMEMBERED {
                tally.what.push(format!("{target}: {wrong}"));
            }
        }
    }
    tally
}

async fn one(address: SocketAddr, target: &str, kept: &mut Option<Client>) -> Result<(), String> {
    let mut client = match kept.take() {
        Some(client) => client,
        None => Client::connect(address)
            .await
            .map_err(|error| format!("connect: {error}"))?,
    };
    let answer = client
        .get(target)
        .await
        .map_err(|error| error.to_string())?;
    if answer.is_complete
        && answer
            .header("connection")
            .is_none_or(|value| !value.eq_ignore_ascii_case("close"))
    {
        *kept = Some(client);
    }
    check(target, &answer)
}

/// Checks that an answer is the one that a working cluster gives to the requests of these tests.
fn check(target: &str, answer: &Answer) -> Result<(), String> {
    let text = || answer.text().chars().take(400).collect::<String>();
    if answer.status != 200 {
        return Err(format!("status {}: {}", answer.status, text()));
    }
    if !answer.is_complete {
        return Err("cut off".to_owned());
    }
    let is_right = if target.contains("GetMap") || target.contains("GetTile") {
        answer.body.starts_with(b"\x89PNG\r\n\x1a\n") && answer.body.ends_with(b"IEND\xaeB`\x82")
    } else {
        // An empty catalog is a valid document.
        !answer.text().contains("ExceptionReport") && answer.text().contains("public_layer")
    };
    if is_right {
        Ok(())
    } else {
        Err(format!("not what was asked for: {}", text()))
    }
}
