//! The known operations of every service, with their classes.

use super::word::Word;
use super::{RequestClass, Service};

/// The part of a request that names its service and operation. Indexes [`Operation::reasons`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// The query names both.
    Query,
    /// The path names the service, and the query names the operation.
    PathAndQuery,
    /// The path names both, as in `/wfs/GetFeature`.
    Path,
    /// The form fields of the body name both.
    Form,
    /// The root element of an XML body names both.
    Xml,
    /// The root element of the request inside a SOAP body names both.
    Soap,
}

impl Source {
    /// True if the request is an XML document. Its query parameters then do not describe it.
    pub(super) const fn is_document(self) -> bool {
        matches!(self, Self::Xml | Self::Soap)
    }
}

/// One operation of one service.
#[derive(Debug)]
pub(super) struct Operation {
    pub(super) service: Service,
    /// The name as the standard spells it.
    pub(super) name: &'static str,
    lower_case: &'static str,
    pub(super) class: RequestClass,
    /// The explanation of the class for each [`Source`].
    reasons: [&'static str; 6],
}

impl Operation {
    /// Returns the explanation of the class, for the log and for `geofront explain`.
    pub(super) fn reason(&self, source: Source) -> &'static str {
        self.reasons[source as usize]
    }
}

/// Returns the operation `name` of `service`.
pub(super) fn find(service: Service, name: &Word) -> Option<&'static Operation> {
    of_service(service)
        .iter()
        .find(|operation| name.is(operation.lower_case))
}

/// Returns the service for a value of the parameter `service`. KML has no such value: only a path
/// leads to it (`route.rs`).
pub(super) fn service_by_parameter(name: &Word) -> Option<Service> {
    match name.as_bytes() {
        b"wms" => Some(Service::Wms),
        b"wfs" => Some(Service::Wfs),
        b"wcs" => Some(Service::Wcs),
        b"wps" => Some(Service::Wps),
        b"csw" => Some(Service::Csw),
        b"oseo" => Some(Service::Oseo),
        b"wmts" => Some(Service::Wmts),
        b"tms" => Some(Service::Tms),
        _ => None,
    }
}

/// Returns the service for its name in the rules of the configuration, without regard to case.
pub fn service_by_name(name: &str) -> Option<Service> {
    Service::ALL
        .into_iter()
        .find(|service| service.as_str().eq_ignore_ascii_case(name))
}

/// Returns the names of all operations of `service`, as the standard spells them.
pub fn operations(service: Service) -> impl Iterator<Item = &'static str> {
    of_service(service).iter().map(|operation| operation.name)
}

/// Returns the class of the operation `name` of `service`, as the standard spells it.
pub fn class_of_operation(service: Service, name: &str) -> Option<RequestClass> {
    let operation = of_service(service)
        .iter()
        .find(|operation| operation.name == name)?;
    Some(operation.class)
}

/// Returns the operations of `service`, grouped by class.
fn of_service(service: Service) -> &'static [Operation] {
    match service {
        Service::Wms => WMS,
        Service::Wfs => WFS,
        Service::Wcs => WCS,
        Service::Wps => WPS,
        Service::Csw => CSW,
        Service::Oseo => OSEO,
        Service::Wmts => WMTS,
        Service::Tms => TMS,
        Service::Gsr | Service::OgcApi | Service::Rest => &[],
    }
}

macro_rules! operations {
    (
        $service:ident $text:literal:
        $($class:ident { $($name:literal $lower:literal),+ $(,)? })+
    ) => {
        &[$($(Operation {
            service: Service::$service,
            name: $name,
            lower_case: $lower,
            class: RequestClass::$class,
            reasons: [
                concat!("service=", $text, " and request=", $name, " in the query"),
                concat!("request=", $name, " in the query of a ", $text, " address"),
                concat!("the address itself names ", $text, " ", $name),
                concat!($text, " ", $name, " in the form fields of the body"),
                concat!("the root of the XML body is a ", $text, " ", $name),
                concat!("the SOAP body holds a ", $text, " ", $name),
            ],
        }),+),+]
    };
}

