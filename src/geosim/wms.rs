//! WMS: maps, what is under a click, legends; errors with status 200.

use std::borrow::Cow;

use super::answer::Answer;
use super::capabilities;
use super::data_directory::Contents;
use super::dispatch::{OwsCall, Scope};
use super::exception::{ServiceException, escape};
use super::image::Picture;
use super::life::Life;
use super::ows::no_such_operation;
use super::request::Request;
use super::xml;

const DEFAULT_PICTURE: Picture = Picture {
    width: 256,
    height: 256,
    transparent: false,
    blank: false,
};
/// `maxRequestMemory` of the default data directory.
const MAX_REQUEST_KB: u64 = 65_536;
const BYTES_PER_PIXEL: u64 = 4;

pub(super) fn answer(life: &Life, request: &Request, call: &OwsCall<'_>) -> Answer {
    let one_of = |operations: &[&str]| operations.iter().any(|operation| call.requests(operation));
    match () {
        () if call.requests("GetCapabilities") => capabilities::wms(life, request, call),
        () if one_of(&["GetMap", "Map", "reflect", "kml", "animate", "animator"]) => {
            map(life, request, call)
        }
        () if call.requests("GetFeatureInfo") => feature_info(life, call),
        () if call.requests("GetLegendGraphic") => legend(life, call),
        () if call.requests("DescribeLayer") => describe_layer(life, call),
        () if call.requests("GetStyles") => styles(life, call),
        () => no_such_operation(call),
    }
}

pub(super) fn map(life: &Life, request: &Request, call: &OwsCall<'_>) -> Answer {
    match try_map(life, request, call) {
        Ok(answer) => answer,
        Err(exception) => refused_map(life, call, &exception),
    }
}

fn try_map(life: &Life, request: &Request, call: &OwsCall<'_>) -> Result<Answer, ServiceException> {
    let contents = life.catalog().contents;
    let layers = requested_layers(request, call).ok_or_else(|| {
        ServiceException::new("LayerNotDefined", "layers", "No LAYERS has been requested")
    })?;
    for layer in layers.split(',') {
        find_layer(&contents, call.scope, layer)?;
    }
    let format = call.kvp.get("format");
    let transparent = call.kvp.is("transparent", "true");
    let picture = Picture {
        transparent,
        ..requested_size(call)?
    };
    match format.as_deref().unwrap_or("image/png") {
        "image/png" | "image/png8" | "image/png; mode=8bit" | "image/vnd.png" => {
            let file = layers.replace([':', ','], "-");
            Ok(Answer::ok("image/png", life.painter.paint(picture)).with(
                "Content-Disposition",
                format!("inline; filename={file}.png"),
            ))
        }
        "application/vnd.google-earth.kml+xml" | "kml" => {
            Ok(Answer::ok("application/vnd.google-earth.kml+xml", KML))
        }
        other => Err(ServiceException::new(
            "InvalidFormat",
            "format",
            format!("There is no support for creating maps in {other} format"),
        )),
    }
}

const KML: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?><kml xmlns=\"http://www.opengis.net/kml/2.2\"><Document/></kml>";

/// From the query, the virtual service, or the first named layer of a posted SLD.
fn requested_layers<'a>(request: &'a Request, call: &OwsCall<'a>) -> Option<Cow<'a, str>> {
    call.kvp
        .get("layers")
        .or_else(|| call.scope.layer.map(Cow::Borrowed))
        .or_else(|| xml::first_text(&request.body().start, "Name").map(Cow::Owned))
}

fn requested_size(call: &OwsCall<'_>) -> Result<Picture, ServiceException> {
    let is_lenient = !call.requests("GetMap") || !call.body.is_empty();
    let default = is_lenient.then_some(256);
    let size = |key| {
        call.kvp
            .number(key)
            .filter(|pixels| *pixels > 0)
            .or(default)
    };
    let (Some(width), Some(height)) = (size("width"), size("height")) else {
        return Err(ServiceException::new(
            "MissingOrInvalidParameter",
            "",
            "Missing or invalid requested map size. Parameters WIDTH and HEIGHT shall be present and be integers > 0",
        ));
    };
    let kilobytes = u64::from(width) * u64::from(height) * BYTES_PER_PIXEL / 1024;
    if kilobytes > MAX_REQUEST_KB {
        let text = format!(
            "This request would use {kilobytes}KB, while the maximum memory allowed is {MAX_REQUEST_KB}KB"
        );
        return Err(ServiceException::internal(&text));
    }
    Ok(Picture::map(width, height))
}

