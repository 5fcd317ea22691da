//! The learned cap of an upstream, and its encoding in one word.

/// The learned cap of an upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LearnedCap {
    /// Requests that the upstream handles well at a time.
    pub cap: u32,
    /// True if requests of priority 0 do not queue inside the upstream above the cap.
    pub has_extra: bool,
    /// Heavy requests at a time that keep up with the arrivals.
    pub heavy: u32,
}

impl LearnedCap {
    /// Lower bound of a reduced cap, because one long request must not stop everything.
    const MIN: u32 = 4;
    const HEAVY_BITS: u32 = 16;

    /// Encodes it in one word, which is never 0: the heavy slots in the upper half, the cap in the
    /// lower, and one bit for the extra.
    pub(super) fn packed(self) -> u32 {
        let half = (1 << (Self::HEAVY_BITS - 1)) - 1;
        self.heavy.min(half) << Self::HEAVY_BITS
            | self.cap.clamp(1, half) << 1
            | u32::from(self.has_extra)
    }

    /// Decodes a word; 0 yields `None`.
    pub(super) fn unpacked(word: u32) -> Option<Self> {
        let below = word & ((1 << Self::HEAVY_BITS) - 1);
        (word > 0).then_some(Self {
            cap: below >> 1,
            has_extra: below & 1 == 1,
            heavy: word >> Self::HEAVY_BITS,
        })
    }

    /// Returns the cap less an eighth, and less at least one.
    pub(super) fn lowered(self) -> Self {
        let lower = self.cap - (self.cap / 8).max(1).min(self.cap);
        Self {
            cap: lower.max(Self::MIN.min(self.cap)),
            ..self
        }
    }
}
