//! Durations and sizes as administrators write them, always with a unit.

use std::time::Duration;

/// A size in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Size(pub(super) u64);

/// Decimal units for disks, binary units for memory.
const SIZE_UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("TB", 1_000_000_000_000),
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("KB", 1_000),
    ("B", 1),
];

pub(super) fn parse_duration(text: &str) -> Option<Duration> {
    // The library accepts a bare "0", too; here every duration has a unit.
    let has_unit = text.bytes().any(|b| b.is_ascii_alphabetic());
    humantime::parse_duration(text).ok().filter(|_| has_unit)
}

/// Formats a duration so that it can be read back: `1h30m`, `500ms`.
pub(super) fn show_duration(duration: Duration) -> String {
    let mut shown = humantime::format_duration(duration).to_string();
    shown.retain(|c| c != ' ');
    // The library prints days and longer units as words; `24h` and `1day` are the same.
    shown
}

pub(super) fn parse_size(text: &str) -> Option<Size> {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
    let unit = unit.trim_start();
    let (_, factor) = SIZE_UNITS
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(unit))?;
    number.parse::<u64>().ok()?.checked_mul(*factor).map(Size)
}

/// Formats a size in the largest unit that needs no fraction, decimal before binary: `16MB`,
/// `1GiB`.
pub(super) fn show_size(Size(bytes): Size) -> String {
    let whole = SIZE_UNITS
        .iter()
        .filter(|(_, factor)| bytes >= *factor && bytes % factor == 0);
    let shortest = whole
        .map(|(unit, factor)| format!("{}{unit}", bytes / factor))
        .min_by_key(String::len);
    shortest.unwrap_or_else(|| "0B".to_owned())
}

/// Returns a number of bytes in the largest unit that needs no fraction: `16MB`.
pub fn size_text(bytes: u64) -> String {
    show_size(Size(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations_need_a_unit() {
        assert_eq!(parse_duration("5s"), Some(Duration::from_secs(5)));
        assert_eq!(parse_duration("1h30m"), Some(Duration::from_secs(5400)));
        assert_eq!(parse_duration("500ms"), Some(Duration::from_millis(500)));
        for wrong in [
            "",
            "5",
            "0",
            "s",
            "5 x",
            "-5s",
            "5s5",
            "99999999999999999999s",
        ] {
            assert_eq!(parse_duration(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn sizes_need_a_unit() {
        assert_eq!(parse_size("16MB"), Some(Size(16_000_000)));
        assert_eq!(parse_size("1 gib"), Some(Size(1 << 30)));
        for wrong in ["", "5", "MB", "1.5MB", "5M", "99999999999TB", "é"] {
            assert_eq!(parse_size(wrong), None, "{wrong:?}");
        }
        assert_eq!(show_size(Size(1 << 30)), "1GiB");
        assert_eq!(show_size(Size(500_000_000)), "500MB");
    }

    proptest! {
        #[test]
        fn displayed_values_can_be_read_back(millis in 0_u64..100_000_000_000, bytes: u64) {
            let duration = Duration::from_millis(millis);
            prop_assert_eq!(parse_duration(&show_duration(duration)), Some(duration));
            prop_assert_eq!(parse_size(&show_size(Size(bytes))), Some(Size(bytes)));
        }
    }
}
