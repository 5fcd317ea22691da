//! Reads the configuration of nginx: a whole file, a part of one, or the output of `nginx -T`.

mod directives;
mod syntax;

use super::SyntaxFault;
use super::balancer::{
    OldBalancer, OldListener, OldPool, OldRoute, OldServer, RemarkVerdict, RoutePurpose,
    SettingKey, SettingScope, SettingValue,
};
use super::paths;
use super::reasons;
use super::values;
use directives::REASONS;
use syntax::NginxDirective;

/// The largest `min_size` that `geofront check` accepts.
const MAX_MIN_LENGTH: u64 = 1 << 30;

/// Reads the text of a file.
pub(super) fn read(text: &str) -> Result<OldBalancer, SyntaxFault> {
    let directives = syntax::parse(text)?;
    let mut reader = NginxReader::default();
    reader.pools(&directives);
    reader.block(&directives, &SettingScope::Default, None);
    Ok(reader.balancer)
}

/// True if the text has blocks as only nginx has them.
pub(super) fn is_nginx(text: &str) -> bool {
    let Ok(directives) = syntax::parse(text) else {
        return syntax::looks_like(text);
    };
    directives.iter().any(|directive| {
        matches!(
            directive.name.as_str(),
            "http" | "upstream" | "server" | "events" | "location" | "stream" | "proxy_pass"
        ) && (directive.block.is_some() || directive.name == "proxy_pass")
    })
}

#[derive(Default)]
struct NginxReader {
    balancer: OldBalancer,
}

impl NginxReader {
    /// The groups of all `upstream` blocks, which rules may name before they appear.
    fn pools(&mut self, directives: &[NginxDirective]) {
        for directive in directives {
            let Some(block) = &directive.block else {
                continue;
            };
            match directive.name.as_str() {
                "http" => self.pools(block),
                "upstream" => self.upstream(directive, block),
                _ => {}
            }
        }
    }

    fn upstream(&mut self, directive: &NginxDirective, block: &[NginxDirective]) {
        let name = directive.argument(0).to_owned();
        let scope = SettingScope::Pool(name.clone());
        let mut pool = OldPool {
            line: directive.line,
            name,
            servers: Vec::new(),
            ..OldPool::default()
        };
        for inner in block {
            match inner.name.as_str() {
                "server" => pool.servers.extend(self.server(inner, &scope)),
                "queue" => {
                    if let Ok(most) = inner.argument(0).parse() {
                        let key = SettingKey::Queue;
                        self.balancer.count(inner.line, &scope, key, most);
                    }
                    self.times(
                        inner,
                        &scope,
                        &[("timeout=", SettingKey::QueueTimeout)],
                        "s",
                    );
                }
                "check" => self.check(inner, &scope),
                _ => self.rest(inner),
            }
        }
        self.balancer.pools.push(pool);
    }

    fn server(&mut self, directive: &NginxDirective, scope: &SettingScope) -> Option<OldServer> {
        let NginxDirective { line, text, .. } = directive;
        let Some(address) = values::server(directive.argument(0), 80) else {
            let why = "its address is no host name or IP address with one port: write the upstream by hand";
            self.balancer.remark(*line, text, RemarkVerdict::open(why));
            return None;
        };
        let mut server = OldServer {
            line: *line,
            address,
            ..OldServer::default()
        };
        for word in directive.arguments.iter().skip(1) {
            let (key, value) = word.split_once('=').unwrap_or((word, ""));
            match key {
                "weight" => server.weight = value.parse().ok(),
                "max_conns" => server.max_in_flight = value.parse().ok(),
                "backup" => server.is_backup = true,
                "down" => server.is_disabled = true,
                "max_fails" if value == "0" => {
                    let key = SettingKey::EjectionFailures;
                    self.balancer.count(*line, scope, key, 0);
                }
                "max_fails" | "fail_timeout" => self.balancer.remark(
                    *line,
                    &format!("{word} of {text}"),
                    RemarkVerdict::not_needed("geofront ejects an upstream by its own rules: see `ejection` and `ejection_failures` under [health]"),
                ),
                "slow_start" => {
                    if let Some(time) = values::time(value, "s") {
                        let key = SettingKey::SlowStart;
                        self.balancer.time(*line, scope, key, time);
                    }
                }
                "resolve" | "service" | "route" | "drain" | "id" => {}
                _ => {
                    let what = format!("{word} of {text}");
                    let verdict = reasons::not_understood(word);
                    self.balancer.remark(*line, &what, verdict);
                }
            }
        }
        Some(server)
    }

