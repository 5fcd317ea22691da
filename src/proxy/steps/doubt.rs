//! A replica does not know a layer of the request, or refuses it: the main is tried, and its answer
//! decides whether the replica is stale. See `upstream/second_opinion.rs`.

use std::time::Instant;

use percent_encoding::percent_decode;
use pingora::proxy::Session;
use pingora::{BError, Error};

use super::retry::{REJECTED_ANSWER, is_body_replayable};
use super::session_view::has_session;
use crate::cluster::{Event, Outcome};
use crate::ogc::Retryable;
use crate::proxy::client::session::has_answered;
use crate::proxy::context::Context;
use crate::proxy::front_door::FrontDoor;
use crate::proxy::response::finding::AnswerFinding;
use crate::proxy::upstream::second_opinion::SecondOpinion;

/// Characters of a layer's name that are kept.
const MAX_LAYER: usize = 200;

impl FrontDoor {
    /// The current attempt's replica does not know a layer of the request, or refuses it to a
    /// client that has a session on the main. Returns an error that makes Pingora try the main, if
    /// that is allowed.
    pub(super) fn seek_second_opinion(
        &self,
        session: &Session,
        ctx: &mut Context,
    ) -> Option<BError> {
        let attempt = ctx.attempt.as_ref()?;
        let snapshot = self.parts.control.snapshot();
        let lacks_a_change =
            snapshot.is_stale(&attempt.upstream) && snapshot.is_concerned(ctx.about(session));
        let may_ask = ctx.rule == Retryable::Yes
            && ctx.doubt == SecondOpinion::None
            && !has_answered(session)
            && is_body_replayable(session, ctx)
            && ctx
                .tried
                .or_beyond_group(|tried| snapshot.others_know_better(&attempt.upstream, tried))
            && (lacks_a_change || self.parts.opinions.take(Instant::now()));
        if !may_ask {
            return None;
        }
        ctx.doubt = SecondOpinion::About {
            replica: attempt.upstream.id,
            sent: attempt.started,
            lacks_a_change,
        };
        let upstream = Some(&*attempt.peer.metrics);
        let reason = if has_session(session, ctx) {
            "session"
        } else {
            "unknown-layer"
        };
        self.parts.metrics.retried(ctx.class(), upstream, reason);
        if let Some(trace) = &mut ctx.trace {
            trace.retry(reason);
        }
        let mut error = Error::new_up(REJECTED_ANSWER);
        error.set_retry(true);
        Some(error)
    }

    /// The main was tried because a replica did not know a layer: if the main does, the replica is
    /// stale. Not so for a client with a session, which the main may show more.
    pub(super) fn settle_doubt(
        &self,
        session: &Session,
        stale_seen: Event,
        finding: &AnswerFinding,
        ctx: &mut Context,
    ) {
        let is_from_main = ctx
            .attempt
            .as_ref()
            .is_some_and(|attempt| attempt.upstream.is_main());
        ctx.doubt = SecondOpinion::Settled;
        if !is_from_main || finding.outcome != Some(Outcome::Success) || finding.is_ignorant {
            return;
        }
        if has_session(session, ctx) {
            self.note_view(session, ctx);
        } else {
            self.parts.control.handle(stale_seen, Instant::now());
        }
    }
}

/// The requested layer, or else the workspace, on one line and of bounded length.
pub(super) fn requested_layer(session: &Session, ctx: &Context) -> Box<str> {
    let target = session.req_header().raw_path();
    let span = ctx.classified.layer.or(ctx.classified.workspace);
    let text = span
        .map(|span| {
            percent_decode(span.of(target))
                .decode_utf8_lossy()
                .into_owned()
        })
        .unwrap_or_default();
    text.chars()
        .filter(|c| !c.is_control())
        .take(MAX_LAYER)
        .collect()
}
