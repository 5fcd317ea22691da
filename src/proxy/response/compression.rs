//! The decision whether an answer is compressed, and the head of a compressed answer (RFC 9110
//! sections 8.4, 8.8.3 and 12.5.3).
//!
//! An upstream that compares entity tags byte by byte, as GeoWebCache does, must get back the tag
//! it gave. A compressed answer is not the same byte for byte, so its tag is weak, and a mark in it
//! names the coding: `"a"` becomes `W/"a--gzip"`. In the conditions of a later request the mark is
//! removed again.

use http::header::{
    ACCEPT_ENCODING, ACCEPT_RANGES, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE,
    CONTENT_TYPE, ETAG, HeaderMap, HeaderValue, IF_NONE_MATCH, TRANSFER_ENCODING,
};
use http::{Method, StatusCode, Version};
use pingora::Result;
use pingora::http::{RequestHeader, ResponseHeader};

use super::vary::vary_by;
use crate::config::Coding;

/// Headers with a checksum of the answer's bytes as the upstream sent them.
const CHECKSUMS: [&str; 4] = ["content-md5", "digest", "content-digest", "repr-digest"];

/// Types that compress well, beside text, XML and JSON.
const OTHER_TYPES: [&str; 6] = [
    "application/javascript",
    "application/x-javascript",
    "application/ecmascript",
    "application/vnd.mapbox-vector-tile",
    "application/x-protobuf",
    "application/wasm",
];

/// The coding that a client accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::proxy) struct Accepted {
    pub(in crate::proxy) coding: Coding,
    /// The client refuses an answer that is not compressed.
    pub(in crate::proxy) is_required: bool,
}

/// The coding of `offered` that the client prefers, if it prefers one to none. Between equals, the
/// order of `offered` decides.
///
/// HTTP/1.0 clients get none: content codings are negotiated since HTTP/1.1.
pub(in crate::proxy) fn negotiate(request: &RequestHeader, offered: &[Coding]) -> Option<Accepted> {
    if offered.is_empty() || request.version < Version::HTTP_11 {
        return None;
    }
    let accepted = Qualities::of(&request.headers);
    let excluded = accepted.any.filter(|any| *any == 0);
    let identity = accepted.identity.or(excluded);
    let mut best: Option<(Coding, u16)> = None;
    for coding in offered {
        let quality = accepted.of_coding(*coding);
        if quality > best.map_or(0, |(_, best)| best) {
            best = Some((*coding, quality));
        }
    }
    let (coding, quality) = best?;
    let is_preferred = quality >= identity.unwrap_or(0);
    is_preferred.then_some(Accepted {
        coding,
        is_required: identity == Some(0),
    })
}

/// The quality of each coding in thousandths, where the client states one.
#[derive(Debug, Default)]
struct Qualities {
    gzip: Option<u16>,
    zstd: Option<u16>,
    identity: Option<u16>,
    any: Option<u16>,
}

impl Qualities {
    fn of(headers: &HeaderMap) -> Self {
        let mut qualities = Self::default();
        let lines = headers.get_all(ACCEPT_ENCODING).iter();
        let elements = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
        for element in elements {
            let Some((name, quality)) = std::str::from_utf8(element).ok().and_then(weighted) else {
                continue;
            };
            let slot = if name == "*" {
                &mut qualities.any
            } else if name.eq_ignore_ascii_case("identity") {
                &mut qualities.identity
            } else if name.eq_ignore_ascii_case("x-gzip") {
                &mut qualities.gzip
            } else {
                match Coding::from_name(name) {
                    Some(Coding::Gzip) => &mut qualities.gzip,
                    Some(Coding::Zstd) => &mut qualities.zstd,
                    None => continue,
                }
            };
            *slot = Some(quality);
        }
        qualities
    }

    fn of_coding(&self, coding: Coding) -> u16 {
        let own = match coding {
            Coding::Gzip => self.gzip,
            Coding::Zstd => self.zstd,
        };
        own.or(self.any).unwrap_or(0)
    }
}

/// `gzip;q=0.5` is ("gzip", 500). An element that cannot be read counts as not sent.
fn weighted(element: &str) -> Option<(&str, u16)> {
    let (name, parameter) = match element.split_once(';') {
        Some((name, parameter)) => (name, Some(parameter.trim())),
        None => (element, None),
    };
    let quality = match parameter {
        Some(parameter) => quality(parameter.strip_prefix(['q', 'Q'])?.strip_prefix('=')?)?,
        None => 1000,
    };
    Some((name.trim(), quality))
}

