//! What renders, as a queueing model: the two ways in which geosim's replicas share their cores, in virtual time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::arrivals::Arrival;

/// How a replica divides its cores among what it has been given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Model {
    /// As many at a time as it has cores, in order of arrival: a pool, or control-flow.
    Slots,
    /// All at a time, each the slower for it: Tomcat's threads without control-flow.
    Shared,
}

/// Jobs by number, the next to end on top. Times are nanoseconds: whole numbers have an order.
type Ending = BinaryHeap<Reverse<(u64, usize)>>;

#[derive(Debug)]
pub(crate) enum Renderers {
    Slots {
        /// When each slot has done all that was given to it, in seconds.
        free_at: Vec<f64>,
        running: Ending,
        speed: f64,
    },
    Shared {
        /// The service that a job has received which was there from the start; jobs leave by it.
        service: f64,
        /// When `service` was right.
        at: f64,
        running: Ending,
        cores: f64,
        speed: f64,
    },
}

impl Renderers {
    pub(crate) fn new(model: Model, cores: usize, speed: f64) -> Self {
        match model {
            Model::Slots => Self::Slots { free_at: vec![0.0; cores], running: Ending::new(), speed },
            Model::Shared => Self::Shared { service: 0.0, at: 0.0, running: Ending::new(), cores: cores as f64, speed },
        }
    }

    /// Takes job `number` at `now`.
    pub(crate) fn take(&mut self, number: usize, arrival: &Arrival, now: f64) {
        let work = arrival.work.as_secs_f64();
        self.advance(now);
        match self {
            Self::Slots { free_at, running, speed } => {
                let first = free_at.iter_mut().min_by(|a, b| a.total_cmp(b)).expect("a replica has slots");
                *first = first.max(now) + work / *speed;
                running.push(Reverse((nanoseconds(*first), number)));
            }
            Self::Shared { service, running, .. } => running.push(Reverse((nanoseconds(*service + work), number))),
        }
    }

    /// When the next job ends if nothing else comes.
    pub(crate) fn next_end(&self) -> Option<f64> {
        match self {
            Self::Slots { running, .. } => running.peek().map(|Reverse((end, _))| *end as f64 / 1e9),
            Self::Shared { service, at, running, cores, speed } => {
                let Reverse((leaves, _)) = running.peek()?;
                Some(at + (*leaves as f64 / 1e9 - service).max(0.0) / rate(*cores, *speed, running.len()))
            }
        }
    }

    /// The job that ends at `now`, which is [`next_end`](Self::next_end).
    pub(crate) fn end(&mut self, now: f64) -> Option<usize> {
        self.advance(now);
        let (Self::Slots { running, .. } | Self::Shared { running, .. }) = self;
        running.pop().map(|Reverse((_, number))| number)
    }

    fn advance(&mut self, now: f64) {
        if let Self::Shared { service, at, running, cores, speed } = self {
            // Nobody measures by it when nobody is there; starting over keeps it precise.
            *service = if running.is_empty() { 0.0 } else { *service + (now - *at) * rate(*cores, *speed, running.len()) };
            *at = now;
        }
    }
}

/// Service in a second for each of `jobs`: none uses more than one core.
fn rate(cores: f64, speed: f64, jobs: usize) -> f64 {
    speed * (cores / jobs.max(1) as f64).min(1.0)
}

fn nanoseconds(seconds: f64) -> u64 {
    (seconds * 1e9) as u64
}
