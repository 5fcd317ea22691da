//! A simulated server: Poisson arrivals of four classes, our own queue in front of it, and two ways
//! to share its cores.
//!
//! The mix is drawn from a seed: mostly tiles of milliseconds, a fifth maps of a third of a second
//! with a long tail, and a few jobs of seconds to a minute. The jobs are confined to a quarter of
//! the cap, or two slots.

use std::time::{Duration, Instant};

use super::super::{AdaptiveLimit, Answered};
use crate::admission::{Offer, Pushed, Queue, SlotRequest};
use crate::config::{Effort, MaxInFlight, Priority};
use crate::hash::SplitMix64;
use crate::ogc::RequestClass;

/// Seconds at the start that are not measured, because the limit is still being learned.
const WARMUP: f64 = 200.0;
const THIRD: f64 = 200.0;
const END: f64 = WARMUP + 3.0 * THIRD;
const CAPACITY: usize = 400;
/// A request that waits longer leaves.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The server works on as many requests as it has cores, and the others wait inside it.
    Slots,
    /// All requests share the cores.
    Shared,
}

/// The change in the second third of the measured time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Nothing,
    HalfTheCores,
    /// Each tile is ten times as much work.
    SlowTiles,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct World {
    pub(super) kind: Kind,
    pub(super) cores: u32,
    /// Work that arrives per second and core, in seconds.
    pub(super) load: f64,
    /// The fixed limit; `None` to learn it.
    pub(super) fixed: Option<u32>,
    pub(super) change: Change,
}

impl Default for World {
    fn default() -> Self {
        Self {
            kind: Kind::Slots,
            cores: 4,
            load: 0.85,
            fixed: None,
            change: Change::Nothing,
        }
    }
}

/// The measurements of one third of the time.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Third {
    /// Work done per second and initial core, in seconds.
    pub(super) utilisation: f64,
    /// Mean limit in the second half of the third; the first half is for settling.
    pub(super) cap: f64,
    /// Share of that time in which priority 0 had extra slots.
    pub(super) extra: f64,
}

/// The measurements of a run after its warm-up.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) thirds: [Third; 3],
    /// Requests and seconds, queue included.
    times: Vec<(RequestClass, f64)>,
}

impl Run {
    pub(super) fn cap(&self) -> f64 {
        self.thirds.iter().map(|third| third.cap).sum::<f64>() / 3.0
    }

    pub(super) fn extra(&self) -> f64 {
        self.thirds.iter().map(|third| third.extra).sum::<f64>() / 3.0
    }

    pub(super) fn utilisation(&self) -> f64 {
        self.thirds
            .iter()
            .map(|third| third.utilisation)
            .sum::<f64>()
            / 3.0
    }

    pub(super) fn mean(&self, class: RequestClass) -> f64 {
        let of_class = || self.times.iter().filter(|(other, _)| *other == class);
        of_class().map(|(_, seconds)| seconds).sum::<f64>() / of_class().count() as f64
    }
}

#[derive(Clone, Copy, Debug)]
struct Job {
    class: RequestClass,
    work: f64,
    left: f64,
    arrived: f64,
    sent: f64,
    concurrency: u32,
}

/// Draws from a seed.
struct Chance(SplitMix64);

