//! What the world itself knows about each upstream, without asking the cluster; and what happened how often.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use geofront::cluster::{Outcome, Upstream};

/// Identity as the architecture defines it.
pub(crate) type Key = (String, SocketAddr);

/// The facts about one upstream, from its addition to its retirement.
#[derive(Debug, Default)]
pub(crate) struct Entry {
    /// As last seen; its id never changes.
    pub(crate) upstream: Option<Arc<Upstream>>,
    /// Results of probes since it was last unknown, the last one last. Who is busy tells nothing.
    reports: Vec<bool>,
    /// When the probe under way is lost.
    probe: Option<Instant>,
    pub(crate) is_half_open: bool,
    pub(crate) leases: u32,
    pub(crate) trials: u32,
}

impl Entry {
    pub(crate) fn meet(&mut self, upstream: &Arc<Upstream>) {
        let id = self.upstream.as_ref().map_or(upstream.id, |known| known.id);
        assert_eq!(id, upstream.id, "{} keeps its identity", upstream.name);
        self.upstream = Some(Arc::clone(upstream));
    }

    pub(crate) fn probe_began(&mut self, lost: Instant) {
        self.probe = Some(lost);
    }

    /// A report arrives. It counts if some probe is waited for, whichever it is of.
    pub(crate) fn probe_reported(&mut self, outcome: &Outcome, now: Instant) {
        if !self.probe_is_lost(now) && self.probe.take().is_some() {
            match outcome {
                Outcome::Success => self.reports.push(true),
                Outcome::Failure(_) => self.reports.push(false),
                Outcome::Busy => {}
            }
        }
    }

    /// Whether a probe was under way that should have reported by now: that is a failure.
    pub(crate) fn probe_is_lost(&mut self, now: Instant) -> bool {
        let is_lost = self.probe.is_some_and(|lost| lost <= now);
        if is_lost {
            self.probe = None;
            self.reports.push(false);
        }
        is_lost
    }

    pub(crate) fn is_probed(&self) -> bool {
        self.probe.is_some()
    }

    /// Into maintenance.
    pub(crate) fn forget(&mut self) {
        self.reports.clear();
        self.probe = None;
        self.is_half_open = false;
    }

    pub(crate) fn has_passed_a_probe(&self) -> bool {
        self.reports.contains(&true)
    }

    /// Whether the last `count` reports all were `passed`.
    pub(crate) fn has_run(&self, count: u32, passed: bool) -> bool {
        self.reports.iter().rev().take_while(|report| **report == passed).count() >= count as usize
    }
}

/// How often things happened. A world in which nothing happens proves nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally(BTreeMap<&'static str, u64>);

/// Everything that must happen in some world.
const MUST_HAPPEN: [&str; 30] = [
    "a request was selected for",
    "a main-only request was selected for",
    "the backup served",
    "a choice between several",
    "a choice while somebody ramps up",
    "a tile where it belongs",
    "a tile beyond the bound with its companions",
    "a retry",
    "a trial",
    "a trial by a retry",
    "refused: none eligible",
    "refused: all tried",
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
    "a late report",
    "the ceiling reached",
];

impl Tally {
    pub(crate) fn count(&mut self, what: &'static str) {
        assert!(MUST_HAPPEN.contains(&what), "{what} is not in the list");
        *self.0.entry(what).or_default() += 1;
    }

    pub(crate) fn plus(mut self, other: Self) -> Self {
        other.0.into_iter().for_each(|(what, count)| *self.0.entry(what).or_default() += count);
        self
    }

    pub(crate) fn never_happened(&self) -> Vec<&'static str> {
        MUST_HAPPEN.into_iter().filter(|what| !self.0.contains_key(what)).collect()
    }
}
