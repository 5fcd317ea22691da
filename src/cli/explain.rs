//! `geofront explain`: shows how a request is classified and where it would go, without sending it.

use std::io::{Read, Write};
use std::path::Path;

use pingora::http::RequestHeader;

use super::args;
use super::exit::{Exit, Failure};
use super::load_config;
use super::rules::{self, TypedSender};
use crate::cluster::Hint;
use crate::config::{
    Config, Credentials, MainReads, MapEnvironment, Role, RouteAction, RouteRule, ServedBy,
    UpstreamConfig,
};
use crate::ogc::{
    self, BodyNeed, BodyReader, CatalogEffect, Classified, RequestClass, RequestHead, Retryable,
    RuleSubject,
};
use crate::proxy::catalog_writes::hints;

/// The status of the main's answer to a successful request.
const OK: u16 = 200;

/// A configuration in which every key has its default.
const SMALLEST: &str = "[upstreams.main]\nurl = 'http://127.0.0.1:8180'\nrole = 'main'\n\
    [upstreams.replica]\nurl = 'http://127.0.0.1:8280'\n";

/// The request as typed.
#[derive(Debug, PartialEq)]
struct Request {
    method: String,
    /// Path and query of the request.
    target: String,
    content_type: Option<String>,
    content_encoding: Option<String>,
    body: Vec<u8>,
    sender: TypedSender,
}

pub(super) fn run(options: &args::Explain, out: &mut dyn Write) -> Result<Exit, Failure> {
    let request = Request::read(options)?;
    let found = match &options.config {
        Some(path) => Some(load_config(path)?.config),
        None if Path::new(args::DEFAULT_CONFIG).exists() => {
            Some(load_config(Path::new(args::DEFAULT_CONFIG))?.config)
        }
        None => None,
    };
    match found {
        Some(config) => explain(&request, &config, true, out)?,
        None => explain(&request, &defaults(), false, out)?,
    }
    Ok(Exit::Success)
}

fn defaults() -> Config {
    let environment = MapEnvironment::new().file("geofront.toml", SMALLEST);
    Config::load(Path::new("geofront.toml"), &environment)
        .expect("the smallest configuration is right")
        .config
}

impl Request {
    fn read(options: &args::Explain) -> Result<Self, Failure> {
        let (method, url) = match options.request.as_slice() {
            [url] => (
                if options.body.is_some() {
                    "POST"
                } else {
                    "GET"
                },
                url,
            ),
            [method, url] => (method.as_str(), url),
            other => unreachable!(
                "one or two words by the rules of the command line, not {}",
                other.len()
            ),
        };
        let target = target_of(url).ok_or_else(|| {
            Failure::usage(format!(
                "`{url}` is no URL: it must start with http://, https:// or /"
            ))
        })?;
        let body = options
            .body
            .as_deref()
            .map(read_body)
            .transpose()?
            .unwrap_or_default();
        let content_type = options.body.as_ref().map(|_| options.content_type.clone());
        let content_encoding = options.content_encoding.clone();
        Ok(Self {
            method: method.to_ascii_uppercase(),
            target,
            content_type,
            content_encoding,
            body,
            sender: TypedSender::new(options.from, &options.headers),
        })
    }
}

/// The part of a URL that stands on the request line.
fn target_of(url: &str) -> Option<String> {
    if url.starts_with('/') {
        return Some(url.to_owned());
    }
    let rest = url
        .strip_prefix("http://")
        .or_else(|| url.strip_prefix("https://"))?;
    Some(match rest.find(['/', '?']) {
        Some(at) if rest[at..].starts_with('/') => rest[at..].to_owned(),
        Some(at) => format!("/{}", &rest[at..]),
        None => "/".to_owned(),
    })
}

/// Maximum size of a body file. geofront itself never reads more of a body to classify it.
const MAX_BODY: u64 = 64 << 20;

fn read_body(path: &Path) -> Result<Vec<u8>, Failure> {
    let mut body = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(MAX_BODY).read_to_end(&mut body))
        .map_err(|error| Failure::new(format!("cannot read {}: {error}", path.display())))?;
    Ok(body)
}

