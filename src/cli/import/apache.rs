//! Reads the configuration of Apache with `mod_proxy_balancer`.

mod member;
mod syntax;

use std::collections::BTreeMap;

use super::SyntaxFault;
use super::balancer::{
    OldBalancer, OldListener, OldPool, OldRoute, RemarkVerdict, RoutePurpose, SettingKey,
    SettingScope, SettingValue,
};
use super::paths;
use super::reasons::{self, NOT_NEEDED, OPEN, Reason};
use super::values;
use syntax::ApacheDirective;

/// True if the text has directives as only Apache has them.
pub(super) fn is_apache(text: &str) -> bool {
    syntax::is_apache(text)
}

const REASONS: &[Reason] = &[
    (
        "proxypassreverse",
        NOT_NEEDED,
        "GeoServer sees the public Host, so its redirects are right",
    ),
    ("proxypassreversecookie", OPEN, reasons::HEADERS),
    ("proxypassreversecookiepath", OPEN, reasons::HEADERS),
    ("proxypassreversecookiedomain", OPEN, reasons::HEADERS),
    (
        "proxypreservehost",
        NOT_NEEDED,
        "always on: the client's Host is passed on",
    ),
    ("proxyrequests", NOT_NEEDED, "geofront is no forward proxy"),
    ("proxyvia", NOT_NEEDED, reasons::FORWARDED),
    ("proxyaddheaders", NOT_NEEDED, reasons::FORWARDED),
    ("proxystatus", NOT_NEEDED, reasons::STATUS_PAGE),
    (
        "proxyerroroverride",
        NOT_NEEDED,
        "GeoServer's answers pass as they are",
    ),
    ("proxyiobuffersize", NOT_NEEDED, reasons::BUFFERS),
    ("proxyreceivebuffersize", NOT_NEEDED, reasons::BUFFERS),
    (
        "proxybadheader",
        NOT_NEEDED,
        "GeoServer's answers pass as they are",
    ),
    ("proxyhcexpr", NOT_NEEDED, reasons::PROBES),
    ("proxyhctemplate", NOT_NEEDED, reasons::PROBES),
    ("proxyhctpsize", NOT_NEEDED, reasons::PROBES),
    ("balancergrowth", NOT_NEEDED, reasons::BALANCE),
    ("balancerpersist", NOT_NEEDED, reasons::STATUS_PAGE),
    ("balancerinherit", NOT_NEEDED, reasons::BALANCE),
    ("header add set-cookie", NOT_NEEDED, reasons::STICKY),
    ("header set set-cookie", NOT_NEEDED, reasons::STICKY),
    ("header", OPEN, reasons::HEADERS),
    (
        "requestheader set x-forwarded-",
        NOT_NEEDED,
        reasons::FORWARDED,
    ),
    (
        "requestheader add x-forwarded-",
        NOT_NEEDED,
        reasons::FORWARDED,
    ),
    (
        "requestheader unset sec-",
        NOT_NEEDED,
        "always on for peers outside `trusted_identity`",
    ),
    (
        "requestheader unset imp-",
        NOT_NEEDED,
        "always on for peers outside `trusted_identity`",
    ),
    ("requestheader", OPEN, reasons::HEADERS),
    (
        "rewriteengine",
        NOT_NEEDED,
        "the rules are listed one by one",
    ),
    (
        "rewritecond",
        NOT_NEEDED,
        "belongs to the RewriteRule below it",
    ),
    ("rewriterule", OPEN, reasons::HEADERS),
    ("redirect", OPEN, reasons::HTTPS_REDIRECT),
    ("redirectmatch", OPEN, reasons::HTTPS_REDIRECT),
    ("redirectpermanent", OPEN, reasons::HTTPS_REDIRECT),
    ("loadmodule", NOT_NEEDED, reasons::PROCESS),
    (
        "servername",
        NOT_NEEDED,
        "requests for every host name are served",
    ),
    (
        "serveralias",
        NOT_NEEDED,
        "requests for every host name are served",
    ),
    ("serveradmin", NOT_NEEDED, reasons::PROCESS),
    ("serverroot", NOT_NEEDED, reasons::PROCESS),
    ("servertokens", NOT_NEEDED, "geofront sends no version"),
    ("serversignature", NOT_NEEDED, "geofront sends no version"),
    ("user", NOT_NEEDED, reasons::PROCESS),
    ("group", NOT_NEEDED, reasons::PROCESS),
    ("pidfile", NOT_NEEDED, reasons::PROCESS),
    ("mutex", NOT_NEEDED, reasons::PROCESS),
    ("startservers", NOT_NEEDED, reasons::PROCESS),
    ("serverlimit", NOT_NEEDED, reasons::PROCESS),
    (
        "maxrequestworkers",
        NOT_NEEDED,
        "[clients] bounds connections per address",
    ),
    ("threadsperchild", NOT_NEEDED, reasons::PROCESS),
    ("hostnamelookups", NOT_NEEDED, reasons::PROCESS),
    (
        "usecanonicalname",
        NOT_NEEDED,
        "the client's Host is passed on",
    ),
    ("keepalive", NOT_NEEDED, reasons::CONNECTIONS),
    ("maxkeepaliverequests", NOT_NEEDED, reasons::CONNECTIONS),
    ("customlog", NOT_NEEDED, reasons::ACCESS_LOG),
    ("errorlog", NOT_NEEDED, reasons::ACCESS_LOG),
    ("logformat", NOT_NEEDED, reasons::ACCESS_LOG),
    ("loglevel", NOT_NEEDED, reasons::ACCESS_LOG),
    ("transferlog", NOT_NEEDED, reasons::ACCESS_LOG),
    ("setenvif", NOT_NEEDED, reasons::ACCESS_LOG),
    ("documentroot", OPEN, reasons::FILES),
    ("alias", OPEN, reasons::FILES),
    ("scriptalias", OPEN, reasons::FILES),
    ("directoryindex", OPEN, reasons::FILES),
    ("<directory", OPEN, reasons::FILES),
    ("<files", OPEN, reasons::FILES),
    (
        "errordocument",
        OPEN,
        "refusals are OGC exceptions or short texts, with Retry-After",
    ),
    ("order", OPEN, reasons::ACCESS),
    ("allow", OPEN, reasons::ACCESS),
    ("deny", OPEN, reasons::ACCESS),
    ("require all granted", NOT_NEEDED, reasons::ACCESS),
    ("order deny,allow", NOT_NEEDED, reasons::ACCESS),
    ("order allow,deny", NOT_NEEDED, reasons::ACCESS),
    ("allow from all", NOT_NEEDED, reasons::ACCESS),
    ("require", OPEN, reasons::ACCESS),
    ("authtype", OPEN, reasons::ACCESS),
    ("authname", OPEN, reasons::ACCESS),
    ("authuserfile", OPEN, reasons::ACCESS),
    (
        "sethandler balancer-manager",
        NOT_NEEDED,
        reasons::STATUS_PAGE,
    ),
    ("sethandler server-status", NOT_NEEDED, reasons::STATUS_PAGE),
    ("extendedstatus", NOT_NEEDED, reasons::STATUS_PAGE),
    ("setoutputfilter", NOT_NEEDED, reasons::COMPRESSION),
    ("addoutputfilterbytype", NOT_NEEDED, reasons::COMPRESSION),
    ("ssl", NOT_NEEDED, reasons::TLS),
    (
        "sslproxy",
        OPEN,
        "an upstream with https is verified by name: see `url` in docs/configuration.md",
    ),
    (
        "protocols",
        NOT_NEEDED,
        "browsers get HTTP/2 from listeners with TLS",
    ),
    ("remoteipheader", NOT_NEEDED, reasons::FORWARDED),
    ("cacheenable", NOT_NEEDED, reasons::CACHE),
    ("cacheroot", NOT_NEEDED, reasons::CACHE),
    ("setenv proxy-", NOT_NEEDED, reasons::CONNECTIONS),
    ("setenv", NOT_NEEDED, reasons::ACCESS_LOG),
    ("include", OPEN, reasons::INCLUDED),
    ("includeoptional", OPEN, reasons::INCLUDED),
];

