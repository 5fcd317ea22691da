//! The role and the limit of each upstream, and the retries that the budget did not allow.

use prometheus::proto::{Metric, MetricFamily};

use super::Metrics;
use super::sample::{COUNTER, GAUGE, counter_sample, family, gauge_sample};
use crate::cluster::{ClusterStatus, UpstreamStatus};
use crate::config::Role;
use crate::ogc::RequestClass;

impl Metrics {
    /// Counts a further attempt that the retry budget did not allow.
    pub fn retry_denied(&self, class: RequestClass) {
        self.retries_denied.add(class.index(), 1);
    }

    pub(super) fn limit_families(&self, status: &ClusterStatus) -> [MetricFamily; 3] {
        let denied = RequestClass::ALL.map(|class| {
            let count = self.retries_denied.sum(class.index());
            counter_sample(&[("class", class.as_str())], count)
        });
        [
            family(
                "geofront_retries_denied_total",
                "Further attempts that the retry budget did not allow.",
                COUNTER,
                denied,
            ),
            family(
                "geofront_upstream_info",
                "The role of an upstream; always 1.",
                GAUGE,
                status.upstreams.iter().map(info_sample),
            ),
            family(
                "geofront_in_flight_limit",
                "Requests an upstream may work on at a time, as learned or configured.",
                GAUGE,
                status.upstreams.iter().filter_map(limit_sample),
            ),
        ]
    }
}

fn info_sample(upstream: &UpstreamStatus) -> Metric {
    let role = match upstream.role {
        Role::Main => "main",
        Role::Replica => "replica",
    };
    gauge_sample(&[("upstream", upstream.name.as_str()), ("role", role)], 1.0)
}

/// An upstream without a limit has no sample.
fn limit_sample(upstream: &UpstreamStatus) -> Option<Metric> {
    let limit = upstream.cap?.all;
    Some(gauge_sample(
        &[("upstream", upstream.name.as_str())],
        f64::from(limit),
    ))
}
