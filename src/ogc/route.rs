//! The part of GeoServer that an address belongs to.

use super::path::Path;
use super::word::Word;
use super::{Service, Span, operation};

/// The handler of an address.
#[derive(Clone, Copy, Debug)]
pub(super) enum Route {
    /// Outside GeoServer's context, or nothing known is mapped there.
    Unmapped {
        reason: &'static str,
    },
    Ui {
        reason: &'static str,
    },
    Admin {
        reason: &'static str,
    },
    Static {
        reason: &'static str,
    },
    /// GeoWebCache's tile services; the segments after `/gwc/service` begin at `from`.
    Tiles {
        from: usize,
        workspace: Option<Span>,
        layer: Option<Span>,
    },
    /// OGC API; the segments after `/ogc` begin at `from`.
    OgcApi {
        from: usize,
        workspace: Option<Span>,
    },
    /// ArcGIS REST; the segments after `/gsr` begin at `from`.
    Gsr {
        from: usize,
        workspace: Option<Span>,
    },
    Ows(DispatcherPath),
    /// The icons that KML placemarks refer to.
    KmlIcon {
        workspace: Option<Span>,
    },
    /// Printing; `at` is the segment behind `/pdf`.
    Printing {
        at: usize,
    },
}

/// The service, operation, workspace and layer that an address of GeoServer's dispatcher names.
#[derive(Clone, Copy, Debug)]
pub(super) struct DispatcherPath {
    pub(super) service: Option<Service>,
    /// The operation, if the address has one: `/wfs/GetFeature`, `/wms/reflect`.
    pub(super) request: Option<Word>,
    /// The service that the segment before the last names. GeoServer falls back to it from a
    /// service that it does not have (`Dispatcher.service`): an unknown one, one of an extension,
    /// and those of GeoWebCache. The last segment is such a one if something follows it.
    pub(super) fallbacks: [Option<Service>; 2],
    pub(super) workspace: Option<Span>,
    pub(super) layer: Option<Span>,
    /// GeoServer may find a service or an operation in a segment that names none for geofront.
    pub(super) is_ambiguous: bool,
}

/// The route of a path below a context of `base` segments.
pub(super) fn find(path: &Path<'_>, base: usize) -> Route {
    let first = path.name(base);
    // The exact mappings take precedence: a workspace with the same name is not reachable below it.
    match first.as_bytes() {
        b"" => {
            return Route::Ui {
                reason: "GeoServer's start page",
            };
        }
        b"rest" => {
            return Route::Admin {
                reason: "GeoServer's REST interface (/rest)",
            };
        }
        b"monitor" | b"importer" => {
            return Route::Admin {
                reason: "the monitor or the importer, whose state is in one GeoServer",
            };
        }
        b"web" => {
            return Route::Ui {
                reason: "GeoServer's web interface (/web)",
            };
        }
        b"index.html" | b"accessDenied.html" => {
            return Route::Ui {
                reason: "a page of GeoServer's web interface",
            };
        }
        b"login" | b"logout" => {
            return Route::Ui {
                reason: "login and logout, whose sessions are on the main",
            };
        }
        // `oauth2` alone may be a workspace.
        b"oauth2" if path.name(base + 1).is("authorization") => {
            return Route::Ui {
                reason: "the beginning of a login by OAuth2, whose state is on the main",
            };
        }
        b"TestWfsPost" => {
            return Route::Ui {
                reason: REQUEST_FORM,
            };
        }
        name if name.starts_with(b"rest.") => {
            return Route::Admin {
                reason: "GeoServer's REST interface (/rest)",
            };
        }
        name if name.starts_with(b"j_spring_") || name.starts_with(b"j_acegi_") => {
            return Route::Ui {
                reason: "login and logout, whose sessions are on the main",
            };
        }
        b"temp" => {
            return Route::Unmapped {
                reason: "/temp holds files that one GeoServer left there",
            };
        }
        b"pdf" => return Route::Printing { at: base + 1 },
        _ => {}
    }
    if let Some(route) = mapped(path, base, base) {
        return route;
    }
    if is_static(path, base) {
        return Route::Static {
            reason: "files that are the same on every GeoServer",
        };
    }
    in_workspaces(path, base)
        .next()
        .or_else(|| behind_a_parameter(path, base))
        .unwrap_or(Route::Unmapped {
            reason: "no part of GeoServer is known at this address",
        })
}

/// The readings of the path in which its first segment below the context names a workspace, and its
/// second a layer of it. GeoServer has a handler mapping for each service, and their order is not
/// certain: a workspace may be called like another service's folder (`OWSHandlerMapping`).
pub(super) fn in_workspaces(path: &Path<'_>, base: usize) -> impl Iterator<Item = Route> {
    (base + 1..=base + 2).filter_map(move |at| mapped(path, base, at))
}

/// True if the dispatcher is mapped at some segment. A server that keeps empty segments or
/// `;parameters` may find it there, because it finds no other name before.
pub(super) fn names_a_service(path: &Path<'_>, base: usize) -> bool {
    (base..path.len()).any(|at| matches!(mapped(path, base, at), Some(Route::Ows(_))))
}

/// Skips a parameter segment, which the extension params-extractor removes from the path:
/// `/{workspace}/{layer}/{value}/ows`.
pub(super) fn behind_a_parameter(path: &Path<'_>, base: usize) -> Option<Route> {
    mapped(path, base, base + 3).filter(|route| matches!(route, Route::Ows(_)))
}

