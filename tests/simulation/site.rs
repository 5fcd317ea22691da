//! A site with servers of a known capacity: what is measured is the work that is done, and when.
//!
//! Each server works on so many requests at a time, at its own speed, and the others wait inside.
//! The cluster, the snapshot and what is learned from answers are the real ones; requests wait in a
//! line, first come first served. Nothing here looks at shares, weights or verdicts.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use geofront::balance::Watch;
use geofront::cluster::{
    Action, Cluster, Event, Hint, Outcome, ProbeReport, ReloadPhase, Selection, Snapshot, Tried,
    Upstream, UpstreamId,
};
use geofront::config::{Config, MapEnvironment};
use geofront::ogc::RequestClass;

use crate::chance::Chance;

/// The longest time between two checks of the driver for due work.
const LOOK: Duration = Duration::from_millis(50);
/// A probe, a reading, a canary.
const QUESTION: Duration = Duration::from_millis(5);

pub(crate) struct Site {
    pub(crate) now: Instant,
    pub(crate) start: Instant,
    pub(crate) chance: Chance,
    pub(crate) cluster: Cluster,
    pub(crate) snapshot: Snapshot,
    servers: Vec<Server>,
    /// Requests that found no place.
    line: VecDeque<Job>,
    agenda: BinaryHeap<Reverse<(Instant, u64, usize)>>,
    planned: Vec<Option<Todo>>,
    pub(crate) mix: Mix,
    /// Every request that ended: where, when, and how much work it was.
    pub(crate) done: Vec<Done>,
    /// True if latencies are learned from. Otherwise the site has a balancer by least connections.
    pub(crate) learns: bool,
    /// The main's number.
    number: u64,
    pub(crate) reload_takes: Duration,
}

/// The requests that clients send.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mix {
    /// Between two requests, on average, in seconds; exponential.
    pub(crate) gap: f64,
    /// The mean work of a request of each class in seconds, and its part in percent.
    pub(crate) classes: [(RequestClass, f64, u64); 3],
}

impl Mix {
    /// Seconds of work in a request, on average.
    pub(crate) fn mean_work(&self) -> f64 {
        self.classes
            .iter()
            .map(|(_, work, percent)| work * *percent as f64 / 100.0)
            .sum()
    }