/// Names of directives that begin with these belong to TLS.
const TLS_PREFIXES: [(&str, &str); 2] = [("sslproxy", "sslproxy"), ("ssl", "ssl")];

/// Reads the text of a file.
pub(super) fn read(text: &str) -> Result<OldBalancer, SyntaxFault> {
    let mut directives = syntax::parse(text)?;
    let mut variables = BTreeMap::new();
    expand(&mut directives, &mut variables);
    let mut reader = ApacheReader::default();
    reader.pools(&directives);
    reader.block(&directives, &SettingScope::Default, None);
    Ok(reader.balancer)
}

/// Replaces `${NAME}` by the value that a `Define` above gives it.
fn expand(directives: &mut [ApacheDirective], variables: &mut BTreeMap<String, String>) {
    for directive in directives {
        for argument in &mut directive.arguments {
            for (name, value) in &*variables {
                *argument = argument.replace(&format!("${{{name}}}"), value);
            }
        }
        if directive.name == "define" {
            let (name, value) = (directive.argument(0), directive.argument(1));
            variables.insert(name.to_owned(), value.to_owned());
        }
        expand(&mut directive.inner, variables);
    }
}

#[derive(Default)]
struct ApacheReader {
    balancer: OldBalancer,
    /// Lines of `RewriteCond` above the next `RewriteRule`.
    conditions: Vec<String>,
}

