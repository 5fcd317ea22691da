//! Catalog freshness as text: which replicas have the main's last change, which is reloading, and
//! why others lack it.

use super::humanize::span;
use crate::admin::answers::{Catalog, Health, Mode, Phase, Role, Status, Upstream};

/// A shorter silence may be one lost reading of the main's update sequence.
const SILENT_SECONDS: u64 = 30;

/// The progress of a replica towards an epoch.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// It has the epoch.
    Done,
    /// It will advance by itself; its current phase.
    Moving(String),
    /// It will not advance soon; the reason.
    Stuck(String),
    /// An operator wants it left alone.
    LeftAlone,
}

impl Progress {
    pub(super) fn of(upstream: &Upstream, epoch: u64) -> Self {
        let moving = |what: &str| Self::Moving(what.to_owned());
        match upstream.catalog.phase {
            _ if upstream.catalog.epoch >= Some(epoch) => Self::Done,
            Phase::Draining => Self::Moving(format!("draining, {} in flight", upstream.in_flight)),
            phase @ (Phase::Reloading | Phase::Testing) => moving(phase.as_str()),
            _ if upstream.mode == Mode::Maintenance => Self::LeftAlone,
            Phase::Failed => match upstream.catalog.retry_seconds {
                Some(_) => Self::Stuck(
                    failed_reload(upstream).unwrap_or_else(|| "its reload failed".to_owned()),
                ),
                None => moving("waiting for another try"),
            },
            _ if upstream.health == Health::Down => Self::Stuck(format!(
                "down{}",
                in_brackets(upstream.last_cause.as_deref())
            )),
            _ if upstream.health != Health::Up => moving("not probed yet"),
            Phase::HeldBack => Self::Stuck(
                "it is the only one that serves, and none could serve while it reloads".to_owned(),
            ),
            Phase::No | Phase::Waiting => moving("waiting for its turn"),
        }
    }
}

/// The reason why the last reload of a stale replica failed, and the time of the next.
pub(super) fn failed_reload(upstream: &Upstream) -> Option<String> {
    let catalog = &upstream.catalog;
    let cause = catalog
        .last_reload
        .as_ref()
        .and_then(|last| last.failure.as_deref())
        .filter(|_| !catalog.fresh)?;
    let retry = catalog
        .retry_seconds
        .map(|left| format!("; the next try is in {}", span(left)))
        .unwrap_or_default();
    Some(format!("reload failed: {}{retry}", first_line(cause)))
}

/// The catalog state as one or two words, for a column.
pub(super) fn word(upstream: &Upstream) -> &str {
    match upstream.catalog.phase {
        phase @ (Phase::Draining | Phase::Reloading | Phase::Testing) => phase.as_str(),
        Phase::Failed => "reload failed",
        // An upstream that does not serve may be another process when it comes back.
        _ if upstream.role != Role::Replica || upstream.health != Health::Up => "",
        _ if upstream.catalog.fresh => "fresh",
        _ => "stale",
    }
}

/// True if the upstream is out of service for a catalog reload.
pub(super) fn is_reloading(upstream: &Upstream) -> bool {
    matches!(
        upstream.catalog.phase,
        Phase::Draining | Phase::Reloading | Phase::Testing
    )
}

/// True if the upstream stays stale unless an operator acts.
pub(super) fn is_troubled(upstream: &Upstream, catalog: &Catalog) -> bool {
    match upstream.catalog.phase {
        Phase::Failed | Phase::HeldBack => true,
        // Another geofront reloads the replicas.
        _ if !catalog.rolls => false,
        _ => {
            !upstream.catalog.fresh
                && !catalog.can_reload
                && upstream.role == Role::Replica
                && upstream.health == Health::Up
        }
    }
}

/// The state of the catalog in one line.
pub(super) fn headline(status: &Status) -> String {
    let catalog = &status.catalog;
    let changed = match catalog.changed_seconds {
        Some(ago) => format!("changed {} ago (epoch {})", span(ago), catalog.epoch),
        None => "unchanged since geofront started".to_owned(),
    };
    let changed = match catalog.silent_seconds {
        Some(silent) if silent >= SILENT_SECONDS => {
            format!(
                "{changed}; whether it changed since is unknown: the main has not reported its update sequence for {}",
                span(silent)
            )
        }
        Some(_) | None => changed,
    };
    let replicas: Vec<&Upstream> = status
        .upstreams
        .iter()
        .filter(|upstream| upstream.role == Role::Replica)
        .collect();
    let up: Vec<&Upstream> = replicas
        .iter()
        .copied()
        .filter(|replica| replica.health == Health::Up)
        .collect();
    // A replica that is out of service because of a failed reload counts, too.
    let failed = replicas
        .iter()
        .find_map(|replica| Some(format!("{}: {}", replica.name, failed_reload(replica)?)));
    if up.is_empty() {
        return format!(
            "catalog: {changed}; {}",
            failed.unwrap_or_else(|| "no replica is up".to_owned())
        );
    }
    if !catalog.done && catalog.settled < catalog.epoch {
        return format!("catalog: {changed}; brought to the replicas once changes stop");
    }
    let rest = failed
        .or_else(|| outlook(&up, catalog))
        .map(|rest| format!("; {rest}"))
        .unwrap_or_default();
    format!("catalog: {changed}; {}{rest}", share(&up, replicas.len()))
}

