//! A doc comment on every public item of the library.

use crate::Violation;

/// Keywords that begin an item, after `pub` and the qualifiers.
const ITEMS: &[&str] = &[
    "fn", "struct", "enum", "trait", "type", "const", "static", "union",
];

/// Words between `pub` and the keyword.
const QUALIFIERS: &[&str] = &["const", "async"];

/// Public items without a doc comment. `code` is the output of `source::split_tests(..).shipped`
/// for `text`; it shows which lines are code that ships.
pub(crate) fn missing(file: &str, text: &str, code: &str) -> Vec<Violation> {
    let lines: Vec<&str> = text.lines().collect();
    code.lines()
        .enumerate()
        .filter_map(|(at, line)| Some((at, public_item(line)?)))
        .filter(|(at, _)| !is_documented(&lines, *at))
        .map(|(at, name)| {
            let what = format!("`{name}` is public and has no doc comment");
            Violation::new(file, at + 1, what)
        })
        .collect()
}

/// The name of the item that begins on this line, if it is public.
fn public_item(line: &str) -> Option<&str> {
    let mut words = line.trim_start().strip_prefix("pub ")?.split_whitespace();
    let mut keyword = words.next()?;
    let mut name = words.next()?;
    while QUALIFIERS.contains(&keyword) && (ITEMS.contains(&name) || QUALIFIERS.contains(&name)) {
        (keyword, name) = (name, words.next()?);
    }
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    // The name that a macro gives is documented where the macro is used.
    let name = name.split(|c| !is_word(c)).next()?;
    (ITEMS.contains(&keyword) && !name.is_empty()).then_some(name)
}

/// True if a doc comment stands above the attributes of the item that begins at line `at`.
fn is_documented(lines: &[&str], at: usize) -> bool {
    lines[..at]
        .iter()
        .rev()
        .map(|line| line.trim_start())
        .find(|line| !line.starts_with("#[") && !line.starts_with(")]"))
        .is_some_and(|line| line.starts_with("///") || line.starts_with("#[doc"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> usize {
        missing("src/a.rs", text, text).len()
    }

    #[test]
    fn public_items_without_a_doc_comment_are_caught() {
        for item in [
            "pub fn f() {}",
            "pub const fn f() {}",
            "    pub async fn f() {}",
            "pub struct S;",
            "pub enum E {}",
            "pub trait T {}",
            "pub type T = u8;",
            "pub const C: u8 = 1;",
            "#[derive(Debug)]\npub struct S;",
            "// not a doc comment\npub struct S;",
        ] {
            assert_eq!(found(item), 1, "{item}");
            assert_eq!(
                found(&format!("/// A doc comment.\n{item}")),
                usize::from(item.starts_with("//")),
                "{item}"
            );
        }
    }

    #[test]
    fn fields_modules_reexports_and_private_items_pass() {
        for item in [
            "pub x: u8,",
            "pub mod m;",
            "pub use a::A;",
            "fn f() {}",
            "pub(crate) fn f() {}",
            "pub enum $name {}",
        ] {
            assert_eq!(found(item), 0, "{item}");
        }
    }
}
