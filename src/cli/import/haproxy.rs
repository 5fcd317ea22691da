//! Reads the configuration of HAProxy.

mod condition;
mod server;
mod syntax;

use super::SyntaxFault;
use super::balancer::{
    OldBalancer, OldListener, OldPool, OldRoute, RemarkVerdict, RoutePurpose, SettingKey,
    SettingScope, SettingValue,
};
use super::reasons::{self, NOT_NEEDED, OPEN, Reason};
use super::values;
use condition::AccessLists;
use server::ServerDefaults;
use syntax::{HaProxySection, HaProxyStatement};

/// HAProxy's own number of retries, which nearly every file repeats.
const USUAL_RETRIES: u64 = 3;

const REASONS: &[Reason] = &[
    ("balance", NOT_NEEDED, reasons::BALANCE),
    ("hash-type", NOT_NEEDED, reasons::BALANCE),
    ("fullconn", NOT_NEEDED, reasons::BALANCE),
    ("cookie", NOT_NEEDED, reasons::STICKY),
    ("appsession", NOT_NEEDED, reasons::STICKY),
    ("stick", NOT_NEEDED, reasons::STICKY),
    ("stick-table", NOT_NEEDED, reasons::STICKY),
    ("option persist", NOT_NEEDED, reasons::STICKY),
    ("persist", NOT_NEEDED, reasons::STICKY),
    ("option httpclose", NOT_NEEDED, reasons::CONNECTIONS),
    ("option forceclose", NOT_NEEDED, reasons::CONNECTIONS),
    ("option http-server-close", NOT_NEEDED, reasons::CONNECTIONS),
    ("option http-keep-alive", NOT_NEEDED, reasons::CONNECTIONS),
    (
        "option http-pretend-keepalive",
        NOT_NEEDED,
        reasons::CONNECTIONS,
    ),
    (
        "option prefer-last-server",
        NOT_NEEDED,
        reasons::CONNECTIONS,
    ),
    ("option clitcpka", NOT_NEEDED, reasons::CONNECTIONS),
    ("option srvtcpka", NOT_NEEDED, reasons::CONNECTIONS),
    ("option tcpka", NOT_NEEDED, reasons::CONNECTIONS),
    (
        "option abortonclose",
        NOT_NEEDED,
        "always on: a request of a client that left is dropped",
    ),
    ("http-reuse", NOT_NEEDED, reasons::CONNECTIONS),
    ("option forwardfor", NOT_NEEDED, reasons::FORWARDED),
    ("option originalto", NOT_NEEDED, reasons::FORWARDED),
    (
        "http-request set-header x-forwarded-",
        NOT_NEEDED,
        reasons::FORWARDED,
    ),
    (
        "http-request add-header x-forwarded-",
        NOT_NEEDED,
        reasons::FORWARDED,
    ),
    (
        "http-request set-header x-real-ip",
        NOT_NEEDED,
        reasons::FORWARDED,
    ),
    ("reqadd x-forwarded-", NOT_NEEDED, reasons::FORWARDED),
    (
        "http-request del-header sec-",
        NOT_NEEDED,
        "always on for peers outside `trusted_identity`",
    ),
    (
        "http-request del-header imp-",
        NOT_NEEDED,
        "always on for peers outside `trusted_identity`",
    ),
    ("option redispatch", NOT_NEEDED, reasons::RETRIES),
    ("redispatch", NOT_NEEDED, reasons::RETRIES),
    ("retry-on", NOT_NEEDED, reasons::RETRIES),
    ("option httpchk", NOT_NEEDED, reasons::PROBES),
    ("http-check", NOT_NEEDED, reasons::PROBES),
    ("option tcp-check", NOT_NEEDED, reasons::PROBES),
    ("tcp-check", NOT_NEEDED, reasons::PROBES),
    ("timeout check", NOT_NEEDED, reasons::PROBES),
    (
        "option log-health-checks",
        NOT_NEEDED,
        "every change of an upstream's state is logged",
    ),
    ("option allbackups", NOT_NEEDED, reasons::BALANCE),
    ("option httplog", NOT_NEEDED, reasons::ACCESS_LOG),
    ("option tcplog", NOT_NEEDED, reasons::ACCESS_LOG),
    ("option dontlognull", NOT_NEEDED, reasons::ACCESS_LOG),
    ("option dontlog-normal", NOT_NEEDED, reasons::ACCESS_LOG),
    ("option logasap", NOT_NEEDED, reasons::ACCESS_LOG),
    (
        "option log-separate-errors",
        NOT_NEEDED,
        reasons::ACCESS_LOG,
    ),
    ("log", NOT_NEEDED, reasons::ACCESS_LOG),
    ("log-format", NOT_NEEDED, reasons::ACCESS_LOG),
    ("log-tag", NOT_NEEDED, reasons::ACCESS_LOG),
    ("capture", NOT_NEEDED, reasons::ACCESS_LOG),
    ("http-request capture", NOT_NEEDED, reasons::ACCESS_LOG),
    (
        "unique-id-format",
        NOT_NEEDED,
        "every request has an id, or keeps that of a trusted proxy",
    ),
    (
        "unique-id-header",
        NOT_NEEDED,
        "every request has an id, or keeps that of a trusted proxy",
    ),
    ("stats", NOT_NEEDED, reasons::STATUS_PAGE),
    (
        "http-request use-service prometheus-exporter",
        NOT_NEEDED,
        reasons::STATUS_PAGE,
    ),
    (
        "monitor-uri",
        NOT_NEEDED,
        "`/readyz` and `/healthz` are on the `admin` address",
    ),
    (
        "monitor",
        NOT_NEEDED,
        "`/readyz` and `/healthz` are on the `admin` address",
    ),
    ("redirect scheme https", OPEN, reasons::HTTPS_REDIRECT),
    (
        "http-request redirect scheme https",
        OPEN,
        reasons::HTTPS_REDIRECT,
    ),
    ("http-request set-header", OPEN, reasons::HEADERS),
    ("http-request add-header", OPEN, reasons::HEADERS),
    ("http-request del-header", OPEN, reasons::HEADERS),
    ("http-request set-path", OPEN, reasons::HEADERS),
    ("http-request replace-path", OPEN, reasons::HEADERS),
    ("http-request replace-uri", OPEN, reasons::HEADERS),
    ("http-response", OPEN, reasons::HEADERS),
    ("reqrep", OPEN, reasons::HEADERS),
    ("reqirep", OPEN, reasons::HEADERS),
    ("rsprep", OPEN, reasons::HEADERS),
    ("rspirep", OPEN, reasons::HEADERS),
    ("rspadd", OPEN, reasons::HEADERS),
    ("http-request deny", OPEN, reasons::RATES),
    ("http-request track-sc0", OPEN, reasons::RATES),
    ("http-request track-sc1", OPEN, reasons::RATES),
    ("http-request track-sc2", OPEN, reasons::RATES),
    ("tcp-request", OPEN, reasons::RATES),
    ("http-request auth", OPEN, reasons::ACCESS),
    ("redirect", OPEN, reasons::FILES),
    ("http-request redirect", OPEN, reasons::FILES),
    (
        "errorfile",
        OPEN,
        "refusals are OGC exceptions or short texts, with Retry-After",
    ),
    (
        "errorloc",
        OPEN,
        "refusals are OGC exceptions or short texts, with Retry-After",
    ),
    ("compression", NOT_NEEDED, reasons::COMPRESSION),
    ("filter compression", NOT_NEEDED, reasons::COMPRESSION),
    ("http-request cache-use", NOT_NEEDED, reasons::CACHE),
    ("http-response cache-store", NOT_NEEDED, reasons::CACHE),
    (
        "maxconn",
        NOT_NEEDED,
        "[clients] bounds connections per address, `limits.queue` the waiting requests",
    ),
    ("timeout tunnel", NOT_NEEDED, "GeoServer has no WebSockets"),
    ("timeout client-fin", NOT_NEEDED, reasons::CONNECTIONS),
    ("timeout server-fin", NOT_NEEDED, reasons::CONNECTIONS),
    ("timeout tarpit", NOT_NEEDED, reasons::RATES),
    (
        "mode tcp",
        NOT_NEEDED,
        "geofront speaks HTTP with its upstreams",
    ),
    ("description", NOT_NEEDED, "a comment of the old file"),
];

