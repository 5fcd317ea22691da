//! The same arrivals through a front door without costs: the best possible result of a policy,
//! beside the measured one.
//!
//! When a target is missed, the model shows whether the cause is the program or its policy: both
//! get the same arrivals, and the model has no network, timer or process. Limits and weights are
//! learned by geofront's own code.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::{Duration, Instant};

use geofront::admission::{AdaptiveLimit, Answered};
use geofront::balance::{self, Caps, LearnedCap, Slowness, Watched};
use geofront::config::MaxInFlight;
use geofront::ogc::RequestClass;

use crate::arrivals::{Arrival, Kind};
use crate::renderers::{Model, Renderers};
use crate::trouble::{Episode, Trouble};

/// How a front door decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rules {
    /// Most in flight at a replica, by [`Kind`]: of all, of maps and heavy ones together, of heavy
    /// ones. Above it requests wait at the front.
    pub(crate) caps: Option<[usize; 3]>,
    /// Instead of `caps`: each replica's is learned, as with `max_in_flight = "auto"`.
    pub(crate) learns: bool,
    /// How a replica that is slower than its peers is recognised; it then gets less.
    pub(crate) slowness: Recognition,
    /// Tiles that a slow replica keeps waiting move to another.
    pub(crate) moves: bool,
    /// Tiles before maps before heavy ones; else in order of arrival.
    pub(crate) by_kind: bool,
    /// To the replica with the least expected work in flight, each request at the mean of its kind;
    /// else with the fewest requests.
    pub(crate) by_cost: bool,
}

/// How slow replicas are recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Recognition {
    /// Not at all.
    None,
    /// By the times of their answers, as geofront does.
    Measured,
    /// By the true speed of each replica at every moment, which no front door can measure. No
    /// policy can do better.
    Known,
}

/// The mean work of each [`Kind`] in milliseconds, as a front door would learn it.
const COSTS: [usize; 3] = [8, 300, 6_000];

/// The default of `heavy_share`.
const HEAVY_SHARE: u32 = 25;

/// Seconds between two searches for tiles that a slow replica keeps waiting.
const MOVE_PAUSE: f64 = 0.02;

/// Seconds of waiting that equal one step of priority.
const AGEING: f64 = 5.0;

impl Rules {
    pub(crate) const LEAST_CONNECTIONS: Self = Self {
        caps: None,
        learns: false,
        slowness: Recognition::None,
        moves: false,
        by_kind: false,
        by_cost: false,
    };

    /// As geofront is by default.
    pub(crate) const DEFAULTS: Self = Self {
        learns: true,
        slowness: Recognition::Measured,
        moves: true,
        ..Self::capped(8, true)
    };

    /// One cap for all.
    pub(crate) const fn capped(cap: usize, by_kind: bool) -> Self {
        Self {
            caps: Some([cap; 3]),
            by_kind,
            ..Self::LEAST_CONNECTIONS
        }
    }
}

/// The arrivals, and the replicas that work on them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct World<'a> {
    pub(crate) arrivals: &'a [Arrival],
    pub(crate) model: Model,
    pub(crate) cores: usize,
    pub(crate) speeds: &'a [f64],
    pub(crate) episodes: &'a [Episode],
}

struct Replica {
    renderers: Renderers,
    /// By [`Kind`], each with all that are less urgent.
    in_flight: [usize; 3],
    adaptive_limit: AdaptiveLimit,
    slowness: Slowness,
    /// By number, what is in flight.
    sent: HashMap<usize, Sent>,
}

struct Sent {
    at: f64,
    concurrency: u32,
    watched: Option<Watched>,
}

impl Replica {
    fn has_room(&self, kind: Kind, rules: Rules) -> bool {
        let caps = if rules.learns {
            Some(self.learned())
        } else {
            rules.caps
        };
        caps.is_none_or(|caps| (0..=kind as usize).all(|level| self.in_flight[level] < caps[level]))
    }

