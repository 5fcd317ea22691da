//! Keeps what the cluster remembers of catalogs in a file, so that a restart does not forget a roll that was under way.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::Path;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::cluster::{CatalogMemory, Remembered};

/// Writes the memory when it changed.
#[derive(Debug, Default)]
pub(super) struct StateFile {
    /// Held while writing, so that an older memory never comes after a newer one.
    kept: tokio::sync::Mutex<()>,
    last: Mutex<CatalogMemory>,
}

impl StateFile {
    /// Whether it is worth writing. Nothing known is not: what is on disk knows more.
    pub(super) fn is_news(&self, memory: &CatalogMemory) -> bool {
        !memory.upstreams.is_empty() && *self.last.lock() != *memory
    }

    /// A disk that cannot be written is told once for every change, and costs nothing else.
    pub(super) async fn keep(&self, path: Option<&Path>, memory: CatalogMemory) {
        let Some(path) = path.map(Path::to_owned) else { return };
        let _one_at_a_time = self.kept.lock().await;
        if !self.is_news(&memory) {
            return;
        }
        *self.last.lock() = memory.clone();
        let written = tokio::task::spawn_blocking(move || save(&path, &memory).map_err(|error| (path, error))).await;
        if let Ok(Err((path, error))) = written {
            tracing::warn!(path = %path.display(), %error, "cannot keep what is known of catalogs over a restart");
        }
    }
}

/// A file larger than this is not ours: a thousand upstreams need a tenth of it.
const MAX_BYTES: u64 = 4 << 20;

#[derive(Serialize, Deserialize)]
struct Document {
    /// Of this layout.
    version: u32,
    upstreams: Vec<Entry>,
}

#[derive(Serialize, Deserialize)]
struct Entry {
    name: String,
    address: SocketAddr,
    main_number: Option<u64>,
    #[serde(default)]
    is_reloading: bool,
}

const VERSION: u32 = 1;

/// What was remembered; nothing where there is no file. A file that cannot be used is an error to be told, not to die of.
pub fn load(path: &Path) -> io::Result<CatalogMemory> {
    match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(CatalogMemory::default()),
        Err(error) => return Err(error),
        Ok(metadata) if metadata.len() > MAX_BYTES => return Err(io::Error::other("it is too large to be geofront's")),
        Ok(_) => {}
    }
    let document: Document = serde_json::from_str(&fs::read_to_string(path)?)?;
    if document.version != VERSION {
        return Err(io::Error::other(format!("it is of layout {}, not {VERSION}", document.version)));
    }
    let remembered = |Entry { name, address, main_number, is_reloading }| Remembered { name, address, main_number, is_reloading };
    Ok(CatalogMemory { upstreams: document.upstreams.into_iter().map(remembered).collect() })
}

/// Replaced as a whole: a reader, and we after a crash, find the old one or the new one.
pub(super) fn save(path: &Path, memory: &CatalogMemory) -> io::Result<()> {
    let entry = |Remembered { name, address, main_number, is_reloading }: &Remembered| Entry {
        name: name.clone(),
        address: *address,
        main_number: *main_number,
        is_reloading: *is_reloading,
    };
    let document = Document { version: VERSION, upstreams: memory.upstreams.iter().map(entry).collect() };
    let beside = path.with_extension("new");
    fs::write(&beside, serde_json::to_string_pretty(&document)?)?;
    fs::rename(&beside, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory() -> CatalogMemory {
        let address = SocketAddr::from(([10, 0, 0, 11], 8080));
        let of = |name: &str, main_number: Option<u64>| Remembered {
            name: name.to_owned(),
            address,
            main_number,
            is_reloading: main_number.is_none(),
        };
        CatalogMemory { upstreams: vec![of("slave1", Some(7)), of("slave2", None)] }
    }

    #[test]
    fn what_is_saved_is_found_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("catalog.json");
        assert_eq!(load(&path).unwrap(), CatalogMemory::default());
        save(&path, &memory()).unwrap();
        assert_eq!(load(&path).unwrap(), memory());
    }

    #[test]
    fn a_file_that_is_broken_or_of_another_layout_is_said_to_be() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("catalog.json");
        fs::write(&path, "{").unwrap();
        assert!(load(&path).is_err());
        fs::write(&path, "{\"version\": 9, \"upstreams\": []}").unwrap();
        assert_eq!(load(&path).unwrap_err().to_string(), "it is of layout 9, not 1");
    }
}
