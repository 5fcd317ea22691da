//! Which part of GeoServer a request reaches: the servlet mappings, the virtual services of
//! workspaces and layers, and the OWS dispatcher's rules. Written apart from
//! [`crate::ogc::classify`] on purpose: the two check each other.

use std::borrow::Cow;

use super::data_directory::Contents;
use super::exception::Dialect;
use super::kvp::Kvp;
use super::request::Request;
use super::xml::{self, Root};
use crate::ogc::{BODY_PREFIX, RequestClass};

/// The webapp's context path.
pub(super) const CONTEXT: &str = "/geoserver";

#[derive(Debug)]
pub(super) struct Route<'a> {
    pub(super) class: RequestClass,
    pub(super) part: Part<'a>,
}

/// The part of GeoServer that answers.
#[derive(Debug)]
pub(super) enum Part<'a> {
    Ows(OwsCall<'a>),
    /// The dispatcher, which cannot read the body.
    Unparsable,
    Tiles(TilesCall<'a>),
    /// The path after `/rest`.
    Rest(&'a str),
    /// The path after `/gwc/rest`.
    TilesRest(&'a str),
    /// The path after `/ogc`.
    OgcApi(&'a str),
    /// The path after `/web`.
    Web(&'a str),
    /// The path after `/pdf`.
    Printing(&'a str),
    Login,
    Logout,
    Static(&'a str),
    Preflight,
    /// Redirects to this path on the host of the request.
    RedirectTo(&'static str),
    /// The person's controls, outside the webapp.
    Controls,
    /// No handler: the container's 404.
    Unmapped,
}

#[derive(Debug)]
pub(super) struct OwsCall<'a> {
    pub(super) dialect: Dialect,
    /// As written; compare with [`OwsCall::requests`].
    pub(super) operation: Cow<'a, str>,
    pub(super) kvp: Kvp<'a>,
    pub(super) body: &'a [u8],
    pub(super) scope: Scope<'a>,
}

/// The workspace and layer of a virtual service.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Scope<'a> {
    pub(super) workspace: Option<&'a str>,
    pub(super) layer: Option<&'a str>,
}

#[derive(Debug)]
pub(super) struct TilesCall<'a> {
    /// `wmts`, `tms`, `wms`...
    pub(super) service: &'a str,
    /// The path after the service.
    pub(super) rest: &'a str,
    pub(super) kvp: Kvp<'a>,
    pub(super) scope: Scope<'a>,
}

impl OwsCall<'_> {
    pub(super) fn requests(&self, operation: &str) -> bool {
        self.operation.eq_ignore_ascii_case(operation)
    }
}

/// Routes a request whose normalised path is `path`, by the workspaces and layers of `contents`.
pub(super) fn route<'a>(request: &'a Request, path: &'a str, contents: &Contents) -> Route<'a> {
    let Some(inside) = path
        .strip_prefix(CONTEXT)
        .filter(|rest| rest.is_empty() || rest.starts_with('/'))
    else {
        let part = if path.starts_with("/geosim") {
            Part::Controls
        } else {
            Part::Unmapped
        };
        return Route {
            class: RequestClass::Unknown,
            part,
        };
    };
    if request.method() == "OPTIONS" {
        return Route {
            class: RequestClass::Static,
            part: Part::Preflight,
        };
    }
    if let Some(route) = mapped(request, inside, Scope::default()) {
        return route;
    }
    virtual_service(request, inside, contents).unwrap_or(Route {
        class: RequestClass::Unknown,
        part: Part::Unmapped,
    })
}

/// `/{workspace}/...` and `/{workspace}/{layer}/...`, as far as the catalog knows them.
fn virtual_service<'a>(
    request: &'a Request,
    inside: &'a str,
    contents: &Contents,
) -> Option<Route<'a>> {
    let (workspace, rest) = split_segment(inside);
    contents.workspaces.get(workspace)?;
    let scope = Scope {
        workspace: Some(workspace),
        layer: None,
    };
    if let Some(route) = mapped(request, rest, scope).filter(Route::may_be_virtual) {
        return Some(route);
    }
    let (layer, rest) = split_segment(rest);
    contents.layers.get(&format!("{workspace}:{layer}"))?;
    mapped(
        request,
        rest,
        Scope {
            layer: Some(layer),
            ..scope
        },
    )
    .filter(Route::may_be_virtual)
}

impl Route<'_> {
    fn may_be_virtual(&self) -> bool {
        matches!(self.part, Part::Ows(_) | Part::Tiles(_) | Part::OgcApi(_))
    }
}

/// `/wms/reflect` is `wms` and `/reflect`.
fn split_segment(path: &str) -> (&str, &str) {
    let path = path.strip_prefix('/').unwrap_or(path);
    let end = path.find('/').unwrap_or(path.len());
    path.split_at(end)
}

/// The servlet mappings.
fn mapped<'a>(request: &'a Request, inside: &'a str, scope: Scope<'a>) -> Option<Route<'a>> {
    let (first, rest) = split_segment(inside);
    let (class, part) = match first {
        "" if inside.is_empty() => (RequestClass::Ui, Part::RedirectTo("/geoserver/")),
        "" | "index.html" => (RequestClass::Ui, Part::RedirectTo("/geoserver/web/")),
        "ows" | "wms" | "wfs" | "wcs" | "wps" | "csw" | "kml" | "animate" => {
            return Some(ows(request, first, rest, scope));
        }
        "gwc" => return Some(tiles(request, rest, scope)),
        "rest" => (RequestClass::Admin, Part::Rest(rest)),
        "ogc" => (ogc_api_class(request, rest), Part::OgcApi(rest)),
        "pdf" => (RequestClass::Process, Part::Printing(rest)),
        "web" if rest.is_empty() => (RequestClass::Ui, Part::RedirectTo("/geoserver/web/")),
        "web" => (RequestClass::Ui, Part::Web(rest)),
        "login" | "j_spring_security_check" => (RequestClass::Ui, Part::Login),
        "j_spring_security_logout" => (RequestClass::Ui, Part::Logout),
        "www" | "styles" | "schemas" | "webresources" | "openlayers" | "openlayers3" | "apicss"
        | "swagger-ui" => (RequestClass::Static, Part::Static(inside)),
        _ => return None,
    };
    Some(Route { class, part })
}

