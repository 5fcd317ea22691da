//! Catalog freshness in words: who has the main's last change, who gets it now, and why somebody does not.

use super::span::span;
use crate::admin::answers::{Catalog, Status, Upstream};

/// How far a replica is on its way to an epoch.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// It has it.
    Done,
    /// Something will happen by itself; what it is at.
    Moving(String),
    /// Nothing will happen soon; why.
    Stuck(String),
    /// An operator wants it left alone.
    LeftAlone,
}

impl Progress {
    pub(super) fn of(upstream: &Upstream, epoch: u64) -> Self {
        let moving = |what: &str| Self::Moving(what.to_owned());
        match upstream.catalog.doing.as_str() {
            _ if upstream.catalog.epoch >= Some(epoch) => Self::Done,
            "draining" => Self::Moving(format!("draining, {} in flight", upstream.in_flight)),
            doing @ ("reloading" | "testing") => moving(doing),
            _ if upstream.mode == "maintenance" => Self::LeftAlone,
            "failed" => match upstream.catalog.retry_seconds {
                Some(_) => Self::Stuck(failed_reload(upstream).unwrap_or_else(|| "its reload failed".to_owned())),
                None => moving("waiting for another try"),
            },
            _ if upstream.health == "down" => Self::Stuck(format!("down{}", in_brackets(upstream.last_cause.as_deref()))),
            _ if upstream.health != "up" => moving("not probed yet"),
            "held-back" => Self::Stuck("it is the last that serves, and nobody could serve while it reloads".to_owned()),
            _ => moving("waiting for its turn"),
        }
    }
}

/// Why the last reload of one that is still stale failed, and when the next comes.
pub(super) fn failed_reload(upstream: &Upstream) -> Option<String> {
    let catalog = &upstream.catalog;
    let cause = catalog.last_reload.as_ref().and_then(|last| last.failure.as_deref()).filter(|_| !catalog.fresh)?;
    let retry = catalog.retry_seconds.map(|left| format!("; the next try is in {}", span(left))).unwrap_or_default();
    Some(format!("reload failed: {}{retry}", first_line(cause)))
}

/// One word or two, for a column.
pub(super) fn word(upstream: &Upstream) -> &str {
    match upstream.catalog.doing.as_str() {
        doing @ ("draining" | "reloading" | "testing") => doing,
        "failed" => "reload failed",
        // Who does not serve may be another process when it comes back.
        _ if upstream.role != "replica" || upstream.health != "up" => "",
        _ if upstream.catalog.fresh => "fresh",
        _ => "stale",
    }
}

/// It is out of service for a catalog reload that goes well.
pub(super) fn is_reloading(upstream: &Upstream) -> bool {
    matches!(upstream.catalog.doing.as_str(), "draining" | "reloading" | "testing")
}

/// Somebody has to look, or it stays stale.
pub(super) fn is_troubled(upstream: &Upstream, catalog: &Catalog) -> bool {
    match upstream.catalog.doing.as_str() {
        "failed" | "held-back" => true,
        _ => !upstream.catalog.fresh && !catalog.can_reload && upstream.role == "replica" && upstream.health == "up",
    }
}

/// The catalog in one line.
pub(super) fn headline(status: &Status) -> String {
    let catalog = &status.catalog;
    let changed = match catalog.changed_seconds {
        Some(ago) => format!("changed {} ago (epoch {})", span(ago), catalog.epoch),
        None => "unchanged since geofront started".to_owned(),
    };
    let replicas = || status.upstreams.iter().filter(|upstream| upstream.role == "replica");
    let up: Vec<&Upstream> = replicas().filter(|upstream| upstream.health == "up").collect();
    let whose = match replicas().count() {
        all if all == up.len() => all_replicas(all),
        _ => format!("{} that {} up", all_replicas(up.len()), if up.len() == 1 { "is" } else { "are" }),
    };
    let have = if up.len() == 1 { "has" } else { "have" };
    let state = match up.iter().filter(|u| u.catalog.fresh).count() {
        _ if up.is_empty() => "no replica is up".to_owned(),
        _ if catalog.done => format!("{whose} {have} it"),
        _ if catalog.settled < catalog.epoch => "brought to the replicas once it is quiet".to_owned(),
        all if all == up.len() => format!("{whose} {have} it; looking whether it changed again"),
        some => {
            format!("{some} of {} replicas {} it; {}", up.len(), if some == 1 { "has" } else { "have" }, outlook(&up, catalog))
        }
    };
    format!("catalog: {changed}; {state}")
}

pub(super) fn all_replicas(count: usize) -> String {
    match count {
        1 => "the replica".to_owned(),
        2 => "both replicas".to_owned(),
        more => format!("all {more} replicas"),
    }
}

/// Why not all have it: what has gone wrong first, else who is on the way.
fn outlook(up: &[&Upstream], catalog: &Catalog) -> String {
    let doing = |what: &str| up.iter().find(|u| u.catalog.doing == what);
    if !catalog.can_reload {
        return "nothing brings it to the others: `geofront check` says what is missing".to_owned();
    }
    let failed = doing("failed").and_then(|u| Some(format!("{}: {}", u.name, failed_reload(u)?)));
    let on_its_way = up.iter().find(|u| is_reloading(u)).map(|u| format!("{} is {}", u.name, u.catalog.doing));
    let held_back = doing("held-back").map(|u| format!("{} is the last that serves, and is not reloaded", u.name));
    failed.or(on_its_way).or(held_back).unwrap_or_else(|| "the others are next".to_owned())
}

fn in_brackets(cause: Option<&str>) -> String {
    cause.map(|cause| format!(" ({})", first_line(cause))).unwrap_or_default()
}

