//! The messages for wrong configurations: `tests/config/NAME.toml` and the expected text beside it.
//!
//! `BLESS=1 cargo test --test config_diagnostics` writes the texts anew; read the difference before
//! you keep it.

use std::path::{Path, PathBuf};

use geofront::config::{Config, MapEnvironment};

const FOLDER: &str = "tests/config";

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder)
        .expect("the folder is there")
        .map(|entry| entry.expect("its entries can be read").path());
    let mut found: Vec<_> = entries
        .flat_map(|path| {
            if path.is_dir() {
                files_below(&path)
            } else {
                vec![path]
            }
        })
        .collect();
    found.sort();
    found
}

/// The folder as an environment in memory, so that messages are the same on every machine.
fn world() -> MapEnvironment {
    let text = |path: &PathBuf| {
        String::from_utf8_lossy(&std::fs::read(path).expect("the file is there")).into_owned()
    };
    files_below(Path::new(FOLDER))
        .iter()
        .fold(MapEnvironment::new(), |world, path| {
            world.file(path, text(path))
        })
}

#[test]
fn every_wrong_file_is_reported_as_recorded() {
    let cases = files_below(Path::new(FOLDER));
    let cases = cases.iter().filter(|path| {
        path.parent() == Some(Path::new(FOLDER)) && path.extension() == Some("toml".as_ref())
    });
    let (world, mut wrong, mut count) = (world(), Vec::new(), 0);
    for path in cases {
        count += 1;
        let told = Config::load(path, &world).map_or_else(
            |diagnostics| format!("{diagnostics}\n"),
            |_| "accepted\n".to_owned(),
        );
        let recorded = path.with_extension("stderr");
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(&recorded, &told).unwrap();
        } else if std::fs::read_to_string(&recorded).unwrap_or_default() != told {
            wrong.push(format!("---- {} now says:\n{told}", path.display()));
        }
    }
    assert!(count > 0, "no cases in {FOLDER}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
