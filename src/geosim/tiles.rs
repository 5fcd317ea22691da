//! Tiles: WMTS, TMS, WMS-C and `tiled=true`. A tile in the cache is cheap. Otherwise one metatile
//! of 4 x 4 is rendered, and requests for its tiles at the same instance wait for it.

use std::sync::atomic::Ordering;

use super::answer::Answer;
use super::capabilities;
use super::capacity::{Done, GaveUp};
use super::data_directory::PUBLIC_LAYER;
use super::dispatch::{OwsCall, Scope, TilesCall};
use super::exception::{Dialect, ServiceException};
use super::life::Life;
use super::ows::finished;
use super::request::Request;
use super::tile_address::{TileAddress, Wrong};
use super::wms;
use super::wmts_capabilities;
use crate::ogc::RequestClass;

/// The age of all tiles. It is the same for each, because only conditional requests depend on it.
const LAST_MODIFIED: &str = "Thu, 01 Jan 2026 00:00:00 GMT";

pub(super) async fn answer(
    life: &Life,
    request: &Request,
    class: RequestClass,
    call: &TilesCall<'_>,
) -> (Answer, Option<Done>) {
    if class == RequestClass::Capabilities {
        let done = life
            .workshop
            .work(
                life.work_of(class, request),
                life.patience(),
                &life.controls,
            )
            .await;
        return finished(life, done, || capabilities_of(life, request, call));
    }
    if !matches!(call.service, "wmts" | "tms" | "wms") {
        return (Answer::not_found(), None);
    }
    match address_of(call).and_then(|address| known(life, call.scope, address)) {
        Err(wrong) => (refused(call, &wrong), None),
        Ok(address) => tile(life, request, &address).await,
    }
}

fn capabilities_of(life: &Life, request: &Request, call: &TilesCall<'_>) -> Answer {
    match call.service {
        "wms" => capabilities::tiled_wms(life, request, &call.kvp, call.scope),
        _ => wmts_capabilities::answer(life, request, &call.kvp, call.scope),
    }
}

fn address_of(call: &TilesCall<'_>) -> Result<TileAddress, Wrong> {
    match call.service {
        "tms" => TileAddress::from_tms(call.rest, call.kvp.is("flipy", "true")),
        "wms" => TileAddress::from_bbox(&call.kvp),
        _ => match call.rest.strip_prefix("/rest/") {
            Some(rest) => TileAddress::from_wmts_path(rest),
            None => TileAddress::from_wmts_kvp(&call.kvp),
        },
    }
}

/// The address, if its layer or group is in the catalog.
fn known(life: &Life, scope: Scope<'_>, mut address: TileAddress) -> Result<TileAddress, Wrong> {
    let is_group = life.catalog().contents.groups.contains_key(&address.layer);
    if is_group && scope.workspace.is_none() {
        return Ok(address);
    }
    match wms::find_layer(&life.catalog().contents, scope, &address.layer) {
        Ok(layer) => {
            address.layer = layer;
            Ok(address)
        }
        Err(_) => Err(Wrong::new(
            "layer",
            format!(
                "Unknown layer {}. Check the logfiles, it may not have loaded properly.",
                address.layer
            ),
        )),
    }
}

/// GeoWebCache answers 400, as XML for WMTS and as text for the others.
fn refused(call: &TilesCall<'_>, wrong: &Wrong) -> Answer {
    if call.service != "wmts" {
        return Answer::new(400, "text/plain", format!("400: {}", wrong.text));
    }
    let code = if wrong.is_out_of_range {
        "TileOutOfRange"
    } else {
        "InvalidParameterValue"
    };
    let report = ServiceException::new(code, wrong.parameter, wrong.text.clone())
        .answer(Dialect::Wcs11, &call.kvp);
    Answer {
        status: 400,
        content_type: "text/xml",
        ..report
    }
}

/// `tiled=true` on WMS itself: a tile where the box is one, else an ordinary map.
pub(super) async fn answer_map(
    life: &Life,
    request: &Request,
    call: &OwsCall<'_>,
) -> (Answer, Option<Done>) {
    let address =
        TileAddress::from_bbox(&call.kvp).and_then(|address| known(life, call.scope, address));
    match address {
        Ok(address) => tile(life, request, &address).await,
        Err(wrong) => {
            let work = life.work_of(RequestClass::Map, request);
            let done = life
                .workshop
                .work(work, life.patience(), &life.controls)
                .await;
            finished(life, done, || {
                wms::map(life, request, call).with("geowebcache-miss-reason", wrong.text)
            })
        }
    }
}

async fn tile(life: &Life, request: &Request, address: &TileAddress) -> (Answer, Option<Done>) {
    match fetch(life, request, address).await {
        Ok((done, tile)) => finished(life, Ok(done), || picture(life, request, address, tile)),
        Err(gave_up) => finished(life, Err(gave_up), Answer::not_found),
    }
}

/// A tile out of the cache, or just drawn.
#[derive(Clone, Copy)]
struct Tile {
    /// `HIT` or `MISS`.
    result: &'static str,
    /// The look of its layer when it was drawn.
    look: u64,
}

/// Does the work of a hit or of a miss. Waiting for another's rendering takes no capacity, only
/// time.
async fn fetch(
    life: &Life,
    request: &Request,
    address: &TileAddress,
) -> Result<(Done, Tile), GaveUp> {
    let (patience, metatile) = (life.patience(), address.metatile());
    let mut look = life.tiles().look_of(metatile);
    if look.is_none() {
        let lock = life.tile_locks.of(metatile);
        let _rendering = lock.lock().await;
        look = life.tiles().look_of(metatile);
        if look.is_none() {
            let look = life.look_of(&address.layer);
            let work = life.behaviour.metatile_time.draw(&life.controls.dice);
            let done = life.workshop.work(work, patience, &life.controls).await;
            if done.is_ok() {
                life.controls
                    .counts
                    .metatiles
                    .fetch_add(1, Ordering::Relaxed);
                life.tiles().put(metatile, &address.layer, look);
            }
            life.tile_locks.forget(metatile);
            let result = "MISS";
            return Ok((done?, Tile { result, look }));
        }
    }
    let done = life
        .workshop
        .work(
            life.work_of(RequestClass::Tile, request),
            patience,
            &life.controls,
        )
        .await?;
    let (result, look) = ("HIT", look.unwrap_or_default());
    Ok((done, Tile { result, look }))
}

fn picture(life: &Life, request: &Request, address: &TileAddress, tile: Tile) -> Answer {
    let answer = if request.header("if-modified-since") == Some(LAST_MODIFIED) {
        Answer::empty(304)
    } else {
        let is_overlay = address.layer != PUBLIC_LAYER;
        Answer::ok("image/png", life.painter.paint_tile(address, is_overlay))
    };
    answer
        .with("X-Geosim-Look", format!("{:016x}", tile.look))
        .with("geowebcache-cache-result", tile.result)
        .with("geowebcache-tile-index", address.index())
        .with("geowebcache-gridset", address.gridset.clone())
        .with("Last-Modified", LAST_MODIFIED)
        .with("Cache-Control", "no-cache, no-store, must-revalidate")
        .with("Pragma", "no-cache")
        .with("Expires", "0")
}
