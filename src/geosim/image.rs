//! Maps that are real PNGs, in a tint of the instance's own and with its name on them. A person
//! sees at a glance which instance drew a map, and a test finds it by decoding.

use std::collections::HashMap;

use bytes::Bytes;
use parking_lot::Mutex;
use png::{BitDepth, ColorType, Encoder};

use super::behaviour::Behaviour;
use super::font;
use super::tile_address::TileAddress;
use super::world::World;
use crate::hash::fnv1a;

/// The text chunk that names the instance.
pub const PNG_AUTHOR: &str = "Author";
/// The private, ancillary chunk that pads a PNG to a wished size; decoders skip it.
const PADDING: png::chunk::ChunkType = png::chunk::ChunkType(*b"gsIm");
/// Length, type and checksum around the content of a chunk.
const CHUNK_FRAME: usize = 12;
/// The most pictures kept. They are few, because a map viewer requests its own sizes again and
/// again.
const MAX_PICTURES: usize = 256;
const WHITE: u8 = 0;
const TINT: u8 = 1;
const INK: u8 = 2;
/// Pixels along one side of a tile.
const TILE: usize = 256;
/// Colours from sea to land of a tile of the world; ink and nothing come after them.
const SHADES: u8 = 9;
/// The distance of the lines of a layer on the tiles of the world, in pixels.
const HATCH: usize = 12;
const HATCH_WIDTH: usize = 3;

/// Draws for one instance, each kind of picture once.
pub(super) struct Painter {
    name: String,
    tint: [u8; 3],
    padded_to: Option<usize>,
    /// For an instance that draws tiles of the world instead of plain ones.
    world: Option<World>,
    pictures: Mutex<HashMap<Picture, Bytes>>,
    world_tiles: Mutex<HashMap<(TileAddress, bool), Bytes>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Picture {
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) transparent: bool,
    /// Nothing drawn: what `EXCEPTIONS=BLANK` shows.
    pub(super) blank: bool,
}

impl Picture {
    pub(super) fn map(width: u32, height: u32) -> Self {
        Self {
            width,
            height,
            transparent: false,
            blank: false,
        }
    }
}

impl Painter {
    pub(super) fn new(name: &str, behaviour: &Behaviour) -> Self {
        Self {
            name: name.to_owned(),
            tint: behaviour.tint.unwrap_or_else(|| tint_of(name)),
            padded_to: behaviour.image_bytes,
            world: behaviour.draws_world.then(World::new),
            pictures: Mutex::default(),
            world_tiles: Mutex::default(),
        }
    }

    /// A tile; `is_overlay` for one that shows only a layer, on nothing.
    pub(super) fn paint_tile(&self, address: &TileAddress, is_overlay: bool) -> Bytes {
        let Some(world) = &self.world else {
            return self.paint(Picture::map(TILE as u32, TILE as u32));
        };
        let key = (address.clone(), is_overlay);
        if let Some(known) = self.world_tiles.lock().get(&key) {
            return known.clone();
        }
        let (zoom, column, row) = address.place();
        let land = world.land(zoom, column, row, TILE);
        let painted: Bytes = if is_overlay {
            self.encode_tile(&self.hatched(&land, &address.layer))
        } else {
            self.encode_tile(&self.shaded(&land))
        }
        .into();
        let mut tiles = self.world_tiles.lock();
        if tiles.len() == MAX_PICTURES {
            tiles.clear();
        }
        tiles.insert(key, painted.clone());
        painted
    }

    /// Sea and land in the instance's tint, with its name in a corner and a line along two sides.
    fn shaded(&self, land: &[f32]) -> Vec<u8> {
        let writing = Writing::in_corner(&self.name);
        let most = f32::from(SHADES - 1);
        let colour = |(at, land): (usize, &f32)| {
            let (x, y) = (at % TILE, at / TILE);
            match () {
                () if writing.has_ink(x, y) => SHADES,
                () if x == 0 || y == 0 => SHADES - 1,
                () => (land.clamp(0.0, 1.0) * most).round() as u8,
            }
        };
        land.iter().enumerate().map(colour).collect()
    }

    /// Lines over the land, in a direction that depends on the layer.
    fn hatched(&self, land: &[f32], layer: &str) -> Vec<u8> {
        let hash = fnv1a(layer.bytes());
        let colour = |(at, land): (usize, &f32)| {
            let (x, y) = (at % TILE, at / TILE);
            let along = match hash % 3 {
                0 => x + y,
                1 => x + TILE - y,
                _ => y,
            };
            if *land > 0.5 && along % HATCH < HATCH_WIDTH {
                SHADES
            } else {
                SHADES + 1
            }
        };
        land.iter().enumerate().map(colour).collect()
    }

