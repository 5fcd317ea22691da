//! The answer to a scrape: the sums of all counters, and the current state of the cluster.
//!
//! A (class, upstream) pair in use shows all of its codes, including zeros, so that `rate()` sees
//! its first error as an increase. Unused pairs are left out; otherwise a cluster of sixteen would
//! answer with thousands of zeros.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use prometheus::proto::{Metric, MetricFamily, MetricType};
use prometheus::{Encoder, TextEncoder};

use super::histogram;
use super::labelled::Labelled;
use super::process;
use super::sample::{
    COUNTER, GAUGE, counter_sample, family, gauge_sample, histogram_sample, truth,
};
use super::upstream::CODES;
use super::{ABORTS, LostSpans, Metrics, UpstreamMetrics, first_cell};
use crate::cluster::{ClusterStatus, Condition, HealthState, Mode, UpstreamStatus};
use crate::ogc::RequestClass;

/// The `upstream` label of answers from no upstream. No upstream can have this name.
const NO_UPSTREAM: &str = "(none)";

impl Metrics {
    /// Renders the text format of Prometheus.
    pub fn render(&self, status: &ClusterStatus) -> String {
        let mut families = self.families_of_cluster(status);
        families.extend(self.families_of_process());
        encoded(families)
    }

    /// The families that each cluster has.
    pub(super) fn families_of_cluster(&self, status: &ClusterStatus) -> Vec<MetricFamily> {
        self.keep_upstreams(status.upstreams.iter().map(|upstream| &upstream.name));
        let mut families = self.class_families();
        families.extend(self.upstream_families());
        families.extend(cluster_families(status));
        families.extend(self.catalog_families(status));
        families.extend(self.config_families(status.revision));
        families.extend(self.limit_families(status));
        families
    }

    /// The families that the process has once.
    pub(super) fn families_of_process(&self) -> Vec<MetricFamily> {
        let mut families = self.client_families();
        families.extend(self.compression_families());
        families.extend(self.tls_families());
        families.extend(self.trace_families());
        families.extend(process::families());
        families.push(version_family());
        families
    }

    fn class_families(&self) -> Vec<MetricFamily> {
        let totals = RequestClass::ALL.into_iter().filter_map(|class| {
            let reading = histogram::read(&self.by_class, first_cell(class))?;
            Some(histogram_sample(&[("class", class.as_str())], reading))
        });
        let aborts = RequestClass::ALL.map(|class| {
            let count = self.by_class.sum(first_cell(class) + ABORTS);
            counter_sample(&[("class", class.as_str())], count)
        });
        let coalesced = [
            RequestClass::Tile,
            RequestClass::Map,
            RequestClass::Capabilities,
        ]
        .map(|class| {
            counter_sample(
                &[("class", class.as_str())],
                self.coalesced.sum(class.index()),
            )
        });
        let queued = RequestClass::ALL.into_iter().filter_map(|class| {
            let reading = histogram::read(&self.queued, first_cell(class))?;
            Some(histogram_sample(&[("class", class.as_str())], reading))
        });
        let waiting = RequestClass::ALL.map(|class| {
            let waiting = self.waiting[class.index()].load(Ordering::Relaxed);
            gauge_sample(&[("class", class.as_str())], waiting as f64)
        });
        vec![
            family(
                "geofront_queue_seconds",
                "Time requests waited for a place, of those that did.",
                MetricType::HISTOGRAM,
                queued,
            ),
            family(
                "geofront_queue_length",
                "Requests that wait for a place.",
                GAUGE,
                waiting,
            ),
            family(
                "geofront_coalesced_total",
                "Requests that got the answer to an identical one.",
                COUNTER,
                coalesced,
            ),
            family(
                "geofront_request_seconds",
                "Time from a request's arrival to its end.",
                MetricType::HISTOGRAM,
                totals,
            ),
            family(
                "geofront_client_aborts_total",
                "Clients that left before their answer was complete.",
                COUNTER,
                aborts,
            ),
            family(
                "geofront_refused_total",
                "Requests that geofront answered itself.",
                COUNTER,
                by_reason(&self.refusals),
            ),
        ]
    }

