//! The world's own records of each upstream, independent of the cluster, and counts of the events.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use geofront::balance::LearnedCap;
use geofront::cluster::{Cause, Outcome, Upstream};
use geofront::config::Health;

use crate::audit::Upkeep;
use crate::measured::Measured;
use crate::places::{AtWork, Ramp};
use crate::truth::Lasting;

/// Identity as the architecture defines it.
pub(crate) type Key = (String, SocketAddr);

/// The facts about one upstream, from its addition to its retirement.
#[derive(Debug, Default)]
pub(crate) struct Entry {
    /// The upstream as last seen; its id never changes.
    pub(crate) upstream: Option<Arc<Upstream>>,
    /// Results of probes since it was last unknown.
    pub(crate) measured: Measured,
    /// The probe under way.
    probe: Option<Probe>,
    /// When a request was last reported to have succeeded.
    pub(crate) succeeded: Option<Instant>,
    pub(crate) is_half_open: bool,
    /// Its leases.
    pub(crate) at_work: AtWork,
    pub(crate) trials: u32,
    /// Its slow start, since it last came back.
    pub(crate) ramp: Option<Ramp>,
    /// The cap that was learned.
    pub(crate) learned: Option<LearnedCap>,
    pub(crate) upkeep: Upkeep,
    pub(crate) lasting: Lasting,
}

/// A probe under way.
#[derive(Clone, Copy, Debug)]
struct Probe {
    began: Instant,
    /// Time for the probe and its report.
    limit: Duration,
    lost: Instant,
}

/// A loss that is noticed later than this shows that we stood still. As in `health::PollTimer`.
const LATE: Duration = Duration::from_millis(250);

impl Entry {
    pub(crate) fn new(upkeep: Upkeep) -> Self {
        Self {
            upkeep,
            ..Self::default()
        }
    }

    pub(crate) fn meet(&mut self, upstream: &Arc<Upstream>) {
        let id = self.upstream.as_ref().map_or(upstream.id, |known| known.id);
        assert_eq!(id, upstream.id, "{} keeps its identity", upstream.name);
        self.upstream = Some(Arc::clone(upstream));
    }

    pub(crate) fn probe_began(&mut self, began: Instant, limit: Duration) {
        let lost = began + limit;
        self.probe = Some(Probe { began, limit, lost });
    }

    /// Requests that succeed meanwhile outvote a probe that is not answered in time.
    fn is_outvoted(&self, began: Instant) -> bool {
        self.succeeded.is_some_and(|succeeded| succeeded >= began)
    }

    /// A report arrives. It counts if some probe is waited for, whichever it is of. True if it
    /// counts, and it answered rightly.
    pub(crate) fn probe_reported(
        &mut self,
        outcome: &Outcome,
        sent: Instant,
        now: Instant,
        config: &Health,
    ) -> bool {
        self.probe_is_lost(now);
        let Some(Probe { began, .. }) = self.probe.take() else {
            return false;
        };
        let is_busy =
            matches!(outcome, Outcome::Failure(Cause::Timeout(_))) && self.is_outvoted(began);
        self.measured.heard(
            if is_busy { &Outcome::Busy } else { outcome },
            sent,
            now,
            config,
        );
        *outcome == Outcome::Success
    }

    /// Returns whether a probe was under way that should have reported by now. That is our own
    /// fault, and no evidence. If we stood still when its time ended, it gets that time again.
    pub(crate) fn probe_is_lost(&mut self, now: Instant) -> bool {
        if let Some(probe) = &mut self.probe
            && now >= probe.lost + LATE
        {
            probe.lost = now + probe.limit;
        }
        let is_lost = self.probe.take_if(|probe| probe.lost <= now).is_some();
        self.measured.is_unheard |= is_lost;
        is_lost
    }

    pub(crate) fn is_probed(&self) -> bool {
        self.probe.is_some()
    }

    /// It reloads its catalog: what is on its way does not count.
    pub(crate) fn hold_probes(&mut self, now: Instant) {
        self.probe_is_lost(now);
        self.probe = None;
    }

    /// Into maintenance.
    pub(crate) fn forget(&mut self) {
        self.measured = Measured::default();
        self.probe = None;
        self.is_half_open = false;
        self.ramp = None;
        self.lasting.begin_anew();
    }
}

/// Counts of events. A world in which nothing happens proves nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally(BTreeMap<&'static str, u64>);

