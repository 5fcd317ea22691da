//! Observes the replicas directly: the time of each reload, and the time since when all have the
//! last change.

use std::io;
use std::time::{Duration, Instant};

use geofront::geosim::{Cluster, Controls, Instance};
use geofront::ogc::RequestClass;
use tokio::time::sleep;

/// Between two looks.
const STEP: Duration = Duration::from_millis(3);

/// One replica's reload.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reload {
    /// From the last request that the replica received before it, until all that it had were
    /// answered.
    pub(crate) drain: Duration,
    pub(crate) began: Duration,
    pub(crate) ended: Duration,
}

/// What was seen of a replica so far.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    requests: u64,
    last_request: Duration,
    last_busy: Duration,
    /// Since when it reloads, and the drain before that.
    reloading: Option<(Duration, Duration)>,
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

/// True if every replica has every edit that the main has.
pub(crate) fn is_fresh(cluster: &Cluster) -> bool {
    let epoch = cluster.main().epoch();
    cluster
        .replicas()
        .iter()
        .all(|replica| replica.epoch() == epoch && !replica.control().is_reloading())
}

/// Watches from now until all are fresh; an error when that takes longer than `patience`.
pub(crate) async fn roll(
    cluster: &Cluster,
    confirmed: Instant,
    patience: Duration,
) -> io::Result<Roll> {
    let mut seen = vec![Seen::default(); cluster.replicas().len()];
    let mut reloads = Vec::new();
    loop {
        let now = confirmed.elapsed();
        reloads.extend(
            cluster
                .replicas()
                .iter()
                .zip(&mut seen)
                .filter_map(|(replica, seen)| seen.look(replica, now)),
        );
        if is_fresh(cluster) {
            return Ok(Roll {
                confirmed,
                reloads,
                fresh_after: now,
            });
        }
        if now > patience {
            let epochs: Vec<String> = cluster
                .instances()
                .map(|i| format!("{} {:?}", i.name(), i.epoch()))
                .collect();
            return Err(io::Error::other(format!(
                "not fresh after {patience:?}; edits known: {}",
                epochs.join(", ")
            )));
        }
        sleep(STEP).await;
    }
}

impl Seen {
    /// The reload that has ended since the last look.
    fn look(&mut self, replica: &Instance, now: Duration) -> Option<Reload> {
        let control = replica.control();
        match (control.is_reloading(), self.reloading) {
            (true, None) => {
                self.reloading = Some((now, self.last_busy.saturating_sub(self.last_request)))
            }
            (false, Some((began, drain))) => {
                self.reloading = None;
                return Some(Reload {
                    drain,
                    began,
                    ended: now,
                });
            }
            (false, None) => self.look_at_requests(control, now),
            (true, Some(_)) => {}
        }
        None
    }

    fn look_at_requests(&mut self, control: &Controls, now: Duration) {
        // Not the order to reload.
        let requests = control.received_in_all() - control.received(RequestClass::Admin);
        if requests != self.requests {
            (self.requests, self.last_request) = (requests, now);
        }
        if control.in_flight() > 0 {
            self.last_busy = now;
        }
    }
}

/// Catalog reloads of each replica so far.
pub(crate) fn reloads(cluster: &Cluster) -> Vec<u64> {
    cluster
        .replicas()
        .iter()
        .map(|replica| replica.control().catalog_reloads())
        .collect()
}
