//! Everything that the pages in `docs/` and the README show can be typed: configurations are
//! accepted, commands and their options exist, metrics are those of the table in
//! `docs/operations.md`, and the index names every page.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use geofront::config::{Config, MapEnvironment};

const CLUSTER: &str = "\n[upstreams.main]\nurl = 'http://10.0.0.10:8080'\nrole = 'main'\n\
    [upstreams.replica1]\nurl = 'http://10.0.0.11:8080'\n";

struct Page {
    name: String,
    text: String,
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The README and every page in `docs/`.
fn pages() -> Vec<Page> {
    let mut paths = vec![root().join("README.md")];
    paths.extend(
        fs::read_dir(root().join("docs"))
            .unwrap()
            .map(|entry| entry.unwrap().path()),
    );
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
    paths.sort();
    let page = |path: PathBuf| Page {
        name: path.strip_prefix(root()).unwrap().display().to_string(),
        text: fs::read_to_string(&path).unwrap(),
    };
    paths.into_iter().map(page).collect()
}

/// The fenced blocks of `language`; an empty language is a block of commands or of output.
fn blocks<'p>(text: &'p str, language: &str) -> Vec<&'p str> {
    let parts = text.split("```").skip(1).step_by(2);
    let is_wanted = |part: &&str| part.lines().next() == Some(language);
    parts
        .filter(is_wanted)
        .map(|part| part.split_once('\n').unwrap().1)
        .collect()
}

/// A certificate and its key.
static PAIR: LazyLock<(String, String)> = LazyLock::new(|| {
    let pair = rcgen::generate_simple_self_signed(["maps.example.org".to_owned()]).unwrap();
    (pair.cert.pem(), pair.signing_key.serialize_pem())
});

fn problems_of(configuration: &str) -> Option<String> {
    let is_whole =
        configuration.contains("role = \"main\"") || configuration.contains("[clusters.");
    let whole = if is_whole {
        configuration.to_owned()
    } else {
        format!("{configuration}{CLUSTER}")
    };
    let (certificate, key) = &*PAIR;
    let tls = [
        "fullchain",
        "maps",
        "wildcard",
        "clients",
        "geoservers",
        "internal-ca",
        "geofront",
    ]
    .iter();
    let world = tls.fold(MapEnvironment::new(), |world, name| {
        world.file(format!("/etc/geofront/tls/{name}.pem"), certificate)
    });
    let world = ["privkey.pem", "maps.key", "wildcard.key", "geofront.key"]
        .iter()
        .fold(world, |world, name| {
            world.file(format!("/etc/geofront/tls/{name}"), key)
        });
    let world = world
        .file("geofront.toml", whole)
        .file(
            "conf.d/more.toml",
            "[upstreams.replica2]\nurl = 'http://10.0.0.12:8080'\n",
        )
        .file("/etc/geofront/password", "secret");
    Config::load(Path::new("geofront.toml"), &world)
        .err()
        .map(|problems| problems.to_string())
}

#[test]
fn every_configuration_that_is_shown_is_accepted() {
    let mut shown = 0;
    for page in pages() {
        for block in blocks(&page.text, "toml") {
            shown += 1;
            let problems = problems_of(block);
            assert!(
                problems.is_none(),
                "{}:\n{block}\n{}",
                page.name,
                problems.unwrap_or_default()
            );
        }
    }
    assert!(shown >= 12, "{shown} blocks found");
    assert!(
        problems_of("[limits]\nno_such_key = 1\n").is_some(),
        "a wrong block would be noticed"
    );
}

/// The help of `geofront COMMAND`, or nothing if there is no such command.
fn help(command: &str) -> Option<String> {
    let output = Command::new(env!("CARGO_BIN_EXE_geofront"))
        .args([command, "--help"])
        .output()
        .unwrap();
    output
        .status
        .success()
        .then(|| String::from_utf8(output.stdout).unwrap())
}

