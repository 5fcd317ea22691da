//! The root element of an XML request, and of the request inside a SOAP envelope.
//!
//! The text is a prefix that may end anywhere. A text is refused if it needs more than well-formed
//! ASCII-compatible XML before the root, such as a document type, an unusual encoding, or
//! references in the attributes that decide. Another parser could find another root in it.

use quick_xml::NsReader;
use quick_xml::events::attributes::Attribute;
use quick_xml::events::{BytesDecl, BytesStart, Event};
use quick_xml::name::{Namespace, ResolveResult};

use super::charset;
use super::map_image::MapImage;
use super::processes::{self, Processes};
use super::tags::is_name;
use super::version;
use super::word::{Ambiguous, Encoding, Word};

/// Maximum number of tags and texts of a SOAP envelope that are read. A filter with a polygon of
/// many points has some thousand.
const MAX_EVENTS: usize = 100_000;

const SOAP_NAMESPACES: [&[u8]; 2] = [
    b"http://www.w3.org/2003/05/soap-envelope",
    b"http://schemas.xmlsoap.org/soap/envelope/",
];

/// The root element of a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Root {
    /// Local name in lower case: the operation, or `styledlayerdescriptor`.
    pub(super) name: Word,
    /// The `service` attribute. `Some` and empty resets the service to the address.
    pub(super) service: Option<Word>,
    pub(super) version: Option<&'static str>,
    pub(super) has_lock_id: bool,
    pub(super) is_stored: bool,
    /// The end of the document was seen, or nothing that may follow decides anything.
    pub(super) is_whole: bool,
    /// The processes that the document runs, if it is an Execute; undetermined for every other root
    /// that a WPS may get.
    pub(super) processes: Processes,
    /// The image that the document asks for, if it is a GetMap.
    pub(super) image: MapImage,
}

impl Root {
    /// True where something after the root may decide: a WCS GetCoverage with `store`, the
    /// processes of a WPS Execute, and the size of the image of a WMS GetMap.
    pub(super) fn is_decided_by_its_end(&self) -> bool {
        self.name.is("getcoverage") || self.runs_processes() || self.draws_a_map()
    }

    /// Reads the parts of the document `text` that decide besides the root.
    fn read_details(&mut self, text: &[u8]) {
        self.is_stored = sets_store(text);
        if self.runs_processes() && self.is_whole {
            self.processes = processes::of_document(text);
        }
        if self.draws_a_map() {
            self.image = if self.is_whole {
                MapImage::of_document(text)
            } else {
                MapImage::UNBOUNDED
            };
        }
    }

    fn draws_a_map(&self) -> bool {
        self.name.is("getmap")
    }

    fn runs_processes(&self) -> bool {
        self.name.is("execute")
    }
}

/// The root element of `text`.
pub(super) fn root(text: &[u8]) -> Option<Root> {
    let mut reader = reader_of(text)?;
    let mut letters = Letters::Bytes;
    let (mut root, depth) = loop {
        match reader.read_event().ok()? {
            Event::Start(element) => break (read_root(&element).ok()?, 1),
            Event::Empty(element) => break (read_root(&element).ok()?, 0),
            Event::Decl(declaration) => letters = letters_of(&declaration)?,
            other => skip_prolog(&other)?,
        }
    };
    let read = usize::try_from(reader.buffer_position()).ok()?;
    letters.allow(text.get(..read)?)?;
    root.is_whole =
        !root.is_decided_by_its_end() || letters.allow(text).is_some() && ends(&mut reader, depth);
    root.read_details(text);
    Some(root)
}

/// True if the rest of the document closes its `depth` open elements.
fn ends(reader: &mut NsReader<&[u8]>, mut depth: usize) -> bool {
    loop {
        match reader.read_event() {
            Ok(Event::Start(_)) => depth += 1,
            Ok(Event::End(_)) => match depth.checked_sub(1) {
                Some(outer) => depth = outer,
                None => return false,
            },
            Ok(Event::Eof) => return depth == 0,
            Ok(Event::DocType(_)) | Err(_) => return false,
            Ok(_) => {}
        }
    }
}

/// The first element below the `Body` of the SOAP envelope `text`.
pub(super) fn soap_root(text: &[u8]) -> Option<Root> {
    let mut reader = reader_of(text)?;
    let mut depth = 0_usize;
    let mut body_depth = None;
    let mut root = None;
    let mut is_whole = false;
    for _ in 0..MAX_EVENTS {
        // At the end of the prefix, the result so far counts.
        let Ok((namespace, event)) = reader.read_resolved_event() else {
            break;
        };
        match event {
            Event::Start(element) => {
                see(&element, &namespace, depth, &mut body_depth, &mut root)?;
                depth += 1;
            }
            Event::Empty(element) => see(&element, &namespace, depth, &mut body_depth, &mut root)?,
            Event::End(_) => depth = depth.checked_sub(1)?,
            Event::Eof => {
                is_whole = depth == 0;
                break;
            }
            Event::DocType(_) => return None,
            Event::Decl(declaration) => letters_of(&declaration)?.allow(text)?,
            Event::Text(_)
            | Event::CData(_)
            | Event::Comment(_)
            | Event::PI(_)
            | Event::GeneralRef(_) => {}
        }
    }
    let mut root: Root = root?;
    root.is_whole = is_whole;
    root.read_details(text);
    Some(root)
}

