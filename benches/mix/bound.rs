//! The model's prediction of each policy for the arrivals of a scenario, shown beside the measured
//! rows.

use std::time::Duration;

use crate::arrivals::{Arrival, Kind};
use crate::in_time::InTime;
use crate::latencies::Latencies;
use crate::scenario::Scenario;
use crate::simulation::{self, Recognition, Rules, World};

/// Policies with a bound worth showing.
const POLICIES: [(&str, Rules); 13] = [
    ("leastconn", Rules::LEAST_CONNECTIONS),
    (
        "least expected work",
        Rules {
            by_cost: true,
            ..Rules::LEAST_CONNECTIONS
        },
    ),
    ("cap 8, in order", Rules::capped(8, false)),
    ("cap 8, classes", Rules::capped(8, true)),
    (
        "cap 8, classes, expected work",
        Rules {
            by_cost: true,
            ..Rules::capped(8, true)
        },
    ),
    (
        "cap 8, classes, heavy 2",
        Rules {
            caps: Some([8, 8, 2]),
            ..Rules::capped(8, true)
        },
    ),
    (
        "cap 8, classes, maps 4, heavy 2",
        Rules {
            caps: Some([8, 4, 2]),
            ..Rules::capped(8, true)
        },
    ),
    (
        "cap 6, classes, maps 4, heavy 2",
        Rules {
            caps: Some([6, 4, 2]),
            ..Rules::capped(6, true)
        },
    ),
    (
        "cap 5, classes, maps 4, heavy 2",
        Rules {
            caps: Some([5, 4, 2]),
            ..Rules::capped(5, true)
        },
    ),
    (
        "cap 4, classes, heavy 2",
        Rules {
            caps: Some([4, 4, 2]),
            ..Rules::capped(4, true)
        },
    ),
    (
        "cap learned, classes",
        Rules {
            slowness: Recognition::None,
            ..Rules::DEFAULTS
        },
    ),
    ("defaults", Rules::DEFAULTS),
    (
        "defaults, speeds known",
        Rules {
            slowness: Recognition::Known,
            ..Rules::DEFAULTS
        },
    ),
];

pub(crate) struct Bound {
    pub(crate) policy: &'static str,
    pub(crate) kinds: [Latencies; 3],
    pub(crate) all: Latencies,
    pub(crate) in_time: InTime,
}

impl Bound {
    /// Returns the result of `rules` for the arrivals of a scenario.
    pub(crate) fn new(
        policy: &'static str,
        rules: Rules,
        scenario: &Scenario,
        arrivals: &[Arrival],
    ) -> Self {
        let Scenario {
            model,
            cores,
            speeds,
            episodes,
            ..
        } = scenario;
        let world = World {
            arrivals,
            model: *model,
            cores: *cores,
            speeds,
            episodes,
        };
        let latencies = simulation::latencies(world, rules);
        let counted: Vec<(&Arrival, Option<Duration>)> = arrivals
            .iter()
            .zip(latencies)
            .filter(|(arrival, _)| arrival.at >= scenario.counted_from)
            .collect();
        let of = |kind| {
            counted
                .iter()
                .filter(|(arrival, _)| arrival.kind == kind)
                .map(|(_, latency)| *latency)
                .collect()
        };
        let mut in_time = InTime::default();
        counted
            .iter()
            .for_each(|(arrival, latency)| in_time.count(arrival, *latency));
        Self {
            policy,
            kinds: [Kind::Tile, Kind::Map, Kind::Heavy].map(of),
            all: counted.iter().map(|(_, latency)| *latency).collect(),
            in_time,
        }
    }
}

/// Returns the bounds; empty where the model cannot predict the run.
pub(crate) fn bounds(scenario: &Scenario, arrivals: &[Arrival]) -> Vec<Bound> {
    if !scenario.is_modelled() {
        return Vec::new();
    }
    POLICIES
        .map(|(policy, rules)| Bound::new(policy, rules, scenario, arrivals))
        .into()
}
