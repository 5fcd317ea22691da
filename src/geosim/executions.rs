//! The processes that one instance runs in the background.

use std::collections::HashMap;

use parking_lot::Mutex;

/// Beyond this, finished executions are forgotten.
const MAX_EXECUTIONS: usize = 10_000;

/// Background executions of one instance.
#[derive(Debug, Default)]
pub(super) struct Executions {
    /// The process of each, by its id.
    known: Mutex<HashMap<String, String>>,
}

impl Executions {
    /// Begins an execution on the instance `name`. GeoServer's identifiers are unique, and two
    /// instances may draw the same number.
    pub(super) fn begin(&self, name: &str, number: u64, process: &str) -> String {
        let id = format!("{name}-{number:016x}");
        let mut known = self.known.lock();
        if known.len() == MAX_EXECUTIONS {
            known.clear();
        }
        known.insert(id.clone(), process.to_owned());
        id
    }

    pub(super) fn process_of(&self, id: &str) -> Option<String> {
        self.known.lock().get(id).cloned()
    }

    pub(super) fn dismiss(&self, id: &str) -> Option<String> {
        self.known.lock().remove(id)
    }
}
