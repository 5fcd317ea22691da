//! Processor sharing, as a pure state machine: all jobs in progress share the cores equally, none
//! more than one core.
//!
//! Every job receives service at the same rate, so one number suffices: the service that a job
//! present from the beginning would have received (the virtual time). A job that arrives at virtual
//! time v with work w leaves at v + w, whichever jobs come and go meanwhile. The jobs wait in a
//! heap ordered by that time.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

/// A job this close to its end is done: rounding must not leave a job a nanosecond that never
/// comes.
const DONE: f64 = 1e-7;

#[derive(Debug)]
pub(super) struct SharedCores<T> {
    cores: f64,
    speed: f64,
    virtual_seconds: f64,
    at: Instant,
    jobs: BinaryHeap<Job<T>>,
    arrived: u64,
}

#[derive(Debug)]
struct Job<T> {
    leaves: f64,
    number: u64,
    ticket: T,
}

impl<T> SharedCores<T> {
    pub(super) fn new(cores: f64, speed: f64, now: Instant) -> Self {
        Self {
            cores,
            speed,
            virtual_seconds: 0.0,
            at: now,
            jobs: BinaryHeap::new(),
            arrived: 0,
        }
    }

    pub(super) fn arrive(&mut self, work: Duration, ticket: T, now: Instant) {
        self.advance(now);
        self.arrived += 1;
        self.jobs.push(Job {
            leaves: self.virtual_seconds + work.as_secs_f64(),
            number: self.arrived,
            ticket,
        });
    }

    pub(super) fn set_speed(&mut self, speed: f64, now: Instant) {
        self.advance(now);
        self.speed = speed;
    }

    /// Returns when the next job leaves if no other arrives.
    pub(super) fn next_departure(&self) -> Option<Instant> {
        let left = (self.jobs.peek()?.leaves - self.virtual_seconds).max(0.0);
        Some(
            self.at
                + Duration::try_from_secs_f64(left / self.rate())
                    .unwrap_or(super::chance::LONGEST_WORK),
        )
    }

    /// The ticket of a job that is done.
    pub(super) fn depart(&mut self, now: Instant) -> Option<T> {
        self.advance(now);
        let is_done = self.jobs.peek()?.leaves <= self.virtual_seconds + DONE;
        is_done
            .then(|| self.jobs.pop().map(|job| job.ticket))
            .flatten()
    }

    /// Service per second that each job receives.
    fn rate(&self) -> f64 {
        let share = self.cores / self.jobs.len().max(1) as f64;
        self.speed * share.min(1.0)
    }

    fn advance(&mut self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.at).as_secs_f64();
        self.virtual_seconds += elapsed * self.rate();
        self.at = self.at.max(now);
        if self.jobs.is_empty() {
            // No job depends on the value now; starting over keeps it precise.
            self.virtual_seconds = 0.0;
        }
    }
}

/// The job that leaves first is the greatest, for the heap.
impl<T> Ord for Job<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        other
            .leaves
            .total_cmp(&self.leaves)
            .then_with(|| other.number.cmp(&self.number))
    }
}

impl<T> PartialOrd for Job<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> PartialEq for Job<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<T> Eq for Job<T> {}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Runs to the end and returns the departures: the jobs and their times in milliseconds.
    fn departures(mut cores: SharedCores<char>, start: Instant) -> Vec<(char, u128)> {
        let mut left = Vec::new();
        while let Some(next) = cores.next_departure() {
            while let Some(who) = cores.depart(next + Duration::from_nanos(200)) {
                left.push((who, (next - start + MS / 2).as_millis()));
            }
        }
        left
    }

    #[test]
    fn jobs_fewer_than_cores_do_not_slow_each_other() {
        let start = Instant::now();
        let mut cores = SharedCores::new(2.0, 1.0, start);
        cores.arrive(100 * MS, 'a', start);
        cores.arrive(50 * MS, 'b', start);
        assert_eq!(departures(cores, start), [('b', 50), ('a', 100)]);
    }

    #[test]
    fn two_equal_jobs_on_one_core_take_twice_as_long() {
        let start = Instant::now();
        let mut cores = SharedCores::new(1.0, 1.0, start);
        cores.arrive(100 * MS, 'a', start);
        cores.arrive(100 * MS, 'b', start);
        assert_eq!(departures(cores, start), [('a', 200), ('b', 200)]);
    }

    #[test]
    fn a_short_job_overtakes_a_long_one_that_came_first() {
        let start = Instant::now();
        let mut cores = SharedCores::new(1.0, 1.0, start);
        cores.arrive(1000 * MS, 'a', start);
        cores.arrive(10 * MS, 'b', start + 100 * MS);
        assert_eq!(departures(cores, start), [('b', 120), ('a', 1010)]);
    }

    #[test]
    fn half_the_speed_is_twice_the_time_from_then_on() {
        let start = Instant::now();
        let mut cores = SharedCores::new(4.0, 1.0, start);
        cores.arrive(100 * MS, 'a', start);
        cores.set_speed(0.5, start + 50 * MS);
        assert_eq!(departures(cores, start), [('a', 150)]);
    }
}