    /// `colours` has one for each pixel.
    fn encode_tile(&self, colours: &[u8]) -> Vec<u8> {
        let packed: Vec<u8> = colours
            .chunks_exact(2)
            .map(|pair| pair[0] << 4 | pair[1])
            .collect();
        let mut out = Vec::new();
        self.encode_packed(&mut out, &packed)
            .expect("the tile is well-formed and a Vec takes everything");
        out
    }

    fn encode_packed(&self, out: &mut Vec<u8>, packed: &[u8]) -> Result<(), png::EncodingError> {
        let mut encoder = Encoder::new(out, TILE as u32, TILE as u32);
        encoder.set_color(ColorType::Indexed);
        encoder.set_depth(BitDepth::Four);
        let shades = (0..SHADES).map(|shade| {
            let land = f32::from(shade) / f32::from(SHADES - 1);
            self.tint.map(|part| {
                let (sea, ground) = (f32::from(part) * 0.2 + 204.0, f32::from(part));
                (sea + land * (ground - sea)) as u8
            })
        });
        let ink = self.tint.map(|part| (f32::from(part) * 0.45) as u8);
        let palette: Vec<u8> = shades.chain([ink, [255; 3]]).flatten().collect();
        let mut opacity = vec![255; usize::from(SHADES) + 1];
        opacity.push(0);
        encoder.set_palette(palette);
        encoder.set_trns(opacity);
        encoder.add_text_chunk(PNG_AUTHOR.to_owned(), self.name.clone())?;
        let mut writer = encoder.write_header()?;
        writer.write_image_data(packed)?;
        writer.finish()
    }

    /// White, the tint, and a dark shade of it.
    fn palette(&self) -> Vec<u8> {
        let dark = self.tint.map(|part| part / 3);
        [[255; 3], self.tint, dark].concat()
    }

    pub(super) fn paint(&self, picture: Picture) -> Bytes {
        if let Some(known) = self.pictures.lock().get(&picture) {
            return known.clone();
        }
        let painted = self.padded(picture);
        let mut pictures = self.pictures.lock();
        if pictures.len() == MAX_PICTURES {
            pictures.clear();
        }
        pictures.insert(picture, painted.clone());
        painted
    }

    fn padded(&self, picture: Picture) -> Bytes {
        let plain = self.encode(picture, None);
        match self.padded_to {
            Some(size) if size > plain.len() + CHUNK_FRAME => self
                .encode(picture, Some(size - plain.len() - CHUNK_FRAME))
                .into(),
            _ => plain.into(),
        }
    }

    fn encode(&self, picture: Picture, padding: Option<usize>) -> Vec<u8> {
        let mut out = Vec::new();
        self.encode_into(&mut out, picture, padding)
            .expect("the image is well-formed and a Vec takes everything");
        out
    }

    fn encode_into(
        &self,
        out: &mut Vec<u8>,
        picture: Picture,
        padding: Option<usize>,
    ) -> Result<(), png::EncodingError> {
        let mut encoder = Encoder::new(out, picture.width, picture.height);
        encoder.set_color(ColorType::Indexed);
        encoder.set_depth(BitDepth::Two);
        encoder.set_palette(self.palette());
        if picture.transparent {
            encoder.set_trns([0u8, 160, 255].as_slice());
        }
        encoder.add_text_chunk(PNG_AUTHOR.to_owned(), self.name.clone())?;
        let mut writer = encoder.write_header()?;
        if let Some(padding) = padding {
            writer.write_chunk(PADDING, &vec![b'.'; padding])?;
        }
        writer.write_image_data(&self.pixels(picture))?;
        writer.finish()
    }

    /// Four pixels a byte.
    fn pixels(&self, picture: Picture) -> Vec<u8> {
        let (width, height) = (picture.width as usize, picture.height as usize);
        let row_bytes = width.div_ceil(4);
        let mut packed = vec![0; row_bytes * height];
        let writing = Writing::centred(&self.name, width, height);
        for (y, row) in packed.chunks_mut(row_bytes).enumerate() {
            for x in 0..width {
                let colour = match () {
                    () if picture.blank => WHITE,
                    () if x == 0 || y == 0 || writing.has_ink(x, y) => INK,
                    () => TINT,
                };
                row[x / 4] |= colour << (6 - 2 * (x % 4));
            }
        }
        packed
    }
}

/// A name placed on a picture.
struct Writing {
    letters: Vec<char>,
    left: usize,
    top: usize,
    scale: usize,
}

