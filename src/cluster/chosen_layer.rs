//! The layer that probes and canaries draw when none is configured.
//!
//! Capabilities do not show that a catalog is empty; a map does. If neither `probe_layer` nor
//! `canary_layer` is configured, geofront therefore chooses a layer that the main and a replica
//! draw quickly. The choice does no harm. Before it, probes read capabilities, and a chosen layer
//! that the main cannot draw any more is given up and replaced.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::upstreams::Upstreams;
use super::{Condition, TransitionKind, Upstream};
use crate::config::Role;
use crate::health::PollTimer;

/// Limit for one choice, which takes the capabilities of a large catalog and some maps.
const CHOICE_LIMIT: Duration = Duration::from_secs(120);
/// Pause between two choices, whatever their result.
const PAUSE: Duration = Duration::from_secs(10);
/// Longest pause after choices without a result.
const MAX_PAUSE: Duration = Duration::from_secs(600);
/// Replicas that may show that a layer can be drawn.
const MAX_REPLICAS: usize = 4;

/// An order to choose a layer.
#[derive(Clone, Debug)]
pub struct LayerChoice {
    pub main: Arc<Upstream>,
    /// Replicas that are up; one of them must draw the layer as well.
    pub replicas: Vec<Arc<Upstream>>,
    /// The previously chosen layer.
    pub previous: Option<String>,
}

/// The state of the choice.
#[derive(Debug)]
pub(super) struct Choosing {
    due: PollTimer,
    /// The reason why the last choice had no result.
    failure: Option<&'static str>,
    failures: u32,
    previous: Option<String>,
    /// The chosen layer. It survives a restart.
    pub(super) layer: Option<String>,
}

impl Choosing {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            due: PollTimer::At(now),
            failure: None,
            failures: 0,
            previous: None,
            layer: None,
        }
    }

    /// Returns the layer that probes and canaries draw, if geofront chose one.
    pub(super) fn in_force(&self, upstreams: &Upstreams) -> Option<&str> {
        self.layer
            .as_deref()
            .filter(|_| self.may_choose_layer(upstreams))
    }

    /// Takes in the result of a choice.
    pub(super) fn chosen(
        &mut self,
        upstreams: &mut Upstreams,
        sent_at: Instant,
        layer: Result<String, &'static str>,
        now: Instant,
    ) {
        if !self.due.is_answered(sent_at) {
            return;
        }
        match layer {
            Ok(layer) => {
                (self.due, self.failure, self.failures) = (PollTimer::At(now + PAUSE), None, 0);
                self.layer = Some(layer.clone());
                upstreams.emit(None, TransitionKind::LayerChosen { layer });
            }
            Err(why) => {
                let pause = PAUSE
                    .saturating_mul(1 << self.failures.min(16))
                    .min(MAX_PAUSE);
                (self.due, self.failure) = (PollTimer::At(now + pause), Some(why));
                self.failures += 1;
            }
        }
    }

    /// Gives up a layer that the main does not draw any more.
    pub(super) fn lost(&mut self, upstreams: &mut Upstreams, lost: &str) {
        if let Some(layer) = self.layer.take_if(|layer| layer == lost) {
            self.previous = Some(layer.clone());
            upstreams.emit(None, TransitionKind::LayerLost { layer });
        }
    }

    pub(super) fn pass_time(&mut self, upstreams: &mut Upstreams, now: Instant) {
        if let Some(began) = self.due.give_up(now) {
            self.chosen(upstreams, began, Err("choosing did not end"), now);
        }
    }

    /// Begins the choice that is due.
    pub(super) fn begin(&mut self, upstreams: &Upstreams, now: Instant) -> Option<LayerChoice> {
        if !self.due.is_due(now) {
            return None;
        }
        let choice = self.choice(upstreams)?;
        self.due.begin(now, CHOICE_LIMIT);
        Some(choice)
    }

    pub(super) fn deadline(&self, upstreams: &Upstreams) -> Option<Instant> {
        let is_waited_for = self.due.is_running() || self.choice(upstreams).is_some();
        is_waited_for.then(|| self.due.deadline())
    }

    pub(super) fn condition(&self, upstreams: &Upstreams) -> Option<Condition> {
        let why = self.failure.filter(|_| self.wants_layer(upstreams))?;
        Some(Condition::NoProbeLayer {
            why: why.to_owned(),
        })
    }

    fn may_choose_layer(&self, upstreams: &Upstreams) -> bool {
        upstreams.config.health.probe_layer.is_none()
            && upstreams.config.catalog.canary_layer.is_none()
    }

    fn wants_layer(&self, upstreams: &Upstreams) -> bool {
        self.may_choose_layer(upstreams) && self.layer.is_none()
    }

    /// Returns the choice that is due, if one is wanted and can be made.
    fn choice(&self, upstreams: &Upstreams) -> Option<LayerChoice> {
        let is_there = |role| {
            upstreams
                .iter()
                .filter(move |one| one.upstream.role == role && one.is_fit())
        };
        let main = is_there(Role::Main).find(|_| self.wants_layer(upstreams))?;
        let replicas: Vec<_> = is_there(Role::Replica)
            .take(MAX_REPLICAS)
            .map(|replica| Arc::clone(&replica.upstream))
            .collect();
        let previous = self.previous.clone();
        (!replicas.is_empty()).then(|| LayerChoice {
            main: Arc::clone(&main.upstream),
            replicas,
            previous,
        })
    }
}
