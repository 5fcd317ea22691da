//! The rules at each place: the dispatcher's for service and operation, and the simpler ones of the
//! other places.

use std::cell::OnceCell;

use geofront::ogc::RequestClass;

use super::container::{self, Parameters};
use super::documents::{self, Edit, Payload};
use super::mapping::Place;
use super::text::{equals_ignore_case, key, trimmed};
use super::{Meaning, Request, multipart, operations};

/// The parts of a body: more parameters, and a document.
#[derive(Clone, Debug, Default)]
struct Body {
    fields: Parameters,
    payload: Option<Payload>,
}

/// A request without its path, whose body is read once for all places.
#[derive(Debug)]
pub(super) struct Content<'r> {
    request: &'r Request,
    /// The parameters of the query as the different servers see them.
    parameters: Vec<Parameters>,
    bodies: OnceCell<Vec<Body>>,
}

impl<'r> Content<'r> {
    pub(super) fn of(request: &'r Request, query: &[u8]) -> Self {
        Self {
            request,
            parameters: container::parameters(query),
            bodies: OnceCell::new(),
        }
    }

    fn bodies(&self) -> &[Body] {
        self.bodies.get_or_init(|| bodies(self.request))
    }
}

/// The meanings of a request with this `content` at `place`.
pub(super) fn at(place: &Place, content: &Content<'_>) -> Vec<Meaning> {
    let request = content.request;
    let reads = matches!(request.method.as_str(), "GET" | "HEAD");
    match place {
        Place::Always(class) => vec![Meaning::of_class(*class)],
        Place::Rest => vec![Meaning::of_service(RequestClass::Admin, "REST")],
        Place::Files if reads => vec![Meaning::of_class(RequestClass::Static)],
        Place::KmlIcon if reads => vec![Meaning::of_service(RequestClass::Info, "WMS")],
        Place::Files | Place::KmlIcon => vec![Meaning::of_class(RequestClass::Unknown)],
        Place::Printing { name } => vec![printing(name, &request.method)],
        Place::OgcApi { segments } => vec![ogc_api(segments, &request.method)],
        Place::Gsr { segments } => vec![gsr(segments, &request.method)],
        Place::Tiles { segments } => tiles(segments, content),
        Place::Ows { segments } => ows(segments, content),
    }
}

/// Returns the meaning of OPTIONS at `place`: the pages and administration of the main, or a light
/// request.
pub(super) fn preflight(place: &Place) -> Meaning {
    match place {
        Place::Rest => Meaning::of_service(RequestClass::Admin, "REST"),
        Place::Always(class) => Meaning::of_class(*class),
        _ => Meaning::of_class(RequestClass::Static),
    }
}

/// Returns the meaning at the printing servlet, which runs something at each of its four pages.
fn printing(name: &str, method: &str) -> Meaning {
    let is_document = name.len() > ".printout".len() && name.ends_with(".printout");
    let is_known = match method {
        "GET" | "HEAD" => is_document || name == "info.json" || name == "print.pdf",
        "POST" => name == "create.json" || name == "print.pdf",
        _ => false,
    };
    let class = if is_known {
        RequestClass::Process
    } else {
        RequestClass::Unknown
    };
    Meaning {
        is_long: is_known && !is_document && name != "info.json",
        ..Meaning::of_class(class)
    }
}

fn ows(segments: &[String], content: &Content<'_>) -> Vec<Meaning> {
    let Some(address) = address(segments) else {
        return vec![Meaning::of_class(RequestClass::Ui)];
    };
    let mut found = Vec::new();
    for body in content.bodies() {
        for parameters in &content.parameters {
            let parameters: Parameters = parameters.iter().chain(&body.fields).cloned().collect();
            found.extend(dispatched(&address, &parameters, body.payload.as_ref()));
        }
    }
    found
}

/// Returns the edits of features that GeoServer makes for a request at the dispatcher. Only a
/// document has some: the parameters of a Transaction name none.
pub(super) fn edits(segments: &[String], content: &Content<'_>) -> Vec<Edit> {
    let Some(address) = address(segments) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for body in content.bodies() {
        let Some(payload) = &body.payload else {
            continue;
        };
        let parameters: Parameters = content.parameters[0]
            .iter()
            .chain(&body.fields)
            .cloned()
            .collect();
        let read = dispatched(&address, &parameters, Some(payload));
        let is_transaction = |meaning: &Meaning| {
            meaning.service == Some("WFS") && meaning.operation.as_deref() == Some("transaction")
        };
        if read.iter().any(is_transaction) {
            found.extend(payload.edits.iter().cloned());
        }
    }
    found
}

