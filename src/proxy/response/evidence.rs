//! What an answer tells about the upstream that gave it.
//!
//! Status codes alone are blind and trigger-happy with GeoServer: most errors come with 200, and
//! WFS 2.0 uses 400 for nearly every fault of a client. So the small bodies that may be exception
//! reports are looked at in passing, and only what no client can cause counts against an upstream:
//!
//! | answer | tells |
//! |---|---|
//! | 2xx and 3xx with data | success |
//! | a report that names a node fault (out of memory, no threads, pool exhausted, stale file handle) | failure |
//! | any other report, whatever its status; 4xx | nothing |
//! | 429, and 503 by control-flow | busy |
//! | 502, 503, 504; 500 that is not a report, for services | failure |
//! | 404 with the container's own page at `/wms`, `/ows` or `/wfs` | failure: the webapp is not deployed |
//!
//! A client can make GeoServer repeat what it sent. A text that the request holds itself is
//! therefore no evidence, nor is a report whose code blames the request.

use percent_encoding::percent_decode;
use pingora::http::ResponseHeader;

use super::sniff::Sniffer;
use crate::cluster::{Cause, Outcome};
use crate::ogc::RequestClass;
use crate::ogc::exception::{BodyHead, Exception};
use crate::ogc::fault_texts::{
    CONTROL_FLOW_HEADER, CONTROL_FLOW_TIMEOUT, IGNORANT_CODES, IGNORANT_TEXTS, NODE_FAULTS,
    OWN_FAULT_CODES,
};

/// Where a deployed GeoServer always answers with something of its own.
const SERVICE_ROOTS: [&[u8]; 3] = [b"/wms", b"/ows", b"/wfs"];

/// Layers of encoding that GeoServer may take off a text before it repeats it.
const MAX_ENCODINGS: usize = 2;

/// Digits of a character reference that are looked at.
const MAX_REFERENCE: usize = 12;

/// Characters of an error page that a cause quotes.
const QUOTED: usize = 120;

/// The request, as far as its answer is judged by it.
#[derive(Clone, Copy, Debug)]
pub(in crate::proxy) struct JudgedRequest<'a> {
    pub(in crate::proxy) class: RequestClass,
    /// Path and query as on the request line.
    pub(in crate::proxy) target: &'a [u8],
    /// The path goes by a workspace, `/{workspace}/wms`.
    pub(in crate::proxy) has_workspace: bool,
    /// The servlet context, as configured.
    pub(in crate::proxy) context: &'a str,
    /// As much of the body as was read to classify it.
    pub(in crate::proxy) body_prefix: &'a [u8],
    /// `body_prefix` is the whole body.
    pub(in crate::proxy) is_body_known: bool,
}

/// What an answer tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::proxy) struct Finding {
    /// `None`: nothing, for or against.
    pub(in crate::proxy) outcome: Option<Outcome>,
    pub(in crate::proxy) is_service_exception: bool,
    /// It does not know the layer or workspace it was request for: a client's mistake, or a catalog
    /// that lacks something.
    pub(in crate::proxy) is_ignorant: bool,
    /// The exception that the page of a failure names, if it names one.
    pub(in crate::proxy) says: String,
}

impl Finding {
    const fn only(outcome: Option<Outcome>) -> Self {
        Self {
            outcome,
            is_service_exception: false,
            is_ignorant: false,
            says: String::new(),
        }
    }
}

/// What the head of an answer tells.
#[derive(Debug)]
pub(in crate::proxy) enum HeadVerdict {
    Settled(Finding),
    /// The body decides: pass its parts by the inspector; its finding counts at the end.
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
    let may_tell_more = match status {
        200..300 => is_structured(answer),
        // GeoWebCache says in plain words that it does not know a layer.
        400..500 => is_structured(answer) || request.class == RequestClass::Tile && is_page(answer),
        500.. => is_structured(answer) || is_page(answer),
        _ => false,
    };
    match packing(answer) {
        Some(is_gzip) if may_tell_more => {
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
            HeadVerdict::Settled(Finding {
                is_ignorant,
                ..Finding::only(without_body)
            })
        }
    }
}

/// Looks at a body in passing.
#[derive(Debug)]
pub(in crate::proxy) struct BodyInspector {
    sniffer: Sniffer,
    status: u16,
    /// What the head alone would tell.
    without_body: Option<Outcome>,
}

impl BodyInspector {
    /// Whether it still cares for the body.
    pub(in crate::proxy) fn wants_more(&self) -> bool {
        self.sniffer.wants_more()
    }

    /// Copies at most a few KiB in all, and nothing of data.
    pub(in crate::proxy) fn see(&mut self, chunk: &[u8]) {
        self.sniffer.feed(chunk);
    }

