//! The tile cache, and the locks under which its metatiles are rendered.
//!
//! A tile in the cache is answered as it was drawn, however old that is, until it is truncated.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Mutex as AsyncMutex;

/// Beyond this the cache starts over empty.
const MAX_METATILES: usize = 200_000;

/// The metatiles that are rendered, by their hash.
#[derive(Debug, Default)]
pub(super) struct TileCache {
    rendered: Mutex<HashMap<u64, Rendered>>,
}

/// A metatile as it was drawn.
#[derive(Debug)]
struct Rendered {
    layer: String,
    look: u64,
}

impl TileCache {
    /// The look of the layer when the metatile was drawn, if it is in the cache.
    pub(super) fn look_of(&self, metatile: u64) -> Option<u64> {
        let rendered = self.rendered.lock();
        rendered.get(&metatile).map(|rendered| rendered.look)
    }

    pub(super) fn put(&self, metatile: u64, layer: &str, look: u64) {
        let mut rendered = self.rendered.lock();
        if rendered.len() == MAX_METATILES {
            rendered.clear();
        }
        let layer = layer.to_owned();
        rendered.insert(metatile, Rendered { layer, look });
    }

    /// Drops everything.
    pub(super) fn truncate(&self) {
        self.rendered.lock().clear();
    }

    /// Drops the tiles of a layer or group.
    pub(super) fn truncate_layer(&self, layer: &str) {
        self.rendered.lock().retain(|_, tile| tile.layer != layer);
    }

    /// Drops the tiles that would be drawn in another way now.
    pub(super) fn truncate_changed(&self, look_now: impl Fn(&str) -> u64) {
        self.rendered
            .lock()
            .retain(|_, tile| look_now(&tile.layer) == tile.look);
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
