//! The answers that geofront gives instead of an upstream: the right status, in the format of the
//! client's service, and nothing about the upstreams.
//!
//! GeoServer answers most errors with 200; we do not, because every cache, monitor and load
//! balancer on the way believes the status. The body has the content type and the root element that
//! the service's own errors have.

use bytes::Bytes;
use http::StatusCode;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use pingora::http::ResponseHeader;
use quick_xml::escape::escape;

use crate::http1::Fault;
use crate::ogc::ErrorShape;
use crate::proxy::client::request_id::{REQUEST_ID, RequestId};

/// The code of OWS for an error that the request did not cause.
const CODE: &str = "NoApplicableCode";

/// Methods that a client may use instead of a refused one; an upstream may support more.
const METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";

/// The reason why a client gets an answer of geofront.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No upstream of the right role is up and ready.
    NoUpstream,
    /// All eligible upstreams were tried, or as many as the configuration allows.
    AllFailed,
    /// The upstream went away after it had the request, and the request must not be sent twice.
    ConnectionLost,
    /// The upstream did not begin to answer within the class's limit.
    FirstByteTimeout,
    /// The request's body is larger than its class allows.
    BodyTooLarge,
    /// The client stopped sending its body.
    BodyTimeout,
    BadRequest,
    /// The request has passed through here before: an upstream's url leads back to us.
    Loop,
    ShuttingDown,
    /// All upstreams are at their limits, and the queue is full.
    QueueFull,
    /// The request waited for `queue_timeout`.
    QueueTimeout,
    /// The request waited, and a request of higher priority displaced it from the queue.
    Shed,
    /// Too many requests of this user or address in this window.
    RateLimited,
    /// An address that is shut out.
    Blocked,
    /// The upstream that began an execution or drew a document, and alone has it, does not serve.
    JobGone,
    /// A rule of the operator refuses the request.
    Route,
    /// The request's path is not below `geoserver.public_path`.
    PublicPath,
    /// No cluster has the request's host.
    UnknownHost,
    /// No cluster has the request's path on this host, or it can be read as paths of several.
    UnknownPath,
    /// The request names an upstream, and its peer may state no user.
    NamedUpstreamUntrusted,
    /// The request names an upstream, and its user is no administrator.
    NamedUpstreamNoAdministrator,
    /// The request names an upstream with a wrong token.
    NamedUpstreamWrongToken,
    /// No upstream has the name.
    NamedUpstreamUnknown,
    /// The request may change something on an upstream that is not the main.
    NamedUpstreamReadOnly,
    /// The upstream that the request names accepts no connection.
    NamedUpstreamUnreachable,
    /// This machine has no descriptor, port or memory left for another connection.
    LocalFault,
    /// The head of the upstream's answer is longer than we read.
    AnswerHeadTooLarge,
    /// The upstream's answer is no HTTP that every client reads in the same way.
    BadAnswer,
    /// The request came by http and belongs to https; it has no body.
    HttpsRedirect,
    /// The same for a request that may have a body, which the client repeats as it is.
    HttpsRedirectOfBody,
    /// A request that two servers could read differently.
    Malformed(Fault),
    /// A defect of ours.
    Internal,
}

/// All but those of malformed requests.
const OWN: [Refusal; 31] = [
    Refusal::JobGone,
    Refusal::HttpsRedirect,
    Refusal::HttpsRedirectOfBody,
    Refusal::BadAnswer,
    Refusal::NoUpstream,
    Refusal::AllFailed,
    Refusal::ConnectionLost,
    Refusal::FirstByteTimeout,
    Refusal::BodyTooLarge,
    Refusal::BodyTimeout,
    Refusal::BadRequest,
    Refusal::Loop,
    Refusal::ShuttingDown,
    Refusal::QueueFull,
    Refusal::QueueTimeout,
    Refusal::Shed,
    Refusal::RateLimited,
    Refusal::Blocked,
    Refusal::Route,
    Refusal::PublicPath,
    Refusal::UnknownHost,
    Refusal::UnknownPath,
    Refusal::NamedUpstreamUntrusted,
    Refusal::NamedUpstreamNoAdministrator,
    Refusal::NamedUpstreamWrongToken,
    Refusal::NamedUpstreamUnknown,
    Refusal::NamedUpstreamReadOnly,
    Refusal::NamedUpstreamUnreachable,
    Refusal::LocalFault,
    Refusal::AnswerHeadTooLarge,
    Refusal::Internal,
];

