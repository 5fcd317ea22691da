//! Where a tile is, whichever protocol names it: layer, grid, zoom, column, and row counted from
//! the north.

use super::kvp::Kvp;
use crate::hash::fnv1a;

/// Tiles along one side of a metatile: GeoWebCache's default.
pub const METATILE: u32 = 4;
const MAX_ZOOM: u32 = 30;
/// Half the side of the square world of web maps, in metres.
pub(super) const HALF_WORLD: f64 = 20_037_508.342_789_244;
/// Maximum distance of a box from a tile's corner, in tiles: GeoWebCache tolerates a tenth.
const ALIGNMENT: f64 = 0.1;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct TileAddress {
    pub(super) layer: String,
    pub(super) gridset: String,
    zoom: u32,
    column: u32,
    row: u32,
}

/// The fault of a tile request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    pub(super) parameter: &'static str,
    pub(super) text: String,
    pub(super) is_out_of_range: bool,
}

impl Wrong {
    pub(super) fn new(parameter: &'static str, text: String) -> Self {
        Self {
            parameter,
            text,
            is_out_of_range: false,
        }
    }

    fn missing(parameter: &'static str) -> Self {
        Self::new(parameter, format!("{parameter} is missing or not a number"))
    }
}

impl TileAddress {
    pub(super) fn from_wmts_kvp(kvp: &Kvp<'_>) -> Result<Self, Wrong> {
        let layer = kvp.get("layer").ok_or_else(|| Wrong::missing("LAYER"))?;
        let gridset = kvp
            .get("tilematrixset")
            .ok_or_else(|| Wrong::missing("TILEMATRIXSET"))?;
        let matrix = kvp
            .get("tilematrix")
            .ok_or_else(|| Wrong::missing("TILEMATRIX"))?;
        let column = kvp
            .number("tilecol")
            .ok_or_else(|| Wrong::missing("TILECOL"))?;
        let row = kvp
            .number("tilerow")
            .ok_or_else(|| Wrong::missing("TILEROW"))?;
        Self::new(&layer, &gridset, zoom_of(&matrix)?, column, row)
    }

    /// `{layer}/{style}/{tileMatrixSet}/{tileMatrix}/{row}/{column}`; the style may be left out.
    pub(super) fn from_wmts_path(path: &str) -> Result<Self, Wrong> {
        let parts: Vec<&str> = path.split('/').collect();
        let ([layer, _, gridset, matrix, row, column] | [layer, gridset, matrix, row, column]) =
            parts[..]
        else {
            return Err(Wrong::new("path", format!("no tile at {path}")));
        };
        Self::new(
            layer,
            gridset,
            zoom_of(matrix)?,
            number(column, "TILECOL")?,
            number(row, "TILEROW")?,
        )
    }

    /// `/1.0.0/{layer}@{gridset}@{extension}/{z}/{x}/{y}.{extension}`, the row counted from the
    /// south unless flipped.
    pub(super) fn from_tms(path: &str, is_flipped: bool) -> Result<Self, Wrong> {
        let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        let ["1.0.0", layer, zoom, column, file] = parts[..] else {
            return Err(Wrong::new("path", format!("no tile at {path}")));
        };
        let mut named = layer.split('@');
        let (layer, gridset) = (
            named.next().unwrap_or_default(),
            named.next().unwrap_or("EPSG:4326"),
        );
        let (zoom, column) = (number(zoom, "z")?, number(column, "x")?);
        let y = number(file.split('.').next().unwrap_or_default(), "y")?;
        let row = if is_flipped {
            y
        } else {
            rows(zoom)
                .saturating_sub(1)
                .checked_sub(y)
                .unwrap_or(u32::MAX)
        };
        Self::new(layer, gridset, zoom, column, row)
    }

    /// A WMS box, if it is one tile of the square grid of web maps.
    pub(super) fn from_bbox(kvp: &Kvp<'_>) -> Result<Self, Wrong> {
        let layer = kvp.get("layers").ok_or_else(|| Wrong::missing("LAYERS"))?;
        let srs = kvp
            .get("srs")
            .or_else(|| kvp.get("crs"))
            .ok_or_else(|| Wrong::missing("SRS"))?;
        if !["EPSG:3857", "EPSG:900913"].contains(&srs.as_ref()) {
            return Err(Wrong::new("SRS", format!("no matching grid for {srs}")));
        }
        let bbox: Vec<f64> = kvp
            .get("bbox")
            .unwrap_or_default()
            .split(',')
            .filter_map(|part| part.trim().parse().ok())
            .collect();
        let &[west, south, east, north] = bbox.as_slice() else {
            return Err(Wrong::missing("BBOX"));
        };
        let tiles_across = 2.0 * HALF_WORLD / (east - west);
        let zoom = tiles_across.log2().round();
        let side = 2.0 * HALF_WORLD / zoom.exp2();
        let (column, row) = ((west + HALF_WORLD) / side, (HALF_WORLD - north) / side);
        let offset = [column, row, (east - west) / side, (north - south) / side]
            .map(|place| (place - place.round()).abs());
        let is_aligned = zoom >= 0.0
            && offset.iter().all(|offset| *offset < ALIGNMENT)
            && column > -0.5
            && row > -0.5;
        if !is_aligned {
            return Err(Wrong::new(
                "BBOX",
                "request does not align to grid(s)".to_owned(),
            ));
        }
        Self::new(
            &layer,
            "EPSG:900913",
            zoom as u32,
            column.round() as u32,
            row.round() as u32,
        )
    }

