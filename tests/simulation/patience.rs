//! The longest overload of a queue: the rule of `docs/limits.md`, from a diary of the events.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use geofront::config::Priority;

/// An overload begins when for this long every request that was admitted had waited for
/// [`LONG_WAIT`]. It ends when this long has passed since the last request that was too many.
const OVERLOAD: Duration = Duration::from_secs(10);
const LONG_WAIT: Duration = Duration::from_secs(2);
/// Number of waiters that may always wait.
const FEW: usize = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TransitionKind {
    HadToWait,
    /// Or none of them waits any more.
    CameInAtOnce,
    WasServed,
    WasServedSoonOrAfterAStandstill,
    WasTooMany,
}

impl TransitionKind {
    fn counts_for_a_while(self) -> bool {
        matches!(self, Self::WasServed | Self::WasTooMany)
    }
}

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Patience {
    begun: Instant,
    diary: Vec<(Instant, Priority, TransitionKind)>,
    /// The priorities of which a request had to wait since the last one that was admitted at once.
    waiting: BTreeSet<Priority>,
}

impl Patience {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            begun: now,
            diary: Vec::new(),
            waiting: BTreeSet::new(),
        }
    }

    /// A wait in a row of waits changes nothing, so only the first is recorded.
    pub(crate) fn had_to_wait(&mut self, priority: Priority, now: Instant) {
        if self.waiting.insert(priority) {
            self.diary.push((now, priority, TransitionKind::HadToWait));
        }
    }

    pub(crate) fn came_in_at_once(&mut self, priority: Priority, now: Instant) {
        if self.waiting.remove(&priority) {
            self.diary
                .push((now, priority, TransitionKind::CameInAtOnce));
        }
    }

    pub(crate) fn was_served(&mut self, priority: Priority, arrived: Instant, now: Instant) {
        let is_anew = now < arrived + LONG_WAIT || self.stands_still(priority.get(), now);
        if self.waiting.contains(&priority) && is_anew {
            self.diary.push((
                now,
                priority,
                TransitionKind::WasServedSoonOrAfterAStandstill,
            ));
        }
        self.diary.push((now, priority, TransitionKind::WasServed));
        self.forget(now);
    }

    pub(crate) fn was_too_many(&mut self, priority: Priority, now: Instant) {
        self.diary.push((now, priority, TransitionKind::WasTooMany));
    }

    /// Returns the maximum number of waiters of this priority; `None` if only the queue's length
    /// limits them.
    pub(crate) fn most(&self, priority: Priority, now: Instant) -> Option<usize> {
        let is_overload = [0, 1]
            .into_iter()
            .filter(|light| *light <= priority.get())
            .any(|light| self.is_overload_of(light, now));
        // Half a second of the last ten, or of as many as there were.
        let seconds = (now.duration_since(self.begun).as_secs() + 1).min(10) as usize;
        is_overload.then(|| (self.served_lately(priority.get(), now) / (2 * seconds)).max(FEW))
    }

    /// Returns whether no request is served: that is no overload, and a new period begins when it
    /// ends.
    fn stands_still(&self, priority: u8, now: Instant) -> bool {
        self.served_lately(priority, now) == 0
    }

    /// Returns the number served in the last ten seconds, the current one included.
    fn served_lately(&self, priority: u8, now: Instant) -> usize {
        let second = |at: Instant| at.duration_since(self.begun).as_secs();
        let is_lately = |at: Instant| second(now) - second(at) < 10;
        self.of(priority)
            .filter(|(at, what)| *what == TransitionKind::WasServed && is_lately(*at))
            .count()
    }

    fn is_overload_of(&self, light: u8, now: Instant) -> bool {
        if self.stands_still(light, now) {
            return false;
        }
        let is_lately = |at: Instant| now < at + OVERLOAD;
        if self
            .of(light)
            .any(|(at, what)| what == TransitionKind::WasTooMany && is_lately(at))
        {
            return true;
        }
        let since = self.of(light).fold(None, |since, (at, what)| match what {
            TransitionKind::HadToWait => since.or(Some(at)),
            TransitionKind::WasServedSoonOrAfterAStandstill => since.map(|_| at),
            TransitionKind::CameInAtOnce => None,
            TransitionKind::WasServed | TransitionKind::WasTooMany => since,
        });
        since.is_some_and(|since| !is_lately(since))
    }

    /// Drops what does not count any more.
    fn forget(&mut self, now: Instant) {
        self.diary
            .retain(|(at, _, what)| !what.counts_for_a_while() || now < *at + OVERLOAD * 2);
    }

    fn of(&self, priority: u8) -> impl Iterator<Item = (Instant, TransitionKind)> {
        self.diary
            .iter()
            .filter(move |(_, of, _)| of.get() == priority)
            .map(|(at, _, what)| (*at, *what))
    }
}
