//! Every replica gets the main's last change at bad moments, too: reloads, restarts, orders and
//! deaths in the middle of a roll.

use std::time::{Duration, Instant};

use super::super::{
    Action, Cause, Event, HealthState, LocalFault, Memory, Mode, Outcome, ReloadPhase, Remembered,
};
use super::catalogs::{Catalogs, SECOND, fails_canary_of_a, fails_reload_of_a, with_credentials};
use super::fixture::{World, config};
use crate::config::{Config, MainReads};
use crate::ogc::RequestClass;

fn no_canary(_: &str) -> Outcome {
    Outcome::Failure(Cause::Unexpected("LayerNotDefined".to_owned()))
}

fn never_reads(config: &mut Config) {
    config.upstreams[0].reads = MainReads::Never;
}

fn becomes_the_main(name: &str) -> impl FnOnce(&mut Config) {
    move |config| {
        let role_of_main = config.upstreams[0].role;
        let at = config
            .upstreams
            .iter()
            .position(|upstream| upstream.name.as_str() == name)
            .unwrap();
        config.upstreams[0].role = config.upstreams[at].role;
        config.upstreams[at].role = role_of_main;
    }
}

impl Catalogs {
    /// Builds a cluster in the middle of reloading `a`, which takes `time`.
    fn reloading_a(time: Duration) -> Self {
        let mut catalogs = Self {
            reload_takes: time,
            ..Self::fresh(3)
        };
        catalogs.publish();
        catalogs.live(catalogs.world.config.catalog.settle);
        assert_eq!(catalogs.phase("a"), ReloadPhase::Reloading);
        catalogs
    }

    /// Returns a later geofront with the memory of this one.
    fn restarted(&self) -> Self {
        self.restarted_with(&self.world.cluster.memory())
    }

    fn restarted_with(&self, memory: &Memory) -> Self {
        let mut world = World::configured(self.world.config.clone());
        world.now = world.now.max(self.world.now);
        world.cluster.recall(memory);
        let started = Self {
            probe: self.probe,
            canary: self.canary,
            ..Self::new(world, self.numbers.clone())
        };
        started.living(Duration::ZERO)
    }

    fn living(mut self, time: Duration) -> Self {
        self.live(time);
        self
    }

    /// True if `a` is queried for its update sequence now. The query stays without an answer; all
    /// others are answered.
    fn asks_a(&mut self) -> bool {
        let mut is_asked = false;
        while let Some(action) = self.world.cluster.poll_action(self.world.now) {
            match action {
                Action::ReadUpdateSequence(upstream) if upstream.name.as_str() == "a" => {
                    is_asked = true
                }
                other => self.follow(other),
            }
        }
        is_asked
    }

    fn a_reports(&mut self, update_sequence: u64, sent_at: Instant) -> Option<u64> {
        let upstream = self.world.id("a");
        self.handle(Event::UpdateSequenceRead {
            upstream,
            sent_at,
            update_sequence: Some(update_sequence),
        });
        self.world.status("a").catalog.update_sequence
    }

    fn serves(&self, name: &str) -> bool {
        self.world
            .served_by(RequestClass::Map)
            .contains(&name.to_owned())
    }

    fn remembered(&self, name: &str) -> Option<Remembered> {
        self.world
            .cluster
            .memory()
            .upstreams
            .into_iter()
            .find(|known| known.name == name)
    }
}

#[test]
fn a_foreign_reload_that_began_before_the_change_proves_nothing() {
    let mut catalogs = Catalogs::reloading_a(SECOND * 20);
    catalogs.live(SECOND * 16);
    catalogs.numbers.insert("c".to_owned(), 18);
    catalogs.live(SECOND * 80);
    assert_eq!(catalogs.reloads, ["a", "b", "c"], "{:#?}", catalogs.log);
}

