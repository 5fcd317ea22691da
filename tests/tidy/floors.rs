//! The floor plan of `ARCHITECTURE.md`: the imports that are allowed between modules, and what the
//! pure floors must not touch.

use std::collections::BTreeSet;

use crate::Violation;
use crate::source::{Token, tokens};

/// Where each top-level module of `src/` lives. A module imports only from lower numbers.
pub(crate) const FLOORS: &[(&str, u8)] = &[
    ("hash", 0),
    ("unix_time", 0),
    ("certificates", 0),
    ("http1", 0),
    ("ogc", 0),
    ("proxy_header", 0),
    ("config", 1),
    ("balance", 2),
    ("health", 2),
    ("admission", 2),
    ("cluster", 3),
    ("catalog_writes", 4),
    ("control", 4),
    ("metrics", 4),
    ("named_upstream", 4),
    ("whole_file", 4),
    ("acme", 5),
    ("config_reload", 5),
    ("explanation", 5),
    ("own_time", 5),
    ("traces", 5),
    ("upstream_peer", 5),
    ("waiting_room", 5),
    ("proxy", 6),
    ("admin", 6),
    ("driver", 6),
    ("app", 7),
    ("demo", 8),
    ("cli", 9),
];

/// Below every floor: pure functions that every module may use. They must not import any module.
const GROUND: &[&str] = &["hash", "unix_time"];

/// Above everything: the crate's root, which declares the modules.
const ROOF: u8 = u8::MAX;

/// The GeoServer double stands beside the house: it may use these, and only these may use it. Tests
/// may use it too.
const GEOSIM: &str = "geosim";
const GEOSIM_USES: &[&str] = &["ogc"];
const GEOSIM_USERS: &[&str] = &["demo"];

/// The highest pure floor.
const PURITY_LINE: u8 = 3;

/// Dependencies that only compute. Every other one is refused below the purity line.
const PURE_CRATES: &[&str] = &[
    "annotate_snippets",
    "flate2",
    "humantime",
    "ipnet",
    "percent_encoding",
    "quick_xml",
    "rustls",
    "serde",
    "strsim",
    "toml",
    "x509_parser",
];

/// Paths of the standard library that a pure floor must get as an argument instead.
const IMPURE_PATHS: &[&[&str]] = &[
    &["Instant", "::", "now"],
    &["SystemTime", "::", "now"],
    &[".", "elapsed", "("],
    &["std", "::", "env"],
    &["std", "::", "fs"],
    &["std", "::", "process"],
    &["std", "::", "thread"],
    &["std", "::", "os"],
    &["TcpStream"],
    &["TcpListener"],
    &["UdpSocket"],
    &["ToSocketAddrs"],
    &["to_socket_addrs"],
    &["RandomState"],
    &["thread_local", "!"],
    &["print", "!"],
    &["println", "!"],
    &["eprint", "!"],
    &["eprintln", "!"],
    &["dbg", "!"],
];

/// The path of a module, from its file: `src/cluster/snapshot.rs` is `["cluster", "snapshot"]`.
pub(crate) fn module_path(file: &str) -> Vec<&str> {
    let inner = file
        .trim_start_matches("src/")
        .trim_end_matches(".rs")
        .trim_end_matches("/mod");
    if matches!(inner, "lib" | "main") {
        Vec::new()
    } else {
        inner.split('/').collect()
    }
}

fn floor_of(module: &str) -> Option<u8> {
    FLOORS
        .iter()
        .find(|(name, _)| *name == module)
        .map(|(_, floor)| *floor)
}

/// Imports in `code` (see `source::code_of`) of `file` that go up or sideways. `is_test`: the code
/// is under `#[cfg(test)]`.
pub(crate) fn wrong_imports(file: &str, code: &str, is_test: bool) -> Vec<Violation> {
    let path = module_path(file);
    let Some(&module) = path.first() else {
        return Vec::new();
    };
    if module != GEOSIM && floor_of(module).is_none() {
        return vec![Violation::new(
            file,
            1,
            format!("module `{module}` has no floor in tests/tidy/floors.rs"),
        )];
    }
    root_names(code, path.len())
        .into_iter()
        .filter_map(|name| {
            why_not(module, name.text, is_test).map(|why| Violation::new(file, name.line, why))
        })
        .collect()
}