    /// Returns the mix at a rate whose work is this share of what `cores` can do.
    pub(crate) fn of_load(self, load: f64, cores: usize) -> Self {
        let gap = self.mean_work() / (load * cores as f64);
        Self { gap, ..self }
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Done {
    pub(crate) server: usize,
    pub(crate) sent: Instant,
    pub(crate) ended: Instant,
    /// Service time in seconds on a server at full speed.
    pub(crate) work: f64,
}

struct Server {
    name: String,
    cores: usize,
    /// 0.1 is ten times slower.
    speed: f64,
    at_work: usize,
    inside: VecDeque<Sent>,
}

#[derive(Clone, Copy)]
struct Job {
    class: RequestClass,
    work: f64,
}

struct Sent {
    job: Job,
    selection: Selection,
    concurrency: u32,
    at: Instant,
    watch: Option<Watch>,
}

enum Todo {
    Arrive,
    Finish(usize, Box<Sent>),
    Report(Box<Event>),
    Look,
}

/// A main, and replicas of so many cores each.
pub(crate) fn site(seed: u64, cores: &[usize], mix: Mix, more: &str) -> Site {
    let table = |name: &str, port: usize, role: &str| {
        format!("[upstreams.{name}]\nurl = \"http://10.0.0.1:{port}\"\nrole = \"{role}\"\n")
    };
    let replicas: String = (1..cores.len())
        .map(|number| table(&format!("r{number}"), 8000 + number, "replica"))
        .collect();
    let text = format!(
        "{more}\n[geoserver]\nheaders = {{ sec-username = \"geofront\", sec-roles = \"ROLE_ADMINISTRATOR\" }}\n{}{replicas}",
        table("main", 8000, "main")
    );
    let world = MapEnvironment::new().file("geofront.toml", text);
    let config = Config::load(Path::new("geofront.toml"), &world)
        .unwrap_or_else(|problems| panic!("{problems}"))
        .config;
    let now = Instant::now();
    let cluster = Cluster::new(Arc::new(config), now);
    let server = |(number, cores): (usize, &usize)| Server {
        name: if number == 0 {
            "main".to_owned()
        } else {
            format!("r{number}")
        },
        cores: *cores,
        speed: 1.0,
        at_work: 0,
        inside: VecDeque::new(),
    };
    let mut site = Site {
        now,
        start: now,
        chance: Chance::new(seed),
        snapshot: cluster.snapshot(),
        cluster,
        servers: cores.iter().enumerate().map(server).collect(),
        line: VecDeque::new(),
        agenda: BinaryHeap::new(),
        planned: Vec::new(),
        mix,
        done: Vec::new(),
        learns: true,
        number: 10,
        reload_takes: Duration::from_secs(3),
    };
    site.plan(Duration::ZERO, Todo::Look);
    site.plan(Duration::from_millis(100), Todo::Arrive);
    site
}

impl Site {
    pub(crate) fn set_speed(&mut self, server: usize, speed: f64) {
        self.servers[server].speed = speed;
    }

    /// The catalog changes.
    pub(crate) fn publish(&mut self) {
        self.number += 5;
        drop(self.cluster.hint(Hint::Write, self.now));
        self.publish_snapshot();
    }

    pub(crate) fn is_any_out(&self) -> bool {
        let statuses = self.cluster.status(self.now).upstreams;
        statuses.iter().any(|status| status.catalog.is_out)
    }

    pub(crate) fn is_all_fresh(&self) -> bool {
        let status = self.cluster.status(self.now);
        let is_done = |phase| matches!(phase, ReloadPhase::No);
        status.catalog.is_done
            && status
                .upstreams
                .iter()
                .all(|status| is_done(status.catalog.phase))
    }

    /// Requests that wait for a place.
    pub(crate) fn waiting(&self) -> usize {
        self.line.len()
    }

    /// A request that keeps one core of the server that gets it busy for this long.
    pub(crate) fn send(&mut self, class: RequestClass, work: f64) {
        self.line.push_back(Job { class, work });
        self.hand_out();
    }

    pub(crate) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(Reverse((at, _, number))) = self
            .agenda
            .peek()
            .copied()
            .filter(|Reverse((at, ..))| *at <= end)
        {
            self.agenda.pop();
            self.now = at;
            let what = self.planned[number].take().expect("it happens once");
            self.happen(what);
        }
        self.now = end;
    }

    fn plan(&mut self, after: Duration, what: Todo) {
        let number = self.planned.len();
        self.planned.push(Some(what));
        self.agenda
            .push(Reverse((self.now + after, number as u64, number)));
    }

    fn happen(&mut self, what: Todo) {
        match what {
            Todo::Arrive => {
                let gap = self.exponential(self.mix.gap);
                self.plan(gap, Todo::Arrive);
                let (class, mean) = self.draw();
                let work = self.exponential(mean).as_secs_f64();
                self.send(class, work);
            }
            Todo::Finish(server, sent) => self.finish(server, *sent),
            Todo::Report(event) => {
                self.cluster.handle(*event, self.now);
                self.publish_snapshot();
            }
            Todo::Look => {
                self.plan(LOOK, Todo::Look);
                self.act();
            }
        }
    }

    fn draw(&mut self) -> (RequestClass, f64) {
        let mut percent = self.chance.below(100);
        for (class, mean, part) in self.mix.classes {
            if percent < part {
                return (class, mean);
            }
            percent -= part;
        }
        let (class, mean, _) = self.mix.classes[0];
        (class, mean)
    }

    fn exponential(&mut self, mean: f64) -> Duration {
        let uniform = (self.chance.below(1 << 30) + 1) as f64 / f64::from(1 << 30);
        Duration::from_secs_f64(-uniform.ln() * mean)
    }

    fn finish(&mut self, server: usize, sent: Sent) {
        let Sent {
            job,
            selection,
            concurrency,
            at,
            watch,
        } = sent;
        drop(watch);
        let took = self.now - at;
        let load = Arc::clone(&selection.upstream.load);
        drop(selection);
        if self.learns {
            load.slowness().learn(job.class, concurrency, took);
            self.snapshot.review_slowness(self.now);
        }
        self.done.push(Done {
            server,
            sent: at,
            ended: self.now,
            work: job.work,
        });
        self.servers[server].at_work -= 1;
        self.work(server);
        self.hand_out();
    }

    fn work(&mut self, server: usize) {
        while self.servers[server].at_work < self.servers[server].cores
            && let Some(sent) = self.servers[server].inside.pop_front()
        {
            self.servers[server].at_work += 1;
            let takes = Duration::from_secs_f64(sent.job.work / self.servers[server].speed);
            self.plan(takes, Todo::Finish(server, Box::new(sent)));
        }
    }

    /// Serves jobs in order of arrival. A job without a free slot does not block jobs of another
    /// class.
    fn hand_out(&mut self) {
        let mut kept = VecDeque::new();
        let mut full: Vec<RequestClass> = Vec::new();
        while let Some(job) = self.line.pop_front() {
            if full.contains(&job.class) {
                kept.push_back(job);
                continue;
            }
            let Ok(mut selection) = self.snapshot.select(job.class, &Tried::default(), self.now)
            else {
                full.push(job.class);
                kept.push_back(job);
                continue;
            };
            let name = selection.upstream.name.to_string();
            let server = self
                .servers
                .iter()
                .position(|server| server.name == name)
                .expect("it is one of them");
            let concurrency = selection.lease.concurrency();
            selection.lease.end_trial();
            let load = &selection.upstream.load;
            let watch = self.learns.then(|| load.watch(job.class, self.now));
            self.servers[server].inside.push_back(Sent {
                job,
                selection,
                concurrency,
                at: self.now,
                watch,
            });
            self.work(server);
        }
        self.line = kept;
    }

    fn publish_snapshot(&mut self) {
        if let Some(snapshot) = self.cluster.take_snapshot() {
            self.snapshot = snapshot;
            self.hand_out();
        }
    }

    /// Every request is answered with success.
    fn act(&mut self) {
        self.cluster.handle(Event::Tick, self.now);
        while let Some(action) = self.cluster.poll_action(self.now) {
            let sent_at = self.now;
            let (after, event) = self.answer(&action, sent_at);
            self.plan(after, Todo::Report(Box::new(event)));
        }
        self.publish_snapshot();
    }

    fn answer(&self, action: &Action, sent_at: Instant) -> (Duration, Event) {
        let id = |upstream: &Arc<Upstream>| -> UpstreamId { upstream.id };
        let update_sequence = Some(self.number);
        let event = match action {
            Action::Probe(upstream) => Event::Probed {
                upstream: id(upstream),
                report: ProbeReport {
                    outcome: Outcome::Success,
                    took: QUESTION,
                },
            },
            Action::ReadUpdateSequence(upstream) => Event::UpdateSequenceRead {
                upstream: id(upstream),
                sent_at,
                update_sequence,
            },
            Action::TryCredentials(upstream) => Event::CredentialsTried {
                upstream: id(upstream),
                sent_at,
                outcome: Ok(()),
            },
            Action::ReloadCatalog(upstream) => {
                let event = Event::CatalogReloaded {
                    upstream: id(upstream),
                    sent_at,
                    outcome: Ok(()),
                };
                return (self.reload_takes, event);
            }
            Action::ReloadMain(upstream) => Event::MainReloaded {
                upstream: id(upstream),
                sent_at,
                outcome: Ok(()),
            },
            Action::TruncateTiles { upstream, .. } => Event::TilesTruncated {
                upstream: id(upstream),
                sent_at,
                outcome: Ok(()),
            },
            Action::ChooseLayer(_) => Event::LayerChosen {
                sent_at,
                layer: Ok("ne:world".to_owned()),
            },
            Action::TestCanary(upstream) => Event::CanaryTested {
                upstream: id(upstream),
                sent_at,
                outcome: Outcome::Success,
                update_sequence,
            },
            Action::TryCanary(_) => Event::CanaryTried {
                sent_at,
                outcome: Outcome::Success,
            },
        };
        (QUESTION, event)
    }
}
