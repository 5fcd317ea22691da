//! A second opinion on which upstream may serve which request, derived from the status that
//! operators see, the slow and obvious way.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use geofront::balance::AFFINITY_OVERFLOW;
use geofront::cluster::{
    ClusterStatus, HealthState, Mode, NoUpstream, ReloadPhase, UpstreamStatus,
};
use geofront::config::{Config, MainReads, Role, ServedBy, StalePolicy, UpstreamConfig};
use geofront::ogc::RequestClass;

use crate::ledger::{Entry, Key};
use crate::places::{AtWork, Kind, Places};
use crate::requests::Request;

/// The cluster at one instant.
pub(crate) struct Oracle<'w> {
    config: &'w Config,
    status: Rc<ClusterStatus>,
    ledger: &'w BTreeMap<Key, Entry>,
    /// The time for which ramps and durations are computed.
    at: Instant,
    /// When the status was taken.
    taken: Instant,
}

/// The upstreams that a request of some class belongs to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Belongs {
    /// One upstream.
    There(Key),
    /// One of these, as its trial.
    Trial(Vec<Key>),
    /// The least loaded of these.
    Any {
        keys: Vec<Key>,
        tier: Tier,
    },
    Nowhere(NoUpstream),
}

/// The tiers of upstreams for a class that several may serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tier {
    Fresh,
    Stale,
    /// Fresh and stale ones together.
    Mixed,
    /// The main, which otherwise serves only where no other upstream can.
    Backup,
    /// The main, whatever it serves otherwise.
    Main,
}

pub(crate) fn key(status: &UpstreamStatus) -> Key {
    (
        status.name.to_string(),
        status
            .address
            .known()
            .expect("simulated upstreams have addresses"),
    )
}

fn is_up_and_ready(status: &UpstreamStatus) -> bool {
    status.health == HealthState::Up && is_there(status)
}

/// It can be reached and is ready, whatever it answers.
fn is_there(status: &UpstreamStatus) -> bool {
    status.is_reachable && status.mode == Mode::Ready && !status.catalog.is_out
}

pub(crate) fn is_set_aside(status: &UpstreamStatus) -> bool {
    status.ejected_for.is_some() || status.half_open
}

impl<'w> Oracle<'w> {
    pub(crate) fn new(
        config: &'w Config,
        status: Rc<ClusterStatus>,
        ledger: &'w BTreeMap<Key, Entry>,
        at: Instant,
    ) -> Self {
        Self {
            config,
            status,
            ledger,
            at,
            taken: at,
        }
    }

    /// Returns the oracle with the ramps of that time.
    pub(crate) fn at(self, at: Instant) -> Self {
        Self { at, ..self }
    }

    pub(crate) fn upstreams(&self) -> impl Iterator<Item = &UpstreamStatus> {
        self.status.upstreams.iter()
    }

    pub(crate) fn of(&self, key: &Key) -> &UpstreamStatus {
        self.upstreams()
            .find(|status| self::key(status) == *key)
            .expect("only known upstreams are looked up")
    }

    pub(crate) fn belongs(&self, request: &Request) -> Belongs {
        if !request.from_main {
            return self.belongs_with_others(request);
        }
        // The main is preferred; a slot on another one is better than to wait for it.
        let main = self
            .serving(Tier::Main)
            .into_iter()
            .filter(|key| !request.keys.contains(key))
            .collect();
        match self.with_a_place(request.kind(self.config), main, |mut keys| {
            Belongs::There(keys.remove(0))
        }) {
            FULL => FULL.or(self.belongs_with_others(request)),
            NOBODY => self.belongs_with_others(request),
            there => there,
        }
    }