    fn learned(&self) -> [usize; 3] {
        let learned = LearnedCap {
            cap: self.adaptive_limit.cap(),
            has_extra: self.adaptive_limit.has_extra(),
            heavy: self.adaptive_limit.heavy(),
        };
        let caps = Caps::learned(learned, HEAVY_SHARE);
        [caps.all(), caps.slower(), caps.heavy()].map(|cap| cap as usize)
    }

    fn learn(&mut self, kind: Kind, sent: &Sent, end: f64, start: Instant) {
        if let Some(watched) = sent.watched {
            self.slowness.end(watched);
        }
        let Some(class) = class(kind) else { return };
        let took = Duration::from_secs_f64((end - sent.at).max(0.0));
        let now = start + Duration::from_secs_f64(end);
        self.slowness.learn(class, sent.concurrency, took);
        let heavy = u32::try_from(self.in_flight[Kind::Heavy as usize]).unwrap_or(u32::MAX);
        let answered = Answered {
            class,
            is_quick: kind == Kind::Tile,
            concurrency: sent.concurrency,
            heavy,
            took,
            waited: None,
        };
        self.adaptive_limit.learn(&answered, now);
    }

    /// What the choice compares.
    fn cost(&self, rules: Rules) -> f64 {
        if rules.by_cost {
            let less_urgent = [self.in_flight[1], self.in_flight[2], 0];
            let of_each = self.in_flight.iter().zip(less_urgent).zip(COSTS);
            return of_each
                .map(|((with_others, others), cost)| (with_others - others) * cost)
                .sum::<usize>() as f64;
        }
        let share = match rules.slowness {
            Recognition::None => 1.0,
            Recognition::Measured => f64::from(self.slowness.share()),
            // A replica that stands still comes last.
            Recognition::Known => self.renderers.speed().max(f64::MIN_POSITIVE),
        };
        (self.in_flight[0] + 1) as f64 / share
    }

    fn count(&mut self, kind: Kind, change: isize) {
        for level in &mut self.in_flight[..=kind as usize] {
            *level = level
                .checked_add_signed(change)
                .expect("what ends has begun");
        }
    }
}

/// The kinds whose latencies are samples: heavy ones are too few and too different.
fn class(kind: Kind) -> Option<RequestClass> {
    match kind {
        Kind::Tile => Some(RequestClass::Tile),
        Kind::Map => Some(RequestClass::Map),
        Kind::Heavy => None,
    }
}

struct Front<'a> {
    world: World<'a>,
    rules: Rules,
    replicas: Vec<Replica>,
    /// The waiting requests, by [`Kind`].
    queues: [VecDeque<usize>; 3],
    /// Where the search for the least loaded starts: ties go around.
    turn: usize,
    latencies: Vec<Duration>,
    /// The tiles that moved once; they move no more.
    moved: HashSet<usize>,
    /// Time of the last look for more of them.
    moved_at: f64,
    /// Start of the clock for the learning code.
    start: Instant,
    observer: &'a mut Observer<'a>,
}

/// Is called for every request that is sent, with the time in seconds, the replica chosen, and the
/// share of each replica out of [`balance::WHOLE`].
pub(crate) type Observer<'a> = dyn FnMut(f64, usize, &dyn Fn(usize) -> u32) + 'a;

/// From arrival to end of each of the arrivals.
pub(crate) fn latencies(world: World<'_>, rules: Rules) -> Vec<Duration> {
    observed(world, rules, &mut |_, _, _| ())
}

