//! Requests to GeoServer's dispatcher: `service` and `request` decide, wherever the address points.
//! They come from the query and a form, or from the root of an XML body, which overrides the query.

use super::body::{self, BodyKind, Payload};
use super::interpretation::Interpretation;
use super::kvp::{Kvp, Values};
use super::operation::{self, Source};
use super::pairs::{doubted, of_pairs, of_service, of_services};
use super::route::{AMBIGUOUS, DispatcherPath};
use super::xml::Root;
use super::{RequestClass, RequestHead};

/// The reading of a request to GeoServer's dispatcher.
pub(super) fn dispatched(
    head: &RequestHead<'_>,
    address: &DispatcherPath,
    body_prefix: Option<&[u8]>,
    kvp: &mut Kvp,
) -> Interpretation {
    let reading = match head.method {
        "GET" | "HEAD" => of_pairs(address, kvp),
        "POST" => posted(head, address, body_prefix, kvp),
        // GeoServer may still execute the query, so no retry is safe, not even after a failed
        // connection.
        _ => Interpretation {
            class: RequestClass::Unknown,
            reason: "a method that OGC services do not have",
            ..of_pairs(address, kvp).unseen()
        },
    };
    let reading = doubted(reading, kvp);
    if address.is_ambiguous {
        reading.in_doubt(AMBIGUOUS)
    } else {
        reading
    }
}

fn posted(
    head: &RequestHead<'_>,
    address: &DispatcherPath,
    body_prefix: Option<&[u8]>,
    kvp: &mut Kvp,
) -> Interpretation {
    let payload = match body_prefix {
        Some(prefix) => body::read(body::kind(head.content_type), prefix, kvp),
        None => Payload::Unreadable(
            "the body decides, but it was not read, is too long, or has an unsupported encoding",
        ),
    };
    let pairs = of_pairs(address, kvp);
    match payload {
        Payload::Pairs => pairs,
        Payload::Unreadable(reason) => pairs.in_doubt(reason),
        Payload::Root(root) => {
            let source = if body::kind(head.content_type) == BodyKind::Soap {
                Source::Soap
            } else {
                Source::Xml
            };
            let has_others = !kvp.services.is_empty() || !kvp.requests.is_empty();
            override_with(kvp, &root);
            let rooted = of_root(address, kvp, &root, source);
            // A server that finds no operation in the document, or no document because it does not
            // unpack the body, has the service and the operation of the address.
            let of_address = |service| {
                let named = address.request.as_ref();
                named.and_then(|name| Some(operation::find(service, name)?.name))
            };
            let is_other_operation = |service| of_address(service) != rooted.operation;
            let is_left_to_address = address.request.is_some()
                && rooted.service.is_none_or(is_other_operation)
                || address.service.is_some() && address.service != rooted.service;
            let rooted = rooted.beside_others(has_others || is_left_to_address);
            let rooted = if source == Source::Soap && !root.is_whole {
                rooted.in_doubt(OPEN_ENVELOPE)
            } else {
                rooted
            };
            // The body overrides the query. But a query that names a write is not considered
            // harmless because of the body: no honest client sends both. Clients do name the same
            // operation in both, and the processes of the query are among those of the body then.
            let is_same = (pairs.service, pairs.operation) == (rooted.service, rooted.operation);
            if pairs.acts() && pairs.operation.is_some() && !is_same {
                rooted.safer(pairs)
            } else {
                rooted
            }
        }
    }
}

/// Replaces parameters with the attributes of a body's root. An empty `service` resets the service
/// to the address.
fn override_with(kvp: &mut Kvp, root: &Root) {
    if let Some(service) = root.service {
        kvp.services = if service.is_empty() {
            Values::NONE
        } else {
            Values::one(service)
        };
    }
    kvp.version = root.version.or(kvp.version);
    kvp.image = kvp.image.beside(root.image);
}

/// The reading of a body's root. Parameters and address supply the values that the root leaves out.
fn of_root(address: &DispatcherPath, kvp: &Kvp, root: &Root, source: Source) -> Interpretation {
    of_services(address, kvp, |service| {
        // A root that is no operation of the service (`StyledLayerDescriptor`) leaves the operation
        // to the query.
        let is_left_to_query =
            operation::find(service, &root.name).is_none() && !kvp.requests.is_empty();
        let reading = if is_left_to_query {
            of_service(service, address, kvp)
        } else {
            Interpretation::of_operation(service, &root.name, kvp, source)
        };
        reading
            .with_lock(root.has_lock_id)
            .with_store(root.is_stored, root.is_whole)
            .with_processes(root.processes)
    })
}

const OPEN_ENVELOPE: &str =
    "the end of the SOAP envelope was not seen: a Body that follows may count";
