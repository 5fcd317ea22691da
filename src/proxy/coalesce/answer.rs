//! An answer for several clients: whether it may be shared, and the part of it that is kept.

use bytes::Bytes;
use http::header::{
    CONNECTION, CONTENT_LENGTH, HeaderName, SET_COOKIE, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
    VARY,
};
use http::{StatusCode, Version};
use pingora::http::ResponseHeader;

use super::key;
use super::memory::{MAX_BODY, MemoryClaim};
use crate::config::UpstreamName;
use crate::proxy::client::request_id::RequestId;
use crate::traces::TraceParent;

/// Bytes that each kept part of a body counts beside its own, so that a body in tiny parts is
/// bounded as well.
const PART: usize = 64;

/// A whole answer.
#[derive(Debug)]
pub(in crate::proxy) struct SharedAnswer {
    /// The head, without fields that are meant for one connection, and with the length of the body.
    pub(in crate::proxy) head: ResponseHeader,
    pub(in crate::proxy) body: Vec<Bytes>,
    /// The upstream that gave it, for the access line.
    pub(in crate::proxy) upstream: UpstreamName,
    /// The request that it was given to, for the access line.
    pub(in crate::proxy) leader: RequestId,
    /// The span of that request, if it is traced.
    pub(in crate::proxy) trace: Option<TraceParent>,
    /// Given back when the last client has its copy.
    _claim: MemoryClaim,
}

/// An answer that is still coming.
#[derive(Debug)]
pub(in crate::proxy) struct KeptAnswer {
    head: ResponseHeader,
    has_body: bool,
    body: Vec<Bytes>,
    length: usize,
    claim: MemoryClaim,
}

