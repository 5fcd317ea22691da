//! Writes the cluster of an old balancer as a configuration of geofront, each value with the line
//! that it comes from.

mod text;

use std::collections::BTreeMap;
use std::time::Duration;

use super::balancer::{
    OldBalancer, OldListener, OldServer, Remark, RemarkVerdict, Setting, SettingKey, SettingScope,
    SettingValue,
};
use super::choose::ChosenCluster;
use crate::ogc::RequestClass;
use text::{excerpt, quoted, shown_size, shown_time};

/// Column of the comments with the line that a value comes from.
const COMMENT_COLUMN: usize = 44;

/// Above Tomcat's default number of threads, a limit of the old balancer limited nothing.
const TOMCAT_THREADS: u32 = 200;

/// Largest weight of an upstream in the output.
const FULL_WEIGHT: u32 = 100;

/// Classes whose requests may carry uploads.
const UPLOADS: [RequestClass; 5] = [
    RequestClass::Process,
    RequestClass::Transaction,
    RequestClass::Admin,
    RequestClass::Ui,
    RequestClass::Unknown,
];

/// Bounds that `geofront check` accepts.
const TIMES: (Duration, Duration) = (Duration::from_millis(1), Duration::from_secs(24 * 3600));
const PROBE_TIMES: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(3600));

/// The place of a setting in the file: its table, its key, and the bounds of a count.
struct SettingTarget {
    key: SettingKey,
    table: &'static str,
    name: &'static str,
    counts: (u64, u64),
}

const fn target(key: SettingKey, table: &'static str, name: &'static str) -> SettingTarget {
    SettingTarget {
        key,
        table,
        name,
        counts: (0, 0),
    }
}

const fn counted(
    key: SettingKey,
    table: &'static str,
    name: &'static str,
    counts: (u64, u64),
) -> SettingTarget {
    SettingTarget {
        key,
        table,
        name,
        counts,
    }
}

/// In the order of the output.
const TARGETS: [SettingTarget; 18] = [
    target(SettingKey::Interval, "health", "interval"),
    target(SettingKey::DownInterval, "health", "down_interval"),
    counted(SettingKey::Rise, "health", "rise", (1, 100)),
    counted(SettingKey::Fall, "health", "fall", (1, 100)),
    target(SettingKey::SlowStart, "health", "slow_start"),
    target(SettingKey::ProbeLayer, "health", "probe_layer"),
    counted(
        SettingKey::EjectionFailures,
        "health",
        "ejection_failures",
        (0, 1000),
    ),
    target(SettingKey::Connect, "timeouts", "connect"),
    target(SettingKey::ClientHeader, "timeouts", "client_header"),
    target(SettingKey::ClientBody, "timeouts", "client_body"),
    target(SettingKey::ClientWrite, "timeouts", "client_write"),
    target(SettingKey::KeepAlive, "timeouts", "keep_alive"),
    counted(SettingKey::Attempts, "retry", "attempts", (1, 8)),
    target(SettingKey::RetryWindow, "retry", "window"),
    counted(SettingKey::Queue, "limits", "queue", (0, 100_000)),
    target(SettingKey::QueueTimeout, "limits", "queue_timeout"),
    target(SettingKey::Codings, "compression", "codings"),
    target(SettingKey::CompressionMinSize, "compression", "min_size"),
];

/// The configuration as text. `file` is the name of the old file in comments.
pub(super) fn render(
    balancer: &mut OldBalancer,
    cluster: &ChosenCluster,
    file: &str,
    may_read: &dyn Fn(&str) -> bool,
) -> String {
    let mut page = ConfigurationText {
        file: file.to_owned(),
        text: String::new(),
    };
    let settings = chosen_settings(balancer, &cluster.pools);
    page.listeners(balancer, may_read);
    page.trusted(&balancer.trusted);
    page.upstreams(balancer, cluster);
    if let Some(context) = &cluster.context {
        page.table("geoserver");
        page.value("context", &quoted(context), None);
    }
    page.settings(&settings);
    page.classes(balancer, &settings);
    let open = page.remarks(&mut balancer.remarks);
    format!("{}{}", head(file, open), page.text)
}

