//! Stores the history of rolls in a file beside the state file.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::kept_file::{self, FileContent, KeptFile};
use crate::control::RollHistory;

const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Document {
    /// The version of the layout.
    version: u32,
    #[serde(flatten)]
    history: RollHistory,
}

impl FileContent for RollHistory {
    const NAME: &'static str = "history of rolls";

    fn to_text(&self) -> io::Result<String> {
        Ok(serde_json::to_string_pretty(&Document {
            version: VERSION,
            history: self.clone(),
        })?)
    }
}

/// Writes the history whenever it changes.
#[derive(Debug)]
pub(super) struct HistoryFile(KeptFile<RollHistory>);

impl HistoryFile {
    /// The file beside `state_file`, which has this history already.
    pub(super) fn with(found: RollHistory, state_file: Option<&Path>) -> Self {
        Self(KeptFile::with(found, state_file.map(path_beside)))
    }

    /// True if the history should be written now.
    pub(super) fn is_news(&self, state_file: &Path, history: &RollHistory, now: Instant) -> bool {
        let state = self.0.state();
        !state.has(&path_beside(state_file), history) && !state.waits_to_retry(now)
    }

    /// Writes the history if it differs from the file.
    pub(super) async fn keep(&self, state_file: &Path, history: RollHistory) {
        self.0.keep(path_beside(state_file), history).await;
    }
}

/// `catalog.rolls.json` for `catalog.json`.
fn path_beside(state_file: &Path) -> PathBuf {
    state_file.with_extension("rolls.json")
}

/// Reads the history beside the state file; empty if there is no file.
pub fn load(state_file: &Path) -> io::Result<RollHistory> {
    let Some(text) = kept_file::read(&path_beside(state_file))? else {
        return Ok(RollHistory::default());
    };
    let document: Document = serde_json::from_str(&text)?;
    if document.version != VERSION {
        return Err(io::Error::other(format!(
            "it is of layout {}, not {VERSION}",
            document.version
        )));
    }
    Ok(document.history)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::kept_file::RETRY;
    use super::*;
    use crate::control::PastRoll;

    /// A full disk must not cost the order to pause rolls.
    #[tokio::test]
    async fn a_history_that_could_not_be_written_is_news_again() {
        let folder = tempfile::tempdir().unwrap();
        let state_file = folder.path().join("missing").join("catalog.json");
        let file = HistoryFile::with(RollHistory::default(), None);
        let paused = RollHistory {
            paused: true,
            ..RollHistory::default()
        };
        file.keep(&state_file, paused.clone()).await;
        let now = Instant::now();
        assert!(
            !file.is_news(&state_file, &paused, now)
                && file.is_news(&state_file, &paused, now + RETRY)
        );
        fs::create_dir(state_file.parent().unwrap()).unwrap();
        file.keep(&state_file, paused.clone()).await;
        assert_eq!(load(&state_file).unwrap(), paused);
    }

    #[tokio::test]
    async fn a_saved_history_is_loaded_again_and_a_torn_file_is_reported() {
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
        let file = HistoryFile::with(RollHistory::default(), None);
        file.keep(&state_file, history.clone()).await;
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
