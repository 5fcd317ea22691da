//! The machine at an address: a GeoServer, and the faults it has at the moment.

use std::time::Duration;

use geofront::cluster::{Cause, Outcome};

use crate::chance::Chance;
use crate::geoserver::GeoServer;

#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) condition: Condition,
    pub(crate) geoserver: GeoServer,
}

impl Machine {
    /// Returns the visible condition: a process that has just begun accepts connections and answers
    /// no request.
    pub(crate) fn shows(&self) -> Condition {
        if self.geoserver.is_starting() {
            Condition::Silent
        } else {
            self.condition
        }
    }

    /// Its number, if it answers at all.
    pub(crate) fn update_sequence(&self) -> Option<u64> {
        let is_there = self.geoserver.is_running && !self.geoserver.is_starting();
        is_there.then_some(self.geoserver.number)
    }

    /// True if administrators can work with it.
    pub(crate) fn is_writable(&self) -> bool {
        let answers = !matches!(
            self.condition,
            Condition::Silent | Condition::Refusing | Condition::Overrun
        );
        answers && self.geoserver.is_running && !self.geoserver.is_loading()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Condition {
    Healthy,
    /// Nothing listens: there is no process.
    Refusing,
    /// The process is there with its catalog, and has no room for another connection.
    Overrun,
    /// It accepts and never answers.
    Silent,
    /// It answers, and nearly too late.
    Slow,
    /// This part of its answers is a 500; probes pass.
    BrokenLayer(u64),
    /// This percentage of its answers reports out of memory, at once; probes mostly pass.
    OutOfMemory(u64),
    /// Up one moment and gone the next.
    Flapping,
    /// The control-flow module answers that it is busy.
    Busy,
}

/// No attempt takes longer, so that a world has an end.
pub(crate) const LONGEST_ATTEMPT: Duration = Duration::from_secs(20);
/// Nor a process to begin.
pub(crate) const LONGEST_START: Duration = Duration::from_secs(3);

fn failure(cause: Cause) -> Outcome {
    Outcome::Failure(cause)
}

fn refused() -> Outcome {
    failure(Cause::Connect(Cause::REFUSED.to_owned()))
}

/// The process is there, but not always to be reached.
fn unreachable() -> Outcome {
    failure(Cause::Connect("no route to host".to_owned()))
}

impl Condition {
    pub(crate) fn random(chance: &mut Chance) -> Self {
        match chance.below(13) {
            0..=3 => Self::Healthy,
            4 | 5 => Self::Refusing,
            6 => Self::Silent,
            7 => Self::Slow,
            8 => Self::BrokenLayer(chance.between(10, 100)),
            9 => Self::OutOfMemory(chance.between(10, 100)),
            10 => Self::Flapping,
            11 => Self::Overrun,
            _ => Self::Busy,
        }
    }

    /// Draws how long an attempt takes and its outcome. Clients leave now and then, and that is no
    /// evidence.
    pub(crate) fn attempt(self, chance: &mut Chance) -> (Duration, Option<Outcome>) {
        let quick = chance.millis(1, 5);
        let usual = chance.millis(5, 800);
        let (after, outcome) = match self {
            Self::Healthy => (usual, Outcome::Success),
            Self::Refusing | Self::Overrun => (quick, refused()),
            Self::Silent => (LONGEST_ATTEMPT, failure(Cause::Timeout("no first byte"))),
            Self::Slow => (usual * 10, Outcome::Success),
            Self::BrokenLayer(percent) if chance.percent(percent) => {
                (usual, failure(Cause::Status(500)))
            }
            Self::OutOfMemory(percent) if chance.percent(percent) => (
                quick,
                failure(Cause::NodeFault("OutOfMemoryError".to_owned())),
            ),
            Self::Flapping if chance.percent(50) => {
                (quick, failure(Cause::Reset("before the answer")))
            }
            Self::Busy => (quick, Outcome::Busy),
            Self::BrokenLayer(_) | Self::OutOfMemory(_) | Self::Flapping => {
                (usual, Outcome::Success)
            }
        };
        let is_aborted = chance.percent(5);
        (after.min(LONGEST_ATTEMPT), (!is_aborted).then_some(outcome))
    }

    /// Returns the duration of a probe and its result.
    pub(crate) fn probe(self, chance: &mut Chance, timeout: Duration) -> (Duration, Outcome) {
        let quick = chance.millis(1, 50);
        match self {
            Self::Healthy | Self::BrokenLayer(_) => (quick, Outcome::Success),
            Self::Refusing | Self::Overrun => (quick, refused()),
            Self::Silent => (timeout, failure(Cause::Timeout("no answer"))),
            Self::Slow => (timeout * 9 / 10, Outcome::Success),
            Self::OutOfMemory(_) if chance.percent(80) => (quick, Outcome::Success),
            Self::OutOfMemory(_) => (
                quick,
                failure(Cause::Unexpected("a ServiceException".to_owned())),
            ),
            Self::Flapping if chance.percent(50) => (quick, Outcome::Success),
            Self::Flapping => (quick, unreachable()),
            Self::Busy => (quick, Outcome::Busy),
        }
    }
}