fn is_static(path: &Path<'_>, base: usize) -> bool {
    let first = path.name(base);
    match first.as_bytes() {
        b"www" | b"styles" | b"schemas" | b"webresources" | b"options.png" | b"apicss"
        | b"swagger-ui" | b"docs" => true,
        // The viewer of the extension MapML.
        b"mapml" => matches!(path.name(base + 1).as_bytes(), b"viewer" | b"js"),
        name => name.starts_with(b"openlayers"),
    }
}

/// The handler that is mapped at segment `at`. Segments between `base` and `at` are a workspace and
/// a layer.
fn mapped(path: &Path<'_>, base: usize, at: usize) -> Option<Route> {
    let workspace = if at > base { path.span(base) } else { None };
    let layer = if at > base + 1 {
        path.span(base + 1)
    } else {
        None
    };
    let following = path.len().checked_sub(at + 1)?;
    let name = path.name(at);
    match name.as_bytes() {
        b"gwc" => Some(geowebcache(path, at + 1, workspace, layer)),
        b"ogc" => Some(Route::OgcApi {
            from: at + 1,
            workspace,
        }),
        b"gsr" => Some(Route::Gsr {
            from: at + 1,
            workspace,
        }),
        // GeoServer maps `/kml/icon/**/*`; `/kml/icon` itself is its dispatcher.
        b"kml" if following > 1 && path.name(at + 1).is("icon") => {
            Some(Route::KmlIcon { workspace })
        }
        b"ows" => Some(dispatcher(path, at, workspace, layer)),
        b"wms" | b"wfs" | b"wcs" | b"wps" | b"csw" | b"kml" | b"animate" | b"oseo"
            if following <= 1 =>
        {
            Some(dispatcher(path, at, workspace, layer))
        }
        _ => None,
    }
}

/// The routes of GeoWebCache, below `/gwc`.
fn geowebcache(
    path: &Path<'_>,
    from: usize,
    workspace: Option<Span>,
    layer: Option<Span>,
) -> Route {
    match path.name(from).as_bytes() {
        b"service" => Route::Tiles {
            from: from + 1,
            workspace,
            layer,
        },
        // A server that keeps empty segments finds no `web` behind them.
        b"rest" if path.name(from + 1).is("web") && path.is_unbroken(from) => Route::Ui {
            reason: "GeoWebCache's pages (/gwc/rest/web)",
        },
        name if name == b"rest" || name.starts_with(b"rest.") => Route::Admin {
            reason: "GeoWebCache's REST interface (/gwc/rest)",
        },
        b"" | b"home" | b"demo" => Route::Ui {
            reason: "GeoWebCache's pages (/gwc, /gwc/demo)",
        },
        _ => Route::Unmapped {
            reason: "no part of GeoWebCache is known at this address",
        },
    }
}

/// The form that stands at the addresses of the dispatcher, too.
pub(super) const REQUEST_FORM: &str =
    "the request form of the demo pages, which sends requests itself";
pub(super) const AMBIGUOUS: &str = "the address has letters that a change of case may make ASCII";

/// The reading of a tile service's address by GeoServer's dispatcher, if it does not recognise the
/// tile service. GeoServer compares `gwc/service` with the undecoded path
/// (`GwcServiceDispatcherCallback`), so `/%67wc/service` and `//gwc/service` reach its other
/// services.
pub(super) fn past_the_tile_services(path: &Path<'_>, from: usize) -> Option<DispatcherPath> {
    match dispatcher(path, from.checked_sub(1)?, None, None) {
        Route::Ows(address) => Some(address),
        _ => None,
    }
}

/// GeoServer's dispatcher: the last segment is the service; otherwise the one before it is the
/// service and the last is the operation.
fn dispatcher(path: &Path<'_>, at: usize, workspace: Option<Span>, layer: Option<Span>) -> Route {
    let last = folded(path, path.len() - 1);
    let is_ambiguous =
        (at.max(path.len().saturating_sub(2))..path.len()).any(|at| path.may_fold_to_ascii(at));
    let before = if path.len() - 1 > at {
        operation::service_by_parameter(&folded(path, path.len() - 2))
    } else {
        None
    };
    let behind = if path.is_unbroken(path.len() - 1) {
        None
    } else {
        operation::service_by_parameter(&last)
    };
    let address = |service, request| {
        Route::Ows(DispatcherPath {
            service,
            request,
            fallbacks: [before, behind],
            workspace,
            layer,
            is_ambiguous,
        })
    };
    if last.is("testwfspost") {
        return Route::Ui {
            reason: REQUEST_FORM,
        };
    }
    if last.is("kml") || last.is("animate") {
        return address(Some(Service::Wms), Some(last));
    }
    if let Some(service) = operation::service_by_parameter(&last) {
        return address(Some(service), None);
    }
    // An old name of the address itself.
    let request = if last.is("wfsdispatcher") {
        None
    } else {
        Some(last)
    };
    address(before, before.and(request))
}

/// GeoServer compares services and operations without case, wherever they come from.
fn folded(path: &Path<'_>, at: usize) -> Word {
    path.span(at)
        .and_then(|span| path.folded(span))
        .unwrap_or(Word::EMPTY)
}
