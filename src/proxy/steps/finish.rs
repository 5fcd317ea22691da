//! A request ends: the cluster learns its outcome, it is counted, and its access line is written.

use std::time::{Duration, Instant, SystemTime};

use pingora::Error;
use pingora::proxy::Session;

use super::{public_path, refuse};
use crate::config::UpstreamName;
use crate::metrics::ClientAnswer;
use crate::ogc::Service;
use crate::proxy::access_log::{End, Record};
use crate::proxy::client::session::{has_answered, peer};
use crate::proxy::connection::delivery::Delivery;
use crate::proxy::connection::inbox::is_too_slow;
use crate::proxy::context::Context;
use crate::proxy::front_door::FrontDoor;
use crate::proxy::response::respond::Refusal;
use crate::proxy::upstream::failure;

impl FrontDoor {
    /// Called once for every request that had a context, however it ended.
    pub(in crate::proxy) fn finish(
        &self,
        session: &Session,
        error: Option<&Error>,
        ctx: &mut Context,
    ) {
        conclude_attempt(self, session, error, ctx);
        if error.is_some_and(is_too_slow) {
            self.parts.metrics.slow_clients.sender_given_up();
        }
        let total = Instant::now().saturating_duration_since(ctx.started);
        let end = end(error, ctx);
        count(self, session, ctx, total, end);
        write_line(self, session, ctx, total, end);
        self.finish_trace(session, ctx, total, end);
    }
}

/// Reports the last attempt and releases its slot. For an answer with a body, both have happened at
/// its end.
fn conclude_attempt(
    front_door: &FrontDoor,
    session: &Session,
    error: Option<&Error>,
    ctx: &mut Context,
) {
    if error.is_none() {
        // The answer is with the client: an error that would have it tried elsewhere comes too
        // late.
        front_door
            .finish_inspection(session, ctx)
            .unwrap_or_default();
        front_door.answer_ended(ctx);
    } else if let Some(attempt) = &mut ctx.attempt {
        front_door.note_old_tiles(attempt);
        attempt.give_back();
    }
    ctx.set_holds_slot(false);
    if let Some(delivery) = ctx.delivery.as_ref().filter(|_| error.is_none()) {
        delivery.set_ends_with_connection(false);
    }
}

fn end(error: Option<&Error>, ctx: &Context) -> End {
    match (error, ctx.refusal.filter(|_| ctx.is_refused)) {
        (None, _) => End::Ok,
        (Some(_), Some(refusal)) => End::Refused(refusal.reason()),
        (Some(error), None) if refuse::is_client_gone(error) => {
            let is_given_up = |delivery: &Delivery| delivery.is_given_up();
            if ctx.delivery.as_ref().is_some_and(is_given_up) {
                End::ClientTooSlow
            } else {
                End::ClientAbort
            }
        }
        (Some(error), None) if failure::is_timeout(error.etype()) => End::Timeout,
        (Some(_), None) => End::UpstreamReset,
    }
}

fn count(front_door: &FrontDoor, session: &Session, ctx: &Context, total: Duration, end: End) {
    let metrics = &front_door.parts.metrics;
    let class = ctx.class();
    match end {
        End::Refused(reason) => metrics.refused(class, reason),
        End::ClientAbort => metrics.client_aborted(class),
        End::ClientTooSlow => {
            metrics.client_aborted(class);
            metrics.slow_clients.reader_given_up();
        }
        End::Ok | End::UpstreamReset | End::Timeout => {}
    }
    // A refusal is our answer alone, unless it reports how the last attempt ended.
    let reports_attempt = !ctx.is_refused || ctx.refusal.is_some_and(Refusal::reports_attempt);
    let attempt = ctx.attempt.as_ref().filter(|_| reports_attempt);
    let upstream = attempt.map(|attempt| &*attempt.peer.metrics);
    let first_byte = attempt.and_then(|attempt| attempt.first_byte);
    metrics.finished(class, upstream, answered(session, end), total, first_byte);
}

/// Returns the answer that the client got. A client that left is no reason to doubt its answer.
fn answered(session: &Session, end: End) -> ClientAnswer {
    let is_broken_off = matches!(end, End::UpstreamReset | End::Timeout);
    match status(session) {
        None => ClientAnswer::Nothing,
        Some(_) if is_broken_off => ClientAnswer::Truncated,
        Some(status) => ClientAnswer::Whole(status),
    }
}

fn write_line(front_door: &FrontDoor, session: &Session, ctx: &Context, total: Duration, end: End) {
    let request = session.req_header();
    let target = request.raw_path();
    let public_target = public_path::public_target(target, ctx);
    let config = &ctx.snapshot.config;
    let (attempt, shared) = (ctx.attempt.as_ref(), ctx.shared.as_deref());
    let user = request
        .headers
        .get("sec-username")
        .filter(|_| ctx.trust.identity);
    let record = Record {
        time: SystemTime::now()
            .checked_sub(total)
            .unwrap_or(SystemTime::UNIX_EPOCH),
        request_id: ctx.request_id.as_str(),
        client: ctx
            .client_identity(session)
            .client(|address| ctx.snapshot.config.trust.allows_origin(address)),
        peer: peer(session),
        method: request.method.as_str(),
        target: &public_target,
        status: status(session),
        class: ctx.class(),
        service: ctx.classified.service.map(Service::as_str),
        operation: ctx.classified.operation,
        layer: ctx.classified.layer.map(|span| span.of(target)),
        upstream: attempt
            .map(|attempt| &attempt.upstream.name)
            .or_else(|| shared.map(|answer| &answer.upstream))
            .map(UpstreamName::as_str),
        coalesced: shared.map(|answer| answer.leader.as_str()),
        attempts: ctx.attempts,
        queue: ctx.queued,
        connect: attempt.and_then(|attempt| attempt.connected),
        first_byte: attempt.and_then(|attempt| attempt.first_byte),
        total,
        bytes: bytes_sent(session, ctx, end),
        end,
        user: user.map(http::HeaderValue::as_bytes),
        route: ctx.route().map(|route| &*route.name),
        named: ctx.named.as_ref().map(|upstream| upstream.name.as_str()),
        cluster: config.cluster.as_ref().map(UpstreamName::as_str),
        trace: ctx.trace.as_ref().map(|trace| trace.span().trace),
    };
    front_door.parts.recent.note(&record, ctx.started + total);
    front_door.parts.access_log.log(&record);
}

/// Bytes of the answer's body that the client's connection took.
pub(super) fn bytes_sent(session: &Session, ctx: &Context, end: End) -> u64 {
    let unsent = match end {
        End::ClientAbort | End::ClientTooSlow => ctx.delivery.as_ref().map_or(0, Delivery::unsent),
        // The rest will be sent.
        End::Ok | End::UpstreamReset | End::Timeout | End::Refused(_) => 0,
    };
    session.body_bytes_sent().saturating_sub(unsent) as u64
}

/// The status that the client got; `None` if it got nothing.
pub(super) fn status(session: &Session) -> Option<u16> {
    session
        .response_written()
        .filter(|_| has_answered(session))
        .map(|response| response.status.as_u16())
}