    /// `check interval=3000 rise=2 fall=5 timeout=1000 type=http` of the upstream check module.
    fn check(&mut self, directive: &NginxDirective, scope: &SettingScope) {
        self.times(
            directive,
            scope,
            &[("interval=", SettingKey::Interval)],
            "ms",
        );
        for (prefix, key) in [("rise=", SettingKey::Rise), ("fall=", SettingKey::Fall)] {
            let value = directive
                .arguments
                .iter()
                .find_map(|word| word.strip_prefix(prefix)?.parse().ok());
            if let Some(value) = value {
                self.balancer.count(directive.line, scope, key, value);
            }
        }
    }

    fn times(
        &mut self,
        directive: &NginxDirective,
        scope: &SettingScope,
        keys: &[(&str, SettingKey)],
        bare: &str,
    ) {
        for (prefix, key) in keys {
            let value = directive
                .arguments
                .iter()
                .find_map(|word| values::time(word.strip_prefix(prefix)?, bare));
            if let Some(value) = value.filter(|value| !value.is_zero()) {
                self.balancer.time(directive.line, scope, *key, value);
            }
        }
    }

    /// The directives of one block. `path` is the one of the location they stand in.
    fn block(&mut self, directives: &[NginxDirective], scope: &SettingScope, path: Option<&str>) {
        let is_server = directives.iter().any(|d| d.name == "listen");
        if is_server {
            self.listeners(directives);
        }
        let own = self.scope_of(directives, scope);
        for directive in directives {
            match (directive.name.as_str(), &directive.block) {
                ("http" | "server", Some(inner)) => {
                    let scope = if directive.name == "http" {
                        SettingScope::Default
                    } else {
                        SettingScope::Front
                    };
                    self.block(inner, &scope, None);
                }
                ("location", Some(inner)) => {
                    let path = directive.arguments.last().map_or("/", String::as_str);
                    self.block(inner, scope, Some(path));
                }
                ("if", Some(inner)) if inner.iter().any(|d| d.name == "proxy_pass") => {
                    self.condition(directive, inner, &own);
                }
                ("upstream", Some(_)) => {}
                ("events", Some(_)) => self.rest(directive),
                ("listen", None) => {}
                ("ssl_certificate" | "ssl_certificate_key", None) if is_server => {}
                ("proxy_pass", None) => self.pass(directive, path),
                _ if self.setting(directive, &own) => {}
                _ => self.rest(directive),
            }
        }
    }

    /// The directives of a location hold for the group that it leads to.
    fn scope_of(&self, directives: &[NginxDirective], scope: &SettingScope) -> SettingScope {
        let pass = directives.iter().find(|d| d.name == "proxy_pass");
        match pass.and_then(|pass| self.target(pass.argument(0))) {
            Some((pool, _)) => SettingScope::Pool(pool),
            None => scope.clone(),
        }
    }

    /// `if ($request_method = POST) { proxy_pass ...; }`.
    fn condition(
        &mut self,
        directive: &NginxDirective,
        inner: &[NginxDirective],
        scope: &SettingScope,
    ) {
        let all = directive.arguments.join(" ");
        let is_write =
            all.contains("$request_method") && (all.contains("POST") || all.contains("PUT"));
        let path = directive.arguments.last().map(String::as_str);
        let path = path.map(|path| path.trim_end_matches(')'));
        for pass in inner {
            if pass.name != "proxy_pass" {
                self.rest(pass);
            } else if is_write {
                self.route(pass, RoutePurpose::Administration, None);
            } else if all.contains("uri") {
                self.pass(pass, path);
            } else {
                let why = "the condition does not show which requests go there";
                self.balancer
                    .remark(directive.line, &directive.text, RemarkVerdict::open(why));
            }
        }
        // The scope of settings inside conditions is that around them.
        for directive in inner {
            self.setting(directive, scope);
        }
    }

