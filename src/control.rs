//! The only writer of the cluster: applies events in order, publishes snapshots, and wakes the
//! driver.
//!
//! All writes hold a mutex, but never across an await. All reads load the snapshot, which writers
//! swap atomically. A healthy cluster serves requests without taking the lock: a success is
//! reported only while the upstream's `in_doubt` mark is set, because it would change nothing
//! otherwise.
//!
//! The mark is written under the lock, before the resulting snapshot is published, and read without
//! the lock. A success that misses a mark set at the same moment counts as a success before the
//! failure. A success after the failure sees the mark, and so does every request that was selected
//! from the new snapshot. A success that sees a mark just before its removal takes the lock without
//! need.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use arc_swap::{ArcSwap, Guard};
use parking_lot::Mutex;
use tokio::sync::{Notify, broadcast};
use tracing::Span;

use crate::balance::CapacityNotifier;
use crate::cluster::{
    Action, Cluster, ClusterStatus, Event, Fields, Hint, Hold, Memory, Mode, ModeError, ModeOrder,
    Outcome, Sighting, Snapshot, Subject, SyncError, Ticket, Transition, Truncation, Upstream,
    UpstreamId,
};
use crate::config::{Config, UpstreamName};
use crate::ogc::RequestClass;

#[cfg(test)]
pub(crate) mod fixture;
mod history;
mod rescue;
#[cfg(test)]
mod tests;

pub use history::{MAX_ROLLS, PastReload, PastRoll, RollHistory};

/// Transitions that a slow listener may fall behind before it misses some.
const EVENT_BACKLOG: usize = 1024;

/// Interval for checking whether the first verdicts are in.
const VERDICT_LOOK: Duration = Duration::from_millis(250);

/// The cluster behind its lock, and its published snapshot; see the module's documentation.
#[derive(Debug)]
pub struct Control {
    cluster: Mutex<Cluster>,
    /// Written only by [`Self::change`], with the lock held.
    snapshot: ArcSwap<Snapshot>,
    history: Mutex<RollHistory>,
    woken: Notify,
    transitions: broadcast::Sender<Transition>,
    /// Notified of every new snapshot, without the lock.
    notifier: OnceLock<Arc<CapacityNotifier>>,
    /// Names the cluster in log lines, where there are several.
    log_span: Span,
}

impl Control {
    /// Creates the cluster of a configuration, with nothing known about its upstreams.
    pub fn new(config: Arc<Config>, now: Instant) -> Arc<Self> {
        let name = config.cluster.as_ref();
        // At the level that no configuration leaves out: the lines in it have levels of their own.
        let log_span = name.map_or_else(
            Span::none,
            |name| tracing::error_span!("cluster", cluster = %name),
        );
        let cluster = Cluster::new(config, now);
        let snapshot = ArcSwap::from_pointee(cluster.snapshot());
        let transitions = broadcast::channel(EVENT_BACKLOG).0;
        let history = Mutex::default();
        Arc::new(Self {
            cluster: Mutex::new(cluster),
            snapshot,
            history,
            woken: Notify::new(),
            transitions,
            notifier: OnceLock::new(),
            log_span,
        })
    }

    /// The span of log lines about this cluster; without effect where there is only one.
    pub const fn log_span(&self) -> &Span {
        &self.log_span
    }

    /// The current snapshot, for one look or one selection.
    pub fn snapshot(&self) -> Guard<Arc<Snapshot>> {
        self.snapshot.load()
    }