/// The share of replicas that have the last change.
fn share(up: &[&Upstream], replicas: usize) -> String {
    let verb = |count: usize| if count == 1 { "has" } else { "have" };
    let fresh = up.iter().filter(|replica| replica.catalog.fresh).count();
    match up.len() {
        some if some != fresh => format!("{fresh} of {replicas} replicas {} it", verb(fresh)),
        all if all == replicas => format!("{} {} it", all_replicas(all), verb(all)),
        1 => "the replica that is up has it".to_owned(),
        all => format!("{} that are up have it", all_replicas(all)),
    }
}

pub(super) fn all_replicas(count: usize) -> String {
    match count {
        1 => "the replica".to_owned(),
        2 => "both replicas".to_owned(),
        more => format!("all {more} replicas"),
    }
}

/// The reason why some replicas lack the last change, or would lack the next one; `None` if all
/// have it.
fn outlook(up: &[&Upstream], catalog: &Catalog) -> Option<String> {
    let paused = || Some("rolls are paused: `geofront catalog resume`".to_owned());
    if catalog.done {
        return if catalog.paused { paused() } else { None };
    }
    if up.iter().all(|replica| replica.catalog.fresh) {
        return Some("checking for further changes".to_owned());
    }
    if !catalog.rolls {
        return Some("another geofront reloads the others (`catalog.roll = false`)".to_owned());
    }
    if !catalog.can_reload {
        return Some(
            "the others are not reloaded: `geofront check` shows what is missing".to_owned(),
        );
    }
    let on_its_way = up
        .iter()
        .find(|replica| is_reloading(replica))
        .map(|u| format!("{} is {}", u.name, u.catalog.phase));
    if on_its_way.is_none() && catalog.paused {
        return paused();
    }
    if let Some(rests) = catalog.rests_seconds.filter(|_| on_its_way.is_none()) {
        return Some(format!(
            "the next roll begins in {}, `geofront sync` does not wait",
            span(rests)
        ));
    }
    let held_back = up
        .iter()
        .find(|replica| replica.catalog.phase == Phase::HeldBack);
    let held_back = held_back.map(|u| {
        format!(
            "{} is the only one that serves, and is not reloaded",
            u.name
        )
    });
    Some(
        on_its_way
            .or(held_back)
            .unwrap_or_else(|| "the others are next".to_owned()),
    )
}

fn in_brackets(cause: Option<&str>) -> String {
    cause
        .map(|cause| format!(" ({})", first_line(cause)))
        .unwrap_or_default()
}

