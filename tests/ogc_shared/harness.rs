//! Invariants of the classification of any request: the body of the fuzz target, which
//! `tests/ogc_fuzz.rs` also runs on random input.
//!
//! An input has a method and a target on the first line. The second line is a content type (or
//! empty) and, behind a tab, the content encoding. The body follows.

// Each test that shares this file uses a part of it.
#![allow(dead_code)]

use std::hint::black_box;
use std::path::Path;
use std::sync::OnceLock;

use geofront::catalog_writes::tiles::{SentBody, made_old};
use geofront::cluster::Truncation;
use geofront::config::{Config, MapEnvironment};
use geofront::named_upstream::changes_nothing_shared;
use geofront::ogc::{
    BodyNeed, BodyReader, Classified, RequestClass, RequestHead, Retryable, Span, body_need,
    classify, error_shape, normalise_path, retry,
};

use crate::oracle::{self, Meaning, OldTiles, Request};

/// Returns whether a process passes for a short one, where `gs:Buffer` is declared short.
pub(crate) fn is_short(found: &Classified) -> bool {
    let mut settled = *found;
    config().shorten(&mut settled);
    settled.class != found.class
}

fn config() -> &'static Config {
    static CONFIG: OnceLock<Config> = OnceLock::new();
    CONFIG.get_or_init(|| config_with("gs:Buffer"))
}

/// A configuration that declares one process short.
pub(crate) fn config_with(short: &str) -> Config {
    let text = format!(
        "[upstreams.main]\nurl = 'http://10.0.0.1'\nrole = 'main'\n[upstreams.a]\nurl = 'http://10.0.0.2'\n\
         [classes.process]\nshort = ['{short}']\n"
    );
    let world = MapEnvironment::new().file("geofront.toml", text);
    Config::load(Path::new("geofront.toml"), &world)
        .unwrap_or_else(|problems| panic!("{problems}"))
        .config
}

/// Panics if an invariant is broken.
pub(crate) fn check_input(input: &[u8]) {
    check(&request_of(input));
}

/// Reads any bytes as a request.
pub(crate) fn request_of(input: &[u8]) -> Request {
    let (line, rest) = split_line(input);
    let (content_type, body) = split_line(rest);
    let (method, target) = match line.iter().position(|&byte| byte == b' ') {
        Some(blank) => (&line[..blank], &line[blank + 1..]),
        None => (&b"GET"[..], line),
    };
    let content_type = String::from_utf8_lossy(content_type);
    let (content_type, coding) = content_type.split_once('\t').unwrap_or((&content_type, ""));
    Request {
        method: String::from_utf8_lossy(method).into_owned(),
        target: target.to_vec(),
        content_type: (!content_type.is_empty()).then(|| content_type.to_owned()),
        coding: (!coding.is_empty()).then(|| coding.to_owned()),
        body: body.to_vec(),
        context: "/geoserver".to_owned(),
    }
}

/// The input that [`request_of`] reads as this request.
pub(crate) fn input_of(request: &Request) -> Vec<u8> {
    let content_type = request
        .content_type
        .as_deref()
        .unwrap_or_default()
        .as_bytes();
    let coding = request
        .coding
        .as_ref()
        .map(|coding| format!("\t{coding}"))
        .unwrap_or_default();
    [
        request.method.as_bytes(),
        b" ",
        &request.target,
        b"\n",
        content_type,
        coding.as_bytes(),
        b"\n",
        &request.body,
    ]
    .concat()
}

fn split_line(text: &[u8]) -> (&[u8], &[u8]) {
    match text.iter().position(|&byte| byte == b'\n') {
        Some(end) => (&text[..end], &text[end + 1..]),
        None => (text, &[]),
    }
}

/// Maximum length of a form that is read.
pub(crate) const MAX: usize = 2 << 20;

/// The class as in the proxy and `geofront explain`: a body is read only where it decides.
pub(crate) fn classified(request: &Request) -> Classified {
    let head = head(request);
    let is_read = body_need(&head, &request.context) == BodyNeed::Prefix;
    let evidence = reader(request)
        .evidence(&request.body, true)
        .filter(|_| is_read);
    classify(&head, &request.context, evidence.as_deref())
}

fn reader(request: &Request) -> BodyReader {
    BodyReader::new(
        request.content_type.as_deref(),
        request.coding.as_deref(),
        MAX,
    )
}

/// Returns the class of a request whose body arrives in pieces of `size` bytes, read as the proxy
/// reads it.
fn classified_in_pieces(request: &Request, size: usize) -> Classified {
    let (head, mut reader, mut end) = (head(request), reader(request), 0);
    while end < request.body.len() {
        end = (end + size).min(request.body.len());
        if !reader.wants_more(&request.body[..end]) {
            break;
        }
    }
    let evidence = reader.evidence(&request.body[..end], end == request.body.len());
    classify(&head, &request.context, evidence.as_deref())
}

fn head(request: &Request) -> RequestHead<'_> {
    RequestHead {
        method: &request.method,
        target: &request.target,
        content_type: request.content_type.as_deref(),
    }
}