    fn belongs_with_others(&self, request: &Request) -> Belongs {
        let untried = |keys: Vec<Key>| {
            keys.into_iter()
                .filter(|key| !request.keys.contains(key))
                .collect::<Vec<_>>()
        };
        let (class, tried) = (request.class, &request.keys);
        let kind = request.kind(self.config);
        if let Some(name) = self.one_place(class) {
            let place = self
                .upstreams()
                .find(|status| status.name.as_str() == name && is_there(status))
                .map(key);
            return match place {
                Some(key) if tried.contains(&key) => Belongs::Nowhere(NoUpstream::AllTried),
                Some(key) => {
                    self.with_a_place(kind, vec![key], |mut keys| Belongs::There(keys.remove(0)))
                }
                // It reloads its catalog, and is worth waiting for.
                None if self.returns(name, tried) => FULL,
                None => Belongs::Nowhere(self.refusal_reason(class)),
            };
        }
        let trials: Vec<_> = untried(self.trials(class))
            .into_iter()
            .filter(|key| self.ledger[key].trials == 0)
            .collect();
        let early = trials
            .iter()
            .filter(|key| self.may_try(self.of(key), kind))
            .cloned()
            .collect();
        let trial = self.with_a_place(kind, early, Belongs::Trial);
        let mut serving = NOBODY;
        if self.is_mixed(class) {
            serving = self.mixed(kind, &untried);
        }
        for tier in self.tiers(class).iter().filter(|_| !self.is_mixed(class)) {
            if serving == FULL && !self.relieves(*tier, class) {
                break;
            }
            let keys = untried(self.serving(*tier));
            serving = serving
                .or(self.with_a_place(kind, keys, |keys| Belongs::Any { keys, tier: *tier }));
        }
        let found = if request.is_retry() {
            serving.or(trial)
        } else {
            trial.or(serving)
        };
        let found = if found == NOBODY {
            let last = untried(self.last_trials(class));
            let is_free = |key: &Key| self.ledger[key].trials == 0;
            let (free, taken): (Vec<_>, Vec<_>) = last.into_iter().partition(is_free);
            match self.with_a_place(kind, free, Belongs::Trial) {
                // Another request has the trial, and its end is worth waiting for.
                NOBODY if !taken.is_empty() => FULL,
                found => found,
            }
        } else {
            found
        };
        if found == NOBODY {
            Belongs::Nowhere(self.why_nowhere(class, tried))
        } else {
            found
        }
    }

    /// The lighter a request, the sooner after the ejection's end.
    fn may_try(&self, status: &UpstreamStatus, kind: Kind) -> bool {
        let seconds = match kind {
            Kind::Quick => 0,
            Kind::Heavy => 30,
            Kind::Ordinary | Kind::Administration => 1,
        };
        self.since(status) >= Duration::from_secs(seconds)
    }

    /// Some are fresh and others are stale, and both may serve.
    fn is_mixed(&self, class: RequestClass) -> bool {
        let both_serve =
            class != RequestClass::Capabilities && self.config.catalog.stale == StalePolicy::Serve;
        both_serve && !self.serving(Tier::Fresh).is_empty() && !self.serving(Tier::Stale).is_empty()
    }

    /// The fresh that have at most a quarter more than the mean, then all, then the backup.
    fn mixed(&self, kind: Kind, untried: &dyn Fn(Vec<Key>) -> Vec<Key>) -> Belongs {
        let fresh = untried(self.serving(Tier::Fresh));
        let all: Vec<Key> = fresh
            .iter()
            .cloned()
            .chain(untried(self.serving(Tier::Stale)))
            .collect();
        let weight = |key: &Key| {
            let whole = u64::from(self.of(key).weight) * 1024;
            let whole = u32::try_from(whole).expect("a weight is small");
            u128::from(
                self.ledger[key]
                    .ramp
                    .map_or(whole, |ramp| ramp.of(whole, self.at)),
            )
        };
        let in_flight = |key: &Key| u128::from(self.of(key).in_flight);
        let (load, capacity) = (
            1 + all.iter().map(in_flight).sum::<u128>(),
            all.iter().map(weight).sum::<u128>(),
        );
        let is_within = |key: &Key| in_flight(key) * capacity * 100 < 125 * load * weight(key);
        let within = fresh.into_iter().filter(is_within).collect();
        match self.with_a_place(kind, within, |keys| Belongs::Any {
            keys,
            tier: Tier::Fresh,
        }) {
            there @ Belongs::Any { .. } => there,
            _ if all.is_empty() => {
                let backup = untried(self.serving(Tier::Backup));
                self.with_a_place(kind, backup, |keys| Belongs::Any {
                    keys,
                    tier: Tier::Backup,
                })
            }
            _ => self.with_a_place(kind, all, |keys| Belongs::Any {
                keys,
                tier: Tier::Mixed,
            }),
        }
    }

