//! How long requests took: quiet ones, remembered for long, and those near the cap, since the last
//! decision.

use std::time::Duration;

use super::Answered;
use crate::ogc::{PerClass, RequestClass};

/// Requests near the cap that make a look. The error of the mean of their logarithms is then about
/// a tenth.
const ENOUGH_NEAR: u32 = 192;
/// Requests near the cap that show what is very clear, as a part of the others.
const ENOUGH_IF_CLEAR: u32 = ENOUGH_NEAR / 4;
/// Requests that end it in any case.
const ENOUGH: u32 = 16 * ENOUGH_NEAR;
/// Quiet requests that those near the cap can be compared with, as the weight of the two together.
const COMPARABLE: f64 = 24.0;

/// Quiet requests remembered. Long, because dips cost; not for ever, because layers, sizes and
/// caches change.
const MEMORY: f64 = 12_288.0;
/// What is kept of them when they are to be forgotten.
const KEPT: f64 = 0.25;

/// Numbers in flight are told apart one by one up to here, then in steps of an eighth.
const EXACT: u32 = 8;
const STEP: f64 = 1.125;
const BINS: usize = 40;

fn bin(company: u32) -> usize {
    let steps = (f64::from(company.max(EXACT)) / f64::from(EXACT)).ln() / STEP.ln();
    (company.clamp(1, EXACT) as usize + steps.ceil() as usize).min(BINS - 1)
}

/// The most that fall into a bin.
fn most_in(bin: usize) -> u32 {
    let exact = EXACT as usize;
    let steps = bin.saturating_sub(exact) as i32;
    (bin.min(exact) as f64 * STEP.powi(steps)) as u32
}

fn log_seconds(took: Duration) -> f64 {
    took.as_secs_f64().max(1e-4).ln()
}

/// Weight and weighted sum of log seconds.
#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    weight: f64,
    log: f64,
}

impl Sum {
    fn plus(self, other: &Self) -> Self {
        Self {
            weight: self.weight + other.weight,
            log: self.log + other.log,
        }
    }

    fn times(self, by: f64) -> Self {
        Self {
            weight: self.weight * by,
            log: self.log * by,
        }
    }
}

/// Requests by class and by number in flight; the older they are, the less they weigh.
#[derive(Clone, Debug)]
pub(super) struct QuietTimes {
    sums: PerClass<[Sum; BINS]>,
    /// Of the next request. It grows, instead of all others shrinking.
    weight: f64,
}

impl Default for QuietTimes {
    fn default() -> Self {
        Self {
            sums: PerClass::from_fn(|_| [Sum::default(); BINS]),
            weight: 1.0,
        }
    }
}

impl QuietTimes {
    pub(super) fn add(&mut self, answered: &Answered) {
        self.weight *= 1.0 + 1.0 / MEMORY;
        if self.weight > 1e9 {
            self.scale(1.0 / self.weight);
            self.weight = 1.0;
        }
        let sum = &mut self.sums[answered.class][bin(answered.company)];
        *sum = sum.plus(
            &Sum {
                weight: 1.0,
                log: log_seconds(answered.took),
            }
            .times(self.weight),
        );
    }

    /// What was measured in another time makes room for what is measured now.
    pub(super) fn forget(&mut self) {
        self.scale(KEPT);
    }

    /// Those with at most so many in flight.
    fn of(&self, class: RequestClass, most: u32) -> Sum {
        let sum = self.sums[class][..=bin(most)]
            .iter()
            .fold(Sum::default(), Sum::plus);
        sum.times(1.0 / self.weight)
    }

    fn scale(&mut self, by: f64) {
        for class in RequestClass::ALL {
            self.sums[class]
                .iter_mut()
                .for_each(|sum| *sum = sum.times(by));
        }
    }
}

/// How long some requests took, by class.
#[derive(Clone, Debug, Default)]
pub(super) struct Times(PerClass<Sum>);

impl Times {
    pub(super) fn add(&mut self, answered: &Answered) {
        let sum = &mut self.0[answered.class];
        *sum = sum.plus(&Sum {
            weight: 1.0,
            log: log_seconds(answered.took),
        });
    }

    /// How much longer than quiet ones, with `quiet` in company at most, as a logarithm: each class
    /// against itself, as much as there is to compare. `None` if that is too little.
    pub(super) fn longer_than(&self, quiet_times: &QuietTimes, quiet: u32) -> Option<f64> {
        self.longer_of(|_| true, quiet_times, quiet)
            .filter(|(weight, _)| *weight >= COMPARABLE)
            .map(|(_, longer)| longer)
    }

    /// The same of the classes that count, with the weight of the comparison.
    fn longer_of(
        &self,
        counts: impl Fn(RequestClass) -> bool,
        quiet_times: &QuietTimes,
        quiet: u32,
    ) -> Option<(f64, f64)> {
        let (mut weight, mut longer) = (0.0, 0.0);
        for (class, sum) in self.0.iter().filter(|(class, _)| counts(*class)) {
            let quiet = quiet_times.of(class, quiet);
            if sum.weight > 0.0 && quiet.weight > 0.0 {
                let both = sum.weight * quiet.weight / (sum.weight + quiet.weight);
                weight += both;
                longer += both * (sum.log / sum.weight - quiet.log / quiet.weight);
            }
        }
        (weight > 0.0).then(|| (weight, longer / weight))
    }
}