/// Reads the text of a file.
pub(super) fn read(text: &str) -> Result<OldBalancer, SyntaxFault> {
    let sections = syntax::sections(text)?;
    let mut reader = HaProxyReader {
        balancer: OldBalancer::default(),
        conditions: AccessLists::default(),
        server_defaults: ServerDefaults::default(),
    };
    for section in &sections {
        reader.section(section);
    }
    Ok(reader.balancer)
}

/// True if the text has the sections of HAProxy.
pub(super) fn is_haproxy(text: &str) -> bool {
    syntax::is_haproxy(text)
}

struct HaProxyReader {
    balancer: OldBalancer,
    /// The access lists of the current section.
    conditions: AccessLists,
    /// `default-server` of the last `defaults`.
    server_defaults: ServerDefaults,
}

impl HaProxyReader {
    fn section(&mut self, section: &HaProxySection) {
        self.conditions = AccessLists::new(&section.statements);
        match section.kind.as_str() {
            "defaults" => {
                self.server_defaults = ServerDefaults::default();
                for statement in &section.statements {
                    self.default(statement);
                }
            }
            "frontend" | "backend" | "listen" => self.proxy(section),
            "global" => {
                for statement in &section.statements {
                    let is_listed = |word: &str| statement.words[0].starts_with(word);
                    let verdict = if is_listed("stats") {
                        RemarkVerdict::not_needed(reasons::STATUS_PAGE)
                    } else if is_listed("ssl") || is_listed("tune.ssl") {
                        RemarkVerdict::not_needed(reasons::TLS)
                    } else if is_listed("log") {
                        RemarkVerdict::not_needed(reasons::ACCESS_LOG)
                    } else {
                        RemarkVerdict::not_needed(reasons::PROCESS)
                    };
                    self.balancer
                        .remark(statement.line, &statement.text, verdict);
                }
            }
            kind => {
                let verdict = match kind {
                    "peers" => RemarkVerdict::not_needed(reasons::STICKY),
                    "cache" => RemarkVerdict::not_needed(reasons::CACHE),
                    "resolvers" => {
                        RemarkVerdict::not_needed("names are looked up again every 30 seconds")
                    }
                    "mailers" => RemarkVerdict::open("see docs/monitoring.md for alerts"),
                    "userlist" => RemarkVerdict::open(reasons::ACCESS),
                    kind => {
                        RemarkVerdict::open(format!("sections of the kind `{kind}` are not read"))
                    }
                };
                self.balancer.remark(section.line, &section.text, verdict);
            }
        }
    }

