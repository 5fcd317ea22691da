//! The throughput of an instance: the waiting side of [`Capacity`].

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::{sleep, sleep_until, timeout};

use super::behaviour::Capacity;
use super::controls::Controls;
use super::shared_cores::SharedCores;

/// Where work is done. Work goes on when the client leaves: GeoServer does not notice before it
/// writes.
pub(super) enum Workshop {
    Unlimited,
    Slots(Arc<Semaphore>),
    Shared(Arc<Cores>),
}

pub(super) struct Cores {
    jobs: Mutex<SharedCores<oneshot::Sender<()>>>,
    arrived: Notify,
}

/// Work that is done; a slot is given back when the answer is written.
pub(super) struct Done {
    pub(super) waited: Duration,
    _slot: Option<OwnedSemaphorePermit>,
}

impl Done {
    /// Returns the result of a request without work.
    pub(super) fn at_once() -> Self {
        Self {
            waited: Duration::ZERO,
            _slot: None,
        }
    }
}

/// Waiting took longer than control-flow allows.
#[derive(Clone, Copy, Debug)]
pub(super) struct GaveUp;

impl Workshop {
    /// Must be called on the instance's runtime, because a task of that runtime runs the shared
    /// cores.
    pub(super) fn open(capacity: Capacity, controls: &Arc<Controls>) -> Self {
        match capacity {
            Capacity::Unlimited => Self::Unlimited,
            Capacity::Slots(slots) => Self::Slots(Arc::new(Semaphore::new(slots))),
            Capacity::Shared { cores } => {
                let cores = Arc::new(Cores {
                    jobs: Mutex::new(SharedCores::new(cores, controls.speed(), Instant::now())),
                    arrived: Notify::new(),
                });
                tokio::spawn(run_cores(Arc::clone(&cores), Arc::clone(controls)));
                Self::Shared(cores)
            }
        }
    }

    /// Returns when `work` is done.
    pub(super) async fn work(
        &self,
        work: Duration,
        patience: Option<Duration>,
        controls: &Controls,
    ) -> Result<Done, GaveUp> {
        let start = Instant::now();
        match self {
            Self::Unlimited => {
                toil(work, controls).await;
                Ok(Done {
                    waited: Duration::ZERO,
                    _slot: None,
                })
            }
            Self::Slots(slots) => {
                let slot = claim(Arc::clone(slots), patience).await?;
                let waited = start.elapsed();
                toil(work, controls).await;
                Ok(Done {
                    waited,
                    _slot: Some(slot),
                })
            }
            Self::Shared(cores) => {
                cores.share(work).await;
                Ok(Done {
                    waited: Duration::ZERO,
                    _slot: None,
                })
            }
        }
    }
}

async fn claim(
    slots: Arc<Semaphore>,
    patience: Option<Duration>,
) -> Result<OwnedSemaphorePermit, GaveUp> {
    let claimed = match patience {
        None => slots.acquire_owned().await,
        Some(patience) => timeout(patience, slots.acquire_owned())
            .await
            .map_err(|_| GaveUp)?,
    };
    Ok(claimed.expect("the semaphore is never closed"))
}

async fn toil(work: Duration, controls: &Controls) {
    if !work.is_zero() {
        sleep(work.div_f64(controls.speed())).await;
    }
}

impl Cores {
    async fn share(&self, work: Duration) {
        if work.is_zero() {
            return;
        }
        let (done, wait) = oneshot::channel();
        self.jobs.lock().arrive(work, done, Instant::now());
        self.arrived.notify_one();
        // The task ends only together with the whole runtime.
        wait.await.ok();
    }
}

/// Notifies jobs when they are done. Ends with the runtime.
async fn run_cores(cores: Arc<Cores>, controls: Arc<Controls>) {
    loop {
        let next = cores.jobs.lock().next_departure();
        tokio::select! {
            () = cores.arrived.notified() => {}
            () = controls.speed_changed() => {}
            () = sleep_until(next.unwrap_or_else(Instant::now).into()), if next.is_some() => {}
        }
        let mut jobs = cores.jobs.lock();
        jobs.set_speed(controls.speed(), Instant::now());
        while let Some(done) = jobs.depart(Instant::now()) {
            // A client that left does not wait for its answer.
            done.send(()).ok();
        }
    }
}
