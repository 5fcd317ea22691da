//! A request follows an identical one that is under way, or leads others: see `coalesce`.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::Method;
use http::header::DATE;
use pingora::http::ResponseHeader;
use pingora::proxy::Session;
use pingora::{Error, Result};

use super::{compress, public_path, trace};
use crate::config::Coalesce;
use crate::proxy::client::session::{peer, until_gone};
use crate::proxy::coalesce::{FlightRole, Follower, Leading, SharedAnswer, SharingScope};
use crate::proxy::context::{Attempt, Context};
use crate::proxy::front_door::FrontDoor;
use crate::proxy::headers;
use crate::proxy::response::cors;

impl FrontDoor {
    /// Follows an identical request that is under way, or leads. Returns true if the request is
    /// answered.
    pub(in crate::proxy) async fn share(
        &self,
        session: &mut Session,
        ctx: &mut Context,
    ) -> Result<bool> {
        match self.join(session, ctx) {
            FlightRole::Alone => Ok(false),
            FlightRole::Leader(leader) => {
                ctx.leading = Some(Leading::new(leader));
                Ok(false)
            }
            FlightRole::Follower(follower) => self.follow(session, ctx, follower).await,
        }
    }

    fn join(&self, session: &Session, ctx: &Context) -> FlightRole {
        let coalesce = ctx.class_config().coalesce;
        if coalesce == Coalesce::Off || ctx.named.is_some() {
            return FlightRole::Alone;
        }
        let scope = SharingScope {
            client: ctx.client_view(session),
            address: (coalesce == Coalesce::SameAddress).then(|| peer(session)),
            writes: self.parts.coalescing.writes(),
            view: Arc::as_ptr(&ctx.snapshot) as usize,
            reads_from_main: ctx.reads_from_main,
            route: ctx.route,
            coding: compress::coding(session.req_header(), ctx),
        };
        self.parts.coalescing.join(session.req_header(), &scope)
    }

    async fn follow(
        &self,
        session: &mut Session,
        ctx: &mut Context,
        follower: Follower,
    ) -> Result<bool> {
        let patience = ctx.class_config().first_byte;
        let since = Instant::now();
        let answer = tokio::select! {
            biased;
            answer = follower.answer(patience) => answer,
            gone = until_gone(session) => return Err(gone),
        };
        trace::followed(ctx, since, answer.as_deref());
        let Some(answer) = answer else {
            return Ok(false);
        };
        self.parts.metrics.coalesced(ctx.class());
        ctx.shared = Some(Arc::clone(&answer));
        pass_on(session, ctx, &answer)
            .await
            .map_err(|error| error.into_down())?;
        Ok(true)
    }

    /// Keeps the head of a final answer that is good as far as its head shows.
    pub(in crate::proxy) fn keep_head(
        &self,
        session: &Session,
        response: &ResponseHeader,
        ctx: &mut Context,
    ) {
        self.count_write(session, ctx);
        let is_good = ctx
            .attempt
            .as_ref()
            .is_some_and(|attempt| attempt.is_unblemished());
        let is_head = session.req_header().method == Method::HEAD;
        let coalescing = &self.parts.coalescing;
        let keep =
            |leading: &mut Leading| is_good && leading.keep_head(coalescing, response, is_head);
        if !ctx.leading.as_mut().is_some_and(keep) {
            ctx.leading = None;
        }
    }

    /// Keeps a part of the body that has passed all inspection.
    pub(in crate::proxy) fn keep_body(
        &self,
        session: &Session,
        chunk: Option<&Bytes>,
        is_end: bool,
        ctx: &mut Context,
    ) {
        if is_end {
            self.count_write(session, ctx);
        }
        let Some(leading) = &mut ctx.leading else {
            return;
        };
        // An exception of a broken upstream is no evidence about the next answer.
        let is_exception = |attempt: &Attempt| attempt.is_exception && attempt.failure.is_none();
        if ctx.attempt.as_ref().is_some_and(is_exception) {
            // The followers do not wait for the end of this answer.
            leading.go_alone();
            ctx.leading = None;
            return;
        }
        if chunk.is_some_and(|chunk| !leading.keep_body(chunk)) {
            ctx.leading = None;
        } else if is_end {
            complete(ctx);
        }
    }

    /// Ends the flight. Called at the end of every request.
    pub(in crate::proxy) fn conclude_flight(
        &self,
        session: &Session,
        error: Option<&Error>,
        ctx: &mut Context,
    ) {
        self.count_write(session, ctx);
        if error.is_none() {
            complete(ctx);
        }
        ctx.leading = None;
    }

    fn count_write(&self, session: &Session, ctx: &Context) {
        if ctx.class().may_write(session.req_header().method.as_str()) {
            self.parts.coalescing.count_write();
        }
    }
}

/// Gives the answer to all followers, if all of it is there and nothing speaks against it.
fn complete(ctx: &mut Context) {
    let Some(leading) = ctx.leading.take() else {
        return;
    };
    let attempt = ctx
        .attempt
        .as_ref()
        .filter(|attempt| attempt.is_success && attempt.is_unblemished());
    if let Some(attempt) = attempt {
        let trace = ctx.trace.as_ref().map(|trace| trace.span());
        leading.complete(attempt.upstream.name.clone(), ctx.request_id, trace);
    }
}

async fn pass_on(session: &mut Session, ctx: &Context, answer: &SharedAnswer) -> Result<()> {
    let mut head = Box::new(answer.head.clone());
    headers::prepare_downstream(&mut head, &ctx.client_view(session))?;
    cors::apply(&ctx.snapshot.config.cors, session.req_header(), &mut head)?;
    public_path::mend(session.req_header(), &mut head, ctx)?;
    if let Some(rate) = &ctx.rate {
        rate.write_headers(&mut head)?;
    }
    if let Some(delivery) = &ctx.delivery {
        delivery.set_date(head.headers.get(DATE).cloned());
    }
    session
        .write_response_header(head, answer.body.is_empty())
        .await?;
    for chunk in &answer.body {
        session
            .write_response_body(Some(chunk.clone()), false)
            .await?;
    }
    session.write_response_body(None, true).await
}
