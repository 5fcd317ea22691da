//! The metatile that a tile belongs to.
//!
//! GeoWebCache renders 4 x 4 tiles at once and caches them all. If all sixteen go to one replica,
//! they are rendered once. So every spelling of a tile's address, in every protocol, is mapped to
//! the same number:
//!
//! ```text
//! WMTS by parameters or by path, TMS, WMS-C, WMS with tiled=true
//!    -> layer, grid, zoom, column / 4, row from the north / 4, format, style, variant -> 64 bits
//! ```
//!
//! The number is the same in every process, so two front doors before one cluster agree. It is used
//! only to choose a replica: two metatiles with the same number cost some efficiency, never a wrong
//! answer. Nothing here allocates.
//!
//! Rows count from the north in WMTS and from the south in TMS. If the height of the grid is known
//! (as for the grids that GeoWebCache includes), both protocols yield the same metatile. Otherwise
//! each protocol groups tiles by its own count, and a metatile may be split in two.

mod digest;
mod grid;
mod parameters;
mod text;

use digest::Digest;
use grid::{Cell, Grid};
use parameters::{Field, Parameters};
use text::Text;

use super::path::{Path, path_len};
use super::route::{self, Route};
use super::word::Word;
use super::{RequestHead, Span};

/// Tiles along one side of a metatile: GeoWebCache's default.
const SIDE: i64 = 4;

/// The format of a tile if its request names none.
const DEFAULT_FORMAT: &[u8] = b"png";

/// The number of the metatile of a request of the class `tile`; `None` if its address cannot be
/// read.
pub fn metatile(head: &RequestHead<'_>, context: &str) -> Option<u64> {
    if !matches!(head.method, "GET" | "HEAD") {
        return None;
    }
    let path_len = path_len(head.target);
    let path = Path::parse(head.target, path_len)?;
    let segments = Segments {
        target: head.target,
        path: &path,
    };
    let parameters = Parameters::of_query(head.target, path_len + 1);
    let (scope, tile) = match route::find(&path, path.below(context)?) {
        Route::Tiles {
            from,
            workspace,
            layer,
        } => {
            let scope = segments.scope(workspace, layer);
            let tile = match path.name(from).as_bytes() {
                b"wmts" if path.name(from + 1).is("rest") => {
                    Tile::of_wmts_path(&segments, from + 2, &parameters)
                }
                b"wmts" => Tile::of_wmts_parameters(&scope, &parameters),
                b"tms" => Tile::of_tms(&segments, from + 1, &parameters),
                b"wms" => Tile::of_box(&scope, &parameters),
                _ => None,
            };
            (scope, tile)
        }
        Route::Ows(address) => {
            let scope = segments.scope(address.workspace, address.layer);
            let tile = Tile::of_box(&scope, &parameters);
            (scope, tile)
        }
        Route::Unmapped { .. }
        | Route::Ui { .. }
        | Route::Admin { .. }
        | Route::Static { .. }
        | Route::OgcApi { .. }
        | Route::Gsr { .. }
        | Route::KmlIcon { .. }
        | Route::Printing { .. } => return None,
    };
    Some(tile?.number(&scope, &parameters))
}

/// The names before the service in the path: `/geor/roads/gwc/service/...`.
struct Scope<'t> {
    workspace: Option<Text<'t>>,
    layer: Option<Text<'t>>,
}

/// The segments of the path, readable as texts.
struct Segments<'p, 't> {
    target: &'t [u8],
    path: &'p Path<'t>,
}

impl<'t> Segments<'_, 't> {
    fn scope(&self, workspace: Option<Span>, layer: Option<Span>) -> Scope<'t> {
        let text = |span: Span| Text::of_path(span.of(self.target));
        Scope {
            workspace: workspace.map(text),
            layer: layer.map(text),
        }
    }

    fn at(&self, at: usize) -> Option<Text<'t>> {
        self.path
            .span(at)
            .map(|span| Text::of_path(span.of(self.target)))
    }

    fn len(&self) -> usize {
        self.path.len()
    }
}

/// The address of a tile.
struct Tile<'t> {
    layer: Name<'t>,
    grid: Grid,
    cell: Cell,
    style: Option<Text<'t>>,
    format: Word,
}

