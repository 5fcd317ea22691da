//! Answers heads instead of Pingora: heads that break the rules, that belong to https, or that
//! verify a host name.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use http::StatusCode;
use http::header::{
    CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, DATE, HeaderName, HeaderValue,
    LOCATION, STRICT_TRANSPORT_SECURITY,
};
use pingora::http::ResponseHeader;
use pingora::protocols::{GetSocketDigest, Stream};
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use super::redirect;
use super::stream::ClientStream;
use crate::control::Control;
use crate::http1::{ByteRange, Fault, Head};
use crate::metrics::{ClientAnswer, Metrics};
use crate::ogc::{self, Classified, ErrorShape, RequestClass, RequestHead, Service};
use crate::proxy::access_log::recent::RecentRequests;
use crate::proxy::access_log::{AccessLog, End, Record};
use crate::proxy::client::request_id::RequestId;
use crate::proxy::response::respond::{self, Refusal};

/// Time for a client to accept a refusal; then the connection is closed.
const WRITE: Duration = Duration::from_secs(5);

/// Answers heads that break a rule.
pub(in crate::proxy) struct HeadRefuser {
    pub(in crate::proxy) control: Arc<Control>,
    pub(in crate::proxy) metrics: Arc<Metrics>,
    pub(in crate::proxy) access_log: Arc<AccessLog>,
    pub(in crate::proxy) recent: Arc<RecentRequests>,
}

impl HeadRefuser {
    /// Answers, counts and logs. `method` and `target` are the known parts of the request line;
    /// `hsts` is the listener's `Strict-Transport-Security`.
    pub(in crate::proxy) async fn refuse(
        &self,
        stream: &mut ClientStream<Stream>,
        fault: Fault,
        method: &[u8],
        target: &[u8],
        hsts: Option<&HeaderValue>,
    ) {
        let refusal = Refusal::Malformed(fault);
        let hsts = hsts.map(|hsts| (STRICT_TRANSPORT_SECURITY, hsts.clone()));
        self.answer(stream, refusal, method, target, hsts).await;
    }

    /// Redirects a request to the same URL with https and this port.
    pub(in crate::proxy) async fn redirect(
        &self,
        stream: &mut ClientStream<Stream>,
        head: &Head,
        bytes: &[u8],
        port: u16,
    ) {
        // The bytes begin with the head.
        let part =
            |span: ByteRange| &bytes[span.start - head.whole.start..span.end - head.whole.start];
        let (method, target) = (part(head.method), part(head.target));
        let location = redirect::location(head, bytes, port);
        let refusal = match location {
            Some(_) if matches!(method, b"GET" | b"HEAD") => Refusal::HttpsRedirect,
            Some(_) => Refusal::HttpsRedirectOfBody,
            // Only HTTP/1.0 clients may leave the host out.
            None => Refusal::Malformed(Fault::HostMissing),
        };
        let location = location.map(|location| (LOCATION, location));
        self.answer(stream, refusal, method, target, location).await;
    }

    /// Answers a certificate authority that verifies a host name.
    pub(in crate::proxy) async fn verify(
        &self,
        stream: &mut ClientStream<Stream>,
        head: &Head,
        bytes: &[u8],
        answer: String,
    ) {
        let part =
            |span: ByteRange| &bytes[span.start - head.whole.start..span.end - head.whole.start];
        let mut answer_head = ResponseHeader::build(StatusCode::OK, None).expect("a valid status");
        for (name, value) in [
            (CONTENT_TYPE, "application/octet-stream".to_owned()),
            (CONTENT_LENGTH, answer.len().to_string()),
            (CACHE_CONTROL, "no-store".to_owned()),
        ] {
            let value = HeaderValue::try_from(value).expect("ASCII");
            answer_head
                .insert_header(name, value)
                .expect("a valid name");
        }
        let reply = Reply {
            method: part(head.method),
            target: part(head.target),
            request_id: RequestId::fresh(),
            head: answer_head,
            body: Bytes::from(answer),
            classified: None,
            refusal: None,
        };
        self.reply(stream, reply).await;
    }

    async fn answer(
        &self,
        stream: &mut ClientStream<Stream>,
        refusal: Refusal,
        method: &[u8],
        target: &[u8],
        field: Option<(HeaderName, HeaderValue)>,
    ) {
        let request_id = RequestId::fresh();
        let request = RequestHead {
            // Methods are tokens, which are ASCII.
            method: std::str::from_utf8(method).unwrap_or_default(),
            target,
            content_type: None,
        };
        let config = Arc::clone(&self.control.snapshot().config);
        let classified = target
            .starts_with(b"/")
            .then(|| ogc::classify(&request, &config.geoserver.context, None));
        let shape = classified.as_ref().map_or(ErrorShape::Plain, |classified| {
            ogc::error_shape(classified, &request)
        });
        let (mut head, body) = respond::build(refusal, None, None, shape, &request_id);
        if let Some((name, value)) = field {
            head.insert_header(name, value).expect("a valid name");
        }
        let reply = Reply {
            method,
            target,
            request_id,
            head,
            body,
            classified,
            refusal: Some(refusal),
        };
        self.reply(stream, reply).await;
    }