    /// Returns the upstreams that have no slot left for the request, but have some above the cap
    /// because requests of its group run there.
    pub(crate) fn full_companions(
        &self,
        request: &Request,
        is_companion: impl Fn(&Key) -> bool,
    ) -> Vec<Key> {
        let (class, kind) = (request.class, request.kind(self.config));
        let mut found = Vec::new();
        let mut is_anybody = false;
        for tier in self.tiers(class) {
            if is_anybody && !self.relieves(*tier, class) {
                break;
            }
            let keys: Vec<_> = self
                .serving(*tier)
                .into_iter()
                .filter(|key| !request.keys.contains(key))
                .collect();
            is_anybody |= !keys.is_empty();
            let may_join = |key: &Key| {
                !self.has_room(key, kind, 0)
                    && self.has_room(key, kind, AFFINITY_OVERFLOW)
                    && is_companion(key)
            };
            found.extend(keys.into_iter().filter(may_join));
        }
        found
    }

    /// True if this tier serves requests when the tiers before it are full, and not only when they
    /// are empty.
    fn relieves(&self, tier: Tier, class: RequestClass) -> bool {
        tier == Tier::Stale
            && class != RequestClass::Capabilities
            && self.config.catalog.stale == StalePolicy::Serve
    }

    /// Those of `keys` that have a place.
    fn with_a_place(
        &self,
        kind: Kind,
        keys: Vec<Key>,
        make: impl FnOnce(Vec<Key>) -> Belongs,
    ) -> Belongs {
        if keys.is_empty() {
            return NOBODY;
        }
        let with_room: Vec<_> = keys
            .into_iter()
            .filter(|key| self.has_room(key, kind, 0))
            .collect();
        if with_room.is_empty() {
            FULL
        } else {
            make(with_room)
        }
    }

    fn has_room(&self, key: &Key, kind: Kind, beyond: u32) -> bool {
        let status = self.of(key);
        let at_work = AtWork {
            all: status.in_flight,
            slower: status.slower_in_flight,
            heavy: status.heavy_in_flight,
        };
        self.places(status)
            .is_none_or(|places| places.have_room(at_work, kind, beyond))
    }

    /// Returns the limits at the present state of its ramp; `None` for no limit.
    pub(crate) fn places(&self, status: &UpstreamStatus) -> Option<Places> {
        let entry = &self.ledger[&key(status)];
        Places::of(
            self.configured(status).max_in_flight,
            entry.learned,
            entry.ramp,
            self.config,
            self.at,
        )
    }

    /// Returns the classes that only this upstream serves in full now.
    pub(crate) fn classes_only_of(&self, key: &Key) -> Vec<RequestClass> {
        let is_alone = |class: &RequestClass| match self.one_place(*class) {
            Some(name) => key.0 == name && is_there(self.of(key)),
            None => {
                let mut serving = self.serving_shared(*class).into_iter().peekable();
                serving.peek().is_some() && serving.all(|other| other == *key)
            }
        };
        RequestClass::ALL.into_iter().filter(is_alone).collect()
    }

    /// Returns how many upstreams could serve reads if none was set aside, and how many of them are
    /// set aside.
    pub(crate) fn pool(&self) -> (usize, usize) {
        let pool = || {
            self.shared(false, |_| true)
                .into_iter()
                .chain(self.shared(true, |_| true))
        };
        (
            pool().count(),
            pool().filter(|key| is_set_aside(self.of(key))).count(),
        )
    }

