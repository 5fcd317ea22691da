//! The root element of an XML request, and of the request inside a SOAP envelope.
//!
//! The text is a prefix, cut anywhere. Every reading that needs more than well-formed ASCII-compatible XML before the root
//! (a document type, an exotic encoding, references in the attributes that decide) is refused: another parser could be
//! led to another root.

use quick_xml::NsReader;
use quick_xml::events::attributes::Attribute;
use quick_xml::events::{BytesDecl, BytesStart, Event};
use quick_xml::name::{Namespace, ResolveResult};

use super::charset;
use super::version;
use super::word::{Encoding, Strange, Word};

/// Elements before a SOAP payload; a header has a handful.
const MAX_EVENTS: usize = 1000;

const SOAP_NAMESPACES: [&[u8]; 2] = [b"http://www.w3.org/2003/05/soap-envelope", b"http://schemas.xmlsoap.org/soap/envelope/"];

/// What the root element of a request says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Root {
    /// The local name, in lower case: the operation, or `styledlayerdescriptor`.
    pub(super) name: Word,
    /// The `service` attribute; `Some` and empty takes the service back to the address.
    pub(super) service: Option<Word>,
    pub(super) version: Option<&'static str>,
    pub(super) has_lock_id: bool,
    pub(super) is_stored: bool,
}

/// The root element of `text`.
pub(super) fn root(text: &[u8]) -> Option<Root> {
    let mut reader = reader_of(text)?;
    let mut root = loop {
        match reader.read_event().ok()? {
            Event::Start(element) | Event::Empty(element) => break read_root(&element).ok()?,
            other => skip_prolog(&other)?,
        }
    };
    root.is_stored = asks_to_store(text);
    Some(root)
}

/// The first element below the `Body` of the SOAP envelope `text`.
pub(super) fn soap_root(text: &[u8]) -> Option<Root> {
    let mut reader = reader_of(text)?;
    let mut depth = 0_usize;
    let mut body_depth = None;
    let mut root = None;
    for _ in 0..MAX_EVENTS {
        // The end of the prefix: what we have by now counts.
        let Ok((namespace, event)) = reader.read_resolved_event() else { break };
        match event {
            Event::Start(element) => {
                see(&element, &namespace, depth, &mut body_depth, &mut root)?;
                depth += 1;
            }
            Event::Empty(element) => see(&element, &namespace, depth, &mut body_depth, &mut root)?,
            Event::End(_) => depth = depth.checked_sub(1)?,
            Event::Eof => break,
            Event::DocType(_) => return None,
            Event::Decl(declaration) => is_readable(&declaration).then_some(())?,
            Event::Text(_) | Event::CData(_) | Event::Comment(_) | Event::PI(_) | Event::GeneralRef(_) => {}
        }
    }
    let mut root: Root = root?;
    root.is_stored = asks_to_store(text);
    Some(root)
}

/// One element of an envelope. `None` refuses: GeoServer looks for exactly one `Body`, anywhere in the document.
fn see(
    element: &BytesStart<'_>,
    namespace: &ResolveResult<'_>,
    depth: usize,
    body_depth: &mut Option<usize>,
    root: &mut Option<Root>,
) -> Option<()> {
    if element.local_name().as_ref() == b"Body" {
        let is_soap = matches!(namespace, ResolveResult::Bound(Namespace(uri)) if SOAP_NAMESPACES.contains(uri));
        if !is_soap || depth != 1 || body_depth.is_some() {
            return None;
        }
        *body_depth = Some(depth);
    } else if root.is_none() && body_depth.is_some_and(|body| depth == body + 1) {
        *root = Some(read_root(element).ok()?);
    }
    Some(())
}

/// A reader over `text`, if its encoding keeps ASCII as it is.
fn reader_of(text: &[u8]) -> Option<NsReader<&[u8]>> {
    let is_wide =
        text.starts_with(&[0xff, 0xfe]) || text.starts_with(&[0xfe, 0xff]) || text.iter().take(4).any(|&byte| byte == 0);
    (!is_wide).then(|| NsReader::from_reader(text))
}

/// What may stand before a root element.
fn skip_prolog(event: &Event<'_>) -> Option<()> {
    match event {
        Event::Decl(declaration) => is_readable(declaration).then_some(()),
        Event::Comment(_) | Event::PI(_) => Some(()),
        Event::Text(text) => text.iter().all(u8::is_ascii_whitespace).then_some(()),
        Event::Start(_)
        | Event::Empty(_)
        | Event::End(_)
        | Event::CData(_)
        | Event::DocType(_)
        | Event::GeneralRef(_)
        | Event::Eof => None,
    }
}

/// Whether the declared encoding keeps ASCII as it is.
fn is_readable(declaration: &BytesDecl<'_>) -> bool {
    match declaration.encoding() {
        None => true,
        Some(Ok(name)) => charset::keeps_ascii(&name),
        Some(Err(_)) => false,
    }
}

fn read_root(element: &BytesStart<'_>) -> Result<Root, Strange> {
    let name = Word::of_value(element.local_name().as_ref(), Encoding::Plain)?;
    let mut root = Root { name, service: None, version: None, has_lock_id: false, is_stored: false };
    for attribute in element.attributes() {
        let attribute = attribute.map_err(|_| Strange)?;
        if attribute.key.as_namespace_binding().is_some() {
            continue;
        }
        // GeoServer looks at the local names, and the last of several counts.
        match attribute.key.local_name().as_ref() {
            b"service" if root.service.is_some() => return Err(Strange),
            b"service" => root.service = Some(plain_value(&attribute)?),
            b"version" => root.version = plain_value(&attribute).ok().and_then(|word| version::known(&word)),
            b"lockId" => root.has_lock_id |= !attribute.value.is_empty(),
            _ => {}
        }
    }
    Ok(root)
}

/// A value without references: they are not resolved here.
fn plain_value(attribute: &Attribute<'_>) -> Result<Word, Strange> {
    if attribute.value.contains(&b'&') {
        return Err(Strange);
    }
    Word::of_value(&attribute.value, Encoding::Plain)
}

/// `store="true"` of a WCS 1.1 output, anywhere in what we have. Too many hits cost nothing but a place on the main.
fn asks_to_store(text: &[u8]) -> bool {
    const NAME: &[u8] = b"store";
    text.windows(NAME.len()).enumerate().filter(|(_, window)| *window == NAME).any(|(at, _)| {
        let mut rest = text[at + NAME.len()..].iter().filter(|byte| !byte.is_ascii_whitespace());
        rest.next() == Some(&b'=') && matches!(rest.next(), Some(b'"' | b'\'')) && matches!(rest.next(), Some(b't' | b'1'))
    })
}
