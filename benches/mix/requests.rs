//! Arrivals as requests: what GeoServer's clients send, through a portal that names their users.

use geofront::geosim::METATILE;

use crate::arrivals::{Arrival, Kind};

/// Users of the portal: none of them alone reaches a limit for one user.
const USERS: u64 = 200;
/// Tiles along each side of the part of the map that is looked at.
const SIDE: u64 = 128;
/// Where it begins, at zoom 10.
const ORIGIN: u64 = 256;

/// `number` makes every request different, so no two can share an answer.
pub(crate) fn target(arrival: &Arrival, number: usize) -> String {
    let what = match arrival.kind {
        Kind::Tile => tile(arrival.chance % SIDE, arrival.chance / SIDE % SIDE),
        Kind::Map => MAP.to_owned(),
        Kind::Heavy if arrival.is_print => PRINT.to_owned(),
        Kind::Heavy if arrival.chance.is_multiple_of(2) => FEATURES.to_owned(),
        Kind::Heavy => PROCESS.to_owned(),
    };
    format!(
        "{what}&geosim_work={}us&geosim_tag={number}",
        arrival.work.as_micros()
    )
}

const MAP: &str = "/geoserver/wms?SERVICE=WMS&VERSION=1.3.0&REQUEST=GetMap&LAYERS=geor:public_layer&STYLES=&FORMAT=image/png\
    &CRS=EPSG:3857&BBOX=-626172,5009377,0,5635549&WIDTH=512&HEIGHT=512";
/// A page of A3 at 240 dpi.
const PRINT: &str = "/geoserver/wms?SERVICE=WMS&VERSION=1.3.0&REQUEST=GetMap&LAYERS=geor:public_layer&STYLES=&FORMAT=image/png\
    &CRS=EPSG:3857&BBOX=-626172,5009377,0,5635549&WIDTH=4000&HEIGHT=2800";
const FEATURES: &str = "/geoserver/wfs?SERVICE=WFS&VERSION=2.0.0&REQUEST=GetFeature&TYPENAMES=geor:municipalities&OUTPUTFORMAT=application/json";
const PROCESS: &str =
    "/geoserver/wps?SERVICE=WPS&VERSION=1.0.0&REQUEST=Execute&IDENTIFIER=gs:Aggregate";

fn tile(column: u64, row: u64) -> String {
    format!(
        "/geoserver/gwc/service/wmts?SERVICE=WMTS&VERSION=1.0.0&REQUEST=GetTile&LAYER=geor:public_layer&STYLE=\
         &TILEMATRIXSET=EPSG:900913&TILEMATRIX=EPSG:900913:10&TILEROW={}&TILECOL={}&FORMAT=image/png",
        ORIGIN + row,
        ORIGIN + column
    )
}

/// One tile of each metatile: once it was requested, all others are in the cache.
pub(crate) fn metatiles() -> Vec<String> {
    let corners = || (0..SIDE).step_by(METATILE as usize);
    corners()
        .flat_map(|row| corners().map(move |column| tile(column, row)))
        .collect()
}

/// What answers when the front door stands.
pub(crate) fn first_target() -> String {
    tile(0, 0)
}

pub(crate) fn user(arrival: &Arrival) -> String {
    format!("user{}", user_number(arrival))
}

pub(crate) fn user_number(arrival: &Arrival) -> u64 {
    (arrival.chance >> 32) % USERS
}