fn explain(
    request: &Request,
    config: &Config,
    is_configured: bool,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let head = RequestHead {
        method: &request.method,
        target: request.target.as_bytes(),
        content_type: request.content_type.as_deref(),
    };
    let is_read = ogc::body_need(&head, &config.geoserver.context) == BodyNeed::Prefix;
    let reader = BodyReader::new(
        head.content_type,
        request.content_encoding.as_deref(),
        config.geoserver.max_post_size,
    );
    let evidence = reader.evidence(&request.body, true).filter(|_| is_read);
    let context = &config.geoserver.context;
    let mut classified = ogc::classify(&head, context, evidence.as_deref());
    let subject = RuleSubject::new(head, context, evidence.as_deref(), &classified);
    let rule = request.sender.rule(config, &subject);
    if let Some(RouteAction::Send {
        class: Some(class), ..
    }) = rule.map(|rule| &rule.action)
    {
        classified.class = *class;
    }
    for (what, value) in facts(&classified, &head, config) {
        writeln!(out, "{what:<12} {value}")?;
    }
    if let Some(rule) = rule {
        writeln!(out, "{:<12} {}", "rule", rules::describe(rule))?;
    }
    let is_refused = rule.is_some_and(|rule| rule.action == RouteAction::Refuse);
    if is_configured && !is_refused {
        let destination = destination_by(rule, &classified, config);
        writeln!(out, "{:<12} {destination}", "goes to")?;
    }
    if let Some(follows) =
        afterwards(request, &classified, config, is_configured).filter(|_| !is_refused)
    {
        writeln!(out, "{:<12} {follows}", "afterwards")?;
    }
    if !is_configured {
        writeln!(
            out,
            "\nThese are the defaults: there is no {}.",
            args::DEFAULT_CONFIG
        )?;
    }
    if let Some(missing) = request.sender.missing(config) {
        writeln!(out, "\n{missing}")?;
    }
    if request.body.is_empty() && is_read {
        writeln!(
            out,
            "\nThe body of this {} counts too: give it with --body FILE.",
            request.method
        )?;
    }
    Ok(())
}

fn facts(
    classified: &Classified,
    head: &RequestHead<'_>,
    config: &Config,
) -> Vec<(&'static str, String)> {
    let limits = &config.classes[classified.class];
    let part = |span: Option<ogc::Span>| {
        span.map(|span| String::from_utf8_lossy(span.of(head.target)).into_owned())
    };
    let known = [
        ("class", Some(classified.class.to_string())),
        ("why", Some(classified.reason.to_owned())),
        (
            "service",
            classified
                .service
                .map(|service| service.as_str().to_owned()),
        ),
        ("operation", classified.operation.map(str::to_owned)),
        ("version", classified.version.map(str::to_owned)),
        ("workspace", part(classified.workspace)),
        ("layer", part(classified.layer)),
        (
            "served by",
            Some(only_main(classified).unwrap_or_else(|| served_by(&limits.served_by))),
        ),
        (
            "another try",
            Some(another_try(classified, head.method, config)),
        ),
        (
            "first byte",
            Some(format!(
                "within {}",
                humantime::format_duration(limits.first_byte)
            )),
        ),
    ];
    known
        .into_iter()
        .filter_map(|(what, value)| Some((what, value?)))
        .collect()
}

/// The reason why the main alone serves a request, whichever upstreams serve its class.
fn only_main(classified: &Classified) -> Option<String> {
    let why = match classified.processes.catalog {
        _ if classified.class != RequestClass::Process => return None,
        CatalogEffect::None => return None,
        CatalogEffect::Change => "a process of the request changes the catalog",
        CatalogEffect::Undetermined => {
            "which processes run is not certain, and one may change the catalog"
        }
    };
    Some(format!("main alone: {why}"))
}

fn served_by(served_by: &ServedBy) -> String {
    match served_by {
        ServedBy::Replicas => "replicas".to_owned(),
        ServedBy::Main => "main".to_owned(),
        ServedBy::Upstream(name) => format!("{name} alone"),
    }
}

fn another_try(classified: &Classified, method: &str, config: &Config) -> String {
    let attempts = config.retry.attempts;
    match ogc::retry(classified.class, method, classified.clarity) {
        _ if attempts <= 1 => "no: retries are turned off".to_owned(),
        Retryable::Yes => {
            format!("on another upstream until the first byte has come, {attempts} tries in all")
        }
        Retryable::ConnectOnly => format!("only if nothing could be sent, {attempts} tries in all"),
        Retryable::Never => "never: it might be executed twice".to_owned(),
    }
}

/// The change of the main's catalog that a success would imply, and its consequences.
fn afterwards(
    request: &Request,
    classified: &Classified,
    config: &Config,
    is_configured: bool,
) -> Option<String> {
    let header =
        RequestHeader::build(request.method.as_str(), request.target.as_bytes(), None).ok()?;
    let follows = match hints::of(&header, classified, OK, config)? {
        Hint::Certain => "every replica is reloaded too, one at a time",
        Hint::Security => "every replica reloads its security and its catalog, one at a time",
        Hint::Write => {
            "the main's catalog is brought to every replica, one at a time, once changes stop"
        }
        Hint::Ui | Hint::File => {
            "the main's update sequence is read; if it changed, every replica is reloaded"
        }
    };
    let is_repaired = !is_configured || config.geoserver.credentials != Credentials::None;
    let but = if is_repaired {
        ""
    } else {
        " (or would be: there are no credentials under [geoserver])"
    };
    Some(format!("{follows}{but}"))
}

