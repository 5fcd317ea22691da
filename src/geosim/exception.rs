//! GeoServer's error answers: each service and version has its own shape, most of them with status
//! 200.

use std::fmt::Write;

use super::answer::Answer;
use super::kvp::Kvp;

/// Service and version, as far as answers differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    Wms111,
    Wms130,
    Wfs10,
    Wfs11,
    Wfs20,
    Wcs10,
    Wcs11,
    Wcs20,
    Wps10,
    Csw202,
    /// No service was recognised.
    Ows,
}

#[derive(Clone, Debug)]
pub(super) struct ServiceException {
    pub(super) code: &'static str,
    pub(super) locator: &'static str,
    pub(super) text: String,
}

impl ServiceException {
    pub(super) fn new(code: &'static str, locator: &'static str, text: impl Into<String>) -> Self {
        Self {
            code,
            locator,
            text: text.into(),
        }
    }

    /// Something broke inside; GeoServer has a code for that in some services only.
    pub(super) fn internal(text: &str) -> Self {
        Self::new("NoApplicableCode", "", text)
    }

    pub(super) fn unknown_layer(name: &str) -> Self {
        Self::new(
            "LayerNotDefined",
            "layers",
            format!("Could not find layer {name}"),
        )
    }

    pub(super) fn unknown_feature_type(name: &str) -> Self {
        Self::new(
            "InvalidParameterValue",
            "typeName",
            format!("Feature type {name} unknown"),
        )
    }

    /// Returns the exception as `dialect` writes it, as JSON if the request selects that.
    pub(super) fn answer(&self, dialect: Dialect, kvp: &Kvp<'_>) -> Answer {
        match kvp.get("exceptions") {
            Some(requested)
                if requested.eq_ignore_ascii_case("application/json") && dialect.speaks_json() =>
            {
                self.json(dialect)
            }
            _ => self.xml(dialect),
        }
    }

    fn json(&self, dialect: Dialect) -> Answer {
        let body = serde_json::json!({
            "version": dialect.version(),
            "exceptions": [{"code": self.code, "locator": self.locator, "text": self.text}],
        });
        Answer::new(self.status(dialect), "application/json", body.to_string())
    }

    fn xml(&self, dialect: Dialect) -> Answer {
        let body = match dialect.shape() {
            Shape::ServiceExceptionReport {
                doctype,
                version,
                namespace,
            } => self.service_exception_report(doctype, version, namespace),
            Shape::ExceptionReport { version, namespace } => {
                self.exception_report(version, namespace)
            }
        };
        Answer::new(self.status(dialect), dialect.exception_type(), body)
    }

    fn service_exception_report(&self, doctype: bool, version: &str, namespace: bool) -> String {
        let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>");
        if doctype {
            out.push_str(
                "<!DOCTYPE ServiceExceptionReport SYSTEM \"http://localhost/geoserver/schemas/wms/1.1.1/WMS_exception_1_1_1.dtd\">",
            );
        }
        let xmlns = if namespace {
            " xmlns=\"http://www.opengis.net/ogc\""
        } else {
            ""
        };
        write!(
            out,
            " <ServiceExceptionReport version=\"{version}\"{xmlns} >   <ServiceException"
        )
        .expect(INFALLIBLE);
        for (name, value) in [("code", self.code), ("locator", self.locator)] {
            if !value.is_empty() {
                write!(out, " {name}=\"{}\"", escape(value)).expect(INFALLIBLE);
            }
        }
        write!(
            out,
            ">\n      {}\n</ServiceException></ServiceExceptionReport>",
            escape(&self.text)
        )
        .expect(INFALLIBLE);
        out
    }

    fn exception_report(&self, version: &str, namespace: &str) -> String {
        let locator = if self.locator.is_empty() {
            String::new()
        } else {
            format!(" locator=\"{}\"", escape(self.locator))
        };
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\
             <ows:ExceptionReport xmlns:ows=\"{namespace}\" version=\"{version}\">\n\
             <ows:Exception exceptionCode=\"{}\"{locator}>\n\
             <ows:ExceptionText>{}</ows:ExceptionText>\n</ows:Exception>\n</ows:ExceptionReport>\n",
            escape(self.code),
            escape(&self.text)
        )
    }

    fn status(&self, dialect: Dialect) -> u16 {
        match (dialect, self.code) {
            (Dialect::Wfs20, "OperationProcessingFailed") => 500,
            (Dialect::Wfs20 | Dialect::Wcs20, "NotFound" | "NoSuchCoverage") => 404,
            (Dialect::Wfs20, "LockHasExpired") => 403,
            (Dialect::Wcs20, "NoApplicableCode") => 500,
            (Dialect::Wfs20 | Dialect::Wcs20, _) => 400,
            _ => 200,
        }
    }
}

const INFALLIBLE: &str = "a String takes everything written to it";

enum Shape {
    ServiceExceptionReport {
        doctype: bool,
        version: &'static str,
        namespace: bool,
    },
    ExceptionReport {
        version: &'static str,
        namespace: &'static str,
    },
}