/// True if an answer with this head may be shared. Only a success is shared, and only if its
/// complete end can be distinguished from a broken connection.
pub(in crate::proxy) fn may_be_shared(head: &ResponseHeader, is_head: bool) -> bool {
    let is_success = matches!(
        head.status,
        StatusCode::OK
            | StatusCode::NO_CONTENT
            | StatusCode::PARTIAL_CONTENT
            | StatusCode::NOT_MODIFIED
    );
    let has_end = !has_body(head, is_head)
        || head.headers.contains_key(CONTENT_LENGTH)
        || head.version == Version::HTTP_11 && head.headers.contains_key(TRANSFER_ENCODING);
    let length = head.headers.get(CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    let is_too_large = has_body(head, is_head) && length.is_some_and(|length| length > MAX_BODY);
    is_success
        && !is_too_large
        && has_end
        && !head.headers.contains_key(SET_COOKIE)
        && varies_by_the_key_only(head)
}

fn has_body(head: &ResponseHeader, is_head: bool) -> bool {
    !is_head
        && !matches!(
            head.status,
            StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED
        )
}

fn varies_by_the_key_only(head: &ResponseHeader) -> bool {
    let lines = head.headers.get_all(VARY).iter();
    lines
        .flat_map(|line| line.as_bytes().split(|byte| *byte == b','))
        .all(|name| {
            let name = str::from_utf8(name.trim_ascii()).unwrap_or("*");
            key::is_in_the_key(name)
        })
}

impl KeptAnswer {
    pub(in crate::proxy) fn new(head: ResponseHeader, is_head: bool, claim: MemoryClaim) -> Self {
        let has_body = has_body(&head, is_head);
        Self {
            head,
            has_body,
            body: Vec::new(),
            length: 0,
            claim,
        }
    }

    pub(in crate::proxy) fn replace_head(&mut self, head: ResponseHeader) {
        self.head = head;
    }

    /// Adds a part of the body. Returns false when the answer has become too large.
    #[must_use = "an answer that is not complete must not be shared"]
    pub(in crate::proxy) fn add(&mut self, chunk: &Bytes) -> bool {
        if chunk.is_empty() {
            return true;
        }
        let has_room = self.claim.grow(chunk.len() + PART);
        if has_room {
            self.length += chunk.len();
            self.body.push(chunk.clone());
        }
        has_room
    }

    /// Returns the answer once it is complete; `None` if its body does not match its head.
    pub(in crate::proxy) fn whole(
        mut self,
        upstream: UpstreamName,
        leader: RequestId,
    ) -> Option<SharedAnswer> {
        if self.has_body {
            let promised = self
                .head
                .headers
                .get(CONTENT_LENGTH)
                .map(|length| length.to_str().ok()?.parse::<usize>().ok());
            if promised.is_some_and(|promised| promised != Some(self.length)) {
                return None;
            }
        }
        remove_connection_fields(&mut self.head);
        if self.has_body {
            self.head.insert_header(CONTENT_LENGTH, self.length).ok()?;
        }
        self.head.set_version(Version::HTTP_11);
        Some(SharedAnswer {
            head: self.head,
            body: self.body,
            upstream,
            leader,
            trace: None,
            _claim: self.claim,
        })
    }
}

/// RFC 9110 section 7.6.1.
fn remove_connection_fields(head: &mut ResponseHeader) {
    let nominated = head
        .headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|line| line.to_str().ok());
    let nominated: Vec<HeaderName> = nominated
        .flat_map(|line| line.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in &nominated {
        head.remove_header(name);
    }
    for name in [CONNECTION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE] {
        head.remove_header(&name);
    }
    for name in ["keep-alive", "proxy-connection"] {
        head.remove_header(name);
    }
}

#[cfg(test)]
mod tests {
    use super::super::memory::AnswerMemory;
    use super::*;

    fn head(status: u16, headers: &[(&'static str, &str)]) -> ResponseHeader {
        let mut head = ResponseHeader::build(status, None).unwrap();
        for (name, value) in headers {
            head.append_header(*name, *value).unwrap();
        }
        head
    }

    fn kept(head: ResponseHeader) -> KeptAnswer {
        KeptAnswer::new(head, false, AnswerMemory::default().claim())
    }

    fn whole(kept: KeptAnswer) -> Option<SharedAnswer> {
        kept.whole(UpstreamName::new("slave1").unwrap(), RequestId::fresh())
    }

    #[test]
    fn only_whole_successes_without_a_cookie_are_shared() {
        let length = ("Content-Length", "3");
        assert!(may_be_shared(&head(200, &[length]), false));
        assert!(may_be_shared(
            &head(200, &[("Transfer-Encoding", "chunked")]),
            false
        ));
        assert!(may_be_shared(&head(304, &[]), false));
        let large = head(200, &[("Content-Length", "5000000")]);
        assert!(!may_be_shared(&large, false) && may_be_shared(&large, true));
        assert!(may_be_shared(&head(200, &[]), true));
        assert!(
            !may_be_shared(&head(200, &[]), false),
            "its end cannot be recognised"
        );
        assert!(!may_be_shared(
            &head(200, &[length, ("Set-Cookie", "JSESSIONID=1")]),
            false
        ));
        for status in [301, 400, 401, 403, 404, 429, 500, 503] {
            assert!(!may_be_shared(&head(status, &[length]), false), "{status}");
        }
    }

    #[test]
    fn an_answer_that_varies_by_a_field_outside_the_key_is_not_shared() {
        let varying =
            |by| may_be_shared(&head(200, &[("Content-Length", "3"), ("Vary", by)]), false);
        assert!(varying("Accept-Encoding") && varying("Origin, Cookie"));
        assert!(
            !varying("*") && !varying("Accept-Encoding, User-Agent") && !varying("X-Forwarded-For")
        );
    }

    #[test]
    fn followers_get_the_length_and_nothing_that_is_for_one_connection() {
        let connection = [
            ("Connection", "X-Hop, keep-alive"),
            ("X-Hop", "1"),
            ("Keep-Alive", "timeout=20"),
        ];
        let mut kept = kept(head(
            200,
            &[
                &connection[..],
                &[("Transfer-Encoding", "chunked"), ("ETag", "\"x\"")],
            ]
            .concat(),
        ));
        assert!(
            kept.add(&Bytes::from_static(b"abc"))
                && kept.add(&Bytes::new())
                && kept.add(&Bytes::from_static(b"de"))
        );
        let answer = whole(kept).unwrap();
        let mut names: Vec<_> = answer.head.headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(
            (names, answer.head.headers["content-length"].as_bytes()),
            (vec!["content-length", "etag"], b"5".as_slice())
        );
        assert_eq!(answer.body.concat(), b"abcde");
    }

    #[test]
    fn an_answer_that_is_shorter_than_it_promised_is_not_whole() {
        let mut kept = kept(head(200, &[("Content-Length", "5")]));
        assert!(kept.add(&Bytes::from_static(b"abc")));
        assert!(whole(kept).is_none());
    }

    #[test]
    fn the_length_of_an_answer_to_head_stays() {
        let kept = KeptAnswer::new(
            head(200, &[("Content-Length", "500")]),
            true,
            AnswerMemory::default().claim(),
        );
        assert_eq!(whole(kept).unwrap().head.headers["content-length"], "500");
    }

    #[test]
    fn too_much_is_too_much_in_one_part_or_in_drops() {
        let mut large = kept(head(200, &[("Transfer-Encoding", "chunked")]));
        assert!(!large.add(&Bytes::from(vec![0; MAX_BODY])));
        let mut drops = kept(head(200, &[("Transfer-Encoding", "chunked")]));
        let taken = (0..MAX_BODY)
            .take_while(|_| drops.add(&Bytes::from_static(b"x")))
            .count();
        assert!(taken < MAX_BODY / PART, "{taken}");
    }
}
