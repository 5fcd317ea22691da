//! The operations of GeoServer's services and what each is, as the product's table of classes has
//! it.

use geofront::ogc::RequestClass;

use super::text::equals_ignore_case;

/// Name, then class and operations.
type Service = (
    &'static str,
    &'static [(RequestClass, &'static [&'static str])],
);

pub(crate) const SERVICES: [Service; 8] = [
    (
        "WMS",
        &[
            (
                RequestClass::Map,
                &[
                    "GetMap",
                    "reflect",
                    "kml",
                    "animate",
                    "Map",
                    "GetTimeSeries",
                ],
            ),
            (
                RequestClass::Info,
                &[
                    "GetFeatureInfo",
                    "GetLegendGraphic",
                    "DescribeLayer",
                    "GetStyles",
                ],
            ),
            (
                RequestClass::Capabilities,
                &["GetCapabilities", "Capabilities"],
            ),
            (RequestClass::Transaction, &["PutStyles"]),
        ],
    ),
    (
        "WFS",
        &[
            (
                RequestClass::Feature,
                &[
                    "GetFeature",
                    "GetPropertyValue",
                    "GetGmlObject",
                    "ListStoredQueries",
                ],
            ),
            (
                RequestClass::Info,
                &["DescribeFeatureType", "DescribeStoredQueries"],
            ),
            (RequestClass::Capabilities, &["GetCapabilities"]),
            (
                RequestClass::Transaction,
                &[
                    "Transaction",
                    "LockFeature",
                    "GetFeatureWithLock",
                    "ReleaseLock",
                    "CreateStoredQuery",
                    "DropStoredQuery",
                ],
            ),
        ],
    ),
    (
        "WCS",
        &[
            (RequestClass::Coverage, &["GetCoverage"]),
            (
                RequestClass::Info,
                &["DescribeCoverage", "DescribeEOCoverageSet"],
            ),
            (RequestClass::Capabilities, &["GetCapabilities"]),
        ],
    ),
    (
        "WPS",
        &[
            (
                RequestClass::Process,
                &[
                    "Execute",
                    "GetExecutionStatus",
                    "GetExecutionResult",
                    "GetStatus",
                    "GetResult",
                    "Dismiss",
                    "GetExecutions",
                ],
            ),
            (RequestClass::Info, &["DescribeProcess"]),
            (RequestClass::Capabilities, &["GetCapabilities"]),
        ],
    ),
    (
        "CSW",
        &[
            (
                RequestClass::Feature,
                &[
                    "GetRecords",
                    "GetRecordById",
                    "GetDomain",
                    "GetRepositoryItem",
                    "DirectDownload",
                ],
            ),
            (RequestClass::Info, &["DescribeRecord"]),
            (RequestClass::Capabilities, &["GetCapabilities"]),
            (RequestClass::Transaction, &["Transaction", "Harvest"]),
        ],
    ),
    (
        "OSEO",
        &[(
            RequestClass::Feature,
            &["search", "description", "metadata", "quicklook"],
        )],
    ),
    (
        "WMTS",
        &[
            (RequestClass::Tile, &["GetTile"]),
            (
                RequestClass::Info,
                &[
                    "GetFeatureInfo",
                    "DescribeDomains",
                    "GetDomainValues",
                    "GetHistogram",
                    "GetTileJSON",
                ],
            ),
            (RequestClass::Feature, &["GetFeature"]),
            (RequestClass::Capabilities, &["GetCapabilities"]),
        ],
    ),
    ("TMS", &[(RequestClass::Capabilities, &["GetCapabilities"])]),
];

/// The service called `name`.
pub(super) fn service(name: &str) -> Option<&'static str> {
    SERVICES
        .iter()
        .map(|(service, _)| *service)
        .find(|service| equals_ignore_case(service, name))
}

/// The class of the operation `name` of `service`, if it has it, and the operation's name in lower
/// case.
pub(super) fn operation(service: &str, name: &str) -> Option<(RequestClass, String)> {
    let (_, groups) = SERVICES.iter().find(|(known, _)| *known == service)?;
    let (class, _) = groups.iter().find(|(_, operations)| {
        operations
            .iter()
            .any(|known| equals_ignore_case(known, name))
    })?;
    let known = groups
        .iter()
        .flat_map(|(_, operations)| *operations)
        .find(|known| equals_ignore_case(known, name))?;
    Some((*class, known.to_ascii_lowercase()))
}
