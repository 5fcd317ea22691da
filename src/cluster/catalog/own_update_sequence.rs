//! A replica's own update sequence, and its value as evidence.
//!
//! It is only ever compared with earlier values of the same replica. A move shows that the replica
//! was loaded anew and ended loading after the last query. The load may still have read the
//! directory before the last change, and ended after it. Refused connections in between are no
//! proof of a restart, because a loaded process refuses connections as well. A move is therefore
//! believed only if the replica cannot be reloaded instead.

use std::time::Instant;

#[derive(Debug, Default)]
pub(super) struct OwnUpdateSequence {
    reported: Option<Reported>,
    /// Answers to queries from before this instant are no evidence any more.
    since: Option<Instant>,
    /// True if it came up and has not been queried since.
    is_unread: bool,
}

#[derive(Clone, Copy, Debug)]
struct Reported {
    update_sequence: u64,
    /// The epoch that was settled at that time, at least. If the update sequence moves because of a
    /// restart, that epoch was loaded.
    epoch: Option<u64>,
}

/// The result of a query: an answer, or the failure to get one.
#[derive(Clone, Copy, Debug)]
pub(in crate::cluster) struct SequenceReading {
    pub(in crate::cluster) update_sequence: Option<u64>,
    pub(in crate::cluster) sent_at: Instant,
    /// The epoch that was settled when the query was sent, if it is known.
    pub(in crate::cluster) settled: Option<u64>,
}

impl OwnUpdateSequence {
    pub(super) fn update_sequence(&self) -> Option<u64> {
        self.reported.map(|reported| reported.update_sequence)
    }

    /// Returns the time of the query with the latest answer or failure.
    pub(super) fn sent_at(&self) -> Option<Instant> {
        self.since
    }

    pub(super) fn is_unread(&self) -> bool {
        self.is_unread
    }

    /// Notes that it came up. Its next update sequence may belong to another catalog.
    pub(super) fn came_up(&mut self, now: Instant) {
        (self.since, self.is_unread) = (Some(now), true);
    }

    /// Notes that no process listened there while the epoch `settled` was. A process that listens
    /// later also loads later.
    pub(super) fn was_not_there(&mut self, settled: Option<u64>, now: Instant) {
        self.since = Some(now);
        if let Some(reported) = &mut self.reported {
            reported.epoch = reported.epoch.max(settled);
        }
    }

    /// Takes in a reading. Returns the epoch that the replica must have loaded by itself; a move
    /// alone is believed if it `is_enough`.
    pub(super) fn read(&mut self, reading: SequenceReading, is_enough: bool) -> Option<u64> {
        if self.since > Some(reading.sent_at) {
            return None;
        }
        (self.since, self.is_unread) = (Some(reading.sent_at), false);
        let (before, update_sequence) = (self.reported, reading.update_sequence?);
        let epoch = reading.settled.or_else(|| before?.epoch);
        self.reported = Some(Reported {
            update_sequence,
            epoch,
        });
        before
            .filter(|reported| reported.update_sequence != update_sequence && is_enough)?
            .epoch
    }

    /// Takes in a reading after our own reload. Earlier values belong to another catalog.
    pub(super) fn reloaded(&mut self, reading: SequenceReading) {
        (self.since, self.is_unread) = (Some(reading.sent_at), false);
        self.reported = reading.update_sequence.map(|update_sequence| Reported {
            update_sequence,
            epoch: reading.settled,
        });
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(sent_at: Instant, update_sequence: u64, settled: u64) -> SequenceReading {
        SequenceReading {
            update_sequence: Some(update_sequence),
            sent_at,
            settled: Some(settled),
        }
    }

    #[test]
    fn a_number_that_moved_while_nothing_listened_is_believed_where_the_replica_cannot_be_reloaded()
    {
        let start = Instant::now();
        let mut own = OwnUpdateSequence::default();
        assert_eq!(
            own.read(at(start, 10, 1), false),
            None,
            "the first number proves nothing"
        );
        own.was_not_there(Some(3), start + SECOND);
        assert_eq!(own.read(at(start + SECOND * 2, 18, 4), true), Some(3));
    }

    #[test]
    fn a_refused_connection_and_another_number_are_no_proof() {
        let start = Instant::now();
        let mut own = OwnUpdateSequence::default();
        own.read(at(start, 10, 1), false);
        own.was_not_there(Some(3), start + SECOND);
        assert_eq!(own.read(at(start + SECOND * 2, 18, 4), false), None);
    }

    #[test]
    fn a_number_that_stays_proves_nothing_and_one_that_moves_by_a_live_reload_little() {
        let start = Instant::now();
        let mut own = OwnUpdateSequence::default();
        own.read(at(start, 10, 1), false);
        own.was_not_there(Some(3), start);
        assert_eq!(own.read(at(start, 10, 3), false), None);
        assert_eq!(own.read(at(start, 18, 4), false), None);
        assert_eq!(
            own.read(at(start, 26, 5), true),
            Some(4),
            "where nothing better can be known"
        );
    }

    #[test]
    fn an_update_sequence_requested_before_an_outage_proves_nothing_about_the_upstream_after_it() {
        let start = Instant::now();
        let mut own = OwnUpdateSequence::default();
        own.read(at(start, 10, 1), false);
        own.was_not_there(Some(3), start + SECOND);
        own.came_up(start + SECOND * 2);
        assert_eq!(own.read(at(start, 18, 1), true), None);
        assert!(own.is_unread());
        assert_eq!(own.read(at(start + SECOND * 3, 26, 4), true), Some(3));
    }
}