/// The name of a layer, as written or as part of a longer text.
enum Name<'t> {
    Whole(Text<'t>),
    /// The text before the first `@`.
    BeforeAt(Text<'t>),
}

impl<'t> Tile<'t> {
    fn of_wmts_parameters(scope: &Scope<'t>, parameters: &Parameters<'t>) -> Option<Self> {
        let grid = Grid::named(parameters.get(Field::Grid)?);
        let (column, row) = (
            parameters.get(Field::Column)?.number()?,
            parameters.get(Field::Row)?.number()?,
        );
        Some(Self {
            layer: Name::Whole(parameters.get(Field::Layer).or(scope.layer)?),
            cell: Cell {
                zoom: grid::zoom_of_matrix(parameters.get(Field::Matrix)?),
                column,
                row,
            },
            grid,
            style: parameters.get(Field::Style),
            format: format(parameters.get(Field::Format)),
        })
    }

    /// Reads `{layer}/[{style}/]{tileMatrixSet}/{tileMatrix}/{tileRow}/{tileCol}` from segment
    /// `at`.
    fn of_wmts_path(
        path: &Segments<'_, 't>,
        at: usize,
        parameters: &Parameters<'t>,
    ) -> Option<Self> {
        let (style, rest) = match path.len().checked_sub(at)? {
            5 => (None, at + 1),
            6 => (Some(path.at(at + 1)?), at + 2),
            _ => return None,
        };
        let grid = Grid::named(path.at(rest)?);
        let (row, column) = (path.at(rest + 2)?.number()?, path.at(rest + 3)?.number()?);
        Some(Self {
            layer: Name::Whole(path.at(at)?),
            cell: Cell {
                zoom: grid::zoom_of_matrix(path.at(rest + 1)?),
                column,
                row,
            },
            grid,
            style,
            format: format(parameters.get(Field::Format)),
        })
    }

    /// Reads `1.0.0/{layer}@{gridset}@{extension}/{z}/{x}/{y}.{extension}` from segment `at`.
    fn of_tms(path: &Segments<'_, 't>, at: usize, parameters: &Parameters<'t>) -> Option<Self> {
        if path.len() != at + 5 {
            return None;
        }
        let (layer, last) = (path.at(at + 1)?, path.at(at + 4)?);
        let grid = layer
            .part(b'@', 1)
            .map_or_else(Grid::of_tms, Grid::named_by);
        let zoom = path.at(at + 2)?.number()?;
        let y = last.part(b'.', 0)?.number()?;
        let flips = parameters
            .get(Field::FlipY)
            .is_some_and(|value| value.word().is("true"));
        let row = if flips {
            y
        } else {
            grid.row_from_north(zoom, y)
        };
        let extension = last.part(b'.', 1).or_else(|| layer.part(b'@', 2));
        Some(Self {
            layer: Name::BeforeAt(layer),
            cell: Cell {
                zoom: zoom as u64,
                column: path.at(at + 3)?.number()?,
                row,
            },
            grid,
            style: parameters.get(Field::Style),
            format: extension.map_or_else(|| format(None), |part| format_of(part.word())),
        })
    }

    /// Reads a WMS box that is exactly one tile.
    fn of_box(scope: &Scope<'t>, parameters: &Parameters<'t>) -> Option<Self> {
        let grid = Grid::named(parameters.get(Field::Grid)?);
        let is_1_3 = parameters
            .get(Field::Version)
            .is_some_and(|version| version.starts_with(b"1.3"));
        Some(Self {
            layer: Name::Whole(parameters.get(Field::Layer).or(scope.layer)?),
            cell: grid.cell_of_box(parameters.get(Field::Box)?, is_1_3)?,
            grid,
            style: parameters.get(Field::Style),
            format: format(parameters.get(Field::Format)),
        })
    }

    fn number(&self, scope: &Scope<'_>, parameters: &Parameters<'_>) -> u64 {
        let digest = self.layer.add_to(Digest::EMPTY, scope.workspace).end();
        let digest = digest
            .bytes(self.grid.name().iter().copied())
            .end()
            .number(self.cell.zoom);
        let digest = digest
            .number(self.cell.column.div_euclid(SIDE) as u64)
            .number(self.cell.row.div_euclid(SIDE) as u64);
        let digest = digest.bytes(self.format.as_bytes().iter().copied()).end();
        let digest = self
            .style
            .map_or(digest, |style| digest.bytes(style.bytes()))
            .end();
        digest.number(parameters.variant()).finish()
    }
}

impl Name<'_> {
    /// Adds the name with its workspace, which stands before a `:` or in the path.
    fn add_to(&self, digest: Digest, workspace: Option<Text<'_>>) -> Digest {
        let (text, end) = match self {
            Self::Whole(text) => (text, None),
            Self::BeforeAt(text) => (text, Some(b'@')),
        };
        let name = || text.bytes().take_while(move |byte| Some(*byte) != end);
        match workspace {
            Some(workspace) if !name().any(|byte| byte == b':') => {
                digest.bytes(workspace.bytes()).bytes(*b":").bytes(name())
            }
            Some(_) | None => digest.bytes(name()),
        }
    }
}

/// `image/png` and `png` are the same format, and so are `jpg` and `jpeg`.
fn format(written: Option<Text<'_>>) -> Word {
    written.map_or_else(|| format_of(Word::EMPTY), |text| format_of(text.word()))
}

fn format_of(word: Word) -> Word {
    match word.as_bytes() {
        b"" => Word::of_segment(DEFAULT_FORMAT),
        b"jpg" | b"image/jpg" => Word::of_segment(b"jpeg"),
        b"application/vnd.mapbox-vector-tile" => Word::of_segment(b"pbf"),
        other => other.strip_prefix(b"image/").map_or(word, Word::of_segment),
    }
}

#[cfg(test)]
mod tests;
