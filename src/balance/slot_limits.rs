//! The limits on the slots of an upstream, and the word that counts the slots in use.

/// The bounds on the requests in flight, below which another request is admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotLimits {
    /// Bound on all requests.
    pub all: u32,
    /// Bound on the requests that are neither of priority 0 nor administration. It applies to those
    /// requests.
    pub slower: Option<u32>,
    /// Bound on the heavy requests. It applies to a heavy request, which is also one of the slower.
    pub heavy: Option<u32>,
}

impl SlotLimits {
    /// The bounds for a request of priority 0 without a cap.
    pub const UNLIMITED: Self = Self::quick(u32::MAX);

    /// Returns the bounds for a request of priority 0.
    pub const fn quick(cap: u32) -> Self {
        Self {
            all: cap,
            slower: None,
            heavy: None,
        }
    }

    /// Returns the bounds with some more slots.
    pub const fn and(self, more: u32) -> Self {
        const fn plus(most: Option<u32>, more: u32) -> Option<u32> {
            match most {
                Some(most) => Some(most.saturating_add(more)),
                None => None,
            }
        }
        Self {
            all: self.all.saturating_add(more),
            slower: plus(self.slower, more),
            heavy: plus(self.heavy, more),
        }
    }

    pub(super) const fn has_slot(self, now: Occupancy) -> bool {
        !now.is_closed()
            && is_below(now.all(), Some(self.all))
            && is_below(now.slower(), self.slower)
            && is_below(now.heavy(), self.heavy)
    }

    /// Returns the amount that a lease under these bounds adds to the counts.
    pub(super) const fn one(self) -> u64 {
        match (self.slower, self.heavy) {
            (_, Some(_)) => Occupancy::ONE_HEAVY,
            (Some(_), None) => Occupancy::ONE_SLOWER,
            (None, None) => Occupancy::ONE,
        }
    }
}

/// True if a count is below its bound. Even without a cap, a count must not run over into the next
/// one.
const fn is_below(count: u32, most: Option<u32>) -> bool {
    match most {
        Some(most) => count < most && count < Occupancy::MAX,
        None => true,
    }
}

/// The counts and the closed door in one word: 21 bits for all in flight, 21 for the slower among
/// them, 21 for the heavy among those, one for the door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Occupancy(pub(super) u64);

impl Occupancy {
    const BITS: u32 = 21;
    const MAX: u32 = (1 << Self::BITS) - 1;
    pub(super) const ONE: u64 = 1;
    const ONE_SLOWER: u64 = Self::ONE | (1 << Self::BITS);
    pub(super) const ONE_HEAVY: u64 = Self::ONE_SLOWER | (1 << (2 * Self::BITS));
    pub(super) const CLOSED: u64 = 1 << 63;

    pub(super) const fn all(self) -> u32 {
        self.0 as u32 & Self::MAX
    }

    pub(super) const fn slower(self) -> u32 {
        (self.0 >> Self::BITS) as u32 & Self::MAX
    }

    pub(super) const fn heavy(self) -> u32 {
        (self.0 >> (2 * Self::BITS)) as u32 & Self::MAX
    }

    pub(super) const fn is_closed(self) -> bool {
        self.0 & Self::CLOSED != 0
    }
}
