//! The one writer: serialises events into the cluster, publishes its snapshot, wakes the driver.
//!
//! All writes go through the mutex, which is never held across an await; all reads go through one
//! swap. A healthy cluster serves requests without taking the lock: a success is reported only
//! where the upstream's `in_doubt` mark says that it would change something.
//!
//! That mark is written under the lock, before the snapshot that the change makes is published, and
//! read without it. A success that misses a mark set at the same moment is a success that came
//! before the failure. One that comes after it, in whatever way "after" was established, sees the
//! mark, and so does every request that was selected from the new snapshot. A success that sees a
//! mark which is just being taken away takes the lock for nothing.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use arc_swap::{ArcSwap, Guard};
use parking_lot::Mutex;
use tokio::sync::{Notify, broadcast};

use crate::balance::Doorbell;
use crate::cluster::{
    Action, Cluster, ClusterStatus, Event, Fields, Hint, Memory, Mode, ModeError, ModeOrder,
    Outcome, Sighting, Snapshot, Subject, SyncError, Ticket, Transition, Upstream, UpstreamId,
};
use crate::config::{Config, UpstreamName};
use crate::ogc::RequestClass;

mod history;
#[cfg(test)]
mod tests;

pub use history::{MAX_ROLLS, PastReload, PastRoll, RollHistory};

/// Transitions a slow listener may fall behind before it misses some.
const EVENT_BACKLOG: usize = 1024;

/// How often to look whether the wait for first verdicts is over.
const VERDICT_LOOK: Duration = Duration::from_millis(250);

/// See the module's documentation.
#[derive(Debug)]
pub struct Control {
    cluster: Mutex<Cluster>,
    /// Written with the lock held, by [`Self::change`] alone.
    snapshot: ArcSwap<Snapshot>,
    history: Mutex<RollHistory>,
    woken: Notify,
    transitions: broadcast::Sender<Transition>,
    /// Told of every new snapshot, without the lock.
    bell: OnceLock<Arc<Doorbell>>,
}

