//! A change reaches every replica, and each is reloaded while it serves nothing.

use std::time::Duration;

use super::super::{
    Event, HealthState, Hint, Memory, Mode, Outcome, ReloadPhase, Remembered, SyncError, Tried,
};
use super::catalogs::{Catalogs, SECOND, with_credentials};
use super::fixture::{World, config};
use crate::config::{Credentials, MainReads};
use crate::ogc::RequestClass;

#[test]
fn a_change_reaches_every_replica_one_at_a_time() {
    let mut catalogs = Catalogs::fresh(3);
    catalogs.publish();
    assert!(["a", "b", "c"].iter().all(|name| !catalogs.is_fresh(name)));
    catalogs.live(SECOND * 20);
    assert_eq!(catalogs.reloads, ["a", "b", "c"]);
    assert!(catalogs.all_fresh(), "{:#?}", catalogs.log);
}

#[test]
fn fifty_writes_in_twenty_seconds_are_at_most_two_rolls() {
    let mut catalogs = Catalogs::fresh(3);
    for _ in 0..50 {
        catalogs.publish();
        catalogs.live(Duration::from_millis(400));
    }
    catalogs.live(SECOND * 30);
    assert!(
        catalogs.all_fresh() && catalogs.reloads.len() <= 6,
        "{:?}",
        catalogs.reloads
    );
}

#[test]
fn a_change_without_a_hint_is_seen_by_the_number() {
    let mut catalogs = Catalogs::fresh(2);
    catalogs.numbers.insert("main".to_owned(), 11);
    catalogs.live(SECOND * 40);
    assert_eq!(catalogs.reloads, ["a", "b"]);
}

#[test]
fn a_replicas_own_update_sequence_after_its_reload_is_no_change() {
    for after_reload in [|main| main, |main| main + 8] {
        let mut catalogs = Catalogs {
            after_reload,
            ..Catalogs::fresh(2)
        };
        catalogs.publish();
        catalogs.live(SECOND * 600);
        assert_eq!(catalogs.reloads, ["a", "b"], "{:#?}", catalogs.log);
    }
}

#[test]
fn a_replica_is_reloaded_when_its_last_request_has_ended() {
    let mut catalogs = Catalogs::fresh(1);
    let running = catalogs.request(RequestClass::Map);
    assert_eq!(running.upstream.name.as_str(), "a");
    catalogs.publish();
    catalogs.live(SECOND * 30);
    assert_eq!(
        (catalogs.phase("a"), catalogs.reloads.len()),
        (ReloadPhase::Draining, 0)
    );
    drop(running);
    catalogs.live(SECOND * 5);
    assert!(catalogs.all_fresh());
}

#[test]
fn a_request_that_does_not_end_keeps_a_replica_from_its_reload_for_a_bounded_time() {
    let mut catalogs = Catalogs::fresh(1);
    let _running = catalogs.request(RequestClass::Map);
    catalogs.publish();
    catalogs.live(catalogs.world.config.catalog.drain_timeout + SECOND * 10);
    assert!(catalogs.all_fresh());
    assert!(
        catalogs
            .log
            .iter()
            .any(|line| line.contains("still_running=1")),
        "{:#?}",
        catalogs.log
    );
}

#[test]
fn an_older_snapshot_selects_no_replica_that_is_being_reloaded() {
    let mut catalogs = Catalogs::fresh(1);
    let older = catalogs.world.snapshot();
    catalogs.publish();
    catalogs.reload_takes = SECOND * 100;
    catalogs.live(SECOND * 10);
    assert_eq!(catalogs.phase("a"), ReloadPhase::Reloading);
    let selection = older
        .select(RequestClass::Map, &Tried::default(), catalogs.world.now)
        .unwrap();
    assert!(selection.upstream.is_main());
}

#[test]
fn the_last_serving_upstream_is_not_reloaded() {
    let mut config = with_credentials(config(1));
    config.upstreams[0].reads = MainReads::Never;
    let mut catalogs = Catalogs::configured(config);
    catalogs.publish();
    catalogs.live(SECOND * 60);
    assert_eq!(
        (catalogs.reloads.len(), catalogs.phase("a")),
        (0, ReloadPhase::HeldBack)
    );
}

#[test]
fn evidence_against_a_replica_has_it_reloaded_and_no_other() {
    let mut catalogs = Catalogs::fresh(2);
    let b = catalogs.world.id("b");
    let seen = |catalogs: &mut Catalogs| {
        let sent = catalogs.world.now;
        catalogs.handle(Event::StaleSeen {
            upstream: b,
            layer: "geor:roads".into(),
            sent,
        });
    };
    seen(&mut catalogs);
    catalogs.live(SECOND * 10);
    assert_eq!(catalogs.reloads, ["b"]);
    assert!(catalogs.all_fresh());
    for _ in 0..3600 {
        seen(&mut catalogs);
        catalogs.live(SECOND);
    }
    assert_eq!(catalogs.reloads, ["b"], "reloading does not help");
    let conditions = catalogs.world.cluster.status(catalogs.world.now).conditions;
    let texts: Vec<_> = conditions
        .iter()
        .map(|held| held.condition.to_string())
        .collect();
    assert_eq!(
        texts,
        ["b does not know geor:roads, which the main has, although it was reloaded for it"]
    );
    catalogs.live(SECOND * 3600);
    assert_eq!(
        catalogs.world.cluster.status(catalogs.world.now).conditions,
        [],
        "no request misses it any more"
    );
}

