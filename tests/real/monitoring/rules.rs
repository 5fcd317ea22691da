//! The alert rules: their queries, and their unit tests.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::Query;
use crate::program;

pub(crate) fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/prometheus/geofront.rules.yml")
}

fn tests_path() -> PathBuf {
    path().with_file_name("geofront.rules.test.yml")
}

/// One for each rule, read from the lines of the file.
pub(crate) fn queries() -> Vec<Query> {
    let text = fs::read_to_string(path()).expect("the rules are there");
    let rules = text.split("\n      - ").skip(1);
    rules.map(query).collect()
}

fn query(rule: &str) -> Query {
    let (kind, name) = rule
        .lines()
        .next()
        .and_then(|line| line.split_once(": "))
        .expect("a rule begins with `alert: NAME` or `record: NAME`");
    let mut lines = rule
        .lines()
        .skip_while(|line| !line.starts_with("        expr:"));
    let first = lines.next().expect("a rule has an expression");
    let first = first
        .trim_start_matches("        expr:")
        .trim_start_matches(" |");
    let more = lines.take_while(|line| line.starts_with("          "));
    let text = std::iter::once(first)
        .chain(more)
        .collect::<Vec<_>>()
        .join("\n");
    Query {
        place: format!("rule {name}"),
        text: text.trim().to_owned(),
        legend: Vec::new(),
        has_result: kind == "record",
    }
}

/// The names of all alerts.
fn alerts() -> BTreeSet<String> {
    let queries = queries().into_iter().filter(|query| !query.has_result);
    queries
        .map(|query| query.place.trim_start_matches("rule ").to_owned())
        .collect()
}

fn promtool(arguments: [&str; 2], file: &Path) {
    let promtool = program::find("promtool", "prometheus");
    program::run(Command::new(promtool).args(arguments).arg(file));
}

#[test]
fn promtool_accepts_the_rules() {
    promtool(["check", "rules"], &path());
}

#[test]
fn each_alert_fires_on_its_fault_and_is_silent_on_a_healthy_cluster() {
    promtool(["test", "rules"], &tests_path());

    let tests = fs::read_to_string(tests_path()).expect("the tests are there");
    let name = |rest: &str| {
        rest.split([',', '\n'])
            .next()
            .unwrap_or_default()
            .to_owned()
    };
    let (healthy, _) = tests.split_once("\n\n  - name").expect("the first test");
    let silent: BTreeSet<String> = healthy.split("{alertname: ").skip(1).map(name).collect();
    let firing: BTreeSet<String> = tests.split("- alertname: ").skip(1).map(name).collect();
    assert_eq!(silent, alerts(), "the first test has every alert");
    assert_eq!(firing, alerts(), "some test has every alert fire");
}

#[test]
fn each_alert_has_a_severity_a_summary_and_a_description() {
    let text = fs::read_to_string(path()).expect("the rules are there");
    for rule in text.split("\n      - alert: ").skip(1) {
        for part in ["severity: ", "summary: ", "description: "] {
            assert!(rule.contains(part), "no {part}in {rule}");
        }
    }
}