impl Control {
    pub fn new(config: Arc<Config>, now: Instant) -> Arc<Self> {
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
            bell: OnceLock::new(),
        })
    }

    /// For one look, and for each choice of an upstream: the latest there is.
    pub fn snapshot(&self) -> Guard<Arc<Snapshot>> {
        self.snapshot.load()
    }

    /// For a whole request, which sees one configuration from start to end.
    pub fn snapshot_full(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// Tells the cluster what happened.
    pub fn handle(&self, event: Event, now: Instant) {
        self.change(|cluster| ((), cluster.handle(event, now)));
    }

    /// Tells the cluster how an attempt went that was sent at `sent`; without the lock when there
    /// is nothing to learn.
    pub fn observe(&self, upstream: &Upstream, sent: Instant, outcome: Outcome, now: Instant) {
        self.observe_about(upstream, sent, (outcome, None), now);
    }

    /// [`Self::observe`], with what a failure is about.
    pub fn observe_about(
        &self,
        upstream: &Upstream,
        sent: Instant,
        (outcome, subject): (Outcome, Option<Subject>),
        now: Instant,
    ) {
        let is_news = match outcome {
            Outcome::Success => upstream.load.is_in_doubt(),
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

    /// The upstream of this name, whatever its state.
    pub fn upstream(&self, name: &UpstreamName) -> Option<Arc<Upstream>> {
        self.cluster.lock().upstream(name)
    }

    /// Carries out an operator's order, without a record of its origin.
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

    /// Something that may have changed the main's catalog. Resolved when the snapshot says so.
    pub fn hint(&self, hint: Hint, now: Instant) -> Ticket {
        self.change(|cluster| cluster.hint(hint, now))
    }

    /// The same with what is known about the request that passed by.
    pub fn sight(&self, sighting: &Sighting, now: Instant) -> Ticket {
        self.change(|cluster| cluster.sight(sighting, now))
    }

    /// All replicas shall be reloaded now; the epoch they will have.
    pub fn order_sync(&self, now: Instant) -> Result<u64, SyncError> {
        self.change(|cluster| match cluster.order_sync(now) {
            Ok((epoch, transitions)) => (Ok(epoch), transitions),
            Err(refused) => (Err(refused), Vec::new()),
        })
    }

    /// Takes over what the process before this one knew. It must be called before the driver runs.
    pub fn recall(&self, memory: &Memory) {
        self.cluster.lock().recall(memory);
    }

    /// The layer that probes and canaries draw, where geofront chose one.
    pub fn chosen_layer(&self) -> Option<String> {
        self.cluster.lock().chosen_layer().map(str::to_owned)
    }

    /// Whether a change of security is to be brought along with the replica's catalog reload.
    pub fn owes_security(&self, upstream: UpstreamId) -> bool {
        self.cluster.lock().owes_security(upstream)
    }

    /// Returns what a process after this one must know.
    pub fn memory(&self) -> Memory {
        self.cluster.lock().memory()
    }

    /// An operator's order: no replica leaves service for its catalog, until it is taken back.
    pub fn pause_rolls(&self, is_paused: bool, now: Instant) {
        self.change(|cluster| ((), cluster.pause_rolls(is_paused, now)));
        self.history.lock().paused = is_paused;
    }

    /// The last rolls, the oldest first, and whether rolls are paused.
    pub fn roll_history(&self) -> RollHistory {
        self.history.lock().clone()
    }

    /// What the process before us knew of rolls.
    pub fn recall_rolls(&self, mut history: RollHistory, now: Instant) {
        history.bound();
        let is_paused = history.paused;
        *self.history.lock() = history;
        self.pause_rolls(is_paused, now);
    }

    /// The next thing due; call until `None`.
    pub fn poll_action(&self, now: Instant) -> Option<Action> {
        self.change(|cluster| {
            let transitions = cluster.handle(Event::Tick, now);
            (cluster.poll_action(now), transitions)
        })
    }

    pub fn next_deadline(&self) -> Option<Instant> {
        self.cluster.lock().next_deadline()
    }

    /// Resolves after an event that may have made something due. Level-triggered: a lost wake costs
    /// delay, never correctness.
    pub async fn woken(&self) {
        self.woken.notified().await;
    }

    pub fn status(&self, now: Instant) -> ClusterStatus {
        self.cluster.lock().status(now)
    }

    /// Resolves when no upstream's first probe is worth waiting for any more.
    pub async fn first_verdicts(&self) {
        let mut transitions = self.transitions();
        while RequestClass::ALL
            .into_iter()
            .any(|class| self.snapshot().awaits_verdict(class, Instant::now()))
        {
            // Each verdict is a transition; that the wait for one is over is none.
            tokio::time::timeout(VERDICT_LOOK, transitions.recv())
                .await
                .ok();
        }
    }

    /// Every transition from now on.
    pub fn transitions(&self) -> broadcast::Receiver<Transition> {
        self.transitions.subscribe()
    }

    /// Who is told when a new snapshot may have a place for somebody who waits. The first one
    /// stays.
    pub fn attach(&self, bell: &Arc<Doorbell>) {
        self.bell.get_or_init(|| Arc::clone(bell));
    }

    /// The one way to write: change, publish if requests can see it, tell, wake.
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
        // Told under the lock, so that listeners hear everything in order. It does not wait for
        // them.
        transitions
            .iter()
            .for_each(|transition| self.tell(transition));
        drop(cluster);
        // Logged after it: a log that cannot be written must not stop requests.
        transitions.iter().for_each(log);
        if is_due_sooner {
            self.woken.notify_one();
        }
        if is_news && let Some(bell) = self.bell.get() {
            bell.place_came_free();
        }
        result
    }

    fn tell(&self, transition: &Transition) {
        if self.transitions.receiver_count() > 0 {
            // The last listener may have left since.
            self.transitions.send(transition.clone()).ok();
        }
    }
}

/// One line each, here and nowhere else.
fn log(transition: &Transition) {
    // Written out twice: the level is a part of the macro.
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
