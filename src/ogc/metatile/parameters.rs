//! The parameters that name a tile, and those that select a variant of it.

use super::digest::Digest;
use super::text::Text;
use crate::ogc::kvp::pairs;
use crate::ogc::word::{Encoding, Word};

/// The meaning of a parameter, whatever the protocol calls it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Field {
    Layer,
    Style,
    Format,
    Grid,
    Matrix,
    Column,
    Row,
    Box,
    Version,
    FlipY,
}

const FIELDS: usize = 10;

enum Meaning {
    Field(Field),
    /// Part of the rendering: another value is another tile of the same place.
    Variant,
    /// The size of the image; by default GeoWebCache's own.
    Size,
}

/// Only parameters that influence GeoServer's rendering count. One parameter too few sends two
/// variants of a place to one replica, which costs nothing. One too many (such as the random number
/// with which some clients defeat caches) would scatter every metatile.
fn meaning(name: &[u8]) -> Option<Meaning> {
    let field = match name {
        b"layer" | b"layers" => Field::Layer,
        b"style" | b"styles" => Field::Style,
        b"format" => Field::Format,
        b"tilematrixset" | b"srs" | b"crs" => Field::Grid,
        b"tilematrix" => Field::Matrix,
        b"tilecol" => Field::Column,
        b"tilerow" => Field::Row,
        b"bbox" => Field::Box,
        b"version" => Field::Version,
        b"flipy" => Field::FlipY,
        b"width" | b"height" => return Some(Meaning::Size),
        b"time" | b"elevation" | b"cql_filter" | b"filter" | b"featureid" | b"viewparams"
        | b"env" | b"sld" | b"sld_body" | b"sortby" | b"propertyname" | b"bgcolor" | b"palette"
        | b"interpolations" | b"angle" | b"buffer" | b"clip" | b"language" => {
            return Some(Meaning::Variant);
        }
        name if name.starts_with(b"dim_") => return Some(Meaning::Variant),
        _ => return None,
    };
    Some(Meaning::Field(field))
}

/// The parameters of a tile request; see the module's documentation.
pub(super) struct Parameters<'t> {
    fields: [Option<Text<'t>>; FIELDS],
    /// A sum, so that the order of the parameters does not matter.
    variant: u64,
}

impl<'t> Parameters<'t> {
    /// Reads the query of `target`, which begins at `from`.
    pub(super) fn of_query(target: &'t [u8], from: usize) -> Self {
        let mut parameters = Self {
            fields: [None; FIELDS],
            variant: 0,
        };
        let query = target.get(from..).unwrap_or_default();
        for (key, value) in pairs(query).filter(|(_, value)| !value.is_empty()) {
            let Ok(name) = Word::of_key(&query[key], Encoding::Form) else {
                continue;
            };
            parameters.read(&name, Text::of_query(&query[value]));
        }
        parameters
    }

    /// The value of `field` if it is not empty.
    pub(super) fn get(&self, field: Field) -> Option<Text<'t>> {
        self.fields[field as usize]
    }

    /// A hash of all parameters that select a variant.
    pub(super) fn variant(&self) -> u64 {
        self.variant
    }

    fn read(&mut self, name: &Word, value: Text<'t>) {
        match meaning(name.as_bytes()) {
            Some(Meaning::Field(field)) => {
                let slot = &mut self.fields[field as usize];
                *slot = slot.or(Some(value));
            }
            Some(Meaning::Size) if value.word().is("256") => {}
            Some(Meaning::Size | Meaning::Variant) => {
                let digest = Digest::EMPTY
                    .bytes(name.as_bytes().iter().copied())
                    .end()
                    .bytes(value.bytes());
                self.variant = self.variant.wrapping_add(digest.finish());
            }
            None => {}
        }
    }
}
