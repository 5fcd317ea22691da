//! Tests of probes that fail on several upstreams, and of the service meanwhile.

use std::time::Duration;

use super::fixture::{
    DOWN_INTERVAL, FALL, INTERVAL, World, change, config, refused, status_500, with_reads,
};
use crate::cluster::{Cause, HealthState, Mode, Outcome};
use crate::config::{Config, MainReads, Weight};
use crate::ogc::RequestClass::{Admin, Capabilities, Map, Transaction, Ui};

const LONG: Duration = Duration::from_secs(300);

fn no_such_layer() -> Outcome {
    Outcome::Failure(Cause::Unexpected(
        "LayerNotDefined: Could not find layer geor:x".to_owned(),
    ))
}

fn probing_a_layer(replicas: usize) -> Config {
    let mut config = config(replicas);
    config.health.probe_layer = Some("geor:x".to_owned());
    config
}

fn conditions(world: &World) -> Vec<String> {
    world
        .cluster
        .status(world.now)
        .conditions
        .iter()
        .map(|held| held.condition.to_string())
        .collect()
}

/// Returns the lines that report a change of health.
fn of_health(lines: &[String]) -> Vec<&String> {
    lines
        .iter()
        .filter(|line| line.contains(" health="))
        .collect()
}

#[test]
fn a_withdrawn_probe_layer_takes_no_upstream_down_and_is_a_condition_until_it_is_back() {
    let mut world = World::configured_up(probing_a_layer(3));
    world.live(INTERVAL * 4, |_| Outcome::Success);
    let lines = world.live(LONG, |_| no_such_layer());
    assert_eq!(of_health(&lines), Vec::<&String>::new(), "nothing flaps");
    assert_eq!(world.served_by(Map), ["a", "b", "c"]);
    assert!(
        [Admin, Ui, Transaction]
            .into_iter()
            .all(|class| world.served_by(class) == ["main"])
    );
    assert_eq!(conditions(&world), ["probe layer geor:x unknown on all"]);
    let began = lines
        .iter()
        .filter(|line| line.starts_with("condition=probe-in-doubt change=began"))
        .count();
    assert_eq!(began, 1, "{lines:#?}");
    let lines = world.live(INTERVAL * 4, |_| Outcome::Success);
    assert_eq!(of_health(&lines), Vec::<&String>::new());
    assert_eq!(conditions(&world), Vec::<String>::new());
}

#[test]
fn a_probe_layer_that_does_not_exist_at_the_start_does_not_keep_the_cluster_from_serving() {
    let mut world = World::configured(probing_a_layer(2));
    let begun = world.begin_probes();
    for (at, (_, id)) in begun.iter().enumerate() {
        assert!(
            world.served_by(Map).is_empty(),
            "nothing is decided while {} probes are awaited",
            begun.len() - at
        );
        world.report_probe(*id, no_such_layer());
    }
    assert_eq!(
        (world.served_by(Map), world.served_by(Ui)),
        (
            vec!["a".to_owned(), "b".to_owned()],
            vec!["main".to_owned()]
        )
    );
    assert_eq!(conditions(&world), ["probe layer geor:x unknown on all"]);
    assert_eq!(world.status("a").effective_weight, 100);
}