/// `0.5` is 500; at most three digits behind the point.
fn quality(text: &str) -> Option<u16> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if fraction.len() > 3 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let fraction: u16 = format!("{fraction:0<3}").parse().ok()?;
    match whole {
        "0" => Some(fraction),
        "1" if fraction == 0 => Some(1000),
        _ => None,
    }
}

/// True if an answer with this head can be compressed for a client that accepts it.
pub(in crate::proxy) fn is_compressible(response: &ResponseHeader, method: &Method) -> bool {
    let headers = &response.headers;
    let is_whole = matches!(
        response.status,
        StatusCode::OK
            | StatusCode::CREATED
            | StatusCode::ACCEPTED
            | StatusCode::NON_AUTHORITATIVE_INFORMATION
    );
    let has_checksum = || CHECKSUMS.iter().any(|name| headers.contains_key(*name));
    is_whole
        && headers.get(CONTENT_TYPE).is_some_and(is_text)
        && !headers.contains_key(CONTENT_ENCODING)
        && !headers.contains_key(CONTENT_RANGE)
        && !has_checksum()
        && !forbids_transformation(headers)
        && headers
            .get(CONTENT_LENGTH)
            .is_none_or(|length| length != "0")
        && (method == Method::HEAD || has_end(response))
}

/// True if the body is known to be shorter than `min_size`.
pub(in crate::proxy) fn is_short(response: &ResponseHeader, min_size: u64) -> bool {
    let length = response.headers.get(CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    length.is_some_and(|length| length < min_size)
}

/// Text, and formats that are text beneath. Images and archives are compressed already, and an
/// event stream is delivered event by event.
fn is_text(content_type: &HeaderValue) -> bool {
    let Ok(text) = content_type.to_str() else {
        return false;
    };
    let essence = text.split(';').next().unwrap_or_default();
    let essence = essence.trim().to_ascii_lowercase();
    match essence.split_once('/') {
        Some(("text", "event-stream")) => false,
        Some(("text", _)) => true,
        // Some servers call KMZ, an archive, XML as well.
        Some((_, format)) => {
            let is_document = format.ends_with("xml") || format.ends_with("json");
            is_document && !format.contains("kmz") && !format.contains("zip")
                || OTHER_TYPES.contains(&essence.as_str())
        }
        None => false,
    }
}

fn forbids_transformation(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(CACHE_CONTROL).iter();
    lines
        .flat_map(|line| line.as_bytes().split(|byte| *byte == b','))
        .any(|directive| directive.trim_ascii().eq_ignore_ascii_case(b"no-transform"))
}

/// True if the end of the body can be distinguished from a broken connection. Otherwise the
/// compressed answer would look complete where the upstream's is not.
fn has_end(response: &ResponseHeader) -> bool {
    response.headers.contains_key(CONTENT_LENGTH)
        || response.version == Version::HTTP_11 && response.headers.contains_key(TRANSFER_ENCODING)
}

/// States that the answer depends on the codings that the client accepts.
pub(in crate::proxy) fn vary(response: &mut ResponseHeader) -> Result<()> {
    vary_by(response, "Accept-Encoding")
}

/// Makes the head that of the compressed answer.
pub(in crate::proxy) fn encode_head(
    response: &mut ResponseHeader,
    coding: Coding,
    method: &Method,
) -> Result<()> {
    response.insert_header(CONTENT_ENCODING, coding.as_str())?;
    response.remove_header(&CONTENT_LENGTH);
    // A part of the upstream's bytes is no part of the compressed answer.
    response.remove_header(&ACCEPT_RANGES);
    if method != Method::HEAD {
        response.set_version(Version::HTTP_11);
        response.insert_header(TRANSFER_ENCODING, "chunked")?;
    }
    if let Some(marked) = response.headers.get(ETAG).and_then(|tag| mark(tag, coding)) {
        response.insert_header(ETAG, marked)?;
    }
    Ok(())
}

/// The weak tag of the compressed answer; `None` for a tag that is weak already, or not in the form
/// of RFC 9110, which passes as it is.
fn mark(tag: &HeaderValue, coding: Coding) -> Option<HeaderValue> {
    let opaque = tag.as_bytes().strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    if opaque.contains(&b'"') {
        return None;
    }
    let mut marked = b"W/\"".to_vec();
    marked.extend_from_slice(opaque);
    marked.extend_from_slice(mark_of(coding));
    marked.push(b'"');
    HeaderValue::from_bytes(&marked).ok()
}

const fn mark_of(coding: Coding) -> &'static [u8] {
    match coding {
        Coding::Gzip => b"--gzip",
        Coding::Zstd => b"--zstd",
    }
}