    fn upstream_families(&self) -> Vec<MetricFamily> {
        let upstreams: Vec<(String, Arc<UpstreamMetrics>)> = self
            .upstreams
            .lock()
            .iter()
            .map(|(name, metrics)| (name.to_string(), Arc::clone(metrics)))
            .collect();
        let named = || {
            upstreams
                .iter()
                .map(|(name, metrics)| (name.as_str(), &**metrics))
        };
        let answering = || named().chain([(NO_UPSTREAM, &self.no_upstream)]);
        vec![
            family(
                "geofront_requests_total",
                "Requests by class, the upstream that answered, and status; code 0 for no answer.",
                COUNTER,
                answering().flat_map(|(upstream, metrics)| request_samples(upstream, metrics)),
            ),
            family(
                "geofront_retries_total",
                "Further attempts, by the upstream of the attempt before.",
                COUNTER,
                answering().flat_map(|(upstream, metrics)| retry_samples(upstream, metrics)),
            ),
            family(
                "geofront_first_byte_seconds",
                "Time from sending a request upstream to the head of the answer.",
                MetricType::HISTOGRAM,
                named().flat_map(|(upstream, metrics)| first_byte_samples(upstream, metrics)),
            ),
            family(
                "geofront_service_exceptions_total",
                "Answers that were OGC exceptions, whatever their status.",
                COUNTER,
                named().flat_map(|(upstream, metrics)| exception_samples(upstream, metrics)),
            ),
            family(
                "geofront_probes_total",
                "Health probes by outcome.",
                COUNTER,
                named().flat_map(|(name, metrics)| by_label(name, "outcome", &metrics.probes)),
            ),
            family(
                "geofront_ejections_total",
                "Times an upstream was set aside for failing requests, by cause.",
                COUNTER,
                named().flat_map(|(name, metrics)| by_label(name, "cause", &metrics.ejections)),
            ),
        ]
    }

    fn catalog_families(&self, status: &ClusterStatus) -> [MetricFamily; 7] {
        let upstreams: Vec<_> = self
            .upstreams
            .lock()
            .iter()
            .map(|(name, metrics)| (name.to_string(), Arc::clone(metrics)))
            .collect();
        let reloads = upstreams
            .iter()
            .flat_map(|(name, metrics)| by_label(name, "outcome", &metrics.catalog_reloads));
        let postponed = upstreams
            .iter()
            .flat_map(|(name, metrics)| by_label(name, "class", &metrics.postponed_reloads));
        let truncations = upstreams
            .iter()
            .flat_map(|(name, metrics)| by_label(name, "outcome", &metrics.truncations));
        let owed = |u: &UpstreamStatus| {
            gauge_sample(
                &[("upstream", u.name.as_str())],
                u.catalog.tiles.owed as f64,
            )
        };
        let times = histogram::read(&self.catalog_reload_times, 0)
            .map(|reading| histogram_sample(&[], reading));
        let fresh = |u: &UpstreamStatus| {
            gauge_sample(&[("upstream", u.name.as_str())], truth(u.catalog.is_fresh))
        };
        [
            family(
                "geofront_catalog_reloads_total",
                "Catalog reloads of a replica by outcome.",
                COUNTER,
                reloads,
            ),
            family(
                "geofront_catalog_reloads_postponed_total",
                "Catalog reloads that waited because a request of the class had no other upstream.",
                COUNTER,
                postponed,
            ),
            family(
                "geofront_tile_truncations_total",
                "Truncations of an upstream's own tile cache by outcome.",
                COUNTER,
                truncations,
            ),
            family(
                "geofront_tile_truncations_owed",
                "Truncations that an upstream's own tile cache still needs.",
                GAUGE,
                status.upstreams.iter().map(owed),
            ),
            family(
                "geofront_catalog_reload_seconds",
                "Time of a successful catalog reload, until the replica drew its canary.",
                MetricType::HISTOGRAM,
                times,
            ),
            family(
                "geofront_catalog_epoch",
                "Changes of the main's catalog noticed; those that came together are one.",
                GAUGE,
                [gauge_sample(&[], status.catalog.epoch as f64)],
            ),
            family(
                "geofront_upstream_fresh",
                "1 while the upstream has the main's last change.",
                GAUGE,
                status.upstreams.iter().map(fresh),
            ),
        ]
    }

