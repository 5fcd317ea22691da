//! The same arrivals through a front door without costs: the best possible result of a policy,
//! beside the measured one.
//!
//! When a target is missed, the model shows whether the cause is the program or its policy: both
//! get the same arrivals, and the model has no network, timer or process. Limits and weights are
//! learned by geofront's own code, and requests wait in its own [`Waitlist`].

use std::collections::{HashMap, HashSet, VecDeque};
use std::convert::Infallible;
use std::time::{Duration, Instant};

use geofront::admission::{
    AdaptiveLimit, Answered, ConcurrencyKeys, Newcomer, SlotRequest, SlotSearch, Slots, WaiterId,
    Waitlist, WaitlistAnswer, WaitlistResult,
};
use geofront::balance::{self, Caps, LearnedCap, Slowness, Watched};
use geofront::config::{ControlFlow, Effort, Limits, MaxInFlight, PerUser, Priority};
use geofront::ogc::RequestClass;

use crate::arrivals::{Arrival, Kind};
use crate::renderers::{Model, Renderers};
use crate::requests;
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
    /// Tiles before maps before heavy ones, with geofront's bounds of the queue; else in order of
    /// arrival, without bounds.
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

/// The defaults of `queue` and `queue_timeout`.
const QUEUE: u32 = 400;
const QUEUE_TIMEOUT: Duration = Duration::from_secs(20);

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

/// The replicas behind the front door, and the result of every request.
struct Replicas<'a> {
    world: World<'a>,
    rules: Rules,
    replicas: Vec<Replica>,
    /// Where the search for the least loaded starts: ties go around.
    turn: usize,
    /// `None` of a request that was refused, and until it has ended.
    latencies: Vec<Option<Duration>>,
    /// Seconds on the clock of the arrivals.
    now: f64,
    /// Start of the clock for the learning code.
    start: Instant,
    observer: &'a mut Observer<'a>,
}

struct Front<'a> {
    replicas: Replicas<'a>,
    waitlist: Waitlist<usize>,
    limits: Limits,
    /// In order of arrival, some of them gone by now.
    waiters: VecDeque<Waiter>,
    /// The tiles that moved once; they move no more.
    moved: HashSet<usize>,
    /// Time of the last look for more of them.
    moved_at: f64,
}

struct Waiter {
    until: f64,
    id: WaiterId,
}

/// Is called for every request that is sent, with the time in seconds, the replica chosen, and the
/// share of each replica out of [`balance::WHOLE`].
pub(crate) type Observer<'a> = dyn FnMut(f64, usize, &dyn Fn(usize) -> u32) + 'a;

/// From arrival to end of each of the arrivals; `None` if it was refused.
pub(crate) fn latencies(world: World<'_>, rules: Rules) -> Vec<Option<Duration>> {
    observed(world, rules, &mut |_, _, _| ())
}

