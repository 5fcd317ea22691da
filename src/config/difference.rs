//! One changed value as text: the key, the old value and the new one, each of bounded length.

use super::{Effective, Loaded};

/// Maximum length of a shown value, in characters. Of a longer one, the part that differs is shown.
const MAX_VALUE: usize = 120;

/// Characters that are shown before the first difference of two long values.
const BEFORE: usize = 20;

/// Maximum number of changes that are listed.
const MAX_CHANGES: usize = 40;

const UPSTREAMS: &str = "upstreams.";
const ROUTES: &str = "routes.";

/// Keys of a table whose values are found in its line already.
const NOT_REPEATED: [&str; 2] = ["address", "name"];

/// The key as it is compared: a rule counts by its name and not by its place in the list, so that
/// one that is inserted leaves the others unchanged.
pub(super) fn compared_key(loaded: &Loaded, key: &str) -> String {
    let place = key.strip_prefix(ROUTES).and_then(|rest| {
        let (place, key) = rest.split_once('.')?;
        Some((place.parse::<usize>().ok()?.checked_sub(1)?, key))
    });
    match place.and_then(|(at, key)| Some((loaded.config.routes.get(at)?, key))) {
        Some((route, key)) => format!("{ROUTES}{}.{key}", route.name),
        None => key.to_owned(),
    }
}

/// `slave3: weight 100 -> 50` for the key of an upstream, `health.interval: 5s -> 10s` for others.
pub(super) fn difference(key: &str, old: &str, new: &str) -> String {
    let (old, new) = both(old, new);
    let of_upstream = key
        .strip_prefix(UPSTREAMS)
        .and_then(|rest| rest.rsplit_once('.'));
    let of_route = key
        .strip_prefix(ROUTES)
        .and_then(|rest| rest.rsplit_once('.'));
    match (of_upstream, of_route) {
        (Some((name, key)), _) => format!("{name}: {key} {old} -> {new}"),
        (None, Some((name, key))) => format!("route {name}: {key} {old} -> {new}"),
        (None, None) => format!("{key}: {old} -> {new}"),
    }
}

/// Both values as shown.
pub(super) fn both(old: &str, new: &str) -> (String, String) {
    let common = old.chars().zip(new.chars());
    let common = common.take_while(|(old, new)| old == new).count();
    (excerpt(old, common), excerpt(new, common))
}

/// The value, or its part around the character `at`.
fn excerpt(value: &str, at: usize) -> String {
    if value.is_empty() {
        return "none".to_owned();
    }
    let length = value.chars().count();
    if length <= MAX_VALUE {
        return value.to_owned();
    }
    let first = at.saturating_sub(BEFORE).min(length - MAX_VALUE);
    let part: String = value.chars().skip(first).take(MAX_VALUE).collect();
    let before = if first > 0 { "..." } else { "" };
    let after = if first + MAX_VALUE < length {
        "..."
    } else {
        ""
    };
    format!("{before}{part}{after}")
}

/// The written keys of a table, such as `upstreams.slave3.`, in brackets; empty if there are none.
pub(super) fn written_below(loaded: &Loaded, table: &str) -> String {
    let shown = |entry: &Effective| {
        let key = compared_key(loaded, &entry.key);
        let key = key.strip_prefix(table)?.to_owned();
        let is_shown = entry.is_written() && !NOT_REPEATED.contains(&key.as_str());
        is_shown.then(|| format!("{key} {}", excerpt(&entry.value, 0)))
    };
    let all: Vec<String> = loaded.effective.iter().filter_map(shown).collect();
    if all.is_empty() {
        String::new()
    } else {
        format!(" ({})", all.join(", "))
    }
}

/// The changes that are listed, and the number of the others.
pub(super) fn bounded(mut changes: Vec<String>) -> Vec<String> {
    let more = changes.len().saturating_sub(MAX_CHANGES);
    if more > 0 {
        changes.truncate(MAX_CHANGES);
        changes.push(format!("and {more} more changes"));
    }
    changes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_long_values_the_part_that_differs_is_shown() {
        let list = |last: &str| "10.0.0.1, ".repeat(50) + last;
        let (old, new) = both(&list("10.0.0.2"), &list("10.0.0.3"));
        assert!(old.starts_with("...") && old.ends_with("10.0.0.2"), "{old}");
        assert!(new.ends_with("10.0.0.3"), "{new}");
        assert_eq!(new.chars().count(), MAX_VALUE + 3);
        let (old, new) = both("", &format!("a{}", "é".repeat(500)));
        assert_eq!(old, "none");
        assert!(new.starts_with("aé") && new.ends_with("é..."), "{new}");
    }

    #[test]
    fn many_changes_are_counted() {
        let changes = |count: usize| (0..count).map(|at| at.to_string()).collect::<Vec<_>>();
        assert_eq!(bounded(changes(MAX_CHANGES)), changes(MAX_CHANGES));
        let shown = bounded(changes(MAX_CHANGES + 7));
        assert_eq!(shown.len(), MAX_CHANGES + 1);
        assert_eq!(shown[MAX_CHANGES], "and 7 more changes");
    }
}
