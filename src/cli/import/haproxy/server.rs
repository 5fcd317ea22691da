//! `server` and `default-server` lines of HAProxy.

use super::super::balancer::{OldBalancer, OldServer, RemarkVerdict, SettingKey, SettingScope};
use super::super::reasons;
use super::super::values;
use super::syntax::HaProxyStatement;

/// Parameters with a value that is not carried over.
const WITH_VALUE: [&str; 28] = [
    "addr",
    "agent-addr",
    "agent-inter",
    "agent-port",
    "alpn",
    "ca-file",
    "check-alpn",
    "check-proto",
    "check-sni",
    "ciphers",
    "ciphersuites",
    "cookie",
    "crl-file",
    "crt",
    "id",
    "init-addr",
    "namespace",
    "max-reuse",
    "minconn",
    "on-error",
    "on-marked-down",
    "on-marked-up",
    "pool-max-conn",
    "port",
    "proto",
    "resolvers",
    "sni",
    "verify",
];

/// The settings of `default-server` for the servers after it.
#[derive(Clone, Debug, Default)]
pub(super) struct ServerDefaults {
    weight: Option<u32>,
    max_in_flight: Option<u32>,
    is_tls: bool,
    is_backup: bool,
    is_disabled: bool,
}

impl ServerDefaults {
    /// Returns these settings, overridden by `later`.
    pub(super) fn with(&self, later: &Self) -> Self {
        Self {
            weight: later.weight.or(self.weight),
            max_in_flight: later.max_in_flight.or(self.max_in_flight),
            is_tls: later.is_tls || self.is_tls,
            is_backup: later.is_backup || self.is_backup,
            is_disabled: later.is_disabled || self.is_disabled,
        }
    }
}

/// Reads the parameters of a `default-server` line.
pub(super) fn defaults(
    balancer: &mut OldBalancer,
    statement: &HaProxyStatement,
    scope: &SettingScope,
) -> ServerDefaults {
    let parameters = statement.words.get(1..).unwrap_or_default();
    read_parameters(balancer, statement, parameters, scope)
}

/// Reads a `server` line; `None` if its address is of no use.
pub(super) fn server(
    balancer: &mut OldBalancer,
    statement: &HaProxyStatement,
    defaults: &ServerDefaults,
    scope: &SettingScope,
) -> Option<OldServer> {
    let HaProxyStatement { line, words, text } = statement;
    let (Some(name), Some(address)) = (words.get(1), words.get(2)) else {
        balancer.remark(
            *line,
            text,
            RemarkVerdict::open("a server needs a name and an address"),
        );
        return None;
    };
    let parameters = words.get(3..).unwrap_or_default();
    let own = read_parameters(balancer, statement, parameters, scope);
    let merged = defaults.with(&own);
    let port = if merged.is_tls { 443 } else { 80 };
    let Some(address) = values::server(address, port) else {
        let why =
            "its address is no host name or IP address with one port: write the upstream by hand";
        balancer.remark(*line, text, RemarkVerdict::open(why));
        return None;
    };
    Some(OldServer {
        line: *line,
        name: Some(name.clone()),
        address,
        is_tls: merged.is_tls,
        weight: merged.weight,
        max_in_flight: merged.max_in_flight,
        is_backup: merged.is_backup,
        is_disabled: merged.is_disabled || merged.weight == Some(0),
    })
}

fn read_parameters(
    balancer: &mut OldBalancer,
    statement: &HaProxyStatement,
    parameters: &[String],
    scope: &SettingScope,
) -> ServerDefaults {
    let mut found = ServerDefaults::default();
    let mut words = parameters.iter();
    let line = statement.line;
    while let Some(word) = words.next() {
        match word.as_str() {
            "check" | "enabled" | "no-check" | "verifyhost" | "check-ssl" | "redir" | "no-backup"
            | "allow-0rtt" | "no-tls-tickets" | "no-sslv3" | "non-stick" => {}
            "backup" => found.is_backup = true,
            "disabled" => found.is_disabled = true,
            "ssl" => found.is_tls = true,
            "send-proxy" | "send-proxy-v2" => balancer.remark(
                line,
                &format!("{word} of {}", statement.text),
                RemarkVerdict::open("geofront sends no PROXY protocol to upstreams: the client's address is in X-Forwarded-For"),
            ),
            "cookie" => {
                words.next();
                let verdict = RemarkVerdict::not_needed(reasons::STICKY);
                balancer.remark(line, &format!("cookie of {}", statement.text), verdict);
            }
            known if WITH_VALUE.contains(&known) => {
                words.next();
            }
            _ => {
                let value = words.next().map_or("", String::as_str);
                let parameter = Parameter { line, word, value };
                if !valued(balancer, parameter, scope, &mut found) {
                    let what = format!("{word} {value} of {}", statement.text);
                    balancer.remark(line, &what, reasons::not_understood(word));
                }
            }
        }
    }
    found
}

/// A parameter of a `server` line with its value, and the number of that line.
struct Parameter<'a> {
    line: usize,
    word: &'a str,
    value: &'a str,
}

/// Reads a parameter with a value that is carried over. Returns false for all others.
fn valued(
    balancer: &mut OldBalancer,
    parameter: Parameter<'_>,
    scope: &SettingScope,
    found: &mut ServerDefaults,
) -> bool {
    let Parameter { line, word, value } = parameter;
    let number = value.parse::<u32>().ok();
    let time = values::time(value, "ms");
    match (word, number, time) {
        ("weight", Some(weight), _) => found.weight = Some(weight),
        ("maxconn", Some(most), _) => found.max_in_flight = Some(most),
        ("maxqueue", Some(most), _) => balancer.remark(
            line,
            &format!("maxqueue {most}"),
            RemarkVerdict::not_needed(
                "`limits.queue` bounds the waiting requests of the whole cluster, 400 by default",
            ),
        ),
        ("rise", Some(rise), _) => balancer.count(line, scope, SettingKey::Rise, rise.into()),
        ("fall", Some(fall), _) => balancer.count(line, scope, SettingKey::Fall, fall.into()),
        ("error-limit", Some(most), _) => {
            balancer.count(line, scope, SettingKey::EjectionFailures, most.into());
        }
        ("inter", _, Some(time)) => balancer.time(line, scope, SettingKey::Interval, time),
        ("downinter", _, Some(time)) => balancer.time(line, scope, SettingKey::DownInterval, time),
        ("slowstart", _, Some(time)) => balancer.time(line, scope, SettingKey::SlowStart, time),
        ("fastinter", _, Some(_)) | ("observe" | "track", ..) => {}
        _ => return false,
    }
    true
}
