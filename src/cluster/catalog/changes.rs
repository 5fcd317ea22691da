//! Detection of changes to the main's catalog, and of the moment when it has come to rest.
//!
//! Four sources feed one epoch: writes that pass through, the main's update sequence, the data
//! directory, and orders. All but orders are hints, which the update sequence confirms. A hint that
//! needs no update sequence (a reload of the main, a change of its security) is certain.
//!
//! A suspected edit that cannot be disproved counts as one. A write counts as soon as the update
//! sequence cannot be read. A click in the web interface counts once the main has not reported its
//! update sequence for [`UNANSWERED`].

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::concern::Concern;
use super::hints::{ChangeSource, Hint, Sighting, Ticket};
use crate::config::Catalog;

/// Shortest pause between two readings of the update sequence while changes come.
const FASTEST_POLL: Duration = Duration::from_millis(20);
/// Longest pause between two readings of the update sequence while changes come.
const SLOWEST_POLL: Duration = Duration::from_secs(1);
/// A click counts as an edit when the main has reported no update sequence for this long after it.
const UNANSWERED: Duration = Duration::from_secs(10);
/// Users that are remembered for one roll.
const MAX_AUTHORS: usize = 4;
/// Hints that wait for a reading of the update sequence. Beyond this number, the last ones are
/// merged into one later hint.
const MAX_UNANSWERED: usize = 64;

#[derive(Debug)]
pub(in crate::cluster) struct Changes {
    /// Changes noticed; changes that come together count as one. A replica with a lower epoch is
    /// stale.
    epoch: u64,
    /// The last epoch that came to rest, which is the one that a roll brings.
    settled: u64,
    /// Time when `settled` came to rest; `None` for the epoch at the start.
    settled_since: Option<Instant>,
    /// The main's update sequence, as last read.
    update_sequence: Option<u64>,
    /// Time when `update_sequence` was first read. Its last move was noticed then.
    update_sequence_since: Option<Instant>,
    /// Time of the main's first report of an update sequence. Earlier changes went unnoticed.
    known_since: Option<Instant>,
    /// True once the main was queried, with or without success.
    has_been_queried: bool,
    /// True if another instance became the main and has not reported its update sequence yet.
    is_another_main: bool,
    unsettled: Option<Unsettled>,
    /// Hints that no reading has confirmed or refuted yet, in order of time. At most
    /// [`MAX_UNANSWERED`].
    unanswered: VecDeque<Unanswered>,
    last_ticket: Ticket,
    /// The last hint that a reading answered and that may be about a change.
    changed_ticket: Ticket,
    /// Time when the update sequence last moved, or another change was noticed.
    last_noticed: Option<Instant>,
    /// Time when the last epoch began.
    began: Option<Instant>,
    /// The source of the last epoch.
    source: Option<ChangeSource>,
    /// The parts of the catalog concerned by the changes after the epoch `concern_since`.
    concern: Concern,
    concern_since: u64,
    /// Time of a move of the update sequence that no known request explains.
    unexplained: Option<Instant>,
    /// Users with requests that changed something since the last roll began. At most
    /// [`MAX_AUTHORS`].
    authors: Vec<String>,
    /// Time of the query to the main with the latest answer or failure.
    sent_at: Option<Instant>,
    /// Start of the main's silence, in which it has answered no query for its update sequence;
    /// `None` while it answers.
    silent_since: Option<Instant>,
    /// The last epoch that brings a change of security.
    security: u64,
    /// Time of the last order, until the main's update sequence has been read. The reloads of the
    /// order are verified by that reading.
    order_unread: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
struct Unsettled {
    first: Instant,
    last: Instant,
}

#[derive(Clone, Debug)]
struct Unanswered {
    first: Ticket,
    last: Ticket,
    /// Times when the request began and when it was answered.
    began: Instant,
    answered_at: Instant,
    /// The source that the hint counts as if the update sequence cannot be read; `None` if it does
    /// not count.
    otherwise: Option<ChangeSource>,
    /// True if the hint counts at once when the update sequence cannot be read.
    is_write: bool,
    /// Time of a failed query that should have confirmed or refuted the hint.
    queried_in_vain: Option<Instant>,
    by: Option<String>,
    about: Touched,
}

/// The part of the catalog that a hint has as changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Touched {
    /// The hint names no part: it accompanies another change.
    Unnamed,
    Unknown,
    Workspace(u64),
}

