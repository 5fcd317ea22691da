//! Relative links in our documents lead somewhere.

use std::path::Path;

use crate::Violation;

/// Links in `text` of the document `file` that name a file which does not exist below `root`.
pub(crate) fn broken_links(root: &Path, file: &str, text: &str) -> Vec<Violation> {
    let folder = root
        .join(file)
        .parent()
        .map(Path::to_owned)
        .unwrap_or_default();
    let mut found = Vec::new();
    let mut in_code_block = false;
    for (i, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            in_code_block = !in_code_block;
        }
        if in_code_block {
            continue;
        }
        let broken = link_targets(line)
            .filter(|target| is_relative(target) && !folder.join(without_anchor(target)).exists());
        found.extend(broken.map(|target| {
            Violation::new(file, i + 1, format!("the link to `{target}` leads nowhere"))
        }));
    }
    found
}

/// Every `target` of `[text](target)` in `line`.
fn link_targets(line: &str) -> impl Iterator<Item = &str> {
    line.match_indices("](").filter_map(|(at, open)| {
        line[at + open.len()..]
            .split_once(')')
            .map(|(target, _)| target)
    })
}

fn is_relative(target: &str) -> bool {
    !target.contains("://") && !target.starts_with("mailto:") && !target.starts_with('#')
}

fn without_anchor(target: &str) -> &str {
    target.split('#').next().unwrap_or(target)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relative_link_must_lead_to_a_file() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let text = "[a](Cargo.toml) [b](src/lib.rs#top) [c](https://example.org) [d](#here)\n```\n[e](gone.md)\n```\n[f](gone.md)\n";
        let found = broken_links(root, "README.md", text);
        assert_eq!(found.iter().map(|v| v.line).collect::<Vec<_>>(), [5]);
    }
}
