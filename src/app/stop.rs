//! Signals, and the end of the process.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::App;
use super::logging::LogLevelSwitch;
use crate::cluster::TransitionKind;
use crate::config_reload::ConfigReload;
use crate::proxy::{KEPT_GRACE, RunningRequests};

/// The signals of the process. They are registered before anything else, because SIGHUP would kill
/// it by default.
pub(super) struct Signals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
    /// Without a handler these signals would end the process.
    user_1: Signal,
    user_2: Signal,
    /// A log or a state file has reached the limit of file sizes (`LimitFSIZE`). The write fails
    /// then, and is reported like one to a full disk.
    file_size: Signal,
}

impl Signals {
    pub(super) fn register() -> io::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            user_1: signal(SignalKind::user_defined1())?,
            user_2: signal(SignalKind::user_defined2())?,
            file_size: signal(SignalKind::from_raw(nix::libc::SIGXFSZ))?,
        })
    }

    /// Returns on SIGTERM or SIGINT.
    pub(super) async fn stop(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// Reloads the configuration on SIGHUP and reopens the access log on SIGUSR1. Returns on
    /// SIGTERM or SIGINT, which do not wait for running reloads.
    pub(super) async fn until_stop(mut self, app: &App, log_level: &LogLevelSwitch) {
        let wanted = Arc::new(Notify::new());
        let reloads = AbortOnDrop(tokio::spawn(reload_when(
            Arc::clone(&wanted),
            app.reloads(),
        )));
        let mut transitions = app.control.transitions();
        log_level.set(app.control.snapshot().config.log.level);
        loop {
            tokio::select! {
                _ = self.terminate.recv() => break,
                _ = self.interrupt.recv() => break,
                _ = self.hangup.recv() => wanted.notify_one(),
                _ = self.user_1.recv() => reopen_log(app),
                _ = self.user_2.recv() => tracing::debug!("SIGUSR2 means nothing here"),
                _ = self.file_size.recv() => tracing::debug!("a file has reached the limit of file sizes"),
                heard = transitions.recv() => {
                    // A missed transition may have been a new configuration.
                    if let Ok(heard) = heard
                        && !matches!(heard.what, TransitionKind::Configured { .. })
                    {
                        continue;
                    }
                    log_level.set(app.control.snapshot().config.log.level);
                }
            }
        }
        drop(reloads);
    }
}

fn reopen_log(app: &App) {
    if app.front_door.reopen_access_log() {
        tracing::info!("the access log is opened anew");
    } else {
        tracing::debug!("SIGUSR1 means nothing here: there is no log file");
    }
}

/// Runs one reload at a time, and one more for all signals that arrive meanwhile.
async fn reload_when(wanted: Arc<Notify>, reloads: Vec<Arc<ConfigReload>>) {
    loop {
        wanted.notified().await;
        for reload in &reloads {
            let reload = Arc::clone(reload);
            let reloaded = tokio::task::spawn_blocking(move || reload.reload(Instant::now())).await;
            if let Err(error) = reloaded {
                tracing::error!(%error, "the config reload ended without an outcome");
            }
        }
    }
}

/// A task that ends with its owner.
struct AbortOnDrop(JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Time without requests after which none is on its way: an accepted connection is counted when
/// its task runs for the first time, and one that is kept alive brings its next request within
/// [`KEPT_GRACE`].
const QUIET: Duration = KEPT_GRACE.saturating_mul(2);

/// Waits until no request runs, at most `limit`; returns the number of requests that still run.
pub(super) async fn finish(running: &RunningRequests, limit: Duration) -> usize {
    let quiet = async {
        loop {
            running.idle().await;
            tokio::time::sleep(QUIET).await;
            if running.is_idle() {
                return;
            }
        }
    };
    match tokio::time::timeout(limit, quiet).await {
        Ok(()) => 0,
        Err(_) => running.count(),
    }
}

/// Waits for a task that was signalled to end; a task that does not end is left to the runtime.
pub(super) async fn join(task: JoinHandle<()>) {
    const PATIENCE: Duration = Duration::from_secs(1);
    tokio::time::timeout(PATIENCE, task).await.ok();
}

/// Notifies the service manager, if there is one.
pub(super) fn notify(state: sd_notify::NotifyState<'_>) {
    sd_notify::notify(false, &[state]).ok();
}
