//! The configuration file that the operators of a world edit.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use geofront::config::{Catalog, Config, MainReads, MapEnvironment, Role};

use crate::chance::Chance;
use crate::ledger::Key;
use crate::world::CHAOS;

const MOST_UPSTREAMS: usize = 8;

#[derive(Clone, Debug, PartialEq, Eq)]
struct Line {
    name: String,
    port: u16,
    weight: u64,
    role: Role,
    reads: MainReads,
    /// Its own limit, if it has one.
    max_in_flight: Option<&'static str>,
}

#[derive(Clone, Debug)]
pub(crate) struct Blueprint {
    lines: Vec<Line>,
    limits: [(&'static str, String); 6],
    /// Maximum number of concurrent maps.
    most_maps: Option<u32>,
    /// The classes with a priority other than the default.
    priorities: Vec<(&'static str, u64)>,
    health: [(&'static str, String); 9],
    catalog: [(&'static str, String); 9],
    /// Those that were removed.
    gone: Vec<Line>,
    /// A layer for probes is configured.
    probes_draw: bool,
    /// A layer for the canary is configured.
    has_canary: bool,
    /// Catalogs can be reloaded.
    has_credentials: bool,
    /// The upstream that serves `process`, if not the main.
    process: Option<String>,
    /// Bound on the load of an upstream with affinity, in percent of the mean; `None` for no
    /// affinity.
    affinity: Option<u64>,
    /// Names and ports are never used twice, except on purpose.
    next: u16,
}

impl Line {
    fn text(&self) -> String {
        let Self {
            name,
            port,
            weight,
            role,
            reads,
            max_in_flight,
        } = self;
        let cap = max_in_flight
            .map(|cap| format!("max_in_flight = {cap}\n"))
            .unwrap_or_default();
        let table = format!(
            "[upstreams.{name}]\nurl = \"http://10.0.0.1:{port}\"\nweight = {weight}\n{cap}"
        );
        let main = format!(
            "role = \"main\"\nreads = \"{}\"\n",
            format!("{reads:?}").to_lowercase()
        );
        if *role == Role::Main {
            table + &main
        } else {
            table
        }
    }
}

impl Blueprint {
    pub(crate) fn random(chance: &mut Chance) -> Self {
        let (health, catalog, has_credentials) =
            (health(chance), catalog(chance), chance.percent(90));
        let (limits, most_maps, priorities) = (limits(chance), most_maps(chance), Vec::new());
        let (lines, process, affinity) = (Vec::new(), None, Some(125));
        let (probes_draw, has_canary) = (chance.percent(30), chance.percent(70));
        let mut blueprint = Self {
            lines,
            limits,
            most_maps,
            priorities,
            health,
            catalog,
            has_credentials,
            process,
            affinity,
            gone: Vec::new(),
            probes_draw,
            has_canary,
            next: 0,
        };
        for _ in 0..chance.between(2, 6) {
            blueprint.add(chance);
        }
        blueprint.lines[0].role = Role::Main;
        blueprint
    }

    /// One edit, as an operator would make it.
    pub(crate) fn edit(&mut self, chance: &mut Chance) {
        let at = chance.below(self.lines.len() as u64) as usize;
        match chance.below(18) {
            0 if self.lines.len() < MOST_UPSTREAMS => self.add(chance),
            1 if self.lines.len() > 2 && self.lines[at].role == Role::Replica => self.remove(at),
            2 => self.lines[at].port = self.new_port(),
            3 => self.lines[at].weight = weight(chance),
            4 => self.switch_main(at),
            5 => {
                self.lines[at].reads =
                    *chance.one_of(&[MainReads::Backup, MainReads::Always, MainReads::Never])
            }
            6 => self.health = health(chance),
            7 => self.catalog = catalog(chance),
            8 => self.has_credentials = chance.percent(90),
            9 => self.limits = limits(chance),
            10 => self.lines[at].max_in_flight = cap_of_its_own(chance),
            11 => self.priorities = priorities(chance),
            12 => self.most_maps = most_maps(chance),
            14 => self.rename(at),
            15 => self.swap_names(at, chance),
            16 if self.lines.len() < MOST_UPSTREAMS => self.bring_back(chance),
            17 => self.has_canary = chance.percent(70),
            13 => self.affinity = *chance.one_of(&[Some(125), Some(100), Some(200), None]),
            _ => self.process = chance.percent(60).then(|| self.lines[at].name.clone()),
        }
    }

    pub(crate) fn probes_draw(&self) -> bool {
        self.probes_draw
    }

    pub(crate) fn has_canary(&self) -> bool {
        self.has_canary
    }

    pub(crate) fn has_credentials(&self) -> bool {
        self.has_credentials
    }

    pub(crate) fn most_maps(&self) -> Option<u32> {
        self.most_maps
    }

    /// Returns whether reloads are possible while another upstream serves.
    pub(crate) fn can_reload(&self) -> bool {
        let is_served = self
            .lines
            .iter()
            .any(|line| line.role == Role::Main && line.reads != MainReads::Never);
        self.has_credentials && (is_served || self.lines.len() > 2)
    }

    /// Returns the keys in the order of the file.
    pub(crate) fn keys(&self) -> impl Iterator<Item = Key> {
        self.lines.iter().map(|line| {
            (
                line.name.clone(),
                SocketAddr::from(([10, 0, 0, 1], line.port)),
            )
        })
    }

    pub(crate) fn load(&self) -> Arc<Config> {
        let world = MapEnvironment::new().file("geofront.toml", self.text());
        let loaded = Config::load(Path::new("geofront.toml"), &world);
        Arc::new(
            loaded
                .unwrap_or_else(|problems| panic!("{problems}\n{}", self.text()))
                .config,
        )
    }

    fn text(&self) -> String {
        let table = |keys: &[(&str, String)]| {
            keys.iter()
                .map(|(key, value)| format!("{key} = {value}\n"))
                .collect::<String>()
        };
        let credentials = if self.has_credentials {
            "[geoserver]\nheaders = { sec-username = \"geofront\" }\n"
        } else {
            ""
        };
        let probe = if self.probes_draw {
            "probe_layer = \"ne:world\"\n"
        } else {
            ""
        };
        let canary = if self.has_canary {
            "canary_layer = \"ne:world\"\n"
        } else {
            ""
        };
        let process = self
            .process
            .iter()
            .map(|name| format!("classes.process.served_by = \"{name}\"\n"));
        let priorities = self
            .priorities
            .iter()
            .map(|(class, priority)| format!("classes.{class}.priority = {priority}\n"));
        let upstreams = self.lines.iter().map(Line::text);
        let affinity = self.affinity.map_or_else(
            || "affinity = false".to_owned(),
            |load| format!("affinity_load_percent = {load}"),
        );
        let maps = self
            .most_maps
            .map(|most| format!("control_flow = \"ows.wms.getmap={most}\"\n"))
            .unwrap_or_default();
        let tables = format!(
            "[limits]\n{}{maps}[health]\n{}{probe}[catalog]\n{}{canary}{credentials}",
            table(&self.limits),
            table(&self.health),
            table(&self.catalog)
        );
        let first = [format!("classes.tile.{affinity}\n")].into_iter();
        first
            .chain(process)
            .chain(priorities)
            .chain([tables])
            .chain(upstreams)
            .collect()
    }

    fn add(&mut self, chance: &mut Chance) {
        let port = self.new_port();
        let reads = *chance.one_of(&[
            MainReads::Backup,
            MainReads::Backup,
            MainReads::Always,
            MainReads::Never,
        ]);
        let (name, weight, max_in_flight) =
            (format!("u{port}"), weight(chance), cap_of_its_own(chance));
        self.lines.push(Line {
            name,
            port,
            weight,
            role: Role::Replica,
            reads,
            max_in_flight,
        });
    }

    fn remove(&mut self, at: usize) {
        let gone = self.lines.remove(at);
        self.process = self.process.take().filter(|name| *name != gone.name);
        self.gone.push(gone);
    }

    fn rename(&mut self, at: usize) {
        let name = format!("v{}", self.new_port());
        let before = std::mem::replace(&mut self.lines[at].name, name.clone());
        self.process = self
            .process
            .take()
            .map(|process| if process == before { name } else { process });
    }

    fn swap_names(&mut self, at: usize, chance: &mut Chance) {
        let other = chance.below(self.lines.len() as u64) as usize;
        let name = self.lines[at].name.clone();
        self.lines[at].name = std::mem::replace(&mut self.lines[other].name, name);
    }

    /// Under the name and at the address that it had.
    fn bring_back(&mut self, chance: &mut Chance) {
        if self.gone.is_empty() {
            return;
        }
        let at = chance.below(self.gone.len() as u64) as usize;
        let mut back = self.gone.remove(at);
        back.role = Role::Replica;
        if self
            .lines
            .iter()
            .all(|line| line.name != back.name && line.port != back.port)
        {
            self.lines.push(back);
        }
    }

    fn switch_main(&mut self, at: usize) {
        self.lines
            .iter_mut()
            .for_each(|line| line.role = Role::Replica);
        self.lines[at].role = Role::Main;
    }

    fn new_port(&mut self) -> u16 {
        self.next += 1;
        self.next
    }
}

fn weight(chance: &mut Chance) -> u64 {
    *chance.one_of(&[100, 100, 100, 50, 200, 1, 1000, 333])
}

/// Small ones mostly, so that they are reached.
const CAPS: [&str; 9] = ["1", "1", "2", "2", "3", "5", "8", "\"auto\"", "\"off\""];

fn cap_of_its_own(chance: &mut Chance) -> Option<&'static str> {
    let is_its_own = chance.percent(25);
    is_its_own.then(|| *chance.one_of(&CAPS))
}

fn limits(chance: &mut Chance) -> [(&'static str, String); 6] {
    [
        ("max_in_flight", (*chance.one_of(&CAPS)).to_owned()),
        (
            "quick_reserve",
            chance.one_of(&[0, 0, 25, 50, 90]).to_string(),
        ),
        (
            "heavy_share",
            chance.one_of(&[1, 25, 25, 50, 100]).to_string(),
        ),
        ("queue", chance.one_of(&[0, 1, 3, 8, 20, 40]).to_string()),
        (
            "per_user",
            (*chance.one_of(&["\"off\"", "\"off\"", "1", "2", "4", "8"])).to_owned(),
        ),
        (
            "queue_timeout",
            format!("\"{}ms\"", chance.millis(100, 20_000).as_millis()),
        ),
    ]
}

fn most_maps(chance: &mut Chance) -> Option<u32> {
    *chance.one_of(&[None, None, Some(2), Some(4), Some(8)])
}

fn priorities(chance: &mut Chance) -> Vec<(&'static str, u64)> {
    let classes = ["map", "info", "feature", "process", "tile", "admin"];
    let changed = classes
        .into_iter()
        .filter(|_| chance.percent(30))
        .collect::<Vec<_>>();
    changed
        .into_iter()
        .map(|class| (class, chance.below(4)))
        .collect()
}

fn health(chance: &mut Chance) -> [(&'static str, String); 9] {
    let mut duration = |from, to| format!("\"{}ms\"", chance.millis(from, to).as_millis());
    [
        ("interval", duration(1_000, 5_000)),
        ("timeout", duration(500, 3_000)),
        ("down_interval", duration(500, 2_500)),
        ("ejection", duration(500, 5_000)),
        ("ejection_max", duration(5_000, 20_000)),
        ("slow_start", duration(0, 10_000)),
        ("rise", chance.between(1, 3).to_string()),
        ("fall", chance.between(1, 3).to_string()),
        ("ejection_failures", chance.below(6).to_string()),
    ]
}

fn catalog(chance: &mut Chance) -> [(&'static str, String); 9] {
    let milliseconds = |duration: Duration| format!("\"{}ms\"", duration.as_millis());
    let settle = chance.millis(0, 2_000);
    [
        ("poll", milliseconds(chance.millis(1_000, 4_000))),
        ("settle", milliseconds(settle)),
        ("settle_max", milliseconds(settle + chance.millis(0, 4_000))),
        ("parallel", chance.one_of(&[1, 1, 1, 2, 3]).to_string()),
        ("drain_timeout", milliseconds(chance.millis(100, 4_000))),
        ("reload_timeout", milliseconds(chance.millis(1_000, 5_000))),
        (
            "stale",
            format!("\"{}\"", chance.one_of(&["serve", "serve", "avoid"])),
        ),
        ("roll_share", chance.one_of(&[60, 80, 100, 100]).to_string()),
        (
            "main_helps",
            chance.one_of(&["true", "true", "false"]).to_string(),
        ),
    ]
}

/// The longest time from the last fault until every upstream is fresh, if no reload has failed more
/// than `failures` times in a row.
pub(crate) fn freshening_time(config: &Config, failures: u32) -> Duration {
    let Catalog {
        poll,
        settle_max,
        drain_timeout,
        reload_timeout,
        ..
    } = config.catalog;
    let (timeout, second) = (config.health.timeout, Duration::from_secs(1));
    let noticing = (poll + timeout + second) * 2 + settle_max;
    // A call that is lost, a canary that does not come (two minutes), their retries, and then the
    // one that succeeds.
    let canary = (timeout * 2 + second) * config.health.rise + second * 120;
    let retries = second * 10 * (1 << (failures + 2));
    // One that was given up on is waited for.
    let given_up = reload_timeout + second * 60;
    let of_one = (drain_timeout + reload_timeout + second) * 3 + canary + given_up + retries;
    // A cluster that does not get its capacity back is waited for, a minute each time.
    let roll = (of_one + second * 60) * config.upstreams.len() as u32;
    // The last roll may have lasted since long before the faults ended.
    let share = config.catalog.roll_share;
    let pause = (CHAOS + roll) * (100 - share) / share;
    noticing + pause + roll
}

/// The longest time from the last fault until every upstream serves.
pub(crate) fn recovery_time(config: &Config) -> Duration {
    let health = &config.health;
    // A probe under way may be lost; a turn on the grid is up to one and a half intervals away.
    let probing =
        health.timeout + Duration::from_secs(2) + (health.interval + health.down_interval) * 3 / 2;
    // The trial needs a request that gives evidence.
    let trial = Duration::from_secs(7);
    probing
        + (health.down_interval * 3 / 2 + Duration::from_secs(1)) * health.rise
        + health.ejection_max
        + trial
}
