//! Sixteen tiles have one number, in every spelling of their addresses.

use std::collections::BTreeSet;

use super::metatile;
use crate::ogc::{RequestClass, RequestHead, classify};

const WORLD: f64 = 40_075_016.685_578_49;

/// The number of the metatile of a request that is of the class `tile`.
#[track_caller]
fn number(target: &str) -> Option<u64> {
    let head = RequestHead {
        method: "GET",
        target: target.as_bytes(),
        content_type: None,
    };
    assert_eq!(
        classify(&head, "/geoserver", None).class,
        RequestClass::Tile,
        "{target}"
    );
    metatile(&head, "/geoserver")
}

/// Adds the size and the format that a GetMap with `tiled=true` needs to be of the class `tile`.
fn of_a_tile(target: &str) -> String {
    target.replace(
        "&tiled=true",
        "&tiled=true&width=256&height=256&format=image/png",
    )
}

#[track_caller]
fn some(target: &str) -> u64 {
    number(target).unwrap_or_else(|| panic!("{target} has no number"))
}

/// Builds one spelling of the tile at a zoom, column and row from the north.
type Spelling = fn(u32, u32, u32) -> String;

fn wmts(zoom: u32, column: u32, row: u32) -> String {
    format!(
        "/geoserver/gwc/service/wmts?SERVICE=WMTS&REQUEST=GetTile&VERSION=1.0.0&LAYER=geor:roads&STYLE=&FORMAT=image/png\
         &TILEMATRIXSET=EPSG:900913&TILEMATRIX=EPSG:900913:{zoom}&TILEROW={row}&TILECOL={column}"
    )
}

fn wmts_in_another_order_and_case(zoom: u32, column: u32, row: u32) -> String {
    format!(
        "/geoserver/gwc/service/wmts?layer=geor%3Aroads&tilematrixset=EPSG%3A900913&Service=WMTS&Request=GetTile&Format=image%2Fpng\
         &TileCol={column}&TileRow={row}&TileMatrix=EPSG%3A900913%3A{zoom}"
    )
}

fn wmts_of_a_workspace(zoom: u32, column: u32, row: u32) -> String {
    format!(
        "/geoserver/geor/gwc/service/wmts?layer=roads&tilematrixset=EPSG:3857&request=GetTile&TileCol={column}&TileRow={row}\
         &TileMatrix={zoom}&format=image/png"
    )
}

fn wmts_of_a_layer(zoom: u32, column: u32, row: u32) -> String {
    format!(
        "/geoserver/geor/roads/gwc/service/wmts?tilematrixset=EPSG:900913&request=GetTile&TileCol={column}&TileRow={row}\
         &TileMatrix=EPSG:900913:{zoom}"
    )
}

fn wmts_by_path(zoom: u32, column: u32, row: u32) -> String {
    format!(
        "/geoserver/gwc/service/wmts/rest/geor:roads/EPSG:900913/EPSG:900913:{zoom}/{row}/{column}?format=image/png"
    )
}

fn tms(zoom: u32, column: u32, row: u32) -> String {
    let y = (1 << zoom) - 1 - row;
    format!(
        "/geoserver/gwc/service/tms/1.0.0/geor%3Aroads@EPSG%3A900913@png/{zoom}/{column}/{y}.png"
    )
}

fn tms_flipped(zoom: u32, column: u32, row: u32) -> String {
    format!(
        "/geoserver/gwc/service/tms/1.0.0/geor:roads%40EPSG:900913%40png/{zoom}/{column}/{row}.png?flipY=true"
    )
}

fn bbox(zoom: u32, column: u32, row: u32) -> String {
    let side = WORLD / f64::from(1 << zoom);
    let (west, north) = (
        f64::from(column) * side - WORLD / 2.0,
        WORLD / 2.0 - f64::from(row) * side,
    );
    format!(
        "{:.6},{:.6},{:.6},{:.6}",
        west,
        north - side,
        west + side,
        north
    )
}

fn wms_c(zoom: u32, column: u32, row: u32) -> String {
    let bbox = bbox(zoom, column, row);
    format!(
        "/geoserver/gwc/service/wms?SERVICE=WMS&VERSION=1.1.1&REQUEST=GetMap&LAYERS=geor:roads&SRS=EPSG:900913&FORMAT=image/png\
         &WIDTH=256&HEIGHT=256&BBOX={bbox}&STYLES="
    )
}

fn wms_tiled(zoom: u32, column: u32, row: u32) -> String {
    let bbox = bbox(zoom, column, row).replace(',', "%2C");
    format!(
        "/geoserver/geor/wms?tiled=true&bbox={bbox}&crs=EPSG%3A3857&version=1.3.0&service=WMS&request=GetMap&layers=roads\
         &width=256&height=256&transparent=true&format=image%2Fpng&styles=&_salt=0.{column}{row}"
    )
}

