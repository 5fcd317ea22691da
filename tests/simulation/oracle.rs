//! A second opinion: who may serve what, made from the status that operators see, the slow and obvious way.

use geofront::cluster::{ClusterStatus, HealthState, Mode, NoUpstream, UpstreamStatus};
use geofront::config::{Config, MainReads, Role, ServedBy, UpstreamConfig};
use geofront::ogc::RequestClass;

use crate::ledger::Key;

/// The cluster at one instant.
pub(crate) struct Oracle<'w> {
    config: &'w Config,
    status: ClusterStatus,
}

/// Where a request of some class belongs.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Belongs {
    /// To one place.
    There(Key),
    /// To the trial of one of these.
    Trial(Vec<Key>),
    /// To the least loaded of these.
    Any {
        keys: Vec<Key>,
        is_backup: bool,
    },
    Nowhere(NoUpstream),
}

pub(crate) fn key(status: &UpstreamStatus) -> Key {
    (status.name.to_string(), status.address)
}

fn is_up_and_ready(status: &UpstreamStatus) -> bool {
    status.health == HealthState::Up && status.mode == Mode::Ready
}

pub(crate) fn is_set_aside(status: &UpstreamStatus) -> bool {
    status.ejected_for.is_some() || status.half_open
}

impl<'w> Oracle<'w> {
    pub(crate) fn new(config: &'w Config, status: ClusterStatus) -> Self {
        Self { config, status }
    }

    pub(crate) fn upstreams(&self) -> impl Iterator<Item = &UpstreamStatus> {
        self.status.upstreams.iter()
    }

    pub(crate) fn of(&self, key: &Key) -> &UpstreamStatus {
        self.upstreams().find(|status| self::key(status) == *key).expect("only known upstreams are asked for")
    }

    /// `tried`: what the request tried before. `on_trial`: whose trial is taken.
    pub(crate) fn belongs(&self, class: RequestClass, tried: &[Key], on_trial: impl Fn(&Key) -> bool) -> Belongs {
        if let Some(name) = self.one_place(class) {
            let place = self.upstreams().find(|status| status.name.as_str() == name && is_up_and_ready(status)).map(key);
            return match place {
                Some(key) if tried.contains(&key) => Belongs::Nowhere(NoUpstream::AllTried),
                Some(key) => Belongs::There(key),
                None => Belongs::Nowhere(NoUpstream::NoneEligible),
            };
        }
        let fresh = |keys: Vec<Key>| keys.into_iter().filter(|key| !tried.contains(key)).collect::<Vec<_>>();
        let first = fresh(self.shared(false, |status| !is_set_aside(status)));
        let backup = fresh(self.shared(true, |status| !is_set_aside(status)));
        let trials: Vec<_> =
            fresh(self.shared(false, |status| status.half_open)).into_iter().filter(|key| !on_trial(key)).collect();
        let (first, backup) = (Belongs::Any { keys: first, is_backup: false }, Belongs::Any { keys: backup, is_backup: true });
        let trials = Belongs::Trial(trials);
        let order = if tried.is_empty() { [trials, first, backup] } else { [first, backup, trials] };
        order.into_iter().find(|belongs| !belongs.is_empty()).unwrap_or_else(|| Belongs::Nowhere(self.why_nowhere(tried)))
    }

    /// The classes that nobody but this one serves in full now.
    pub(crate) fn classes_only_of(&self, key: &Key) -> Vec<RequestClass> {
        let is_alone = |class: &RequestClass| match self.one_place(*class) {
            Some(name) => key.0 == name && is_up_and_ready(self.of(key)),
            None => self.serving_reads() == [key.clone()],
        };
        RequestClass::ALL.into_iter().filter(is_alone).collect()
    }

    /// Those who could serve reads if nobody was set aside, and how many of them are.
    pub(crate) fn pool(&self) -> (usize, usize) {
        let pool = || self.shared(false, |_| true).into_iter().chain(self.shared(true, |_| true));
        (pool().count(), pool().filter(|key| is_set_aside(self.of(key))).count())
    }

    fn serving_reads(&self) -> Vec<Key> {
        let serving = |is_backup| self.shared(is_backup, |status| !is_set_aside(status));
        serving(false).into_iter().chain(serving(true)).collect()
    }

    fn why_nowhere(&self, tried: &[Key]) -> NoUpstream {
        let is_no_more_ejected = |status: &UpstreamStatus| status.ejected_for.is_none();
        let places = [false, true].into_iter().flat_map(|is_backup| self.shared(is_backup, is_no_more_ejected));
        if places.into_iter().any(|key| tried.contains(&key)) { NoUpstream::AllTried } else { NoUpstream::NoneEligible }
    }

    /// Those up and ready that serve what several may serve, as backup or not.
    fn shared(&self, as_backup: bool, filter: impl Fn(&UpstreamStatus) -> bool) -> Vec<Key> {
        let has_part = |status: &UpstreamStatus| match (status.role, self.configured(status).reads) {
            (Role::Replica, _) | (Role::Main, MainReads::Always) => !as_backup,
            (Role::Main, MainReads::Backup) => as_backup,
            (Role::Main, MainReads::Never) => false,
        };
        self.upstreams().filter(|status| is_up_and_ready(status) && has_part(status) && filter(status)).map(key).collect()
    }

    fn one_place(&self, class: RequestClass) -> Option<&str> {
        match &self.config.classes[class].served_by {
            ServedBy::Replicas => None,
            ServedBy::Main => {
                self.config.upstreams.iter().find(|upstream| upstream.role == Role::Main).map(|main| main.name.as_str())
            }
            ServedBy::Upstream(name) => Some(name.as_str()),
        }
    }

    fn configured(&self, status: &UpstreamStatus) -> &UpstreamConfig {
        let found = self.config.upstreams.iter().find(|upstream| upstream.name == status.name);
        found.expect("who is tracked is configured")
    }
}

impl Belongs {
    fn is_empty(&self) -> bool {
        match self {
            Self::Trial(keys) | Self::Any { keys, .. } => keys.is_empty(),
            Self::There(_) | Self::Nowhere(_) => false,
        }
    }
}

/// Whether `chosen` costs no more than `other`. While somebody ramps up, the status knows weights only to the next smaller
/// whole number, and never below one: what that leaves open counts for the choice.
pub(crate) fn costs_at_most(chosen: &UpstreamStatus, other: &UpstreamStatus) -> bool {
    let slack = |status: &UpstreamStatus| u64::from(status.effective_weight != status.weight);
    let load = |status: &UpstreamStatus| u64::from(status.in_flight) + 1;
    let most = u64::from(chosen.effective_weight) + slack(chosen);
    other.effective_weight == 1 || load(chosen) * u64::from(other.effective_weight) <= load(other) * most
}