/// Gives the upstream its own tags back in the conditions of a request.
pub(in crate::proxy) fn restore_tags(request: &mut RequestHeader) -> Result<()> {
    for name in ["If-None-Match", "If-Match"] {
        restore_tags_of(request, name)?;
    }
    Ok(())
}

fn restore_tags_of(request: &mut RequestHeader, name: &'static str) -> Result<()> {
    let lines = request.headers.get_all(name).iter();
    let restored: Vec<Option<Vec<u8>>> = lines.map(|line| unmarked(line.as_bytes())).collect();
    if restored.iter().all(Option::is_none) {
        return Ok(());
    }
    let lines: Vec<HeaderValue> = request.headers.get_all(name).iter().cloned().collect();
    request.remove_header(name);
    for (line, restored) in lines.into_iter().zip(restored) {
        let restored = restored.and_then(|bytes| HeaderValue::from_bytes(&bytes).ok());
        request.append_header(name, restored.unwrap_or(line))?;
    }
    Ok(())
}

/// The line without marks; `None` if it has none. Tags contain no quotes, so the odd parts between
/// quotes are tags.
fn unmarked(line: &[u8]) -> Option<Vec<u8>> {
    let parts: Vec<&[u8]> = line.split(|byte| *byte == b'"').collect();
    let mut out = Vec::with_capacity(line.len());
    let mut is_changed = false;
    for pair in parts.chunks(2) {
        let [before, tag] = pair else {
            out.extend_from_slice(pair[0]);
            break;
        };
        let own = Coding::ALL
            .into_iter()
            .find_map(|coding| tag.strip_suffix(mark_of(coding)));
        let (before, tag) = match (before.strip_suffix(b"W/"), own) {
            (Some(before), Some(own)) => {
                is_changed = true;
                (before, own)
            }
            _ => (*before, *tag),
        };
        out.extend_from_slice(before);
        out.push(b'"');
        out.extend_from_slice(tag);
        out.push(b'"');
    }
    // An even number of parts ends within a tag.
    (is_changed && parts.len() % 2 == 1).then_some(out)
}

