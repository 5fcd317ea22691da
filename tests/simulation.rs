//! Simulated worlds, each from one seed: machines that break and recover, requests, operators and
//! config reloads.
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
//!                 (`places.rs`), a line that is kept the slow way (`line.rs`) and a diary of waits (`patience.rs`)
//! ```
//!
//! The checks are:
//!
//! * `in_flight` is the number of live leases, and every lease ends once.
//! * No upstream serves a request that it must not serve or has no slot for.
//! * No request is refused without need, and none waits while a slot is free that it may use.
//! * The least loaded upstream with a free slot takes the request. Requests that belong together
//!   share an upstream within the bound.
//! * The leases of retired upstreams only decrease.
//! * When faults stop, every upstream recovers in time.
//! * There is no busy loop.
//! * The best waiter goes first, by priority and age and by turns of the users. The number of
//!   waiters is bounded, and each wait ends once.
//! * Changes of health require their run of probes, and evidence alone never sets aside too many
//!   upstreams.
//! * Config reloads keep all state, and orders are refused exactly when they must be.
//!
//! Beside these worlds there are sites with servers of a known capacity (`capacity.rs`). Their
//! throughput in a roll and in a brownout is compared with the remaining capacity and with the
//! throughput of a least-connections balancer.
//!
//! `SIM_SEED=17 cargo test --test simulation -- --nocapture` replays one world and prints its
//! transitions. `SIM_SEEDS=0..256,20260301000..20260301064` runs these worlds instead of the usual
//! ones; `make test` adds some of the day.

#[path = "simulation/administrators.rs"]
mod administrators;
#[path = "simulation/attempts.rs"]
mod attempts;
#[path = "simulation/audit.rs"]
mod audit;
#[path = "simulation/blueprint.rs"]
mod blueprint;
#[path = "simulation/capacity.rs"]
mod capacity;
#[path = "simulation/catalog_checks.rs"]
mod catalog_checks;
#[path = "simulation/catalogs.rs"]
mod catalogs;
#[path = "simulation/chance.rs"]
mod chance;
#[path = "simulation/checks.rs"]
mod checks;
#[path = "simulation/driver.rs"]
mod driver;
#[path = "simulation/faults.rs"]
mod faults;
#[path = "simulation/geoserver.rs"]
mod geoserver;
#[path = "simulation/ledger.rs"]
mod ledger;
#[path = "simulation/line.rs"]
mod line;
#[path = "simulation/machine.rs"]
mod machine;
#[path = "simulation/measured.rs"]
mod measured;
#[path = "simulation/naive.rs"]
mod naive;
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
#[path = "simulation/rescue.rs"]
mod rescue;
#[path = "simulation/room.rs"]
mod room;
#[path = "simulation/selections.rs"]
mod selections;
#[path = "simulation/site.rs"]
mod site;
#[path = "simulation/slots.rs"]
mod slots;
#[path = "simulation/succession.rs"]
mod succession;
#[path = "simulation/tiles.rs"]
mod tiles;
#[path = "simulation/transitions.rs"]
mod transitions;
#[path = "simulation/truth.rs"]
mod truth;
#[path = "simulation/waiting.rs"]
mod waiting;
#[path = "simulation/world.rs"]
mod world;

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use ledger::Tally;
use naive::Bill;
use world::World;

/// The seeds of a run without `SIM_SEEDS`. Every event that a test relies on occurs in this many
/// worlds.
const USUAL: Range<u64> = 0..256;

/// Names the seed when its world breaks a promise.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("replay it with SIM_SEED={}", self.0);
        }
    }
}

fn run(seed: u64, is_replay: bool) -> (Tally, Bill) {
    let seed = Seed(seed);
    World::new(seed.0, is_replay).run()
}

/// All of these, on all cores.
fn run_all(seeds: &[u64]) -> (Tally, Bill) {
    let next = AtomicUsize::new(0);
    let take = || seeds.get(next.fetch_add(1, Ordering::Relaxed)).copied();
    let plus = |(tally, bill): (Tally, Bill), other: (Tally, Bill)| {
        (tally.plus(other.0), bill.plus(other.1))
    };
    let work = || {
        std::iter::from_fn(take)
            .map(|seed| run(seed, false))
            .fold(Default::default(), plus)
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..cores).map(|_| scope.spawn(work)).collect();
        workers
            .into_iter()
            .map(|worker| worker.join().expect("no promise is broken"))
            .fold(Default::default(), plus)
    })
}

/// `0..256,1000..1064` as in `SIM_SEEDS`.
fn ranges(text: &str) -> Vec<Range<u64>> {
    let number = |text: &str| {
        text.trim()
            .parse::<u64>()
            .unwrap_or_else(|_| panic!("SIM_SEEDS: {text:?} is no seed"))
    };
    let range = |text: &str| match text.split_once("..") {
        Some((from, to)) => number(from)..number(to),
        None => number(text)..number(text) + 1,
    };
    text.split(',').map(range).collect()
}

#[test]
fn no_world_breaks_a_promise() {
    let of_environment = |name| {
        std::env::var(name)
            .ok()
            .filter(|text: &String| !text.is_empty())
    };
    if let Some(seed) = of_environment("SIM_SEED") {
        println!(
            "{:#?}",
            run(seed.parse().expect("SIM_SEED is a number"), true)
        );
        return;
    }
    let chosen = of_environment("SIM_SEEDS").map_or_else(|| vec![USUAL], |text| ranges(&text));
    let (tally, bill) = run_all(&chosen.iter().cloned().flatten().collect::<Vec<_>>());
    println!("{bill:?}");
    let missing = tally.never_happened();
    let is_proof = chosen.contains(&USUAL);
    assert!(
        missing.is_empty() || !is_proof,
        "worlds without {missing:?} prove nothing about it: {tally:#?}"
    );
}

#[test]
fn the_same_seed_is_the_same_world() {
    assert_eq!(run(3, false), run(3, false));
}

#[test]
fn seeds_are_chosen_by_ranges_and_one_by_one() {
    assert_eq!(ranges("0..256,1000..1064, 7"), [0..256, 1000..1064, 7..8]);
}
