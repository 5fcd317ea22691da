//! Beliefs about a replica's catalog are proven: reloads are verified, newcomers are not trusted,
//! renamed upstreams are known.

use std::time::Duration;

use super::super::{Cause, Mode, Outcome, ReloadPhase};
use super::catalogs::{Catalogs, SECOND, with_credentials};
use super::fixture::{change, config, upstream};
use crate::config::UpstreamName;
use crate::ogc::RequestClass;

fn renamed(config: &mut crate::config::Config, from: &str, to: &str) {
    change(config, from).name = UpstreamName::new(to).unwrap();
}

#[test]
fn a_replica_that_read_old_files_is_stale_and_reloaded_again() {
    // Its NFS client shows the files of before the change.
    let mut catalogs = Catalogs {
        after_reload: |main| main - 5,
        ..Catalogs::fresh(1)
    };
    catalogs.publish();
    catalogs.live(SECOND * 10);
    assert_eq!(
        (
            catalogs.reloads.len(),
            catalogs.is_fresh("a"),
            catalogs.phase("a")
        ),
        (1, false, ReloadPhase::Failed)
    );
    assert_eq!(
        catalogs.world.served_by(RequestClass::Map),
        ["a"],
        "it has its old catalog"
    );
    assert!(
        catalogs
            .log
            .iter()
            .any(|line| line.contains("it read old files")),
        "{:#?}",
        catalogs.log
    );
    catalogs.after_reload = |main| main;
    catalogs.live(SECOND * 40);
    assert_eq!(
        (catalogs.reloads.len(), catalogs.all_fresh()),
        (2, true),
        "{:#?}",
        catalogs.log
    );
}

#[test]
fn a_number_that_stays_below_the_mains_does_not_keep_a_replica_stale_for_ever() {
    let mut catalogs = Catalogs {
        after_reload: |main| main - 5,
        ..Catalogs::fresh(1)
    };
    catalogs.publish();
    catalogs.live(SECOND * 600);
    assert!(
        catalogs.all_fresh() && (2..=4).contains(&catalogs.reloads.len()),
        "{:#?}",
        catalogs.log
    );
}

#[test]
fn old_files_are_seen_behind_the_surplus_of_stock_geoserver_too() {
    let mut catalogs = Catalogs {
        after_reload: |main| main + 8,
        ..Catalogs::fresh(1)
    };
    catalogs.publish();
    catalogs.live(SECOND * 60);
    assert!(catalogs.all_fresh());
    catalogs.after_reload = |main| main + 8 - 5;
    catalogs.publish();
    catalogs.live(SECOND * 10);
    assert!(!catalogs.is_fresh("a"), "{:#?}", catalogs.log);
    catalogs.after_reload = |main| main + 8;
    catalogs.live(SECOND * 60);
    assert!(
        catalogs.all_fresh() && catalogs.reloads.len() == 3,
        "{:#?}",
        catalogs.log
    );
}

#[test]
fn no_reload_begins_while_one_that_was_given_up_on_may_run_on() {
    let mut catalogs = Catalogs {
        reload_takes: SECOND * 100_000,
        ..Catalogs::fresh(2)
    };
    catalogs.canary = |name| match name {
        "a" => Outcome::Failure(Cause::Unexpected("LayerNotDefined".to_owned())),
        _ => Outcome::Success,
    };
    catalogs.publish();
    let timeout = catalogs.world.config.catalog.reload_timeout;
    catalogs.live(timeout + SECOND * 60);
    assert_eq!(
        (catalogs.phase("a"), catalogs.reloads.len()),
        (ReloadPhase::Failed, 1),
        "{:#?}",
        catalogs.log
    );
    catalogs.reload_takes = SECOND;
    catalogs.live(timeout);
    assert!(
        catalogs.reloads.len() > 1,
        "a bound passed: {:#?}",
        catalogs.log
    );
}

#[test]
fn a_replica_whose_reload_may_run_on_is_not_reloaded_again_although_others_may_be() {
    let mut config = with_credentials(config(2));
    config.catalog.parallel = 3;
    let mut catalogs = Catalogs {
        reload_takes: SECOND * 100_000,
        ..Catalogs::configured(config)
    };
    catalogs.canary = |name| match name {
        "a" => Outcome::Failure(Cause::Unexpected("LayerNotDefined".to_owned())),
        _ => Outcome::Success,
    };
    catalogs.publish();
    let timeout = catalogs.world.config.catalog.reload_timeout;
    catalogs.live(timeout + SECOND * 60);
    let of_a = catalogs.reloads.iter().filter(|name| *name == "a").count();
    assert_eq!(of_a, 1, "{:#?}", catalogs.log);
}

#[test]
fn a_replica_that_draws_its_canary_has_ended_the_reload_that_was_given_up_on() {
    let mut catalogs = Catalogs {
        reload_takes: SECOND * 100_000,
        ..Catalogs::fresh(2)
    };
    catalogs.publish();
    catalogs.live(catalogs.world.config.catalog.reload_timeout);
    catalogs.reload_takes = SECOND;
    catalogs.live(SECOND * 40);
    assert!(catalogs.all_fresh(), "{:#?}", catalogs.log);
}

#[test]
fn a_replica_that_is_new_is_reloaded_before_it_counts_as_fresh() {
    let mut catalogs = Catalogs::fresh(1);
    catalogs.numbers.insert("new".to_owned(), 18);
    catalogs
        .world
        .reload(|config| config.upstreams.push(upstream("new")));
    assert!(!catalogs.is_fresh("new"));
    catalogs.live(SECOND * 20);
    assert_eq!(
        (catalogs.reloads.as_slice(), catalogs.all_fresh()),
        (["new".to_owned()].as_slice(), true)
    );
}