    /// Returns the tiers for a class, the preferred ones first.
    fn tiers(&self, class: RequestClass) -> &'static [Tier] {
        match (class, self.config.catalog.stale) {
            (RequestClass::Capabilities, StalePolicy::Serve) => {
                &[Tier::Fresh, Tier::Main, Tier::Stale]
            }
            (RequestClass::Capabilities, StalePolicy::Avoid) => &[Tier::Fresh, Tier::Main],
            (_, StalePolicy::Serve) => &[Tier::Fresh, Tier::Stale, Tier::Backup],
            (_, StalePolicy::Avoid) => &[Tier::Fresh, Tier::Backup, Tier::Stale],
        }
    }

    fn serving(&self, tier: Tier) -> Vec<Key> {
        let first = |is_fresh: bool| {
            self.shared(false, |s| {
                !is_set_aside(s) && s.catalog.is_fresh == is_fresh
            })
        };
        match tier {
            Tier::Fresh => first(true),
            Tier::Stale => first(false),
            Tier::Mixed => unreachable!("it is made of the other two"),
            Tier::Backup => self.shared(true, |status| !is_set_aside(status)),
            Tier::Main => self
                .upstreams()
                .filter(|s| s.role == Role::Main && self.may_read(s))
                .map(key)
                .collect(),
        }
    }

    fn serving_shared(&self, class: RequestClass) -> Vec<Key> {
        self.tiers(class)
            .iter()
            .flat_map(|tier| self.serving(*tier))
            .collect()
    }

    fn trials(&self, class: RequestClass) -> Vec<Key> {
        self.shared(false, |status| {
            status.half_open && (class != RequestClass::Capabilities || status.catalog.is_fresh)
        })
    }

    /// Returns the upstreams on trial that serve when no other is left.
    fn last_trials(&self, class: RequestClass) -> Vec<Key> {
        let is_stale_served = self.config.catalog.stale == StalePolicy::Serve;
        self.shared(false, |status| {
            status.half_open
                && (class != RequestClass::Capabilities
                    || is_stale_served
                    || status.catalog.is_fresh)
        })
    }

    /// The only one that serves some class is out for its reload, which will not be put off.
    fn returns(&self, name: &str, tried: &[Key]) -> bool {
        let returns = |status: &UpstreamStatus| match status.catalog.phase {
            ReloadPhase::Reloading | ReloadPhase::Testing => true,
            ReloadPhase::Draining => !self.ledger[&key(status)].upkeep.may_be_put_off(
                &status.catalog,
                self.config.catalog.drain_timeout,
                self.taken,
            ),
            ReloadPhase::Failed
            | ReloadPhase::No
            | ReloadPhase::Waiting
            | ReloadPhase::HeldBack => false,
        };
        self.upstreams()
            .filter(|status| status.name.as_str() == name && !tried.contains(&key(status)))
            .any(|status| status.is_reachable && status.mode == Mode::Ready && returns(status))
    }

    fn why_nowhere(&self, class: RequestClass, tried: &[Key]) -> NoUpstream {
        let places = self
            .serving_shared(class)
            .into_iter()
            .chain(self.trials(class));
        if places.into_iter().any(|key| tried.contains(&key)) {
            NoUpstream::AllTried
        } else {
            self.refusal_reason(class)
        }
    }

    /// Returns the time since health, mode or ejection changed.
    fn since(&self, status: &UpstreamStatus) -> Duration {
        status
            .since
            .saturating_sub(self.taken.saturating_duration_since(self.at))
    }

    /// Requests wait for the first probe of an upstream that may serve them.
    fn refusal_reason(&self, class: RequestClass) -> NoUpstream {
        let may_serve = |status: &UpstreamStatus| match self.one_place(class) {
            Some(name) => status.name.as_str() == name,
            None => {
                status.role == Role::Replica || self.configured(status).reads != MainReads::Never
            }
        };
        let is_news = |status: &UpstreamStatus| {
            let is_unknown = status.health == HealthState::Unknown
                && status.mode == Mode::Ready
                && !status.catalog.is_out;
            is_unknown && self.since(status) < Duration::from_secs(5) && may_serve(status)
        };
        if self.upstreams().any(is_news) {
            NoUpstream::NoVerdict
        } else {
            NoUpstream::NoneEligible
        }
    }

    /// Those up and ready that serve what several may serve, as backup or not.
    fn shared(&self, as_backup: bool, filter: impl Fn(&UpstreamStatus) -> bool) -> Vec<Key> {
        let has_part = |status: &UpstreamStatus| match self.part(status) {
            // While a replica is out for its reload, the main is one of those that serve beside the
            // fresh.
            Some(true) if self.helps() => !as_backup,
            part => part == Some(as_backup),
        };
        self.upstreams()
            .filter(|status| self.may_read(status) && has_part(status) && filter(status))
            .map(key)
            .collect()
    }

    fn helps(&self) -> bool {
        let catalog = &self.config.catalog;
        catalog.main_helps
            && catalog.stale == StalePolicy::Serve
            && self.upstreams().any(|status| status.catalog.is_out)
    }

    /// True if it serves reads as a backup, false if it serves them like others; `None` if it
    /// serves none.
    fn part(&self, status: &UpstreamStatus) -> Option<bool> {
        match (status.role, self.configured(status).reads) {
            (Role::Replica, _) | (Role::Main, MainReads::Always) => Some(false),
            (Role::Main, MainReads::Backup) => Some(true),
            (Role::Main, MainReads::Never) => None,
        }
    }

    /// Returns whether the upstream may serve reads: it passes its probes. If no upstream that
    /// could serve reads passes, and all have been probed, being reachable is enough.
    fn may_read(&self, status: &UpstreamStatus) -> bool {
        let serves = |status: &UpstreamStatus| {
            self.part(status).is_some() && (is_up_and_ready(status) || self.is_awaited(status))
        };
        is_up_and_ready(status) || is_there(status) && !self.upstreams().any(serves)
    }

    /// Its first probe is still to come.
    fn is_awaited(&self, status: &UpstreamStatus) -> bool {
        let is_probed_now =
            status.mode != Mode::Maintenance && status.catalog.phase != ReloadPhase::Reloading;
        let is_unknown = status.health == HealthState::Unknown && !status.is_reachable;
        is_unknown && is_probed_now && !self.ledger[&key(status)].measured.is_unheard
    }

    /// Those that serve reads before any backup.
    pub(crate) fn first_serving(&self) -> impl Iterator<Item = &UpstreamStatus> {
        let is_first = |status: &&UpstreamStatus| self.part(status) == Some(false);
        self.upstreams()
            .filter(is_first)
            .filter(|status| is_up_and_ready(status) && !is_set_aside(status))
    }

    fn one_place(&self, class: RequestClass) -> Option<&str> {
        match &self.config.classes[class].served_by {
            ServedBy::Replicas => None,
            ServedBy::Main => self
                .config
                .upstreams
                .iter()
                .find(|upstream| upstream.role == Role::Main)
                .map(|main| main.name.as_str()),
            ServedBy::Upstream(name) => Some(name.as_str()),
        }
    }

    fn configured(&self, status: &UpstreamStatus) -> &UpstreamConfig {
        let found = self
            .config
            .upstreams
            .iter()
            .find(|upstream| upstream.name == status.name);
        found.expect("a tracked upstream is configured")
    }
}

const NOBODY: Belongs = Belongs::Nowhere(NoUpstream::NoneEligible);
const FULL: Belongs = Belongs::Nowhere(NoUpstream::Full);

impl Belongs {
    /// The first that is anywhere; else full, if one is.
    fn or(self, other: Self) -> Self {
        match (&self, &other) {
            (Self::There(_) | Self::Trial(_) | Self::Any { .. }, _)
            | (Self::Nowhere(NoUpstream::Full), Self::Nowhere(_)) => self,
            (Self::Nowhere(_), _) => other,
        }
    }
}

/// Returns whether `chosen` costs no more than `other`. During a slow start, the status shows
/// weights only rounded down to whole numbers, and never below one. That uncertainty counts in
/// favour of the choice.
pub(crate) fn costs_at_most(chosen: &UpstreamStatus, other: &UpstreamStatus) -> bool {
    let slack = |status: &UpstreamStatus| u64::from(status.effective_weight != status.weight);
    let load = |status: &UpstreamStatus| u64::from(status.in_flight) + 1;
    let most = u64::from(chosen.effective_weight) + slack(chosen);
    other.effective_weight == 1
        || load(chosen) * u64::from(other.effective_weight) <= load(other) * most
}
