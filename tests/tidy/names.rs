//! One name for one type: a name that means two things has to be looked up each time it is read.

use std::collections::BTreeMap;

use crate::Violation;
use crate::source::{Token, tokens};

/// Places where names may repeat those of other modules. The admin API and the arguments of the
/// commands mirror what they show and order. The GeoServer double uses GeoServer's own names.
const TWINS_OF_OTHERS: &[&str] = &["src/admin/", "src/cli/args.rs", "src/geosim/"];

/// Types that other files can see and that share their name with another such type. `files` are
/// paths and the output of `source::split_tests(..).shipped`.
pub(crate) fn repeated(files: &[(String, String)]) -> Vec<Violation> {
    let mut by_name: BTreeMap<&str, Vec<(&str, usize)>> = BTreeMap::new();
    let mirrors = |file: &str| TWINS_OF_OTHERS.iter().any(|place| file.starts_with(place));
    for (file, code) in files.iter().filter(|(file, _)| !mirrors(file)) {
        for name in visible_types(code) {
            by_name
                .entry(name.text)
                .or_default()
                .push((file, name.line));
        }
    }
    let mut found = Vec::new();
    for (name, places) in &by_name {
        for (file, line) in places.iter().skip(1) {
            let first = places[0].0;
            found.push(Violation::new(
                file,
                *line,
                format!("`{name}` is a type of {first}, too"),
            ));
        }
    }
    found
}

/// The names of types at the top of a file that are visible outside it.
fn visible_types(code: &str) -> Vec<Token<'_>> {
    let tokens = tokens(code);
    let (mut depth, mut found) = (0_usize, Vec::new());
    for at in 0..tokens.len() {
        match tokens[at].text {
            "{" => depth += 1,
            "}" => depth = depth.saturating_sub(1),
            "struct" | "enum" | "trait" | "union" | "type"
                if depth == 0 && is_visible(&tokens, at) =>
            {
                found.extend(tokens.get(at + 1).copied());
            }
            _ => {}
        }
    }
    found
}

fn is_visible(tokens: &[Token<'_>], at: usize) -> bool {
    at > 0 && matches!(tokens[at - 1].text, "pub" | ")")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(files: &[(&str, &str)]) -> usize {
        let files: Vec<_> = files
            .iter()
            .map(|(file, code)| ((*file).to_owned(), (*code).to_owned()))
            .collect();
        repeated(&files).len()
    }

    #[test]
    fn two_visible_types_of_one_name_are_caught() {
        let a = ("src/a.rs", "pub struct Reading { x: u8 }");
        for b in [
            "pub(super) enum Reading {}",
            "pub trait Reading {}",
            "pub type Reading = u8;",
        ] {
            assert_eq!(found(&[a, ("src/b/c.rs", b)]), 1, "{b}");
        }
    }

    #[test]
    fn private_types_twins_of_the_api_and_associated_types_pass() {
        let a = ("src/a.rs", "pub struct Queue;");
        assert_eq!(found(&[a, ("src/b.rs", "struct Queue;")]), 0);
        assert_eq!(
            found(&[a, ("src/admin/answers.rs", "pub struct Queue;")]),
            0
        );
        assert_eq!(
            found(&[a, ("src/b.rs", "impl X for Y { type Queue = u8; }")]),
            0
        );
    }
}