fn why_not(module: &str, imported: &str, is_test: bool) -> Option<String> {
    if imported == module {
        return None;
    }
    if imported == "*" {
        return Some("imports the whole crate: name the module".to_owned());
    }
    if imported == GEOSIM {
        let may = is_test || GEOSIM_USERS.contains(&module);
        return (!may).then(|| format!("`{module}` must not know the GeoServer double"));
    }
    if GROUND.contains(&imported) {
        return None;
    }
    let to = floor_of(imported)?;
    if module == GEOSIM {
        return (!GEOSIM_USES.contains(&imported))
            .then(|| format!("geosim may use {GEOSIM_USES:?} only, not `{imported}`"));
    }
    let from = floor_of(module).unwrap_or(ROOF);
    (to >= from)
        .then(|| format!("`{module}` (floor {from}) must not import `{imported}` (floor {to})"))
}

/// Every name that `crate::` or enough `super::` puts right below the crate's root. `depth` is that
/// of the file's module.
fn root_names(code: &str, depth: usize) -> Vec<Token<'_>> {
    let tokens = tokens(code);
    let mut names = Vec::new();
    let mut inline = InlineModules::default();
    for at in 0..tokens.len() {
        inline.step(&tokens, at);
        let starts_path = at == 0 || tokens[at - 1].text != "::";
        match tokens[at].text {
            "crate" if starts_path => follow(&tokens, at + 1, 0, &mut names),
            "super" if starts_path => follow(
                &tokens,
                at + 1,
                (depth + inline.depth()).saturating_sub(1),
                &mut names,
            ),
            _ => {}
        }
    }
    names
}

/// Reads what comes after a path element `level` modules below the root.
fn follow<'a>(tokens: &[Token<'a>], at: usize, level: usize, names: &mut Vec<Token<'a>>) {
    let (Some(colons), Some(&next)) = (tokens.get(at), tokens.get(at + 1)) else {
        return;
    };
    if colons.text != "::" {
        return;
    }
    match next.text {
        "super" => follow(tokens, at + 2, level.saturating_sub(1), names),
        "{" => group_items(tokens, at + 2)
            .into_iter()
            .for_each(|item| match tokens[item].text {
                "super" => follow(tokens, item + 1, level.saturating_sub(1), names),
                _ if level == 0 => names.push(tokens[item]),
                _ => {}
            }),
        _ if level == 0 => names.push(next),
        _ => {}
    }
}

