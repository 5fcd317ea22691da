//! Something that is done again and again by somebody else, who may never report.

use std::time::{Duration, Instant};

/// A report that is this much overdue will not come.
const GRACE: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cluster) enum Due {
    At(Instant),
    Running { began: Instant, lost: Instant },
}

impl Due {
    pub(in crate::cluster) fn is_due(self, now: Instant) -> bool {
        matches!(self, Self::At(at) if at <= now)
    }

    pub(in crate::cluster) fn is_running(self) -> bool {
        matches!(self, Self::Running { .. })
    }

    /// Whether what was asked at `asked` is what runs: a report of one that was given up says
    /// nothing about it.
    pub(in crate::cluster) fn is_answered(self, asked: Instant) -> bool {
        matches!(self, Self::Running { began, .. } if began <= asked)
    }

    /// When it began, if no report will come any more.
    pub(in crate::cluster) fn lost(self, now: Instant) -> Option<Instant> {
        match self {
            Self::Running { began, lost } if lost <= now => Some(began),
            Self::Running { .. } | Self::At(_) => None,
        }
    }

    pub(in crate::cluster) fn deadline(self) -> Instant {
        match self {
            Self::At(at) | Self::Running { lost: at, .. } => at,
        }
    }

    /// Under way, and over in `limit`.
    pub(in crate::cluster) fn begin(&mut self, now: Instant, limit: Duration) {
        *self = Self::Running {
            began: now,
            lost: now + limit + GRACE,
        };
    }

    /// No later than `at`. No effect on what runs.
    pub(super) fn hasten(&mut self, at: Instant) {
        if let Self::At(due) = self {
            *due = at.min(*due);
        }
    }
}