impl Writing {
    fn centred(text: &str, width: usize, height: usize) -> Self {
        let letters: Vec<char> = text.chars().collect();
        let natural = (letters.len() * (font::WIDTH + 1)).max(1);
        let scale = (width * 3 / 4 / natural).min(height / 2 / font::HEIGHT);
        let left = width.saturating_sub(natural * scale) / 2;
        let top = height.saturating_sub(font::HEIGHT * scale) / 2;
        Self {
            letters,
            left,
            top,
            scale,
        }
    }

    /// At the lower left of a tile.
    fn in_corner(text: &str) -> Self {
        const SCALE: usize = 2;
        const MARGIN: usize = 8;
        Self {
            letters: text.chars().collect(),
            left: MARGIN,
            top: TILE - MARGIN - SCALE * font::HEIGHT,
            scale: SCALE,
        }
    }

    /// A picture too small for the name has none.
    fn has_ink(&self, x: usize, y: usize) -> bool {
        if self.scale == 0 || x < self.left || y < self.top {
            return false;
        }
        let (column, row) = ((x - self.left) / self.scale, (y - self.top) / self.scale);
        let (letter, column) = (column / (font::WIDTH + 1), column % (font::WIDTH + 1));
        row < font::HEIGHT
            && column < font::WIDTH
            && self
                .letters
                .get(letter)
                .is_some_and(|l| font::has_ink(*l, column, row))
    }
}

/// A light colour that depends on the name only.
fn tint_of(name: &str) -> [u8; 3] {
    let hue = (fnv1a(name.bytes()) % 360) as f64;
    [0.0, 8.0, 4.0].map(|offset| {
        // The usual conversion from hue, with saturation 0.6 and lightness 0.75.
        let k = (offset + hue / 30.0) % 12.0;
        let value = 0.75 - 0.15 * (k - 3.0).min(9.0 - k).clamp(-1.0, 1.0);
        (value * 255.0) as u8
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(png: &[u8]) -> (png::OutputInfo, Vec<u8>, String) {
        let mut decoder = png::Decoder::new(std::io::Cursor::new(png));
        decoder.set_transformations(png::Transformations::EXPAND);
        let mut reader = decoder.read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut pixels).unwrap();
        let author = reader.info().uncompressed_latin1_text[0].text.clone();
        (info, pixels, author)
    }

    fn painter(name: &str) -> Painter {
        Painter::new(name, &Behaviour::default())
    }

    #[test]
    fn a_tile_of_the_world_has_land_and_sea_in_the_tint_and_names_its_painter() {
        let behaviour = Behaviour {
            draws_world: true,
            tint: Some([120, 200, 160]),
            ..Behaviour::default()
        };
        let painter = Painter::new("slave1", &behaviour);
        let address = TileAddress::from_wmts_path("geor:a/EPSG:900913/1/0/1").unwrap();
        let (info, pixels, author) = decode(&painter.paint_tile(&address, false));
        assert_eq!((info.width, author.as_str()), (256, "slave1"));
        let at = |x: usize, y: usize| pixels[(y * 256 + x) * 4..][..3].to_vec();
        assert_eq!(at(100, 150), [120, 200, 160], "Siberia");
        assert_eq!(at(230, 230), [228, 244, 236], "the Pacific");
        let overlay = decode(&painter.paint_tile(&address, true)).1;
        let opaque = overlay.chunks(4).filter(|pixel| pixel[3] == 255).count();
        assert!((1000..30_000).contains(&opaque), "{opaque} pixels drawn");
    }

    #[test]
    fn maps_decode_and_name_their_painter() {
        let (info, pixels, author) = decode(&painter("replica1").paint(Picture::map(256, 200)));
        assert_eq!(
            (info.width, info.height, author.as_str()),
            (256, 200, "replica1")
        );
        let colours: std::collections::BTreeSet<&[u8]> = pixels.chunks(3).collect();
        assert_eq!(colours.len(), 2, "tint and ink");
    }

    #[test]
    fn instances_have_tints_of_their_own() {
        let middle = |name: &str| {
            decode(&painter(name).paint(Picture::map(8, 8))).1[8 * 3 * 4 + 12..][..3].to_vec()
        };
        assert_ne!(middle("replica1"), middle("replica2"));
        assert_eq!(middle("replica1"), middle("replica1"));
    }

    #[test]
    fn padded_maps_have_exactly_the_wished_size_and_still_decode() {
        let png = Painter::new(
            "main",
            &Behaviour {
                image_bytes: Some(20_000),
                ..Behaviour::default()
            },
        )
        .paint(Picture::map(256, 256));
        assert_eq!(png.len(), 20_000);
        assert_eq!(decode(&png).0.width, 256);
    }

    #[test]
    fn tiny_maps_are_maps_too() {
        assert_eq!(
            decode(&painter("main").paint(Picture::map(1, 1))).0.height,
            1
        );
    }
}
