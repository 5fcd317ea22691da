//! Many mixes in the model: how a policy fares beside leastconn where nothing was tuned for it.

use std::thread;

use crate::arrivals::{Arrival, Kind};
use crate::bound::Bound;
use crate::renderers::Model;
use crate::scenario::{Lengths, Scenario};
use crate::simulation::{Recognition, Rules};

const POLICIES: [(&str, Rules); 4] = [
    (
        "cap 16, classes, heavy 4",
        Rules {
            caps: Some([16, 16, 4]),
            ..Rules::capped(16, true)
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

/// One policy in one mix, as multiples of leastconn; answers in time as the difference to it.
#[derive(Clone, Copy, Debug)]
struct Row {
    seed: u64,
    tile_p50: f64,
    tile_p99: f64,
    map_p99: f64,
    heavy_p95: f64,
    all_p99: f64,
    in_time: f64,
}

impl Row {
    fn new(seed: u64, own: &Bound, first: &Bound) -> Self {
        let ratio = |kind: Kind, q| own.kinds[kind as usize].ratio(&first.kinds[kind as usize], q);
        Self {
            seed,
            tile_p50: ratio(Kind::Tile, 0.5),
            tile_p99: ratio(Kind::Tile, 0.99),
            map_p99: ratio(Kind::Map, 0.99),
            heavy_p95: ratio(Kind::Heavy, 0.95),
            all_p99: own.all.ratio(&first.all, 0.99),
            in_time: (own.in_time.of_all() - first.in_time.of_all()) * 100.0,
        }
    }
}

/// Limits that are tried for each mix, by [`Kind`], in parts of the cores: of all, kept for tiles
/// (a count), of heavy ones.
const LIMITS: [f64; 8] = [0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0];
const KEPT_FOR_TILES: [usize; 5] = [0, 1, 2, 3, 4];
const HEAVY_LIMITS: [f64; 6] = [0.25, 0.5, 0.75, 1.0, 1.5, 9.0];

/// Fixed limits for replicas of so many cores.
fn fixed_limits(cores: usize) -> Vec<[usize; 3]> {
    let of_cores = |part: f64| ((cores as f64 * part) as usize).max(1);
    let mut limits = Vec::new();
    for all in LIMITS.map(of_cores) {
        for slower in KEPT_FOR_TILES
            .iter()
            .filter_map(|kept| all.checked_sub(*kept))
        {
            if slower * 2 + 1 >= all && slower > 0 {
                limits.extend(HEAVY_LIMITS.map(|part| [all, slower, of_cores(part).min(slower)]));
            }
        }
    }
    limits.sort_unstable();
    limits.dedup();
    limits
}

/// The fixed limits that are best for the tiles of this very mix, of those that cost nothing: all
/// p99 and answers in time are no worse than leastconn's. Without any, leastconn.
fn best_fixed(seed: u64, scenario: &Scenario, arrivals: &[Arrival], first: &Bound) -> Row {
    let rows = fixed_limits(scenario.cores).into_iter().map(|caps| {
        let rules = Rules {
            caps: Some(caps),
            ..Rules::capped(1, true)
        };
        Row::new(seed, &Bound::new("fixed", rules, scenario, arrivals), first)
    });
    rows.filter(|row| row.all_p99 <= 1.0 && row.in_time >= 0.0)
        .min_by(|a, b| a.tile_p99.total_cmp(&b.tile_p99))
        .unwrap_or_else(|| Row::new(seed, first, first))
}

/// The mixes of so many seeds from `seed` on, in both models; or `make`'s scenario, with the
/// arrivals of each seed.
fn print(
    title: &str,
    make: &(impl Fn(u64) -> Scenario + Sync),
    (seed, count): (u64, u64),
    with_best: bool,
) {
    let seeds: Vec<u64> = (seed..seed + count).collect();
    let run = |seed: u64| -> Vec<Row> {
        let scenario = make(seed);
        let arrivals: Vec<Arrival> =
            scenario
                .plan
                .arrivals(&scenario.mix, scenario.capacity(), seed);
        let first = Bound::new("leastconn", Rules::LEAST_CONNECTIONS, &scenario, &arrivals);
        let of_policy = |(policy, rules)| {
            let own = Bound::new(policy, rules, &scenario, &arrivals);
            Row::new(seed, &own, &first)
        };
        let best = with_best.then(|| best_fixed(seed, &scenario, &arrivals, &first));
        POLICIES.into_iter().map(of_policy).chain(best).collect()
    };
    let middle = seeds.len() / 2;
    let rows: Vec<Vec<Row>> = thread::scope(|scope| {
        let halves = [&seeds[..middle], &seeds[middle..]];
        let runs = halves.map(|half| {
            scope.spawn(move || half.iter().map(|seed| run(*seed)).collect::<Vec<_>>())
        });
        runs.into_iter()
            .flat_map(|run| run.join().expect("a model does not panic"))
            .collect()
    });
    println!(
        "== {title}: {count} seeds from {seed} on, multiples of leastconn: median, 9 of 10, worst (its seed)"
    );
    let best = with_best.then_some("best fixed of each mix");
    let policies = POLICIES.iter().map(|(policy, _)| *policy).chain(best);
    for (at, policy) in policies.enumerate() {
        let column = |value: fn(&Row) -> f64, best_is_low: bool| {
            let mut values: Vec<(f64, u64)> = rows
                .iter()
                .map(|row| (value(&row[at]), row[at].seed))
                .collect();
            values.sort_by(|a, b| a.0.total_cmp(&b.0));
            if !best_is_low {
                values.reverse();
            }
            let (worst, seed) = values[values.len() - 1];
            format!(
                "{:.2}, {:.2}, {worst:.2} ({seed})",
                values[values.len() / 2].0,
                values[values.len() * 9 / 10].0
            )
        };
        println!(
            "   {policy:<26} tile p50 {:<26} tile p99 {:<26} map p99 {:<26} heavy p95 {:<26} all p99 {:<26} in time, points {}",
            column(|row| row.tile_p50, true),
            column(|row| row.tile_p99, true),
            column(|row| row.map_p99, true),
            column(|row| row.heavy_p95, true),
            column(|row| row.all_p99, true),
            column(|row| row.in_time, false),
        );
    }
}

/// Drawn mixes with slots and on shared cores, then each fixed scenario that the model can compute,
/// with many seeds.
pub(crate) fn print_all(lengths: &Lengths, fixed: &[Scenario], seeds: (u64, u64), with_best: bool) {
    for model in [Model::Slots, Model::Shared] {
        print(
            &format!("drawn mixes, {}", model.name()),
            &|seed| Scenario::drawn(lengths, seed, model),
            seeds,
            with_best,
        );
    }
    for scenario in fixed.iter().filter(|scenario| scenario.is_modelled()) {
        print(&scenario.name, &|_| scenario.clone(), seeds, false);
    }
}
