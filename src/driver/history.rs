//! Stores the history of rolls in a file beside the state file.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::control::RollHistory;

/// Maximum size of the file.
const MAX_BYTES: u64 = 4 << 20;
const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Document {
    /// The version of the layout.
    version: u32,
    #[serde(flatten)]
    history: RollHistory,
}

/// Writes the history whenever it changes.
#[derive(Debug, Default)]
pub(super) struct HistoryFile {
    /// Locked while writing, so that no older history replaces a newer one.
    kept: tokio::sync::Mutex<()>,
    last: Mutex<RollHistory>,
}

impl HistoryFile {
    pub(super) fn of(found: RollHistory) -> Self {
        Self {
            kept: tokio::sync::Mutex::default(),
            last: Mutex::new(found),
        }
    }

    pub(super) fn is_news(&self, history: &RollHistory) -> bool {
        *self.last.lock() != *history
    }

    /// Writes the history. A failure to write is reported once per change and has no other effect.
    pub(super) async fn keep(&self, state_file: &Path, history: RollHistory) {
        let path = path_beside(state_file);
        let _one_at_a_time = self.kept.lock().await;
        if !self.is_news(&history) {
            return;
        }
        *self.last.lock() = history.clone();
        let written = tokio::task::spawn_blocking(move || {
            save(&path, history).map_err(|error| (path, error))
        })
        .await;
        if let Ok(Err((path, error))) = written {
            tracing::warn!(path = %path.display(), %error, "cannot keep the history of rolls");
        }
    }
}

/// `catalog.rolls.json` for `catalog.json`.
fn path_beside(state_file: &Path) -> PathBuf {
    state_file.with_extension("rolls.json")
}

/// Reads the history beside the state file; empty if there is no file.
pub fn load(state_file: &Path) -> io::Result<RollHistory> {
    let path = path_beside(state_file);
    match fs::metadata(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(RollHistory::default()),
        Err(error) => return Err(error),
        Ok(metadata) if metadata.len() > MAX_BYTES => {
            return Err(io::Error::other("it is too large to be geofront's"));
        }
        Ok(_) => {}
    }
    let document: Document = serde_json::from_str(&fs::read_to_string(path)?)?;
    if document.version != VERSION {
        return Err(io::Error::other(format!(
            "it is of layout {}, not {VERSION}",
            document.version
        )));
    }
    Ok(document.history)
}

/// Replaces the file as a whole, after the new one is on disk.
fn save(path: &Path, history: RollHistory) -> io::Result<()> {
    let beside = path.with_extension("json.new");
    let text = serde_json::to_string_pretty(&Document {
        version: VERSION,
        history,
    })?;
    let file = fs::File::create(&beside)?;
    io::Write::write_all(&mut &file, text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&beside, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::PastRoll;

    #[test]
    fn a_saved_history_is_loaded_again_and_a_torn_file_is_reported() {
        let folder = tempfile::tempdir().unwrap();
        let state_file = folder.path().join("catalog.json");
        assert_eq!(load(&state_file).unwrap(), RollHistory::default());
        let by = vec!["ann".to_owned()];
        let roll = PastRoll {
            began_unix: 7,
            took_ms: 1,
            epoch: 3,
            why: "write".to_owned(),
            by,
            replicas: Vec::new(),
        };
        let history = RollHistory {
            paused: true,
            rolls: [roll].into(),
        };
        save(&path_beside(&state_file), history.clone()).unwrap();
        assert_eq!(load(&state_file).unwrap(), history);
        fs::write(path_beside(&state_file), "{\"version\": 1, \"paused\": tr").unwrap();
        assert!(load(&state_file).is_err());
        fs::write(
            path_beside(&state_file),
            "{\"version\": 9, \"paused\": true, \"rolls\": []}",
        )
        .unwrap();
        assert_eq!(
            load(&state_file).unwrap_err().to_string(),
            "it is of layout 9, not 1"
        );
    }
}
