//! Signals, and coming to an end.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinHandle;

use super::App;
use crate::proxy::RunningRequests;

/// What the process listens to. Registered before anything else: SIGHUP's default would kill it.
pub(super) struct Signals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    pub(super) fn register() -> io::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Reloads the configuration on SIGHUP; returns on SIGTERM or SIGINT.
    pub(super) async fn until_stop(mut self, app: &App) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = self.hangup.recv() => reload(app).await,
            }
        }
    }
}

async fn reload(app: &App) {
    let reload = Arc::clone(&app.reload);
    // The outcome is in the log already.
    drop(tokio::task::spawn_blocking(move || reload.reload(Instant::now())).await);
}

/// Waits until no request runs, at most `limit`; returns how many still do.
pub(super) async fn finish(running: &RunningRequests, limit: Duration) -> usize {
    drop(tokio::time::timeout(limit, running.idle()).await);
    running.count()
}

/// Waits for a task that was told to end; one that does not is left to the runtime.
pub(super) async fn join(task: JoinHandle<()>) {
    const PATIENCE: Duration = Duration::from_secs(1);
    drop(tokio::time::timeout(PATIENCE, task).await);
}

/// Tells the service manager, where there is one.
pub(super) fn notify(state: sd_notify::NotifyState<'_>) {
    drop(sd_notify::notify(false, &[state]));
}
