//! The last hour in fixed memory, for a page that is opened after the fact.
//!
//! A timer reads the counters and the cluster's state every two seconds, which costs as much as a
//! scrape and does not affect requests. Two rings keep the samples: five minutes in steps of two
//! seconds, and an hour in steps of half a minute. Memory is bounded by their lengths and by
//! [`MAX_UPSTREAMS`]. Nothing is written to disk, so the history is empty after a restart. Counts
//! become rates by the time that really passed, so a late timer causes no peak.

pub(super) mod answer;
mod ring;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::cluster::ClusterStatus;
use crate::metrics::{Buckets, Counts, Metrics};
use crate::unix_time::since_1970;
use answer::{Lately, Probe, UpstreamHistory, UpstreamLately};
use ring::Ring;

/// Interval between two readings.
const STEP: Duration = Duration::from_secs(2);

/// Samples of [`STEP`]: five minutes.
const FINE_SAMPLES: usize = 150;

/// Readings per sample of the hour.
const LOOKS_PER_COARSE: u32 = 15;

/// Samples of half a minute: one hour.
const COARSE_SAMPLES: usize = 120;

/// Number of readings that make up the last half minute.
const RECENT_READINGS: usize = 15;

/// Maximum number of upstreams in the history, in the order of the configuration. `/api/status` has
/// the others.
const MAX_UPSTREAMS: usize = 64;

/// The length of the history that a client requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Window {
    FiveMinutes,
    Hour,
}

impl Window {
    /// The window of so many minutes; `None` for other numbers.
    pub(super) const fn of_minutes(minutes: u32) -> Option<Self> {
        match minutes {
            5 => Some(Self::FiveMinutes),
            60 => Some(Self::Hour),
            _ => None,
        }
    }
}

/// One reading of all counters and states.
#[derive(Clone, Debug)]
pub(super) struct Reading {
    /// The time of day, for display.
    pub(super) time: SystemTime,
    /// The monotonic time, for differences.
    pub(super) at: Instant,
    pub(super) counts: Counts,
    pub(super) waiting: usize,
    /// At most [`MAX_UPSTREAMS`].
    pub(super) upstreams: Vec<UpstreamReading>,
}

/// The state of one upstream at one reading.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct UpstreamReading {
    pub(super) name: Arc<str>,
    pub(super) in_flight: u32,
    pub(super) max_in_flight: Option<u32>,
    pub(super) is_eligible: bool,
}

impl Reading {
    pub(super) fn new(status: &ClusterStatus, counts: Counts, waiting: usize) -> Self {
        let upstreams =
            status
                .upstreams
                .iter()
                .take(MAX_UPSTREAMS)
                .map(|upstream| UpstreamReading {
                    name: upstream.name.as_str().into(),
                    in_flight: upstream.in_flight,
                    max_in_flight: upstream.cap.map(|cap| cap.all),
                    is_eligible: upstream.eligible,
                });
        Self {
            time: SystemTime::now(),
            at: Instant::now(),
            counts,
            waiting,
            upstreams: upstreams.collect(),
        }
    }
}

/// The samples of the last hour; see the module's documentation.
#[derive(Debug)]
pub(super) struct History {
    started: SystemTime,
    kept: Mutex<Kept>,
}

#[derive(Debug)]
struct Kept {
    looks: u32,
    fine: Ring,
    coarse: Ring,
    /// The last [`RECENT_READINGS`] and the one before them, oldest first.
    readings: VecDeque<Reading>,
}

impl History {
    pub(super) fn new() -> Self {
        let kept = Kept {
            looks: 0,
            fine: Ring::new(FINE_SAMPLES),
            coarse: Ring::new(COARSE_SAMPLES),
            readings: VecDeque::with_capacity(RECENT_READINGS + 1),
        };
        Self {
            started: SystemTime::now(),
            kept: Mutex::new(kept),
        }
    }

