//! While a change settles, a replica that turns out to be behind waits for it, and one reload
//! brings both.

use super::super::{Cause, Outcome};
use super::catalogs::{Catalogs, SECOND, with_credentials};
use super::fixture::{World, config, upstream};

fn refused(_: &str) -> Result<(), Cause> {
    Err(Cause::Status(500))
}

fn no_canary_of_a(name: &str) -> Outcome {
    if name == "a" {
        Outcome::Failure(Cause::Status(500))
    } else {
        Outcome::Success
    }
}

impl Catalogs {
    /// Builds a cluster in which a change has been settling for a second. `a`, about which nothing
    /// was known, has just reported an update sequence that is behind.
    fn finding_a_behind() -> Self {
        let numbers = ["main", "b"].map(|name| (name.to_owned(), 10)).into();
        let mut catalogs = Self::started(World::configured(with_credentials(config(2))), numbers);
        catalogs.live(catalogs.world.config.catalog.poll - SECOND);
        catalogs.numbers.insert("a".to_owned(), 10);
        catalogs.publish();
        catalogs.live(SECOND);
        assert!(
            catalogs
                .log
                .iter()
                .any(|line| line.contains("upstream=a catalog=stale")),
            "{:#?}",
            catalogs.log
        );
        catalogs
    }

    /// Returns the seconds, with a change in each, until the condition holds.
    fn changing_until(&mut self, is_so: impl Fn(&Self) -> bool) -> Option<u64> {
        (1..=100).find(|_| {
            self.publish();
            self.live(SECOND);
            is_so(self)
        })
    }

    fn reloads_of(&self, name: &str) -> usize {
        self.reloads
            .iter()
            .filter(|reloaded| *reloaded == name)
            .count()
    }
}

#[test]
fn a_replica_found_behind_while_a_change_settles_is_reloaded_once() {
    let mut catalogs = Catalogs::finding_a_behind();
    assert!(catalogs.reloads.is_empty());
    catalogs.live(SECOND * 60);
    assert_eq!(catalogs.reloads, ["a", "b"], "{:#?}", catalogs.log);
    assert!(catalogs.all_fresh());
}

#[test]
fn a_replica_that_comes_back_while_a_change_settles_is_reloaded_once() {
    let mut catalogs = Catalogs::fresh(2);
    catalogs.a_dies();
    catalogs.publish();
    catalogs.live(SECOND * 20);
    catalogs.probe = |_| Outcome::Success;
    assert!(
        catalogs
            .changing_until(|catalogs| catalogs.world.status("a").eligible)
            .is_some()
    );
    catalogs.live(SECOND * 60);
    assert_eq!(catalogs.reloads, ["b", "a", "b"], "{:#?}", catalogs.log);
    assert!(catalogs.all_fresh());
}

#[test]
fn a_replica_that_is_added_while_a_change_settles_is_reloaded_once() {
    let mut catalogs = Catalogs::fresh(1);
    catalogs.publish();
    catalogs.numbers.insert("new".to_owned(), 10);
    catalogs
        .world
        .reload(|config| config.upstreams.push(upstream("new")));
    catalogs.live(SECOND * 60);
    assert_eq!(catalogs.reloads, ["new", "a"], "{:#?}", catalogs.log);
    assert!(catalogs.all_fresh());
}

#[test]
fn a_stale_replica_waits_at_most_settle_max_for_a_change_to_settle() {
    let mut catalogs = Catalogs::finding_a_behind();
    let settles = catalogs.world.config.catalog.settle_max - SECOND;
    let waited = catalogs.changing_until(|catalogs| !catalogs.reloads.is_empty());
    assert_eq!(
        (waited, catalogs.reloads[0].as_str()),
        (Some(settles.as_secs()), "a"),
        "{:#?}",
        catalogs.log
    );
}

#[test]
fn a_roll_that_has_begun_goes_on_whatever_settles_meanwhile() {
    let mut catalogs = Catalogs {
        reload_takes: SECOND * 2,
        ..Catalogs::fresh(3)
    };
    catalogs.publish();
    catalogs.live(catalogs.world.config.catalog.settle);
    assert_eq!(catalogs.reloads, ["a"]);
    assert_eq!(
        catalogs.changing_until(|catalogs| catalogs.reloads.len() == 3),
        Some(4),
        "{:#?}",
        catalogs.log
    );
    assert_eq!(catalogs.reloads, ["a", "b", "c"]);
}

#[test]
fn a_replica_without_a_catalog_is_reloaded_again_whatever_settles() {
    let mut catalogs = Catalogs {
        reload_answers: refused,
        canary: no_canary_of_a,
        ..Catalogs::fresh(1)
    };
    catalogs.publish();
    catalogs.live(catalogs.world.config.catalog.settle + SECOND);
    assert_eq!(catalogs.reloads, ["a"]);
    assert_eq!(
        catalogs.changing_until(|catalogs| catalogs.reloads_of("a") == 2),
        Some(10),
        "{:#?}",
        catalogs.log
    );
}

#[test]
fn an_order_reloads_a_replica_that_waits_for_a_change_to_settle() {
    let mut catalogs = Catalogs::finding_a_behind();
    catalogs
        .world
        .cluster
        .order_sync(catalogs.world.now)
        .unwrap();
    catalogs.act();
    assert_eq!(catalogs.reloads, ["a"]);
}