/// Returns an exception, or a picture of it for clients that accept only pictures.
fn refused_map(life: &Life, call: &OwsCall<'_>, exception: &ServiceException) -> Answer {
    let requested = call
        .kvp
        .get("exceptions")
        .unwrap_or_default()
        .to_ascii_lowercase();
    let is_in_image = requested.ends_with("inimage");
    if is_in_image || requested.ends_with("blank") {
        let picture = Picture {
            blank: !is_in_image,
            ..requested_size(call).unwrap_or(DEFAULT_PICTURE)
        };
        return Answer::ok("image/png", life.painter.paint(picture));
    }
    exception.answer(call.dialect, &call.kvp)
}

/// The layer's qualified name, as seen through the scope of the service.
pub(super) fn find_layer(
    contents: &Contents,
    scope: Scope<'_>,
    name: &str,
) -> Result<String, ServiceException> {
    let found = match scope.workspace {
        Some(workspace) if !name.contains(':') => contents.layer(&format!("{workspace}:{name}")),
        Some(workspace) if name.split(':').next() != Some(workspace) => None,
        _ => contents.layer(name),
    };
    found
        .map(|(name, _)| name.to_owned())
        .ok_or_else(|| ServiceException::unknown_layer(name))
}

fn feature_info(life: &Life, call: &OwsCall<'_>) -> Answer {
    let contents = life.catalog().contents;
    let Some(layers) = call.kvp.get("query_layers") else {
        return ServiceException::new(
            "MissingParameterValue",
            "query_layers",
            "No QUERY_LAYERS has been requested",
        )
        .answer(call.dialect, &call.kvp);
    };
    let name = match find_layer(&contents, call.scope, &layers) {
        Ok(name) => name,
        Err(exception) => return exception.answer(call.dialect, &call.kvp),
    };
    let short = name.rsplit(':').next().unwrap_or(&name);
    match call.kvp.get("info_format").as_deref().unwrap_or("text/plain") {
        "application/json" => Answer::ok(
            "application/json;charset=UTF-8",
            serde_json::json!({
                "type": "FeatureCollection",
                "features": [{"type": "Feature", "id": format!("{short}.1"), "geometry": null, "properties": {"name": short}}],
                "totalFeatures": "unknown", "numberReturned": 1, "crs": null,
            })
            .to_string(),
        ),
        "text/html" => {
            Answer::ok("text/html;charset=UTF-8", format!("<html><body><table><tr><td>{short}.1</td></tr></table></body></html>"))
        }
        _ => Answer::ok(
            "text/plain;charset=UTF-8",
            format!("Results for FeatureType '{name}':\n--------------------------------------------\nname = {short}\n"),
        ),
    }
}

fn legend(life: &Life, call: &OwsCall<'_>) -> Answer {
    let layer = call
        .kvp
        .get("layer")
        .or_else(|| call.kvp.get("layers"))
        .unwrap_or_default();
    match find_layer(&life.catalog().contents, call.scope, &layer) {
        Err(exception) => exception.answer(call.dialect, &call.kvp),
        Ok(_) => {
            let (width, height) = (
                call.kvp.number("width").unwrap_or(20),
                call.kvp.number("height").unwrap_or(20),
            );
            Answer::ok(
                "image/png",
                life.painter
                    .paint(Picture::map(width.clamp(1, 512), height.clamp(1, 512))),
            )
        }
    }
}

fn describe_layer(life: &Life, call: &OwsCall<'_>) -> Answer {
    let layer = call.kvp.get("layers").unwrap_or_default();
    match find_layer(&life.catalog().contents, call.scope, &layer) {
        Err(exception) => exception.answer(call.dialect, &call.kvp),
        Ok(name) => {
            let name = escape(&name).into_owned();
            Answer::ok(
                "application/vnd.ogc.wms_xml",
                format!(
                    "<?xml version=\"1.0\" encoding=\"UTF-8\"?><WMS_DescribeLayerResponse version=\"1.1.1\">\
                     <LayerDescription name=\"{name}\" owsType=\"WFS\"><Query typeName=\"{name}\"/></LayerDescription>\
                     </WMS_DescribeLayerResponse>"
                ),
            )
        }
    }
}

fn styles(life: &Life, call: &OwsCall<'_>) -> Answer {
    let layer = call.kvp.get("layers").unwrap_or_default();
    match find_layer(&life.catalog().contents, call.scope, &layer) {
        Err(exception) => exception.answer(call.dialect, &call.kvp),
        Ok(name) => Answer::ok(
            "application/vnd.ogc.sld+xml",
            format!(
                "<?xml version=\"1.0\" encoding=\"UTF-8\"?><sld:StyledLayerDescriptor xmlns:sld=\"http://www.opengis.net/sld\" \
                 version=\"1.0.0\"><sld:NamedLayer><sld:Name>{}</sld:Name></sld:NamedLayer></sld:StyledLayerDescriptor>",
                escape(&name)
            ),
        ),
    }
}