/// Searches are posted, and change nothing.
fn ogc_api_class(request: &Request, path: &str) -> RequestClass {
    let is_search = request.method() == "POST" && path.ends_with("/search");
    if is_search || matches!(request.method(), "GET" | "HEAD") {
        RequestClass::Feature
    } else {
        RequestClass::Transaction
    }
}

fn tiles<'a>(request: &'a Request, rest: &'a str, scope: Scope<'a>) -> Route<'a> {
    let (first, rest) = split_segment(rest);
    match first {
        "rest" => Route {
            class: RequestClass::Admin,
            part: Part::TilesRest(rest),
        },
        "demo" => Route {
            class: RequestClass::Ui,
            part: Part::Web("/gwc/demo"),
        },
        "service" => {
            let (service, rest) = split_segment(rest);
            let kvp = Kvp::new(request.query(), form_of(request));
            let class = match kvp.get("request") {
                Some(operation) if operation.eq_ignore_ascii_case("GetCapabilities") => {
                    RequestClass::Capabilities
                }
                Some(operation) if operation.eq_ignore_ascii_case("GetFeatureInfo") => {
                    RequestClass::Info
                }
                _ if rest.to_ascii_lowercase().contains("capabilities") => {
                    RequestClass::Capabilities
                }
                _ => RequestClass::Tile,
            };
            Route {
                class,
                part: Part::Tiles(TilesCall {
                    service,
                    rest,
                    kvp,
                    scope,
                }),
            }
        }
        _ => Route {
            class: RequestClass::Unknown,
            part: Part::Unmapped,
        },
    }
}

/// The dispatcher: service and operation from the XML body, key-value pairs, or the path, in this
/// order of trust.
fn ows<'a>(request: &'a Request, mapping: &'a str, rest: &'a str, scope: Scope<'a>) -> Route<'a> {
    let (kvp, body) = (
        Kvp::new(request.query(), form_of(request)),
        &request.body().start,
    );
    let Ok(root) = xml_root(request) else {
        return Route {
            class: RequestClass::Unknown,
            part: Part::Unparsable,
        };
    };
    let service = match root.as_ref().and_then(|root| root.service.clone()) {
        // An empty value cancels the one in the query.
        Some(service) if service.trim().is_empty() => Cow::Borrowed(mapping),
        Some(service) => Cow::Owned(service),
        None => kvp.get("service").unwrap_or(Cow::Borrowed(mapping)),
    };
    let version = root
        .as_ref()
        .and_then(|root| root.version.clone())
        .or_else(|| requested_version(&kvp))
        .unwrap_or_default();
    let operation = match root {
        Some(root) if root.name == "StyledLayerDescriptor" => Cow::Borrowed("GetMap"),
        Some(root) => Cow::Owned(root.name),
        None => kvp
            .get("request")
            .unwrap_or_else(|| operation_of_path(mapping, rest)),
    };
    let mut call = OwsCall {
        dialect: dialect_of(&service, &version),
        operation,
        kvp,
        body,
        scope,
    };
    let mut class = class_of(&call, body);
    // If the root of a body is no operation of the service, the query decides.
    if class == RequestClass::Unknown
        && let Some(requested) = kvp.get("request")
    {
        call.operation = requested;
        class = class_of(&call, body);
    }
    Route {
        class,
        part: Part::Ows(call),
    }
}

fn form_of(request: &Request) -> &[u8] {
    if has_type(request, "application/x-www-form-urlencoded") {
        &request.body().start
    } else {
        b""
    }
}

fn has_type(request: &Request, kind: &str) -> bool {
    request
        .header("content-type")
        .is_some_and(|written| written.starts_with(kind))
}

/// The body is no XML, as far as it is looked at.
struct ParseError;

