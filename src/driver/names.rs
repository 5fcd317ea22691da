//! Looks host names up again: now and then, and soon after an upstream was lost, because it may
//! have moved.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, watch};
use tokio::time::{sleep, timeout};

use super::ended;
use crate::cluster::{HealthState, Transition, What};
use crate::config_reload::ConfigReload;
use crate::control::Control;

/// Between looks while every name has an address.
const EVERY: Duration = Duration::from_secs(30);

/// Between looks while some upstream waits for its name to resolve.
const EVERY_UNRESOLVED: Duration = Duration::from_secs(2);

/// Between looks, however many upstreams are lost.
const PAUSE: Duration = Duration::from_secs(1);

/// Watches until `shutdown` turns true.
pub async fn watch(
    reload: Arc<ConfigReload>,
    control: Arc<Control>,
    mut shutdown: watch::Receiver<bool>,
) {
    let mut transitions = control.transitions();
    loop {
        let pause = if reload.has_unresolved() {
            EVERY_UNRESOLVED
        } else {
            EVERY
        };
        tokio::select! {
            () = ended(&mut shutdown) => return,
            () = either(lost(&mut transitions), pause) => {}
        }
        let reload = Arc::clone(&reload);
        let looked_up = tokio::task::spawn_blocking(move || reload.look_up_names(Instant::now()));
        if let Err(error) = looked_up.await {
            tracing::error!(%error, "the look-up of host names ended early");
        }
    }
}

/// A little after an upstream was lost, or after `pause`.
async fn either(lost: impl Future<Output = ()>, pause: Duration) {
    if timeout(pause, lost).await.is_ok() {
        sleep(PAUSE).await;
    }
}

/// Resolves when an upstream went down or was ejected, or may have.
async fn lost(transitions: &mut broadcast::Receiver<Transition>) {
    loop {
        match transitions.recv().await.map(|transition| transition.what) {
            Ok(
                What::Health {
                    to: HealthState::Down,
                    ..
                }
                | What::Ejected { .. },
            )
            | Err(RecvError::Lagged(_)) => return,
            Ok(_) => {}
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }
}