/// What the last segments name.
struct Address {
    service: Option<&'static str>,
    operation: Option<String>,
    /// The last segment.
    last: String,
    /// The service that the segment before the last is, to which GeoServer falls back.
    fallback: Option<&'static str>,
}

/// Returns the service and operation that the last segments name: either the last one is the
/// service, or the last two are the service and the operation. `None` is the demo's form.
fn address(segments: &[String]) -> Option<Address> {
    let last = trimmed(segments.last().map_or("", String::as_str));
    if equals_ignore_case(last, "TestWfsPost") {
        return None;
    }
    let before = segments.iter().rev().nth(1);
    let fallback = before.and_then(|before| operations::service(trimmed(before)));
    let (service, operation) =
        if equals_ignore_case(last, "kml") || equals_ignore_case(last, "animate") {
            (Some("WMS"), Some(last.to_owned()))
        } else if let Some(service) = operations::service(last) {
            (Some(service), None)
        } else {
            let is_old_name = equals_ignore_case(last, "WfsDispatcher");
            let operation = fallback.filter(|_| !is_old_name).map(|_| last.to_owned());
            (fallback, operation)
        };
    Some(Address {
        service,
        operation,
        last: last.to_owned(),
        fallback,
    })
}

/// Returns the bodies that servers read, by the content type.
fn bodies(request: &Request) -> Vec<Body> {
    const FORM: &str = "application/x-www-form-urlencoded";
    if matches!(request.method.as_str(), "GET" | "HEAD") || request.body.is_empty() {
        return vec![Body::default()];
    }
    let content_type = request.content_type.as_deref().map_or("", trimmed);
    let folded = content_type.to_ascii_lowercase();
    let mut found = Vec::new();
    for read in [content_type, &folded] {
        if read.starts_with(FORM) {
            let forms = container::form(&request.body, content_type);
            found.extend(forms.into_iter().map(|fields| Body {
                fields,
                payload: None,
            }));
            // GeoServer takes it for a form, the container does not and gives no fields.
            if read.split(';').next().map(trimmed) != Some(FORM) {
                found.push(Body::default());
            }
        } else if read.starts_with("application/soap+xml") {
            let payloads = documents::soap(&request.body);
            found.extend(payloads.into_iter().map(|payload| Body {
                fields: Vec::new(),
                payload,
            }));
        } else if read.starts_with("multipart") {
            for parts in multipart::readings(content_type, &request.body) {
                let payloads = parts
                    .file
                    .map_or_else(|| vec![None], |file| documents::xml(&file));
                found.extend(payloads.into_iter().map(|payload| Body {
                    fields: parts.fields.clone(),
                    payload,
                }));
            }
        } else {
            let payloads = documents::xml(&request.body);
            found.extend(payloads.into_iter().map(|payload| Body {
                fields: Vec::new(),
                payload,
            }));
        }
    }
    found
}

/// The values of a parameter, each once; empty ones do not count.
fn values<'p>(parameters: &'p Parameters, key: &str) -> Vec<&'p str> {
    let mut values: Vec<&str> = Vec::new();
    for (known, value) in parameters {
        let value = trimmed(value);
        let is_new = !values.iter().any(|known| equals_ignore_case(known, value));
        if self::key(known) == key && !value.is_empty() && is_new {
            values.push(value);
        }
    }
    values
}

fn is_true(parameters: &Parameters, key: &str) -> bool {
    values(parameters, key)
        .iter()
        .any(|value| equals_ignore_case(value, "true"))
}

