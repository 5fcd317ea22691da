//! Light and heavy requests mixed, under load: `make bench-mix`.
//!
//! Three replicas of four renderers serve tiles, maps and now and then something that takes
//! seconds, in two models of a GeoServer (see [`renderers::Model`]). The load is open: requests
//! leave when they are due, and their time counts from then, so a slow contender cannot slow down
//! the arrivals. All contenders get the same arrivals at the same time, each in front of a cluster
//! of its own. The simulated replicas sleep instead of rendering, so one machine carries them all.
//!
//! ```text
//!   core 1: load generator, for each contender  -->  core 0: HAProxy | nginx | geofront  -->  core 1: its own geosim cluster
//! ```
//!
//! ```text
//! cargo bench --bench mix -- --full          for figures; most of an hour
//! cargo bench --bench mix                    for seeing that it works; two minutes
//! cargo bench --bench mix -- --only burst --seed 7 --limits 'max_in_flight = 8'
//! cargo bench --bench mix -- --table --only brownout --front leastconn,geofront   one row within two minutes
//! cargo bench --bench mix -- --table --only roll --front haproxy,geofront         an administrator's change
//! cargo bench --bench mix -- --full --model --mixes 100 --seed 101                drawn mixes, in the model
//! cargo bench --bench mix -- --full --model --mixes 40 --seed 201 --best-fixed    what fixed limits could reach in each
//! cargo bench --bench mix -- --table --mixes 3 --seed 101                         drawn mixes, measured
//! ```

mod arrivals;
mod bound;
mod changes;
mod contenders;
mod direct;
mod drive;
mod in_time;
mod latencies;
mod mix;
mod mixes;
mod outcome;
mod renderers;
mod report;
mod requests;
#[path = "../rig/mod.rs"]
mod rig;
mod rolls;
mod run;
mod sabotage;
mod scenario;
mod simulation;
mod trouble;

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use contenders::Front;
use renderers::Model;
use rig::machine;
use rig::place::{Place, is_understood};
use rig::process;
use scenario::{Lengths, Scenario};

const PROXY_CORE: usize = 0;
const OTHER_CORE: usize = 1;

/// The limits that docs/limits.md recommends where tiles and maps come together. A replica has a
/// slot for each core and a quarter more, which only tiles use; heavy requests use half of the
/// cores at most. The queue's patience is long enough to serve all of a burst.
const RECOMMENDED: &str =
    "max_in_flight = 5\nquick_reserve = 20\nheavy_share = 40\nqueue_timeout = \"1m\"";

