//! The root of an XML document and the payload of a SOAP envelope, found by walking from tag to tag.

use super::text::{self, Charset, letters};

/// An element's tag, with what counts of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Element {
    /// Without its prefix.
    pub(super) name: String,
    /// Names without their prefixes, values with their references resolved.
    pub(super) attributes: Vec<(String, String)>,
    depth: usize,
}

impl Element {
    pub(super) fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// What of a body decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Payload {
    pub(super) root: Element,
    /// `store="true"` somewhere below it.
    pub(super) is_stored: bool,
}

/// A document's root.
pub(super) fn xml(body: &[u8]) -> Option<Payload> {
    let elements = elements(&document_text(body));
    payload(&elements, elements.first()?)
}

/// The first child of the one `Body`.
pub(super) fn soap(body: &[u8]) -> Option<Payload> {
    let elements = elements(&document_text(body));
    let mut bodies = elements.iter().enumerate().filter(|(_, element)| element.name == "Body");
    let (at, found) = bodies.next()?;
    if bodies.next().is_some() {
        return None;
    }
    let child = elements.get(at + 1).filter(|child| child.depth == found.depth + 1)?;
    payload(&elements, child)
}

fn payload(elements: &[Element], root: &Element) -> Option<Payload> {
    let is_true = |value: &str| value == "true" || value == "1";
    let is_stored = elements.iter().any(|element| element.attribute("store").is_some_and(is_true));
    Some(Payload { root: root.clone(), is_stored })
}

/// UTF-8, unless the first bytes say otherwise.
fn document_text(body: &[u8]) -> String {
    match body {
        [0xff, 0xfe, rest @ ..] => text::utf16(rest, u16::from_le_bytes),
        [0xfe, 0xff, rest @ ..] => text::utf16(rest, u16::from_be_bytes),
        [b'<', 0, ..] => text::utf16(body, u16::from_le_bytes),
        [0, b'<', ..] => text::utf16(body, u16::from_be_bytes),
        _ => letters(body, Charset::Utf8),
    }
}

/// Every start tag, in document order.
fn elements(text: &str) -> Vec<Element> {
    let mut elements = Vec::new();
    let mut depth = 0_usize;
    let mut rest = text;
    while let Some(at) = rest.find('<') {
        rest = &rest[at..];
        if let Some(end) = skipped(rest) {
            rest = &rest[end..];
        } else if rest.starts_with("</") {
            depth = depth.saturating_sub(1);
            rest = &rest[2..];
        } else {
            let (tag, is_empty, end) = tag(rest);
            elements.push(Element { depth, ..element(tag) });
            depth += usize::from(!is_empty);
            rest = &rest[end..];
        }
    }
    elements
}

/// Where the comment, instruction, section or document type that begins here ends.
fn skipped(rest: &str) -> Option<usize> {
    let until = |mark: &str| rest.find(mark).map_or(rest.len(), |at| at + mark.len());
    if rest.starts_with("<!--") {
        Some(until("-->"))
    } else if rest.starts_with("<?") {
        Some(until("?>"))
    } else if rest.starts_with("<![CDATA[") {
        Some(until("]]>"))
    } else if rest.starts_with("<!") {
        let has_subset = rest.find('[').is_some_and(|open| rest.find('>').is_none_or(|end| open < end));
        Some(if has_subset { until("]>") } else { until(">") })
    } else {
        None
    }
}

/// The inside of the tag that begins here, whether it is empty, and where it ends.
fn tag(rest: &str) -> (&str, bool, usize) {
    let mut quote = None;
    for (at, letter) in rest.char_indices() {
        match (quote, letter) {
            (None, '"' | '\'') => quote = Some(letter),
            (Some(open), _) if open == letter => quote = None,
            (None, '>') => {
                let inside = &rest[1..at];
                return (inside.strip_suffix('/').unwrap_or(inside), inside.ends_with('/'), at + 1);
            }
            _ => {}
        }
    }
    (&rest[1..], true, rest.len())
}

fn element(tag: &str) -> Element {
    let name_end = tag.find(char::is_whitespace).unwrap_or(tag.len());
    let mut attributes = Vec::new();
    let mut rest = &tag[name_end..];
    while let Some(equals) = rest.find('=') {
        let name = rest[..equals].trim();
        let value = rest[equals + 1..].trim_start();
        let Some(quote) = value.chars().next().filter(|letter| matches!(letter, '"' | '\'')) else { break };
        let inside = &value[1..];
        let end = inside.find(quote).unwrap_or(inside.len());
        attributes.push((local(name).to_owned(), resolved(&inside[..end])));
        rest = inside.get(end + 1..).unwrap_or_default();
    }
    Element { name: local(&tag[..name_end]).to_owned(), attributes, depth: 0 }
}

fn local(name: &str) -> &str {
    name.rsplit(':').next().unwrap_or(name)
}

/// With the references to letters replaced.
fn resolved(value: &str) -> String {
    let mut text = String::new();
    let mut rest = value;
    while let Some(at) = rest.find('&') {
        text.push_str(&rest[..at]);
        let reference = rest[at + 1..].split(';').next().unwrap_or_default();
        let number = reference.strip_prefix("#x").map(|digits| u32::from_str_radix(digits, 16));
        let number = number.or_else(|| reference.strip_prefix('#').map(str::parse::<u32>));
        text.extend(number.and_then(Result::ok).and_then(char::from_u32));
        rest = rest.get(at + reference.len() + 2..).unwrap_or_default();
    }
    text.push_str(rest);
    text
}