impl Touched {
    fn of(sighting: &Sighting) -> Self {
        match (sighting.hint, sighting.workspace) {
            (Hint::File, _) => Self::Unnamed,
            (Hint::Write, Some(workspace)) => Self::Workspace(workspace),
            (Hint::Write | Hint::Ui | Hint::Certain | Hint::Security, _) => Self::Unknown,
        }
    }

    fn workspace(self) -> Option<u64> {
        match self {
            Self::Workspace(workspace) => Some(workspace),
            Self::Unnamed | Self::Unknown => None,
        }
    }
}

impl Changes {
    pub(in crate::cluster) fn new() -> Self {
        Self {
            epoch: 0,
            settled: 0,
            settled_since: None,
            update_sequence: None,
            update_sequence_since: None,
            known_since: None,
            has_been_queried: false,
            is_another_main: false,
            unsettled: None,
            unanswered: VecDeque::new(),
            last_ticket: Ticket(0),
            changed_ticket: Ticket(0),
            last_noticed: None,
            began: None,
            source: None,
            authors: Vec::new(),
            concern: Concern::default(),
            concern_since: 0,
            unexplained: None,
            sent_at: None,
            silent_since: None,
            security: 0,
            order_unread: None,
        }
    }

    pub(in crate::cluster) fn epoch(&self) -> u64 {
        self.epoch
    }

    pub(in crate::cluster) fn settled(&self) -> u64 {
        self.settled
    }

    /// Returns the epoch that was settled when a query was sent at `sent_at`; `None` if that is not
    /// known, or not any more.
    pub(in crate::cluster) fn settled_at(&self, sent_at: Instant) -> Option<u64> {
        let is_known = self.known_since.is_some_and(|since| since <= sent_at);
        let was_settled = self.settled_since.is_none_or(|since| since <= sent_at);
        (is_known && was_settled).then_some(self.settled)
    }

    /// True if the main was queried for its update sequence since it became the main, and since the
    /// last order.
    pub(super) fn has_been_queried(&self) -> bool {
        self.has_been_queried && self.order_unread.is_none()
    }

    pub(in crate::cluster) fn update_sequence(&self) -> Option<u64> {
        self.update_sequence
    }

    pub(super) fn update_sequence_since(&self) -> Option<Instant> {
        self.update_sequence_since
    }

    pub(super) fn began(&self) -> Option<Instant> {
        self.began
    }

    pub(in crate::cluster) fn is_at_rest(&self) -> bool {
        self.unsettled.is_none() && self.unanswered.is_empty()
    }

    /// True if no change is settling, regardless of hints without an answer.
    pub(super) fn is_settled(&self) -> bool {
        self.unsettled.is_none()
    }

    /// Returns the last hint such that it and all before it were answered.
    pub(super) fn answered_ticket(&self) -> Ticket {
        self.unanswered
            .front()
            .map_or(self.last_ticket, |hint| Ticket(hint.first.0 - 1))
    }

    pub(super) fn changed_ticket(&self) -> Ticket {
        self.changed_ticket
    }