/// The destination of a request that follows a rule, or none.
fn destination_by(rule: Option<&RouteRule>, classified: &Classified, config: &Config) -> String {
    let usual = destination(classified, config);
    match rule.map(|rule| &rule.action) {
        Some(RouteAction::Send {
            group: Some(group), ..
        }) => rules::destination(group, &usual),
        _ => usual,
    }
}

fn destination(classified: &Classified, config: &Config) -> String {
    let main = config
        .upstreams
        .iter()
        .find(|upstream| upstream.role == Role::Main);
    let main_name = main.map_or("main", |main| main.name.as_str());
    let served_by = match only_main(classified) {
        Some(_) => &ServedBy::Main,
        None => &config.classes[classified.class].served_by,
    };
    match served_by {
        ServedBy::Main => format!("{main_name}, or nowhere while it does not serve"),
        ServedBy::Upstream(name) => format!("{name}, or nowhere while it does not serve"),
        ServedBy::Replicas => shared_destination(config, main),
    }
}

/// The upstreams that share the reads.
fn shared_destination(config: &Config, main: Option<&UpstreamConfig>) -> String {
    let reads = main.map_or(MainReads::Never, |main| main.reads);
    let shares =
        |upstream: &&UpstreamConfig| upstream.role == Role::Replica || reads == MainReads::Always;
    let sharing: Vec<&UpstreamConfig> = config.upstreams.iter().filter(shares).collect();
    let backup = match (reads, main) {
        (MainReads::Backup, Some(main)) => format!("; {} when none of them serves", main.name),
        (MainReads::Backup | MainReads::Always | MainReads::Never, _) => String::new(),
    };
    let names: Vec<String> = sharing
        .iter()
        .map(|upstream| format!("{} (weight {})", upstream.name, upstream.weight.get()))
        .collect();
    match names.as_slice() {
        [] => format!("no upstream shares reads{backup}"),
        [only] => format!("{only}{backup}"),
        several => format!(
            "the least busy for its weight of {}{backup}",
            several.join(", ")
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_gives_the_target_a_client_would_send() {
        let targets = [
            "/a?b",
            "http://h:80/a?b#",
            "https://h",
            "http://h?x=1",
            "ftp://h/",
            "wms",
        ]
        .map(target_of);
        let expected = [
            Some("/a?b"),
            Some("/a?b#"),
            Some("/"),
            Some("/?x=1"),
            None,
            None,
        ];
        assert_eq!(targets, expected.map(|target| target.map(str::to_owned)));
    }

    fn explained(method: &str, target: &str, config: &str) -> String {
        let environment = MapEnvironment::new().file("geofront.toml", config);
        let config = Config::load(Path::new("geofront.toml"), &environment)
            .unwrap()
            .config;
        let request = Request {
            method: method.to_owned(),
            target: target.to_owned(),
            content_type: None,
            content_encoding: None,
            body: Vec::new(),
            sender: TypedSender::default(),
        };
        let mut out = Vec::new();
        explain(&request, &config, true, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    const CLUSTER: &str = "[upstreams.m]\nurl = 'http://127.0.0.1:1'\nrole = 'main'\n[upstreams.a]\nurl = 'http://127.0.0.1:2'\n\
        [upstreams.b]\nurl = 'http://127.0.0.1:3'\nweight = 50\n";

    #[test]
    fn a_map_goes_to_the_replicas_and_to_the_main_as_a_last_resort() {
        let target = "/geoserver/wms?service=WMS&request=GetMap&version=1.3.0&layers=geor:roads";
        insta::assert_snapshot!(explained("GET", target, CLUSTER), @r"
        class        map
        why          service=WMS and request=GetMap in the query
        service      WMS
        operation    GetMap
        version      1.3.0
        layer        geor:roads
        served by    replicas
        another try  on another upstream until the first byte has come, 3 tries in all
        first byte   within 1m 30s
        goes to      the least busy for its weight of a (weight 100), b (weight 50); m when none of them serves
        ");
    }

    #[test]
    fn a_process_that_changes_the_catalog_goes_to_the_main_whichever_upstreams_run_processes() {
        let config = format!("{CLUSTER}[classes.process]\nserved_by = 'replicas'\n");
        let execute = |process: &str| {
            let target = format!("/geoserver/wps?request=Execute&identifier={process}");
            explained("GET", &target, &config)
        };
        let import = execute("gs:Import");
        assert!(
            import.contains(
                "served by    main alone: a process of the request changes the catalog\n"
            ) && import.contains("goes to      m, or nowhere")
                && import.contains("afterwards   the main's catalog is brought to every replica"),
            "{import}"
        );
        let nameless = execute("");
        assert!(
            nameless.contains("served by    main alone: which processes run is not certain"),
            "{nameless}"
        );
        let buffer = execute("gs:Buffer");
        assert!(
            buffer.contains("served by    replicas\n") && !buffer.contains("afterwards"),
            "{buffer}"
        );
    }

    #[test]
    fn the_rule_that_a_request_follows_is_named_with_what_it_does() {
        let rules = format!(
            "{CLUSTER}[[routes]]\nname = 'no-rest'\npath = '/rest/**'\nrefuse = true\n\
             [[routes]]\nname = 'exports'\nservice = 'WFS'\nupstreams = 'b'\n\
             [[routes]]\npath = '/ext/**'\nclass = 'feature'\n"
        );
        let refused = explained("GET", "/geoserver/rest/layers", &rules);
        assert!(
            refused.contains("\nrule         no-rest: refused with status 403\n")
                && !refused.contains("goes to"),
            "{refused}"
        );
        let exported = explained("GET", "/geoserver/wfs?request=GetFeature", &rules);
        assert!(
            exported.contains("\nrule         exports: to b\n")
                && exported.contains(
                    "goes to      b; while none of them serves, as without the rule: the least busy"
                ),
            "{exported}"
        );
        let read = explained("GET", "/geoserver/ext/a", &rules);
        assert!(
            read.contains("class        feature\n")
                && read.contains("rule         #3: class feature\n"),
            "{read}"
        );
        assert!(!explained("GET", "/geoserver/wms?request=GetMap", &rules).contains("rule "));
    }

    #[test]
    fn a_main_that_always_reads_is_one_of_those_that_share() {
        let always = CLUSTER.replace("role = 'main'", "role = 'main'\nreads = 'always'");
        let explained = explained(
            "GET",
            "/geoserver/wms?service=WMS&request=GetMap&layers=x",
            &always,
        );
        assert!(
            explained.contains(
                "least busy for its weight of m (weight 100), a (weight 100), b (weight 50)\n"
            ),
            "{explained}"
        );
    }

    #[test]
    fn administration_goes_to_the_main_alone() {
        let with_credentials =
            format!("{CLUSTER}[geoserver]\nheaders = {{ sec-username = 'geofront' }}\n");
        insta::assert_snapshot!(explained("PUT", "/geoserver/rest/layers/roads", &with_credentials), @r"
        class        admin
        why          GeoServer's REST interface (/rest)
        service      REST
        served by    main
        another try  never: it might be executed twice
        first byte   within 20m
        goes to      m, or nowhere while it does not serve
        afterwards   the main's catalog is brought to every replica, one at a time, once changes stop
        ");
    }

    #[test]
    fn a_catalog_change_is_explained_with_its_consequences_for_the_replicas() {
        for (method, target, expected) in [
            (
                "POST",
                "/geoserver/rest/reload",
                "\nafterwards   every replica is reloaded too, one at a time (or would be: ",
            ),
            (
                "POST",
                "/geoserver/rest/workspaces",
                "\nafterwards   the main's catalog is brought to every replica",
            ),
            (
                "POST",
                "/geoserver/web/wicket/page?3-1.IFormSubmitListener",
                "\nafterwards   the main's update sequence is read",
            ),
        ] {
            let explained = explained(method, target, CLUSTER);
            assert!(explained.contains(expected), "{explained}");
        }
        let read = explained("GET", "/geoserver/rest/layers", CLUSTER);
        assert!(!read.contains("afterwards"), "{read}");
    }

    #[test]
    fn a_long_form_is_explained_as_it_is_decided_to_the_configured_length() {
        let post = |length: usize, config: &str| {
            let environment = MapEnvironment::new().file("geofront.toml", config);
            let config = Config::load(Path::new("geofront.toml"), &environment)
                .unwrap()
                .config;
            let request = Request {
                method: "POST".to_owned(),
                target: "/geoserver/wms".to_owned(),
                content_type: Some("application/x-www-form-urlencoded".to_owned()),
                content_encoding: None,
                body: format!("sld_body={}&service=WMS&request=GetMap", "x".repeat(length))
                    .into_bytes(),
                sender: TypedSender::default(),
            };
            let mut out = Vec::new();
            explain(&request, &config, true, &mut out).unwrap();
            String::from_utf8(out).unwrap()
        };
        assert!(post(1_000_000, CLUSTER).starts_with("class        map\n"));
        assert!(post(3_000_000, CLUSTER).starts_with("class        unknown\n"));
        let short = format!("{CLUSTER}[geoserver]\nmax_post_size = '10KB'\n");
        assert!(post(20_000, &short).starts_with("class        unknown\n"));
    }

    #[test]
    fn a_post_without_its_body_explains_that_the_body_decides() {
        let explained = explained("POST", "/geoserver/wfs", CLUSTER);
        assert!(
            explained.contains("counts too: give it with --body FILE"),
            "{explained}"
        );
    }
}
