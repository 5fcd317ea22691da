//! A hash of an address, the same in every process and on every machine.

use crate::hash::{FNV_START, fnv1a_from, mix64};

/// FNV-1a over the bytes, followed by the finaliser of SplitMix64, because FNV alone keeps similar
/// inputs close together. Neither resists a deliberate search for two metatiles with one number.
/// Such a pair would only make one replica busier, and the bound on its load limits that.
#[derive(Clone, Copy)]
pub(super) struct Digest(u64);

impl Digest {
    pub(super) const EMPTY: Self = Self(FNV_START);

    pub(super) fn bytes(self, bytes: impl IntoIterator<Item = u8>) -> Self {
        Self(fnv1a_from(self.0, bytes))
    }

    /// Ends one text, so that `ab`, `c` differs from `a`, `bc`.
    pub(super) fn end(self) -> Self {
        self.bytes([0])
    }

    pub(super) fn number(self, number: u64) -> Self {
        self.bytes(number.to_le_bytes())
    }

    pub(super) fn finish(self) -> u64 {
        mix64(self.0)
    }
}