/// Where the items of the `use` group that opens just before `at` begin.
fn group_items(tokens: &[Token<'_>], at: usize) -> Vec<usize> {
    let (mut items, mut depth, mut at_start) = (Vec::new(), 1, true);
    for (i, token) in tokens.iter().enumerate().skip(at) {
        match token.text {
            "{" => depth += 1,
            "}" => depth -= 1,
            "," if depth == 1 => {
                at_start = true;
                continue;
            }
            _ if at_start => items.push(i),
            _ => {}
        }
        at_start = false;
        if depth == 0 {
            break;
        }
    }
    items
}

/// How many `mod name { ... }` are open, so that their `super` is understood.
#[derive(Default)]
pub(crate) struct InlineModules {
    braces: usize,
    opened_at: Vec<usize>,
}

impl InlineModules {
    pub(crate) fn step(&mut self, tokens: &[Token<'_>], at: usize) {
        match tokens[at].text {
            "{" => {
                if at >= 2 && tokens[at - 2].text == "mod" {
                    self.opened_at.push(self.braces);
                }
                self.braces += 1;
            }
            "}" => {
                self.braces = self.braces.saturating_sub(1);
                self.opened_at.pop_if(|opened| *opened == self.braces);
            }
            _ => {}
        }
    }

    pub(crate) fn depth(&self) -> usize {
        self.opened_at.len()
    }
}

/// Returns the uses in `code` of a pure floor's `file` that must be arguments instead.
/// `dependencies` are crate names as in code.
pub(crate) fn impurities(
    file: &str,
    code: &str,
    dependencies: &BTreeSet<String>,
) -> Vec<Violation> {
    let is_pure = module_path(file)
        .first()
        .and_then(|m| floor_of(m))
        .is_some_and(|floor| floor <= PURITY_LINE);
    if !is_pure {
        return Vec::new();
    }
    let tokens = tokens(code);
    (0..tokens.len())
        .filter_map(|at| impurity(&tokens, at, dependencies).map(|what| (tokens[at].line, what)))
        .map(|(line, what)| {
            Violation::new(
                file,
                line,
                format!("{what} on a pure floor: hand it in from above"),
            )
        })
        .collect()
}

fn impurity(tokens: &[Token<'_>], at: usize, dependencies: &BTreeSet<String>) -> Option<String> {
    let name = tokens[at].text;
    let starts_path = (at == 0 || tokens[at - 1].text != "::")
        && tokens.get(at + 1).is_some_and(|t| t.text == "::");
    if starts_path && dependencies.contains(name) && !PURE_CRATES.contains(&name) {
        return Some(format!("crate `{name}`"));
    }
    let matches = |path: &&&[&str]| {
        path.iter()
            .enumerate()
            .all(|(i, part)| tokens.get(at + i).is_some_and(|t| t.text == *part))
    };
    IMPURE_PATHS
        .iter()
        .find(matches)
        .map(|path| format!("`{}`", path.concat()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::code_of;

    fn imports(file: &str, code: &str) -> usize {
        wrong_imports(file, &code_of(code), false).len()
    }

    #[test]
    fn an_import_from_a_floor_below_passes() {
        assert_eq!(
            imports(
                "src/cluster/mod.rs",
                "use crate::config::Config; use crate::{balance, ogc::RequestClass};"
            ),
            0
        );
        assert_eq!(
            imports(
                "src/cluster/mod.rs",
                "use super::health::RiseFall; use self::upstream::Upstream; use crate::cluster::X;"
            ),
            0
        );
    }

    #[test]
    fn an_import_from_above_or_from_the_same_floor_is_caught_however_it_is_written() {
        for code in [
            "use crate::control::Control;",
            "use crate::{balance::Load, control::Control};",
            "use crate::{balance::{Load, Lease}, control::Control};",
            "use super::control;",
            "use super::{config, control};",
            "fn f() { crate::metrics::count(); }",
            "mod inner { use super::super::control; }",
            "use crate::*;",
        ] {
            assert_eq!(imports("src/cluster/mod.rs", code), 1, "{code}");
        }
        assert_eq!(
            imports("src/cluster/snapshot.rs", "use super::super::control;"),
            1
        );
        assert_eq!(
            imports(
                "src/cluster/snapshot.rs",
                "use super::{Upstream, super::control};"
            ),
            1
        );
        assert_eq!(
            imports("src/balance/mod.rs", "use crate::health::RiseFall;"),
            1
        );
    }

    #[test]
    fn text_that_only_looks_like_an_import_passes() {
        let code = "//! see crate::control\n const A: &str = \"crate::control::X\"; mod t { use super::control_flow; fn f() {} } use super::Upstream;";
        assert_eq!(imports("src/cluster/snapshot.rs", code), 0);
    }

    #[test]
    fn the_double_knows_classification_only_and_is_known_by_demo_and_tests_only() {
        assert_eq!(imports("src/geosim/mod.rs", "use crate::ogc;"), 0);
        assert_eq!(imports("src/geosim/mod.rs", "use crate::hash;"), 0);
        assert_eq!(imports("src/ogc/mod.rs", "use crate::hash;"), 0);
        assert_eq!(imports("src/hash.rs", "use crate::http1;"), 1);
        assert_eq!(imports("src/geosim/mod.rs", "use crate::config;"), 1);
        assert_eq!(imports("src/demo/mod.rs", "use crate::geosim;"), 0);
        assert_eq!(imports("src/driver/mod.rs", "use crate::geosim;"), 1);
        assert!(wrong_imports("src/driver/mod.rs", "use crate::geosim;", true).is_empty());
    }

    #[test]
    fn a_new_top_level_module_needs_a_floor() {
        assert_eq!(imports("src/attic/mod.rs", ""), 1);
    }

    #[test]
    fn a_clock_a_socket_or_an_impure_crate_on_a_pure_floor_is_caught() {
        let dependencies: BTreeSet<String> = ["tokio", "serde"].map(str::to_owned).into();
        let found = |file, code| impurities(file, &code_of(code), &dependencies).len();
        for code in [
            "use tokio::sync::Notify;",
            "let now = Instant::now();",
            "std::fs::read(p)",
            "start.elapsed()",
            "println!()",
        ] {
            assert_eq!(found("src/health/mod.rs", code), 1, "{code}");
            assert_eq!(found("src/driver/mod.rs", code), 0, "{code}");
        }
        assert_eq!(
            found(
                "src/health/mod.rs",
                "use serde::Deserialize; // tokio::sync\n fn tick(now: Instant) {}"
            ),
            0
        );
    }
}