/// Like [`latencies`], with an observer.
pub(crate) fn observed<'a>(
    world: World<'a>,
    rules: Rules,
    observer: &'a mut Observer<'a>,
) -> Vec<Option<Duration>> {
    let mut front = Front::new(world, rules, observer);
    let mut changes = changes(world.episodes).into_iter().peekable();
    for (number, arrival) in world.arrivals.iter().enumerate() {
        let at = arrival.at.as_secs_f64();
        while let Some(change) = changes.next_if(|change| change.at <= at) {
            front.run_until(change.at);
            front.replicas.change(&change);
        }
        front.run_until(at);
        front.look_around(at);
        front.take(number);
    }
    for change in changes {
        front.run_until(change.at);
        front.replicas.change(&change);
    }
    front.run_until(f64::INFINITY);
    front.replicas.latencies
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

impl<'a> Front<'a> {
    fn new(world: World<'a>, rules: Rules, observer: &'a mut Observer<'a>) -> Self {
        let replica = |speed: &f64| Replica {
            renderers: Renderers::new(world.model, world.cores, *speed),
            in_flight: [0; 3],
            adaptive_limit: AdaptiveLimit::new(MaxInFlight::AUTO_START),
            slowness: Slowness::default(),
            sent: HashMap::new(),
        };
        let start = Instant::now();
        Self {
            replicas: Replicas {
                world,
                rules,
                replicas: world.speeds.iter().map(replica).collect(),
                turn: 0,
                latencies: vec![None; world.arrivals.len()],
                now: 0.0,
                start,
                observer,
            },
            waitlist: Waitlist::new(start),
            limits: limits(rules),
            waiters: VecDeque::new(),
            moved: HashSet::new(),
            moved_at: 0.0,
        }
    }

    fn run_until(&mut self, time: f64) {
        while let Some((end, at)) = self.replicas.next_end().filter(|(end, _)| *end <= time) {
            if self.replicas.end(end, at) {
                self.look_around(end);
                let now = self.replicas.at(end);
                self.waitlist.serve(&mut self.replicas, now);
            }
        }
    }

    /// What happens at any time: waits end, upstreams are compared, and tiles leave slow ones.
    fn look_around(&mut self, now: f64) {
        self.replicas.now = now;
        self.replicas.review();
        self.move_waits(now);
        while let Some(waiter) = self.waiters.front().filter(|waiter| waiter.until <= now) {
            let (id, at) = (waiter.id, self.replicas.at(now));
            self.waitlist.leave(id, &mut self.replicas, at);
            self.waiters.pop_front();
        }
    }

    /// Sends an arrival, refuses it, or lets it wait.
    fn take(&mut self, number: usize) {
        let now = self.replicas.at(self.replicas.now);
        let newcomer = Newcomer {
            slot_request: self.replicas.slot_request(number),
            keys: ConcurrencyKeys::default(),
            request: number,
        };
        match self
            .waitlist
            .request_slot(newcomer, &self.limits, &mut self.replicas, now)
        {
            WaitlistAnswer::Admitted(replica) => self.replicas.send(number, replica),
            WaitlistAnswer::Waiting(id) => self.waiters.push_back(Waiter {
                until: self.replicas.now + self.limits.queue_timeout.as_secs_f64(),
                id,
            }),
            WaitlistAnswer::Full(_) => {}
            WaitlistAnswer::Refused(refusal) => match refusal {},
        }
    }

    /// Moves the tiles that a slow replica keeps waiting to others.
    fn move_waits(&mut self, now: f64) {
        if !self.replicas.rules.moves || now < self.moved_at + MOVE_PAUSE {
            return;
        }
        self.moved_at = now;
        for at in 0..self.replicas.replicas.len() {
            for number in self.replicas.late_tiles(at) {
                if self.moved.contains(&number) {
                    continue;
                }
                if !self.replicas.move_tile(number, at) {
                    break;
                }
                self.moved.insert(number);
            }
        }
    }
}

impl Slots<usize> for Replicas<'_> {
    type Slot = usize;
    type Admission = usize;
    type Refusal = Infallible;

    fn find(&mut self, number: &usize, _: bool) -> SlotSearch<usize, Infallible> {
        self.choose(self.world.arrivals[*number].kind)
            .map_or(SlotSearch::Full, SlotSearch::Found)
    }

    fn admit(&mut self, replica: usize, _: ConcurrencyKeys) -> usize {
        replica
    }

    fn prepare_wait(&mut self, _: &mut usize) {}

    fn end_wait(&mut self, number: usize, result: WaitlistResult<usize, Infallible>) {
        match result {
            WaitlistResult::Admitted(replica) => self.send(number, replica),
            WaitlistResult::Shed(_) => {}
            WaitlistResult::Refused(refusal) => match refusal {},
        }
    }

    fn set_waiting(&mut self, _: usize) {}

    fn set_waiting_of_class(&mut self, _: RequestClass, _: usize) {}
}