    /// The current snapshot for a whole request, which uses one configuration from start to end.
    pub fn snapshot_full(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// Applies an event to the cluster.
    pub fn handle(&self, event: Event, now: Instant) {
        self.change(|cluster| ((), cluster.handle(event, now)));
    }

    /// Reports the outcome of an attempt that was sent at `sent`. Takes no lock if the outcome
    /// changes nothing.
    pub fn observe(&self, upstream: &Upstream, sent: Instant, outcome: Outcome, now: Instant) {
        self.observe_about(upstream, sent, outcome, None, now);
    }

    /// Like [`Self::observe`], with the subject of a failure, or of a success after one.
    pub fn observe_about(
        &self,
        upstream: &Upstream,
        sent: Instant,
        outcome: Outcome,
        subject: Option<Subject>,
        now: Instant,
    ) {
        let is_news = match outcome {
            Outcome::Success => subject.is_some() || upstream.load.is_in_doubt(),
            Outcome::Busy => false,
            Outcome::Failure(_) => true,
        };
        if is_news {
            self.handle(
                Event::Observed {
                    upstream: upstream.id,
                    sent,
                    outcome,
                    subject,
                },
                now,
            );
        }
    }

    /// The upstream of this name, in any state.
    pub fn upstream(&self, name: &UpstreamName) -> Option<Arc<Upstream>> {
        self.cluster.lock().upstream(name)
    }

    /// Carries out an operator's order without recording its origin.
    pub fn set_mode(
        &self,
        name: &str,
        mode: Mode,
        force: bool,
        now: Instant,
    ) -> Result<(), ModeError> {
        self.order_mode(
            name,
            ModeOrder {
                mode,
                force,
                origin: None,
            },
            now,
        )
    }

    /// Carries out an operator's order.
    pub fn order_mode(&self, name: &str, order: ModeOrder, now: Instant) -> Result<(), ModeError> {
        self.change(|cluster| match cluster.order_mode(name, order, now) {
            Ok(transitions) => (Ok(()), transitions),
            Err(refused) => (Err(refused), Vec::new()),
        })
    }

    /// Reports a request that may have changed the main's catalog. `Snapshot::tickets` shows when
    /// the ticket is resolved.
    pub fn hint(&self, hint: Hint, now: Instant) -> Ticket {
        self.change(|cluster| cluster.hint(hint, now))
    }

    /// Like [`Self::hint`], with the details of the request.
    pub fn sight(&self, sighting: &Sighting, now: Instant) -> Ticket {
        self.change(|cluster| cluster.sight(sighting, now))
    }

    /// Reports a truncation of tiles that an upstream has carried out.
    pub fn note_truncation(&self, by: UpstreamId, truncation: &Truncation, now: Instant) {
        self.change(|cluster| ((), cluster.note_truncation(by, truncation, now)));
    }

    /// Orders a reload of all replicas; returns their future epoch.
    pub fn order_sync(&self, now: Instant) -> Result<u64, SyncError> {
        self.change(|cluster| match cluster.order_sync(now) {
            Ok((epoch, transitions)) => (Ok(epoch), transitions),
            Err(refused) => (Err(refused), Vec::new()),
        })
    }

    /// Restores the memory of the previous process. It must be called before the driver runs.
    pub fn recall(&self, memory: &Memory) {
        self.cluster.lock().recall(memory);
    }

    /// The layer that probes and canaries draw, if geofront chose it.
    pub fn chosen_layer(&self) -> Option<String> {
        self.cluster.lock().chosen_layer().map(str::to_owned)
    }

    /// True if the replica's next catalog reload must also reload security.
    pub fn owes_security(&self, upstream: UpstreamId) -> bool {
        self.cluster.lock().owes_security(upstream)
    }

    /// Returns the memory for the next process.
    pub fn memory(&self) -> Memory {
        self.cluster.lock().memory()
    }

    /// Pauses or resumes rolls: while they are paused, no replica leaves service for its catalog.
    pub fn pause_rolls(&self, is_paused: bool, now: Instant) {
        self.change(|cluster| ((), cluster.pause_rolls(is_paused, now)));
        self.history.lock().paused = is_paused;
    }

    /// Holds all catalog reloads because of another process, or lets them go on.
    pub fn hold_reloads(&self, hold: Option<Hold>, now: Instant) {
        self.change(|cluster| ((), cluster.hold_reloads(hold, now)));
    }

    /// The last rolls, the oldest first, and whether rolls are paused.
    pub fn roll_history(&self) -> RollHistory {
        self.history.lock().clone()
    }

    /// Restores the previous process's history of rolls.
    pub fn recall_rolls(&self, mut history: RollHistory, now: Instant) {
        history.bound();
        let is_paused = history.paused;
        *self.history.lock() = history;
        self.pause_rolls(is_paused, now);
    }

    /// The next due action; call until `None`.
    pub fn poll_action(&self, now: Instant) -> Option<Action> {
        self.change(|cluster| {
            let transitions = cluster.handle(Event::Tick, now);
            (cluster.poll_action(now), transitions)
        })
    }

    /// Returns the time at which [`Self::poll_action`] has something to do, if nothing happens
    /// before.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.cluster.lock().next_deadline()
    }

