//! The last rolls for operators: with times of the day, and across restarts.

use std::collections::VecDeque;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::cluster::{ReplicaRoll, RollReport};
use crate::unix_time::since_1970;

/// Maximum number of rolls that are kept.
pub const MAX_ROLLS: usize = 100;
/// Maximum length of a stored failure in characters.
const MAX_FAILURE: usize = 300;

/// The history of rolls, which survives the process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RollHistory {
    /// An operator paused rolls.
    pub paused: bool,
    /// At most [`MAX_ROLLS`], the oldest first.
    pub rolls: VecDeque<PastRoll>,
}

/// A finished roll.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PastRoll {
    /// Seconds since 1970.
    pub began_unix: u64,
    pub took_ms: u64,
    pub epoch: u64,
    /// `update-sequence`, `write`, `sync`, `main`, `directory` or `repair`.
    pub why: String,
    /// Users whose requests made the change, as far as they are known.
    pub by: Vec<String>,
    pub replicas: Vec<PastReload>,
}

/// The part of one replica in a roll.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PastReload {
    pub upstream: String,
    /// Length of the reload; `null` if it failed.
    pub took_ms: Option<u64>,
    /// Cause of the failure; `null` on success.
    pub failure: Option<String>,
}

impl RollHistory {
    /// Appends a roll. Both clocks were read at the same moment.
    pub(super) fn add(&mut self, report: &RollReport, now: Instant, clock: SystemTime) {
        let began = clock
            .checked_sub(now.saturating_duration_since(report.began))
            .unwrap_or(UNIX_EPOCH);
        let past = PastRoll {
            began_unix: since_1970(began).as_secs(),
            took_ms: millis(report.length()),
            epoch: report.epoch,
            why: report.why.as_str().to_owned(),
            by: report.by.clone(),
            replicas: report.replicas.iter().map(PastReload::of).collect(),
        };
        self.rolls.push_back(past);
        self.bound();
    }

    pub(super) fn bound(&mut self) {
        self.rolls
            .drain(..self.rolls.len().saturating_sub(MAX_ROLLS));
    }
}

impl PastReload {
    fn of(ReplicaRoll { name, result }: &ReplicaRoll) -> Self {
        let failure = result
            .as_ref()
            .err()
            .map(|cause| cause.to_string().chars().take(MAX_FAILURE).collect());
        Self {
            upstream: name.to_string(),
            took_ms: result.as_ref().ok().copied().map(millis),
            failure,
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::{Cause, ChangeSource, RollReason};
    use crate::config::UpstreamName;

    #[test]
    fn the_history_holds_the_last_hundred_rolls_with_their_outcomes() {
        let (now, clock) = (
            Instant::now() + Duration::from_secs(100),
            UNIX_EPOCH + Duration::from_secs(1_000_000),
        );
        let of = |name, result| ReplicaRoll {
            name: UpstreamName::new(name).unwrap(),
            result,
        };
        let report = |epoch| RollReport {
            epoch,
            why: RollReason::Change(ChangeSource::Write),
            by: vec!["ann".to_owned()],
            began: now - Duration::from_secs(60),
            ended: now - Duration::from_secs(20),
            replicas: vec![
                of("a", Ok(Duration::from_secs(3))),
                of("b", Err(Cause::Status(500))),
            ],
        };
        let mut history = RollHistory::default();
        (0..150).for_each(|epoch| history.add(&report(epoch), now, clock));
        assert_eq!(
            (
                history.rolls.len(),
                history.rolls[0].epoch,
                history.rolls[99].epoch
            ),
            (MAX_ROLLS, 50, 149)
        );
        let last = &history.rolls[99];
        assert_eq!(
            (last.began_unix, last.took_ms, last.why.as_str()),
            (999_940, 40_000, "write")
        );
        assert_eq!(last.replicas[0].took_ms, Some(3000));
        assert_eq!(last.replicas[1].failure.as_deref(), Some("status 500"));
    }
}