const SPELLINGS: [Spelling; 9] = [
    wmts,
    wmts_in_another_order_and_case,
    wmts_of_a_workspace,
    wmts_of_a_layer,
    wmts_by_path,
    tms,
    tms_flipped,
    wms_c,
    wms_tiled,
];

#[test]
fn every_spelling_of_a_tile_has_the_same_number() {
    for (zoom, column, row) in [
        (0, 0, 0),
        (1, 1, 0),
        (2, 3, 1),
        (5, 8, 5),
        (10, 512, 600),
        (18, 132_003, 90_001),
    ] {
        let numbers: BTreeSet<_> = SPELLINGS
            .iter()
            .map(|spelling| some(&spelling(zoom, column, row)))
            .collect();
        assert_eq!(numbers.len(), 1, "{zoom}/{column}/{row}");
    }
}

#[test]
fn sixteen_neighbours_share_a_number_and_the_seventeenth_has_another() {
    for spelling in SPELLINGS {
        let inside: BTreeSet<_> = (8..12)
            .flat_map(|column| (4..8).map(move |row| (column, row)))
            .map(|(x, y)| some(&spelling(6, x, y)))
            .collect();
        assert_eq!(inside.len(), 1, "{}", spelling(6, 8, 4));
        for (column, row) in [(7, 4), (12, 4), (8, 3), (8, 8), (12, 8)] {
            assert!(
                !inside.contains(&some(&spelling(6, column, row))),
                "{}",
                spelling(6, column, row)
            );
        }
    }
}

#[test]
fn parameters_that_select_another_tile_set_change_the_number() {
    let base = wmts(6, 8, 4);
    let others = [
        base.replace("geor:roads", "geor:rivers"),
        base.replace("geor:roads", "GEOR:roads"),
        base.replace("image/png", "image/jpeg"),
        base.replace("STYLE=", "STYLE=line"),
        base.replace("900913", "4326"),
        base.replace("EPSG:900913:6", "EPSG:900913:7"),
        format!("{base}&TIME=2026-01-01"),
        format!("{base}&time=2026-01-02"),
        format!("{base}&ELEVATION=10"),
        format!("{base}&CQL_FILTER=a=1"),
        format!("{base}&DIM_RUN=3"),
        format!("{base}&VIEWPARAMS=a:1"),
        format!("{base}&ENV=a:1"),
    ];
    let numbers: BTreeSet<_> = others
        .iter()
        .chain([&base])
        .map(|target| some(target))
        .collect();
    assert_eq!(numbers.len(), others.len() + 1);
}

#[test]
fn parameters_that_do_not_change_the_tile_do_not_change_the_number() {
    let base = wmts(6, 8, 4);
    for same in [
        format!("{base}&_=1784283"),
        format!("{base}&authkey=x"),
        format!("{base}&TIME="),
        base.replace("image/png", "PNG"),
        base.replace("&STYLE=", ""),
        base.replace("geor:roads", "g%65or%3Aroads"),
        base.replace("/gwc/", "//gwc;x=y/"),
    ] {
        assert_eq!(some(&same), some(&base), "{same}");
    }
    let variant = format!("{base}&TIME=2026-01-01T00:00:00Z&ELEVATION=1");
    assert_eq!(
        some(&variant),
        some(&format!(
            "{base}&elevation=%31&time=2026-01-01T00%3A00%3A00Z"
        ))
    );
}

#[test]
fn geographic_grids_have_half_as_many_rows_as_columns() {
    // Level 4 has 32 x 16 tiles of 11.25 degrees.
    let wmts = "/geoserver/gwc/service/wmts?request=GetTile&layer=a:b&tilematrixset=EPSG:4326&tilematrix=EPSG:4326:4&tilerow=5\
                &tilecol=30&format=image/png";
    let tms = "/geoserver/gwc/service/tms/1.0.0/a:b@EPSG:4326@png/4/30/10.png";
    let without_a_grid = "/geoserver/gwc/service/tms/1.0.0/a:b/4/30/10.png";
    let wms = "/geoserver/wms?service=WMS&version=1.1.1&request=GetMap&tiled=true&layers=a:b&srs=EPSG:4326&width=256&height=256\
               &bbox=157.5,22.5,168.75,33.75&format=image/png";
    let latitude_first = "/geoserver/wms?service=WMS&version=1.3.0&request=GetMap&tiled=true&layers=a:b&crs=EPSG:4326&width=256\
                          &height=256&bbox=22.5,157.5,33.75,168.75&format=image/png";
    let longitude_first = wms
        .replace("1.1.1", "1.3.0")
        .replace("srs=EPSG:4326", "crs=CRS:84");
    for other in [tms, without_a_grid, wms, latitude_first, &longitude_first] {
        assert_eq!(some(other), some(wmts), "{other}");
    }
}