/// What was seen since the last decision.
#[derive(Clone, Debug)]
pub(super) struct Look {
    /// From here on it is near the cap.
    pub(super) near: u32,
    times: Times,
    /// Classes of the first priority.
    quick: PerClass<bool>,
    seen_near: u32,
    took: Duration,
    waited: Duration,
    company: [u32; BINS],
    seen: u32,
    at_cap: u32,
}

/// Requests near the cap against quiet ones.
#[derive(Clone, Copy, Debug)]
pub(super) struct Comparison {
    /// How much longer they took, as a logarithm.
    pub(super) longer: f64,
    /// Part of that time spent waiting inside.
    pub(super) waiting: f64,
}

impl Look {
    /// A new one, of requests with at least `near` in flight.
    pub(super) fn from(near: u32) -> Self {
        Self {
            near,
            times: Times::default(),
            quick: PerClass::default(),
            seen_near: 0,
            took: Duration::ZERO,
            waited: Duration::ZERO,
            company: [0; BINS],
            seen: 0,
            at_cap: 0,
        }
    }

    pub(super) fn add(&mut self, answered: &Answered, cap: u32) {
        self.seen += 1;
        self.company[bin(answered.company)] += 1;
        self.at_cap += u32::from(answered.company >= cap);
        if answered.company < self.near {
            return;
        }
        self.seen_near += 1;
        self.quick[answered.class] |= answered.is_quick;
        self.times.add(answered);
        self.took += answered.took;
        self.waited += answered.waited.unwrap_or_default().min(answered.took);
    }

    pub(super) fn is_complete(&self) -> bool {
        self.seen_near >= ENOUGH_NEAR || self.seen >= ENOUGH
    }

    /// Whether it is time to see if a part of it is enough.
    pub(super) fn may_be_clear(&self) -> bool {
        self.seen_near > 0 && self.seen_near.is_multiple_of(ENOUGH_IF_CLEAR)
    }

    /// Whether requests wait because of the cap: a tenth of them took the last place.
    pub(super) fn is_binding(&self) -> bool {
        self.at_cap * 10 >= self.seen
    }

    /// How many are in flight when it is busy, a tenth of the time: from `least` to `cap`.
    pub(super) fn reached(&self, least: u32, cap: u32) -> u32 {
        if self.is_binding() {
            return cap;
        }
        let mut above = 0;
        let busiest_tenth = (0..BINS).rev().find(|bin| {
            above += self.company[*bin];
            above * 10 >= self.seen
        });
        busiest_tenth.map_or(least, most_in).clamp(least, cap)
    }

    /// By how much more than the slower ones the quick ones took longer. Where all share the cores
    /// it is nothing.
    pub(super) fn quick_excess(&self, quiet_times: &QuietTimes, quiet: u32) -> Option<f64> {
        let of = |is_quick| {
            let found =
                self.times
                    .longer_of(|class| self.quick[class] == is_quick, quiet_times, quiet);
            found
                .filter(|(weight, _)| *weight >= COMPARABLE / 2.0)
                .map(|(_, longer)| longer)
        };
        Some(of(true)? - of(false)?)
    }

    /// `None` if there is too little to compare. `quiet`: the company of a quiet one, at most.
    pub(super) fn compare(&self, quiet_times: &QuietTimes, quiet: u32) -> Option<Comparison> {
        if self.seen_near < ENOUGH_IF_CLEAR {
            return None;
        }
        let longer = self.times.longer_than(quiet_times, quiet)?;
        let waiting = self.waited.as_secs_f64() / self.took.as_secs_f64().max(f64::MIN_POSITIVE);
        Some(Comparison { longer, waiting })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(company: u32, millis: u64) -> Answered {
        let took = Duration::from_millis(millis);
        Answered {
            class: RequestClass::Map,
            is_quick: false,
            company,
            heavy: 0,
            took,
            waited: None,
        }
    }

    #[test]
    fn bins_are_exact_at_first_and_then_an_eighth_wide() {
        assert!((1..=EXACT).all(|n| most_in(bin(n)) == n));
        for n in EXACT..=300 {
            let most = most_in(bin(n));
            assert!(
                most + 1 >= n && f64::from(most) <= f64::from(n) * STEP + 1.0,
                "{n} is taken for {most}"
            );
        }
        assert_eq!(bin(u32::MAX), BINS - 1);
        assert_eq!(bin(0), bin(1));
    }

    #[test]
    fn a_comparison_tells_how_much_longer_and_needs_enough_of_both() {
        let (mut quiet_times, mut look) = (QuietTimes::default(), Look::from(10));
        (0..200).for_each(|_| look.add(&answered(10, 300), 10));
        assert!(look.compare(&quiet_times, 4).is_none());
        (0..100).for_each(|_| quiet_times.add(&answered(4, 100)));
        let found = look.compare(&quiet_times, 4).unwrap();
        assert!(
            (found.longer - 3_f64.ln()).abs() < 1e-9 && found.waiting == 0.0,
            "{found:?}"
        );
        assert!(
            look.compare(&quiet_times, 3).is_none(),
            "nobody was that quiet"
        );
    }

    #[test]
    fn old_times_weigh_less_and_weights_stay_within_bounds() {
        let mut quiet_times = QuietTimes::default();
        quiet_times.add(&answered(1, 1000));
        (0..300_000).for_each(|_| quiet_times.add(&answered(1, 100)));
        let sum = quiet_times.of(RequestClass::Map, 1);
        assert!((sum.log / sum.weight - 0.1_f64.ln()).abs() < 1e-6);
        assert!(sum.weight <= MEMORY + 1.0 && quiet_times.weight <= 1e9);
    }
}
