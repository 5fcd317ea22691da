//! The model of a front door keeps queueing theory, and its rules.

use std::time::Duration;

use geofront::balance;

use crate::arrivals::{Arrival, Burst, Kind, Phase, Plan};
use crate::latencies::Latencies;
use crate::mix::PORTAL;
use crate::renderers::Model;
use crate::simulation::{self, Recognition, Rules, World};
use crate::trouble::{Episode, Trouble};

fn at(ms: u64, kind: Kind, work: u64) -> Arrival {
    Arrival {
        is_print: false,
        at: Duration::from_millis(ms),
        kind,
        work: Duration::from_millis(work),
        chance: 0,
    }
}

fn latencies(
    arrivals: &[Arrival],
    model: Model,
    cores: usize,
    speeds: &[f64],
    rules: Rules,
) -> Vec<Duration> {
    let world = World {
        arrivals,
        model,
        cores,
        speeds,
        episodes: &[],
    };
    answered(simulation::latencies(world, rules))
}

fn answered(latencies: Vec<Option<Duration>>) -> Vec<Duration> {
    let answered = latencies.into_iter();
    answered
        .map(|latency| latency.expect("no request is refused"))
        .collect()
}

fn run(arrivals: &[Arrival], replicas: usize, rules: Rules) -> Vec<u64> {
    let latencies = latencies(arrivals, Model::Slots, 1, &vec![1.0; replicas], rules);
    latencies
        .into_iter()
        .map(|latency| (latency.as_secs_f64() * 1e3).round() as u64)
        .collect()
}

const FIFO: Rules = Rules::capped(1, false);
const BY_KIND: Rules = Rules::capped(1, true);

#[test]
fn each_goes_to_the_least_loaded() {
    let arrivals = [
        at(0, Kind::Heavy, 1000),
        at(1, Kind::Map, 50),
        at(2, Kind::Map, 50),
    ];
    assert_eq!(run(&arrivals, 3, Rules::LEAST_CONNECTIONS), [1000, 50, 50]);
}

#[test]
fn without_classes_a_tile_waits_for_the_map_before_it_and_with_them_it_goes_first() {
    let arrivals = [
        at(0, Kind::Map, 100),
        at(1, Kind::Map, 100),
        at(2, Kind::Tile, 10),
    ];
    assert_eq!(run(&arrivals, 1, FIFO), [100, 199, 208]);
    assert_eq!(run(&arrivals, 1, BY_KIND), [100, 209, 108]);
}

#[test]
fn heavy_requests_beyond_their_share_wait_and_delay_no_other() {
    let rules = Rules {
        caps: Some([2, 2, 1]),
        ..Rules::capped(2, true)
    };
    let arrivals = [
        at(0, Kind::Heavy, 100),
        at(1, Kind::Heavy, 100),
        at(2, Kind::Tile, 10),
    ];
    let latencies = latencies(&arrivals, Model::Slots, 2, &[1.0], rules);
    assert_eq!(
        latencies
            .iter()
            .map(Duration::as_millis)
            .collect::<Vec<_>>(),
        [100, 199, 10]
    );
}

/// For Poisson arrivals and exponential times at one server the mean time in the system is 1 / (1 -
/// load) times the work.
#[test]
fn one_server_keeps_the_textbooks_mean() {
    let dice = geofront::geosim::Dice::new(1);
    let mean = |ms| geofront::geosim::ServiceTime::Exponential {
        mean: Duration::from_millis(ms),
    };
    let mut at = Duration::ZERO;
    let mut next = || {
        at += mean(20).draw(&dice);
        Arrival {
            is_print: false,
            at,
            kind: Kind::Tile,
            work: mean(10).draw(&dice),
            chance: 0,
        }
    };
    let arrivals: Vec<Arrival> = (0..200_000).map(|_| next()).collect();
    for model in [Model::Slots, Model::Shared] {
        let latencies = latencies(&arrivals, model, 1, &[1.0], Rules::LEAST_CONNECTIONS);
        let mean = latencies.iter().sum::<Duration>().as_secs_f64() / latencies.len() as f64;
        assert!((mean - 0.020).abs() < 0.001, "{model:?}: {mean}");
    }
}