impl Chance {
    fn uniform(&mut self) -> f64 {
        ((self.0.draw() >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
    }

    fn exponential(&mut self, mean: f64) -> f64 {
        -mean * self.uniform().ln()
    }

    fn log_normal(&mut self, median: f64) -> f64 {
        let normal =
            (-2.0 * self.uniform().ln()).sqrt() * (std::f64::consts::TAU * self.uniform()).cos();
        median * normal.exp()
    }

    fn job(&mut self) -> (RequestClass, f64) {
        match self.uniform() {
            u if u < 0.8 => (RequestClass::Tile, self.exponential(0.008)),
            u if u < 0.995 => (RequestClass::Map, self.log_normal(0.18)),
            _ => (
                RequestClass::Feature,
                (2.67 * self.uniform().powf(-1.0 / 1.8)).min(60.0),
            ),
        }
    }
}

struct Simulation {
    world: World,
    chance: Chance,
    start: Instant,
    now: f64,
    next_arrival: f64,
    arrivals: f64,
    queue: Queue<Job>,
    running: Vec<Job>,
    auto: AdaptiveLimit,
    times: Vec<(RequestClass, f64)>,
    thirds: [Third; 3],
}

pub(super) fn run(world: &World) -> Run {
    let mut chance = Chance(SplitMix64::new(7));
    let mean_work = (0..100_000).map(|_| chance.job().1).sum::<f64>() / 100_000.0;
    let mut simulation = Simulation {
        world: *world,
        chance,
        start: Instant::now(),
        now: 0.0,
        next_arrival: 0.0,
        arrivals: mean_work / (world.load * f64::from(world.cores)),
        queue: Queue::new(CAPACITY),
        running: Vec::new(),
        auto: AdaptiveLimit::new(MaxInFlight::AUTO_START),
        times: Vec::new(),
        thirds: [Third::default(); 3],
    };
    while simulation.now < END {
        simulation.step();
    }
    Run {
        thirds: simulation.thirds,
        times: simulation.times,
    }
}

impl Simulation {
    fn step(&mut self) {
        let (leaving, until_departure) = self.next_departure();
        let until_arrival = self.next_arrival - self.now;
        self.work(until_departure.min(until_arrival));
        if until_departure <= until_arrival {
            self.depart(leaving);
        } else {
            self.arrive();
        }
        self.admit();
    }

    fn third(&self) -> Option<usize> {
        (self.now > WARMUP).then(|| (((self.now - WARMUP) / THIRD) as usize).min(2))
    }

    fn is_changed(&self, change: Change) -> bool {
        self.world.change == change && self.third() == Some(1)
    }

    fn cores(&self) -> f64 {
        f64::from(self.world.cores)
            / if self.is_changed(Change::HalfTheCores) {
                2.0
            } else {
                1.0
            }
    }

    /// Returns the numbers of requests that may be in flight: of all, of all but tiles, of heavy
    /// ones.
    fn caps(&self) -> [usize; 3] {
        let has_extra = self.world.fixed.is_none() && self.auto.has_extra();
        let cap = self.cap() as usize;
        let heavy = if self.world.fixed.is_none() {
            self.auto.heavy() as usize
        } else {
            0
        };
        let extra = if has_extra { (cap / 4).max(2) } else { 0 };
        [
            cap + extra,
            cap,
            (cap / 4)
                .max(2)
                .min((cap - 1).max(1))
                .max(heavy.min(cap - cap / 4)),
        ]
    }

    fn cap(&self) -> u32 {
        self.world.fixed.unwrap_or_else(|| self.auto.cap())
    }

    /// Returns the speed at which the job at index `at` is worked on.
    fn rate(&self, at: usize) -> f64 {
        match self.world.kind {
            Kind::Slots if (at as f64) < self.cores() => 1.0,
            Kind::Slots => 0.0,
            Kind::Shared => (self.cores() / self.running.len() as f64).min(1.0),
        }
    }

    fn next_departure(&self) -> (usize, f64) {
        let worked_on = self
            .running
            .iter()
            .enumerate()
            .filter(|(at, _)| self.rate(*at) > 0.0);
        let times = worked_on.map(|(at, job)| (at, job.left / self.rate(at)));
        times
            .min_by(|a, b| a.1.total_cmp(&b.1))
            .unwrap_or((0, f64::INFINITY))
    }

    fn work(&mut self, seconds: f64) {
        for at in 0..self.running.len() {
            let rate = self.rate(at);
            self.running[at].left -= rate * seconds;
        }
        if let Some(third) = self.third()
            && self.now > WARMUP + (third as f64 + 0.5) * THIRD
        {
            self.thirds[third].cap += f64::from(self.cap()) * seconds / (THIRD / 2.0);
            self.thirds[third].extra +=
                f64::from(u8::from(self.auto.has_extra())) * seconds / (THIRD / 2.0);
        }
        self.now += seconds;
    }

    fn at(&self, seconds: f64) -> Instant {
        self.start + Duration::from_secs_f64(seconds)
    }

    fn depart(&mut self, at: usize) {
        let job = self.running.remove(at);
        if let Some(third) = self.third() {
            self.thirds[third].utilisation += job.work / THIRD / f64::from(self.world.cores);
            self.times.push((job.class, self.now - job.arrived));
        }
        if job.class != RequestClass::Feature {
            let took = Duration::from_secs_f64((self.now - job.sent).max(0.0));
            let heavy = self
                .running
                .iter()
                .filter(|job| job.class == RequestClass::Feature)
                .count() as u32;
            let is_quick = job.class == RequestClass::Tile;
            let answered = Answered {
                class: job.class,
                is_quick,
                concurrency: job.concurrency,
                heavy,
                took,
                waited: None,
            };
            self.auto.learn(&answered, self.at(self.now));
        }
    }

    fn arrive(&mut self) {
        let (class, mut work) = self.chance.job();
        if class == RequestClass::Tile && self.is_changed(Change::SlowTiles) {
            work *= 10.0;
        }
        let priority = Priority::new(match class {
            RequestClass::Tile => 0,
            RequestClass::Map => 1,
            _ => 2,
        });
        let slot_request = SlotRequest {
            class,
            priority: priority.unwrap(),
            rules: 0,
            from_main: false,
            effort: Effort::OfClass,
            user: (self.chance.uniform() * 50.0) as u64,
            arrived: self.at(self.now),
            is_retry: false,
        };
        let job = Job {
            class,
            work,
            left: work,
            arrived: self.now,
            sent: 0.0,
            concurrency: 0,
        };
        match self.queue.push(slot_request, job) {
            Pushed::Waits(_) | Pushed::WaitsInsteadOf(..) | Pushed::Full(_) => {}
        }
        self.next_arrival = self.now + self.chance.exponential(self.arrivals);
    }

    /// Begins every request that may begin.
    fn admit(&mut self) {
        let now = self.at(self.now);
        loop {
            let [most, most_slower, most_heavy] = self.caps();
            let of = |is_counted: fn(RequestClass) -> bool| {
                self.running
                    .iter()
                    .filter(|job| is_counted(job.class))
                    .count()
            };
            let (slower, heavy) = (
                of(|class| class != RequestClass::Tile),
                of(|class| class == RequestClass::Feature),
            );
            let is_full = self.running.len() >= most;
            let served = self.queue.serve(
                |_| true,
                |waiter| {
                    let is_gone = now - waiter.slot_request.arrived > PATIENCE;
                    let has_room = !is_full
                        && match waiter.slot_request.class {
                            RequestClass::Tile => true,
                            RequestClass::Map => slower < most_slower,
                            _ => slower < most_slower && heavy < most_heavy,
                        };
                    if is_gone || has_room {
                        Offer::Taken(is_gone)
                    } else {
                        Offer::ClassMustWait
                    }
                },
            );
            match served {
                None => return,
                Some((_, true)) => {}
                Some((waiter, false)) => {
                    let others = if waiter.slot_request.class == RequestClass::Tile {
                        self.running.len()
                    } else {
                        slower
                    };
                    self.running.push(Job {
                        sent: self.now,
                        concurrency: others as u32 + 1,
                        ..waiter.value
                    });
                }
            }
        }
    }
}
