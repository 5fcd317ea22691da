//! Traces of requests for OpenTelemetry: the syntax of W3C Trace Context, the spans of one request,
//! and the bounded queue of finished traces that the proxy fills and the driver empties.
//!
//! A request that is not traced records nothing. A traced request collects its spans while it runs;
//! they are encoded and sent by the driver, never by a thread that serves requests.

mod context;
mod queue;
mod running;
mod span;

pub use context::{SpanId, TraceId, TraceParent};
pub use queue::TraceQueue;
pub use running::{EndedAttempt, RunningTrace};
pub use span::{FinishedTrace, SpanEvent, SpanKind, TraceSpan, Value};