/// Light and heavy requests mixed, under load, beside HAProxy and nginx.
#[derive(Parser)]
struct Arguments {
    /// Long enough for figures.
    #[arg(long)]
    full: bool,
    /// Every row within some 21 minutes.
    #[arg(long)]
    table: bool,
    /// Only scenarios whose name contains one of these; `brownout+shared` are two words of one
    /// name.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Only front doors whose name contains one of these, or ends in it as in `leastconn$`. The
    /// others are compared to the first.
    #[arg(long, value_delimiter = ',')]
    front: Vec<String>,
    /// So many drawn mixes, of the seeds from `--seed` on. In the model also every scenario with
    /// the arrivals of each of them.
    #[arg(long, default_value_t = 0)]
    mixes: u64,
    /// Seconds of warm-up, instead of those of the length: limits are learned by then.
    #[arg(long)]
    warm_up: Option<u64>,
    /// Other arrivals.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Another geofront, with these lines in its [limits]; may be given more than once.
    #[arg(long)]
    limits: Vec<String>,
    /// Another geofront than the one that was built with this bench.
    #[arg(long, default_value = env!("CARGO_BIN_EXE_geofront"))]
    geofront: PathBuf,
    /// Also the best fixed limits of each drawn mix, in the model.
    #[arg(long)]
    best_fixed: bool,
    /// Only the model, nothing measured.
    #[arg(long)]
    model: bool,
    /// `cargo bench` passes this option.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    match measure(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(arguments: &Arguments) -> io::Result<()> {
    process::pin_self(OTHER_CORE)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let (lengths, length) = match (arguments.full, arguments.table) {
        (true, _) => (Lengths::FULL, "full length"),
        (false, true) => (Lengths::TABLE, "table length"),
        (false, false) => (Lengths::QUICK, "short: no figures"),
    };
    let lengths = lengths.warmed_up_for(arguments.warm_up);
    let fronts = if arguments.model {
        Vec::new()
    } else {
        fronts(arguments)?
    };
    machine::print();
    println!("load      open, seed {}, {length}", arguments.seed);
    println!("in time   {}", in_time::words());
    println!("quantiles of all requests; one without a right answer is slower than every answer");
    let fixed = rows(&arguments.only, scenario::all(&lengths))?;
    if arguments.model && arguments.mixes > 0 {
        let seeds = (arguments.seed, arguments.mixes);
        mixes::print_all(&lengths, &fixed, seeds, arguments.best_fixed);
        return Ok(());
    }
    if !arguments.model {
        let lasts = Duration::from_secs(if arguments.full || arguments.table {
            20
        } else {
            3
        });
        report::print_direct(&direct::check(
            fronts.len(),
            lasts,
            arguments.seed,
            &runtime,
        )?);
    }
    let drawn = |seed| {
        [Model::Slots, Model::Shared].map(|model| (seed, Scenario::drawn(&lengths, seed, model)))
    };
    let scenarios: Vec<(u64, Scenario)> = if arguments.mixes > 0 {
        (arguments.seed..arguments.seed + arguments.mixes)
            .flat_map(drawn)
            .collect()
    } else {
        fixed
            .into_iter()
            .map(|scenario| (arguments.seed, scenario))
            .collect()
    };
    for (seed, scenario) in scenarios {
        let outcomes = run::scenario(&scenario, &fronts, seed, &runtime)?;
        let arrivals = scenario
            .plan
            .arrivals(&scenario.mix, scenario.capacity(), seed);
        let bounds = bound::bounds(&scenario, &arrivals);
        report::print(&scenario, &arrivals, &outcomes, &bounds);
    }
    Ok(())
}

/// Those of `all` that are wanted. What is in the name of no row is an error, and not a row less.
fn rows(only: &[String], mut all: Vec<Scenario>) -> io::Result<Vec<Scenario>> {
    let is_in_none = |part: &&String| !all.iter().any(|row| is_in(part, &row.name));
    if let Some(part) = only.iter().find(is_in_none) {
        let names: Vec<&str> = all.iter().map(|row| row.name.as_str()).collect();
        return Err(io::Error::other(format!(
            "no row has \"{part}\" in its name. The rows:\n  {}",
            names.join("\n  ")
        )));
    }
    all.retain(|row| is_any(only, &row.name));
    Ok(all)
}

/// True if `name` contains `part`, in whatever case. A part that ends in `$` is the end of a name,
/// and `+` joins several parts that must all be in it.
fn is_in(part: &str, name: &str) -> bool {
    let name = name.to_lowercase();
    part.to_lowercase()
        .split('+')
        .all(|part| match part.strip_suffix('$') {
            Some(end) => name.ends_with(end),
            None => name.contains(part),
        })
}

/// Whether `name` contains one of `parts`, or there are none.
fn is_any(parts: &[String], name: &str) -> bool {
    parts.is_empty() || parts.iter().any(|part| is_in(part, name))
}

/// HAProxy's leastconn first: the others are compared to it.
fn fronts(arguments: &Arguments) -> io::Result<Vec<Front>> {
    let mut fronts = vec![
        Front::haproxy(None),
        Front::haproxy(Some(4)),
        Front::haproxy(Some(8)),
        Front::nginx(),
    ];
    let folder = tempfile::tempdir()?;
    let place = Place {
        folder: folder.path(),
        core: PROXY_CORE,
    };
    let geofront = |limits: &str| Front::geofront(arguments.geofront.clone(), limits);
    let has_limits = is_understood(
        &place,
        &arguments.geofront,
        &format!("[limits]\n{RECOMMENDED}\n"),
    )?;
    fronts.push(geofront(if has_limits { RECOMMENDED } else { "" }));
    fronts.push(geofront(""));
    fronts.extend(
        arguments
            .limits
            .iter()
            .map(|limits| geofront(&limits.replace(';', "\n"))),
    );
    fronts.retain(|front| is_any(&arguments.front, &front.name));
    Ok(fronts)
}
