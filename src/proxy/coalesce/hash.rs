//! A quick hash for keys: about 700 bytes are hashed for every request that may be shared.
//!
//! Its key is random, and it mixes well enough for a table. It need not withstand a search for
//! collisions: keys are compared in full, and of two requests with the same hash but different keys
//! the second goes alone.

use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState};

/// Odd numbers without a pattern: digits of the square roots of 2, 3 and 5.
const FACTORS: [u64; 3] = [
    0x6a09_e667_f3bc_c909,
    0xbb67_ae85_84ca_a73b,
    0x3c6e_f372_fe94_f82b,
];

/// Bytes mixed in one step, in two lanes that do not wait for each other.
const STEP: usize = 16;

#[derive(Debug)]
pub(super) struct Keyed([u64; 2]);

impl Default for Keyed {
    fn default() -> Self {
        Self([0_u8, 1].map(|lane| RandomState::new().hash_one(lane)))
    }
}

impl Keyed {
    pub(super) fn hash(&self, bytes: &[u8]) -> u64 {
        let [mut one, mut two] = self.0;
        let mut mix = |step: &[u8; STEP]| {
            let [left, right] =
                [0, 8].map(|at| u64::from_le_bytes(std::array::from_fn(|byte| step[at + byte])));
            one = folded(one ^ left, FACTORS[0]);
            two = folded(two ^ right, FACTORS[1]);
        };
        let (steps, rest) = bytes.as_chunks::<STEP>();
        steps.iter().for_each(&mut mix);
        let mut last = [0; STEP];
        last[..rest.len()].copy_from_slice(rest);
        mix(&last);
        folded(one ^ two.rotate_left(32) ^ bytes.len() as u64, FACTORS[2])
    }
}

/// Both halves of the product, so that every bit affects every other.
fn folded(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

/// A map by hashes of [`Keyed`], which are not hashed once more.
pub(super) type ByHash<T> = HashMap<u64, T, BuildHasherDefault<AsItIs>>;

#[derive(Debug, Default)]
pub(super) struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _bytes: &[u8]) {
        unreachable!("the keys are numbers");
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    /// Every text of up to `longest` bytes of two letters, so that all differ a little.
    fn texts(longest: u32) -> impl Iterator<Item = Vec<u8>> {
        (0..=longest).flat_map(|length| {
            (0..1_u32 << length).map(move |bits| {
                (0..length)
                    .map(|at| b'a' + (bits >> at & 1) as u8)
                    .collect()
            })
        })
    }

    #[test]
    fn texts_that_differ_a_little_have_hashes_of_their_own_in_all_their_bits() {
        let keyed = Keyed::default();
        let hashes: Vec<u64> = texts(13).map(|text| keyed.hash(&text)).collect();
        assert_eq!(hashes.iter().collect::<HashSet<_>>().len(), hashes.len());
        for bit in 0..64 {
            let set = hashes.iter().filter(|hash| **hash >> bit & 1 == 1).count();
            let share = set as f64 / hashes.len() as f64;
            assert!(
                (0.45..0.55).contains(&share),
                "bit {bit} is set in {share} of all"
            );
        }
    }

    #[test]
    fn the_bytes_after_the_last_whole_step_and_the_length_change_the_hash() {
        let keyed = Keyed::default();
        let texts = [
            &b""[..],
            b"\0",
            b"0123456789abcdef",
            b"0123456789abcdef\0",
            b"0123456789abcdefg",
            b"0123456789abcdeg",
        ];
        assert_eq!(
            texts
                .iter()
                .map(|text| keyed.hash(text))
                .collect::<HashSet<_>>()
                .len(),
            texts.len()
        );
    }

    #[test]
    fn each_process_has_hashes_of_its_own() {
        assert_ne!(Keyed::default().hash(b"a"), Keyed::default().hash(b"a"));
    }
}
