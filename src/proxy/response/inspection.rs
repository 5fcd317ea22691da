//! The body of an answer, inspected while it passes: exception reports and the texts of faults.
//!
//! A client can make GeoServer repeat parts of the request. A text that the request itself contains
//! is therefore no evidence, and neither is a report whose code blames the request.

use percent_encoding::percent_decode;

use super::finding::{AnswerFinding, JudgedRequest};
use super::sniff::Sniffer;
use crate::cluster::{Cause, Outcome};
use crate::ogc::exception::{BodyHead, Exception};
use crate::ogc::fault_texts::{
    CONTROL_FLOW_TIMEOUT, IGNORANT_CODES, IGNORANT_TEXTS, NODE_FAULTS, OWN_FAULT_CODES,
};

/// Layers of encoding that GeoServer may take off a text before it repeats it.
const MAX_ENCODINGS: usize = 2;

/// Digits of a character reference that are looked at.
const MAX_REFERENCE: usize = 12;

/// Characters of an error page that a cause quotes.
const QUOTED: usize = 120;

/// Reads a body while it passes.
#[derive(Debug)]
pub(in crate::proxy) struct BodyInspector {
    pub(super) sniffer: Sniffer,
    pub(super) status: u16,
    /// The outcome by the head alone.
    pub(super) without_body: Option<Outcome>,
}

impl BodyInspector {
    /// Whether the rest of the body can change the finding.
    pub(in crate::proxy) fn wants_more(&self) -> bool {
        self.sniffer.wants_more()
    }

    /// Copies at most a few KiB in all, and nothing of data.
    pub(in crate::proxy) fn inspect(&mut self, chunk: &[u8]) {
        self.sniffer.feed(chunk);
    }

    /// The finding at the end of the body, or when the answer was broken off.
    pub(in crate::proxy) fn finding(&self, request: &JudgedRequest<'_>) -> AnswerFinding {
        let text = self.sniffer.text();
        if BodyHead::of(&text).is_report() {
            let outcome = node_fault_in_report(&text, request);
            let is_ignorant =
                outcome.is_none() && request.class.is_read() && is_ignorant_report(&text);
            return AnswerFinding {
                outcome,
                is_service_exception: true,
                is_ignorant,
                is_forbidden: is_forbidden(self.status, request),
                exception: String::new(),
            };
        }
        if (400..500).contains(&self.status) {
            let is_ignorant = request.class.is_read()
                && (request.has_workspace && self.status == 404 || is_ignorant(&text));
            return AnswerFinding {
                is_ignorant,
                is_forbidden: is_forbidden(self.status, request),
                ..AnswerFinding::only(self.without_body.clone())
            };
        }
        if self.status == 503 && contains(&text, CONTROL_FLOW_TIMEOUT) {
            return AnswerFinding::only(Some(Outcome::Busy));
        }
        let fault = node_fault(&text, request)
            .map(|at| Outcome::Failure(Cause::NodeFault(quote(&text[at..]))));
        let exception = if fault.is_none() {
            exception_named_in(&text)
        } else {
            String::new()
        };
        AnswerFinding {
            exception,
            ..AnswerFinding::only(fault.or_else(|| self.without_body.clone()))
        }
    }
}

/// True for a read that the upstream refuses to this client.
pub(super) fn is_forbidden(status: u16, request: &JudgedRequest<'_>) -> bool {
    matches!(status, 401 | 403) && request.class.is_read()
}

/// True for a report that blames the request for a name that the catalog does not have. The name
/// itself is not examined, because the client may have written anything.
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

/// Returns the place where `text` names a node fault that the request did not put into it. A body
/// that was not read may hold anything.
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

pub(super) fn contains_folded(haystack: &[u8], needle: &[u8]) -> bool {
    haystack
        .windows(needle.len())
        .any(|window| window.eq_ignore_ascii_case(needle))
}