fn head(file: &str, open: usize) -> String {
    let decisions = match open {
        0 => "Every other line of it is listed at the end, with the reason why it is not needed."
            .to_owned(),
        1 => "1 line of it needs your decision: see the end.".to_owned(),
        _ => format!("{open} lines of it need your decision: see the end."),
    };
    format!(
        "# Made by `geofront import` from {file}. {decisions}\n\
         # Comments name the line that a value comes from. What is not set here has geofront's default (docs/configuration.md).\n\
         # Next: geofront check --probe, and credentials under [geoserver], so that replicas get the main's changes.\n"
    )
}

/// The text so far.
struct ConfigurationText {
    file: String,
    text: String,
}

impl ConfigurationText {
    fn table(&mut self, name: &str) {
        self.push(&format!("\n[{name}]"));
    }

    fn push(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    fn value(&mut self, key: &str, value: &str, line: Option<usize>) {
        let pair = format!("{key} = {value}");
        match line {
            Some(line) => {
                let comment = format!("# {}:{line}", self.file);
                self.push(&format!("{pair:COMMENT_COLUMN$} {comment}"));
            }
            None => self.push(&pair),
        }
    }

    fn listeners(&mut self, balancer: &mut OldBalancer, may_read: &dyn Fn(&str) -> bool) {
        let mut listeners: Vec<OldListener> = Vec::new();
        for listener in std::mem::take(&mut balancer.listeners) {
            let twin = listeners.iter().position(|known| {
                port(&known.address) == port(&listener.address)
                    && (known.address == listener.address || is_any(&known.address))
            });
            match twin {
                None => listeners.push(listener),
                Some(twin) if known_tls(&listeners[twin]) < known_tls(&listener) => {
                    let (by, old) = (listener.line, listeners[twin].clone());
                    listeners[twin] = listener;
                    remark_on_twin(balancer, &old, by);
                }
                Some(twin) if listeners[twin].address == listener.address => {
                    remark_on_twin(balancer, &listener, listeners[twin].line);
                }
                Some(_) => balancer.remark(
                    listener.line,
                    &format!("address {}", listener.address),
                    RemarkVerdict::not_needed("another listener serves that port; for IPv6 too, use `[::]` in place of 0.0.0.0"),
                ),
            }
        }
        let (tls, plain): (Vec<_>, Vec<_>) = listeners.into_iter().partition(|l| l.tls.is_some());
        let is_served = |listener: &OldListener| {
            let files = listener.tls.iter().flatten();
            let mut names = files.flat_map(|(cert, key)| [cert, key]);
            listener.tls.as_ref().is_some_and(|tls| !tls.is_empty())
                && names.all(|name| may_read(name))
        };
        self.text.push('\n');
        let addresses: Vec<String> = plain.iter().map(|l| quoted(&l.address)).collect();
        if !addresses.is_empty() {
            let value = format!("[{}]", addresses.join(", "));
            self.value("listen", &value, plain.first().map(|l| l.line));
        } else if !tls.iter().any(is_served) {
            self.push("listen = [\"0.0.0.0:8080\"]");
        }
        for (at, listener) in tls.iter().enumerate() {
            let mark = if is_served(listener) { "" } else { "#" };
            let name = if at == 0 {
                "public".to_owned()
            } else {
                format!("public{}", at + 1)
            };
            self.tls_listener(listener, &name, mark);
            if !mark.is_empty() {
                balancer.remark(
                    listener.line,
                    &format!("address {} with TLS", listener.address),
                    RemarkVerdict::open("its certificate cannot be read here, so the table [listeners] above is a comment: give geofront's \
                         user the files, and remove the `#`"),
                );
            }
        }
    }

    fn tls_listener(&mut self, listener: &OldListener, name: &str, mark: &str) {
        let files = listener.tls.iter().flatten();
        let list = |names: Vec<String>| match names.as_slice() {
            [] => "[\"FILE\"]".to_owned(),
            names => format!("[{}]", names.join(", ")),
        };
        let certs = list(files.clone().map(|(cert, _)| quoted(cert)).collect());
        let keys = list(files.map(|(_, key)| quoted(key)).collect());
        self.push(&format!("\n{mark}[listeners.{name}]"));
        let address = quoted(&listener.address);
        self.value(&format!("{mark}address"), &address, Some(listener.line));
        self.value(&format!("{mark}cert"), &certs, None);
        self.value(&format!("{mark}key"), &keys, None);
    }

    /// The list stands above the first table.
    fn trusted(&mut self, trusted: &[(String, usize)]) {
        let Some((_, line)) = trusted.first() else {
            return;
        };
        let names: Vec<String> = trusted.iter().map(|(network, _)| quoted(network)).collect();
        let pair = format!("trusted_proxies = [{}]", names.join(", "));
        let line = format!("{pair:COMMENT_COLUMN$} # {}:{line}\n", self.file);
        let at = self
            .text
            .find("\n[")
            .or_else(|| self.text.find("\n#["))
            .map_or(self.text.len(), |at| at);
        self.text.insert_str(at, &line);
    }

    fn upstreams(&mut self, balancer: &mut OldBalancer, cluster: &ChosenCluster) {
        let main_name = name_of(&cluster.main, "main", &[]);
        let mut names = vec![main_name.clone()];
        let weights = weights(&cluster.replicas);
        self.upstream(balancer, &cluster.main, &main_name, "");
        self.value("role", "\"main\"", cluster.main_line);
        if cluster.main_reads.is_some() {
            self.value("reads", "\"always\"", cluster.main_reads);
        }
        for (at, replica) in cluster.replicas.iter().enumerate() {
            let name = name_of(replica, &format!("replica{}", at + 1), &names);
            let mark = if replica.is_disabled { "#" } else { "" };
            self.upstream(balancer, replica, &name, mark);
            if let (Some(weight), None) = (weights.get(at).copied().flatten(), mark.chars().next())
            {
                self.value("weight", &weight.to_string(), Some(replica.line));
            }
            if replica.is_disabled {
                balancer.remark(
                    replica.line,
                    &format!("server {name}, which is disabled"),
                    RemarkVerdict::open("its table above is a comment; with it, order `geofront maintenance` to keep it out of service"),
                );
            }
            if replica.is_backup {
                balancer.remark(
                    replica.line,
                    &format!("server {name}, which is a backup"),
                    RemarkVerdict::open("only the main waits for the others to fail; this one is a replica like the others now"),
                );
            }
            names.push(name);
        }
    }

    fn upstream(&mut self, balancer: &mut OldBalancer, server: &OldServer, name: &str, mark: &str) {
        let name = if name.contains('.') {
            quoted(name)
        } else {
            name.to_owned()
        };
        self.push(&format!("\n{mark}[upstreams.{name}]"));
        self.value(
            &format!("{mark}url"),
            &quoted(&server.url()),
            Some(server.line),
        );
        match server.max_in_flight {
            Some(most) if (1..=TOMCAT_THREADS).contains(&most) => {
                let key = format!("{mark}max_in_flight");
                self.value(&key, &most.to_string(), Some(server.line));
            }
            Some(0) | None => {}
            Some(most) => balancer.remark(
                server.line,
                &format!("limit {most} of server {name}"),
                RemarkVerdict::not_needed(format!(
                    "above the {TOMCAT_THREADS} threads that Tomcat has by default it limits nothing; geofront learns the limit"
                )),
            ),
        }
    }

    fn settings(&mut self, settings: &BTreeMap<SettingKey, Setting>) {
        let mut table = "";
        for target in &TARGETS {
            let Some(setting) = settings.get(&target.key) else {
                continue;
            };
            if table != target.table {
                self.table(target.table);
                table = target.table;
            }
            let value = match &setting.value {
                SettingValue::Time(time) => {
                    let (least, most) = if target.table == "health" {
                        PROBE_TIMES
                    } else {
                        TIMES
                    };
                    quoted(&shown_time((*time).clamp(least, most)))
                }
                SettingValue::Count(count) => {
                    let (least, most) = target.counts;
                    (*count).clamp(least, most).to_string()
                }
                SettingValue::Size(bytes) => quoted(&shown_size(*bytes)),
                SettingValue::Text(text) => quoted(text),
            };
            self.value(target.name, &value, Some(setting.line));
        }
    }

    /// `first_byte` and `max_body` where the old balancer allowed more than geofront does by
    /// default. Smaller values are not carried over: they cut downloads and uploads off.
    fn classes(&mut self, balancer: &mut OldBalancer, settings: &BTreeMap<SettingKey, Setting>) {
        let first_byte = match settings.get(&SettingKey::FirstByte) {
            Some(Setting {
                value: SettingValue::Time(time),
                line,
                ..
            }) => Some(((*time).clamp(TIMES.0, TIMES.1), *line)),
            _ => None,
        };
        let max_body = match settings.get(&SettingKey::MaxBody) {
            Some(Setting {
                value: SettingValue::Size(bytes),
                line,
                ..
            }) => Some((*bytes, *line)),
            _ => None,
        };
        for class in RequestClass::ALL {
            let row = class.row();
            let longer = first_byte.filter(|(time, _)| *time > row.default_first_byte);
            let larger = max_body
                .filter(|(bytes, _)| UPLOADS.contains(&class) && *bytes > row.default_max_body);
            if longer.is_some() || larger.is_some() {
                self.table(&format!("classes.{}", row.name));
            }
            if let Some((time, line)) = longer {
                self.value("first_byte", &quoted(&shown_time(time)), Some(line));
            }
            if let Some((bytes, line)) = larger {
                self.value("max_body", &quoted(&shown_size(bytes)), Some(line));
            }
        }
        if let Some((time, line)) = first_byte {
            balancer.remark(
                line,
                &format!("{} for an upstream's answer", shown_time(time)),
                RemarkVerdict::not_needed(
                    "carried over for classes with a shorter default; the others keep geofront's, so that no download is cut \
                     off earlier (`first_byte` under [classes.NAME])",
                ),
            );
        }
        if let Some((bytes, line)) = max_body {
            balancer.remark(
                line,
                &format!("{} for a request's body", shown_size(bytes)),
                RemarkVerdict::not_needed(
                    "carried over for uploads whose default is smaller; queries keep 16 MB (`max_body` under [classes.NAME])",
                ),
            );
        }
    }

    /// All remarks by line, the open ones first. Returns the number of open ones.
    fn remarks(&mut self, remarks: &mut [Remark]) -> usize {
        remarks.sort_by_key(|remark| remark.line);
        let is_open = |remark: &&Remark| matches!(remark.verdict, RemarkVerdict::Open(_));
        let open = remarks.iter().filter(is_open).count();
        for (wants_open, heading) in [
            (true, "Not carried over: your decision"),
            (false, "Not carried over: not needed"),
        ] {
            let listed: Vec<&Remark> = remarks
                .iter()
                .filter(|r| is_open(r) == wants_open)
                .collect();
            if listed.is_empty() {
                continue;
            }
            self.push(&format!("\n# ---- {heading}\n#"));
            for remark in listed {
                let (RemarkVerdict::Open(why) | RemarkVerdict::NotNeeded(why)) = &remark.verdict;
                let excerpt = excerpt(&remark.text);
                self.push(&format!("# {}:{}: {excerpt}", self.file, remark.line));
                self.push(&format!("#   {why}"));
            }
        }
        open
    }
}

fn remark_on_twin(balancer: &mut OldBalancer, listener: &OldListener, by: usize) {
    if listener.line != by {
        let why = format!("the same address as in line {by}");
        let text = format!("address {}", listener.address);
        balancer.remark(listener.line, &text, RemarkVerdict::not_needed(why));
    }
}

/// The setting of each key that holds for the cluster: the group's own before the front's, and the
/// front's before the defaults. Of several the largest holds.
fn chosen_settings(balancer: &mut OldBalancer, pools: &[String]) -> BTreeMap<SettingKey, Setting> {
    let rank = |setting: &Setting| match &setting.scope {
        SettingScope::Default => 0,
        SettingScope::Front => 1,
        SettingScope::Pool(_) => 2,
    };
    let mut chosen: BTreeMap<SettingKey, Setting> = BTreeMap::new();
    let mut unused = Vec::new();
    for setting in std::mem::take(&mut balancer.settings) {
        let is_ours = match &setting.scope {
            SettingScope::Pool(pool) => pools.contains(pool),
            SettingScope::Default | SettingScope::Front => true,
        };
        if !is_ours {
            let text = setting_name(setting.key);
            let verdict = RemarkVerdict::not_needed("belongs to a group that is not the cluster");
            balancer.remark(setting.line, &text, verdict);
            continue;
        }
        match chosen.get(&setting.key) {
            Some(known)
                if (rank(known), amount(&known.value))
                    >= (rank(&setting), amount(&setting.value)) =>
            {
                unused.push((setting.line, setting.key, known.line));
            }
            Some(known) => {
                unused.push((known.line, setting.key, setting.line));
                chosen.insert(setting.key, setting);
            }
            None => {
                chosen.insert(setting.key, setting);
            }
        }
    }
    for (line, key, by) in unused {
        let what = setting_name(key);
        balancer.remark(
            line,
            &what,
            RemarkVerdict::not_needed(format!(
                "there is one value for the whole cluster: that of line {by}"
            )),
        );
    }
    chosen
}

/// The key that a setting belongs to.
fn setting_name(key: SettingKey) -> String {
    TARGETS.iter().find(|target| target.key == key).map_or_else(
        || "`first_byte` or `max_body` of the classes".to_owned(),
        |target| format!("`{}.{}`", target.table, target.name),
    )
}

fn amount(value: &SettingValue) -> u128 {
    match value {
        SettingValue::Time(time) => time.as_millis(),
        SettingValue::Count(count) | SettingValue::Size(count) => u128::from(*count),
        SettingValue::Text(_) => 0,
    }
}

/// The weights of the replicas, the largest as 100; none if all are equal.
fn weights(replicas: &[OldServer]) -> Vec<Option<u32>> {
    let of = |server: &OldServer| server.weight.unwrap_or(1).max(1);
    let most = replicas.iter().map(of).max().unwrap_or(1);
    if replicas.iter().all(|replica| of(replica) == most) {
        return vec![None; replicas.len()];
    }
    let scaled = |server| (of(server).saturating_mul(FULL_WEIGHT) / most).max(1);
    replicas
        .iter()
        .map(|replica| Some(scaled(replica)))
        .collect()
}

/// The server's own name where it can be an upstream's, else `other`; never one of `taken`.
fn name_of(server: &OldServer, other: &str, taken: &[String]) -> String {
    let plain = |name: &String| {
        name.chars()
            .map(|c| {
                if c.is_ascii_alphanumeric() || "-_.".contains(c) {
                    c
                } else {
                    '-'
                }
            })
            .take(60)
            .collect::<String>()
    };
    let own = server.name.as_ref().map(plain).filter(|name| {
        !name.is_empty() && name != "replicas" && (name != "main" || taken.is_empty())
    });
    let base = own.unwrap_or_else(|| other.to_owned());
    let mut name = base.clone();
    let mut next = 2;
    while taken.contains(&name) {
        name = format!("{base}-{next}");
        next += 1;
    }
    name
}

fn port(address: &str) -> &str {
    address.rsplit_once(':').map_or("", |(_, port)| port)
}

fn is_any(address: &str) -> bool {
    address.starts_with("0.0.0.0:") || address.starts_with("[::]:")
}

/// A listener with a certificate knows more than one without, and that more than a plain one.
fn known_tls(listener: &OldListener) -> usize {
    listener.tls.as_ref().map_or(0, |files| 1 + files.len())
}