    /// Takes in a hint. Returns its source if a new epoch begins.
    pub(super) fn hint(
        &mut self,
        sighting: &Sighting,
        now: Instant,
    ) -> (Ticket, Option<ChangeSource>) {
        self.last_ticket.0 += 1;
        let ticket = self.last_ticket;
        let (is_write, counts) = match sighting.hint {
            Hint::Certain | Hint::Security => {
                self.changed_ticket = ticket;
                self.note_author(sighting.by.as_deref());
                self.concern.add(None);
                let change = self.changed(ChangeSource::Write, now);
                if sighting.hint == Hint::Security {
                    self.security = self.epoch;
                }
                return (ticket, change);
            }
            Hint::Write => (true, true),
            Hint::Ui => (false, true),
            Hint::File => (false, false),
        };
        let mut unanswered = Unanswered {
            first: ticket,
            last: ticket,
            began: sighting.began,
            answered_at: now,
            otherwise: counts.then_some(ChangeSource::Write),
            is_write,
            queried_in_vain: self
                .unanswered
                .back()
                .and_then(|before| before.queried_in_vain),
            by: sighting.by.clone(),
            about: Touched::of(sighting),
        };
        if self.unanswered.len() >= MAX_UNANSWERED
            && let Some(last) = self.unanswered.pop_back()
        {
            // The merged hint is answered later than its parts could be, but none of them is
            // forgotten.
            unanswered.first = last.first;
            unanswered.began = last.began.min(unanswered.began);
            unanswered.otherwise = last.otherwise.or(unanswered.otherwise);
            unanswered.is_write |= last.is_write;
            if last.about != unanswered.about {
                unanswered.about = Touched::Unknown;
            }
        }
        self.unanswered.push_back(unanswered);
        (ticket, None)
    }

    /// Takes in the update sequence that the main reported to a query sent at `sent_at`.
    pub(super) fn read(
        &mut self,
        update_sequence: u64,
        sent_at: Instant,
        now: Instant,
    ) -> Option<ChangeSource> {
        let before = self.update_sequence.replace(update_sequence);
        if before != Some(update_sequence) {
            self.update_sequence_since = Some(now);
        }
        self.sent_at = self.sent_at.max(Some(sent_at));
        self.known_since.get_or_insert(now);
        (self.has_been_queried, self.silent_since) = (true, None);
        let answered = self.take_answered(sent_at);
        let is_of_an_order = self.order_was_read(sent_at) && self.unsettled.is_none();
        let source = match before {
            // No replica is reloaded for the order before this reading, so the order brings the
            // change.
            Some(before) if before != update_sequence && is_of_an_order => {
                (self.last_noticed, self.settled_since) = (Some(now), Some(now));
                None
            }
            Some(before) if before != update_sequence => Some(ChangeSource::Number),
            Some(_) => None,
            // Changes that this main made before the reading are in its own catalog only.
            None if std::mem::take(&mut self.is_another_main) => Some(ChangeSource::Main),
            // There is nothing to compare with, so every suspicion may be true.
            None => answered.iter().find_map(|hint| hint.otherwise),
        };
        self.follow_up(&answered, source, now)
    }

    /// Notes that the main did not report its update sequence to a query sent at `sent_at`.
    pub(super) fn unreadable(&mut self, sent_at: Instant, now: Instant) -> Option<ChangeSource> {
        self.sent_at = self.sent_at.max(Some(sent_at));
        self.has_been_queried = true;
        self.order_was_read(sent_at);
        for hint in self
            .unanswered
            .iter_mut()
            .filter(|hint| hint.answered_at <= sent_at)
        {
            hint.queried_in_vain.get_or_insert(now);
        }
        // A click waits a while for a reading that refutes it.
        let is_over = |hint: &Unanswered| {
            let waited = hint.queried_in_vain.filter(|_| hint.answered_at <= sent_at);
            waited.is_some_and(|since| {
                hint.is_write || hint.otherwise.is_none() || now >= since + UNANSWERED
            })
        };
        let (answered, kept): (Vec<_>, Vec<_>) = self.unanswered.drain(..).partition(is_over);
        self.unanswered = kept.into();
        let source = answered.iter().find_map(|hint| hint.otherwise);
        self.follow_up(&answered, source, now)
    }

    /// Notes that a reload begins. A reload that begins before the last order's reading, because
    /// the main cannot be read, may lack the change that this reading shows. That change then
    /// counts as one of its own.
    pub(super) const fn reload_began(&mut self) {
        self.order_unread = None;
    }

    /// Notes a query to the main sent at `sent_at`. Returns true if it is the reading that the last
    /// order needs.
    fn order_was_read(&mut self, sent_at: Instant) -> bool {
        self.order_unread
            .take_if(|ordered| *ordered <= sent_at)
            .is_some()
    }

