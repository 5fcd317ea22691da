//! The head of an answer's body, looked at in passing: copied up to a bound, never held back, never
//! more than the bound.
//!
//! Data is recognised by its first bytes and not copied at all; only reports and error pages are
//! kept to be read.

use std::borrow::Cow;
use std::io::Read;

use flate2::read::GzDecoder;

use crate::ogc::exception::BodyHead;

/// At most this much of a body is kept, as it came over the wire. Exception reports have one or two
/// KiB.
const MAX_KEPT: usize = 8 << 10;

/// At most this much is unpacked of it: 8 KiB can hold megabytes.
const MAX_TEXT: usize = 32 << 10;

/// Length of text from which on a body without a root element is no report.
const MAX_PROLOGUE: usize = 2 << 10;

/// See the module's documentation.
#[derive(Debug)]
pub(in crate::proxy) struct Sniffer {
    kept: Vec<u8>,
    is_gzip: bool,
    looking_for: LookingFor,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LookingFor {
    /// A root element that shows whether this is a report.
    ReportOrData,
    /// The text, whatever it is.
    Text,
    /// It is data, or the bound is reached.
    Nothing,
}

impl Sniffer {
    /// For a body that may be data: it is kept only if it is a report.
    pub(in crate::proxy) fn for_report(is_gzip: bool) -> Self {
        Self {
            kept: Vec::new(),
            is_gzip,
            looking_for: LookingFor::ReportOrData,
        }
    }

    /// For the body of an error.
    pub(in crate::proxy) fn for_text(is_gzip: bool) -> Self {
        Self {
            kept: Vec::new(),
            is_gzip,
            looking_for: LookingFor::Text,
        }
    }

    /// Whether the next part of the body is of interest.
    pub(in crate::proxy) fn wants_more(&self) -> bool {
        self.looking_for != LookingFor::Nothing
    }

    pub(in crate::proxy) fn feed(&mut self, chunk: &[u8]) {
        if !self.wants_more() || (self.kept.is_empty() && self.finds_data(chunk)) {
            return;
        }
        self.kept
            .extend_from_slice(&chunk[..chunk.len().min(MAX_KEPT - self.kept.len())]);
        if self.looking_for == LookingFor::ReportOrData {
            let text = unpacked(&self.kept, self.is_gzip, MAX_PROLOGUE);
            let (head, is_long) = (BodyHead::of(&text), text.len() >= MAX_PROLOGUE);
            self.decide(&head, is_long);
        }
        if self.kept.len() == MAX_KEPT {
            self.looking_for = LookingFor::Nothing;
        }
    }

    /// Returns the kept text, unpacked; empty for data.
    pub(in crate::proxy) fn text(&self) -> Cow<'_, [u8]> {
        unpacked(&self.kept, self.is_gzip, MAX_TEXT)
    }

    /// The short way for almost every answer: the first chunk shows that it is data.
    fn finds_data(&mut self, first: &[u8]) -> bool {
        if self.looking_for == LookingFor::ReportOrData && !self.is_gzip {
            let head = &first[..first.len().min(MAX_PROLOGUE)];
            self.decide(&BodyHead::of(head), head.len() == MAX_PROLOGUE);
        }
        !self.wants_more()
    }

    fn decide(&mut self, head: &BodyHead, is_long: bool) {
        if head.is_report() {
            self.looking_for = LookingFor::Text;
        } else if is_long || *head != BodyHead::Incomplete {
            self.looking_for = LookingFor::Nothing;
            self.kept = Vec::new();
        }
    }
}

/// At most `limit` bytes of `kept`, unpacked; as many as there are when it ends early or is
/// corrupt.
fn unpacked(kept: &[u8], is_gzip: bool, limit: usize) -> Cow<'_, [u8]> {
    if !is_gzip {
        return Cow::Borrowed(&kept[..kept.len().min(limit)]);
    }
    let mut text = Vec::new();
    let mut source = GzDecoder::new(kept).take(limit as u64);
    let mut part = [0; 1024];
    while let Ok(length @ 1..) = source.read(&mut part) {
        text.extend_from_slice(&part[..length]);
    }
    Cow::Owned(text)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{Compression, write::GzEncoder};

    use super::*;

    const REPORT: &[u8] =
        b"<?xml version='1.0'?><ServiceExceptionReport><ServiceException>bad</ServiceException></ServiceExceptionReport>";

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn sniffed(mut sniffer: Sniffer, body: &[u8], chunk: usize) -> Sniffer {
        body.chunks(chunk).for_each(|chunk| sniffer.feed(chunk));
        sniffer
    }

    #[test]
    fn a_report_is_kept_however_it_is_cut_and_packed() {
        for chunk in 1..REPORT.len() {
            assert_eq!(
                sniffed(Sniffer::for_report(false), REPORT, chunk).text(),
                REPORT
            );
            assert_eq!(
                sniffed(Sniffer::for_report(true), &gzip(REPORT), chunk).text(),
                REPORT
            );
        }
    }

    #[test]
    fn data_is_let_go_at_once() {
        let data = [b"<wfs:FeatureCollection>".to_vec(), vec![b'x'; 1 << 20]].concat();
        let mut sniffer = Sniffer::for_report(false);
        sniffer.feed(&data);
        assert!(!sniffer.wants_more());
        assert_eq!(sniffer.kept.capacity(), 0);
        let sniffer = sniffed(Sniffer::for_report(true), &gzip(&data), 100);
        assert!(!sniffer.wants_more());
        assert_eq!(sniffer.kept.capacity(), 0);
    }

    #[test]
    fn a_prologue_without_end_is_let_go() {
        let comment = [b"<!--".to_vec(), vec![b'x'; 1 << 20]].concat();
        assert!(!sniffed(Sniffer::for_report(false), &comment, 100).wants_more());
        assert!(!sniffed(Sniffer::for_report(true), &gzip(&comment), 100).wants_more());
    }

    #[test]
    fn a_packed_flood_is_unpacked_to_the_bound_only() {
        let flood = [b"<ServiceExceptionReport>".to_vec(), vec![b'x'; 8 << 20]].concat();
        let packed = gzip(&flood);
        assert!(
            packed.len() < 2 * MAX_KEPT,
            "the flood packs to {}",
            packed.len()
        );
        let sniffer = sniffed(Sniffer::for_report(true), &packed, 4096);
        assert_eq!(sniffer.text().len(), MAX_TEXT);
    }

    #[test]
    fn no_more_than_the_bound_is_kept() {
        let sniffer = sniffed(Sniffer::for_text(false), &vec![b'x'; 1 << 20], 1000);
        assert_eq!(sniffer.kept.len(), MAX_KEPT);
        assert!(!sniffer.wants_more());
    }

    #[test]
    fn bytes_that_are_not_gzip_are_no_evidence() {
        assert_eq!(
            sniffed(Sniffer::for_text(true), REPORT, 10).text(),
            b"".as_slice()
        );
    }
}
