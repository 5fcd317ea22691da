//! Reloads that fail, credentials that are refused, and canaries that do not appear.

use super::super::{Cause, Outcome, ReloadPhase};
use super::catalogs::{Catalogs, SECOND, fails_canary_of_a, fails_reload_of_a, with_credentials};
use super::fixture::config;
use crate::config::Credentials;
use crate::ogc::RequestClass;

#[test]
fn a_replica_that_fails_its_reload_is_reported_and_tried_again_and_does_not_hold_up_the_others() {
    let mut catalogs = Catalogs::fresh(3);
    catalogs.reload_answers = fails_reload_of_a;
    catalogs.canary = fails_canary_of_a;
    catalogs.publish();
    catalogs.live(SECOND * 12);
    assert!(
        catalogs.is_fresh("b") && catalogs.is_fresh("c") && !catalogs.is_fresh("a"),
        "{:#?}",
        catalogs.log
    );
    assert_eq!(catalogs.phase("a"), ReloadPhase::Failed);
    assert!(
        !catalogs
            .world
            .served_by(RequestClass::Map)
            .contains(&"a".to_owned()),
        "it may have no catalog at all"
    );
    assert!(catalogs.log.iter().any(|line| {
        line.contains("upstream=a catalog=reload-failed retry_in=10s cause=\"status 500\"")
    }));
    catalogs.reload_answers = |_| Ok(());
    catalogs.canary = |_| Outcome::Success;
    catalogs.live(SECOND * 30);
    assert!(catalogs.all_fresh(), "{:#?}", catalogs.log);
}

#[test]
fn a_reload_that_failed_before_it_began_leaves_the_old_catalog_serving() {
    let mut catalogs = Catalogs::fresh(2);
    catalogs.reload_answers = |_| Err(Cause::Unexpected("status 401".to_owned()));
    catalogs.publish();
    catalogs.live(SECOND * 10);
    assert_eq!(catalogs.world.served_by(RequestClass::Map), ["a", "b"]);
    assert!(catalogs.world.status("a").catalog.retry_in.is_some());
    assert_eq!(
        catalogs.phase("a"),
        ReloadPhase::Failed,
        "it serves, and yet"
    );
    catalogs.live(SECOND * 3600);
    assert!(
        (4..40).contains(&catalogs.reloads.len()),
        "the pauses grow: {:?}",
        catalogs.reloads
    );
}

