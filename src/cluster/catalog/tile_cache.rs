//! The truncations that the tile cache of one upstream owes, and their attempts.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::truncation::{TRUNCATION_LIMIT, Truncation};
use crate::cluster::Cause;
use crate::health::PollTimer;

/// Truncations that one upstream may owe. Beyond this number, all its tiles are dropped instead.
const MAX_OWED: usize = 32;
/// Pause after the first failed attempt; it doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
/// Longest pause after a failed attempt.
const LONGEST_PAUSE: Duration = Duration::from_secs(600);
/// Consecutive failed attempts from which on an operator should look at it.
const LASTING: u32 = 3;

/// The tile cache of one upstream.
#[derive(Debug)]
pub(in crate::cluster) struct TileCache {
    /// The truncations that it owes, the next one first. At most [`MAX_OWED`].
    owed: VecDeque<Truncation>,
    /// The truncation that runs.
    running: Option<Truncation>,
    call: PollTimer,
    /// The tiles that the catalog reload which is under way makes old.
    of_reload: Option<Truncation>,
    failures: u32,
    cause: Option<Cause>,
}

/// The result of an attempt.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum TruncationResult {
    Done {
        truncation: Truncation,
        took: Duration,
        /// It failed before.
        is_recovery: bool,
    },
    Failed {
        truncation: Truncation,
        cause: Cause,
        retry_in: Duration,
    },
}

/// The tile cache of an upstream as shown to an operator.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TileCacheStatus {
    /// Truncations that it owes, the running one included.
    pub owed: usize,
    /// The cause of the last failure, until an attempt succeeds.
    pub failure: Option<Cause>,
}

