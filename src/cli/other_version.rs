//! The status of a geofront of another version than this command's: after an upgrade, the process
//! of before still runs.
//!
//! Fields that this command does not know are ignored. Those that the process does not report are
//! read as zero, none or an empty list, and named.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::admin::answers::{ClassWaiting, Condition, Queue, Status, Upstream, UserWaiting};

/// Fields without which a status says nothing.
const NEEDED: [&str; 4] = ["version", "revision", "ready", "upstreams"];
/// The same for each of its upstreams.
const NEEDED_OF_UPSTREAM: [&str; 5] = ["name", "role", "health", "mode", "eligible"];

/// Names that are listed; the others are counted.
const MAX_NAMED: usize = 6;

/// A status, and what it lacks.
#[derive(Debug)]
pub(super) struct ReadStatus {
    pub(super) status: Status,
    /// The fields that the process does not report.
    missing: BTreeSet<String>,
}

impl ReadStatus {
    /// Reads the answer of the API; `None` if this command cannot read it.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut value: Value = serde_json::from_str(text).ok()?;
        let has = |value: &Value, keys: &[&str]| keys.iter().all(|key| value.get(key).is_some());
        let upstreams = value.get("upstreams")?.as_array()?;
        let is_whole =
            has(&value, &NEEDED) && upstreams.iter().all(|u| has(u, &NEEDED_OF_UPSTREAM));
        if !is_whole {
            return None;
        }
        let mut missing = BTreeSet::new();
        fill(&mut value, &blank(), "", &mut missing);
        let status = serde_json::from_value(value).ok()?;
        Some(Self { status, missing })
    }

    /// A line about the fields that the process does not report.
    pub(super) fn note(&self) -> Option<String> {
        if self.missing.is_empty() {
            return None;
        }
        let named: Vec<&str> = self
            .missing
            .iter()
            .map(String::as_str)
            .take(MAX_NAMED)
            .collect();
        let more = match self.missing.len() - named.len() {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        Some(format!(
            "! geofront {} runs, and this command is version {}: unknown and shown as 0 or empty are {}{more}",
            self.status.version,
            env!("CARGO_PKG_VERSION"),
            named.join(", ")
        ))
    }
}

/// The version in an answer that this command cannot read.
pub(super) fn version_in(text: &str) -> Option<String> {
    let value: Value = serde_json::from_str(text).ok()?;
    Some(value.get("version")?.as_str()?.to_owned())
}

/// A status with every field and one entry in each list.
fn blank() -> Value {
    let blank = Status {
        conditions: vec![Condition::default()],
        queue: Queue {
            classes: vec![ClassWaiting::default()],
            users: vec![UserWaiting::default()],
            ..Queue::default()
        },
        upstreams: vec![Upstream::default()],
        ..Status::default()
    };
    serde_json::to_value(blank).expect("a status has string keys only")
}

/// Adds to `value` each field that `blank` has and it lacks, and notes the name.
fn fill(value: &mut Value, blank: &Value, path: &str, missing: &mut BTreeSet<String>) {
    match (value, blank) {
        (Value::Object(fields), Value::Object(blank)) => {
            for (key, blank) in blank {
                let path = if path.is_empty() {
                    key.clone()
                } else {
                    format!("{path}.{key}")
                };
                if let Some(value) = fields.get_mut(key) {
                    fill(value, blank, &path, missing);
                } else if !blank.is_null() {
                    let empty = match blank {
                        Value::Array(_) => Value::Array(Vec::new()),
                        other => other.clone(),
                    };
                    missing.insert(path);
                    fields.insert(key.clone(), empty);
                }
            }
        }
        (Value::Array(items), Value::Array(blank)) => {
            for (item, blank) in items.iter_mut().zip(blank.iter().cycle()) {
                fill(item, blank, path, missing);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::fixture::{fresh, status};
    use super::*;

    fn json() -> Value {
        serde_json::to_value(status(vec![fresh("a"), fresh("b")])).unwrap()
    }

    #[test]
    fn a_status_of_the_same_version_lacks_nothing() {
        let read = ReadStatus::parse(&json().to_string()).unwrap();
        assert_eq!(read.status, status(vec![fresh("a"), fresh("b")]));
        assert_eq!(read.note(), None);
    }

    #[test]
    fn unknown_fields_are_ignored_and_missing_ones_are_named() {
        let mut older = json();
        older["version"] = json!("0.0.9");
        older["colour"] = json!("green");
        older.as_object_mut().unwrap().remove("queue");
        let upstream = older["upstreams"][1].as_object_mut().unwrap();
        upstream.remove("heavy_in_flight");
        upstream["catalog"].as_object_mut().unwrap().remove("fresh");
        let read = ReadStatus::parse(&older.to_string()).unwrap();
        assert_eq!(
            (read.status.queue.waiting, &read.status.upstreams[0]),
            (0, &fresh("a"))
        );
        assert!(!read.status.upstreams[1].catalog.fresh);
        assert_eq!(
            read.note().unwrap(),
            format!(
                "! geofront 0.0.9 runs, and this command is version {}: unknown and shown as 0 or empty are \
                 queue, upstreams.catalog.fresh, upstreams.heavy_in_flight",
                env!("CARGO_PKG_VERSION")
            )
        );
    }

    #[test]
    fn a_status_without_its_upstreams_or_with_an_unknown_word_is_not_read() {
        let mut other = json();
        other["upstreams"][0]["health"] = json!("asleep");
        assert!(ReadStatus::parse(&other.to_string()).is_none());
        assert_eq!(version_in(&other.to_string()).as_deref(), Some("0.1.0"));
        let mut none = json();
        none["upstreams"][0]
            .as_object_mut()
            .unwrap()
            .remove("eligible");
        assert!(ReadStatus::parse(&none.to_string()).is_none());
        assert_eq!(version_in("<html>"), None);
    }

    #[test]
    fn any_field_but_the_needed_ones_may_be_missing() {
        let whole = json();
        let mut count = 0;
        let without = |value: &Value, key: &str| {
            let mut value = value.clone();
            value.as_object_mut().unwrap().remove(key);
            value
        };
        for key in whole.as_object().unwrap().keys() {
            let read = ReadStatus::parse(&without(&whole, key).to_string());
            assert_eq!(read.is_some(), !NEEDED.contains(&key.as_str()), "{key}");
            count += 1;
        }
        for key in whole["upstreams"][0].as_object().unwrap().keys() {
            let mut less = whole.clone();
            less["upstreams"][0] = without(&whole["upstreams"][0], key);
            let read = ReadStatus::parse(&less.to_string());
            let is_needed = NEEDED_OF_UPSTREAM.contains(&key.as_str());
            assert_eq!(read.is_some(), !is_needed, "{key}");
            count += 1;
        }
        assert!(count > 30, "{count}");
    }
}