    /// At the end of the body, or when the answer was broken off.
    pub(in crate::proxy) fn finding(&self, request: &JudgedRequest<'_>) -> Finding {
        let text = self.sniffer.text();
        if BodyHead::of(&text).is_report() {
            let outcome = node_fault_in_report(&text, request);
            let is_ignorant =
                outcome.is_none() && request.class.is_read() && is_ignorant_report(&text);
            return Finding {
                outcome,
                is_service_exception: true,
                is_ignorant,
                says: String::new(),
            };
        }
        if (400..500).contains(&self.status) {
            let is_ignorant = request.class.is_read()
                && (request.has_workspace && self.status == 404 || is_ignorant(&text));
            return Finding {
                is_ignorant,
                ..Finding::only(self.without_body.clone())
            };
        }
        if self.status == 503 && contains(&text, CONTROL_FLOW_TIMEOUT) {
            return Finding::only(Some(Outcome::Busy));
        }
        let fault = node_fault(&text, request)
            .map(|at| Outcome::Failure(Cause::NodeFault(quote(&text[at..]))));
        let says = if fault.is_none() {
            exception_named_in(&text)
        } else {
            String::new()
        };
        Finding {
            says,
            ..Finding::only(fault.or_else(|| self.without_body.clone()))
        }
    }
}

/// A report that blames the request for naming what the catalog does not have. What it names is not
/// looked at: that may be anything the client wrote.
fn is_ignorant_report(report: &[u8]) -> bool {
    Exception::first_of(report).is_some_and(|exception| {
        IGNORANT_CODES
            .iter()
            .any(|code| exception.code.eq_ignore_ascii_case(code))
            || is_ignorant(exception.text.as_bytes())
    })
}

fn is_ignorant(text: &[u8]) -> bool {
    let is_feature_type = contains(text, "Feature type") && contains(text, "unknown");
    is_feature_type || IGNORANT_TEXTS.iter().any(|known| contains(text, known))
}

fn settled(outcome: Option<Outcome>) -> HeadVerdict {
    HeadVerdict::Settled(Finding::only(outcome))
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

/// XML or JSON: what a report may come as. Not images, SVG included.
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

fn node_fault_in_report(report: &[u8], request: &JudgedRequest<'_>) -> Option<Outcome> {
    let exception = Exception::first_of(report)?;
    let is_own_fault = OWN_FAULT_CODES
        .iter()
        .any(|code| exception.code.eq_ignore_ascii_case(code));
    let at = node_fault(report, request).filter(|_| is_own_fault)?;
    let text = if exception.text.is_empty() {
        quote(&report[at..])
    } else {
        exception.text
    };
    Some(Outcome::Failure(Cause::NodeFault(text)))
}

/// Where `text` names a node fault that the request did not put into it. A body that was not read
/// may hold anything.
fn node_fault(text: &[u8], request: &JudgedRequest<'_>) -> Option<usize> {
    if !request.is_body_known {
        return None;
    }
    NODE_FAULTS
        .iter()
        .find_map(|fault| position(text, fault).filter(|_| !is_echo(fault, request)))
}

fn is_echo(fault: &str, request: &JudgedRequest<'_>) -> bool {
    [request.target, request.body_prefix]
        .into_iter()
        .any(|sent| {
            let mut decoded = sent.to_vec();
            (0..=MAX_ENCODINGS).any(|_| {
                let is_there = contains_folded(&decoded, fault.as_bytes());
                decoded = decode_once(&decoded);
                is_there
            })
        })
}

/// Takes one layer of percent-encoding and of XML's character references off.
fn decode_once(text: &[u8]) -> Vec<u8> {
    let spaced: Vec<u8> = percent_decode(text)
        .map(|b| if b == b'+' { b' ' } else { b })
        .collect();
    let mut decoded = Vec::with_capacity(spaced.len());
    let mut rest = spaced.as_slice();
    while let Some(&first) = rest.first() {
        let (byte, length) = character_reference(rest).unwrap_or((first, 1));
        decoded.push(byte);
        rest = &rest[length..];
    }
    decoded
}

/// The ASCII character that a text begins with as a reference such as `&#109;` or `&#x6d;`, and the
/// length of that.
fn character_reference(text: &[u8]) -> Option<(u8, usize)> {
    let digits = text.strip_prefix(b"&#")?;
    let end = digits.iter().take(MAX_REFERENCE).position(|b| *b == b';')?;
    let digits = std::str::from_utf8(&digits[..end]).ok()?;
    let code = match digits.strip_prefix(['x', 'X']) {
        Some(hex) => u8::from_str_radix(hex, 16).ok()?,
        None => digits.parse().ok()?,
    };
    code.is_ascii().then_some((code, end + 3))
}

/// The first words of `text`, up to the end of the line or the next tag.
fn quote(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(&text[..text.len().min(QUOTED * 4)]);
    text.chars()
        .take(QUOTED)
        .take_while(|c| *c != '<' && !c.is_control())
        .collect()
}

/// From the name of the first exception to the end of the line:
/// `java.sql.SQLException: no such table`.
fn exception_named_in(page: &[u8]) -> String {
    let Some(at) = position(page, "Exception") else {
        return String::new();
    };
    let is_of_name = |b: &&u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'$');
    let start = at - page[..at].iter().rev().take_while(is_of_name).count();
    quote(&page[start..])
}

fn position(haystack: &[u8], needle: &str) -> Option<usize> {
    haystack
        .windows(needle.len())
        .position(|window| window == needle.as_bytes())
}

fn contains(haystack: &[u8], needle: &str) -> bool {
    position(haystack, needle).is_some()
}

fn contains_folded(haystack: &[u8], needle: &[u8]) -> bool {
    haystack
        .windows(needle.len())
        .any(|window| window.eq_ignore_ascii_case(needle))
}

#[cfg(test)]
mod tests;
