//! Printing, below `/pdf`: the extension `printing`, which is MapFish Print 2.
//!
//! `MapPrinterServlet` has four addresses. `print.pdf` draws a document and answers with it.
//! `create.json` leaves the document in a file of the GeoServer that drew it, for ten minutes, and
//! answers with its address, `{id}.printout`. `info.json` describes the layouts.

use super::interpretation::Interpretation;
use super::kvp::Kvp;
use super::pairs::guarded;
use super::path::Path;
use super::{RequestClass, Span};

/// The end of the address of a document that `create.json` made, behind its identifier.
pub const PRINTED_DOCUMENT: &[u8] = b".printout";

/// True if the path has one of the servlet's addresses, in a spelling that all servers read alike.
pub(super) fn is_known(path: &Path<'_>, at: usize) -> bool {
    let pages: [&[u8]; 3] = [b"info.json", b"create.json", b"print.pdf"];
    let is_known = pages.contains(&path.name(at).as_bytes()) || id(path, at).is_some();
    is_known
        && path.len() == at + 1
        && path.is_unbroken(at - 1)
        && !path.has_other_segments()
        && path.with_dots().is_none()
}

/// Interprets a request to the servlet. `at` is the index of the segment behind `/pdf`.
pub(super) fn reading(method: &str, path: &Path<'_>, at: usize, kvp: &Kvp) -> Interpretation {
    if !is_known(path, at) {
        let reason = "nothing of the printing module (/pdf) is known at this address";
        // A server that reads the path in another way may print.
        return Interpretation::unknown(reason).beside_others(true);
    }
    let is_get = matches!(method, "GET" | "HEAD");
    let reason = match path.name(at).as_bytes() {
        b"print.pdf" if is_get || method == "POST" => "a map to print (/pdf/print.pdf)",
        b"create.json" if method == "POST" => {
            "a map to print, whose document stays on one GeoServer (/pdf/create.json)"
        }
        b"info.json" if is_get => "what the printing module offers (/pdf/info.json)",
        _ if is_get && id(path, at).is_some() => {
            "a printed document, in a file of the GeoServer that drew it (/pdf/*.printout)"
        }
        _ => {
            return Interpretation::unknown(
                "the printing module (/pdf) has nothing for this method here",
            );
        }
    };
    guarded(
        Interpretation::new(RequestClass::Process, None, reason),
        kvp,
    )
}

/// True if the request draws nothing.
pub(super) fn is_light(path: &Path<'_>, at: usize) -> bool {
    is_known(path, at) && (path.name(at).is("info.json") || id(path, at).is_some())
}

/// The identifier of the document that segment `at` names.
pub(super) fn id(path: &Path<'_>, at: usize) -> Option<Span> {
    let length = path.segment(at)?.strip_suffix(PRINTED_DOCUMENT)?.len();
    let span = path.span(at).filter(|_| length > 0)?;
    Some(Span {
        end: span.start + length as u32,
        ..span
    })
}
