//! The schedule of an upstream's probes.
//!
//! Each upstream has its own phase on a common grid. So the probes of many upstreams, or of one
//! upstream by many geofronts, do not come in bursts: the phases of consecutive seeds are as far
//! apart as possible (multiples of the golden ratio). The grid does not drift with the duration of
//! probes. At most one probe runs at a time, and a probe that does not report is given up.

use std::time::{Duration, Instant};

use super::poll_timer::PollTimer;

/// 2^32 divided by the golden ratio.
const GOLDEN: u32 = 0x9E37_79B9;

/// The schedule of one upstream's probes.
#[derive(Clone, Debug)]
pub struct Schedule {
    origin: Instant,
    /// Phase within an interval, in units of 2^-32.
    phase: u32,
    /// `None` while probes are off.
    timer: Option<PollTimer>,
    /// Start of the last probe.
    began: Option<Instant>,
}

impl Schedule {
    /// Creates a schedule that is due at once. Schedules to be spread share `origin` and have
    /// consecutive seeds.
    pub fn new(origin: Instant, seed: u32, now: Instant) -> Self {
        Self {
            origin,
            phase: seed.wrapping_mul(GOLDEN),
            timer: Some(PollTimer::At(now)),
            began: None,
        }
    }

    /// Time of the next probe; `None` while one runs, or when off.
    pub fn due(&self) -> Option<Instant> {
        match self.timer? {
            PollTimer::At(due) => Some(due),
            PollTimer::Running { .. } => None,
        }
    }

    /// Time of the next action: the start of a due probe, or giving up the running one.
    pub fn deadline(&self) -> Option<Instant> {
        self.timer.map(PollTimer::deadline)
    }

    /// True if no probes are sent.
    pub fn is_off(&self) -> bool {
        self.timer.is_none()
    }

    /// Begins a probe.
    pub fn begin(&mut self, now: Instant, timeout: Duration) {
        self.began = Some(now);
        self.timer
            .get_or_insert(PollTimer::At(now))
            .begin(now, timeout);
    }

    /// Start of the running probe.
    pub fn running_since(&self) -> Option<Instant> {
        self.began.filter(|_| self.is_running())
    }

    /// True if a probe has begun and not ended.
    pub fn is_running(&self) -> bool {
        self.timer.is_some_and(PollTimer::is_running)
    }

    /// True if the running probe should have reported by now.
    pub fn gives_up(&mut self, now: Instant) -> bool {
        let timer = self.timer.as_mut();
        timer.and_then(|timer| timer.give_up(now)).is_some()
    }

    /// Schedules the next probe at the upstream's next turn on the grid of `interval`, at least
    /// half an interval away.
    pub fn plan(&mut self, now: Instant, interval: Duration) {
        self.timer = Some(PollTimer::At(self.turn_after(now + interval / 2, interval)));
    }

    /// Limits the wait to `interval` after the start of the last probe. No effect on a running
    /// probe.
    pub fn hasten(&mut self, now: Instant, interval: Duration) {
        let soon = self.began.map_or(now, |began| (began + interval).max(now));
        if let Some(timer) = &mut self.timer {
            timer.hasten(soon);
        }
    }

    /// Turns probes off. The report of a running one no longer counts.
    pub fn stop(&mut self) {
        self.timer = None;
    }

    /// Makes a probe due at once, in any state.
    pub fn restart(&mut self, now: Instant) {
        self.timer = Some(PollTimer::At(now));
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
        assert!(!schedule.gives_up(now + TIMEOUT));
        let deadline = schedule.deadline().unwrap();
        assert!(deadline > now + TIMEOUT && schedule.gives_up(deadline));
    }

    #[test]
    fn a_probe_whose_time_ended_while_the_process_did_not_run_gets_it_once_more() {
        let (mut schedule, now) = schedule();
        schedule.begin(now, TIMEOUT);
        let late = now + TIMEOUT * 9;
        assert!(!schedule.gives_up(late) && schedule.is_running());
        let deadline = schedule.deadline().unwrap();
        assert!(deadline > late + TIMEOUT && schedule.gives_up(deadline));
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

    /// If `count` upstreams are scheduled at the same instant, no gap between neighbours is longer
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
        fn the_next_probe_is_half_to_one_and_a_half_intervals_away(
            seed: u32,
            elapsed_ms in 0..100_000_u64,
        ) {
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
