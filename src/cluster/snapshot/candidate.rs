//! An upstream within a snapshot: its standing, its concurrency limit and its load.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Selection, Tried};
use crate::balance::{
    Caps, Demand, LearnedCap, Lease, Load, LoadSample, Shares, SlotLimits, seed_of,
};
use crate::cluster::Upstream;
use crate::config::{Limits, MaxInFlight, Weight};
use crate::health::Warmup;

/// An upstream that is reachable and ready.
#[derive(Clone, Debug)]
pub(in crate::cluster) struct Candidate {
    pub(super) upstream: Arc<Upstream>,
    /// The load of the upstream, held here to save one pointer per candidate.
    pub(super) load: Arc<Load>,
    pub(super) standing: Standing,
    pub(super) caps: CapSource,
    /// Replaces the name when keys choose. An upstream that moves to another address keeps its
    /// keys.
    pub(super) seed: u64,
}

/// The result of choosing one of some candidates and taking its slot.
pub(super) enum Choice {
    Taken(Selection),
    /// Another request took the slot of the chosen candidate, or the candidate was closed.
    Lost,
    NoSlot,
}

impl Choice {
    /// Returns the result for a chosen candidate that gave this slot.
    pub(super) fn of(selection: Option<Selection>) -> Self {
        selection.map_or(Self::Lost, Self::Taken)
    }
}

/// The source of an upstream's cap.
#[derive(Clone, Copy, Debug)]
pub(in crate::cluster) enum CapSource {
    Fixed(Caps),
    /// The cap learned from the upstream's load, and the percentage of it that heavy requests may
    /// use.
    Learned {
        heavy: u32,
    },
}

impl CapSource {
    pub(in crate::cluster) fn of(max_in_flight: MaxInFlight, limits: &Limits) -> Self {
        let shares = Shares {
            quick_reserve: limits.quick_reserve,
            heavy: limits.heavy_share,
        };
        match max_in_flight {
            MaxInFlight::Auto => Self::Learned {
                heavy: limits.heavy_share,
            },
            MaxInFlight::Off => Self::Fixed(Caps::UNLIMITED),
            MaxInFlight::Fixed(cap) => Self::Fixed(Caps::new(cap, shares)),
        }
    }

    /// Returns the caps, reduced while the upstream is ramping up.
    #[inline]
    pub(in crate::cluster) fn caps(
        self,
        load: &Load,
        warmup: Option<Warmup>,
        now: Instant,
    ) -> Caps {
        let caps = match self {
            Self::Fixed(caps) => caps,
            Self::Learned { heavy } => {
                let nothing_yet = LearnedCap {
                    cap: MaxInFlight::AUTO_START,
                    has_extra: true,
                    heavy: 0,
                };
                Caps::learned(load.learned_cap().unwrap_or(nothing_yet), heavy)
            }
        };
        match warmup {
            Some(warmup) => caps.ramped(warmup.share(now), Warmup::WHOLE),
            None => caps,
        }
    }
}

/// The part of an upstream's state that requests can see.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::cluster) struct Standing {
    pub(in crate::cluster) reads: Reads,
    /// True if it may serve reads: its probes pass, or no upstream's probes do.
    pub(in crate::cluster) passes: bool,
    /// True for a backup that serves in the first tier while some of its members are out.
    pub(in crate::cluster) helps: bool,
    pub(in crate::cluster) is_fresh: bool,
    /// True for the main during its own catalog reload. It then serves only what no other upstream
    /// may.
    pub(in crate::cluster) is_reading_catalog: bool,
    pub(in crate::cluster) weight: Weight,
    pub(in crate::cluster) warmup: Option<Warmup>,
    pub(in crate::cluster) max_in_flight: MaxInFlight,
    /// Time of the last change of the half-open state or of the mode; `None` if it is not
    /// half-open.
    pub(in crate::cluster) half_open_since: Option<Instant>,
}

/// The part of an upstream in serving classes that several upstreams may serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cluster) enum Reads {
    First,
    Backup,
    OnTrial,
    /// It serves none, by configuration or because it is ejected.
    No,
}

