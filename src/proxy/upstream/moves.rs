//! Reads that wait for an upstream that has gone, or for a slow one, move to another.
//!
//! A frozen GeoServer keeps its connections open, so its requests would wait for the whole
//! `first_byte` timeout. Once probes or requests show that an upstream does not answer, its
//! requests are interrupted (`connection/interrupt.rs`) and sent to another upstream. A request is
//! moved if it may be repeated, has received no byte, and has another upstream to go to. Each move
//! takes one retry from the budget. The lost upstream's requests in flight are added to the budget.
//!
//! An upstream that is much slower than its peers (`balance/slowness.rs`) answers, but late. A
//! light request that has waited there for twice the usual time of its peers moves too: once, and
//! only as the budget allows.
//!
//! The first search may miss a request that was sent at the moment of the loss. So the search is
//! repeated until the loss is over.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::broadcast::error::RecvError;
use tokio::sync::watch;
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::peer::UpstreamPeers;
use super::retry_budget::{Loss, RetryBudget};
use crate::cluster::{Cause, HealthState, Transition, TransitionKind, Upstream};
use crate::config::UpstreamName;
use crate::control::Control;
use crate::proxy::connection::interrupt::Interrupts;

/// Interval between two searches for waits that were missed, or that the budget did not allow to
/// move.
const LOOK: Duration = Duration::from_secs(1);

/// Minimum interval between two searches for waits at slow upstreams. It grows with the duration of
/// a search, so that searches need at most a fiftieth of a core.
const SLOW_LOOK: Duration = Duration::from_millis(20);

/// An attempt that begins this long after its upstream's loss was sent there knowingly.
const LATE: Duration = Duration::from_secs(1);

/// Maximum number of losses at a time; there are no more upstreams.
const MAX_LOSSES: usize = 1000;

/// An upstream that does not answer.
struct Lost {
    upstream: Arc<Upstream>,
    at: Instant,
}

/// Moves waits away from upstreams that are lost.
pub(in crate::proxy) struct WaitMover<'a> {
    pub(in crate::proxy) control: &'a Control,
    /// The cluster, of several. The waits of others are not touched.
    pub(in crate::proxy) cluster: Option<UpstreamName>,
    pub(in crate::proxy) peers: &'a UpstreamPeers,
    pub(in crate::proxy) interrupts: &'a Interrupts,
    pub(in crate::proxy) budget: &'a RetryBudget,
}

impl WaitMover<'_> {
    /// Runs until `shutdown` becomes true or its sender is gone.
    pub(in crate::proxy) async fn run(&self, mut shutdown: watch::Receiver<bool>) {
        let mut transitions = self.control.transitions();
        let mut lost: Vec<Lost> = Vec::new();
        let (mut looks, mut slow_looks) = (every(LOOK), every(SLOW_LOOK));
        loop {
            tokio::select! {
                ended = shutdown.wait_for(|ended| *ended) => { drop(ended); return; }
                transition = transitions.recv() => match transition {
                    Ok(transition) => self.follow_losses(&transition, &mut lost),
                    // A missed wait moves at the next loss, or waits until its timeout.
                    Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return,
                },
                _ = looks.tick(), if !lost.is_empty() => {
                    lost.iter().for_each(|lost| self.move_from(lost));
                }
                _ = slow_looks.tick() => {
                    let began = Instant::now();
                    self.move_from_slow_upstreams(began);
                    slow_looks.reset_after((began.elapsed() * 50).max(SLOW_LOOK));
                }
            }
        }
    }

    fn follow_losses(&self, transition: &Transition, lost: &mut Vec<Lost>) {
        let Some(name) = &transition.upstream else {
            return;
        };
        let is_it = |lost: &Lost| lost.upstream.name == *name;
        match &transition.what {
            TransitionKind::Health {
                to: HealthState::Down,
                cause: Some(cause),
                ..
            }
            | TransitionKind::Ejected { cause, .. }
                if is_silence(cause) =>
            {
                let Some(upstream) = self.control.upstream(name) else {
                    return;
                };
                lost.retain(|lost| !is_it(lost));
                let loss = Lost {
                    upstream,
                    at: Instant::now(),
                };
                self.move_from(&loss);
                if lost.len() < MAX_LOSSES {
                    lost.push(loss);
                }
            }
            TransitionKind::Health { .. }
            | TransitionKind::Returned
            | TransitionKind::HalfOpen
            | TransitionKind::Retired => lost.retain(|lost| !is_it(lost)),
            _ => {}
        }
    }

    fn move_from_slow_upstreams(&self, now: Instant) {
        let snapshot = self.control.snapshot_full();
        let percent = snapshot.config.retry.budget_percent;
        for slow in snapshot.slow_upstreams() {
            let upstream = &slow.upstream;
            let moved = self.interrupts.raise(|wait| {
                let waited = now.saturating_duration_since(wait.since);
                let moves = wait.cluster == self.cluster
                    && wait.upstream == upstream.id
                    && wait.tried.count() == 1
                    && slow.keeps_too_long(wait.class, waited)
                    && wait
                        .tried
                        .or_beyond_group(|tried| snapshot.has_place(wait.class, tried))
                    && upstream.load.slowness().take_leave(now)
                    && self.budget.try_retry(percent, None, now);
                if moves {
                    upstream.load.slowness().learn_unanswered(
                        wait.class,
                        upstream.load.in_flight(),
                        waited,
                    );
                }
                moves
            });
            if moved > 0 {
                tracing::debug!(upstream = %upstream.name, moved, "requests that it answers late move to others");
            }
        }
    }

    fn move_from(&self, lost: &Lost) {
        let Lost { upstream, at } = lost;
        let (snapshot, now) = (self.control.snapshot_full(), Instant::now());
        let peer = self.peers.of(upstream);
        let loss = Loss {
            allowance: &peer.losses,
            in_flight: upstream.load.in_flight(),
        };
        let percent = snapshot.config.retry.budget_percent;
        let moved = self.interrupts.raise(|wait| {
            wait.cluster == self.cluster
                && wait.upstream == upstream.id
                && wait.since < *at + LATE
                && wait
                    .tried
                    .or_beyond_group(|tried| snapshot.has_place(wait.class, tried))
                && self.budget.try_retry(percent, Some(loss), now)
        });
        if moved > 0 {
            tracing::info!(upstream = %upstream.name, moved, "requests that it did not answer move to others");
        }
    }
}

fn every(period: Duration) -> Interval {
    let mut interval = interval(period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

/// Whether it failed by not answering, rather than by answering badly.
const fn is_silence(cause: &Cause) -> bool {
    match cause {
        Cause::Connect(_) | Cause::Timeout(_) | Cause::Reset(_) => true,
        Cause::Status(_) | Cause::Truncated | Cause::NodeFault(_) | Cause::Unexpected(_) => false,
        Cause::Slow(_) | Cause::Credentials(_) | Cause::Local(_) => false,
    }
}