    fn default(&mut self, statement: &HaProxyStatement) {
        if statement.words[0] == "default-server" {
            let found = server::defaults(&mut self.balancer, statement, &SettingScope::Default);
            self.server_defaults = self.server_defaults.with(&found);
        } else if !self.setting(statement, &SettingScope::Default) {
            self.rest(statement);
        }
    }

    /// `frontend`, `backend` or `listen`.
    fn proxy(&mut self, section: &HaProxySection) {
        let scope = if section.kind == "frontend" {
            SettingScope::Front
        } else {
            SettingScope::Pool(section.name.clone())
        };
        let mut pool = OldPool {
            line: section.line,
            name: section.name.clone(),
            servers: Vec::new(),
            ..OldPool::default()
        };
        let mut defaults = self.server_defaults.clone();
        for statement in &section.statements {
            match statement.words[0].as_str() {
                "server" => {
                    let read = server::server(&mut self.balancer, statement, &defaults, &scope);
                    pool.servers.extend(read);
                }
                "default-server" => {
                    let found = server::defaults(&mut self.balancer, statement, &scope);
                    defaults = defaults.with(&found);
                }
                "server-template" => self.balancer.remark(
                    statement.line,
                    &statement.text,
                    RemarkVerdict::open("servers from a template have no addresses here: write one [upstreams.NAME] for each"),
                ),
                "bind" => {}
                _ => self.statement(statement, &scope),
            }
        }
        let has_servers = !pool.servers.is_empty();
        let name = pool.name.clone();
        let use_servers: Vec<&HaProxyStatement> = section
            .statements
            .iter()
            .filter(|statement| statement.words[0] == "use-server")
            .collect();
        for statement in use_servers {
            self.use_server(statement, &pool);
        }
        if has_servers || section.kind == "backend" {
            self.balancer.pools.push(pool);
        }
        if section.kind == "listen" && has_servers {
            self.route(section.line, &name, RoutePurpose::Everything, None);
        }
        if section.kind != "backend" {
            self.binds(section, has_servers);
        }
    }