impl ApacheReader {
    /// The groups of all `<Proxy balancer://NAME>` sections and of `BalancerMember` outside them.
    fn pools(&mut self, directives: &[ApacheDirective]) {
        for directive in directives {
            let name = balancer_name(directive.argument(0));
            match (directive.name.as_str(), name) {
                ("<proxy", Some(name)) => {
                    self.add_pool(directive.line, &name);
                    for inner in &directive.inner {
                        self.of_pool(inner, &name);
                    }
                }
                ("balancermember", Some(name)) => {
                    self.add_pool(directive.line, &name);
                    let parameters = directive.arguments.get(1..).unwrap_or_default();
                    member::member(&mut self.balancer, directive, parameters, &name);
                }
                _ => self.pools(&directive.inner),
            }
        }
    }

    fn add_pool(&mut self, line: usize, name: &str) {
        if self.balancer.pool_mut(name).is_none() {
            self.balancer.pools.push(OldPool {
                line,
                name: name.to_owned(),
                servers: Vec::new(),
                ..OldPool::default()
            });
        }
    }

    fn of_pool(&mut self, directive: &ApacheDirective, pool: &str) {
        match directive.name.as_str() {
            "balancermember" => {
                let parameters = &directive.arguments;
                member::member(&mut self.balancer, directive, parameters, pool);
            }
            "proxyset" => {
                let scope = SettingScope::Pool(pool.to_owned());
                for word in &directive.arguments {
                    member::balancer_parameter(&mut self.balancer, directive, word, &scope);
                }
            }
            _ => self.rest(directive),
        }
    }

    /// The directives of one section. `path` is the one of the `<Location>` they stand in.
    fn block(&mut self, directives: &[ApacheDirective], scope: &SettingScope, path: Option<&str>) {
        for directive in directives {
            match directive.name.as_str() {
                "<proxy" if balancer_name(directive.argument(0)).is_some() => {}
                "balancermember" => {}
                "<virtualhost" => {
                    self.virtual_host(directive);
                    self.block(&directive.inner, &SettingScope::Front, None);
                }
                "<location" | "<locationmatch" => {
                    let path = directive.arguments.last().map(String::as_str);
                    self.block(&directive.inner, scope, path);
                }
                name if name.starts_with("<if") || name == "<proxy" || name == "<else" => {
                    self.block(&directive.inner, scope, path);
                }
                "define" => {}
                "listen" => self.listen(directive),
                "sslcertificatefile"
                | "sslcertificatekeyfile"
                | "sslengine"
                | "sslcertificatechainfile" => {}
                "proxypass" | "proxypassmatch" => self.pass(directive, path),
                "rewritecond" => {
                    self.conditions.push(directive.text.clone());
                    self.rest(directive);
                }
                "rewriterule" => self.rewrite(directive),
                _ if self.setting(directive, scope) => {}
                _ => self.rest(directive),
            }
        }
    }