#[test]
fn evidence_from_before_a_reload_proves_nothing_about_the_catalog_after_it() {
    let mut catalogs = Catalogs::fresh(2);
    let (a, sent) = (catalogs.world.id("a"), catalogs.world.now);
    catalogs.publish();
    catalogs.live(SECOND * 20);
    assert!(catalogs.all_fresh());
    catalogs.handle(Event::StaleSeen {
        upstream: a,
        layer: "geor:roads".into(),
        sent,
    });
    catalogs.live(SECOND * 20);
    assert_eq!(catalogs.reloads, ["a", "b"]);
}

#[test]
fn a_replica_that_restarted_without_a_change_is_left_alone() {
    let mut catalogs = Catalogs::fresh(2);
    catalogs.a_dies();
    catalogs.probe = |_| Outcome::Success;
    catalogs.live(SECOND * 30);
    assert_eq!(catalogs.world.status("a").health, HealthState::Up);
    assert!(catalogs.reloads.is_empty() && catalogs.all_fresh());
}

#[test]
fn a_replica_that_was_away_during_a_change_is_reloaded_whatever_its_number_is() {
    let mut catalogs = Catalogs::fresh(2);
    catalogs.a_dies();
    catalogs.publish();
    catalogs.live(SECOND * 20);
    catalogs.numbers.insert("a".to_owned(), 15);
    catalogs.probe = |_| Outcome::Success;
    catalogs.live(SECOND * 60);
    assert_eq!(
        catalogs.reloads,
        ["b", "a"],
        "a refused connection proves no restart: {:#?}",
        catalogs.log
    );
    assert!(catalogs.all_fresh());
}

#[test]
fn a_replica_that_was_away_and_did_not_restart_is_reloaded() {
    let mut catalogs = Catalogs::fresh(2);
    catalogs.a_dies();
    catalogs.publish();
    catalogs.live(SECOND * 20);
    catalogs.probe = |_| Outcome::Success;
    catalogs.live(SECOND * 60);
    assert_eq!(catalogs.reloads.len(), 2, "{:#?}", catalogs.log);
    assert!(catalogs.all_fresh());
}

#[test]
fn a_foreign_reload_of_a_replica_counts() {
    let mut config = config(2);
    config.geoserver.credentials = Credentials::None;
    let mut catalogs = Catalogs::configured(config);
    catalogs.publish();
    catalogs.live(SECOND * 30);
    assert!(
        !catalogs.is_fresh("a"),
        "seen, but not repaired without credentials"
    );
    catalogs
        .numbers
        .extend([("a".to_owned(), 23), ("b".to_owned(), 23)]);
    catalogs.live(SECOND * 30);
    assert!(catalogs.all_fresh() && catalogs.reloads.is_empty());
}

#[test]
fn an_order_reloads_every_replica_although_no_update_sequence_moved() {
    let mut catalogs = Catalogs::fresh(2);
    let (epoch, _) = catalogs
        .world
        .cluster
        .order_sync(catalogs.world.now)
        .unwrap();
    catalogs.live(SECOND * 10);
    assert_eq!(catalogs.reloads, ["a", "b"]);
    assert!(catalogs.world.status("b").catalog.epoch >= Some(epoch));
}

#[test]
fn an_order_without_credentials_is_refused_with_the_reason() {
    let mut world = World::up(1);
    assert_eq!(
        world.cluster.order_sync(world.now).map(|(epoch, _)| epoch),
        Err(SyncError::NoCredentials)
    );
    assert!(SyncError::NoCredentials.to_string().contains("[geoserver]"));
}

#[test]
fn a_restarted_geofront_leaves_a_fresh_cluster_alone() {
    let mut catalogs = Catalogs {
        after_reload: |main| main + 8,
        ..Catalogs::fresh(2)
    };
    catalogs.publish();
    catalogs.live(SECOND * 20);
    let mut world = World::configured(with_credentials(config(2)));
    world.cluster.recall(&catalogs.world.cluster.memory());
    let mut restarted = Catalogs::started(world, catalogs.numbers);
    restarted.live(SECOND * 60);
    assert!(
        restarted.reloads.is_empty() && restarted.all_fresh(),
        "{:#?}",
        restarted.log
    );
}

