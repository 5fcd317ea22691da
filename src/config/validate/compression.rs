//! `[compression]`.

use super::check::Check;
use crate::config::raw::RawCompression;
use crate::config::units::Size;
use crate::config::{Compression, defaults};
use crate::ogc::PerClass;

impl Check<'_> {
    pub(super) fn compression(&mut self, raw: &RawCompression) -> Compression {
        let codings = self.list("compression.codings", &raw.codings, Vec::new());
        let Size(min_size) = self.within(
            "compression.min_size",
            &raw.min_size,
            defaults::COMPRESSION_MIN_SIZE,
            defaults::COMPRESSION_MIN_SIZES,
        );
        let classes = self.list(
            "compression.classes",
            &raw.classes,
            defaults::compressed_classes(),
        );
        Compression {
            codings,
            min_size,
            classes: PerClass::from_fn(|class| classes.contains(&class)),
        }
    }
}