/// The first line: a cause may quote a stack trace.
pub(super) fn first_line(cause: &str) -> &str {
    cause.lines().next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{down, fresh, stale, status};
    use super::*;

    fn failed(name: &str) -> Upstream {
        let mut upstream = stale(name, Phase::Failed);
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
        (
            catalog.epoch,
            catalog.settled,
            catalog.changed_seconds,
            catalog.done,
        ) = (4, 4, Some(12), false);
    }

    #[test]
    fn the_headline_shows_which_replicas_have_the_last_change_and_why_others_do_not() {
        let lines = [
            line(|_| {}, vec![fresh("a"), fresh("b")]),
            line(
                |catalog| catalog.paused = true,
                vec![fresh("a"), fresh("b")],
            ),
            line(|_| {}, vec![fresh("a")]),
            line(|_| {}, vec![fresh("a"), down("b")]),
            line(
                |_| {},
                vec![
                    fresh("a"),
                    Upstream {
                        health: Health::Down,
                        ..failed("b")
                    },
                ],
            ),
            line(
                |catalog| {
                    changed(catalog);
                    catalog.settled = 3
                },
                vec![stale("a", Phase::No), stale("b", Phase::No)],
            ),
            line(
                changed,
                vec![
                    fresh("a"),
                    stale("b", Phase::Reloading),
                    stale("c", Phase::Waiting),
                ],
            ),
            line(
                changed,
                vec![fresh("a"), stale("b", Phase::Reloading), failed("c")],
            ),
            line(changed, vec![stale("a", Phase::HeldBack)]),
            line(
                |catalog| {
                    changed(catalog);
                    catalog.can_reload = false
                },
                vec![fresh("a"), fresh("b"), stale("c", Phase::Waiting)],
            ),
            line(changed, vec![fresh("a"), fresh("b")]),
            line(changed, vec![]),
            line(
                |catalog| {
                    changed(catalog);
                    catalog.paused = true
                },
                vec![fresh("a"), stale("b", Phase::Waiting)],
            ),
            line(
                |catalog| {
                    changed(catalog);
                    catalog.rests_seconds = Some(42)
                },
                vec![fresh("a"), stale("b", Phase::Waiting)],
            ),
            line(
                |catalog| {
                    changed(catalog);
                    (catalog.rolls, catalog.can_reload) = (false, false)
                },
                vec![fresh("a"), stale("b", Phase::Waiting)],
            ),
        ];
        insta::assert_snapshot!(lines.join("\n"), @r"
        catalog: unchanged since geofront started; both replicas have it
        catalog: unchanged since geofront started; both replicas have it; rolls are paused: `geofront catalog resume`
        catalog: unchanged since geofront started; the replica has it
        catalog: unchanged since geofront started; the replica that is up has it
        catalog: unchanged since geofront started; the replica that is up has it; b: reload failed: status 500; the next try is in 8 s
        catalog: changed 12 s ago (epoch 4); brought to the replicas once changes stop
        catalog: changed 12 s ago (epoch 4); 1 of 3 replicas has it; b is reloading
        catalog: changed 12 s ago (epoch 4); 1 of 3 replicas has it; c: reload failed: status 500; the next try is in 8 s
        catalog: changed 12 s ago (epoch 4); 0 of 1 replicas have it; a is the only one that serves, and is not reloaded
        catalog: changed 12 s ago (epoch 4); 2 of 3 replicas have it; the others are not reloaded: `geofront check` shows what is missing
        catalog: changed 12 s ago (epoch 4); both replicas have it; checking for further changes
        catalog: changed 12 s ago (epoch 4); no replica is up
        catalog: changed 12 s ago (epoch 4); 1 of 2 replicas has it; rolls are paused: `geofront catalog resume`
        catalog: changed 12 s ago (epoch 4); 1 of 2 replicas has it; the next roll begins in 42 s, `geofront sync` does not wait
        catalog: changed 12 s ago (epoch 4); 1 of 2 replicas has it; another geofront reloads the others (`catalog.roll = false`)
        ");
    }

    #[test]
    fn a_replica_is_done_or_moving_or_stuck_with_a_reason() {
        let down = Upstream {
            health: Health::Down,
            last_cause: Some("cannot connect: x".to_owned()),
            ..stale("a", Phase::Waiting)
        };
        let maintenance = Upstream {
            mode: Mode::Maintenance,
            health: Health::Unknown,
            ..stale("a", Phase::Waiting)
        };
        let unknown = Upstream {
            health: Health::Unknown,
            ..stale("a", Phase::Waiting)
        };
        let mut due = failed("a");
        due.catalog.retry_seconds = None;
        let moving = |what: &str| Progress::Moving(what.to_owned());
        let stuck = |why: &str| Progress::Stuck(why.to_owned());
        for (upstream, expected) in [
            (fresh("a"), Progress::Done),
            (stale("a", Phase::Waiting), moving("waiting for its turn")),
            (stale("a", Phase::Draining), moving("draining, 3 in flight")),
            (stale("a", Phase::Reloading), moving("reloading")),
            (
                failed("a"),
                stuck("reload failed: status 500; the next try is in 8 s"),
            ),
            (due, moving("waiting for another try")),
            (down, stuck("down (cannot connect: x)")),
            (unknown, moving("not probed yet")),
            (maintenance, Progress::LeftAlone),
            (
                stale("a", Phase::HeldBack),
                stuck("it is the only one that serves, and none could serve while it reloads"),
            ),
        ] {
            assert_eq!(Progress::of(&upstream, 4), expected, "{upstream:?}");
        }
    }

    #[test]
    fn a_replica_with_the_epoch_is_done_even_if_it_reloads_again() {
        let mut upstream = stale("a", Phase::Reloading);
        upstream.catalog.epoch = Some(4);
        assert_eq!(Progress::of(&upstream, 4), Progress::Done);
    }

    #[test]
    fn the_column_is_empty_for_unknown_catalogs() {
        let main = Upstream {
            role: Role::Main,
            ..fresh("main")
        };
        let down = Upstream {
            health: Health::Down,
            ..fresh("a")
        };
        let words = [
            main,
            down,
            fresh("a"),
            stale("a", Phase::Waiting),
            stale("a", Phase::Testing),
            failed("a"),
        ];
        assert_eq!(
            words.each_ref().map(word),
            ["", "", "fresh", "stale", "testing", "reload failed"]
        );
    }

    #[test]
    fn troubled_replicas_are_distinguished_from_reloading_ones() {
        let repaired = status(vec![]).catalog;
        let watched = Catalog {
            can_reload: false,
            ..repaired.clone()
        };
        let is_troubled = |upstream: Upstream, catalog: &Catalog| is_troubled(&upstream, catalog);
        assert!(
            !is_troubled(stale("a", Phase::Waiting), &repaired)
                && !is_troubled(stale("a", Phase::Reloading), &repaired)
        );
        assert!(
            is_troubled(failed("a"), &repaired)
                && is_troubled(stale("a", Phase::HeldBack), &repaired)
        );
        assert!(
            is_troubled(stale("a", Phase::Waiting), &watched) && !is_troubled(fresh("a"), &watched)
        );
    }
}
