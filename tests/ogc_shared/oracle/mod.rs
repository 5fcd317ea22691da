//! What GeoServer makes of a request, written the slow way: everything is decoded into strings,
//! every list is built, every rule of its dispatcher is applied as its source reads.
//!
//! Containers, frameworks and versions of GeoServer differ in how they treat an odd spelling. The
//! oracle is not cautious about that: it reads the request in every way that some server is known
//! to, and returns all the meanings. A plain request therefore has one meaning, which the
//! classifier must find. An odd request has several, and when one of them writes, the classifier
//! must not classify the request as a read.

// Each test that shares this uses a part of it.
#![allow(dead_code)]

mod container;
mod dispatcher;
mod documents;
mod mapping;
mod multipart;
mod old_tiles;
mod operations;
mod text;

use std::io::Read;

use self::dispatcher::Content;
use flate2::read::{MultiGzDecoder, ZlibDecoder};
use geofront::ogc::RequestClass;
pub(crate) use old_tiles::{OldTiles, old_tiles};
#[allow(
    unused_imports,
    reason = "one of the two crates that share this asks for it"
)]
pub(crate) use operations::SERVICES;
#[allow(
    unused_imports,
    reason = "one of the two crates that share this asks for it"
)]
pub(crate) use text::equals_ignore_case;

/// A whole request, owned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) target: Vec<u8>,
    pub(crate) content_type: Option<String>,
    /// The Content-Encoding.
    pub(crate) coding: Option<String>,
    /// As it is sent.
    pub(crate) body: Vec<u8>,
    pub(crate) context: String,
}

/// The meaning of a request to one server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Meaning {
    pub(crate) class: RequestClass,
    pub(crate) service: Option<&'static str>,
    /// In lower case, if the service has it.
    pub(crate) operation: Option<String>,
    /// A process runs that changes the catalog.
    pub(crate) imports: bool,
    /// A process runs or a document is drawn, and not only `gs:Buffer` with its result as the
    /// answer.
    pub(crate) is_long: bool,
}

impl Meaning {
    fn of_class(class: RequestClass) -> Self {
        Self {
            class,
            service: None,
            operation: None,
            imports: false,
            is_long: class == RequestClass::Process,
        }
    }

    fn of_service(class: RequestClass, service: &'static str) -> Self {
        Self {
            class,
            service: Some(service),
            operation: None,
            imports: false,
            is_long: class == RequestClass::Process,
        }
    }

    /// Whether something is changed or run. A WPS without an operation that it knows runs nothing.
    pub(crate) fn acts(&self) -> bool {
        match self.class {
            RequestClass::Transaction | RequestClass::Admin => true,
            RequestClass::Process => self.service != Some("WPS") || self.operation.is_some(),
            _ => false,
        }
    }
}

impl Meaning {
    /// Whether a process runs or a document is drawn.
    pub(crate) fn is_work(&self) -> bool {
        let is_printed = self.service.is_none() && self.is_long;
        self.class == RequestClass::Process
            && (is_printed || self.operation.as_deref() == Some("execute"))
    }

    /// Whether a replica must not do it, whichever upstreams run processes: it changes what only
    /// the main may change.
    pub(crate) fn changes_something(&self) -> bool {
        match self.class {
            RequestClass::Transaction | RequestClass::Admin => true,
            RequestClass::Process => self.imports,
            _ => false,
        }
    }
}

/// Returns the meanings that the different servers give the request, each once. GeoServer takes a
/// body as it is sent, and a filter before it may unpack it.
pub(crate) fn meanings(request: &Request) -> Vec<Meaning> {
    let mut found = meanings_of(request);
    if let Some(unpacked) = unpacked(request) {
        found.extend(meanings_of(&unpacked));
    }
    let mut each = Vec::new();
    for meaning in found {
        if !each.contains(&meaning) {
            each.push(meaning);
        }
    }
    each
}

/// Returns the segments of the path below the context, as the different servers see them.
pub(crate) fn paths_below(request: &Request) -> Vec<Vec<String>> {
    let (path, _) = container::split_target(&request.target);
    container::paths(path)
        .iter()
        .filter_map(|segments| container::below(segments, &request.context))
        .map(|segments| {
            segments
                .into_iter()
                .filter(|name| !name.is_empty())
                .collect()
        })
        .collect()
}

fn unpacked(request: &Request) -> Option<Request> {
    let coding = request.coding.as_deref()?.trim().to_ascii_lowercase();
    let mut body = Vec::new();
    let read = match coding.as_str() {
        "gzip" | "x-gzip" => MultiGzDecoder::new(request.body.as_slice()).read_to_end(&mut body),
        "deflate" => ZlibDecoder::new(request.body.as_slice()).read_to_end(&mut body),
        _ => return None,
    };
    read.is_ok().then(|| Request {
        body,
        ..request.clone()
    })
}

fn meanings_of(request: &Request) -> Vec<Meaning> {
    let (path, query) = container::split_target(&request.target);
    let content = Content::of(request, query);
    let mut found = Vec::new();
    if request.method == "OPTIONS" && path == b"*" {
        return vec![Meaning::of_class(RequestClass::Static)];
    }
    for segments in container::paths(path) {
        let Some(segments) = container::below(&segments, &request.context) else {
            found.push(Meaning::of_class(RequestClass::Unknown));
            continue;
        };
        let sent = format!(
            "{}/{}",
            request.context.trim_end_matches('/'),
            segments.join("/")
        );
        let places = mapping::places(&segments, path == sent.as_bytes());
        // Spring's controllers answer it themselves.
        if request.method == "OPTIONS" {
            found.extend(places.usual.iter().map(dispatcher::preflight));
            continue;
        }
        for place in places.usual {
            found.extend(dispatcher::at(&place, &content));
        }
        for place in places.unusual {
            found.extend(
                dispatcher::at(&place, &content)
                    .into_iter()
                    .filter(Meaning::acts),
            );
        }
    }
    found
}
