//! Repeats the look-up of host names: regularly, and soon after an upstream was lost, because it
//! may have moved.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, watch};
use tokio::time::{sleep, timeout};

use super::ended;
use crate::cluster::{HealthState, Transition, TransitionKind};
use crate::config_reload::ConfigReload;
use crate::control::Control;

/// Interval while every name has an address.
const EVERY: Duration = Duration::from_secs(30);

/// Interval while some name does not resolve.
const EVERY_UNRESOLVED: Duration = Duration::from_secs(2);

/// Minimum interval, however many upstreams are lost.
const PAUSE: Duration = Duration::from_secs(1);

/// Repeats look-ups until `shutdown` turns true.
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

/// Resolves shortly after an upstream was lost, or after `pause`.
async fn either(lost: impl Future<Output = ()>, pause: Duration) {
    if timeout(pause, lost).await.is_ok() {
        sleep(PAUSE).await;
    }
}

/// Resolves when an upstream went down or was ejected, or transitions were missed.
async fn lost(transitions: &mut broadcast::Receiver<Transition>) {
    loop {
        match transitions.recv().await.map(|transition| transition.what) {
            Ok(
                TransitionKind::Health {
                    to: HealthState::Down,
                    ..
                }
                | TransitionKind::Ejected { .. },
            )
            | Err(RecvError::Lagged(_)) => return,
            Ok(_) => {}
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }
}