    /// The addresses of a section that leads to servers.
    fn binds(&mut self, section: &HaProxySection, has_servers: bool) {
        let leads = |statement: &HaProxyStatement| {
            matches!(
                statement.words[0].as_str(),
                "use_backend" | "default_backend"
            )
        };
        let is_front = has_servers || section.statements.iter().any(leads);
        for statement in &section.statements {
            if statement.words[0] != "bind" {
                continue;
            }
            if is_front {
                self.bind(statement);
            } else {
                let verdict = RemarkVerdict::not_needed("no request from there reaches a server");
                self.balancer
                    .remark(statement.line, &statement.text, verdict);
            }
        }
    }

    fn bind(&mut self, statement: &HaProxyStatement) {
        let HaProxyStatement { line, words, text } = statement;
        let options = words.get(2..).unwrap_or_default();
        let has = |name: &str| options.iter().any(|word| word == name);
        let crt: Vec<&String> = options
            .windows(2)
            .filter(|pair| pair[0] == "crt")
            .map(|pair| &pair[1])
            .collect();
        let tls = (has("ssl") || !crt.is_empty()).then(|| {
            crt.iter()
                .map(|crt| ((*crt).clone(), (*crt).clone()))
                .collect()
        });
        if has("accept-proxy") {
            let why = "write it as a table [listeners.NAME] with `proxy_protocol_from` and the balancer's addresses (docs/tls.md)";
            self.balancer.remark(*line, text, RemarkVerdict::open(why));
        }
        for address in words.get(1).map_or("", String::as_str).split(',') {
            match values::listener(address) {
                Some(address) => self.balancer.listeners.push(OldListener {
                    line: *line,
                    address,
                    tls: tls.clone(),
                }),
                None => {
                    let why = values::remedy_for_listener(address);
                    self.balancer.remark(*line, text, RemarkVerdict::open(why));
                }
            }
        }
    }

    fn statement(&mut self, statement: &HaProxyStatement, scope: &SettingScope) {
        let words = &statement.words;
        match words[0].as_str() {
            // Access lists and servers that decide are read with the rules that name them.
            "acl" | "use-server" => {}
            "use_backend" => self.use_backend(statement),
            "default_backend" => {
                let name = words.get(1).cloned().unwrap_or_default();
                self.route(statement.line, &name, RoutePurpose::Everything, None);
            }
            _ if self.setting(statement, scope) => {}
            _ => self.rest(statement),
        }
    }

    fn use_backend(&mut self, statement: &HaProxyStatement) {
        let name = statement.words.get(1).cloned().unwrap_or_default();
        if name.contains('%') {
            let why = "the backend follows from an expression: it is not known here which requests go where";
            self.balancer
                .remark(statement.line, &statement.text, RemarkVerdict::open(why));
            return;
        }
        let rest = statement.words.get(2..).unwrap_or_default();
        let (purpose, context) = self.conditions.purpose(rest);
        self.route(statement.line, &name, purpose, context);
    }

