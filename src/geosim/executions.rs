//! The processes that one instance runs in the background.

use std::collections::HashSet;

use parking_lot::Mutex;

/// Beyond this, finished executions are forgotten.
const MAX_EXECUTIONS: usize = 10_000;

/// Background executions of one instance.
#[derive(Debug, Default)]
pub(super) struct Executions {
    known: Mutex<HashSet<String>>,
}

impl Executions {
    pub(super) fn begin(&self, number: u64) -> String {
        let id = format!("{number:016x}");
        let mut known = self.known.lock();
        if known.len() == MAX_EXECUTIONS {
            known.clear();
        }
        known.insert(id.clone());
        id
    }

    pub(super) fn knows(&self, id: &str) -> bool {
        self.known.lock().contains(id)
    }

    pub(super) fn dismiss(&self, id: &str) -> bool {
        self.known.lock().remove(id)
    }
}
