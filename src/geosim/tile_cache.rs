//! The tile cache, and the locks under which its metatiles are rendered.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Mutex as AsyncMutex;

/// Beyond this the cache starts over empty.
const MAX_METATILES: usize = 200_000;

/// The metatiles that are rendered, by their hash.
#[derive(Debug, Default)]
pub(super) struct TileCache {
    rendered: Mutex<HashSet<u64>>,
}

impl TileCache {
    pub(super) fn has(&self, metatile: u64) -> bool {
        self.rendered.lock().contains(&metatile)
    }

    pub(super) fn put(&self, metatile: u64) {
        let mut rendered = self.rendered.lock();
        if rendered.len() == MAX_METATILES {
            rendered.clear();
        }
        rendered.insert(metatile);
    }

    pub(super) fn truncate(&self) {
        self.rendered.lock().clear();
    }
}

/// Metatiles being rendered by one instance: GeoWebCache's memory lock provider, which other
/// instances know nothing of.
#[derive(Debug, Default)]
pub(super) struct TileLocks {
    locks: Mutex<HashMap<u64, Arc<AsyncMutex<()>>>>,
}

impl TileLocks {
    pub(super) fn of(&self, metatile: u64) -> Arc<AsyncMutex<()>> {
        Arc::clone(self.locks.lock().entry(metatile).or_default())
    }

    pub(super) fn forget(&self, metatile: u64) {
        self.locks.lock().remove(&metatile);
    }
}
