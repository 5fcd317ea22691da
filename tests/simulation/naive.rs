//! A balancer without geofront's beliefs, given the same requests. It uses least connections among
//! replicas that accept a TCP connection, and the main as backup. When one cannot be reached it
//! tries another, and it obeys the same orders by operators.
//!
//! It does not inspect answers, so it sends requests to any server that listens. Its cost is an
//! expectation: the share of the servers it would choose among that would not have answered
//! rightly. It sends nothing to a replica that our own reload emptied, because without geofront
//! nothing would have been reloaded.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use geofront::cluster::{Mode, UpstreamStatus};
use geofront::config::{MainReads, Role};

use crate::geoserver::LoadedBy;
use crate::machine::{Condition, Machine};
use crate::oracle::key;
use crate::world::World;

/// HAProxy's defaults: `inter 2s fall 3 rise 2`.
const INTERVAL: Duration = Duration::from_secs(2);
const FALL: u32 = 3;
const RISE: u32 = 2;

/// The bill of a world so far: of these many reads, so many were refused, failed or answered
/// wrongly.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Bill {
    pub(crate) reads: u64,
    pub(crate) ours: u64,
    pub(crate) naive: f64,
}

impl Bill {
    pub(crate) fn plus(self, other: Self) -> Self {
        Self {
            reads: self.reads + other.reads,
            ours: self.ours + other.ours,
            naive: self.naive + other.naive,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Naive {
    next: Instant,
    checks: BTreeMap<SocketAddr, Check>,
    pub(crate) bill: Bill,
}

/// The check of one server, which is up until checks find otherwise.
#[derive(Debug, Default)]
struct Check {
    is_down: bool,
    /// Checks in a row that contradict that.
    against: u32,
}

impl Check {
    fn learn(&mut self, accepts: bool) {
        self.against = if accepts == self.is_down {
            self.against + 1
        } else {
            0
        };
        if self.against >= if self.is_down { RISE } else { FALL } {
            *self = Self {
                is_down: !self.is_down,
                against: 0,
            };
        }
    }
}

impl Naive {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            next: now,
            checks: BTreeMap::new(),
            bill: Bill::default(),
        }
    }

    /// A read is over that it would have answered rightly with this chance.
    pub(crate) fn concluded(&mut self, chance: f64, is_right: bool) {
        self.bill.reads += 1;
        self.bill.ours += u64::from(!is_right);
        self.bill.naive += 1.0 - chance;
    }
}

/// The part of a server's answers that are right; `None` where no connection comes about.
fn right_part(machine: &Machine) -> Option<f64> {
    let whole = if machine.geoserver.is_whole() {
        1.0
    } else {
        0.0
    };
    let without = |percent: u64| (100 - percent) as f64 / 100.0;
    match machine.shows() {
        Condition::Healthy | Condition::Slow => Some(whole),
        Condition::BrokenLayer(percent) | Condition::OutOfMemory(percent) => {
            Some(without(percent) * whole)
        }
        Condition::Silent | Condition::Busy => Some(0.0),
        Condition::Flapping => Some(0.5 * whole),
        Condition::Refusing | Condition::Overrun => None,
    }
}

impl World {
    /// Its checks that are due.
    pub(crate) fn check_naively(&mut self) {
        while self.naive.next <= self.now {
            self.naive.next += INTERVAL;
            for key in self.ledger.keys() {
                let accepts = self
                    .machines
                    .get(&key.1)
                    .is_none_or(|machine| right_part(machine).is_some());
                self.naive.checks.entry(key.1).or_default().learn(accepts);
            }
        }
    }

    /// The chance that a read is answered rightly now without us.
    pub(crate) fn naive_chance(&self) -> f64 {
        let statuses = self.cluster.status(self.now).upstreams;
        let is_in = |status: &&UpstreamStatus| {
            let (address, is_ready) = (key(status).1, status.mode == Mode::Ready);
            let emptied_by_us = self
                .machines
                .get(&address)
                .is_some_and(|machine| machine.geoserver.emptied_by == Some(LoadedBy::Geofront));
            is_ready
                && !emptied_by_us
                && self
                    .naive
                    .checks
                    .get(&address)
                    .is_none_or(|check| !check.is_down)
        };
        let reads = |name: &str| {
            self.config
                .upstreams
                .iter()
                .find(|u| u.name.as_str() == name)
                .map(|upstream| upstream.reads)
        };
        let first = |s: &&UpstreamStatus| {
            s.role == Role::Replica || reads(s.name.as_str()) == Some(MainReads::Always)
        };
        let backup =
            |s: &&UpstreamStatus| !first(s) && reads(s.name.as_str()) == Some(MainReads::Backup);
        let servers: Vec<_> = statuses.iter().filter(is_in).collect();
        let part = |status: &UpstreamStatus| self.machines.get(&key(status).1).and_then(right_part);
        let mean =
            |of: Vec<f64>| (!of.is_empty()).then(|| of.iter().sum::<f64>() / of.len() as f64);
        let of = |filter: &dyn Fn(&&UpstreamStatus) -> bool| {
            mean(
                servers
                    .iter()
                    .copied()
                    .filter(filter)
                    .filter_map(part)
                    .collect(),
            )
        };
        of(&first).or_else(|| of(&backup)).unwrap_or(0.0)
    }
}