/// Processes one element of an envelope; `None` refuses it. GeoServer looks for exactly one `Body`
/// of SOAP 1.2 anywhere in the document, and then for one of 1.1.
fn see(
    element: &BytesStart<'_>,
    namespace: &ResolveResult<'_>,
    depth: usize,
    body_depth: &mut Option<usize>,
    root: &mut Option<Root>,
) -> Option<()> {
    if !is_name(element.name().as_ref()) {
        return None;
    }
    if element.local_name().as_ref() == b"Body" {
        let is_soap = match namespace {
            ResolveResult::Bound(Namespace(uri)) => SOAP_NAMESPACES.contains(uri),
            ResolveResult::Unbound | ResolveResult::Unknown(_) => false,
        };
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
    let is_wide = text.starts_with(&[0xff, 0xfe])
        || text.starts_with(&[0xfe, 0xff])
        || text.iter().take(4).any(|&byte| byte == 0);
    (!is_wide).then(|| NsReader::from_reader(text))
}

/// Accepts an event that may precede a root element.
fn skip_prolog(event: &Event<'_>) -> Option<()> {
    match event {
        Event::Comment(_) | Event::PI(_) => Some(()),
        Event::Text(text) => text.iter().all(u8::is_ascii_whitespace).then_some(()),
        Event::Start(_)
        | Event::Empty(_)
        | Event::End(_)
        | Event::CData(_)
        | Event::Decl(_)
        | Event::DocType(_)
        | Event::GeneralRef(_)
        | Event::Eof => None,
    }
}

/// The encoding of letters in a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Letters {
    /// Every ASCII byte is an ASCII letter.
    Bytes,
    /// Every ASCII byte is an ASCII letter if the text is pure ASCII. A byte beyond ASCII may
    /// absorb the next one, for instance a `>`.
    MultiByte,
}

impl Letters {
    /// Refuses a `text` in which other parsers may find other letters.
    fn allow(self, text: &[u8]) -> Option<()> {
        (self == Self::Bytes || text.is_ascii()).then_some(())
    }
}

/// The encoding that the declaration names. `None` if it does not encode ASCII as itself, or if the
/// word stands where only some parsers read it: GeoServer searches the whole declaration for it
/// (`XmlCharsetDetector`).
fn letters_of(declaration: &BytesDecl<'_>) -> Option<Letters> {
    const WORD: &[u8] = b"encoding";
    let encoding = declaration.encoding();
    let named = declaration
        .windows(WORD.len())
        .filter(|window| window.eq_ignore_ascii_case(WORD))
        .count();
    if named != usize::from(encoding.is_some()) {
        return None;
    }
    match encoding {
        None => Some(Letters::Bytes),
        Some(Ok(name)) if charset::keeps_ascii(&name) => Some(Letters::Bytes),
        Some(Ok(name)) if charset::is_multibyte(&name) => Some(Letters::MultiByte),
        Some(Ok(_) | Err(_)) => None,
    }
}

fn read_root(element: &BytesStart<'_>) -> Result<Root, Ambiguous> {
    if !is_name(element.name().as_ref()) {
        return Err(Ambiguous);
    }
    let name = Word::of_value(element.local_name().as_ref(), Encoding::Plain)?;
    let mut root = Root {
        name,
        service: None,
        version: None,
        has_lock_id: false,
        is_stored: false,
        is_whole: false,
        processes: Processes::UNDETERMINED,
        image: MapImage::NONE,
    };
    for attribute in element.attributes() {
        let attribute = attribute.map_err(|_| Ambiguous)?;
        if !is_name(attribute.key.as_ref()) {
            return Err(Ambiguous);
        }
        if attribute.key.as_namespace_binding().is_some() {
            continue;
        }
        // GeoServer compares local names, and the last of several counts.
        match attribute.key.local_name().as_ref() {
            b"service" if root.service.is_some() => return Err(Ambiguous),
            b"service" => root.service = Some(plain_value(&attribute)?),
            b"version" => {
                root.version = plain_value(&attribute)
                    .ok()
                    .and_then(|word| version::known(&word))
            }
            b"lockId" => root.has_lock_id |= !attribute.value.is_empty(),
            _ => {}
        }
    }
    Ok(root)
}

/// The value of an attribute without references: they are not resolved here.
fn plain_value(attribute: &Attribute<'_>) -> Result<Word, Ambiguous> {
    if attribute.value.contains(&b'&') {
        return Err(Ambiguous);
    }
    Word::of_value(&attribute.value, Encoding::Plain)
}

/// Finds `store="true"` of a WCS 1.1 output anywhere in the text, however the value is written:
/// everything but a plain `false` counts. A false positive costs only a slot on the main.
fn sets_store(text: &[u8]) -> bool {
    const NAME: &[u8] = b"store";
    text.windows(NAME.len())
        .enumerate()
        .filter(|(_, window)| *window == NAME)
        .any(|(at, _)| {
            let rest = text[at + NAME.len()..].trim_ascii_start();
            rest.strip_prefix(b"=")
                .is_some_and(|value| !is_false(value.trim_ascii_start()))
        })
}

/// True if `text` begins with a quoted `false` or `0`.
fn is_false(text: &[u8]) -> bool {
    let Some((quote, rest)) = text.split_first() else {
        return false;
    };
    let value = rest.split(|byte| byte == quote).next().unwrap_or_default();
    matches!(quote, b'"' | b'\'')
        && value.len() < rest.len()
        && matches!(value.trim_ascii(), b"false" | b"0")
}