/// Events that are too rare to be required of the usual worlds. After a waiter has left, another
/// can go only if a config reload came between two events of its user, or if a slot was released
/// without notice. Unit tests of the waitlist check that it is served.
const MAY_HAPPEN: &[&str] = &["served when another left"];

/// Everything that must happen in some world.
const MUST_HAPPEN: &[&str] = &[
    "an order that survived a restart",
    "a database that is down",
    "a probe layer that fails everywhere",
    "credentials that are refused",
    "no descriptors left",
    "a load that read old files",
    "renamed",
    "a restart with an old memory",
    "a layer was chosen",
    "a layer was lost",
    "a canary that knows no layer",
    "a canary in doubt",
    "returned with its canary in doubt",
    "a request was selected for",
    "a main-only request was selected for",
    "the backup served",
    "a choice between several",
    "a choice while an upstream ramps up",
    "a tile where it belongs",
    "a tile beyond the bound with its companions",
    "a retry",
    "a trial",
    "a trial by a retry",
    "an early trial",
    "a reload was put off for a request",
    "a reload was postponed",
    "refused: none eligible",
    "refused: all tried",
    "every upstream full",
    "no verdict yet",
    "the author of a change sees it",
    "a tile with its companions above the cap",
    "a higher cap was learned",
    "a place taken at once while others wait",
    "waited, and was served",
    "a retry waited, and was served",
    "waited longer than a newer one of a better class",
    "waited until no upstream was left",
    "waited too long",
    "left while waiting",
    "left when its turn came",
    "a slot released after a search",
    "shed",
    "shed for a retry",
    "shed from a user with more than half",
    "the queue was full",
    "one too many in an overload",
    "shed in an overload",
    "refused in an overload",
    "waited when its geofront ended",
    "served after the end of a lease",
    "served from a new snapshot",
    "served after a look",
    "served after learning",
    "served when a limit left room",
    "held by a limit",
    "health up",
    "health down",
    "health unknown",
    "ejected",
    "ejected again",
    "half-open",
    "returned",
    "mode drain",
    "mode maintenance",
    "mode ready",
    "an order refused",
    "added",
    "retired",
    "retired with leases",
    "configured",
    "a lost probe",
    "the process stood still",
    "a late report",
    "the ceiling reached",
    "a fresh one served while others were stale",
    "stale ones served",
    "capabilities from the main",
    "capabilities from stale ones",
    "a roll",
    "a roll that repairs",
    "a change was noticed",
    "a catalog reload",
    "a catalog reload failed",
    "a replica that a reload would not reach",
    "a reload that never reached it",
    "two catalog reloads at a time",
    "a reload beside requests that did not end",
    "a reload that left nothing",
    "a condition began",
    "most came back together",
    "a reload that was never reported",
    "a late answer to a reload",
    "a canary failed",
    "reloaded",
    "found stale",
    "found stale while a change settles",
    "a replica had loaded by itself",
    "a fresh replica was emptied behind our back",
    "a hint resolved",
    "an edit",
    "an edit while a replica starts",
    "an edit without a number",
    "an edit past the front door",
    "an edit on disk",
    "a change on disk was noticed",
    "a main without a number",
    "a certain hint",
    "a write was seen",
    "a click was seen",
    "the file was seen to change",
    "an order to sync",
    "an order to sync refused",
    "a reload behind our back",
    "the main was reloaded",
    "a process was restarted",
    "evidence of a stale replica",
    "another main",
    "a restart with a memory",
    "a restart without a memory",
    "a restart in the middle of a reload",
    "a lease that outlived its geofront",
    "a roll held up by the last one",
    "an order in the middle of a reload",
    "a world that ends fresh",
    "a world that cannot reload",
    "a world that had to retry in the end",
];

impl Tally {
    pub(crate) fn count(&mut self, what: &'static str) {
        let is_listed = MUST_HAPPEN.contains(&what) || MAY_HAPPEN.contains(&what);
        assert!(is_listed, "{what} is in no list");
        *self.0.entry(what).or_default() += 1;
    }

    pub(crate) fn plus(mut self, other: Self) -> Self {
        other
            .0
            .into_iter()
            .for_each(|(what, count)| *self.0.entry(what).or_default() += count);
        self
    }

    pub(crate) fn never_happened(&self) -> Vec<&'static str> {
        MUST_HAPPEN
            .iter()
            .copied()
            .filter(|what| !self.0.contains_key(what))
            .collect()
    }
}