    /// Records the results of `read` forever.
    pub(super) async fn record_all(&self, read: impl Fn() -> Reading) {
        let mut looks = interval(STEP);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            looks.tick().await;
            self.record(read());
        }
    }

    fn record(&self, reading: Reading) {
        let mut kept = self.kept.lock();
        kept.fine.look(&reading);
        kept.coarse.look(&reading);
        kept.fine.end_sample(&reading);
        if kept.looks.is_multiple_of(LOOKS_PER_COARSE) {
            kept.coarse.end_sample(&reading);
        }
        kept.looks = kept.looks.wrapping_add(1);
        if kept.readings.len() > RECENT_READINGS {
            kept.readings.pop_front();
        }
        kept.readings.push_back(reading);
    }

    /// The samples after number `after`; all of them if that number is still ahead. `metrics`
    /// supplies the upstreams' probes.
    pub(super) fn answer(
        &self,
        window: Window,
        after: u64,
        metrics: &Metrics,
        now: std::time::Instant,
    ) -> answer::History {
        let kept = self.kept.lock();
        let (ring, step) = match window {
            Window::FiveMinutes => (&kept.fine, STEP),
            Window::Hour => (&kept.coarse, STEP * LOOKS_PER_COARSE),
        };
        let names = kept.readings.back().map(names).unwrap_or_default();
        let mut answer = ring.answer(after, &names);
        answer.started = unix_ms(self.started);
        answer.step_seconds = step.as_secs();
        answer.lately = kept.lately();
        drop(kept);
        answer
            .upstreams
            .iter_mut()
            .for_each(|upstream| upstream.add_probes(metrics, now));
        answer
    }
}

impl Kept {
    fn lately(&self) -> Lately {
        let (Some(first), Some(last)) = (self.readings.front(), self.readings.back()) else {
            return Lately::default();
        };
        let seconds = last.at.saturating_duration_since(first.at).as_secs_f64();
        let totals = |counts: &Counts| {
            counts
                .classes
                .iter()
                .map(|class| class.total)
                .fold(Buckets::default(), |all, class| all.plus(&class))
        };
        let total = totals(&last.counts).since(&totals(&first.counts));
        let upstreams: Vec<UpstreamLately> = names(last)
            .iter()
            .map(|name| upstream_lately(name, first, last, seconds))
            .collect();
        Lately {
            seconds,
            rate: per_second(total.count(), seconds),
            p50_ms: total.quantile_ms(0.5).map(rounded),
            p95_ms: total.quantile_ms(0.95).map(rounded),
            p99_ms: total.quantile_ms(0.99).map(rounded),
            errors: upstreams.iter().map(|upstream| upstream.errors).sum(),
            refused: last.counts.refused.saturating_sub(first.counts.refused),
            upstreams,
        }
    }
}

fn upstream_lately(name: &str, first: &Reading, last: &Reading, seconds: f64) -> UpstreamLately {
    let (before, after) = (
        ring::counts_of(&first.counts, name),
        ring::counts_of(&last.counts, name),
    );
    let first_byte = after.first_byte.since(&before.first_byte);
    UpstreamLately {
        upstream: name.to_owned(),
        rate: per_second(after.requests.saturating_sub(before.requests), seconds),
        errors: after.errors.saturating_sub(before.errors),
        p50_ms: first_byte.quantile_ms(0.5).map(rounded),
        p95_ms: first_byte.quantile_ms(0.95).map(rounded),
    }
}

impl UpstreamHistory {
    fn add_probes(&mut self, metrics: &Metrics, now: std::time::Instant) {
        let Some(name) = crate::config::UpstreamName::new(&self.upstream) else {
            return;
        };
        let probe = |probe: &crate::metrics::Probe| Probe {
            ago_seconds: now.saturating_duration_since(probe.ended).as_secs(),
            outcome: probe.outcome.to_owned(),
            took_ms: u64::try_from(probe.took.as_millis()).unwrap_or(u64::MAX),
        };
        self.probes = metrics.recent_probes(&name).iter().map(probe).collect();
    }
}

fn names(reading: &Reading) -> Vec<Arc<str>> {
    reading
        .upstreams
        .iter()
        .map(|upstream| Arc::clone(&upstream.name))
        .collect()
}

/// A rate with two decimals: one request in fifty seconds is still visible.
fn per_second(count: u64, seconds: f64) -> f64 {
    if seconds > 0.0 {
        (count as f64 / seconds * 100.0).round() / 100.0
    } else {
        0.0
    }
}

/// Milliseconds with one decimal, the precision of the buckets.
fn rounded(ms: f64) -> f64 {
    (ms * 10.0).round() / 10.0
}

fn unix_ms(time: SystemTime) -> u64 {
    u64::try_from(since_1970(time).as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
