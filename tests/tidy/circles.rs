//! Import circles among the files of one module: files that need each other can only be read, moved
//! and tested together.
//!
//! A file depends on another when its code names an item of it, directly or through re-exports. A
//! re-export alone is no dependency of the file that makes it, and a module may use what its parent
//! defines.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::Violation;
use crate::floors::{InlineModules, module_path};
use crate::source::{Token, tokens};

/// Re-exports of re-exports are followed this far.
const MAX_REEXPORTS: usize = 8;

/// A path as names, from the crate's root.
type Names<'a> = Vec<&'a str>;

/// The imports of one file, and the names under which it offers them to others.
struct Imports<'a> {
    paths: Vec<Names<'a>>,
    /// A name bound by a `use`, and the path of its item.
    bound: BTreeMap<&'a str, Names<'a>>,
}

/// One circle for each set of files that depend on each other. `files` are paths and the output of
/// `source::split_tests(..).shipped`.
pub(crate) fn circles(files: &[(String, String)]) -> Vec<Violation> {
    let modules: BTreeMap<Names<'_>, &str> = files
        .iter()
        .map(|(file, _)| (module_path(file), file.as_str()))
        .collect();
    let imports: BTreeMap<&str, Imports<'_>> = files
        .iter()
        .map(|(file, code)| (file.as_str(), imports_of(file, code, &modules)))
        .collect();
    let edges: BTreeMap<&str, BTreeSet<&str>> = imports
        .iter()
        .map(|(file, found)| (*file, targets(file, found, &modules, &imports)))
        .collect();
    let mut reported = BTreeSet::new();
    let mut violations = Vec::new();
    for file in edges.keys() {
        let Some(circle) = shortest_circle(file, &edges) else {
            continue;
        };
        let members = members(file, &edges);
        if reported.insert(members.clone()) {
            let text = format!(
                "{} files depend on each other, by way of {}",
                members.len(),
                circle.join(" -> ")
            );
            violations.push(Violation::new(file, 1, text));
        }
    }
    violations
}

/// The files of the same module that `file` depends on.
fn targets<'a>(
    file: &str,
    found: &Imports<'a>,
    modules: &BTreeMap<Names<'a>, &'a str>,
    imports: &BTreeMap<&'a str, Imports<'a>>,
) -> BTreeSet<&'a str> {
    let here = module_path(file);
    found
        .paths
        .iter()
        .filter(|path| path.first() == here.first())
        .filter_map(|path| file_of(path, modules, imports))
        .filter(|target| !here.starts_with(&module_path(target)))
        .collect()
}

/// The file that holds the item at `path`.
fn file_of<'a>(
    path: &[&'a str],
    modules: &BTreeMap<Names<'a>, &'a str>,
    imports: &BTreeMap<&'a str, Imports<'a>>,
) -> Option<&'a str> {
    let mut path = path.to_vec();
    for _ in 0..MAX_REEXPORTS {
        let depth = (1..=path.len())
            .rev()
            .find(|depth| modules.contains_key(&path[..*depth]))?;
        let file = modules[&path[..depth]];
        let bound = path
            .get(depth)
            .and_then(|name| imports.get(file)?.bound.get(name));
        match bound {
            Some(item) => path = [item.as_slice(), &path[depth + 1..]].concat(),
            None => return Some(file),
        }
    }
    None
}

fn imports_of<'a>(
    file: &'a str,
    code: &'a str,
    modules: &BTreeMap<Names<'a>, &'a str>,
) -> Imports<'a> {
    let here = module_path(file);
    let tokens = tokens(code);
    let mut found = Imports {
        paths: Vec::new(),
        bound: BTreeMap::new(),
    };
    let mut inline = InlineModules::default();
    let mut in_use: Option<bool> = None;
    for at in 0..tokens.len() {
        inline.step(&tokens, at);
        match tokens[at].text {
            "use" => in_use = Some(is_public(&tokens, at)),
            ";" => in_use = None,
            _ => {}
        }
        let Some(start) = start_of_path(&tokens, at, &here, inline.depth(), modules) else {
            continue;
        };
        let mut leaves = Vec::new();
        follow(&tokens, at, start, &mut leaves);
        for (path, name) in leaves {
            if let Some(is_public) = in_use {
                found.bound.insert(name, path.clone());
                if is_public && !is_used(&tokens, name) {
                    continue;
                }
            }
            found.paths.push(path);
        }
    }
    found
}

