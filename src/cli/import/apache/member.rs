//! `BalancerMember` and the parameters of a balancer.

use super::super::balancer::{
    OldBalancer, OldServer, RemarkVerdict, SettingKey, SettingScope, SettingValue,
};
use super::super::reasons;
use super::super::values;
use super::syntax::ApacheDirective;

/// The reason why an address with AJP is of no use.
pub(super) const AJP: &str =
    "geofront speaks HTTP, not AJP: use the address and port of Tomcat's HTTP connector";

/// Adds a member to a group. `words` are its address and parameters.
pub(super) fn member(
    balancer: &mut OldBalancer,
    directive: &ApacheDirective,
    words: &[String],
    pool: &str,
) {
    let url = words.first().map_or("", String::as_str);
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let is_tls = scheme == "https";
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let address = values::server(host, if is_tls { 443 } else { 80 });
    let Some(address) = address.filter(|_| matches!(scheme, "http" | "https")) else {
        let why = if scheme == "ajp" {
            AJP
        } else {
            "its address is no http:// or https:// URL with one host and port: write the upstream by hand"
        };
        balancer.remark(directive.line, &directive.text, RemarkVerdict::open(why));
        return;
    };
    let mut server = OldServer {
        line: directive.line,
        address,
        is_tls,
        ..OldServer::default()
    };
    if !matches!(path, "" | "/" | "/geoserver" | "/geoserver/") {
        let why = format!(
            "the path {path} of a server is not carried over: see `context` under [geoserver]"
        );
        balancer.remark(directive.line, &directive.text, RemarkVerdict::open(why));
    }
    let scope = SettingScope::Pool(pool.to_owned());
    for word in words.iter().skip(1) {
        parameter(balancer, directive, word, &scope, &mut server);
    }
    if let Some(pool) = balancer.pool_mut(pool) {
        path.trim_end_matches('/').clone_into(&mut pool.path);
        pool.servers.push(server);
    }
}

fn parameter(
    balancer: &mut OldBalancer,
    directive: &ApacheDirective,
    word: &str,
    scope: &SettingScope,
    server: &mut OldServer,
) {
    let (key, value) = word.split_once('=').unwrap_or((word, ""));
    let line = directive.line;
    match key.to_ascii_lowercase().as_str() {
        "loadfactor" => {
            // Apache reads a decimal fraction.
            server.weight = value
                .parse::<f64>()
                .ok()
                .map(|factor| (factor * 100.0) as u32);
        }
        "route" => server.name = Some(value.to_owned()),
        "lbset" if value != "0" => server.is_backup = true,
        "status" => {
            let flags = value.trim_start_matches('+').to_ascii_uppercase();
            if !value.starts_with('-') {
                server.is_backup |= flags.contains(['H', 'R']);
                server.is_disabled |= flags.contains(['D', 'S', 'N']);
            }
        }
        "hcinterval" => {
            if let Some(time) = values::time(value, "s").filter(|time| !time.is_zero()) {
                balancer.time(line, scope, SettingKey::Interval, time);
            }
        }
        "hcpasses" => count(balancer, line, scope, SettingKey::Rise, value),
        "hcfails" => count(balancer, line, scope, SettingKey::Fall, value),
        "hcuri" => match values::probe_layer(value) {
            Some(layer) => {
                let value = SettingValue::Text(layer);
                balancer.set(line, scope, SettingKey::ProbeLayer, value);
            }
            None => remark(
                balancer,
                directive,
                word,
                RemarkVerdict::not_needed(reasons::PROBES),
            ),
        },
        "hcmethod" | "hcexpr" | "hctemplate" | "ping" => {
            remark(
                balancer,
                directive,
                word,
                RemarkVerdict::not_needed(reasons::PROBES),
            );
        }
        "lbset" | "redirect" => {}
        _ => balancer_parameter(balancer, directive, word, scope),
    }
}

/// A parameter that a member, a balancer or a rule may have.
pub(super) fn balancer_parameter(
    balancer: &mut OldBalancer,
    directive: &ApacheDirective,
    word: &str,
    scope: &SettingScope,
) {
    let (key, value) = word.split_once('=').unwrap_or((word, ""));
    let line = directive.line;
    let time = values::time(value, "s").filter(|time| !time.is_zero());
    match (key.to_ascii_lowercase().as_str(), time) {
        ("timeout", Some(time)) => balancer.time(line, scope, SettingKey::FirstByte, time),
        ("connectiontimeout", Some(time)) => balancer.time(line, scope, SettingKey::Connect, time),
        ("maxattempts", _) => match value.parse::<u64>() {
            Ok(more) => balancer.count(line, scope, SettingKey::Attempts, more.saturating_add(1)),
            Err(_) => remark(
                balancer,
                directive,
                word,
                RemarkVerdict::not_needed(reasons::RETRIES),
            ),
        },
        ("stickysession" | "stickysessionsep" | "scolonpathdelim" | "nofailover", _) => {
            remark(
                balancer,
                directive,
                word,
                RemarkVerdict::not_needed(reasons::STICKY),
            );
        }
        ("lbmethod" | "growth" | "nonce", _) => {
            remark(
                balancer,
                directive,
                word,
                RemarkVerdict::not_needed(reasons::BALANCE),
            );
        }
        ("failonstatus" | "failontimeout" | "forcerecovery" | "retry", _) => {
            let why = "geofront ejects an upstream by its own rules: see `ejection` and `ejection_failures` under [health]";
            remark(balancer, directive, word, RemarkVerdict::not_needed(why));
        }
        (
            "min" | "max" | "smax" | "acquire" | "ttl" | "keepalive" | "disablereuse"
            | "enablereuse" | "flushpackets" | "flushwait" | "iobuffersize" | "responsefieldsize"
            | "nocanon" | "upgrade",
            _,
        ) => remark(
            balancer,
            directive,
            word,
            RemarkVerdict::not_needed(reasons::CONNECTIONS),
        ),
        _ => remark(balancer, directive, word, reasons::not_understood(key)),
    }
}

fn remark(
    balancer: &mut OldBalancer,
    directive: &ApacheDirective,
    word: &str,
    verdict: RemarkVerdict,
) {
    let text = format!("{word} of {}", directive.text);
    balancer.remark(directive.line, &text, verdict);
}

fn count(
    balancer: &mut OldBalancer,
    line: usize,
    scope: &SettingScope,
    key: SettingKey,
    value: &str,
) {
    if let Ok(value) = value.parse() {
        balancer.count(line, scope, key, value);
    }
}
