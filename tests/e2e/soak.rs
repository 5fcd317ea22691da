//! Many requests and injected faults, through the real binary: memory and descriptors stay flat.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use geofront::hash::SplitMix64;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::binary::{Process, tick};
use super::client::{Client, get};
use super::process::Cluster;
use super::requests::{FEATURES, MAP, TILE};
use super::rig::PATIENCE;

/// Clients at a time.
const CLIENTS: u64 = 16;

/// Growth of memory that is no leak: buffers and tables that reach their size.
const SLACK_KIB: u64 = 24 * 1024;

/// Descriptors more than before: idle connections to upstreams.
const SLACK_FILES: usize = 64;

/// One sample of the process.
#[derive(Clone, Copy, Debug)]
struct Sample {
    kib: u64,
    files: usize,
}

fn sample(process: &Process) -> Sample {
    let id = process.child.id().unwrap();
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kib = line.unwrap().split_whitespace().nth(1).unwrap();
    Sample {
        kib: kib.parse().unwrap(),
        files: std::fs::read_dir(format!("/proc/{id}/fd")).unwrap().count(),
    }
}

/// One client after the other, each kind of bad one now and then.
async fn client(address: SocketAddr, seed: u64, left: Arc<AtomicU64>, good: Arc<AtomicU64>) {
    let mut chance = SplitMix64::new(seed);
    let mut kept = None;
    let take = |left: u64| left.checked_sub(1);
    while left
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
        .is_ok()
    {
        let kind = chance.draw() % 100;
        if kind >= 10 {
            let target = [MAP, TILE, FEATURES][usize::from(kind >= 60) + usize::from(kind >= 97)];
            if request(&mut kept, address, target).await.is_ok() {
                good.fetch_add(1, Ordering::Relaxed);
            } else {
                kept = None;
            }
        } else if let Ok(mut stream) = TcpStream::connect(address).await {
            // The result of a bad client does not matter.
            drop(timeout(PATIENCE, misbehave(&mut stream, kind)).await);
        }
    }
}

async fn request(kept: &mut Option<Client>, address: SocketAddr, target: &str) -> io::Result<()> {
    let mut client = match kept.take() {
        Some(client) => client,
        None => Client::connect(address).await?,
    };
    let answer = client.get(target).await?;
    if answer.status != 200 || !answer.is_complete {
        return Err(io::Error::other(format!("{}", answer.status)));
    }
    if answer.header("connection") != Some("close") {
        *kept = Some(client);
    }
    Ok(())
}

async fn misbehave(stream: &mut TcpStream, kind: u64) -> io::Result<()> {
    match kind {
        // It goes away without waiting for the answer.
        0 | 1 => stream.write_all(get(MAP).as_bytes()).await,
        // It resets in the middle of the answer.
        2 | 3 => {
            stream.write_all(get(FEATURES).as_bytes()).await?;
            stream.read_u8().await?;
            stream.set_zero_linger()
        }
        // It sends what is no request, and reads the refusal.
        4 | 5 => {
            stream
                .write_all(b"\x16\x03\x01\x00 garbage \xff\r\n\r\n")
                .await?;
            stream.read_to_end(&mut Vec::new()).await.map(drop)
        }
        // It ends within the head, or within a body.
        6 => stream.write_all(&get(MAP).as_bytes()[..40]).await,
        7 => {
            let head = "POST /geoserver/wfs HTTP/1.1\r\nHost: a\r\nContent-Type: text/xml\r\nContent-Length: 5000\r\n\r\n<x";
            stream.write_all(head.as_bytes()).await
        }
        // It reads slowly.
        _ => {
            stream.write_all(get(FEATURES).as_bytes()).await?;
            for _ in 0..20 {
                stream.read_exact(&mut [0; 64]).await?;
                tick().await;
            }
            Ok(())
        }
    }
}

/// "After a month with our clients, geofront was killed for its memory."
///
/// `make soak` runs it with a million requests.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_and_descriptors_stay_flat_while_clients_abort_reset_and_send_garbage() {
    let wanted = std::env::var("SOAK_REQUESTS").map_or(2_000, |text| text.parse().unwrap());
    let cluster = Cluster::new();
    let process = cluster.start(None).await;
    let good = Arc::new(AtomicU64::new(0));
    let (began, start) = (Instant::now(), sample(&process));
    println!("start: {} KiB, {} descriptors", start.kib, start.files);
    let mut samples = Vec::new();
    for tenth in 1..=10 {
        let left = Arc::new(AtomicU64::new(wanted / 10));
        let mut clients: JoinSet<_> = (0..CLIENTS)
            .map(|number| {
                let seed = tenth * CLIENTS + number;
                client(process.listen, seed, Arc::clone(&left), Arc::clone(&good))
            })
            .collect();
        while clients.join_next().await.is_some() {}
        // The connections of the clients are closed, and those of the probes go on.
        let deadline = Instant::now() + PATIENCE;
        while sample(&process).files > start.files + SLACK_FILES && Instant::now() < deadline {
            tick().await;
        }
        let now = sample(&process);
        println!(
            "{tenth}0 %: {} KiB, {} descriptors, {} whole answers, {:?}",
            now.kib,
            now.files,
            good.load(Ordering::Relaxed),
            Duration::from_secs(began.elapsed().as_secs())
        );
        samples.push(now);
    }
    let last = samples[9];
    assert!(last.files <= start.files + SLACK_FILES, "{samples:?}");
    assert!(last.kib <= samples[1].kib + SLACK_KIB, "{samples:?}");
    let good = good.load(Ordering::Relaxed);
    assert!(good >= wanted * 85 / 100, "{good} of {wanted}");
}