/// Returns whether GeoWebCache may answer a GetMap: it is for one layer, of a grid's size, in a
/// format that tiles have.
fn is_tile(parameters: &Parameters) -> bool {
    let only = |wanted: &str| {
        let mut given = parameters.iter().filter(|(name, _)| key(name) == wanted);
        given
            .next()
            .filter(|_| given.next().is_none())
            .map(|(_, value)| value.to_ascii_lowercase())
    };
    let is_side = |value: String| ["128", "256", "512", "1024"].contains(&trimmed(&value));
    let pictures = [
        "png",
        "jpeg",
        "gif",
        "webp",
        "png8",
        "png24",
        "vnd.jpeg-png",
        "vnd.jpeg-png8",
    ];
    let quantised = ["image/png; mode=8bit", "image/png; mode=24bit"];
    let vectors = ["application/vnd.mapbox-vector-tile"];
    let texts = ["geojson", "topojson", "utfgrid"];
    let is_format = |value: String| {
        value
            .strip_prefix("image/")
            .is_some_and(|kind| pictures.contains(&kind))
            || value
                .strip_prefix("application/json;type=")
                .is_some_and(|kind| texts.contains(&kind))
            || quantised.contains(&value.as_str())
            || vectors.contains(&value.as_str())
    };
    is_true(parameters, "TILED")
        && only("LAYERS").is_some_and(|layers| !layers.is_empty() && !layers.contains(','))
        && only("WIDTH").is_some_and(is_side)
        && only("HEIGHT").is_some_and(is_side)
        && only("FORMAT").is_some_and(is_format)
}

