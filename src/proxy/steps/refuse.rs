//! The proxy answers instead of an upstream.

use std::time::SystemTime;

use http::header::STRICT_TRANSPORT_SECURITY;
use pingora::proxy::Session;
use pingora::{BError, Error, ErrorSource, ErrorType};

use crate::ogc;
use crate::proxy::client::head::head;
use crate::proxy::client::session::has_answered;
use crate::proxy::connection::inbox::{fault_of, is_too_slow};
use crate::proxy::context::Context;
use crate::proxy::front_door::FrontDoor;
use crate::proxy::response::cors;
use crate::proxy::response::respond::{self, Refusal};
use crate::proxy::upstream::failure;

/// We answer instead of an upstream; `Context::refusal` is the answer.
pub(super) const REFUSED: ErrorType = ErrorType::Custom("Refused");

impl FrontDoor {
    /// Ends the request with our own answer.
    pub(super) fn refuse(&self, ctx: &mut Context, refusal: Refusal) -> BError {
        ctx.refusal = Some(refusal);
        Error::new_in(REFUSED)
    }
}

/// Writes our answer, unless one has begun or the client is gone. Returns its status, 0 for none.
pub(in crate::proxy) async fn answer(
    session: &mut Session,
    error: &Error,
    ctx: &mut Context,
) -> u16 {
    if has_answered(session) || is_client_gone(error) {
        return 0;
    }
    let too_slow = is_too_slow(error).then_some(Refusal::BodyTimeout);
    let fault = fault_of(error).map(Refusal::Malformed).or(too_slow);
    let refusal = fault.or(ctx.refusal).unwrap_or_else(|| of_error(error));
    ctx.refusal = Some(refusal);
    let shape = ogc::error_shape(&ctx.classified, &head(session.req_header()));
    let rate = ctx
        .rate
        .as_deref()
        .filter(|_| refusal == Refusal::RateLimited);
    let retry_after = ctx
        .retry_after
        .or_else(|| rate.map(|rate| rate.retry_after(SystemTime::now())));
    let (mut response, body) = respond::build(
        refusal,
        ctx.refusal_detail.as_deref(),
        retry_after,
        shape,
        &ctx.request_id,
    );
    if let Some(rate) = rate {
        // A header that cannot be written is left out: the status matters most.
        rate.write_headers(&mut response).unwrap_or_default();
    }
    // As below.
    cors::apply(
        &ctx.snapshot.config.cors,
        session.req_header(),
        &mut response,
    )
    .unwrap_or_default();
    if let Some(hsts) = ctx
        .arrival
        .as_ref()
        .and_then(|arrival| arrival.hsts.as_ref())
    {
        // As above.
        response
            .insert_header(STRICT_TRANSPORT_SECURITY, hsts.clone())
            .unwrap_or_default();
    }
    let status = response.status.as_u16();
    if let Some(delivery) = &ctx.delivery {
        // An answer that was discarded may have left them.
        delivery.set_date(None);
        delivery.set_ends_with_connection(false);
    }
    // What the client still wanted to send is not read: the connection ends with this answer.
    session.set_keepalive(None);
    let written = session
        .downstream_session
        .write_error_response(response, body)
        .await;
    ctx.is_refused = written.is_ok();
    if ctx.is_refused { status } else { 0 }
}

/// A failure that no hook has named.
fn of_error(error: &Error) -> Refusal {
    match error.esource() {
        ErrorSource::Upstream if failure::is_timeout(error.etype()) => Refusal::FirstByteTimeout,
        ErrorSource::Upstream => Refusal::AllFailed,
        ErrorSource::Downstream if failure::is_timeout(error.etype()) => Refusal::BodyTimeout,
        ErrorSource::Downstream => Refusal::BadRequest,
        ErrorSource::Internal | ErrorSource::Unset => Refusal::Internal,
    }
}

/// The client has left, or cannot be written to.
pub(in crate::proxy) fn is_client_gone(error: &Error) -> bool {
    *error.esource() == ErrorSource::Downstream
        && fault_of(error).is_none()
        && !is_too_slow(error)
        && matches!(
            error.etype(),
            ErrorType::ReadError
                | ErrorType::WriteError
                | ErrorType::WriteTimedout
                | ErrorType::ConnectionClosed
        )
}
