//! The main's own catalog reload, after a change of the data directory that it did not make.

use std::time::Instant;

use crate::health::PollTimer;

/// The state of the main's own reload (`reload_main`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::cluster) enum MainReload {
    #[default]
    No,
    Wanted {
        tries: u32,
        at: Instant,
    },
    Running {
        tries: u32,
        began: Instant,
        call: PollTimer,
    },
}

impl MainReload {
    pub(in crate::cluster) fn is_running(self) -> bool {
        matches!(self, Self::Running { .. })
    }

    /// Returns the time of the next step. Before its first step, the reload waits until it may
    /// begin.
    pub(super) fn deadline(self, may_begin: bool) -> Option<Instant> {
        match self {
            Self::No => None,
            Self::Wanted { at, .. } => may_begin.then_some(at),
            Self::Running { call, .. } => Some(call.deadline()),
        }
    }
}
