//! Chance that can be replayed: a numbered sequence of draws from a seed, and the service times
//! drawn from it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::hash::SplitMix64;

/// A sequence of uniform draws. The n-th draw depends on the seed and n only, so that a run in
/// which requests arrive in the same order draws the same numbers.
#[derive(Debug)]
pub struct Dice {
    seed: u64,
    drawn: AtomicU64,
}

impl Dice {
    /// Returns dice that roll the same numbers for the same seed.
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            drawn: AtomicU64::new(0),
        }
    }

    /// The next draw, uniform over all 64 bits (splitmix64, Steele and others 2014).
    pub fn draw(&self) -> u64 {
        let n = self.drawn.fetch_add(1, Ordering::Relaxed);
        SplitMix64::new(self.seed).skip(n).draw()
    }

    /// The next draw, uniform in the open interval from 0 to 1.
    pub fn unit(&self) -> f64 {
        ((self.draw() >> 11) as f64 + 0.5) / (1u64 << 53) as f64
    }
}

/// The longest work of a request, whatever its distribution.
pub const LONGEST_WORK: Duration = Duration::from_secs(600);

/// The work of a request of a class, on an idle instance of speed 1.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum ServiceTime {
    /// Answered at once.
    #[default]
    None,
    Fixed(Duration),
    Exponential {
        mean: Duration,
    },
    /// `sigma` is the standard deviation of the logarithm: 1 puts the 99th percentile at about ten
    /// times the median.
    LogNormal {
        median: Duration,
        sigma: f64,
    },
    /// A heavy tail from `least` upwards, cut at `most`; `alpha` below 2 has no variance without
    /// the cut.
    Pareto {
        least: Duration,
        alpha: f64,
        most: Duration,
    },
}

impl ServiceTime {
    /// Draws one duration.
    pub fn draw(self, dice: &Dice) -> Duration {
        let seconds = match self {
            Self::None => return Duration::ZERO,
            Self::Fixed(time) => return time.min(LONGEST_WORK),
            Self::Exponential { mean } => -dice.unit().ln() * mean.as_secs_f64(),
            Self::LogNormal { median, sigma } => {
                median.as_secs_f64() * (sigma * normal(dice)).exp()
            }
            Self::Pareto { least, alpha, most } => {
                (least.as_secs_f64() * dice.unit().powf(-1.0 / alpha)).min(most.as_secs_f64())
            }
        };
        Duration::try_from_secs_f64(seconds)
            .unwrap_or(LONGEST_WORK)
            .min(LONGEST_WORK)
    }
}

/// A standard normal draw (Box and Muller).
fn normal(dice: &Dice) -> f64 {
    let (radius, angle) = (
        (-2.0 * dice.unit().ln()).sqrt(),
        std::f64::consts::TAU * dice.unit(),
    );
    radius * angle.cos()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mean_of(time: ServiceTime) -> f64 {
        let dice = Dice::new(7);
        (0..20_000)
            .map(|_| time.draw(&dice).as_secs_f64())
            .sum::<f64>()
            / 20_000.0
    }

    #[test]
    fn the_same_seed_draws_the_same_times() {
        let time = ServiceTime::LogNormal {
            median: Duration::from_millis(90),
            sigma: 1.0,
        };
        let (one, other) = (Dice::new(3), Dice::new(3));
        assert!((0..100).all(|_| time.draw(&one) == time.draw(&other)));
        assert_ne!(time.draw(&Dice::new(3)), time.draw(&Dice::new(4)));
    }

    #[test]
    fn distributions_have_the_means_they_promise() {
        let ms = Duration::from_millis;
        assert!((mean_of(ServiceTime::Exponential { mean: ms(8) }) - 0.008).abs() < 0.0003);
        // The mean of a log-normal is its median times exp(sigma squared / 2).
        assert!(
            (mean_of(ServiceTime::LogNormal {
                median: ms(100),
                sigma: 0.5
            }) - 0.1133)
                .abs()
                < 0.003
        );
        let pareto = ServiceTime::Pareto {
            least: ms(100),
            alpha: 3.0,
            most: Duration::from_secs(60),
        };
        assert!((mean_of(pareto) - 0.150).abs() < 0.005);
    }

    #[test]
    fn no_work_is_longer_than_the_bound() {
        let dice = Dice::new(1);
        let wild = ServiceTime::LogNormal {
            median: Duration::from_secs(500),
            sigma: 3.0,
        };
        assert!((0..1000).all(|_| wild.draw(&dice) <= LONGEST_WORK));
    }
}
