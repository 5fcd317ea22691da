//! GeoWebCache's tile services, below `/gwc/service`.

use super::body::{self, BodyKind};
use super::interpretation::Interpretation;
use super::kvp::Kvp;
use super::operation;
use super::pairs::{guarded, of_pairs};
use super::path::Path;
use super::processes::Processes;
use super::route;
use super::word::Word;
use super::{Clarity, RequestClass, RequestHead, Service, Span};

/// The reading of a request whose segments after `/gwc/service` begin at `from`, and the layer that
/// its path names.
pub(super) fn reading(
    head: &RequestHead<'_>,
    path: &Path<'_>,
    from: usize,
    body_prefix: Option<&[u8]>,
    kvp: &mut Kvp,
) -> (Interpretation, Option<Span>) {
    match (head.method, body_prefix) {
        ("GET" | "HEAD", _) => {}
        ("POST", Some(prefix)) if body::kind(head.content_type) == BodyKind::Form => {
            kvp.add_form(prefix)
        }
        _ => {
            let reading = Interpretation::unknown("tiles are requested with GET").unseen();
            return (guarded(reading, kvp), None);
        }
    }
    let protocol = Protocol::named(&path.name(from));
    let following = path.len() - (from + 1).min(path.len());
    let (by_path, layer) = match protocol {
        Some(protocol) => by_path(protocol, path, from + 1, following),
        None => (
            Interpretation::unknown("no tile service of this name"),
            None,
        ),
    };
    let reading = match protocol {
        Some(protocol) if !kvp.requests.is_empty() => by_request(protocol, kvp),
        Some(_) | None => by_path,
    };
    (
        unless_it_acts(guarded(reading, kvp), path, from, kvp),
        layer,
    )
}

/// The safer of `reading` and of the reading by the dispatcher's other services.
fn unless_it_acts(
    reading: Interpretation,
    path: &Path<'_>,
    from: usize,
    kvp: &Kvp,
) -> Interpretation {
    let Some(address) = route::past_the_tile_services(path, from) else {
        return reading;
    };
    if address.is_ambiguous {
        return reading.in_doubt(route::AMBIGUOUS);
    }
    let other = of_pairs(&address, kvp);
    let differs = (other.service, other.operation) != (reading.service, reading.operation);
    let reading = reading.beside_others(other.service.is_some() && differs);
    // A layer may be called `wps`, and a WPS without an operation runs nothing.
    let is_nothing = other.service == Some(Service::Wps) && other.operation.is_none();
    if other.acts() && !is_nothing {
        reading.safer(other)
    } else {
        reading
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Protocol {
    Wmts,
    Tms,
    Wms,
    /// Google Maps, Virtual Earth, KML super-overlays: tiles only.
    Other,
}

impl Protocol {
    fn named(name: &Word) -> Option<Self> {
        match name.as_bytes() {
            b"wmts" => Some(Self::Wmts),
            b"tms" => Some(Self::Tms),
            b"wms" => Some(Self::Wms),
            b"gmaps" | b"mgmaps" | b"ve" | b"kml" => Some(Self::Other),
            _ => None,
        }
    }

    fn service(self) -> Option<Service> {
        match self {
            Self::Wmts => Some(Service::Wmts),
            Self::Tms => Some(Service::Tms),
            Self::Wms => Some(Service::Wms),
            Self::Other => None,
        }
    }
}

fn by_request(protocol: Protocol, kvp: &Kvp) -> Interpretation {
    kvp.requests
        .iter()
        .map(|name| of_request(protocol, name))
        .reduce(Interpretation::safer)
        .unwrap_or(MISSING)
}

const MISSING: Interpretation = Interpretation::unknown("request= is missing");

fn of_request(protocol: Protocol, name: &Word) -> Interpretation {
    let Some(service) = protocol.service() else {
        return Interpretation::new(
            RequestClass::Tile,
            None,
            "a tile of GeoWebCache (/gwc/service)",
        );
    };
    let Some(operation) = operation::find(service, name) else {
        return Interpretation::new(
            RequestClass::Unknown,
            Some(service),
            "the tile service has no operation of this name",
        );
    };
    let (class, reason) = match operation.class {
        RequestClass::Map | RequestClass::Tile => {
            (RequestClass::Tile, "a tile of GeoWebCache (/gwc/service)")
        }
        RequestClass::Capabilities => (
            RequestClass::Capabilities,
            "GetCapabilities of a tile service (/gwc/service)",
        ),
        class => (class, "a request about tiles to GeoWebCache (/gwc/service)"),
    };
    Interpretation {
        class,
        service: Some(service),
        operation: Some(operation.name),
        reason,
        clarity: Clarity::Plain,
        processes: Processes::NONE,
    }
}

/// The reading of the `following` segments from `at`, and the layer that the path names.
fn by_path(
    protocol: Protocol,
    path: &Path<'_>,
    at: usize,
    following: usize,
) -> (Interpretation, Option<Span>) {
    let service = protocol.service();
    let named = |class, operation, reason, layer| {
        (
            Interpretation {
                class,
                service,
                operation,
                reason,
                clarity: Clarity::Plain,
                processes: Processes::NONE,
            },
            layer,
        )
    };
    match protocol {
        Protocol::Wmts if path.name(at).is("rest") => match following {
            2 if path.name(at + 1).is("WMTSCapabilities.xml") => {
                let reason = "the capabilities of the tile service (WMTSCapabilities.xml)";
                named(
                    RequestClass::Capabilities,
                    Some("GetCapabilities"),
                    reason,
                    None,
                )
            }
            4 | 5 if path.name(at + following - 2).is("tilejson") => {
                let reason = "a TileJSON description by its address (rest/{layer}/[{style}/]tilejson/{format})";
                named(
                    RequestClass::Info,
                    Some("GetTileJSON"),
                    reason,
                    path.span(at + 1),
                )
            }
            // rest/{layer}/[{style}/]{tileMatrixSet}/{tileMatrix}/{tileRow}/{tileCol}, and /{j}/{i}
            // behind it.
            6 | 7 => named(
                RequestClass::Tile,
                Some("GetTile"),
                "a WMTS tile by its address",
                path.span(at + 1),
            ),
            8 | 9 => {
                let reason = "a WMTS GetFeatureInfo by its address";
                named(
                    RequestClass::Info,
                    Some("GetFeatureInfo"),
                    reason,
                    path.span(at + 1),
                )
            }
            _ => named(
                RequestClass::Unknown,
                None,
                "not the address of a WMTS tile",
                None,
            ),
        },
        Protocol::Tms => match following {
            0..=2 => named(
                RequestClass::Capabilities,
                None,
                "the description of a TMS service",
                path.span(at + 1),
            ),
            _ => named(
                RequestClass::Tile,
                None,
                "a TMS tile by its address",
                path.span(at + 1),
            ),
        },
        Protocol::Other => named(
            RequestClass::Tile,
            None,
            "a tile of GeoWebCache (/gwc/service)",
            path.span(at),
        ),
        Protocol::Wmts | Protocol::Wms => (Interpretation { service, ..MISSING }, None),
    }
}
