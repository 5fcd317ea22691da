//! `[traces]`: which requests are traced, and where their spans go.

use crate::certificates::Authorities;

use super::Secret;

/// The settings of traces that are sent.
#[derive(Clone, Debug, PartialEq)]
pub struct Traces {
    /// The url to which traces are posted, its path included.
    pub endpoint: String,
    /// The authorities whose certificate the receiver may have; `None` for those of the system.
    pub authorities: Option<Authorities>,
    /// Header fields for the receiver, `authorization` among them.
    pub headers: Vec<(String, Secret)>,
    /// The share of requests that geofront itself chooses.
    pub sample: Share,
    /// The name under which spans are shown.
    pub service_name: String,
    /// Further attributes of this process, by name.
    pub attributes: Vec<(String, String)>,
}

/// A share of requests, from 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Share(f64);

impl Share {
    /// Returns the share; `None` if it is not from 0 to 1.
    pub fn new(share: f64) -> Option<Self> {
        (0.0..=1.0).contains(&share).then_some(Self(share))
    }

    /// Returns the share as a number from 0 to 1.
    pub const fn get(self) -> f64 {
        self.0
    }

    /// True for this share of all random numbers.
    pub fn takes(self, random: u64) -> bool {
        // A float has 53 bits: with more of them, the largest numbers would become 1.
        ((random >> 11) as f64) / ((1_u64 << 53) as f64) < self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_from_nothing_to_everything() {
        for wrong in [-0.1, 1.1, f64::NAN, f64::INFINITY] {
            assert_eq!(Share::new(wrong), None);
        }
        let (none, all) = (Share::new(0.0).unwrap(), Share::new(1.0).unwrap());
        for random in [0, 1, u64::MAX / 2, u64::MAX] {
            assert!(all.takes(random) && !none.takes(random), "{random}");
        }
    }

    #[test]
    fn a_share_takes_its_part_of_all_numbers() {
        let share = Share::new(0.01).unwrap();
        assert!(share.takes(u64::MAX / 101) && !share.takes(u64::MAX / 99));
    }
}
