//! The root of an XML document and the payload of a SOAP envelope, found by walking from tag to
//! tag.

use super::text::{self, Charset, letters};

/// An element's tag, with what counts of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Element {
    /// Without its prefix.
    pub(super) name: String,
    /// Names without their prefixes, values with their references resolved.
    pub(super) attributes: Vec<(String, String)>,
    depth: usize,
    /// Of its name; empty without one.
    prefix: String,
    /// The namespace that its prefix stands for.
    namespace: String,
    /// The letters behind its tag, up to the next tag of an element.
    text: String,
}

impl Element {
    pub(super) fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }
}

/// The parts of a body that decide the meaning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Payload {
    pub(super) root: Element,
    /// `store="true"` somewhere below it.
    pub(super) is_stored: bool,
    /// An attribute below it orders to store the response, to run in the background, or to leave an
    /// output behind.
    pub(super) stays: bool,
    /// The processes that it runs: its own, and those of its inputs.
    pub(super) processes: Vec<String>,
    /// The addresses of its inputs.
    pub(super) references: Vec<String>,
    /// The edits of a Transaction.
    pub(super) edits: Vec<Edit>,
}

/// One action of a Transaction on features.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Edit {
    /// On features of a type; the prefix is empty without one.
    Features { prefix: String, name: String },
    /// On features that the document does not name.
    Anything,
}

/// A document's root, in each way that its letters may be read.
pub(super) fn xml(body: &[u8]) -> Vec<Option<Payload>> {
    let root_of = |text: &String| {
        // Text before the root is an error to every parser.
        let (before, _) = text.split_once('<')?;
        before
            .chars()
            .all(|letter| letter.is_whitespace() || letter == '\u{feff}')
            .then_some(())?;
        let elements = elements(text);
        payload(&elements, elements.first()?)
    };
    document_texts(body).iter().map(root_of).collect()
}

/// The first child of the one `Body` of SOAP 1.2, wherever it is, or else of the one of SOAP 1.1.
pub(super) fn soap(body: &[u8]) -> Vec<Option<Payload>> {
    document_texts(body)
        .iter()
        .map(|text| soap_payload(text))
        .collect()
}

fn soap_payload(text: &str) -> Option<Payload> {
    let elements = elements(text);
    let (at, found) = only_body(&elements, "http://www.w3.org/2003/05/soap-envelope")
        .or_else(|| only_body(&elements, "http://schemas.xmlsoap.org/soap/envelope/"))?;
    let child = elements
        .get(at + 1)
        .filter(|child| child.depth == found.depth + 1)?;
    payload(&elements, child)
}

fn only_body<'e>(elements: &'e [Element], namespace: &str) -> Option<(usize, &'e Element)> {
    let is_body = |element: &Element| element.name == "Body" && element.namespace == namespace;
    let mut bodies = elements
        .iter()
        .enumerate()
        .filter(|(_, element)| is_body(element));
    bodies.next().filter(|_| bodies.next().is_none())
}

fn payload(elements: &[Element], root: &Element) -> Option<Payload> {
    let is_true = |value: &str| matches!(value.trim(), "true" | "1");
    let is_stored = elements
        .iter()
        .any(|element| element.attribute("store").is_some_and(is_true));
    let orders = ["storeExecuteResponse", "status", "asReference"];
    let stays = elements.iter().any(|element| {
        orders
            .iter()
            .any(|name| element.attribute(name).is_some_and(is_true))
    });
    let is_execute = root.name.eq_ignore_ascii_case("Execute");
    let named = |(at, element): (usize, &Element)| {
        let parent = elements[..at]
            .iter()
            .rev()
            .find(|before| before.depth < element.depth)?;
        (element.name == "Identifier" && parent.name == "Execute").then(|| element.text.clone())
    };
    let processes = elements
        .iter()
        .enumerate()
        .filter(|_| is_execute)
        .filter_map(named)
        .collect();
    let addresses = elements
        .iter()
        .filter(|element| is_execute && element.name == "Reference");
    Some(Payload {
        root: root.clone(),
        is_stored,
        stays,
        processes,
        references: addresses
            .filter_map(|element| element.attribute("href").map(str::to_owned))
            .collect(),
        edits: edits(elements, root),
    })
}