impl Dialect {
    pub(super) fn version(self) -> &'static str {
        match self {
            Self::Wms111 => "1.1.1",
            Self::Wms130 => "1.3.0",
            Self::Wfs10 | Self::Wcs10 | Self::Wps10 | Self::Ows => "1.0.0",
            Self::Wfs11 => "1.1.0",
            Self::Wfs20 => "2.0.0",
            Self::Wcs11 => "1.1.1",
            Self::Wcs20 => "2.0.1",
            Self::Csw202 => "2.0.2",
        }
    }

    fn shape(self) -> Shape {
        match self {
            Self::Wms111 => Shape::ServiceExceptionReport {
                doctype: true,
                version: "1.1.1",
                namespace: false,
            },
            Self::Wms130 => Shape::ServiceExceptionReport {
                doctype: false,
                version: "1.3.0",
                namespace: true,
            },
            Self::Wfs10 | Self::Wcs10 => Shape::ServiceExceptionReport {
                doctype: false,
                version: "1.2.0",
                namespace: true,
            },
            Self::Wfs11 | Self::Csw202 | Self::Ows => Shape::ExceptionReport {
                version: "1.0.0",
                namespace: OWS_10,
            },
            Self::Wcs11 | Self::Wps10 => Shape::ExceptionReport {
                version: "1.1.0",
                namespace: OWS_11,
            },
            Self::Wfs20 => Shape::ExceptionReport {
                version: "2.0.0",
                namespace: OWS_11,
            },
            Self::Wcs20 => Shape::ExceptionReport {
                version: "2.0.0",
                namespace: OWS_20,
            },
        }
    }

    fn exception_type(self) -> &'static str {
        match self {
            Self::Wms111 => "application/vnd.ogc.se_xml;charset=UTF-8",
            Self::Wms130 | Self::Wfs10 | Self::Wps10 => "text/xml;charset=UTF-8",
            Self::Wcs10 => "application/vnd.ogc.se_xml",
            Self::Wfs11 | Self::Wfs20 | Self::Wcs11 | Self::Wcs20 | Self::Csw202 | Self::Ows => {
                "application/xml"
            }
        }
    }

    fn speaks_json(self) -> bool {
        matches!(
            self,
            Self::Wms111 | Self::Wms130 | Self::Wfs10 | Self::Wfs11 | Self::Wfs20
        )
    }
}

const OWS_10: &str = "http://www.opengis.net/ows";
const OWS_11: &str = "http://www.opengis.net/ows/1.1";
const OWS_20: &str = "http://www.opengis.net/ows/2.0";

/// Text as XML character data or attribute value.
pub(super) fn escape(text: &str) -> std::borrow::Cow<'_, str> {
    quick_xml::escape::escape(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geosim::answer::Body;

    fn answer(dialect: Dialect, code: &'static str) -> (u16, &'static str, String) {
        let answer = ServiceException::new(code, "x", "a < b").answer(dialect, &Kvp::new(b"", b""));
        let Body::Full(body) = answer.body else {
            panic!("an exception is short")
        };
        (
            answer.status,
            answer.content_type,
            String::from_utf8(body.to_vec()).unwrap(),
        )
    }

    #[test]
    fn wms_refuses_with_status_200_and_a_type_of_its_version() {
        let (status, kind, body) = answer(Dialect::Wms111, "LayerNotDefined");
        assert_eq!(
            (status, kind),
            (200, "application/vnd.ogc.se_xml;charset=UTF-8")
        );
        assert!(
            body.contains("<!DOCTYPE ServiceExceptionReport")
                && body.contains("code=\"LayerNotDefined\" locator=\"x\"")
        );
        let (status, kind, body) = answer(Dialect::Wms130, "LayerNotDefined");
        assert_eq!((status, kind), (200, "text/xml;charset=UTF-8"));
        assert!(
            body.contains("version=\"1.3.0\" xmlns=\"http://www.opengis.net/ogc\"")
                && body.contains("a &lt; b")
        );
    }

    #[test]
    fn wfs_2_has_status_codes_and_older_versions_have_200() {
        for (code, status) in [
            ("OperationProcessingFailed", 500),
            ("NotFound", 404),
            ("LockHasExpired", 403),
            ("Other", 400),
        ] {
            assert_eq!(answer(Dialect::Wfs20, code).0, status, "{code}");
            assert_eq!(answer(Dialect::Wfs11, code).0, 200, "{code}");
            assert_eq!(answer(Dialect::Wfs10, code).0, 200, "{code}");
        }
    }

    #[test]
    fn every_exception_is_well_formed() {
        for dialect in [
            Dialect::Wms111,
            Dialect::Wms130,
            Dialect::Wfs10,
            Dialect::Wfs11,
            Dialect::Wfs20,
            Dialect::Wcs10,
        ] {
            let (_, _, body) = answer(dialect, "Code");
            let mut reader = quick_xml::Reader::from_str(&body);
            while !matches!(reader.read_event().unwrap(), quick_xml::events::Event::Eof) {}
        }
    }

    #[test]
    fn exceptions_are_json_where_the_request_names_json() {
        let requested = Kvp::new(b"EXCEPTIONS=application/json", b"");
        let answer = ServiceException::internal("x").answer(Dialect::Wms130, &requested);
        assert_eq!(
            (answer.status, answer.content_type),
            (200, "application/json")
        );
    }
}
