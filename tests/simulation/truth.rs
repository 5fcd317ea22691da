//! The answers that the machines would really give, regardless of the cluster's conclusions, and
//! the check that no wrong conclusion takes the service away.
//!
//! A balancer without any state would find an upstream with right answers by trying. So no read is
//! refused while one exists in mode ready, once it has had the time to be found (`patience`). No
//! administration is refused while the main can be reached. Health, freshness and ejection do not
//! count here, because they are the cluster's conclusions.

use std::time::{Duration, Instant};

use geofront::cluster::{Mode, ReloadPhase, UpstreamStatus};
use geofront::config::{Config, MainReads, Role, ServedBy, StalePolicy};
use geofront::ogc::RequestClass;

use crate::faults::ADMINISTRATION;
use crate::ledger::Key;
use crate::machine::{Condition, Machine};
use crate::oracle::{Oracle, key};
use crate::requests::Request;
use crate::world::World;

/// Start times of two states of an upstream; `None` while a state does not hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lasting {
    /// Start of the time in which it answers every read correctly, even if slowly.
    right: Option<Instant>,
    /// Start of the time in which it answers at all.
    reachable: Option<Instant>,
}

impl Lasting {
    fn observe(&mut self, machine: &Machine, now: Instant) {
        let since = |before: Option<Instant>, holds: bool| holds.then(|| before.unwrap_or(now));
        self.right = since(self.right, machine.answers_rightly());
        self.reachable = since(self.reachable, machine.is_reachable());
    }

    /// Resets the times: earlier findings about the upstream do not count any more.
    pub(crate) fn begin_anew(&mut self) {
        *self = Self::default();
    }
}

impl Machine {
    pub(crate) fn answers_rightly(&self) -> bool {
        matches!(self.shows(), Condition::Healthy | Condition::Slow) && self.geoserver.is_whole()
    }

    fn is_reachable(&self) -> bool {
        match self.shows() {
            Condition::Refusing | Condition::Overrun | Condition::Silent | Condition::Flapping => {
                false
            }
            Condition::Healthy
            | Condition::Slow
            | Condition::Busy
            | Condition::BrokenLayer(_)
            | Condition::OutOfMemory(_) => true,
        }
    }
}

/// Returns the maximum time until an upstream that answers is known to answer: the running probe or
/// canary, and then as many probes as `rise` requires.
fn patience(config: &Config) -> Duration {
    let (health, second) = (&config.health, Duration::from_secs(1));
    health.timeout * 2
        + second
        + (health.timeout + health.down_interval * 3 / 2 + second) * (health.rise + 1)
}

/// The extra time while another upstream has to answer the canary, and one probe may be lost.
const JUROR: Duration = Duration::from_secs(12);

impl World {
    /// After every step.
    pub(crate) fn observe_truth(&mut self) {
        self.directory.observe(self.now);
        for key in self.ledger.keys().cloned().collect::<Vec<_>>() {
            self.machine(key.1);
            let machine = &self.machines[&key.1];
            let entry = self.ledger.get_mut(&key).expect("it is tracked");
            entry.lasting.observe(machine, self.now);
        }
    }

    /// A request was refused because no upstream is there for it.
    pub(crate) fn judge_refusal(&self, oracle: &Oracle<'_>, request: &Request) {
        let fails_anyway = request
            .layer
            .is_some_and(|layer| self.faults.fails_everywhere(layer));
        if fails_anyway || self.faults.of_ours().is_some() {
            return;
        }
        let found = oracle
            .upstreams()
            .find(|status| self.would_have_served(status, request));
        assert!(
            found.is_none(),
            "{} is refused, and this one would have answered: {found:#?}",
            request.class
        );
    }

    fn would_have_served(&self, status: &UpstreamStatus, request: &Request) -> bool {
        let (key, class) = (key(status), request.class);
        let lasting = self.ledger[&key].lasting;
        let since = match &self.config.classes[class].served_by {
            ServedBy::Replicas => lasting.right,
            ServedBy::Upstream(_) => lasting.right,
            ServedBy::Main if ADMINISTRATION => lasting.reachable,
            ServedBy::Main => None,
        };
        let is_found = since.is_some_and(|since| since + patience(&self.config) <= self.now);
        let is_pinned = matches!(self.config.classes[class].served_by, ServedBy::Upstream(_));
        let is_on_its_way = match status.catalog.phase {
            // Requests that only it serves wait for it.
            ReloadPhase::Reloading | ReloadPhase::Testing if is_pinned => false,
            // Its reload has just been ordered.
            ReloadPhase::Reloading => true,
            // It is on its way back, and a canary that fails everywhere does not keep it.
            ReloadPhase::Testing => !self.must_have_returned(&key),
            // It could as well go on serving, unless it did so for long enough, or may be empty.
            ReloadPhase::Draining => {
                let bound = self.config.catalog.drain_timeout;
                let upkeep = &self.ledger[&key].upkeep;
                !is_pinned && !upkeep.may_be_put_off(&status.catalog, bound, self.now)
            }
            // It may be empty, and no canary shows that it is not.
            ReloadPhase::Failed => self.faults.fails_probes(),
            ReloadPhase::No | ReloadPhase::Waiting | ReloadPhase::HeldBack => false,
        };
        let is_old = class == RequestClass::Capabilities
            && self.config.catalog.stale == StalePolicy::Avoid
            && !status.catalog.is_fresh
            && status.role == Role::Replica;
        let may = status.mode == Mode::Ready
            && !request.keys.contains(&key)
            && self.has_part(&key, status.role, class);
        is_found && may && !is_on_its_way && !is_old
    }

    /// Its reload is answered as done for as long as canaries take; and where those fail
    /// everywhere, the main could show that.
    fn must_have_returned(&self, key: &Key) -> bool {
        let long_ago = |since: Option<Instant>, and: Duration| {
            since.is_some_and(|since| since + patience(&self.config) + and <= self.now)
        };
        let is_tested = long_ago(self.ledger[key].upkeep.testing_since, JUROR);
        let is_main_right = self
            .ledger
            .get(&self.main())
            .is_some_and(|main| long_ago(main.lasting.right, JUROR));
        let is_steady = self
            .faults
            .since
            .is_none_or(|since| long_ago(Some(since), JUROR));
        is_tested && (!self.faults.fails_probes() || is_main_right && is_steady)
    }

    pub(crate) fn is_read(&self, class: RequestClass) -> bool {
        matches!(self.config.classes[class].served_by, ServedBy::Replicas)
    }

    /// True if it serves the class by configuration.
    fn has_part(&self, key: &Key, role: Role, class: RequestClass) -> bool {
        let configured = self
            .config
            .upstreams
            .iter()
            .find(|upstream| upstream.name.as_str() == key.0);
        let reads = configured.expect("a tracked upstream is configured").reads;
        match &self.config.classes[class].served_by {
            ServedBy::Replicas => {
                role == Role::Replica
                    || reads != MainReads::Never
                    || class == RequestClass::Capabilities
            }
            ServedBy::Main => role == Role::Main,
            ServedBy::Upstream(name) => name.as_str() == key.0,
        }
    }
}
