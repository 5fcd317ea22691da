//! Faults that machines share, and faults of our own: neither is the fault of any single upstream.
//!
//! | fault | what it looks like |
//! |---|---|
//! | the probe layer is withdrawn, renamed or fails | every probe and canary for a map fails in the same way, and clients' maps do not |
//! | credentials are refused, by all or by one | reloads are answered 401, and probes where they carry credentials |
//! | a database is down | its layers fail on every upstream, for clients and, where one of them is probed, for probes |
//! | geofront's own descriptors run out | nothing of ours reaches any upstream, whatever it would answer |

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use geofront::cluster::{Cause, Event, LayerChoice, LocalFault, Outcome, Upstream};

use crate::ledger::Key;
use crate::requests::Layer;
use crate::world::{Todo, World};

/// The faults that are tried. A fault that is off waits for the feature that it concerns.
const PROBE_LAYER: bool = true;
const CREDENTIALS: bool = true;
const DATABASE: bool = true;
const DESCRIPTORS: bool = true;
/// Administration needs nothing but a main that can be reached.
pub(crate) const ADMINISTRATION: bool = true;

/// The faults that exist everywhere at the moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Faults {
    probe_layer: Option<LayerFault>,
    credentials: Option<Refusal>,
    database: Option<Layer>,
    descriptors: bool,
    /// When any of them last changed.
    pub(crate) since: Option<Instant>,
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
            Self::Unknown => {
                Cause::Unexpected("LayerNotDefined: Could not find layer ne:world".to_owned())
            }
            Self::Fails => {
                Cause::Unexpected("NoApplicableCode: Rendering process failed".to_owned())
            }
        }
    }
}

impl Faults {
    /// Returns whether maps of this layer fail on every upstream.
    pub(crate) fn fails_everywhere(&self, layer: Layer) -> bool {
        self.database == Some(layer)
    }

    /// Returns whether a map of the probed layer fails on every upstream.
    pub(crate) fn fails_probes(&self) -> bool {
        self.probe_layer.is_some() || self.fails_everywhere(Layer::PROBED)
    }

    /// True if this upstream refuses our credentials.
    pub(crate) fn refuses_us(&self, key: &Key) -> bool {
        match &self.credentials {
            None => false,
            Some(Refusal::ByAll) => true,
            Some(Refusal::By(one)) => one == key,
        }
    }

    /// The only upstream that refuses our credentials.
    pub(crate) fn key(&mut self) -> Option<&mut Key> {
        match &mut self.credentials {
            Some(Refusal::By(key)) => Some(key),
            Some(Refusal::ByAll) | None => None,
        }
    }

    /// Returns the result of every request of geofront's own, if none gets out.
    pub(crate) fn of_ours(&self) -> Option<Cause> {
        self.descriptors
            .then_some(Cause::Local(LocalFault::Descriptors))
    }
}

impl World {
    /// Another fault begins, or all that there are end.
    pub(crate) fn break_everything(&mut self) {
        let fault = match self.chance.below(8) {
            0 | 1 if PROBE_LAYER => {
                let probe_layer = Some(
                    *self
                        .chance
                        .one_of(&[LayerFault::Unknown, LayerFault::Fails]),
                );
                self.tally.count("a probe layer that fails everywhere");
                Faults {
                    probe_layer,
                    ..self.faults.clone()
                }
            }
            2 if CREDENTIALS => {
                let key = self.some_upstream();
                let credentials = Some(if self.chance.percent(50) {
                    Refusal::ByAll
                } else {
                    Refusal::By(key)
                });
                self.tally.count("credentials that are refused");
                Faults {
                    credentials,
                    ..self.faults.clone()
                }
            }
            3 if DATABASE => {
                let database = Some(Layer::random(&mut self.chance))
                    .filter(|layer| PROBE_LAYER || *layer != Layer::PROBED);
                self.tally.count("a database that is down");
                Faults {
                    database,
                    ..self.faults.clone()
                }
            }
            4 if DESCRIPTORS => {
                self.tally.count("no descriptors left");
                Faults {
                    descriptors: true,
                    ..self.faults.clone()
                }
            }
            _ => Faults::default(),
        };
        self.change_faults(fault);
        let pause = self.chance.millis(1_000, 20_000);
        self.plan(pause, Todo::Break);
    }