#[test]
fn in_a_grid_that_is_not_known_tiles_are_grouped_as_their_protocol_counts_them() {
    let wmts = |column: u32, row: u32| {
        some(&format!(
            "/geoserver/gwc/service/wmts?request=GetTile&layer=a:b&tilematrixset=EPSG:2154&tilematrix=EPSG:2154:9&tilerow={row}\
             &tilecol={column}"
        ))
    };
    let tms = |x: u32, y: u32| {
        some(&format!(
            "/geoserver/gwc/service/tms/1.0.0/a:b@EPSG:2154@png/9/{x}/{y}.png"
        ))
    };
    for group in [wmts, tms] as [fn(u32, u32) -> u64; 2] {
        assert!((8..12).all(|x| (4..8).all(|y| group(x, y) == group(8, 4))));
        assert!(
            [(7, 4), (12, 4), (8, 3), (8, 8)]
                .iter()
                .all(|&(x, y)| group(x, y) != group(8, 4))
        );
    }
}

#[test]
fn boxes_of_a_grid_that_is_not_known_are_grouped_by_four_wherever_it_begins() {
    let size = 4_891.969_810_25;
    let tile = |x: i32, y: i32| {
        let (west, south) = (
            -357_823.236_5 + f64::from(x) * size,
            6_037_008.693_9 + f64::from(y) * size,
        );
        some(&format!(
            "/geoserver/wms?service=WMS&request=GetMap&version=1.1.1&tiled=true&layers=a:b&srs=EPSG:2154&width=256&height=256\
             &format=image/png&bbox={west:.4},{south:.4},{:.4},{:.4}",
            west + size,
            south + size
        ))
    };
    let numbers: BTreeSet<_> = (0..16)
        .flat_map(|x| (0..16).map(move |y| (x, y)))
        .map(|(x, y)| tile(x, y))
        .collect();
    assert!(
        (16..=25).contains(&numbers.len()),
        "256 tiles are in {} groups",
        numbers.len()
    );
}

#[test]
fn an_address_that_cannot_be_read_has_no_number() {
    for target in [
        "/geoserver/gwc/service/wmts?request=GetTile&layer=a&tilematrixset=EPSG:900913&tilematrix=5&tilerow=x&tilecol=1",
        "/geoserver/gwc/service/wmts?request=GetTile",
        "/geoserver/gwc/service/tms/1.0.0/a@EPSG:900913@png/5/1/x.png",
        "/geoserver/gwc/service/tms/1.0.0/a@EPSG:900913@png/5/1/99999999999999999999.png",
        "/geoserver/gwc/service/gmaps?layers=a&zoom=1&x=0&y=0",
        "/geoserver/wms?service=WMS&request=GetMap&tiled=true&layers=a&srs=EPSG:3857&bbox=1,2,3",
        "/geoserver/wms?service=WMS&request=GetMap&tiled=true&layers=a&srs=EPSG:3857&bbox=3,2,1,4",
        "/geoserver/wms?service=WMS&request=GetMap&tiled=true&layers=a&srs=EPSG:3857&bbox=nan,2,inf,4",
        "/geoserver/wms?service=WMS&request=GetMap&tiled=true&layers=a&bbox=1,2,3,4",
    ] {
        let target = &of_a_tile(target);
        assert_eq!(number(target), None, "{target}");
    }
}

#[test]
fn a_level_that_does_not_exist_does_no_harm() {
    for zoom in ["63", "64", "99999", "4294967295"] {
        some(&format!(
            "/geoserver/gwc/service/tms/1.0.0/a@EPSG:900913@png/{zoom}/1/1.png"
        ));
        some(&format!(
            "/geoserver/gwc/service/wmts?request=GetTile&layer=a&tilematrixset=EPSG:900913&tilematrix={zoom}&tilerow=1&tilecol=1"
        ));
    }
    let boxed = "/geoserver/wms?service=WMS&request=GetMap&tiled=true&layers=a&srs=EPSG:3857&bbox=";
    for bbox in ["0,0,1e-300,1e-300", "-1e300,-1e300,1e300,1e300"] {
        some(&of_a_tile(&format!("{boxed}{bbox}")));
    }
}

proptest::proptest! {
    #[test]
    fn no_target_is_too_strange(
        start in proptest::sample::select(vec!["/wms?", "/gwc/service/wms?", "/gwc/service/wmts?", "/gwc/service/tms/1.0.0/", "/"]),
        rest: Vec<u8>,
    ) {
        let target = [format!("/geoserver{start}").as_bytes(), &rest].concat();
        metatile(&RequestHead { method: "GET", target: &target, content_type: None }, "/geoserver");
    }

    #[test]
    fn no_box_is_too_strange(west: f64, south: f64, east: f64, north: f64, srs in "EPSG:(3857|4326|2154)", version in "1.[13]") {
        let target = format!("/geoserver/wms?layers=a&srs={srs}&version={version}&bbox={west:e},{south:e},{east:e},{north:e}");
        metatile(&RequestHead { method: "GET", target: target.as_bytes(), content_type: None }, "/geoserver");
    }
}
