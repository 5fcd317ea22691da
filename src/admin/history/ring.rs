//! A ring of samples of equal length.

use std::collections::VecDeque;
use std::sync::Arc;

use super::answer::{ClassHistory, History, LatencyHistory, UpstreamHistory};
use super::{Reading, UpstreamReading, per_second, rounded, unix_ms};
use crate::config::UpstreamName;
use crate::metrics::{Buckets, Counts, UpstreamCounts};
use crate::ogc::RequestClass;

/// The difference between two readings, and the peaks between them.
#[derive(Clone, Debug)]
struct Sample {
    end_ms: u64,
    /// Indexed by [`RequestClass::index`].
    classes: [Class; RequestClass::ALL.len()],
    all: Latency,
    errors: f64,
    refused: f64,
    retried: f64,
    aborted: f64,
    waiting: u32,
    waited: Latency,
    upstreams: Vec<Upstream>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Class {
    rate: f64,
    latency: Latency,
}

#[derive(Clone, Copy, Debug, Default)]
struct Latency {
    p50: Option<f64>,
    p95: Option<f64>,
    p99: Option<f64>,
}

impl Latency {
    fn of(buckets: &Buckets) -> Self {
        let at = |share| buckets.quantile_ms(share).map(rounded);
        Self {
            p50: at(0.5),
            p95: at(0.95),
            p99: at(0.99),
        }
    }
}

#[derive(Clone, Debug)]
struct Upstream {
    state: UpstreamReading,
    rate: f64,
    errors: f64,
}

/// A ring of samples; see the module's documentation.
#[derive(Debug)]
pub(super) struct Ring {
    capacity: usize,
    samples: VecDeque<Sample>,
    /// Number of the newest sample.
    sequence: u64,
    /// The reading at which the running sample began.
    began: Option<Reading>,
    /// The peaks of waiting requests and requests in flight since then.
    waiting: usize,
    peaks: Vec<UpstreamReading>,
}

impl Ring {
    pub(super) fn new(capacity: usize) -> Self {
        let samples = VecDeque::with_capacity(capacity);
        Self {
            capacity,
            samples,
            sequence: 0,
            began: None,
            waiting: 0,
            peaks: Vec::new(),
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.samples.len()
    }

    /// Adds a reading to the running sample.
    pub(super) fn look(&mut self, reading: &Reading) {
        self.waiting = self.waiting.max(reading.waiting);
        let before = std::mem::take(&mut self.peaks);
        let peak = |upstream: &UpstreamReading| {
            let earlier = before
                .iter()
                .find(|peak| peak.name == upstream.name)
                .map_or(0, |peak| peak.in_flight);
            UpstreamReading {
                in_flight: upstream.in_flight.max(earlier),
                ..upstream.clone()
            }
        };
        self.peaks = reading.upstreams.iter().map(peak).collect();
    }

    /// Ends the running sample with this reading. The first reading only begins one.
    pub(super) fn end_sample(&mut self, reading: &Reading) {
        let (waiting, peaks) = (
            std::mem::take(&mut self.waiting),
            std::mem::take(&mut self.peaks),
        );
        let Some(began) = self.began.replace(reading.clone()) else {
            return;
        };
        if self.samples.len() == self.capacity {
            self.samples.pop_front();
        }
        self.samples
            .push_back(Sample::between(&began, reading, waiting, peaks));
        self.sequence += 1;
    }

    /// The samples after number `after`, for the upstreams with these names.
    pub(super) fn answer(&self, after: u64, names: &[Arc<str>]) -> History {
        let after = if after > self.sequence { 0 } else { after };
        let new = usize::try_from(self.sequence - after).unwrap_or(usize::MAX);
        let shown: Vec<&Sample> = self
            .samples
            .iter()
            .skip(self.samples.len().saturating_sub(new))
            .collect();
        let latency = |of: &dyn Fn(&Sample) -> Latency| LatencyHistory {
            p50_ms: shown.iter().map(|sample| of(sample).p50).collect(),
            p95_ms: shown.iter().map(|sample| of(sample).p95).collect(),
            p99_ms: shown.iter().map(|sample| of(sample).p99).collect(),
        };
        let rates =
            |of: fn(&Sample) -> f64| shown.iter().map(|sample| of(sample)).collect::<Vec<f64>>();
        let class = |class: RequestClass| ClassHistory {
            class: class.to_string(),
            rate: shown
                .iter()
                .map(|sample| sample.classes[class.index()].rate)
                .collect(),
            latency: latency(&|sample| sample.classes[class.index()].latency),
        };
        let is_used = |class: &ClassHistory| class.rate.iter().any(|rate| *rate > 0.0);
        History {
            sequence: self.sequence,
            times: shown.iter().map(|sample| sample.end_ms).collect(),
            classes: RequestClass::ALL
                .into_iter()
                .map(class)
                .filter(is_used)
                .collect(),
            all: latency(&|sample| sample.all),
            errors: rates(|sample| sample.errors),
            refused: rates(|sample| sample.refused),
            retried: rates(|sample| sample.retried),
            aborted: rates(|sample| sample.aborted),
            waiting: shown.iter().map(|sample| sample.waiting).collect(),
            waited_p50_ms: shown.iter().map(|sample| sample.waited.p50).collect(),
            waited_p95_ms: shown.iter().map(|sample| sample.waited.p95).collect(),
            upstreams: names
                .iter()
                .map(|name| upstream_history(name, &shown))
                .collect(),
            ..History::default()
        }
    }
}

impl Sample {
    fn between(
        began: &Reading,
        ended: &Reading,
        waiting: usize,
        peaks: Vec<UpstreamReading>,
    ) -> Self {
        let seconds = ended.at.saturating_duration_since(began.at).as_secs_f64();
        let rate = |of: fn(&Counts) -> u64| {
            per_second(of(&ended.counts).saturating_sub(of(&began.counts)), seconds)
        };
        let totals = RequestClass::ALL
            .map(|class| ended.class(class).total.since(&began.class(class).total));
        let queued = RequestClass::ALL
            .map(|class| ended.class(class).queued.since(&began.class(class).queued));
        let sum = |buckets: &[Buckets]| {
            buckets
                .iter()
                .fold(Buckets::default(), |all, class| all.plus(class))
        };
        let class = |total: Buckets| Class {
            rate: per_second(total.count(), seconds),
            latency: Latency::of(&total),
        };
        let upstream = |state: UpstreamReading| {
            let (before, after) = (
                counts_of(&began.counts, &state.name),
                counts_of(&ended.counts, &state.name),
            );
            let rate = per_second(after.requests.saturating_sub(before.requests), seconds);
            Upstream {
                state,
                rate,
                errors: per_second(after.errors.saturating_sub(before.errors), seconds),
            }
        };
        let upstreams: Vec<Upstream> = peaks.into_iter().map(upstream).collect();
        Self {
            end_ms: unix_ms(ended.time),
            classes: totals.map(class),
            all: Latency::of(&sum(&totals)),
            errors: upstreams.iter().map(|upstream| upstream.errors).sum(),
            refused: rate(|counts| counts.refused),
            retried: rate(|counts| counts.retried),
            aborted: rate(|counts| counts.classes.iter().map(|class| class.aborted).sum()),
            waiting: u32::try_from(waiting).unwrap_or(u32::MAX),
            waited: Latency::of(&sum(&queued)),
            upstreams,
        }
    }
}

impl Reading {
    fn class(&self, class: RequestClass) -> &crate::metrics::ClassCounts {
        &self.counts.classes[class.index()]
    }
}

/// The counters of the upstream with this name; zeros before its first request.
pub(super) fn counts_of(counts: &Counts, name: &str) -> UpstreamCounts {
    UpstreamName::new(name)
        .and_then(|name| counts.upstreams.get(&name).copied())
        .unwrap_or_default()
}

fn upstream_history(name: &Arc<str>, shown: &[&Sample]) -> UpstreamHistory {
    let at: Vec<Option<&Upstream>> = shown
        .iter()
        .map(|sample| {
            sample
                .upstreams
                .iter()
                .find(|upstream| upstream.state.name == *name)
        })
        .collect();
    UpstreamHistory {
        upstream: name.to_string(),
        rate: at
            .iter()
            .map(|upstream| Some(upstream.as_ref()?.rate))
            .collect(),
        errors: at
            .iter()
            .map(|upstream| Some(upstream.as_ref()?.errors))
            .collect(),
        in_flight: at
            .iter()
            .map(|upstream| Some(upstream.as_ref()?.state.in_flight))
            .collect(),
        max_in_flight: at
            .iter()
            .map(|upstream| upstream.as_ref()?.state.max_in_flight)
            .collect(),
        eligible: at
            .iter()
            .map(|upstream| Some(upstream.as_ref()?.state.is_eligible))
            .collect(),
        probes: Vec::new(),
    }
}