    pub(crate) fn change_faults(&mut self, faults: Faults) {
        if self.faults.descriptors && !faults.descriptors {
            // Observations count from here.
            self.ledger
                .values_mut()
                .for_each(|entry| entry.lasting.begin_anew());
        }
        if faults.fails_probes() && !self.faults.fails_probes() {
            self.faulty_layer = self.cluster.chosen_layer().map(str::to_owned);
        }
        self.faults = Faults {
            since: Some(self.now),
            ..faults
        };
    }

    /// The outcome of a request of geofront's own, if none gets out.
    pub(crate) fn as_far_as_we_get(&self, took: Duration, outcome: Outcome) -> (Duration, Outcome) {
        match self.faults.of_ours() {
            Some(cause) => (Duration::from_millis(1), Outcome::Failure(cause)),
            None => (took, outcome),
        }
    }

    /// Returns the canary's finding: for a configured layer, for the chosen one, or for
    /// capabilities, which an empty catalog has too.
    pub(crate) fn canary_outcome(
        &mut self,
        outcome: Outcome,
        is_whole: bool,
        address: SocketAddr,
    ) -> Outcome {
        if self.blueprint.has_canary() || self.probes_draw {
            return self.map_outcome(outcome, is_whole);
        }
        if self.cluster.chosen_layer().is_none() {
            self.tally.count("a canary that knows no layer");
            self.machine(address).geoserver.disown();
        }
        self.chosen_layer_outcome(outcome, is_whole)
    }

    /// Only that the layer is unknown counts; anything else is the layer's matter, and capabilities
    /// decide.
    pub(crate) fn chosen_layer_outcome(&self, outcome: Outcome, is_whole: bool) -> Outcome {
        let chosen = self.cluster.chosen_layer();
        let is_withdrawn = self.faulty_layer.as_deref() == chosen
            && self.faults.probe_layer == Some(LayerFault::Unknown);
        match outcome {
            Outcome::Success if chosen.is_some() && (!is_whole || is_withdrawn) => {
                Outcome::Failure(LayerFault::Unknown.cause())
            }
            outcome => outcome,
        }
    }

    /// The main answers, and may not draw the chosen layer: that is no fault of the main's.
    pub(crate) fn lose_layer(&mut self, outcome: Outcome, is_whole: bool) -> Outcome {
        if outcome == Outcome::Success
            && let Some(layer) = self.cluster.chosen_layer().map(str::to_owned)
            && (!is_whole
                || (self.faulty_layer.as_ref() == Some(&layer) && self.faults.fails_probes()))
        {
            self.handle(Event::LayerLost { layer });
        }
        outcome
    }

    pub(crate) fn begin_choice(&mut self, choice: LayerChoice) {
        if self.is_calm || self.chance.percent(95) {
            let after = self.chance.millis(10, 2_000);
            let number = self.plan(after, Todo::Choice);
            self.choices.insert(number, (self.now, choice));
        }
    }

    pub(crate) fn report_choice(&mut self, number: u64) {
        let Some((sent_at, choice)) = self.choices.remove(&number) else {
            return;
        };
        let mut draws = |upstream: &Upstream| {
            upstream
                .address
                .known()
                .is_some_and(|at| self.machine(at).answers_rightly())
        };
        let is_drawn = draws(&choice.main)
            && (choice.replicas.is_empty() || choice.replicas.iter().any(|replica| draws(replica)));
        let layer = if is_drawn {
            Ok(format!("ne:layer{number}"))
        } else {
            Err("the main draws none of its layers")
        };
        self.handle(Event::LayerChosen { sent_at, layer });
    }

    /// Returns the finding of a map probe or canary where the upstream itself would draw the map.
    pub(crate) fn map_outcome(&self, outcome: Outcome, is_whole: bool) -> Outcome {
        match (outcome, self.faults.probe_layer) {
            (Outcome::Success, _) if !is_whole => {
                Outcome::Failure(Cause::Unexpected("LayerNotDefined".to_owned()))
            }
            (Outcome::Success, Some(fault)) => Outcome::Failure(fault.cause()),
            (Outcome::Success, None) if self.faults.fails_everywhere(Layer::PROBED) => {
                Outcome::Failure(LayerFault::Fails.cause())
            }
            (outcome, _) => outcome,
        }
    }
}
