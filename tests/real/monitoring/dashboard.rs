//! The dashboard: its queries, and what a person sees without data.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::Value;

use super::Query;

/// The width of a dashboard.
const COLUMNS: u64 = 24;

/// Every value that a variable may take.
const VARIABLES: [(&str, &str); 5] = [
    ("$__rate_interval", "5m"),
    ("$instance", ".*"),
    ("$cluster", ".*"),
    ("$class", ".*"),
    ("$upstream", ".*"),
];

fn dashboard() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/grafana/geofront.json");
    let text = fs::read_to_string(path).expect("the dashboard is there");
    serde_json::from_str(&text).expect("the dashboard is JSON")
}

fn list<'v>(value: &'v Value, key: &str) -> &'v [Value] {
    value[key].as_array().map_or(&[], Vec::as_slice)
}

fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value[key].as_str().unwrap_or_default()
}

fn number(value: &Value, key: &str) -> u64 {
    let number = value[key].as_u64();
    number.unwrap_or_else(|| panic!("{key} is no number: {value}"))
}

fn with_values(expression: &str) -> String {
    VARIABLES
        .iter()
        .fold(expression.to_owned(), |text, (name, value)| {
            text.replace(name, value)
        })
}

/// Those of panels, annotations and variables.
pub(crate) fn queries() -> Vec<Query> {
    let dashboard = dashboard();
    let mut queries = Vec::new();
    for panel in list(&dashboard, "panels") {
        for target in list(panel, "targets") {
            queries.push(Query {
                place: format!("panel `{}`", text(panel, "title")),
                text: with_values(text(target, "expr")),
                legend: legend_labels(text(target, "legendFormat")),
                has_result: true,
            });
        }
    }
    for annotation in list(&dashboard["annotations"], "list") {
        queries.push(Query {
            place: format!("annotation `{}`", text(annotation, "name")),
            text: with_values(text(annotation, "expr")),
            legend: Vec::new(),
            has_result: false,
        });
    }
    queries.extend(variables(&dashboard).filter_map(|variable| {
        let values = text(variable, "definition").strip_prefix("label_values(")?;
        let (selector, label) = values.trim_end_matches(')').rsplit_once(", ")?;
        Some(Query {
            place: format!("variable `{}`", text(variable, "name")),
            text: with_values(selector),
            legend: vec![label.to_owned()],
            has_result: true,
        })
    }));
    queries
}

fn variables(dashboard: &Value) -> impl Iterator<Item = &Value> {
    list(&dashboard["templating"], "list").iter()
}

fn legend_labels(legend: &str) -> Vec<String> {
    let parts = legend.split("{{").skip(1);
    parts
        .filter_map(|part| Some(part.split_once("}}")?.0.trim().to_owned()))
        .collect()
}

fn is_row(panel: &Value) -> bool {
    panel["type"] == "row"
}

#[test]
fn each_panel_has_a_title_a_description_a_unit_and_a_query() {
    let dashboard = dashboard();
    let mut titles = BTreeSet::new();
    let mut ids = BTreeSet::new();
    for panel in list(&dashboard, "panels") {
        let title = text(panel, "title");
        assert!(
            !title.is_empty() && titles.insert(title),
            "`{title}` is missing or taken"
        );
        assert!(ids.insert(number(panel, "id")), "{title}: the id is taken");
        if is_row(panel) {
            continue;
        }
        assert!(
            text(panel, "description").ends_with('.'),
            "{title} has no description"
        );
        assert!(
            !text(&panel["fieldConfig"]["defaults"], "unit").is_empty(),
            "{title} has no unit"
        );
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{title}");
        let targets = list(panel, "targets");
        assert!(!targets.is_empty(), "{title} has no query");
        for target in targets {
            assert_eq!(target["datasource"]["uid"], "${datasource}", "{title}");
        }
    }
    assert!(titles.len() > 40, "{titles:?}");
}

#[test]
fn panels_stay_within_the_dashboard_and_do_not_overlap() {
    let dashboard = dashboard();
    let mut taken: BTreeSet<(u64, u64)> = BTreeSet::new();
    for panel in list(&dashboard, "panels") {
        let (place, title) = (&panel["gridPos"], text(panel, "title"));
        let [x, y, width, height] = ["x", "y", "w", "h"].map(|key| number(place, key));
        assert!(
            width > 0 && height > 0 && x + width <= COLUMNS,
            "{title}: {place}"
        );
        for cell in (x..x + width).flat_map(|x| (y..y + height).map(move |y| (x, y))) {
            assert!(
                taken.insert(cell),
                "{title} overlaps another panel at {cell:?}"
            );
        }
    }
}

#[test]
fn each_variable_that_a_query_names_is_defined() {
    let dashboard = dashboard();
    let defined: BTreeSet<&str> = variables(&dashboard).map(|v| text(v, "name")).collect();
    let expected = ["datasource", "instance", "cluster", "class", "upstream"];
    assert_eq!(defined, BTreeSet::from(expected));
    for query in queries() {
        assert!(!query.text.contains('$'), "{}: {}", query.place, query.text);
    }
    let whole = dashboard["panels"].to_string();
    for name in expected {
        let is_used =
            whole.contains(&format!("${name}")) || whole.contains(&format!("${{{name}}}"));
        assert!(is_used, "no panel uses the variable {name}");
    }
}
