//! The documents that one instance has printed.

use std::collections::HashSet;

use parking_lot::Mutex;

/// Beyond this, documents are forgotten. The module deletes them after ten minutes.
const MAX_PRINTOUTS: usize = 10_000;

/// The documents of one instance.
#[derive(Debug, Default)]
pub(super) struct Printouts {
    known: Mutex<HashSet<String>>,
}

impl Printouts {
    pub(super) fn keep(&self, id: String) {
        let mut known = self.known.lock();
        if known.len() == MAX_PRINTOUTS {
            known.clear();
        }
        known.insert(id);
    }

    pub(super) fn has(&self, id: &str) -> bool {
        self.known.lock().contains(id)
    }
}
