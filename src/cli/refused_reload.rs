//! The configuration on disk that was refused, in one line.

use super::freshness::first_line;
use super::humanize::span;
use crate::admin::answers::{Reload, Status};

/// The configuration on disk, while it is not the one in force because it was refused.
pub(super) fn refused_reload(status: &Status) -> Option<String> {
    let last = status.last_reload.as_ref()?;
    match &last.outcome {
        Reload::Applied { .. } | Reload::Unchanged { .. } => None,
        Reload::Refused { error } => Some(format!(
            "! the configuration on disk was refused {} ago, the previous one stays in force: {}; \
             `geofront reload` shows all of it",
            span(last.ago_seconds),
            first_problem(error)
        )),
    }
}

/// The first problem of a refused configuration in one line, with its place, and the number of the
/// others.
fn first_problem(error: &str) -> String {
    const TITLE: &str = "error: ";
    let title = first_line(error);
    let title = title.strip_prefix(TITLE).unwrap_or(title);
    let place = error.lines().find_map(|line| {
        let (before, place) = line.split_once("--> ")?;
        before.trim().is_empty().then(|| place.trim())
    });
    let others = error.lines().filter(|line| line.starts_with(TITLE)).count();
    let others = match others.saturating_sub(1) {
        0 => None,
        1 => Some("and another problem".to_owned()),
        more => Some(format!("and {more} more problems")),
    };
    let notes: Vec<&str> = place.into_iter().chain(others.as_deref()).collect();
    if notes.is_empty() {
        title.to_owned()
    } else {
        format!("{title} ({})", notes.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_problem_has_its_place_and_the_others_are_counted() {
        let one = "error: `limits.queue` is -1: must be 0 to 100000\n --> f.toml:3:9\n  |\n3 | queue = -1\n";
        assert_eq!(
            first_problem(one),
            "`limits.queue` is -1: must be 0 to 100000 (f.toml:3:9)"
        );
        let three = format!("{one}\nerror: a\n --> g.toml:1:1\n\nerror: b\n");
        assert!(
            first_problem(&three).ends_with("(f.toml:3:9, and 2 more problems)"),
            "{}",
            first_problem(&three)
        );
    }

    #[test]
    fn a_change_that_needs_a_restart_has_no_place() {
        let reason = "listen (a -> b) cannot change while geofront runs: restart it";
        assert_eq!(first_problem(reason), reason);
    }
}
