//! An attempt failed, or its answer was rejected: whether another attempt follows.

use std::time::{Duration, Instant};

use pingora::proxy::Session;
use pingora::{BError, Error, ErrorSource, ErrorType};

use super::refuse::REFUSED;
use crate::cluster::Cause;
use crate::ogc::Retryable;
use crate::proxy::client::session::has_answered;
use crate::proxy::connection::interrupt::{Armed, Wait, WaitEnd};
use crate::proxy::context::Context;
use crate::proxy::front_door::FrontDoor;
use crate::proxy::response::respond::Refusal;
use crate::proxy::upstream::failure;
use crate::proxy::upstream::retry::{self, AttemptProgress, Situation};
use crate::proxy::upstream::retry_budget::Loss;

/// An answer of an upstream that we do not pass on, because another upstream may do better.
pub(super) const REJECTED_ANSWER: ErrorType = ErrorType::Custom("RejectedAnswer");

/// The upstream has gone while a request waited for its answer.
const MOVED: ErrorType = ErrorType::Custom("Moved");

/// The kinds of failed attempts that the retry budget distinguishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Failed {
    AnsweredBadly,
    /// With a kept-alive connection that its other end closed.
    Stale,
    /// With its upstream.
    Lost,
    /// The same, and its retry was granted before.
    LostAndPaid,
}

/// Silence of a client from which on it, and not the upstream, is the cause if the upstream gives
/// up on the incomplete request.
const STALLED: Duration = Duration::from_secs(5);

impl FrontDoor {
    /// Learns from a failed attempt and decides whether another follows.
    pub(in crate::proxy) fn after_failure(
        &self,
        session: &Session,
        ctx: &mut Context,
        error: &mut Error,
        is_reused: bool,
    ) {
        if let Some(trace) = &mut ctx.trace {
            trace.end_attempt(Instant::now());
        }
        let is_our_own = matches!(error.etype(), t if *t == REJECTED_ANSWER || *t == REFUSED);
        if is_our_own {
            return;
        }
        let wait = ctx
            .attempt
            .as_mut()
            .and_then(|attempt| attempt.armed.take())
            .map_or(WaitEnd::ByItself, Armed::end);
        if wait == WaitEnd::Interrupted {
            // The loss of its upstream is known, and the retry was taken from the budget
            // (`moves.rs`).
            ctx.refusal = Some(Refusal::FirstByteTimeout);
            self.count_retry(ctx, "moved");
            *error = *Error::new_up(MOVED);
            error.set_retry(true);
            return;
        }
        if error.esource() != &ErrorSource::Upstream {
            error.set_retry(false);
            return;
        }
        let progress = progress(session, ctx);
        let upstream = ctx.attempt.as_ref().map(|attempt| &*attempt.upstream);
        let cause = failure::cause(error, progress, upstream);
        if let Cause::Local(fault) = cause {
            // Another upstream would need the same missing resource, or give an answer of the same
            // kind.
            ctx.refusal = Some(failure::refusal(&cause));
            tracing::debug!(request = %ctx.request_id.as_str(), %fault, "refused for a fault of our own");
            error.set_retry(false);
            return;
        }
        // A kept-alive connection that its other end closed just now proves nothing about the
        // upstream.
        let is_stale_connection =
            is_reused && progress == AttemptProgress::Sent && !failure::is_timeout(error.etype());
        // An upstream that gives up on a request that does not arrive is right.
        let is_incomplete = progress != AttemptProgress::Connecting && !ctx.is_request_complete;
        if !is_stale_connection && !is_incomplete {
            self.report_failure(session, ctx, cause.clone(), "");
        }
        let is_stalled = is_incomplete && silence_of_client(ctx, Instant::now()) >= STALLED;
        ctx.refusal = Some(if is_stalled {
            Refusal::BodyTimeout
        } else {
            failure::refusal(&cause)
        });
        if ctx.named.is_some() && progress == AttemptProgress::Connecting {
            ctx.refusal = Some(Refusal::NamedUpstreamUnreachable);
            ctx.refusal_detail = Some(format!("The cause: {cause}."));
        }
        if is_stale_connection && let Some(attempt) = &ctx.attempt {
            // The same upstream may be tried again, on a new connection.
            ctx.tried.remove(attempt.upstream.id);
            ctx.has_met_stale_connection = true;
        }
        // The interrupt that came too late has taken the retry from the budget.
        let failed = if wait == WaitEnd::Overtaken {
            Failed::LostAndPaid
        } else if is_stale_connection {
            Failed::Stale
        } else {
            Failed::Lost
        };
        error.set_retry(self.may_retry(session, ctx, progress, failed, failure::reason(&cause)));
    }

