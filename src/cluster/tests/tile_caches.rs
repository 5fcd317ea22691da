//! Tile caches that are not shared: tiles that a change has made old are dropped from each of them.

use std::sync::Arc;
use std::time::Duration;

use super::super::{
    Cause, Event, HealthState, Hint, Outcome, ReloadPhase, Sighting, TRUNCATION_LIMIT, Truncation,
    TruncationCall,
};
use super::catalogs::{Catalogs, SECOND, with_credentials};
use super::fixture::{World, config};
use crate::config::{Config, TileCaches};

fn own_caches(replicas: usize) -> Config {
    let mut config = with_credentials(config(replicas));
    config.catalog.tile_caches = TileCaches::Own;
    config
}

fn order() -> Truncation {
    Truncation::Repeat(Arc::new(TruncationCall {
        target: "/geoserver/gwc/rest/masstruncate".to_owned(),
        content_type: None,
        body: b"<truncateAll/>".to_vec(),
    }))
}

fn edit() -> Truncation {
    Truncation::Features {
        workspace: "geor".to_owned(),
        layer: "roads".to_owned(),
    }
}

impl Catalogs {
    /// The upstream has carried out a truncation for a client.
    fn carries_out(&mut self, name: &str, truncation: &Truncation) {
        let id = self.world.id(name);
        let transitions = self
            .world
            .cluster
            .note_truncation(id, truncation, self.world.now);
        self.log.extend(transitions.iter().map(ToString::to_string));
        self.live(Duration::ZERO);
    }

    /// A write to one workspace through geofront.
    fn publish_in(&mut self, workspace: u64) {
        *self.numbers.get_mut("main").unwrap() += 5;
        let sighting = Sighting {
            workspace: Some(workspace),
            ..Sighting::of(Hint::Write, self.world.now)
        };
        self.world.cluster.sight(&sighting, self.world.now);
        self.live(Duration::ZERO);
    }

    fn truncated(&self) -> Vec<(&str, Truncation)> {
        self.truncations
            .iter()
            .map(|(name, truncation, _)| (name.as_str(), truncation.clone()))
            .collect()
    }

    fn owed(&self, name: &str) -> usize {
        self.world.status(name).catalog.tiles.owed
    }
}

#[test]
fn a_truncation_is_repeated_at_once_on_every_other_upstream() {
    for truncation in [order(), edit()] {
        let mut catalogs = Catalogs::configured(own_caches(2));
        catalogs.carries_out("main", &truncation);
        assert_eq!(
            catalogs.truncated(),
            [("a", truncation.clone()), ("b", truncation.clone())]
        );
        catalogs.carries_out("a", &truncation);
        assert_eq!(
            catalogs.truncated()[2..],
            [("main", truncation.clone()), ("b", truncation)]
        );
    }
}

#[test]
fn a_shared_cache_is_left_to_the_one_that_changed_it() {
    let mut catalogs = Catalogs::fresh(2);
    catalogs.carries_out("main", &order());
    catalogs.publish();
    catalogs.live(SECOND * 30);
    assert!(catalogs.all_fresh());
    assert_eq!(catalogs.truncated(), []);
}

#[test]
fn a_reloaded_replica_drops_its_old_tiles_before_it_serves() {
    let mut catalogs = Catalogs::configured(own_caches(2));
    catalogs.publish();
    catalogs.live(SECOND * 30);
    assert!(catalogs.all_fresh(), "{:#?}", catalogs.log);
    let out_of_service = |name: &str| (name.to_owned(), Truncation::All, false);
    assert_eq!(
        catalogs.truncations,
        [out_of_service("a"), out_of_service("b")]
    );
}

#[test]
fn only_the_tiles_of_the_workspace_that_changed_are_dropped() {
    let mut catalogs = Catalogs::configured(own_caches(1));
    catalogs.publish_in(7);
    catalogs.live(SECOND * 30);
    assert!(catalogs.all_fresh(), "{:#?}", catalogs.log);
    let changed = Truncation::Workspaces(vec![7]);
    assert_eq!(catalogs.truncated(), [("a", changed)]);
}

