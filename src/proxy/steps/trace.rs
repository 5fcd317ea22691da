//! The choice of traced requests, the trace headers for their upstreams, and their spans.
//!
//! A trusted peer decides about its own traces: they are continued, and recorded if the peer
//! records them. An untrusted client could flood the receiver, or write into the traces of others.
//! So geofront begins a trace of its own for its requests, which links to the client's, and chooses
//! by `traces.sample`. The headers of a request that is not traced have an unset sampled flag for
//! its upstream.
//!
//! ```text
//! GET map                    the request (server)
//!   queue                    each wait for a slot
//!   coalesced                the wait for the answer to an identical request
//!   attempt replica1         each attempt (client); the upstream's own spans are below this one
//!     upstream               from the connection to the end of the answer
//! ```

use std::borrow::Cow;
use std::time::{Duration, Instant, SystemTime};

use http::header::{HOST, USER_AGENT};
use http::{HeaderMap, Version};
use pingora::Result;
use pingora::http::RequestHeader;
use pingora::proxy::Session;

use super::finish::{bytes_sent, status};
use super::public_path;
use crate::cluster::NoUpstream;
use crate::config::Priority;
use crate::ogc::Service;
use crate::proxy::access_log::{End, masked};
use crate::proxy::client::session::peer;
use crate::proxy::coalesce::SharedAnswer;
use crate::proxy::context::Context;
use crate::proxy::front_door::FrontDoor;
use crate::proxy::session_cookie;
use crate::proxy::upstream::failure;
use crate::traces::{RunningTrace, SpanEvent, SpanKind, TraceParent, TraceQueue, TraceSpan, Value};
use crate::waiting_room::Admission;

const TRACEPARENT: &str = "traceparent";
const TRACESTATE: &str = "tracestate";

/// A longer `tracestate` passes, but is not recorded: that many bytes every tracer must pass on.
const MAX_STATE: usize = 512;

/// Methods under their own name. Others would be further values without number.
const METHODS: [&str; 9] = [
    "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT",
];

/// Reasons of a further attempt that are not the fault of the one before.
const NO_FAULTS: [&str; 2] = ["unknown-layer", "session"];

/// Decides whether the request is traced.
pub(super) fn begin(session: &Session, ctx: &mut Context) {
    let Some(traces) = &ctx.snapshot.config.traces else {
        return;
    };
    let headers = &session.req_header().headers;
    let caller = caller(headers);
    let trusted = caller.filter(|_| ctx.trust.origin);
    let is_traced = match trusted {
        Some(parent) => parent.is_sampled(),
        None => traces.sample.takes(TraceQueue::draw()),
    };
    ctx.trace = is_traced.then(|| {
        Box::new(match trusted {
            Some(parent) => RunningTrace::continuing(parent, state(headers)),
            None => RunningTrace::new(caller),
        })
    });
}

/// The span of the caller. Several headers count as none.
fn caller(headers: &HeaderMap) -> Option<TraceParent> {
    let mut lines = headers.get_all(TRACEPARENT).iter();
    let only = lines.next().filter(|_| lines.next().is_none())?;
    TraceParent::parse(only.as_bytes())
}

fn state(headers: &HeaderMap) -> Option<String> {
    let lines: Option<Vec<&str>> = headers
        .get_all(TRACESTATE)
        .iter()
        .map(|line| line.to_str().ok())
        .collect();
    lines
        .map(|lines| lines.join(","))
        .filter(|state| (1..=MAX_STATE).contains(&state.len()))
}

/// Gives the upstream the span of its attempt. Without `[traces]` the client's headers pass.
pub(super) fn pass_on(request: &mut RequestHeader, ctx: &Context) -> Result<()> {
    if ctx.snapshot.config.traces.is_none() {
        return Ok(());
    }
    let (parent, keeps_state) = match &ctx.trace {
        Some(trace) => (trace.attempt(), trace.continues()),
        // The peer does not record its trace, so geofront does not either.
        None if ctx.trust.origin && caller(&request.headers).is_some() => return Ok(()),
        None => (TraceParent::random(false), false),
    };
    if !keeps_state {
        request.remove_header(TRACESTATE);
    }
    request.insert_header(TRACEPARENT, parent.to_string())
}

