//! The scenarios: the replicas, the arrivals, the events, and the aims relative to HAProxy's
//! leastconn.

use std::ops::Range;
use std::time::Duration;

use crate::arrivals::{Burst, Phase, Plan};
use crate::mix::{Drawn, Mix, PORTAL, REPLICAS};
use crate::renderers::Model;
use crate::trouble::{Episode, Trouble};

/// Renderers of each replica where nothing else is drawn.
pub(crate) const CORES: usize = 4;
const EVEN: [f64; REPLICAS] = [1.0; REPLICAS];
/// The front doors get no information about it.
const ONE_AT_HALF_SPEED: [f64; REPLICAS] = [0.5, 1.0, 1.0];

/// Of each turn of trouble: calm, trouble of one replica, calm again.
const CALM_BEFORE: Duration = seconds(10);
const TROUBLE: Duration = seconds(10);
const TURN: Duration = seconds(30);
/// The calm before an administrator's change.
const CALM_BEFORE_CHANGE: Duration = seconds(5);
/// Two replicas can just do it.
const LOAD_IN_TROUBLE: f64 = 0.55;
/// Ten times slower.
const BROWNOUT: f64 = 0.1;

#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    pub(crate) name: String,
    pub(crate) model: Model,
    pub(crate) cores: usize,
    pub(crate) speeds: [f64; REPLICAS],
    pub(crate) mix: Mix,
    pub(crate) plan: Plan,
    pub(crate) episodes: Vec<Episode>,
    /// Requests before this time do not count, because the queues have not reached their usual
    /// length.
    pub(crate) counted_from: Duration,
    /// The times at which an administrator publishes a layer, which every replica must then load.
    pub(crate) changes: Vec<Duration>,
    /// The time of the overload.
    pub(crate) overload: Option<Range<Duration>>,
    pub(crate) targets: &'static [Target],
}

/// A figure to reach, most of them as a multiple of leastconn's in the same run.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Target {
    TileP99(f64),
    AllP99(f64),
    HeavyP95(f64),
    /// As many answers in time as leastconn has, in all.
    InTime,
    /// At least this share of answers in time, in all and while changes spread.
    InTimeShare(f64),
    /// No wrong answer and no stale one.
    NoWrongAnswer,
    /// Work of answers during the overload, at least this share of what the replicas can do.
    Goodput(f64),
    /// From the overload's end until tiles are as fast as before it, in seconds.
    Recovery(f64),
}

/// How long each part takes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lengths {
    warm_up: Duration,
    steady: Duration,
    /// How many bursts, and from one to the next.
    bursts: u32,
    burst_gap: Duration,
    /// How many turns of trouble.
    turns: u32,
    /// The number of changes that an administrator makes, and the time from one to the next.
    changes: u32,
    change_gap: Duration,
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
        turns: 6,
        changes: 3,
        change_gap: seconds(150),
        calm: seconds(20),
        overload: seconds(60),
        recovery: seconds(40),
    };
    /// Every row within some 21 minutes, and one within a minute or two.
    pub(crate) const TABLE: Self = Self {
        warm_up: seconds(12),
        steady: seconds(32),
        bursts: 2,
        burst_gap: seconds(30),
        turns: 2,
        changes: 1,
        change_gap: seconds(80),
        calm: seconds(10),
        overload: seconds(30),
        recovery: seconds(25),
    };
    /// For seeing that it works.
    pub(crate) const QUICK: Self = Self {
        warm_up: seconds(1),
        steady: seconds(6),
        bursts: 1,
        burst_gap: seconds(15),
        turns: 1,
        changes: 1,
        change_gap: seconds(30),
        calm: seconds(3),
        overload: seconds(5),
        recovery: seconds(8),
    };

    /// With so many seconds of warm-up, if given.
    pub(crate) fn warmed_up_for(self, warm_up: Option<u64>) -> Self {
        Self {
            warm_up: warm_up.map_or(self.warm_up, seconds),
            ..self
        }
    }
}

impl Scenario {
    /// Work that all replicas do in a second, in seconds.
    pub(crate) fn capacity(&self) -> f64 {
        self.speeds.iter().sum::<f64>() * self.cores as f64
    }

    /// True if the model can predict the run. It has no health checks and no catalogs.
    pub(crate) fn is_modelled(&self) -> bool {
        self.changes.is_empty()
            && self
                .episodes
                .iter()
                .all(|episode| episode.trouble.is_of_speed())
    }

    /// The portal on three replicas, all of one load.
    fn steady(
        lengths: &Lengths,
        name: &str,
        model: Model,
        load: f64,
        targets: &'static [Target],
    ) -> Self {
        Self {
            name: format!("{name}, {}", model.name()),
            model,
            cores: CORES,
            speeds: EVEN,
            mix: PORTAL,
            plan: Plan {
                phases: vec![Phase {
                    lasts: lengths.warm_up + lengths.steady,
                    load,
                }],
                bursts: Vec::new(),
            },
            episodes: Vec::new(),
            changes: Vec::new(),
            counted_from: lengths.warm_up,
            overload: None,
            targets,
        }
    }

    fn with_speeds(self, speeds: [f64; REPLICAS]) -> Self {
        Self { speeds, ..self }
    }

    /// One replica after the other is in trouble.
    fn in_trouble(
        lengths: &Lengths,
        name: &str,
        model: Model,
        trouble: Trouble,
        targets: &'static [Target],
    ) -> Self {
        let lasts = lengths.warm_up + TURN * lengths.turns;
        let episode = |turn: u32| {
            let start = lengths.warm_up + TURN * turn + CALM_BEFORE;
            Episode {
                during: start..start + TROUBLE,
                replica: turn as usize % REPLICAS,
                trouble,
            }
        };
        Self {
            plan: Plan {
                phases: vec![Phase {
                    lasts,
                    load: LOAD_IN_TROUBLE,
                }],
                bursts: Vec::new(),
            },
            episodes: (0..lengths.turns).map(episode).collect(),
            ..Self::steady(lengths, name, model, LOAD_IN_TROUBLE, targets)
        }
    }

