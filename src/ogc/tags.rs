//! The tags of a document that was read to its end, one after the other.
//!
//! A document that other parsers may read in another way has none: it is broken, has a document
//! type, or is endless.

use std::borrow::Cow;

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

/// Maximum number of tags and texts that are read.
const MAX_EVENTS: usize = 1_000_000;

/// A tag, or the end of the document.
#[derive(Debug)]
pub(super) enum Tag<'d> {
    Start(BytesStart<'d>),
    /// An element without content.
    Empty(BytesStart<'d>),
    End,
    EndOfDocument,
}

/// Reads a document from tag to tag.
#[derive(Debug)]
pub(super) struct Tags<'d> {
    reader: Reader<&'d [u8]>,
    events: usize,
}

impl<'d> Tags<'d> {
    pub(super) fn of(document: &'d [u8]) -> Self {
        Self {
            reader: Reader::from_reader(document),
            events: 0,
        }
    }

    /// Returns the next tag; `None` if the document cannot be read with certainty.
    pub(super) fn next(&mut self) -> Option<Tag<'d>> {
        loop {
            match self.event()? {
                Event::Start(element) => return has_name(&element).then_some(Tag::Start(element)),
                Event::Empty(element) => return has_name(&element).then_some(Tag::Empty(element)),
                Event::End(_) => return Some(Tag::End),
                Event::Eof => return Some(Tag::EndOfDocument),
                Event::DocType(_) => return None,
                Event::Text(_)
                | Event::CData(_)
                | Event::Comment(_)
                | Event::Decl(_)
                | Event::PI(_)
                | Event::GeneralRef(_) => {}
            }
        }
    }

    /// Returns the content of the element whose start was the last tag, and goes behind its end;
    /// `None` if it is anything else than one text.
    pub(super) fn text(&mut self) -> Option<&'d [u8]> {
        let Event::Text(text) = self.event()? else {
            return None;
        };
        let Cow::Borrowed(text) = text.into_inner() else {
            return None;
        };
        matches!(self.event()?, Event::End(_)).then_some(text)
    }

    fn event(&mut self) -> Option<Event<'d>> {
        self.events += 1;
        if self.events > MAX_EVENTS {
            return None;
        }
        self.reader.read_event().ok()
    }
}

fn has_name(element: &BytesStart<'_>) -> bool {
    is_name(element.name().as_ref())
}

/// True if `name` is one that every parser accepts: a local name, with a prefix or without.
pub(super) fn is_name(name: &[u8]) -> bool {
    let is_letter =
        |byte: &u8| byte.is_ascii_alphanumeric() || b"_-.:".contains(byte) || !byte.is_ascii();
    let colons = name.iter().filter(|&&byte| byte == b':').count();
    !name.is_empty() && colons <= 1 && name.iter().all(is_letter)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The tags of `document`, one letter for each; the last is `?` if it cannot be read.
    fn tags(document: &str) -> String {
        let mut tags = Tags::of(document.as_bytes());
        let mut letters = String::new();
        loop {
            match tags.next() {
                Some(Tag::Start(_)) => letters.push('<'),
                Some(Tag::Empty(_)) => letters.push('/'),
                Some(Tag::End) => letters.push('>'),
                Some(Tag::EndOfDocument) => return letters,
                None => return letters + "?",
            }
        }
    }

    #[test]
    fn everything_but_tags_is_left_out() {
        let document = "<?xml version='1.0'?><!-- <a> --><a><b/>text<![CDATA[<c>]]>&amp;</a>";
        assert_eq!(tags(document), "</>");
        assert_eq!(tags("<!DOCTYPE a><a/>"), "?");
        assert_eq!(tags("<a></b>"), "<?");
        assert_eq!(tags("<a:b/><a::b/>"), "/?");
        assert_eq!(tags(&"<a/>".repeat(MAX_EVENTS)).len(), MAX_EVENTS + 1);
    }

    #[test]
    fn the_content_of_an_element_is_one_text_or_nothing() {
        let text = |content: &str| {
            let document = format!("<a>{content}</a><b/>");
            let mut tags = Tags::of(document.as_bytes());
            tags.next().unwrap();
            let text = tags.text().map(<[u8]>::to_vec);
            assert!(text.is_none() || matches!(tags.next(), Some(Tag::Empty(_))));
            text
        };
        assert_eq!(text(" x ").as_deref(), Some(&b" x "[..]));
        for content in [
            "",
            "x<!-- -->",
            "x&amp;",
            "<![CDATA[x]]>",
            "<c/>",
            "x<?y ?>",
        ] {
            assert_eq!(text(content), None, "{content}");
        }
    }
}
