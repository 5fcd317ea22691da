//! Tests that a layer is chosen if none is configured, and that the choice does no harm.

use std::time::{Duration, Instant};

use super::super::{Action, Event, HealthState, LayerChoice, Outcome};
use super::catalogs::SECOND;
use super::fixture::{MAX_STEPS, World, config};
use crate::config::Config;

fn without_a_layer(replicas: usize) -> Config {
    let mut config = config(replicas);
    config.catalog.canary_layer = None;
    config
}

impl World {
    /// Returns the choice that is due now, and its start. Probes pass meanwhile.
    fn choice(&mut self) -> Option<(LayerChoice, Instant)> {
        for _ in 0..MAX_STEPS {
            let action = self.cluster.poll_action(self.now)?;
            match action {
                Action::ChooseLayer(choice) => return Some((choice, self.now)),
                Action::Probe(upstream) => drop(self.report_probe(upstream.id, Outcome::Success)),
                _ => {}
            }
        }
        panic!("a busy loop");
    }

    fn chooses(&mut self, layer: Result<&str, &'static str>) -> Vec<String> {
        let (_, sent_at) = self.choice().expect("a choice is due");
        self.handle(Event::LayerChosen {
            sent_at,
            layer: layer.map(str::to_owned),
        })
    }

    fn loses(&mut self, layer: &str) -> Vec<String> {
        self.handle(Event::LayerLost {
            layer: layer.to_owned(),
        })
    }

    pub(super) fn kinds(&self) -> Vec<&'static str> {
        self.cluster
            .status(self.now)
            .conditions
            .iter()
            .map(|held| held.condition.kind())
            .collect()
    }
}

#[test]
fn a_layer_is_chosen_once_the_main_and_a_replica_are_up_and_is_shown() {
    let mut world = World::configured(without_a_layer(2));
    let probes: Vec<_> = world.begin_probes();
    let id = |name: &str| probes.iter().find(|(probed, _)| probed == name).unwrap().1;
    world.report_probe(id("main"), Outcome::Success);
    assert!(
        world.choice().is_none(),
        "no replica could show that it can be drawn"
    );
    world.report_probe(id("a"), Outcome::Success);
    let (choice, sent_at) = world.choice().unwrap();
    assert_eq!(
        (
            choice.main.name.as_str(),
            choice.replicas.len(),
            choice.previous
        ),
        ("main", 1, None)
    );
    let lines = world.handle(Event::LayerChosen {
        sent_at,
        layer: Ok("geor:roads".to_owned()),
    });
    assert_eq!(lines, ["probe_layer=geor:roads change=chosen"]);
    assert_eq!(
        world.cluster.status(world.now).chosen_layer.as_deref(),
        Some("geor:roads")
    );
    assert_eq!(
        world.cluster.memory().chosen_layer.as_deref(),
        Some("geor:roads")
    );
    world.wait(SECOND * 3600);
    assert!(world.choice().is_none(), "it is chosen");
}

#[test]
fn nothing_is_chosen_where_a_layer_is_configured() {
    let mut world = World::configured_up(config(1));
    assert!(world.choice().is_none());
    let mut probed = without_a_layer(1);
    probed.health.probe_layer = Some("geor:roads".to_owned());
    assert!(World::configured_up(probed).choice().is_none());
}

#[test]
fn a_chosen_layer_that_the_main_lost_takes_nothing_down_and_is_replaced() {
    let mut world = World::configured_up(without_a_layer(2));
    world.chooses(Ok("geor:roads"));
    assert_eq!(world.loses("geor:other"), [""; 0], "that is another one");
    assert_eq!(
        world.loses("geor:roads"),
        ["probe_layer=geor:roads change=lost"]
    );
    assert_eq!(
        (world.cluster.chosen_layer(), world.status("a").health),
        (None, HealthState::Up)
    );
    assert!(world.choice().is_none(), "not in a loop");
    world.wait(SECOND * 10);
    let (choice, sent_at) = world.choice().unwrap();
    assert_eq!(choice.previous.as_deref(), Some("geor:roads"));
    world.handle(Event::LayerChosen {
        sent_at,
        layer: Ok("geor:rivers".to_owned()),
    });
    assert_eq!(world.cluster.chosen_layer(), Some("geor:rivers"));
}

#[test]
fn a_choice_that_comes_to_nothing_is_a_condition_and_tried_again_less_and_less_often() {
    let mut world = World::configured_up(without_a_layer(1));
    world.chooses(Err("the main's capabilities list no layer"));
    assert_eq!(world.kinds(), ["no-probe-layer"]);
    assert_eq!(
        (world.cluster.chosen_layer(), world.status("a").health),
        (None, HealthState::Up)
    );
    let mut tries = 0;
    for _ in 0..3600 {
        world.wait(SECOND);
        if let Some((_, sent_at)) = world.choice() {
            tries += 1;
            world.handle(Event::LayerChosen {
                sent_at,
                layer: Err("again"),
            });
        }
    }
    assert!((5..15).contains(&tries), "{tries}");
    world.wait(Duration::from_secs(600));
    world.chooses(Ok("geor:roads"));
    assert_eq!(world.kinds(), [""; 0]);
}

#[test]
fn a_choice_that_never_reports_is_given_up() {
    let mut world = World::configured_up(without_a_layer(1));
    assert!(world.choice().is_some());
    world.wait(SECOND * 200);
    assert_eq!(world.kinds(), ["no-probe-layer"]);
    assert!(world.cluster.next_deadline().is_some());
}
