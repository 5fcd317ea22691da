//! The versions that GeoServer supports, by their canonical names.

use super::word::{Encoding, Word};

/// Entries that are read of a list such as `acceptVersions=2.0.0,1.1.0`.
const MAX_LISTED: usize = 8;

/// The first version in `value` (one, or a comma list) that some service of GeoServer supports.
pub(super) fn first_known(value: &[u8], encoding: Encoding) -> Option<&'static str> {
    let listed = value.split(|&byte| byte == b',').take(MAX_LISTED);
    listed
        .filter_map(|version| Word::of_value(version, encoding).ok())
        .find_map(|version| known(&version))
}

/// GeoServer completes `1` to `1.0.0` and `1.1` to `1.1.0`.
pub(super) fn known(version: &Word) -> Option<&'static str> {
    Some(match version.as_bytes() {
        b"1.0.0" | b"1.0" | b"1" => "1.0.0",
        b"1.1.0" | b"1.1" => "1.1.0",
        b"1.1.1" => "1.1.1",
        b"1.3.0" | b"1.3" => "1.3.0",
        b"2.0.0" | b"2.0" | b"2" => "2.0.0",
        b"2.0.1" => "2.0.1",
        b"2.0.2" => "2.0.2",
        b"2.1.0" | b"2.1" => "2.1.0",
        b"3.0.0" | b"3.0" | b"3" => "3.0.0",
        _ => return None,
    })
}