/// The actions of the Transaction `root`.
fn edits(elements: &[Element], root: &Element) -> Vec<Edit> {
    let at = elements
        .iter()
        .position(|element| std::ptr::eq(element, root));
    let Some(at) = at.filter(|_| root.name == "Transaction") else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for action in children(elements, at) {
        let element = &elements[action];
        match element.name.as_str() {
            "Insert" | "Replace" => add_features(elements, action, &mut found),
            "Update" | "Delete" => {
                let name = element.attribute("typeName").map(str::trim);
                found.extend(name.map(|name| {
                    let (prefix, name) = name.split_once(':').unwrap_or(("", name));
                    edit_of(prefix, name)
                }));
            }
            "Native" => found.push(Edit::Anything),
            _ => {}
        }
    }
    found
}

/// Features may be wrapped in collections.
fn add_features(elements: &[Element], at: usize, found: &mut Vec<Edit>) {
    let wrappers = [
        "FeatureCollection",
        "featureMember",
        "featureMembers",
        "member",
    ];
    for child in children(elements, at) {
        let element = &elements[child];
        if wrappers.contains(&element.name.as_str()) {
            add_features(elements, child, found);
        } else if element.name != "Filter" {
            found.push(edit_of(&element.prefix, &element.name));
        }
    }
}

fn edit_of(prefix: &str, name: &str) -> Edit {
    let is_plain = |text: &str| !text.contains([',', '{', '(', ':', ' ']);
    if is_plain(prefix) && is_plain(name) && !name.is_empty() {
        Edit::Features {
            prefix: prefix.to_owned(),
            name: name.to_owned(),
        }
    } else {
        Edit::Anything
    }
}

/// The positions of the elements directly in the one at `at`.
fn children(elements: &[Element], at: usize) -> Vec<usize> {
    let depth = elements[at].depth;
    (at + 1..elements.len())
        .take_while(|&below| elements[below].depth > depth)
        .filter(|&below| elements[below].depth == depth + 1)
        .collect()
}

/// The texts of all elements of this name in a document.
pub(super) fn texts_of(body: &[u8], name: &str) -> Vec<String> {
    let is_it = |element: &Element| element.name == name;
    let of_text = |text: String| {
        elements(&text)
            .into_iter()
            .filter(is_it)
            .collect::<Vec<_>>()
    };
    let found = document_texts(body).into_iter().flat_map(of_text);
    found.map(|element| element.text).collect()
}

/// As it stands; and where a charset of two bytes a letter is declared, with each first byte taking
/// the next one with it.
fn document_texts(body: &[u8]) -> Vec<String> {
    // GeoServer looks for the charset in a declaration, and nowhere else (`XmlCharsetDetector`).
    let start = letters(body.get(..200).unwrap_or(body), Charset::Latin1);
    let start = start.trim_start_matches("\u{ef}\u{bb}\u{bf}");
    let declaration = start
        .strip_prefix("<?xml")
        .filter(|rest| rest.starts_with([' ', '\t', '\r', '\n']));
    let declared = declaration
        .and_then(|rest| rest.split('>').next())
        .unwrap_or_default()
        .to_ascii_lowercase();
    let charsets = [
        "gb",
        "big5",
        "euc-",
        "ks_c",
        "windows-9",
        "windows-3",
        "shift_jis",
    ];
    let is_wide = declared.match_indices("encoding").any(|(at, name)| {
        let value = declared[at + name.len()..]
            .trim_start()
            .strip_prefix('=')
            .map(|value| value.trim_start());
        let value = value.and_then(|value| value.strip_prefix(['"', '\'']));
        value.is_some_and(|value| charsets.iter().any(|charset| value.starts_with(charset)))
    });
    let mut texts = vec![document_text(body)];
    if is_wide {
        let mut swallowed = String::new();
        let mut bytes = body.iter();
        while let Some(byte) = bytes.next() {
            swallowed.push(if byte.is_ascii() {
                char::from(*byte)
            } else {
                bytes.next().map_or(' ', |_| '\u{fffd}')
            });
        }
        texts.push(swallowed);
    }
    texts
}

