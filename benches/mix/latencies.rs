//! Quantiles of the latencies of requests. A request that failed, was refused or was answered
//! wrongly is slower than every answer, so a front door that fails many of its requests does not
//! look fast.

use std::time::Duration;

use crate::rig::quantiles::Quantiles;

/// The latencies of some requests.
#[derive(Clone, Debug, Default)]
pub(crate) struct Latencies {
    answered: Quantiles,
    failed: usize,
}

/// The latency of one request. Every answer is before a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Latency {
    Answered(Duration),
    /// No right answer came.
    Failed,
}

impl Latency {
    /// Seconds, infinite after a failure.
    pub(crate) fn seconds(self) -> f64 {
        match self {
            Self::Answered(latency) => latency.as_secs_f64(),
            Self::Failed => f64::INFINITY,
        }
    }
}

impl Latencies {
    /// The smallest latency that at least the share `q` of all requests does not exceed; `None` of
    /// nothing.
    pub(crate) fn at(&self, q: f64) -> Option<Latency> {
        let answered = self.answered.count();
        let all = answered + self.failed;
        let rank = ((q * all as f64).ceil() as usize).clamp(1, all.max(1));
        if all == 0 {
            None
        } else if rank > answered {
            Some(Latency::Failed)
        } else {
            self.answered.ranked(rank).map(Latency::Answered)
        }
    }

    /// This quantile as a multiple of another's. A failure is as good as a failure, infinitely
    /// worse than an answer, and nothing is as good as nothing.
    pub(crate) fn ratio(&self, other: &Self, q: f64) -> f64 {
        match (self.at(q), other.at(q)) {
            (Some(Latency::Failed), Some(Latency::Failed)) | (_, None) => 1.0,
            (Some(own), Some(other)) => own.seconds() / other.seconds(),
            (None, Some(_)) => f64::NAN,
        }
    }
}

/// `None` is a request that failed.
impl FromIterator<Option<Duration>> for Latencies {
    fn from_iter<I: IntoIterator<Item = Option<Duration>>>(requests: I) -> Self {
        let mut failed = 0;
        let answered = requests
            .into_iter()
            .inspect(|latency| failed += usize::from(latency.is_none()))
            .flatten()
            .collect();
        Self { answered, failed }
    }
}