    /// Takes the hints that are older than the query.
    fn take_answered(&mut self, sent_at: Instant) -> Vec<Unanswered> {
        let count = self
            .unanswered
            .iter()
            .take_while(|hint| hint.answered_at <= sent_at)
            .count();
        self.unanswered.drain(..count).collect()
    }

    /// Follows up hints that a reading answered. `source`: the change that the reading shows.
    ///
    /// Without a source, the hints may still be about the last change noticed, if that was while
    /// their requests ran. The same holds if the first update sequence was read while they ran,
    /// because changes that it already includes were never noticed.
    fn follow_up(
        &mut self,
        answered: &[Unanswered],
        source: Option<ChangeSource>,
        now: Instant,
    ) -> Option<ChangeSource> {
        let noticed = if source.is_some() {
            Some(now)
        } else {
            self.last_noticed.max(self.update_sequence_since)
        };
        if let Some(last) = answered.iter().rfind(|hint| noticed >= Some(hint.began)) {
            self.changed_ticket = self.changed_ticket.max(last.last);
        }
        for hint in answered.iter().filter(|hint| noticed >= Some(hint.began)) {
            self.note_author(hint.by.as_deref());
        }
        self.note_concern(answered, source, now);
        self.changed(source?, now)
    }

    /// Notes the parts of the catalog that changed. A move that no answered hint explains concerns
    /// everything, until the answer passes by to a request that ran during the move.
    fn note_concern(
        &mut self,
        answered: &[Unanswered],
        source: Option<ChangeSource>,
        now: Instant,
    ) {
        let explained = || {
            answered
                .iter()
                .filter(|hint| hint.about != Touched::Unnamed)
        };
        match source {
            Some(ChangeSource::Main | ChangeSource::Order | ChangeSource::Directory) => {
                self.concern.add(None)
            }
            Some(ChangeSource::Number | ChangeSource::Write) if explained().next().is_none() => {
                self.unexplained = Some(now)
            }
            Some(ChangeSource::Number | ChangeSource::Write) => {
                explained().for_each(|hint| self.concern.add(hint.about.workspace()))
            }
            None => {
                let moved = self.last_noticed;
                for hint in explained().filter(|hint| moved >= Some(hint.began)) {
                    self.concern.add(hint.about.workspace());
                    self.unexplained.take_if(|moved| hint.began <= *moved);
                }
            }
        }
    }

    /// Returns the parts that are missing on replicas that hold at least [`Self::concern_since`].
    pub(super) fn concern(&self) -> Concern {
        if self.unexplained.is_some() {
            Concern::Everything
        } else {
            self.concern.clone()
        }
    }

    pub(super) fn concern_since(&self) -> u64 {
        self.concern_since
    }

    /// Forgets the concern, because every replica has everything. Later changes are new ones.
    pub(super) fn forget_concern(&mut self) {
        (self.concern, self.concern_since, self.unexplained) =
            (Concern::default(), self.epoch, None);
    }

    fn note_author(&mut self, by: Option<&str>) {
        let Some(by) = by else { return };
        if self.authors.len() < MAX_AUTHORS && !self.authors.iter().any(|known| known == by) {
            self.authors.push(by.to_owned());
        }
    }

    /// Takes the reason for a roll that begins: the source of the last change, and the users who
    /// made it.
    pub(super) fn take_reason(&mut self) -> (Option<ChangeSource>, Vec<String>) {
        (self.source, std::mem::take(&mut self.authors))
    }

    /// Notes that the main answered without its update sequence, or not at all.
    pub(super) fn note_silence(&mut self, now: Instant) {
        self.silent_since.get_or_insert(now);
    }

    /// Notes a change of the data directory that neither the main nor a replica made.
    pub(super) fn directory_changed(&mut self, now: Instant) -> Option<ChangeSource> {
        self.concern.add(None);
        self.changed(ChangeSource::Directory, now)
    }

    /// Notes a reload of the main. Its next update sequence belongs to the same catalog, whatever
    /// its value, and no replica is reloaded before it is known.
    pub(super) fn note_main_reload(&mut self) {
        (self.update_sequence, self.has_been_queried) = (None, false);
    }