#[test]
fn a_replica_that_was_restarted_after_a_change_drops_its_old_tiles() {
    let mut catalogs = Catalogs::configured(own_caches(2));
    catalogs.a_dies();
    catalogs.publish();
    catalogs.live(SECOND * 30);
    assert_eq!(catalogs.truncated(), [("b", Truncation::All)]);
    catalogs.numbers.insert("a".to_owned(), 15);
    catalogs.probe = |_| Outcome::Success;
    catalogs.live(SECOND * 60);
    assert!(catalogs.is_fresh("a"), "{:#?}", catalogs.log);
    assert_eq!(catalogs.truncated()[1..], [("a", Truncation::All)]);
}

#[test]
fn a_replica_that_cannot_be_truncated_serves_and_is_reported() {
    let mut catalogs = Catalogs::configured(own_caches(1));
    catalogs.truncation_answers = |_| Some(Err(Cause::Status(500)));
    catalogs.publish();
    catalogs.live(SECOND * 12);
    assert!(catalogs.all_fresh(), "{:#?}", catalogs.log);
    assert_eq!(catalogs.owed("a"), 1);
    let has_condition = |catalogs: &Catalogs| {
        let status = catalogs.world.cluster.status(catalogs.world.now);
        let mut conditions = status.conditions.iter();
        conditions.any(|status| status.condition.kind() == "tiles-old")
    };
    assert!(!has_condition(&catalogs), "it may be a moment");
    catalogs.live(SECOND * 60);
    assert!(has_condition(&catalogs), "{:#?}", catalogs.log);
    assert!(catalogs.truncations.len() < 8, "after pauses");
    catalogs.truncation_answers = |_| Some(Ok(()));
    catalogs.live(SECOND * 600);
    assert_eq!(catalogs.owed("a"), 0);
    assert!(!has_condition(&catalogs));
}

#[test]
fn a_truncation_without_an_answer_keeps_a_replica_out_for_a_bounded_time() {
    let mut catalogs = Catalogs::configured(own_caches(1));
    catalogs.truncation_answers = |_| None;
    catalogs.publish();
    catalogs.live(SECOND * 10);
    assert_eq!(catalogs.phase("a"), ReloadPhase::Testing);
    catalogs.live(TRUNCATION_LIMIT);
    assert!(catalogs.all_fresh(), "{:#?}", catalogs.log);
}

#[test]
fn no_tiles_are_truncated_while_a_catalog_is_read_and_no_catalog_is_read_meanwhile() {
    let mut catalogs = Catalogs::configured(own_caches(1));
    catalogs.reload_takes = SECOND * 20;
    catalogs.publish();
    catalogs.live(SECOND * 10);
    assert_eq!(catalogs.phase("a"), ReloadPhase::Reloading);
    catalogs.carries_out("main", &edit());
    catalogs.live(SECOND * 5);
    assert_eq!(catalogs.truncated(), []);
    catalogs.live(SECOND * 20);
    assert_eq!(catalogs.truncated(), [("a", Truncation::All)]);
    assert!(catalogs.all_fresh());

    catalogs.truncation_answers = |_| None;
    catalogs.carries_out("main", &edit());
    let began = catalogs.world.now;
    catalogs.publish();
    catalogs.live(SECOND * 20);
    assert_eq!(catalogs.phase("a"), ReloadPhase::Draining);
    catalogs.truncation_answers = |_| Some(Ok(()));
    let upstream = catalogs.world.id("a");
    catalogs.handle(Event::TilesTruncated {
        upstream,
        sent_at: began,
        outcome: Ok(()),
    });
    catalogs.live(SECOND * 5);
    assert_eq!(catalogs.phase("a"), ReloadPhase::Reloading);
}

