//! `include = ["conf.d/*.toml"]`: the files that a pattern matches.
//!
//! Wildcards are allowed only in the last part, so the folder to watch for new files is always
//! known. They do not match names that begin with a dot, because editors and Ansible use such names
//! for unfinished files.

use std::io;
use std::path::{Path, PathBuf};

use super::environment::Environment;

/// The files that `pattern` matches, ordered by name.
pub(super) fn matching(
    pattern: &str,
    folder: &Path,
    environment: &dyn Environment,
) -> Result<Vec<PathBuf>, String> {
    let whole = folder.join(pattern);
    let (Some(parent), Some(name)) = (
        whole.parent(),
        whole.file_name().and_then(|name| name.to_str()),
    ) else {
        return Err("it names no file".to_owned());
    };
    if has_wildcard(pattern.rsplit_once('/').map_or("", |(folders, _)| folders)) {
        return Err(
            "`*` and `?` may stand in the name of the file only, not in its folder".to_owned(),
        );
    }
    if !has_wildcard(name) {
        return Ok(vec![whole]);
    }
    let listed = environment
        .list(parent)
        .map_err(|error| no_folder(parent, &error))?;
    let mut found: Vec<_> = listed
        .into_iter()
        .filter(|path| matches(name, path))
        .collect();
    found.sort();
    Ok(found)
}

fn no_folder(folder: &Path, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => format!("there is no folder {}", folder.display()),
        _ => format!("folder {}: {error}", folder.display()),
    }
}

fn has_wildcard(text: &str) -> bool {
    text.contains(['*', '?'])
}

fn matches(pattern: &str, path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    name.is_some_and(|name| {
        (!name.starts_with('.') || pattern.starts_with('.')) && name_matches(pattern, name)
    })
}

/// Matches `*` for any run of characters and `?` for one. Backtracks to the last `*` only, so its
/// time is bounded by the product of the lengths.
fn name_matches(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) =
        (pattern.chars().collect(), name.chars().collect());
    let (mut p, mut n, mut star) = (0, 0, None);
    while n < name.len() {
        if pattern.get(p) == Some(&'*') {
            star = Some((p, n));
            p += 1;
        } else if pattern.get(p).is_some_and(|c| *c == '?' || *c == name[n]) {
            (p, n) = (p + 1, n + 1);
        } else if let Some((star_p, star_n)) = star {
            star = Some((star_p, star_n + 1));
            (p, n) = (star_p + 1, star_n + 1);
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::MapEnvironment;

    #[test]
    fn names_match_as_in_a_shell() {
        for (pattern, name) in [
            ("*.toml", "a.toml"),
            ("*", "x"),
            ("a*b*c", "aXbXbc"),
            ("?.toml", "é.toml"),
            ("a", "a"),
        ] {
            assert!(name_matches(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [
            ("*.toml", "a.toml~"),
            ("?", ""),
            ("a*b", "ab-"),
            ("?.toml", "ab.toml"),
            ("a", "A"),
        ] {
            assert!(!name_matches(pattern, name), "{pattern} {name}");
        }
    }

    #[test]
    fn unfinished_files_of_editors_and_ansible_do_not_match() {
        let names = [
            "b.toml",
            "a.toml",
            ".ansible_tmpx.toml",
            ".a.toml.swp",
            "a.toml~",
            "a.toml.dpkg-old",
        ];
        let world = names.iter().fold(MapEnvironment::new(), |world, name| {
            world.file(format!("/etc/conf.d/{name}"), "")
        });
        let found = matching("conf.d/*.toml", Path::new("/etc"), &world).unwrap();
        assert_eq!(
            found,
            [
                Path::new("/etc/conf.d/a.toml"),
                Path::new("/etc/conf.d/b.toml")
            ]
        );
    }

    #[test]
    fn a_wildcard_in_the_folder_is_refused() {
        assert!(
            matching("*/a.toml", Path::new("/etc"), &MapEnvironment::new())
                .unwrap_err()
                .contains("name of the file only")
        );
    }
}
