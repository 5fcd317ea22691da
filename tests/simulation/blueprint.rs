//! The configuration file that the operators of a world edit.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use geofront::config::{Catalog, Config, MainReads, MapEnvironment, Role};

use crate::chance::Chance;
use crate::ledger::Key;

const MOST_UPSTREAMS: usize = 8;

#[derive(Clone, Debug, PartialEq, Eq)]
struct Line {
    name: String,
    port: u16,
    weight: u64,
    role: Role,
    reads: MainReads,
}

#[derive(Clone, Debug)]
pub(crate) struct Blueprint {
    lines: Vec<Line>,
    health: [(&'static str, String); 9],
    catalog: [(&'static str, String); 8],
    /// To reload catalogs with.
    has_credentials: bool,
    /// Who serves `process`, if not the main.
    process: Option<String>,
    /// How much more than the mean an upstream may have for the sake of tiles that belong together; `None` for no affinity.
    affinity: Option<u64>,
    /// Names and ports are never used twice, except on purpose.
    next: u16,
}

impl Line {
    fn text(&self) -> String {
        let Self { name, port, weight, role, reads } = self;
        let table = format!("[upstreams.{name}]\nurl = \"http://10.0.0.1:{port}\"\nweight = {weight}\n");
        let main = format!("role = \"main\"\nreads = \"{}\"\n", format!("{reads:?}").to_lowercase());
        if *role == Role::Main { table + &main } else { table }
    }
}

impl Blueprint {
    pub(crate) fn random(chance: &mut Chance) -> Self {
        let (health, catalog, has_credentials) = (health(chance), catalog(chance), chance.percent(90));
        let (lines, process, affinity) = (Vec::new(), None, Some(125));
        let mut blueprint = Self { lines, health, catalog, has_credentials, process, affinity, next: 0 };
        for _ in 0..chance.between(2, 6) {
            blueprint.add(chance);
        }
        blueprint.lines[0].role = Role::Main;
        blueprint
    }

    /// One edit, as an operator would make it.
    pub(crate) fn edit(&mut self, chance: &mut Chance) {
        let at = chance.below(self.lines.len() as u64) as usize;
        match chance.below(11) {
            0 if self.lines.len() < MOST_UPSTREAMS => self.add(chance),
            1 if self.lines.len() > 2 && self.lines[at].role == Role::Replica => self.remove(at),
            2 => self.lines[at].port = self.new_port(),
            3 => self.lines[at].weight = weight(chance),
            4 => self.switch_main(at),
            5 => self.lines[at].reads = *chance.one_of(&[MainReads::Backup, MainReads::Always, MainReads::Never]),
            6 => self.health = health(chance),
            7 => self.catalog = catalog(chance),
            8 => self.has_credentials = chance.percent(90),
            9 => self.affinity = *chance.one_of(&[Some(125), Some(100), Some(200), None]),
            _ => self.process = chance.percent(60).then(|| self.lines[at].name.clone()),
        }
    }

    pub(crate) fn has_credentials(&self) -> bool {
        self.has_credentials
    }

    /// And somebody serves meanwhile.
    pub(crate) fn can_reload(&self) -> bool {
        let is_served = self.lines.iter().any(|line| line.role == Role::Main && line.reads != MainReads::Never);
        self.has_credentials && (is_served || self.lines.len() > 2)
    }

    /// In the order of the file.
    pub(crate) fn keys(&self) -> impl Iterator<Item = Key> {
        self.lines.iter().map(|line| (line.name.clone(), SocketAddr::from(([10, 0, 0, 1], line.port))))
    }

    pub(crate) fn load(&self) -> Arc<Config> {
        let world = MapEnvironment::new().file("geofront.toml", self.text());
        let loaded = Config::load(Path::new("geofront.toml"), &world);
        Arc::new(loaded.unwrap_or_else(|problems| panic!("{problems}\n{}", self.text())).config)
    }

    fn text(&self) -> String {
        let table = |keys: &[(&str, String)]| keys.iter().map(|(key, value)| format!("{key} = {value}\n")).collect::<String>();
        let credentials = if self.has_credentials { "[geoserver]\nheaders = { sec-username = \"geofront\" }\n" } else { "" };
        let process = self.process.iter().map(|name| format!("[classes.process]\nserved_by = \"{name}\"\n"));
        let upstreams = self.lines.iter().map(Line::text);
        let affinity =
            self.affinity.map_or_else(|| "affinity = false".to_owned(), |load| format!("affinity_load_percent = {load}"));
        let first = format!(
            "[limits]\nmax_in_flight = \"off\"\n[health]\n{}[catalog]\n{}{credentials}",
            table(&self.health),
            table(&self.catalog)
        );
        let tables = process.chain(upstreams).chain([format!("[classes.tile]\n{affinity}\n")]);
        tables.fold(first, |text, table| text + &table)
    }

    fn add(&mut self, chance: &mut Chance) {
        let port = self.new_port();
        let reads = *chance.one_of(&[MainReads::Backup, MainReads::Backup, MainReads::Always, MainReads::Never]);
        self.lines.push(Line { name: format!("u{port}"), port, weight: weight(chance), role: Role::Replica, reads });
    }

    fn remove(&mut self, at: usize) {
        let gone = self.lines.remove(at);
        self.process = self.process.take().filter(|name| *name != gone.name);
    }

    fn switch_main(&mut self, at: usize) {
        self.lines.iter_mut().for_each(|line| line.role = Role::Replica);
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

fn catalog(chance: &mut Chance) -> [(&'static str, String); 8] {
    let milliseconds = |duration: Duration| format!("\"{}ms\"", duration.as_millis());
    let settle = chance.millis(0, 2_000);
    [
        ("poll", milliseconds(chance.millis(1_000, 4_000))),
        ("settle", milliseconds(settle)),
        ("settle_max", milliseconds(settle + chance.millis(0, 4_000))),
        ("parallel", chance.one_of(&[1, 1, 1, 2, 3]).to_string()),
        ("drain_timeout", milliseconds(chance.millis(100, 4_000))),
        ("reload_timeout", milliseconds(chance.millis(1_000, 5_000))),
        ("stale", format!("\"{}\"", chance.one_of(&["serve", "serve", "avoid"]))),
        ("canary_layer", "\"ne:world\"".to_owned()),
    ]
}

/// From the last fault to everybody fresh, at the latest, where nobody has failed more often in a row than `failures` times.
pub(crate) fn freshening_time(config: &Config, failures: u32) -> Duration {
    let Catalog { poll, settle_max, drain_timeout, reload_timeout, .. } = config.catalog;
    let (timeout, second) = (config.health.timeout, Duration::from_secs(1));
    let noticing = (poll + timeout + second) * 2 + settle_max;
    // A call that is lost, a canary that does not come (two minutes), their retries, and then the one that succeeds.
    let canary = (timeout * 2 + second) * config.health.rise + second * 120;
    let retries = second * 10 * (1 << (failures + 2));
    let of_one = (drain_timeout + reload_timeout + second) * 3 + canary + retries;
    noticing + of_one * config.upstreams.len() as u32
}

/// From the last fault to everybody serving, at the latest.
pub(crate) fn recovery_time(config: &Config) -> Duration {
    let health = &config.health;
    // A probe under way may be lost; a turn on the grid is up to one and a half intervals away.
    let probing = health.timeout + Duration::from_secs(2) + (health.interval + health.down_interval) * 3 / 2;
    // The trial needs a request that tells something.
    let trial = Duration::from_secs(6);
    probing + (health.down_interval * 3 / 2 + Duration::from_secs(1)) * health.rise + health.ejection_max + trial
}
