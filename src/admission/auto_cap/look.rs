//! How long requests took: quiet ones, remembered for long, and those near the cap, since the last decision.

use std::time::Duration;

use super::Answered;
use crate::ogc::{PerClass, RequestClass};

/// Requests near the cap that make a look. The error of the mean of their logarithms is then about a tenth.
const ENOUGH_NEAR: u32 = 192;
/// Requests that end it in any case.
const ENOUGH: u32 = 16 * ENOUGH_NEAR;
/// Quiet requests that those near the cap can be compared with, as the weight of the two together.
const COMPARABLE: f64 = 24.0;

/// Quiet requests remembered. Long, because dips cost; not for ever, because layers, sizes and caches change.
const MEMORY: f64 = 12_288.0;
/// What is kept of them when they are to be forgotten.
const KEPT: f64 = 0.25;

/// Numbers in flight are told apart one by one up to here, then in steps of an eighth.
const EXACT: u32 = 8;
const STEP: f64 = 1.125;
const BINS: usize = 40;

fn bin(in_flight: u32) -> usize {
    let steps = (f64::from(in_flight.max(EXACT)) / f64::from(EXACT)).ln() / STEP.ln();
    (in_flight.clamp(1, EXACT) as usize + steps.ceil() as usize).min(BINS - 1)
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
        Self { weight: self.weight + other.weight, log: self.log + other.log }
    }

    fn times(self, by: f64) -> Self {
        Self { weight: self.weight * by, log: self.log * by }
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
        Self { sums: PerClass::from_fn(|_| [Sum::default(); BINS]), weight: 1.0 }
    }
}

impl QuietTimes {
    pub(super) fn add(&mut self, answered: &Answered) {
        self.weight *= 1.0 + 1.0 / MEMORY;
        if self.weight > 1e9 {
            self.scale(1.0 / self.weight);
            self.weight = 1.0;
        }
        let sum = &mut self.sums[answered.class][bin(answered.in_flight)];
        *sum = sum.plus(&Sum { weight: 1.0, log: log_seconds(answered.took) }.times(self.weight));
    }

    /// What was measured in another time makes room for what is measured now.
    pub(super) fn forget(&mut self) {
        self.scale(KEPT);
    }

    /// Those with at most so many in flight.
    fn of(&self, class: RequestClass, most: u32) -> Sum {
        let sum = self.sums[class][..=bin(most)].iter().fold(Sum::default(), Sum::plus);
        sum.times(1.0 / self.weight)
    }

    fn scale(&mut self, by: f64) {
        for class in RequestClass::ALL {
            self.sums[class].iter_mut().for_each(|sum| *sum = sum.times(by));
        }
    }
}

/// What was seen since the last decision.
#[derive(Clone, Debug)]
pub(super) struct Look {
    /// From here on it is near the cap.
    pub(super) near: u32,
    times: PerClass<Sum>,
    seen_near: u32,
    took: Duration,
    waited: Duration,
    in_flight: [u32; BINS],
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
            times: PerClass::default(),
            seen_near: 0,
            took: Duration::ZERO,
            waited: Duration::ZERO,
            in_flight: [0; BINS],
            seen: 0,
            at_cap: 0,
        }
    }

    pub(super) fn add(&mut self, answered: &Answered, cap: u32) {
        self.seen += 1;
        self.in_flight[bin(answered.in_flight)] += 1;
        self.at_cap += u32::from(answered.in_flight >= cap);
        if answered.in_flight < self.near {
            return;
        }
        self.seen_near += 1;
        let sum = &mut self.times[answered.class];
        *sum = sum.plus(&Sum { weight: 1.0, log: log_seconds(answered.took) });
        self.took += answered.took;
        self.waited += answered.waited.unwrap_or_default().min(answered.took);
    }

    pub(super) fn is_complete(&self) -> bool {
        self.seen_near >= ENOUGH_NEAR || self.seen >= ENOUGH
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
            above += self.in_flight[*bin];
            above * 10 >= self.seen
        });
        busiest_tenth.map_or(least, most_in).clamp(least, cap)
    }

    /// Each class with itself, as much as there is to compare. `None` if that is too little. `quiet`: in flight at most.
    pub(super) fn compare(&self, quiet_times: &QuietTimes, quiet: u32) -> Option<Comparison> {
        if self.seen_near < ENOUGH_NEAR / 2 {
            return None;
        }
        let (mut weight, mut longer) = (0.0, 0.0);
        for (class, near) in self.times.iter() {
            let quiet = quiet_times.of(class, quiet);
            if near.weight > 0.0 && quiet.weight > 0.0 {
                let both = near.weight * quiet.weight / (near.weight + quiet.weight);
                weight += both;
                longer += both * (near.log / near.weight - quiet.log / quiet.weight);
            }
        }
        let waiting = self.waited.as_secs_f64() / self.took.as_secs_f64().max(f64::MIN_POSITIVE);
        (weight >= COMPARABLE).then(|| Comparison { longer: longer / weight, waiting })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(in_flight: u32, millis: u64) -> Answered {
        Answered { class: RequestClass::Map, in_flight, took: Duration::from_millis(millis), waited: None }
    }

    #[test]
    fn bins_are_exact_at_first_and_then_an_eighth_wide() {
        assert!((1..=EXACT).all(|n| most_in(bin(n)) == n));
        for n in EXACT..=300 {
            let most = most_in(bin(n));
            assert!(most + 1 >= n && f64::from(most) <= f64::from(n) * STEP + 1.0, "{n} is taken for {most}");
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
        assert!((found.longer - 3_f64.ln()).abs() < 1e-9 && found.waiting == 0.0, "{found:?}");
        assert!(look.compare(&quiet_times, 3).is_none(), "nobody was that quiet");
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
