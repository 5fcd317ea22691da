//! The table of requests in `data/ogc/requests.txt`, each with its class.

#[path = "ogc_shared/table.rs"]
mod table;

use std::path::Path;
use std::sync::OnceLock;

use geofront::config::{Config, Effort, MapEnvironment};
use geofront::ogc::{
    BodyNeed, BodyReader, CatalogEffect, Classified, RequestClass, RequestHead, Retryable, Service,
    body_need, classify, retry,
};
use table::{Case, cases};

/// Default bound on the part of a body that is read.
const MAX: usize = 2 << 20;

#[test]
fn every_request_of_the_table_has_its_class() {
    let wrong: Vec<String> = cases().iter().filter_map(complaint).collect();
    assert!(
        wrong.is_empty(),
        "{} wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

fn complaint(case: &Case) -> Option<String> {
    let head = case.head();
    let reader = BodyReader::new(case.content_type.as_deref(), case.coding.as_deref(), MAX);
    let found = classify(
        &head,
        &case.context,
        reader.evidence(&case.body, true).as_deref(),
    );
    let words = [
        Some(found.class.as_str()),
        found.service.map(Service::as_str),
        found.operation,
        match found.processes.catalog {
            CatalogEffect::None => None,
            CatalogEffect::Undetermined => Some("main-only"),
            CatalogEffect::Change => Some("changes-catalog"),
        },
        is_short(&found).then_some("short"),
        match config().limits.effort(&found) {
            Effort::OfClass => None,
            Effort::Heavy => Some("heavy"),
            Effort::Light => Some("light"),
        },
    ];
    let words: Vec<&str> = words.into_iter().flatten().collect();
    let is_right = words == case.expected;
    (!is_right).then(|| {
        format!(
            "line {}: {} {}\n   expected {:?}, found {words:?} because {}",
            case.line, case.method, case.target, case.expected, found.reason
        )
    })
}

/// True if the request is a short read where `gs:PagedUnique` is declared short.
fn is_short(found: &Classified) -> bool {
    let mut settled = *found;
    config().shorten(&mut settled);
    settled.class == RequestClass::Info && found.class == RequestClass::Process
}

/// The default configuration with `gs:PagedUnique` as a short process.
fn config() -> &'static Config {
    static CONFIG: OnceLock<Config> = OnceLock::new();
    CONFIG.get_or_init(|| {
        let text = "[upstreams.main]\nurl = 'http://10.0.0.1'\nrole = 'main'\n[upstreams.a]\nurl = 'http://10.0.0.2'\n\
                    [classes.process]\nshort = ['gs:PagedUnique']\n";
        let world = MapEnvironment::new().file("geofront.toml", text);
        Config::load(Path::new("geofront.toml"), &world)
            .unwrap_or_else(|problems| panic!("{problems}"))
            .config
    })
}

#[test]
fn a_body_changes_the_class_only_where_it_is_expected() {
    for case in cases() {
        let head = case.head();
        if body_need(&head, &case.context) == BodyNeed::None {
            let with = classify(&head, &case.context, Some(&case.body));
            let without = classify(&head, &case.context, None);
            assert_eq!(with, without, "line {}", case.line);
        }
    }
}

#[test]
fn without_its_body_a_request_that_needs_one_is_never_a_read() {
    for case in cases() {
        let head: RequestHead<'_> = case.head();
        if body_need(&head, &case.context) == BodyNeed::Prefix {
            assert!(
                !classify(&head, &case.context, None).class.is_read(),
                "line {}",
                case.line
            );
        }
    }
}

#[test]
fn options_are_no_writes_and_administrative_ones_are_retried_before_they_are_sent_only() {
    for case in cases() {
        let head = RequestHead {
            method: "OPTIONS",
            ..case.head()
        };
        let found = classify(&head, &case.context, Some(&case.body));
        let is_known = !matches!(
            found.class.as_str(),
            "transaction" | "process" | "tile" | "map" | "feature" | "coverage"
        );
        assert!(is_known, "line {}: {found:?}", case.line);
        if found.class.as_str() == "admin" {
            assert_eq!(
                retry(found.class, "OPTIONS", found.clarity),
                Retryable::ConnectOnly
            );
        }
    }
}

/// Returns whether the request of the method and target may be repeated once it was sent.
fn is_repeated(method: &str, target: &str) -> bool {
    let head = RequestHead {
        method,
        target: target.as_bytes(),
        content_type: None,
    };
    let found = classify(&head, "/geoserver", Some(b""));
    assert_eq!(found.class.as_str(), "unknown", "{target}");
    retry(found.class, method, found.clarity) == Retryable::Yes
}

#[test]
fn an_unknown_request_is_repeated_only_if_no_server_reads_it_as_something_that_acts() {
    let one_reading = [
        "/geoserver/an-extension/read",
        "/geoserver/wms?request=Something",
        "/geoserver/wfs?service=WFS&request=PageResults&resultSetID=1",
        "/other",
    ];
    for target in one_reading {
        assert!(
            is_repeated("GET", target) && is_repeated("HEAD", target),
            "{target}"
        );
        for method in ["POST", "PUT", "DELETE", "OPTIONS", "get"] {
            let found = classify(
                &RequestHead {
                    method,
                    target: target.as_bytes(),
                    content_type: None,
                },
                "/geoserver",
                Some(b""),
            );
            assert_ne!(
                retry(found.class, method, found.clarity) == Retryable::Yes,
                found.class.as_str() == "unknown",
                "{method} {target}"
            );
        }
    }
    for target in [
        "/geoserver/wms?service=WFS&request=Tran%zzsaction",
        "/geoserver/wfs?re%C5%BFuest=a&request=Tran%C5%BFaction",
        "/geoserver/wfs?%C5%BFervice=WFS&request=GetFeature",
        "/geoserver/%2572est/reload",
        "/geoserver/a%2Frest/reload",
        "/geoserver//rest-like/a",
        "/geoserver/x/../y",
    ] {
        assert!(!is_repeated("GET", target), "{target}");
    }
}

/// GeoServer's extensions by the names of their folders: the stable ones of 2.27.1 and 2.28.2, and
/// the community ones of 2.27.1, 2.28.2 and 3.0.0.
const EXTENSIONS: &str = "app-schema authkey charts control-flow css csw db2 dxf excel feature-pregeneralized gdal geofence \
    geopkg-output grib gwc-s3 h2 importer inspire jp2k libjpeg-turbo mapml mbstyle metadata mongodb monitor mysql netcdf \
    netcdf-out ogcapi-features ogr oracle params-extractor printing querylayer rat security sldService sqlserver vectortiles \
    wcs2_0-eo web-resource wmts-multi-dimensional wps wps-download wps-jdbc ysld \
    csw-iso geofence-server geofence-wps iau imagemap teradata wps-cluster-hazelcast xslt \
    acl backup-restore cog colormap cov-json dds dyndimension elasticsearch features-autopopulate features-templating \
    flatgeobuf geoparquet geopkg gpxppio graticule gsr gwc-azure-blob gwc-mbtiles gwc-sqlite hello hz-cluster importer-jdbc \
    jdbcconfig jdbcstore jms-cluster jwt-headers libdeflate mbtiles mbtiles-store monitor-kafka monitor-micrometer ncwms \
    netcdf-ghrsst notification nsg-profiles ogcapi-changeset ogcapi-coverages ogcapi-dggs ogcapi-images ogcapi-maps \
    ogcapi-processes ogcapi-styles ogcapi-tiled-features ogcapi-tiles oseo proxy-base-ext rest-ext rest-openapi rest-upload \
    s3-geotiff schemaless-features smart-data-loader solr spatialjson stac-datastore taskmanager vector-mosaic vsi web-ogr \
    notification-common notification-geonode singlestore wps-download-netcdf web-service-auth webp wfs-freemarker wps-longitudinal-profile wps-remote \
    excel-core excel-wfs excel-wps oidc \
    duckdb gwc-gcs-blob ogcapi-3d-geovolumes pmtiles-store png-wind wps-openai";

#[test]
fn the_manual_lists_each_extension_of_geoserver_as_covered_or_not() {
    let manual = include_str!("../docs/request-classes.md");
    let missing: Vec<_> = EXTENSIONS
        .split_whitespace()
        .filter(|name| !manual.contains(&format!("`{name}`")))
        .collect();
    assert!(
        missing.is_empty(),
        "not in docs/request-classes.md: {missing:?}"
    );
}
