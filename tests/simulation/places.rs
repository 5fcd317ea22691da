//! The number of slots of an upstream, derived from `docs/limits.md` the slow and obvious way.

use std::time::{Duration, Instant};

use geofront::balance::LearnedCap;
use geofront::config::{Config, MaxInFlight};
use geofront::ogc::RequestClass;

/// The share of an upstream that a request may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Quick,
    Ordinary,
    Heavy,
    Administration,
}

/// Above the cap, for administration.
const FOR_ADMINISTRATION: u32 = 2;

impl Kind {
    pub(crate) fn of(class: RequestClass, config: &Config) -> Self {
        match (class, config.classes[class].priority.get()) {
            (RequestClass::Admin | RequestClass::Ui | RequestClass::Transaction, _) => {
                Self::Administration
            }
            (_, 0) => Self::Quick,
            (_, 1) => Self::Ordinary,
            (_, _) => Self::Heavy,
        }
    }

    pub(crate) fn is_slower(self) -> bool {
        matches!(self, Self::Ordinary | Self::Heavy)
    }
}

/// Numbers of running requests: all, the slower among them, and the heavy among those.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct AtWork {
    pub(crate) all: u32,
    pub(crate) slower: u32,
    pub(crate) heavy: u32,
}

impl AtWork {
    pub(crate) fn begin(&mut self, kind: Kind) {
        self.all += 1;
        self.slower += u32::from(kind.is_slower());
        self.heavy += u32::from(kind == Kind::Heavy);
    }

    pub(crate) fn end(&mut self, kind: Kind) {
        self.all -= 1;
        self.slower -= u32::from(kind.is_slower());
        self.heavy -= u32::from(kind == Kind::Heavy);
    }
}

/// The slow start of an upstream that came back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ramp {
    pub(crate) since: Instant,
    pub(crate) length: Duration,
}

impl Ramp {
    /// The part of a count that is there at `at`: at least a twentieth, in a straight line to the
    /// whole, by steps of a 1024th.
    pub(crate) fn of(&self, count: u32, at: Instant) -> u32 {
        let passed = at.saturating_duration_since(self.since);
        if passed >= self.length {
            return count;
        }
        let steps =
            ((passed.as_secs_f64() / self.length.as_secs_f64() * 1024.0) as u32).max(1024 / 20);
        (count * steps / 1024).max(1)
    }
}

/// The places of one upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Places {
    pub(crate) all: u32,
    pub(crate) slower: u32,
    pub(crate) heavy: u32,
}

impl Places {
    /// `None` for no cap.
    pub(crate) fn of(
        max_in_flight: MaxInFlight,
        learned: Option<LearnedCap>,
        ramp: Option<Ramp>,
        config: &Config,
        at: Instant,
    ) -> Option<Self> {
        let part_of = |cap: u32, percent: u32| {
            u32::try_from(u64::from(cap) * u64::from(percent) / 100).expect("a part of the cap")
        };
        let limits = &config.limits;
        let (all, slower, keeps_up) = match max_in_flight {
            MaxInFlight::Off => return None,
            // The quickest have a quarter on top, if they are served there; heavy ones that keep
            // coming leave a quarter, rounded down.
            MaxInFlight::Auto => match learned {
                Some(LearnedCap {
                    cap,
                    has_extra,
                    heavy,
                }) => {
                    let extra = if has_extra { (cap / 4).max(2) } else { 0 };
                    (cap + extra, cap, heavy.min(cap - cap / 4))
                }
                None => (10, 8, 0),
            },
            MaxInFlight::Fixed(cap) => (cap, (cap - part_of(cap, limits.quick_reserve)).max(1), 0),
        };
        let whole = if max_in_flight == MaxInFlight::Auto {
            slower
        } else {
            all
        };
        // A burst of heavy requests takes two slots of a learned limit, and leaves one.
        let (least_heavy, most_heavy) = if max_in_flight == MaxInFlight::Auto {
            (2, slower.saturating_sub(1).max(1))
        } else {
            (1, slower)
        };
        let heavy = part_of(whole, limits.heavy_share)
            .max(least_heavy)
            .min(most_heavy)
            .max(keeps_up);
        let [all, slower, heavy] =
            [all, slower, heavy].map(|count| ramp.map_or(count, |ramp| ramp.of(count, at)));
        Some(Self { all, slower, heavy })
    }

    /// Returns whether one more request has a slot, with `beyond` slots above the limit.
    pub(crate) fn have_room(&self, at_work: AtWork, kind: Kind, beyond: u32) -> bool {
        let all = at_work.all < self.all + beyond;
        let slower = at_work.slower < self.slower + beyond;
        let heavy = at_work.heavy < self.heavy + beyond;
        match kind {
            Kind::Administration => at_work.all < self.all + beyond + FOR_ADMINISTRATION,
            Kind::Quick => all,
            Kind::Ordinary => all && slower,
            Kind::Heavy => all && slower && heavy,
        }
    }
}
