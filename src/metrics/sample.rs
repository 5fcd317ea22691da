//! Metric families and their samples, in the types of the Prometheus encoder.

use prometheus::proto::{
    Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType,
};

use super::histogram::HistogramValues;

pub(super) const COUNTER: MetricType = MetricType::COUNTER;
pub(super) const GAUGE: MetricType = MetricType::GAUGE;

pub(super) fn truth(holds: bool) -> f64 {
    f64::from(u8::from(holds))
}

pub(super) fn family(
    name: &str,
    help: &str,
    kind: MetricType,
    samples: impl IntoIterator<Item = Metric>,
) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(name.to_owned());
    family.set_help(help.to_owned());
    family.set_field_type(kind);
    family.set_metric(samples.into_iter().collect());
    family
}

pub(super) fn label_pair(name: &str, value: &str) -> LabelPair {
    let mut pair = LabelPair::default();
    pair.set_name(name.to_owned());
    pair.set_value(value.to_owned());
    pair
}

fn sample(labels: &[(&str, &str)]) -> Metric {
    let pairs = labels.iter().map(|(name, value)| label_pair(name, value));
    Metric::from_label(pairs.collect())
}

pub(super) fn counter_sample(labels: &[(&str, &str)], count: u64) -> Metric {
    float_counter_sample(labels, count as f64)
}

pub(super) fn float_counter_sample(labels: &[(&str, &str)], count: f64) -> Metric {
    let mut counter = Counter::default();
    counter.set_value(count);
    let mut sample = sample(labels);
    sample.set_counter(counter);
    sample
}

pub(super) fn gauge_sample(labels: &[(&str, &str)], value: f64) -> Metric {
    let mut gauge = Gauge::default();
    gauge.set_value(value);
    let mut sample = sample(labels);
    sample.set_gauge(gauge);
    sample
}

pub(super) fn histogram_sample(labels: &[(&str, &str)], reading: HistogramValues) -> Metric {
    let bucket = |(bound, count): (f64, u64)| {
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(bound);
        bucket.set_cumulative_count(count);
        bucket
    };
    let mut histogram = Histogram::default();
    histogram.set_bucket(reading.buckets.into_iter().map(bucket).collect());
    histogram.set_sample_count(reading.count);
    histogram.set_sample_sum(reading.sum_seconds);
    let mut sample = sample(labels);
    sample.set_histogram(histogram);
    sample
}
