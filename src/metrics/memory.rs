//! The memory for bodies that clients send slowly and for answers that they read slowly. It is
//! counted where it is taken, so that the metric cannot differ from the limit.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// A bounded amount of memory that many requests share.
#[derive(Debug, Default)]
pub struct ClientMemory {
    held: AtomicUsize,
    limit: AtomicUsize,
    refused: AtomicU64,
}

/// The bytes of each [`ClientMemory`] that the clients of one network hold.
#[derive(Clone, Debug, Default)]
pub struct NetworkMemory {
    /// Answers that slow clients have not read.
    pub answers: Arc<HeldBytes>,
    /// Request bodies that are read before an upstream gets them.
    pub bodies: Arc<HeldBytes>,
}

/// A number of bytes that are held.
#[derive(Debug, Default)]
pub struct HeldBytes(AtomicUsize);

/// Bytes of a [`ClientMemory`], given back when dropped.
#[derive(Debug)]
pub struct MemoryShare {
    memory: Arc<ClientMemory>,
    /// The bytes that the client's network holds; `None` if the network has no limit of its own.
    network: Option<Arc<HeldBytes>>,
    bytes: usize,
}

impl ClientMemory {
    /// Bytes that are held now.
    pub fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    /// True if more than half of `limit` bytes are held: then slow clients are a burden to others.
    pub fn is_short(&self, limit: usize) -> bool {
        self.held() > limit / 2
    }

    /// The bytes held, the limit, and how often there was no room.
    pub(super) fn read(&self) -> (usize, usize, u64) {
        (
            self.held(),
            self.limit.load(Ordering::Relaxed),
            self.refused.load(Ordering::Relaxed),
        )
    }

    /// Takes `bytes` if all together then hold at most `limit`.
    fn take(&self, bytes: usize, limit: usize) -> bool {
        self.limit.store(limit, Ordering::Relaxed);
        let taken = |held: usize| held.checked_add(bytes).filter(|held| *held <= limit);
        let has_room = self
            .held
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, taken)
            .is_ok();
        if !has_room {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
        has_room
    }
}

impl HeldBytes {
    fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// Adds `bytes` if the network then holds no more than would be free. `held` is the sum of all
    /// networks. So one network never has more than half of the limit, two never more than a third
    /// each, and something is left for another one.
    fn take(&self, bytes: usize, held: usize, limit: usize) -> bool {
        let free = limit.saturating_sub(held).saturating_sub(bytes);
        let taken = |own: usize| own.checked_add(bytes).filter(|own| *own <= free);
        self.0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, taken)
            .is_ok()
    }

    fn give_back(&self, bytes: usize) {
        self.0.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl MemoryShare {
    /// Holds nothing yet.
    pub fn new(memory: &Arc<ClientMemory>) -> Self {
        Self::of_network(memory, None)
    }

    /// Holds nothing yet, and counts for the network that holds `network`.
    pub fn of_network(memory: &Arc<ClientMemory>, network: Option<Arc<HeldBytes>>) -> Self {
        Self {
            memory: Arc::clone(memory),
            network,
            bytes: 0,
        }
    }

    /// True if more than half of `limit` bytes are held, or more than half of the bytes that this
    /// network may hold: then slow clients are a burden to others.
    pub fn is_short(&self, limit: usize) -> bool {
        let network = self.network.as_ref();
        self.memory.is_short(limit) || network.is_some_and(|network| network.get() > limit / 4)
    }

    /// Bytes of `limit` that no share holds.
    pub fn free(&self, limit: usize) -> usize {
        limit.saturating_sub(self.memory.held())
    }

    /// Bytes that this share holds.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes `more` bytes. Returns false, and takes nothing, if all shares together would then hold
    /// more than `limit`, or those of this network more than would be free.
    pub fn grow(&mut self, more: usize, limit: usize) -> bool {
        if let Some(network) = &self.network
            && !network.take(more, self.memory.held(), limit)
        {
            self.memory.refused.fetch_add(1, Ordering::Relaxed);
            return false;
        }
        let has_room = self.memory.take(more, limit);
        if has_room {
            self.bytes += more;
        } else if let Some(network) = &self.network {
            network.give_back(more);
        }
        has_room
    }

    /// Gives `less` bytes back, at most all.
    pub fn shrink(&mut self, less: usize) {
        let less = less.min(self.bytes);
        self.bytes -= less;
        self.memory.held.fetch_sub(less, Ordering::Relaxed);
        if let Some(network) = &self.network {
            network.give_back(less);
        }
    }
}

impl Drop for MemoryShare {
    fn drop(&mut self) {
        self.shrink(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_together_stay_below_the_limit_and_are_given_back() {
        let memory = Arc::default();
        let (mut first, mut second) = (MemoryShare::new(&memory), MemoryShare::new(&memory));
        assert!(first.grow(60, 100) && !second.grow(41, 100) && second.grow(40, 100));
        assert!(memory.is_short(100) && !memory.is_short(200));
        first.shrink(10);
        assert!(second.grow(10, 100) && !second.grow(1, 100));
        assert_eq!(memory.read(), (100, 100, 2));
        drop((first, second));
        assert_eq!(memory.held(), 0);
    }

    #[test]
    fn a_network_holds_at_most_what_is_free_and_leaves_something_for_others() {
        let memory = Arc::default();
        let networks: [Arc<HeldBytes>; 4] = Default::default();
        let of =
            |number: usize| MemoryShare::of_network(&memory, Some(Arc::clone(&networks[number])));
        let all_of = |number| {
            let mut shares: Vec<MemoryShare> = (0..1_000).map(|_| of(number)).collect();
            shares.retain_mut(|share| share.grow(1, 120));
            shares
        };
        let held: Vec<_> = (0..3).map(all_of).collect();
        let lengths: Vec<_> = held.iter().map(Vec::len).collect();
        assert_eq!(lengths, [60, 30, 15]);
        assert!(of(0).is_short(120) && !of(3).is_short(1_000));
        assert!(of(3).grow(1, 120) && !of(3).grow(8, 120));
        let mut unlimited = MemoryShare::new(&memory);
        assert!(unlimited.grow(15, 120));
        drop((held, unlimited));
        assert_eq!(memory.held(), 0);
        assert!(networks.iter().all(|network| network.get() == 0));
    }

    #[test]
    fn memory_that_is_refused_is_not_counted_for_its_network() {
        let memory = Arc::default();
        let network = Arc::<HeldBytes>::default();
        let mut share = MemoryShare::of_network(&memory, Some(Arc::clone(&network)));
        assert!(share.grow(10, 100) && !share.grow(41, 100));
        assert_eq!(network.get(), 10);
        share.shrink(4);
        assert_eq!((network.get(), memory.held()), (6, 6));
    }

    #[test]
    fn a_limit_that_was_lowered_holds_for_new_bytes() {
        let memory = Arc::default();
        let mut share = MemoryShare::new(&memory);
        assert!(share.grow(60, 100) && !share.grow(1, 50));
        share.shrink(1000);
        assert!(share.grow(50, 50));
    }
}
