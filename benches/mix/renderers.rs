//! What renders, as a queueing model: the two ways in which geosim's replicas share their cores, in
//! virtual time.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use crate::arrivals::Arrival;

/// How a replica divides its cores among what it has been given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Model {
    /// As many at a time as it has cores, in order of arrival: a pool, or control-flow.
    Slots,
    /// All at a time, each the slower for it: Tomcat's threads without control-flow.
    Shared,
}

impl Model {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Slots => "slots",
            Self::Shared => "shared",
        }
    }
}

/// Every job at work receives service at the same rate, so one number suffices: the service that a
/// job has received which was there from the start. A job that begins at service `s` with work `w`
/// leaves at `s + w`. Nanoseconds: whole numbers have an order.
#[derive(Debug)]
pub(crate) struct Renderers {
    model: Model,
    cores: usize,
    /// Zero for one that stands still.
    speed: f64,
    service: f64,
    /// When `service` was right.
    at: f64,
    running: BinaryHeap<Reverse<(u64, usize)>>,
    /// Number and work of those that wait inside for a slot.
    waiting: VecDeque<(usize, f64)>,
}

impl Renderers {
    pub(crate) fn new(model: Model, cores: usize, speed: f64) -> Self {
        let (running, waiting) = (BinaryHeap::new(), VecDeque::new());
        Self {
            model,
            cores,
            speed,
            service: 0.0,
            at: 0.0,
            running,
            waiting,
        }
    }

    /// Returns how many times as fast it works now.
    pub(crate) fn speed(&self) -> f64 {
        self.speed
    }

    /// Works so many times as fast from `now` on.
    pub(crate) fn set_speed(&mut self, speed: f64, now: f64) {
        self.advance(now);
        self.speed = speed;
    }

    /// Takes job `number` at `now`.
    pub(crate) fn take(&mut self, number: usize, arrival: &Arrival, now: f64) {
        self.advance(now);
        self.waiting.push_back((number, arrival.work.as_secs_f64()));
        self.begin();
    }

    /// When the next job ends if nothing else happens; never while nothing is done.
    pub(crate) fn next_end(&self) -> Option<f64> {
        let Reverse((leaves, _)) = self.running.peek()?;
        let rate = self.rate();
        (rate > 0.0).then(|| self.at + (*leaves as f64 / 1e9 - self.service).max(0.0) / rate)
    }

    /// The job that ends at `now`, which is [`next_end`](Self::next_end).
    pub(crate) fn end(&mut self, now: f64) -> Option<usize> {
        self.advance(now);
        let ended = self.running.pop().map(|Reverse((_, number))| number);
        self.begin();
        ended
    }

    fn begin(&mut self) {
        let most = match self.model {
            Model::Slots => self.cores,
            Model::Shared => usize::MAX,
        };
        while self.running.len() < most
            && let Some((number, work)) = self.waiting.pop_front()
        {
            self.running
                .push(Reverse((nanoseconds(self.service + work), number)));
        }
    }

    fn advance(&mut self, now: f64) {
        // No job is running, so none depends on the value; starting over keeps it precise.
        self.service = if self.running.is_empty() {
            0.0
        } else {
            self.service + (now - self.at) * self.rate()
        };
        self.at = now;
    }

    /// Service in a second for each job at work: none uses more than one core.
    fn rate(&self) -> f64 {
        self.speed * (self.cores as f64 / self.running.len().max(1) as f64).min(1.0)
    }
}

fn nanoseconds(seconds: f64) -> u64 {
    (seconds * 1e9) as u64
}
