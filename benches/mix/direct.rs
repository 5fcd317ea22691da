//! Checks that the rig itself is fast enough: the load of all contenders together goes straight to
//! replicas with room for all.
//!
//! The time of these requests beyond their work is what the load generator and geosim add to every
//! figure, apart from the proxies.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use geofront::geosim::Capacity;
use tokio::runtime::Runtime;

use crate::arrivals::{Phase, Plan};
use crate::drive::{self, End, PATIENCE};
use crate::mix::{PORTAL, REPLICAS};
use crate::rig::client::Client;
use crate::rig::quantiles::Quantiles;
use crate::run;
use crate::scenario::CORES;

pub(crate) struct Direct {
    pub(crate) requests: usize,
    pub(crate) per_second: f64,
    /// What each took longer than its work.
    pub(crate) excess: Quantiles,
    /// How much later than due each left.
    pub(crate) late: Quantiles,
}

/// As many requests in a second as `contenders` get at the load of the scenarios.
pub(crate) fn check(
    contenders: usize,
    lasts: Duration,
    seed: u64,
    runtime: &Runtime,
) -> io::Result<Direct> {
    let replicas = [1.0; REPLICAS];
    let cluster = run::cluster(Capacity::Unlimited, &replicas, Duration::ZERO, runtime)?;
    let clients: Vec<Client> = cluster
        .replicas()
        .iter()
        .map(|replica| Client::new(replica.address(), PATIENCE))
        .collect();
    let plan = Plan {
        phases: vec![Phase {
            lasts,
            load: 0.85 * contenders as f64,
        }],
        bursts: Vec::new(),
    };
    let arrivals = plan.arrivals(&PORTAL, (CORES * replicas.len()) as f64, seed);
    let oldest = Arc::new(AtomicU64::new(0));
    let start = Instant::now();
    let samples = drive::run(&arrivals, &clients, start, &oldest, runtime.handle());
    if let Some(sample) = samples.iter().find(|sample| sample.end != End::Answered) {
        return Err(io::Error::other(format!(
            "without any proxy a request ends as {:?}: the rig is broken",
            sample.end
        )));
    }
    Ok(Direct {
        requests: samples.len(),
        per_second: samples.len() as f64 / lasts.as_secs_f64(),
        excess: samples
            .iter()
            .map(|sample| sample.latency.saturating_sub(sample.arrival.work))
            .collect(),
        late: samples.iter().map(|sample| sample.late).collect(),
    })
}