impl Candidate {
    pub(in crate::cluster) fn new(
        upstream: &Arc<Upstream>,
        standing: Standing,
        limits: &Limits,
    ) -> Self {
        let seed = seed_of(upstream.name.as_str());
        let caps = CapSource::of(standing.max_in_flight, limits);
        Self {
            upstream: Arc::clone(upstream),
            load: Arc::clone(&upstream.load),
            standing,
            caps,
            seed,
        }
    }

    /// Returns the free slots, reduced while the upstream is ramping up.
    #[inline]
    pub(super) fn slot_limits(&self, demand: Demand, now: Instant) -> SlotLimits {
        self.caps
            .caps(&self.load, self.standing.warmup, now)
            .slot_limits(demand)
    }

    #[inline]
    pub(super) fn has_slot(&self, demand: Demand, tried: &Tried, now: Instant) -> bool {
        self.has_room(self.slot_limits(demand, now), tried)
    }

    #[inline]
    pub(super) fn has_room(&self, limits: SlotLimits, tried: &Tried) -> bool {
        !self.is_tried(tried) && self.load.has_room(limits)
    }

    /// Returns the upstream as a candidate, unless it is out. Free slots are not examined.
    #[inline(always)]
    pub(super) fn offer(&self, tried: &Tried, now: Instant) -> Option<LoadSample> {
        if self.is_tried(tried) {
            return None;
        }
        let in_flight = self.load.in_flight_if_open()?;
        Some(LoadSample {
            in_flight,
            weight: self.weight_at(now),
        })
    }

    #[inline]
    pub(super) fn is_tried(&self, tried: &Tried) -> bool {
        tried.excludes(&self.upstream)
    }

    /// True if it was tried, or closed since this snapshot was taken.
    #[inline]
    pub(super) fn is_out(&self, tried: &Tried) -> bool {
        self.is_tried(tried) || self.load.is_closed()
    }

    #[inline]
    pub(super) fn load_sample(&self, now: Instant) -> LoadSample {
        LoadSample {
            in_flight: self.load.in_flight(),
            weight: self.weight_at(now),
        }
    }

    pub(super) fn lease(&self, demand: Demand, now: Instant) -> Option<Selection> {
        self.lease_in(self.slot_limits(demand, now), demand)
    }

    pub(super) fn lease_in(&self, limits: SlotLimits, demand: Demand) -> Option<Selection> {
        self.load
            .try_lease(limits)
            .map(|lease| self.selection(lease, demand))
    }

    pub(super) fn lease_trial(&self, demand: Demand, now: Instant) -> Option<Selection> {
        self.load
            .try_trial(self.slot_limits(demand, now))
            .map(|lease| self.selection(lease, demand))
    }

    pub(super) fn selection(&self, lease: Lease, demand: Demand) -> Selection {
        // Heavy requests are too few and too different for samples, and administration has other
        // latencies.
        let teaches_cap = matches!(self.caps, CapSource::Learned { .. })
            && matches!(demand, Demand::Quick | Demand::Ordinary);
        Selection {
            upstream: Arc::clone(&self.upstream),
            lease,
            teaches_cap,
        }
    }
}

/// Time after the end of an ejection during which requests of priority 1, and then heavy ones,
/// leave the trial to lighter ones.
const ORDINARY_TRIAL: Duration = Duration::from_secs(1);
const HEAVY_TRIAL: Duration = Duration::from_secs(30);

impl Standing {
    /// True if a request may be the trial even though another upstream is available. Light requests
    /// give a result sooner and lose less.
    pub(super) fn tries(&self, demand: Demand, now: Instant) -> bool {
        let patience = match demand {
            Demand::Quick => Duration::ZERO,
            Demand::Ordinary | Demand::Administration => ORDINARY_TRIAL,
            Demand::Heavy => HEAVY_TRIAL,
        };
        self.half_open_since
            .is_none_or(|since| now >= since + patience)
    }

    /// Returns the weight in parts of [`Warmup::WHOLE`], so that a ramp has steps even for the
    /// smallest weight.
    #[inline]
    pub(in crate::cluster) fn weight_at(&self, now: Instant) -> u32 {
        u32::from(self.weight.get())
            * self
                .warmup
                .map_or(Warmup::WHOLE, |warmup| warmup.share(now))
    }
}