#[test]
fn another_main_is_a_change_for_every_replica_and_for_the_former_main() {
    let mut catalogs = Catalogs::fresh(2);
    catalogs.world.reload(becomes_the_main("a"));
    assert!(!catalogs.is_fresh("main") && !catalogs.is_fresh("b"));
    catalogs.live(SECOND * 60);
    assert_eq!(catalogs.reloads, ["main", "b"]);
    assert!(catalogs.all_fresh(), "{:#?}", catalogs.log);
}

#[test]
fn the_former_main_lacks_an_unsettled_change_that_the_new_main_continues() {
    let mut catalogs = Catalogs::fresh(2);
    catalogs.publish();
    catalogs.world.reload(becomes_the_main("a"));
    assert!(!catalogs.is_fresh("main"));
    catalogs.live(SECOND * 60);
    assert!(
        catalogs.reloads.contains(&"main".to_owned()) && catalogs.all_fresh(),
        "{:#?}",
        catalogs.log
    );
}

#[test]
fn a_replica_that_is_ordered_back_in_the_middle_of_its_reload_serves_when_its_canary_passed() {
    let mut catalogs = Catalogs::reloading_a(SECOND * 20);
    catalogs.world.set_mode("a", Mode::Maintenance);
    catalogs.world.set_mode("a", Mode::Ready);
    catalogs.live(SECOND * 10);
    assert_eq!(
        (catalogs.phase("a"), catalogs.serves("a")),
        (ReloadPhase::Reloading, false)
    );
    catalogs.live(SECOND * 100);
    assert!(
        catalogs.all_fresh() && catalogs.serves("a"),
        "{:#?}",
        catalogs.log
    );
}

#[test]
fn a_replica_in_maintenance_gets_no_canary_and_does_not_delay_the_roll() {
    let mut catalogs = Catalogs::reloading_a(SECOND * 2);
    catalogs.world.set_mode("a", Mode::Maintenance);
    catalogs.canary = |name| {
        if name == "a" {
            panic!("a replica in maintenance gets no canary")
        } else {
            Outcome::Success
        }
    };
    catalogs.live(SECOND * 300);
    assert_eq!(catalogs.reloads, ["a", "b", "c"]);
    catalogs.canary = |_| Outcome::Success;
    catalogs.world.set_mode("a", Mode::Ready);
    catalogs.live(SECOND * 10);
    assert!(
        catalogs.all_fresh() && catalogs.serves("a"),
        "{:#?}",
        catalogs.log
    );
}

#[test]
fn a_reload_that_geofront_did_not_live_to_see_the_end_of_is_waited_for_after_its_restart() {
    let catalogs = Catalogs {
        canary: no_canary,
        ..Catalogs::reloading_a(SECOND * 20)
    };
    let mut restarted = catalogs.restarted();
    assert_eq!(restarted.world.status("a").health, HealthState::Up);
    assert!(
        !restarted.serves("a") && restarted.serves("b"),
        "it may have no catalog at all"
    );
    restarted.canary = |_| Outcome::Success;
    restarted.live(SECOND * 60);
    assert!(
        restarted.all_fresh() && restarted.serves("a"),
        "{:#?}",
        restarted.log
    );
}

#[test]
fn the_pending_reload_of_a_replica_that_is_down_survives_a_second_restart() {
    let mut catalogs = Catalogs::fresh(2);
    catalogs.a_dies();
    let memory = catalogs.world.cluster.memory();
    catalogs.numbers.insert("main".to_owned(), 15);
    let first = catalogs.restarted_with(&memory).living(SECOND * 5);
    assert_eq!(first.remembered("a").unwrap().main_update_sequence, None);
    let mut second = first.restarted();
    second.probe = |_| Outcome::Success;
    second.live(SECOND * 60);
    assert!(
        second.reloads.contains(&"a".to_owned()),
        "{:#?}",
        second.log
    );
}

