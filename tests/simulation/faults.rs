//! Faults that machines share, and faults of our own: neither is any one upstream's.
//!
//! | fault | what it looks like |
//! |---|---|
//! | the probe layer is withdrawn, renamed or fails | every probe and canary for a map fails in the same way, and clients' maps do not |
//! | credentials are refused, by all or by one | reloads are answered 401, and probes where they carry credentials |
//! | a database is down | its layers fail on every upstream, for clients and, where one of them is probed, for probes |
//! | geofront's own descriptors run out | nothing of ours reaches any upstream, whatever it would answer |

use std::time::Duration;

use geofront::cluster::{Cause, LocalFault, Outcome};

use crate::ledger::Key;
use crate::requests::Layer;
use crate::world::{Todo, World};

/// What is tried; one that is off waits for the feature that it is about.
const PROBE_LAYER: bool = true;
const CREDENTIALS: bool = true;
const DATABASE: bool = true;
const DESCRIPTORS: bool = true;
/// A canary that fails on all is in doubt as a probe is.
pub(crate) const CANARY: bool = false;
/// When a probe is right again, those that were asked before it was are not worse than the first one that passes.
const AFTER_PROBE_LAYER: bool = false;
/// A class that a replica alone serves is not refused while that replica is asked to reload.
pub(crate) const PINNED: bool = false;
/// Administration needs nothing but a main that can be reached.
pub(crate) const ADMINISTRATION: bool = true;

/// What is wrong everywhere at the moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Faults {
    probe_layer: Option<LayerFault>,
    credentials: Option<Refusal>,
    database: Option<Layer>,
    descriptors: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LayerFault {
    /// Withdrawn or renamed.
    Unknown,
    Fails,
}

#[derive(Clone, Debug)]
enum Refusal {
    ByAll,
    By(Key),
}

impl LayerFault {
    fn cause(self) -> Cause {
        match self {
            Self::Unknown => Cause::Unexpected("LayerNotDefined: Could not find layer ne:world".to_owned()),
            Self::Fails => Cause::Unexpected("NoApplicableCode: Rendering process failed".to_owned()),
        }
    }
}

impl Faults {
    /// Whether maps of this layer fail wherever they are asked for.
    pub(crate) fn fails_everywhere(&self, layer: Layer) -> bool {
        self.database == Some(layer)
    }

    /// Whether a map of the probed layer fails wherever it is asked for.
    pub(crate) fn fails_probes(&self) -> bool {
        self.probe_layer.is_some() || self.fails_everywhere(Layer::PROBED)
    }

    /// Whether this upstream refuses our credentials.
    pub(crate) fn refuses_us(&self, key: &Key) -> bool {
        match &self.credentials {
            None => false,
            Some(Refusal::ByAll) => true,
            Some(Refusal::By(one)) => one == key,
        }
    }

    /// What becomes of everything that we begin, if nothing of ours gets out.
    pub(crate) fn of_ours(&self) -> Option<Cause> {
        self.descriptors.then_some(Cause::Local(LocalFault::Descriptors))
    }
}

impl World {
    /// Another fault begins, or all that there are end.
    pub(crate) fn break_everything(&mut self) {
        let fault = match self.chance.below(8) {
            0 | 1 if PROBE_LAYER => {
                let probe_layer = Some(*self.chance.one_of(&[LayerFault::Unknown, LayerFault::Fails]));
                self.tally.count("a probe layer that fails everywhere");
                Faults { probe_layer, ..self.faults.clone() }
            }
            2 if CREDENTIALS => {
                let key = self.some_upstream();
                let credentials = Some(if self.chance.percent(50) { Refusal::ByAll } else { Refusal::By(key) });
                self.tally.count("credentials that are refused");
                Faults { credentials, ..self.faults.clone() }
            }
            3 if DATABASE => {
                let database = Some(Layer::random(&mut self.chance)).filter(|layer| PROBE_LAYER || *layer != Layer::PROBED);
                self.tally.count("a database that is down");
                Faults { database, ..self.faults.clone() }
            }
            4 if DESCRIPTORS => {
                self.tally.count("no descriptors left");
                Faults { descriptors: true, ..self.faults.clone() }
            }
            _ => Faults::default(),
        };
        self.change_faults(fault);
        let pause = self.chance.millis(1_000, 20_000);
        self.plan(pause, Todo::Break);
    }

    pub(crate) fn change_faults(&mut self, faults: Faults) {
        let was_in_doubt = !AFTER_PROBE_LAYER && self.faults.fails_probes() && !faults.fails_probes();
        if (self.faults.descriptors && !faults.descriptors) || was_in_doubt {
            // What is found out counts from here.
            self.ledger.values_mut().for_each(|entry| entry.lasting.begin_anew());
        }
        self.faults = faults;
    }

    /// The outcome of a question of ours, if nothing of ours gets out.
    pub(crate) fn as_far_as_we_get(&self, took: Duration, outcome: Outcome) -> (Duration, Outcome) {
        match self.faults.of_ours() {
            Some(cause) => (Duration::from_millis(1), Outcome::Failure(cause)),
            None => (took, outcome),
        }
    }

    /// What a probe or canary for a map finds where the upstream itself would draw it.
    pub(crate) fn asked_for_a_map(&self, outcome: Outcome, is_whole: bool) -> Outcome {
        match (outcome, self.faults.probe_layer) {
            (Outcome::Success, _) if !is_whole => Outcome::Failure(Cause::Unexpected("LayerNotDefined".to_owned())),
            (Outcome::Success, Some(fault)) => Outcome::Failure(fault.cause()),
            (Outcome::Success, None) if self.faults.fails_everywhere(Layer::PROBED) => {
                Outcome::Failure(LayerFault::Fails.cause())
            }
            (outcome, _) => outcome,
        }
    }
}
