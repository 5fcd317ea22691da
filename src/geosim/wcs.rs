//! WCS: coverages as small TIFFs.

use std::borrow::Cow;

use super::answer::Answer;
use super::data_directory::LayerKind;
use super::dispatch::OwsCall;
use super::exception::{Dialect, ServiceException, escape};
use super::life::Life;
use super::ows::no_such_operation;
use super::request::Request;
use super::wcs_capabilities;
use super::wms::find_layer;
use super::xml;

/// Pixels along each side of a coverage.
const SIDE: u16 = 128;

pub(super) fn answer(life: &Life, request: &Request, call: &OwsCall<'_>) -> Answer {
    if call.requests("GetCapabilities") {
        return wcs_capabilities::answer(life, request, call);
    }
    if !call.requests("GetCoverage") && !call.requests("DescribeCoverage") {
        return no_such_operation(call);
    }
    match find_coverage(life, call) {
        Err(exception) => exception.answer(call.dialect, &call.kvp),
        Ok(name) if call.requests("DescribeCoverage") => describe(call, &name),
        Ok(name) => Answer::ok("image/tiff", tiff()).with(
            "Content-Disposition",
            format!("inline; filename={}.tif", name.replace(':', "__")),
        ),
    }
}

fn find_coverage(life: &Life, call: &OwsCall<'_>) -> Result<String, ServiceException> {
    let requested = ["coverageid", "identifier", "identifiers", "coverage"]
        .into_iter()
        .find_map(|key| call.kvp.get(key))
        .or_else(|| {
            ["CoverageId", "Identifier", "sourceCoverage"]
                .into_iter()
                .find_map(|element| xml::first_text(call.body, element))
                .map(Cow::Owned)
        })
        .ok_or_else(|| {
            ServiceException::new(
                "MissingParameterValue",
                "coverageId",
                "No coverage was requested",
            )
        })?;
    let contents = life.catalog().contents;
    let name = find_layer(&contents, call.scope, &requested.replace("__", ":")).ok();
    name.filter(|name| {
        contents
            .layers
            .get(name)
            .is_some_and(|layer| layer.kind == LayerKind::Raster)
    })
    .ok_or_else(|| {
        let code = if call.dialect == Dialect::Wcs20 {
            "NoSuchCoverage"
        } else {
            "InvalidParameterValue"
        };
        ServiceException::new(
            code,
            "coverageId",
            format!("Could not find the requested coverage(s): {requested}"),
        )
    })
}

fn describe(call: &OwsCall<'_>, name: &str) -> Answer {
    let root = if call.dialect == Dialect::Wcs10 {
        "CoverageDescription"
    } else {
        "CoverageDescriptions"
    };
    Answer::ok(
        "application/xml",
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?><wcs:{root} xmlns:wcs=\"http://www.opengis.net/wcs/2.0\" version=\"{}\">\
             <wcs:CoverageId>{}</wcs:CoverageId></wcs:{root}>",
            call.dialect.version(),
            escape(&name.replace(':', "__"))
        ),
    )
}

/// A grey slope: header, pixels, and the eight tags a grey TIFF cannot do without.
fn tiff() -> Vec<u8> {
    const ENTRIES: [(u16, u16, u32); 8] = [
        (256, 3, SIDE as u32),               // width
        (257, 3, SIDE as u32),               // height
        (258, 3, 8),                         // bits per sample
        (259, 3, 1),                         // not compressed
        (262, 3, 1),                         // black is zero
        (273, 4, 8),                         // the pixels follow the header
        (278, 3, SIDE as u32),               // all rows in one strip
        (279, 4, SIDE as u32 * SIDE as u32), // its length
    ];
    let pixels = u32::from(SIDE) * u32::from(SIDE);
    let mut out = b"II*\0".to_vec();
    out.extend((8 + pixels).to_le_bytes());
    out.extend((0..SIDE).flat_map(|row| (0..SIDE).map(move |column| ((row + column) % 256) as u8)));
    out.extend((ENTRIES.len() as u16).to_le_bytes());
    for (tag, kind, value) in ENTRIES {
        out.extend(tag.to_le_bytes());
        out.extend(kind.to_le_bytes());
        out.extend(1u32.to_le_bytes());
        out.extend(value.to_le_bytes());
    }
    out.extend(0u32.to_le_bytes());
    out
}
