//! The known addresses of host names.
//!
//! The system's resolver may block for a long time. Every look-up has a thread of its own, which
//! stores its answer here. A config reload waits for answers for a bounded time; later answers are
//! used by the next look-up. A name that has resolved once keeps its address while the name server
//! fails.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::config::Environment;

/// Maximum number of concurrent look-ups. Other names wait for the next round.
const MAX_LOOKUPS: usize = 64;

/// A host to look up, for a port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Name {
    pub(super) host: String,
    pub(super) port: u16,
}

/// The known addresses; see the module's documentation.
pub(super) struct Names {
    environment: Arc<dyn Environment + Send + Sync>,
    table: Mutex<BTreeMap<Name, Entry>>,
    answered: Condvar,
}

#[derive(Default)]
struct Entry {
    is_pending: bool,
    known: Option<SocketAddr>,
    /// The error of the last look-up; `None` if it succeeded.
    failure: Option<(io::ErrorKind, String)>,
}

impl Names {
    pub(super) fn new(environment: Arc<dyn Environment + Send + Sync>) -> Arc<Self> {
        Arc::new(Self {
            environment,
            table: Mutex::default(),
            answered: Condvar::new(),
        })
    }

    /// Looks up all `names` at the same time and forgets others. Returns when all have answered or
    /// `patience` has passed.
    pub(super) fn look_up(self: &Arc<Self>, names: &BTreeSet<Name>, patience: Duration) {
        let deadline = Instant::now() + patience;
        let mut table = self.table.lock();
        table.retain(|name, entry| entry.is_pending || names.contains(name));
        for name in names {
            let pending = table.values().filter(|entry| entry.is_pending).count();
            let entry = table.entry(name.clone()).or_default();
            if !entry.is_pending && pending < MAX_LOOKUPS {
                entry.is_pending = self.begin(name);
            }
        }
        while table
            .iter()
            .any(|(name, entry)| entry.is_pending && names.contains(name))
        {
            if self.answered.wait_until(&mut table, deadline).timed_out() {
                return;
            }
        }
    }

    /// The address of a name, or the reason why there is none.
    pub(super) fn answer(&self, host: &str, port: u16) -> io::Result<SocketAddr> {
        let table = self.table.lock();
        let entry = table.get(&Name {
            host: host.to_owned(),
            port,
        });
        if let Some(known) = entry.and_then(|entry| entry.known) {
            return Ok(known);
        }
        Err(match entry.and_then(|entry| entry.failure.clone()) {
            Some((kind, text)) => io::Error::new(kind, text),
            None => io::Error::new(
                io::ErrorKind::TimedOut,
                "the name server has not answered yet",
            ),
        })
    }

    /// Starts a look-up; false if its thread could not be started.
    fn begin(self: &Arc<Self>, name: &Name) -> bool {
        let (names, name) = (Arc::clone(self), name.clone());
        let look_up = move || {
            let answer = names.environment.resolve(&name.host, name.port);
            names.take(&name, answer);
        };
        std::thread::Builder::new()
            .name("resolve".to_owned())
            .spawn(look_up)
            .is_ok()
    }

    fn take(&self, name: &Name, answer: io::Result<SocketAddr>) {
        let mut table = self.table.lock();
        let entry = table.entry(name.clone()).or_default();
        entry.is_pending = false;
        match answer {
            Ok(address) => (entry.known, entry.failure) = (Some(address), None),
            Err(error) => entry.failure = Some((error.kind(), error.to_string())),
        }
        self.answered.notify_all();
    }
}
