//! What the hooks call: choosing an upstream, learning from how it went, deciding what comes next.

use std::sync::Arc;
use std::time::Instant;

use pingora::proxy::Session;
use pingora::upstreams::peer::HttpPeer;
use pingora::{BError, Error, ErrorSource, ErrorType};

use super::access_log::AccessLog;
use super::budget::RetryBudget;
use super::context::{Attempt, Context};
use super::failure;
use super::handles::Handles;
use super::respond::Refusal;
use super::retry::{self, Progress, Situation};
use super::running::RunningRequests;
use crate::cluster::{Cause, NoUpstream, Outcome};
use crate::config::Config;
use crate::control::Control;
use crate::metrics::Metrics;
use crate::ogc::Retryable;

/// The proxy: one for all listeners, cheap to clone.
#[derive(Clone)]
pub struct FrontDoor {
    pub(super) parts: Arc<Parts>,
}

pub(super) struct Parts {
    pub(super) control: Arc<Control>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) access_log: AccessLog,
    pub(super) budget: RetryBudget,
    pub(super) running: RunningRequests,
}

/// An answer of an upstream that we do not pass on, because another upstream may do better.
const REJECTED_ANSWER: ErrorType = ErrorType::Custom("RejectedAnswer");

/// We answer instead of an upstream; [`Context::refusal`] says what.
const REFUSED: ErrorType = ErrorType::Custom("Refused");

impl FrontDoor {
    pub fn new(control: Arc<Control>, metrics: Arc<Metrics>, access_log: AccessLog) -> Self {
        let threads = control.snapshot().config.threads.get();
        let parts = Parts {
            control,
            metrics,
            access_log,
            budget: RetryBudget::new(threads, Instant::now()),
            running: RunningRequests::default(),
        };
        Self { parts: Arc::new(parts) }
    }

    /// Requests that run now.
    pub fn running(&self) -> &RunningRequests {
        &self.parts.running
    }

    /// The configuration in force for new connections.
    pub(super) fn config(&self) -> Arc<Config> {
        Arc::clone(&self.parts.control.snapshot().config)
    }

    /// Ends the request with our own answer.
    pub(super) fn refuse(&self, ctx: &mut Context, refusal: Refusal) -> BError {
        ctx.refusal = Some(refusal);
        Error::new_in(REFUSED)
    }

    /// The next attempt's upstream, or the refusal that ends the request.
    pub(super) fn choose(&self, ctx: &mut Context) -> pingora::Result<Box<HttpPeer>> {
        ctx.attempt = None;
        let now = Instant::now();
        let selected = self.parts.control.snapshot().select(ctx.class(), &ctx.tried, now);
        let selection = match selected {
            Ok(selection) => selection,
            Err(NoUpstream::NoneEligible) => return Err(self.refuse(ctx, Refusal::NoUpstream)),
            // Why the last one failed says more than that there is no other.
            Err(NoUpstream::AllTried) => {
                let refusal = ctx.refusal.take().unwrap_or(Refusal::NoUpstream);
                return Err(self.refuse(ctx, refusal));
            }
        };
        ctx.tried.add(selection.upstream.id);
        ctx.attempts += 1;
        ctx.body_bytes = 0;
        if let Some(prefix) = &mut ctx.body_prefix {
            prefix.rewind();
        }
        let handles = Handles::of(&selection.upstream, &self.parts.metrics);
        let is_fresh = ctx.rule != Retryable::Yes;
        let peer = handles.peer(&ctx.snapshot.config.timeouts, ctx.class_config().first_byte, is_fresh);
        ctx.attempt = Some(Attempt::new(selection, handles, now));
        Ok(peer)
    }

    /// Tells the cluster how the current attempt went, once.
    pub(super) fn report(&self, ctx: &mut Context, outcome: Outcome) {
        let Some(attempt) = ctx.attempt.as_mut().filter(|attempt| !attempt.is_reported) else {
            return;
        };
        attempt.is_reported = true;
        if let Outcome::Failure(cause) = &outcome {
            attempt.failure = Some(cause.clone());
        }
        self.parts.control.observe(&attempt.upstream, attempt.started, outcome, Instant::now());
    }

    /// Learns from a failed attempt and decides whether another follows.
    pub(super) fn after_failure(&self, session: &Session, ctx: &mut Context, error: &mut Error, is_reused: bool) {
        let is_our_own = matches!(error.etype(), t if *t == REJECTED_ANSWER || *t == REFUSED);
        if is_our_own {
            return;
        }
        if error.esource() != &ErrorSource::Upstream {
            error.set_retry(false);
            return;
        }
        let progress = progress(session, ctx);
        let cause = failure::cause(error, progress);
        // A kept-alive connection that its other end closed just now says nothing about the upstream.
        let is_stale_connection = is_reused && progress == Progress::Sent && !failure::is_timeout(error.etype());
        if !is_stale_connection {
            self.report(ctx, Outcome::Failure(cause.clone()));
        }
        ctx.refusal = Some(Refusal::of_failure(&cause));
        if is_stale_connection && let Some(attempt) = &ctx.attempt {
            // The same upstream may be asked again, on a new connection.
            ctx.tried.remove(attempt.upstream.id);
        }
        error.set_retry(self.may_retry(session, ctx, progress, reason(&cause)));
    }

    /// An answer nobody has seen yet is bad: an error that makes Pingora try elsewhere, if another attempt is allowed.
    pub(super) fn reject_answer(&self, session: &Session, ctx: &Context, reason: &'static str) -> Option<BError> {
        if session.response_written().is_some() || !self.may_retry(session, ctx, Progress::Sent, reason) {
            return None;
        }
        let mut error = Error::new_up(REJECTED_ANSWER);
        error.set_retry(true);
        Some(error)
    }

    fn may_retry(&self, session: &Session, ctx: &Context, progress: Progress, reason: &'static str) -> bool {
        let limits = &ctx.snapshot.config.retry;
        let now = Instant::now();
        let situation = Situation {
            progress,
            attempts: ctx.attempts,
            elapsed: now - ctx.started,
            is_body_replayable: is_body_replayable(session, ctx),
        };
        let others = self.parts.control.snapshot().has_place(ctx.class(), &ctx.tried);
        let allowed =
            others && retry::decide(ctx.rule, limits, situation, || self.parts.budget.try_retry(limits.budget_percent, now));
        if allowed {
            self.parts.metrics.retried(ctx.class(), reason);
        }
        allowed
    }
}

/// How far the current attempt has come.
fn progress(session: &Session, ctx: &Context) -> Progress {
    if session.response_written().is_some() {
        return Progress::Answering;
    }
    ctx.attempt.as_ref().map_or(Progress::Connecting, |attempt| attempt.progress)
}

/// Everything of the body that was sent can be sent again.
fn is_body_replayable(session: &Session, ctx: &Context) -> bool {
    let nothing_but_our_copy = ctx.body_prefix.as_ref().is_some_and(|prefix| prefix.covers(ctx.body_bytes));
    nothing_but_our_copy || !session.as_ref().retry_buffer_truncated()
}

/// The metric's label.
fn reason(cause: &Cause) -> &'static str {
    match cause {
        Cause::Connect(_) => "connect",
        Cause::Timeout(_) => "timeout",
        Cause::Reset(_) => "reset",
        Cause::Status(_) => "status",
        Cause::Truncated => "truncated",
        Cause::NodeFault(_) => "node-fault",
        Cause::Unexpected(_) => "unexpected",
    }
}