    fn tls_families(&self) -> [MetricFamily; 5] {
        let refused = self
            .proxy_protocol_refused
            .counts()
            .map(|(reason, _, count)| counter_sample(&[("reason", reason)], count));
        let handshakes = self
            .handshakes
            .counts()
            .map(|(outcome, _, count)| counter_sample(&[("outcome", outcome)], count));
        let orders = self
            .acme_orders
            .counts()
            .map(|(outcome, _, count)| counter_sample(&[("outcome", outcome)], count));
        // Left out like the others where there is no such listener.
        let floods = Some(self.http2_floods.load(Ordering::Relaxed)).filter(|count| *count > 0);
        let floods = floods.map(|count| counter_sample(&[], count));
        let certificates = self.certificates.lock().clone();
        let expiry = certificates.iter().map(|certificate| {
            let labels = [
                ("listener", certificate.listener.as_str()),
                ("name", certificate.name.as_str()),
            ];
            gauge_sample(&labels, certificate.not_after as f64)
        });
        [
            family(
                "geofront_tls_handshakes_total",
                "TLS handshakes with clients by outcome.",
                COUNTER,
                handshakes,
            ),
            family(
                "geofront_proxy_protocol_refused_total",
                "Connections closed for lack of a valid header of the PROXY protocol.",
                COUNTER,
                refused,
            ),
            family(
                "geofront_frame_floods_total",
                "HTTP/2 connections that were ended for a flood of frames.",
                COUNTER,
                floods,
            ),
            family(
                "geofront_acme_orders_total",
                "Orders of certificates by ACME by outcome.",
                COUNTER,
                orders,
            ),
            family(
                "geofront_certificate_expiry_seconds",
                "Time at which a certificate expires, in seconds since 1970.",
                GAUGE,
                expiry,
            ),
        ]
    }

    fn trace_families(&self) -> [MetricFamily; 2] {
        let lost = LostSpans::ALL.map(|why| {
            let count = self.spans_lost[why as usize].load(Ordering::Relaxed);
            counter_sample(&[("reason", why.reason())], count)
        });
        [
            family(
                "geofront_spans_sent_total",
                "Spans that the receiver of traces took.",
                COUNTER,
                [counter_sample(&[], self.spans_sent.load(Ordering::Relaxed))],
            ),
            family(
                "geofront_spans_lost_total",
                "Spans that the receiver of traces did not get.",
                COUNTER,
                lost,
            ),
        ]
    }

    fn config_families(&self, revision: u64) -> [MetricFamily; 3] {
        let reloads = self
            .config_reloads
            .counts()
            .map(|(outcome, _, count)| counter_sample(&[("outcome", outcome)], count));
        let well = !self.last_reload_refused.load(Ordering::Relaxed);
        [
            family(
                "geofront_config_revision",
                "Number of the configuration in force.",
                GAUGE,
                [gauge_sample(&[], revision as f64)],
            ),
            family(
                "geofront_config_last_reload_success",
                "1 unless the last config reload was refused.",
                GAUGE,
                [gauge_sample(&[], truth(well))],
            ),
            family(
                "geofront_config_reloads_total",
                "Config reloads by outcome.",
                COUNTER,
                reloads,
            ),
        ]
    }
}

fn version_family() -> MetricFamily {
    let version = [("version", env!("CARGO_PKG_VERSION"))];
    family(
        "geofront_build_info",
        "The version that runs.",
        GAUGE,
        [gauge_sample(&version, 1.0)],
    )
}

/// The families with samples as text, in the order of their names.
pub(super) fn encoded(mut families: Vec<MetricFamily>) -> String {
    families.retain(|family| !family.get_metric().is_empty());
    families.sort_by(|a, b| a.name().cmp(b.name()));
    let mut text = Vec::new();
    TextEncoder::new()
        .encode(&families, &mut text)
        .expect("families without samples or a name are left out");
    String::from_utf8(text).expect("names, labels and numbers are text")
}

