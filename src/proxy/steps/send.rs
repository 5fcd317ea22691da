//! An attempt sends the request: its head, then its body as it comes.

use std::time::{Duration, Instant};

use bytes::Bytes;
use pingora::Result;
use pingora::http::RequestHeader;
use pingora::proxy::Session;

use super::{compress, public_path, trace};
use crate::proxy::client::{body_prefix, max_forwards};
use crate::proxy::context::Context;
use crate::proxy::front_door::FrontDoor;
use crate::proxy::headers;
use crate::proxy::response::respond::Refusal;
use crate::proxy::session_cookie;
use crate::proxy::upstream::retry::AttemptProgress;

/// Notes the attempt's connection.
pub(in crate::proxy) fn connected(is_reused: bool, ctx: &mut Context) {
    let Some(attempt) = &mut ctx.attempt else {
        return;
    };
    attempt.connected = Some(if is_reused {
        Duration::ZERO
    } else {
        attempt.started.elapsed()
    });
    if let Some(websocket) = &attempt.websocket {
        websocket.begins();
    }
    attempt.progress = AttemptProgress::Sent;
    attempt.is_reused = is_reused;
}

/// Makes the request's head fit for the upstream.
pub(in crate::proxy) fn prepare_head(
    session: &Session,
    request: &mut RequestHeader,
    ctx: &Context,
) -> Result<()> {
    if ctx.body_prefix.is_some() && body_prefix::expects_continue(request) {
        // We have answered the expectation ourselves.
        request.remove_header(&http::header::EXPECT);
    }
    if let Some(replica) = ctx.named_replica() {
        session_cookie::give(request, &replica.name)?;
    }
    max_forwards::count_down(request)?;
    trace::pass_on(request, ctx)?;
    compress::restore_tags(request, ctx)?;
    headers::prepare_upstream(request, &ctx.client_view(session))?;
    public_path::state_prefix(request, ctx)
}

impl FrontDoor {
    /// Sends a part of the body, within the class's limit.
    pub(in crate::proxy) fn send_body(
        &self,
        session: &Session,
        body: &mut Option<Bytes>,
        is_end: bool,
        ctx: &mut Context,
    ) -> Result<()> {
        if is_end {
            ctx.is_request_complete = true;
        } else if body.is_some() {
            ctx.body_came = Some(Instant::now());
        }
        if let Some(prefix) = &mut ctx.body_prefix {
            prefix.prepend(body);
        }
        ctx.body_bytes += body.as_ref().map_or(0, |body| body.len() as u64);
        if ctx.body_bytes > ctx.class_config().max_body {
            return Err(self.refuse(ctx, Refusal::BodyTooLarge));
        }
        if is_end {
            self.let_move(session, ctx);
            let attempt = ctx.attempt.as_ref();
            if let Some(websocket) = attempt.and_then(|attempt| attempt.websocket.as_ref()) {
                websocket.ends();
            }
        }
        Ok(())
    }
}
