//! ArcGIS REST, below `/gsr`: the community extension GSR.

use super::interpretation::Interpretation;
use super::kvp::{Kvp, pairs};
use super::pairs::guarded;
use super::path::Path;
use super::word::{Encoding, Word, decode, is_text};
use super::{RequestClass, Service};

/// The animation among the formats of an export, which GeoServer puts `image/` before.
const ANIMATED: &str = "gif;subtype=animated";

/// Interprets a request to `/gsr`. `from` is the index of the first path segment after it.
///
/// All edits use POST (`FeatureLayerController`), with one exception: any method at all deletes a
/// relationship at `/gsr/relationships/{workspace}/delete/{id}` (`RelationshipController`).
pub(super) fn reading(method: &str, path: &Path<'_>, from: usize, kvp: &Kvp) -> Interpretation {
    let last = path.name(path.len() - 1);
    let (class, reason) = if !matches!(method, "GET" | "HEAD") {
        (
            RequestClass::Transaction,
            "ArcGIS REST (/gsr) with a method that may change data",
        )
    } else if path.name(from).is("relationships") {
        if names_delete(path, from + 1) {
            (
                RequestClass::Transaction,
                "the address deletes a relationship, whatever the method (/gsr/relationships)",
            )
        } else {
            (
                RequestClass::Feature,
                "a read of relationships (/gsr/relationships)",
            )
        }
    } else if !path.name(from).is("services") {
        (
            RequestClass::Unknown,
            "nothing of GeoServer's ArcGIS REST is known at this address",
        )
    } else {
        match last.as_bytes() {
            b"export" | b"generateKml" => {
                (RequestClass::Map, "a map of ArcGIS REST (/gsr/services)")
            }
            b"identify" | b"legend" => (
                RequestClass::Info,
                "a question about a map of ArcGIS REST (/gsr/services)",
            ),
            _ => (
                RequestClass::Feature,
                "a read of ArcGIS REST (/gsr/services)",
            ),
        }
    };
    guarded(Interpretation::new(class, Some(Service::Gsr), reason), kvp)
}

/// True if a segment at or after `from` is `delete`, in any case.
fn names_delete(path: &Path<'_>, from: usize) -> bool {
    (from..path.len())
        .filter_map(|at| path.span(at))
        .any(|span| path.folded(span).is_some_and(|name| name.is("delete")))
}

/// Returns the pixels of the image of an export with this `query`, by `size=width,height`; 0 if the
/// size is not known, and `u32::MAX` for an animation. GeoServer overwrites the parameters of a
/// GetMap (`ExportMapController`). Of several sizes, the largest counts.
pub(super) fn pixels(query: &[u8]) -> u32 {
    let mut most = 0;
    for (key, value) in pairs(query) {
        let Ok(name) = Word::of_key(&query[key], Encoding::Form) else {
            continue;
        };
        let value = &query[value];
        if name.is("format") && is_text(value, ANIMATED, Encoding::Form) {
            return u32::MAX;
        }
        if name.is("size") {
            most = most.max(area(value).unwrap_or(0));
        }
    }
    most
}

/// The product of two numbers with a comma between them. What follows a second comma is ignored.
fn area(size: &[u8]) -> Option<u32> {
    let mut sides = [0_u32; 2];
    let mut side = 0;
    for byte in decode(size, Encoding::Form) {
        match byte.ok()? {
            b',' => side += 1,
            b' ' => {}
            digit => {
                let Some(known) = sides.get_mut(side) else {
                    continue;
                };
                let digit = u32::from(Some(digit).filter(u8::is_ascii_digit)? - b'0');
                *known = known.saturating_mul(10).saturating_add(digit);
            }
        }
    }
    Some(sides[0].saturating_mul(sides[1]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_export_has_the_pixels_of_its_size() {
        for query in [
            "size=4000,3000&format=png32",
            "bbox=1,2,3,4&SIZE=4000%2C%33000&width=9&height=9",
            "size=4000,+3000,5x",
            "size=9,9&size=4000,3000",
        ] {
            assert_eq!(pixels(query.as_bytes()), 12_000_000, "{query}");
        }
        assert_eq!(pixels(b"size=99999999999,2"), u32::MAX);
        assert_eq!(pixels(b"size=4,3&format=GIF;subtype=animated"), u32::MAX);
        for query in [
            "",
            "size",
            "size=4000",
            "size=4000,",
            "size=4000,3e3",
            "size=-4000,3000",
            "size=4000,%zz",
            "width=4000&height=3000",
        ] {
            assert_eq!(pixels(query.as_bytes()), 0, "{query}");
        }
    }
}
