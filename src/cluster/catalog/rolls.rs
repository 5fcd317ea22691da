//! Rolls as a whole: the start of the next roll, the turn of its next replica, and the results of
//! the last rolls.
//!
//! A roll brings one epoch, the one that was settled when it began, to all replicas that are behind
//! it. Changes that settle meanwhile are left to the next roll. The next roll begins after a pause
//! (`catalog.roll_share`), so that a publisher who works all day does not keep the cluster in a
//! roll all day. An order does not wait, nor does a replica that may have no catalog at all, nor
//! one that is out of service already.

use std::collections::VecDeque;
use std::fmt;
use std::time::{Duration, Instant};

use super::ChangeSource;
use crate::cluster::{Cause, UpstreamId};
use crate::config::UpstreamName;

/// Rolls that have ended and were not handed out yet.
const MAX_ENDED: usize = 100;
/// Results of one roll that are kept. A replica that fails repeatedly adds to its last result.
const MAX_RESULTS: usize = 1000;
/// Longest wait of a roll for a cluster that does not get its capacity back.
pub(super) const MAX_CAPACITY_WAIT: Duration = Duration::from_secs(60);

#[derive(Debug, Default)]
pub(in crate::cluster) struct Rolls {
    current: Option<Current>,
    /// No other roll begins before this.
    not_before: Option<Instant>,
    /// Start of the wait of the next replica for the capacity that the cluster needs to spare it.
    lacks_capacity_since: Option<Instant>,
    /// The epoch of the last order. No roll waits for its turn to bring it.
    ordered: u64,
    /// True if an operator has ordered that no replica leaves service.
    is_paused: bool,
    /// The reason why this process begins no reloads.
    hold: Option<Hold>,
    /// The replica that returned last.
    pub(super) last_returned: Option<UpstreamId>,
    ended: VecDeque<RollReport>,
}

#[derive(Debug)]
struct Current {
    /// The epoch that it brings.
    target: u64,
    /// True if it repairs one replica and brings no change. It then costs the next roll no pause.
    is_repair: bool,
    report: RollReport,
}

/// The reason why a process begins no catalog reloads, although it observes and serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// Another process with the same state file still runs, and may have requests on any replica.
    OtherProcess,
    /// This process stops, and another one may run already.
    Stopping,
}

/// One roll, for the history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RollReport {
    pub epoch: u64,
    pub why: RollReason,
    /// Users with requests that made the change, as far as they are known.
    pub by: Vec<String>,
    pub began: Instant,
    pub ended: Instant,
    /// The results of the replicas, in the order in which they ended.
    pub replicas: Vec<ReplicaRoll>,
}

impl RollReport {
    /// Returns the duration of the roll.
    pub fn length(&self) -> Duration {
        self.ended.saturating_duration_since(self.began)
    }
}

/// The result of a roll for one replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaRoll {
    pub name: UpstreamName,
    /// The duration, or the cause of the failure.
    pub result: Result<Duration, Cause>,
}

/// The reason for a roll.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RollReason {
    /// The main's catalog changed.
    Change(ChangeSource),
    /// A replica was found behind without a change, or an earlier reload of it failed.
    Repair,
}

impl RollReason {
    /// Returns the word for it in logs and answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Change(source) => source.as_str(),
            Self::Repair => "repair",
        }
    }
}

impl fmt::Display for RollReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Change(ChangeSource::Number) => "the main's update sequence changed",
            Self::Change(ChangeSource::Write) => "a write passed through geofront",
            Self::Change(ChangeSource::Order) => "ordered",
            Self::Change(ChangeSource::Main) => "another upstream is the main",
            Self::Change(ChangeSource::Directory) => "the data directory changed",
            Self::Repair => "a replica was found behind, or its last reload failed",
        })
    }
}

/// A replica that needs a reload.
#[derive(Clone, Copy, Debug)]
pub(super) struct ReloadNeed {
    /// The epoch that it holds.
    pub(super) held: Option<u64>,
    /// True if it is out of service already, after a failed reload.
    pub(super) is_stuck: bool,
}

impl ReloadNeed {
    fn is_repair(self) -> bool {
        self.held.is_none() || self.is_stuck
    }

    fn is_behind(self, epoch: u64) -> bool {
        self.held < Some(epoch)
    }
}

impl Rolls {
    pub(super) fn ordered(&mut self, epoch: u64) {
        self.ordered = epoch;
        if let Some(current) = &mut self.current {
            current.target = epoch;
        }
    }

    pub(super) fn is_paused(&self) -> bool {
        self.is_paused
    }

    pub(super) fn set_paused(&mut self, is_paused: bool) {
        self.is_paused = is_paused;
    }

