//! The spans of one request, without regard to how they are sent.

use std::borrow::Cow;
use std::time::{Duration, Instant, SystemTime};

use super::{SpanId, TraceId, TraceParent};

/// Longer texts are cut: a request line may have a megabyte.
const MAX_TEXT: usize = 2048;

/// Approximate memory of a span beside its texts.
const SPAN_BYTES: usize = 1024;

/// The role of a span between processes, as OpenTelemetry names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpanKind {
    /// The request of a client.
    Server,
    /// A request to another process.
    Client,
    /// A part of the work within the process.
    Internal,
}

/// The value of an attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    Text(Cow<'static, str>),
    Number(i64),
    Flag(bool),
}

/// An event within a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpanEvent {
    pub name: &'static str,
    pub at: Instant,
}

/// A part of a request's time.
#[derive(Clone, Debug)]
pub struct TraceSpan {
    pub id: SpanId,
    pub parent: Option<SpanId>,
    pub kind: SpanKind,
    pub name: Cow<'static, str>,
    pub start: Instant,
    pub end: Instant,
    pub attributes: Vec<(&'static str, Value)>,
    pub event: Option<SpanEvent>,
    /// A span of another trace that has to do with this one.
    pub link: Option<TraceParent>,
    /// The cause, if the work of the span failed.
    pub error: Option<Cow<'static, str>>,
}

impl TraceSpan {
    /// Returns a span within a process, without attributes.
    pub fn new(name: impl Into<Cow<'static, str>>, start: Instant, end: Instant) -> Self {
        Self {
            id: SpanId::random(),
            parent: None,
            kind: SpanKind::Internal,
            name: name.into(),
            start,
            end: end.max(start),
            attributes: Vec::new(),
            event: None,
            link: None,
            error: None,
        }
    }

    /// Adds an attribute.
    #[must_use]
    pub fn with(mut self, key: &'static str, value: impl Into<Value>) -> Self {
        self.attributes.push((key, value.into()));
        self
    }

    /// Adds an attribute if there is a value.
    #[must_use]
    pub fn with_some(self, key: &'static str, value: Option<impl Into<Value>>) -> Self {
        match value {
            Some(value) => self.with(key, value),
            None => self,
        }
    }

    fn bytes(&self) -> usize {
        let texts = self.attributes.iter().map(|(_, value)| match value {
            Value::Text(Cow::Owned(text)) => text.len(),
            Value::Text(Cow::Borrowed(_)) | Value::Number(_) | Value::Flag(_) => 0,
        });
        SPAN_BYTES + texts.sum::<usize>()
    }
}

impl Value {
    /// Returns a text of bounded length; what is not UTF-8 is replaced.
    pub fn text(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(&bytes[..bytes.len().min(MAX_TEXT)]).into_owned();
        Self::Text(text.into())
    }
}

impl From<&'static str> for Value {
    fn from(text: &'static str) -> Self {
        Self::Text(text.into())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        if text.len() > MAX_TEXT {
            Self::text(text.as_bytes())
        } else {
            Self::Text(text.into())
        }
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Number(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl From<u32> for Value {
    fn from(number: u32) -> Self {
        Self::Number(number.into())
    }
}

impl From<u16> for Value {
    fn from(number: u16) -> Self {
        Self::Number(number.into())
    }
}

impl From<bool> for Value {
    fn from(flag: bool) -> Self {
        Self::Flag(flag)
    }
}

/// The trace of a request that has ended.
#[derive(Clone, Debug)]
pub struct FinishedTrace {
    pub trace: TraceId,
    /// The `tracestate` of the caller.
    pub state: Option<String>,
    /// Every span of the request.
    pub spans: Vec<TraceSpan>,
    /// The same moment by both clocks.
    pub moment: (Instant, SystemTime),
}

impl FinishedTrace {
    /// Returns the wall-clock time of `at`.
    pub fn time(&self, at: Instant) -> SystemTime {
        let (instant, time) = self.moment;
        let shifted = match at.checked_duration_since(instant) {
            Some(later) => time.checked_add(later),
            None => time.checked_sub(instant.saturating_duration_since(at)),
        };
        shifted.unwrap_or(SystemTime::UNIX_EPOCH)
    }

    /// Returns nanoseconds since 1970 at `at`, as OTLP sends them.
    pub fn nanos(&self, at: Instant) -> u64 {
        let since = self.time(at).duration_since(SystemTime::UNIX_EPOCH);
        u64::try_from(since.unwrap_or(Duration::ZERO).as_nanos()).unwrap_or(u64::MAX)
    }

    /// Returns the memory that the trace takes, roughly.
    pub(super) fn bytes(&self) -> usize {
        self.spans.iter().map(TraceSpan::bytes).sum::<usize>()
            + self.state.as_ref().map_or(0, String::len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_of_a_client_is_cut_and_always_text() {
        let long = [&[0xff], vec![b'x'; 1 << 20].as_slice()].concat();
        let Value::Text(text) = Value::text(&long) else {
            panic!("it is text");
        };
        assert!(text.starts_with('\u{fffd}') && text.len() < MAX_TEXT + 4);
    }

    #[test]
    fn times_before_and_after_the_moment_are_those_of_the_wall_clock() {
        let (now, second) = (Instant::now(), Duration::from_secs(1));
        let trace = FinishedTrace {
            trace: TraceId::random(),
            state: None,
            spans: Vec::new(),
            moment: (now + second, SystemTime::UNIX_EPOCH + 10 * second),
        };
        assert_eq!(trace.nanos(now), 9_000_000_000);
        assert_eq!(trace.nanos(now + 3 * second), 12_000_000_000);
    }
}
