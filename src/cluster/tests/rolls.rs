//! Rolls without visible effects: they take no capacity that is not there, and leave pauses.

use super::super::{Cause, Event, HealthState, Outcome};
use super::catalogs::{Catalogs, SECOND, with_credentials};
use super::fixture::{EJECTION, SLOW_START, change, config, out_of_memory, refused, status_500};
use crate::balance::seed_of;
use crate::cluster::{About, Hint, Hold, SelectionRequest, Sighting};
use crate::config::{Config, MainReads};
use crate::ogc::RequestClass;

fn rolling(replicas: usize, change: impl FnOnce(&mut Config)) -> Catalogs {
    let mut config = with_credentials(config(replicas));
    change(&mut config);
    Catalogs::configured(config)
}

#[test]
fn changes_all_day_do_not_keep_the_cluster_in_a_roll_all_day() {
    let seconds_out = |share: u32| {
        let mut catalogs = rolling(3, |config| config.catalog.roll_share = share);
        catalogs.reload_takes = SECOND * 5;
        let mut out = 0;
        for _ in 0..1800 {
            catalogs.publish();
            catalogs.live(SECOND);
            let is_out = |name: &&str| catalogs.world.status(name).catalog.is_out;
            out += usize::from(["a", "b", "c"].iter().any(is_out));
        }
        catalogs.live(SECOND * 300);
        assert!(
            catalogs.all_fresh(),
            "the last change is brought all the same"
        );
        out
    };
    let (with_pauses, without) = (seconds_out(33), seconds_out(100));
    assert!(
        (400..620).contains(&with_pauses),
        "a third of the time at most is spent in rolls: {with_pauses} of 1800 s"
    );
    assert!(without > 700, "{without} of 1800 s without pauses");
}

fn hold(catalogs: &mut Catalogs, hold: Option<Hold>) {
    let now = catalogs.world.now;
    drop(catalogs.world.cluster.hold_reloads(hold, now));
}

#[test]
fn a_process_beside_another_one_reloads_nothing_until_that_has_ended() {
    let mut catalogs = rolling(2, |config| config.catalog.reload_main = true);
    hold(&mut catalogs, Some(Hold::OtherProcess));
    catalogs.publish();
    catalogs.live(SECOND * 600);
    assert_eq!((catalogs.reloads.len(), catalogs.main_reloads), (0, 0));
    assert_eq!(catalogs.world.kinds(), ["other-process"]);
    assert!(
        ["a", "b"]
            .iter()
            .all(|name| catalogs.world.status(name).eligible)
    );
    hold(&mut catalogs, None);
    catalogs.live(SECOND * 20);
    assert!(catalogs.all_fresh());
    assert_eq!(catalogs.reloads.len(), 2, "each once");
    assert!(catalogs.world.kinds().is_empty());
}

#[test]
fn a_process_that_stops_finishes_a_reload_and_begins_no_other() {
    let mut catalogs = rolling(3, |_| {});
    catalogs.reload_takes = SECOND * 5;
    catalogs.publish();
    while catalogs.reloads.is_empty() {
        catalogs.live(SECOND);
    }
    hold(&mut catalogs, Some(Hold::Stopping));
    // The lock of another process that ends lets it begin no more either.
    hold(&mut catalogs, None);
    catalogs.live(SECOND * 600);
    assert_eq!(catalogs.reloads.len(), 1);
    let is_out = |name: &&str| catalogs.world.status(name).catalog.is_out;
    assert!(!["a", "b", "c"].iter().any(is_out), "all are in service");
    assert!(catalogs.world.kinds().is_empty());
}

#[test]
fn an_order_to_sync_does_not_wait_for_the_pause() {
    let mut catalogs = rolling(2, |config| config.catalog.roll_share = 1);
    catalogs.publish();
    catalogs.live(SECOND * 20);
    assert!(catalogs.all_fresh());
    catalogs.publish();
    catalogs.live(SECOND * 60);
    assert!(
        !catalogs.all_fresh(),
        "the pause is a hundred times as long as the roll was"
    );
    catalogs
        .world
        .cluster
        .order_sync(catalogs.world.now)
        .unwrap();
    catalogs.live(SECOND * 20);
    assert!(catalogs.all_fresh());
}

#[test]
fn a_replica_that_lost_its_catalog_does_not_wait_for_the_pause() {
    let mut catalogs = rolling(2, |config| config.catalog.roll_share = 1);
    catalogs.publish();
    catalogs.live(SECOND * 20);
    let (upstream, sent) = (catalogs.world.id("a"), catalogs.world.now);
    catalogs.handle(Event::StaleSeen {
        upstream,
        layer: "geor:roads".into(),
        sent,
    });
    catalogs.live(SECOND * 20);
    assert_eq!(catalogs.reloads, ["a", "b", "a"]);
}

