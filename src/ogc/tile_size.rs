//! Recognises a GetMap with `tiled=true` that a tile cache may answer.
//!
//! GeoServer's direct integration of GeoWebCache (`GWC.dispatch`) answers a request from the cache
//! if it is for one layer, in a tile format, and of the size of a grid's tiles. Every other request
//! with `tiled=true` is rendered as requested, however large.

use super::word::{Encoding, Word, decode, has_escapes, is_text};

/// Sides of tiles in pixels: 256 in every grid that GeoServer includes, the others in custom grids.
const SIDES: [&str; 4] = ["256", "512", "128", "1024"];

/// The formats in which GeoWebCache stores tiles.
const FORMATS: [&str; 14] = [
    "image/png",
    "image/jpeg",
    "image/png8",
    "image/vnd.jpeg-png",
    "image/vnd.jpeg-png8",
    "image/gif",
    "image/webp",
    "image/png24",
    "image/png; mode=8bit",
    "image/png; mode=24bit",
    "application/vnd.mapbox-vector-tile",
    "application/json;type=geojson",
    "application/json;type=topojson",
    "application/json;type=utfgrid",
];

/// One parameter of such a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Given {
    Never,
    /// Given once, with a value that a tile has.
    Fits,
    /// Given with another value, or more than once.
    Differs,
}

impl Given {
    fn see(&mut self, fits: bool) {
        *self = if fits && *self == Self::Never {
            Self::Fits
        } else {
            Self::Differs
        };
    }
}

/// The parameters that decide whether the image is a tile.
#[derive(Clone, Copy, Debug)]
pub(super) struct TileSize {
    layers: Given,
    width: Given,
    height: Given,
    format: Given,
}

impl TileSize {
    pub(super) const NONE: Self = Self {
        layers: Given::Never,
        width: Given::Never,
        height: Given::Never,
        format: Given::Never,
    };

    pub(super) fn see_layers(&mut self, value: &[u8], encoding: Encoding) {
        let is_one = if has_escapes(value) {
            decode(value, encoding).all(|byte| byte.is_ok_and(|byte| byte != b','))
        } else {
            !value.contains(&b',')
        };
        self.layers.see(!value.is_empty() && is_one);
    }

    pub(super) fn see_width(&mut self, value: &[u8], encoding: Encoding) {
        self.width.see(is_side(value, encoding));
    }

    pub(super) fn see_height(&mut self, value: &[u8], encoding: Encoding) {
        self.height.see(is_side(value, encoding));
    }

    pub(super) fn see_format(&mut self, value: &[u8], encoding: Encoding) {
        self.format.see(
            FORMATS
                .iter()
                .any(|format| is_text(value, format, encoding)),
        );
    }

    /// True if the image shows one layer, has the size of a tile, and is in a tile format.
    pub(super) fn is_of_a_tile(&self) -> bool {
        [self.layers, self.width, self.height, self.format]
            .iter()
            .all(|given| *given == Given::Fits)
    }
}

fn is_side(value: &[u8], encoding: Encoding) -> bool {
    let is_among = |text: &[u8]| SIDES.iter().any(|side| text == side.as_bytes());
    if value.iter().all(u8::is_ascii_digit) {
        return is_among(value);
    }
    Word::of_value(value, encoding).is_ok_and(|word| word.is_whole() && is_among(word.as_bytes()))
}
