//! The proxy's parts, and its interface for the rest of the process.

use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::watch;

use super::access_log::AccessLog;
use super::access_log::recent::{Recent, RecentRequests};
use super::client::rates::Meters;
use super::coalesce::Coalescing;
use super::connection::ConnectionParts;
use super::connection::interrupt::Interrupts;
use super::connection::refuse_head::HeadRefuser;
use super::context::Context;
use super::read_your_writes::RecentWriters;
use super::running::RunningRequests;
use super::upstream::jobs::Jobs;
use super::upstream::moves::WaitMover;
use super::upstream::peer::UpstreamPeers;
use super::upstream::retry_budget::RetryBudget;
use super::upstream::second_opinion::OpinionBudget;
use super::upstream::session_views::SessionViews;
use crate::control::Control;
use crate::metrics::Metrics;
use crate::traces::TraceQueue;
use crate::waiting_room::WaitingRoom;

/// The proxy: one for all listeners, cheap to clone.
#[derive(Clone)]
pub struct FrontDoor {
    pub(super) parts: Arc<Parts>,
}

impl fmt::Debug for FrontDoor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FrontDoor").finish_non_exhaustive()
    }
}

/// Everything that requests share.
pub(super) struct Parts {
    pub(super) control: Arc<Control>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) access_log: Arc<AccessLog>,
    pub(super) recent: Arc<RecentRequests>,
    pub(super) budget: RetryBudget,
    pub(super) opinions: OpinionBudget,
    pub(super) writers: RecentWriters,
    pub(super) jobs: Jobs,
    pub(super) session_views: SessionViews,
    pub(super) running: RunningRequests,
    pub(super) coalescing: Coalescing,
    pub(super) room: Arc<WaitingRoom>,
    pub(super) peers: UpstreamPeers,
    pub(super) interrupts: Arc<Interrupts>,
    pub(super) meters: Meters,
    pub(super) traces: Arc<TraceQueue>,
    /// The doors of the clusters, in the order of the configuration. With clusters, this door has
    /// no upstreams and serves what belongs to no cluster. Without, it serves everything.
    pub(super) clusters: Vec<FrontDoor>,
}

/// What all clusters of a process have in common.
#[derive(Clone, Debug)]
pub struct SharedParts {
    access_log: Arc<AccessLog>,
    interrupts: Arc<Interrupts>,
    traces: Arc<TraceQueue>,
    threads: NonZeroUsize,
}

impl SharedParts {
    /// The parts of a process that has so many threads.
    pub fn new(access_log: AccessLog, threads: NonZeroUsize) -> Self {
        Self {
            access_log: Arc::new(access_log),
            interrupts: Arc::default(),
            traces: Arc::default(),
            threads,
        }
    }
}

impl FrontDoor {
    /// Builds the proxy of a process, or of one of its clusters. `clusters` are the doors of all
    /// clusters, in the order of the configuration.
    pub fn new(
        control: Arc<Control>,
        metrics: Arc<Metrics>,
        room: Arc<WaitingRoom>,
        shared: SharedParts,
        clusters: Vec<Self>,
    ) -> Self {
        let SharedParts {
            access_log,
            interrupts,
            traces,
            threads,
        } = shared;
        let peers = UpstreamPeers::new(Arc::clone(&metrics));
        let parts = Parts {
            control,
            metrics,
            access_log,
            recent: Arc::default(),
            budget: RetryBudget::new(threads.get(), Instant::now()),
            opinions: OpinionBudget::new(Instant::now()),
            writers: RecentWriters::default(),
            jobs: Jobs::default(),
            session_views: SessionViews::default(),
            running: RunningRequests::default(),
            coalescing: Coalescing::default(),
            room,
            peers,
            interrupts,
            meters: Meters::default(),
            traces,
            clusters,
        };
        Self {
            parts: Arc::new(parts),
        }
    }

    /// The door of the request's cluster; this one if the request has none, or there is only one
    /// cluster.
    pub(super) fn of(&self, ctx: &Context) -> &Self {
        ctx.cluster
            .and_then(|at| self.parts.clusters.get(at))
            .unwrap_or(self)
    }

    /// Requests that run now.
    pub fn running(&self) -> &RunningRequests {
        &self.parts.running
    }

    /// The traces of requests that have ended.
    pub fn traces(&self) -> &Arc<TraceQueue> {
        &self.parts.traces
    }

    /// Opens the file of the access log anew; returns false if there is none.
    pub fn reopen_access_log(&self) -> bool {
        self.parts.access_log.reopen()
    }

    /// The last slow and failed requests after number `after`.
    pub fn recent_requests(&self, after: u64) -> Recent {
        self.parts.recent.after(after)
    }

    /// Returns the parts that the connections of clients share with the proxy.
    pub fn connection_parts(&self) -> ConnectionParts {
        let parts = &self.parts;
        ConnectionParts {
            heads: HeadRefuser {
                control: Arc::clone(&parts.control),
                metrics: Arc::clone(&parts.metrics),
                access_log: Arc::clone(&parts.access_log),
                recent: Arc::clone(&parts.recent),
            },
            interrupts: Arc::clone(&parts.interrupts),
            running: parts.running.clone(),
        }
    }

    /// Moves waiting requests away from upstreams that are lost, until `shutdown` becomes true or
    /// its sender is gone.
    pub async fn move_waits(self, shutdown: watch::Receiver<bool>) {
        let parts = &self.parts;
        let mover = WaitMover {
            control: &parts.control,
            cluster: parts.control.snapshot().config.cluster.clone(),
            peers: &parts.peers,
            interrupts: &parts.interrupts,
            budget: &parts.budget,
        };
        mover.run(shutdown).await;
    }
}
