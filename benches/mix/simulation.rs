//! The same arrivals through a front door that costs nothing: what a policy can reach at best, beside what was measured.
//!
//! When a target is missed, this tells whether the front door is to blame or the policy: both meet the same arrivals, and the
//! model has no network, no timer and no program in it.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use geofront::admission::{Answered, AutoCap};
use geofront::balance::{Caps, LearnedCap};
use geofront::config::MaxInFlight;
use geofront::ogc::RequestClass;

use crate::arrivals::{Arrival, Kind};
use crate::renderers::{Model, Renderers};

/// How a front door decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rules {
    /// Most in flight at a replica, by [`Kind`]: of all, of maps and heavy ones together, of heavy ones. Above it requests wait
    /// at the front.
    pub(crate) caps: Option<[usize; 3]>,
    /// Instead of `caps`: each replica's is learned, as with `max_in_flight = "auto"`.
    pub(crate) learns: bool,
    /// Tiles before maps before heavy ones; else in order of arrival.
    pub(crate) by_kind: bool,
    /// To the replica with the least expected work in flight, each request at the mean of its kind; else with the fewest requests.
    pub(crate) by_cost: bool,
}

/// The mean work of each [`Kind`], in milliseconds: what a front door would learn.
const COSTS: [usize; 3] = [8, 300, 6_000];

/// The default of `heavy_share`.
const HEAVY_SHARE: u32 = 25;

impl Rules {
    pub(crate) const LEAST_CONNECTIONS: Self = Self { caps: None, learns: false, by_kind: false, by_cost: false };

    /// One cap for all.
    pub(crate) const fn capped(cap: usize, by_kind: bool) -> Self {
        Self { caps: Some([cap; 3]), learns: false, by_kind, by_cost: false }
    }
}

struct Replica {
    renderers: Renderers,
    /// By [`Kind`], each with all that are less urgent.
    in_flight: [usize; 3],
    auto_cap: AutoCap,
    /// By number, what is in flight.
    sent: HashMap<usize, Sent>,
}

struct Sent {
    at: f64,
    company: u32,
}

impl Replica {
    fn has_room(&self, kind: Kind, rules: Rules) -> bool {
        let caps = if rules.learns { Some(self.learned()) } else { rules.caps };
        caps.is_none_or(|caps| (0..=kind as usize).all(|level| self.in_flight[level] < caps[level]))
    }

    fn learned(&self) -> [usize; 3] {
        let learned = LearnedCap { cap: self.auto_cap.cap(), has_extra: self.auto_cap.has_extra() };
        let caps = Caps::learned(learned, HEAVY_SHARE);
        [caps.all(), caps.slower(), caps.heavy()].map(|cap| cap as usize)
    }

    fn learn(&mut self, kind: Kind, sent: &Sent, end: f64, start: Instant) {
        let class = match kind {
            Kind::Tile => RequestClass::Tile,
            Kind::Map => RequestClass::Map,
            // Nothing is learned from them.
            Kind::Heavy => return,
        };
        let took = Duration::from_secs_f64((end - sent.at).max(0.0));
        let answered = Answered { class, company: sent.company, took, waited: None };
        self.auto_cap.learn(&answered, start + Duration::from_secs_f64(end));
    }

    /// What the choice compares.
    fn load(&self, rules: Rules) -> usize {
        if !rules.by_cost {
            return self.in_flight[0];
        }
        let less_urgent = [self.in_flight[1], self.in_flight[2], 0];
        let of_each = self.in_flight.iter().zip(less_urgent).zip(COSTS);
        of_each.map(|((with_others, others), cost)| (with_others - others) * cost).sum()
    }

    fn count(&mut self, kind: Kind, change: isize) {
        for level in &mut self.in_flight[..=kind as usize] {
            *level = level.checked_add_signed(change).expect("what ends has begun");
        }
    }
}

struct Front<'a> {
    arrivals: &'a [Arrival],
    rules: Rules,
    replicas: Vec<Replica>,
    /// Who waits, by [`Kind`].
    queues: [VecDeque<usize>; 3],
    /// Where the search for the least loaded starts: ties go around.
    turn: usize,
    latencies: Vec<Duration>,
    /// What learns wants a clock; this is its beginning.
    start: Instant,
}

/// From arrival to end of each of `arrivals`.
pub(crate) fn latencies(arrivals: &[Arrival], model: Model, cores: usize, speeds: &[f64], rules: Rules) -> Vec<Duration> {
    let replica = |speed: &f64| Replica {
        renderers: Renderers::new(model, cores, *speed),
        in_flight: [0; 3],
        auto_cap: AutoCap::new(MaxInFlight::AUTO_START),
        sent: HashMap::new(),
    };
    let mut front = Front {
        arrivals,
        rules,
        replicas: speeds.iter().map(replica).collect(),
        queues: Default::default(),
        turn: 0,
        latencies: vec![Duration::ZERO; arrivals.len()],
        start: Instant::now(),
    };
    for (number, arrival) in arrivals.iter().enumerate() {
        let at = arrival.at.as_secs_f64();
        front.run_until(at);
        front.queues[arrival.kind as usize].push_back(number);
        front.hand_out(at);
    }
    front.run_until(f64::INFINITY);
    front.latencies
}

impl Front<'_> {
    fn run_until(&mut self, time: f64) {
        while let Some((end, at)) = self.next_end().filter(|(end, _)| *end <= time) {
            let number = self.replicas[at].renderers.end(end).expect("a replica with a next end has a job");
            let arrival = self.arrivals[number];
            let replica = &mut self.replicas[at];
            replica.count(arrival.kind, -1);
            let sent = replica.sent.remove(&number).expect("what ends was sent");
            replica.learn(arrival.kind, &sent, end, self.start);
            self.latencies[number] = Duration::from_secs_f64((end - arrival.at.as_secs_f64()).max(0.0));
            self.hand_out(end);
        }
    }

    fn next_end(&self) -> Option<(f64, usize)> {
        let ends = self.replicas.iter().enumerate().filter_map(|(at, replica)| Some((replica.renderers.next_end()?, at)));
        ends.min_by(|a, b| a.0.total_cmp(&b.0))
    }

    fn hand_out(&mut self, now: f64) {
        while let Some((queue, replica)) = self.next_start() {
            let number = self.queues[queue].pop_front().expect("its first was looked at");
            let arrival = &self.arrivals[number];
            let chosen = &mut self.replicas[replica];
            chosen.count(arrival.kind, 1);
            let in_its_way = chosen.in_flight[(arrival.kind as usize).min(1)];
            chosen.sent.insert(number, Sent { at: now, company: u32::try_from(in_its_way).unwrap_or(u32::MAX) });
            chosen.renderers.take(number, arrival, now);
            self.turn += 1;
        }
    }

    /// The queue whose first may start, and where.
    fn next_start(&self) -> Option<(usize, usize)> {
        let mut waiting: Vec<(usize, Kind, usize)> = [Kind::Tile, Kind::Map, Kind::Heavy]
            .into_iter()
            .filter_map(|kind| Some((*self.queues[kind as usize].front()?, kind, kind as usize)))
            .collect();
        if !self.rules.by_kind {
            waiting.sort_unstable();
        }
        waiting.into_iter().find_map(|(_, kind, queue)| Some((queue, self.least_loaded(kind)?)))
    }

    fn least_loaded(&self, kind: Kind) -> Option<usize> {
        let count = self.replicas.len();
        let around = (0..count).map(|step| (self.turn + step) % count);
        around.filter(|at| self.replicas[*at].has_room(kind, self.rules)).min_by_key(|at| self.replicas[*at].load(self.rules))
    }
}
