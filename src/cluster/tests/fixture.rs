//! A cluster in a few words: its configuration, its events, and the view of an operator and a
//! request.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::{
    Action, Cause, Cluster, Event, HealthState, Mode, NoUpstream, Outcome, ProbeReport, Selection,
    Snapshot, Transition, Tried, UpstreamId, UpstreamStatus,
};
use crate::config::{Config, MainReads, MapEnvironment, UpstreamConfig, UpstreamName};
use crate::ogc::RequestClass;

// The same values as in `load` below.
pub(super) const INTERVAL: Duration = Duration::from_secs(5);
pub(super) const DOWN_INTERVAL: Duration = Duration::from_secs(2);
pub(super) const TIMEOUT: Duration = Duration::from_secs(4);
pub(super) const EJECTION: Duration = Duration::from_secs(10);
pub(super) const SLOW_START: Duration = Duration::from_secs(30);
pub(super) const FALL: u32 = 3;

/// Most steps at one instant; more are a busy loop.
pub(super) const MAX_STEPS: usize = 1000;

/// Time between two looks at the clock while nothing happens.
const STEP: Duration = Duration::from_millis(200);

/// No caps, because nearly all stories are about something else.
const NO_CAPS: &str = "[limits]\nmax_in_flight = \"off\"\n";

/// The outcome of a broken node that answers so quickly that it is always the least loaded.
pub(super) fn out_of_memory() -> Outcome {
    Outcome::Failure(Cause::NodeFault("java.lang.OutOfMemoryError".to_owned()))
}

pub(super) fn refused() -> Outcome {
    Outcome::Failure(Cause::Connect("connection refused".to_owned()))
}

pub(super) fn status_500() -> Outcome {
    Outcome::Failure(Cause::Status(500))
}

/// A cluster, its clock, and its configuration to be changed.
pub(super) struct World {
    pub(super) cluster: Cluster,
    pub(super) now: Instant,
    pub(super) config: Config,
    /// Every transition so far.
    pub(super) log: Vec<Transition>,
}

impl World {
    /// Builds `main` and replicas `a`, `b`, ..., all unknown.
    pub(super) fn unknown(replicas: usize) -> Self {
        Self::configured(config(replicas))
    }

    pub(super) fn configured(config: Config) -> Self {
        let now = Instant::now();
        Self {
            cluster: Cluster::new(Arc::new(config.clone()), now),
            now,
            config,
            log: Vec::new(),
        }
    }

    /// Builds the same cluster, with all upstreams up.
    pub(super) fn up(replicas: usize) -> Self {
        Self::configured_up(config(replicas))
    }

    pub(super) fn configured_up(config: Config) -> Self {
        let mut world = Self::configured(config);
        world.probe_due(|_| Outcome::Success);
        world
    }

    // Events.

    pub(super) fn handle(&mut self, event: Event) -> Vec<String> {
        let transitions = self.cluster.handle(event, self.now);
        self.note(transitions)
    }

    /// Lets time pass in small steps, so that the cluster sees its deadlines in time.
    pub(super) fn wait(&mut self, time: Duration) -> Vec<String> {
        let end = self.now + time;
        let step = STEP.max(time / MAX_STEPS as u32);
        let mut lines = self.handle(Event::Tick);
        while self.now < end {
            self.now = end.min(self.now + step);
            lines.extend(self.handle(Event::Tick));
        }
        lines
    }

    /// Lets time pass in which the process does not run.
    pub(super) fn stand_still(&mut self, time: Duration) -> Vec<String> {
        self.now += time;
        self.handle(Event::Tick)
    }

    pub(super) fn set_mode(&mut self, name: &str, mode: Mode) -> Vec<String> {
        let transitions = self.cluster.set_mode(name, mode, true, self.now).unwrap();
        self.note(transitions)
    }

    pub(super) fn observe(&mut self, name: &str, outcome: Outcome) -> Vec<String> {
        let upstream = self.id(name);
        self.handle(Event::Observed {
            upstream,
            sent: self.now,
            outcome,
            subject: None,
        })
    }

    pub(super) fn report_probe(&mut self, upstream: UpstreamId, outcome: Outcome) -> Vec<String> {
        self.handle(Event::Probed {
            upstream,
            report: ProbeReport {
                outcome,
                took: Duration::from_millis(20),
            },
        })
    }

    pub(super) fn reload(&mut self, change: impl FnOnce(&mut Config)) -> Vec<String> {
        change(&mut self.config);
        self.handle(Event::Configured(Arc::new(self.config.clone())))
    }

    /// Begins the probes that are due now, and returns the names of their upstreams.
    pub(super) fn begin_probes(&mut self) -> Vec<(String, UpstreamId)> {
        let mut begun = Vec::new();
        let mut steps = 0;
        while let Some(action) = self.cluster.poll_action(self.now) {
            steps += 1;
            assert!(steps < MAX_STEPS, "a busy loop: {action:?}");
            let Action::Probe(upstream) = action else {
                continue;
            };
            begun.push((upstream.name.to_string(), upstream.id));
        }
        begun
    }