#[test]
fn a_burst_of_heavy_jobs_stops_tiles_in_slots_unless_their_share_is_bounded() {
    let plan = Plan {
        phases: vec![Phase {
            lasts: Duration::from_secs(30),
            load: 0.5,
        }],
        bursts: vec![Burst {
            are_prints: false,
            at: Duration::from_secs(5),
            jobs: 20,
            work: Duration::from_secs(5),
        }],
    };
    let arrivals = plan.arrivals(&PORTAL, 12.0, 1);
    let world = three_of_slots(&arrivals);
    let worst_tile = |rules| {
        let latencies = simulation::latencies(world, rules);
        let all = arrivals.iter().zip(latencies);
        let tiles = all.filter(|(arrival, _)| arrival.kind == Kind::Tile);
        tiles
            .map(|(_, latency)| latency.expect("no tile is refused"))
            .max()
    };
    assert!(worst_tile(Rules::LEAST_CONNECTIONS) > Some(Duration::from_secs(4)));
    let one_heavy = Rules {
        caps: Some([4, 4, 1]),
        ..Rules::capped(4, true)
    };
    assert!(worst_tile(one_heavy) < Some(Duration::from_secs(2)));
}

/// Three equal replicas that work on four requests each at a time.
fn three_of_slots(arrivals: &[Arrival]) -> World<'_> {
    World {
        arrivals,
        model: Model::Slots,
        cores: 4,
        speeds: &[1.0; 3],
        episodes: &[],
    }
}

/// Twenty pages that take 5 s each leave too few slots for maps to be served at once, but maps that
/// are served within seconds are not refused for them.
#[test]
fn a_burst_of_maps_to_print_refuses_no_small_map() {
    for seed in 1..=6 {
        let burst = |at| Burst {
            are_prints: true,
            at: Duration::from_secs(at),
            jobs: 20,
            work: Duration::from_secs(5),
        };
        let plan = Plan {
            phases: vec![Phase {
                lasts: Duration::from_secs(72),
                load: 0.5,
            }],
            bursts: vec![burst(12), burst(42)],
        };
        let arrivals = plan.arrivals(&PORTAL, 12.0, seed);
        let world = three_of_slots(&arrivals);
        let latencies = simulation::latencies(world, Rules::DEFAULTS);
        let refused = arrivals
            .iter()
            .zip(latencies)
            .filter(|(_, latency)| latency.is_none());
        assert_eq!(refused.count(), 0, "seed {seed}");
    }
}

const SECOND: Duration = Duration::from_secs(1);

fn portal(seed: u64, load: f64, capacity: f64) -> Vec<Arrival> {
    let plan = Plan {
        phases: vec![Phase {
            lasts: SECOND * 90,
            load,
        }],
        bursts: Vec::new(),
    };
    plan.arrivals(&PORTAL, capacity, seed)
}

/// One replica after the other is in trouble for 10 of 30 seconds.
fn turns(trouble: Trouble) -> [Episode; 3] {
    [0, 1, 2].map(|replica: u32| {
        let begins = SECOND * (10 + 30 * replica);
        Episode {
            during: begins..begins + SECOND * 10,
            replica: replica as usize,
            trouble,
        }
    })
}

fn tile_p99(arrivals: &[Arrival], latencies: &[Option<Duration>]) -> f64 {
    let tiles = arrivals
        .iter()
        .zip(latencies)
        .filter(|(arrival, _)| arrival.kind == Kind::Tile);
    let tiles: Latencies = tiles.map(|(_, latency)| *latency).collect();
    tiles.at(0.99).expect("there are tiles").seconds()
}

#[test]
fn a_replica_that_stands_still_costs_ten_seconds_and_no_more() {
    let arrivals = [
        at(0, Kind::Map, 100),
        at(5000, Kind::Map, 100),
        at(11_000, Kind::Map, 100),
    ];
    let second = Duration::from_secs;
    let episodes = [Episode {
        during: second(5)..second(15),
        replica: 0,
        trouble: Trouble::Freeze,
    }];
    let world = World {
        arrivals: &arrivals,
        model: Model::Slots,
        cores: 1,
        speeds: &[1.0],
        episodes: &episodes,
    };
    let latencies = answered(simulation::latencies(world, Rules::LEAST_CONNECTIONS));
    let millis = |latency: &Duration| (latency.as_secs_f64() * 1000.0).round() as u64;
    assert_eq!(
        latencies.iter().map(millis).collect::<Vec<_>>(),
        [100, 10_100, 4200]
    );
}

/// The result of the defaults in brownouts at a load of 0.55: each replica is ten times slower for
/// 10 of 30 seconds.
struct Brownout {
    /// Tile p99 as a multiple of least connections'.
    ratio: f64,
    /// Requests that the slow one got from two seconds after it slowed down, as a part of all.
    part: f64,
    /// Requests that the others got meanwhile, as a part of all: of each other replica, the least.
    part_of_others: f64,
    /// Seconds from the end of a brownout until the replica had its whole share, at most.
    recovery: f64,
}

