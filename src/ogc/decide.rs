//! The decision: from head, address, parameters and body to one class.
//!
//! The order is GeoServer's. The address says which part of GeoServer answers (`route`). At the dispatcher's addresses,
//! `service` and `request` decide, wherever the address points: from the query and a form, or from the root of an XML body,
//! which overrides the query. Where several readings are possible, the safest one counts (`Reading::safer`).

use super::body::{self, Kind, Payload};
use super::kvp::{Kvp, Values};
use super::operation::{self, Source};
use super::path::Path;
use super::reading::Reading;
use super::route::{self, Address, Route};
use super::xml::Root;
use super::{BodyNeed, Classified, RequestClass, RequestHead, Service, ogc_api, tiles};

/// Whether the class depends on the body. If it does, [`classify`] wants the first [`super::BODY_PREFIX`] bytes of it, or all
/// of it when it is shorter.
pub fn body_need(head: &RequestHead<'_>, context: &str) -> BodyNeed {
    if head.method != "POST" {
        return BodyNeed::None;
    }
    let Some((_, route)) = routed(head.target, context) else { return BodyNeed::None };
    match route {
        Route::Ows(_) => BodyNeed::Prefix,
        Route::Tiles { .. } if body::kind(head.content_type) == Kind::Form => BodyNeed::Prefix,
        Route::Tiles { .. }
        | Route::Unmapped { .. }
        | Route::Ui { .. }
        | Route::Admin { .. }
        | Route::Static { .. }
        | Route::OgcApi { .. }
        | Route::KmlIcon { .. } => BodyNeed::None,
    }
}

/// The class of a request to a GeoServer at `context` (`/geoserver`).
///
/// `body_prefix` is the beginning of the body (empty when there is none), or `None` when it was not read; without it, a
/// request that [`body_need`] calls for is `unknown`.
pub fn classify(head: &RequestHead<'_>, context: &str, body_prefix: Option<&[u8]>) -> Classified {
    if head.method == "OPTIONS" {
        return Classified::of(Reading::new(RequestClass::Static, None, "OPTIONS asks what is possible and changes nothing"));
    }
    let path_len = path_len(head.target);
    let Some(path) = Path::parse(head.target, path_len) else {
        return Classified::of(Reading::unknown("the path has an encoding or form that servers read in different ways"));
    };
    let Some(base) = path.below(context) else {
        return Classified::of(Reading::unknown("the path is not below GeoServer's context"));
    };
    let mut kvp = Kvp::of_query(head.target, path_len + 1);
    let route = route::find(&path, base);
    let (reading, workspace, layer) = match route {
        Route::Unmapped { reason } => (Reading::unknown(reason), None, None),
        Route::Ui { reason } => (Reading::new(RequestClass::Ui, None, reason), None, None),
        Route::Admin { reason } => (Reading::new(RequestClass::Admin, Some(Service::Rest), reason), None, None),
        Route::Static { reason, ows } => (static_file(head.method, reason, ows.as_ref(), &kvp), None, None),
        Route::KmlIcon { workspace } => (kml_icon(head.method), workspace, None),
        Route::OgcApi { from, workspace } => (ogc_api::reading(head.method, &path, from, &kvp), workspace, None),
        Route::Tiles { from, workspace, layer } => {
            let (reading, named) = tiles::reading(head, &path, from, body_prefix, &mut kvp);
            (reading, workspace, layer.or(named))
        }
        Route::Ows(address) => (dispatched(head, &address, body_prefix, &mut kvp), address.workspace, address.layer),
    };
    Classified { version: kvp.any_version(), workspace, layer: kvp.layer.or(layer), ..Classified::of(reading) }
}

impl Classified {
    fn of(reading: Reading) -> Self {
        let Reading { class, service, operation, reason } = reading;
        Self { class, service, operation, version: None, workspace: None, layer: None, reason }
    }
}

fn path_len(target: &[u8]) -> usize {
    target.iter().position(|&byte| byte == b'?').unwrap_or(target.len())
}

fn routed<'t>(target: &'t [u8], context: &str) -> Option<(Path<'t>, Route)> {
    let path = Path::parse(target, path_len(target))?;
    let base = path.below(context)?;
    let route = route::find(&path, base);
    Some((path, route))
}

fn is_get(method: &str) -> bool {
    matches!(method, "GET" | "HEAD")
}

const METHOD: Reading = Reading::unknown("a method that this address does not have");

fn static_file(method: &str, reason: &'static str, ows: Option<&Address>, kvp: &Kvp) -> Reading {
    if !is_get(method) {
        return METHOD;
    }
    // A workspace may be called `styles`; what is a write there must not be taken for a file.
    let file = Reading::new(RequestClass::Static, None, reason);
    ows.map(|address| of_pairs(address, kvp)).filter(Reading::acts).map_or(file, |write| file.safer(write))
}

