//! Every known operation of every service, and its class.

use super::word::Word;
use super::{RequestClass, Service};

/// The places where service and operation were found. Indexes [`Operation::reasons`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// The query names both.
    Query,
    /// The query names the operation, the address the service.
    PathAndQuery,
    /// The address names both, as in `/wfs/GetFeature`.
    Path,
    /// The form fields of the body name both.
    Form,
    /// The root of an XML body.
    Xml,
    /// The root of the request inside a SOAP body.
    Soap,
}

impl Source {
    /// True if the request is an XML document, which the parameters do not describe.
    pub(super) const fn is_document(self) -> bool {
        matches!(self, Self::Xml | Self::Soap)
    }
}

/// One operation of one service.
#[derive(Debug)]
pub(super) struct Operation {
    pub(super) service: Service,
    /// The spelling of the standard.
    pub(super) name: &'static str,
    lower_case: &'static str,
    pub(super) class: RequestClass,
    reasons: [&'static str; 6],
}

impl Operation {
    pub(super) fn reason(&self, source: Source) -> &'static str {
        self.reasons[source as usize]
    }
}

/// The operation of `service` called `name`.
pub(super) fn find(service: Service, name: &Word) -> Option<&'static Operation> {
    of_service(service)
        .iter()
        .find(|operation| name.is(operation.lower_case))
}

/// The service called `name`, as in `service=`. KML has no `service=` of its own but an address;
/// see `route`.
pub(super) fn service_named(name: &Word) -> Option<Service> {
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

/// The service called `name` in rules, in any case.
pub fn service_called(name: &str) -> Option<Service> {
    Service::ALL
        .into_iter()
        .find(|service| service.as_str().eq_ignore_ascii_case(name))
}

/// The names of all operations of `service`, as the standard writes them.
pub fn operations(service: Service) -> impl Iterator<Item = &'static str> {
    of_service(service).iter().map(|operation| operation.name)
}

/// The operations of `service`, the most frequent first.
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

/// Every other WPS request is of the class `process` too: see `classify`.
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

/// The operations of the service `oseo` in GeoServer's OpenSearch extension.
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