impl Refusal {
    /// Every refusal.
    pub const ALL: [Self; OWN.len() + Fault::ALL.len()] = {
        let mut all = [Self::Internal; OWN.len() + Fault::ALL.len()];
        let mut at = 0;
        while at < all.len() {
            all[at] = if at < OWN.len() {
                OWN[at]
            } else {
                Self::Malformed(Fault::ALL[at - OWN.len()])
            };
            at += 1;
        }
        all
    };
    /// The name used in metrics and in the access log.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::NoUpstream => "no-upstream",
            Self::AllFailed => "all-failed",
            Self::ConnectionLost => "connection-lost",
            Self::FirstByteTimeout => "first-byte-timeout",
            Self::BodyTooLarge => "body-too-large",
            Self::BodyTimeout => "body-timeout",
            Self::BadRequest => "bad-request",
            Self::Loop => "loop",
            Self::ShuttingDown => "shutting-down",
            Self::QueueFull => "queue-full",
            Self::QueueTimeout => "queue-timeout",
            Self::Shed => "shed",
            Self::RateLimited => "rate-limit",
            Self::Blocked => "blacklist",
            Self::JobGone => "job-gone",
            Self::Route => "route",
            Self::PublicPath => "public-path",
            Self::UnknownHost => "unknown-host",
            Self::UnknownPath => "unknown-path",
            Self::NamedUpstreamUntrusted => "named-upstream-untrusted",
            Self::NamedUpstreamNoAdministrator => "named-upstream-no-administrator",
            Self::NamedUpstreamWrongToken => "named-upstream-wrong-token",
            Self::NamedUpstreamUnknown => "named-upstream-unknown",
            Self::NamedUpstreamReadOnly => "named-upstream-read-only",
            Self::NamedUpstreamUnreachable => "named-upstream-unreachable",
            Self::LocalFault => "local-fault",
            Self::AnswerHeadTooLarge => "answer-head-too-large",
            Self::BadAnswer => "bad-answer",
            Self::HttpsRedirect => "https-redirect",
            Self::HttpsRedirectOfBody => "https-redirect-body",
            Self::Malformed(fault) => fault.reason(),
            Self::Internal => "internal",
        }
    }

    /// True if the answer reports how an upstream failed, so that it counts under its name.
    pub const fn reports_attempt(self) -> bool {
        matches!(
            self,
            Self::ConnectionLost
                | Self::NamedUpstreamUnreachable
                | Self::FirstByteTimeout
                | Self::AnswerHeadTooLarge
                | Self::BadAnswer
        )
    }

    /// The status of the answer.
    pub fn status(self) -> StatusCode {
        match self {
            Self::NoUpstream | Self::AllFailed | Self::ShuttingDown | Self::JobGone => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::QueueFull | Self::QueueTimeout | Self::Shed | Self::LocalFault => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::RateLimited => StatusCode::TOO_MANY_REQUESTS,
            Self::Blocked
            | Self::Route
            | Self::NamedUpstreamUntrusted
            | Self::NamedUpstreamNoAdministrator
            | Self::NamedUpstreamWrongToken
            | Self::NamedUpstreamReadOnly => StatusCode::FORBIDDEN,
            Self::NamedUpstreamUnknown | Self::PublicPath | Self::UnknownPath => {
                StatusCode::NOT_FOUND
            }
            Self::UnknownHost => StatusCode::MISDIRECTED_REQUEST,
            Self::ConnectionLost
            | Self::NamedUpstreamUnreachable
            | Self::AnswerHeadTooLarge
            | Self::BadAnswer => StatusCode::BAD_GATEWAY,
            Self::FirstByteTimeout => StatusCode::GATEWAY_TIMEOUT,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::BodyTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::BadRequest => StatusCode::BAD_REQUEST,
            Self::Malformed(fault) => {
                StatusCode::from_u16(fault.status()).unwrap_or(StatusCode::BAD_REQUEST)
            }
            Self::HttpsRedirect => StatusCode::MOVED_PERMANENTLY,
            Self::HttpsRedirectOfBody => StatusCode::PERMANENT_REDIRECT,
            Self::Loop => StatusCode::LOOP_DETECTED,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// Seconds after which another try makes sense. Not after a lost connection: the effect of the
    /// request is not known, so a person has to decide whether to repeat it.
    pub const fn retry_after(self) -> Option<u32> {
        match self {
            Self::NoUpstream | Self::ShuttingDown | Self::JobGone => Some(5),
            Self::AllFailed | Self::LocalFault => Some(2),
            Self::FirstByteTimeout => Some(30),
            // Where no better estimate is known.
            Self::QueueFull | Self::QueueTimeout | Self::Shed | Self::RateLimited => Some(10),
            Self::ConnectionLost
            | Self::AnswerHeadTooLarge
            | Self::BadAnswer
            | Self::BodyTooLarge
            | Self::BodyTimeout
            | Self::BadRequest
            | Self::Loop
            | Self::HttpsRedirect
            | Self::HttpsRedirectOfBody
            | Self::Malformed(_)
            | Self::Blocked
            | Self::Route
            | Self::PublicPath
            | Self::UnknownHost
            | Self::UnknownPath
            | Self::NamedUpstreamUntrusted
            | Self::NamedUpstreamNoAdministrator
            | Self::NamedUpstreamWrongToken
            | Self::NamedUpstreamUnknown
            | Self::NamedUpstreamReadOnly
            | Self::NamedUpstreamUnreachable
            | Self::Internal => None,
        }
    }

    const fn message(self) -> &'static str {
        match self {
            Self::NoUpstream | Self::ShuttingDown => {
                "The map service is not available at the moment. Please try again shortly."
            }
            Self::AllFailed => "The map service could not answer. Please try again shortly.",
            Self::ConnectionLost => {
                "The map service broke off before it answered. If this was a change, check whether it was made."
            }
            Self::FirstByteTimeout => {
                "The map service took too long to answer. A smaller area or fewer features may help."
            }
            Self::BodyTooLarge => "The request is larger than this service accepts.",
            Self::BodyTimeout => "The request did not arrive completely in time.",
            Self::BadRequest => "The request could not be understood.",
            Self::Loop => "The request came back to where it started.",
            Self::QueueFull | Self::QueueTimeout | Self::Shed => {
                "The map service is very busy. Please try again in a moment."
            }
            Self::RateLimited => {
                "Too many requests in a short time. The response headers state when more are accepted."
            }
            Self::Blocked => "Requests from this address are not accepted.",
            Self::JobGone => {
                "The part of the map service that began this execution, or drew this document, does not serve at the moment. If it was restarted, the result may be lost."
            }
            Self::Route => "This service does not accept requests of this kind from here.",
            Self::PublicPath | Self::UnknownHost | Self::UnknownPath => {
                "There is no map service at this address."
            }
            // The detail of the answer has more for an administrator.
            Self::NamedUpstreamUntrusted | Self::NamedUpstreamWrongToken => {
                "This service does not accept requests of this kind from here."
            }
            Self::NamedUpstreamNoAdministrator => "Requests of this kind are for administrators.",
            Self::NamedUpstreamUnknown => "The request names a destination that does not exist.",
            Self::NamedUpstreamReadOnly => {
                "The request may change something, which is not accepted there."
            }
            Self::NamedUpstreamUnreachable => {
                "The destination that the request names cannot be reached."
            }
            Self::LocalFault => {
                "The map service has too much to do at the moment. Please try again shortly."
            }
            Self::AnswerHeadTooLarge | Self::BadAnswer => {
                "The map service gave an answer that could not be passed on."
            }
            Self::HttpsRedirect | Self::HttpsRedirectOfBody => {
                "This service is available by https only."
            }
            Self::Malformed(fault) => fault.message(),
            Self::Internal => "The request could not be processed.",
        }
    }
}