    /// Resolves after an event that may have made something due. Level-triggered: a lost wake costs
    /// delay, never correctness.
    pub async fn woken(&self) {
        self.woken.notified().await;
    }

    /// Returns the state of the cluster as it is shown to operators.
    pub fn status(&self, now: Instant) -> ClusterStatus {
        self.cluster.lock().status(now)
    }

    /// Resolves when no first probe of any upstream is worth waiting for.
    pub async fn first_verdicts(&self) {
        let mut transitions = self.transitions();
        while RequestClass::ALL
            .into_iter()
            .any(|class| self.snapshot().awaits_verdict(class, Instant::now()))
        {
            // Each verdict is a transition, but the end of the wait for one is not.
            tokio::time::timeout(VERDICT_LOOK, transitions.recv())
                .await
                .ok();
        }
    }

    /// Every transition from now on.
    pub fn transitions(&self) -> broadcast::Receiver<Transition> {
        self.transitions.subscribe()
    }

    /// Attaches the notifier for new snapshots, which may have a slot for a waiter. The first one
    /// stays.
    pub fn attach(&self, notifier: &Arc<CapacityNotifier>) {
        self.notifier.get_or_init(|| Arc::clone(notifier));
    }

    /// The only way to write: change, publish if requests can see it, notify, wake.
    fn change<T>(&self, change: impl FnOnce(&mut Cluster) -> (T, Vec<Transition>)) -> T {
        let mut cluster = self.cluster.lock();
        let before = cluster.next_deadline();
        let (result, transitions) = change(&mut cluster);
        let snapshot = cluster.take_snapshot();
        let is_news = snapshot.is_some();
        if let Some(snapshot) = snapshot {
            self.snapshot.store(Arc::new(snapshot));
        }
        for report in cluster.take_ended_rolls() {
            self.history
                .lock()
                .add(&report, Instant::now(), SystemTime::now());
        }
        let is_due_sooner = cluster
            .next_deadline()
            .is_some_and(|after| before.is_none_or(|before| after < before));
        // Sent under the lock, so that listeners receive everything in order. Sending does not wait
        // for them.
        transitions
            .iter()
            .for_each(|transition| self.publish_transition(transition));
        drop(cluster);
        // Logged after the lock is released: a blocked log must not stop requests.
        if !transitions.is_empty() {
            self.log_span.in_scope(|| transitions.iter().for_each(log));
        }
        if is_due_sooner {
            self.woken.notify_one();
        }
        if is_news && let Some(notifier) = self.notifier.get() {
            notifier.notify();
        }
        result
    }

    fn publish_transition(&self, transition: &Transition) {
        if self.transitions.receiver_count() > 0 {
            // The last listener may have left meanwhile.
            self.transitions.send(transition.clone()).ok();
        }
    }
}

/// Logs a transition in one line. Nothing else logs transitions.
fn log(transition: &Transition) {
    // A macro, because the level is part of the logging macro's name.
    macro_rules! line {
        ($level:ident, $fields:expr) => {{
            let Fields {
                upstream,
                health,
                mode,
                was,
                ejected,
                change,
                config_revision,
                catalog,
                epoch,
                source,
                ..
            } = &$fields;
            let Fields {
                condition,
                probe_layer,
                remedy,
                ..
            } = &$fields;
            let Fields {
                by,
                address,
                still_running,
                took,
                retry_in,
                cause,
                ..
            } = &$fields;
            let address = address.as_deref();
            let (ejected, took, retry_in) =
                (ejected.as_deref(), took.as_deref(), retry_in.as_deref());
            let cause = cause.as_deref();
            tracing::$level!(
                upstream,
                health,
                mode,
                ejected,
                condition,
                probe_layer,
                change,
                address,
                was,
                by,
                config_revision,
                catalog,
                epoch,
                source,
                still_running,
                took,
                retry_in,
                cause,
                remedy
            );
        }};
    }
    if transition.is_warning() {
        line!(warn, transition.fields())
    } else {
        line!(info, transition.fields())
    }
}