/// Checks all invariants for one request; see the module's documentation.
pub(crate) fn check(request: &Request) {
    let head = head(request);
    let found = classified(request);
    assert_eq!(
        found,
        classified(request),
        "the same request, the same class"
    );
    if body_need(&head, &request.context) == BodyNeed::Prefix {
        // The sizes vary without a source of randomness.
        let size = 1 + (request.target.len() * 31 + request.body.len()) % 700;
        assert_eq!(
            found,
            classified_in_pieces(request, size),
            "pieces of {size} bytes: {}",
            input_of(request).escape_ascii()
        );
    }

    for span in [found.workspace, found.layer].into_iter().flatten() {
        let Span { start, end } = span;
        assert!(
            start <= end && end as usize <= request.target.len(),
            "{span:?} is not within the target"
        );
    }
    error_shape(&found, &head);
    // They must not panic.
    black_box(found.layer(&request.target));
    black_box(normalise_path(&request.target));

    let without = classify(&head, &request.context, None);
    let with = classify(&head, &request.context, Some(&request.body));
    match body_need(&head, &request.context) {
        BodyNeed::None => assert_eq!(
            with, without,
            "a body that was not asked for decides nothing"
        ),
        BodyNeed::Prefix => assert!(
            !without.class.is_read(),
            "without its body it may be anything"
        ),
    }

    let meanings = oracle::meanings(request);
    check_meanings(request, &found, &meanings);
    check_named(request, &found, &meanings);
    check_old_tiles(request, &found);
}

/// Checks that nothing which some server reads in the request passes for something milder.
fn check_meanings(request: &Request, found: &Classified, meanings: &[Meaning]) {
    let text = || input_of(request).escape_ascii().to_string();
    if let Some(meaning) = meanings.iter().find(|meaning| meaning.acts()) {
        assert!(
            !found.class.is_read(),
            "{}\nis taken for {found:?}, and some server takes it for {meaning:?}",
            text()
        );
        assert_ne!(
            retry(found.class, &request.method, found.clarity),
            Retryable::Yes,
            "{}\nmay be repeated as {found:?}, and some server takes it for {meaning:?}",
            text()
        );
    }
    let is_long =
        |meaning: &&Meaning| meaning.acts() && (meaning.is_long || meaning.changes_something());
    let long = meanings.iter().find(is_long);
    assert!(
        long.is_none() || !is_short(found),
        "{}\npasses for a short process as {found:?}, and some server takes it for {long:?}",
        text()
    );
    let work = meanings.iter().find(|meaning| meaning.is_work());
    assert!(
        work.is_none() || !found.is_light,
        "{}\npasses for a light request as {found:?}, and some server takes it for {work:?}",
        text()
    );
    // Replicas serve reads, and processes where they are configured to.
    let may_leave_the_main =
        found.class.is_read() || found.class == RequestClass::Process && !found.stays_on_main();
    let change = meanings.iter().find(|meaning| meaning.changes_something());
    assert!(
        change.is_none() || !may_leave_the_main,
        "{}\nmay go to a replica as {found:?}, and some server takes it for {change:?}",
        text()
    );
}

/// Checks that what may be asked of a named replica changes nothing but its own tile cache.
fn check_named(request: &Request, found: &Classified, meanings: &[Meaning]) {
    if !changes_nothing_shared(&head(request), found, &request.context) {
        return;
    }
    let is_safe = matches!(request.method.as_str(), "GET" | "HEAD" | "OPTIONS");
    let is_of_cache = |path: &Vec<String>| {
        let names: Vec<&str> = path.iter().map(String::as_str).collect();
        matches!(
            names.as_slice(),
            ["gwc", "rest", "seed", ..] | ["gwc", "rest", "masstruncate"]
        )
    };
    let change = meanings.iter().find(|meaning| match meaning.class {
        RequestClass::Transaction => true,
        RequestClass::Process => meaning.acts(),
        RequestClass::Admin => !is_safe && !oracle::paths_below(request).iter().all(is_of_cache),
        _ => false,
    });
    assert!(
        change.is_none(),
        "{}\nmay name a replica as {found:?}, and some server takes it for {change:?}",
        input_of(request).escape_ascii()
    );
}

/// Checks that every tile cache drops what the GeoServer that serves the request drops from its
/// own. A request that is not read with certainty (`unknown`) gives no such orders.
fn check_old_tiles(request: &Request, found: &Classified) {
    let config = config();
    if request.context != config.geoserver.context || found.class == RequestClass::Unknown {
        return;
    }
    let old = oracle::old_tiles(request);
    if old.is_empty() {
        return;
    }
    let body = match request.coding {
        None => SentBody::Whole(&request.body),
        Some(_) => SentBody::Partly,
    };
    let made = made_old(&head(request), found, body, config);
    for tiles in old {
        assert!(
            made.iter()
                .any(|truncation| covers(truncation, &tiles, request)),
            "{}\nas {found:?} drops {made:?} from every cache, and GeoServer drops {tiles:?} from its own",
            input_of(request).escape_ascii()
        );
    }
}

fn covers(truncation: &Truncation, tiles: &OldTiles, request: &Request) -> bool {
    match truncation {
        Truncation::All => true,
        Truncation::TileLayer(layer) => *tiles == OldTiles::OfLayer(layer.clone()),
        Truncation::Features { workspace, layer } => {
            let of_features = OldTiles::OfFeatures {
                workspace: Some(workspace.clone()),
                name: layer.clone(),
            };
            *tiles == of_features
        }
        Truncation::Repeat(call) => {
            let is_same = call.target.as_bytes() == request.target
                && call.content_type == request.content_type
                && call.body == request.body;
            is_same && matches!(tiles, OldTiles::OfOrder | OldTiles::OfLayer(_))
        }
        Truncation::Workspaces(_) => false,
    }
}
