//! Noticing that the main's catalog changed, and when it has come to rest.
//!
//! Four sources agree on one epoch: writes that pass by, the main's number, the data directory, an order. All but the order are
//! hints, which the number confirms; a hint that needs no number (the main was reloaded, its security changed) is certain.
//!
//! An edit that cannot be disproved is one: a write counts as soon as the number cannot be read, a click of the web interface once
//! the main has not reported its number for [`UNANSWERED`].

use std::time::{Duration, Instant};

use crate::config::Catalog;

/// While changes come, the number is read this often at most ...
const FASTEST_POLL: Duration = Duration::from_millis(20);
/// ... and this often at least.
const SLOWEST_POLL: Duration = Duration::from_secs(1);
/// A click is taken for an edit when the main has reported no number for this long after it.
const UNANSWERED: Duration = Duration::from_secs(10);

/// Something that may have changed the catalog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hint {
    /// A write to the main's REST succeeded.
    Write,
    /// A page of the main's web interface did something.
    Ui,
    /// The number in the data directory is another one. Never more than a reason to ask the main: a reload of stock GeoServer
    /// writes that file too.
    File,
    /// What moves no number and yet is news to the replicas: a reload of the main, a store's reset, GeoWebCache's configuration.
    Certain,
    /// The main's users, roles, rules or filter chains changed: certain, and a catalog reload alone does not bring it.
    Security,
}

/// What made us notice a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The main's number moved.
    Number,
    /// A write that passed by, without a number to confirm it.
    Write,
    /// `geofront sync`.
    Order,
    /// Another instance is the main now.
    Main,
    /// The data directory changed, and not by the main or a replica.
    Directory,
}

impl Source {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Number => "number",
            Self::Write => "write",
            Self::Order => "order",
            Self::Main => "main",
            Self::Directory => "directory",
        }
    }
}

/// Which hint it was: all up to the snapshot's resolved one are settled and with the replicas.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(pub u64);

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
    /// The last hint that no reading has confirmed or refuted yet.
    suspicion: Option<Suspicion>,
    last_ticket: Ticket,
    /// When the last epoch began.
    began: Option<Instant>,
    /// When the main was asked whose answer, or silence, came last.
    asked: Option<Instant>,
    /// Since when it has answered no question for its number; `None` while it does.
    silent_since: Option<Instant>,
    /// The last epoch that brings a change of security.
    security: u64,
}

#[derive(Clone, Copy, Debug)]
struct Unsettled {
    first: Instant,
    last: Instant,
}