impl Replicas<'_> {
    fn at(&self, seconds: f64) -> Instant {
        self.start + Duration::from_secs_f64(seconds)
    }

    fn change(&mut self, change: &Change) {
        let speed = self.world.speeds[change.replica] * change.speed;
        self.replicas[change.replica]
            .renderers
            .set_speed(speed, change.at);
    }

    fn slot_request(&self, number: usize) -> SlotRequest {
        let arrival = &self.world.arrivals[number];
        let (class, priority, user) = if self.rules.by_kind {
            let user = requests::user_number(arrival);
            match arrival.kind {
                Kind::Tile => (RequestClass::Tile, Priority::FIRST, user),
                Kind::Map => (RequestClass::Map, Priority::LAST_LIGHT, user),
                Kind::Heavy => (RequestClass::Feature, Priority::HEAVY, user),
            }
        } else {
            (RequestClass::Feature, Priority::HEAVY, 0)
        };
        SlotRequest {
            class,
            priority,
            rules: 0,
            from_main: false,
            effort: Effort::OfClass,
            user,
            arrived: self.at(arrival.at.as_secs_f64()),
            is_retry: false,
        }
    }

    /// Ends the job of replica `at` that ends now. Returns false if its request has left.
    fn end(&mut self, now: f64, at: usize) -> bool {
        self.now = now;
        let number = self.replicas[at]
            .renderers
            .end(now)
            .expect("a replica with a next end has a job");
        let arrival = self.world.arrivals[number];
        let replica = &mut self.replicas[at];
        // A request that moved is drawn to its end all the same.
        let Some(sent) = replica.sent.remove(&number) else {
            return false;
        };
        replica.count(arrival.kind, -1);
        replica.learn(arrival.kind, &sent, now, self.start);
        let took = (now - arrival.at.as_secs_f64()).max(0.0);
        self.latencies[number] = Some(Duration::from_secs_f64(took));
        true
    }

    /// The tiles that wait at a slow replica for too long.
    fn late_tiles(&self, at: usize) -> Vec<usize> {
        let peers = self.replicas.iter().map(|replica| &replica.slowness);
        let slow = &self.replicas[at];
        let Some(limit) = balance::patience(&slow.slowness, peers, RequestClass::Tile) else {
            return Vec::new();
        };
        let is_late = |number: usize, sent: &Sent| {
            self.world.arrivals[number].kind == Kind::Tile
                && self.now - sent.at > limit.as_secs_f64()
        };
        let sent = slow.sent.iter();
        let mut late: Vec<usize> = sent
            .filter(|(number, sent)| is_late(**number, sent))
            .map(|(number, _)| *number)
            .collect();
        late.sort_unstable();
        late
    }

    /// Moves a tile from replica `from` to another. Returns false if none may leave now.
    fn move_tile(&mut self, number: usize, from: usize) -> bool {
        let cost = |at: &usize| self.replicas[*at].cost(self.rules);
        let best = (0..self.replicas.len())
            .filter(|at| *at != from && self.replicas[*at].has_room(Kind::Tile, self.rules))
            .min_by(|a, b| cost(a).total_cmp(&cost(b)));
        let Some(best) = best else { return false };
        if !self.replicas[from].slowness.take_leave(self.at(self.now)) {
            return false;
        }
        let left = &mut self.replicas[from];
        left.count(Kind::Tile, -1);
        let sent = left.sent.remove(&number).expect("it is late");
        if let Some(watched) = sent.watched {
            left.slowness.end(watched);
        }
        let waited = Duration::from_secs_f64(self.now - sent.at);
        left.slowness
            .learn_unanswered(RequestClass::Tile, sent.concurrency, waited);
        self.dispatch(number, best);
        true
    }

    fn send(&mut self, number: usize, replica: usize) {
        self.dispatch(number, replica);
        let replicas = &self.replicas;
        (self.observer)(self.now, replica, &|at| replicas[at].slowness.share());
    }

    fn dispatch(&mut self, number: usize, replica: usize) {
        let arrival = &self.world.arrivals[number];
        let at = self.at(self.now);
        let chosen = &mut self.replicas[replica];
        chosen.count(arrival.kind, 1);
        let in_its_way = chosen.in_flight[(arrival.kind as usize).min(1)];
        let concurrency = u32::try_from(in_its_way).unwrap_or(u32::MAX);
        let watched = class(arrival.kind).map(|class| chosen.slowness.begin(class, at));
        chosen.sent.insert(
            number,
            Sent {
                at: self.now,
                concurrency,
                watched,
            },
        );
        chosen.renderers.take(number, arrival, self.now);
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

    fn review(&self) {
        if self.rules.slowness == Recognition::Measured {
            balance::review(
                self.replicas.iter().map(|replica| &replica.slowness),
                self.at(self.now),
            );
        }
    }

    fn choose(&self, kind: Kind) -> Option<usize> {
        let has_room = |at: &usize| self.replicas[*at].has_room(kind, self.rules);
        let count = self.replicas.len();
        if self.rules.slowness == Recognition::Measured && kind != Kind::Heavy {
            let (is_light, now) = (kind == Kind::Tile, self.at(self.now));
            let is_due =
                |at: &usize| has_room(at) && self.replicas[*at].slowness.take_trial(is_light, now);
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

fn limits(rules: Rules) -> Limits {
    let (queue, queue_timeout) = if rules.by_kind {
        (QUEUE, QUEUE_TIMEOUT)
    } else {
        (u32::MAX, Duration::MAX)
    };
    Limits {
        max_in_flight: MaxInFlight::Auto,
        queue,
        queue_timeout,
        per_user: PerUser::Off,
        quick_reserve: 0,
        heavy_share: HEAVY_SHARE,
        heavy_map_pixels: 0,
        head_size: 0,
        head_fields: 0,
        control_flow: ControlFlow::default(),
    }
}