    fn pass(&mut self, directive: &NginxDirective, path: Option<&str>) {
        let path = path.unwrap_or("/");
        self.route(directive, paths::purpose(path), paths::context(path));
        let Some((_, uri)) = self.target(directive.argument(0)) else {
            return;
        };
        let is_changed = !uri.is_empty() && uri.trim_end_matches('/') != path.trim_end_matches('/');
        if is_changed && path.starts_with('/') {
            let why = format!(
                "the path changes from {path} to {uri}: geofront passes paths on as they are. Let clients use GeoServer's own path, \
                 or keep a web server in front"
            );
            self.balancer
                .remark(directive.line, &directive.text, RemarkVerdict::open(why));
        }
    }

    fn route(
        &mut self,
        directive: &NginxDirective,
        purpose: RoutePurpose,
        context: Option<String>,
    ) {
        let target = directive.argument(0);
        let Some((pool, _)) = self.target(target) else {
            let why = "its target is a variable or no HTTP address, so it is not known here where requests go";
            self.balancer
                .remark(directive.line, &directive.text, RemarkVerdict::open(why));
            return;
        };
        if self.balancer.pool_mut(&pool).is_none() {
            let is_tls = target.starts_with("https://");
            self.balancer.single(directive.line, pool.clone(), is_tls);
        } else if target.starts_with("https://")
            && let Some(pool) = self.balancer.pool_mut(&pool)
        {
            pool.servers
                .iter_mut()
                .for_each(|server| server.is_tls = true);
        }
        self.balancer.routes.push(OldRoute {
            line: directive.line,
            pool,
            purpose,
            context,
        });
    }

    /// The group or address of `proxy_pass`, and the path behind it.
    fn target(&self, url: &str) -> Option<(String, String)> {
        let (is_tls, rest) = match (url.strip_prefix("http://"), url.strip_prefix("https://")) {
            (Some(rest), _) => (false, rest),
            (None, Some(rest)) => (true, rest),
            (None, None) => return None,
        };
        let (host, uri) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        // `http://pool$request_uri` passes the path on as it is.
        let (host, uri) = match host.split_once('$') {
            Some((host, "request_uri" | "uri$is_args$args" | "uri")) => (host, ""),
            Some(_) => return None,
            None => (host, uri),
        };
        let uri = uri.split('$').next().unwrap_or_default().to_owned();
        if self.balancer.pools.iter().any(|pool| pool.name == host) {
            return Some((host.to_owned(), uri));
        }
        let address = values::server(host, if is_tls { 443 } else { 80 })?;
        Some((address, uri))
    }

    /// The addresses of one server block. Its certificate holds for all with `ssl`.
    fn listeners(&mut self, directives: &[NginxDirective]) {
        let all = |name: &str| {
            let found = directives.iter().filter(|d| d.name == name);
            found.map(|d| d.argument(0).to_owned()).collect::<Vec<_>>()
        };
        let files: Vec<(String, String)> = all("ssl_certificate")
            .into_iter()
            .zip(all("ssl_certificate_key"))
            .collect();
        let is_all_tls = directives
            .iter()
            .any(|d| d.name == "ssl" && d.argument(0) == "on");
        for directive in directives.iter().filter(|d| d.name == "listen") {
            let NginxDirective { line, text, .. } = directive;
            let has = |word: &str| directive.arguments.iter().any(|a| a == word);
            if has("proxy_protocol") {
                let why = "write it as a table [listeners.NAME] with `proxy_protocol_from` and the balancer's addresses (docs/tls.md)";
                self.balancer.remark(*line, text, RemarkVerdict::open(why));
            }
            let written = directive.argument(0);
            let with_port = if written.contains(':') || written.parse::<u16>().is_ok() {
                written.to_owned()
            } else {
                format!("{written}:80")
            };
            match values::listener(&with_port) {
                Some(address) => self.balancer.listeners.push(OldListener {
                    line: *line,
                    address,
                    tls: (has("ssl") || is_all_tls).then(|| files.clone()),
                }),
                None => {
                    let why = values::remedy_for_listener(written);
                    self.balancer.remark(*line, text, RemarkVerdict::open(why));
                }
            }
        }
    }