fn xml_root(request: &Request) -> Result<Option<Root>, ParseError> {
    let body = &request.body().start;
    if request.method() != "POST" || body.is_empty() || !form_of(request).is_empty() {
        return Ok(None);
    }
    // The XML of a multipart body begins after the part's own headers.
    let start = if has_type(request, "multipart/") {
        body.iter().position(|byte| *byte == b'<')
    } else {
        Some(0)
    };
    let Some(start) = start else { return Ok(None) };
    let looked_at = body
        .get(start..body.len().min(BODY_PREFIX))
        .unwrap_or_default();
    let root = if has_type(request, "application/soap+xml") {
        xml::soap_payload(looked_at)
    } else {
        xml::root(looked_at)
    };
    root.map(Some).ok_or(ParseError)
}

fn requested_version(kvp: &Kvp<'_>) -> Option<String> {
    let requested = kvp
        .get("version")
        .or_else(|| kvp.get("wmtver"))
        .or_else(|| kvp.get("acceptversions"))?;
    Some(requested.split(',').next().unwrap_or_default().to_owned())
}

/// The old form `/wms/reflect`, and the mappings that are an operation by themselves.
fn operation_of_path<'a>(mapping: &'a str, rest: &'a str) -> Cow<'a, str> {
    match mapping {
        "kml" | "animate" => Cow::Borrowed(mapping),
        _ => Cow::Borrowed(rest.trim_start_matches('/')),
    }
}

fn dialect_of(service: &str, version: &str) -> Dialect {
    let is = |name: &str| service.eq_ignore_ascii_case(name);
    if is("wms") || is("kml") || is("animate") {
        if version.starts_with("1.1") || version.starts_with("1.0") {
            Dialect::Wms111
        } else {
            Dialect::Wms130
        }
    } else if is("wfs") {
        match version {
            v if v.starts_with("1.0") => Dialect::Wfs10,
            v if v.starts_with("1.1") => Dialect::Wfs11,
            _ => Dialect::Wfs20,
        }
    } else if is("wcs") {
        match version {
            v if v.starts_with("1.0") => Dialect::Wcs10,
            v if v.starts_with("1.1") => Dialect::Wcs11,
            _ => Dialect::Wcs20,
        }
    } else if is("wps") {
        Dialect::Wps10
    } else if is("csw") {
        Dialect::Csw202
    } else {
        Dialect::Ows
    }
}

/// Returns the class of the operation. GeoServer has no such notion; tests and faults select by it.
fn class_of(call: &OwsCall<'_>, body: &[u8]) -> RequestClass {
    let one_of = |operations: &[&str]| operations.iter().any(|operation| call.requests(operation));
    if call.requests("GetCapabilities") {
        return RequestClass::Capabilities;
    }
    match call.dialect {
        Dialect::Wms111 | Dialect::Wms130 => match () {
            () if call.requests("GetMap") && call.kvp.is("tiled", "true") => RequestClass::Tile,
            () if one_of(&["GetMap", "Map", "reflect", "kml", "animate", "animator"]) => {
                RequestClass::Map
            }
            () if call.requests("PutStyles") => RequestClass::Transaction,
            () if one_of(&[
                "GetFeatureInfo",
                "GetLegendGraphic",
                "DescribeLayer",
                "GetStyles",
            ]) =>
            {
                RequestClass::Info
            }
            () => RequestClass::Unknown,
        },
        Dialect::Wfs10 | Dialect::Wfs11 | Dialect::Wfs20 => match () {
            () if one_of(&[
                "Transaction",
                "LockFeature",
                "GetFeatureWithLock",
                "ReleaseLock",
            ]) || one_of(&["CreateStoredQuery", "DropStoredQuery"])
                || call.kvp.get("lockid").is_some() =>
            {
                RequestClass::Transaction
            }
            () if one_of(&["GetFeature", "GetPropertyValue", "GetGmlObject"]) => {
                RequestClass::Feature
            }
            () if one_of(&[
                "DescribeFeatureType",
                "ListStoredQueries",
                "DescribeStoredQueries",
            ]) =>
            {
                RequestClass::Info
            }
            () => RequestClass::Unknown,
        },
        Dialect::Wcs10 | Dialect::Wcs11 | Dialect::Wcs20 => match () {
            () if call.requests("GetCoverage") => RequestClass::Coverage,
            () if call.requests("DescribeCoverage") => RequestClass::Info,
            () => RequestClass::Unknown,
        },
        Dialect::Wps10 => {
            if body.is_empty() && call.operation.is_empty() {
                RequestClass::Unknown
            } else {
                RequestClass::Process
            }
        }
        Dialect::Csw202 => match () {
            () if one_of(&["Transaction", "Harvest"]) => RequestClass::Transaction,
            () if one_of(&["GetRecords", "GetRecordById", "GetDomain"]) => RequestClass::Feature,
            () if call.requests("DescribeRecord") => RequestClass::Info,
            () => RequestClass::Unknown,
        },
        Dialect::Ows => RequestClass::Unknown,
    }
}