#[test]
fn an_upstream_that_fails_goes_down_as_soon_as_others_show_that_the_probe_is_right() {
    for fall in [1, FALL] {
        let mut world = World::up(3);
        world.reload(|config| config.health.fall = fall);
        world.live(INTERVAL * 4, |_| Outcome::Success);
        let lines = world.live(INTERVAL + DOWN_INTERVAL * fall * 2, |name| {
            if name == "a" {
                status_500()
            } else {
                Outcome::Success
            }
        });
        assert_eq!(
            of_health(&lines),
            [r#"upstream=a health=down was=up cause="status 500""#]
        );
        assert_eq!(world.served_by(Map), ["b", "c"]);
        assert_eq!(conditions(&world), Vec::<String>::new());
    }
}

#[test]
fn the_upstream_that_is_probed_first_does_not_go_down_before_the_others_were_probed() {
    let mut config = probing_a_layer(2);
    config.health.fall = 1;
    let mut world = World::configured_up(config);
    world.live(INTERVAL * 4, |_| Outcome::Success);
    world.now = world.cluster.next_deadline().unwrap();
    let (first, id) = world.begin_probes().remove(0);
    assert_eq!(
        of_health(&world.report_probe(id, no_such_layer())),
        Vec::<&String>::new()
    );
    let mut hastened: Vec<_> = world.begin_probes();
    assert_eq!(
        hastened.len(),
        2,
        "whether it is its own fault, the others show at once"
    );
    let (_, second) = hastened.remove(0);
    world.report_probe(second, no_such_layer());
    assert_eq!(world.status(&first).health, HealthState::Up);
    let (_, third) = hastened.remove(0);
    world.report_probe(third, no_such_layer());
    assert_eq!(world.served_by(Map), ["a", "b"]);
}

#[test]
fn an_upstream_that_was_taken_down_comes_back_when_the_last_witness_fails_too() {
    let mut world = World::up(2);
    world.bring("a", HealthState::Down, &status_500());
    assert_eq!(world.served_by(Map), ["b"]);
    world.live(LONG, |_| status_500());
    assert_eq!(
        world.served_by(Map),
        ["a", "b"],
        "a balancer that knows nothing would use both"
    );
    assert_eq!(
        world.status("a").effective_weight,
        100,
        "it was not away for a reason that makes it cold"
    );
    assert_eq!(
        conditions(&world),
        ["the probe for capabilities fails on all: status 500"]
    );
}

#[test]
fn a_withdrawn_probe_layer_that_comes_back_takes_no_upstream_down() {
    for fall in [1, FALL] {
        let mut config = probing_a_layer(3);
        (config.health.fall, config.health.rise) = (fall, 1);
        let mut world = World::configured_up(config);
        world.live(LONG, |_| no_such_layer());
        let probed = loop {
            world.now = world.cluster.next_deadline().unwrap();
            if let Some(probed) = world.begin_probes().into_iter().next() {
                break probed;
            }
        };
        let (first, id) = probed;
        assert_eq!(
            of_health(&world.report_probe(id, Outcome::Success)),
            Vec::<&String>::new(),
            "{first} is the first to pass"
        );
        assert_eq!(world.served_by(Map), ["a", "b", "c"]);
        let others = world.begin_probes();
        assert_eq!(
            others.len(),
            3,
            "those that failed before are probed again at once: {others:?}"
        );
        let lines: Vec<_> = others
            .iter()
            .flat_map(|(_, id)| world.report_probe(*id, Outcome::Success))
            .collect();
        assert_eq!(of_health(&lines), Vec::<&String>::new());
    }
}

#[test]
fn reads_are_served_by_replicas_that_fail_while_a_main_that_never_reads_passes_or_is_not_heard_yet()
{
    let mut world = World::configured(with_reads(2, MainReads::Never));
    let probed = world.begin_probes();
    for (name, id) in probed.iter().filter(|(name, _)| name != "main") {
        world.report_probe(
            *id,
            if name == "a" {
                status_500()
            } else {
                no_such_layer()
            },
        );
    }
    assert_eq!(
        world.served_by(Map),
        ["a", "b"],
        "the main's first probe does not matter to them"
    );
    world.probe_due(|_| Outcome::Success);
    let (_, main) = probed.iter().find(|(name, _)| name == "main").unwrap();
    world.report_probe(*main, Outcome::Success);
    world.live(LONG, |name| {
        if name == "main" {
            Outcome::Success
        } else {
            status_500()
        }
    });
    assert_eq!(
        ["a", "b"].map(|name| world.status(name).health),
        [HealthState::Down; 2]
    );
    assert_eq!(
        (world.served_by(Map), world.served_by(Ui)),
        (
            vec!["a".to_owned(), "b".to_owned()],
            vec!["main".to_owned()]
        )
    );
}

#[test]
fn a_probe_that_our_own_driver_never_reports_takes_no_upstream_down_and_is_a_condition() {
    let mut config = config(2);
    config.health.fall = 1;
    let mut world = World::configured_up(config);
    let lines: Vec<_> = (0..60)
        .flat_map(|_| {
            let _lost = world.begin_probes();
            world.wait(Duration::from_secs(1))
        })
        .collect();
    assert_eq!(of_health(&lines), Vec::<&String>::new());
    assert_eq!(
        conditions(&world),
        ["probes fail by a fault of our own: a probe of geofront's own did not report in time"]
    );
    let began = lines
        .iter()
        .filter(|line| line.contains("condition=local-fault change=began"))
        .count();
    assert_eq!(
        (began, world.served_by(Map)),
        (1, vec!["a".to_owned(), "b".to_owned()])
    );
    world.wait(Duration::from_secs(10));
    world.live(INTERVAL * 2, |_| Outcome::Success);
    assert_eq!(conditions(&world), Vec::<String>::new());
}

#[test]
fn different_faults_everywhere_leave_reads_with_all_that_can_be_reached() {
    let mut world = World::configured_up(with_reads(3, MainReads::Never));
    let lines = world.live(LONG, |name| match name {
        "a" => status_500(),
        "b" => no_such_layer(),
        "c" => refused(),
        _ => Outcome::Failure(Cause::Truncated),
    });
    assert_eq!(world.served_by(Map), ["a", "b"]);
    assert_eq!(world.served_by(Ui), ["main"]);
    let expected = "no upstream passes its probe: main: answer ended too early; a: status 500; b: unexpected answer: LayerNotDefined";
    assert!(
        conditions(&world)[0].starts_with(expected),
        "{:?}",
        conditions(&world)
    );
    assert!(
        lines
            .iter()
            .any(|line| line.starts_with("condition=fail-open change=began"))
    );
}

#[test]
fn reads_fail_open_when_every_upstream_that_passes_is_taken_out_of_service() {
    let mut world = World::configured_up(with_reads(2, MainReads::Never));
    world.bring("a", HealthState::Down, &status_500());
    world.set_mode("b", Mode::Drain);
    assert_eq!(world.served_by(Map), ["a"], "it is all there is");
    assert!(world.status("a").eligible);
    assert_eq!(
        conditions(&world),
        ["no upstream passes its probe: a: status 500"]
    );
    world.set_mode("b", Mode::Ready);
    assert_eq!(world.served_by(Map), ["b"]);
    assert_eq!(conditions(&world), Vec::<String>::new());
}

#[test]
fn a_main_whose_answers_are_wrong_serves_administration_and_no_reads() {
    let mut world = World::configured_up(with_reads(2, MainReads::Always));
    world.bring("main", HealthState::Down, &status_500());
    assert_eq!(
        (world.served_by(Map), world.served_by(Admin)),
        (
            vec!["a".to_owned(), "b".to_owned()],
            vec!["main".to_owned()]
        )
    );
    assert!(!world.served_by(Capabilities).contains(&"main".to_owned()));
    let status = world.status("main");
    assert!(status.is_reachable && status.health == HealthState::Down);
}

#[test]
fn a_main_that_cannot_be_reached_serves_nothing() {
    let mut world = World::up(2);
    world.bring("main", HealthState::Down, &refused());
    assert!(world.served_by(Admin).is_empty());
    assert!(!world.status("main").is_reachable);
}

#[test]
fn refused_probes_are_never_a_fault_of_the_upstream() {
    let mut world = World::configured_up(probing_a_layer(2));
    let lines = world.live(LONG, |name| {
        if name == "b" {
            Outcome::Failure(Cause::Credentials(401))
        } else {
            Outcome::Success
        }
    });
    assert_eq!(
        (of_health(&lines), world.served_by(Map)),
        (Vec::new(), vec!["a".to_owned(), "b".to_owned()])
    );
    world.live(LONG, |_| Outcome::Failure(Cause::Credentials(403)));
    assert_eq!(world.served_by(Map), ["a", "b"]);
    assert_eq!(
        conditions(&world),
        ["probe layer geor:x is not public: refused by all (403)"]
    );
}

#[test]
fn credentials_that_probes_carry_are_one_condition_for_each_upstream_that_refuses_them() {
    let mut config = probing_a_layer(2);
    config.health.authenticate = true;
    let mut world = World::configured_up(config);
    world.live(LONG, |name| {
        if name == "b" {
            Outcome::Failure(Cause::Credentials(401))
        } else {
            Outcome::Success
        }
    });
    assert_eq!(conditions(&world), ["credentials refused by b (401)"]);
    assert_eq!(world.served_by(Map), ["a", "b"]);
}

#[test]
fn upstreams_that_answer_busy_from_the_start_serve() {
    let mut world = World::unknown(2);
    world.probe_due(|_| Outcome::Busy);
    assert_eq!(world.served_by(Map), ["a", "b"]);
}

#[test]
fn the_only_replica_recovers_to_its_full_share_and_so_do_most_that_recover_together() {
    let mut world = World::up(1);
    world.bring("a", HealthState::Down, &refused());
    world.bring("a", HealthState::Up, &Outcome::Success);
    assert_eq!(world.status("a").effective_weight, 100);
    let mut world = World::up(3);
    world.live(INTERVAL * 6, |name| {
        if name == "c" || name == "main" {
            Outcome::Success
        } else {
            refused()
        }
    });
    assert_eq!(world.served_by(Map), ["c"]);
    world.live(INTERVAL * 4, |_| Outcome::Success);
    assert_eq!(
        ["a", "b"].map(|name| world.status(name).effective_weight),
        [100, 100]
    );
}

#[test]
fn one_that_ramps_up_has_its_full_share_once_it_is_alone() {
    let mut world = World::up(2);
    world.bring("a", HealthState::Down, &refused());
    world.bring("a", HealthState::Up, &Outcome::Success);
    assert!(world.status("a").effective_weight < 10);
    world.set_mode("b", Mode::Drain);
    assert_eq!(world.status("a").effective_weight, 100);
    let mut world = World::up(2);
    world.reload(|config| change(config, "b").weight = Weight::new(1).unwrap());
    world.bring("a", HealthState::Down, &refused());
    world.bring("a", HealthState::Up, &Outcome::Success);
    assert_eq!(
        world.status("a").effective_weight,
        100,
        "the other one can take a hundredth only"
    );
}
