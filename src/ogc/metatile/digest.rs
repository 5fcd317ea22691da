//! A number for what was written: the same in every process and on every machine.

/// FNV-1a (Fowler, Noll, Vo) over the bytes, and the finaliser of SplitMix64 (Steele, Lea and
/// Flood, 2014) over its result, because FNV alone leaves neighbours near each other. Neither
/// resists somebody who searches for two metatiles with one number; that would gain them nothing
/// but a busier replica, and the bound on its load stands before that.
#[derive(Clone, Copy)]
pub(super) struct Digest(u64);

impl Digest {
    pub(super) const EMPTY: Self = Self(0xcbf2_9ce4_8422_2325);

    fn byte(self, byte: u8) -> Self {
        Self((self.0 ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
    }

    pub(super) fn bytes(self, bytes: impl IntoIterator<Item = u8>) -> Self {
        bytes.into_iter().fold(self, Self::byte)
    }

    /// So that `ab`, `c` is not `a`, `bc`.
    pub(super) fn end(self) -> Self {
        self.byte(0)
    }

    pub(super) fn number(self, number: u64) -> Self {
        self.bytes(number.to_le_bytes())
    }

    pub(super) fn finish(self) -> u64 {
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}