#[test]
fn nothing_is_remembered_of_an_unknown_upstream() {
    let mut catalogs = Catalogs::fresh(2);
    catalogs.a_dies();
    let restarted = catalogs.restarted_with(&Memory::default());
    assert_eq!(restarted.remembered("a"), None);
    assert_eq!(
        restarted.remembered("b").unwrap().main_update_sequence,
        Some(10)
    );
}

#[test]
fn a_remembered_catalog_is_compared_with_the_main_even_if_the_replica_reports_no_number() {
    let mut catalogs = Catalogs::fresh(1);
    let memory = catalogs.world.cluster.memory();
    catalogs.numbers = [("main".to_owned(), 15)].into();
    let restarted = catalogs.restarted_with(&memory);
    assert!(!restarted.is_fresh("a"));
}

#[test]
fn a_reload_that_ended_before_the_mains_first_update_sequence_is_repeated_once() {
    let mut catalogs = Catalogs::reloading_a(SECOND * 2);
    let numbers = std::mem::take(&mut catalogs.numbers);
    let mut restarted = catalogs.restarted().living(SECOND * 5);
    assert!(
        restarted.reloads.contains(&"a".to_owned()),
        "no reload waits for the main"
    );
    let reloads = restarted.reloads.len();
    restarted.numbers = numbers;
    restarted.live(SECOND * 60);
    assert_eq!(
        restarted.reloads[reloads..]
            .iter()
            .filter(|name| *name == "a")
            .count(),
        1,
        "{:#?}",
        restarted.log
    );
}

#[test]
fn replica_loaded_before_the_first_update_sequence_is_reloaded_again() {
    let mut catalogs = Catalogs {
        canary: no_canary,
        ..Catalogs::reloading_a(SECOND * 2)
    };
    let numbers = std::mem::take(&mut catalogs.numbers);
    // The reload that the process before it began may still run for a minute.
    let mut restarted = catalogs.restarted().living(SECOND * 65);
    let reloads_of_a =
        |catalogs: &Catalogs| catalogs.reloads.iter().filter(|name| *name == "a").count();
    assert_eq!(reloads_of_a(&restarted), 1);
    restarted.numbers = numbers;
    restarted.live(SECOND * 20);
    restarted.canary = |_| Outcome::Success;
    let end = restarted.world.now + SECOND * 3600;
    while reloads_of_a(&restarted) == 1 {
        assert!(restarted.world.now < end, "it is never reloaded");
        match restarted.world.cluster.poll_action(restarted.world.now) {
            Some(action) => restarted.follow(action),
            None => drop(restarted.world.wait(SECOND)),
        }
        assert!(
            !restarted.serves("a"),
            "the main may have changed while it was loading: {:#?}",
            restarted.log
        );
    }
}

#[test]
fn a_replica_that_waits_for_another_reload_after_a_failure_is_remembered_as_one_that_may_be_empty()
{
    let broken = |_: &str| Err(Cause::Status(500));
    let mut catalogs = Catalogs {
        canary: no_canary,
        reload_answers: broken,
        ..Catalogs::reloading_a(SECOND * 2)
    };
    catalogs.live(SECOND * 3);
    let is_draining = (0..60).any(|_| {
        catalogs.act();
        catalogs.world.wait(SECOND);
        catalogs.phase("a") == ReloadPhase::Draining
    });
    assert!(is_draining && catalogs.remembered("a").unwrap().is_reloading);
    assert!(!catalogs.restarted().serves("a"));
}

#[test]
fn a_replica_whose_requests_are_waited_for_serves_again_when_it_has_become_the_last() {
    let mut config = with_credentials(config(2));
    never_reads(&mut config);
    let mut catalogs = Catalogs::configured(config);
    let _running = [
        catalogs.request(RequestClass::Map),
        catalogs.request(RequestClass::Map),
    ];
    catalogs.publish();
    catalogs.live(SECOND * 5);
    assert_eq!(catalogs.phase("a"), ReloadPhase::Draining);
    catalogs.world.set_mode("b", Mode::Maintenance);
    catalogs.live(Duration::ZERO);
    assert!(catalogs.serves("a") && catalogs.reloads.is_empty());
}

