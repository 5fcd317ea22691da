//! Traces as a message of OTLP: https://opentelemetry.io/docs/specs/otlp/.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as AnyValue;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue as AnyValueMessage, InstrumentationScope, KeyValue,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link, SpanKind as Kind};
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{
    ResourceSpans, ScopeSpans, Span as SpanMessage, Status,
};
use prost::Message as _;

use crate::config::Traces;
use crate::traces::{FinishedTrace, SpanKind, TraceParent, TraceSpan, Value};

/// The flags of a span: whether it is known that its parent belongs to another process, and
/// whether it does.
const KNOWS_PARENT: u32 = 0x100;
const HAS_REMOTE_PARENT: u32 = 0x200;
const SAMPLED: u32 = 1;

/// An encoded message.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) bytes: Vec<u8>,
    pub(super) spans: usize,
}

impl Message {
    pub(super) fn new(traces: &Traces, finished: &[FinishedTrace]) -> Self {
        let spans: Vec<SpanMessage> = finished.iter().flat_map(span_messages).collect();
        let count = spans.len();
        let scope = InstrumentationScope {
            name: env!("CARGO_PKG_NAME").to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ..InstrumentationScope::default()
        };
        let request = ExportTraceServiceRequest {
            resource_spans: vec![ResourceSpans {
                resource: Some(resource(traces)),
                scope_spans: vec![ScopeSpans {
                    scope: Some(scope),
                    spans,
                    ..ScopeSpans::default()
                }],
                ..ResourceSpans::default()
            }],
        };
        Self {
            bytes: request.encode_to_vec(),
            spans: count,
        }
    }
}

fn resource(traces: &Traces) -> Resource {
    let own = [
        ("service.name", traces.service_name.as_str()),
        ("service.version", env!("CARGO_PKG_VERSION")),
    ];
    let more = traces
        .attributes
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()));
    let text = |(name, value): (&str, &str)| pair(name, AnyValue::StringValue(value.to_owned()));
    Resource {
        attributes: own.into_iter().chain(more).map(text).collect(),
        ..Resource::default()
    }
}

fn span_messages(trace: &FinishedTrace) -> impl Iterator<Item = SpanMessage> {
    trace.spans.iter().map(|span| span_message(trace, span))
}

fn span_message(trace: &FinishedTrace, span: &TraceSpan) -> SpanMessage {
    let remote = if span.kind == SpanKind::Server && span.parent.is_some() {
        HAS_REMOTE_PARENT
    } else {
        0
    };
    SpanMessage {
        trace_id: trace.trace.bytes().to_vec(),
        span_id: span.id.bytes().to_vec(),
        trace_state: trace.state.clone().unwrap_or_default(),
        parent_span_id: span
            .parent
            .map_or_else(Vec::new, |parent| parent.bytes().to_vec()),
        flags: SAMPLED | KNOWS_PARENT | remote,
        name: span.name.to_string(),
        kind: match span.kind {
            SpanKind::Server => Kind::Server,
            SpanKind::Client => Kind::Client,
            SpanKind::Internal => Kind::Internal,
        }
        .into(),
        start_time_unix_nano: trace.nanos(span.start),
        end_time_unix_nano: trace.nanos(span.end),
        attributes: span
            .attributes
            .iter()
            .map(|(name, value)| attribute(name, value))
            .collect(),
        events: span
            .event
            .iter()
            .map(|event| Event {
                time_unix_nano: trace.nanos(event.at),
                name: event.name.to_owned(),
                ..Event::default()
            })
            .collect(),
        links: span.link.iter().map(link).collect(),
        status: span.error.as_ref().map(|error| Status {
            message: error.to_string(),
            code: StatusCode::Error.into(),
        }),
        ..SpanMessage::default()
    }
}

fn link(to: &TraceParent) -> Link {
    Link {
        trace_id: to.trace.bytes().to_vec(),
        span_id: to.span.bytes().to_vec(),
        ..Link::default()
    }
}

fn attribute(name: &str, value: &Value) -> KeyValue {
    let value = match value {
        Value::Text(text) => AnyValue::StringValue(text.to_string()),
        Value::Number(number) => AnyValue::IntValue(*number),
        Value::Flag(flag) => AnyValue::BoolValue(*flag),
    };
    pair(name, value)
}

fn pair(name: &str, value: AnyValue) -> KeyValue {
    KeyValue {
        key: name.to_owned(),
        value: Some(AnyValueMessage { value: Some(value) }),
        ..KeyValue::default()
    }
}
