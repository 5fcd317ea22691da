//! Requests under way, by their key, and the followers that wait for their answers.
//!
//! A flight is in the table as long as requests may join it. Its state changes once for all, to
//! complete or to failed, and every follower is notified of either. The leader holds the flight by
//! a guard, so there is no third way out.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::answer::SharedAnswer;
use super::hash::{ByHash, Keyed};
use super::memory::{AnswerMemory, MemoryClaim};

/// Maximum number of flights at the same time, above the requests in flight to any cluster we know.
const MAX_FLIGHTS: usize = 4096;
/// Followers that wait for one answer.
const MAX_FOLLOWERS: u32 = 1000;
/// Parts of the table, so that requests of different keys rarely contend for a lock.
const SHARDS: usize = 16;
/// Time for the rest of an answer once it has begun. It arrives only as fast as the leader's client
/// reads it.
const REST: Duration = Duration::from_secs(5);

/// Time for which requests of a key go alone after an answer with that key could not be shared.
const ALONE: Duration = Duration::from_secs(60);
/// Keys in one part of the table whose answers could not be shared.
const MAX_ALONE: usize = 256;

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Flights {
    shards: [Mutex<Shard>; SHARDS],
    hasher: Keyed,
    memory: AnswerMemory,
}

#[derive(Debug, Default)]
struct Shard {
    flights: ByHash<Arc<Flight>>,
    /// Until when requests of a key go alone. A key that shares its hash with one of these does,
    /// too, which costs it nothing but the sharing.
    alone: ByHash<Instant>,
}

impl Shard {
    fn goes_alone(&mut self, hash: u64) -> bool {
        if self.alone.is_empty() {
            return false;
        }
        let Some(until) = self.alone.get(&hash) else {
            return false;
        };
        let is_so = *until > Instant::now();
        if !is_so {
            self.alone.remove(&hash);
        }
        is_so
    }

    fn remember_alone(&mut self, hash: u64) {
        let now = Instant::now();
        if self.alone.len() >= MAX_ALONE {
            self.alone.retain(|_, until| *until > now);
        }
        if self.alone.len() < MAX_ALONE {
            self.alone.insert(hash, now + ALONE);
        }
    }
}

#[derive(Debug)]
struct Flight {
    key: Box<[u8]>,
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
    Complete(Arc<SharedAnswer>),
    Failed,
}

/// How a request takes part in a flight.
#[derive(Debug)]
pub(in crate::proxy) enum FlightRole {
    Leader(Leader),
    Follower(Follower),
    Alone,
}

impl Flights {
    /// Follows the flight of this key, or begins it.
    pub(super) fn join(self: &Arc<Self>, key: &[u8]) -> FlightRole {
        let hash = self.hasher.hash(key);
        let mut shard = self.shard(hash).lock();
        if shard.goes_alone(hash) {
            return FlightRole::Alone;
        }
        match shard.flights.get(&hash) {
            Some(flight) if *flight.key == *key && flight.admits() => {
                flight.followers.fetch_add(1, Ordering::Relaxed);
                FlightRole::Follower(Follower(Arc::clone(flight)))
            }
            // Full, or another key with the same hash.
            Some(_) => FlightRole::Alone,
            None if shard.flights.len() >= MAX_FLIGHTS / SHARDS => FlightRole::Alone,
            None => {
                let flight = Arc::new(Flight::new(key));
                shard.flights.insert(hash, Arc::clone(&flight));
                drop(shard);
                FlightRole::Leader(Leader {
                    flights: Arc::clone(self),
                    flight,
                    hash,
                })
            }
        }
    }

    /// Room for an answer, none of it used yet.
    pub(super) fn claim(&self) -> MemoryClaim {
        self.memory.claim()
    }

    /// By bits that the tables themselves make no use of: those of one shard have them in common.
    fn shard(&self, hash: u64) -> &Mutex<Shard> {
        &self.shards[(hash >> 40) as usize % SHARDS]
    }
}

impl Flight {
    fn new(key: &[u8]) -> Self {
        let (followers, state, changed) =
            (AtomicU32::new(0), Mutex::new(State::Waiting), Notify::new());
        Self {
            key: key.into(),
            followers,
            state,
            changed,
        }
    }

    /// Counted under the shard's lock, so that none joins while a leader finds no follower.
    fn admits(&self) -> bool {
        self.followers.load(Ordering::Relaxed) < MAX_FOLLOWERS
    }

    fn set(&self, state: State) {
        *self.state.lock() = state;
        self.changed.notify_waiters();
    }
}

/// The request that goes upstream. Dropped without an answer, it releases its followers.
#[derive(Debug)]
pub(in crate::proxy) struct Leader {
    flights: Arc<Flights>,
    flight: Arc<Flight>,
    hash: u64,
}

impl Leader {
    /// The answer begins. Returns false if no follower waits for it, and then none will.
    pub(super) fn begin(&self) -> bool {
        let mut shard = self.flights.shard(self.hash).lock();
        if self.flight.followers.load(Ordering::Relaxed) == 0 {
            shard.flights.remove(&self.hash);
            return false;
        }
        drop(shard);
        self.flight.set(State::Arriving);
        true
    }

    /// The answer cannot be shared. If others waited for it in vain, the next of this key do not.
    pub(super) fn go_alone(&self) {
        let mut shard = self.flights.shard(self.hash).lock();
        if self.flight.followers.load(Ordering::Relaxed) > 0 {
            shard.remember_alone(self.hash);
        }
    }

    /// The answer that had begun is discarded, and another attempt follows.
    pub(super) fn wait_again(&self) {
        self.flight.set(State::Waiting);
    }

    /// Gives the answer to all followers.
    pub(super) fn complete(self, answer: Arc<SharedAnswer>) {
        self.leave();
        self.flight.set(State::Complete(answer));
    }

    /// Removes the flight from the table: the next request of this key leads.
    fn leave(&self) {
        let mut shard = self.flights.shard(self.hash).lock();
        if shard
            .flights
            .get(&self.hash)
            .is_some_and(|flight| Arc::ptr_eq(flight, &self.flight))
        {
            shard.flights.remove(&self.hash);
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

/// A request that waits for the leader's answer.
#[derive(Debug)]
pub(in crate::proxy) struct Follower(Arc<Flight>);

impl Follower {
    /// The leader's answer; `None` to go on alone: the leader has none to share, or it takes longer
    /// than `patience` to begin, or longer than [`REST`] to end.
    pub(in crate::proxy) async fn answer(&self, patience: Duration) -> Option<Arc<SharedAnswer>> {
        loop {
            // Made before the look at the state, so that no change between the two is missed.
            let changed = self.0.changed.notified();
            let limit = match &*self.0.state.lock() {
                State::Complete(answer) => return Some(Arc::clone(answer)),
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

#[cfg(test)]
mod tests;
