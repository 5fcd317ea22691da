//! The answer to a routed request: capacity first, then the part of GeoServer that the request
//! names.

use super::answer::Answer;
use super::capacity::{Done, GaveUp};
use super::dispatch::{OwsCall, Part, Route};
use super::exception::{Dialect, ServiceException};
use super::kvp::Kvp;
use super::life::Life;
use super::ows::{finished, on_this_host};
use super::request::Request;
use super::{
    control_url, csw, ogc_api, printing, rest, tiles, tiles_rest, wcs, web, wfs, wms, wps,
};
use crate::ogc::RequestClass;

/// The answer, and the capacity it holds until it is written.
pub(super) async fn execute(
    life: &Life,
    request: &Request,
    route: Route<'_>,
) -> (Answer, Option<Done>) {
    let class = route.class;
    match route.part {
        Part::Ows(call) if class == RequestClass::Tile => {
            tiles::answer_map(life, request, &call).await
        }
        Part::Ows(call) => {
            let done = work(life, class, request).await;
            finished(life, done, || ows(life, request, &call))
        }
        Part::Unparsable => (unparsable(), None),
        Part::OgcApi(path) => {
            let done = work(life, class, request).await;
            finished(life, done, || ogc_api::answer(life, request, path))
        }
        Part::Printing(path) if printing::draws(path) => {
            let done = work(life, class, request).await;
            finished(life, done, || printing::answer(life, request, path))
        }
        Part::Printing(path) => (printing::answer(life, request, path), None),
        Part::Tiles(call) => tiles::answer(life, request, class, &call).await,
        Part::Rest(path) => (rest::answer(life, request, path).await, None),
        Part::TilesRest(path) => (tiles_rest::answer(life, request, path), None),
        Part::Web(page) => (web::answer(life, request, page).await, None),
        Part::Login => (web::login(life, request), None),
        Part::Logout => (web::logout(request), None),
        Part::Static(path) => (web::file(request, path), None),
        Part::Preflight => (web::preflight(), None),
        Part::RedirectTo(path) => (Answer::redirect(on_this_host(request, path)), None),
        Part::Controls => (control_url::answer(life, request), None),
        Part::Unmapped => (Answer::not_found(), None),
    }
}

/// The work before an answer. With an empty catalog there is none: layers are looked up while the
/// request is parsed, before control-flow or a renderer sees it. So a GeoServer that reloads is the
/// quickest of all, and draws the load to itself.
async fn work(life: &Life, class: RequestClass, request: &Request) -> Result<Done, GaveUp> {
    if life.catalog().contents.layers.is_empty() {
        return Ok(Done::at_once());
    }
    life.workshop
        .work(
            life.work_of(class, request),
            life.patience(),
            &life.controls,
        )
        .await
}

fn ows(life: &Life, request: &Request, call: &OwsCall<'_>) -> Answer {
    match call.dialect {
        Dialect::Wms111 | Dialect::Wms130 => wms::answer(life, request, call),
        Dialect::Wfs10 | Dialect::Wfs11 | Dialect::Wfs20 => wfs::answer(life, request, call),
        Dialect::Wcs10 | Dialect::Wcs11 | Dialect::Wcs20 => wcs::answer(life, request, call),
        Dialect::Wps10 => wps::answer(life, request, call),
        Dialect::Csw202 => csw::answer(life, request, call),
        Dialect::Ows => no_service(call),
    }
}

fn no_service(call: &OwsCall<'_>) -> Answer {
    let exception = match call.kvp.get("service") {
        Some(service) => ServiceException::new(
            "InvalidParameterValue",
            "service",
            format!("No service: ( {service} )"),
        ),
        None => ServiceException::new(
            "MissingParameterValue",
            "service",
            "Could not determine service",
        ),
    };
    // A client that lists accepted versions speaks OWS 1.1, in which WCS 1.1 has its reports too.
    let dialect = if call.kvp.get("acceptversions").is_some() {
        Dialect::Wcs11
    } else {
        Dialect::Ows
    };
    exception.answer(dialect, &call.kvp)
}

/// No service was found before the parser failed: the default handler answers.
fn unparsable() -> Answer {
    let text = "ParseError at [row,col]:[1,1] Message: Content is not allowed in prolog.";
    ServiceException::internal(text).answer(Dialect::Ows, &Kvp::new(b"", b""))
}