#[test]
fn a_replica_at_another_address_keeps_its_ordered_mode_and_is_reloaded() {
    let mut catalogs = Catalogs::fresh(2);
    catalogs.world.set_mode("a", Mode::Drain);
    catalogs.world.reload(|config| {
        change(config, "a").address = std::net::SocketAddr::from(([10, 0, 0, 9], 1)).into()
    });
    let status = catalogs.world.status("a");
    assert_eq!((status.mode, status.catalog.is_fresh), (Mode::Drain, false));
    catalogs.live(SECOND * 20);
    assert_eq!(catalogs.reloads, ["a"]);
}

#[test]
fn a_renamed_replica_keeps_its_state() {
    let mut catalogs = Catalogs::fresh(2);
    let running = catalogs.request(RequestClass::Map);
    let (name, id) = (running.upstream.name.to_string(), running.upstream.id);
    catalogs.world.set_mode(&name, Mode::Drain);
    let lines = catalogs
        .world
        .reload(|config| renamed(config, &name, "tiles1"));
    assert_eq!(
        lines[1..],
        [format!("upstream=tiles1 change=renamed was={name}")]
    );
    let status = catalogs.world.status("tiles1");
    assert_eq!(
        (
            catalogs.world.id("tiles1"),
            status.in_flight,
            status.mode,
            status.catalog.is_fresh
        ),
        (id, 1, Mode::Drain, true)
    );
    catalogs.live(SECOND * 60);
    assert!(catalogs.reloads.is_empty(), "{:#?}", catalogs.log);
}

#[test]
fn two_that_swap_their_names_keep_their_catalogs_and_the_names_their_modes() {
    let mut catalogs = Catalogs::fresh(2);
    catalogs.world.set_mode("a", Mode::Drain);
    let (a, b) = (catalogs.world.id("a"), catalogs.world.id("b"));
    catalogs.world.reload(|config| {
        renamed(config, "a", "c");
        renamed(config, "b", "a");
        renamed(config, "c", "b");
    });
    assert_eq!((catalogs.world.id("a"), catalogs.world.id("b")), (b, a));
    assert_eq!(
        (
            catalogs.world.status("a").mode,
            catalogs.world.status("b").mode
        ),
        (Mode::Drain, Mode::Ready)
    );
    assert!(catalogs.is_fresh("a") && catalogs.is_fresh("b"));
}

#[test]
fn half_of_a_roll_survives_that_its_replicas_are_renamed() {
    let mut catalogs = Catalogs {
        reload_takes: SECOND * 5,
        ..Catalogs::fresh(3)
    };
    catalogs.publish();
    catalogs.live(SECOND * 11);
    assert_eq!(
        (catalogs.is_fresh("a"), catalogs.phase("b")),
        (true, ReloadPhase::Reloading)
    );
    for (from, to) in [("a", "x"), ("b", "y"), ("c", "z")] {
        catalogs.world.reload(|config| renamed(config, from, to));
        let update_sequence = catalogs.numbers[from];
        catalogs.numbers.insert(to.to_owned(), update_sequence);
        catalogs
            .reloading
            .iter_mut()
            .filter(|(name, ..)| name == from)
            .for_each(|(name, ..)| *name = to.to_owned());
    }
    catalogs.live(SECOND * 60);
    assert_eq!(catalogs.reloads, ["a", "b", "z"], "{:#?}", catalogs.log);
    assert!(catalogs.all_fresh());
    let memory = catalogs.world.cluster.memory();
    assert!(
        memory
            .upstreams
            .iter()
            .all(|known| known.main_update_sequence == Some(15)),
        "{memory:?}"
    );
}

#[test]
fn without_credentials_a_new_replica_is_stale_only_if_its_update_sequence_is_behind() {
    let mut catalogs = Catalogs::configured(config(1));
    catalogs
        .numbers
        .extend([("new".to_owned(), 18), ("old".to_owned(), 3)]);
    catalogs
        .world
        .reload(|config| config.upstreams.extend([upstream("new"), upstream("old")]));
    catalogs.live(Duration::from_secs(20));
    assert!(catalogs.is_fresh("new") && !catalogs.is_fresh("old"));
}

#[test]
fn a_replica_that_read_older_files_than_an_order_was_about_is_not_fresh() {
    let mut catalogs = Catalogs::fresh(2);
    catalogs.publish();
    catalogs.live(SECOND * 20);
    assert!(catalogs.all_fresh());
    // An edit has not been seen by a poll yet, and another machine sees the files late.
    *catalogs.numbers.get_mut("main").unwrap() += 5;
    catalogs.after_reload = |main| main - 5;
    catalogs
        .world
        .cluster
        .order_sync(catalogs.world.now)
        .unwrap();
    catalogs.live(SECOND * 5);
    assert!(!catalogs.all_fresh(), "{:#?}", catalogs.log);
    assert!(
        catalogs
            .log
            .iter()
            .any(|line| line.contains("it read old files")),
        "{:#?}",
        catalogs.log
    );
    catalogs.after_reload = |main| main;
    catalogs.live(SECOND * 90);
    assert!(catalogs.all_fresh(), "{:#?}", catalogs.log);
    let changes = |line: &&String| line.contains("catalog=changed");
    assert_eq!(
        catalogs.log.iter().filter(changes).count(),
        1,
        "the order is reported to its caller, and the edit is a part of it: {:#?}",
        catalogs.log
    );
}
