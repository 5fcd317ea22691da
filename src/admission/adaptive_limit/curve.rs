//! Latencies by class and concurrency: the number of requests in flight when a request was sent.
//!
//! The latencies of the classes differ a thousandfold, and those within one class tenfold. Each
//! class is therefore compared with itself, by logarithms, and the differences are averaged by
//! weight.

use std::time::Duration;

use super::Answered;
use crate::ogc::{PerClass, RequestClass};

/// Answers after which evidence has lost two thirds of its weight. Evidence against a higher limit
/// fades, too, so the limit is tried again by a few requests in this number.
const MEMORY: f64 = 4096.0;
/// Maximum weight of one class at one concurrency. New answers replace older ones.
const MAX_WEIGHT: f64 = 64.0;
/// Standard deviation of the logarithms of one class's latencies. For exponential ones it is 1.28.
const SPREAD: f64 = 1.3;
/// Standard errors by which a difference must exceed a threshold. There are many because the test
/// is repeated every few answers.
const CONFIDENCE: f64 = 3.0;
/// Minimum weight of a comparison that counts, because a few long requests may be chance.
const MIN_WEIGHT: f64 = 5.0;
/// Difference, as a logarithm, by which quick requests slow down more than slower ones if they wait
/// inside for these. On shared cores all slow down by the same factor.
const WAITS_INSIDE: f64 = 0.5;
/// Minimum weight of the slower requests whose own slowdown is subtracted.
const MIN_SLOWER: f64 = 6.0;

/// Minimum weight at a concurrency with which new answers are compared.
const MIN_KNOWN: f64 = 8.0;
/// Answers over which the latest latencies of a class are averaged.
const RECENT: f64 = 48.0;
/// Difference of these from earlier ones, as a logarithm, that shows an improvement. It is five
/// times the error of their mean.
const QUICKER: f64 = 0.65;

/// Concurrencies have a bin each up to here, then bins grow by an eighth.
const EXACT: u32 = 16;
const STEP: f64 = 1.125;
const BINS: usize = 48;

fn bin(concurrency: u32) -> usize {
    let steps = (f64::from(concurrency.max(EXACT)) / f64::from(EXACT)).ln() / STEP.ln();
    (concurrency.clamp(1, EXACT) as usize + steps.ceil() as usize).min(BINS - 1)
}

/// The highest concurrency in a bin.
fn highest(bin: usize) -> u32 {
    let exact = EXACT as usize;
    let steps = bin.saturating_sub(exact) as i32;
    (bin.min(exact) as f64 * STEP.powi(steps)) as u32
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

/// The classes that take part in a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Of {
    All,
    Quick,
    Slower,
}

/// The slowdown of requests compared with others that were sent at a lower concurrency.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Difference {
    /// The slowdown, as a logarithm.
    pub(super) longer: f64,
    /// The number of answers whose mean has the same error.
    pub(super) weight: f64,
}

impl Difference {
    fn add(&mut self, here: &Sum, there: &Sum) {
        if here.weight > 0.0 && there.weight > 0.0 {
            let longer = here.log / here.weight - there.log / there.weight;
            let both = together(here.weight, there.weight);
            self.longer = (self.longer * self.weight + both * longer) / (self.weight + both);
            self.weight += both;
        }
    }

    /// True if it exceeds `threshold`, beyond chance.
    pub(super) fn exceeds(&self, threshold: f64) -> bool {
        let at_least = self.longer - CONFIDENCE * SPREAD / self.weight.sqrt();
        self.weight >= MIN_WEIGHT && at_least > threshold
    }

    /// Returns the slowdown beyond that of `other` requests.
    fn beyond(&self, other: &Self) -> Self {
        if other.weight < MIN_SLOWER {
            return *self;
        }
        Self {
            longer: self.longer - other.longer,
            weight: together(self.weight, other.weight),
        }
    }

    /// Returns the part of the variance of all latencies that it explains.
    fn explains(&self) -> f64 {
        self.weight * self.longer.max(0.0).powi(2)
    }
}

/// Returns the weight of the difference of two means.
fn together(one: f64, other: f64) -> f64 {
    one * other / (one + other)
}

/// See the module's documentation.
#[derive(Clone, Debug)]
pub(super) struct Curve {
    sums: PerClass<[Sum; BINS]>,
    is_quick: PerClass<bool>,
    /// The slowdown of the latest answers compared with earlier ones at the same concurrency, as a
    /// logarithm.
    drift: PerClass<f64>,
    /// Weight of the next answer. It grows, which spares shrinking all others.
    weight: f64,
}

