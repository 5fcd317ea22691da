//! Whole worlds: machines that break and recover, requests, operators and config reloads, from one seed each.
//!
//! ```text
//!   agenda --next--> an attempt ends, a request arrives, a probe reports, weather, orders, a reload
//!      ^                |
//!      |                v
//!      +--- ends --- Cluster --take_snapshot--> Snapshot --select--> Lease
//!                       |                          |  all full        ^
//!                       |                          +------> Queue ----+ a lease ends, a new snapshot, a look
//!                       |
//!                 checks after every step, against a second opinion made from the status (`oracle.rs`), the documented limits
//!                 (`places.rs`), a line that is kept the slow way (`line.rs`) and a diary of who waited (`patience.rs`)
//! ```
//!
//! What is checked: (1) in_flight is the number of live leases, and every lease ends once; (2) nobody is served by who must not
//! serve, or has no place left; (3) no false refusal, and nobody waits while a place is free that it may have; (4) the least loaded
//! of those with a place takes it, and of requests that belong together one within the bound; (5) the leases of the retired only
//! fall; (7) when faults stop, everybody comes back in time; (8) no busy loop; (9) of those who wait the best goes first: by
//! priority and age, and by turns of the users; their number is bounded, and each ends once. And: changes of health have their run
//! of probes, evidence alone never sets aside too many, reloads forget nothing, orders are refused exactly when they must be.
//!
//! `SIM_SEED=17 cargo test --test simulation -- --nocapture` replays one world and prints its transitions.

#[path = "simulation/administrators.rs"]
mod administrators;
#[path = "simulation/audit.rs"]
mod audit;
#[path = "simulation/blueprint.rs"]
mod blueprint;
#[path = "simulation/catalogs.rs"]
mod catalogs;
#[path = "simulation/chance.rs"]
mod chance;
#[path = "simulation/driver.rs"]
mod driver;
#[path = "simulation/geoserver.rs"]
mod geoserver;
#[path = "simulation/ledger.rs"]
mod ledger;
#[path = "simulation/line.rs"]
mod line;
#[path = "simulation/machine.rs"]
mod machine;
#[path = "simulation/operators.rs"]
mod operators;
#[path = "simulation/oracle.rs"]
mod oracle;
#[path = "simulation/patience.rs"]
mod patience;
#[path = "simulation/places.rs"]
mod places;
#[path = "simulation/requests.rs"]
mod requests;
#[path = "simulation/succession.rs"]
mod succession;
#[path = "simulation/tiles.rs"]
mod tiles;
#[path = "simulation/waiting.rs"]
mod waiting;
#[path = "simulation/world.rs"]
mod world;

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use ledger::Tally;
use world::World;

const SEEDS: Range<u64> = 0..256;

/// Names the seed when its world breaks a promise.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("replay it with SIM_SEED={}", self.0);
        }
    }
}

fn run(seed: u64, is_replay: bool) -> Tally {
    let seed = Seed(seed);
    World::new(seed.0, is_replay).run()
}

/// All seeds, on all cores.
fn run_all() -> Tally {
    let next = AtomicU64::new(SEEDS.start);
    let take = || Some(next.fetch_add(1, Ordering::Relaxed)).filter(|seed| SEEDS.contains(seed));
    let work = || std::iter::from_fn(take).map(|seed| run(seed, false)).fold(Tally::default(), Tally::plus);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..cores).map(|_| scope.spawn(work)).collect();
        workers.into_iter().map(|worker| worker.join().expect("no promise is broken")).fold(Tally::default(), Tally::plus)
    })
}

#[test]
fn no_world_breaks_a_promise() {
    if let Some(seed) = std::env::var("SIM_SEED").ok().and_then(|seed| seed.parse().ok()) {
        println!("{:#?}", run(seed, true));
        return;
    }
    let tally = run_all();
    let missing = tally.never_happened();
    assert!(missing.is_empty(), "worlds without {missing:?} prove nothing about it: {tally:#?}");
}

#[test]
fn the_same_seed_is_the_same_world() {
    assert_eq!(run(3, false), run(3, false));
}
