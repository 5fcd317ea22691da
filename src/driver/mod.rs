//! Does what the cluster asks and reports what happened.
//!
//! Level-triggered: after every wake it asks what is due until nothing is, so a lost wake costs delay and never correctness.

pub mod config_watch;
mod probe;
mod question;

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::broadcast::error::RecvError;
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};

use crate::cluster::{Action, Event, Outcome, Transition, Upstream, What};
use crate::control::Control;
use crate::metrics::Metrics;

pub use probe::Prober;

/// Probes under way at a time; what is due beyond that waits.
const MAX_PROBES: usize = 64;

/// Drives the cluster until `shutdown` says true or its sender is gone.
pub async fn run(control: Arc<Control>, metrics: Arc<Metrics>, mut shutdown: watch::Receiver<bool>) {
    let mut driver = Driver { control, metrics, prober: Arc::new(Prober::new()), probes: JoinSet::new() };
    let mut transitions = driver.control.transitions();
    loop {
        driver.start_what_is_due();
        let has_room = driver.probes.len() < MAX_PROBES;
        tokio::select! {
            ended = shutdown.wait_for(|ended| *ended) => { drop(ended); return; }
            Some(probed) = driver.probes.join_next() => report_panic(probed),
            transition = transitions.recv() => driver.count(transition),
            () = driver.control.woken(), if has_room => {}
            () = until(driver.control.next_deadline()), if has_room => {}
        }
    }
}

struct Driver {
    control: Arc<Control>,
    metrics: Arc<Metrics>,
    prober: Arc<Prober>,
    /// Dropped, and so ended, with the driver.
    probes: JoinSet<()>,
}

impl Driver {
    fn start_what_is_due(&mut self) {
        while self.probes.len() < MAX_PROBES {
            match self.control.poll_action(Instant::now()) {
                Some(Action::Probe(upstream)) => self.start_probe(upstream),
                None => return,
            }
        }
    }

    fn start_probe(&mut self, upstream: Arc<Upstream>) {
        let (control, metrics, prober) = (Arc::clone(&self.control), Arc::clone(&self.metrics), Arc::clone(&self.prober));
        self.probes.spawn(async move {
            let config = Arc::clone(&control.snapshot().config);
            let report = prober.probe(&upstream, &config).await;
            metrics.probed(&upstream.name, label(&report.outcome));
            tracing::debug!(upstream = %upstream.name, outcome = label(&report.outcome), took = ?report.took, "probed");
            control.handle(Event::Probed { upstream: upstream.id, report }, Instant::now());
        });
    }

    fn count(&self, transition: Result<Transition, RecvError>) {
        match transition {
            Ok(Transition { upstream: Some(upstream), what: What::Ejected { cause, .. }, .. }) => {
                self.metrics.ejected(&upstream, cause.kind());
            }
            // We hold the sender, so it is not closed; a listener that fell behind goes on with what is kept.
            Ok(_) | Err(RecvError::Lagged(_) | RecvError::Closed) => {}
        }
    }
}

/// The `outcome` of `geofront_probes_total`.
fn label(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Success => "success",
        Outcome::Busy => "busy",
        Outcome::Failure(cause) => cause.kind(),
    }
}

fn report_panic(probed: Result<(), JoinError>) {
    if let Err(error) = probed {
        // The cluster gives up on probes that do not report, and asks for the next.
        tracing::error!(%error, "a probe came to nothing by a defect of ours");
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod fixture;
#[cfg(test)]
mod tests;
