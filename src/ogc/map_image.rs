//! The size of the image that a map request is for, which determines its work.

use super::tags::{Tag, Tags};
use super::word::{Encoding, decode, is_text};

/// Formats whose work has little to do with the size of an image: a document to print, an
/// animation, which is many images, and a file with all tiles of an area.
const UNBOUNDED: [&str; 9] = [
    "application/pdf",
    "image/gif;subtype=animated",
    "mbtiles",
    "application/x-sqlite3",
    "geopackage",
    "geopkg",
    "gpkg",
    "application/geopackage+sqlite3",
    "application/x-gpkg",
];

/// The properties of the image, as the parameters of a map request state them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct MapImage {
    width: u32,
    height: u32,
    is_unbounded: bool,
}

impl MapImage {
    pub(super) const NONE: Self = Self {
        width: 0,
        height: 0,
        is_unbounded: false,
    };

    /// Nothing bounds the work.
    pub(super) const UNBOUNDED: Self = Self {
        is_unbounded: true,
        ..Self::NONE
    };

    /// The image of a GetMap `document` that was read to its end: the format and the size of its
    /// `Output`. A document that other parsers may read in another way has no bound.
    pub(super) fn of_document(document: &[u8]) -> Self {
        walk(document).unwrap_or(Self::UNBOUNDED)
    }

    /// The larger of both images.
    pub(super) fn beside(self, other: Self) -> Self {
        Self {
            width: self.width.max(other.width),
            height: self.height.max(other.height),
            is_unbounded: self.is_unbounded || other.is_unbounded,
        }
    }

    /// Of repeated widths, the largest counts.
    pub(super) fn see_width(&mut self, value: &[u8], encoding: Encoding) {
        self.width = self.width.max(number(value, encoding));
    }

    /// Of repeated heights, the largest counts.
    pub(super) fn see_height(&mut self, value: &[u8], encoding: Encoding) {
        self.height = self.height.max(number(value, encoding));
    }

    pub(super) fn see_format(&mut self, value: &[u8], encoding: Encoding) {
        self.is_unbounded |= UNBOUNDED
            .iter()
            .any(|format| is_text(value, format, encoding));
    }

    /// Returns the pixels of the image; 0 if its size is not known, and `u32::MAX` if they do not
    /// bound the work.
    pub(super) fn pixels(&self, operation: Option<&str>) -> u32 {
        if self.is_unbounded || operation == Some("animate") {
            u32::MAX
        } else {
            self.width.saturating_mul(self.height)
        }
    }
}

fn walk(document: &[u8]) -> Option<MapImage> {
    let mut tags = Tags::of(document);
    let (mut image, mut depth, mut is_in_output) = (MapImage::NONE, 0_usize, false);
    loop {
        match tags.next()? {
            Tag::Start(element) => {
                let name = element.local_name();
                let is = |wanted: &str| name.as_ref().eq_ignore_ascii_case(wanted.as_bytes());
                // Styles have formats and sizes, too.
                is_in_output |= depth == 1 && is("Output");
                if is_in_output && is("Width") {
                    image.see_width(tags.text()?.trim_ascii(), Encoding::Plain);
                } else if is_in_output && is("Height") {
                    image.see_height(tags.text()?.trim_ascii(), Encoding::Plain);
                } else if is_in_output && is("Format") {
                    image.see_format(tags.text()?.trim_ascii(), Encoding::Plain);
                } else {
                    depth += 1;
                }
            }
            Tag::Empty(_) => {}
            Tag::End => {
                depth = depth.checked_sub(1)?;
                is_in_output &= depth > 1;
            }
            Tag::EndOfDocument => return (depth == 0).then_some(image),
        }
    }
}

/// Returns the value; 0 for what is no number.
fn number(value: &[u8], encoding: Encoding) -> u32 {
    let digit = |known: u32, byte: Result<u8, _>| {
        let digit = byte.ok().filter(u8::is_ascii_digit)? - b'0';
        Some(known.saturating_mul(10).saturating_add(u32::from(digit)))
    };
    decode(value, encoding).try_fold(0, digit).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(width: &str, height: &str, format: &str) -> MapImage {
        let mut image = MapImage::NONE;
        image.see_width(width.as_bytes(), Encoding::Form);
        image.see_height(height.as_bytes(), Encoding::Form);
        image.see_format(format.as_bytes(), Encoding::Form);
        image
    }

    #[test]
    fn the_pixels_are_those_of_width_times_height() {
        let pixels = |width, height| image(width, height, "image/png").pixels(Some("GetMap"));
        assert_eq!(pixels("4961", "3508"), 4961 * 3508);
        assert_eq!(pixels("%32%35%36", "256"), 256 * 256);
        assert_eq!(pixels("99999999999", "99999999999"), u32::MAX);
        assert_eq!(pixels("-1", "256"), 0);
        assert_eq!(pixels("", "256"), 0);
    }

    #[test]
    fn a_document_has_the_format_and_the_size_of_its_output() {
        let of = |output: &str| {
            let style = "<StyledLayerDescriptor><Graphic><Format>application/pdf</Format><Size>99</Size></Graphic></StyledLayerDescriptor>";
            let document = format!("<ogc:GetMap xmlns:ogc='o'>{style}{output}</ogc:GetMap>");
            MapImage::of_document(document.as_bytes()).pixels(Some("GetMap"))
        };
        let size = "<ogc:Size><ogc:Width> 4000 </ogc:Width><height>3000</height></ogc:Size>";
        let png = format!("<ogc:Output><ogc:Format>image/png</ogc:Format>{size}</ogc:Output>");
        assert_eq!(of(&png), 12_000_000);
        assert_eq!(of(&png.replace("image/png", "application/pdf")), u32::MAX);
        assert_eq!(of(&png.replace(" 4000 ", "40&#48;0")), u32::MAX);
        assert_eq!(of(&png.replace(" 4000 ", "<![CDATA[4000]]>")), u32::MAX);
        assert_eq!(of(size), 0, "outside of the output");
        assert_eq!(of("<Output/>"), 0);
        assert_eq!(of("<Output><Size>"), u32::MAX, "it has no end");
    }

    #[test]
    fn documents_and_animations_have_no_bound() {
        let pixels = |format, operation| image("9", "9", format).pixels(Some(operation));
        assert_eq!(pixels("application/pdf", "GetMap"), u32::MAX);
        assert_eq!(pixels("image/gif;subtype=animated", "GetMap"), u32::MAX);
        assert_eq!(
            pixels("image%2Fgif%3Bsubtype%3Danimated", "GetMap"),
            u32::MAX
        );
        assert_eq!(pixels("mbtiles", "GetMap"), u32::MAX);
        assert_eq!(
            pixels("application/geopackage%2Bsqlite3", "GetMap"),
            u32::MAX
        );
        assert_eq!(pixels("image/png", "animate"), u32::MAX);
        assert_eq!(pixels("image/gif", "GetMap"), 81);
    }
}
