//! A replica's own number, and what it proves.
//!
//! It is only ever compared with what the same replica said before. One that moved was loaded anew,
//! and ended loading after it was last asked; but the load may have read the directory before the
//! last change, and end after it. That nothing listened in between is no proof of a restart: a
//! loaded process refuses connections as well. So a move is believed only where the replica cannot
//! be reloaded instead.

use std::time::Instant;

#[derive(Debug, Default)]
pub(super) struct OwnNumber {
    said: Option<Said>,
    /// An answer to a question from before this says nothing any more.
    since: Option<Instant>,
    /// It came up, and has not been asked since.
    is_unread: bool,
}

#[derive(Clone, Copy, Debug)]
struct Said {
    number: u64,
    /// What was settled then, at least: if it moves because of a restart, that was loaded.
    epoch: Option<u64>,
}

/// An answer, or that none came.
#[derive(Clone, Copy, Debug)]
pub(in crate::cluster) struct Reading {
    pub(in crate::cluster) number: Option<u64>,
    pub(in crate::cluster) asked: Instant,
    /// The epoch that was settled when it was asked, if that is known.
    pub(in crate::cluster) settled: Option<u64>,
}

impl OwnNumber {
    pub(super) fn number(&self) -> Option<u64> {
        self.said.map(|said| said.number)
    }

    /// When it was asked whose answer, or silence, came last.
    pub(super) fn asked(&self) -> Option<Instant> {
        self.since
    }

    pub(super) fn is_unread(&self) -> bool {
        self.is_unread
    }

    /// What it says next may be of another catalog.
    pub(super) fn came_up(&mut self, now: Instant) {
        (self.since, self.is_unread) = (Some(now), true);
    }

    /// Nobody listened there while `settled` was: whoever does next loads later.
    pub(super) fn was_not_there(&mut self, settled: Option<u64>, now: Instant) {
        self.since = Some(now);
        if let Some(said) = &mut self.said {
            said.epoch = said.epoch.max(settled);
        }
    }

    /// The epoch that it must have loaded by itself; a move is believed where it `is_enough`.
    pub(super) fn read(&mut self, reading: Reading, is_enough: bool) -> Option<u64> {
        if self.since > Some(reading.asked) {
            return None;
        }
        (self.since, self.is_unread) = (Some(reading.asked), false);
        let (before, number) = (self.said, reading.number?);
        let epoch = reading.settled.or_else(|| before?.epoch);
        self.said = Some(Said { number, epoch });
        before
            .filter(|said| said.number != number && is_enough)?
            .epoch
    }

    /// After our own reload: whatever it said before is of another catalog.
    pub(super) fn reloaded(&mut self, reading: Reading) {
        (self.since, self.is_unread) = (Some(reading.asked), false);
        self.said = reading.number.map(|number| Said {
            number,
            epoch: reading.settled,
        });
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(asked: Instant, number: u64, settled: u64) -> Reading {
        Reading {
            number: Some(number),
            asked,
            settled: Some(settled),
        }
    }

    #[test]
    fn a_number_that_moved_while_nothing_listened_is_believed_where_the_replica_cannot_be_reloaded()
    {
        let start = Instant::now();
        let mut own = OwnNumber::default();
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
        let mut own = OwnNumber::default();
        own.read(at(start, 10, 1), false);
        own.was_not_there(Some(3), start + SECOND);
        assert_eq!(own.read(at(start + SECOND * 2, 18, 4), false), None);
    }

    #[test]
    fn a_number_that_stays_proves_nothing_and_one_that_moves_by_a_live_reload_little() {
        let start = Instant::now();
        let mut own = OwnNumber::default();
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
    fn an_answer_to_a_question_from_before_it_was_gone_tells_nothing_about_what_came_back() {
        let start = Instant::now();
        let mut own = OwnNumber::default();
        own.read(at(start, 10, 1), false);
        own.was_not_there(Some(3), start + SECOND);
        own.came_up(start + SECOND * 2);
        assert_eq!(own.read(at(start, 18, 1), true), None);
        assert!(own.is_unread());
        assert_eq!(own.read(at(start + SECOND * 3, 26, 4), true), Some(3));
    }
}