#[test]
fn the_next_replica_leaves_when_the_cluster_has_its_capacity_back() {
    let mut catalogs = rolling(2, |_| {});
    catalogs.world.bring("b", HealthState::Down, &refused());
    catalogs
        .world
        .bring("b", HealthState::Up, &Outcome::Success);
    catalogs.publish();
    catalogs.live(SLOW_START / 2);
    assert!(
        !catalogs.reloads.contains(&"a".to_owned()),
        "b is still ramping up: {:?}",
        catalogs.reloads
    );
    catalogs.live(SLOW_START);
    assert!(catalogs.all_fresh(), "{:#?}", catalogs.log);
}

#[test]
fn no_replica_leaves_while_another_is_set_aside() {
    let mut catalogs = rolling(3, |_| {});
    (0..5).for_each(|_| drop(catalogs.world.observe("b", out_of_memory())));
    assert!(
        catalogs.world.status("b").ejected_for.is_some(),
        "{:?}",
        catalogs.world.log
    );
    catalogs.publish();
    catalogs.live(EJECTION / 2);
    assert!(
        catalogs.reloads.iter().all(|name| name == "b"),
        "{:?}",
        catalogs.reloads
    );
    // No request tries b again, so each of the others waits for its longest time.
    catalogs.live(SECOND * 150);
    assert!(catalogs.all_fresh(), "{:#?}", catalogs.log);
}

#[test]
fn no_replica_leaves_while_requests_fail_on_the_last_returned_one() {
    let mut catalogs = rolling(3, |_| {});
    catalogs.credentials = |name| match name {
        "a" => Ok(()),
        _ => Err(Cause::Connect("connection refused".to_owned())),
    };
    catalogs.publish();
    catalogs.live(SECOND * 8);
    assert_eq!(catalogs.reloads, ["a"], "{:#?}", catalogs.log);
    drop(catalogs.world.observe("a", status_500()));
    catalogs.credentials = |_| Ok(());
    catalogs.live(SECOND * 30);
    assert_eq!(catalogs.reloads, ["a"], "{:#?}", catalogs.log);
    drop(catalogs.world.observe("a", Outcome::Success));
    catalogs.live(SECOND * 30);
    assert!(catalogs.all_fresh(), "{:#?}", catalogs.log);
}

#[test]
fn a_cluster_that_never_gets_its_capacity_back_is_not_kept_stale_for_ever() {
    let mut catalogs = rolling(2, |config| config.health.slow_start = SECOND * 3600);
    catalogs.world.bring("b", HealthState::Down, &refused());
    catalogs
        .world
        .bring("b", HealthState::Up, &Outcome::Success);
    catalogs.publish();
    catalogs.live(SECOND * 90);
    assert!(catalogs.all_fresh(), "{:#?}", catalogs.log);
}

#[test]
fn while_a_replica_is_out_the_main_takes_reads_like_the_others() {
    let in_a_reload = |adapt: fn(&mut Config)| {
        let mut catalogs = rolling(2, |config| {
            config.catalog.main_helps = true;
            adapt(config);
        });
        catalogs.reload_takes = SECOND * 5;
        assert_eq!(
            catalogs.world.served_by(RequestClass::Map),
            ["a", "b"],
            "not otherwise"
        );
        catalogs.publish();
        catalogs.live(SECOND * 5);
        let served_by = catalogs.world.served_by(RequestClass::Map);
        catalogs.live(SECOND * 20);
        assert_eq!(
            catalogs.world.served_by(RequestClass::Map),
            ["a", "b"],
            "nor afterwards"
        );
        served_by.contains(&"main".to_owned())
    };
    assert!(in_a_reload(|_| {}));
    assert!(!in_a_reload(|config| config.catalog.main_helps = false));
    assert!(!in_a_reload(
        |config| change(config, "main").reads = MainReads::Never
    ));
}

#[test]
fn a_geofront_with_roll_off_follows_the_reloads_of_another() {
    let mut catalogs = rolling(2, |config| config.catalog.roll = false);
    catalogs.publish();
    catalogs.live(SECOND * 30);
    assert_eq!((catalogs.reloads.len(), catalogs.all_fresh()), (0, false));
    assert!(
        catalogs
            .world
            .cluster
            .order_sync(catalogs.world.now)
            .is_err()
    );
    // The other front door reloads the replicas: their own update sequences move.
    catalogs.numbers.insert("a".to_owned(), 15);
    catalogs.numbers.insert("b".to_owned(), 15);
    catalogs.live(SECOND * 30);
    assert!(catalogs.all_fresh() && catalogs.reloads.is_empty());
}

#[test]
fn paused_rolls_take_no_replica_out_and_go_on_when_resumed() {
    let mut catalogs = rolling(2, |_| {});
    catalogs.world.cluster.pause_rolls(true, catalogs.world.now);
    catalogs.publish();
    catalogs.live(SECOND * 60);
    assert!(catalogs.reloads.is_empty());
    assert!(
        catalogs
            .world
            .cluster
            .order_sync(catalogs.world.now)
            .is_err(),
        "the reason is reported"
    );
    catalogs
        .world
        .cluster
        .pause_rolls(false, catalogs.world.now);
    catalogs.live(SECOND * 20);
    assert_eq!(catalogs.reloads, ["a", "b"]);
}

