//! The time that the clients of one network may cost others: a slow reader whose answer has no room
//! in memory keeps a slot.
//!
//! Each answer has a grace of its own (`pace.rs`). Without a common limit, a client that requests a
//! hundred large answers and reads none of them keeps every slot for the grace, and then again with
//! the answers that waited. So all answers of a network together have one grace, which comes back
//! slowly. Only time below the minimum rate counts, so slow lines that keep to it cost nothing.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// The time that is used up at once, in all.
const GRACE: Duration = Duration::from_secs(10);

/// A network without slow readers earns a second of grace in so many seconds.
const RECOVERY: u32 = 10;

/// See the module's documentation. Clones share one credit.
#[derive(Clone, Debug, Default)]
pub(in crate::proxy) struct ReadingCredit(Arc<Mutex<Used>>);

/// The part of the grace that is used up.
#[derive(Debug, Default)]
struct Used {
    time: Duration,
    /// `None` until some is used.
    since: Option<Instant>,
}

impl Used {
    /// Gives back what time has earned.
    fn recover(&mut self, now: Instant) {
        let since = self.since.replace(now).unwrap_or(now);
        let earned = now.saturating_duration_since(since) / RECOVERY;
        self.time = self.time.saturating_sub(earned);
    }
}

impl ReadingCredit {
    /// Counts `time` that an answer kept its slot, in which its client read `bytes` and should have
    /// read at `rate` bytes a second; 0 is no rate. Returns false if no credit is left.
    #[must_use = "a client without credit must be given up"]
    pub(super) fn spend(&self, time: Duration, bytes: u64, rate: u64, now: Instant) -> bool {
        if rate == 0 {
            return true;
        }
        let paid = Duration::from_millis(bytes.saturating_mul(1000) / rate);
        let Some(cost) = time.checked_sub(paid).filter(|cost| !cost.is_zero()) else {
            return true;
        };
        let mut used = self.0.lock();
        used.recover(now);
        used.time = used.time.saturating_add(cost);
        let is_left = used.time <= GRACE;
        used.time = used.time.min(GRACE);
        is_left
    }

    /// True if nothing is used up, so that a new credit would be the same.
    pub(super) fn is_whole(&self, now: Instant) -> bool {
        let mut used = self.0.lock();
        used.recover(now);
        used.time.is_zero()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: Duration = Duration::from_millis(250);
    const RATE: u64 = 4096;

    /// Steps after which one of `answers` that are read at `bytes` a step is given up.
    fn steps(credit: &ReadingCredit, answers: usize, bytes: u64, start: Instant) -> Option<u32> {
        (1..=1000).find(|number| {
            let now = start + STEP * *number;
            (0..answers).any(|_| !credit.spend(STEP, bytes, RATE, now))
        })
    }

    #[test]
    fn all_answers_of_a_network_share_one_grace() {
        let now = Instant::now();
        // One alone earns a tenth while it waits.
        assert_eq!(steps(&ReadingCredit::default(), 1, 0, now), Some(45));
        assert_eq!(steps(&ReadingCredit::default(), 8, 0, now), Some(6));
        assert_eq!(steps(&ReadingCredit::default(), 100, 0, now), Some(1));
    }

    #[test]
    fn readers_that_keep_to_the_rate_cost_nothing_and_do_not_pay_for_others() {
        let (credit, now) = (ReadingCredit::default(), Instant::now());
        assert_eq!(steps(&credit, 8, RATE / 4, now), None);
        assert!(credit.is_whole(now));
        assert!((0..40).all(|_| credit.spend(STEP, 0, RATE, now)));
        assert!(credit.spend(STEP, 1 << 30, RATE, now));
        assert!(!credit.spend(STEP, 0, RATE, now));
        assert!(credit.spend(STEP, 0, 0, now), "there is no rate");
    }

    #[test]
    fn the_grace_comes_back_slowly() {
        let (credit, now) = (ReadingCredit::default(), Instant::now());
        while credit.spend(STEP, 0, RATE, now) {}
        let later = now + Duration::from_secs(5);
        assert!(credit.spend(STEP, 0, RATE, later) && credit.spend(STEP, 0, RATE, later));
        assert!(!credit.spend(STEP, 0, RATE, later) && !credit.is_whole(later));
        assert!(credit.is_whole(later + GRACE * RECOVERY));
    }
}