/// Every combination of a service and an operation that is named.
fn dispatched(
    address: &Address,
    parameters: &Parameters,
    payload: Option<&Payload>,
) -> Vec<Meaning> {
    let root = payload.map(|payload| &payload.root);
    let mut named = values(parameters, "SERVICE");
    match root.and_then(|root| root.attribute("service")).map(trimmed) {
        Some("") => named.clear(),
        Some(service) => named = vec![service],
        None => {}
    }
    let operation = address.operation.as_deref();
    // Each with the operation where no other is named.
    let mut services: Vec<(Option<&'static str>, Option<&str>)> = named
        .iter()
        .map(|name| (operations::service(name), operation))
        .collect();
    if services.is_empty() {
        services.push((address.service, operation));
    }
    // `Dispatcher.service`: a service that this GeoServer does not have is an operation of the one
    // that the segment before the last is.
    if let Some(fallback) = address.fallback {
        if named.is_empty() && address.service != Some(fallback) {
            named.push(&address.last);
        }
        let others = named
            .into_iter()
            .filter(|name| operations::service(name) != Some(fallback));
        services.extend(others.map(|name| (Some(fallback), Some(name))));
    }
    let requests = values(parameters, "REQUEST");
    let mut found = Vec::new();
    for (service, operation) in services {
        let Some(service) = service else {
            found.push(Meaning::of_class(RequestClass::Unknown));
            continue;
        };
        let by_root = root.map(|root| root.name.as_str()).filter(|name| {
            // A root that is no operation leaves it to the parameters.
            operations::operation(service, name).is_some() || requests.is_empty()
        });
        let names: Vec<Option<&str>> = match by_root {
            Some(name) => vec![Some(name)],
            None if requests.is_empty() => vec![operation],
            None => requests.iter().copied().map(Some).collect(),
        };
        let is_of_document = by_root.is_some();
        found.extend(
            names
                .into_iter()
                .map(|name| meaning(service, name, parameters, payload, is_of_document)),
        );
    }
    found
}

/// Returns what `service` does with a request for `name`.
fn meaning(
    service: &'static str,
    name: Option<&str>,
    parameters: &Parameters,
    payload: Option<&Payload>,
    is_of_document: bool,
) -> Meaning {
    let known = name.and_then(|name| operations::operation(service, name));
    let class = match &known {
        None if service == "WPS" => RequestClass::Process,
        None => RequestClass::Unknown,
        Some((RequestClass::Map, operation))
            if operation == "getmap" && !is_of_document && is_tile(parameters) =>
        {
            RequestClass::Tile
        }
        Some((class, _)) => *class,
    };
    let lock = payload.and_then(|payload| payload.root.attribute("lockId"));
    let is_locked = name.is_some()
        && (!values(parameters, "LOCKID").is_empty() || lock.is_some_and(|lock| !lock.is_empty()));
    let is_stored =
        is_true(parameters, "STORE") || payload.is_some_and(|payload| payload.is_stored);
    let class = match class {
        _ if service == "WFS" && is_locked => RequestClass::Transaction,
        RequestClass::Coverage if is_stored => RequestClass::Transaction,
        class => class,
    };
    let operation = known.map(|(_, operation)| operation);
    let imports = class == RequestClass::Process
        && operation.as_deref() == Some("execute")
        && runs_import(parameters, payload);
    let is_short = operation.as_deref() == Some("execute")
        && runs_only_buffer(parameters, payload, is_of_document);
    Meaning {
        class,
        service: Some(service),
        operation,
        imports,
        is_long: class == RequestClass::Process && !is_short,
    }
}

/// Returns whether an Execute runs `gs:Buffer` and nothing else, and answers with the result.
/// A document that names no process runs none of the parameters.
fn runs_only_buffer(
    parameters: &Parameters,
    payload: Option<&Payload>,
    is_of_document: bool,
) -> bool {
    if is_of_document && payload.is_some_and(|payload| payload.processes.is_empty()) {
        return false;
    }
    let named = parameters
        .iter()
        .filter(|(name, _)| key(name) == "IDENTIFIER")
        .map(|(_, value)| value.as_str());
    let of_document = payload.map(|payload| &payload.processes[..]);
    let of_document = of_document.unwrap_or_default().iter().map(String::as_str);
    let processes: Vec<&str> = named.chain(of_document).map(trimmed).collect();
    let stays = |(name, value): &(String, String)| match key(name).as_str() {
        "STOREEXECUTERESPONSE" | "STATUS" => equals_ignore_case(value, "true"),
        "RESPONSEDOCUMENT" => value.to_ascii_lowercase().contains("asreference=true"),
        "DATAINPUTS" => value.contains("http://geoserver/wps?"),
        _ => false,
    };
    !processes.is_empty()
        && processes
            .iter()
            .all(|name| name.eq_ignore_ascii_case("gs:Buffer"))
        && !parameters.iter().any(stays)
        && !payload.is_some_and(|payload| {
            payload.stays
                || payload
                    .references
                    .iter()
                    .any(|address| address.contains("http://geoserver/wps?"))
        })
}

/// Returns whether an Execute runs `gs:Import`: by its parameters, by those of the address of an
/// input, or by a process of its document.
fn runs_import(parameters: &Parameters, payload: Option<&Payload>) -> bool {
    let is_import = |name: &str| trimmed(name) == "gs:Import";
    let is_named = |parameters: &Parameters| {
        parameters
            .iter()
            .any(|(name, value)| key(name) == "IDENTIFIER" && is_import(value))
    };
    let runs_by_address = |address: &str| {
        let query = address
            .split_once("http://geoserver/wps")
            .map(|(_, query)| query);
        query.is_some_and(|query| {
            container::parameters(query.trim_start_matches('?').as_bytes())
                .iter()
                .any(is_named)
        })
    };
    let refers =
        |(name, value): &(String, String)| key(name) == "DATAINPUTS" && runs_by_address(value);
    is_named(parameters)
        || parameters.iter().any(refers)
        || payload.is_some_and(|payload| {
            payload.processes.iter().any(|name| is_import(name))
                || payload
                    .references
                    .iter()
                    .any(|address| runs_by_address(address))
        })
}

/// GeoWebCache has no writes at its tile services.
fn tiles(segments: &[String], content: &Content<'_>) -> Vec<Meaning> {
    let request = content.request;
    let is_form = request
        .content_type
        .as_deref()
        .is_some_and(|kind| kind.starts_with("application/x-www-form-urlencoded"));
    let is_post = request.method == "POST" && is_form;
    if !is_post && !matches!(request.method.as_str(), "GET" | "HEAD") {
        return vec![Meaning::of_class(RequestClass::Unknown)];
    }
    let mut found = Vec::new();
    for mut parameters in content.parameters.iter().cloned() {
        if is_post {
            parameters.extend(
                container::form(&request.body, "")
                    .into_iter()
                    .next()
                    .unwrap_or_default(),
            );
        }
        found.extend(tile_service(segments, &parameters));
    }
    found
}

fn tile_service(segments: &[String], parameters: &Parameters) -> Vec<Meaning> {
    let Some((name, following)) = segments.split_first() else {
        return vec![Meaning::of_class(RequestClass::Unknown)];
    };
    let service = match name.as_str() {
        "wmts" => "WMTS",
        "tms" => "TMS",
        "wms" => "WMS",
        "gmaps" | "mgmaps" | "ve" | "kml" => return vec![Meaning::of_class(RequestClass::Tile)],
        _ => return vec![Meaning::of_class(RequestClass::Unknown)],
    };
    let requests = values(parameters, "REQUEST");
    if requests.is_empty() {
        return vec![tile_address(service, following)];
    }
    let of_request = |name: &&str| match operations::operation(service, name) {
        None => Meaning::of_service(RequestClass::Unknown, service),
        Some((class, operation)) => {
            let class = if class == RequestClass::Map {
                RequestClass::Tile
            } else {
                class
            };
            Meaning {
                class,
                service: Some(service),
                operation: Some(operation),
                imports: false,
                is_long: false,
            }
        }
    };
    requests.iter().map(of_request).collect()
}

fn tile_address(service: &'static str, following: &[String]) -> Meaning {
    let named = |class, operation: &str| Meaning {
        class,
        service: Some(service),
        operation: Some(operation.to_owned()),
        imports: false,
        is_long: false,
    };
    match (service, following.len()) {
        ("TMS", 0..=2) => Meaning::of_service(RequestClass::Capabilities, service),
        ("TMS", _) => Meaning::of_service(RequestClass::Tile, service),
        ("WMTS", 2) if following == ["rest", "WMTSCapabilities.xml"] => {
            named(RequestClass::Capabilities, "getcapabilities")
        }
        ("WMTS", 4 | 5)
            if following[0] == "rest" && following[following.len() - 2] == "tilejson" =>
        {
            named(RequestClass::Info, "gettilejson")
        }
        ("WMTS", 6 | 7) if following[0] == "rest" => named(RequestClass::Tile, "gettile"),
        ("WMTS", 8 | 9) if following[0] == "rest" => named(RequestClass::Info, "getfeatureinfo"),
        ("WMTS", _) if following.first().is_some_and(|next| next == "rest") => {
            Meaning::of_service(RequestClass::Unknown, service)
        }
        _ => Meaning::of_service(RequestClass::Unknown, service),
    }
}

fn ogc_api(segments: &[String], method: &str) -> Meaning {
    let reads = matches!(method, "GET" | "HEAD");
    let names: Vec<&str> = segments.iter().map(String::as_str).collect();
    let is_tile = names.len() > 6 && names[names.len() - 5] == "tiles";
    let class = match names.as_slice() {
        ["processes"] | ["processes", "v1"] if reads => RequestClass::Feature,
        [
            "processes",
            "v1",
            "conformance" | "openapi" | "openapi.json" | "openapi.yaml" | "processes",
        ] if reads => RequestClass::Feature,
        ["processes", "v1", "processes", _] if reads => RequestClass::Feature,
        ["processes", ..] => RequestClass::Process,
        ["stac", "v1", "search"] | ["features", "v1", "collections", _, "search"]
            if method == "POST" =>
        {
            RequestClass::Feature
        }
        _ if !reads => RequestClass::Transaction,
        _ if is_tile => RequestClass::Tile,
        ["maps", .., "map"] => RequestClass::Map,
        ["maps", .., "map", "info"] => RequestClass::Info,
        ["coverages", below @ ..] if below.contains(&"coverage") => RequestClass::Coverage,
        _ => RequestClass::Feature,
    };
    let imports = matches!(
        names.as_slice(),
        ["processes", "v1", "processes", "gs:Import", "execution"]
    );
    Meaning {
        imports: imports && class == RequestClass::Process,
        ..Meaning::of_service(class, "OGC-API")
    }
}

/// The mappings of the extension's controllers.
fn gsr(segments: &[String], method: &str) -> Meaning {
    let reads = matches!(method, "GET" | "HEAD");
    let names: Vec<&str> = segments.iter().map(String::as_str).collect();
    let class = match names.as_slice() {
        ["relationships", _, "delete", _] => RequestClass::Transaction,
        _ if !reads => RequestClass::Transaction,
        ["services", .., "export" | "generateKml"] => RequestClass::Map,
        ["services", .., "identify" | "legend"] => RequestClass::Info,
        ["services" | "relationships", ..] => RequestClass::Feature,
        _ => RequestClass::Unknown,
    };
    Meaning::of_service(class, "GSR")
}
