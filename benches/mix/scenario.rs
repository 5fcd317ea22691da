//! What is measured: how the replicas are, what comes, and what is to be reached beside HAProxy's leastconn.

use std::ops::Range;
use std::time::Duration;

use crate::arrivals::{Burst, Phase, Plan};
use crate::renderers::Model;

/// Renderers of each replica.
pub(crate) const CORES: usize = 4;
const EVEN: [f64; 3] = [1.0; 3];
/// Nobody tells the front door.
const ONE_AT_HALF_SPEED: [f64; 3] = [0.5, 1.0, 1.0];

pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) model: Model,
    pub(crate) speeds: [f64; 3],
    pub(crate) plan: Plan,
    /// Requests that come earlier find queues that are not yet what they will be.
    pub(crate) counted_from: Duration,
    /// When more comes than can be done.
    pub(crate) overload: Option<Range<Duration>>,
    pub(crate) targets: &'static [Target],
}

/// A figure to reach, most of them as a multiple of leastconn's in the same run.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Target {
    TileP99(f64),
    AllP99(f64),
    HeavyP95(f64),
    /// Work of answers during the overload, at least this share of what the replicas can do.
    Goodput(f64),
    /// From the overload's end until tiles are as fast as before it, in seconds.
    Recovery(f64),
}

/// How long each part takes.
pub(crate) struct Lengths {
    warm_up: Duration,
    steady: Duration,
    /// How many bursts, and from one to the next.
    bursts: u32,
    burst_gap: Duration,
    calm: Duration,
    overload: Duration,
    recovery: Duration,
}

const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

impl Lengths {
    /// For figures: some 20 000 tiles a scenario.
    pub(crate) const FULL: Self = Self {
        warm_up: seconds(20),
        steady: seconds(240),
        bursts: 4,
        burst_gap: seconds(60),
        calm: seconds(20),
        overload: seconds(60),
        recovery: seconds(40),
    };
    /// For seeing that it works.
    pub(crate) const QUICK: Self = Self {
        warm_up: seconds(1),
        steady: seconds(6),
        bursts: 1,
        burst_gap: seconds(15),
        calm: seconds(3),
        overload: seconds(5),
        recovery: seconds(8),
    };

    /// With so many seconds of warm-up, if given.
    pub(crate) fn warmed_up_for(self, warm_up: Option<u64>) -> Self {
        Self { warm_up: warm_up.map_or(self.warm_up, seconds), ..self }
    }
}

impl Scenario {
    /// Work that all replicas do in a second, in seconds.
    pub(crate) fn capacity(&self) -> f64 {
        self.speeds.iter().sum::<f64>() * CORES as f64
    }
}

/// The table of the measures, in its order.
pub(crate) fn all(lengths: &Lengths) -> Vec<Scenario> {
    let steady = |name, model, speeds, targets| Scenario {
        name,
        model,
        speeds,
        plan: Plan { phases: vec![Phase { lasts: lengths.warm_up + lengths.steady, load: 0.85 }], bursts: Vec::new() },
        counted_from: lengths.warm_up,
        overload: None,
        targets,
    };
    let burst = |name, model, targets| Scenario { plan: bursts(lengths), ..steady(name, model, EVEN, targets) };
    vec![
        steady(
            "3 equal, load 0.85, slots",
            Model::Slots,
            EVEN,
            &[Target::TileP99(0.2), Target::AllP99(1.0), Target::HeavyP95(1.3)],
        ),
        steady("one at half speed, load 0.85, slots", Model::Slots, ONE_AT_HALF_SPEED, &[Target::TileP99(0.2)]),
        steady("3 equal, load 0.85, shared", Model::Shared, EVEN, &[Target::TileP99(1.0)]),
        steady("one at half speed, load 0.85, shared", Model::Shared, ONE_AT_HALF_SPEED, &[Target::TileP99(1.0)]),
        burst("bursts of twenty 5-second jobs, load 0.5, slots", Model::Slots, &[Target::TileP99(0.05)]),
        burst("bursts of twenty 5-second jobs, load 0.5, shared", Model::Shared, &[Target::TileP99(1.1)]),
        overload(lengths),
    ]
}

fn bursts(lengths: &Lengths) -> Plan {
    let burst = |number| Burst { at: lengths.warm_up + lengths.burst_gap * number, jobs: 20, work: seconds(5) };
    let lasts = lengths.warm_up + lengths.burst_gap * lengths.bursts;
    Plan { phases: vec![Phase { lasts, load: 0.5 }], bursts: (0..lengths.bursts).map(burst).collect() }
}

fn overload(lengths: &Lengths) -> Scenario {
    let calm = lengths.warm_up + lengths.calm;
    let phases = [(calm, 0.5), (lengths.overload, 2.0), (lengths.recovery, 0.5)];
    Scenario {
        name: "overload: twice what the replicas can do, slots",
        model: Model::Slots,
        speeds: EVEN,
        plan: Plan { phases: phases.map(|(lasts, load)| Phase { lasts, load }).to_vec(), bursts: Vec::new() },
        counted_from: lengths.warm_up,
        overload: Some(calm..calm + lengths.overload),
        targets: &[Target::Goodput(0.9), Target::Recovery(5.0)],
    }
}
