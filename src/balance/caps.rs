//! The slots of an upstream that a request may use: the cap, the shares of it for slower and heavy
//! requests, and a reserve above it.
//!
//! ```text
//!   0 -------- heavy ---------------- slower ------------------------ cap ------- cap + RESERVE
//!   all        all but heavy ones     priority 0, administration      administration only
//! ```
//!
//! Without a bound on their share, a burst of slow jobs would take every renderer of every
//! upstream, and each tile would wait for a job to end. If maps filled the rest, each tile would
//! wait for a map. The reserve is for requests that must always get in, such as those of an
//! operator who wants to see why everything is full.

use super::{LearnedCap, SlotLimits};
use crate::config::Priority;
use crate::ogc::RequestClass;

/// Slots above the cap for administration. There are two because a page of the web UI requests its
/// parts at the same time.
pub const RESERVE: u32 = 2;

/// Slots for priority 0 on top of a learned cap, in percent of the cap.
const EXTRA: u32 = 25;
/// Minimum of the extra slots, because tiles come in twos and threes.
const MIN_EXTRA: u32 = 2;
/// Minimum of the slots for heavy requests within a learned cap, whatever their share is.
const MIN_HEAVY: u32 = 2;

/// The slots of an upstream that a request may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Demand {
    /// Requests of priority 0, which may use all slots but the reserve.
    Quick,
    /// Requests that leave the slots reserved for priority 0 free.
    Ordinary,
    /// Requests that also stay within the heavy share.
    Heavy,
    /// Requests that may also use the reserve of administration.
    Administration,
}

impl Demand {
    /// Returns the demand of a request of this class and priority.
    pub fn of(class: RequestClass, priority: Priority) -> Self {
        if class.row().is_administration {
            Self::Administration
        } else if priority.is_heavy() {
            Self::Heavy
        } else if priority == Priority::FIRST {
            Self::Quick
        } else {
            Self::Ordinary
        }
    }
}

/// The division of a cap, in percent of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shares {
    /// Slots that only priority 0 may use.
    pub quick_reserve: u32,
    /// Maximum of the slots for heavy requests.
    pub heavy: u32,
}

/// An upstream's cap and the shares in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caps {
    all: u32,
    slower: u32,
    heavy: u32,
}

impl Caps {
    /// No cap at all.
    pub const UNLIMITED: Self = Self {
        all: u32::MAX,
        slower: u32::MAX,
        heavy: u32::MAX,
    };

    /// Divides a cap. Shares are rounded down, but are at least one, because a class with a share
    /// of none would never be served.
    pub fn new(cap: u32, shares: Shares) -> Self {
        let all = cap.max(1);
        let slower = (all - part(all, shares.quick_reserve.min(100), 100)).max(1);
        Self {
            all,
            slower,
            heavy: part(all, shares.heavy, 100).clamp(1, slower),
        }
    }

    /// Divides a learned cap. `heavy`: the percentage for heavy requests.
    ///
    /// A learned cap is the number of requests that the upstream handles well, so slots reserved
    /// within it would be lost work. Priority 0 therefore gets a quarter on top, if it benefits
    /// from it, instead of a part of the cap.
    ///
    /// One long request is no reason for the next to wait while half of the cap is free. Two heavy
    /// requests may therefore run, as long as one slot is left to others. If more of them keep
    /// coming, as many may run as keep up with the arrivals, because a queue that grows without end
    /// would help no request. A quarter of the cap, rounded down, stays closed to them.
    pub fn learned(learned: LearnedCap, heavy: u32) -> Self {
        let slower = learned.cap.max(1);
        let keeps_up = learned.heavy.min(slower - slower / 4);
        let heavy = part(slower, heavy, 100)
            .max(MIN_HEAVY)
            .min((slower - 1).max(1))
            .max(keeps_up);
        let extra = if learned.has_extra {
            part(slower, EXTRA, 100).max(MIN_EXTRA)
        } else {
            0
        };
        Self {
            all: slower.saturating_add(extra),
            slower,
            heavy,
        }
    }

    /// Returns the slots for all requests together.
    pub const fn all(&self) -> u32 {
        self.all
    }

    /// Returns the slots for requests that are not of priority 0.
    pub const fn slower(&self) -> u32 {
        self.slower
    }

    /// Returns the slots for heavy requests.
    pub const fn heavy(&self) -> u32 {
        self.heavy
    }

    /// True if there is no cap.
    pub const fn is_unlimited(&self) -> bool {
        self.all == u32::MAX
    }

    /// Returns the caps of an upstream that is ramping up: `share` of `whole`, at least one slot.
    /// No cap stays no cap.
    #[inline]
    #[must_use]
    pub fn ramped(self, share: u32, whole: u32) -> Self {
        if share >= whole || self.is_unlimited() {
            return self;
        }
        let ramped = |n| part(n, share, whole).max(1);
        Self {
            all: ramped(self.all),
            slower: ramped(self.slower),
            heavy: ramped(self.heavy),
        }
    }

