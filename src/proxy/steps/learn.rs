//! The results of an attempt: its outcome for the cluster, and its latency for the concurrency
//! limit and the slowness of its upstream.

use std::time::Instant;

use pingora::proxy::Session;

use crate::admission::Answered;
use crate::cluster::{Cause, Outcome, Subject};
use crate::proxy::context::{Attempt, Context};
use crate::proxy::front_door::FrontDoor;

impl FrontDoor {
    /// Reports to the cluster how the current attempt failed, once. `exception` is the text of the
    /// exception.
    pub(super) fn report_failure(
        &self,
        session: &Session,
        ctx: &mut Context,
        cause: Cause,
        exception: &str,
    ) {
        let layer = ctx
            .classified
            .layer
            .map(|span| span.of(session.req_header().raw_path()));
        ctx.failed = Some(Subject::new(layer, ""));
        self.report_about(
            ctx,
            Outcome::Failure(cause),
            Some(Subject::new(layer, exception)),
        );
    }

    /// Reports to the cluster how the current attempt went, once. A success after the failure of
    /// another attempt shows that the two upstreams differ.
    pub(super) fn report(&self, ctx: &mut Context, outcome: Outcome) {
        let subject = match outcome {
            Outcome::Success => ctx.failed.take(),
            Outcome::Busy | Outcome::Failure(_) => None,
        };
        self.report_about(ctx, outcome, subject);
    }

    fn report_about(&self, ctx: &mut Context, outcome: Outcome, subject: Option<Subject>) {
        let Some(attempt) = ctx.attempt.as_mut().filter(|attempt| !attempt.is_reported) else {
            return;
        };
        attempt.is_reported = true;
        if let Outcome::Failure(cause) = &outcome {
            attempt.failure = Some(cause.clone());
        }
        self.parts.control.observe_about(
            &attempt.upstream,
            attempt.started,
            outcome,
            subject,
            Instant::now(),
        );
    }

    /// The upstream has done its work, however slow the client is: a success counts now, and its
    /// slot is free.
    pub(in crate::proxy) fn answer_ended(&self, ctx: &mut Context) {
        if ctx
            .attempt
            .as_ref()
            .is_some_and(|attempt| attempt.is_success)
        {
            self.report(ctx, Outcome::Success);
        }
        self.learn_slowness(ctx);
        self.learn_cap(ctx);
        ctx.set_holds_slot(false);
        if let Some(attempt) = &mut ctx.attempt {
            attempt.give_back();
        }
        if let Some(trace) = &mut ctx.trace {
            trace.end_attempt(Instant::now());
        }
    }

    /// Learns from a good answer how slow its upstream is beside its peers, once.
    fn learn_slowness(&self, ctx: &mut Context) {
        let class = ctx.class();
        let is_good = |attempt: &&mut Attempt| {
            attempt.teaches_slowness && attempt.is_success && attempt.is_unblemished()
        };
        let Some(attempt) = ctx.attempt.as_mut().filter(is_good) else {
            return;
        };
        attempt.teaches_slowness = false;
        let Some(took) = attempt.first_byte else {
            return;
        };
        attempt
            .upstream
            .load
            .slowness()
            .learn(class, attempt.concurrency, took);
        self.parts
            .control
            .snapshot()
            .review_slowness(Instant::now());
    }

    /// Learns from a good answer how many requests its upstream should have at a time, once.
    fn learn_cap(&self, ctx: &mut Context) {
        let class = ctx.class();
        let is_good = |attempt: &&mut Attempt| {
            attempt.teaches_cap && attempt.is_success && attempt.is_unblemished()
        };
        let Some(attempt) = ctx.attempt.as_mut().filter(is_good) else {
            return;
        };
        attempt.teaches_cap = false;
        // The time until the first byte counts, because the rest depends on the client, too.
        let Some(took) = attempt.first_byte else {
            return;
        };
        let answered = Answered {
            class,
            is_quick: attempt.is_quick,
            concurrency: attempt.concurrency,
            heavy: attempt.upstream.load.heavy_in_flight(),
            took,
            waited: attempt.waited_inside,
        };
        if attempt
            .peer
            .learn_cap(&answered, &attempt.upstream.load, Instant::now())
        {
            self.parts.room.notify();
        }
    }
}