    /// Carries over a directive that geofront has a key for. Returns false for all others.
    fn setting(&mut self, directive: &NginxDirective, scope: &SettingScope) -> bool {
        let NginxDirective { line, text, .. } = directive;
        let keys: &[SettingKey] = match directive.name.as_str() {
            "proxy_connect_timeout" => &[SettingKey::Connect],
            "proxy_read_timeout" => &[SettingKey::FirstByte],
            "proxy_next_upstream_timeout" => &[SettingKey::RetryWindow],
            "client_header_timeout" => &[SettingKey::ClientHeader],
            "client_body_timeout" => &[SettingKey::ClientBody],
            "send_timeout" => &[SettingKey::ClientWrite],
            "keepalive_timeout" if !matches!(scope, SettingScope::Pool(_)) => {
                &[SettingKey::KeepAlive]
            }
            "gzip" if directive.argument(0) == "on" => {
                self.balancer.compresses(*line, scope);
                return true;
            }
            "gzip_min_length" => {
                let Some(bytes) = values::size(directive.argument(0)) else {
                    return false;
                };
                let value = SettingValue::Size(bytes.min(MAX_MIN_LENGTH));
                let key = SettingKey::CompressionMinSize;
                self.balancer.set(*line, scope, key, value);
                return true;
            }
            "client_max_body_size" => {
                match values::size(directive.argument(0)) {
                    Some(bytes) if bytes > 0 => {
                        let value = SettingValue::Size(bytes);
                        self.balancer.set(*line, scope, SettingKey::MaxBody, value);
                    }
                    _ => {
                        let why = "bodies are never unlimited: see `max_body` under [classes.NAME]";
                        self.balancer.remark(*line, text, RemarkVerdict::open(why));
                    }
                }
                return true;
            }
            "proxy_next_upstream" if directive.argument(0) == "off" => {
                self.balancer.count(*line, scope, SettingKey::Attempts, 1);
                return true;
            }
            "proxy_next_upstream_tries" => {
                match directive.argument(0).parse::<u64>() {
                    Ok(tries) if tries > 0 => {
                        self.balancer
                            .count(*line, scope, SettingKey::Attempts, tries);
                    }
                    _ => {
                        let verdict = RemarkVerdict::not_needed(reasons::RETRIES);
                        self.balancer.remark(*line, text, verdict);
                    }
                }
                return true;
            }
            "set_real_ip_from" => return self.trusted(directive),
            _ => return false,
        };
        match values::time(directive.argument(0), "s").filter(|time| !time.is_zero()) {
            Some(time) => {
                for key in keys {
                    self.balancer.time(*line, scope, *key, time);
                }
            }
            None => {
                let why = "no duration that geofront can use: it has no timeouts that never end";
                self.balancer.remark(*line, text, RemarkVerdict::open(why));
            }
        }
        true
    }

    fn trusted(&mut self, directive: &NginxDirective) -> bool {
        let network = directive.argument(0);
        let is_network =
            network.parse::<ipnet::IpNet>().is_ok() || network.parse::<std::net::IpAddr>().is_ok();
        if is_network {
            let entry = (network.to_owned(), directive.line);
            self.balancer.trusted.push(entry);
        }
        is_network
    }

    /// A directive without a key. What stands in its block goes with it.
    fn rest(&mut self, directive: &NginxDirective) {
        let words: Vec<String> = std::iter::once(&directive.name)
            .chain(&directive.arguments)
            .cloned()
            .collect();
        let is_https =
            directive.name == "return" && words.iter().any(|w| w.starts_with("https://"));
        let is_types = directive.argument(0).ends_with("mime.types");
        let verdict = if is_https {
            RemarkVerdict::open(reasons::HTTPS_REDIRECT)
        } else if directive.name == "include" && is_types {
            RemarkVerdict::not_needed(reasons::PROCESS)
        } else {
            reasons::reason(REASONS, &words)
                .unwrap_or_else(|| reasons::not_understood(&directive.name))
        };
        self.balancer
            .remark(directive.line, &directive.text, verdict);
    }
}
