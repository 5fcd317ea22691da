//! A cluster with simulated catalogs, driven as a driver would drive it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::super::{
    Action, Cause, Event, HealthState, Hint, Outcome, ProbeReport, ReloadPhase, Selection,
    Truncation, UpstreamId,
};
use super::fixture::{MAX_STEPS, World};
use crate::config::{Config, Credentials, Secret};
use crate::ogc::RequestClass;

pub(super) const SECOND: Duration = Duration::from_secs(1);

/// A cluster and the update sequences that its GeoServers would report.
pub(super) struct Catalogs {
    pub(super) world: World,
    pub(super) numbers: BTreeMap<String, u64>,
    /// The effect of a reload on a replica's update sequence, given the main's.
    pub(super) after_reload: fn(u64) -> u64,
    pub(super) reload_takes: Duration,
    pub(super) credentials: fn(&str) -> Result<(), Cause>,
    pub(super) reload_answers: fn(&str) -> Result<(), Cause>,
    pub(super) canary: fn(&str) -> Outcome,
    pub(super) probe: fn(&str) -> Outcome,
    /// The replicas that are reloading, with their start and end times.
    pub(super) reloading: Vec<(String, UpstreamId, Instant, Instant)>,
    /// The main's answer to a reload request.
    pub(super) main_reload_answers: Result<(), Cause>,
    pub(super) main_reloads: u32,
    /// The answers to truncations; `None` for one that is not reported.
    pub(super) truncation_answers: fn(&str) -> Option<Result<(), Cause>>,
    /// Every truncation that began, in order, and whether its upstream served maps meanwhile.
    pub(super) truncations: Vec<(String, Truncation, bool)>,
    /// Every reload that began, in order.
    pub(super) reloads: Vec<String>,
    pub(super) log: Vec<String>,
}

/// The reload of the replica `a` fails.
pub(super) fn fails_reload_of_a(name: &str) -> Result<(), Cause> {
    match name {
        "a" => Err(Cause::Status(500)),
        _ => Ok(()),
    }
}

/// The canary of the replica `a` fails.
pub(super) fn fails_canary_of_a(name: &str) -> Outcome {
    match name {
        "a" => Outcome::Failure(Cause::Status(500)),
        _ => Outcome::Success,
    }
}

pub(super) fn with_credentials(mut config: Config) -> Config {
    let password = Secret::new("secret".to_owned());
    config.geoserver.credentials = Credentials::Basic {
        username: "admin".to_owned(),
        password,
    };
    config
}

impl Catalogs {
    /// Builds a cluster with all upstreams up and fresh at update sequence 10.
    pub(super) fn fresh(replicas: usize) -> Self {
        Self::configured(with_credentials(super::fixture::config(replicas)))
    }

    pub(super) fn configured(config: Config) -> Self {
        let numbers = config
            .upstreams
            .iter()
            .map(|upstream| (upstream.name.to_string(), 10))
            .collect();
        Self::started(World::configured(config), numbers)
    }

    pub(super) fn started(world: World, numbers: BTreeMap<String, u64>) -> Self {
        let mut catalogs = Self::new(world, numbers);
        catalogs.live(Duration::ZERO);
        catalogs
    }

    pub(super) fn new(world: World, numbers: BTreeMap<String, u64>) -> Self {
        Self {
            world,
            numbers,
            after_reload: |main| main,
            reload_takes: SECOND,
            credentials: |_| Ok(()),
            reload_answers: |_| Ok(()),
            canary: |_| Outcome::Success,
            probe: |_| Outcome::Success,
            reloading: Vec::new(),
            main_reload_answers: Ok(()),
            main_reloads: 0,
            truncation_answers: |_| Some(Ok(())),
            truncations: Vec::new(),
            reloads: Vec::new(),
            log: Vec::new(),
        }
    }

    pub(super) fn publish(&mut self) {
        *self.numbers.get_mut("main").unwrap() += 5;
        self.hint(Hint::Write);
    }

    pub(super) fn hint(&mut self, hint: Hint) {
        let (_, transitions) = self.world.cluster.hint(hint, self.world.now);
        self.log.extend(transitions.iter().map(ToString::to_string));
        self.live(Duration::ZERO);
    }

    pub(super) fn handle(&mut self, event: Event) {
        let lines = self.world.handle(event);
        self.log.extend(lines);
    }

    /// Performs the actions due within `time`, as a driver would.
    pub(super) fn live(&mut self, time: Duration) {
        let end = self.world.now + time;
        let mut steps = 0;
        loop {
            self.act();
            let next = self
                .world
                .cluster
                .next_deadline()
                .into_iter()
                .chain(self.reloading.iter().map(|(.., until)| *until))
                .min();
            match next.filter(|next| *next <= end) {
                Some(next) => {
                    steps = if next > self.world.now { 0 } else { steps + 1 };
                    assert!(steps < MAX_STEPS, "a busy loop: {:#?}", self.log);
                    self.world.now = next;
                }
                None => break,
            }
            self.handle(Event::Tick);
        }
        self.world.now = end;
        self.handle(Event::Tick);
    }

