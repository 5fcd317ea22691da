//! Noticing that the main's catalog changed, and when it has come to rest.
//!
//! Four sources agree on one epoch: writes that pass by, the main's number, the data directory, an
//! order. All but the order are hints, which the number confirms; a hint that needs no number (the
//! main was reloaded, its security changed) is certain.
//!
//! An edit that cannot be disproved is one: a write counts as soon as the number cannot be read, a
//! click of the web interface once the main has not reported its number for [`UNANSWERED`].

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::concern::Concern;
use super::hints::{Hint, Sighting, Source, Ticket};
use crate::config::Catalog;

/// While changes come, the number is read this often at most ...
const FASTEST_POLL: Duration = Duration::from_millis(20);
/// ... and this often at least.
const SLOWEST_POLL: Duration = Duration::from_secs(1);
/// A click is taken for an edit when the main has reported no number for this long after it.
const UNANSWERED: Duration = Duration::from_secs(10);
/// Users that are remembered for one roll.
const MAX_AUTHORS: usize = 4;
/// Hints that wait for a reading of the number. Of more, the last ones count as one that came
/// later.
const MAX_UNANSWERED: usize = 64;

#[derive(Debug)]
pub(in crate::cluster) struct Changes {
    /// Changes noticed, where those that come together are one. Who holds less is stale.
    epoch: u64,
    /// The last epoch that came to rest: what a roll brings.
    settled: u64,
    /// When it did; `None` for the one there was at the start.
    settled_since: Option<Instant>,
    /// The main's, when last read.
    number: Option<u64>,
    /// When it was first read; that is when its last move was noticed.
    number_since: Option<Instant>,
    /// When it said its first one: what came before that went unnoticed.
    known_since: Option<Instant>,
    /// It has been asked for it, whatever came of that.
    has_been_asked: bool,
    /// Another instance became the main, and has not said its number yet.
    is_another_main: bool,
    unsettled: Option<Unsettled>,
    /// Hints that no reading has confirmed or refuted yet, in order of time. At most
    /// [`MAX_UNANSWERED`].
    unanswered: VecDeque<Unanswered>,
    last_ticket: Ticket,
    /// The last hint that a reading answered and that may be about a change.
    changed_ticket: Ticket,
    /// When the number last moved, or something else was noticed to have changed.
    last_noticed: Option<Instant>,
    /// When the last epoch began.
    began: Option<Instant>,
    /// What began it.
    source: Option<Source>,
    /// What the changes are about that came after the epoch `concern_since`.
    concern: Concern,
    concern_since: u64,
    /// When the number moved and no request was known that explains it.
    unexplained: Option<Instant>,
    /// Users whose requests changed something since the last roll began. At most [`MAX_AUTHORS`].
    authors: Vec<String>,
    /// When the main was asked whose answer, or silence, came last.
    asked: Option<Instant>,
    /// Since when it has answered no question for its number; `None` while it does.
    silent_since: Option<Instant>,
    /// The last epoch that brings a change of security.
    security: u64,
    /// When the last order was given, until the main's number is read that the order's reloads are
    /// measured by.
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
    /// When the request began and when it was answered.
    began: Instant,
    heard: Instant,
    /// What it is if the number cannot be read; `None` for nothing.
    otherwise: Option<Source>,
    /// It counts at once when the number cannot be read.
    is_write: bool,
    /// When a question was not answered that should have confirmed or refuted it.
    asked_in_vain: Option<Instant>,
    by: Option<String>,
    about: Touched,
}

/// What a hint says about the part of the catalog that changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Touched {
    /// Nothing: it accompanies whatever changed.
    Unsaid,
    Unknown,
    Workspace(u64),
}

impl Touched {
    fn of(sighting: &Sighting) -> Self {
        match (sighting.hint, sighting.workspace) {
            (Hint::File, _) => Self::Unsaid,
            (Hint::Write, Some(workspace)) => Self::Workspace(workspace),
            (Hint::Write | Hint::Ui | Hint::Certain | Hint::Security, _) => Self::Unknown,
        }
    }

    fn workspace(self) -> Option<u64> {
        match self {
            Self::Workspace(workspace) => Some(workspace),
            Self::Unsaid | Self::Unknown => None,
        }
    }
}

