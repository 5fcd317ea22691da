//! Evidence in passing: what an answer's head and body tell about the upstream, while both go on to the client.
//!
//! An answer that speaks against its upstream, and of which the client has seen nothing yet, is not passed on if another upstream
//! may be asked. Small error answers arrive with their head, so this catches most reports of a broken node before anybody sees
//! them; what is passed on already is not held back.

use std::time::Instant;

use pingora::Result;
use pingora::http::ResponseHeader;
use pingora::proxy::Session;

use super::body_prefix::BodyPrefix;
use super::context::Context;
use super::evidence::{self, Asked, Finding, HeadVerdict};
use super::front_door::FrontDoor;
use super::second_opinion::Doubt;
use crate::cluster::{Event, Outcome, UpstreamId};

impl FrontDoor {
    /// Called with the head of a final answer.
    pub(super) fn judge_head(&self, session: &Session, response: &ResponseHeader, ctx: &mut Context) -> Result<()> {
        if let Some(attempt) = &mut ctx.attempt {
            attempt.first_byte = Some(attempt.started.elapsed());
        }
        self.take_hint(session, response.status.as_u16(), ctx);
        match evidence::judge_head(response, &asked(session, ctx)) {
            HeadVerdict::Settled(finding) => self.learn(session, ctx, finding),
            HeadVerdict::Sniff(witness) => {
                if let Some(attempt) = &mut ctx.attempt {
                    attempt.witness = Some(witness);
                }
                Ok(())
            }
        }
    }

    /// Called with every part of the body, the last one included; not called for answers without a body.
    pub(super) fn judge_body(&self, session: &Session, chunk: Option<&[u8]>, is_end: bool, ctx: &mut Context) -> Result<()> {
        let Some(attempt) = &mut ctx.attempt else {
            return Ok(());
        };
        if is_end {
            // The upstream has done its work, however slow the client is.
            attempt.lease = None;
        }
        let Some(witness) = &mut attempt.witness else {
            return Ok(());
        };
        witness.see(chunk.unwrap_or_default());
        if is_end || !witness.wants_more() { self.hear_witness(session, ctx) } else { Ok(()) }
    }

    /// The verdict on a body, once all that matters of it is seen.
    pub(super) fn hear_witness(&self, session: &Session, ctx: &mut Context) -> Result<()> {
        let Some(witness) = ctx.attempt.as_mut().and_then(|attempt| attempt.witness.take()) else {
            return Ok(());
        };
        let finding = witness.finding(&asked(session, ctx));
        self.learn(session, ctx, finding)
    }

    fn learn(&self, session: &Session, ctx: &mut Context, finding: Finding) -> Result<()> {
        let Some(attempt) = &mut ctx.attempt else {
            return Ok(());
        };
        if finding.is_service_exception {
            attempt.is_exception = true;
            self.parts.metrics.service_exception(ctx.classified.class, &attempt.handles.metrics);
        }
        // Told at the end: the answer may yet break off.
        attempt.is_success |= finding.outcome == Some(Outcome::Success);
        if finding.is_ignorant
            && let Some(second_opinion) = self.seek_second_opinion(session, ctx)
        {
            return Err(second_opinion);
        }
        if let Doubt::About(replica) = ctx.doubt {
            self.settle_doubt(replica, &finding, ctx);
        }
        match finding.outcome {
            Some(Outcome::Success) | None => {}
            Some(outcome) => {
                let reason = if outcome == Outcome::Busy { "busy" } else { "bad-answer" };
                self.report(ctx, outcome);
                if let Some(retry) = self.reject_answer(session, ctx, reason) {
                    return Err(retry);
                }
            }
        }
        Ok(())
    }

    /// The main was asked because a replica did not know: if it does, the replica is stale.
    fn settle_doubt(&self, replica: UpstreamId, finding: &Finding, ctx: &mut Context) {
        let is_from_main = ctx.attempt.as_ref().is_some_and(|attempt| attempt.upstream.is_main());
        if is_from_main {
            ctx.doubt = Doubt::Settled;
            if finding.outcome == Some(Outcome::Success) && !finding.is_ignorant {
                self.parts.control.handle(Event::StaleSeen(replica), Instant::now());
            }
        }
    }
}

fn asked<'a>(session: &'a Session, ctx: &'a Context) -> Asked<'a> {
    Asked {
        class: ctx.class(),
        target: session.req_header().raw_path(),
        has_workspace: ctx.classified.workspace.is_some(),
        context: &ctx.snapshot.config.geoserver.context,
        body_prefix: ctx.body_prefix.as_ref().map(BodyPrefix::bytes).unwrap_or_default(),
    }
}
