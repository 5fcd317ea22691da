//! Hash functions whose results are the same in every process and on every machine, unlike those of
//! the standard library. None of them resists deliberate collisions.

/// The FNV-1a hash of no bytes.
pub const FNV_START: u64 = 0xcbf2_9ce4_8422_2325;

/// The increment of [`SplitMix64`]'s state.
const GOLDEN_GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

/// The FNV-1a hash (Fowler, Noll, Vo) of `bytes`.
pub fn fnv1a(bytes: impl IntoIterator<Item = u8>) -> u64 {
    fnv1a_from(FNV_START, bytes)
}

/// The FNV-1a hash of further `bytes` after those that gave `hash`.
pub fn fnv1a_from(hash: u64, bytes: impl IntoIterator<Item = u8>) -> u64 {
    bytes.into_iter().fold(hash, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// The finaliser of SplitMix64 (Steele, Lea and Flood, 2014): it spreads similar numbers over all
/// 64 bits.
#[inline]
pub const fn mix64(number: u64) -> u64 {
    let z = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The pseudo-random generator SplitMix64, uniform over all 64 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SplitMix64(u64);

impl SplitMix64 {
    /// Returns the generator for a seed.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The generator after `count` numbers.
    pub const fn skip(self, count: u64) -> Self {
        Self(self.0.wrapping_add(count.wrapping_mul(GOLDEN_GAMMA)))
    }

    /// The next number.
    #[inline]
    pub const fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GOLDEN_GAMMA);
        mix64(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fnv1a_matches_its_published_values() {
        assert_eq!(fnv1a(*b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a(*b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(fnv1a(*b"foobar"), 0x8594_4171_f739_67e8);
        assert_eq!(fnv1a_from(fnv1a(*b"foo"), *b"bar"), fnv1a(*b"foobar"));
    }

    #[test]
    fn splitmix64_matches_its_published_sequence() {
        let mut numbers = SplitMix64::new(1_234_567);
        let drawn: [u64; 3] = std::array::from_fn(|_| numbers.draw());
        let published = [
            6_457_827_717_110_365_317,
            3_203_168_211_198_807_973,
            9_817_491_932_198_370_423,
        ];
        assert_eq!(drawn, published);
        assert_eq!(SplitMix64::new(1_234_567).skip(2).draw(), published[2]);
    }
}
