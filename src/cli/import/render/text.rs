//! Values and excerpts of the old file as text.

use std::time::Duration;

/// Longest excerpt of a line in a comment, in characters.
const MAX_EXCERPT: usize = 100;

pub(super) fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

pub(super) fn shown_time(time: Duration) -> String {
    let mut shown = humantime::format_duration(time).to_string();
    shown.retain(|c| c != ' ');
    shown
}

pub(super) fn shown_size(bytes: u64) -> String {
    for (unit, factor) in [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)] {
        if bytes >= factor && bytes.is_multiple_of(factor) {
            return format!("{}{unit}", bytes / factor);
        }
    }
    format!("{bytes}B")
}

/// True for a word whose line goes on with a password or the like. The new file may have other
/// readers than the old one.
fn names_a_secret(word: &str) -> bool {
    let word = word.trim_matches(['"', '\'']).to_ascii_lowercase();
    matches!(
        &*word,
        "auth" | "password" | "insecure-password" | "authorization" | "proxy-authorization"
    )
}

/// The text on one line, shortened and without secrets.
pub(super) fn excerpt(text: &str) -> String {
    let mut words: Vec<&str> = text.split_whitespace().collect();
    if let Some(secret) = words.iter().position(|word| names_a_secret(word)) {
        words.truncate(secret + 1);
        words.push("***");
    }
    let line: String = words
        .join(" ")
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    let mut short = String::new();
    if line.chars().count() > MAX_EXCERPT {
        short.extend(line.chars().take(MAX_EXCERPT));
        short.push('…');
        return short;
    }
    line
}
