//! A timer for something that is repeated and reports its end, or never reports.

use std::time::{Duration, Instant};

/// Time beyond its own timeout after which a run without a report counts as lost.
const REPORT_GRACE: Duration = Duration::from_secs(1);

/// Delay after which the end of a run's time is seen late. The driver looks at every deadline when
/// it comes, unless this process does not run.
const LATE: Duration = Duration::from_millis(250);

/// The state of something that is repeated: due at a time, or running.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PollTimer {
    At(Instant),
    Running {
        began: Instant,
        /// Time for the run and its report.
        limit: Duration,
        lost: Instant,
    },
}

impl PollTimer {
    /// True if the action is due.
    pub fn is_due(self, now: Instant) -> bool {
        matches!(self, Self::At(at) if at <= now)
    }

    /// True if the action has begun and not ended.
    pub fn is_running(self) -> bool {
        matches!(self, Self::Running { .. })
    }

    /// True if a report about a run that began at `sent_at` is about the current run. The report of
    /// a run that was given up is not.
    pub fn is_answered(self, sent_at: Instant) -> bool {
        matches!(self, Self::Running { began, .. } if began <= sent_at)
    }

    /// Returns the start of the current run if its report will not come any more. A run whose time
    /// is seen to be over too late gets it once more: this process did not run, so that it could
    /// not take in a report either.
    pub fn give_up(&mut self, now: Instant) -> Option<Instant> {
        match self {
            Self::Running { limit, lost, .. } if *lost + LATE <= now => {
                *lost = now + *limit;
                None
            }
            Self::Running { began, lost, .. } if *lost <= now => Some(*began),
            Self::Running { .. } | Self::At(_) => None,
        }
    }

    /// Time of the next action: a start, or giving up the current run.
    pub fn deadline(self) -> Instant {
        match self {
            Self::At(at) | Self::Running { lost: at, .. } => at,
        }
    }

    /// Starts a run that ends within `limit`.
    pub fn begin(&mut self, now: Instant, limit: Duration) {
        let limit = limit + REPORT_GRACE;
        *self = Self::Running {
            began: now,
            limit,
            lost: now + limit,
        };
    }

    /// Makes the next run due at `at`, unless it is due earlier. No effect on a current run.
    pub fn hasten(&mut self, at: Instant) {
        if let Self::At(due) = self {
            *due = at.min(*due);
        }
    }
}