    pub(super) fn hold(&self) -> Option<Hold> {
        self.hold
    }

    /// Sets the hold. A process that stops does not begin again.
    pub(super) fn set_hold(&mut self, hold: Option<Hold>) {
        if self.hold != Some(Hold::Stopping) {
            self.hold = hold;
        }
    }

    /// True if no replica leaves service for its catalog.
    pub(super) fn is_stopped(&self) -> bool {
        self.is_paused || self.hold.is_some()
    }

    pub(super) fn is_under_way(&self) -> bool {
        self.current.is_some()
    }

    /// Returns the end of the pause after the last roll, if it has not ended yet.
    pub(super) fn rests_until(&self, now: Instant) -> Option<Instant> {
        self.not_before
            .filter(|at| *at > now && self.current.is_none())
    }

    /// True during the pause after the last roll that brought a change, also while a repair uses
    /// the pause.
    fn is_pause(&self, now: Instant) -> bool {
        let is_repair = |current: &Current| current.is_repair;
        self.not_before.is_some_and(|at| at > now) && self.current.as_ref().is_none_or(is_repair)
    }

    /// True if the rules of rolls allow this replica to begin now.
    pub(super) fn may_take(&self, need: ReloadNeed, now: Instant) -> bool {
        if self.hold.is_some() {
            return false;
        }
        if self.is_paused {
            return need.is_stuck;
        }
        let is_behind_target = self
            .current
            .as_ref()
            .is_none_or(|current| need.is_behind(current.target));
        need.is_repair()
            || need.is_behind(self.ordered)
            || (is_behind_target && !self.is_pause(now))
    }

    /// Notes that a replica leaves service. Returns true if a roll begins with it.
    pub(super) fn takes(
        &mut self,
        need: ReloadNeed,
        settled: u64,
        reason: (RollReason, Vec<String>),
        now: Instant,
    ) -> bool {
        self.lacks_capacity_since = None;
        let is_repair = need.is_repair();
        if let Some(current) = &mut self.current {
            current.is_repair &= is_repair;
            return false;
        }
        let (why, by) = reason;
        let report = RollReport {
            epoch: settled,
            why,
            by,
            began: now,
            ended: now,
            replicas: Vec::new(),
        };
        self.current = Some(Current {
            target: settled,
            is_repair,
            report,
        });
        true
    }

    /// Notes that the next replica lacks the capacity to leave. Returns true as long as it has to
    /// wait for that.
    pub(super) fn waits_for_capacity(&mut self, now: Instant) -> bool {
        now < *self.lacks_capacity_since.get_or_insert(now) + MAX_CAPACITY_WAIT
    }

    /// Returns the deadline of the wait for capacity.
    pub(super) fn capacity_deadline(&self) -> Option<Instant> {
        Some(self.lacks_capacity_since? + MAX_CAPACITY_WAIT)
    }

    pub(super) fn note(&mut self, name: &UpstreamName, result: Result<Duration, Cause>) {
        if let Some(current) = self
            .current
            .as_mut()
            .filter(|current| current.report.replicas.len() < MAX_RESULTS)
        {
            current.report.replicas.push(ReplicaRoll {
                name: name.clone(),
                result,
            });
        }
    }

    /// Ends the roll, because nothing is under way any more. `share`: the part of the time that
    /// rolls may take, in percent.
    pub(super) fn end(&mut self, share: u32, now: Instant) -> Option<RollReport> {
        self.lacks_capacity_since = None;
        let Current {
            is_repair,
            mut report,
            ..
        } = self.current.take()?;
        report.ended = now;
        if !is_repair {
            let length = now.saturating_duration_since(report.began);
            let share = share.clamp(1, 100);
            let pause_ends = now + length * (100 - share) / share;
            // An order may begin a roll within the pause after a longer one.
            self.not_before = self.not_before.max(Some(pause_ends));
        }
        if self.ended.len() == MAX_ENDED {
            self.ended.pop_front();
        }
        self.ended.push_back(report.clone());
        Some(report)
    }