static WMS: &[Operation] = operations! { Wms "WMS":
    Map { "GetMap" "getmap", "reflect" "reflect", "kml" "kml", "animate" "animate", "Map" "map",
        "GetTimeSeries" "gettimeseries" }
    Info { "GetFeatureInfo" "getfeatureinfo", "GetLegendGraphic" "getlegendgraphic", "DescribeLayer" "describelayer",
        "GetStyles" "getstyles" }
    Capabilities { "GetCapabilities" "getcapabilities", "Capabilities" "capabilities" }
    Transaction { "PutStyles" "putstyles" }
};

static WFS: &[Operation] = operations! { Wfs "WFS":
    Feature { "GetFeature" "getfeature", "GetPropertyValue" "getpropertyvalue", "GetGmlObject" "getgmlobject",
        "ListStoredQueries" "liststoredqueries" }
    Info { "DescribeFeatureType" "describefeaturetype", "DescribeStoredQueries" "describestoredqueries" }
    Capabilities { "GetCapabilities" "getcapabilities" }
    Transaction { "Transaction" "transaction", "LockFeature" "lockfeature", "GetFeatureWithLock" "getfeaturewithlock",
        "ReleaseLock" "releaselock", "CreateStoredQuery" "createstoredquery", "DropStoredQuery" "dropstoredquery" }
};

static WCS: &[Operation] = operations! { Wcs "WCS":
    Coverage { "GetCoverage" "getcoverage" }
    Info { "DescribeCoverage" "describecoverage", "DescribeEOCoverageSet" "describeeocoverageset" }
    Capabilities { "GetCapabilities" "getcapabilities" }
};

/// Every other WPS request has the class `process`, too: see `Interpretation::without_operation`.
static WPS: &[Operation] = operations! { Wps "WPS":
    Process { "Execute" "execute", "GetExecutionStatus" "getexecutionstatus", "GetExecutionResult" "getexecutionresult",
        "GetExecutions" "getexecutions", "GetStatus" "getstatus", "GetResult" "getresult", "Dismiss" "dismiss" }
    Info { "DescribeProcess" "describeprocess" }
    Capabilities { "GetCapabilities" "getcapabilities" }
};

static CSW: &[Operation] = operations! { Csw "CSW":
    Feature { "GetRecords" "getrecords", "GetRecordById" "getrecordbyid", "GetDomain" "getdomain",
        "GetRepositoryItem" "getrepositoryitem", "DirectDownload" "directdownload" }
    Info { "DescribeRecord" "describerecord" }
    Capabilities { "GetCapabilities" "getcapabilities" }
    Transaction { "Transaction" "transaction", "Harvest" "harvest" }
};

/// The operations of GeoServer's OpenSearch extension, whose service is `oseo`.
static OSEO: &[Operation] = operations! { Oseo "OSEO":
    Feature { "search" "search", "description" "description", "metadata" "metadata", "quicklook" "quicklook" }
};

static WMTS: &[Operation] = operations! { Wmts "WMTS":
    Tile { "GetTile" "gettile" }
    Info { "GetFeatureInfo" "getfeatureinfo", "DescribeDomains" "describedomains", "GetDomainValues" "getdomainvalues",
        "GetHistogram" "gethistogram", "GetTileJSON" "gettilejson" }
    Feature { "GetFeature" "getfeature" }
    Capabilities { "GetCapabilities" "getcapabilities" }
};

static TMS: &[Operation] = operations! { Tms "TMS":
    Capabilities { "GetCapabilities" "getcapabilities" }
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_is_found_by_its_lower_case_name() {
        for operations in [WMS, WFS, WCS, WPS, CSW, OSEO, WMTS, TMS] {
            for operation in operations {
                assert_eq!(operation.name.to_ascii_lowercase(), operation.lower_case);
                assert!(operation.lower_case.len() <= Word::CAPACITY);
            }
        }
    }
}
