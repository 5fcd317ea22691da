//! The cost of classifying a request, the first step for each one. The aim is under 1 µs for a
//! typical GetMap.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use geofront::ogc::{RequestHead, classify, metatile};

/// Name, method, target, content type, body.
type Case = (
    &'static str,
    &'static str,
    &'static str,
    Option<&'static str>,
    &'static [u8],
);

const CASES: [Case; 7] = [
    (
        "GetMap",
        "GET",
        "/geoserver/wms?service=WMS&version=1.1.1&request=GetMap&layers=geor:roads&styles=&bbox=-180,-90,180,90&width=768&height=330\
         &srs=EPSG:4326&format=image/png",
        None,
        b"",
    ),
    (
        "GetMap, tiled, percent-encoded",
        "GET",
        "/geoserver/geor/wms?SERVICE=WMS&VERSION=1.3.0&REQUEST=GetMap&FORMAT=image%2Fpng&TRANSPARENT=true\
         &LAYERS=geor%3Aroads%2Cgeor%3Arivers&TILED=true&STYLES=&WIDTH=256&HEIGHT=256&CRS=EPSG%3A3857\
         &BBOX=626172.1357121639%2C6261721.357121641%2C939258.2035682457%2C6574807.424977722",
        None,
        b"",
    ),
    (
        "WMTS GetTile",
        "GET",
        "/geoserver/gwc/service/wmts?layer=geor%3Aroads&style=&tilematrixset=EPSG%3A900913&Service=WMTS&Request=GetTile\
         &Version=1.0.0&Format=image%2Fpng&TileMatrix=EPSG%3A900913%3A10&TileCol=512&TileRow=340",
        None,
        b"",
    ),
    ("TMS tile", "GET", "/geoserver/gwc/service/tms/1.0.0/geor%3Aroads@EPSG%3A900913@png/10/512/600.png", None, b""),
    ("REST", "PUT", "/geoserver/rest/workspaces/geor/datastores/roads/featuretypes/roads.json", Some("application/json"), b""),
    (
        "GetFeature by POST",
        "POST",
        "/geoserver/wfs",
        Some("text/xml"),
        b"<?xml version=\"1.0\"?><wfs:GetFeature xmlns:wfs=\"http://www.opengis.net/wfs\" xmlns:gml=\"http://www.opengis.net/gml\" \
          service=\"WFS\" version=\"1.1.0\"><wfs:Query typeName=\"geor:roads\"/></wfs:GetFeature>",
    ),
    (
        "a path with dots, read twice",
        "GET",
        "/geoserver/x/../wms?service=WMS&version=1.1.1&request=GetMap&layers=geor:roads&bbox=-180,-90,180,90&width=768",
        None,
        b"",
    ),
];

fn classification(c: &mut Criterion) {
    let mut group = c.benchmark_group("classify");
    for (name, method, target, content_type, body) in CASES {
        let head = RequestHead {
            method,
            target: target.as_bytes(),
            content_type,
        };
        group.bench_function(name, |b| {
            b.iter(|| classify(black_box(&head), black_box("/geoserver"), Some(body)))
        });
    }
    group.finish();
}

/// The additional cost of tiles.
fn metatiles(c: &mut Criterion) {
    let mut group = c.benchmark_group("metatile");
    for (name, method, target, content_type, _) in CASES
        .iter()
        .filter(|case| case.0.to_lowercase().contains("tile"))
    {
        let head = RequestHead {
            method,
            target: target.as_bytes(),
            content_type: *content_type,
        };
        group.bench_function(*name, |b| {
            b.iter(|| metatile(black_box(&head), black_box("/geoserver")))
        });
    }
    group.finish();
}

criterion_group!(benches, classification, metatiles);
criterion_main!(benches);
