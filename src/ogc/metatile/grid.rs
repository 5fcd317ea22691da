//! Grids: the position of a tile in a known grid, and the grouping of tiles in an unknown one.

use super::digest::Digest;
use super::text::{Short, Text};
use crate::ogc::word::Word;

/// Half the side of the square world of web maps, in metres.
const HALF_WORLD: f64 = 20_037_508.342_789_244;
/// Maximum zoom level. Deeper levels hold no tiles.
const MAX_ZOOM: f64 = 40.0;
/// Tolerance for the corner of a box, in tiles. GeoWebCache tolerates a tenth.
const ALIGNMENT: f64 = 0.1;
/// Tolerance below a whole number within which a quotient is rounded up: clients round the corners
/// of their boxes.
const ROUNDING: f64 = 1e-3;

/// One set of zoom levels.
pub(super) struct Grid {
    name: Word,
    world: Option<World>,
}

/// The extent of a grid that has 2^z rows at level `z`.
#[derive(Clone, Copy)]
struct World {
    west: f64,
    north: f64,
    height: f64,
    /// WMS 1.3.0 writes its boxes with the latitude first.
    is_latitude_first: bool,
}

const WEB: World = World {
    west: -HALF_WORLD,
    north: HALF_WORLD,
    height: 2.0 * HALF_WORLD,
    is_latitude_first: false,
};
const GEOGRAPHIC: World = World {
    west: -180.0,
    north: 90.0,
    height: 180.0,
    is_latitude_first: true,
};

/// The position of a tile. The row counts from the north if the height of the grid is known.
pub(super) struct Cell {
    /// The level number, or another value that distinguishes levels.
    pub(super) zoom: u64,
    pub(super) column: i64,
    pub(super) row: i64,
}

impl Grid {
    pub(super) fn named(text: Text<'_>) -> Self {
        Self::called(text.word())
    }

    pub(super) fn named_by(part: Short) -> Self {
        Self::called(part.word())
    }

    /// The default grid of TMS.
    pub(super) fn of_tms() -> Self {
        Self::called(Word::of_segment(b"epsg:4326"))
    }

    fn called(name: Word) -> Self {
        let (known_as, world) = match name.as_bytes() {
            b"epsg:900913" | b"epsg:3857" | b"epsg:102100" | b"epsg:102113" => {
                (Some(b"epsg:900913".as_slice()), Some(WEB))
            }
            b"epsg:900913x2" | b"epsg:3857x2" | b"webmercatorquad" | b"webmercatorquadx2" => {
                (None, Some(WEB))
            }
            b"epsg:4326" => (None, Some(GEOGRAPHIC)),
            b"crs:84" => (
                Some(b"epsg:4326".as_slice()),
                Some(World {
                    is_latitude_first: false,
                    ..GEOGRAPHIC
                }),
            ),
            b"epsg:4326x2" | b"worldcrs84quad" | b"globalcrs84geometric" => {
                (None, Some(GEOGRAPHIC))
            }
            _ => (None, None),
        };
        Self {
            name: known_as.map_or(name, Word::of_segment),
            world,
        }
    }

    pub(super) fn name(&self) -> &[u8] {
        self.name.as_bytes()
    }

    /// The row counted from the north for row `y` from the south; `y` itself if the height is not
    /// known.
    pub(super) fn row_from_north(&self, zoom: i64, y: i64) -> i64 {
        let is_level = (0..=MAX_ZOOM as i64).contains(&zoom);
        if self.world.is_some() && is_level {
            (1 << zoom) - 1 - y
        } else {
            y
        }
    }

    /// The cell of a WMS box.
    pub(super) fn cell_of_box(&self, text: Text<'_>, is_1_3: bool) -> Option<Cell> {
        let [a, b, c, d] = text.short()?.four_numbers()?;
        let is_latitude_first = is_1_3 && self.world.is_some_and(|world| world.is_latitude_first);
        let [west, south, east, north] = if is_latitude_first {
            [b, a, d, c]
        } else {
            [a, b, c, d]
        };
        let size = (east - west, north - south);
        if size.0 <= 0.0 || size.1 <= 0.0 {
            return None;
        }
        let known = self.world.and_then(|world| world.cell(west, north, size));
        Some(known.unwrap_or_else(|| cell_of_unknown(west, south, size)))
    }
}

impl World {
    /// The cell of a box; `None` if the box is no tile of this grid.
    fn cell(self, west: f64, north: f64, size: (f64, f64)) -> Option<Cell> {
        let zoom = (self.height / size.1).log2().round();
        let side = self.height / zoom.exp2();
        let (column, row) = ((west - self.west) / side, (self.north - north) / side);
        let is_aligned = [column, row, size.0 / side, size.1 / side]
            .iter()
            .all(|at| (at - at.round()).abs() < ALIGNMENT);
        let is_tile = is_aligned && (0.0..=MAX_ZOOM).contains(&zoom);
        is_tile.then(|| Cell {
            zoom: zoom as u64,
            column: column.round() as i64,
            row: row.round() as i64,
        })
    }
}

/// The cell among boxes of one size, side by side, wherever their grid begins. Rows count from the
/// south, as in GeoWebCache.
fn cell_of_unknown(west: f64, south: f64, size: (f64, f64)) -> Cell {
    let level = |length: f64| (length.log2() * 1000.0).round() as i64;
    let zoom = Digest::EMPTY
        .number(level(size.0) as u64)
        .number(level(size.1) as u64)
        .finish();
    let at = |corner: f64, length: f64| (corner / length + ROUNDING).floor() as i64;
    Cell {
        zoom,
        column: at(west, size.0),
        row: at(south, size.1),
    }
}

/// The level of a WMTS matrix: `EPSG:900913:5` and `5` are both level 5; other names stand for
/// themselves.
pub(super) fn zoom_of_matrix(matrix: Text<'_>) -> u64 {
    let last = matrix.short().and_then(|short| {
        let last = short
            .as_bytes()
            .rsplit(|byte| *byte == b':')
            .next()
            .unwrap_or_default();
        str::from_utf8(last.trim_ascii()).ok()?.parse::<u32>().ok()
    });
    last.map_or_else(|| Digest::EMPTY.bytes(matrix.bytes()).finish(), u64::from)
}
