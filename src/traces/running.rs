//! The trace of a request that runs.

use std::time::{Instant, SystemTime};

use super::{FinishedTrace, SpanId, TraceParent, TraceSpan};

/// Spans of one request. A request that is tried again and again does not grow without bound.
const MAX_SPANS: usize = 128;

/// The trace of a request, collected until the end of the request.
#[derive(Debug)]
pub struct RunningTrace {
    /// The span of the request as a whole.
    span: TraceParent,
    /// The caller's span, which the request continues.
    parent: Option<TraceParent>,
    /// The caller's `tracestate`, if its trace is continued.
    state: Option<String>,
    /// The span of a caller whose trace is not continued.
    link: Option<TraceParent>,
    /// The span of the current attempt.
    attempt: SpanId,
    spans: Vec<TraceSpan>,
    /// When the upstream of the current attempt had done its part.
    attempt_end: Option<Instant>,
    /// Why another attempt follows the current one.
    retry_reason: Option<&'static str>,
}

impl RunningTrace {
    /// Returns a new trace. `link` is the span of a caller that is not trusted with ours.
    pub fn new(link: Option<TraceParent>) -> Self {
        Self::with_span(TraceParent::random(true), None, None, link)
    }

    /// Returns the continuation of the caller's trace.
    pub fn continuing(parent: TraceParent, state: Option<String>) -> Self {
        let span = parent.with_span(SpanId::random());
        Self::with_span(span, Some(parent), state, None)
    }

    fn with_span(
        span: TraceParent,
        parent: Option<TraceParent>,
        state: Option<String>,
        link: Option<TraceParent>,
    ) -> Self {
        Self {
            span,
            parent,
            state,
            link,
            attempt: SpanId::random(),
            spans: Vec::new(),
            attempt_end: None,
            retry_reason: None,
        }
    }

    /// Returns the span of the request as others may know it.
    pub const fn span(&self) -> TraceParent {
        self.span
    }

    /// True if the caller's trace is continued, so that its `tracestate` is, too.
    pub const fn continues(&self) -> bool {
        self.parent.is_some()
    }

    /// Returns the span of the current attempt: the parent of the spans that the upstream records.
    pub const fn attempt(&self) -> TraceParent {
        self.span.with_span(self.attempt)
    }

    /// Notes that the upstream of the current attempt has done its part. The first time counts.
    pub fn end_attempt(&mut self, now: Instant) {
        self.attempt_end.get_or_insert(now);
    }

    /// Notes why another attempt follows the current one.
    pub fn retry(&mut self, reason: &'static str) {
        self.retry_reason = Some(reason);
    }

    /// Returns when the current attempt ended, and why another follows it. The next attempt gets a
    /// span of its own.
    pub fn take_attempt(&mut self, now: Instant) -> EndedAttempt {
        EndedAttempt {
            span: std::mem::replace(&mut self.attempt, SpanId::random()),
            end: self.attempt_end.take().unwrap_or(now),
            retry_reason: self.retry_reason.take(),
        }
    }

    /// Adds a part of the request. Without a parent it is right below the request as a whole.
    pub fn add(&mut self, mut span: TraceSpan) {
        span.parent.get_or_insert(self.span.span);
        if self.spans.len() < MAX_SPANS {
            self.spans.push(span);
        }
    }

    /// Returns the whole trace. `whole` is the span of the request without its identifiers.
    pub fn finish(&mut self, mut whole: TraceSpan, moment: (Instant, SystemTime)) -> FinishedTrace {
        whole.id = self.span.span;
        whole.parent = self.parent.map(|parent| parent.span);
        whole.link = self.link;
        let mut spans = std::mem::take(&mut self.spans);
        spans.push(whole);
        FinishedTrace {
            trace: self.span.trace,
            state: self.state.take(),
            spans,
            moment,
        }
    }
}

/// An attempt that is over.
#[derive(Clone, Copy, Debug)]
pub struct EndedAttempt {
    pub span: SpanId,
    pub end: Instant,
    /// Why another attempt follows.
    pub retry_reason: Option<&'static str>,
}