#[test]
fn a_replica_that_is_down_owes_it_until_it_is_back() {
    let mut catalogs = Catalogs::configured(own_caches(2));
    catalogs.a_dies();
    catalogs.carries_out("main", &order());
    assert_eq!(catalogs.truncated(), [("b", order())]);
    assert_eq!(catalogs.owed("a"), 1);
    catalogs.probe = |_| Outcome::Success;
    catalogs.live(SECOND * 30);
    assert_eq!(catalogs.world.status("a").health, HealthState::Up);
    assert_eq!(catalogs.truncated()[1..], [("a", order())]);
}

#[test]
fn edits_of_features_are_no_events_unless_they_fail() {
    let mut catalogs = Catalogs::configured(own_caches(1));
    catalogs.carries_out("main", &edit());
    let is_about_tiles = |line: &&String| line.contains("tiles-truncat");
    assert_eq!(catalogs.log.iter().find(is_about_tiles), None);
    catalogs.truncation_answers = |_| Some(Err(Cause::Status(500)));
    catalogs.carries_out("main", &edit());
    catalogs.truncation_answers = |_| Some(Ok(()));
    catalogs.live(SECOND * 10);
    let lines: Vec<_> = catalogs.log.iter().filter(is_about_tiles).collect();
    assert_eq!(
        lines,
        [
            "upstream=a catalog=tiles-truncation-failed retry_in=5s cause=\"status 500\"",
            "upstream=a catalog=tiles-truncated took=0s",
        ]
    );
}

#[test]
fn a_standby_leaves_the_tiles_of_rolls_to_the_geofront_that_reloads() {
    let mut config = own_caches(1);
    config.catalog.roll = false;
    let mut catalogs = Catalogs::configured(config);
    catalogs.publish();
    catalogs.live(SECOND * 20);
    catalogs.numbers.insert("a".to_owned(), 15);
    catalogs.live(SECOND * 60);
    assert!(catalogs.is_fresh("a"), "{:#?}", catalogs.log);
    assert_eq!(catalogs.truncated(), []);
    catalogs.carries_out("main", &order());
    assert_eq!(catalogs.truncated(), [("a", order())]);
}

#[test]
fn what_is_owed_is_forgotten_when_the_cache_is_shared_from_now_on() {
    let mut catalogs = Catalogs::configured(own_caches(1));
    catalogs.truncation_answers = |_| Some(Err(Cause::Status(500)));
    catalogs.carries_out("main", &order());
    assert_eq!(catalogs.owed("a"), 1);
    catalogs
        .world
        .reload(|config| config.catalog.tile_caches = TileCaches::Shared);
    assert_eq!(catalogs.owed("a"), 0);
}

#[test]
fn what_is_owed_survives_a_restart_of_geofront() {
    let mut catalogs = Catalogs::configured(own_caches(1));
    catalogs.truncation_answers = |_| Some(Err(Cause::Status(500)));
    catalogs.carries_out("main", &order());
    catalogs.truncation_answers = |_| None;
    catalogs.live(SECOND * 6);
    catalogs.carries_out("main", &edit());
    let memory = catalogs.world.cluster.memory();
    let owed: Vec<_> = memory.tiles.iter().map(|o| &*o.truncations).collect();
    assert_eq!(owed, [[order(), edit()]], "the running one, and the next");

    let restart = |config: Config| {
        let mut world = World::configured(config);
        world.cluster.recall(&memory);
        Catalogs::started(world, catalogs.numbers.clone())
    };
    let mut restarted = restart(own_caches(1));
    restarted.live(SECOND * 30);
    let truncated = [("a", order()), ("a", edit())];
    assert_eq!(restarted.truncated(), truncated, "{:#?}", restarted.log);

    let mut shared = restart(with_credentials(config(1)));
    shared.live(SECOND * 30);
    assert_eq!(shared.truncated(), [], "the cache is a shared one now");
}
