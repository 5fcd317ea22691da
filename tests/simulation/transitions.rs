//! The transitions that the cluster reports, and what each must be founded on.

use geofront::cluster::{Cause, HealthState, Mode, Transition, TransitionKind};

use crate::ledger::{Entry, Key};
use crate::oracle::key;
use crate::places::Ramp;
use crate::world::World;

impl World {
    /// Publishes the snapshot that requests see, as `Control` would.
    pub(crate) fn look_again(&mut self) {
        if let Some(snapshot) = self.cluster.take_snapshot() {
            self.snapshot = snapshot;
            self.room.ring();
        }
    }

    /// Publishes and checks what changed.
    pub(crate) fn hear(&mut self, transitions: Vec<Transition>) {
        self.look_again();
        for transition in transitions {
            self.sequence += 1;
            assert_eq!(transition.sequence, self.sequence, "no transition is lost");
            if self.is_replay {
                println!(
                    "{:>9.3} {transition}",
                    (self.now - self.start).as_secs_f64()
                );
            }
            self.hear_one(&transition);
        }
        self.end_common_ramps();
    }

    pub(crate) fn hear_one(&mut self, transition: &Transition) {
        match &transition.what {
            TransitionKind::Health { from, to, cause } => {
                self.health_changed(&self.key_of(transition), *from, *to, cause.as_ref())
            }
            TransitionKind::Ejected { until, .. } => {
                assert!(*until > self.now, "an ejection takes time");
                self.ejected(&self.key_of(transition));
            }
            TransitionKind::HalfOpen => {
                self.tally.count("half-open");
                self.entry_of(transition).is_half_open = true;
            }
            TransitionKind::Returned => {
                self.tally.count("returned");
                let ramp = self.ramp();
                let entry = self.entry_of(transition);
                (entry.is_half_open, entry.ramp) = (false, Some(ramp));
            }
            TransitionKind::Mode { to, .. } => {
                self.tally.count(match to {
                    Mode::Ready => "mode ready",
                    Mode::Drain => "mode drain",
                    Mode::Maintenance => "mode maintenance",
                });
                if *to == Mode::Maintenance {
                    self.entry_of(transition).forget();
                }
                self.entry_of(transition).lasting.begin_anew();
            }
            TransitionKind::ConditionBegan { .. } => self.tally.count("a condition began"),
            TransitionKind::ConditionEnded { .. } => {}
            TransitionKind::CatalogChanged { .. }
            | TransitionKind::Stale { .. }
            | TransitionKind::ReloadBegan { .. }
            | TransitionKind::Reloaded { .. }
            | TransitionKind::ReloadFailed { .. }
            | TransitionKind::ReloadPostponed { .. }
            | TransitionKind::TilesTruncated { .. }
            | TransitionKind::TruncationFailed { .. }
            | TransitionKind::RollBegan { .. }
            | TransitionKind::RollEnded(_)
            | TransitionKind::RollsPaused(_) => {
                let key = transition
                    .upstream
                    .as_ref()
                    .map(|_| self.key_of(transition));
                self.check_catalog_transition(key.as_ref(), &transition.what);
            }
            TransitionKind::Added => self.tally.count("added"),
            TransitionKind::Renamed { .. } => self.tally.count("renamed"),
            TransitionKind::LayerChosen { .. } => self.tally.count("a layer was chosen"),
            TransitionKind::LayerLost { .. } => self.tally.count("a layer was lost"),
            TransitionKind::Retired => self.tally.count("retired"),
            TransitionKind::Moved { .. } => {
                unreachable!("simulated upstreams have addresses, not names")
            }
            TransitionKind::Configured { revision } => {
                self.tally.count("configured");
                self.revision += 1;
                assert_eq!(*revision, self.revision);
            }
        }
    }

    pub(crate) fn health_changed(
        &mut self,
        key: &Key,
        from: HealthState,
        to: HealthState,
        cause: Option<&Cause>,
    ) {
        let ramp = self.ramp();
        let entry = self
            .ledger
            .get_mut(key)
            .expect("a changed upstream is tracked");
        assert_ne!(from, to, "a change is one");
        assert_eq!(
            cause.is_some(),
            to == HealthState::Down,
            "an upstream that goes down has a cause"
        );
        // Probes decide from here.
        entry.is_half_open &= to == HealthState::Up;
        entry.ramp = Some(ramp).filter(|_| {
            (from, to) == (HealthState::Down, HealthState::Up) && entry.measured.is_right()
        });
        self.tally.count(match to {
            HealthState::Up => "health up",
            HealthState::Down => "health down",
            HealthState::Unknown => "health unknown",
        });
    }

    /// Probes that should have reported by now are given up, as the cluster finds out with its next
    /// event.
    pub(crate) fn lose_probes(&mut self) {
        let now = self.now;
        let lost = self
            .ledger
            .values_mut()
            .filter_map(|entry| entry.probe_is_lost(now).then_some(()))
            .count();
        (0..lost).for_each(|_| self.tally.count("a lost probe"));
    }

    /// While most of those that serve are coming back, none is spared.
    pub(crate) fn end_common_ramps(&mut self) {
        let now = self.now;
        let ramping = |entry: &Entry| {
            entry
                .ramp
                .is_some_and(|ramp| now < ramp.since + ramp.length)
        };
        let serving: Vec<(Key, u64)> = self
            .oracle()
            .first_serving()
            .map(|status| (key(status), u64::from(status.weight)))
            .collect();
        let all: u64 = serving.iter().map(|(_, weight)| weight).sum();
        let spared: u64 = serving
            .iter()
            .filter(|(key, _)| ramping(&self.ledger[key]))
            .map(|(_, weight)| weight)
            .sum();
        if spared * 2 > all {
            self.tally.count("most came back together");
            serving
                .iter()
                .for_each(|(key, _)| self.ledger.get_mut(key).expect("it serves").ramp = None);
        }
    }

    /// One that begins now.
    pub(crate) fn ramp(&self) -> Ramp {
        Ramp {
            since: self.now,
            length: self.config.health.slow_start,
        }
    }

    /// Checks that evidence from requests alone never sets aside more than half of the upstreams
    /// that could serve reads.
    pub(crate) fn ejected(&mut self, key: &Key) {
        let (pool, set_aside) = self.oracle().pool();
        let entry = self
            .ledger
            .get_mut(key)
            .expect("an ejected upstream is tracked");
        let was_set_aside = std::mem::take(&mut entry.is_half_open);
        self.tally.count(if was_set_aside {
            "ejected again"
        } else {
            "ejected"
        });
        assert!(
            was_set_aside || set_aside * 2 <= pool,
            "{set_aside} of {pool} are set aside"
        );
    }

    pub(crate) fn key_of(&self, transition: &Transition) -> Key {
        let name = transition.upstream.as_ref().expect("it concerns one");
        let found = self.ledger.keys().find(|key| key.0 == name.as_str());
        found.expect("a changed upstream is tracked").clone()
    }

    pub(crate) fn entry_of(&mut self, transition: &Transition) -> &mut Entry {
        let key = self.key_of(transition);
        self.ledger.get_mut(&key).expect("it was found")
    }
}