    /// A mix and a cluster that are drawn.
    pub(crate) fn drawn(lengths: &Lengths, seed: u64, model: Model) -> Self {
        let Drawn {
            mix,
            load,
            cores,
            speeds,
        } = Drawn::from(seed);
        let targets: &[Target] = match model {
            Model::Slots => &[Target::TileP99(0.25), Target::AllP99(1.0), Target::InTime],
            Model::Shared => &[Target::TileP99(1.0), Target::AllP99(1.0), Target::InTime],
        };
        let steady = Self::steady(lengths, &format!("mix {seed}"), model, load, targets);
        Self {
            mix,
            cores,
            speeds,
            ..steady
        }
    }
}

/// The table of the measures, in its order.
pub(crate) fn all(lengths: &Lengths) -> Vec<Scenario> {
    let (slots, shared) = (Model::Slots, Model::Shared);
    let steady = |name, model, targets| Scenario::steady(lengths, name, model, 0.85, targets);
    let burst = |model, targets| {
        let name = "bursts of twenty 5-second jobs, load 0.5";
        Scenario {
            plan: bursts(lengths, false),
            ..Scenario::steady(lengths, name, model, 0.5, targets)
        }
    };
    let prints = |model, targets| {
        let name = "bursts of twenty maps to print, load 0.5";
        Scenario {
            plan: bursts(lengths, true),
            ..Scenario::steady(lengths, name, model, 0.5, targets)
        }
    };
    let trouble = |name, model, trouble, targets| {
        Scenario::in_trouble(lengths, name, model, trouble, targets)
    };
    const SLOTS: &[Target] = &[
        Target::TileP99(0.25),
        Target::AllP99(1.0),
        Target::HeavyP95(1.3),
        Target::InTime,
    ];
    const SHARED: &[Target] = &[Target::TileP99(1.0), Target::AllP99(1.0), Target::InTime];
    const BROWNOUT_TARGETS: &[Target] =
        &[Target::TileP99(0.6), Target::AllP99(1.0), Target::InTime];
    vec![
        steady("3 equal, load 0.85", slots, SLOTS),
        steady("one at half speed, load 0.85", slots, SLOTS).with_speeds(ONE_AT_HALF_SPEED),
        steady("3 equal, load 0.85", shared, SHARED),
        steady("one at half speed, load 0.85", shared, SHARED).with_speeds(ONE_AT_HALF_SPEED),
        burst(slots, &[Target::TileP99(0.05), Target::InTime]),
        burst(shared, &[Target::TileP99(1.0), Target::InTime]),
        prints(slots, &[Target::TileP99(0.05), Target::InTime]),
        trouble(
            "brownout, load 0.55",
            slots,
            Trouble::Slow(BROWNOUT),
            BROWNOUT_TARGETS,
        ),
        trouble(
            "brownout, load 0.55",
            shared,
            Trouble::Slow(BROWNOUT),
            BROWNOUT_TARGETS,
        ),
        trouble("freeze, load 0.55", slots, Trouble::Freeze, SHARED),
        trouble("crash, load 0.55", slots, Trouble::Crash, SHARED),
        trouble("oom, load 0.55", slots, Trouble::OutOfMemory, SHARED),
        roll(lengths),
        overload(lengths),
    ]
}

/// Twenty jobs of five seconds at once, from time to time.
fn bursts(lengths: &Lengths, are_prints: bool) -> Plan {
    let burst = |number| Burst {
        at: lengths.warm_up + lengths.burst_gap * number,
        jobs: 20,
        are_prints,
        work: seconds(5),
    };
    let lasts = lengths.warm_up + lengths.burst_gap * lengths.bursts;
    Plan {
        phases: vec![Phase { lasts, load: 0.5 }],
        bursts: (0..lengths.bursts).map(burst).collect(),
    }
}

/// An administrator publishes a layer, so every replica must reload its catalog, and answers
/// wrongly meanwhile.
fn roll(lengths: &Lengths) -> Scenario {
    let lasts = lengths.warm_up + lengths.change_gap * lengths.changes;
    let change = |number| lengths.warm_up + lengths.change_gap * number + CALM_BEFORE_CHANGE;
    let targets = &[Target::InTimeShare(0.97), Target::NoWrongAnswer];
    let load = LOAD_IN_TROUBLE;
    Scenario {
        plan: Plan {
            phases: vec![Phase { lasts, load }],
            bursts: Vec::new(),
        },
        changes: (0..lengths.changes).map(change).collect(),
        ..Scenario::steady(lengths, "roll, load 0.55", Model::Slots, load, targets)
    }
}

fn overload(lengths: &Lengths) -> Scenario {
    let calm = lengths.warm_up + lengths.calm;
    let phases = [
        (calm, 0.5),
        (lengths.overload, 2.0),
        (lengths.recovery, 0.5),
    ];
    let targets = &[Target::Goodput(0.9), Target::Recovery(5.0)];
    Scenario {
        plan: Plan {
            phases: phases.map(|(lasts, load)| Phase { lasts, load }).to_vec(),
            bursts: Vec::new(),
        },
        overload: Some(calm..calm + lengths.overload),
        ..Scenario::steady(
            lengths,
            "overload: twice what the replicas can do",
            Model::Slots,
            2.0,
            targets,
        )
    }
}
