//! When an upstream is probed next.
//!
//! Each upstream has its own phase on a common grid, so that probes of many upstreams, or of one
//! upstream by many, do not come in bursts: the phases of consecutive seeds lie as far apart as
//! they can (multiples of the golden ratio). The grid does not drift with the time probes take.
//! There is never more than one probe under way, and one that does not report is given up.

use std::time::{Duration, Instant};

/// How much longer than its own time limit a probe may take to report before it counts as lost.
const REPORT_GRACE: Duration = Duration::from_secs(1);

/// 2^32 divided by the golden ratio.
const GOLDEN: u32 = 0x9E37_79B9;

/// One upstream's probes.
#[derive(Clone, Debug)]
pub struct Schedule {
    origin: Instant,
    /// Of an interval, in parts of 2^32.
    phase: u32,
    state: State,
    /// When the last probe began.
    began: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Off,
    Due(Instant),
    Running { lost: Instant },
}

impl Schedule {
    /// Due at once. Schedules that shall be spread share `origin` and have consecutive seeds.
    pub fn new(origin: Instant, seed: u32, now: Instant) -> Self {
        Self {
            origin,
            phase: seed.wrapping_mul(GOLDEN),
            state: State::Due(now),
            began: None,
        }
    }

    /// When the next probe is due; `None` while one runs, or when off.
    pub fn due(&self) -> Option<Instant> {
        match self.state {
            State::Due(due) => Some(due),
            State::Running { .. } | State::Off => None,
        }
    }

    /// When something has to be done about it next: begin the probe that is due, or give up the one
    /// that runs.
    pub fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Due(at) | State::Running { lost: at } => Some(at),
            State::Off => None,
        }
    }

    pub fn is_off(&self) -> bool {
        self.state == State::Off
    }

    pub fn begin(&mut self, now: Instant, timeout: Duration) {
        self.began = Some(now);
        self.state = State::Running {
            lost: now + timeout + REPORT_GRACE,
        };
    }

    /// When the probe that runs began.
    pub fn running_since(&self) -> Option<Instant> {
        self.began.filter(|_| self.is_running())
    }

    pub fn is_running(&self) -> bool {
        matches!(self.state, State::Running { .. })
    }

    /// Whether the probe that runs should have reported by now.
    pub fn is_lost(&self, now: Instant) -> bool {
        matches!(self.state, State::Running { lost } if lost <= now)
    }

    /// The next probe is due at the upstream's next turn on the grid of `interval`, at least half
    /// of one away.
    pub fn plan(&mut self, now: Instant, interval: Duration) {
        self.state = State::Due(self.turn_after(now + interval / 2, interval));
    }

    /// Does not wait longer than `interval` after the last probe began. No effect on a probe that
    /// runs.
    pub fn hasten(&mut self, now: Instant, interval: Duration) {
        if let State::Due(due) = self.state {
            let soon = self.began.map_or(now, |began| (began + interval).max(now));
            self.state = State::Due(due.min(soon));
        }
    }

    /// No probes. What one that runs reports no longer counts.
    pub fn stop(&mut self) {
        self.state = State::Off;
    }

    /// Due at once, whatever was.
    pub fn restart(&mut self, now: Instant) {
        self.state = State::Due(now);
    }

    fn turn_after(&self, earliest: Instant, interval: Duration) -> Instant {
        let interval = interval.as_nanos().max(1);
        let phase = (interval * u128::from(self.phase)) >> 32;
        let elapsed = earliest.saturating_duration_since(self.origin).as_nanos();
        let turns = elapsed.saturating_sub(phase).div_ceil(interval);
        let wait = (turns * interval + phase).saturating_sub(elapsed);
        earliest
            + Duration::from_nanos(
                u64::try_from(wait).expect("it is less than two intervals, and those fit"),
            )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const INTERVAL: Duration = Duration::from_secs(5);
    const TIMEOUT: Duration = Duration::from_secs(3);

    fn schedule() -> (Schedule, Instant) {
        let now = Instant::now();
        (Schedule::new(now, 3, now), now)
    }

    #[test]
    fn the_first_probe_is_due_at_once() {
        let (schedule, now) = schedule();
        assert_eq!(schedule.due(), Some(now));
    }

    #[test]
    fn nothing_is_due_while_a_probe_runs() {
        let (mut schedule, now) = schedule();
        schedule.begin(now, TIMEOUT);
        schedule.hasten(now, Duration::ZERO);
        assert_eq!(schedule.due(), None);
    }

    #[test]
    fn a_probe_that_never_reports_is_lost_after_its_time() {
        let (mut schedule, now) = schedule();
        schedule.begin(now, TIMEOUT);
        assert!(!schedule.is_lost(now + TIMEOUT));
        let deadline = schedule.deadline().unwrap();
        assert!(deadline > now + TIMEOUT && schedule.is_lost(deadline));
    }

    #[test]
    fn hastening_brings_the_next_probe_nearer_but_never_below_the_interval() {
        let (mut schedule, now) = schedule();
        schedule.begin(now, TIMEOUT);
        schedule.plan(now, INTERVAL);
        let second = Duration::from_secs(1);
        schedule.hasten(now, second);
        assert_eq!(schedule.due(), Some(now + second));
        schedule.hasten(now, INTERVAL * 10);
        assert_eq!(schedule.due(), Some(now + second));
    }

    #[test]
    fn after_a_stop_nothing_is_due_until_the_restart() {
        let (mut schedule, now) = schedule();
        schedule.stop();
        schedule.hasten(now, Duration::ZERO);
        assert_eq!((schedule.due(), schedule.deadline()), (None, None));
        schedule.restart(now + INTERVAL);
        assert_eq!(schedule.due(), Some(now + INTERVAL));
    }

    /// With `count` upstreams planned at the same instant, no interval between neighbours is longer
    /// than three fair ones.
    #[test]
    fn probes_of_many_upstreams_are_spread_over_the_interval() {
        let now = Instant::now();
        for count in 1..50_u32 {
            let mut offsets: Vec<_> = (0..count)
                .map(|seed| turn(now, seed, now))
                .map(|due| (due - now).as_nanos() % INTERVAL.as_nanos())
                .collect();
            offsets.sort_unstable();
            let around = offsets[0] + INTERVAL.as_nanos();
            let widest = offsets
                .windows(2)
                .map(|pair| pair[1] - pair[0])
                .chain([around - offsets[offsets.len() - 1]])
                .max();
            assert!(
                widest <= Some(INTERVAL.as_nanos() * 3 / u128::from(count)),
                "{count} upstreams: {widest:?}"
            );
        }
    }

    fn turn(origin: Instant, seed: u32, now: Instant) -> Instant {
        let mut schedule = Schedule::new(origin, seed, now);
        schedule.plan(now, INTERVAL);
        schedule.due().unwrap()
    }

    proptest! {
        #[test]
        fn the_next_probe_is_half_to_one_and_a_half_intervals_away(seed: u32, elapsed_ms in 0..100_000_u64) {
            let origin = Instant::now();
            let now = origin + Duration::from_millis(elapsed_ms);
            let away = turn(origin, seed, now) - now;
            prop_assert!(away >= INTERVAL / 2);
            prop_assert!(away < INTERVAL * 3 / 2 + Duration::from_nanos(1));
        }

        #[test]
        fn the_grid_does_not_drift_with_the_time_probes_take(seed: u32, took_ms in 0..2_000_u64) {
            let origin = Instant::now();
            let first = turn(origin, seed, origin);
            let second = turn(origin, seed, first + Duration::from_millis(took_ms));
            prop_assert_eq!(second - first, INTERVAL);
        }
    }
}