/// The families that are states and not counts.
fn cluster_families(status: &ClusterStatus) -> [MetricFamily; 7] {
    let gauge = |name: &str, help: &str, value: fn(&UpstreamStatus) -> f64| {
        let samples = status
            .upstreams
            .iter()
            .map(|u| gauge_sample(&[("upstream", u.name.as_str())], value(u)));
        family(name, help, GAUGE, samples)
    };
    [
        gauge(
            "geofront_in_flight",
            "Requests an upstream is working on.",
            |u| f64::from(u.in_flight),
        ),
        gauge(
            "geofront_upstream_up",
            "1 while probes find the upstream working.",
            |u| truth(u.health == HealthState::Up),
        ),
        gauge(
            "geofront_upstream_reachable",
            "1 while something that speaks HTTP answers there.",
            |u| truth(u.is_reachable),
        ),
        gauge(
            "geofront_upstream_eligible",
            "1 while the upstream is given requests.",
            |u| truth(u.eligible),
        ),
        gauge(
            "geofront_upstream_weight",
            "Share of requests relative to others, slow start applied.",
            |u| f64::from(u.effective_weight),
        ),
        family(
            "geofront_upstream_mode",
            "1 for the mode an operator ordered, 0 for the others.",
            GAUGE,
            status.upstreams.iter().flat_map(mode_samples),
        ),
        family(
            "geofront_condition",
            "How many conditions of this kind hold that an operator should act on.",
            GAUGE,
            Condition::KINDS.map(|kind| {
                let holding = status
                    .conditions
                    .iter()
                    .filter(|held| held.condition.kind() == kind)
                    .count();
                gauge_sample(&[("kind", kind)], holding as f64)
            }),
        ),
    ]
}

fn mode_samples(upstream: &UpstreamStatus) -> [Metric; 3] {
    Mode::ALL.map(|mode| {
        let labels = [
            ("upstream", upstream.name.as_str()),
            ("mode", mode.as_str()),
        ];
        gauge_sample(&labels, truth(upstream.mode == mode))
    })
}

fn request_samples(upstream: &str, metrics: &UpstreamMetrics) -> Vec<Metric> {
    let in_use = RequestClass::ALL
        .into_iter()
        .filter_map(|class| Some((class, metrics.requests(class)?)));
    in_use
        .flat_map(|(class, counts)| {
            CODES.into_iter().zip(counts).map(move |(code, count)| {
                counter_sample(
                    &[
                        ("class", class.as_str()),
                        ("upstream", upstream),
                        ("code", code),
                    ],
                    count,
                )
            })
        })
        .collect()
}

fn first_byte_samples(upstream: &str, metrics: &UpstreamMetrics) -> Vec<Metric> {
    let readings = RequestClass::ALL
        .into_iter()
        .filter_map(|class| Some((class, metrics.first_byte(class)?)));
    readings
        .map(|(class, reading)| {
            histogram_sample(
                &[("class", class.as_str()), ("upstream", upstream)],
                reading,
            )
        })
        .collect()
}

fn exception_samples(upstream: &str, metrics: &UpstreamMetrics) -> Vec<Metric> {
    let in_use = RequestClass::ALL
        .into_iter()
        .filter(|class| metrics.requests(*class).is_some());
    in_use
        .map(|class| {
            let labels = [("class", class.as_str()), ("upstream", upstream)];
            counter_sample(&labels, metrics.service_exceptions(class))
        })
        .collect()
}

fn by_label(upstream: &str, label: &str, counters: &Labelled) -> Vec<Metric> {
    counters
        .counts()
        .map(|(value, _, count)| counter_sample(&[("upstream", upstream), (label, value)], count))
        .collect()
}

fn retry_samples(upstream: &str, metrics: &UpstreamMetrics) -> Vec<Metric> {
    let sample = |(reason, class, count): (&'static str, usize, u64)| {
        let labels = [
            ("class", RequestClass::ALL[class].as_str()),
            ("upstream", upstream),
            ("reason", reason),
        ];
        counter_sample(&labels, count)
    };
    metrics.retries.counts().map(sample).collect()
}

/// The counters by reason, with one cell per class.
fn by_reason(counters: &Labelled) -> Vec<Metric> {
    counters
        .counts()
        .map(|(reason, class, count)| {
            counter_sample(
                &[
                    ("class", RequestClass::ALL[class].as_str()),
                    ("reason", reason),
                ],
                count,
            )
        })
        .collect()
}
