//! Which part of GeoServer answers at a path: the mappings of its webapp, in their order.

use geofront::ogc::RequestClass;

/// The handler mapped at a path below the context.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// The answer has the same class for every request.
    Always(RequestClass),
    /// The REST interfaces.
    Rest,
    /// Files, for clients that read them.
    Files,
    /// The dispatcher, below `ows` or a service's name: the last segments decide the rest.
    Ows { segments: Vec<String> },
    /// Pictures for placemarks.
    KmlIcon,
    /// The printing servlet, and the name of its page or document.
    Printing { name: String },
    /// GeoWebCache's tile services; what follows `/gwc/service`.
    Tiles { segments: Vec<String> },
    /// The OGC APIs; the segments follow `/ogc`.
    OgcApi { segments: Vec<String> },
    /// The GeoServices REST API; the segments follow `/gsr`.
    Gsr { segments: Vec<String> },
}

/// The places at a path.
#[derive(Clone, Debug)]
pub(super) struct Places {
    pub(super) usual: Vec<Place>,
    /// The places where a workspace or a layer has the name of a service's folder, and its handler
    /// comes first.
    pub(super) unusual: Vec<Place>,
}

/// Returns the places that may be mapped at `segments`. `is_literal`: the path was sent as it
/// reads.
pub(super) fn places(segments: &[String], is_literal: bool) -> Places {
    let usual = usual(segments);
    let mut unusual: Vec<Place> = (0..3)
        .filter_map(|skipped| segments.get(skipped..).and_then(mapped))
        .collect();
    // The callback that leads to GeoWebCache looks for `gwc/service` in the path as it was sent.
    if !is_literal
        && usual
            .iter()
            .any(|place| matches!(place, Place::Tiles { .. }))
    {
        unusual.push(Place::Ows {
            segments: segments.to_vec(),
        });
    }
    let is_closed = |place: &Place| {
        matches!(
            place,
            Place::Always(_) | Place::Rest | Place::Printing { .. }
        )
    };
    if usual.iter().any(is_closed) {
        unusual.clear();
    }
    Places { usual, unusual }
}

/// More than one place where a workspace may be called like a folder of files.
fn usual(segments: &[String]) -> Vec<Place> {
    let first = segments.first().map_or("", String::as_str);
    if first.is_empty() && segments.len() <= 1 {
        return vec![Place::Always(RequestClass::Ui)];
    }
    if first == "rest" || first.starts_with("rest.") || first == "monitor" || first == "importer" {
        return vec![Place::Rest];
    }
    let pages = [
        "web",
        "index.html",
        "accessDenied.html",
        "login",
        "logout",
        "TestWfsPost",
    ];
    if pages.contains(&first) || first.starts_with("j_spring_") || first.starts_with("j_acegi_") {
        return vec![Place::Always(RequestClass::Ui)];
    }
    if let ("pdf", [_, name]) = (first, segments) {
        return vec![Place::Printing { name: name.clone() }];
    }
    if first == "temp" || first == "pdf" {
        return vec![Place::Always(RequestClass::Unknown)];
    }
    if let Some(place) = mapped(segments) {
        return vec![place];
    }
    let of_workspace = segments
        .get(1..)
        .and_then(mapped)
        .or_else(|| segments.get(2..).and_then(mapped));
    let files = [
        "www",
        "styles",
        "schemas",
        "webresources",
        "options.png",
        "apicss",
        "swagger-ui",
        "docs",
    ];
    let second = segments.get(1).map_or("", String::as_str);
    let is_viewer = first == "mapml" && ["viewer", "js"].contains(&second);
    if files.contains(&first) || first.starts_with("openlayers") || is_viewer {
        return [Some(Place::Files), of_workspace]
            .into_iter()
            .flatten()
            .collect();
    }
    // The extension params-extractor takes a segment out, so that what follows it is found where it
    // would be without.
    let behind_a_parameter = || {
        segments
            .get(3..)
            .and_then(mapped)
            .filter(|place| matches!(place, Place::Ows { .. }))
    };
    vec![
        of_workspace
            .or_else(behind_a_parameter)
            .unwrap_or(Place::Always(RequestClass::Unknown)),
    ]
}

/// The mappings that a workspace and a layer may stand before.
fn mapped(segments: &[String]) -> Option<Place> {
    let (name, following) = segments.split_first()?;
    match name.as_str() {
        "gwc" => Some(geowebcache(following)),
        "ogc" => Some(Place::OgcApi {
            segments: following.to_vec(),
        }),
        "gsr" => Some(Place::Gsr {
            segments: following.to_vec(),
        }),
        // `/kml/icon/**/*`
        "kml" if following.len() > 1 && following[0] == "icon" => Some(Place::KmlIcon),
        "ows" => Some(Place::Ows {
            segments: segments.to_vec(),
        }),
        "wms" | "wfs" | "wcs" | "wps" | "csw" | "kml" | "animate" | "oseo"
            if following.len() <= 1 =>
        {
            Some(Place::Ows {
                segments: segments.to_vec(),
            })
        }
        _ => None,
    }
}

fn geowebcache(segments: &[String]) -> Place {
    let second = segments.get(1).map(String::as_str);
    match segments.first().map_or("", String::as_str) {
        "service" => Place::Tiles {
            segments: segments[1..].to_vec(),
        },
        "rest" if second == Some("web") => Place::Always(RequestClass::Ui),
        name if name == "rest" || name.starts_with("rest.") => Place::Rest,
        "" | "home" | "demo" => Place::Always(RequestClass::Ui),
        _ => Place::Always(RequestClass::Unknown),
    }
}
