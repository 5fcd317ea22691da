//! The observability kit in `packaging/`: alert rules and dashboard, held against a real Prometheus
//! that scrapes a real front door.

mod dashboard;
mod prometheus;
mod promql;
mod rules;
mod traffic;

use std::collections::BTreeSet;

use prometheus::Prometheus;
use traffic::Traffic;

/// A query of the kit, and where it stands.
pub(crate) struct Query {
    pub(crate) place: String,
    pub(crate) text: String,
    /// The labels that its legend shows.
    pub(crate) legend: Vec<String>,
    /// It has a result on a cluster that has seen everything; an alert has none.
    pub(crate) has_result: bool,
}

/// Families that a scrape shows and the kit leaves out on purpose.
const UNUSED: [&str; 0] = [];

#[test]
fn every_query_of_the_kit_finds_its_metrics_and_labels_in_a_real_prometheus() {
    let traffic = Traffic::start();
    traffic.fill_every_family();
    let prometheus = Prometheus::scraping(traffic.front.admin_address());
    prometheus.wait_for_two_scrapes();
    // Rates need an increase between two scrapes.
    traffic.fill_every_family();

    let queries: Vec<Query> = dashboard::queries()
        .into_iter()
        .chain(rules::queries())
        .collect();
    assert!(queries.len() > 80, "{} queries found", queries.len());
    for query in &queries {
        check(&prometheus, query);
    }
    prometheus.assert_rules_are_healthy();
    assert_every_family_is_used(&traffic.front.metrics(), &queries);
}

/// Every selector of the query matches a series, every label it names exists there, and the whole
/// has a result.
fn check(prometheus: &Prometheus, query: &Query) {
    let place = &query.place;
    let selectors = promql::selectors(&query.text);
    assert!(
        !selectors.is_empty(),
        "{place}: {} selects nothing",
        query.text
    );
    let mut labels: BTreeSet<String> = BTreeSet::new();
    for selector in selectors {
        let found = prometheus.series(&format!("{place}: {selector}"), &selector);
        labels.extend(found.iter().flat_map(|series| series.keys().cloned()));
    }
    for label in promql::grouping_labels(&query.text) {
        // Absent where there is only one cluster.
        assert!(
            labels.contains(&label) || label == "cluster",
            "{place}: no series has the label {label}: {}",
            query.text
        );
    }
    if query.has_result {
        let found = prometheus.series(place, &query.text);
        // No series has it where there is only one cluster.
        for label in query.legend.iter().filter(|label| *label != "cluster") {
            let is_shown = |series: &prometheus::Labels| series.contains_key(label);
            assert!(
                found.iter().all(is_shown),
                "{place}: the result has no label {label}"
            );
        }
    }
}

fn assert_every_family_is_used(scrape: &str, queries: &[Query]) {
    let families = scrape
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
    for family in families.filter(|family| !UNUSED.contains(family)) {
        let is_used = |query: &Query| {
            promql::selectors(&query.text)
                .iter()
                .any(|selector| promql::family(selector) == family)
        };
        assert!(
            queries.iter().any(is_used),
            "neither the dashboard nor a rule shows {family}"
        );
    }
}