/// Adds a wait for a slot.
pub(super) fn waited(
    ctx: &mut Context,
    priority: Priority,
    since: Instant,
    result: &Result<Result<Admission, NoUpstream>>,
) {
    let class = ctx.class();
    let refusal = ctx.refusal;
    let Some(trace) = &mut ctx.trace else { return };
    let outcome = match result {
        Ok(Ok(_)) => "admitted",
        Ok(Err(_)) => "no-upstream",
        Err(_) => refusal.map_or("client-abort", |refusal| refusal.reason()),
    };
    trace.add(
        TraceSpan::new("queue", since, Instant::now())
            .with("geofront.class", class.as_str())
            .with("geofront.priority", u32::from(priority.get()))
            .with("geofront.outcome", outcome),
    );
}

/// Adds the wait for the answer to an identical request; `None` if it cannot be shared.
pub(super) fn followed(ctx: &mut Context, since: Instant, answer: Option<&SharedAnswer>) {
    let Some(trace) = &mut ctx.trace else { return };
    let outcome = if answer.is_some() {
        "answered"
    } else {
        "alone"
    };
    let mut span = TraceSpan::new("coalesced", since, Instant::now())
        .with("geofront.outcome", outcome)
        .with_some(
            "geofront.coalesced",
            answer.map(|answer| answer.leader.to_string()),
        );
    span.link = answer.and_then(|answer| answer.trace);
    trace.add(span);
}

/// Adds the current attempt, if there is one. `outcome` counts if nothing better is known.
pub(super) fn end_attempt(session: &Session, ctx: &mut Context, outcome: &'static str) {
    let (Some(trace), Some(attempt)) = (&mut ctx.trace, &ctx.attempt) else {
        return;
    };
    let ended = trace.take_attempt(Instant::now());
    let failure = attempt.failure.as_ref().map(failure::reason);
    let outcome = ended.retry_reason.or(failure).unwrap_or(outcome);
    let is_fault = ended
        .retry_reason
        .is_some_and(|reason| !NO_FAULTS.contains(&reason));
    let error = match (attempt.status.filter(|status| *status >= 400), outcome) {
        _ if is_fault || failure.is_some() => Some(Cow::Borrowed(outcome)),
        (Some(status), _) => Some(status.to_string().into()),
        (None, "ok" | "client-abort" | "client-too-slow") => None,
        (None, _) if ended.retry_reason.is_some() => None,
        (None, _) => Some(outcome.into()),
    };
    let url = &attempt.upstream.url;
    let (address, port) = host_and_port(authority(url).as_bytes());
    let resent = Some(ctx.attempts.saturating_sub(1)).filter(|resent| *resent > 0);
    let request = session.req_header();
    let mut span = TraceSpan::new(
        format!("attempt {}", attempt.upstream.name),
        attempt.started,
        ended.end,
    )
    .with("http.request.method", method(request))
    .with_some("http.request.method_original", original_method(request))
    .with("url.full", full_url(url, request))
    .with("server.address", address)
    .with_some("server.port", port)
    .with("geofront.upstream", attempt.upstream.name.to_string())
    .with("geofront.outcome", outcome)
    .with_some("http.response.status_code", attempt.status)
    .with_some("http.request.resend_count", resent)
    .with_some("error.type", error.clone().map(Value::Text));
    span.id = ended.span;
    span.kind = SpanKind::Client;
    span.error = error;
    let upstream = attempt.connected.map(|connected| {
        let mut upstream = TraceSpan::new("upstream", attempt.started + connected, ended.end)
            .with("geofront.upstream", attempt.upstream.name.to_string())
            .with("geofront.connection_reused", attempt.is_reused)
            .with_some("geofront.first_byte_ms", attempt.first_byte.map(millis));
        upstream.parent = Some(span.id);
        upstream.event = attempt.first_byte.map(|first_byte| SpanEvent {
            name: "first_byte",
            at: attempt.started + first_byte,
        });
        upstream
    });
    trace.add(span);
    if let Some(upstream) = upstream {
        trace.add(upstream);
    }
}