impl TileCache {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            owed: VecDeque::new(),
            running: None,
            call: PollTimer::At(now),
            of_reload: None,
            failures: 0,
            cause: None,
        }
    }

    /// Adds a truncation that it owes from now on.
    pub(super) fn owe(&mut self, truncation: Truncation) {
        if self.owed.contains(&Truncation::All) || self.owed.contains(&truncation) {
            return;
        }
        if truncation == Truncation::All || self.owed.len() == MAX_OWED {
            self.owed.clear();
            self.owed.push_back(Truncation::All);
        } else {
            self.owed.push_back(truncation);
        }
    }

    /// Adds the truncation that a finished reload makes necessary, as the next one. Returns true if
    /// there is one.
    pub(super) fn owe_for_reload(&mut self, now: Instant) -> bool {
        let Some(truncation) = self.of_reload.take() else {
            return false;
        };
        if truncation == Truncation::All {
            self.owed.clear();
        }
        self.owed.retain(|owed| *owed != truncation);
        self.owed.push_front(truncation);
        self.call.hasten(now);
        true
    }

    /// All truncations that it owes, the running one first.
    pub(in crate::cluster) fn all_owed(&self) -> impl Iterator<Item = &Truncation> {
        self.running.iter().chain(&self.owed)
    }

    /// Restores the truncations that it owed to the process before this one.
    pub(in crate::cluster) fn recall(&mut self, owed: &[Truncation]) {
        owed.iter()
            .for_each(|truncation| self.owe(truncation.clone()));
    }

    pub(super) fn is_due(&self, now: Instant) -> bool {
        !self.owed.is_empty() && self.call.is_due(now)
    }

    pub(super) fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// Begins the next truncation.
    pub(super) fn begin(&mut self, now: Instant) -> Option<Truncation> {
        let next = self.owed.pop_front()?;
        self.running = Some(next.clone());
        self.call.begin(now, TRUNCATION_LIMIT);
        Some(next)
    }

    /// Takes in the result of the attempt that began at `sent_at`.
    pub(super) fn ended(
        &mut self,
        sent_at: Instant,
        outcome: Result<(), Cause>,
        now: Instant,
    ) -> Option<TruncationResult> {
        let PollTimer::Running { began, .. } = self.call else {
            return None;
        };
        let truncation = self.running.take_if(|_| self.call.is_answered(sent_at))?;
        match outcome {
            Ok(()) => {
                let is_recovery = self.failures > 0;
                (self.failures, self.cause, self.call) = (0, None, PollTimer::At(now));
                Some(TruncationResult::Done {
                    truncation,
                    took: now.saturating_duration_since(began),
                    is_recovery,
                })
            }
            Err(cause) => {
                let retry_in = FIRST_PAUSE
                    .saturating_mul(1 << self.failures.min(16))
                    .min(LONGEST_PAUSE);
                self.failures = self.failures.saturating_add(1);
                (self.cause, self.call) = (Some(cause.clone()), PollTimer::At(now + retry_in));
                // Something that was added meanwhile may include it.
                self.owe(truncation.clone());
                Some(TruncationResult::Failed {
                    truncation,
                    cause,
                    retry_in,
                })
            }
        }
    }

    /// Notes the tiles that the catalog reload which begins makes old.
    pub(super) fn note_reload(&mut self, truncation: Option<Truncation>) {
        self.of_reload = truncation;
    }

    /// True if it owes a truncation that has not begun.
    pub(super) fn owes_more(&self) -> bool {
        !self.owed.is_empty()
    }

    /// Start of the running attempt, if its report will not come any more.
    pub(super) fn give_up(&mut self, now: Instant) -> Option<Instant> {
        self.call.give_up(now)
    }

    /// Returns the time of its next step. `may_begin`: a truncation may begin now.
    pub(super) fn deadline(&self, may_begin: bool) -> Option<Instant> {
        let is_awaited = self.is_running() || may_begin && !self.owed.is_empty();
        is_awaited.then(|| self.call.deadline())
    }

    pub(super) fn status(&self) -> TileCacheStatus {
        TileCacheStatus {
            owed: self.owed.len() + usize::from(self.is_running()),
            failure: self.cause.clone(),
        }
    }

    pub(super) fn lasting_failure(&self) -> Option<&Cause> {
        self.cause.as_ref().filter(|_| self.failures >= LASTING)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(name: &str) -> Truncation {
        Truncation::TileLayer(name.to_owned())
    }

    fn failed() -> Result<(), Cause> {
        Err(Cause::Status(500))
    }

    #[test]
    fn equal_truncations_are_one_and_all_tiles_include_every_other() {
        let now = Instant::now();
        let mut tiles = TileCache::new(now);
        tiles.owe(layer("a"));
        tiles.owe(layer("a"));
        tiles.owe(layer("b"));
        assert_eq!(tiles.status().owed, 2);
        tiles.owe(Truncation::All);
        tiles.owe(layer("c"));
        assert_eq!(tiles.owed, [Truncation::All]);
    }

    #[test]
    fn more_than_can_be_kept_become_all_tiles() {
        let mut tiles = TileCache::new(Instant::now());
        (0..MAX_OWED).for_each(|number| tiles.owe(layer(&number.to_string())));
        assert_eq!(tiles.owed.len(), MAX_OWED);
        tiles.owe(layer("one more"));
        assert_eq!(tiles.owed, [Truncation::All]);
    }

    #[test]
    fn what_is_ordered_while_the_same_runs_is_owed_once_more() {
        let now = Instant::now();
        let mut tiles = TileCache::new(now);
        tiles.owe(layer("a"));
        assert_eq!(tiles.begin(now), Some(layer("a")));
        tiles.owe(layer("a"));
        tiles.ended(now, Ok(()), now);
        assert!(tiles.is_due(now), "the running one may have come too early");
    }

    #[test]
    fn a_failed_truncation_is_tried_again_after_pauses_that_double_to_a_bound() {
        let mut now = Instant::now();
        let mut tiles = TileCache::new(now);
        tiles.owe(layer("a"));
        let mut pauses = Vec::new();
        for _ in 0..10 {
            assert_eq!(tiles.begin(now), Some(layer("a")));
            let Some(TruncationResult::Failed { retry_in, .. }) = tiles.ended(now, failed(), now)
            else {
                panic!("it failed");
            };
            assert!(!tiles.is_due(now + retry_in - Duration::from_millis(1)));
            now += retry_in;
            assert!(tiles.is_due(now));
            pauses.push(retry_in.as_secs());
        }
        assert_eq!(pauses, [5, 10, 20, 40, 80, 160, 320, 600, 600, 600]);
        tiles.begin(now);
        assert!(tiles.lasting_failure().is_some());
        assert!(matches!(
            tiles.ended(now, Ok(()), now),
            Some(TruncationResult::Done {
                is_recovery: true,
                ..
            })
        ));
        assert_eq!(tiles.status(), TileCacheStatus::default());
    }

    #[test]
    fn a_report_of_a_truncation_that_was_given_up_does_not_count() {
        let now = Instant::now();
        let mut tiles = TileCache::new(now);
        tiles.owe(layer("a"));
        tiles.begin(now);
        tiles.ended(now, failed(), now + TRUNCATION_LIMIT);
        assert_eq!(tiles.ended(now, Ok(()), now + TRUNCATION_LIMIT), None);
        assert_eq!(tiles.status().owed, 1);
    }
}
