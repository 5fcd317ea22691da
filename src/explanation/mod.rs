//! The decision about a request in words: its class, the rule that it follows, where it would go
//! and why, and the limits that would hold it, without sending it.
//!
//! `geofront explain` and the status page show the same explanation. It is decided by the functions
//! that decide about real requests: the classification, the rules and the hints about the catalog.

mod destination;
mod limits;
mod named;
mod route;

use std::borrow::Cow;
use std::net::IpAddr;

use http::HeaderName;
use percent_encoding::percent_decode;
use serde::Serialize;

use crate::catalog_writes::hints;
use crate::cluster::Hint;
use crate::config::{
    Config, Credentials, RouteAction, RouteRule, ServedBy, UpstreamName, size_text,
};
use crate::ogc::{
    self, BodyNeed, BodyReader, CatalogEffect, Classified, RequestClass, RequestHead, Retryable,
    RuleSubject, Service,
};

use named::NodeRequest;

/// The status of the main's answer to a successful request.
const OK: u16 = 200;

/// The media type of a body if none is given: OGC requests are XML.
const USUAL_CONTENT_TYPE: &str = "application/xml";

/// A request as typed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Question {
    pub method: String,
    /// Path and query of the request.
    pub target: String,
    /// The host of the URL, with its port, if the URL has one.
    pub host: Option<String>,
    pub content_type: Option<String>,
    pub content_encoding: Option<String>,
    pub body: Vec<u8>,
    /// The client's address, for rules that depend on it.
    pub address: Option<IpAddr>,
    /// Names in lower case, and values.
    pub headers: Vec<(String, String)>,
}

/// The decision about a request.
#[derive(Clone, Debug, PartialEq)]
pub struct Explanation {
    pub class: RequestClass,
    /// The name of the rule of `[[routes]]` that the request follows.
    pub rule: Option<String>,
    /// The client gets an error at once.
    pub is_refused: bool,
    /// The upstreams that would serve it. Empty if the request is refused.
    pub upstreams: Vec<UpstreamName>,
    /// The upstreams that would serve it while none of `upstreams` does.
    pub otherwise: Vec<UpstreamName>,
    /// The decision in words, the most important first.
    pub facts: Vec<Fact>,
    /// Parts of the request that the decision depends on, and that were not given.
    pub missing: Vec<Missing>,
}

/// One line of an explanation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fact {
    pub name: &'static str,
    pub value: String,
}

/// A part of the request that counts and was not given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    Address,
    Body,
}

impl Question {
    /// Builds a question. Without a method, a request with a body is a POST, and any other a GET.
    /// Returns `None` if `url` is neither a URL nor a path.
    pub fn new(method: Option<&str>, url: &str, body: Option<Vec<u8>>) -> Option<Self> {
        let usual = if body.is_some() { "POST" } else { "GET" };
        Some(Self {
            method: method.unwrap_or(usual).to_owned(),
            target: target_of(url)?,
            host: host_of(url),
            content_type: body.is_some().then(|| USUAL_CONTENT_TYPE.to_owned()),
            body: body.unwrap_or_default(),
            ..Self::default()
        })
    }

    /// Adds headers as typed: `Name: value`. Returns the complaint about one that is none.
    pub fn with_headers(mut self, headers: &[String]) -> Result<Self, String> {
        let header = |text: &String| {
            let (name, value) = text.split_once(':')?;
            let name = HeaderName::from_bytes(name.trim().as_bytes()).ok()?;
            Some((name.as_str().to_owned(), value.trim().to_owned()))
        };
        for text in headers {
            let header = header(text)
                .ok_or_else(|| format!("`{text}` is no header: it must be `Name: value`"))?;
            self.headers.push(header);
        }
        Ok(self)
    }

    /// The host that the request names: that of its URL, or else of a header.
    pub fn host(&self) -> Option<&str> {
        let mut headers = self.headers.iter();
        let header = headers.find(|(name, _)| name == "host");
        self.host
            .as_deref()
            .or_else(|| header.map(|(_, value)| value.as_str()))
    }
}

/// Maximum length of a method, in bytes.
const MAX_METHOD: usize = 32;

/// Returns the complaint about a method that no request can have.
pub fn check_method(method: &str) -> Result<(), String> {
    let is_method = !method.is_empty()
        && method.len() <= MAX_METHOD
        && method.bytes().all(|b| b.is_ascii_alphabetic() || b == b'-');
    if is_method {
        Ok(())
    } else {
        Err(format!(
            "`{method}` is no method: it must be at most {MAX_METHOD} letters without blanks"
        ))
    }
}

/// The host of a URL; `None` for a path.
fn host_of(url: &str) -> Option<String> {
    let (_, rest) = url.split_once("://").filter(|_| !url.starts_with('/'))?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    Some(rest[..end].to_owned())
}