impl Changes {
    pub(in crate::cluster) fn new() -> Self {
        Self {
            epoch: 0,
            settled: 0,
            settled_since: None,
            number: None,
            number_since: None,
            known_since: None,
            has_been_asked: false,
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
            asked: None,
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

    /// The epoch that was settled when somebody was asked at `asked`; `None` if that is not known,
    /// or not any more.
    pub(in crate::cluster) fn settled_at(&self, asked: Instant) -> Option<u64> {
        let is_known = self.known_since.is_some_and(|since| since <= asked);
        let was_settled = self.settled_since.is_none_or(|since| since <= asked);
        (is_known && was_settled).then_some(self.settled)
    }

    /// The main was asked for its number since it became the main, and since the last order.
    pub(super) fn has_been_asked(&self) -> bool {
        self.has_been_asked && self.order_unread.is_none()
    }

    pub(in crate::cluster) fn number(&self) -> Option<u64> {
        self.number
    }

    pub(super) fn number_since(&self) -> Option<Instant> {
        self.number_since
    }

    pub(super) fn began(&self) -> Option<Instant> {
        self.began
    }

    pub(in crate::cluster) fn is_at_rest(&self) -> bool {
        self.unsettled.is_none() && self.unanswered.is_empty()
    }

    /// Nothing settles, whatever is suspected beyond the hints that were answered.
    pub(super) fn is_settled(&self) -> bool {
        self.unsettled.is_none()
    }

    /// The last hint such that it and all before it were answered.
    pub(super) fn answered_ticket(&self) -> Ticket {
        self.unanswered
            .front()
            .map_or(self.last_ticket, |hint| Ticket(hint.first.0 - 1))
    }

    pub(super) fn changed_ticket(&self) -> Ticket {
        self.changed_ticket
    }

    /// The source, where a new epoch begins.
    pub(super) fn hint(&mut self, sighting: &Sighting, now: Instant) -> (Ticket, Option<Source>) {
        self.last_ticket.0 += 1;
        let ticket = self.last_ticket;
        let (is_write, counts) = match sighting.hint {
            Hint::Certain | Hint::Security => {
                self.changed_ticket = ticket;
                self.note_author(sighting.by.as_deref());
                self.concern.add(None);
                let change = self.changed(Source::Write, now);
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
            heard: now,
            otherwise: counts.then_some(Source::Write),
            is_write,
            asked_in_vain: self
                .unanswered
                .back()
                .and_then(|before| before.asked_in_vain),
            by: sighting.by.clone(),
            about: Touched::of(sighting),
        };
        if self.unanswered.len() >= MAX_UNANSWERED
            && let Some(last) = self.unanswered.pop_back()
        {
            // One that is answered later than it could be is followed up later, and not forgotten.
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

    /// The main reported its number to a question that was asked at `asked`.
    pub(super) fn read(&mut self, number: u64, asked: Instant, now: Instant) -> Option<Source> {
        let before = self.number.replace(number);
        if before != Some(number) {
            self.number_since = Some(now);
        }
        self.asked = self.asked.max(Some(asked));
        self.known_since.get_or_insert(now);
        (self.has_been_asked, self.silent_since) = (true, None);
        let answered = self.take_answered(asked);
        let is_of_an_order = self.order_was_read(asked) && self.unsettled.is_none();
        let source = match before {
            // No replica is reloaded for the order before this reading, so the order brings it.
            Some(before) if before != number && is_of_an_order => {
                (self.last_noticed, self.settled_since) = (Some(now), Some(now));
                None
            }
            Some(before) if before != number => Some(Source::Number),
            Some(_) => None,
            // What it changed before this number is in its catalog, and in nobody else's.
            None if std::mem::take(&mut self.is_another_main) => Some(Source::Main),
            // Nothing to compare with: whatever was suspected may be true.
            None => answered.iter().find_map(|hint| hint.otherwise),
        };
        self.follow_up(&answered, source, now)
    }

    /// The main did not report its number when it was asked at `asked`.
    pub(super) fn unreadable(&mut self, asked: Instant, now: Instant) -> Option<Source> {
        self.asked = self.asked.max(Some(asked));
        self.has_been_asked = true;
        self.order_was_read(asked);
        for hint in self
            .unanswered
            .iter_mut()
            .filter(|hint| hint.heard <= asked)
        {
            hint.asked_in_vain.get_or_insert(now);
        }
        // A click waits a while for a number that refutes it.
        let is_over = |hint: &Unanswered| {
            let waited = hint.asked_in_vain.filter(|_| hint.heard <= asked);
            waited.is_some_and(|since| {
                hint.is_write || hint.otherwise.is_none() || now >= since + UNANSWERED
            })
        };
        let (answered, kept): (Vec<_>, Vec<_>) = self.unanswered.drain(..).partition(is_over);
        self.unanswered = kept.into();
        let source = answered.iter().find_map(|hint| hint.otherwise);
        self.follow_up(&answered, source, now)
    }

    /// The main was asked at `asked`. True if that answers the last order's question.
    fn order_was_read(&mut self, asked: Instant) -> bool {
        self.order_unread
            .take_if(|ordered| *ordered <= asked)
            .is_some()
    }

    /// The hints from before the question.
    fn take_answered(&mut self, asked: Instant) -> Vec<Unanswered> {
        let count = self
            .unanswered
            .iter()
            .take_while(|hint| hint.heard <= asked)
            .count();
        self.unanswered.drain(..count).collect()
    }

    /// `source`: the change that the answer tells of. Without one, the hints may still be about the
    /// last change that was noticed, if that was while their requests ran. So may they where the
    /// first number was read then: what it counts already was never noticed.
    fn follow_up(
        &mut self,
        answered: &[Unanswered],
        source: Option<Source>,
        now: Instant,
    ) -> Option<Source> {
        let noticed = if source.is_some() {
            Some(now)
        } else {
            self.last_noticed.max(self.number_since)
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

    /// What changed. A move that no answered hint explains concerns everything, until the answer to
    /// a request passes by that ran when the number moved.
    fn note_concern(&mut self, answered: &[Unanswered], source: Option<Source>, now: Instant) {
        let said = || answered.iter().filter(|hint| hint.about != Touched::Unsaid);
        match source {
            Some(Source::Main | Source::Order | Source::Directory) => self.concern.add(None),
            Some(Source::Number | Source::Write) if said().next().is_none() => {
                self.unexplained = Some(now)
            }
            Some(Source::Number | Source::Write) => {
                said().for_each(|hint| self.concern.add(hint.about.workspace()))
            }
            None => {
                let moved = self.last_noticed;
                for hint in said().filter(|hint| moved >= Some(hint.began)) {
                    self.concern.add(hint.about.workspace());
                    self.unexplained.take_if(|moved| hint.began <= *moved);
                }
            }
        }
    }

    /// What replicas lack that hold at least [`Self::concern_since`].
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

    /// Every replica has everything: what comes from here on is another change.
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

    /// Why the replicas are stale, for a roll that begins: the source of the last change, and the
    /// users who made it.
    pub(super) fn take_reason(&mut self) -> (Option<Source>, Vec<String>) {
        (self.source, std::mem::take(&mut self.authors))
    }

    /// The main answered without its number, or not at all.
    pub(super) fn is_silent(&mut self, now: Instant) {
        self.silent_since.get_or_insert(now);
    }

    /// The data directory changed, and neither the main nor a replica changed it.
    pub(super) fn directory_changed(&mut self, now: Instant) -> Option<Source> {
        self.concern.add(None);
        self.changed(Source::Directory, now)
    }

    /// Its next number is of the same catalog, whatever it is. No replica is reloaded before it is
    /// known.
    pub(super) fn is_main_reloaded(&mut self) {
        (self.number, self.has_been_asked) = (None, false);
    }

    /// Since when the main has not reported its number although it was asked.
    pub(super) fn silent_since(&self) -> Option<Instant> {
        self.silent_since
    }

    /// When the main was asked whose answer, or silence, came last.
    pub(super) fn asked(&self) -> Option<Instant> {
        self.asked
    }

    /// The last epoch that brings a change of security.
    pub(super) fn security(&self) -> u64 {
        self.security
    }

    /// Another instance is the main now. Its number has nothing to do with the last one's, and its
    /// catalog need not be the one that was rolled out last.
    pub(super) fn another_main(&mut self, now: Instant) -> Option<Source> {
        (
            self.number,
            self.known_since,
            self.has_been_asked,
            self.is_another_main,
        ) = (None, None, false, true);
        self.silent_since = None;
        self.concern.add(None);
        self.changed(Source::Main, now)
    }

    /// An order: a change that is settled at once. Its reloads wait for the main's number: without
    /// it, a replica that read older files than the main's last edit would pass for fresh.
    pub(super) fn order(&mut self, now: Instant) -> u64 {
        self.epoch += 1;
        self.order_unread = Some(now);
        (self.began, self.source) = (Some(now), Some(Source::Order));
        self.concern.add(None);
        self.settle(now);
        self.epoch
    }

    /// True if the epoch came to rest.
    pub(super) fn pass_time(&mut self, now: Instant, config: &Catalog) -> bool {
        let is_over = self.deadline(config).is_some_and(|at| at <= now);
        if is_over {
            self.settle(now);
        }
        is_over
    }

    /// When time alone settles it. Quiet is what the main said, not what it was not asked: a
    /// reading that is late is waited for, as is what is suspected, but not for ever.
    pub(super) fn deadline(&self, config: &Catalog) -> Option<Instant> {
        let Unsettled { first, last } = self.unsettled?;
        let (latest, quiet) = (first + config.settle_max, last + config.settle);
        let is_quiet = self
            .asked
            .is_some_and(|asked| asked + self.poll_pause(config) * 2 >= quiet);
        Some(if self.unanswered.is_empty() && is_quiet {
            latest.min(quiet)
        } else {
            latest
        })
    }

    /// How long after one reading of the main's number the next one is due.
    pub(super) fn poll_pause(&self, config: &Catalog) -> Duration {
        if self.order_unread.is_some() {
            return Duration::ZERO;
        }
        match (self.unanswered.back(), self.unsettled) {
            (
                Some(Unanswered {
                    asked_in_vain: Some(_),
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

    fn changed(&mut self, source: Source, now: Instant) -> Option<Source> {
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