fn kml_icon(method: &str) -> Reading {
    if !is_get(method) {
        return METHOD;
    }
    Reading::new(RequestClass::Info, Some(Service::Wms), "a picture that KML placemarks refer to (/kml/icon)")
}

/// A request to GeoServer's dispatcher.
fn dispatched(head: &RequestHead<'_>, address: &Address, body_prefix: Option<&[u8]>, kvp: &mut Kvp) -> Reading {
    let reading = match head.method {
        "GET" | "HEAD" => of_pairs(address, kvp),
        "POST" => posted(head, address, body_prefix, kvp),
        _ => METHOD,
    };
    if kvp.is_strange {
        return reading.safer(Reading::unknown("a parameter that servers read in different ways"));
    }
    reading
}

fn posted(head: &RequestHead<'_>, address: &Address, body_prefix: Option<&[u8]>, kvp: &mut Kvp) -> Reading {
    let payload = match body_prefix {
        Some(prefix) => body::read(body::kind(head.content_type), prefix, kvp),
        None => Payload::Unreadable("the body decides, and it was not read"),
    };
    let pairs = of_pairs(address, kvp);
    match payload {
        Payload::Pairs => pairs,
        Payload::Unreadable(reason) if pairs.acts() => Reading::unknown(reason).safer(pairs),
        Payload::Unreadable(reason) => Reading::unknown(reason),
        Payload::Root(root) => {
            let source = if body::kind(head.content_type) == Kind::Soap { Source::Soap } else { Source::Xml };
            override_with(kvp, &root);
            let rooted = of_root(address, kvp, &root, source);
            // The body overrides the query. But a query that asks for a write by name is not believed to be harmless because of
            // what we read in the body: no honest client sends both.
            if pairs.acts() && pairs.operation.is_some() { rooted.safer(pairs) } else { rooted }
        }
    }
}

/// The attributes of a body's root replace the parameters of these names; an empty `service` takes it back to the address.
fn override_with(kvp: &mut Kvp, root: &Root) {
    if let Some(service) = root.service {
        kvp.services = if service.is_empty() { Values::NONE } else { Values::one(service) };
    }
    kvp.version = root.version.or(kvp.version);
}

/// What the parameters and the address say.
pub(super) fn of_pairs(address: &Address, kvp: &Kvp) -> Reading {
    let reading = services(address, &kvp.services)
        .map(|service| match service {
            Some(service) => of_service(service, address, kvp),
            None => NO_SERVICE,
        })
        .reduce(Reading::safer)
        .unwrap_or(NO_SERVICE);
    if kvp.services.is_repeated() || kvp.requests.is_repeated() {
        let reason = "service or request is given several times with different values: the most careful reading counts";
        return Reading { reason, ..reading };
    }
    reading
}

const NO_SERVICE: Reading = Reading::unknown("neither service= nor the address names a service that is known");

/// The services a request may be for; `None` for a name that is not known.
fn services(address: &Address, named: &Values) -> impl Iterator<Item = Option<Service>> {
    let by_address = if named.is_empty() { Some(address.service) } else { None };
    named.iter().map(operation::service_named).chain(by_address)
}

fn of_service(service: Service, address: &Address, kvp: &Kvp) -> Reading {
    let source = match (kvp.body_has_request, kvp.services.is_empty()) {
        (true, _) => Source::Form,
        (false, true) => Source::PathAndQuery,
        (false, false) => Source::Query,
    };
    let by_address = address.request.as_ref().filter(|_| kvp.requests.is_empty());
    let named = kvp.requests.iter().map(|name| Reading::of_operation(service, name, kvp, source));
    named
        .chain(by_address.map(|name| Reading::of_operation(service, name, kvp, Source::Path)))
        .reduce(Reading::safer)
        .unwrap_or_else(|| Reading::without_operation(service, "request= is missing"))
}

/// What the root of a body says, with the parameters and the address for what it leaves out.
fn of_root(address: &Address, kvp: &Kvp, root: &Root, source: Source) -> Reading {
    services(address, &kvp.services)
        .map(|service| match service {
            // A root that is no operation of the service (`StyledLayerDescriptor`) leaves the operation to the query.
            Some(service) if operation::find(service, &root.name).is_none() && !kvp.requests.is_empty() => {
                of_service(service, address, kvp)
            }
            Some(service) => Reading::of_operation(service, &root.name, kvp, source),
            None => NO_SERVICE,
        })
        .reduce(Reading::safer)
        .unwrap_or(NO_SERVICE)
        .with_lock(root.has_lock_id)
        .with_store(root.is_stored)
}

/// The safest of `reading` and of a write that the parameters may be.
pub(super) fn guarded(reading: Reading, kvp: &Kvp) -> Reading {
    let nowhere = Address { service: None, request: None, workspace: None, layer: None };
    let pairs = of_pairs(&nowhere, kvp);
    let reading = if pairs.acts() { reading.safer(pairs) } else { reading };
    if kvp.is_strange { reading.safer(Reading::unknown("a parameter that servers read in different ways")) } else { reading }
}
