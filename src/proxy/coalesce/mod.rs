//! Identical requests at the same time: one goes upstream, all get its answer.
//!
//! ```text
//!  first   request_filter --lead--> upstream ... head, body kept ... end: land --+
//!  others  request_filter --follow, wait here ------------------------------------+--> the same answer, their own headers
//!                                  \--- the leader fails, leaves, is too large or too slow: each on its own way
//! ```
//!
//! Promises:
//!
//! * Only requests that differ in nothing that can change the answer share one (`same.rs`), and
//!   only a whole, good answer is shared (`answer.rs`): no error, no exception report, nothing that
//!   broke off, nothing with a cookie.
//! * Nobody waits for a leader that is gone: the leader's part is a guard in its context, and
//!   dropping it releases all.
//! * A request never gets an answer that was asked for before a write that had ended when the
//!   request came, or before the replicas had a change of the catalog.
//! * What is kept is bounded: bytes of one answer, of all of them, flights, followers
//!   (`flights.rs`). A leader that nobody has followed when its answer begins keeps nothing.

mod answer;
mod flights;
mod hash;
mod same;

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::Method;
use pingora::http::ResponseHeader;
use pingora::proxy::Session;
use pingora::{BError, Error, Result};

use answer::Kept;
pub(super) use answer::SharedAnswer;
use flights::{Boarding, Flights, Follower, Leader};
use same::Asker;

use crate::config::Coalesce;
use crate::proxy::context::Context;
use crate::proxy::front_door::FrontDoor;
use crate::proxy::headers;
use crate::proxy::hooks::{client_view, peer};

/// Flights of the whole process, and the count of writes that divides those before from those
/// after.
#[derive(Debug, Default)]
pub(super) struct Coalescing {
    flights: Arc<Flights>,
    writes: AtomicU64,
}

/// A leader's part, in its context from the first attempt to the end.
#[derive(Debug)]
pub(super) struct Leading {
    leader: Leader,
    /// What has come of the answer.
    kept: Option<Kept>,
}

impl FrontDoor {
    /// Follows an identical request that is under way, or leads. True if the request is answered.
    pub(super) async fn share(&self, session: &mut Session, ctx: &mut Context) -> Result<bool> {
        match self.board(session, ctx) {
            Boarding::GoesAlone => Ok(false),
            Boarding::Leads(leader) => {
                ctx.leading = Some(Leading { leader, kept: None });
                Ok(false)
            }
            Boarding::Follows(follower) => self.follow(session, ctx, follower).await,
        }
    }

    fn board(&self, session: &Session, ctx: &Context) -> Boarding {
        thread_local! {
            static DESCRIPTION: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
        }
        let coalesce = ctx.class_config().coalesce;
        if coalesce == Coalesce::Off {
            return Boarding::GoesAlone;
        }
        let asker = Asker {
            client: client_view(session, ctx),
            address: (coalesce == Coalesce::SameAddress).then(|| peer(session)),
            writes: self.parts.coalescing.writes.load(Ordering::Relaxed),
            view: Arc::as_ptr(&ctx.snapshot) as usize,
            reads_from_main: ctx.reads_from_main,
        };
        DESCRIPTION.with_borrow_mut(|description| {
            description.clear();
            let can_be_shared = same::describe(session.req_header(), &asker, description);
            if can_be_shared {
                self.parts.coalescing.flights.board(description)
            } else {
                Boarding::GoesAlone
            }
        })
    }

    async fn follow(
        &self,
        session: &mut Session,
        ctx: &mut Context,
        follower: Follower,
    ) -> Result<bool> {
        let patience = ctx.class_config().first_byte;
        let landed = tokio::select! {
            biased;
            landed = follower.answer(patience) => landed,
            gone = until_gone(session) => return Err(gone),
        };
        let Some(answer) = landed else {
            return Ok(false);
        };
        self.parts.metrics.coalesced(ctx.class());
        ctx.shared = Some(Arc::clone(&answer));
        pass_on(session, ctx, &answer)
            .await
            .map_err(|error| error.into_down())?;
        Ok(true)
    }

    /// Called with the head of a final answer that is good as far as its head tells.
    pub(super) fn keep_head(
        &self,
        session: &Session,
        response: &ResponseHeader,
        ctx: &mut Context,
    ) {
        self.note_write(session, ctx);
        let Some(leading) = &mut ctx.leading else {
            return;
        };
        let is_head = session.req_header().method == Method::HEAD;
        let is_good = ctx
            .attempt
            .as_ref()
            .is_some_and(|attempt| attempt.is_unblemished());
        leading.kept = None;
        if is_good && answer::may_be_shared(response, is_head) && leading.leader.begin() {
            leading.kept = Some(Kept::new(
                response.clone(),
                is_head,
                self.parts.coalescing.flights.claim(),
            ));
        } else {
            ctx.leading = None;
        }
    }

    /// Called with every part of the body that has passed all judges.
    pub(super) fn keep_body(
        &self,
        session: &Session,
        chunk: Option<&bytes::Bytes>,
        is_end: bool,
        ctx: &mut Context,
    ) {
        if is_end {
            self.note_write(session, ctx);
        }
        let Some(kept) = ctx
            .leading
            .as_mut()
            .and_then(|leading| leading.kept.as_mut())
        else {
            return;
        };
        if chunk.is_some_and(|chunk| !kept.add(chunk)) {
            ctx.leading = None;
        } else if is_end {
            land(ctx);
        }
    }

    /// Called at the end of every request.
    pub(super) fn conclude_flight(
        &self,
        session: &Session,
        error: Option<&Error>,
        ctx: &mut Context,
    ) {
        self.note_write(session, ctx);
        if error.is_none() {
            land(ctx);
        }
        ctx.leading = None;
    }

    /// A write is about to end, or has: whoever comes after it does not follow who came before.
    fn note_write(&self, session: &Session, ctx: &Context) {
        if ctx.class().may_write(session.req_header().method.as_str()) {
            self.parts.coalescing.writes.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Leading {
    /// The attempt failed, and another follows.
    pub(super) fn start_over(&mut self) {
        self.kept = None;
        self.leader.wait_again();
    }
}

/// Gives the answer to all who wait for it, if it is all there and speaks for itself.
fn land(ctx: &mut Context) {
    let Some(Leading {
        leader,
        kept: Some(kept),
    }) = ctx.leading.take()
    else {
        return;
    };
    let Some(attempt) = ctx
        .attempt
        .as_ref()
        .filter(|attempt| attempt.is_success && attempt.is_unblemished())
    else {
        return;
    };
    if let Some(answer) = kept.whole(attempt.upstream.name.clone(), ctx.request_id) {
        leader.land(Arc::new(answer));
    }
}

/// Resolves when the client closes its connection, or sends what it should not.
pub(super) async fn until_gone(session: &mut Session) -> BError {
    match session.downstream_session.read_body_or_idle(true).await {
        Err(error) => error.into_down(),
        Ok(_) => std::future::pending().await,
    }
}

async fn pass_on(session: &mut Session, ctx: &Context, answer: &SharedAnswer) -> Result<()> {
    let mut head = Box::new(answer.head.clone());
    headers::prepare_downstream(&mut head, &client_view(session, ctx))?;
    if let Some(rate) = &ctx.rate {
        rate.tell(&mut head)?;
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