    /// Counts and logs a request over HTTP/2 that the HTTP/2 library has refused with a reset. It
    /// shows neither method nor target.
    pub(in crate::proxy) fn note_malformed_stream(&self, peer: Option<IpAddr>) {
        let request_id = RequestId::fresh();
        let refusal = Refusal::Malformed(Fault::Http2Message);
        let (head, body) = respond::build(refusal, None, None, ErrorShape::Plain, &request_id);
        let reply = Reply {
            method: &[],
            target: &[],
            request_id,
            head,
            body,
            classified: None,
            refusal: Some(refusal),
        };
        self.note(
            reply,
            Sending {
                peer: peer.unwrap_or(NO_PEER),
                started: Instant::now(),
                time: SystemTime::now(),
                is_written: false,
            },
        );
    }

    /// Sends, counts and logs an answer, after which the connection ends.
    async fn reply(&self, stream: &mut ClientStream<Stream>, mut reply: Reply<'_>) {
        let (started, time) = (Instant::now(), SystemTime::now());
        let head = &mut reply.head;
        let date = HeaderValue::try_from(httpdate::fmt_http_date(time)).expect("a date is ASCII");
        head.insert_header(DATE, date).expect("a valid name");
        head.insert_header(CONNECTION, HeaderValue::from_static("close"))
            .expect("a valid name");
        let mut wire = wire(head);
        if reply.method != b"HEAD" {
            wire.extend_from_slice(&reply.body);
        }
        let is_written = matches!(timeout(WRITE, send(stream, &wire)).await, Ok(Ok(())));
        self.note(
            reply,
            Sending {
                peer: peer(stream),
                started,
                time,
                is_written,
            },
        );
    }

    /// Counts and logs an answer.
    fn note(&self, reply: Reply<'_>, sending: Sending) {
        let Reply {
            method,
            target,
            request_id,
            head,
            body,
            classified,
            refusal,
        } = reply;
        let Sending {
            peer,
            started,
            time,
            is_written,
        } = sending;
        let method = std::str::from_utf8(method).unwrap_or_default();
        let total = started.elapsed();
        let class = classified
            .as_ref()
            .map_or(RequestClass::Unknown, |classified| classified.class);
        let status = is_written.then_some(head.status.as_u16());
        if let Some(refusal) = refusal {
            self.metrics.refused(class, refusal.reason());
        }
        self.metrics.finished(
            class,
            None,
            status.map_or(ClientAnswer::Nothing, ClientAnswer::Whole),
            total,
            None,
        );
        let record = Record {
            time,
            request_id: request_id.as_str(),
            client: peer,
            peer,
            method,
            target,
            status,
            class,
            service: classified
                .as_ref()
                .and_then(|c| c.service)
                .map(Service::as_str),
            operation: classified.as_ref().and_then(|c| c.operation),
            layer: classified
                .as_ref()
                .and_then(|c| c.layer)
                .map(|span| span.of(target)),
            upstream: None,
            coalesced: None,
            attempts: 0,
            queue: None,
            connect: None,
            first_byte: None,
            total,
            bytes: if status.is_some() && method != "HEAD" {
                body.len() as u64
            } else {
                0
            },
            end: match (refusal, is_written) {
                (Some(refusal), _) => End::Refused(refusal.reason()),
                (None, true) => End::Ok,
                (None, false) => End::ClientAbort,
            },
            user: None,
            route: None,
            named: None,
            cluster: None,
            trace: None,
        };
        // A redirect is what the operator wants.
        if matches!(refusal, Some(Refusal::Malformed(_))) {
            self.recent.note(&record, started + total);
        }
        self.access_log.log(&record);
    }
}

/// An answer of geofront to a request that reaches no upstream.
struct Reply<'r> {
    method: &'r [u8],
    target: &'r [u8],
    request_id: RequestId,
    head: ResponseHeader,
    body: Bytes,
    classified: Option<Classified>,
    /// The refusal; `None` if the request was served.
    refusal: Option<Refusal>,
}

/// The time and the outcome of an answer.
#[derive(Clone, Copy, Debug)]
struct Sending {
    peer: IpAddr,
    started: Instant,
    time: SystemTime,
    is_written: bool,
}

async fn send(stream: &mut ClientStream<Stream>, wire: &[u8]) -> std::io::Result<()> {
    stream.write_all(wire).await?;
    stream.flush().await
}

fn wire(head: &ResponseHeader) -> Vec<u8> {
    let reason = head.status.canonical_reason().unwrap_or_default();
    let mut wire = format!("HTTP/1.1 {} {reason}\r\n", head.status.as_u16()).into_bytes();
    head.header_to_h1_wire(&mut wire);
    wire.extend_from_slice(b"\r\n");
    wire
}

/// Unspecified, so never trusted.
const NO_PEER: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// Unspecified where there is none.
fn peer(stream: &ClientStream<Stream>) -> IpAddr {
    let digest = stream.get_socket_digest();
    let address = digest
        .as_ref()
        .and_then(|digest| digest.peer_addr())
        .and_then(|address| address.as_inet());
    address.map_or(NO_PEER, SocketAddr::ip)
}