    fn new(layer: &str, gridset: &str, zoom: u32, column: u32, row: u32) -> Result<Self, Wrong> {
        let gridset = if gridset == "EPSG:3857" {
            "EPSG:900913"
        } else {
            gridset
        };
        let columns = if gridset == "EPSG:4326" {
            rows(zoom).saturating_mul(2)
        } else {
            rows(zoom)
        };
        if zoom > MAX_ZOOM || column >= columns || row >= rows(zoom) {
            let text = format!("column {column}, row {row} is out of range at zoom {zoom}");
            return Err(Wrong {
                parameter: "TILECOL",
                text,
                is_out_of_range: true,
            });
        }
        Ok(Self {
            layer: layer.to_owned(),
            gridset: gridset.to_owned(),
            zoom,
            column,
            row,
        })
    }

    /// The metatile it is rendered with.
    pub(super) fn metatile(&self) -> u64 {
        let Self {
            layer,
            gridset,
            zoom,
            column,
            row,
        } = self;
        let (column, row) = (column / METATILE, row / METATILE);
        fnv1a(format!("{layer} {gridset} {zoom} {column} {row}").bytes())
    }

    /// Zoom, column, and row from the north.
    pub(super) fn place(&self) -> (u32, u32, u32) {
        (self.zoom, self.column, self.row)
    }

    /// As GeoWebCache writes it: `[x, y, z]`, y from the south.
    pub(super) fn index(&self) -> String {
        format!(
            "[{}, {}, {}]",
            self.column,
            rows(self.zoom) - 1 - self.row,
            self.zoom
        )
    }
}

fn rows(zoom: u32) -> u32 {
    1u32.checked_shl(zoom).unwrap_or(0)
}

fn number(text: &str, parameter: &'static str) -> Result<u32, Wrong> {
    text.parse().map_err(|_| Wrong::missing(parameter))
}

/// `EPSG:900913:5` and `5` are both zoom 5.
fn zoom_of(matrix: &str) -> Result<u32, Wrong> {
    number(matrix.rsplit(':').next().unwrap_or_default(), "TILEMATRIX")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kvp(query: &str) -> Kvp<'_> {
        Kvp::new(query.as_bytes(), b"")
    }

    #[test]
    fn all_protocols_name_the_same_tile() {
        let wmts = TileAddress::from_wmts_kvp(&kvp(
            "LAYER=geor:roads&TileMatrixSet=EPSG:900913&TileMatrix=EPSG:900913:2&TileRow=1&TileCol=3",
        ));
        let rest = TileAddress::from_wmts_path("geor:roads/line/EPSG:900913/EPSG:900913:2/1/3");
        let plain = TileAddress::from_wmts_path("geor:roads/EPSG:900913/2/1/3");
        let tms = TileAddress::from_tms("/1.0.0/geor:roads@EPSG:900913@png/2/3/2.png", false);
        let flipped = TileAddress::from_tms("/1.0.0/geor:roads@EPSG:900913@png/2/3/1.png", true);
        let bbox = TileAddress::from_bbox(&kvp(
            "layers=geor:roads&srs=EPSG:3857&bbox=10018754.17,0,20037508.34,10018754.17",
        ));
        for other in [rest, plain, tms, flipped, bbox] {
            assert_eq!(other, wmts);
        }
        assert_eq!(wmts.unwrap().index(), "[3, 2, 2]");
    }

    #[test]
    fn sixteen_tiles_share_a_metatile() {
        let metatile = |column, row| {
            TileAddress::new("a", "EPSG:900913", 5, column, row)
                .unwrap()
                .metatile()
        };
        assert!((0..4).all(|x| (0..4).all(|y| metatile(x, y) == metatile(0, 0))));
        assert_ne!(metatile(4, 0), metatile(0, 0));
        assert_ne!(metatile(0, 4), metatile(0, 0));
    }

    #[test]
    fn tiles_outside_the_grid_are_out_of_range() {
        assert!(
            TileAddress::from_wmts_path("a/EPSG:900913/2/4/0")
                .unwrap_err()
                .is_out_of_range
        );
        assert!(
            TileAddress::from_tms("/1.0.0/a@EPSG:900913@png/2/0/4.png", false)
                .unwrap_err()
                .is_out_of_range
        );
        assert!(
            TileAddress::from_wmts_path("a/EPSG:900913/99/0/0")
                .unwrap_err()
                .is_out_of_range
        );
    }

    #[test]
    fn a_box_that_is_no_tile_does_not_align() {
        let wrong = TileAddress::from_bbox(&kvp(
            "layers=a&srs=EPSG:3857&bbox=3000000,0,13018754,10018754",
        ))
        .unwrap_err();
        assert!(wrong.text.contains("align"));
    }
}