/// The commands in `line`: `geofront`, a word, and the options up to the end of the command.
fn commands(line: &str) -> Vec<(&str, Vec<&str>)> {
    let parts = line.split(['|', '&', ';', '#', '`', '(']);
    let command = |part: &'_ str| -> Option<(usize, usize)> {
        let begin = part.find("geofront ")?;
        let before = part[..begin].chars().next_back();
        (before.is_none_or(|c| c == ' ' || c == '/')).then_some((begin, part.len()))
    };
    let found = parts.filter_map(|part| {
        let (begin, end) = command(part)?;
        let mut words = part[begin..end].split_whitespace().skip(1);
        let name = words.next()?;
        let options = words
            .filter(|word| word.starts_with("--"))
            .map(|word| word.split('=').next().unwrap())
            .collect();
        Some((name, options))
    });
    found.collect()
}

#[test]
fn every_command_that_is_shown_exists_with_its_options() {
    let mut typed = BTreeSet::new();
    for page in pages() {
        let inline = page
            .text
            .split("```")
            .step_by(2)
            .flat_map(|prose| prose.split('`').skip(1).step_by(2));
        let fenced = blocks(&page.text, "").into_iter().flat_map(str::lines);
        for line in fenced.chain(inline.filter(|code| code.starts_with("geofront "))) {
            for (name, options) in commands(line) {
                // The first line of `geofront status`, and names of systemd units and packages.
                if !name.starts_with(|c: char| c.is_ascii_lowercase())
                    || line.starts_with("geofront 0.")
                {
                    continue;
                }
                if ["-n", "--since"].contains(&name)
                    || line.contains("journalctl")
                    || line.contains("systemctl")
                {
                    continue;
                }
                let help = help(name).unwrap_or_else(|| {
                    panic!("{}: no command `geofront {name}`: {line}", page.name)
                });
                for option in options {
                    assert!(
                        help.contains(option),
                        "{}: `geofront {name}` has no option {option}: {line}",
                        page.name
                    );
                }
                typed.insert(name.to_owned());
            }
        }
    }
    for expected in [
        "check", "explain", "import", "status", "drain", "ready", "reload", "sync",
    ] {
        assert!(
            typed.contains(expected),
            "{expected} is in no page: {typed:?}"
        );
    }
}

#[test]
fn every_metric_that_is_named_is_in_the_table_of_metrics() {
    let operations = fs::read_to_string(root().join("docs/operations.md")).unwrap();
    let rows = operations
        .lines()
        .filter_map(|line| line.strip_prefix("| `geofront_"));
    let known: BTreeSet<String> = rows
        .map(|row| format!("geofront_{}", row.split(['{', '`']).next().unwrap()))
        .collect();
    assert!(known.len() > 20, "{known:?}");
    for page in pages() {
        for begin in page.text.match_indices("geofront_").map(|(at, _)| at) {
            let rest = &page.text[begin..];
            let name = &rest[..rest
                .find(|c: char| !c.is_ascii_lowercase() && c != '_')
                .unwrap_or(rest.len())];
            let is_family = |known: &String| {
                name == known
                    || ["_bucket", "_sum", "_count"]
                        .iter()
                        .any(|end| name.strip_suffix(end) == Some(known))
            };
            // `geofront_*.deb`
            let is_a_name = name.len() > "geofront_".len();
            assert!(
                !is_a_name || known.iter().any(is_family),
                "{}: {name} is no metric",
                page.name
            );
        }
    }
}

#[test]
fn the_index_names_every_page() {
    let index = fs::read_to_string(root().join("docs/README.md")).unwrap();
    for page in pages()
        .iter()
        .filter(|page| page.name.starts_with("docs/") && page.name != "docs/README.md")
    {
        let file = page.name.trim_start_matches("docs/");
        assert!(
            index.contains(&format!("({file})")),
            "docs/README.md does not name {file}"
        );
    }
}
