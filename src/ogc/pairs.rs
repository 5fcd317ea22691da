//! Readings of parameters and address, for the dispatcher and elsewhere.

use super::Service;
use super::interpretation::Interpretation;
use super::kvp::Kvp;
use super::operation::{self, Source};
use super::route::DispatcherPath;

/// The reading of the parameters and the address.
pub(super) fn of_pairs(address: &DispatcherPath, kvp: &Kvp) -> Interpretation {
    let reading = of_services(address, kvp, |service| of_service(service, address, kvp));
    if kvp.services.is_repeated() || kvp.requests.is_repeated() {
        let reason = "service or request is given several times with different values: the most careful reading counts";
        return Interpretation { reason, ..reading };
    }
    reading
}

const NO_SERVICE: Interpretation =
    Interpretation::unknown("neither service= nor the address names a service that is known");

/// The safest of the readings that `at` gives of each service which the request may address.
pub(super) fn of_services(
    address: &DispatcherPath,
    kvp: &Kvp,
    at: impl Fn(Service) -> Interpretation,
) -> Interpretation {
    let by_address = if kvp.services.is_empty() {
        Some(address.service)
    } else {
        None
    };
    kvp.services
        .iter()
        .map(operation::service_by_parameter)
        .chain(by_address)
        .map(|service| {
            let others = address.fallbacks.into_iter().flatten();
            others
                .filter(|other| Some(*other) != service)
                .map(&at)
                .fold(service.map_or(NO_SERVICE, &at), |reading, other| {
                    if other.acts() {
                        reading.safer(other)
                    } else {
                        reading.beside_others(true)
                    }
                })
        })
        .reduce(Interpretation::safer)
        .unwrap_or(NO_SERVICE)
}

pub(super) fn of_service(service: Service, address: &DispatcherPath, kvp: &Kvp) -> Interpretation {
    let source = match (kvp.body_has_request, kvp.services.is_empty()) {
        (true, _) => Source::Form,
        (false, true) => Source::PathAndQuery,
        (false, false) => Source::Query,
    };
    let by_address = address.request.as_ref().filter(|_| kvp.requests.is_empty());
    let named = kvp
        .requests
        .iter()
        .map(|name| Interpretation::of_operation(service, name, kvp, source));
    // GeoServer falls back from an unknown service with its name as the operation.
    let by_service = kvp
        .services
        .iter()
        .filter(|name| kvp.requests.is_empty() && operation::service_by_parameter(name).is_none())
        .map(|name| Interpretation::of_operation(service, name, kvp, source));
    named
        .chain(
            by_address.map(|name| Interpretation::of_operation(service, name, kvp, Source::Path)),
        )
        .chain(by_service)
        .reduce(Interpretation::safer)
        .unwrap_or_else(|| Interpretation::without_operation(service, "request= is missing"))
}

/// The safest of `reading`, of a write that the parameters may name, and of doubt about the
/// parameters.
pub(super) fn guarded(reading: Interpretation, kvp: &Kvp) -> Interpretation {
    let nowhere = DispatcherPath {
        service: None,
        request: None,
        fallbacks: [None; 2],
        workspace: None,
        layer: None,
        is_ambiguous: false,
    };
    let pairs = of_pairs(&nowhere, kvp);
    let is_another = |name| operation::service_by_parameter(name) != reading.service;
    let reading = reading.beside_others(kvp.services.iter().any(is_another));
    doubted(
        if pairs.acts() {
            reading.safer(pairs)
        } else {
            reading
        },
        kvp,
    )
}

/// The safest of `reading` and of doubt about the parameters.
pub(super) fn doubted(reading: Interpretation, kvp: &Kvp) -> Interpretation {
    if kvp.is_ambiguous {
        reading.in_doubt("a parameter that servers read in different ways")
    } else {
        reading
    }
}
