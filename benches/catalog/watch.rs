//! Looks into the replicas, not at what anybody says of them: when each reloaded, and since when all know the last change.

use std::io;
use std::time::{Duration, Instant};

use geofront::geosim::{Cluster, Instance};
use tokio::time::sleep;

/// Between two looks.
const STEP: Duration = Duration::from_millis(3);

/// One replica's reload.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reload {
    pub(crate) began: Duration,
    pub(crate) ended: Duration,
}

/// A change on its way to all replicas. Times are from the moment the last write was confirmed.
#[derive(Clone, Debug)]
pub(crate) struct Roll {
    pub(crate) confirmed: Instant,
    /// In order.
    pub(crate) reloads: Vec<Reload>,
    /// Until every replica had it.
    pub(crate) fresh_after: Duration,
}

/// Whether every replica knows everything that the main knows.
pub(crate) fn is_fresh(cluster: &Cluster) -> bool {
    let epoch = cluster.main().epoch();
    cluster.replicas().iter().all(|replica| replica.epoch() == epoch && !replica.control().is_reloading())
}

/// Watches from now until all are fresh; an error when that takes longer than `patience`.
pub(crate) async fn roll(cluster: &Cluster, confirmed: Instant, patience: Duration) -> io::Result<Roll> {
    let mut open: Vec<Option<Duration>> = vec![None; cluster.replicas().len()];
    let mut reloads = Vec::new();
    loop {
        let now = confirmed.elapsed();
        for (replica, began) in cluster.replicas().iter().zip(&mut open) {
            note(replica, began, &mut reloads, now);
        }
        if is_fresh(cluster) {
            return Ok(Roll { confirmed, reloads, fresh_after: now });
        }
        if now > patience {
            let epochs: Vec<String> = cluster.instances().map(|i| format!("{} {:?}", i.name(), i.epoch())).collect();
            return Err(io::Error::other(format!("not fresh after {patience:?}; edits known: {}", epochs.join(", "))));
        }
        sleep(STEP).await;
    }
}

fn note(replica: &Instance, began: &mut Option<Duration>, reloads: &mut Vec<Reload>, now: Duration) {
    match (replica.control().is_reloading(), *began) {
        (true, None) => *began = Some(now),
        (false, Some(start)) => {
            reloads.push(Reload { began: start, ended: now });
            *began = None;
        }
        (true, Some(_)) | (false, None) => {}
    }
}

/// Catalog reloads of each replica so far.
pub(crate) fn reloads(cluster: &Cluster) -> Vec<u64> {
    cluster.replicas().iter().map(|replica| replica.control().catalog_reloads()).collect()
}