    /// Takes the rolls that ended since the last call.
    pub(in crate::cluster) fn take_ended(&mut self) -> VecDeque<RollReport> {
        std::mem::take(&mut self.ended)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const BEHIND: ReloadNeed = ReloadNeed {
        held: Some(1),
        is_stuck: false,
    };

    fn rolled(took: Duration, share: u32) -> (Rolls, Instant) {
        let (mut rolls, start) = (Rolls::default(), Instant::now());
        assert!(
            rolls.may_take(BEHIND, start),
            "the first roll begins at once"
        );
        assert!(rolls.takes(
            BEHIND,
            2,
            (RollReason::Change(ChangeSource::Number), Vec::new()),
            start
        ));
        rolls.end(share, start + took);
        (rolls, start + took)
    }

    #[test]
    fn at_most_a_third_of_the_time_is_spent_in_rolls() {
        let (rolls, end) = rolled(SECOND * 33, 33);
        let need = ReloadNeed {
            held: Some(2),
            is_stuck: false,
        };
        assert!(!rolls.may_take(need, end + SECOND * 66));
        assert!(rolls.may_take(need, end + SECOND * 67));
        let (rolls, end) = rolled(SECOND * 33, 100);
        assert!(rolls.may_take(need, end), "without a pause");
    }

    #[test]
    fn an_order_and_a_replica_without_a_catalog_do_not_wait_for_the_pause() {
        let (mut rolls, end) = rolled(SECOND * 10, 33);
        assert!(!rolls.may_take(BEHIND, end));
        assert!(rolls.may_take(
            ReloadNeed {
                held: None,
                is_stuck: false
            },
            end
        ));
        assert!(rolls.may_take(
            ReloadNeed {
                held: Some(2),
                is_stuck: true
            },
            end
        ));
        rolls.ordered(3);
        assert!(rolls.may_take(BEHIND, end));
    }

    #[test]
    fn a_repair_during_the_pause_brings_the_change_to_no_other_replica() {
        let (mut rolls, end) = rolled(SECOND * 10, 33);
        let (lost, reason) = (
            ReloadNeed {
                held: None,
                is_stuck: false,
            },
            (RollReason::Repair, Vec::new()),
        );
        assert!(rolls.takes(lost, 3, reason, end));
        let behind = ReloadNeed {
            held: Some(2),
            is_stuck: false,
        };
        assert!(rolls.may_take(lost, end));
        assert!(!rolls.may_take(behind, end));
        assert!(rolls.may_take(behind, end + SECOND * 21), "after the pause");
    }

    #[test]
    fn a_short_roll_by_order_does_not_shorten_the_pause_after_a_long_roll() {
        let (mut rolls, end) = rolled(SECOND * 10, 50);
        rolls.ordered(3);
        let reason = (RollReason::Change(ChangeSource::Order), Vec::new());
        assert!(rolls.takes(BEHIND, 3, reason, end));
        rolls.end(50, end + SECOND);
        let behind = ReloadNeed {
            held: Some(3),
            is_stuck: false,
        };
        assert!(!rolls.may_take(behind, end + SECOND * 9));
        assert!(rolls.may_take(behind, end + SECOND * 10));
    }

    #[test]
    fn a_change_that_settles_during_a_roll_belongs_to_the_next_roll() {
        let (mut rolls, start) = (Rolls::default(), Instant::now());
        rolls.takes(
            BEHIND,
            2,
            (RollReason::Change(ChangeSource::Number), Vec::new()),
            start,
        );
        assert!(rolls.may_take(BEHIND, start));
        assert!(
            !rolls.may_take(
                ReloadNeed {
                    held: Some(2),
                    is_stuck: false
                },
                start
            ),
            "it has what this roll brings"
        );
    }

    #[test]
    fn a_repair_costs_the_next_roll_no_pause() {
        let (mut rolls, start) = (Rolls::default(), Instant::now());
        rolls.takes(
            ReloadNeed {
                held: None,
                is_stuck: false,
            },
            2,
            (RollReason::Repair, Vec::new()),
            start,
        );
        rolls.end(33, start + SECOND * 60);
        assert!(rolls.may_take(BEHIND, start + SECOND * 60));
    }

    #[test]
    fn while_paused_no_replica_leaves_and_one_that_is_out_is_mended() {
        let (mut rolls, now) = (Rolls::default(), Instant::now());
        rolls.set_paused(true);
        assert!(
            !rolls.may_take(BEHIND, now)
                && !rolls.may_take(
                    ReloadNeed {
                        held: None,
                        is_stuck: false
                    },
                    now
                )
        );
        assert!(rolls.may_take(
            ReloadNeed {
                held: None,
                is_stuck: true
            },
            now
        ));
    }

    #[test]
    fn capacity_is_waited_for_and_not_for_ever() {
        let (mut rolls, start) = (Rolls::default(), Instant::now());
        assert!(rolls.waits_for_capacity(start) && rolls.waits_for_capacity(start + SECOND * 59));
        assert!(!rolls.waits_for_capacity(start + MAX_CAPACITY_WAIT));
        assert_eq!(rolls.capacity_deadline(), Some(start + MAX_CAPACITY_WAIT));
    }
}
