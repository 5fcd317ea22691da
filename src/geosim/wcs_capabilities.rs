//! The capabilities of WCS.

use std::fmt::Write;

use super::answer::Answer;
use super::capabilities_document::{Document, XML, answered, document, unless_current};
use super::dispatch::OwsCall;
use super::exception::{Dialect, escape};
use super::life::Life;
use super::request::Request;

const INFALLIBLE: &str = "a String takes everything written to it";

pub(super) fn answer(life: &Life, request: &Request, call: &OwsCall<'_>) -> Answer {
    let document = document(life, request, &call.kvp, call.scope, "wcs");
    if let Some(refused) = unless_current(&call.kvp, call.dialect, document.number(), "WCS") {
        return refused;
    }
    let text = match call.dialect {
        Dialect::Wcs10 => wcs_10(&document),
        Dialect::Wcs11 => wcs_ows(&document, WCS_11),
        _ => wcs_ows(&document, WCS_20),
    };
    answered("application/xml", text)
}

fn wcs_10(document: &Document<'_>) -> String {
    let (number, href) = (document.number(), document.href());
    let mut out = format!(
        "{XML}<wcs:WCS_Capabilities version=\"1.0.0\" updateSequence=\"{number}\" xmlns:wcs=\"http://www.opengis.net/wcs\" \
         xmlns:gml=\"http://www.opengis.net/gml\" xmlns:xlink=\"http://www.w3.org/1999/xlink\">\n\
         <wcs:Service><wcs:name>WCS</wcs:name><wcs:label>Web Coverage Service</wcs:label>\
         <wcs:fees>NONE</wcs:fees><wcs:accessConstraints>NONE</wcs:accessConstraints></wcs:Service>\n\
         <wcs:Capability><wcs:Request>"
    );
    for operation in ["GetCapabilities", "DescribeCoverage", "GetCoverage"] {
        write!(
            out,
            "<wcs:{operation}><wcs:DCPType><wcs:HTTP><wcs:Get><wcs:OnlineResource xlink:href=\"{href}\"/></wcs:Get></wcs:HTTP>\
             </wcs:DCPType></wcs:{operation}>"
        )
        .expect(INFALLIBLE);
    }
    out.push_str("</wcs:Request></wcs:Capability>\n<wcs:ContentMetadata>");
    for (name, layer) in document.rasters() {
        let (name, title) = (escape(name), escape(&layer.title));
        writeln!(
            out,
            "<wcs:CoverageOfferingBrief><wcs:name>{name}</wcs:name><wcs:label>{title}</wcs:label>\
             <wcs:lonLatEnvelope srsName=\"urn:ogc:def:crs:OGC:1.3:CRS84\"><gml:pos>-180 -90</gml:pos><gml:pos>180 90</gml:pos>\
             </wcs:lonLatEnvelope></wcs:CoverageOfferingBrief>"
        )
        .expect(INFALLIBLE);
    }
    out.push_str("</wcs:ContentMetadata></wcs:WCS_Capabilities>\n");
    out
}

/// The parts of the document that differ between versions.
struct Version {
    number: &'static str,
    namespace: &'static str,
    ows: &'static str,
    identifier: &'static str,
    /// After the identifier.
    details: &'static str,
}

const WCS_11: Version = Version {
    number: "1.1.1",
    namespace: "http://www.opengis.net/wcs/1.1.1",
    ows: "http://www.opengis.net/ows/1.1",
    identifier: "wcs:Identifier",
    details: "",
};
const WCS_20: Version = Version {
    number: "2.0.1",
    namespace: "http://www.opengis.net/wcs/2.0",
    ows: "http://www.opengis.net/ows/2.0",
    identifier: "wcs:CoverageId",
    details: "<wcs:CoverageSubtype>RectifiedGridCoverage</wcs:CoverageSubtype>",
};

fn wcs_ows(document: &Document<'_>, version: Version) -> String {
    let (number, href) = (document.number(), document.href());
    let Version {
        number: version,
        namespace,
        ows,
        identifier,
        details,
    } = version;
    let mut out = format!(
        "{XML}<wcs:Capabilities version=\"{version}\" updateSequence=\"{number}\" xmlns:wcs=\"{namespace}\" \
         xmlns:ows=\"{ows}\" xmlns:xlink=\"http://www.w3.org/1999/xlink\">\n\
         <ows:ServiceIdentification><ows:Title>Web Coverage Service</ows:Title><ows:ServiceType>urn:ogc:service:wcs</ows:ServiceType>\
         <ows:ServiceTypeVersion>{version}</ows:ServiceTypeVersion></ows:ServiceIdentification>\n\
         <ows:ServiceProvider><ows:ProviderName>GeoServer</ows:ProviderName></ows:ServiceProvider>\n<ows:OperationsMetadata>"
    );
    for operation in ["GetCapabilities", "DescribeCoverage", "GetCoverage"] {
        write!(
            out,
            "<ows:Operation name=\"{operation}\"><ows:DCP><ows:HTTP><ows:Get xlink:href=\"{href}\"/><ows:Post xlink:href=\"{href}\"/>\
             </ows:HTTP></ows:DCP></ows:Operation>"
        )
        .expect(INFALLIBLE);
    }
    out.push_str("</ows:OperationsMetadata>\n<wcs:Contents>");
    for (name, _) in document.rasters() {
        // WCS 2.0 writes `workspace__coverage`, because a coverage id must be an XML name.
        let id = if version == WCS_20.number {
            name.replace(':', "__")
        } else {
            name.to_owned()
        };
        writeln!(
            out,
            "<wcs:CoverageSummary><{identifier}>{}</{identifier}>{details}</wcs:CoverageSummary>",
            escape(&id)
        )
        .expect(INFALLIBLE);
    }
    out.push_str("</wcs:Contents></wcs:Capabilities>\n");
    out
}