/// Like [`latencies`], with an observer.
pub(crate) fn observed<'a>(
    world: World<'a>,
    rules: Rules,
    observer: &'a mut Observer<'a>,
) -> Vec<Duration> {
    let replica = |speed: &f64| Replica {
        renderers: Renderers::new(world.model, world.cores, *speed),
        in_flight: [0; 3],
        adaptive_limit: AdaptiveLimit::new(MaxInFlight::AUTO_START),
        slowness: Slowness::default(),
        sent: HashMap::new(),
    };
    let mut front = Front {
        world,
        rules,
        replicas: world.speeds.iter().map(replica).collect(),
        queues: Default::default(),
        turn: 0,
        latencies: vec![Duration::ZERO; world.arrivals.len()],
        moved: HashSet::new(),
        moved_at: 0.0,
        start: Instant::now(),
        observer,
    };
    let mut changes = changes(world.episodes).into_iter().peekable();
    for (number, arrival) in world.arrivals.iter().enumerate() {
        let at = arrival.at.as_secs_f64();
        while let Some(change) = changes.next_if(|change| change.at <= at) {
            front.run_until(change.at);
            let speed = world.speeds[change.replica] * change.speed;
            front.replicas[change.replica]
                .renderers
                .set_speed(speed, change.at);
        }
        front.run_until(at);
        front.review(at);
        front.move_waits(at);
        front.queues[arrival.kind as usize].push_back(number);
        front.hand_out(at);
    }
    for change in changes {
        front.run_until(change.at);
        let speed = world.speeds[change.replica] * change.speed;
        front.replicas[change.replica]
            .renderers
            .set_speed(speed, change.at);
    }
    front.run_until(f64::INFINITY);
    front.latencies
}

/// A replica works this many times as fast from now on.
struct Change {
    at: f64,
    replica: usize,
    speed: f64,
}

fn changes(episodes: &[Episode]) -> Vec<Change> {
    let ends = |episode: &Episode| {
        let speed = match episode.trouble {
            Trouble::Slow(speed) => speed,
            Trouble::Freeze => 0.0,
            Trouble::Crash | Trouble::OutOfMemory => 1.0,
        };
        let change = |at: Duration, speed| Change {
            at: at.as_secs_f64(),
            replica: episode.replica,
            speed,
        };
        [
            change(episode.during.start, speed),
            change(episode.during.end, 1.0),
        ]
    };
    episodes.iter().flat_map(ends).collect()
}

