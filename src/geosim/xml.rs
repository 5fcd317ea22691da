//! A reader for the few parts of an XML body that determine the request.

use quick_xml::NsReader;
use quick_xml::events::{BytesStart, Event};
use quick_xml::name::ResolveResult;

/// The root element of a request, or the first element of a SOAP body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Root {
    /// Without its prefix: this is the operation.
    pub(super) name: String,
    pub(super) service: Option<String>,
    pub(super) version: Option<String>,
}

/// Reads as much as is needed; `body` may end anywhere after the root's start tag.
pub(super) fn root(body: &[u8]) -> Option<Root> {
    element_where(body, |_, _| true)
}

/// Returns the root of the request inside the envelope.
pub(super) fn soap_payload(body: &[u8]) -> Option<Root> {
    element_where(body, |namespace, name| {
        !(is_soap(namespace) && (name == "Envelope" || name == "Header" || name == "Body"))
    })
}

fn is_soap(namespace: &str) -> bool {
    namespace.contains("soap")
}

fn element_where(body: &[u8], is_wanted: impl Fn(&str, &str) -> bool) -> Option<Root> {
    let mut reader = NsReader::from_reader(body);
    loop {
        let (resolved, event) = reader.read_resolved_event().ok()?;
        let (Event::Start(start) | Event::Empty(start)) = event else {
            if event == Event::Eof {
                return None;
            }
            continue;
        };
        let namespace = match resolved {
            ResolveResult::Bound(namespace) => {
                String::from_utf8_lossy(namespace.as_ref()).into_owned()
            }
            ResolveResult::Unbound | ResolveResult::Unknown(_) => String::new(),
        };
        let name = String::from_utf8_lossy(start.local_name().as_ref()).into_owned();
        if is_wanted(&namespace, &name) {
            return Some(Root {
                name,
                service: attribute(&start, "service"),
                version: attribute(&start, "version"),
            });
        }
    }
}

fn attribute(start: &BytesStart<'_>, name: &str) -> Option<String> {
    let attribute = start.try_get_attribute(name).ok()??;
    attribute
        .unescape_value()
        .ok()
        .map(std::borrow::Cow::into_owned)
}

/// The first value of any attribute of one of these names, in document order.
pub(super) fn first_attribute(body: &[u8], names: &[&str]) -> Option<String> {
    let mut reader = NsReader::from_reader(body);
    loop {
        match reader.read_event().ok()? {
            Event::Start(start) | Event::Empty(start) => {
                if let Some(value) = names.iter().find_map(|name| attribute(&start, name)) {
                    return Some(value);
                }
            }
            Event::Eof => return None,
            _ => {}
        }
    }
}

/// The text of the first element of this local name.
pub(super) fn first_text(body: &[u8], name: &str) -> Option<String> {
    let mut reader = NsReader::from_reader(body);
    let mut is_inside = false;
    loop {
        match reader.read_event().ok()? {
            Event::Start(start) => is_inside = start.local_name().as_ref() == name.as_bytes(),
            Event::Text(text) if is_inside => {
                return text.decode().ok().map(std::borrow::Cow::into_owned);
            }
            Event::End(_) => is_inside = false,
            Event::Eof => return None,
            _ => {}
        }
    }
}

/// The texts of all elements of this local name inside the first element called `parent`.
pub(super) fn texts_in(body: &[u8], parent: &str, name: &str) -> Vec<String> {
    let mut reader = NsReader::from_reader(body);
    let (mut is_in_parent, mut is_inside, mut texts) = (false, false, Vec::new());
    while let Ok(event) = reader.read_event() {
        match event {
            Event::Start(start) => {
                is_in_parent |= start.local_name().as_ref() == parent.as_bytes();
                is_inside = is_in_parent && start.local_name().as_ref() == name.as_bytes();
            }
            Event::Text(text) if is_inside => texts.extend(text.decode().ok().map(Into::into)),
            Event::End(end) if end.local_name().as_ref() == parent.as_bytes() => break,
            Event::End(_) => is_inside = false,
            Event::Eof => break,
            _ => {}
        }
    }
    texts
}

/// The local names of the elements directly inside the first element called `parent`.
pub(super) fn children_of(body: &[u8], parent: &str) -> Vec<String> {
    let mut reader = NsReader::from_reader(body);
    let (mut depth, mut children) = (None, Vec::new());
    while let Ok(event) = reader.read_event() {
        match (event, depth) {
            (Event::Start(start), None) if start.local_name().as_ref() == parent.as_bytes() => {
                depth = Some(0)
            }
            (Event::Start(start), Some(level)) => {
                if level == 0 {
                    children.push(local_name(&start));
                }
                depth = Some(level + 1);
            }
            (Event::Empty(start), Some(0)) => children.push(local_name(&start)),
            (Event::End(_), Some(0)) | (Event::Eof, _) => break,
            (Event::End(_), Some(level)) => depth = Some(level - 1),
            _ => {}
        }
    }
    children
}

fn local_name(start: &BytesStart<'_>) -> String {
    String::from_utf8_lossy(start.local_name().as_ref()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRANSACTION: &[u8] = b"<?xml version='1.0'?><!-- x --><wfs:Transaction service=\"WFS\" version=\"1.1.0\" \
        xmlns:wfs=\"http://www.opengis.net/wfs\"><wfs:Insert><geor:roads/><geor:roads><a/></geor:roads></wfs:Insert></wfs:Transaction>";

    #[test]
    fn the_root_gives_operation_service_and_version() {
        let root = root(TRANSACTION).unwrap();
        let facts = (
            root.name.as_str(),
            root.service.as_deref(),
            root.version.as_deref(),
        );
        assert_eq!(facts, ("Transaction", Some("WFS"), Some("1.1.0")));
    }

    #[test]
    fn the_root_is_found_although_the_rest_is_cut_off() {
        assert_eq!(root(&TRANSACTION[..120]).unwrap().name, "Transaction");
        assert_eq!(root(b"no xml"), None);
    }

    #[test]
    fn soap_is_unwrapped() {
        let soap = b"<s:Envelope xmlns:s='http://www.w3.org/2003/05/soap-envelope'><s:Header/><s:Body><GetFeature \
            xmlns='http://www.opengis.net/wfs/2.0' service='WFS'/></s:Body></s:Envelope>";
        assert_eq!(soap_payload(soap).unwrap().name, "GetFeature");
        assert_eq!(root(soap).unwrap().name, "Envelope");
    }

    #[test]
    fn parts_of_a_body_are_found() {
        assert_eq!(children_of(TRANSACTION, "Insert"), ["roads", "roads"]);
        assert_eq!(
            first_attribute(b"<a><b typeName='x:y'/></a>", &["typeNames", "typeName"]).unwrap(),
            "x:y"
        );
        assert_eq!(
            first_text(b"<workspace><name>new</name></workspace>", "name").unwrap(),
            "new"
        );
    }
}
