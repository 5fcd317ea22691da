//! Something that is done again and again by somebody else, who may never report.

use std::time::{Duration, Instant};

/// A report that is this much overdue will not come.
const GRACE: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    At(Instant),
    Running { lost: Instant },
}

impl Due {
    pub(super) fn is_due(self, now: Instant) -> bool {
        matches!(self, Self::At(at) if at <= now)
    }

    pub(super) fn is_running(self) -> bool {
        matches!(self, Self::Running { .. })
    }

    pub(super) fn is_lost(self, now: Instant) -> bool {
        matches!(self, Self::Running { lost } if lost <= now)
    }

    pub(super) fn deadline(self) -> Instant {
        match self {
            Self::At(at) | Self::Running { lost: at } => at,
        }
    }

    /// Under way, and over in `limit`.
    pub(super) fn begin(&mut self, now: Instant, limit: Duration) {
        *self = Self::Running { lost: now + limit + GRACE };
    }

    /// No later than `at`. No effect on what runs.
    pub(super) fn hasten(&mut self, at: Instant) {
        if let Self::At(due) = self {
            *due = at.min(*due);
        }
    }
}