/// The part of a URL that stands on the request line.
fn target_of(url: &str) -> Option<String> {
    if url.starts_with('/') {
        return Some(url.to_owned());
    }
    let rest = url
        .strip_prefix("http://")
        .or_else(|| url.strip_prefix("https://"))?;
    // A browser keeps the fragment to itself.
    let rest = rest.split('#').next().unwrap_or_default();
    Some(match rest.find(['/', '?']) {
        Some(at) if rest[at..].starts_with('/') => rest[at..].to_owned(),
        Some(at) => format!("/{}", &rest[at..]),
        None => "/".to_owned(),
    })
}

impl Explanation {
    /// Decides about a request as the front door would with this configuration.
    pub fn new(question: &Question, config: &Config) -> Self {
        let public = config.geoserver.public_path.as_ref();
        let target = match public.map(|path| path.to_upstream(question.target.as_bytes())) {
            Some(Some(target)) => Cow::Owned(target),
            Some(None) => return Self::not_found(),
            None => Cow::Borrowed(question.target.as_bytes()),
        };
        let head = RequestHead {
            method: &question.method,
            target: &target,
            content_type: question.content_type.as_deref(),
        };
        let context = &config.geoserver.context;
        let is_body_read = ogc::body_need(&head, context) == BodyNeed::Prefix;
        let reader = BodyReader::new(
            head.content_type,
            question.content_encoding.as_deref(),
            config.geoserver.max_post_size,
        );
        let evidence = reader
            .evidence(&question.body, true)
            .filter(|_| is_body_read);
        let mut classified = ogc::classify(&head, context, evidence.as_deref());
        let subject = RuleSubject::new(head, context, evidence.as_deref(), &classified);
        let rule = route::rule(question, config, &subject);
        if let Some(RouteAction::Send {
            class: Some(class), ..
        }) = rule.map(|rule| &rule.action)
        {
            classified.class = *class;
        } else {
            config.shorten(&mut classified);
        }
        let mut missing = Vec::new();
        let is_address_needed = depends_on_address(config) || named::depends_on_address(question);
        if question.address.is_none() && is_address_needed {
            missing.push(Missing::Address);
        }
        if question.body.is_empty() && is_body_read {
            missing.push(Missing::Body);
        }
        let decided = Decided {
            classified: &classified,
            head: &head,
            body: evidence.as_deref().unwrap_or_default(),
            rule,
            config,
        };
        decided.explanation(question, missing)
    }

    /// The request's path is not below the public one.
    fn not_found() -> Self {
        Self {
            class: RequestClass::Unknown,
            rule: None,
            is_refused: true,
            upstreams: Vec::new(),
            otherwise: Vec::new(),
            facts: vec![Fact {
                name: "refused",
                value: "404: the path is not below `geoserver.public_path`".to_owned(),
            }],
            missing: Vec::new(),
        }
    }
}

fn depends_on_address(config: &Config) -> bool {
    let depends = |route: &RouteRule| {
        !(route.conditions.from.is_empty() && route.conditions.not_from.is_empty())
    };
    config.routes.iter().any(depends)
}

/// A request after its classification.
struct Decided<'a> {
    classified: &'a Classified,
    head: &'a RequestHead<'a>,
    /// The part of the body that was read.
    body: &'a [u8],
    rule: Option<&'a RouteRule>,
    config: &'a Config,
}