    /// The address of a virtual host with TLS, which replaces the plain one of its `Listen`.
    fn virtual_host(&mut self, directive: &ApacheDirective) {
        let first = |name: &str| {
            let found = directive.inner.iter().find(|inner| inner.name == name);
            found.map(|inner| inner.argument(0).to_owned())
        };
        if !first("sslengine").is_some_and(|on| on.eq_ignore_ascii_case("on")) {
            return;
        }
        let certificate = first("sslcertificatefile");
        let files: Vec<(String, String)> = certificate
            .map(|certificate| {
                let key = first("sslcertificatekeyfile").unwrap_or_else(|| certificate.clone());
                (certificate, key)
            })
            .into_iter()
            .collect();
        for address in &directive.arguments {
            let address = address.replace("_default_", "*");
            if let Some(address) = values::listener(&address) {
                self.balancer.listeners.push(OldListener {
                    line: directive.line,
                    address,
                    tls: Some(files.clone()),
                });
            }
        }
    }

    fn listen(&mut self, directive: &ApacheDirective) {
        let is_https = directive.argument(1) == "https" || directive.argument(0).ends_with("443");
        match values::listener(directive.argument(0)) {
            Some(address) => self.balancer.listeners.push(OldListener {
                line: directive.line,
                address,
                tls: is_https.then(Vec::new),
            }),
            None => {
                let why = "this address is no IP address with a port: write it under `listen`";
                self.balancer
                    .remark(directive.line, &directive.text, RemarkVerdict::open(why));
            }
        }
    }

    /// `ProxyPass PATH URL`, or `ProxyPass URL` in a location.
    fn pass(&mut self, directive: &ApacheDirective, location: Option<&str>) {
        let (path, url_at) = match location {
            Some(path) => (path.to_owned(), 0),
            None => (directive.argument(0).to_owned(), 1),
        };
        let url = directive.argument(url_at).to_owned();
        if url == "!" {
            let verdict = if path.contains("manager") || path.contains("status") {
                RemarkVerdict::not_needed(reasons::STATUS_PAGE)
            } else {
                RemarkVerdict::open(reasons::FILES)
            };
            self.balancer
                .remark(directive.line, &directive.text, verdict);
            return;
        }
        let purpose = paths::purpose(&path);
        let Some((pool, uri)) = self.route(directive, &url, purpose, paths::context(&path)) else {
            return;
        };
        let scope = SettingScope::Pool(pool);
        let parameters = directive.arguments.iter().skip(url_at + 1);
        for word in parameters.filter(|word| word.contains('=')) {
            member::balancer_parameter(&mut self.balancer, directive, word, &scope);
        }
        let before = match &scope {
            SettingScope::Pool(pool) => self.balancer.pool_mut(pool).map(|pool| pool.path.clone()),
            SettingScope::Default | SettingScope::Front => None,
        };
        let uri = before.unwrap_or_default() + &uri;
        let is_plain = path.starts_with('/') && !uri.contains('$');
        let is_changed = uri.trim_end_matches('/') != path.trim_end_matches('/');
        if directive.name == "proxypass" && is_plain && is_changed {
            let why = format!(
                "the path changes from {path} to {}: geofront passes paths on as they are. Let clients use GeoServer's own path, \
                 or keep a web server in front",
                if uri.is_empty() { "/" } else { &uri }
            );
            self.balancer
                .remark(directive.line, &directive.text, RemarkVerdict::open(why));
        }
    }

    /// `RewriteRule PATTERN URL [P]` is a rule like `ProxyPassMatch`.
    fn rewrite(&mut self, directive: &ApacheDirective) {
        let conditions = std::mem::take(&mut self.conditions).join(" ");
        let flags = directive.argument(2).to_ascii_uppercase();
        let is_proxy = flags
            .trim_matches(['[', ']'])
            .split(',')
            .any(|flag| matches!(flag.trim(), "P" | "PROXY"));
        if !is_proxy {
            self.rest(directive);
            return;
        }
        let writes = conditions.contains("REQUEST_METHOD")
            && ["POST", "PUT", "DELETE"]
                .iter()
                .any(|method| conditions.contains(method));
        let pattern = directive.argument(0);
        let purpose = if writes {
            RoutePurpose::Administration
        } else {
            paths::purpose(pattern)
        };
        let url = directive.argument(1).to_owned();
        self.route(directive, &url, purpose, paths::context(pattern));
    }

