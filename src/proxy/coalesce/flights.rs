//! Requests under way, by their description, and who waits for their answers.
//!
//! A flight is in the table as long as somebody may board it. Its state changes once for all:
//! landed or failed, and whoever has boarded hears of either. The leader holds it by a guard, so
//! there is no third way out.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::answer::SharedAnswer;
use super::hash::{ByHash, Keyed};

/// The most that is kept of one answer. Tiles and maps are well below; capabilities of thousands of
/// layers may not be, and then everybody gets their own.
pub(super) const MOST_BODY: usize = 4 << 20;
/// The most that is kept of all answers together, until the last client has its copy.
const MOST_KEPT: usize = 64 << 20;
/// Flights at the same time; more requests than are in flight to any cluster we know.
const MOST_FLIGHTS: usize = 4096;
/// Who wait for one answer.
const MOST_FOLLOWERS: u32 = 1000;
/// So that requests of different descriptions rarely meet at a lock.
const SHARDS: usize = 16;
/// How long the rest of an answer may take once it has begun: it comes as fast as the leader's
/// client takes it, and that may be slow.
const REST: Duration = Duration::from_secs(5);

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Flights {
    shards: [Mutex<ByHash<Arc<Flight>>>; SHARDS],
    hasher: Keyed,
    /// Bytes claimed.
    kept: AtomicUsize,
}

#[derive(Debug)]
struct Flight {
    description: Box<[u8]>,
    followers: AtomicU32,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Clone, Debug)]
enum State {
    /// No answer yet.
    Waiting,
    /// The answer has begun.
    Arriving,
    Landed(Arc<SharedAnswer>),
    Failed,
}

/// What becomes of a request.
#[derive(Debug)]
pub(super) enum Boarding {
    Leads(Leader),
    Follows(Follower),
    GoesAlone,
}

impl Flights {
    /// Follows the flight of this description, or begins it.
    pub(super) fn board(self: &Arc<Self>, description: &[u8]) -> Boarding {
        let hash = self.hasher.hash(description);
        let mut shard = self.shard(hash).lock();
        match shard.get(&hash) {
            Some(flight) if *flight.description == *description && flight.admits() => {
                flight.followers.fetch_add(1, Ordering::Relaxed);
                Boarding::Follows(Follower(Arc::clone(flight)))
            }
            // Full, or another description with the same hash.
            Some(_) => Boarding::GoesAlone,
            None if shard.len() >= MOST_FLIGHTS / SHARDS => Boarding::GoesAlone,
            None => {
                let flight = Arc::new(Flight::new(description));
                shard.insert(hash, Arc::clone(&flight));
                drop(shard);
                Boarding::Leads(Leader {
                    flights: Arc::clone(self),
                    flight,
                    hash,
                })
            }
        }
    }

    /// Room for an answer, none of it used yet.
    pub(super) fn claim(self: &Arc<Self>) -> Claim {
        Claim {
            flights: Arc::clone(self),
            bytes: 0,
        }
    }

    /// By bits that the tables themselves make no use of: those of one shard have them in common.
    fn shard(&self, hash: u64) -> &Mutex<ByHash<Arc<Flight>>> {
        &self.shards[(hash >> 40) as usize % SHARDS]
    }
}

impl Flight {
    fn new(description: &[u8]) -> Self {
        let (followers, state, changed) =
            (AtomicU32::new(0), Mutex::new(State::Waiting), Notify::new());
        Self {
            description: description.into(),
            followers,
            state,
            changed,
        }
    }

    /// Counted under the shard's lock, so that none comes in while a leader finds nobody there.
    fn admits(&self) -> bool {
        self.followers.load(Ordering::Relaxed) < MOST_FOLLOWERS
    }

    fn set(&self, state: State) {
        *self.state.lock() = state;
        self.changed.notify_waiters();
    }
}

/// The one that goes upstream. Dropped without an answer, it releases those who wait.
#[derive(Debug)]
pub(super) struct Leader {
    flights: Arc<Flights>,
    flight: Arc<Flight>,
    hash: u64,
}

impl Leader {
    /// The answer begins. False if nobody waits for it, and then nobody will.
    pub(super) fn begin(&self) -> bool {
        let mut shard = self.flights.shard(self.hash).lock();
        if self.flight.followers.load(Ordering::Relaxed) == 0 {
            shard.remove(&self.hash);
            return false;
        }
        drop(shard);
        self.flight.set(State::Arriving);
        true
    }

    /// What had begun was no good; there will be another.
    pub(super) fn wait_again(&self) {
        self.flight.set(State::Waiting);
    }

    pub(super) fn land(self, answer: Arc<SharedAnswer>) {
        self.leave();
        self.flight.set(State::Landed(answer));
    }

    /// From the table: whoever comes now begins a flight of their own.
    fn leave(&self) {
        let mut shard = self.flights.shard(self.hash).lock();
        if shard
            .get(&self.hash)
            .is_some_and(|flight| Arc::ptr_eq(flight, &self.flight))
        {
            shard.remove(&self.hash);
        }
    }
}

impl Drop for Leader {
    fn drop(&mut self) {
        self.leave();
        let mut state = self.flight.state.lock();
        if matches!(*state, State::Waiting | State::Arriving) {
            *state = State::Failed;
            drop(state);
            self.flight.changed.notify_waiters();
        }
    }
}

/// One that waits.
#[derive(Debug)]
pub(super) struct Follower(Arc<Flight>);

impl Follower {
    /// The leader's answer; `None` to go on alone: the leader has none to share, or it takes longer
    /// than `patience` to begin, or longer than [`REST`] to end.
    pub(super) async fn answer(&self, patience: Duration) -> Option<Arc<SharedAnswer>> {
        loop {
            // Made before the look at the state, so that no change between the two is missed.
            let changed = self.0.changed.notified();
            let limit = match &*self.0.state.lock() {
                State::Landed(answer) => return Some(Arc::clone(answer)),
                State::Failed => return None,
                State::Waiting => patience,
                State::Arriving => REST,
            };
            tokio::time::timeout(limit, changed).await.ok()?;
        }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.0.followers.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What an answer takes of the memory for all of them.
#[derive(Debug)]
pub(super) struct Claim {
    flights: Arc<Flights>,
    bytes: usize,
}

impl Claim {
    /// False, and nothing taken, when that would be too much for one or for all.
    pub(super) fn grow(&mut self, bytes: usize) -> bool {
        if self.bytes + bytes > MOST_BODY {
            return false;
        }
        let with = |kept: usize| Some(kept + bytes).filter(|kept| *kept <= MOST_KEPT);
        let has_room = self
            .flights
            .kept
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, with)
            .is_ok();
        if has_room {
            self.bytes += bytes;
        }
        has_room
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.flights.kept.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