const fn content_type(shape: ErrorShape) -> &'static str {
    match shape {
        ErrorShape::Wms111 | ErrorShape::Wcs10 => "application/vnd.ogc.se_xml;charset=UTF-8",
        ErrorShape::Wms130 | ErrorShape::Wfs100 => "text/xml;charset=UTF-8",
        ErrorShape::Wfs110
        | ErrorShape::Wfs20
        | ErrorShape::Wcs11
        | ErrorShape::Wcs20
        | ErrorShape::Ows11 => "application/xml",
        ErrorShape::Json => "application/json",
        ErrorShape::Plain => "text/plain;charset=UTF-8",
    }
}

fn body(shape: ErrorShape, text: &str) -> String {
    match shape {
        // GeoServer's DOCTYPE is left out: it would have parsers fetch a DTD from a service that is
        // not well.
        ErrorShape::Wms111 => service_exception(r#"version="1.1.1""#, text),
        ErrorShape::Wms130 => service_exception(
            r#"version="1.3.0" xmlns="http://www.opengis.net/ogc""#,
            text,
        ),
        ErrorShape::Wfs100 | ErrorShape::Wcs10 => service_exception(
            r#"version="1.2.0" xmlns="http://www.opengis.net/ogc""#,
            text,
        ),
        ErrorShape::Wfs110 => ows_exception("http://www.opengis.net/ows", "1.0.0", text),
        ErrorShape::Wfs20 => ows_exception("http://www.opengis.net/ows/1.1", "2.0.0", text),
        ErrorShape::Wcs11 | ErrorShape::Ows11 => {
            ows_exception("http://www.opengis.net/ows/1.1", "1.1.0", text)
        }
        ErrorShape::Wcs20 => ows_exception("http://www.opengis.net/ows/2.0", "2.0.0", text),
        // Readable for clients that sent EXCEPTIONS=application/json and for clients of OGC API:
        // the first two keys are for the former, the others for the latter.
        ErrorShape::Json => serde_json::json!({
            "version": "1.0.0",
            "exceptions": [{"code": CODE, "locator": "noLocator", "text": text}],
            "code": CODE,
            "description": text,
        })
        .to_string(),
        ErrorShape::Plain => format!("{text}\n"),
    }
}

/// Head and body of our answer. The caller leaves the body out for HEAD. `retry_after`: seconds,
/// where the refusal's own are not the best that is known.
pub fn build(
    refusal: Refusal,
    detail: Option<&str>,
    retry_after: Option<u32>,
    shape: ErrorShape,
    request_id: &RequestId,
) -> (ResponseHeader, Bytes) {
    let status = refusal.status();
    let detail = detail.map_or(String::new(), |detail| format!(" {detail}"));
    let body = Bytes::from(body(
        shape,
        &format!("{}{detail} (request {request_id})", refusal.message()),
    ));
    let mut head = ResponseHeader::build(status, Some(6)).expect("a valid status");
    let mut set = |name: http::HeaderName, value: HeaderValue| {
        head.insert_header(name, value).expect("a valid name")
    };
    set(CONTENT_TYPE, HeaderValue::from_static(content_type(shape)));
    set(http::header::CONTENT_LENGTH, HeaderValue::from(body.len()));
    set(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(seconds) = refusal
        .retry_after()
        .map(|usual| retry_after.unwrap_or(usual))
    {
        set(RETRY_AFTER, HeaderValue::from(seconds));
    }
    if status == StatusCode::METHOD_NOT_ALLOWED {
        set(ALLOW, HeaderValue::from_static(METHODS));
    }
    head.insert_header(REQUEST_ID, request_id.as_str())
        .expect("request ids are made of what headers may hold");
    (head, body)
}

fn service_exception(attributes: &str, text: &str) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<ServiceExceptionReport {attributes}>\
         <ServiceException code=\"{CODE}\">{}</ServiceException></ServiceExceptionReport>\n",
        escape(text)
    )
}

fn ows_exception(namespace: &str, version: &str, text: &str) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<ows:ExceptionReport xmlns:ows=\"{namespace}\" version=\"{version}\">\
         <ows:Exception exceptionCode=\"{CODE}\"><ows:ExceptionText>{}</ows:ExceptionText></ows:Exception>\
         </ows:ExceptionReport>\n",
        escape(text)
    )
}

#[cfg(test)]
mod tests;
