//! One scenario: each contender gets a cluster and a process of its own, and the same arrivals at
//! the same time.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use geofront::geosim::{Behaviour, Capacity, Cluster};
use tokio::runtime::Runtime;

use crate::PROXY_CORE;
use crate::arrivals::Arrival;
use crate::changes::{self, Site};
use crate::contenders::Front;
use crate::drive::{self, PATIENCE};
use crate::outcome::{Cost, Outcome};
use crate::renderers::Model;
use crate::requests;
use crate::rig::administrator::Refresh;
use crate::rig::client::{Client, Question};
use crate::rig::place::{Contender, Place};
use crate::rig::process::Process;
use crate::sabotage;
use crate::scenario::Scenario;

/// A tile or map of usual size.
const IMAGE_BYTES: usize = 12 * 1024;
/// Between two looks at a process's memory.
const MEMORY_STEP: Duration = Duration::from_millis(250);
/// For all to have their threads before the first request is due.
const HEAD_START: Duration = Duration::from_millis(500);

/// A contender and what is behind it.
struct Stand {
    cluster: Cluster,
    contender: Contender,
    /// The script that runs after an administrator's change.
    script: Option<Refresh>,
}

/// All `fronts` at the same time, so that what else the machine does meets all alike. Those that
/// let everything through an overload need a file for each of thousands of connections: then one
/// after the other.
pub(crate) fn scenario(
    scenario: &Scenario,
    fronts: &[Front],
    seed: u64,
    runtime: &Runtime,
) -> io::Result<Vec<Outcome>> {
    let arrivals = scenario
        .plan
        .arrivals(&scenario.mix, scenario.capacity(), seed);
    let fronts: Vec<Front> = if scenario.changes.is_empty() {
        fronts.to_vec()
    } else {
        fronts.iter().flat_map(Front::with_catalog).collect()
    };
    let at_a_time = if scenario.overload.is_some() {
        1
    } else {
        fronts.len().max(1)
    };
    let mut outcomes = Vec::new();
    for fronts in fronts.chunks(at_a_time) {
        let folder = tempfile::tempdir()?;
        let place = Place {
            folder: folder.path(),
            core: PROXY_CORE,
        };
        let stand = |front: &Front| Stand::start(front, &place, scenario, runtime);
        let stands = fronts
            .iter()
            .map(stand)
            .collect::<io::Result<Vec<Stand>>>()?;
        outcomes.extend(together(&stands, &arrivals, scenario, runtime));
    }
    Ok(outcomes)
}

fn together(
    stands: &[Stand],
    arrivals: &[Arrival],
    scenario: &Scenario,
    runtime: &Runtime,
) -> Vec<Outcome> {
    let start = Instant::now() + HEAD_START;
    thread::scope(|scope| {
        let run = |stand: &Stand| stand.run(arrivals, scenario, start, runtime);
        let runs: Vec<_> = stands
            .iter()
            .map(|stand| scope.spawn(move || run(stand)))
            .collect();
        runs.into_iter()
            .map(|run| run.join().expect("a run does not panic"))
            .collect()
    })
}

impl Stand {
    fn start(
        front: &Front,
        place: &Place<'_>,
        scenario: &Scenario,
        runtime: &Runtime,
    ) -> io::Result<Self> {
        let cluster = cluster(
            capacity(scenario.model, scenario.cores),
            &scenario.speeds,
            if scenario.changes.is_empty() {
                Duration::ZERO
            } else {
                changes::RELOAD
            },
            runtime,
        )?;
        let contender = front.start(place, &cluster)?;
        Ok(Self {
            cluster,
            contender,
            script: front.script(),
        })
    }

    fn run(
        &self,
        arrivals: &[Arrival],
        scenario: &Scenario,
        start: Instant,
        runtime: &Runtime,
    ) -> Outcome {
        let client = Client::new(self.contender.address, PATIENCE);
        let process = &self.contender.process;
        let cpu = process.cpu_time();
        let replicas = self.cluster.replicas();
        let site = Site {
            cluster: &self.cluster,
            client: &client,
            script: self.script,
            oldest: Arc::new(AtomicU64::new(0)),
        };
        let ((samples, changes), memory) = while_watched(process, || {
            thread::scope(|scope| {
                scope
                    .spawn(|| sabotage::run(&scenario.episodes, replicas, &scenario.speeds, start));
                let changes =
                    scope.spawn(|| site.change_at(&scenario.changes, start, runtime.handle()));
                let clients = [client.clone()];
                let samples = drive::run(arrivals, &clients, start, &site.oldest, runtime.handle());
                (samples, changes.join().expect("a change does not panic"))
            })
        });
        let cpu_per_request =
            (process.cpu_time() - cpu) / u32::try_from(samples.len().max(1)).unwrap_or(u32::MAX);
        let still = self
            .cluster
            .replicas()
            .iter()
            .map(|replica| replica.control().in_flight())
            .sum::<usize>();
        if still > 0 {
            eprintln!(
                "bench: {}: the replicas still work on {still} requests nobody waits for",
                self.contender.name
            );
        }
        Outcome::new(
            self.contender.name.clone(),
            &samples,
            scenario,
            changes,
            Cost {
                cpu_per_request,
                memory,
            },
        )
    }
}

fn capacity(model: Model, cores: usize) -> Capacity {
    match model {
        Model::Slots => Capacity::Slots(cores),
        Model::Shared => Capacity::Shared {
            cores: cores as f64,
        },
    }
}

/// Starts a cluster whose tiles are all in the cache.
pub(crate) fn cluster(
    capacity: Capacity,
    speeds: &[f64],
    reload_time: Duration,
    runtime: &Runtime,
) -> io::Result<Cluster> {
    let behaviour = Behaviour {
        capacity,
        reload_time,
        image_bytes: Some(IMAGE_BYTES),
        remembered_requests: 0,
        keep_alive: Duration::from_secs(600),
        keep_alive_requests: None,
        ..Behaviour::default()
    };
    let cluster = Cluster::start_with(speeds.len(), &behaviour);
    for (replica, speed) in cluster.replicas().iter().zip(speeds) {
        replica.control().set_speed(*speed);
    }
    let main = Client::new(cluster.main().address(), PATIENCE);
    for tile in requests::metatiles() {
        let asked = runtime.block_on(main.ask(Question::get(&tile, &[])));
        asked.map_err(|failure| {
            io::Error::other(format!("the cache of tiles cannot be filled: {failure:?}"))
        })?;
    }
    Ok(cluster)
}

/// Does `work`. Returns its result and the memory of the process at the start, at most, and at the
/// end.
fn while_watched<T>(process: &Process, work: impl FnOnce() -> T) -> (T, [u64; 3]) {
    let is_over = Arc::new(AtomicBool::new(false));
    let first = process.memory();
    thread::scope(|scope| {
        let seen_over = Arc::clone(&is_over);
        let watch = scope.spawn(move || {
            let mut most = first;
            while !seen_over.load(Ordering::Relaxed) {
                most = most.max(process.memory());
                thread::sleep(MEMORY_STEP);
            }
            most
        });
        let result = work();
        is_over.store(true, Ordering::Relaxed);
        let most = watch.join().expect("a watch does not panic");
        (result, [first, most, process.memory()])
    })
}