#[test]
fn a_replica_that_refuses_our_credentials_serves_on_and_is_a_condition_while_others_reload() {
    let mut catalogs = Catalogs::fresh(2);
    catalogs.credentials = |name| {
        if name == "a" {
            Err(Cause::Credentials(401))
        } else {
            Ok(())
        }
    };
    catalogs.publish();
    for _ in 0..600 {
        catalogs.live(SECOND);
        assert!(
            catalogs.world.status("a").eligible,
            "it never leaves service for nothing"
        );
    }
    assert!(catalogs.is_fresh("b") && !catalogs.is_fresh("a"));
    assert_eq!(
        (catalogs.reloads.as_slice(), catalogs.phase("a")),
        (["b".to_owned()].as_slice(), ReloadPhase::Failed)
    );
    let texts = |catalogs: &Catalogs| {
        let status = catalogs.world.cluster.status(catalogs.world.now);
        status
            .conditions
            .iter()
            .map(|held| held.condition.to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(texts(&catalogs), ["credentials refused by a (401)"]);
    let began = r#"upstream=a condition=credentials-refused change=began cause="credentials refused by a (401)" remedy="give"#;
    assert_eq!(
        catalogs
            .log
            .iter()
            .filter(|line| line.starts_with(began))
            .count(),
        1,
        "{:#?}",
        catalogs.log
    );
    let tries = catalogs
        .log
        .iter()
        .filter(|line| line.starts_with("upstream=a catalog=reload-failed"))
        .count();
    assert!(
        (2..6).contains(&tries),
        "GeoServer delays all logins after failed ones: {tries} in ten minutes"
    );
    catalogs.credentials = |_| Ok(());
    catalogs.live(SECOND * 900);
    assert!(catalogs.all_fresh());
    assert_eq!(texts(&catalogs), Vec::<String>::new());
    assert!(
        catalogs
            .log
            .iter()
            .any(|line| line.starts_with("upstream=a condition=credentials-refused change=ended"))
    );
}

#[test]
fn other_credentials_in_the_configuration_are_tried_at_once() {
    let mut catalogs = Catalogs::fresh(2);
    catalogs.credentials = |_| Err(Cause::Credentials(401));
    catalogs.publish();
    catalogs.live(SECOND * 300);
    catalogs.credentials = |_| Ok(());
    let given = with_credentials(config(2)).geoserver.credentials;
    catalogs
        .world
        .reload(|config| config.geoserver.credentials = Credentials::None);
    catalogs
        .world
        .reload(|config| config.geoserver.credentials = given);
    catalogs.live(SECOND * 20);
    assert!(catalogs.all_fresh(), "{:#?}", catalogs.log);
}

#[test]
fn a_question_about_credentials_that_fails_otherwise_leaves_the_decision_to_the_reload() {
    let mut catalogs = Catalogs::fresh(2);
    catalogs.credentials = |_| Err(Cause::Status(404));
    catalogs.publish();
    catalogs.live(SECOND * 20);
    assert!(catalogs.all_fresh());
}

#[test]
fn a_reload_that_never_answers_has_failed_after_its_time() {
    let mut catalogs = Catalogs::fresh(2);
    catalogs.reload_takes = SECOND * 100_000;
    catalogs.publish();
    catalogs.live(catalogs.world.config.catalog.reload_timeout + SECOND * 10);
    assert!(
        catalogs
            .log
            .iter()
            .any(|line| line.contains("the catalog reload did not end")),
        "{:#?}",
        catalogs.log
    );
}

#[test]
fn a_replica_without_its_canary_is_kept_out() {
    let mut catalogs = Catalogs::fresh(2);
    catalogs.canary = |name| match name {
        "a" => Outcome::Failure(Cause::Unexpected("LayerNotDefined".to_owned())),
        _ => Outcome::Success,
    };
    catalogs.publish();
    catalogs.live(SECOND * 60);
    assert_eq!(catalogs.phase("a"), ReloadPhase::Testing);
    assert_eq!(catalogs.world.served_by(RequestClass::Map), ["b"]);
    catalogs.live(SECOND * 600);
    assert_eq!(catalogs.world.served_by(RequestClass::Map), ["b"]);
}

#[test]
fn a_canary_layer_that_was_withdrawn_everywhere_keeps_no_reloaded_replica_out_and_is_a_condition() {
    let texts = |catalogs: &Catalogs| {
        let status = catalogs.world.cluster.status(catalogs.world.now);
        status
            .conditions
            .iter()
            .map(|held| held.condition.to_string())
            .collect::<Vec<_>>()
    };
    let mut catalogs = Catalogs::fresh(2);
    catalogs.canary = |_| {
        Outcome::Failure(Cause::Unexpected(
            "LayerNotDefined: Could not find layer".to_owned(),
        ))
    };
    catalogs.publish();
    catalogs.live(SECOND * 20);
    assert!(catalogs.all_fresh(), "{:#?}", catalogs.log);
    assert_eq!(catalogs.world.served_by(RequestClass::Map), ["a", "b"]);
    assert_eq!(
        texts(&catalogs),
        ["canary layer geor:public_layer unknown where nothing was reloaded, too"]
    );
    catalogs.live(SECOND * 600);
    assert_eq!(catalogs.reloads.len(), 2, "no reload would help");
    catalogs.canary = |_| Outcome::Success;
    catalogs.live(SECOND * 10);
    assert_eq!(texts(&catalogs), [""; 0]);
}

#[test]
fn a_replica_that_fails_its_canary_in_another_way_than_the_main_stays_out() {
    let mut catalogs = Catalogs::fresh(2);
    catalogs.canary = |name| match name {
        "main" => Outcome::Failure(Cause::Unexpected(
            "NoApplicableCode: Rendering process failed".to_owned(),
        )),
        _ => Outcome::Failure(Cause::Unexpected(
            "LayerNotDefined: Could not find layer".to_owned(),
        )),
    };
    catalogs.publish();
    catalogs.live(SECOND * 60);
    assert_eq!(
        (
            catalogs.world.served_by(RequestClass::Map),
            catalogs.is_fresh("a")
        ),
        (vec!["b".to_owned()], false)
    );
}

#[test]
fn while_the_canary_is_in_doubt_a_replica_whose_reload_failed_stays_out_until_one_is_done() {
    let mut catalogs = Catalogs::fresh(3);
    catalogs.canary = |_| Outcome::Failure(Cause::Status(500));
    catalogs.reload_answers = fails_reload_of_a;
    catalogs.publish();
    catalogs.live(SECOND * 30);
    assert_eq!(
        catalogs.world.served_by(RequestClass::Map),
        ["b", "c"],
        "it may have no catalog at all: {:#?}",
        catalogs.log
    );
    assert!(catalogs.is_fresh("b") && catalogs.is_fresh("c"));
    catalogs.reload_answers = |_| Ok(());
    catalogs.live(SECOND * 60);
    assert_eq!(
        catalogs.world.served_by(RequestClass::Map),
        ["a", "b", "c"],
        "{:#?}",
        catalogs.log
    );
}
