//! The evidence in an answer about the upstream that gave it.
//!
//! GeoServer's status codes alone prove little: most errors come with 200, and WFS 2.0 uses 400 for
//! nearly every fault of a client. So small bodies that may be exception reports are inspected
//! while they pass, and only faults that no client can cause count against an upstream:
//!
//! | answer | proves |
//! |---|---|
//! | 2xx and 3xx with data | success |
//! | a report that names a node fault (out of memory, no threads, pool exhausted, stale file handle) | failure |
//! | any other report, whatever its status; 4xx | nothing |
//! | 429, and 503 by control-flow | busy |
//! | 502, 503, 504; 500 that is not a report, for services | failure |
//! | 404 with the container's own page at `/wms`, `/ows` or `/wfs` | failure: the webapp is not deployed |

use pingora::http::ResponseHeader;

use super::finding::{AnswerFinding, JudgedRequest};
use super::inspection::{BodyInspector, contains_folded, is_forbidden};
use super::sniff::Sniffer;
use crate::cluster::{Cause, Outcome};
use crate::ogc::RequestClass;
use crate::ogc::fault_texts::CONTROL_FLOW_HEADER;

/// Paths at which a deployed GeoServer always answers with a document of its own.
const SERVICE_ROOTS: [&[u8]; 3] = [b"/wms", b"/ows", b"/wfs"];

/// The evidence in the head of an answer.
#[derive(Debug)]
pub(in crate::proxy) enum HeadVerdict {
    Settled(AnswerFinding),
    /// The body decides: the inspector reads its parts, and its finding counts at the end.
    Sniff(Box<BodyInspector>),
}

/// Judges an answer by its head. Not for informational answers.
pub(in crate::proxy) fn judge_head(
    answer: &ResponseHeader,
    request: &JudgedRequest<'_>,
) -> HeadVerdict {
    let status = answer.status.as_u16();
    let without_body = match status {
        200..400 => Some(Outcome::Success),
        404 if is_service_root(request) && !is_structured(answer) => Some(failure(404)),
        429 => Some(Outcome::Busy),
        503 if answer.headers.contains_key(CONTROL_FLOW_HEADER) => {
            return settled(Some(Outcome::Busy));
        }
        503 if request.class != RequestClass::Ui => Some(failure(503)),
        502 | 504 => Some(failure(status)),
        500 if request.class.row().blames_upstream => Some(failure(500)),
        _ => None,
    };
    let is_worth_reading = match status {
        200..300 => is_structured(answer),
        // GeoWebCache answers in plain text that it does not know a layer.
        400..500 => is_structured(answer) || request.class == RequestClass::Tile && is_page(answer),
        500.. => is_structured(answer) || is_page(answer),
        _ => false,
    };
    match packing(answer) {
        Some(is_gzip) if is_worth_reading => {
            let sniffer = if status < 500 {
                Sniffer::for_report(is_gzip)
            } else {
                Sniffer::for_text(is_gzip)
            };
            HeadVerdict::Sniff(Box::new(BodyInspector {
                sniffer,
                status,
                without_body,
            }))
        }
        Some(_) | None => {
            let is_ignorant = status == 404 && request.class.is_read() && request.has_workspace;
            HeadVerdict::Settled(AnswerFinding {
                is_ignorant,
                is_forbidden: is_forbidden(status, request),
                ..AnswerFinding::only(without_body)
            })
        }
    }
}

/// Returns the reader of the beginning of an answer's body, if the body is a document.
pub(in crate::proxy) fn text_sniffer(answer: &ResponseHeader) -> Option<Sniffer> {
    packing(answer)
        .filter(|_| is_structured(answer))
        .map(Sniffer::for_text)
}

fn settled(outcome: Option<Outcome>) -> HeadVerdict {
    HeadVerdict::Settled(AnswerFinding::only(outcome))
}

fn failure(status: u16) -> Outcome {
    Outcome::Failure(Cause::Status(status))
}

fn is_service_root(request: &JudgedRequest<'_>) -> bool {
    let path = request
        .target
        .split(|b| matches!(b, b'?' | b';'))
        .next()
        .unwrap_or_default();
    path.strip_prefix(request.context.as_bytes())
        .is_some_and(|place| SERVICE_ROOTS.contains(&place))
}

/// True for XML or JSON, the formats of reports. False for images, SVG included.
fn is_structured(answer: &ResponseHeader) -> bool {
    let content_type = header(answer, "content-type");
    let is_image = content_type.len() > 6 && content_type[..6].eq_ignore_ascii_case(b"image/");
    !is_image
        && [&b"xml"[..], b"json", b"javascript"]
            .iter()
            .any(|part| contains_folded(content_type, part))
}

fn is_page(answer: &ResponseHeader) -> bool {
    let content_type = header(answer, "content-type");
    content_type.is_empty()
        || content_type.len() > 5 && content_type[..5].eq_ignore_ascii_case(b"text/")
}

/// Whether the body is packed with gzip; `None` when we cannot read how it is packed.
fn packing(answer: &ResponseHeader) -> Option<bool> {
    match header(answer, "content-encoding")
        .to_ascii_lowercase()
        .as_slice()
    {
        b"" | b"identity" => Some(false),
        b"gzip" | b"x-gzip" => Some(true),
        _ => None,
    }
}

fn header<'a>(answer: &'a ResponseHeader, name: &str) -> &'a [u8] {
    answer
        .headers
        .get(name)
        .map(http::HeaderValue::as_bytes)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests;
