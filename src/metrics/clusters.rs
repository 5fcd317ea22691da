//! The metrics of several clusters in one scrape: those of a cluster have the label `cluster`.

use std::collections::BTreeMap;

use prometheus::proto::{Metric, MetricFamily};

use super::Metrics;
use super::render::encoded;
use super::sample::label_pair;
use crate::cluster::ClusterStatus;

/// The `cluster` label of requests that were given to no cluster, and of the front file. No cluster
/// can have this name.
const NO_CLUSTER: &str = "(none)";

/// The families that are of use without a cluster.
const WITHOUT_CLUSTER: [&str; 8] = [
    "geofront_requests_total",
    "geofront_request_seconds",
    "geofront_client_aborts_total",
    "geofront_refused_total",
    "geofront_condition",
    "geofront_config_revision",
    "geofront_config_last_reload_success",
    "geofront_config_reloads_total",
];

/// One of several clusters, with its counters and its state.
#[derive(Clone, Copy, Debug)]
pub struct ClusterReading<'c> {
    pub name: &'c str,
    pub metrics: &'c Metrics,
    pub status: &'c ClusterStatus,
}

impl Metrics {
    /// Renders the text format of Prometheus for the whole process, whose own metrics these are,
    /// and for its clusters.
    pub fn render_clusters(
        &self,
        status: &ClusterStatus,
        clusters: &[ClusterReading<'_>],
    ) -> String {
        let mut own = self.families_of_cluster(status);
        own.retain(|family| WITHOUT_CLUSTER.contains(&family.name()));
        let mut by_name = BTreeMap::new();
        add(&mut by_name, own, NO_CLUSTER);
        for ClusterReading {
            name,
            metrics,
            status,
        } in clusters
        {
            add(&mut by_name, metrics.families_of_cluster(status), name);
        }
        let mut families: Vec<MetricFamily> = by_name.into_values().collect();
        families.extend(self.families_of_process());
        encoded(families)
    }
}

/// Adds the samples of `families` to those of the same name, with the label of their cluster.
fn add(by_name: &mut BTreeMap<String, MetricFamily>, families: Vec<MetricFamily>, cluster: &str) {
    for mut family in families {
        let labelled = family
            .take_metric()
            .into_iter()
            .map(|sample| of(sample, cluster));
        let labelled: Vec<Metric> = labelled.collect();
        let known = by_name
            .entry(family.name().to_owned())
            .or_insert_with(|| family);
        known.mut_metric().extend(labelled);
    }
}

fn of(mut sample: Metric, cluster: &str) -> Metric {
    let mut labels = vec![label_pair("cluster", cluster)];
    labels.extend(sample.take_label());
    sample.set_label(labels);
    sample
}