    /// A server of a backend that gets the requests of a condition.
    fn use_server(&mut self, statement: &HaProxyStatement, pool: &OldPool) {
        let name = statement.words.get(1).cloned().unwrap_or_default();
        let rest = statement.words.get(2..).unwrap_or_default();
        let (purpose, context) = self.conditions.purpose(rest);
        let server = pool
            .servers
            .iter()
            .find(|server| server.name.as_ref() == Some(&name));
        let Some(server) = server.filter(|_| purpose == RoutePurpose::Administration) else {
            let verdict = RemarkVerdict::not_needed(reasons::BALANCE);
            self.balancer
                .remark(statement.line, &statement.text, verdict);
            return;
        };
        let alone = format!("{}/{name}", pool.name);
        self.balancer.pools.push(OldPool {
            line: statement.line,
            name: alone.clone(),
            servers: vec![server.clone()],
            ..OldPool::default()
        });
        self.route(statement.line, &alone, purpose, context);
    }

    fn route(&mut self, line: usize, pool: &str, purpose: RoutePurpose, context: Option<String>) {
        self.balancer.routes.push(OldRoute {
            line,
            pool: pool.to_owned(),
            purpose,
            context,
        });
    }

    /// Carries over a statement that geofront has a key for. Returns false for all others.
    fn setting(&mut self, statement: &HaProxyStatement, scope: &SettingScope) -> bool {
        let HaProxyStatement { line, words, text } = statement;
        let second = words.get(1).map_or("", String::as_str);
        let third = words.get(2).map_or("", String::as_str);
        match (words[0].as_str(), second) {
            ("mode", "http") => {}
            ("timeout", kind) => {
                let keys: &[SettingKey] = match kind {
                    "connect" => &[SettingKey::Connect],
                    "client" => &[SettingKey::ClientBody, SettingKey::ClientWrite],
                    "server" => &[SettingKey::FirstByte],
                    "queue" => &[SettingKey::QueueTimeout],
                    "http-request" => &[SettingKey::ClientHeader],
                    "http-keep-alive" => &[SettingKey::KeepAlive],
                    _ => return false,
                };
                let Some(time) = values::time(third, "ms").filter(|time| !time.is_zero()) else {
                    let why =
                        "no duration that geofront can use: it has no timeouts that never end";
                    self.balancer.remark(*line, text, RemarkVerdict::open(why));
                    return true;
                };
                for key in keys {
                    self.balancer.time(*line, scope, *key, time);
                }
            }
            ("retries", number) => match number.parse::<u64>() {
                Ok(USUAL_RETRIES) => {
                    let verdict = RemarkVerdict::not_needed(reasons::RETRIES);
                    self.balancer.remark(*line, text, verdict);
                }
                Ok(number) => {
                    let attempts = number.saturating_add(1);
                    self.balancer
                        .count(*line, scope, SettingKey::Attempts, attempts);
                }
                Err(_) => return false,
            },
            ("compression", "algo" | "algo-res") if third != "identity" => {
                self.balancer.compresses(*line, scope);
            }
            ("option", "httpchk") => {
                let layer = words.iter().find_map(|word| values::probe_layer(word));
                return layer.is_some_and(|layer| self.probe_layer(*line, scope, layer));
            }
            ("http-check", "send") => {
                let layer = words.iter().find_map(|word| values::probe_layer(word));
                return layer.is_some_and(|layer| self.probe_layer(*line, scope, layer));
            }
            _ => return false,
        }
        true
    }

    fn probe_layer(&mut self, line: usize, scope: &SettingScope, layer: String) -> bool {
        let value = SettingValue::Text(layer);
        self.balancer
            .set(line, scope, SettingKey::ProbeLayer, value);
        true
    }

    /// A statement without a key.
    fn rest(&mut self, statement: &HaProxyStatement) {
        let HaProxyStatement { line, words, text } = statement;
        let positive = if words[0] == "no" { &words[1..] } else { words };
        let is_rate = words[0] == "stick-table" && text.contains("_rate(");
        if is_rate {
            let verdict = RemarkVerdict::open(reasons::RATES);
            self.balancer.remark(*line, text, verdict);
            return;
        }
        let verdict = reasons::reason(REASONS, positive).unwrap_or_else(|| {
            reasons::not_understood(positive.first().map_or("no", String::as_str))
        });
        self.balancer.remark(*line, text, verdict);
    }
}