    /// Answers every probe that is due now.
    pub(super) fn probe_due(&mut self, outcome: impl Fn(&str) -> Outcome) -> Vec<String> {
        let begun = self.begin_probes();
        begun
            .into_iter()
            .flat_map(|(name, id)| self.report_probe(id, outcome(&name)))
            .collect()
    }

    /// Goes from deadline to deadline for `time`, answering every probe.
    pub(super) fn live(
        &mut self,
        time: Duration,
        outcome: impl Fn(&str) -> Outcome,
    ) -> Vec<String> {
        let end = self.now + time;
        let mut lines = self.probe_due(&outcome);
        let mut steps = 0;
        while let Some(next) = self.cluster.next_deadline().filter(|next| *next <= end) {
            steps = if next > self.now { 0 } else { steps + 1 };
            assert!(steps < MAX_STEPS, "a busy loop: {lines:?}");
            self.now = next;
            lines.extend(self.probe_due(&outcome));
        }
        lines.extend(self.wait(end - self.now));
        lines
    }

    /// Lives until `name` has this health. Its probes get this outcome, and all others pass.
    pub(super) fn bring(&mut self, name: &str, health: HealthState, outcome: &Outcome) {
        let answer = |probed: &str| {
            if probed == name {
                outcome.clone()
            } else {
                Outcome::Success
            }
        };
        for _ in 0..100 {
            if self.status(name).health == health {
                return;
            }
            self.live(DOWN_INTERVAL, answer);
        }
        panic!("{name} is not {health}");
    }

    // Observations.

    pub(super) fn status(&self, name: &str) -> UpstreamStatus {
        let upstreams = self.cluster.status(self.now).upstreams;
        upstreams
            .into_iter()
            .find(|status| status.name.as_str() == name)
            .unwrap()
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        self.cluster.snapshot()
    }

    pub(super) fn select(&self, class: RequestClass) -> Result<Selection, NoUpstream> {
        self.snapshot().select(class, &Tried::default(), self.now)
    }

    /// Returns the upstreams of `count` requests of this class that all stay in flight; `None` for
    /// those without one.
    pub(super) fn spread(&self, class: RequestClass, count: usize) -> BTreeMap<String, usize> {
        let (snapshot, mut counts) = (self.snapshot(), BTreeMap::new());
        let kept: Vec<_> = (0..count)
            .filter_map(|_| snapshot.select(class, &Tried::default(), self.now).ok())
            .collect();
        kept.iter().for_each(|selection| {
            *counts
                .entry(selection.upstream.name.to_string())
                .or_default() += 1
        });
        counts
    }

    /// Returns the upstreams that get requests of this class at all.
    pub(super) fn served_by(&self, class: RequestClass) -> Vec<String> {
        self.spread(class, 100).into_keys().collect()
    }

    pub(super) fn id(&self, name: &str) -> UpstreamId {
        let state = self
            .cluster
            .upstreams
            .iter()
            .find(|state| state.upstream.name.as_str() == name);
        state.unwrap().upstream.id
    }

    fn note(&mut self, transitions: Vec<Transition>) -> Vec<String> {
        let lines = transitions.iter().map(ToString::to_string).collect();
        self.log.extend(transitions);
        lines
    }
}

pub(super) fn name(name: &str) -> UpstreamName {
    UpstreamName::new(name).unwrap()
}

/// Returns an upstream of this name at an address of its own.
pub(super) fn upstream(called: &str) -> UpstreamConfig {
    let text = table(called, "replica");
    let mut config = load(&format!("{}{text}", table("main", "main")));
    config.upstreams.pop().unwrap()
}

/// Returns the configuration of `main` and replicas `a`, `b`, ...
pub(super) fn config(replicas: usize) -> Config {
    let names = (b'a'..)
        .take(replicas)
        .map(|letter| char::from(letter).to_string());
    let tables: String = names.map(|name| table(&name, "replica")).collect();
    load(&format!("{}{tables}", table("main", "main")))
}

fn table(name: &str, role: &str) -> String {
    let port = 8000 + u16::from(name.as_bytes()[0]);
    format!("[upstreams.{name}]\nurl = \"http://10.0.0.1:{port}\"\nrole = \"{role}\"\n")
}

fn load(upstreams: &str) -> Config {
    let health = "[health]\ninterval = \"5s\"\ntimeout = \"4s\"\nrise = 2\nfall = 3\ndown_interval = \"2s\"\nslow_start = \"30s\"
                  ejection = \"10s\"\nejection_max = \"5m\"\nejection_failures = 5\n[catalog]\ncanary_layer = \"geor:public_layer\"\nroll_share = 100\nmain_helps = false\n";
    let world =
        MapEnvironment::new().file("geofront.toml", format!("{health}{NO_CAPS}{upstreams}"));
    Config::load(Path::new("geofront.toml"), &world)
        .unwrap_or_else(|problems| panic!("{problems}"))
        .config
}

/// Returns the upstream called `name`, for a change of the configuration.
pub(super) fn change<'c>(config: &'c mut Config, name: &str) -> &'c mut UpstreamConfig {
    config
        .upstreams
        .iter_mut()
        .find(|upstream| upstream.name.as_str() == name)
        .unwrap()
}

pub(super) fn with_reads(replicas: usize, reads: MainReads) -> Config {
    let mut config = config(replicas);
    change(&mut config, "main").reads = reads;
    config
}