impl Decided<'_> {
    fn explanation(&self, question: &Question, missing: Vec<Missing>) -> Explanation {
        let is_blocked = limits::is_blocked(question.address, self.config);
        let is_refused = is_blocked
            || self
                .rule
                .is_some_and(|rule| rule.action == RouteAction::Refuse);
        let named = if is_refused {
            None
        } else {
            named::of(question, self.head, self.classified, self.config)
        };
        let mut facts = self.facts(named.is_some());
        let mut add = |name, value: Option<String>| {
            facts.extend(value.map(|value| Fact { name, value }));
        };
        add("rule", self.rule.map(route::describe));
        if is_blocked {
            add("refused", Some(limits::BLOCKED.to_owned()));
        }
        let mut explanation = Explanation {
            class: self.classified.class,
            rule: self.rule.map(|rule| rule.name.to_string()),
            is_refused,
            upstreams: Vec::new(),
            otherwise: Vec::new(),
            facts: Vec::new(),
            missing,
        };
        if let Some(named) = named {
            match named {
                NodeRequest::Reaches(name) => {
                    add(
                        "goes to",
                        Some(format!("{name}, whatever its state: the request names it")),
                    );
                    add("afterwards", self.afterwards());
                    explanation.upstreams = vec![name];
                }
                NodeRequest::Refused(why) => {
                    add("refused", Some(why));
                    explanation.is_refused = true;
                }
            }
        } else if !is_refused {
            let destination = destination::of(self.rule, self.classified, self.config);
            add("goes to", Some(destination.text));
            add("afterwards", self.afterwards());
            explanation.upstreams = destination.upstreams;
            explanation.otherwise = destination.otherwise;
        }
        explanation.facts = facts;
        explanation
    }

    /// `is_named`: the request names its upstream, which is the only one that may get it.
    fn facts(&self, is_named: bool) -> Vec<Fact> {
        let (classified, config) = (self.classified, self.config);
        let limits = &config.classes[classified.class];
        let part = |span: Option<ogc::Span>| {
            span.map(|span| String::from_utf8_lossy(span.of(self.head.target)).into_owned())
        };
        let service = classified
            .service
            .map(|service| service.as_str().to_owned());
        let first_byte = humantime::format_duration(limits.first_byte);
        let known = [
            ("class", Some(classified.class.to_string())),
            ("why", Some(classified.reason.to_owned())),
            ("service", service),
            ("operation", classified.operation.map(str::to_owned)),
            ("version", classified.version.map(str::to_owned)),
            ("execution", part(classified.job)),
            ("workspace", part(classified.workspace)),
            ("process", self.process()),
            (
                "layer",
                part(classified.layer).filter(|_| !self.is_of_wps()),
            ),
            ("served by", (!is_named).then(|| self.served_by())),
            ("another try", Some(self.another_try(is_named))),
            ("first byte", Some(format!("within {first_byte}"))),
            (
                "queue",
                (!is_named).then(|| limits::queue(classified, config)),
            ),
            ("limits", limits::rules(classified, self.head, config)),
            ("body", self.largest_body()),
            ("compressed", self.codings()),
        ];
        known
            .into_iter()
            .filter_map(|(name, value)| {
                Some(Fact {
                    name,
                    value: value?,
                })
            })
            .collect()
    }

    /// The codings in which the answer may be compressed here.
    fn codings(&self) -> Option<String> {
        let codings = self.config.compression.codings_for(self.classified.class);
        let names: Vec<&str> = codings.iter().map(|coding| coding.as_str()).collect();
        (!names.is_empty()).then(|| {
            format!(
                "with {} if it is text, for a client that accepts it",
                names.join(" or ")
            )
        })
    }

    fn is_of_wps(&self) -> bool {
        self.classified.service == Some(Service::Wps)
    }

    /// The process that the request names, as it is written in the address or the body.
    fn process(&self) -> Option<String> {
        let written = self.classified.layer.filter(|_| self.is_of_wps());
        let written = written.map(|span| percent_decode(span.of(self.head.target)));
        let written = written.map(|name| name.decode_utf8_lossy().trim().to_owned());
        let in_body = || {
            let body = percent_decode(self.body).decode_utf8_lossy();
            let name = self.classified.processes.only()?;
            name.written_in(&body).map(str::to_owned)
        };
        written.or_else(in_body)
    }

    fn served_by(&self) -> String {
        if let Some(why) = only_main(self.classified) {
            return format!("main alone: {why}");
        }
        match &self.config.classes[self.classified.class].served_by {
            ServedBy::Replicas => "replicas".to_owned(),
            ServedBy::Main => "main".to_owned(),
            ServedBy::Upstream(name) => format!("{name} alone"),
        }
    }

    /// The largest body, of a request that may have one.
    fn largest_body(&self) -> Option<String> {
        let most = self.config.classes[self.classified.class].max_body;
        (!matches!(self.head.method, "GET" | "HEAD" | "OPTIONS" | "DELETE"))
            .then(|| format!("up to {}", size_text(most)))
    }

    fn another_try(&self, is_named: bool) -> String {
        let attempts = self.config.retry.attempts;
        if is_named {
            return "never: the request names its upstream".to_owned();
        }
        match ogc::retry(
            self.classified.class,
            self.head.method,
            self.classified.clarity,
        ) {
            _ if attempts <= 1 => "no: retries are turned off".to_owned(),
            Retryable::Yes => format!(
                "on another upstream until the first byte has come, {attempts} tries in all"
            ),
            Retryable::Unanswered => format!(
                "only if nothing could be sent, or a kept-alive connection was being closed, {attempts} tries in all"
            ),
            Retryable::ConnectOnly => {
                format!("only if nothing could be sent, {attempts} tries in all")
            }
            Retryable::Never => "never: it might be executed twice".to_owned(),
        }
    }

    /// The change of the main's catalog that a success would imply, and its consequences.
    fn afterwards(&self) -> Option<String> {
        let follows = match hints::of(self.head, self.classified, OK, self.config)? {
            Hint::Certain => "every replica is reloaded too, one at a time",
            Hint::Security => "every replica reloads its security and its catalog, one at a time",
            Hint::Write => {
                "the main's catalog is brought to every replica, one at a time, once changes stop"
            }
            Hint::Ui | Hint::File => {
                "the main's update sequence is read; if it changed, every replica is reloaded"
            }
        };
        let but = if self.config.geoserver.credentials == Credentials::None {
            " (or would be: there are no credentials under [geoserver])"
        } else {
            ""
        };
        Some(format!("{follows}{but}"))
    }
}

/// The reason why the main alone serves a request, whichever upstreams serve its class.
fn only_main(classified: &Classified) -> Option<&'static str> {
    match classified.processes.catalog {
        _ if classified.class != RequestClass::Process => None,
        CatalogEffect::None => None,
        CatalogEffect::Change => Some("a process of the request changes the catalog"),
        CatalogEffect::Undetermined => {
            Some("which processes run is not certain, and one may change the catalog")
        }
    }
}

#[cfg(test)]
mod tests;