    /// Adds a rule. Returns its group, and the path of its target.
    fn route(
        &mut self,
        directive: &ApacheDirective,
        url: &str,
        purpose: RoutePurpose,
        context: Option<String>,
    ) -> Option<(String, String)> {
        let Some((pool, uri, is_tls)) = target(url) else {
            let why = if url.starts_with("ajp://") {
                member::AJP
            } else {
                "its target is no HTTP address, so it is not known here where requests go"
            };
            self.balancer
                .remark(directive.line, &directive.text, RemarkVerdict::open(why));
            return None;
        };
        if !url.starts_with("balancer://") {
            self.balancer.single(directive.line, pool.clone(), is_tls);
        }
        self.balancer.routes.push(OldRoute {
            line: directive.line,
            pool: pool.clone(),
            purpose,
            context,
        });
        Some((pool, uri))
    }

    /// Carries over a directive that geofront has a key for. Returns false for all others.
    fn setting(&mut self, directive: &ApacheDirective, scope: &SettingScope) -> bool {
        let keys: &[SettingKey] = match directive.name.as_str() {
            "proxytimeout" => &[SettingKey::FirstByte],
            "timeout" => &[SettingKey::ClientBody, SettingKey::ClientWrite],
            "keepalivetimeout" => &[SettingKey::KeepAlive],
            "setoutputfilter" | "addoutputfilterbytype" => {
                let filters = directive.argument(0);
                let is_deflate = filters
                    .split(';')
                    .any(|name| name.eq_ignore_ascii_case("deflate"));
                if is_deflate {
                    self.balancer.compresses(directive.line, scope);
                }
                return is_deflate;
            }
            "limitrequestbody" => {
                match directive.argument(0).parse() {
                    Ok(bytes) if bytes > 0 => {
                        let value = SettingValue::Size(bytes);
                        self.balancer
                            .set(directive.line, scope, SettingKey::MaxBody, value);
                    }
                    _ => {
                        let why = "bodies are never unlimited: see `max_body` under [classes.NAME]";
                        self.balancer.remark(
                            directive.line,
                            &directive.text,
                            RemarkVerdict::open(why),
                        );
                    }
                }
                return true;
            }
            "remoteipinternalproxy" | "remoteiptrustedproxy" => {
                for network in &directive.arguments {
                    let is_network = network.parse::<ipnet::IpNet>().is_ok()
                        || network.parse::<std::net::IpAddr>().is_ok();
                    if !is_network {
                        return false;
                    }
                    let entry = (network.clone(), directive.line);
                    self.balancer.trusted.push(entry);
                }
                return true;
            }
            _ => return false,
        };
        let time = values::time(directive.argument(0), "s").filter(|time| !time.is_zero());
        if let Some(time) = time {
            for key in keys {
                self.balancer.time(directive.line, scope, *key, time);
            }
        }
        time.is_some()
    }

    /// A directive without a key. A section's inner directives are listed, too.
    fn rest(&mut self, directive: &ApacheDirective) {
        let words: Vec<String> = std::iter::once(&directive.name)
            .chain(&directive.arguments)
            .cloned()
            .collect();
        let found = reasons::reason(REASONS, &words).or_else(|| {
            let (_, listed) = TLS_PREFIXES
                .iter()
                .find(|(prefix, _)| directive.name.starts_with(prefix))?;
            reasons::reason(REASONS, &[(*listed).to_owned()])
        });
        let verdict = found.unwrap_or_else(|| reasons::not_understood(&directive.name));
        self.balancer
            .remark(directive.line, &directive.text, verdict);
    }
}

/// The name of a group's address.
fn balancer_name(url: &str) -> Option<String> {
    let rest = url.strip_prefix("balancer://")?;
    let name = rest.split('/').next().unwrap_or_default();
    (!name.is_empty()).then(|| name.to_owned())
}

/// The group or address of a rule, the path behind it, and whether it is reached by TLS.
fn target(url: &str) -> Option<(String, String, bool)> {
    let (scheme, rest) = url.split_once("://")?;
    let (host, uri) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    // A pattern's groups may follow the host: `http://10.0.0.1:8080$1`.
    let (host, uri) = match host.split_once('$') {
        Some((host, _)) => (host, "$"),
        None => (host, uri),
    };
    match scheme {
        "balancer" => {
            balancer_name(&format!("balancer://{host}")).map(|name| (name, uri.to_owned(), false))
        }
        "http" => Some((values::server(host, 80)?, uri.to_owned(), false)),
        "https" => Some((values::server(host, 443)?, uri.to_owned(), true)),
        _ => None,
    }
}