#[test]
fn without_credentials_no_replica_stays_out_of_service_for_a_reload() {
    let mut catalogs = Catalogs::fresh(1);
    let _running = catalogs.request(RequestClass::Map);
    catalogs.publish();
    catalogs.live(SECOND * 5);
    assert_eq!(catalogs.phase("a"), ReloadPhase::Draining);
    catalogs
        .world
        .reload(|to| to.geoserver.credentials = config(1).geoserver.credentials);
    catalogs.live(SECOND * 600);
    assert!(catalogs.serves("a") && catalogs.reloads.is_empty());
}

#[test]
fn a_replica_that_died_of_its_reload_and_was_started_again_is_reloaded_once_more() {
    let mut catalogs = Catalogs::reloading_a(SECOND);
    catalogs.reload_answers = |name| {
        if name == "a" {
            Err(Cause::Reset("in the reload"))
        } else {
            Ok(())
        }
    };
    catalogs.canary = |name| {
        if name == "a" {
            no_canary(name)
        } else {
            Outcome::Success
        }
    };
    catalogs.a_dies();
    catalogs.probe = |_| Outcome::Success;
    catalogs.canary = |_| Outcome::Success;
    catalogs.reload_answers = |_| Ok(());
    catalogs.numbers.insert("a".to_owned(), 23);
    let reloads = catalogs.reloads.iter().filter(|name| *name == "a").count();
    catalogs.live(SECOND * 60);
    assert!(catalogs.all_fresh(), "{:#?}", catalogs.log);
    assert_eq!(
        catalogs.reloads.iter().filter(|name| *name == "a").count(),
        reloads + 1,
        "{:#?}",
        catalogs.log
    );
}

#[test]
fn the_update_sequence_of_a_replica_that_came_up_during_the_query_is_read_again() {
    let mut catalogs = Catalogs::fresh(1);
    catalogs.world.wait(catalogs.world.config.catalog.poll);
    let before = catalogs.world.now;
    assert!(catalogs.asks_a());
    catalogs.world.wait(SECOND);
    for mode in [Mode::Maintenance, Mode::Ready] {
        catalogs.world.set_mode("a", mode);
    }
    assert!(
        catalogs.asks_a(),
        "at once, although no answer to the first question has come"
    );
    assert_eq!(catalogs.world.status("a").health, HealthState::Up);
    assert_eq!(
        catalogs.a_reports(18, before),
        Some(10),
        "the process that reported this has ended"
    );
    assert_eq!(catalogs.a_reports(26, catalogs.world.now), Some(26));
}

#[test]
fn an_answer_to_a_reload_that_was_given_up_is_none_to_the_next() {
    let mut catalogs = Catalogs {
        canary: no_canary,
        ..Catalogs::reloading_a(SECOND * 100_000)
    };
    let (_, upstream, sent_at, _) = catalogs.reloading[0].clone();
    let until = |catalogs: &mut Catalogs, phase| {
        (0..10_000).find(|_| {
            catalogs.live(SECOND);
            catalogs.phase("a") == phase
        })
    };
    until(&mut catalogs, ReloadPhase::Failed).unwrap();
    until(&mut catalogs, ReloadPhase::Reloading).unwrap();
    catalogs.handle(Event::CatalogReloaded {
        upstream,
        sent_at,
        outcome: Ok(()),
    });
    assert_eq!(catalogs.phase("a"), ReloadPhase::Reloading);
}