    pub(super) fn act(&mut self) {
        for step in 0.. {
            assert!(step < MAX_STEPS, "a busy loop: {:#?}", self.log);
            let now = self.world.now;
            if let Some(at) = self.reloading.iter().position(|(.., until)| *until <= now) {
                let (name, upstream, sent_at, _) = self.reloading.remove(at);
                let outcome = (self.reload_answers)(&name);
                if outcome.is_ok() {
                    let update_sequence =
                        (self.after_reload)(self.numbers.get("main").copied().unwrap_or_default());
                    self.numbers.insert(name, update_sequence);
                }
                self.handle(Event::CatalogReloaded {
                    upstream,
                    sent_at,
                    outcome,
                });
            }
            let Some(action) = self.world.cluster.poll_action(now) else {
                break;
            };
            self.follow(action);
        }
    }

    pub(super) fn follow(&mut self, action: Action) {
        let now = self.world.now;
        match action {
            Action::Probe(upstream) => {
                let report = ProbeReport {
                    outcome: (self.probe)(upstream.name.as_str()),
                    took: Duration::from_millis(5),
                };
                self.handle(Event::Probed {
                    upstream: upstream.id,
                    report,
                });
            }
            Action::ReadUpdateSequence(upstream) => {
                let update_sequence = self.numbers.get(upstream.name.as_str()).copied();
                self.handle(Event::UpdateSequenceRead {
                    upstream: upstream.id,
                    sent_at: now,
                    update_sequence,
                });
            }
            Action::TestCanary(upstream) => {
                let outcome = (self.canary)(upstream.name.as_str());
                let update_sequence = self.numbers.get(upstream.name.as_str()).copied();
                self.handle(Event::CanaryTested {
                    upstream: upstream.id,
                    sent_at: now,
                    outcome,
                    update_sequence,
                });
            }
            Action::TryCanary(upstream) => {
                let outcome = (self.canary)(upstream.name.as_str());
                self.handle(Event::CanaryTried {
                    sent_at: now,
                    outcome,
                });
            }
            Action::TryCredentials(upstream) => {
                let outcome = (self.credentials)(upstream.name.as_str());
                self.handle(Event::CredentialsTried {
                    upstream: upstream.id,
                    sent_at: now,
                    outcome,
                });
            }
            Action::ChooseLayer(_) => panic!("a layer is configured"),
            Action::ReloadMain(upstream) => {
                let outcome = self.main_reload_answers.clone();
                assert!(
                    self.reloading.is_empty()
                        && self.world.served_by(RequestClass::Admin) == ["main"]
                );
                self.main_reloads += 1;
                self.handle(Event::MainReloaded {
                    upstream: upstream.id,
                    sent_at: now,
                    outcome,
                });
            }
            Action::TruncateTiles {
                upstream,
                truncation,
            } => {
                let name = upstream.name.to_string();
                let serves = self.world.served_by(RequestClass::Map).contains(&name);
                let answer = (self.truncation_answers)(&name);
                self.truncations.push((name, truncation, serves));
                if let Some(outcome) = answer {
                    self.handle(Event::TilesTruncated {
                        upstream: upstream.id,
                        sent_at: now,
                        outcome,
                    });
                }
            }
            Action::ReloadCatalog(upstream) => {
                let serving = self.world.served_by(RequestClass::Map);
                assert!(
                    !serving.contains(&upstream.name.to_string()),
                    "a replica that is reloaded serves nothing"
                );
                assert!(
                    !serving.is_empty(),
                    "the last one that serves is not reloaded"
                );
                self.reloads.push(upstream.name.to_string());
                self.reloading.push((
                    upstream.name.to_string(),
                    upstream.id,
                    now,
                    now + self.reload_takes,
                ));
            }
        }
    }

    /// Ends the process at `a`.
    pub(super) fn a_dies(&mut self) {
        self.probe = |name| match name {
            "a" => Outcome::Failure(Cause::Connect(Cause::REFUSED.to_owned())),
            _ => Outcome::Success,
        };
        self.live(SECOND * 20);
        assert_eq!(self.world.status("a").health, HealthState::Down);
    }

    pub(super) fn is_fresh(&self, name: &str) -> bool {
        self.world.status(name).catalog.is_fresh
    }

    pub(super) fn phase(&self, name: &str) -> ReloadPhase {
        self.world.status(name).catalog.phase
    }

    pub(super) fn all_fresh(&self) -> bool {
        self.world.cluster.status(self.world.now).catalog.is_done
    }

    pub(super) fn request(&self, class: RequestClass) -> Selection {
        self.world.select(class).unwrap()
    }
}
