//! The error format that an OGC client expects, by service and version. geofront uses it for
//! answers that it gives instead of an upstream.

use super::kvp::{self, Key};
use super::{Classified, RequestHead, Service};

/// The format of an error. The status and the text are decided elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorShape {
    /// `ServiceExceptionReport` 1.1.1 with its DTD.
    Wms111,
    /// `ServiceExceptionReport` 1.3.0.
    Wms130,
    /// `ServiceExceptionReport` 1.2.0.
    Wfs100,
    /// OWS 1.0 `ExceptionReport`.
    Wfs110,
    /// OWS 1.1 `ExceptionReport`, with real statuses.
    Wfs20,
    /// `ServiceExceptionReport` 1.2.0.
    Wcs10,
    /// OWS 1.1 `ExceptionReport`.
    Wcs11,
    /// OWS 2.0 `ExceptionReport`, with real statuses.
    Wcs20,
    /// OWS 1.1 `ExceptionReport`: WPS, WMTS, CSW.
    Ows11,
    Json,
    /// Plain text: the request is for no OGC service, or the client wants errors drawn into an
    /// image.
    Plain,
}

/// The error format for the request that was classified as `c`. Without a version, GeoServer
/// answers in its highest, and so does this.
pub fn error_shape(c: &Classified, head: &RequestHead<'_>) -> ErrorShape {
    let Some(service) = c.service else {
        return ErrorShape::Plain;
    };
    let version = c.version.unwrap_or_default();
    let by_version = match service {
        Service::Wms if matches!(version, "1.0.0" | "1.1.0" | "1.1.1") => ErrorShape::Wms111,
        Service::Wms => ErrorShape::Wms130,
        Service::Wfs => match version {
            "1.0.0" => ErrorShape::Wfs100,
            "1.1.0" => ErrorShape::Wfs110,
            _ => ErrorShape::Wfs20,
        },
        Service::Wcs => match version {
            "1.0.0" => ErrorShape::Wcs10,
            "1.1.0" | "1.1.1" => ErrorShape::Wcs11,
            _ => ErrorShape::Wcs20,
        },
        Service::Wps | Service::Wmts | Service::Csw => ErrorShape::Ows11,
        Service::OgcApi | Service::Gsr => return ErrorShape::Json,
        Service::Tms | Service::Oseo | Service::Rest => return ErrorShape::Plain,
    };
    requested_shape(head).unwrap_or(by_version)
}

/// The format that `EXCEPTIONS=` of WMS and WFS requests, if it differs from the service's XML.
fn requested_shape(head: &RequestHead<'_>) -> Option<ErrorShape> {
    let query = head.target.splitn(2, |&byte| byte == b'?').nth(1)?;
    let format = kvp::value_in(query, Key::Exceptions)?;
    match format.as_bytes() {
        b"json" | b"application/json" | b"jsonp" | b"text/javascript" => Some(ErrorShape::Json),
        b"inimage" | b"blank" | b"partialmap" => Some(ErrorShape::Plain),
        b"application/vnd.ogc.se_inimage"
        | b"application/vnd.ogc.se_blank"
        | b"application/vnd.gs.wms_partial" => Some(ErrorShape::Plain),
        _ => None,
    }
}