#[test]
fn while_geofront_has_no_descriptor_left_no_replica_leaves_service_for_its_reload() {
    let mut catalogs = Catalogs::fresh(3);
    catalogs.credentials = |_| Err(Cause::Local(LocalFault::Descriptors));
    catalogs.publish();
    for _ in 0..120 {
        catalogs.live(SECOND);
        assert_eq!(catalogs.world.served_by(RequestClass::Map), ["a", "b", "c"]);
    }
    assert_eq!(catalogs.reloads, [""; 0]);
    catalogs.credentials = |_| Ok(());
    catalogs.live(SECOND * 200);
    assert!(catalogs.all_fresh(), "{:#?}", catalogs.log);
}

#[test]
fn a_reload_that_never_reached_geoserver_returns_the_replica_at_once_and_without_a_canary() {
    type Answers = fn(&str) -> Result<(), Cause>;
    let causes: [Answers; 3] = [
        |_| Err(Cause::Connect("no route to host".to_owned())),
        |_| Err(Cause::Credentials(403)),
        |_| Err(Cause::Local(LocalFault::Ports)),
    ];
    for reload_answers in causes {
        let mut catalogs = Catalogs {
            reload_answers,
            reload_takes: Duration::from_millis(1),
            ..Catalogs::fresh(3)
        };
        catalogs.canary = |name| panic!("{name} has nothing to show");
        catalogs.publish();
        for _ in 0..400 {
            catalogs.live(Duration::from_millis(50));
            let out = ["a", "b", "c"]
                .into_iter()
                .filter(|name| catalogs.world.status(name).catalog.is_out)
                .count();
            assert!(out <= 1, "{:#?}", catalogs.log);
        }
        assert_eq!(
            catalogs.world.served_by(RequestClass::Map),
            ["a", "b", "c"],
            "{:#?}",
            catalogs.log
        );
        assert_eq!(
            ["a", "b", "c"].map(|name| catalogs.world.status(name).effective_weight),
            [100; 3],
            "none is cold"
        );
        assert!(catalogs.world.status("a").catalog.retry_in.is_some());
        assert!(
            (3..=6).contains(&catalogs.reloads.len()),
            "the pauses grow: {:?}",
            catalogs.reloads
        );
        catalogs.reload_answers = |_| Ok(());
        catalogs.canary = |_| Outcome::Success;
        catalogs.live(SECOND * 600);
        assert!(catalogs.all_fresh(), "{:#?}", catalogs.log);
    }
}

#[test]
fn a_replica_that_may_be_empty_does_not_return_because_another_reload_did_not_reach_it() {
    let mut catalogs = Catalogs::fresh(2);
    catalogs.reload_answers = fails_reload_of_a;
    catalogs.canary = fails_canary_of_a;
    catalogs.publish();
    catalogs.live(SECOND * 5);
    catalogs.reload_answers = |_| Err(Cause::Connect("no route to host".to_owned()));
    catalogs.live(SECOND * 60);
    assert!(
        catalogs.reloads.iter().filter(|name| *name == "a").count() > 1,
        "{:#?}",
        catalogs.log
    );
    assert_eq!(
        catalogs.world.served_by(RequestClass::Map),
        ["b"],
        "{:#?}",
        catalogs.log
    );
}

#[test]
fn a_stale_replica_that_is_down_because_its_catalog_is_empty_is_reloaded() {
    let mut catalogs = Catalogs::fresh(3);
    catalogs.probe = |name| match name {
        "a" => Outcome::Failure(Cause::Unexpected("LayerNotDefined".to_owned())),
        _ => Outcome::Success,
    };
    catalogs.live(SECOND * 30);
    assert_eq!(catalogs.world.status("a").health, HealthState::Down);
    catalogs.publish();
    catalogs.live(SECOND * 30);
    assert!(
        catalogs.reloads.contains(&"a".to_owned()),
        "nothing else brings its catalog back: {:#?}",
        catalogs.log
    );
    catalogs.probe = |_| Outcome::Success;
    catalogs.live(SECOND * 30);
    assert!(catalogs.all_fresh(), "{:#?}", catalogs.log);
    assert_eq!(catalogs.world.served_by(RequestClass::Map), ["a", "b", "c"]);
}
