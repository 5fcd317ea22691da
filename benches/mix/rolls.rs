//! The answers of a run in which an administrator's changes reached the replicas.

use std::time::Duration;

use crate::drive::{End, Sample};
use crate::in_time::InTime;

/// One change. Times are from the start of the run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Change {
    /// The time of the first write.
    pub(crate) published: Duration,
    /// The time when every replica had the change. `None` if that did not happen.
    pub(crate) fresh: Option<Duration>,
    /// Reloads of replicas until then.
    pub(crate) reloads: usize,
    /// Reads of the new layer by its publisher until then ...
    pub(crate) looks: usize,
    /// ... and those of them that were not answered rightly.
    pub(crate) unseen: usize,
    /// The reason why the change did not reach every replica.
    pub(crate) trouble: Option<String>,
}

/// The answers while changes spread. Arrays are by [`Kind`](crate::arrivals::Kind).
#[derive(Clone, Debug, Default)]
pub(crate) struct Rolls {
    pub(crate) changes: Vec<Change>,
    /// Answers other than what was requested, as "layer not defined". Counted over the whole run.
    pub(crate) wrong: [usize; 3],
    /// Right answers from before a change that had already reached every replica. Counted over the
    /// whole run.
    pub(crate) stale: [usize; 3],
    /// Answers in time, of requests due while a change spread.
    pub(crate) in_time: InTime,
    /// Requests due while a change spread.
    pub(crate) came: usize,
    /// Those of them that the main answered.
    pub(crate) by_main: usize,
}

impl Change {
    /// Whether the change was spreading at this time. One that never reached every replica spreads
    /// until the end.
    pub(crate) fn is_spreading(&self, at: Duration) -> bool {
        at >= self.published && self.fresh.is_none_or(|fresh| at < fresh)
    }
}

impl Rolls {
    pub(crate) fn new(samples: &[Sample], changes: Vec<Change>) -> Self {
        let mut rolls = Self::default();
        for sample in samples {
            let kind = sample.arrival.kind as usize;
            match sample.end {
                End::Wrong(_) => rolls.wrong[kind] += 1,
                End::Stale => rolls.stale[kind] += 1,
                End::Answered | End::Refused(_) | End::Failed(_) | End::NotSent => {}
            }
            if changes
                .iter()
                .any(|change| change.is_spreading(sample.arrival.at))
            {
                rolls
                    .in_time
                    .count(&sample.arrival, sample.answered_after());
                rolls.came += 1;
                rolls.by_main += usize::from(sample.is_by_main);
            }
        }
        Self { changes, ..rolls }
    }

    /// Wrong and stale answers to all, and to the publisher.
    pub(crate) fn faults(&self) -> usize {
        let unseen: usize = self.changes.iter().map(|change| change.unseen).sum();
        self.wrong.iter().chain(&self.stale).sum::<usize>() + unseen
    }

    /// Whether every change reached every replica.
    pub(crate) fn are_complete(&self) -> bool {
        self.changes.iter().all(|change| change.fresh.is_some())
    }
}