    /// Returns the start of the main's silence, in which queries for its update sequence failed.
    pub(super) fn silent_since(&self) -> Option<Instant> {
        self.silent_since
    }

    /// Returns the time of the query to the main with the latest answer or failure.
    pub(super) fn sent_at(&self) -> Option<Instant> {
        self.sent_at
    }

    /// Returns the last epoch that brings a change of security.
    pub(super) fn security(&self) -> u64 {
        self.security
    }

    /// Notes that another instance is the main. Its update sequence is unrelated to the former one,
    /// and its catalog may differ from the one last rolled out.
    pub(super) fn another_main(&mut self, now: Instant) -> Option<ChangeSource> {
        (
            self.update_sequence,
            self.known_since,
            self.has_been_queried,
            self.is_another_main,
        ) = (None, None, false, true);
        self.silent_since = None;
        self.concern.add(None);
        self.changed(ChangeSource::Main, now)
    }

    /// Orders a roll: a change that is settled at once. Its reloads wait for the main's update
    /// sequence. Otherwise a replica could read files older than the main's last edit and pass for
    /// fresh.
    pub(super) fn order(&mut self, now: Instant) -> u64 {
        self.epoch += 1;
        self.order_unread = Some(now);
        (self.began, self.source) = (Some(now), Some(ChangeSource::Order));
        self.concern.add(None);
        self.settle(now);
        self.epoch
    }

    /// Settles the epoch if it is time. Returns true if it came to rest.
    pub(super) fn pass_time(&mut self, now: Instant, config: &Catalog) -> bool {
        let is_over = self.deadline(config).is_some_and(|at| at <= now);
        if is_over {
            self.settle(now);
        }
        is_over
    }

    /// Returns the time when the epoch settles without further events. Quiet must be proven by
    /// readings of the main, so a late reading is waited for, as are unanswered hints, but not for
    /// ever.
    pub(super) fn deadline(&self, config: &Catalog) -> Option<Instant> {
        let Unsettled { first, last } = self.unsettled?;
        let (latest, quiet) = (first + config.settle_max, last + config.settle);
        let is_quiet = self
            .sent_at
            .is_some_and(|sent_at| sent_at + self.poll_pause(config) * 2 >= quiet);
        Some(if self.unanswered.is_empty() && is_quiet {
            latest.min(quiet)
        } else {
            latest
        })
    }

    /// Returns the pause between two readings of the main's update sequence.
    pub(super) fn poll_pause(&self, config: &Catalog) -> Duration {
        if self.order_unread.is_some() {
            return Duration::ZERO;
        }
        match (self.unanswered.back(), self.unsettled) {
            (
                Some(Unanswered {
                    queried_in_vain: Some(_),
                    ..
                }),
                _,
            ) => SLOWEST_POLL.min(config.poll),
            (Some(_), _) => Duration::ZERO,
            (None, Some(_)) => (config.settle / 4)
                .clamp(FASTEST_POLL, SLOWEST_POLL)
                .min(config.poll),
            (None, None) => config.poll,
        }
    }

    fn settle(&mut self, now: Instant) {
        (self.settled, self.settled_since, self.unsettled) = (self.epoch, Some(now), None);
    }

    fn changed(&mut self, source: ChangeSource, now: Instant) -> Option<ChangeSource> {
        self.last_noticed = Some(now);
        if let Some(unsettled) = &mut self.unsettled {
            unsettled.last = now;
            return None;
        }
        self.epoch += 1;
        (self.unsettled, self.began, self.source) = (
            Some(Unsettled {
                first: now,
                last: now,
            }),
            Some(now),
            Some(source),
        );
        Some(source)
    }

    pub(in crate::cluster) fn check_invariants(&self) {
        assert_eq!(
            self.unsettled.is_none(),
            self.settled == self.epoch,
            "settled means that nothing is unsettled"
        );
        assert!(
            self.epoch - self.settled.min(self.epoch) <= 1,
            "one epoch at most is pending"
        );
    }
}

#[cfg(test)]
mod tests;
