//! A burst of heavy requests: the exports of some clients, all at once.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use serde::Serialize;
use tokio::task::JoinSet;

use super::exchange::exchange;

/// Requests of a burst.
pub(super) const REQUESTS: u32 = 150;
/// The work of each, in milliseconds of a core.
const WORK: u32 = 1000;
/// Clients that send them.
const CLIENTS: u32 = 6;
/// A client that waits longer for an export gives up.
const PATIENCE: Duration = Duration::from_secs(120);

/// The burst that runs, or the last one.
#[derive(Debug, Default)]
pub(super) struct Burst {
    is_running: AtomicBool,
    served: AtomicU32,
    failed: AtomicU32,
}

/// The progress of a burst.
#[derive(Debug, Serialize)]
pub(super) struct BurstProgress {
    running: bool,
    requests: u32,
    served: u32,
    failed: u32,
}

impl Burst {
    pub(super) fn progress(&self) -> BurstProgress {
        BurstProgress {
            running: self.is_running.load(Ordering::Acquire),
            requests: REQUESTS,
            served: self.served.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
        }
    }

    /// Starts a burst; false if one is running.
    pub(super) fn start(self: &Arc<Self>, to: SocketAddr) -> bool {
        if self.is_running.swap(true, Ordering::AcqRel) {
            return false;
        }
        self.served.store(0, Ordering::Relaxed);
        self.failed.store(0, Ordering::Relaxed);
        let burst = Arc::clone(self);
        tokio::spawn(async move {
            burst.run(to).await;
            burst.is_running.store(false, Ordering::Release);
        });
        true
    }

    async fn run(self: &Arc<Self>, to: SocketAddr) {
        let mut requests = JoinSet::new();
        for number in 0..REQUESTS {
            let burst = Arc::clone(self);
            requests.spawn(async move {
                let answer = exchange(to, &head_of(number), "", PATIENCE).await;
                let is_served = answer.is_ok_and(|reply| reply.status == 200);
                let count = if is_served {
                    &burst.served
                } else {
                    &burst.failed
                };
                count.fetch_add(1, Ordering::Relaxed);
            });
        }
        requests.join_all().await;
    }
}

/// Each client has an address of its own, from the range for documentation.
fn head_of(number: u32) -> String {
    let client = number % CLIENTS + 1;
    format!(
        "GET /geoserver/wfs?service=WFS&version=2.0.0&request=GetFeature&typeNames=geor:public_layer\
         &count=10&startIndex={number}&geosim_work={WORK}ms HTTP/1.1\r\nX-Forwarded-For: 198.51.100.{client}\r\n"
    )
}
