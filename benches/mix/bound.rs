//! What the model says of each policy for the arrivals of a scenario: beside the measured rows.

use std::time::Duration;

use crate::arrivals::{Arrival, Kind};
use crate::rig::quantiles::Quantiles;
use crate::scenario::{CORES, Scenario};
use crate::simulation::{self, Rules};

/// Policies that are worth knowing the bound of.
const POLICIES: [(&str, Rules); 11] = [
    ("leastconn", Rules::LEAST_CONNECTIONS),
    ("least expected work", Rules { by_cost: true, ..Rules::LEAST_CONNECTIONS }),
    ("cap 8, in order", Rules::capped(8, false)),
    ("cap 8, classes", Rules::capped(8, true)),
    ("cap 8, classes, expected work", Rules { by_cost: true, ..Rules::capped(8, true) }),
    ("cap 8, classes, heavy 2", Rules { caps: Some([8, 8, 2]), ..Rules::capped(8, true) }),
    ("cap 8, classes, maps 4, heavy 2", Rules { caps: Some([8, 4, 2]), ..Rules::capped(8, true) }),
    ("cap 6, classes, maps 4, heavy 2", Rules { caps: Some([6, 4, 2]), ..Rules::capped(6, true) }),
    ("cap 5, classes, maps 4, heavy 2", Rules { caps: Some([5, 4, 2]), ..Rules::capped(5, true) }),
    ("cap 4, classes, heavy 2", Rules { caps: Some([4, 4, 2]), ..Rules::capped(4, true) }),
    ("cap learned, classes", Rules { learns: true, ..Rules::capped(8, true) }),
];

pub(crate) struct Bound {
    pub(crate) policy: &'static str,
    pub(crate) kinds: [Quantiles; 3],
    pub(crate) all: Quantiles,
}

pub(crate) fn bounds(scenario: &Scenario, seed: u64) -> Vec<Bound> {
    let arrivals = scenario.plan.arrivals(scenario.capacity(), seed);
    let bound = |(policy, rules): (&'static str, Rules)| {
        let latencies = simulation::latencies(&arrivals, scenario.model, CORES, &scenario.speeds, rules);
        let counted: Vec<(&Arrival, Duration)> =
            arrivals.iter().zip(latencies).filter(|(arrival, _)| arrival.at >= scenario.counted_from).collect();
        let of = |kind| counted.iter().filter(|(arrival, _)| arrival.kind == kind).map(|(_, latency)| *latency).collect();
        Bound {
            policy,
            kinds: [Kind::Tile, Kind::Map, Kind::Heavy].map(of),
            all: counted.iter().map(|(_, latency)| *latency).collect(),
        }
    };
    POLICIES.map(bound).into()
}
