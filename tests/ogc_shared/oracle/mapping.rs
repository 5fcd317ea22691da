//! Which part of GeoServer answers at a path: the mappings of its webapp, in their order.

use geofront::ogc::RequestClass;

/// What is mapped at a path below the context.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Answers in one way, whatever is asked.
    Always(RequestClass),
    /// The REST interfaces.
    Rest,
    /// Files, for who reads them.
    Files,
    /// The dispatcher, below `ows` or a service's name: the last segments say the rest.
    Ows { segments: Vec<String> },
    /// Pictures for placemarks.
    KmlIcon,
    /// GeoWebCache's tile services; what follows `/gwc/service`.
    Tiles { segments: Vec<String> },
    /// What follows `/ogc`.
    OgcApi { segments: Vec<String> },
}

/// What may be mapped at `segments`: more than one place where a workspace may be called like a folder of files.
pub(super) fn places(segments: &[String]) -> Vec<Place> {
    let first = segments.first().map_or("", String::as_str);
    if first.is_empty() && segments.len() <= 1 {
        return vec![Place::Always(RequestClass::Ui)];
    }
    if first == "rest" || first.starts_with("rest.") || first == "monitor" || first == "importer" {
        return vec![Place::Rest];
    }
    let pages = ["web", "index.html", "accessDenied.html", "login", "logout", "TestWfsPost"];
    if pages.contains(&first) || first.starts_with("j_spring_") || first.starts_with("j_acegi_") {
        return vec![Place::Always(RequestClass::Ui)];
    }
    if first == "temp" || first == "pdf" {
        return vec![Place::Always(RequestClass::Unknown)];
    }
    if let Some(place) = mapped(segments) {
        return vec![place];
    }
    let of_workspace = segments.get(1..).and_then(mapped).or_else(|| segments.get(2..).and_then(mapped));
    let files = ["www", "styles", "schemas", "webresources", "options.png", "apicss", "swagger-ui"];
    if files.contains(&first) || first.starts_with("openlayers") {
        return [Some(Place::Files), of_workspace].into_iter().flatten().collect();
    }
    vec![of_workspace.unwrap_or(Place::Always(RequestClass::Unknown))]
}

/// The mappings that a workspace and a layer may stand before.
fn mapped(segments: &[String]) -> Option<Place> {
    let (name, following) = segments.split_first()?;
    match name.as_str() {
        "gwc" => Some(geowebcache(following)),
        "ogc" => Some(Place::OgcApi { segments: following.to_vec() }),
        "kml" if following.first().is_some_and(|next| next == "icon") => Some(Place::KmlIcon),
        "ows" => Some(Place::Ows { segments: segments.to_vec() }),
        "wms" | "wfs" | "wcs" | "wps" | "csw" | "kml" | "animate" if following.len() <= 1 => {
            Some(Place::Ows { segments: segments.to_vec() })
        }
        _ => None,
    }
}

fn geowebcache(segments: &[String]) -> Place {
    let second = segments.get(1).map(String::as_str);
    match segments.first().map_or("", String::as_str) {
        "service" => Place::Tiles { segments: segments[1..].to_vec() },
        "rest" if second == Some("web") => Place::Always(RequestClass::Ui),
        name if name == "rest" || name.starts_with("rest.") => Place::Rest,
        "" | "home" | "demo" => Place::Always(RequestClass::Ui),
        _ => Place::Always(RequestClass::Unknown),
    }
}