/// A cause may quote a stack trace.
pub(super) fn first_line(cause: &str) -> &str {
    cause.lines().next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{down, fresh, stale, status};
    use super::*;

    fn failed(name: &str) -> Upstream {
        let mut upstream = stale(name, "failed");
        upstream.eligible = false;
        upstream.catalog.last_reload = Some(crate::admin::answers::CatalogReload {
            ago_seconds: 2,
            took_ms: 40,
            failure: Some("status 500\n  at x".to_owned()),
        });
        upstream.catalog.retry_seconds = Some(8);
        upstream
    }

    fn line(change: impl FnOnce(&mut Catalog), upstreams: Vec<Upstream>) -> String {
        let mut status = status(upstreams);
        change(&mut status.catalog);
        headline(&status)
    }

    fn changed(catalog: &mut Catalog) {
        (catalog.epoch, catalog.settled, catalog.changed_seconds, catalog.done) = (4, 4, Some(12), false);
    }

    #[test]
    fn the_headline_says_who_has_the_last_change_and_why_others_do_not() {
        let lines = [
            line(|_| {}, vec![fresh("a"), fresh("b")]),
            line(|_| {}, vec![fresh("a")]),
            line(|_| {}, vec![fresh("a"), down("b")]),
            line(
                |catalog| {
                    changed(catalog);
                    catalog.settled = 3
                },
                vec![stale("a", "no"), stale("b", "no")],
            ),
            line(changed, vec![fresh("a"), stale("b", "reloading"), stale("c", "waiting")]),
            line(changed, vec![fresh("a"), stale("b", "reloading"), failed("c")]),
            line(changed, vec![stale("a", "held-back")]),
            line(
                |catalog| {
                    changed(catalog);
                    catalog.can_reload = false
                },
                vec![fresh("a"), fresh("b"), stale("c", "waiting")],
            ),
            line(changed, vec![fresh("a"), fresh("b")]),
            line(changed, vec![]),
        ];
        insta::assert_snapshot!(lines.join("\n"), @r"
        catalog: unchanged since geofront started; both replicas have it
        catalog: unchanged since geofront started; the replica has it
        catalog: unchanged since geofront started; the replica that is up has it
        catalog: changed 12 s ago (epoch 4); brought to the replicas once it is quiet
        catalog: changed 12 s ago (epoch 4); 1 of 3 replicas has it; b is reloading
        catalog: changed 12 s ago (epoch 4); 1 of 3 replicas has it; c: reload failed: status 500; the next try is in 8 s
        catalog: changed 12 s ago (epoch 4); 0 of 1 replicas have it; a is the last that serves, and is not reloaded
        catalog: changed 12 s ago (epoch 4); 2 of 3 replicas have it; nothing brings it to the others: `geofront check` says what is missing
        catalog: changed 12 s ago (epoch 4); both replicas have it; looking whether it changed again
        catalog: changed 12 s ago (epoch 4); no replica is up
        ");
    }

    #[test]
    fn a_replica_has_an_epoch_or_is_on_its_way_or_says_why_not() {
        let down =
            Upstream { health: "down".to_owned(), last_cause: Some("cannot connect: x".to_owned()), ..stale("a", "waiting") };
        let maintenance = Upstream { mode: "maintenance".to_owned(), health: "unknown".to_owned(), ..stale("a", "waiting") };
        let unknown = Upstream { health: "unknown".to_owned(), ..stale("a", "waiting") };
        let mut due = failed("a");
        due.catalog.retry_seconds = None;
        let moving = |what: &str| Progress::Moving(what.to_owned());
        let stuck = |why: &str| Progress::Stuck(why.to_owned());
        for (upstream, expected) in [
            (fresh("a"), Progress::Done),
            (stale("a", "waiting"), moving("waiting for its turn")),
            (stale("a", "draining"), moving("draining, 3 in flight")),
            (stale("a", "reloading"), moving("reloading")),
            (failed("a"), stuck("reload failed: status 500; the next try is in 8 s")),
            (due, moving("waiting for another try")),
            (down, stuck("down (cannot connect: x)")),
            (unknown, moving("not probed yet")),
            (maintenance, Progress::LeftAlone),
            (stale("a", "held-back"), stuck("it is the last that serves, and nobody could serve while it reloads")),
        ] {
            assert_eq!(Progress::of(&upstream, 4), expected, "{upstream:?}");
        }
    }

    #[test]
    fn a_replica_that_has_the_epoch_is_done_whatever_follows() {
        let mut upstream = stale("a", "reloading");
        upstream.catalog.epoch = Some(4);
        assert_eq!(Progress::of(&upstream, 4), Progress::Done);
    }

    #[test]
    fn the_column_shows_only_what_is_known_of_replicas() {
        let main = Upstream { role: "main".to_owned(), ..fresh("main") };
        let down = Upstream { health: "down".to_owned(), ..fresh("a") };
        let words = [main, down, fresh("a"), stale("a", "waiting"), stale("a", "testing"), failed("a")];
        assert_eq!(words.each_ref().map(word), ["", "", "fresh", "stale", "testing", "reload failed"]);
    }

    #[test]
    fn who_must_be_looked_at_is_told_from_who_is_on_its_way() {
        let repaired = status(vec![]).catalog;
        let watched = Catalog { can_reload: false, ..repaired.clone() };
        let is_troubled = |upstream: Upstream, catalog: &Catalog| is_troubled(&upstream, catalog);
        assert!(!is_troubled(stale("a", "waiting"), &repaired) && !is_troubled(stale("a", "reloading"), &repaired));
        assert!(is_troubled(failed("a"), &repaired) && is_troubled(stale("a", "held-back"), &repaired));
        assert!(is_troubled(stale("a", "waiting"), &watched) && !is_troubled(fresh("a"), &watched));
    }
}