impl FrontDoor {
    /// Hands the spans of a traced request over, to be sent later.
    pub(super) fn finish_trace(
        &self,
        session: &Session,
        ctx: &mut Context,
        total: Duration,
        end: End,
    ) {
        if ctx.trace.is_none() {
            return;
        }
        end_attempt(session, ctx, outcome_of(end));
        let whole = whole(session, ctx, total, end);
        let moment = (ctx.started + total, SystemTime::now());
        if let Some(trace) = &mut ctx.trace {
            self.parts.traces.push(trace.finish(whole, moment));
        }
    }
}

fn outcome_of(end: End) -> &'static str {
    match end {
        End::Refused(reason) => reason,
        End::Ok | End::ClientAbort | End::ClientTooSlow | End::UpstreamReset | End::Timeout => {
            end.word()
        }
    }
}

/// The span of the request as a whole.
fn whole(session: &Session, ctx: &Context, total: Duration, end: End) -> TraceSpan {
    let request = session.req_header();
    let target = request.raw_path();
    let public = public_path::public_target(target, ctx);
    let shown = shown_target(&public);
    let (path, query) = match shown.iter().position(|byte| *byte == b'?') {
        Some(mark) => (&shown[..mark], Some(&shown[mark + 1..])),
        None => (&*shown, None),
    };
    let host = request
        .headers
        .get(HOST)
        .map(|host| host_and_port(host.as_bytes()));
    let (address, port) = host.map_or((None, None), |(address, port)| (Some(address), port));
    let client = ctx.client_view(session);
    let version = match client.version {
        Version::HTTP_10 => "1.0",
        Version::HTTP_2 => "2",
        _ => "1.1",
    };
    let status = status(session);
    let error = match (end, status.filter(|status| *status >= 500)) {
        (End::UpstreamReset | End::Timeout, _) => Some(Cow::Borrowed(end.word())),
        (End::Refused(reason), Some(_)) => Some(reason.into()),
        (_, Some(status)) => Some(status.to_string().into()),
        (End::Ok | End::ClientAbort | End::ClientTooSlow | End::Refused(_), None) => None,
    };
    let text = |bytes: &[u8]| Value::text(bytes);
    let user_agent = request
        .headers
        .get(USER_AGENT)
        .map(|value| text(value.as_bytes()));
    let from = ctx
        .client_identity(session)
        .client(|address| ctx.snapshot.config.trust.allows_origin(address));
    let attempt = ctx.attempt.as_ref().map(|attempt| &attempt.upstream.name);
    let upstream = attempt.or_else(|| ctx.shared.as_ref().map(|answer| &answer.upstream));
    let layer = ctx.classified.layer.map(|span| text(span.of(target)));
    let refusal = match end {
        End::Refused(reason) => Some(reason),
        End::Ok | End::ClientAbort | End::ClientTooSlow | End::UpstreamReset | End::Timeout => None,
    };
    let name = format!("{} {}", method(request), ctx.class().as_str());
    let mut span = TraceSpan::new(name, ctx.started, ctx.started + total)
        .with("http.request.method", method(request))
        .with_some("http.request.method_original", original_method(request))
        .with("url.scheme", if client.tls { "https" } else { "http" })
        .with("url.path", text(path))
        .with_some("url.query", query.map(text))
        .with_some("server.address", address)
        .with_some("server.port", port)
        .with("client.address", from.to_canonical().to_string())
        .with(
            "network.peer.address",
            peer(session).to_canonical().to_string(),
        )
        .with("network.protocol.version", version)
        .with_some("user_agent.original", user_agent)
        .with_some("http.response.status_code", status)
        .with("http.response.body.size", bytes_sent(session, ctx, end))
        .with_some("error.type", error.clone().map(Value::Text))
        .with("geofront.request_id", ctx.request_id.to_string())
        .with("geofront.class", ctx.class().as_str())
        .with_some(
            "geofront.service",
            ctx.classified.service.map(Service::as_str),
        )
        .with_some("geofront.operation", ctx.classified.operation)
        .with_some("geofront.layer", layer)
        .with_some(
            "geofront.cluster",
            ctx.snapshot
                .config
                .cluster
                .as_ref()
                .map(ToString::to_string),
        )
        .with_some("geofront.upstream", upstream.map(ToString::to_string))
        .with("geofront.attempts", ctx.attempts)
        .with("geofront.end", end.word())
        .with_some("geofront.refusal", refusal)
        .with_some(
            "geofront.route",
            ctx.route().map(|route| route.name.to_string()),
        );
    span.kind = SpanKind::Server;
    span.error = error;
    span
}