/// Gives a 304 the tag under which the client has the answer, if it has it compressed by us.
pub(in crate::proxy) fn mark_not_modified(
    request: &RequestHeader,
    response: &mut ResponseHeader,
) -> Result<()> {
    if response.status != StatusCode::NOT_MODIFIED {
        return Ok(());
    }
    let Some(tag) = response.headers.get(ETAG) else {
        return Ok(());
    };
    let has = |marked: &HeaderValue| {
        let lines = request.headers.get_all(IF_NONE_MATCH).iter();
        let marked = marked.as_bytes();
        lines
            .flat_map(|line| line.as_bytes().split(|byte| *byte == b','))
            .any(|listed| listed.trim_ascii() == marked)
    };
    let marked = Coding::ALL
        .into_iter()
        .filter_map(|coding| mark(tag, coding))
        .find(has);
    if let Some(marked) = marked {
        response.insert_header(ETAG, marked)?;
        vary(response)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: [Coding; 2] = [Coding::Zstd, Coding::Gzip];

    fn request(headers: &[(&'static str, &str)]) -> RequestHeader {
        let mut request = RequestHeader::build("GET", b"/geoserver/wfs", None).unwrap();
        for (name, value) in headers {
            request.append_header(*name, *value).unwrap();
        }
        request
    }

    fn answer(headers: &[(&'static str, &str)]) -> ResponseHeader {
        let mut answer = ResponseHeader::build(200, None).unwrap();
        for (name, value) in headers {
            answer.append_header(*name, *value).unwrap();
        }
        answer
    }

    fn coding(accepted: &str) -> Option<Coding> {
        let request = request(&[("Accept-Encoding", accepted)]);
        negotiate(&request, &BOTH).map(|accepted| accepted.coding)
    }

    #[test]
    fn the_coding_with_the_highest_quality_is_chosen_and_between_equals_the_first_offered() {
        let (gzip, zstd) = (Some(Coding::Gzip), Some(Coding::Zstd));
        for (accepted, chosen) in [
            ("gzip", gzip),
            ("GZip", gzip),
            ("x-gzip", gzip),
            ("gzip, deflate, br, zstd", zstd),
            ("gzip;q=1.0, zstd;q=0.9", gzip),
            ("gzip; q=0.001", gzip),
            ("*", zstd),
            ("zstd;q=0, *", gzip),
            ("*;q=0.5, gzip", gzip),
            ("identity;q=0.5, gzip;q=0.5", gzip),
            ("identity;q=0, gzip;q=0.1", gzip),
            ("", None),
            ("br", None),
            ("gzip;q=0", None),
            ("gzip;q=0.000", None),
            ("*;q=0", None),
            ("identity", None),
            ("identity, gzip;q=0.9", None),
            ("gzip;q=2", None),
            ("gzip;q=0.1234", None),
            ("gzip;q=", None),
            ("gzip;level=9", None),
            ("gzipped", None),
        ] {
            assert_eq!(coding(accepted), chosen, "{accepted:?}");
        }
        let lines = request(&[
            ("Accept-Encoding", "zstd;q=0.2"),
            ("Accept-Encoding", "gzip;q=0.3"),
        ]);
        let chosen = negotiate(&lines, &BOTH).map(|accepted| accepted.coding);
        assert_eq!(chosen, gzip, "all lines count");
        assert_eq!(negotiate(&request(&[]), &BOTH), None);
        let only_zstd = request(&[("Accept-Encoding", "gzip")]);
        assert_eq!(negotiate(&only_zstd, &[Coding::Zstd]), None);
    }

    #[test]
    fn a_client_can_refuse_what_is_not_compressed() {
        for (accepted, is_required) in [
            ("gzip", false),
            ("gzip, identity;q=0", true),
            ("gzip, *;q=0", true),
            ("gzip, *;q=0, identity;q=0.1", false),
        ] {
            let request = request(&[("Accept-Encoding", accepted)]);
            let found = negotiate(&request, &BOTH).unwrap();
            assert_eq!(found.is_required, is_required, "{accepted}");
        }
    }

    #[test]
    fn an_http10_client_gets_no_coding() {
        let mut old = request(&[("Accept-Encoding", "gzip")]);
        old.set_version(Version::HTTP_10);
        assert_eq!(negotiate(&old, &BOTH), None);
    }

    fn of_type(content_type: &str) -> bool {
        let answer = answer(&[("Content-Type", content_type), ("Content-Length", "9000")]);
        is_compressible(&answer, &Method::GET)
    }

    #[test]
    fn text_is_compressed_and_what_is_compressed_already_is_not() {
        for text in [
            "text/xml; charset=UTF-8",
            "text/xml; subtype=gml/3.1.1",
            "TEXT/HTML",
            "application/json;charset=utf-8",
            "application/geo+json",
            "application/gml+xml; version=3.2",
            "application/vnd.ogc.se_xml",
            "application/vnd.google-earth.kml+xml",
            "application/vnd.mapbox-vector-tile",
            "image/svg+xml",
            "text/csv",
        ] {
            assert!(of_type(text), "{text}");
        }
        for other in [
            "image/png",
            "image/jpeg",
            "image/tiff",
            "application/zip",
            "application/vnd.google-earth.kmz",
            "application/vnd.google-earth.kmz+xml",
            "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
            "application/octet-stream",
            "application/pdf",
            "application/gzip",
            "multipart/related; type=\"text/xml\"",
            "text/event-stream",
            "text",
            "",
        ] {
            assert!(!of_type(other), "{other}");
        }
    }

    #[test]
    fn the_head_can_speak_against_it() {
        let text = ("Content-Type", "text/xml");
        let chunked = ("Transfer-Encoding", "chunked");
        let may = |answer: &ResponseHeader| is_compressible(answer, &Method::GET);
        assert!(may(&answer(&[text, chunked])));
        for against in [
            ("Content-Length", "0"),
            ("Content-Encoding", "br"),
            ("Content-Range", "bytes 0-1/9"),
            ("Cache-Control", "max-age=1, No-Transform"),
            ("Digest", "md5=x"),
            ("Content-Digest", "md5=:x:"),
        ] {
            assert!(!may(&answer(&[text, chunked, against])), "{against:?}");
        }
        for status in [204, 205, 206, 304, 302, 404, 500] {
            let mut other = answer(&[text, chunked]);
            other
                .set_status(StatusCode::from_u16(status).unwrap())
                .unwrap();
            assert!(!may(&other), "{status}");
        }
        let endless = answer(&[text]);
        assert!(!may(&endless) && is_compressible(&endless, &Method::HEAD));
        let mut old = answer(&[text, chunked]);
        old.set_version(Version::HTTP_10);
        assert!(!may(&old));
        for (length, is_short_of_it) in [("99", true), ("100", false)] {
            let answer = answer(&[text, ("Content-Length", length)]);
            assert_eq!(is_short(&answer, 100), is_short_of_it);
        }
        assert!(!is_short(&answer(&[text, chunked]), 100));
    }

    #[test]
    fn the_head_of_a_compressed_answer_has_no_length_and_a_weak_tag() {
        let of = |tag| {
            let mut head = answer(&[
                ("Content-Length", "9000"),
                ("Accept-Ranges", "bytes"),
                ("ETag", tag),
            ]);
            encode_head(&mut head, Coding::Gzip, &Method::GET).unwrap();
            assert_eq!(head.headers[CONTENT_ENCODING], "gzip");
            assert_eq!(head.headers[TRANSFER_ENCODING], "chunked");
            let gone = [CONTENT_LENGTH, ACCEPT_RANGES];
            assert!(gone.iter().all(|name| !head.headers.contains_key(name)));
            head.headers[ETAG].to_str().unwrap().to_owned()
        };
        assert_eq!(of("\"a\""), "W/\"a--gzip\"");
        assert_eq!(of("\"\""), "W/\"--gzip\"");
        for passed in ["W/\"a\"", "a1b2c3", "\"", "\"a\"b\""] {
            assert_eq!(of(passed), passed);
        }
    }

    #[test]
    fn the_upstream_gets_its_own_tags_back() {
        for (sent, passed) in [
            ("W/\"a--gzip\"", "\"a\""),
            ("W/\"a--zstd\"", "\"a\""),
            ("\"b\", W/\"a--gzip\" , W/\"c\"", "\"b\", \"a\" , W/\"c\""),
            ("\"a--gzip\"", "\"a--gzip\""),
            ("W/\"a\"", "W/\"a\""),
            ("W/\"a--gzip", "W/\"a--gzip"),
            ("W/a--gzip", "W/a--gzip"),
            ("W/\"W/\", \"--gzip\"", "W/\"W/\", \"--gzip\""),
            ("*", "*"),
        ] {
            for name in ["If-None-Match", "If-Match"] {
                let mut request = request(&[(name, sent), (name, "\"z\"")]);
                restore_tags(&mut request).unwrap();
                let lines = request.headers.get_all(name).iter();
                let lines: Vec<_> = lines.map(|line| line.to_str().unwrap()).collect();
                assert_eq!(lines, [passed, "\"z\""], "{sent}");
            }
        }
    }

    #[test]
    fn a_304_has_the_tag_that_the_client_knows() {
        for (known, tag, is_varying) in [
            ("W/\"a--gzip\"", "W/\"a--gzip\"", true),
            ("\"b\", W/\"a--zstd\"", "W/\"a--zstd\"", true),
            ("\"a\"", "\"a\"", false),
            ("W/\"b--gzip\"", "\"a\"", false),
        ] {
            let mut not_modified = answer(&[("ETag", "\"a\"")]);
            not_modified.set_status(StatusCode::NOT_MODIFIED).unwrap();
            let request = request(&[("If-None-Match", known)]);
            mark_not_modified(&request, &mut not_modified).unwrap();
            assert_eq!(not_modified.headers[ETAG], tag, "{known}");
            assert_eq!(not_modified.headers.contains_key("vary"), is_varying);
        }
    }
}