/// Decodes a body as UTF-8, unless its first bytes show another encoding.
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
    // Prefix and namespace, and the depth of the element that declares them.
    let mut declared: Vec<(usize, String, String)> = Vec::new();
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
            declared.retain(|(at, _, _)| *at < depth);
            declared.extend(
                declarations(tag)
                    .into_iter()
                    .map(|(prefix, namespace)| (depth, prefix, namespace)),
            );
            let prefix = tag
                .split(char::is_whitespace)
                .next()
                .and_then(|name| name.split_once(':'))
                .map_or("", |(prefix, _)| prefix);
            let namespace = declared.iter().rev().find(|(_, known, _)| known == prefix);
            let namespace = namespace
                .map(|(_, _, namespace)| namespace.clone())
                .unwrap_or_default();
            elements.push(Element {
                depth,
                prefix: prefix.to_owned(),
                namespace,
                text: text_of(&rest[end..]),
                ..element(tag)
            });
            depth += usize::from(!is_empty);
            rest = &rest[end..];
        }
    }
    elements
}

/// The letters up to the next tag of an element, without comments and instructions.
fn text_of(mut rest: &str) -> String {
    let mut text = String::new();
    loop {
        let at = rest.find('<').unwrap_or(rest.len());
        text.push_str(&resolved(&rest[..at]));
        rest = &rest[at..];
        let Some(end) = skipped(rest).filter(|_| !rest.is_empty()) else {
            return text;
        };
        if let Some(inside) = rest[..end].strip_prefix("<![CDATA[") {
            text.push_str(inside.strip_suffix("]]>").unwrap_or(inside));
        }
        rest = &rest[end..];
    }
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
        let has_subset = rest
            .find('[')
            .is_some_and(|open| rest.find('>').is_none_or(|end| open < end));
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
                return (
                    inside.strip_suffix('/').unwrap_or(inside),
                    inside.ends_with('/'),
                    at + 1,
                );
            }
            _ => {}
        }
    }
    (&rest[1..], true, rest.len())
}

/// The prefixes and namespaces that a tag declares; the prefix is empty for the default one.
fn declarations(tag: &str) -> Vec<(String, String)> {
    let of_name = |name: String| match name.as_str() {
        "xmlns" => Some(String::new()),
        name => name.strip_prefix("xmlns:").map(str::to_owned),
    };
    attributes(tag)
        .into_iter()
        .filter_map(|(name, value)| Some((of_name(name)?, value)))
        .collect()
}

fn element(tag: &str) -> Element {
    let name_end = tag.find(char::is_whitespace).unwrap_or(tag.len());
    // A declaration of a namespace is no attribute to GeoServer's parser.
    let attributes = attributes(tag)
        .into_iter()
        .filter(|(name, _)| !name.starts_with("xmlns"))
        .map(|(name, value)| (local(&name).to_owned(), value))
        .collect();
    Element {
        name: local(&tag[..name_end]).to_owned(),
        attributes,
        depth: 0,
        prefix: String::new(),
        namespace: String::new(),
        text: String::new(),
    }
}

/// Names with their prefixes, values with their references resolved.
fn attributes(tag: &str) -> Vec<(String, String)> {
    let name_end = tag.find(char::is_whitespace).unwrap_or(tag.len());
    let mut attributes = Vec::new();
    let mut rest = &tag[name_end..];
    while let Some(equals) = rest.find('=') {
        let name = rest[..equals].trim();
        let value = rest[equals + 1..].trim_start();
        let Some(quote) = value
            .chars()
            .next()
            .filter(|letter| matches!(letter, '"' | '\''))
        else {
            break;
        };
        let inside = &value[1..];
        let end = inside.find(quote).unwrap_or(inside.len());
        attributes.push((name.to_owned(), resolved(&inside[..end])));
        rest = inside.get(end + 1..).unwrap_or_default();
    }
    attributes
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
        let number = reference
            .strip_prefix("#x")
            .map(|digits| u32::from_str_radix(digits, 16));
        let number = number.or_else(|| reference.strip_prefix('#').map(str::parse::<u32>));
        text.extend(number.and_then(Result::ok).and_then(char::from_u32));
        rest = rest.get(at + reference.len() + 2..).unwrap_or_default();
    }
    text.push_str(rest);
    text
}
