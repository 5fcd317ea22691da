//! The memory that answers on their way to several clients may hold, all together.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The most that is kept of one answer. Tiles and maps are well below; capabilities of thousands of
/// layers may not be, and then every request gets its own.
pub(super) const MAX_BODY: usize = 4 << 20;
/// The most that is kept of all answers together, until the last client has its copy.
pub(super) const MAX_KEPT: usize = 64 << 20;

/// Bytes that all answers hold together.
#[derive(Clone, Debug, Default)]
pub(super) struct AnswerMemory(Arc<AtomicUsize>);

impl AnswerMemory {
    /// Room for one answer, none of it used yet.
    pub(super) fn claim(&self) -> MemoryClaim {
        MemoryClaim {
            memory: self.clone(),
            bytes: 0,
        }
    }

    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// Bytes that one answer holds; given back when dropped.
#[derive(Debug)]
pub(super) struct MemoryClaim {
    memory: AnswerMemory,
    bytes: usize,
}

impl MemoryClaim {
    /// Takes `bytes` more. Returns false, and takes nothing, when that would be too much for one
    /// answer or for all.
    pub(super) fn grow(&mut self, bytes: usize) -> bool {
        if self.bytes + bytes > MAX_BODY {
            return false;
        }
        let with = |kept: usize| Some(kept + bytes).filter(|kept| *kept <= MAX_KEPT);
        let has_room = self
            .memory
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, with)
            .is_ok();
        if has_room {
            self.bytes += bytes;
        }
        has_room
    }
}

impl Drop for MemoryClaim {
    fn drop(&mut self) {
        self.memory.0.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}