/// Whether the `use` at `at` is a re-export.
fn is_public(tokens: &[Token<'_>], at: usize) -> bool {
    at > 0 && matches!(tokens[at - 1].text, "pub" | ")")
}

/// Whether code names `name` outside of paths.
fn is_used(tokens: &[Token<'_>], name: &str) -> bool {
    let mut in_use = false;
    (0..tokens.len()).any(|at| {
        match tokens[at].text {
            "use" => in_use = true,
            ";" => in_use = false,
            _ => {}
        }
        let is_free = at == 0 || !matches!(tokens[at - 1].text, "::" | "." | "mod");
        !in_use && is_free && tokens[at].text == name
    })
}

/// Where the path that begins at `at` begins, as names from the root; `None` if none begins there
/// that leads into this crate.
fn start_of_path<'a>(
    tokens: &[Token<'a>],
    at: usize,
    here: &[&'a str],
    inline: usize,
    modules: &BTreeMap<Names<'a>, &'a str>,
) -> Option<Names<'a>> {
    let is_first = at == 0 || tokens[at - 1].text != "::";
    if !is_first || tokens.get(at + 1)?.text != "::" {
        return None;
    }
    match tokens[at].text {
        "crate" => Some(Vec::new()),
        "self" => Some(here.to_vec()),
        "super" if inline > 0 => Some(here.to_vec()),
        "super" => Some(here[..here.len().saturating_sub(1)].to_vec()),
        name => {
            let child = [here, &[name]].concat();
            modules.contains_key(&child).then_some(child)
        }
    }
}

/// The paths that go on from the element at `at`, which stands for `path`, each with the name that
/// a `use` would bind.
fn follow<'a>(
    tokens: &[Token<'a>],
    at: usize,
    path: Names<'a>,
    leaves: &mut Vec<(Names<'a>, &'a str)>,
) -> usize {
    let text = |at: usize| tokens.get(at).map_or("", |token| token.text);
    if text(at + 1) != "::" {
        let name = path.last().copied().unwrap_or_default();
        if text(at + 1) == "as" {
            leaves.push((path, text(at + 2)));
            return at + 3;
        }
        leaves.push((path, name));
        return at + 1;
    }
    match text(at + 2) {
        "{" => {
            let mut next = at + 3;
            while !matches!(text(next), "}" | "") {
                next = match text(next) {
                    "," => next + 1,
                    name => follow(tokens, next, step(&path, name), leaves),
                };
            }
            next + 1
        }
        name => follow(tokens, at + 2, step(&path, name), leaves),
    }
}

fn step<'a>(path: &[&'a str], name: &'a str) -> Names<'a> {
    match name {
        "super" => path[..path.len().saturating_sub(1)].to_vec(),
        "self" | "*" => path.to_vec(),
        name => [path, &[name]].concat(),
    }
}

/// The shortest way from `file` back to it.
fn shortest_circle<'a>(
    file: &'a str,
    edges: &BTreeMap<&'a str, BTreeSet<&'a str>>,
) -> Option<Vec<&'a str>> {
    let mut ways = VecDeque::from([vec![file]]);
    let mut seen = BTreeSet::new();
    while let Some(way) = ways.pop_front() {
        let last = *way.last()?;
        for next in edges.get(last).into_iter().flatten() {
            let longer = [way.as_slice(), &[next]].concat();
            if *next == file {
                return Some(longer);
            }
            if seen.insert(*next) {
                ways.push_back(longer);
            }
        }
    }
    None
}

/// The files that `file` reaches and that reach it.
fn members<'a>(file: &'a str, edges: &BTreeMap<&'a str, BTreeSet<&'a str>>) -> BTreeSet<&'a str> {
    reached(file, edges)
        .into_iter()
        .filter(|other| reached(other, edges).contains(file))
        .collect()
}

fn reached<'a>(file: &'a str, edges: &BTreeMap<&'a str, BTreeSet<&'a str>>) -> BTreeSet<&'a str> {
    let (mut seen, mut rest) = (BTreeSet::new(), vec![file]);
    while let Some(next) = rest.pop() {
        for target in edges.get(next).into_iter().flatten() {
            if seen.insert(*target) {
                rest.push(target);
            }
        }
    }
    seen
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(files: &[(&str, &str)]) -> Vec<String> {
        let files: Vec<_> = files
            .iter()
            .map(|(file, code)| ((*file).to_owned(), (*code).to_owned()))
            .collect();
        circles(&files).iter().map(|v| v.to_string()).collect()
    }

    #[test]
    fn files_that_import_each_other_are_caught_however_it_is_written() {
        for (a, b) in [
            ("use super::b::B;", "use super::a::A;"),
            ("use crate::m::b::B;", "use crate::m::{a::A, c::C};"),
            ("use super::{b::{B, X}};", "fn f() { super::a::f() }"),
            ("use super::b;", "use crate::{m::a::A};"),
            ("use super::B;", "use super::a::{self, A};"),
        ] {
            let found = found(&[
                ("src/m/mod.rs", "mod a; mod b; mod c; pub use b::B;"),
                ("src/m/a.rs", a),
                ("src/m/b.rs", b),
                ("src/m/c.rs", ""),
            ]);
            assert_eq!(found.len(), 1, "{a} {b}: {found:?}");
            assert!(found[0].contains("2 files"), "{found:?}");
        }
    }

    #[test]
    fn a_circle_of_three_and_one_by_way_of_a_parent_are_caught() {
        let three = found(&[
            ("src/m/mod.rs", "mod a; mod b; mod c;"),
            ("src/m/a.rs", "use super::b::B;"),
            ("src/m/b.rs", "use super::c::C;"),
            ("src/m/c.rs", "use super::a::A;"),
        ]);
        assert!(
            three.len() == 1 && three[0].contains("3 files"),
            "{three:?}"
        );
        let parent = found(&[
            ("src/m/mod.rs", "mod a; mod b;"),
            ("src/m/a/mod.rs", "mod c; use c::C; pub struct A(C);"),
            ("src/m/a/c.rs", "use crate::m::b::B;"),
            ("src/m/b.rs", "use super::a::A;"),
        ]);
        assert!(
            parent.len() == 1 && parent[0].contains("3 files"),
            "{parent:?}"
        );
    }

    #[test]
    fn a_child_may_use_what_its_parent_defines() {
        let child = found(&[
            ("src/m/mod.rs", "mod a; pub use a::A; pub struct M(A);"),
            ("src/m/a.rs", "use super::M;"),
        ]);
        assert!(child.is_empty(), "{child:?}");
    }

    #[test]
    fn a_line_of_imports_and_a_parent_that_only_reexports_pass() {
        let line = found(&[
            ("src/m/mod.rs", "mod a; mod b; pub use a::A; pub use b::B;"),
            ("src/m/a.rs", "use super::B; use crate::n::N;"),
            ("src/m/b.rs", "fn f(b: &super::super::n::N) {}"),
            ("src/n/mod.rs", "use crate::m::A;"),
        ]);
        assert!(line.is_empty(), "{line:?}");
    }
}
