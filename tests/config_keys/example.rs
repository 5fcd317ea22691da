//! The keys of the example configuration, most of which are switched off.

pub(crate) const EXAMPLE: &str = include_str!("../../config/example.toml");

/// `health` of `[health]`, also where the header is commented.
pub(crate) fn header_of(line: &str) -> Option<&str> {
    let header = line.strip_prefix('#').unwrap_or(line);
    header.strip_prefix('[')?.strip_suffix(']')
}

/// The beginning of the keys below a header. The example shows one rule of a list, switched off.
pub(crate) fn section_of(header: &str) -> String {
    if header == "[routes]" {
        "routes.N.".to_owned()
    } else {
        format!("{header}.")
    }
}

/// `interval` of `#interval = "5s"`.
pub(crate) fn commented_key(line: &str) -> Option<&str> {
    let line = line
        .strip_prefix('#')
        .filter(|rest| rest.starts_with(|c: char| c.is_ascii_lowercase()))?;
    line.split_once(" = ").map(|(key, _)| key)
}

/// Every key in the example, commented or not, by its whole name.
pub(crate) fn keys_of_example() -> Vec<String> {
    let mut section = String::new();
    let mut keys = Vec::new();
    for line in EXAMPLE.lines() {
        if let Some(header) = header_of(line) {
            section = section_of(header);
        } else {
            let set_key = line
                .split_once(" = ")
                .map(|(key, _)| key)
                .filter(|key| !key.starts_with('#'));
            keys.extend(
                commented_key(line)
                    .or(set_key)
                    .map(|key| format!("{section}{key}")),
            );
        }
    }
    keys
}
