//! The feature types that a WFS Transaction changes.
//!
//! The promise is one-sided: types are returned only if the whole document was read and names all
//! of them. A document that has anything else may change any type.

use quick_xml::events::BytesStart;

use super::tags::{Tag, Tags};

/// Maximum number of types; a document that changes more may change any.
const MAX_TYPES: usize = 32;

/// Elements around the features of an Insert, which are not features themselves.
const CONTAINERS: [&[u8]; 4] = [
    b"FeatureCollection",
    b"featureMember",
    b"featureMembers",
    b"member",
];

/// A feature type as a document names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangedType {
    /// The prefix of its name. Clients usually take the name of the workspace for it, but they may
    /// declare any other.
    pub prefix: Option<String>,
    pub name: String,
}

/// The part of the document that an element is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Outside the Transaction.
    Outside,
    /// Directly in the Transaction.
    Actions,
    /// Where features stand: in an Insert or a Replace, or in a container there.
    Features,
    /// Anywhere else, where nothing names a type.
    Else,
}

/// Returns the types that the Transaction `document` changes; `None` if they are not certain.
pub fn changed_types(document: &[u8]) -> Option<Vec<ChangedType>> {
    let mut tags = Tags::of(document);
    let mut types = Vec::new();
    // The place of what is in each open element.
    let mut places = vec![Place::Outside];
    let mut is_seen = false;
    loop {
        match tags.next()? {
            Tag::Start(element) => {
                let inside = enter(&element, *places.last()?, &mut types)?;
                is_seen |= inside == Place::Actions;
                places.push(inside);
            }
            Tag::Empty(element) => {
                let inside = enter(&element, *places.last()?, &mut types)?;
                is_seen |= inside == Place::Actions;
            }
            Tag::End => {
                places.pop();
            }
            Tag::EndOfDocument => {
                return (places == [Place::Outside] && is_seen).then_some(types);
            }
        }
    }
}

/// Takes in an element at `place`. Returns the place of what it contains.
fn enter(element: &BytesStart<'_>, place: Place, types: &mut Vec<ChangedType>) -> Option<Place> {
    let local = element.local_name();
    match (place, local.as_ref()) {
        (Place::Outside, b"Transaction") => Some(Place::Actions),
        (Place::Outside, _) => Some(Place::Outside),
        (Place::Actions, b"Insert" | b"Replace") => Some(Place::Features),
        (Place::Actions, b"Update" | b"Delete") => {
            add(types, &type_name(element)?)?;
            Some(Place::Else)
        }
        (Place::Actions, b"LockId") => Some(Place::Else),
        // A native action of a data store, or something of another version.
        (Place::Actions, _) => None,
        (Place::Features, b"Filter") => Some(Place::Else),
        (Place::Features, name) if CONTAINERS.contains(&name) => Some(Place::Features),
        (Place::Features, _) => {
            add(types, str::from_utf8(element.name().as_ref()).ok()?)?;
            Some(Place::Else)
        }
        (Place::Else, _) => Some(Place::Else),
    }
}

/// The attribute `typeName`, which must be there once.
fn type_name(element: &BytesStart<'_>) -> Option<String> {
    let mut found = None;
    for attribute in element.attributes() {
        let attribute = attribute.ok()?;
        if attribute.key.local_name().as_ref() == b"typeName" {
            let value = str::from_utf8(&attribute.value).ok()?;
            let value = quick_xml::escape::unescape(value).ok()?.into_owned();
            if found.replace(value).is_some() {
                return None;
            }
        }
    }
    found
}

fn add(types: &mut Vec<ChangedType>, name: &str) -> Option<()> {
    let (prefix, name) = match name.trim().split_once(':') {
        Some((prefix, name)) => (Some(prefix.to_owned()), name),
        None => (None, name.trim()),
    };
    // A list, or the form `{namespace}name` or `schema-element(name)`.
    let is_plain = |text: &str| !text.is_empty() && !text.contains([',', '{', '(', ':', ' ']);
    if !is_plain(name) || prefix.as_deref().is_some_and(|prefix| !is_plain(prefix)) {
        return None;
    }
    let changed = ChangedType {
        prefix,
        name: name.to_owned(),
    };
    if types.contains(&changed) {
        return Some(());
    }
    types.push(changed);
    (types.len() <= MAX_TYPES).then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(actions: &str) -> Option<Vec<String>> {
        let document = format!(
            "<?xml version=\"1.0\"?><wfs:Transaction service=\"WFS\" version=\"1.1.0\" xmlns:wfs=\"http://www.opengis.net/wfs\">{actions}</wfs:Transaction>"
        );
        let name = |changed: ChangedType| match changed.prefix {
            Some(prefix) => format!("{prefix}:{}", changed.name),
            None => changed.name,
        };
        Some(
            changed_types(document.as_bytes())?
                .into_iter()
                .map(name)
                .collect(),
        )
    }

    #[test]
    fn every_action_names_its_types() {
        assert_eq!(
            names(
                "<wfs:Insert><geor:roads><geor:name>a</geor:name></geor:roads><geor:rivers/></wfs:Insert>\
                 <wfs:Update typeName=\"geor:parks\"><wfs:Property><wfs:Name>x</wfs:Name></wfs:Property></wfs:Update>\
                 <wfs:Delete typeName=\"roads\"><ogc:Filter/></wfs:Delete>\
                 <wfs:Replace><u:zoning gml:id=\"1\"/><fes:Filter><fes:ResourceId/></fes:Filter></wfs:Replace>"
            ),
            Some(
                [
                    "geor:roads",
                    "geor:rivers",
                    "geor:parks",
                    "roads",
                    "u:zoning"
                ]
                .map(str::to_owned)
                .to_vec()
            )
        );
    }

    #[test]
    fn features_may_stand_in_a_collection() {
        assert_eq!(
            names(
                "<wfs:Insert><wfs:FeatureCollection><gml:featureMember><a:b/></gml:featureMember></wfs:FeatureCollection></wfs:Insert>"
            ),
            Some(vec!["a:b".to_owned()])
        );
    }

    #[test]
    fn a_document_that_may_change_other_types_names_none() {
        for actions in [
            "<wfs:Native vendorId=\"x\" safeToIgnore=\"false\"/>",
            "<wfs:Update/>",
            "<wfs:Update typeName=\"a:b,a:c\"/>",
            "<wfs:Update typeName=\"{http://a}b\"/>",
            "<wfs:Update typeName=\"a:b\"",
            "<wfs:Insert><a:b/>",
            "<wfs:Update typeName=\"&unknown;\"/>",
        ] {
            assert_eq!(names(actions), None, "{actions}");
        }
        assert_eq!(changed_types(b"<!DOCTYPE a><wfs:Transaction/>"), None);
        assert_eq!(changed_types(b"<GetFeature/>"), None);
        assert_eq!(changed_types(b""), None);
        let many: String = (0..=MAX_TYPES)
            .map(|number| format!("<wfs:Delete typeName=\"a:b{number}\"/>"))
            .collect();
        assert_eq!(names(&many), None);
    }

    #[test]
    fn a_transaction_in_an_envelope_is_read_too() {
        let document = b"<s:Envelope><s:Body><Transaction><Delete typeName=\"a:b\"/></Transaction></s:Body></s:Envelope>";
        assert_eq!(changed_types(document).unwrap().len(), 1);
    }
}