impl Default for Curve {
    fn default() -> Self {
        Self {
            sums: PerClass::from_fn(|_| [Sum::default(); BINS]),
            is_quick: PerClass::default(),
            drift: PerClass::default(),
            weight: 1.0,
        }
    }
}

impl Curve {
    pub(super) fn add(&mut self, answered: &Answered) {
        self.weight *= 1.0 + 1.0 / MEMORY;
        if self.weight > 1e9 {
            self.rescale();
        }
        self.is_quick[answered.class] = answered.is_quick;
        let one = Sum {
            weight: 1.0,
            log: log_seconds(answered.took),
        };
        self.forget_if_quicker(answered, one.log);
        let sum = &mut self.sums[answered.class][bin(answered.concurrency)];
        let all = sum.plus(&one.times(self.weight));
        *sum = all.times((MAX_WEIGHT * self.weight / all.weight).min(1.0));
    }

    /// Forgets a class that has become much quicker at the same concurrencies. Otherwise latencies
    /// at high concurrency from a worse time would hold the limit down, and would not be measured
    /// again for long.
    fn forget_if_quicker(&mut self, answered: &Answered, log: f64) {
        let class = answered.class;
        let known = self.sums[class][bin(answered.concurrency)];
        if known.weight < MIN_KNOWN * self.weight {
            return;
        }
        let drift = &mut self.drift[class];
        *drift += (log - known.log / known.weight - *drift) / RECENT;
        if *drift < -QUICKER {
            *drift = 0.0;
            self.sums[class] = [Sum::default(); BINS];
        }
    }

    /// Compares the requests at a concurrency in `near` with those at `quiet` or less.
    pub(super) fn compare(&self, quiet: u32, near: (u32, u32)) -> Difference {
        let (quiet, from, to) = (bin(quiet), bin(near.0), bin(near.1));
        let mut difference = Difference::default();
        for sums in self.of(Of::All) {
            difference.add(&self.total(&sums[from..=to]), &self.total(&sums[..=quiet]));
        }
        difference
    }

    /// Returns the weight of the requests at a concurrency of `from` and more.
    pub(super) fn weight_from(&self, from: u32) -> f64 {
        let from = bin(from);
        let totals = self.of(Of::All).map(|sums| self.total(&sums[from..]));
        totals.map(|total| total.weight).sum()
    }

    /// Returns the number of slots inside an upstream where the others wait: the concurrency above
    /// which quick requests slow down, and by much more than the slower ones do. `None` if all slow
    /// down alike, or while that is not known.
    pub(super) fn slots(&self) -> Option<u32> {
        let [quick, slower] = [Of::Quick, Of::Slower].map(|of| self.splits(of));
        let (at, quick) = quick
            .iter()
            .enumerate()
            .max_by(|a, b| a.1.explains().total_cmp(&b.1.explains()))?;
        let excess = quick.beyond(&slower[at]);
        excess.exceeds(WAITS_INSIDE).then(|| highest(at))
    }

    /// Returns, for each concurrency, the comparison of the requests above it with the others.
    fn splits(&self, of: Of) -> [Difference; BINS] {
        let mut splits = [Difference::default(); BINS];
        for sums in self.of(of) {
            let all = self.total(sums);
            let mut below = Sum::default();
            for (split, sum) in splits.iter_mut().zip(sums) {
                below = below.plus(&sum.times(1.0 / self.weight));
                split.add(&all.plus(&below.times(-1.0)), &below);
            }
        }
        splits
    }

    fn total(&self, sums: &[Sum]) -> Sum {
        let sum = sums.iter().fold(Sum::default(), Sum::plus);
        sum.times(1.0 / self.weight)
    }

    fn of(&self, of: Of) -> impl Iterator<Item = &[Sum; BINS]> {
        let takes_part = move |class| match of {
            Of::All => true,
            Of::Quick => self.is_quick[class],
            Of::Slower => !self.is_quick[class],
        };
        let sums = self.sums.iter();
        sums.filter_map(move |(class, sums)| takes_part(class).then_some(sums))
    }

    fn rescale(&mut self) {
        let by = 1.0 / self.weight;
        for class in RequestClass::ALL {
            self.sums[class]
                .iter_mut()
                .for_each(|sum| *sum = sum.times(by));
        }
        self.weight = 1.0;
    }
}

fn log_seconds(took: Duration) -> f64 {
    took.as_secs_f64().max(1e-4).ln()
}

#[cfg(test)]
mod tests {
    use super::*;
    use RequestClass::{Map, Tile};