impl Brownout {
    fn of(seed: u64, model: Model) -> Self {
        let (arrivals, episodes) = (portal(seed, 0.55, 12.0), turns(Trouble::Slow(0.1)));
        let world = World {
            arrivals: &arrivals,
            model,
            cores: 4,
            speeds: &[1.0; 3],
            episodes: &episodes,
        };
        let mut sent = [[0_u32; 3]; 3];
        let mut recovered = [None; 3];
        let mut observer = |now: f64, chosen: usize, share: &dyn Fn(usize) -> u32| {
            for (slow, episode) in episodes.iter().enumerate() {
                let (begin, end) = (
                    episode.during.start.as_secs_f64(),
                    episode.during.end.as_secs_f64(),
                );
                sent[slow][chosen] += u32::from(now > begin + 2.0 && now < end);
                if now > end && recovered[slow].is_none() && share(slow) == balance::WHOLE {
                    recovered[slow] = Some(now - end);
                }
            }
        };
        let ours = simulation::observed(world, Rules::DEFAULTS, &mut observer);
        let least = simulation::latencies(world, Rules::LEAST_CONNECTIONS);
        let part = |slow: usize, of: usize| {
            f64::from(sent[slow][of]) / f64::from(sent[slow].iter().sum::<u32>())
        };
        let pairs = [(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)];
        Self {
            ratio: tile_p99(&arrivals, &ours) / tile_p99(&arrivals, &least),
            part: (0..3).map(|slow| part(slow, slow)).fold(0.0, f64::max),
            part_of_others: pairs
                .into_iter()
                .map(|(slow, of)| part(slow, of))
                .fold(1.0, f64::min),
            recovery: recovered
                .map(|after| after.unwrap_or(f64::INFINITY))
                .into_iter()
                .fold(0.0, f64::max),
        }
    }
}

/// The ratio is the median of many seeds, because the effect of one brownout depends on the jobs
/// that are on the replica when it begins.
#[test]
fn a_replica_that_slows_down_ten_times_costs_far_less_than_behind_leastconn() {
    for (model, most) in [(Model::Slots, 0.6), (Model::Shared, 0.7)] {
        let found: Vec<Brownout> = (1..=24).map(|seed| Brownout::of(seed, model)).collect();
        let sorted = |value: fn(&Brownout) -> f64| {
            let mut values: Vec<f64> = found.iter().map(value).collect();
            values.sort_by(f64::total_cmp);
            values
        };
        let [ratios, parts] = [sorted(|found| found.ratio), sorted(|found| found.part)];
        let [others, recoveries] = [
            sorted(|found| found.part_of_others),
            sorted(|found| found.recovery),
        ];
        assert!(ratios[12] <= most, "{}: {ratios:?}", model.name());
        assert!(parts[23] <= 0.2, "the slow one gets little: {parts:?}");
        assert!(
            others[0] >= 0.2,
            "and each of the others its share: {others:?}"
        );
        assert!(
            recoveries[23] <= 5.0,
            "its share comes back: {recoveries:?}"
        );
    }
}

#[test]
fn the_model_knows_troubles_of_speed_only() {
    let known = [
        Trouble::Slow(0.1),
        Trouble::Freeze,
        Trouble::Crash,
        Trouble::OutOfMemory,
    ]
    .map(Trouble::is_of_speed);
    assert_eq!(known, [true, true, false, false]);
}

#[test]
fn a_replica_whose_slowness_is_known_gets_no_request_that_another_would_answer_sooner() {
    let arrivals: Vec<Arrival> = (0..20)
        .map(|n| at(1000 + n * 500, Kind::Map, 100))
        .collect();
    let episodes = [Episode {
        during: Duration::from_millis(500)..Duration::from_secs(60),
        replica: 0,
        trouble: Trouble::Slow(0.1),
    }];
    let world = World {
        arrivals: &arrivals,
        model: Model::Shared,
        cores: 4,
        speeds: &[1.0; 2],
        episodes: &episodes,
    };
    let slowest = |slowness| {
        let rules = Rules {
            slowness,
            ..Rules::LEAST_CONNECTIONS
        };
        answered(simulation::latencies(world, rules))
            .into_iter()
            .max()
    };
    let in_time = Some(Duration::from_millis(101));
    assert!(slowest(Recognition::Known) <= in_time);
    assert!(slowest(Recognition::None) > in_time);
}