#[test]
fn a_geofront_killed_in_the_middle_of_a_roll_finishes_it_when_it_is_back() {
    let mut catalogs = Catalogs {
        after_reload: |main| main + 8,
        ..Catalogs::fresh(3)
    };
    catalogs.reload_takes = SECOND * 5;
    catalogs.publish();
    catalogs.live(SECOND * 11);
    assert_eq!(
        (catalogs.is_fresh("a"), catalogs.phase("b")),
        (true, ReloadPhase::Reloading)
    );
    let mut world = World::configured(with_credentials(config(3)));
    world.cluster.recall(&catalogs.world.cluster.memory());
    let mut restarted = Catalogs::started(world, catalogs.numbers);
    restarted.live(SECOND * 60);
    assert_eq!(restarted.reloads, ["b", "c"]);
    assert!(restarted.all_fresh());
}

#[test]
fn without_remembered_catalogs_a_replica_behind_the_main_is_reloaded() {
    let numbers = [("main", 20), ("a", 12), ("b", 28)]
        .map(|(name, update_sequence)| (name.to_owned(), update_sequence))
        .into();
    let mut catalogs = Catalogs::started(World::configured(with_credentials(config(2))), numbers);
    catalogs.live(SECOND * 60);
    assert_eq!(catalogs.reloads, ["a"]);
}

#[test]
fn a_change_made_while_geofront_was_stopped_reaches_every_replica() {
    let address = |name: &str| {
        config(2)
            .upstreams
            .iter()
            .find(|u| u.name.as_str() == name)
            .unwrap()
            .address
            .known()
            .unwrap()
    };
    let known = |name: &str| Remembered {
        name: name.to_owned(),
        address: address(name),
        main_update_sequence: Some(3),
        is_reloading: false,
    };
    let mut world = World::configured(with_credentials(config(2)));
    world.cluster.recall(&Memory {
        upstreams: vec![known("a"), known("b")],
        ..Memory::default()
    });
    let numbers = ["main", "a", "b"].map(|name| (name.to_owned(), 10)).into();
    let mut catalogs = Catalogs::started(world, numbers);
    catalogs.live(SECOND * 30);
    assert_eq!(catalogs.reloads, ["a", "b"]);
}

#[test]
fn orders_and_config_reloads_in_the_middle_of_a_roll_leave_no_door_closed() {
    let mut catalogs = Catalogs::fresh(3);
    catalogs.reload_takes = SECOND * 5;
    catalogs.publish();
    catalogs.live(SECOND * 5);
    assert_eq!(catalogs.phase("a"), ReloadPhase::Reloading);
    catalogs.world.set_mode("a", Mode::Maintenance);
    catalogs
        .world
        .reload(|config| config.health.interval = SECOND * 7);
    catalogs.live(SECOND * 5);
    catalogs.world.set_mode("a", Mode::Ready);
    catalogs.live(SECOND * 60);
    assert!(catalogs.all_fresh(), "{:#?}", catalogs.log);
    assert_eq!(catalogs.world.served_by(RequestClass::Map), ["a", "b", "c"]);
}

#[test]
fn a_replica_that_becomes_the_main_in_its_reload_serves_at_once() {
    let mut catalogs = Catalogs::fresh(2);
    catalogs.reload_takes = SECOND * 50;
    catalogs.publish();
    catalogs.live(SECOND * 5);
    assert_eq!(catalogs.phase("a"), ReloadPhase::Reloading);
    catalogs.world.reload(|config| {
        let role_of_main = config.upstreams[0].role;
        config.upstreams[0].role = config.upstreams[1].role;
        config.upstreams[1].role = role_of_main;
    });
    assert_eq!(catalogs.world.served_by(RequestClass::Admin), ["a"]);
}

#[test]
fn a_hint_is_resolved_when_every_replica_has_its_change() {
    let mut catalogs = Catalogs::fresh(2);
    *catalogs.numbers.get_mut("main").unwrap() += 1;
    let (ticket, _) = catalogs.world.cluster.hint(Hint::Write, catalogs.world.now);
    catalogs.live(SECOND * 2);
    assert!(catalogs.world.snapshot().tickets.resolved < ticket);
    catalogs.live(SECOND * 20);
    assert!(catalogs.world.snapshot().tickets.resolved >= ticket);
    let (ticket, _) = catalogs.world.cluster.hint(Hint::Ui, catalogs.world.now);
    catalogs.live(Duration::ZERO);
    assert!(
        catalogs.world.snapshot().tickets.resolved >= ticket,
        "a click that changed nothing is resolved by the next reading"
    );
}

#[test]
fn a_reloaded_replica_has_its_full_share_at_once() {
    let mut catalogs = Catalogs::fresh(2);
    catalogs.publish();
    catalogs.live(SECOND * 10);
    assert!(catalogs.all_fresh());
    assert_eq!(
        catalogs.world.status("b").effective_weight,
        100,
        "a catalog reload does not cool a JVM"
    );
}