    /// The request is complete: if it may be repeated, it need not wait for an upstream that goes.
    pub(super) fn let_move(&self, session: &Session, ctx: &mut Context) {
        let retry = &ctx.snapshot.config.retry;
        let is_in_time = ctx.tries() <= 1 || ctx.started.elapsed() < retry.window;
        let may_move = ctx.rule == Retryable::Yes
            && ctx.tries() < retry.attempts
            && is_in_time
            && is_body_replayable(session, ctx);
        let class = ctx.class();
        if let (true, Some(interrupt), Some(attempt)) = (may_move, &ctx.interrupt, &mut ctx.attempt)
            && attempt.first_byte.is_none()
            && attempt.armed.is_none()
        {
            let (upstream, since) = (attempt.upstream.id, attempt.started);
            attempt.armed = Some(interrupt.arm(Wait {
                cluster: ctx.snapshot.config.cluster.clone(),
                upstream,
                class,
                tried: ctx.tried.clone(),
                since,
            }));
        }
    }

    /// An answer that the client has not seen is bad: an error that makes Pingora try elsewhere, if
    /// another attempt is allowed.
    pub(super) fn reject_answer(
        &self,
        session: &Session,
        ctx: &mut Context,
        reason: &'static str,
    ) -> Option<BError> {
        if has_answered(session)
            || !self.may_retry(
                session,
                ctx,
                AttemptProgress::Sent,
                Failed::AnsweredBadly,
                reason,
            )
        {
            return None;
        }
        let mut error = Error::new_up(REJECTED_ANSWER);
        error.set_retry(true);
        Some(error)
    }

    fn may_retry(
        &self,
        session: &Session,
        ctx: &mut Context,
        progress: AttemptProgress,
        failed: Failed,
        reason: &'static str,
    ) -> bool {
        let limits = &ctx.snapshot.config.retry;
        let now = Instant::now();
        let situation = Situation {
            progress,
            tries: ctx.tries(),
            elapsed: now - ctx.started,
            is_body_replayable: is_body_replayable(session, ctx),
            is_lost: failed != Failed::AnsweredBadly,
            is_stale: failed == Failed::Stale,
        };
        let (control, class) = (&self.parts.control, ctx.class());
        let others = ctx.tried.or_beyond_group(|tried| {
            control.snapshot().has_place(class, tried) || control.could_rescue(class, tried)
        });
        let loss = ctx
            .attempt
            .as_ref()
            .filter(|_| situation.is_lost)
            .map(|attempt| Loss {
                allowance: &attempt.peer.losses,
                in_flight: attempt.upstream.load.in_flight(),
            });
        let budget = || {
            let budget = &self.parts.budget;
            let is_granted =
                failed == Failed::LostAndPaid || budget.try_retry(limits.budget_percent, loss, now);
            if !is_granted {
                self.parts.metrics.retry_denied(ctx.class());
            }
            is_granted
        };
        let allowed = others && retry::decide(ctx.rule, limits, situation, budget);
        if allowed {
            self.count_retry(ctx, reason);
        }
        allowed
    }

    /// Counts the attempt that follows under the upstream that made it necessary.
    fn count_retry(&self, ctx: &mut Context, reason: &'static str) {
        if let Some(trace) = &mut ctx.trace {
            trace.retry(reason);
        }
        let attempt = ctx.attempt.as_ref();
        let upstream = attempt.map(|attempt| &*attempt.peer.metrics);
        self.parts.metrics.retried(ctx.class(), upstream, reason);
    }
}

/// Returns the progress of the current attempt.
fn progress(session: &Session, ctx: &Context) -> AttemptProgress {
    if has_answered(session) {
        return AttemptProgress::Answering;
    }
    ctx.attempt
        .as_ref()
        .map_or(AttemptProgress::Connecting, |attempt| attempt.progress)
}

/// Everything of the body that was sent can be sent again.
pub(super) fn is_body_replayable(session: &Session, ctx: &Context) -> bool {
    let nothing_but_our_copy = ctx
        .body_prefix
        .as_ref()
        .is_some_and(|prefix| prefix.covers(ctx.body_bytes));
    nothing_but_our_copy || !session.as_ref().retry_buffer_truncated()
}

/// Returns the time for which the client of an incomplete request has sent nothing.
fn silence_of_client(ctx: &Context, now: Instant) -> Duration {
    let since = ctx
        .body_came
        .or_else(|| ctx.attempt.as_ref().map(|attempt| attempt.started));
    since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
}