impl Front<'_> {
    fn run_until(&mut self, time: f64) {
        while let Some((end, at)) = self.next_end().filter(|(end, _)| *end <= time) {
            let number = self.replicas[at]
                .renderers
                .end(end)
                .expect("a replica with a next end has a job");
            let arrival = self.world.arrivals[number];
            let replica = &mut self.replicas[at];
            // A request that moved is drawn to its end all the same.
            let Some(sent) = replica.sent.remove(&number) else {
                continue;
            };
            replica.count(arrival.kind, -1);
            replica.learn(arrival.kind, &sent, end, self.start);
            self.latencies[number] =
                Duration::from_secs_f64((end - arrival.at.as_secs_f64()).max(0.0));
            self.review(end);
            self.move_waits(end);
            self.hand_out(end);
        }
    }

    /// Moves the tiles that a slow replica keeps waiting to others.
    fn move_waits(&mut self, now: f64) {
        if !self.rules.moves || now < self.moved_at + MOVE_PAUSE {
            return;
        }
        self.moved_at = now;
        for at in 0..self.replicas.len() {
            let peers = self.replicas.iter().map(|replica| &replica.slowness);
            let slow = &self.replicas[at].slowness;
            let Some(limit) = balance::patience(slow, peers, RequestClass::Tile) else {
                continue;
            };
            let mut late: Vec<usize> = self.replicas[at]
                .sent
                .iter()
                .filter(|(number, sent)| {
                    self.world.arrivals[**number].kind == Kind::Tile
                        && now - sent.at > limit.as_secs_f64()
                        && !self.moved.contains(*number)
                })
                .map(|(number, _)| *number)
                .collect();
            late.sort_unstable();
            for number in late {
                let others = (0..self.replicas.len()).filter(|other| *other != at);
                let has_room =
                    |other: &usize| self.replicas[*other].has_room(Kind::Tile, self.rules);
                let cost = |other: &usize| self.replicas[*other].cost(self.rules);
                let best = others
                    .filter(has_room)
                    .min_by(|a, b| cost(a).total_cmp(&cost(b)));
                let Some(best) = best else { break };
                if !self.replicas[at].slowness.take_leave(self.at(now)) {
                    break;
                }
                self.moved.insert(number);
                let left = &mut self.replicas[at];
                left.count(Kind::Tile, -1);
                let sent = left.sent.remove(&number).expect("it is late");
                if let Some(watched) = sent.watched {
                    left.slowness.end(watched);
                }
                left.slowness.learn_unanswered(
                    RequestClass::Tile,
                    sent.concurrency,
                    Duration::from_secs_f64(now - sent.at),
                );
                self.send(number, best, now);
            }
        }
    }

    fn send(&mut self, number: usize, replica: usize, now: f64) {
        let arrival = &self.world.arrivals[number];
        let at = self.at(now);
        let chosen = &mut self.replicas[replica];
        chosen.count(arrival.kind, 1);
        let in_its_way = chosen.in_flight[(arrival.kind as usize).min(1)];
        let concurrency = u32::try_from(in_its_way).unwrap_or(u32::MAX);
        let watched = class(arrival.kind).map(|class| chosen.slowness.begin(class, at));
        chosen.sent.insert(
            number,
            Sent {
                at: now,
                concurrency,
                watched,
            },
        );
        chosen.renderers.take(number, arrival, now);
        self.turn += 1;
    }

    fn next_end(&self) -> Option<(f64, usize)> {
        let ends = self
            .replicas
            .iter()
            .enumerate()
            .filter_map(|(at, replica)| Some((replica.renderers.next_end()?, at)));
        ends.min_by(|a, b| a.0.total_cmp(&b.0))
    }

    fn review(&self, now: f64) {
        if self.rules.slowness == Recognition::Measured {
            balance::review(
                self.replicas.iter().map(|replica| &replica.slowness),
                self.at(now),
            );
        }
    }

    fn at(&self, seconds: f64) -> Instant {
        self.start + Duration::from_secs_f64(seconds)
    }

    fn hand_out(&mut self, now: f64) {
        while let Some((queue, replica)) = self.next_start(now) {
            let number = self.queues[queue]
                .pop_front()
                .expect("its first was looked at");
            self.send(number, replica, now);
            let replicas = &self.replicas;
            (self.observer)(now, replica, &|at| replicas[at].slowness.share());
        }
    }

    /// The queue whose first may start, and where.
    fn next_start(&self, now: f64) -> Option<(usize, usize)> {
        let rank = |number: usize, kind: Kind| {
            let arrived = self.world.arrivals[number].at.as_secs_f64();
            if self.rules.by_kind {
                arrived + AGEING * f64::from(kind as u8)
            } else {
                arrived
            }
        };
        let mut waiting: Vec<(f64, Kind)> = [Kind::Tile, Kind::Map, Kind::Heavy]
            .into_iter()
            .filter_map(|kind| Some((rank(*self.queues[kind as usize].front()?, kind), kind)))
            .collect();
        waiting.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        waiting
            .into_iter()
            .find_map(|(_, kind)| Some((kind as usize, self.choose(kind, now)?)))
    }

    fn choose(&self, kind: Kind, now: f64) -> Option<usize> {
        let has_room = |at: &usize| self.replicas[*at].has_room(kind, self.rules);
        let count = self.replicas.len();
        if self.rules.slowness == Recognition::Measured && kind != Kind::Heavy {
            let is_light = kind == Kind::Tile;
            let is_due = |at: &usize| {
                has_room(at)
                    && self.replicas[*at]
                        .slowness
                        .take_trial(is_light, self.at(now))
            };
            if let Some(trial) = (0..count).find(is_due) {
                return Some(trial);
            }
        }
        let around = (0..count).map(|step| (self.turn + step) % count);
        let cost = |at: &usize| self.replicas[*at].cost(self.rules);
        around
            .filter(has_room)
            .min_by(|a, b| cost(a).total_cmp(&cost(b)))
    }
}