/// Path and query without secrets: the values that the access log masks, and the session in a path.
fn shown_target(target: &[u8]) -> Cow<'_, [u8]> {
    let masked = masked(target);
    match session_cookie::without(&masked) {
        Some(kept) => Cow::Owned(kept),
        None => masked,
    }
}

fn full_url(url: &str, request: &RequestHeader) -> Value {
    Value::text(&[url.as_bytes(), &shown_target(request.raw_path())].concat())
}

fn method(request: &RequestHeader) -> &'static str {
    let method = request.method.as_str();
    METHODS
        .into_iter()
        .find(|known| *known == method)
        .unwrap_or("_OTHER")
}

/// The method, if it is none of [`METHODS`].
fn original_method(request: &RequestHeader) -> Option<Value> {
    let method = request.method.as_str();
    (!METHODS.contains(&method)).then(|| Value::text(method.as_bytes()))
}

/// Host and port of an upstream's url.
fn authority(url: &str) -> &str {
    url.split_once("://")
        .map_or(url, |(_, authority)| authority)
}

/// The parts of `Host`, the brackets of an address included in neither.
fn host_and_port(host: &[u8]) -> (Value, Option<u16>) {
    let colon = host.iter().rposition(|byte| *byte == b':');
    let port = colon.and_then(|at| std::str::from_utf8(&host[at + 1..]).ok()?.parse().ok());
    let name = match (colon, port) {
        (Some(at), Some(_)) => &host[..at],
        _ => host,
    };
    let inside = name
        .strip_prefix(b"[")
        .and_then(|name| name.strip_suffix(b"]"));
    (Value::text(inside.unwrap_or(name)), port)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(value: &Value) -> &str {
        match value {
            Value::Text(text) => text,
            Value::Number(_) | Value::Flag(_) => panic!("{value:?} is no text"),
        }
    }

    #[test]
    fn a_host_and_its_port_are_told_apart() {
        for (host, name, port) in [
            ("maps.example.org", "maps.example.org", None),
            ("maps.example.org:8080", "maps.example.org", Some(8080)),
            ("[::1]:8080", "::1", Some(8080)),
            ("[::1]", "::1", None),
            ("maps:x", "maps:x", None),
        ] {
            let (address, found) = host_and_port(host.as_bytes());
            assert_eq!((text(&address), found), (name, port), "{host}");
        }
    }

    #[test]
    fn no_secret_of_the_target_is_recorded() {
        for (target, shown) in [
            ("/wms?authkey=abc&layers=x", "/wms?authkey=***&layers=x"),
            ("/web/;jsessionid=0123?a=b", "/web/?a=b"),
            ("/wms?layers=x", "/wms?layers=x"),
        ] {
            assert_eq!(
                String::from_utf8_lossy(&shown_target(target.as_bytes())),
                shown
            );
        }
    }
}