    /// Returns the limits on the slots that a request of this demand may use.
    #[inline]
    pub const fn slot_limits(self, demand: Demand) -> SlotLimits {
        match demand {
            Demand::Quick => SlotLimits::quick(self.all),
            Demand::Ordinary => SlotLimits {
                all: self.all,
                slower: Some(self.slower),
                heavy: None,
            },
            Demand::Heavy => SlotLimits {
                all: self.all,
                slower: Some(self.slower),
                heavy: Some(self.heavy),
            },
            Demand::Administration => SlotLimits::quick(self.all.saturating_add(RESERVE)),
        }
    }
}

/// Returns `share / whole` of `n`, rounded down.
const fn part(n: u32, share: u32, whole: u32) -> u32 {
    // The result is at most n, because share is at most whole.
    (n as u64 * share as u64 / whole as u64) as u32
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::balance::{Lease, Load};

    fn take(load: &Arc<Load>, caps: Caps, demand: Demand) -> Vec<Lease> {
        std::iter::from_fn(|| load.try_lease(caps.slot_limits(demand)))
            .take(1000)
            .collect()
    }

    const SHARES: Shares = Shares {
        quick_reserve: 25,
        heavy: 25,
    };

    #[test]
    fn heavy_requests_fill_a_quarter_maps_half_tiles_the_rest_and_administration_still_gets_in() {
        let (load, caps) = (Arc::new(Load::default()), Caps::new(16, SHARES));
        let taken = [
            Demand::Heavy,
            Demand::Ordinary,
            Demand::Quick,
            Demand::Administration,
        ]
        .map(|demand| take(&load, caps, demand));
        assert_eq!(
            taken.map(|leases| leases.len()),
            [4, 8, 4, RESERVE as usize]
        );
    }

    #[test]
    fn the_smallest_cap_serves_every_class() {
        let caps = Caps::new(1, SHARES);
        for demand in [Demand::Quick, Demand::Ordinary, Demand::Heavy] {
            assert_eq!(take(&Arc::new(Load::default()), caps, demand).len(), 1);
        }
    }

    #[test]
    fn a_learned_limit_has_a_quarter_more_for_the_quickest_class_and_admits_two_heavy_requests() {
        let parts = |cap| {
            let caps = [true, false].map(|has_extra| {
                Caps::learned(
                    LearnedCap {
                        cap,
                        has_extra,
                        heavy: 0,
                    },
                    25,
                )
            });
            assert_eq!(
                caps[1],
                Caps {
                    all: cap,
                    ..caps[0]
                }
            );
            (caps[0].all(), caps[0].slower(), caps[0].heavy())
        };
        assert_eq!(
            [1, 4, 8, 16, 256].map(parts),
            [
                (3, 1, 1),
                (6, 4, 2),
                (10, 8, 2),
                (20, 16, 4),
                (320, 256, 64)
            ]
        );
    }

    #[test]
    fn steady_heavy_requests_get_more_than_their_share_but_leave_a_quarter_of_four_slots() {
        let heavy = |cap, heavy| {
            Caps::learned(
                LearnedCap {
                    cap,
                    has_extra: false,
                    heavy,
                },
                25,
            )
            .heavy()
        };
        assert_eq!(
            [
                heavy(8, 0),
                heavy(8, 5),
                heavy(8, 99),
                heavy(4, 99),
                heavy(2, 99),
                heavy(1, 99)
            ],
            [2, 5, 6, 3, 2, 1]
        );
        assert_eq!(heavy(2, 0), 1, "a moment of a low cap is not all theirs");
    }

    #[test]
    fn a_ramp_begins_with_one_place_and_ends_with_all() {
        let at = |share| Caps::new(16, SHARES).ramped(share, 1024);
        assert_eq!((at(51).all(), at(51).heavy()), (1, 1));
        assert_eq!((at(512).all(), at(512).heavy()), (8, 2));
        assert_eq!(at(1024), Caps::new(16, SHARES));
        assert!(Caps::UNLIMITED.ramped(51, 1024).is_unlimited());
    }

    #[test]
    fn administration_follows_from_the_class_and_heavy_demand_from_the_priority() {
        assert_eq!(
            Demand::of(RequestClass::Admin, Priority::LAST),
            Demand::Administration
        );
        assert_eq!(
            Demand::of(RequestClass::Feature, Priority::LAST),
            Demand::Heavy
        );
        assert_eq!(
            Demand::of(RequestClass::Feature, Priority::FIRST),
            Demand::Quick
        );
        assert_eq!(
            Demand::of(RequestClass::Unknown, Priority::FIRST),
            Demand::Quick
        );
    }

    proptest! {
        #[test]
        fn no_share_is_more_than_the_one_it_is_a_part_of_and_none_is_nothing(
            cap in 1_u32..,
            quick_reserve in 0..=100_u32,
            heavy in 1..=100_u32,
            share in 1..=1024_u32,
        ) {
            let caps = Caps::new(cap, Shares { quick_reserve, heavy }).ramped(share, 1024);
            prop_assert!(1 <= caps.heavy() && caps.heavy() <= caps.slower());
            prop_assert!(caps.slower() <= caps.all() && caps.all() <= cap);
        }
    }
}
