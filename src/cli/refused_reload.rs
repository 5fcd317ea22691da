//! The files on disk that were refused, each in one line.

use super::freshness::first_line;
use super::humanize::span;
use crate::admin::answers::{LastReload, Reload, Status};

/// One line for each file that is not in force because it was refused: the configuration, and the
/// front file of several clusters.
pub(super) fn refused_reloads(status: &Status) -> Vec<String> {
    let own = refused(status.last_reload.as_ref());
    // A mistake in the front file is found with its clusters, too.
    let front = refused(status.front_reload.as_ref())
        .filter(|front| own.is_none_or(|own| own.error != front.error));
    let lines = [("configuration", own), ("front file", front)];
    lines
        .into_iter()
        .filter_map(|(file, refused)| Some(refused?.line(file)))
        .collect()
}

/// A refused reload.
#[derive(Clone, Copy)]
struct Refused<'s> {
    ago_seconds: u64,
    error: &'s str,
}

fn refused(last: Option<&LastReload>) -> Option<Refused<'_>> {
    let last = last?;
    match &last.outcome {
        Reload::Applied { .. } | Reload::Unchanged { .. } => None,
        Reload::Refused { error } => Some(Refused {
            ago_seconds: last.ago_seconds,
            error,
        }),
    }
}

impl Refused<'_> {
    fn line(self, file: &str) -> String {
        format!(
            "! the {file} on disk was refused {} ago, the previous one stays in force: {}; \
             `geofront reload` shows all of it",
            span(self.ago_seconds),
            first_problem(self.error)
        )
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

    fn last(outcome: Reload) -> Option<LastReload> {
        Some(LastReload {
            ago_seconds: 3,
            outcome,
        })
    }

    fn error(text: &str) -> Reload {
        Reload::Refused {
            error: text.to_owned(),
        }
    }

    #[test]
    fn a_cluster_shows_that_the_front_file_was_refused() {
        let status = Status {
            front_reload: last(error("listen (a -> b) cannot change while geofront runs")),
            ..Status::default()
        };
        assert_eq!(
            refused_reloads(&status),
            [
                "! the front file on disk was refused 3 s ago, the previous one stays in force: \
              listen (a -> b) cannot change while geofront runs; `geofront reload` shows all of it"
            ]
        );
    }

    #[test]
    fn one_mistake_of_both_files_has_one_line() {
        let both = |own: &str, front: &str| Status {
            last_reload: last(error(own)),
            front_reload: last(error(front)),
            ..Status::default()
        };
        assert_eq!(refused_reloads(&both("error: a", "error: a")).len(), 1);
        assert_eq!(refused_reloads(&both("error: a", "error: b")).len(), 2);
    }
}