#[derive(Clone, Copy, Debug)]
struct Suspicion {
    since: Instant,
    /// What it is if the number cannot be read; `None` for nothing.
    otherwise: Option<Source>,
    /// It counts at once when the number cannot be read.
    is_write: bool,
    /// When a question was not answered that should have confirmed or refuted it.
    unanswered: Option<Instant>,
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
            suspicion: None,
            last_ticket: Ticket(0),
            began: None,
            asked: None,
            silent_since: None,
            security: 0,
        }
    }

    pub(in crate::cluster) fn epoch(&self) -> u64 {
        self.epoch
    }

    pub(in crate::cluster) fn settled(&self) -> u64 {
        self.settled
    }

    /// The epoch that was settled when somebody was asked at `asked`; `None` if that is not known, or not any more.
    pub(in crate::cluster) fn settled_at(&self, asked: Instant) -> Option<u64> {
        let is_known = self.known_since.is_some_and(|since| since <= asked);
        let was_settled = self.settled_since.is_none_or(|since| since <= asked);
        (is_known && was_settled).then_some(self.settled)
    }

    pub(super) fn has_been_asked(&self) -> bool {
        self.has_been_asked
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
        self.unsettled.is_none() && self.suspicion.is_none()
    }

    pub(super) fn is_settled(&self) -> bool {
        self.unsettled.is_none()
    }

    pub(super) fn last_ticket(&self) -> Ticket {
        self.last_ticket
    }

    /// The source, where a new epoch begins.
    pub(super) fn hint(&mut self, hint: Hint, now: Instant) -> (Ticket, Option<Source>) {
        self.last_ticket.0 += 1;
        let (is_write, counts) = match hint {
            Hint::Certain => return (self.last_ticket, self.changed(Source::Write, now)),
            Hint::Security => {
                let change = self.changed(Source::Write, now);
                self.security = self.epoch;
                return (self.last_ticket, change);
            }
            Hint::Write => (true, true),
            Hint::Ui => (false, true),
            Hint::File => (false, false),
        };
        let before = self.suspicion;
        self.suspicion = Some(Suspicion {
            since: now,
            otherwise: counts.then_some(Source::Write).or_else(|| before?.otherwise),
            is_write: is_write || before.is_some_and(|before| before.is_write),
            unanswered: before.and_then(|before| before.unanswered),
        });
        (self.last_ticket, None)
    }

    /// The main said its number to a question that was asked at `asked`.
    pub(super) fn read(&mut self, number: u64, asked: Instant, now: Instant) -> Option<Source> {
        let before = self.number.replace(number);
        if before != Some(number) {
            self.number_since = Some(now);
        }
        self.asked = self.asked.max(Some(asked));
        self.known_since.get_or_insert(now);
        (self.has_been_asked, self.silent_since) = (true, None);
        let answered = self.suspicion.take_if(|suspicion| suspicion.since <= asked);
        match before {
            Some(before) if before != number => self.changed(Source::Number, now),
            Some(_) => None,
            // What it changed before this number is in its catalog, and in nobody else's.
            None if std::mem::take(&mut self.is_another_main) => self.changed(Source::Main, now),
            // Nothing to compare with: whatever was suspected may be true.
            None => answered.and_then(|suspicion| suspicion.otherwise).and_then(|source| self.changed(source, now)),
        }
    }

    /// The main did not say its number when it was asked at `asked`.
    pub(super) fn unreadable(&mut self, asked: Instant, now: Instant) -> Option<Source> {
        self.asked = self.asked.max(Some(asked));
        self.has_been_asked = true;
        let suspicion = self.suspicion.as_mut().filter(|suspicion| suspicion.since <= asked)?;
        let unanswered = *suspicion.unanswered.get_or_insert(now);
        let is_over = suspicion.is_write || suspicion.otherwise.is_none() || now >= unanswered + UNANSWERED;
        let source = self.suspicion.take_if(|_| is_over)?.otherwise?;
        self.changed(source, now)
    }

    /// The main answered without its number, or not at all.
    pub(super) fn is_silent(&mut self, now: Instant) {
        self.silent_since.get_or_insert(now);
    }

    /// The data directory changed, and neither the main nor a replica changed it.
    pub(super) fn directory_changed(&mut self, now: Instant) -> Option<Source> {
        self.changed(Source::Directory, now)
    }

    /// Its next number is of the same catalog, whatever it is. No replica is reloaded before it is known.
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

    /// Another instance is the main now. Its number has nothing to do with the last one's, and its catalog need not be the one
    /// that was rolled out last.
    pub(super) fn another_main(&mut self, now: Instant) -> Option<Source> {
        (self.number, self.known_since, self.has_been_asked, self.is_another_main) = (None, None, false, true);
        self.silent_since = None;
        self.changed(Source::Main, now)
    }

    /// An order: a change that is settled at once.
    pub(super) fn order(&mut self, now: Instant) -> u64 {
        self.epoch += 1;
        self.began = Some(now);
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

    /// When time alone settles it. Quiet is what the main said, not what it was not asked: a reading that is late is waited for,
    /// as is what is suspected, but not for ever.
    pub(super) fn deadline(&self, config: &Catalog) -> Option<Instant> {
        let Unsettled { first, last } = self.unsettled?;
        let (latest, quiet) = (first + config.settle_max, last + config.settle);
        let is_quiet = self.asked.is_some_and(|asked| asked + self.poll_pause(config) * 2 >= quiet);
        Some(if self.suspicion.is_none() && is_quiet { latest.min(quiet) } else { latest })
    }

    /// How long after one reading of the main's number the next one is due.
    pub(super) fn poll_pause(&self, config: &Catalog) -> Duration {
        match (self.suspicion, self.unsettled) {
            (Some(Suspicion { unanswered: Some(_), .. }), _) => SLOWEST_POLL.min(config.poll),
            (Some(_), _) => Duration::ZERO,
            (None, Some(_)) => (config.settle / 4).clamp(FASTEST_POLL, SLOWEST_POLL).min(config.poll),
            (None, None) => config.poll,
        }
    }

    fn settle(&mut self, now: Instant) {
        (self.settled, self.settled_since, self.unsettled) = (self.epoch, Some(now), None);
    }

    fn changed(&mut self, source: Source, now: Instant) -> Option<Source> {
        if let Some(unsettled) = &mut self.unsettled {
            unsettled.last = now;
            return None;
        }
        self.epoch += 1;
        (self.unsettled, self.began) = (Some(Unsettled { first: now, last: now }), Some(now));
        Some(source)
    }

    pub(in crate::cluster) fn check_invariants(&self) {
        assert_eq!(self.unsettled.is_none(), self.settled == self.epoch, "settled means that nothing is unsettled");
        assert!(self.epoch - self.settled.min(self.epoch) <= 1, "one epoch at most is pending");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::tests::catalog_config;

    const SECOND: Duration = Duration::from_secs(1);

    fn known(number: u64, now: Instant) -> Changes {
        let mut changes = Changes::new();
        assert_eq!(changes.read(number, now, now), None, "the first number is no change");
        changes
    }

    #[test]
    fn a_number_that_moves_is_a_change_and_one_that_stays_is_none() {
        let now = Instant::now();
        let mut changes = known(7, now);
        assert_eq!(changes.read(7, now, now), None);
        assert_eq!(changes.read(9, now, now), Some(Source::Number));
        assert_eq!((changes.epoch(), changes.settled()), (1, 0));
    }

    #[test]
    fn a_number_that_falls_is_a_change_too() {
        let now = Instant::now();
        assert_eq!(known(7, now).read(3, now, now), Some(Source::Number));
    }

    #[test]
    fn changes_close_together_are_one_that_settles_after_the_last() {
        let (start, config) = (Instant::now(), catalog_config());
        let mut changes = known(0, start);
        for second in 0..5 {
            let now = start + SECOND * second;
            changes.read(u64::from(second) + 1, now, now);
            assert!(!changes.pass_time(now, &config));
        }
        let last = start + SECOND * 4;
        let quiet = last + config.settle;
        changes.read(5, quiet - SECOND, quiet - SECOND);
        assert!(!changes.pass_time(quiet - SECOND, &config));
        assert!(changes.pass_time(quiet, &config));
        assert_eq!((changes.epoch(), changes.settled()), (1, 1));
    }

    #[test]
    fn a_main_that_is_slow_to_answer_is_not_taken_for_one_at_rest() {
        let (start, config) = (Instant::now(), catalog_config());
        let mut changes = known(7, start);
        changes.read(8, start, start);
        let quiet = start + config.settle;
        assert!(!changes.pass_time(quiet, &config), "it was not asked since");
        changes.read(9, quiet - SECOND / 2, quiet + SECOND);
        assert!(!changes.pass_time(quiet + SECOND, &config), "and it had more to say");
        let quiet = quiet + SECOND + config.settle;
        changes.read(9, quiet - SECOND / 2, quiet);
        assert!(changes.pass_time(quiet, &config));
        assert_eq!(changes.epoch(), 1);
    }

    #[test]
    fn whoever_changes_without_a_pause_does_not_keep_the_rest_for_ever() {
        let (start, config) = (Instant::now(), catalog_config());
        let mut changes = known(0, start);
        let settles = (0..).map(|second| start + SECOND * second).find(|now| {
            changes.read(now.duration_since(start).as_secs() + 1, *now, *now);
            changes.pass_time(*now, &config)
        });
        assert_eq!(settles, Some(start + config.settle_max));
    }

    #[test]
    fn a_hint_alone_is_no_change_when_the_number_stays() {
        let now = Instant::now();
        let mut changes = known(7, now);
        assert_eq!(changes.hint(Hint::Write, now).1, None);
        assert!(!changes.is_at_rest());
        assert_eq!(changes.read(7, now, now), None);
        assert!(changes.is_at_rest());
        assert_eq!(changes.epoch(), 0);
    }

    #[test]
    fn an_answer_to_an_older_question_refutes_no_hint() {
        let now = Instant::now();
        let mut changes = known(7, now);
        changes.hint(Hint::Write, now + SECOND);
        changes.read(7, now, now + SECOND);
        assert!(!changes.is_at_rest());
        assert_eq!(changes.poll_pause(&catalog_config()), Duration::ZERO);
    }

    #[test]
    fn a_write_counts_as_soon_as_the_number_cannot_be_read_and_a_file_never() {
        let now = Instant::now();
        let mut changes = known(7, now);
        changes.hint(Hint::File, now);
        assert_eq!((changes.unreadable(now, now), changes.is_at_rest()), (None, true));
        changes.hint(Hint::Write, now);
        changes.hint(Hint::Ui, now);
        assert_eq!(changes.unreadable(now, now), Some(Source::Write));
    }

    #[test]
    fn a_click_that_no_number_refutes_counts_after_a_while() {
        let (start, config) = (Instant::now(), catalog_config());
        let mut changes = known(7, start);
        changes.hint(Hint::Ui, start);
        let counts = (0..).map(|second| start + SECOND * second).find(|now| {
            let change = changes.unreadable(*now, *now);
            assert!(change.is_some() || changes.poll_pause(&config) == SECOND, "the main is asked again, and not in a loop");
            change.is_some()
        });
        assert_eq!(counts, Some(start + UNANSWERED));
    }

    #[test]
    fn a_click_that_a_late_number_refutes_is_no_change() {
        let now = Instant::now();
        let mut changes = known(7, now);
        changes.hint(Hint::Ui, now);
        assert_eq!(changes.unreadable(now, now), None);
        assert_eq!(changes.read(7, now + SECOND, now + SECOND), None);
        assert!(changes.is_at_rest() && changes.silent_since().is_none());
    }

    #[test]
    fn a_reload_of_the_main_or_a_change_of_its_security_needs_no_number() {
        let now = Instant::now();
        assert_eq!(known(7, now).hint(Hint::Certain, now).1, Some(Source::Write));
        let mut changes = known(7, now);
        assert_eq!((changes.hint(Hint::Security, now).1, changes.security()), (Some(Source::Write), 1));
    }

    #[test]
    fn an_order_is_settled_at_once_and_takes_what_was_pending_along() {
        let now = Instant::now();
        let mut changes = known(7, now);
        changes.read(8, now, now);
        assert_eq!(changes.order(now), 2);
        assert_eq!(changes.settled(), 2);
        changes.check_invariants();
    }

    #[test]
    fn another_main_is_a_change_and_so_is_the_first_number_it_says() {
        let (now, config) = (Instant::now(), catalog_config());
        let mut changes = known(7, now);
        assert_eq!(changes.another_main(now), Some(Source::Main));
        let later = now + config.settle;
        changes.unreadable(later, later);
        assert!(changes.pass_time(later, &config));
        assert_eq!(changes.read(7, later, later), Some(Source::Main), "what it changed meanwhile is nowhere else");
        assert_eq!(changes.read(7, later, later), None);
    }

    #[test]
    fn a_hint_is_not_answered_by_a_question_from_before_it_that_came_to_nothing() {
        let now = Instant::now();
        let mut changes = known(7, now);
        changes.hint(Hint::Ui, now + SECOND);
        assert_eq!(changes.unreadable(now, now + UNANSWERED * 2), None);
        assert!(!changes.is_at_rest());
    }

    #[test]
    fn whoever_clicks_without_a_pause_does_not_keep_a_change_from_settling() {
        let (start, config) = (Instant::now(), catalog_config());
        let mut changes = known(0, start);
        changes.read(1, start, start);
        let settles = (1..).map(|second| start + SECOND * second).find(|now| {
            changes.hint(Hint::Ui, *now);
            changes.read(1, *now - SECOND, *now);
            changes.pass_time(*now, &config)
        });
        assert_eq!(settles, Some(start + config.settle_max));
    }

    #[test]
    fn what_was_settled_when_somebody_was_asked_is_known_since_it_settled() {
        let (start, config) = (Instant::now(), catalog_config());
        let mut changes = Changes::new();
        assert_eq!(changes.settled_at(start), None, "nothing is known before the main has said a number");
        changes.read(0, start, start);
        assert_eq!(changes.settled_at(start), Some(0));
        changes.read(1, start, start);
        let settled = start + config.settle;
        changes.read(1, settled, settled);
        changes.pass_time(settled, &config);
        assert_eq!((changes.settled_at(start), changes.settled_at(settled)), (None, Some(1)));
    }
}