#[test]
fn a_replica_whose_requests_are_waited_for_serves_again_when_rolls_are_paused() {
    let mut catalogs = rolling(2, |_| {});
    let held: Vec<_> = (0..2)
        .map(|_| catalogs.world.select(RequestClass::Map).unwrap())
        .collect();
    catalogs.publish();
    catalogs.live(SECOND * 5);
    let out = |catalogs: &Catalogs| {
        ["a", "b"]
            .iter()
            .filter(|name| catalogs.world.status(name).catalog.is_out)
            .count()
    };
    assert_eq!(out(&catalogs), 1);
    catalogs.world.cluster.pause_rolls(true, catalogs.world.now);
    assert_eq!(out(&catalogs), 0);
    drop(held);
}

#[test]
fn a_roll_is_reported_with_its_reason_its_duration_and_its_failures() {
    let mut catalogs = rolling(2, |_| {});
    catalogs.reload_answers = |name| {
        if name == "b" {
            Err(Cause::Status(500))
        } else {
            Ok(())
        }
    };
    catalogs.canary = |name| {
        if name == "b" {
            Outcome::Failure(Cause::Status(500))
        } else {
            Outcome::Success
        }
    };
    catalogs.publish();
    catalogs.live(SECOND * 8);
    let rolls = catalogs.world.cluster.take_ended_rolls();
    assert_eq!(rolls.len(), 1, "{:#?}", catalogs.log);
    let results: Vec<_> = rolls[0]
        .replicas
        .iter()
        .map(|replica| (replica.name.as_str(), replica.result.is_ok()))
        .collect();
    assert_eq!(results, [("a", true), ("b", false)]);
    assert!(rolls[0].length() >= SECOND && rolls[0].why.as_str() == "update-sequence");
    assert!(
        catalogs.world.cluster.take_ended_rolls().is_empty(),
        "each is handed out once"
    );
}

#[test]
fn a_change_that_settles_during_a_roll_is_brought_by_the_next() {
    let mut catalogs = rolling(2, |config| config.catalog.roll_share = 33);
    catalogs.reload_takes = SECOND * 10;
    catalogs.publish();
    catalogs.live(SECOND * 8);
    assert_eq!(catalogs.reloads, ["a"]);
    catalogs.publish();
    catalogs.live(SECOND * 20);
    assert_eq!(
        catalogs.reloads,
        ["a", "b"],
        "the roll ends with the one that was behind when it began"
    );
    catalogs.live(SECOND * 120);
    assert_eq!(
        (catalogs.reloads.len(), catalogs.all_fresh()),
        (3, true),
        "b had it already: {:?}",
        catalogs.reloads
    );
}

/// Builds three replicas, of which `a` has the change already and `b` is out.
fn first_is_fresh(sighting: impl Fn(&Catalogs) -> Sighting) -> Catalogs {
    let mut catalogs = rolling(4, |_| {});
    catalogs.reload_takes = SECOND * 5;
    *catalogs.numbers.get_mut("main").unwrap() += 1;
    let seen = sighting(&catalogs);
    catalogs.world.cluster.sight(&seen, catalogs.world.now);
    catalogs.live(SECOND * 10);
    assert!(
        catalogs.is_fresh("a") && catalogs.world.status("b").catalog.is_out,
        "{:#?}",
        catalogs.log
    );
    catalogs
}

/// Returns how many of `count` maps about `about` go to `a`, where all stay in flight.
fn to_the_fresh(catalogs: &Catalogs, about: About, count: usize) -> usize {
    let (snapshot, now) = (catalogs.world.snapshot(), catalogs.world.now);
    let request = SelectionRequest {
        about,
        ..SelectionRequest::of(RequestClass::Map)
    };
    let kept: Vec<_> = (0..count)
        .filter_map(|_| request.select(&snapshot, false, now).ok())
        .collect();
    kept.iter()
        .filter(|selection| selection.upstream.name.as_str() == "a")
        .count()
}

#[test]
fn the_first_fresh_replica_is_preferred_and_does_not_get_everything() {
    let catalogs = first_is_fresh(|catalogs| Sighting::of(Hint::Write, catalogs.world.now));
    assert_eq!(
        to_the_fresh(&catalogs, About::Anything, 1),
        1,
        "it is preferred"
    );
    let share = to_the_fresh(&catalogs, About::Anything, 300);
    assert!(
        (110..=126).contains(&share),
        "a quarter more than its third: {share} of 300"
    );
}

#[test]
fn only_requests_about_the_changed_workspace_prefer_fresh_replicas() {
    let geor = seed_of("geor");
    let catalogs = first_is_fresh(|catalogs| Sighting {
        workspace: Some(geor),
        ..Sighting::of(Hint::Write, catalogs.world.now)
    });
    let share = |about| to_the_fresh(&catalogs, about, 300);
    assert!(share(About::Workspace(geor)) > 105 && share(About::Anything) > 105);
    assert_eq!(
        share(About::Workspace(seed_of("other"))),
        100,
        "for all others they are equal"
    );
    let capabilities = catalogs.world.served_by(RequestClass::Capabilities);
    assert_eq!(capabilities, ["a"], "capabilities need fresh");
}