    fn answered(class: RequestClass, concurrency: u32, millis: u64) -> Answered {
        Answered {
            class,
            is_quick: class == Tile,
            concurrency,
            heavy: 0,
            took: Duration::from_millis(millis),
            waited: None,
        }
    }

    /// Adds tiles and maps at each concurrency up to `most`, slowed down by some factor.
    fn curve(most: u32, times: impl Fn(RequestClass, u32) -> u64) -> Curve {
        let mut curve = Curve::default();
        for round in 0..40 {
            for concurrency in 1..=most {
                // The latencies of one class differ.
                let spread = 1 + (round * 7 + u64::from(concurrency) * 3) % 11;
                curve.add(&answered(
                    Tile,
                    concurrency,
                    spread * times(Tile, concurrency),
                ));
                curve.add(&answered(
                    Map,
                    concurrency,
                    spread * 40 * times(Map, concurrency),
                ));
            }
        }
        curve
    }

    #[test]
    fn bins_are_exact_at_first_and_then_an_eighth_wide() {
        assert!((1..=EXACT).all(|n| highest(bin(n)) == n));
        for n in EXACT..=300 {
            let most = highest(bin(n));
            assert!(
                most + 1 >= n && f64::from(most) <= f64::from(n) * STEP + 1.0,
                "{n} is taken for {most}"
            );
        }
        assert_eq!((bin(u32::MAX), bin(0)), (BINS - 1, bin(1)));
    }

    #[test]
    fn the_slots_are_where_tiles_begin_to_wait_for_maps() {
        for slots in [1, 2, 4, 7] {
            let curve = curve(8, |class, concurrency| match class {
                Tile if concurrency > slots => 12,
                _ => 1,
            });
            assert_eq!(curve.slots(), Some(slots));
        }
    }

    #[test]
    fn where_all_classes_slow_down_alike_there_are_no_slots() {
        let shared = curve(12, |_, concurrency| u64::from(concurrency.div_ceil(3)));
        assert_eq!(shared.slots(), None);
        assert!(shared.compare(3, (11, 12)).exceeds(0.65));
    }

    #[test]
    fn a_few_slow_tiles_prove_nothing_about_slots() {
        let mut curve = curve(4, |_, _| 1);
        (0..4).for_each(|_| curve.add(&answered(Tile, 8, 300)));
        assert_eq!(curve.slots(), None);
        (0..10).for_each(|_| curve.add(&answered(Tile, 8, 300)));
        assert_eq!(curve.slots(), Some(7), "nothing speaks against seven");
    }

    #[test]
    fn evidence_against_more_fades_while_it_is_not_renewed() {
        let mut curve = curve(8, |class, concurrency| match class {
            Tile if concurrency > 4 => 12,
            _ => 1,
        });
        let answers = (0..100_000).take_while(|_| {
            curve.add(&answered(Tile, 2, 5));
            curve.add(&answered(Map, 2, 200));
            curve.slots().is_some()
        });
        assert!((2_000..50_000).contains(&answers.count()));
    }

    #[test]
    fn a_comparison_has_the_weight_of_the_fewer_and_new_answers_replace_old_ones() {
        let mut curve = Curve::default();
        (0..2000).for_each(|_| curve.add(&answered(Map, 8, 1000)));
        (0..2000).for_each(|_| curve.add(&answered(Map, 8, 300)));
        assert_eq!(curve.compare(4, (8, 8)).weight, 0.0);
        (0..10).for_each(|_| curve.add(&answered(Map, 4, 100)));
        let found = curve.compare(4, (8, 8));
        assert!((found.longer - 3_f64.ln()).abs() < 0.01, "{found:?}");
        assert!((8.5..10.0).contains(&found.weight), "{found:?}");
        assert!(curve.weight_from(5) <= MAX_WEIGHT && curve.weight_from(9) == 0.0);
    }

    #[test]
    fn a_class_that_becomes_ten_times_quicker_is_learned_anew_and_the_others_are_kept() {
        let mut curve = curve(8, |class, _| if class == Tile { 10 } else { 1 });
        let before = curve.weight_from(1);
        for n in 0..40_u64 {
            curve.add(&answered(Tile, 2, 1 + n % 11));
        }
        assert!((before * 0.4..before * 0.6).contains(&curve.weight_from(1)));
        assert_eq!(
            curve.slots(),
            None,
            "tiles beside more were of a worse time"
        );
    }

    #[test]
    fn weights_that_run_for_long_stay_within_bounds() {
        let mut curve = Curve::default();
        (0..300_000).for_each(|_| curve.add(&answered(Map, 1, 100)));
        assert!(curve.weight <= 1e9 && curve.weight_from(1) <= MAX_WEIGHT + 1.0);
    }
}
