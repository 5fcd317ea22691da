//! The size of the image that a map request asks for, which decides how much work it is.

use super::word::{Encoding, decode, is_text};

/// Formats whose work has little to do with the size of an image: a document to print, and an
/// animation, which is many images.
const UNBOUNDED: [&str; 2] = ["application/pdf", "image/gif;subtype=animated"];

/// What the parameters of a map request say about its image.
#[derive(Clone, Copy, Debug)]
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
    fn documents_and_animations_have_no_bound() {
        let pixels = |format, operation| image("9", "9", format).pixels(Some(operation));
        assert_eq!(pixels("application/pdf", "GetMap"), u32::MAX);
        assert_eq!(pixels("image/gif;subtype=animated", "GetMap"), u32::MAX);
        assert_eq!(
            pixels("image%2Fgif%3Bsubtype%3Danimated", "GetMap"),
            u32::MAX
        );
        assert_eq!(pixels("image/png", "animate"), u32::MAX);
        assert_eq!(pixels("image/gif", "GetMap"), 81);
    }
}
